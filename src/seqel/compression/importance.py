"""The importance of each part of a Transformer for the agent's decisions, after histories of the agent.

The importance of an attention head (Michel et al. 2019, arXiv:1905.10650), a hidden unit, a layer or a channel of the stream
is the first-order Taylor estimate of Molchanov et al. 2019, arXiv:1906.10771: the squared derivative of a loss with respect
to a factor on the part, which is the squared change of the loss if the part is removed, to first order.

Differs: the loss is that of distillation (`compression/loss.py`), whose derivative is 0 for the agent itself. Its targets are
therefore drawn from the agent: an action from its decision policy, and noise on its values. The expected squared derivative
is then the second-order estimate of the loss of distillation after the removal of the part (the diagonal of the Gauss-Newton
matrix; Theis et al. 2018, arXiv:1801.05787, use that of the Fisher matrix). All kinds of parts have the same unit, the loss
per step, so importances can be compared and added. Each window has its own factors, so that one pass gives many samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqel.compression.loss import allowed_actions, decision_logits
from seqel.networks.qnetwork import QNetwork
from seqel.networks.trunks.gated import Gates, gated_forward
from seqel.networks.trunks.transformer import Transformer
from seqel.types import SequenceBatch
from seqel.values.policy import log_policy

__all__ = ["Importance", "measure_importance"]


@dataclass(frozen=True, slots=True)
class Importance:
    """The estimated loss of distillation per step if one part is removed, for each part."""

    layers: NDArray[np.float64]  # (layers,)
    heads: NDArray[np.float64]  # (layers, H)
    units: NDArray[np.float64]  # (layers, units)
    channels: NDArray[np.float64]  # (D,)


def measure_importance(
    network: QNetwork, batches: Sequence[SequenceBatch], temperature: float, seed: int = 0
) -> Importance:
    """Return the importance of each part of the network's Transformer on these windows.

    temperature: of the decision policy, in return scales. seed: of the drawn targets.
    """
    assert isinstance(network.trunk, Transformer)
    generator = torch.Generator(device=network.head.scale.device).manual_seed(seed)
    sums: dict[str, Any] = {"layers": 0.0, "heads": 0.0, "units": 0.0, "channels": 0.0}
    steps = 0
    for batch in batches:
        gates = Gates.ones(network.config, len(batch.start_step), network.head.scale.device)
        loss = _sampled_loss(network, batch, gates, temperature, generator)
        named = gates.tensors()
        for name, slope in zip(named, torch.autograd.grad(loss, list(named.values())), strict=True):
            sums[name] = sums[name] + slope.double().square().sum(dim=0)
        steps += int(batch.loss_mask.sum())
    found = {name: (total / max(steps, 1)).cpu().numpy() for name, total in sums.items()}
    return Importance(**found)


def _sampled_loss(
    network: QNetwork, batch: SequenceBatch, gates: Gates, temperature: float, generator: torch.Generator
) -> Tensor:
    """Return a loss with drawn targets; its squared derivative has the estimated loss of distillation as expectation."""
    assert isinstance(network.trunk, Transformer)
    h = gated_forward(network.trunk, network.embed(batch), batch.is_first, batch.start_step, gates)
    out = network.heads(h)
    mask = allowed_actions(network, batch)
    log = log_policy(decision_logits(network, out, temperature), mask)  # (B, T+1, M, A)
    chance = log.detach().exp()
    drawn = torch.multinomial(chance.flatten(0, -2), 1, generator=generator).view(*chance.shape[:-1], 1)
    dims = log.shape[2]
    surprise = -log.gather(-1, drawn)[..., 0].sum(dim=-1) / dims**0.5  # (B, T+1)
    noise = torch.randn(out.q.shape, generator=generator, device=out.q.device)
    value = out.q / network.head.scale * noise
    there = torch.ones_like(value, dtype=torch.bool) if mask is None else mask.expand_as(value)
    value = torch.where(there, value, 0.0).sum(dim=-1) / there.sum(dim=-1).clamp(min=1) ** 0.5
    loss = 0.5**0.5 * surprise + value.sum(dim=-1) / dims**0.5
    total: Tensor = (loss[:, :-1] * batch.loss_mask).sum()
    return total
