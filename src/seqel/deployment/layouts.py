"""How the memory of an exported agent is laid out, read by the model, and written from what the model returns.

A layout is one of the kinds of memory that trunks have: a ring of keys and values (Transformer), or a hidden state (GRU).
The caller holds the arrays, with an axis of rows, one per environment or session. Does not import torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["HiddenLayout", "Layout", "RingLayout", "read_layout"]

Arrays = dict[str, NDArray[np.float32]]


class Layout(ABC):
    """A kind of memory with its sizes."""

    row_axis: int  # of every array
    names: tuple[str, ...]  # of the arrays, and of the model's inputs

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """The shape of each array without the axis of rows."""

    @property
    @abstractmethod
    def keep(self) -> int:
        """The latest steps of an episode that decide the memory exactly; 0: all of them."""

    @abstractmethod
    def write(
        self, arrays: Arrays, rows: NDArray[np.int64], position: NDArray[np.int64], new: Sequence[NDArray[np.float32]]
    ) -> None:
        """Write what the model returned into R rows, whose step number was `position` (R,)."""

    def empty(self, rows: int) -> Arrays:
        """Return the memory of `rows` rows before their first step."""
        shape = list(self.shape)
        shape.insert(self.row_axis, rows)
        return {name: np.zeros(shape, np.float32) for name in self.names}

    def select(self, arrays: Arrays, rows: NDArray[np.int64], out: Arrays | None = None) -> Arrays:
        """Return a copy of some rows, (R,), for the model.

        out: memory of R rows, which is overwritten, instead of new arrays.
        """
        if out is None:
            return {name: array.take(rows, axis=self.row_axis) for name, array in arrays.items()}
        # with mode="raise", NumPy copies twice
        return {
            name: array.take(rows, axis=self.row_axis, out=out[name], mode="clip") for name, array in arrays.items()
        }

    def clear(self, arrays: Arrays, rows: NDArray[np.int64]) -> None:
        """Forget some rows, in place. Places that are masked are cleared as well, because 0 * nan is nan."""
        for array in arrays.values():
            array[self._at(rows)] = 0.0

    def replace(self, arrays: Arrays, rows: NDArray[np.int64], other: Mapping[str, NDArray[np.float32]]) -> None:
        """Replace some rows, (R,), by those of another memory of R rows, in place."""
        for name, array in arrays.items():
            array[self._at(rows)] = other[name]

    @property
    def bytes_per_row(self) -> int:
        """The size of one row's memory."""
        return 4 * len(self.names) * int(np.prod(self.shape))

    def _at(self, rows: NDArray[np.int64]) -> tuple[Any, ...]:
        return (*(slice(None),) * self.row_axis, rows)


@dataclass(frozen=True)
class RingLayout(Layout):
    """Keys and values of the latest `context` steps, (layers, E, heads, context, dim). Step s is in slot s % context."""

    layers: int
    heads: int
    context: int
    dim: int

    row_axis = 1
    names = ("keys", "values")

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.layers, self.heads, self.context, self.dim)

    @property
    def keep(self) -> int:
        return self.layers * (self.context - 1) + 1

    def write(
        self, arrays: Arrays, rows: NDArray[np.int64], position: NDArray[np.int64], new: Sequence[NDArray[np.float32]]
    ) -> None:
        """Write keys and values, (R, layers, heads, dim) each, into the slot of the step."""
        for name, written in zip(self.names, new, strict=True):
            arrays[name][:, rows, :, position % self.context] = written


@dataclass(frozen=True)
class HiddenLayout(Layout):
    """The hidden state of a recurrent trunk, (E, layers, width). It rests on all steps of the episode."""

    layers: int
    width: int

    row_axis = 0
    names = ("hidden",)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.layers, self.width)

    @property
    def keep(self) -> int:
        return 0

    def write(
        self, arrays: Arrays, rows: NDArray[np.int64], position: NDArray[np.int64], new: Sequence[NDArray[np.float32]]
    ) -> None:
        """Write the new hidden state, (R, layers, width)."""
        arrays["hidden"][rows] = new[0]


LAYOUTS: dict[str, tuple[type[Layout], tuple[str, ...]]] = {
    "ring": (RingLayout, ("layers", "heads", "context", "dim")),
    "hidden": (HiddenLayout, ("layers", "width")),
}


def read_layout(described: Mapping[str, Any]) -> Layout:
    """Return the layout that a model's description names; `Trunk.memory` wrote it.

    Raises KeyError, TypeError or ValueError if there is none.
    """
    kind = next((one for one in LAYOUTS if one in described), None)
    if kind is None:
        raise KeyError(f"expected one of {list(LAYOUTS)}")
    make, sizes = LAYOUTS[kind]
    return make(**{name: int(described[kind][name]) for name in sizes})
