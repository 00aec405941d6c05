"""Numbers for every item of a catalogue: the product of its vector with one that is computed from the state."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqel.networks.items import ItemTable

__all__ = ["ItemScorer"]

FEW = 16  # candidates, for which each step may as well have its own


class ItemScorer(nn.Module):
    """out(a, k) = vector(a) . v_k + b_k, where v and b are linear in the state; for a policy, (h + v_k) . vector(a).

    The vectors are those with which the history is read; `bind` says whose. The linear function is zero at first.
    """

    _items: tuple[ItemTable, ...]

    def __init__(self, width: int, outputs: int, is_policy: bool) -> None:
        super().__init__()
        self.outputs, self.width, self.is_policy = outputs, width, is_policy
        self.last = nn.Linear(width, outputs * (width + 1))
        self._items, self.trains = (), True

    def bind(self, items: ItemTable, trains: bool = True) -> None:
        """Score with these vectors. They stay in the place where they were made: no weight of theirs is saved here.

        trains: whether the scores' gradient changes the vectors.
        """
        self.trains = trains
        self._items = (items,)  # not an attribute of its own, which would be registered as a part of this module

    def forward(self, h: Tensor, candidates: Tensor | None = None) -> Tensor:
        """Score: h (..., D) -> (..., A, outputs); with candidates (..., C), numbers of items: (..., C, outputs)."""
        items = self._vectors
        vectors, offset = self._linear(h)
        if candidates is None:
            scores = _product(vectors, items())
        elif _alike(candidates):
            taken, others = candidates[..., :1], candidates[..., 1:].flatten(0, -2)[0]
            scores = torch.cat((_product(vectors, items(taken)), _product(vectors, items(others))), dim=-1)
        else:
            scores = _product(vectors, items(candidates))
        return (scores if self.is_policy else scores + offset).transpose(-1, -2)

    def _vectors(self, which: Tensor | None = None) -> Tensor:
        (items,) = self._items
        found: Tensor = items(which)
        return found if self.trains else found.detach()

    def queries(self, h: Tensor) -> Tensor:
        """Return the vectors whose products with the items' vectors order the items, h (..., D) -> (..., outputs, D)."""
        return self._linear(h)[0]

    def _linear(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Return v, with h added if it is a policy, (..., outputs, D), and b, (..., outputs, 1)."""
        out: Tensor = self.last(h).unflatten(-1, (self.outputs, self.width + 1))
        vectors = out[..., :-1]
        return vectors + h[..., None, :] if self.is_policy else vectors, out[..., -1:]


def _product(vectors: Tensor, items: Tensor) -> Tensor:
    """vectors (..., n, D) times items (A, D), or (..., C, D) where each step has its own -> (..., n, A or C)."""
    items = items.to(vectors.dtype)
    return vectors @ items.T if items.ndim == 2 else vectors @ items.transpose(-1, -2)


def _alike(candidates: Tensor) -> bool:
    """Whether all candidates but the first are the same at every step, as sampled negatives are: then one product serves.

    Only asked on a CPU: the answer depends on data, for which a GPU would have to wait.
    """
    if candidates.device.type != "cpu" or candidates.ndim < 3 or candidates.shape[-1] < FEW:
        return False
    others = candidates[..., 1:].flatten(0, -2)
    return bool((others == others[:1]).all())
