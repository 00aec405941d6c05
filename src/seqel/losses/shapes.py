"""Shape and dtype checks shared by the losses: host-side comparisons only, so they cost no device synchronisation."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["require_bool", "require_same_shape"]


def require_same_shape(rank: int, **tensors: Tensor) -> None:
    """Every tensor must have this rank and the shape of the first one; ValueError names them all otherwise."""
    shapes = [tuple(tensor.shape) for tensor in tensors.values()]
    if len(shapes[0]) != rank or any(shape != shapes[0] for shape in shapes):
        got = ", ".join(f"{name} {shape}" for name, shape in zip(tensors, shapes, strict=True))
        raise ValueError(f"expected tensors of rank {rank} and of one shape; got {got}")


def require_bool(**tensors: Tensor) -> None:
    """Masks must be bool: a float or integer mask would be silently inverted wrongly by `~`."""
    for name, tensor in tensors.items():
        if tensor.dtype != torch.bool:
            raise ValueError(f"expected {name} to be a bool tensor; got {tensor.dtype}")
