"""What a head beside the values offers: one more field of `QOutput`."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

__all__ = ["Head"]


class Head(nn.Module, ABC):
    """Attended state -> one field of `QOutput`."""

    @abstractmethod
    def forward(self, h: Tensor, scale: Tensor, candidates: Tensor | None = None) -> Tensor:
        """h (..., D), scale () the unit of values -> the field's tensor; with candidates (..., C) for these alone."""

    def rescale(self, ratio: Tensor) -> None:
        """The unit becomes 1 / ratio times as large. Nothing to do for what has no unit."""
