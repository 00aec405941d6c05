"""The symmetric logarithm and its inverse."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["symexp", "symlog", "symlog_of_data"]


def symlog(x: Tensor) -> Tensor:
    """Return sign(x) ln(1 + |x|), elementwise (arXiv:2301.04104). The gradient at 0 is 1, unlike that of sign(x) * ..."""
    return torch.where(x >= 0, torch.log1p(x.clamp(min=0)), -torch.log1p((-x).clamp(min=0)))


def symexp(x: Tensor) -> Tensor:
    """Return sign(x) (exp(|x|) - 1), elementwise: the inverse of `symlog`. The gradient at 0 is 1."""
    return torch.where(x >= 0, torch.expm1(x.clamp(min=0)), -torch.expm1((-x).clamp(min=0)))


def symlog_of_data(x: Tensor) -> Tensor:
    """Return the same numbers as `symlog` with half the operations. For data only: its gradient at 0 is 0."""
    return x.sign() * x.abs().log1p()
