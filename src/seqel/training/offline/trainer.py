"""Everything a run on recorded data owns: the sessions that are learnt from, those held out, the agent, the learner.

The counterpart of `session.py`, without environments. `training/offline/loop.py` says in which order it works.
"""

from __future__ import annotations

import time
import zlib
from typing import Any

import numpy as np
import torch

from seqel.agents.agent import Agent
from seqel.replay.gathering import windows_of
from seqel.replay.episode_buffer import EpisodeBuffer
from seqel.losses.returns import discounted_return
from seqel.networks.qnetwork import QNetwork
from seqel.training.hardware.allocator import keep_freed_memory, use_large_pages
from seqel.training.hardware.compilation import resolve_compile_mode
from seqel.training.defaults import with_defaults
from seqel.training.config import RunConfig
from seqel.training.hardware.devices import choose_device
from seqel.training.offline.validation import HeldOut, Sums
from seqel.training.learner import Learner
from seqel.training.sources import Source, described
from seqel.types import SequenceBatch

__all__ = ["LONGEST_CONTEXT", "OfflineTrainer", "resolve_defaults"]

LONGEST_CONTEXT = 128  # steps; chosen where the config leaves it open and sessions are longer
MAX_WINDOWS = 1_024
WARMUP_UPDATES = 10  # updates after which the memory that they need has been taken
HELD_OUT_TRANSITIONS = 50_000  # looked at each time, at most
SCALE_TRANSITIONS = 1_000_000  # that the size of returns is taken from, at most
ALLOWED = 0.05  # of the variance of targets, that newer values may leave unexplained beside the least so far
DIGEST = 1_000_000  # slots that are compared when a run goes on


def resolve_defaults(config: RunConfig, recorded: EpisodeBuffer) -> RunConfig:
    """Fill in what the config left open, from the sessions' lengths: context, window, discount, heads."""
    longest = int(recorded.lengths.max())
    context = config.network.context or min(longest + 1, LONGEST_CONTEXT)
    return with_defaults(config, context, min(longest, 2 * context))


