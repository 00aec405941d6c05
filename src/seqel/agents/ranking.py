"""Ranks the items of a catalogue for histories: an agent's actions are the items, and its scores say their order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqel.agents.item_index import ItemIndex, item_query
from seqel.datasets.encoding import CONSTANT
from seqel.errors import ConfigError, SpaceError
from seqel.networks.qnetwork import QNetwork

__all__ = [
    "NO_ITEM",
    "Catalogue",
    "exclude",
    "history_scores",
    "item_influence",
    "rank_items",
    "search_items",
    "top_items",
]

NO_ITEM = -1  # fills a list where fewer items are left than were asked for
TOKENS = 16_384  # steps of histories at once
COMPARED = 20_000  # names at most that an unknown one is compared with


def exclude(scores: NDArray[np.floating], seen: Sequence[NDArray[np.integer]]) -> None:
    """Set the scores (Q, items) of the items that each user has seen to minus infinity, in place."""
    rows = np.repeat(np.arange(len(seen)), [len(one) for one in seen])
    if len(rows):
        scores[rows, np.concatenate(seen)] = -np.inf


def top_items(scores: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the k best items of each row of scores (Q, items), best first, and their scores; (Q, k) each.

    Of equal scores, the item with the smaller code comes first. Items whose score is minus infinity are left out; what is
    missing is `NO_ITEM`, with minus infinity.

    Raises ConfigError if k is below 1.
    """
    if k < 1:
        raise ConfigError(f"k: expected at least 1 item, got {k}")
    kept = min(k, scores.shape[1])
    # one more than asked for, to see where the last of the list equals the first that is left out
    best, at = torch.topk(torch.from_numpy(scores), min(kept + 1, scores.shape[1]), dim=1)
    values, found = best[:, :kept].numpy(), at[:, :kept].numpy()
    if best.shape[1] > kept:
        tied = np.flatnonzero((best[:, kept - 1] == best[:, kept]).numpy() & np.isfinite(values[:, -1]))
        for row in tied.tolist():
            least = values[row, -1]
            first = found[row, values[row] > least]
            found[row] = np.concatenate([first, np.flatnonzero(scores[row] == least)[: kept - len(first)]])
    order = np.lexsort((found, -values))
    found, values = np.take_along_axis(found, order, axis=1), np.take_along_axis(values, order, axis=1)
    found = np.where(np.isneginf(values), NO_ITEM, found)
    short = ((0, 0), (0, k - kept))
    return (
        np.pad(found, short, constant_values=NO_ITEM).astype(np.int64),
        np.pad(values.astype(np.float32), short, constant_values=-np.inf),
    )


@torch.inference_mode()
def history_scores(
    network: QNetwork,
    items: Sequence[NDArray[np.int64]],
    rewards: Sequence[NDArray[np.float32]] | None = None,
    length: int = 200,
) -> NDArray[np.float32]:
    """Return the score of every item after each of Q histories, (Q, items), in one pass over each.

    items: of each history, oldest first; rewards: such as ratings, for each of them; None: 1. The latest `length` items of
    each are read. Observations are zeros, like those of a table without observations.
    """
    found = np.empty((len(items), network.action_spec.actions), np.float32)
    for rows, h in _last_states(network, items, rewards, length):
        found[rows] = network.decision_scores(h)[:, 0].float().cpu().numpy()
    return found


def _last_states(
    network: QNetwork, items: Sequence[NDArray[np.int64]], rewards: Sequence[NDArray[np.float32]] | None, length: int
) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
    """Yield which histories were read together, and the attended state after each of them, (rows, D)."""
    device, spec = network.head.scale.device, network.observation_spec
    items = [one[-length:] for one in items]
    if rewards is not None:
        rewards = [one[-length:] for one in rewards]
    sizes = np.array([len(one) for one in items], np.int64)
    order = np.argsort(sizes, kind="stable")  # histories of about one length together
    for rows in _batches(sizes, order):
        longest = int(sizes[rows].max())
        action = np.zeros((len(rows), longest + 1, 1), np.int64)
        reward = np.zeros((len(rows), longest + 1), np.float32)
        there = np.arange(longest) < sizes[rows, None]
        if longest:
            action[:, 1:, 0][there] = np.concatenate([items[row] for row in rows])
            reward[:, 1:][there] = 1.0 if rewards is None else np.concatenate([rewards[row] for row in rows])
        first = torch.zeros(len(rows), longest + 1, dtype=torch.bool, device=device)
        first[:, 0] = True
        observation = {
            leaf.path: torch.zeros(len(rows), longest + 1, *leaf.shape, dtype=getattr(torch, leaf.dtype), device=device)
            for leaf in spec.leaves
        }
        token = network.tokens(
            observation, torch.from_numpy(action).to(device), torch.from_numpy(reward).to(device), first
        )
        h = network.trunk(token, first, torch.zeros(len(rows), dtype=torch.int64, device=device))
        yield rows, h[torch.arange(len(rows)), torch.from_numpy(sizes[rows])]


