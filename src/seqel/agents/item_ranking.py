"""Ranking of the items of a catalogue for a history, and which past items raised their scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqel.agents.info import AgentInfo
from seqel.agents.item_index import FEW, ItemIndex
from seqel.agents.ranking import Catalogue, item_influence, rank_items
from seqel.datasets.encoding import CONSTANT
from seqel.errors import ConfigError
from seqel.networks.qnetwork import QNetwork
from seqel.safety.shield import Shield

__all__ = ["ItemRanking"]


class ItemRanking:
    """The part of an `Agent` that ranks items."""

    network: QNetwork
    info: AgentInfo
    _catalogue: Catalogue | None = None  # made when it is first needed
    _index: ItemIndex | None = None
    shield: Shield | None

    @property
    def ranks_items(self) -> bool:
        """Whether actions are items of a catalogue that `rank` can order: nothing else is observed, and no rules apply."""
        network = self.network
        only_history = [leaf.path for leaf in network.observation_spec.leaves] == [CONSTANT]
        items = network.config.actions == "items" and network.action_spec.dims == 1
        return items and only_history and self.shield is None

    def rank(
        self,
        history: Sequence[Any],
        k: int = 20,
        *,
        rewards: Sequence[float] | None = None,
        exclude_seen: bool = True,
        candidates: Sequence[Any] | None = None,
        features: NDArray[np.floating] | None = None,
        weights: Sequence[float] | None = None,
        length: int = 200,
        approximate: bool = False,
    ) -> tuple[list[Any], NDArray[np.float32]]:
        """Rank the items of the catalogue for one user: the k best, best first, and their scores.

        Args:
            history: the items that the user chose, oldest first: names as in the training data, or action indices for
                an agent that was not trained on a table. It may be empty. The latest `length` items are read.
            rewards: such as ratings, one per item; None: 1 for each.
            exclude_seen: leave out the items of the history.
            candidates: rank only these, for instance what is in stock.
            features, weights: (items, F) further features of the items, such as price or freshness, and (F,) their weights.
                features @ weights is added to the scores; `seqel.ranking.fit_combination` fits weights.
            approximate: in a catalogue of more than 20,000 items, search an index of their vectors instead of scoring all of
                them. It is built at the first call, in 4 s for a million items, and needs the extra "ranking". A few percent
                of the best items may be missed. Scores then lack a constant that depends on the history.

        Fewer than k items are returned if no more are left.

        Raises:
            SpaceError: an item is not in the catalogue; rewards or features do not fit. ConfigError: k is below 1, or
                the agent observes more than its history; candidates or features are given with `approximate`; or the agent
                has a shield, whose rules a ranking does not apply.
        """
        if self.shield is not None:
            raise ConfigError(
                "rank: expected an agent without a shield, whose rules apply to `act`; use act(candidates=...)"
            )
        index = None
        if approximate:
            if candidates is not None or features is not None or weights is not None:
                raise ConfigError(
                    "rank: approximate=True takes no candidates and no features: score every item for them"
                )
            index = self._item_index()
        return rank_items(
            self.network, self._items(), history, k, rewards, exclude_seen, candidates, features, weights, length, index
        )

    def rank_influence(
        self, history: Sequence[Any], items: Sequence[Any], *, rewards: Sequence[float] | None = None, length: int = 200
    ) -> NDArray[np.float32]:
        """Return by how much each item of a history raises the scores of K items, (K, len(history)), by occlusion.

        This is the score with the whole history minus the score without that item; 0 for items before the latest `length`.
        Raises as `rank` does.
        """
        return item_influence(self.network, self._items(), history, items, rewards, length)

    def _item_index(self) -> ItemIndex | None:
        """Return the index, made when it is first needed; None for a catalogue in which it would not help."""
        if self._index is None and len(self._items()) > FEW:
            self._index = ItemIndex(self.network)
        return self._index

    def _items(self) -> Catalogue:
        if self._catalogue is None:
            self._catalogue = Catalogue(self.network, self.info.get("encoding", {}).get("actions"))
        return self._catalogue
