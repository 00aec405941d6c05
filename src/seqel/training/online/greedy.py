"""Greedy episodes in the middle of a training, for validation: in environments of their own if there can be more than one."""

from __future__ import annotations

from collections.abc import Sequence

from seqel.agents.agent import Agent
from seqel.environments.contract import SharedInstance
from seqel.environments.probe import Probe
from seqel.environments.resolve import EnvMaker
from seqel.evaluation.rollout import LONGEST, Evaluation, play, play_on
from seqel.training.online.collector import Collector, EpisodeEnd

__all__ = ["GreedyEpisodes"]


class GreedyEpisodes:
    """Plays them with fresh memory. `recent`: the training episodes that ended last, for the longest episode to expect."""

    def __init__(
        self, make: EnvMaker, found: Probe, environments: int, collector: Collector, recent: Sequence[EpisodeEnd]
    ) -> None:
        self.make, self.probe, self.environments = make, found, environments
        self.collector, self.recent = collector, recent

    def play(self, agent: Agent, episodes: int, seed: int) -> Evaluation:
        """Play `episodes` episodes, the first of which is reset with `seed`, the next with `seed` + 1, and so on.

        If only one environment can exist, this ends the training episode that is open in it.
        """
        environments = min(episodes, self.environments)
        try:
            return play(agent, self.make, episodes, seed, environments, limit=self.limit)
        except SharedInstance:
            found = play_on(agent, self.collector.stream, episodes, seed, limit=self.limit)
            self.collector.interrupt()
            return found

    @property
    def limit(self) -> int:
        """Steps after which an episode is truncated, if the environment declares no limit."""
        if self.probe.episode_limit is not None:
            return max(LONGEST, self.probe.episode_limit)
        ended = max([*self.probe.lengths, *(end.length for end in self.recent)], default=0)
        return min(LONGEST, max(1_000, 10 * ended, self.probe.longest))
