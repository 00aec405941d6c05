"""Chooses how many layers, heads, hidden units and channels remain, for a number of parameters.

The choice with the least importance removed is sought among all shapes: importances add up (`compression/importance.py`).
As an estimate that adds up ignores how parts act together, the best few shapes are built and compared by their actual loss.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from seqel.compression.importance import Importance
from seqel.compression.loss import distillation
from seqel.compression.pruning import Kept, prune, shapes_of, width_fits
from seqel.errors import ConfigError
from seqel.networks.qnetwork import QNetwork
from seqel.types import SequenceBatch

__all__ = ["Parameters", "choose", "horizon_of", "parameters_of"]

WIDTHS, UNITS = 8, 4  # widths and numbers of hidden units are multiples of these
FEWEST_CHANNELS = 8
TRIED, COMPARED = 16, 2  # shapes that are built and compared, and the batches on which


@dataclass(frozen=True, slots=True)
class Parameters:
    """Where the parameters of a network are."""

    total: int
    blocks: int  # the Transformer's layers
    encoders: int  # the tokens: encoders of the observation, embeddings of previous actions
    heads: int  # and what else is outside the blocks: the clock, the last norm

    def __str__(self) -> str:
        return (
            f"{self.total:,} parameters: {self.blocks:,} in the Transformer's layers, {self.encoders:,} in the encoders, "
            f"{self.heads:,} in the heads, the clock and the last norm"
        )


def parameters_of(network: QNetwork) -> Parameters:
    """Count the parameters of a network by their place."""
    sizes = {name: tensor.numel() for name, tensor in network.named_parameters()}
    blocks = sum(size for name, size in sizes.items() if name.startswith("trunk.blocks."))
    encoders = sum(size for name, size in sizes.items() if name.startswith("tokens."))
    total = sum(sizes.values())
    return Parameters(total, blocks, encoders, total - blocks - encoders)


def choose(
    network: QNetwork,
    importance: Importance,
    size: float,
    batches: Sequence[SequenceBatch],
    temperature: float,
) -> Kept:
    """Return the parts to keep so that at most `size` times the parameters remain.

    Raises:
        ConfigError: no shape is small enough; the message says where the parameters are.
    """
    if size >= 1.0:
        return Kept.everything(network.config)
    counted = parameters_of(network)
    shapes = sorted(_shapes(network, importance, int(size * counted.total)), key=lambda one: one[0])
    if not shapes:
        raise ConfigError(
            f"target size {size:g}: expected at most {int(size * counted.total):,} parameters, which pruning cannot reach "
            f"({counted}). Choose a larger target, or train an agent with smaller encoders"
        )
    few = batches[:COMPARED]
    with torch.no_grad():
        wanted = [network(batch) for batch in few]
    best = []
    for removed, kept in shapes[:TRIED]:
        small = prune(network, kept, horizon_of(batches))
        with torch.no_grad():
            pairs = zip(few, wanted, strict=True)
            losses = [distillation(small, small(one), network, out, one, temperature) for one, out in pairs]
        best.append((float(torch.stack(losses).mean()), removed, kept))
    return min(best, key=lambda one: one[:2])[2]


def horizon_of(batches: Sequence[SequenceBatch]) -> int:
    """Return the number of the last step in the windows, from 1."""
    return max(int((batch.start_step + batch.is_first.shape[1]).max()) for batch in batches)


def _shapes(network: QNetwork, importance: Importance, budget: int) -> Iterator[tuple[float, Kept]]:
    """Yield the importance that is removed, and the parts that are kept, for each shape that fits the budget."""
    config, dim = network.config, network.config.attention_dim
    for width in _widths(network):
        fixed, per_layer = _costs(network, width)
        channels, lost_channels = _largest(importance.channels[None], width)
        for count in range(1, config.layers + 1):
            layers, lost_layers = _largest(importance.layers[None], count)
            chosen = layers[0]
            for heads_left in range(1, config.heads + 1):
                left = budget - fixed - count * (per_layer + 4 * width * dim * heads_left)
                units_left = min(left // (count * (2 * width + 1)), config.units)
                if units_left < config.units:
                    units_left -= units_left % UNITS
                if units_left < 1:
                    continue
                heads, lost_heads = _largest(importance.heads[chosen], heads_left)
                units, lost_units = _largest(importance.units[chosen], units_left)
                removed = lost_channels + lost_layers + lost_heads + lost_units
                yield removed, Kept(chosen, heads, units, channels[0])


def _widths(network: QNetwork) -> list[int]:
    """Return the widths that the network can be pruned to, with its own."""
    full = network.config.width
    narrower = [width for width in range(FEWEST_CHANNELS, full, WIDTHS) if width_fits(network, width)]
    return [*narrower, full]


def _costs(network: QNetwork, width: int) -> tuple[int, int]:
    """Return the parameters outside the layers, and those of a layer without heads and hidden units."""
    config = replace(network.config, width=width, layers=1, heads=1, head_dim=2, hidden=1)
    names = {name for name, _ in network.named_parameters()}
    shapes = {name: shape for name, shape in shapes_of(network, config).items() if name in names}
    inside = {name: int(np.prod(shape)) for name, shape in shapes.items() if name.startswith("trunk.blocks.")}
    total = sum(int(np.prod(shape)) for shape in shapes.values())
    layer = sum(inside.values()) - 4 * width * 2 - (2 * width + 1)
    if network.config.qk_norm:
        layer += network.config.attention_dim - 2
    return total - sum(inside.values()), layer


def _largest(importance: NDArray[np.float64], count: int) -> tuple[NDArray[np.int64], float]:
    """Return the indices of the `count` largest of each row, sorted, and the sum of the others."""
    order = np.argsort(-importance, axis=1, kind="stable")
    kept = np.sort(order[:, :count], axis=1)
    return kept, float(np.take_along_axis(importance, order[:, count:], axis=1).sum())