@torch.inference_mode()
def search_items(
    network: QNetwork,
    index: ItemIndex,
    items: NDArray[np.int64],
    rewards: NDArray[np.float32] | None,
    k: int,
    exclude_seen: bool,
    length: int,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return about the k best items for one history, best first, and their scores up to a constant, (k,) or fewer each."""
    ((_, h),) = _last_states(network, [items], None if rewards is None else [rewards], length)
    seen = np.unique(items) if exclude_seen else np.zeros(0, np.int64)
    found, scores = index.search(item_query(network, h), k + len(seen))
    keep = (found[0] >= 0) & ~np.isin(found[0], seen)
    return found[0, keep][:k], scores[0, keep][:k]


def _batches(sizes: NDArray[np.int64], order: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Split histories, in order of their length, so that none of the padded batches has many more than `TOKENS` steps."""
    found, first = [], 0
    for last in range(1, len(order) + 1):
        if last == len(order) or (last + 1 - first) * (sizes[order[last]] + 1) > TOKENS:
            found.append(order[first:last])
            first = last
    return found


class Catalogue:
    """The names of an agent's items, and their codes. Made once per agent, because a catalogue may be large.

    Raises ConfigError: the agent observes more than its history, which `rank` could only guess; or it has several action
    dimensions.
    """

    def __init__(self, network: QNetwork, names: Sequence[Any] | None) -> None:
        leaves, action = network.observation_spec.leaves, network.action_spec
        if [leaf.path for leaf in leaves] != [CONSTANT]:
            raise ConfigError(
                "rank: expected an agent that observes nothing but its history, as from a table without observations; this "
                f"one observes {'; '.join(map(str, leaves)):.300}: use `act`, with its observation"
            )
        if action.dims > 1:
            raise ConfigError(f"rank: expected an agent with one action dimension, got {action.dims}")
        self.names = names or range(action.start[0], action.start[0] + action.sizes[0])
        self._code = {str(name): place for place, name in enumerate(self.names)}

    def __len__(self) -> int:
        return len(self.names)

    def codes(self, items: Sequence[Any], what: str) -> NDArray[np.int64]:
        """Return the codes of items, by their names, or by the text of a name (5 for "5").

        Raises SpaceError for an item that is not in the catalogue; names the most similar one.
        """
        if isinstance(items, str):
            raise SpaceError(f"{what}: expected a list of items, got the text {items!r:.80}")
        found = np.array([self._code.get(str(one), -1) for one in items], np.int64)
        if (found < 0).any():
            unknown = str(items[int(found.argmin())])
            near = get_close_matches(unknown, self._code, n=1) if len(self) <= COMPARED else []
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise SpaceError(f"{what}: expected items of the catalogue of {len(self):,}, got {unknown!r:.80}{hint}")
        return found


def rank_items(
    network: QNetwork,
    catalogue: Catalogue,
    history: Sequence[Any],
    k: int,
    rewards: Sequence[float] | None,
    exclude_seen: bool,
    candidates: Sequence[Any] | None,
    features: NDArray[np.floating] | None,
    weights: Sequence[float] | None,
    length: int,
    index: ItemIndex | None = None,
) -> tuple[list[Any], NDArray[np.float32]]:
    """Rank items for one history: see `Agent.rank`. index: for an approximate search."""
    items = catalogue.codes(history, "history")
    earned = _earned(rewards, len(items))
    if index is not None:
        if k < 1:
            raise ConfigError(f"k: expected at least 1, got {k}")
        best, of_best = search_items(network, index, items, earned, k, exclude_seen, length)
        return [catalogue.names[code] for code in best], of_best
    scores = history_scores(network, [items], None if earned is None else [earned], length)
    if features is not None or weights is not None:
        scores += _bonus(features, weights, len(catalogue))
    if candidates is not None:
        among = np.zeros(len(catalogue), np.bool_)
        among[catalogue.codes(candidates, "candidates")] = True
        scores[0, ~among] = -np.inf
    if exclude_seen:
        exclude(scores, [items])
    found, values = top_items(scores, k)
    left = int((found[0] != NO_ITEM).sum())
    return [catalogue.names[code] for code in found[0, :left]], values[0, :left]


def item_influence(
    network: QNetwork,
    catalogue: Catalogue,
    history: Sequence[Any],
    items: Sequence[Any],
    rewards: Sequence[float] | None,
    length: int,
) -> NDArray[np.float32]:
    """Return by how much each item of a history raises the scores of some items: see `Agent.rank_influence`."""
    codes, earned = catalogue.codes(history, "history"), _earned(rewards, len(history))
    targets = catalogue.codes(items, "items")
    codes, earned = codes[-length:], None if earned is None else earned[-length:]
    left_out = [np.delete(codes, place) for place in range(len(codes))]
    ratings = None if earned is None else [earned, *(np.delete(earned, place) for place in range(len(codes)))]
    scores = history_scores(network, [codes, *left_out], ratings, length)[:, targets].T
    found = np.zeros((len(targets), len(history)), np.float32)
    found[:, len(history) - len(codes) :] = scores[:, :1] - scores[:, 1:]
    return found


def _earned(rewards: Sequence[float] | None, items: int) -> NDArray[np.float32] | None:
    """Return the rewards of a history's items. Raises SpaceError if they do not fit."""
    if rewards is None:
        return None
    earned = np.asarray(rewards, np.float32)
    if earned.shape != (items,) or not np.isfinite(earned).all():
        raise SpaceError(f"rewards: expected {items} finite numbers, one per item, got {rewards!r:.200}")
    return earned


def _bonus(features: Any, weights: Any, items: int) -> NDArray[np.float32]:
    """Return what features of the items add to their scores, (items,). Raises SpaceError if they do not fit."""
    if features is None or weights is None:
        raise SpaceError("rank: expected features and weights together, got one of them")
    x, w = np.asarray(features, np.float64), np.asarray(weights, np.float64)
    if w.ndim != 1 or x.shape != (items, len(w)):
        raise SpaceError(f"features: expected shape ({items}, {w.size}), items and weights, got {x.shape}")
    if not np.isfinite(x).all() or not np.isfinite(w).all():
        raise SpaceError("rank: expected finite features and weights, got NaN or infinity")
    found: NDArray[np.float32] = (x @ w).astype(np.float32)
    return found
