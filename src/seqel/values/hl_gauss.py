"""Values learned by classification: HL-Gauss targets on a fixed support, optionally in symlog space.

A head gives `bins` logits instead of a number. A scalar target becomes the histogram of a Gaussian around it, the loss is
the cross-entropy, and the value used for acting and bootstrapping is the expectation under the softmax.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from seqel.errors import ConfigError
from seqel.values.base import ErrorName, Target, ValueKind
from seqel.values.symlog import symexp, symlog

__all__ = ["HLGauss"]


@dataclass(frozen=True, slots=True)
class HLGauss(ValueKind):
    """Histogram-loss Gaussian (Farebrother et al. 2024, arXiv:2403.03950; Imani & White 2018).

    `bins` equal bins between the outer edges `low` and `high`; `sigma` in bin widths (the paper's 0.75). With
    `symlog` the edges, the bins and sigma are in symlog space: low and high are then symlogs of returns.

    A target beyond the edges is clamped to them. The Gaussian is truncated at the edges, which pulls targets within
    about 3 sigma of an edge inwards, so leave two or three bins of room on either side of the expected returns.
    Differs: the paper has no symlog support. With symlog, the expectation is taken over values, not over their symlogs
    (the symexp of a mean of symlogs would underestimate uncertain values), and the centres are scaled so that the width
    of the Gaussian does not inflate the expectation; see `centres`.

    Raises ConfigError (a ValueError) on fewer than 2 bins, low >= high, infinite edges, or sigma <= 0.
    """

    linear: ClassVar[bool] = False

    bins: int
    low: float
    high: float
    sigma: float = 0.75
    symlog: bool = False

    def __post_init__(self) -> None:
        if self.bins < 2:
            raise ConfigError(f"HLGauss: expected at least 2 bins; got {self.bins}")
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ConfigError(f"HLGauss: expected finite edges with low < high; got {self.low} and {self.high}")
        if not (math.isfinite(self.sigma) and self.sigma > 0.0):
            raise ConfigError(f"HLGauss: expected sigma > 0, in bin widths; got {self.sigma}")

    @property
    def outputs(self) -> int:
        """The number of bins."""
        return self.bins

    @property
    def width(self) -> float:
        """The width of one bin, in units of the support."""
        return (self.high - self.low) / self.bins

    def edges(self, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return the edges of the bins in units of the support, (bins + 1,)."""
        return torch.linspace(self.low, self.high, self.bins + 1, device=device, dtype=dtype)

    def centres(self, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return the value that each bin represents, in units of the return, (bins,).

        Without symlog this is the middle c of the bin. With symlog it is symexp(c), corrected for the width of the
        Gaussian: if a Gaussian with standard deviation s around x is put into bins of width w, the mean of exp(c) is
        exp(x) exp(s^2 / 2) sinh(w/2) / (w/2). With k one over these factors, sign(c) (k exp(|c|) - 1) has the mean
        symexp(x). Its jump at 0 is replaced by a ramp two bins wide, where an error of at most w^2 / 8 remains; elsewhere
        the error is 2e-6 of the value. Without the correction, 101 bins on +-10 would return every value 2 % too large, and
        the error would grow with every bootstrap.
        """
        half = 0.5 * self.width
        middle = torch.linspace(self.low + half, self.high - half, self.bins, device=device, dtype=dtype)
        if not self.symlog:
            return middle
        deflate = math.exp(-0.5 * (self.sigma * self.width) ** 2) * half / math.sinh(half)
        return deflate * symexp(middle) - (1.0 - deflate) * (middle / self.width).clamp(-1.0, 1.0)

    def encode(self, value: Tensor) -> Tensor:
        """Return the target probabilities: value (...), in units of the return -> (..., bins); each row sums to 1.

        The result is float32, or float64 if the values are.
        """
        value = _full_precision(value)
        position = (symlog(value) if self.symlog else value).clamp(self.low, self.high).unsqueeze(-1)
        edges = self.edges(value.device, value.dtype)
        below = torch.erf((edges - position) / (math.sqrt(2.0) * self.sigma * self.width))  # (..., bins + 1)
        return below.diff(dim=-1) / (below[..., -1:] - below[..., :1])

    def expectation(self, logits: Tensor) -> Tensor:
        """Return the value: logits (..., bins) -> (...), in units of the return. At least float32, also under autocast.

        Raises ValueError if the last axis is not `bins`.
        """
        self._require_bins(logits)
        probability = torch.softmax(_full_precision(logits), dim=-1)
        # Not a matrix product: autocast would round that to bfloat16, which cannot distinguish 100 from 100.25.
        return (probability * self.centres(logits.device, probability.dtype)).sum(-1)

    def support(self, like: Tensor) -> Tensor:
        """Return `centres` with the device and dtype of `like`."""
        return self.centres(like.device, like.dtype)

    def loss(self, q: Tensor, outputs: Tensor | None, target: Target, error: ErrorName = "squared") -> Tensor:
        """See `cross_entropy`."""
        assert outputs is not None
        return self.cross_entropy(outputs, target.value / target.scale)

    def cross_entropy(self, logits: Tensor, value: Tensor) -> Tensor:
        """Return -sum_i encode(value)_i log softmax(logits)_i: logits (..., bins), value (...) -> (...).

        The target carries no gradient. The minimum is the entropy of the target, not 0.

        Raises ValueError unless logits has the shape of value with `bins` appended.
        """
        self._require_bins(logits)
        if logits.shape[:-1] != value.shape:
            raise ValueError(
                f"expected value {tuple(logits.shape[:-1])} for logits {tuple(logits.shape)}; got {tuple(value.shape)}"
            )
        log_probability = torch.log_softmax(_full_precision(logits), dim=-1)
        return -(self.encode(value.detach()) * log_probability).sum(-1)

    def _require_bins(self, logits: Tensor) -> None:
        if logits.ndim == 0 or logits.shape[-1] != self.bins:
            raise ValueError(f"expected logits (..., {self.bins}), one per bin; got {tuple(logits.shape)}")


def _full_precision(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