class OfflineTrainer:
    """A run on recorded data in memory."""

    def __init__(self, config: RunConfig, source: Source) -> None:
        self.notes: list[str] = []
        self.device = choose_device(config.device)
        self.config = config = resolve_compile_mode(resolve_defaults(config, source.buffer), self.device, config.offline.updates)
        self.source = source
        if config.threads:
            torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        if self.device.type == "cpu":
            keep_freed_memory()
        learnt, held = source.split(config.offline.held_out, config.seed)
        self.training_episodes, self.held_out_episodes = source.buffer.subset(learnt), source.buffer.subset(held)
        network = self.make_network().to(self.device)
        info = {"data": list(config.offline.files), "seed": config.seed, "discount": config.objective.discount}
        info["held_out"] = {"share": config.offline.held_out, "seed": config.seed}  # which sessions are not learnt from
        self.agent = Agent(network, info | described(source))
        self.learner = Learner(network, config.objective, config.learner)
        discount = config.objective.discount
        assert discount is not None  # `complete` chose one
        self.discount = discount
        self.rng = np.random.default_rng(config.seed + 2)
        self._observe()
        if config.learner.compile == "on":
            self.notes.append("the update is compiled, which takes up to a minute before the first one, once")
        self.pending_metrics: list[dict[str, torch.Tensor]] = []  # the learner's metrics since the last record
        self.stop_requested = False  # set from outside: end after this update
        self.solved = False  # held-out sessions say that there is nothing left to learn
        self.best: float | None = None  # score of the best look
        self.checks_since_best = 0  # looks since weights were kept: 0 where the newest are
        self.seconds = 0.0  # of earlier sittings
        self._began = time.perf_counter()

    def make_network(self) -> QNetwork:
        """What is learnt."""
        return QNetwork(self.config.network, self.source.observation, self.source.action)

    def prepare(self, batch: SequenceBatch) -> SequenceBatch:
        """A batch as it is learnt from."""
        return batch.to(self.device)

    def _observe(self) -> None:
        """The unit of values and the statistics of vectors, from the sessions that are learnt from, once."""
        self.learner.rescale(return_scale(self.training_episodes, self.discount))
        statistics = {}
        for path in self.agent.network.tokens.vectors():
            values = torch.from_numpy(self.training_episodes.observations(path).astype(np.float64))
            statistics[path] = (values.mean(dim=0), values.std(dim=0, unbiased=False))
        if statistics:
            self.learner.observe(statistics)

    @property
    def steps(self) -> int:
        """What a run's records are counted by: updates, here."""
        return self.learner.updates

    @property
    def progress(self) -> float:
        """The fraction of the run that is over."""
        return min(1.0, self.learner.updates / self.config.offline.updates)

    @property
    def elapsed(self) -> float:
        """Seconds of training, earlier sittings included."""
        return self.seconds + time.perf_counter() - self._began

    def update(self) -> dict[str, torch.Tensor]:
        """Sample, learn, move the target."""
        config = self.config
        window = config.replay.window
        batch = self.training_episodes.sample(
            self._windows(window),
            window=window,
            context=config.network.context,
            discount=self.discount,
            rng=self.rng,
            pad_to=window if config.learner.compile == "on" else None,
            pack=config.network.trunk == "transformer",
        )
        metrics = self.learner.update(self.prepare(batch), self.progress)
        if self.learner.updates == WARMUP_UPDATES and self.device.type == "cpu":
            use_large_pages()
        return metrics

    def _windows(self, window: int) -> int:
        config = self.config.replay
        if config.batch_size:
            return config.batch_size
        return windows_of(config.batch_tokens, self.training_episodes.mean_length(window), MAX_WINDOWS)

    def validate(self) -> HeldOut:
        """What the network says about the sessions held out."""
        return self.validation_sums().result()

    def accept(self, score: float) -> None:
        """Decide whether the newest weights are kept (`checks_since_best` is then 0).

        What imitates is kept where it knows the sessions held out best. Values are kept anew, unless they explain clearly
        less of those than they once did: their targets grow with them, so that small differences in score say nothing of
        the policy (docs/experiments.md), and a rise beyond that is sessions learnt by heart.
        """
        best = self.best if self.best is not None else score
        imitates = self.config.objective.td_weight == 0.0 or self.config.network.policy_head == "greedy"
        least = best if imitates else best - ALLOWED
        self.checks_since_best = 0 if score >= least else self.checks_since_best + 1
        self.best = max(best, score)

    @property
    def best_agent(self) -> Agent:
        """What is saved to act with: the moving average of the weights, where there is one, else the newest.

        Averaged weights play steadier (Polyak & Juditsky 1992; Izmailov et al. 2018, arXiv:1803.05407), and no
        environment is there to pick a good one among noisy ones.
        """
        averaged = self.config.learner.target == "average"
        return Agent(self.learner.target, self.agent.info) if averaged else self.agent

    @torch.no_grad()
    def validation_sums(self) -> Sums:
        """The same, before it is divided."""
        config, network = self.config, self.best_agent.network
        sums = Sums(network, config.objective, self.discount, self.held_out_episodes.lengths)
        for batch in self.held_out_episodes.batches(
            window=config.replay.window, context=config.network.context, discount=self.discount
        ):
            batch = self.prepare(batch)
            slow = self.learner.target(batch)
            sums.add(batch, slow if network is self.learner.target else network(batch), slow)
            if sums.steps >= HELD_OUT_TRANSITIONS:
                break
        return sums

    def close(self) -> None:
        """Nothing is held open."""

    def digest(self) -> int:
        """Tells other data apart: of the first transitions' actions and rewards."""
        columns, count = self.training_episodes.slots.columns, DIGEST
        return zlib.crc32(columns["reward"][:count].tobytes(), zlib.crc32(columns["action"][:count].tobytes()))

    # -- saved and restored ----------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Everything an exact resume needs; the data themselves stay where they are."""
        names = list(self.pending_metrics[0]) if self.pending_metrics else []
        return {
            "learner": self.learner.state_dict(),
            "rng": self.rng.bit_generator.state,
            "torch_rng": torch.get_rng_state(),
            "device_rng": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
            "gathered": {name: torch.stack([torch.as_tensor(m[name]).cpu() for m in self.pending_metrics]) for name in names},
            "solved": self.solved,
            "best": self.best,
            "waited": self.checks_since_best,
            "notes": list(self.notes),
            "seconds": self.elapsed,
            "transitions": len(self.training_episodes),
            "digest": self.digest(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> list[int]:
        """The inverse; the empty list says that nothing was lost.

        Raises ValueError where the data are not those that the state was saved with.
        """
        if int(state["transitions"]) != len(self.training_episodes):
            raise ValueError(
                f"expected {int(state['transitions']):,} transitions to learn from, got {len(self.training_episodes):,}"
            )
        if int(state["digest"]) != self.digest():
            raise ValueError("expected the sessions that the run was begun with, got others: actions or rewards differ")
        self.learner.load_state_dict(state["learner"])
        self.rng.bit_generator.state = state["rng"]
        length = max((len(values) for values in state["gathered"].values()), default=0)
        self.pending_metrics = [{name: values[i] for name, values in state["gathered"].items()} for i in range(length)]
        self.solved, self.best, self.checks_since_best = bool(state["solved"]), state["best"], int(state["waited"])
        self.notes = list(state["notes"])
        self.seconds, self._began = float(state["seconds"]), time.perf_counter()
        torch.set_rng_state(state["torch_rng"])
        if state["device_rng"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["device_rng"], self.device)
        return []


def return_scale(recorded: EpisodeBuffer, discount: float) -> float:
    """Root mean square of the discounted returns that follow each recorded step; 1 where all are 0."""
    total = steps = 0.0
    for batch in recorded.batches(window=int(recorded.lengths.max()), context=0, discount=discount):
        returns = discounted_return(batch.reward.double(), batch.discount.double(), batch.valid)[batch.valid]
        total, steps = total + float(returns.square().sum()), steps + len(returns)
        if steps >= SCALE_TRANSITIONS:
            break
    scale = float(np.sqrt(total / max(steps, 1.0)))
    return scale if scale > 0.0 else 1.0
