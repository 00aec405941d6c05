"""Makes a really smaller network from the parts of a Transformer agent that are kept.

Without heads, hidden units or layers the network computes what the full one computes with those parts set to zero (a layer:
if blocks are joined by sums). The channels of the stream are different: the norms compute their mean and variance over the
channels that are left, and the clock's sinusoids depend on the width. The clock is therefore fitted again, by least squares
on the steps of an episode; the rest is left to distillation. Pruning of channels follows Muralidharan et al. 2024,
arXiv:2407.14679 (Minitron); differs: by the importance of `compression/importance.py`, not by activations.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqel.errors import ConfigError
from seqel.networks.config import NetworkConfig
from seqel.networks.qnetwork import QNetwork
from seqel.networks.trunks.banded_attention import phase_cosines
from seqel.networks.trunks.transformer import StepEncoding, Transformer

__all__ = ["Kept", "prune", "require_prunable", "shapes_of", "width_fits"]

BLOCKS = "trunk.blocks."
CLOCK = "trunk.clock.weight"


@dataclass(frozen=True, slots=True)
class Kept:
    """Which parts remain; the same number of heads and units in every layer. All indices are sorted."""

    layers: NDArray[np.int64]  # (L',)
    heads: NDArray[np.int64]  # (L', H')
    units: NDArray[np.int64]  # (L', U')
    channels: NDArray[np.int64]  # (D',)

    @classmethod
    def everything(cls, config: NetworkConfig) -> Kept:
        """Return the choice that keeps all parts."""
        layers = np.arange(config.layers)
        heads = np.tile(np.arange(config.heads), (config.layers, 1))
        units = np.tile(np.arange(config.units), (config.layers, 1))
        return cls(layers, heads, units, np.arange(config.width))

    def config(self, full: NetworkConfig) -> NetworkConfig:
        """Return the config of the pruned network."""
        return replace(
            full,
            layers=len(self.layers),
            heads=self.heads.shape[1],
            head_dim=full.attention_dim,
            hidden=self.units.shape[1],
            width=len(self.channels),
        )


def require_prunable(network: QNetwork) -> None:
    """Raise ConfigError unless the network's trunk is a Transformer of its own."""
    if not isinstance(network.trunk, Transformer):
        raise ConfigError(
            f"compression prunes a Transformer: expected network.trunk = 'transformer', got {network.config.trunk!r}"
        )


def shapes_of(network: QNetwork, config: NetworkConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of such a network with another config, without allocating memory."""
    with torch.device("meta"):
        other = QNetwork(config, network.observation_spec, network.action_spec)
    return {name: tuple(tensor.shape) for name, tensor in other.state_dict().items()}


def width_fits(network: QNetwork, width: int) -> bool:
    """Return whether the network can be pruned to this width: outside the blocks, every axis that depends on the width is an
    axis over channels. It is not where an encoder derives an inner size from the width.
    """
    config = network.config
    if config.gate != "residual" or config.actions != "outputs":
        return False
    try:
        shapes = shapes_of(network, replace(config, width=width, head_dim=config.attention_dim, hidden=config.units))
    except ConfigError:
        return False
    for name, tensor in network.state_dict().items():
        if name.startswith(BLOCKS):
            continue
        got = shapes.get(name)
        if got is None or len(got) != tensor.ndim:
            return False
        pairs = zip(tensor.shape, got, strict=True)
        if any(before != after and (before, after) != (config.width, width) for before, after in pairs):
            return False
    return True


@torch.no_grad()
def prune(network: QNetwork, kept: Kept, horizon: int = 0) -> QNetwork:
    """Return a new network of the parts that are kept, on the same device; the given one is not changed.

    horizon: the length of episodes in steps, for which the clock is fitted if channels are removed; 0: twice the context.

    Raises:
        ConfigError: the trunk is not a Transformer, or its width cannot be pruned so.
    """
    require_prunable(network)
    config, width = network.config, len(kept.channels)
    if width != config.width and not width_fits(network, width):
        raise ConfigError(
            f"network.width: the parts of this agent do not allow {width} channels in place of {config.width}"
        )
    device = network.head.scale.device
    small = QNetwork(kept.config(config), network.observation_spec, network.action_spec)
    channels = torch.from_numpy(kept.channels)
    full = {name: tensor.cpu() for name, tensor in network.state_dict().items()}
    state = {}
    for name, wanted in small.state_dict().items():
        if name.startswith(BLOCKS):
            number, _, rest = name.removeprefix(BLOCKS).partition(".")
            new = int(number)
            tensor = full[f"{BLOCKS}{kept.layers[new]}.{rest}"]
            heads, units = torch.from_numpy(kept.heads[new]), torch.from_numpy(kept.units[new])
            state[name] = _of_block(rest, tensor, heads, units, channels, config)
        elif name == CLOCK and width != config.width:
            state[name] = _clock(network, channels, horizon or 2 * config.context)
        else:
            tensor = full[name]
            for axis, (before, after) in enumerate(zip(tensor.shape, wanted.shape, strict=True)):
                if before != after:
                    tensor = tensor.index_select(axis, channels)
            state[name] = tensor
    small.load_state_dict(state)
    return small.to(device).eval()


def _of_block(
    name: str, tensor: Tensor, heads: Tensor, units: Tensor, channels: Tensor, config: NetworkConfig
) -> Tensor:
    """Return the kept part of one tensor of a block."""
    dim = config.attention_dim
    match name:
        case "qkv.weight":
            parts = tensor.view(3, config.heads, dim, -1)[:, heads][..., channels]
            return parts.reshape(-1, len(channels))
        case "out.weight":
            return tensor[channels].view(len(channels), config.heads, dim)[:, heads].reshape(len(channels), -1)
        case "mlp_in.weight":
            return tensor[units][:, channels]
        case "mlp_in.bias":
            return tensor[units]
        case "mlp_out.weight":
            return tensor[channels][:, units]
        case "mlp_out.bias":
            return tensor[channels]
    if name.startswith(("norm_attention.", "norm_mlp.")):
        return tensor[channels]
    return tensor  # the norm of queries and keys, and gates


def _clock(network: QNetwork, channels: Tensor, horizon: int) -> Tensor:
    """Return the weights with which fewer sinusoids come closest to the kept channels of the clock.  -> (D', D')."""
    trunk, config = network.trunk, network.config
    assert isinstance(trunk, Transformer)
    assert trunk.clock is not None
    steps = torch.arange(horizon)

    def waves(width: int) -> Tensor:
        return phase_cosines(steps, *StepEncoding.waves(width, config.clock_base)).double()

    wanted = waves(config.width) @ trunk.clock.weight.detach().cpu().double()[:, channels]
    few = waves(len(channels))
    ridge = 1e-6 * len(steps) * torch.eye(len(channels), dtype=torch.float64)
    found: Tensor = torch.linalg.solve(few.T @ few + ridge, few.T @ wanted)
    return found.float()
