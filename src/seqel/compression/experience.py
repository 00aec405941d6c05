"""The histories on which an agent is compressed: its own episodes and those of the pruned agent, or recorded ones.

The full agent also labels the histories of the pruned agent, so the pruned agent learns to correct its own mistakes: DAgger,
Ross et al. 2011, arXiv:1011.0686. Differs: agents do not alternate within an episode; the full agent plays the first half of
the steps, the pruned agent the rest, and all of them stay in the replay. Seeds are those of training, which no evaluation
uses.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from seqel.agents.agent import Agent
from seqel.agents.config import ExplorationConfig
from seqel.agents.exploration import Explorer
from seqel.agents.matching import require_equal_spaces
from seqel.environments.resolve import EnvMaker
from seqel.environments.seeds import episode_seed
from seqel.environments.vector import VectorStream, close_vector, make_vector
from seqel.replay.buffer import Replay
from seqel.replay.episode_buffer import EpisodeBuffer
from seqel.replay.gathering import windows_of
from seqel.spaces import ActionSpec
from seqel.training.online.actors import Actors
from seqel.training.online.collector import Collector
from seqel.training.return_scale import ReturnScale
from seqel.types import SequenceBatch

__all__ = ["Experience", "Played", "Recorded"]

ENVIRONMENTS = 16
MOST_WINDOWS = 1_024
SEED_OFFSET = 0x5EED  # other training seeds than those of a run with the same seed
SHORTEST_SEGMENT = 512  # transitions


class Experience(Protocol):
    """Histories to sample from."""

    def play(self, agent: Agent, steps: int) -> None:
        """Add histories of this agent, about so many steps; recorded histories stay what they are."""
        ...

    def sample(self, tokens: int, rng: np.random.Generator) -> SequenceBatch:
        """Return windows of about `tokens` steps."""
        ...


class Played:
    """Episodes that agents play in an environment, greedily.

    Raises:
        SpaceError: the environment's spaces are not those of the agent.
    """

    def __init__(self, make: EnvMaker, agent: Agent, capacity: int, seed: int) -> None:
        context = agent.network.config.context
        spec, action = agent.observation_spec, agent.action_spec
        self.window, self.context = 2 * context, context
        self._plays: Agent | None = None
        self.envs = make_vector(make, ENVIRONMENTS)
        try:
            found = (
                spec.same_reading(self.envs.single_observation_space),
                ActionSpec.from_space(self.envs.single_action_space),
            )
            require_equal_spaces("the environment", found, "the spaces that the agent was trained on", (spec, action))
            stream = VectorStream(self.envs, spec, action)
            stream.reset([episode_seed(seed + SEED_OFFSET, row, 0) for row in range(ENVIRONMENTS)])
            masked = stream.mask is not None
            if masked:
                stream.mask = stream.unmasked()
            segment = max(SHORTEST_SEGMENT, 4 * self.window)
            self.replay = Replay(
                spec.storage, 3 * (capacity + ENVIRONMENTS) + segment + 1, actions=action.actions, action_dims=action.dims,
                masked=masked, context=context,
            )  # fmt: skip
            explorer = Explorer(ExplorationConfig(rule="greedy", novelty=0.0, bonus=0.0), ENVIRONMENTS, action, seed)
            self.collector = Collector(
                stream, Actors(agent, ENVIRONMENTS), explorer, self.replay, ReturnScale(1.0),
                seed=seed + SEED_OFFSET, segment=segment, context=context,
            )  # fmt: skip
            self.collector.begin()
        except BaseException:
            self.close()
            raise

    def play(self, agent: Agent, steps: int) -> None:
        """Let an agent play at least so many steps in all environments together.

        Its open episodes continue in the next call. The first call truncates them, because there must be steps to sample.
        """
        begins = agent is not self._plays
        if begins:
            self._plays = agent
            self.collector.interrupt()
            self.collector.actors = Actors(agent, ENVIRONMENTS)
        last = self.collector.steps + steps
        while self.collector.steps < last:
            self.collector.step()
        if begins:
            self.collector.interrupt()

    def sample(self, tokens: int, rng: np.random.Generator) -> SequenceBatch:
        """Return windows of about `tokens` steps."""
        mean = min(self.window, len(self.replay) / self.replay.episodes)
        return self.replay.sample(
            windows_of(tokens, mean, MOST_WINDOWS), window=self.window, context=self.context, discount=1.0, rng=rng,
            pack=_share_rows(mean, self.window),
        )  # fmt: skip

    def close(self) -> None:
        """Close the environments."""
        close_vector(self.envs)


class Recorded:
    """Recorded episodes, on which the agent was trained."""

    def __init__(self, episodes: EpisodeBuffer, context: int) -> None:
        self.episodes, self.context = episodes, context
        self.window = max(2 * context, 2)

    def play(self, agent: Agent, steps: int) -> None:
        """Do nothing: recorded histories do not depend on the agent."""

    def sample(self, tokens: int, rng: np.random.Generator) -> SequenceBatch:
        """Return windows of about `tokens` steps."""
        mean = self.episodes.mean_length(self.window)
        return self.episodes.sample(
            windows_of(tokens, mean, MOST_WINDOWS), window=self.window, context=self.context, discount=1.0, rng=rng,
            pack=_share_rows(mean, self.window),
        )  # fmt: skip


def _share_rows(mean: float, window: int) -> bool:
    """Return whether two episodes of mean length fit into one row: only then does packing save padding."""
    return 2 * (mean + 1) <= window + 1
