"""Layers as functions: `linear(layer, x)` is `layer(x)` without the time that nn.Module takes around it.

When an agent acts, a product of a few rows takes less time than nn.Module's call and its lookup of the weights. A layer that
is called so runs no hooks. The weights are read at each call, so replacing them works as for any module.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["embedding", "layer_norm", "linear"]


def linear(layer: nn.Linear, x: Tensor) -> Tensor:
    """(..., in) -> (..., out)."""
    own = layer._parameters
    return F.linear(x, own["weight"], own["bias"])  # type: ignore[arg-type]


def layer_norm(layer: nn.LayerNorm, x: Tensor) -> Tensor:
    """(..., D) -> (..., D)."""
    own = layer._parameters
    return torch.layer_norm(x, layer.normalized_shape, own["weight"], own["bias"], layer.eps)


def embedding(layer: nn.Embedding, codes: Tensor) -> Tensor:
    """(...) int64 -> (..., D)."""
    return torch.embedding(layer._parameters["weight"], codes)  # type: ignore[arg-type]
