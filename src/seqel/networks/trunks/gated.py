"""The Transformer with a factor on each part that may be removed: their gradients say how much each part matters."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seqel.networks.config import NetworkConfig
from seqel.networks.layers import layer_norm, linear
from seqel.networks.trunks.block import Block
from seqel.networks.trunks.steps import step_numbers
from seqel.networks.trunks.transformer import Transformer

__all__ = ["Gates", "gated_forward"]


@dataclass(frozen=True, slots=True)
class Gates:
    """A factor for each part, and for each window of its own: 1 leaves the part as it is, 0 removes it."""

    layers: Tensor  # (B, layers), of what a block adds to the stream
    heads: Tensor  # (B, layers, H), of what an attention head found
    units: Tensor  # (B, layers, units), of the hidden units of an MLP
    channels: Tensor  # (B, D), of the channels of the stream, where a norm reads them

    @classmethod
    def ones(cls, config: NetworkConfig, windows: int, device: torch.device) -> Gates:
        """Return gates that change nothing, whose gradients are recorded."""

        def ones(*shape: int) -> Tensor:
            return torch.ones(windows, *shape, device=device, requires_grad=True)

        return cls(
            ones(config.layers),
            ones(config.layers, config.heads),
            ones(config.layers, config.units),
            ones(config.width),
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return the four tensors by name."""
        return {"layers": self.layers, "heads": self.heads, "units": self.units, "channels": self.channels}


def gated_forward(trunk: Transformer, x: Tensor, first: Tensor, start: Tensor, gates: Gates) -> Tensor:
    """Compute `trunk(x, first, start)` with gates: x (B, T, D) -> (B, T, D)."""
    waves = trunk._waves(step_numbers(first, start))
    cos, sin, clock = waves.tensor_split((trunk.dim, 2 * trunk.dim), dim=-1)
    if trunk.clock is not None:
        x = x + trunk.clock(clock)
    cos, sin = cos[..., None, None, :], sin[..., None, None, :]
    attend, channels = trunk._banded(first), gates.channels[:, None]
    for layer, block in enumerate(trunk.blocks):
        assert isinstance(block, Block)
        whole = gates.layers[:, None, layer, None]
        q, k, v = block.project(x * channels, cos, sin)
        attended = torch.unflatten(attend(layer, q, k, v), -1, (block.heads, block.dim))
        attended = (attended * gates.heads[:, None, layer, :, None]).flatten(-2)
        x = block.gate_attention(x, linear(block.out, attended) * whole)
        hidden = block.hidden(x * channels) * gates.units[:, None, layer]
        x = block.gate_mlp(x, linear(block.mlp_out, hidden) * whole)
    return layer_norm(trunk.norm, x * channels)
