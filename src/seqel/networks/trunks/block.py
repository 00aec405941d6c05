"""One block of the Transformer, in two halves: before attention (`project`) and after it (`merge`)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqel.networks.config import NetworkConfig
from seqel.networks.layers import layer_norm, linear
from seqel.networks.trunks.banded_attention import rotate
from seqel.networks.trunks.gate import Gate

__all__ = ["Block"]

Join = Callable[[Tensor, Tensor], Tensor]


class Block(nn.Module):
    """Attention and an MLP, each joined to the residual stream by a sum or through a gate."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width = config.width
        self.heads, self.dim = config.heads, config.attention_dim
        attended = self.heads * self.dim
        self.dropout = config.dropout
        self.norm_attention = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * attended, bias=False)
        self.out = nn.Linear(attended, width, bias=False)
        self.norm = nn.RMSNorm(self.dim) if config.qk_norm else None  # shared by queries and keys
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp_in = nn.Linear(width, config.units)
        self.mlp_out = nn.Linear(config.units, width)
        self.gate_attention: Join = Gate(width) if config.gate == "gru" else torch.add
        self.gate_mlp: Join = Gate(width) if config.gate == "gru" else torch.add

    def project(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute queries, keys, values: x (..., D), cos, sin (..., 1, 1, d) -> q, k, v (..., H, d), q and k rotated."""
        qkv = linear(self.qkv, layer_norm(self.norm_attention, x))
        qkv = torch.unflatten(qkv, -1, (3, self.heads, self.dim))
        both, v = qkv[..., :2, :, :], qkv[..., 2, :, :]
        if self.norm is not None:
            both = self.norm(both)
        if cos.dtype != both.dtype:  # under autocast
            cos, sin = cos.to(both.dtype), sin.to(both.dtype)
        q, k = rotate(both, cos, sin).unbind(-3)
        return q, k, v

    def merge(self, x: Tensor, attended: Tensor) -> Tensor:
        """Join attention and MLP to the stream: x (..., D), attended (..., H d) -> (..., D)."""
        x = self.gate_attention(x, self._drop(linear(self.out, attended)))
        return self.gate_mlp(x, self._drop(linear(self.mlp_out, self.hidden(x))))

    def hidden(self, x: Tensor) -> Tensor:
        """Compute the hidden units of the MLP: (..., D) -> (..., units)."""
        hidden = linear(self.mlp_in, layer_norm(self.norm_mlp, x))
        return torch.relu_(hidden)  # in place: faster than the compiler's fusion

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training) if self.dropout else x
