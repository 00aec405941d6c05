"""Training on recorded data: training episodes, held-out episodes, agent and learner.

The counterpart of `online/trainer.py`, without environments. The order of work is in `offline/loop.py`.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import torch

from seqel.agents.agent import Agent
from seqel.errors import ConfigError
from seqel.losses.returns import discounted_return
from seqel.networks.qnetwork import QNetwork
from seqel.replay.episode_buffer import EpisodeBuffer
from seqel.replay.gathering import windows_of
from seqel.training.config import RunConfig
from seqel.training.hardware.memory import require_memory
from seqel.training.held_out import HeldOut, Sums
from seqel.training.learner import Learner
from seqel.training.record import Validation
from seqel.training.resolve import for_episodes, on_this_machine, unused_network_settings, with_network_of
from seqel.training.shielded_data import shielded, with_shield
from seqel.training.sources import Source, described, require_same_spaces
from seqel.training.trainer import Trainer
from seqel.types import QOutput, SequenceBatch

__all__ = ["OfflineTrainer"]

MAX_WINDOWS = 1_024
HELD_OUT_TRANSITIONS = 50_000  # at most, per validation
HELD_OUT_VALUES = 1 << 24  # action values per forward pass of a validation, about 64 MiB per tensor
SCALE_TRANSITIONS = 1_000_000  # at most, for the scale of returns
TOLERANCE = 0.05  # share of the targets' variance by which a validation may be below the best and still be accepted
DIGEST = 1_000_000  # slots that a resume compares


class OfflineTrainer(Trainer):
    """Recorded episodes, agent and learner of one run."""

    unit = "updates"
    best: float | None = None

    def __init__(self, config: RunConfig, source: Source, initial_agent: Agent | None = None) -> None:
        """initial_agent: an agent whose weights, statistics and network config the run starts from.

        Raises:
            DataError: there are fewer than two episodes. SpaceError: `initial_agent` has other spaces than the data.
            ConfigError: the rules of `shield` do not fit the data, or `perturb` is set, which changes environments.
        """
        if config.perturb:
            raise ConfigError("perturb: changes what environments show, and this run has none: leave it out")
        asked_network = config.network
        if initial_agent is not None:
            require_same_spaces(
                "the agent to start from", initial_agent, source.observation, source.action, "the data's spaces"
            )
            config = with_network_of(config, initial_agent.network.config)
        config, shield = with_shield(config, source.observation, source.action, initial_agent, described(source))
        if shield is not None:
            source = shielded(source, shield)
        config = for_episodes(config, source.buffer)
        super().__init__(on_this_machine(config, config.offline.updates))
        config, self.source = self.config, source
        unused = unused_network_settings(asked_network, config.network) if initial_agent is not None else None
        self.notes += [] if unused is None else [unused]
        require_memory(config, source.observation, source.action, live=False)
        training, held_out = source.split(config.offline.held_out, config.seed)
        self.training_episodes, self.held_out_episodes = source.buffer.subset(training), source.buffer.subset(held_out)
        network = self.make_network().to(self.device)
        info = {"data": list(config.offline.files), "seed": config.seed, "discount": config.objective.discount}
        info["held_out"] = {"share": config.offline.held_out, "seed": config.seed}  # identifies the held-out episodes
        rules = {"shield": config.shield} if config.shield else {}
        self.agent = Agent(network, info | described(source) | rules)
        self.learner = Learner(network, config.objective, config.learner)
        self.rng = np.random.default_rng(config.seed + 2)
        self._observe(initial_agent)
        self.checks_since_best = 0  # validations since the last accepted one

    def make_network(self) -> QNetwork:
        """Create the network to train."""
        return QNetwork(self.config.network, self.source.observation, self.source.action)

    def prepare(self, batch: SequenceBatch) -> SequenceBatch:
        """Convert a sampled batch to what the learner expects."""
        return batch.to(self.device)

    def _observe(self, initial_agent: Agent | None) -> None:
        """Set the return scale, and the starting weights or the statistics of vector observations, once."""
        if initial_agent is not None:
            self.learner.start_from(initial_agent.network)
        self.learner.rescale(return_scale(self.training_episodes, self.config.objective.discount))
        if self.agent.network.tokens.items is not None:
            counts = np.bincount(self.training_episodes.actions()[:, 0], minlength=self.source.action.actions)
            self.learner.set_known_items(torch.from_numpy(counts > 0))
        if initial_agent is not None:
            return
        statistics = {}
        for path, encoder in self.agent.network.tokens.vectors().items():
            values = torch.from_numpy(self.training_episodes.observations(path).astype(np.float64))
            statistics[path] = encoder.statistics(values)
        if statistics:
            self.learner.observe(statistics)

    @property
    def total(self) -> int:
        """Updates that the config asks for."""
        return self.config.offline.updates

    def extend(self) -> None:
        """Continue a finished run whose number of updates was increased."""
        super().extend()
        self.checks_since_best = 0

    def update(self) -> dict[str, torch.Tensor]:
        """Sample a batch, train on it, and move the target network. Returns the learner's metrics."""
        config = self.config
        window = config.replay.window
        batch = self.training_episodes.sample(
            self._windows(window),
            window=window,
            context=config.network.context,
            discount=config.objective.discount,
            rng=self.rng,
            pad_to=window if config.learner.compile == "on" else None,
            pack=self.agent.network.trunk.packs_rows,
        )
        metrics = self.learner.update(self.prepare(batch), self.progress)
        self.after_update()
        return metrics

    def _windows(self, window: int) -> int:
        config = self.config.replay
        if config.batch_size:
            return config.batch_size
        return windows_of(config.batch_tokens, self.training_episodes.mean_length(window), MAX_WINDOWS)

    def validate(self) -> HeldOut:
        """Measure how well the network predicts the held-out episodes."""
        return self.validation_sums().result()

    def accept(self, validation: Validation) -> bool:
        """Return whether the validated weights are kept; updates `checks_since_best`.

        A cloning policy is kept if it predicts the held-out episodes best. Q-values are kept unless they explain clearly
        less of those episodes than the best so far: as Q-values grow, so do their targets, so small differences in score say
        nothing about the policy (docs/experiments.md), while a larger drop means overfitting.
        """
        score = validation.mean
        best = self.best if self.best is not None else score
        clones = self.config.objective.td_weight == 0.0 or self.config.network.policy_head == "greedy"
        accepted = score >= (best if clones else best - TOLERANCE)
        self.checks_since_best = 0 if accepted else self.checks_since_best + 1
        self.best = max(best, score)
        return accepted

    @property
    def last_agent(self) -> Agent:
        """The moving average of the weights if there is one, otherwise the latest weights.

        Averaged weights act more consistently (Polyak & Juditsky 1992; Izmailov et al. 2018, arXiv:1803.05407), and there is
        no environment in which good weights could be selected among noisy ones.
        """
        averaged = self.config.learner.target == "average"
        return Agent(self.learner.target, self.agent.info) if averaged else self.agent

    @torch.no_grad()
    def validation_sums(self) -> Sums:
        """Return the sums over held-out steps from which `validate` computes its means."""
        config, network = self.config, self.last_agent.network
        sums = Sums(network, config.objective, self.held_out_episodes.lengths)
        action = self.source.action  # one value per action and step: with many actions, fewer steps at a time
        tokens = int(np.clip(HELD_OUT_VALUES // (action.actions * action.dims), 1, 16_384))
        for batch in self.held_out_episodes.batches(
            window=config.replay.window,
            context=config.network.context,
            discount=config.objective.discount,
            tokens=tokens,
        ):
            batch = self.prepare(batch)
            if config.objective.td_weight == 0.0 and 2 * batch.num_learned < int(batch.valid.sum()):
                # each step's loss is its own: the heads need only the few steps that have one
                batch, out = _learned_outputs(network, batch)
                sums.add(batch, out, out)
            else:
                slow = self.learner.target(batch)
                sums.add(batch, slow if network is self.learner.target else network(batch), slow)
            if self.on_update is not None:
                self.on_update(self)
            if sums.steps >= HELD_OUT_TRANSITIONS:
                break
        return sums

    def digest(self) -> int:
        """Return a checksum of the first transitions' actions and rewards, to detect that other data are given."""
        columns, count = self.training_episodes.slots.columns, DIGEST
        return zlib.crc32(columns["reward"][:count].tobytes(), zlib.crc32(columns["action"][:count].tobytes()))

    # -- saved and restored ----------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return everything that an exact resume needs, except the data."""
        return super().state_dict() | {
            "best": self.best,
            "checks_since_best": self.checks_since_best,
            "transitions": len(self.training_episodes),
            "digest": self.digest(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> list[int]:
        """Restore what `state_dict` returned. Returns an empty list, since no episode can be lost.

        Raises ValueError if the data are not those that the state was saved with.
        """
        count = int(state["transitions"])
        if count != len(self.training_episodes):
            raise ValueError(f"expected {count:,} training transitions, got {len(self.training_episodes):,}")
        if int(state["digest"]) != self.digest():
            raise ValueError("expected the data that the run started with, got data with other actions or rewards")
        self.best, self.checks_since_best = state["best"], int(state["checks_since_best"])
        return super().load_state_dict(state)


def _learned_outputs(network: QNetwork, batch: SequenceBatch) -> tuple[SequenceBatch, QOutput]:
    """Return the steps in `loss_mask` as windows of one transition, and the outputs there, after their whole histories."""
    h = network.trunk(network.embed(batch), batch.is_first, batch.start_step)
    steps, window, step = batch.learned_steps()
    both = torch.stack((h[window, step], h[window, step + 1]), dim=1)
    return steps, network.heads(both, steps.candidates)


def return_scale(episodes: EpisodeBuffer, discount: float) -> float:
    """Return the root mean square of the discounted returns from each recorded step on; 1 if all are 0."""
    total = steps = 0.0
    for batch in episodes.batches(window=int(episodes.lengths.max()), context=0, discount=discount):
        returns = discounted_return(batch.reward.double(), batch.discount.double(), batch.valid)[batch.valid]
        total, steps = total + float(returns.square().sum()), steps + len(returns)
        if steps >= SCALE_TRANSITIONS:
            break
    scale = float(np.sqrt(total / max(steps, 1.0)))
    return scale if scale > 0.0 else 1.0
