"""The Q head: the value of every action, given the attended state. Plain or dueling; a number or a distribution.

Values leave the head in units of reward: the network's outputs times `scale`, a running measure of the size of returns. The
last layer starts at zero, so every value starts at zero, and targets never bootstrap from random values.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqel.networks.config import NetworkConfig
from seqel.networks.heads.outputs import action_layer, action_outputs, last_layer, select_candidates
from seqel.networks.layers import linear
from seqel.spaces import ActionSpec
from seqel.types import QOutput
from seqel.values.registry import make_values

__all__ = ["QHead", "by_action", "gathered"]


class QHead(nn.Module):
    """Q(s, .) for every action dimension.

    Dueling: Wang et al. 2016, arXiv:1511.06581 (value + advantage - mean advantage, on the logits if values are
    distributions). HL-Gauss: Farebrother et al. 2024, arXiv:2403.03950. C51: Bellemare et al. 2017, arXiv:1707.06887.
    Quantiles: Dabney et al. 2017, arXiv:1710.10044. A support extends `value_range` return scales to either side of 0.

    policies: None, or K for the values of K policies, on an axis of their own before that of action dimensions.
    With `critics` > 1 (and no policies) each critic is trained on its own, and an action's value is the smallest of theirs:
    clipped double Q-learning, Fujimoto et al. 2018, arXiv:1802.09477. Critics start at different values, not at zero.
    """

    scale: Tensor
    share: Tensor | None

    def __init__(self, action: ActionSpec, config: NetworkConfig, policies: int | None = None) -> None:
        super().__init__()
        self.values = make_values(config.value, config.bins, config.value_range)
        self.actions, self.policies, self.outputs = action.actions, policies, self.values.outputs
        self.critics = 1 if policies else config.critics
        groups = policies or self.critics
        self.dims = action.dims * groups
        self.advantage = action_layer(action, config, self.dims, self.outputs)
        self.value = nn.Linear(config.width, self.dims * self.outputs) if config.dueling else None
        self.register_buffer("scale", torch.ones(()))
        uneven = config.dueling and len(set(action.sizes)) > 1
        share = None
        if uneven:  # (M, A, 1), the weight of each action in the mean over its dimension
            share = torch.from_numpy(action.available).float()
            share = (share / share.sum(dim=1, keepdim=True)).repeat(groups, 1)[..., None]
        self.register_buffer("share", share, persistent=False)
        for layer in self._layers():
            if self.critics == 1:
                nn.init.zeros_(layer.weight)
            else:
                nn.init.normal_(layer.weight, std=0.1 * layer.weight.shape[1] ** -0.5)
            nn.init.zeros_(layer.bias)

    def _layers(self) -> list[nn.Linear]:
        last = last_layer(self.advantage)
        return [last] if self.value is None else [last, self.value]

    def forward(self, h: Tensor, candidates: Tensor | None = None) -> QOutput:
        """h (..., D) -> q (..., M, A) float32, and the outputs (..., M, A, bins) that it is computed from, if they differ.

        With candidates (..., C), numbers of actions: q (..., M, C), only for these. With policies: (..., K, M, A).
        """
        return self._output(self._outputs(h, candidates).float())

    def _outputs(self, h: Tensor, candidates: Tensor | None = None) -> Tensor:
        """Return the outputs of all actions, or of candidates.  -> (..., groups M, A, n)."""
        if self.value is None:
            return action_outputs(self.advantage, h, candidates, self.actions, self.dims, self.outputs)
        # the mean is over all actions, so a value does not depend on the other candidates
        out = action_outputs(self.advantage, h, None, self.actions, self.dims, self.outputs)
        value: Tensor = torch.unflatten(self.value(h), -1, (self.dims, 1, self.outputs))
        out = value + out - self._mean(out)
        return out if candidates is None else select_candidates(out, candidates)

    def _output(self, out: Tensor, taken: bool = False) -> QOutput:
        """Return values and outputs of `out` (..., groups M, A, n)."""
        groups = self.policies or self.critics
        if groups > 1 or self.policies is not None:
            out = torch.unflatten(out, -3, (groups, self.dims // groups))
        q = self.values.expectation(out) * self.scale
        logits = out if self.values.keeps_outputs else None
        if self.critics == 1:
            return QOutput(q=q, logits=logits, taken=taken)
        least = q.argmin(dim=-3, keepdim=True)  # (..., 1, M, A)
        of_least = None
        if logits is not None:
            index = least[..., None].expand(*least.shape, logits.shape[-1])
            of_least = logits.gather(-4, index).squeeze(-4)
        return QOutput(q.gather(-3, least).squeeze(-3), of_least, taken=taken, per_critic=q, per_critic_logits=logits)

    def of_taken(self, h: Tensor, action: Tensor) -> QOutput:
        """Compute the value of one action alone: h (..., D), action (..., M) -> q (..., M, 1) and its outputs.

        Without policies. The same numbers as `forward`, at a cost that does not grow with the number of actions.
        """
        layer = self.advantage
        if not isinstance(layer, nn.Linear) and self.dims == 1:
            return self._output(self._outputs(h, action).float(), taken=True)
        action = action.repeat(*[1] * (action.ndim - 1), self.critics)  # (..., groups M)
        if not isinstance(layer, nn.Linear):
            index = action[..., None, None].expand(*action.shape, 1, self.outputs)
            return self._output(self._outputs(h).gather(-2, index).float(), taken=True)
        rows = (self.dims * self.actions, self.outputs)
        weight, bias = layer.weight.view(*rows, -1), layer.bias.view(rows)
        index = action + self.actions * torch.arange(self.dims, device=action.device)
        one_by_one = self.outputs > 1 and h.device.type == "cpu"
        out = (by_action if one_by_one else gathered)(h, index, weight, bias)  # (..., groups M, n)
        if self.value is not None:
            out = out + torch.unflatten(self._value_less_mean(h, layer), -1, (self.dims, self.outputs))
        return self._output(out.float()[..., None, :], taken=True)

    def _value_less_mean(self, h: Tensor, layer: nn.Linear) -> Tensor:
        """Return a state's value less the mean advantage, a linear function as well.  h (..., D) -> (..., dims n)."""
        assert self.value is not None
        share = self.share
        if share is None:
            share = layer.weight.new_full((self.dims, self.actions, 1), 1.0 / self.actions)
        mean = (layer.weight.view(self.dims, self.actions, -1) * share).sum(dim=1).view(self.dims * self.outputs, -1)
        offset = (layer.bias.view(self.dims, self.actions, -1) * share).sum(dim=1).view(-1)
        return linear(self.value, h) - functional.linear(h, mean, offset)

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


def gathered(h: Tensor, index: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Apply to each step the weights of its actions, which are copied for it.

    h (..., D), index (..., M), weight (A, n, D), bias (A, n) -> (..., M, n).
    """
    chosen = torch.unflatten(functional.embedding(index, weight.flatten(1)), -1, weight.shape[1:])  # (..., M, n, D)
    return (chosen @ h[..., None, :, None])[..., 0] + functional.embedding(index, bias)


def by_action(h: Tensor, index: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Compute the same as `gathered`, all steps of an action at once, without a copy of the n D weights for each step.

    Faster on a CPU; but sizes that depend on the data would make a GPU wait.
    """
    order = index.flatten().argsort(stable=True)
    rows = h.flatten(0, -2)[order // index.shape[-1]]
    parts = torch.split(rows, torch.bincount(index.flatten(), minlength=len(weight)).tolist())
    found = torch.cat([functional.linear(*one) for one in zip(parts, weight.unbind(), bias.unbind(), strict=True)])
    return torch.empty_like(found).index_copy(0, order, found).view(*index.shape, weight.shape[1])
