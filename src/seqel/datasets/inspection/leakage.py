"""Finds columns that leak the reward or the action: an agent that sees its reward before it acts is useless in service.

Each column alone predicts the reward of its own row: by the mean reward of each of its values (numbers in up to BINS groups
of equal size, and also by a straight line), fitted on one half of the sessions and tested on the other. A column that
explains more than SUSPICIOUS of the variance is reported. It need not be a leak (the reward may be a known function of the
state), so it is a warning, not an error.
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

SUSPICIOUS = 0.95  # share of the reward's variance
SAME = 0.999  # share of the rows
BINS = 256
SAMPLE = 200_000  # transitions
ELEMENTS = 64  # elements of a vector that are checked


@dataclass(frozen=True)
class Leak:
    """A column, what it predicts ("reward" or "action"), and how much of it."""

    column: str
    tells: str
    share: float

    def __str__(self) -> str:
        if self.tells == "action":
            return (
                f"column {self.column!r} predicts the action of its own row in {self.share:.1%} of the rows: if it was "
                "recorded after the choice, remove it from [observation]"
            )
        return (
            f"column {self.column!r} alone explains {self.share:.1%} of the reward of its own row: if it was recorded after "
            "the action, the agent would see its reward before it acts: remove it from [observation]"
        )


def suspicious(dataset: Dataset, sample: int = SAMPLE) -> list[Leak]:
    """Return the observation columns that predict their row's reward or action.

    sample: number of transitions to check; a store's sessions are in random order, so the first ones are a random sample.
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
    """Return the share of the variance in reward[half:] that the group means of reward[:half] explain, at most 1."""
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
    """Return the group of each value: its code, or for numbers one of at most BINS groups of about equal size."""
    if values.dtype.kind != "f":
        return np.unique(values, return_inverse=True)[1].reshape(-1)
    distinct = np.unique(values)
    if len(distinct) <= BINS:
        return np.searchsorted(distinct, values)
    edges = np.unique(np.quantile(values[: max(1, half)], np.linspace(0, 1, BINS + 1)[1:-1]))
    return np.searchsorted(edges, values, side="right")


def _same(groups: NDArray[np.int64], action: NDArray[np.int64], half: int, actions: int) -> float:
    """Return how often the most frequent action of each group is taken; 0 unless there are few groups and mixed actions."""
    size = int(groups.max(initial=0)) + 1
    if half < 10 or size > 4 * actions + 4 or np.bincount(action).max() > 0.99 * len(action):
        return 0.0
    # count only the pairs that occur: a table of all pairs would have 2 billion entries for 23,000 actions
    pair, count = np.unique(groups[:half] * actions + action[:half], return_counts=True)
    order = np.lexsort((pair, -count))[::-1]  # the most frequent of a group is last; of equals, the smallest
    most = np.zeros(size, np.int64)
    most[pair[order] // actions] = pair[order] % actions
    return float(np.mean(most[groups[half:]] == action[half:]))


def _values(dataset: Dataset, part: slice, own: NDArray[np.bool_]) -> list[tuple[str, NDArray[Any]]]:
    """Return each observed column, as numbers (float) or as codes (int), (N,) each."""
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
    texts = {name: leaf(f"text/{name}") for name in schema.of_kind("text")}
    longest = max((codes.shape[1] for codes in texts.values()), default=schema.text_length)
    odd = np.random.default_rng(0).integers(-(1 << 62), 1 << 62, longest) * 2 + 1
    for name, codes in texts.items():
        whole = codes.view(np.int32) if codes.dtype == np.float32 else codes  # equal texts have equal bits
        found.append((name, whole.astype(np.int64) @ odd))
    for name in schema.of_kind("vector"):
        vectors = leaf(f"vector/{name}")
        width = min(ELEMENTS, dataset.encoding.widths[name])
        found += [(f"{name}[{place}]", vectors[:, place]) for place in range(width)]
    for name in schema.of_kind(
        "entities"
    ):  # a set is summarised by the sum over its rows, which does not depend on their order
        rows = leaf(f"entities/{name}")
        code = rows.view(np.int32).astype(np.int64) @ np.resize(odd, rows.shape[2])
        found.append((name, np.where(rows[..., -1] > 0, code ^ (code >> 29), 0).sum(axis=1)))
    return found
