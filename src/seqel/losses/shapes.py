"""Shape and dtype checks shared by the losses. They compare on the host only, so they never wait for the device."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["require_bool", "require_same_shape"]


def require_same_shape(rank: int, **tensors: Tensor) -> None:
    """Raise a ValueError that names all tensors unless each has this rank and the shape of the first one."""
    shapes = [tuple(tensor.shape) for tensor in tensors.values()]
    if len(shapes[0]) != rank or any(shape != shapes[0] for shape in shapes):
        got = ", ".join(f"{name} {shape}" for name, shape in zip(tensors, shapes, strict=True))
        raise ValueError(f"expected tensors of rank {rank} and of one shape; got {got}")


def require_bool(**tensors: Tensor) -> None:
    """Raise ValueError unless all masks are bool: `~` would silently invert a float or integer mask wrongly."""
    for name, tensor in tensors.items():
        if tensor.dtype != torch.bool:
            raise ValueError(f"expected {name} to be a bool tensor; got {tensor.dtype}")
