"""A logarithm for both signs, and its inverse."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["symexp", "symlog", "symlog_of_data"]


def symlog(x: Tensor) -> Tensor:
    """sign(x) ln(1 + |x|), elementwise (arXiv:2301.04104). The gradient at 0 is 1, which sign(x) * ... would lose."""
    return torch.where(x >= 0, torch.log1p(x.clamp(min=0)), -torch.log1p((-x).clamp(min=0)))


def symexp(x: Tensor) -> Tensor:
    """sign(x) (exp(|x|) - 1), elementwise: the inverse of `symlog`. The gradient at 0 is 1."""
    return torch.where(x >= 0, torch.expm1(x.clamp(min=0)), -torch.expm1((-x).clamp(min=0)))


def symlog_of_data(x: Tensor) -> Tensor:
    """The same numbers in half the operations, for what needs no gradient: at 0 it has none."""
    return x.sign() * x.abs().log1p()
