"""Recorded episodes of a run, kept beside it: a second report reads them in place of playing again."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from seqel.agents.artifact import weights_checksum
from seqel.errors import CheckpointError, StorageError
from seqel.evaluation.recording import PlayedEpisodes, play_recorded
from seqel.storage import atomic_write, cache_folder
from seqel.stored_trees import load_tree, save_tree

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from seqel.agents.agent import Agent
    from seqel.environments.resolve import EnvMaker

__all__ = ["CACHE", "played_episodes"]

CACHE = "report"  # folder in the run's folder
FORMAT = 1  # of the episodes
LARGEST = 1 << 30  # bytes of a file


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
    trust: bool = False,
) -> tuple[PlayedEpisodes, bool]:
    """Return recorded episodes, and whether they were read from the cache in `folder`.

    The cache holds for the same weights, environment, arguments, seed and number of episodes. A damaged one is ignored, and
    a folder that cannot be written only costs time at the next report. fresh: play again.
    trust: read the episodes even if they were not played here: the files of a run from elsewhere may claim anything.

    Raises as `seqel.evaluate` does.
    """
    key = {
        "format": FORMAT, "weights": weights_checksum(agent.network), "network": repr(agent.network.config),
        "env": env, "env_args": repr(sorted(env_args.items())),
        "episodes": episodes, "seed": seed,
    }  # fmt: skip
    place = folder / CACHE / f"episodes-{episodes}-{seed}"
    with suppress(CheckpointError, KeyError, TypeError, OSError):
        held = load_tree(place) if not fresh and (trust or _mark(place).exists()) else {}
        if held["key"] == key:
            return PlayedEpisodes.from_tree(held["episodes"]), True
    played = play_recorded(agent, make, episodes, seed, progress=progress)
    with suppress(StorageError):
        save_tree(place, {"key": key, "episodes": played.as_tree()}, replace=True)
        atomic_write(_mark(place), "")
    return played, False


def _mark(place: Path) -> Path:
    """The file in the user's own cache that says that these episodes were played here, named by what they contain."""
    digest = hashlib.sha256(str(place.resolve()).encode())
    for file in sorted(place.iterdir()) if place.is_dir() else ():
        if file.is_file() and file.stat().st_size <= LARGEST:
            digest.update(file.name.encode() + file.read_bytes())
    return cache_folder("reports") / digest.hexdigest()
