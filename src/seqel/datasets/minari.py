"""Loads Minari datasets, which are recorded episodes of Gymnasium environments, as a `Dataset`.

Minari records the observation after the last step, so no step is repeated or dropped. The episodes are kept in memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from seqel.datasets.dataset import Dataset
from seqel.datasets.hashing import splitmix64
from seqel.errors import DataError, SpaceError
from seqel.extras import require
from seqel.replay.layout import Layout
from seqel.spaces import ActionSpec, ObservationSpec
from seqel.types import Episode

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["load_minari"]


def load_minari(dataset_id: str) -> Dataset:
    """Load a dataset with discrete actions that Minari has on this machine (`minari download ID` downloads one).

    An episode that is neither terminated nor truncated counts as truncated: the recording stopped.

    Raises:
        DataError: there is no such dataset, it has no episode, or one is damaged (not finite, an action outside its space).
        SpaceError: its actions are not Discrete, or an observation space is not supported.
        MissingExtraError: minari or h5py is not installed.
    """
    minari = require("minari")
    require("h5py")
    try:
        source = minari.load_dataset(dataset_id)
    except (FileNotFoundError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"{dataset_id}: expected a Minari dataset on this machine, got {reason}: `minari list local` lists the existing "
            "ones, `minari download ID` downloads another"
        ) from error
    observation, action = (
        ObservationSpec.from_space(source.observation_space),
        ActionSpec.from_space(source.action_space),
    )
    layout = Layout(observation.storage, action.actions, action.dims, recorded=True)
    from seqel.replay.episode_buffer import EpisodeBuffer

    ids: list[int] = []
    recorded = EpisodeBuffer.of(
        layout, [episode for _, episode in _episodes(source, observation, action, ids, dataset_id)]
    )
    terminated = int(recorded.table.numbers[:, recorded.table.TERMINATED].sum())
    report: dict[str, Any] = {
        "rows": len(recorded),
        "table_sessions": len(ids),
        "terminated": terminated,
        "truncated": len(ids) - terminated,
    }
    names = [str(one) for one in ids]
    start = action.start[0]
    return Dataset(
        recorded, observation, action, [str(start + code) for code in range(action.sizes[0])],
        splitmix64(np.array(ids, np.uint64)), lambda: names, None, report,
    )  # fmt: skip


def _episodes(
    source: Any, observation: ObservationSpec, action: ActionSpec, ids: list[int], name: str
) -> Iterator[tuple[int, Episode]]:
    """Yield each episode that has a step, and add its id to `ids`."""
    for episode in source.iterate_episodes():
        steps = len(episode.rewards)
        if steps == 0:
            continue
        try:
            flat = observation.flatten(episode.observations, steps + 1)
        except SpaceError as error:
            raise DataError(f"{name}, episode {episode.id}: {error}") from error
        codes = np.asarray(episode.actions, np.int64).reshape(steps, action.dims) - action.start
        reward = np.asarray(episode.rewards, np.float32)
        if not np.isfinite(reward).all():
            step = int((~np.isfinite(reward)).argmax())
            raise DataError(f"{name}, episode {episode.id}, step {step}: expected a finite reward, got {reward[step]}")
        bad = ((codes < 0) | (codes >= action.sizes)).any(axis=1)
        if bad.any():
            step = int(bad.argmax())
            start, got = (action.offset.tolist(), (codes[step] + action.start).tolist())
            raise DataError(
                f"{name}, episode {episode.id}, step {step}: expected an action of its space (from {start}, {action} of "
                f"them), got {got[0] if action.dims == 1 else got}"
            )
        ids.append(int(episode.id))
        over = bool(episode.terminations[-1])
        yield int(episode.id), Episode(dict(flat), codes, reward, terminated=over, truncated=not over)
