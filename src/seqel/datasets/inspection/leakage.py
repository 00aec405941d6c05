"""Columns that know too much: a network given the reward before it acts learns nothing that is there at service time.

Each column alone predicts the reward of the same row: the mean reward of each of its values (numbers in up to BINS
groups of equal size, also a straight line), learnt on one half of the sessions and tried on the other. Above SUSPICIOUS
of the variance explained it is named. That may be honest (the reward is a known function of the state), so it is a
question to the owner of the data, not an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from seqel.datasets.encoding import CATEGORIES, NUMBERS
from seqel.replay.layout import OBSERVATION

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from seqel.datasets.dataset import Dataset

__all__ = ["Leak", "explained", "suspicious"]

SUSPICIOUS = 0.95  # of the reward's variance
SAME = 0.999  # of the rows
BINS = 256
SAMPLE = 200_000  # transitions
ELEMENTS = 64  # of a vector that are looked at


@dataclass(frozen=True)
class Leak:
    """A column, what it tells ("reward" or "action"), and how much of it."""

    column: str
    tells: str
    share: float

    def __str__(self) -> str:
        if self.tells == "action":
            return (
                f"column {self.column!r} tells the action of its own row in {self.share:.1%} of the rows: if it was recorded "
                "after the choice, take it out of [observation]"
            )
        return (
            f"column {self.column!r} alone explains {self.share:.1%} of the reward of its own row: if it was recorded after "
            "the action, the agent would see its reward before it acts; then take it out of [observation]"
        )


def suspicious(dataset: Dataset, sample: int = SAMPLE) -> list[Leak]:
    """The observation columns that tell their row's reward or action.

    sample: transitions looked at; the sessions of a store lie in random order, so its first ones are a fair sample.
    """
    if dataset.encoding is None:
        return []
    columns = dataset.buffer.slots.columns
    part = slice(0, sample)
    own = np.asarray(columns["by_agent"][part])
    reward = columns["reward"][part][own].astype(np.float64)
    actions = columns["action"][part][own].astype(np.int64)  # (N, M)
    half = len(reward) // 2
    found = []
    for name, values in _values(dataset, part, own):
        groups = _groups(values, half)
        share = explained(groups, reward, half)
        if values.dtype.kind == "f":
            share = max(share, _line(values, reward, half))
        if share > SUSPICIOUS:
            found.append(Leak(name, "reward", share))
        same = max(_same(groups, actions[:, dim], half, size) for dim, size in enumerate(dataset.action.sizes))
        if same > SAME:
            found.append(Leak(name, "action", same))
    return found


def explained(groups: NDArray[np.int64], reward: NDArray[np.float64], half: int) -> float:
    """The share of the variance of reward[half:] that the group means of reward[:half] explain; at most 1.  (N,), (N,)."""
    spread = _spread(reward, half)
    if spread == 0.0:
        return 0.0
    mean = reward[:half].mean()
    size = int(groups.max()) + 1
    count = np.bincount(groups[:half], minlength=size)
    total = np.bincount(groups[:half], reward[:half], minlength=size)
    means = np.where(count > 0, total / np.maximum(count, 1), mean)
    return float(1.0 - np.mean((reward[half:] - means[groups[half:]]) ** 2) / spread)


def _spread(reward: NDArray[np.float64], half: int) -> float:
    if half < 10 or reward[:half].std() == 0.0:
        return 0.0
    return float(np.mean((reward[half:] - reward[:half].mean()) ** 2))


def _line(values: NDArray[Any], reward: NDArray[np.float64], half: int) -> float:
    x = values.astype(np.float64)
    spread, deviation = _spread(reward, half), x[:half].std()
    if spread == 0.0 or deviation == 0.0 or not np.isfinite(deviation):
        return 0.0
    z = (x - x[:half].mean()) / deviation
    slope = np.mean(z[:half] * (reward[:half] - reward[:half].mean()))
    return float(1.0 - np.mean((reward[half:] - reward[:half].mean() - slope * z[half:]) ** 2) / spread)


def _groups(values: NDArray[Any], half: int) -> NDArray[np.int64]:
    """Which group each value is in: its code, or for numbers one of at most BINS of about equal size."""
    if values.dtype.kind != "f":
        return np.unique(values, return_inverse=True)[1].reshape(-1)
    distinct = np.unique(values)
    if len(distinct) <= BINS:
        return np.searchsorted(distinct, values)
    edges = np.unique(np.quantile(values[: max(1, half)], np.linspace(0, 1, BINS + 1)[1:-1]))
    return np.searchsorted(edges, values, side="right")


def _same(groups: NDArray[np.int64], action: NDArray[np.int64], half: int, actions: int) -> float:
    """How often the most frequent action of a group is taken in it; 0 unless the groups are few, and the actions mixed."""
    size = int(groups.max(initial=0)) + 1
    if half < 10 or size > 4 * actions + 4 or np.bincount(action).max() > 0.99 * len(action):
        return 0.0
    # the pairs that occur, and how often: a table of all of them has 2 billion places for 23,000 actions
    pair, count = np.unique(groups[:half] * actions + action[:half], return_counts=True)
    order = np.lexsort((pair, -count))[::-1]  # of a group, the most frequent comes last; of equal ones, the smallest
    most = np.zeros(size, np.int64)
    most[pair[order] // actions] = pair[order] % actions
    return float(np.mean(most[groups[half:]] == action[half:]))


def _values(dataset: Dataset, part: slice, own: NDArray[np.bool_]) -> list[tuple[str, NDArray[Any]]]:
    """Each observed column, as numbers (float) or as codes (int), (N,) each."""
    assert dataset.encoding is not None
    schema, columns = dataset.encoding.schema, dataset.buffer.slots.columns

    def leaf(path: str) -> NDArray[Any]:
        return np.asarray(columns[OBSERVATION + path][part])[own]

    found: list[tuple[str, NDArray[Any]]] = []
    names = schema.of_kind("number")
    if names:
        numbers = leaf(NUMBERS)
        found += [(name, numbers[:, place]) for place, name in enumerate(names)]
    names = schema.of_kind("category")
    if names:
        codes = leaf(CATEGORIES)
        found += [(name, codes[:, place]) for place, name in enumerate(names)]
    odd = np.random.default_rng(0).integers(-(1 << 62), 1 << 62, schema.text_length) * 2 + 1
    found += [(name, leaf(f"text/{name}").astype(np.int64) @ odd) for name in schema.of_kind("text")]
    for name in schema.of_kind("vector"):
        vectors = leaf(f"vector/{name}")
        width = min(ELEMENTS, dataset.encoding.widths[name])
        found += [(f"{name}[{place}]", vectors[:, place]) for place in range(width)]
    return found
