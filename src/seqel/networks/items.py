"""Vectors of the items of a catalogue, with which the history is read and every item is scored.

In a network with `actions = "items"`, an action is an item. The token of a step holds the vector of the action before it, and
the score of an action is the product of its vector with one that is computed from the state, as in SASRec (Kang and McAuley
2018, arXiv:1808.09781). Differs: an item's vector is its own embedding plus a linear function of its features (text, genres),
so an item that was never in the data has a vector too.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["ItemTable"]

SPREAD = 0.25  # standard deviation of a vector's length at first


class ItemTable(nn.Module):
    """One vector per item, (A, D).

    features: (A, F) buffer, standardised. known: (A,) buffer, False for items that are not in the training data, whose own
    embedding counts as zero if there are features. During training, the embeddings of a random share `dropout` of the items
    are dropped, so the network learns to use the features alone (DropoutNet, Volkovs et al. 2017, NeurIPS).
    """

    features: Tensor
    known: Tensor
    _memory: tuple[Any, Tensor] | None

    def __init__(self, items: int, width: int, features: int = 0, dropout: float = 0.0) -> None:
        super().__init__()
        self.own = nn.Embedding(items, width)
        self.described = nn.Linear(features, width, bias=False) if features else None
        self.dropout = dropout if features else 0.0
        self._memory = None
        self.register_buffer("features", torch.zeros(items, features))
        self.register_buffer("known", torch.ones(items, dtype=torch.bool))
        nn.init.normal_(self.own.weight, std=SPREAD * width**-0.5)
        if self.described is not None:
            nn.init.normal_(self.described.weight, std=SPREAD * (width * features) ** -0.5)

    @torch.no_grad()
    def describe(self, features: Tensor) -> None:
        """Set the features of the items, (A, F). Columns are standardised; a constant column becomes 0."""
        mean, std = features.mean(dim=0), features.std(dim=0, unbiased=False)
        self.features.copy_((features - mean) / torch.where(std > 1e-6, std, 1.0))

    def forward(self, which: Tensor | None = None) -> Tensor:
        """Return the vectors of all items, (A, D), or of some: which (...) -> (..., D)."""
        if self.described is None:
            return self.own.weight if which is None else functional.embedding(which, self.own.weight)
        if which is not None:
            own, features = (functional.embedding(which, table) for table in (self.own.weight, self.features))
            return self._sum(own, self.described(features), self.known[which])
        if torch.is_grad_enabled() or self.training or torch.compiler.is_compiling():
            return self._sum(self.own.weight, self.described(self.features), self.known)
        return self._remembered()

    def _sum(self, own: Tensor, described: Tensor, known: Tensor) -> Tensor:
        keep = known
        if self.training and self.dropout:
            keep = known & (torch.rand(known.shape, device=known.device) >= self.dropout)
        return own * keep[..., None] + described

    def _remembered(self) -> Tensor:
        """Return the vectors of all items, computed once for the same weights: for an agent that ranks again and again."""
        assert self.described is not None
        parts = (self.own.weight, self.described.weight, self.features, self.known)
        state = tuple((part.data_ptr(), part._version) for part in parts)
        if self._memory is None or self._memory[0] != state:
            self._memory = state, self._sum(self.own.weight, self.described(self.features), self.known)
        return self._memory[1]

    def __deepcopy__(self, memo: dict[int, Any]) -> ItemTable:
        remembered, self._memory = self._memory, None
        try:
            found = type(self).__new__(type(self))
            memo[id(self)] = found
            found.__dict__.update(copy.deepcopy(self.__dict__, memo))
        finally:
            self._memory = remembered
        return found
