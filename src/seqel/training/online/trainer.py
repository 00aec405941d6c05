"""Everything a run owns, put together from its config, and saved and restored as one."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seqel.agents.agent import Agent
from seqel.agents.exploration import Explorer
from seqel.replay.concat import concat
from seqel.replay.episode_buffer import EpisodeBuffer
from seqel.replay.buffer import Replay
from seqel.environments.probe import Probe, probe
from seqel.environments.resolve import EnvMaker
from seqel.environments.parallelism import choose_mode
from seqel.environments.vector import VectorStream, make_vector
from seqel.errors import ConfigError
from seqel.evaluation.rollout import LONGEST, Evaluation, play
from seqel.networks.qnetwork import QNetwork
from seqel.training.online.actors import Actors
from seqel.training.hardware.allocator import keep_freed_memory, use_large_pages
from seqel.training.online.collector import Collector, EpisodeEnd
from seqel.training.hardware.compilation import resolve_compile_mode
from seqel.training.defaults import resolve_defaults
from seqel.training.config import RunConfig
from seqel.training.hardware.devices import choose_device
from seqel.training.learner import Learner
from seqel.training.return_scale import ReturnScale
from seqel.training.online.mixing import split_batch
from seqel.training.sources import Source, require_same_spaces

__all__ = ["OnlineTrainer"]

VALIDATION_SEED = 1 << 30  # validation episodes are reset with seeds from here on, confirmation from CONFIRM_SEED on
CONFIRM_SEED = (1 << 30) + (1 << 29)
KEPT = ("data", "encoding", "held_out")  # what an agent that learnt from data goes on saying of them
WARMUP_UPDATES = 10  # updates after which the memory that they need has been taken


class OnlineTrainer:
    """A run in memory: environments, agent, replay, learner. `training/online/loop.py` says in which order they work."""

    def __init__(
        self,
        config: RunConfig,
        make: EnvMaker,
        found: Probe | None = None,
        *,
        start: Agent | None = None,
        source: Source | None = None,
    ) -> None:
        """`start`: whose weights to begin with; `source`: recorded sessions of the same spaces, learnt from beside the live
        ones (`offline.fraction` of each batch).

        Raises:
            SpaceError: either is of other spaces than the environment.
            ConfigError: what acts shall be proven (`learner.acting_weights`), and there is nothing to begin with.
        """
        if start is None and config.learner.acting_weights == "incumbent":
            raise ConfigError("learner.acting_weights = 'incumbent' needs an agent to start from (start): nothing is proven before")
        if start is not None and config.memoryless and start.network.config.context != 1:
            raise ConfigError(
                "memoryless: the agent to start from has a memory; a twin without one is trained without start"
            )
        self.notes: list[str] = []  # what the next record has to say in words
        self.probe = found or probe(make)
        self.device = choose_device(config.device)
        if start is not None:
            config = dataclasses.replace(config, network=start.network.config)
        self.config = config = resolve_compile_mode(resolve_defaults(config, self.probe), self.device)
        count, asked = config.environments, config.vectorization
        mode = choose_mode(make, self.probe, count) if asked == "auto" else asked
        self.config = config = dataclasses.replace(config, vectorization=mode)
        self.make = make
        if config.threads:
            torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        if self.device.type == "cpu":
            keep_freed_memory()
        spec, action = self.probe.observation, self.probe.action
        network = QNetwork(config.network, spec, action).to(self.device)
        for what, given in (("the agent to start from", start), ("the recorded data", source)):
            if given is not None:
                require_same_spaces(what, given, spec, action)
        if start is not None:
            network.load_state_dict(start.network.state_dict())
        self.learner = Learner(network, config.objective, config.learner)
        self._choose_agents({} if start is None else {name: start.info[name] for name in KEPT if name in start.info})
        actors = Actors(self.agent, count, self.challenger if self.has_incumbent else None)
        if config.learner.compile == "on":
            actors.compile()
            self.notes.append("the update is compiled, which takes up to a minute before the first one, once")
        self.replay = Replay(
            spec.storage,
            config.replay.capacity,
            actions=action.actions,
            action_dims=action.dims,
            masked=self.probe.masked,
            priority=config.replay.priority,
            context=config.network.context,
            directory=Path(config.replay.directory) if config.replay.directory else None,
        )
        self.stream = VectorStream(make_vector(make, count, mode), spec, action)
        explorer = Explorer(
            config.exploration, count, spec, action.actions, config.seed + 1, self._normalise, actors.trial
        )
        discount = config.objective.discount
        assert discount is not None  # `complete` chose one
        self.discount = discount
        self.scale = ReturnScale(discount)
        if start is not None:
            self.scale.begin(float(network.head.scale))
        self.has_initial_agent = start is not None
        self.recorded_episodes = None if source is None else _learnt_from(source, start)
        segment = max(4 * config.replay.window, 512)
        self.collector = Collector(
            self.stream, actors, explorer, self.replay, self.scale,
            seed=config.seed, segment=segment, context=config.network.context,
        )  # fmt: skip
        self.rng = np.random.default_rng(config.seed + 2)
        self.num_learned = 0  # transitions learnt, padding and burn-in not counted
        self.ready = False
        self.recent: deque[EpisodeEnd] = deque(maxlen=100)
        self.pending_metrics: list[dict[str, torch.Tensor]] = []  # the learner's metrics since the last record
        self._widened = False  # that windows had to be widened has been said
        self.stop_requested = False  # set from outside: end after this round of the loop, where a checkpoint is exact
        self.solved = False  # the threshold held: there is nothing left to do
        self.best: float | None = None  # mean return of the best validation
        self.seconds = 0.0  # of earlier sittings
        self._began = time.perf_counter()

    def _choose_agents(self, kept: dict[str, Any]) -> None:
        """`agent` is kept and acts; `challenger` is looked at. One and the same, unless what acts has to be proven first."""
        config, learner = self.config, self.learner
        info = kept | {"env": config.env, "seed": config.seed, "discount": config.objective.discount}
        self.challenger = Agent(learner.network if config.learner.acting_weights == "latest" else learner.target, info)
        self.agent = self.challenger
        if config.learner.acting_weights == "incumbent":
            self.agent = Agent(copy.deepcopy(learner.network), info)

    @property
    def has_incumbent(self) -> bool:
        """Whether what acts has to be proven: two agents act."""
        return self.agent is not self.challenger

    @property
    def best_agent(self) -> Agent:
        """What is saved to act with."""
        return self.agent

    # -- the steps of the loop -------------------------------------------------------------------------------------

    @property
    def steps(self) -> int:
        """What a run's records are counted by: environment steps."""
        return self.collector.steps

    @property
    def progress(self) -> float:
        """The fraction of the run that is over."""
        return min(1.0, self.collector.steps / self.config.steps)

    @property
    def elapsed(self) -> float:
        """Seconds of training, earlier sittings included."""
        return self.seconds + time.perf_counter() - self._began

    def collect(self) -> None:
        """One step of every environment."""
        for end in self.collector.step(self.progress):
            self.recent.append(end)
        if not self.ready and self.collector.steps >= self.config.replay.learning_starts and self.replay.episodes:
            if not self.has_initial_agent:
                self._freeze_statistics()
            self.ready = True

    @property
    def update_due(self) -> bool:
        """Whether the learner is behind its share of transitions for each environment step."""
        budget = (self.collector.steps - self.config.replay.learning_starts) * self.config.replay.replay_ratio
        return self.ready and self.num_learned < budget

    def update(self) -> dict[str, torch.Tensor]:
        """Sample, learn, move the target."""
        config = self.config
        if abs(self.scale.value / float(self.agent.network.head.scale) - 1.0) > 0.01:
            self.learner.rescale(self.scale.value)
            if self.has_incumbent:
                self.agent.network.rescale(self.scale.value)
        window = self._window()
        sample: dict[str, Any] = {
            "window": window,
            "context": config.network.context,
            "discount": self.discount,
            "rng": self.rng,
            "pad_to": window if config.learner.compile == "on" else None,
            "pack": config.network.trunk == "transformer",  # a GRU would have to run packed rows step by step
        }
        live, old = split_batch(config, self.replay, self.recorded_episodes, window)
        importance = config.replay.importance + (1.0 - config.replay.importance) * self.progress
        batch = self.replay.sample(live, importance=importance, **sample)
        self.num_learned += max(1, batch.num_learned)
        mixed = batch
        if self.recorded_episodes is not None and old:
            mixed = concat(batch, self.recorded_episodes.sample(old, **sample))
        metrics = self.learner.update(mixed, self.progress)
        if self.learner.updates == WARMUP_UPDATES and self.device.type == "cpu":
            use_large_pages()
        if config.replay.priority:
            error = self.learner.errors[: len(batch.reward), : batch.reward.shape[1]]  # of the live windows
            self.replay.update_priorities(batch, error.cpu().numpy())
        if config.refresh_every and self.learner.updates % config.refresh_every == 0:
            self.collector.refresh()
        return metrics

    def _window(self) -> int:
        """The config's window; twice the context, once episodes are longer than those that it was chosen by.

        Random play may only have seen short ones, and a window inside an episode must be longer than its burn-in.
        """
        window, context = self.config.replay.window, self.config.network.context
        if window > context or self.replay.whole(window):
            return window
        if not self._widened:
            self._widened = True
            self.notes.append(
                f"episodes grew longer than replay.window = {window}, the longest that random play met: windows of "
                f"{2 * context} steps from here on. If more has to be remembered, set network.context"
            )
        return 2 * context

    def validate(self, episodes: int | None = None, seed: int = VALIDATION_SEED) -> Evaluation:
        """Greedy episodes, with fresh memory, on seeds that no reported figure uses."""
        return self._play(self.challenger, episodes or self.config.validation.episodes, seed)

    def _play(self, agent: Agent, episodes: int, seed: int) -> Evaluation:
        return play(agent, self.make, episodes, seed, min(episodes, self.config.environments), limit=self._patience())

    def challenger_wins(self) -> bool:
        """Whether what had the best look is at least as good as what acts in further episodes, too.

        True where nothing has to be proven. The best of many looks is often luck, and what acts should not be replaced by
        luck.
        """
        if not self.has_incumbent or self.best is None:
            return True
        episodes = self.config.validation.confirm
        acts, new = (self._play(one, episodes, CONFIRM_SEED).mean for one in (self.agent, self.challenger))
        verdict = "acts from here on" if new >= acts else "is not proven"
        self.notes.append(
            f"what was learnt {verdict}: {new:.3f} in {episodes} further episodes, {acts:.3f} by what acted"
        )
        return new >= acts

    def promote(self) -> None:
        """What was looked at last acts from here on, and is kept."""
        if self.has_incumbent:
            self.agent.network.load_state_dict(self.challenger.network.state_dict())
            self.collector.refresh()

    def _patience(self) -> int:
        """Steps after which a validation episode is cut off, where the environment itself declares no limit."""
        if self.probe.episode_limit is not None:
            return max(LONGEST, self.probe.episode_limit)
        seen = max([self.probe.longest, *(end.length for end in self.recent)])
        return min(LONGEST, max(1_000, 10 * seen))

    def _freeze_statistics(self) -> None:
        """Set the statistics of vector observations from the warm-up's experience, once, for both networks."""
        statistics = {}
        for path in self.agent.network.tokens.vectors():
            values = torch.from_numpy(self.replay.observations(path).astype(np.float64))
            statistics[path] = (values.mean(dim=0), values.std(dim=0, unbiased=False))
        if statistics:
            self.learner.observe(statistics)
            self.collector.refresh()

    def _normalise(self, path: str, values: Any) -> Any:
        encoder = self.agent.network.tokens.vectors()[path]
        with torch.inference_mode():
            return encoder.normalise(torch.from_numpy(np.ascontiguousarray(values)).to(self.device)).cpu().numpy()

    def close(self) -> None:
        """Let the environments go."""
        self.stream.close()

    # -- saved and restored ----------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Everything an exact resume needs. Refers to the live arrays: write it, or copy it, before going on."""
        names = list(self.pending_metrics[0]) if self.pending_metrics else []
        return {
            "collector": self.collector.state_dict(),
            "learner": self.learner.state_dict(),
            "incumbent": self.agent.network.state_dict() if self.has_incumbent else None,
            "replay": self.replay.state_dict(),
            "scale": self.scale.state_dict(),
            "rng": self.rng.bit_generator.state,
            "torch_rng": torch.get_rng_state(),
            "device_rng": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
            "learned": self.num_learned,
            "ready": self.ready,
            "recent": [dataclasses.asdict(end) for end in self.recent],
            "gathered": {name: torch.stack([torch.as_tensor(m[name]).cpu() for m in self.pending_metrics]) for name in names},
            "solved": self.solved,
            "best": self.best,
            "notes": list(self.notes),
            "widened": self._widened,
            "seconds": self.elapsed,
        }

    def load_state_dict(self, state: dict[str, Any]) -> list[int]:
        """The inverse; returns the environments whose open episode could not be replayed."""
        self.learner.load_state_dict(state["learner"])
        if state.get("incumbent") is not None:
            self.agent.network.load_state_dict(state["incumbent"])
        self.replay.load_state_dict(state["replay"])
        self.scale.load_state_dict(state["scale"])
        self.rng.bit_generator.state = state["rng"]
        self.num_learned, self.ready = int(state["learned"]), bool(state["ready"])
        self.recent = deque((EpisodeEnd(**end) for end in state["recent"]), maxlen=self.recent.maxlen)
        length = max((len(values) for values in state["gathered"].values()), default=0)
        self.pending_metrics = [{name: values[i] for name, values in state["gathered"].items()} for i in range(length)]
        self.solved, self.best = bool(state.get("solved", False)), state["best"]
        self.notes, self._widened = list(state.get("notes", [])), bool(state.get("widened", False))
        self.seconds, self._began = float(state["seconds"]), time.perf_counter()
        lost = self.collector.load_state_dict(state["collector"])
        torch.set_rng_state(state["torch_rng"])
        if state["device_rng"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["device_rng"], self.device)
        return lost


def _learnt_from(source: Source, start: Agent | None) -> EpisodeBuffer:
    """The recorded sessions, but for those that were held out when `start` learnt from them: they stay held out."""
    held = None if start is None else start.info.get("held_out")
    if held is None:
        return source.buffer
    return source.buffer.subset(source.split(held["share"], held["seed"])[0])
