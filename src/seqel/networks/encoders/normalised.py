"""Normalisation of numbers: by their bounds, or else by statistics that are frozen after the warm-up."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seqel.spaces import Leaf

__all__ = ["Normalised"]

BOUND_LIMIT = 1e4  # wider bounds say nothing about the values that occur
CLIP = 10.0  # normalised values are kept within this many standard deviations


class Normalised(nn.Module):
    """An encoder of numbers with `low` and `high`, one of each per number."""

    mean: Tensor
    scale: Tensor
    bounded: Tensor

    def __init__(self, leaf: Leaf) -> None:
        super().__init__()
        low, high = torch.tensor(leaf.low, dtype=torch.float64), torch.tensor(leaf.high, dtype=torch.float64)
        bounded = (low > -BOUND_LIMIT) & (high < BOUND_LIMIT) & (high > low)
        middle = torch.where(bounded, (low + high) / 2, 0.0)
        half = torch.where(bounded, (high - low) / 2, 1.0)
        self.register_buffer("mean", middle.float())
        self.register_buffer("scale", half.float())
        self.register_buffer("bounded", bounded)

    def statistics(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Observations of the warm-up (N, *shape) float64 -> mean and std (n,), for `observe`."""
        return values.mean(dim=0), values.std(dim=0, unbiased=False)

    def observe(self, mean: Tensor, std: Tensor) -> None:
        """Take the statistics of a warm-up.  mean, std (n,); a value that never varied is only centred."""
        std = torch.where(std > 1e-6, std, 1.0)
        self.mean.copy_(torch.where(self.bounded, self.mean, mean.float()))
        self.scale.copy_(torch.where(self.bounded, self.scale, std.float()))

    def normalise(self, x: Tensor) -> Tensor:
        """x (..., n), any dtype -> (..., n) float32."""
        out: Tensor = _normalised(x.float(), self.mean, self.scale)
        return out

    def normalise_array(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """`normalise` of an array: for the few numbers of one step, NumPy takes a fraction of torch's time."""
        mean, scale = self.mean.cpu().numpy(), self.scale.cpu().numpy()
        out: NDArray[np.float32] = _normalised(x.astype(np.float32), mean, scale)
        return out


def _normalised(x: Any, mean: Any, scale: Any) -> Any:
    """Of tensors or of arrays."""
    return ((x - mean) / scale).clip(-CLIP, CLIP)
