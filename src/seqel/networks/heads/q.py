"""The Q head: the value of every action, given the attended state. Plain or dueling; a number or a distribution.

Values leave the head in units of reward: the network's outputs times `scale`, a running measure of the size of returns. The
last layer starts at zero, so every value starts at zero, and targets never bootstrap from random values.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqel.networks.config import NetworkConfig
from seqel.networks.heads.outputs import action_layer, action_outputs, last_layer, select_candidates
from seqel.networks.layers import linear
from seqel.spaces import ActionSpec
from seqel.types import QOutput
from seqel.values.registry import make_values

__all__ = ["QHead"]


class QHead(nn.Module):
    """Q(s, .) for every action dimension.

    Dueling: Wang et al. 2016, arXiv:1511.06581 (value + advantage - mean advantage, on the logits if values are
    distributions). HL-Gauss: Farebrother et al. 2024, arXiv:2403.03950. C51: Bellemare et al. 2017, arXiv:1707.06887.
    Quantiles: Dabney et al. 2017, arXiv:1710.10044. A support extends `value_range` return scales to either side of 0.

    policies: None, or K for the values of K policies, on an axis of their own before that of action dimensions.
    """

    scale: Tensor
    share: Tensor | None

    def __init__(self, action: ActionSpec, config: NetworkConfig, policies: int | None = None) -> None:
        super().__init__()
        self.values = make_values(config.value, config.bins, config.value_range)
        self.actions, self.policies, self.outputs = action.actions, policies, self.values.outputs
        self.dims = action.dims * (policies or 1)
        self.advantage = action_layer(action, config, self.dims, self.outputs)
        self.value = nn.Linear(config.width, self.dims * self.outputs) if config.dueling else None
        self.register_buffer("scale", torch.ones(()))
        uneven = config.dueling and len(set(action.sizes)) > 1
        share = None
        if uneven:  # (M, A, 1), the weight of each action in the mean over its dimension
            share = torch.from_numpy(action.available).float()
            share = (share / share.sum(dim=1, keepdim=True)).repeat(policies or 1, 1)[..., None]
        self.register_buffer("share", share, persistent=False)
        for layer in self._layers():
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def _layers(self) -> list[nn.Linear]:
        last = last_layer(self.advantage)
        return [last] if self.value is None else [last, self.value]

    def forward(self, h: Tensor, candidates: Tensor | None = None) -> QOutput:
        """h (..., D) -> q (..., M, A) float32, and the outputs (..., M, A, bins) that it is computed from, if they differ.

        With candidates (..., C), numbers of actions: q (..., M, C), only for these. With policies: (..., K, M, A).
        """
        if self.value is None:
            out = action_outputs(self.advantage, h, candidates, self.actions, self.dims, self.outputs)
        else:  # the mean is over all actions, so a value does not depend on the other candidates
            out = action_outputs(self.advantage, h, None, self.actions, self.dims, self.outputs)
            value = self.value(h).unflatten(-1, (self.dims, 1, self.outputs))
            out = value + out - self._mean(out)
            out = out if candidates is None else select_candidates(out, candidates)
        out = out.float()
        if self.policies is not None:
            out = torch.unflatten(out, -3, (self.policies, self.dims // self.policies))
        q = self.values.expectation(out) * self.scale
        return QOutput(q=q, logits=out) if self.values.keeps_outputs else QOutput(q=q)

    def of_taken(self, h: Tensor, action: Tensor) -> QOutput:
        """Compute the value of one action alone: h (..., D), action (..., M) -> q (..., M, 1) and its outputs.

        Without policies. The same numbers as `forward`, at a cost that does not grow with the number of actions.
        """
        layer = self.advantage
        if not isinstance(layer, nn.Linear):
            if self.dims == 1 and self.value is None:
                return replace(self.forward(h, action), taken=True)
            return _gathered(self.forward(h), action)
        rows = (self.dims * self.actions, self.outputs)
        weight, bias = layer.weight.view(*rows, -1), layer.bias.view(rows)
        index = action + self.actions * torch.arange(self.dims, device=action.device)
        of_action = torch.unflatten(
            functional.embedding(index, weight.flatten(1)), -1, weight.shape[1:]
        )  # (..., M, n, D)
        out = (of_action @ h[..., None, :, None])[..., 0] + functional.embedding(index, bias)  # (..., M, n)
        if self.value is not None:
            # the mean of linear functions is a linear function
            share = (
                self.share
                if self.share is not None
                else weight.new_full((self.dims, self.actions, 1), 1.0 / self.actions)
            )
            mean = (weight.view(self.dims, self.actions, -1) * share).sum(dim=1).view(self.dims * self.outputs, -1)
            offset = (bias.view(self.dims, self.actions, -1) * share).sum(dim=1).view(-1)
            value = linear(self.value, h) - functional.linear(h, mean, offset)
            out = out + torch.unflatten(value, -1, (self.dims, self.outputs))
        out = out.float()[..., None, :]
        q = self.values.expectation(out) * self.scale
        return QOutput(q=q, logits=out if self.values.keeps_outputs else None, taken=True)

    def _mean(self, out: Tensor) -> Tensor:
        """Average over the actions that a dimension has.  (..., M, A, n) -> (..., M, 1, n)."""
        if self.share is None:
            return out.mean(dim=-2, keepdim=True)
        return (out * self.share.to(out.dtype)).sum(dim=-2, keepdim=True)

    @torch.no_grad()
    def rescale(self, scale: float) -> None:
        """Change the unit. Values that are linear in the outputs do not change; a fixed support is stretched."""
        if self.values.linear:
            for layer in self._layers():
                layer.weight.mul_(self.scale / scale)
                layer.bias.mul_(self.scale / scale)
        self.scale.fill_(scale)


def _gathered(out: QOutput, action: Tensor) -> QOutput:
    """Select the action taken from the values of all."""
    index = action[..., None]
    logits = None
    if out.logits is not None:
        logits = out.logits.gather(-2, index[..., None].expand(*index.shape, out.logits.shape[-1]))
    return QOutput(q=out.q.gather(-1, index), logits=logits, taken=True)
