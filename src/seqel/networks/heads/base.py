"""The interface of a head other than the Q head: it adds one field to `QOutput`."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

__all__ = ["Head"]


class Head(nn.Module, ABC):
    """A module from attended states to one field of `QOutput`."""

    @abstractmethod
    def forward(self, h: Tensor, scale: Tensor, candidates: Tensor | None = None) -> Tensor:
        """h (..., D), scale () the unit of values -> the field's tensor; with candidates (..., C), only for these."""

    def rescale(self, ratio: Tensor) -> None:
        """Make the unit 1 / ratio times as large. The default does nothing, for heads without a unit."""
