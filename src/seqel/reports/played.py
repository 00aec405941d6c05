"""Recorded episodes of a run, kept beside it: a second report reads them in place of playing again."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from seqel.agents.artifact import weights_checksum
from seqel.errors import CheckpointError, StorageError
from seqel.evaluation.recording import PlayedEpisodes, play_recorded
from seqel.storage import load_tree, save_tree

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from seqel.agents.agent import Agent
    from seqel.environments.resolve import EnvMaker

__all__ = ["CACHE", "played_episodes"]

CACHE = "report"  # folder in the run's folder
FORMAT = 1  # of the episodes


def played_episodes(
    agent: Agent,
    make: EnvMaker,
    env: str,
    env_args: dict[str, Any],
    folder: Path,
    episodes: int,
    seed: int,
    progress: Callable[[int], None] | None = None,
    fresh: bool = False,
) -> tuple[PlayedEpisodes, bool]:
    """Return recorded episodes, and whether they were read from the cache in `folder`.

    The cache holds for the same weights, environment, arguments, seed and number of episodes. A damaged one is ignored, and
    a folder that cannot be written only costs time at the next report. fresh: play again.

    Raises as `seqel.evaluate` does.
    """
    key = {
        "format": FORMAT, "weights": weights_checksum(agent.network), "network": repr(agent.network.config),
        "env": env, "env_args": repr(sorted(env_args.items())),
        "episodes": episodes, "seed": seed,
    }  # fmt: skip
    place = folder / CACHE / f"episodes-{episodes}-{seed}"
    with suppress(CheckpointError, KeyError, TypeError):
        held = {} if fresh else load_tree(place)
        if held["key"] == key:
            return PlayedEpisodes.from_tree(held["episodes"]), True
    played = play_recorded(agent, make, episodes, seed, progress=progress)
    with suppress(StorageError):
        save_tree(place, {"key": key, "episodes": played.as_tree()}, replace=True)
    return played, False
