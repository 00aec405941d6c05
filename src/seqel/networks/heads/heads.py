"""Attended state -> one value an action: all actions at once or dueling; a number, a classification or a distribution.
Beside it, where asked for, a policy (which action was recorded here) and the value of the state itself.

Values leave the head in units of reward: the network's own numbers times `scale`, a running size of the returns. The
last layer starts at zero, so that every value does, and nothing the untrained network imagines is learnt from.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqel.losses.terms.terms import log_policy, support_mask
from seqel.networks.config import NetworkConfig
from seqel.networks.heads.action_scorer import ActionScorer
from seqel.spaces import ActionSpec
from seqel.types import QOutput
from seqel.values.distributions import Categorical, Quantiles
from seqel.values.hl_gauss import HLGauss

__all__ = ["PolicyHead", "QHead", "StateValueHead", "action_scores"]

FAR = 1e6  # return scales: how far below the others a value is put that the policy head filters out


def action_layer(action: ActionSpec, config: NetworkConfig, outputs: int) -> nn.Linear | ActionScorer:
    """What gives `outputs` numbers for every action: an output of a layer each, or a score of what the action is."""
    if config.actions == "embedded":
        return ActionScorer(action.actions, config.width, action.dims * outputs, config.action_features)
    return nn.Linear(config.width, action.dims * action.actions * outputs)


def last_layer(layer: nn.Linear | ActionScorer) -> nn.Linear:
    """The one whose weights carry the unit."""
    return layer.last if isinstance(layer, ActionScorer) else layer


def action_outputs(
    layer: nn.Linear | ActionScorer, h: Tensor, candidates: Tensor | None, action: ActionSpec, outputs: int
) -> Tensor:
    """h (..., D) -> (..., M, A, outputs); with candidates (..., C), numbers of actions: (..., M, C, outputs)."""
    if isinstance(layer, ActionScorer):
        scores: Tensor = layer(h, candidates)
        return torch.unflatten(scores, -1, (action.dims, outputs)).transpose(-3, -2)
    out: Tensor = layer(h)
    out = torch.unflatten(out, -1, (action.dims, action.actions, outputs))
    return out if candidates is None else chosen_of(out, candidates)


def chosen_of(out: Tensor, candidates: Tensor) -> Tensor:
    """out (..., M, A, outputs), candidates (..., C) -> (..., M, C, outputs)."""
    return out.gather(-2, candidates[..., None, :, None].expand(*out.shape[:-2], candidates.shape[-1], out.shape[-1]))


class QHead(nn.Module):
    """Q(s, .) for every action dimension.

    Dueling: Wang et al. 2016, arXiv:1511.06581 (value + advantage - mean advantage, on the logits where these are
    classified). HL-Gauss: Farebrother et al. 2024, arXiv:2403.03950. C51: Bellemare et al. 2017, arXiv:1707.06887.
    Quantiles: Dabney et al. 2017, arXiv:1710.10044. A support reaches `value_range` return scales to either side.
    """

    scale: Tensor

    def __init__(self, action: ActionSpec, config: NetworkConfig) -> None:
        super().__init__()
        self.values = _values(config)
        self.action, self.outputs = action, 1 if self.values is None else config.bins
        self.advantage = action_layer(action, config, self.outputs)
        self.value = nn.Linear(config.width, action.dims * self.outputs) if config.dueling else None
        self.register_buffer("scale", torch.ones(()))
        for layer in self._layers():
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def _layers(self) -> list[nn.Linear]:
        last = last_layer(self.advantage)
        return [last] if self.value is None else [last, self.value]

    def forward(self, h: Tensor, candidates: Tensor | None = None) -> QOutput:
        """h (..., D) -> q (..., M, A) float32, and the outputs (..., M, A, bins) behind it where they are more.

        With candidates (..., C), numbers of actions, these alone: C in the place of A.
        """
        if self.value is None:
            out = action_outputs(self.advantage, h, candidates, self.action, self.outputs)
        else:  # the mean is of all actions: a value does not depend on who else is a candidate
            out = action_outputs(self.advantage, h, None, self.action, self.outputs)
            out = (
                self.value(h).unflatten(-1, (self.action.dims, 1, self.outputs)) + out - out.mean(dim=-2, keepdim=True)
            )
            out = out if candidates is None else chosen_of(out, candidates)
        out = out.float()
        if self.values is None:
            return QOutput(q=out[..., 0] * self.scale)
        return QOutput(q=self.values.expectation(out) * self.scale, logits=out)

    @torch.no_grad()
    def rescale(self, scale: float) -> None:
        """Change the unit. Numbers and quantiles stay exactly what they were; what has a support is stretched with it."""
        if self.values is None or isinstance(self.values, Quantiles):
            for layer in self._layers():
                layer.weight.mul_(self.scale / scale)
                layer.bias.mul_(self.scale / scale)
        self.scale.fill_(scale)


class PolicyHead(nn.Module):
    """Which action was recorded here, as logits; even at first."""

    def __init__(self, action: ActionSpec, config: NetworkConfig) -> None:
        super().__init__()
        self.action, self.linear = action, action_layer(action, config, 1)
        nn.init.zeros_(last_layer(self.linear).weight)
        nn.init.zeros_(last_layer(self.linear).bias)

    def forward(self, h: Tensor, candidates: Tensor | None = None) -> Tensor:
        """h (..., D) -> (..., M, A) float32; with candidates (..., C), C in the place of A."""
        return action_outputs(self.linear, h, candidates, self.action, 1)[..., 0].float()


class StateValueHead(nn.Module):
    """V(s), in the unit of the Q head; 0 at first."""

    def __init__(self, action: ActionSpec, config: NetworkConfig) -> None:
        super().__init__()
        self.linear = nn.Linear(config.width, action.dims)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, h: Tensor, scale: Tensor) -> Tensor:
        """h (..., D) -> (..., M) float32, in units of reward."""
        out: Tensor = self.linear(h).float() * scale
        return out

    @torch.no_grad()
    def rescale(self, ratio: Tensor) -> None:
        """The unit becomes 1 / ratio times as large; values stay what they are."""
        self.linear.weight.mul_(ratio)
        self.linear.bias.mul_(ratio)


def action_scores(out: QOutput, scale: Tensor, config: NetworkConfig, mask: Tensor | None = None) -> Tensor:
    """What the greedy action is the largest of: (..., M, A), -inf where the mask (of that shape, or 1 for M) forbids.

    The values; or the policy's log-probabilities where it decides; or the values with those put far below that the
    policy finds too unlikely (discrete BCQ), among themselves in the order of the policy.
    """
    found = out.q
    if config.policy_head == "greedy":
        assert out.policy_logits is not None
        found = log_policy(out.policy_logits, mask)
    elif config.policy_head == "constraint":
        assert out.policy_logits is not None
        near = support_mask(out.policy_logits, config.bcq_threshold, mask)
        found = torch.where(near, out.q, (log_policy(out.policy_logits, mask) - FAR) * scale)
    return found if mask is None else found.masked_fill(~mask, -torch.inf)


def _values(config: NetworkConfig) -> HLGauss | Categorical | Quantiles | None:
    """What the outputs of an action mean; None: its value."""
    if config.value == "hl-gauss":
        return HLGauss(config.bins, -config.value_range, config.value_range)
    if config.value == "c51":
        return Categorical(config.bins, -config.value_range, config.value_range)
    if config.value == "quantile":
        return Quantiles(config.bins)
    return None
