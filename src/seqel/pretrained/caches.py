"""Keys and values beside those that a pretrained Transformer computes: prefixes, and a ring of past steps.

The attention of the library `transformers` calls `update` of whatever is passed as `past_key_values`, once per layer, and
attends to what it returns. The classes here have that method and nothing else of the library's caches; masks and positions
are given by the caller.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["Prefix", "PrefixedKeys", "RecordedKeys", "RingKeys"]

Prefix = tuple[Tensor, Tensor] | None  # keys and values (layers, H, P, d) that every row sees; None: there are none


class PrefixedKeys:
    """Puts a prefix before the keys and values of every layer, (R, H, N, d) -> (R, H, P + N, d)."""

    def __init__(self, prefix: Prefix) -> None:
        self._prefix = prefix

    def update(self, keys: Tensor, values: Tensor, layer_idx: int, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Return what the layer attends to."""
        return self._prefixed(keys, values, layer_idx)

    def get_seq_length(self, *_: object) -> int:
        """Return 0: positions are given by the caller."""
        return 0

    def _prefixed(self, keys: Tensor, values: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        if self._prefix is None:
            return keys, values
        before = (part[layer].to(keys.dtype).expand(len(keys), -1, -1, -1) for part in self._prefix)
        return torch.cat((next(before), keys), dim=2), torch.cat((next(before), values), dim=2)


class RecordedKeys(PrefixedKeys):
    """As `PrefixedKeys`, and keeps the keys and values of each layer, (R, H, N, d), without the prefix."""

    def __init__(self, prefix: Prefix) -> None:
        super().__init__(prefix)
        self.found: list[tuple[Tensor, Tensor]] = []

    def update(self, keys: Tensor, values: Tensor, layer_idx: int, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        self.found.append((keys, values))
        return self._prefixed(keys, values, layer_idx)


class RingKeys(PrefixedKeys):
    """Writes the key and value of one step into a ring of past steps, and gives the layer the ring.

    keys, values (layers, E, H, C, d): the ring, written in place; rows (R,): which of its rows; slot (R,): where the step is
    written; used: the slots that hold a step of any row.
    """

    def __init__(self, prefix: Prefix, keys: Tensor, values: Tensor, rows: Tensor, slot: Tensor, used: int) -> None:
        super().__init__(prefix)
        self._ring, self._rows, self._slot, self._used = (keys, values), rows, slot, used

    def update(self, keys: Tensor, values: Tensor, layer_idx: int, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        for ring, new in zip(self._ring, (keys, values), strict=True):
            ring[layer_idx, self._rows, :, self._slot] = new[:, :, 0]
        past = (ring[layer_idx, self._rows, :, : self._used] for ring in self._ring)
        return self._prefixed(next(past), next(past), layer_idx)
