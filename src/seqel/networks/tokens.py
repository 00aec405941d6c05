"""Observation, previous action, previous reward and first-step flag -> one token per step.

Each leaf of the observation has an encoder of its own (`encoders/registry.py`). Their outputs are added, which equals one
linear layer over their concatenation. The symlog of the previous reward is used, so that its scale does not matter much.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqel.errors import SpaceError
from seqel.networks.config import NetworkConfig
from seqel.networks.encoders.normalised import Normalised
from seqel.networks.encoders.registry import make_encoder
from seqel.networks.items import ItemTable
from seqel.networks.layers import embedding
from seqel.spaces import ActionSpec, ObservationSpec
from seqel.values.symlog import symlog_of_data

__all__ = ["TokenEncoder"]


class TokenEncoder(nn.Module):
    """Encodes each step as one token: its observation, the action before it, and the reward for that action."""

    def __init__(self, observation: ObservationSpec, action: ActionSpec, config: NetworkConfig) -> None:
        super().__init__()
        self.paths = [leaf.path for leaf in observation.leaves]
        self.encoders = nn.ModuleList(make_encoder(leaf, config) for leaf in observation.leaves)
        # a language model's tokens have embeddings already, and would need millions of weights here
        sizes = () if config.actions == "tokens" and not config.previous_action else action.sizes
        self.items: ItemTable | None = None
        if config.actions == "items":
            sizes = ()
            self.items = ItemTable(action.actions, config.width, config.action_features, config.item_dropout)
        self.actions = nn.ModuleList(nn.Embedding(size, config.width) for size in sizes)
        self.reward = nn.Linear(1, config.width, bias=False)
        self.first = nn.Parameter(torch.randn(config.width) * 0.5)
        self.config = config
        for table in self.actions:
            assert isinstance(table, nn.Embedding)
            nn.init.normal_(table.weight, std=0.5)

    def forward(
        self, observation: dict[str, Tensor], previous_action: Tensor, previous_reward: Tensor, first: Tensor
    ) -> Tensor:
        """Encode: leaves (..., *shape), previous_action (..., M), previous_reward and first (...) -> (..., D).

        Where `first` is True the previous action and reward are ignored, because there were none.
        """
        token: Tensor | None = None
        for path, encoder in zip(self.paths, self.encoders, strict=True):
            if path not in observation:
                raise SpaceError(f"the observation lacks {path!r}; expected {self.paths}, got {list(observation)}")
            part = encoder(observation[path])
            token = part if token is None else token + part
        assert token is not None
        if self.training and self.config.step_dropout:
            kept = torch.rand(token.shape[:-1], device=token.device) >= self.config.step_dropout
            token = torch.where(kept[..., None], token, 0.0)
        return token + torch.where(first[..., None], self._beginning(), self._before(previous_action, previous_reward))

    def _beginning(self) -> Tensor:
        return self.first if self.config.first_step else torch.zeros_like(self.first)

    def _before(self, action: Tensor, reward: Tensor) -> Tensor:
        """Encode the previous action and its reward.  -> (..., D), or a shape that broadcasts to it."""
        parts: list[Tensor] = []
        if self.items is not None:
            item = self.items(action[..., 0]) * self.config.width**0.5
            parts.append(functional.dropout(item, self.config.dropout, self.training) if self.config.dropout else item)
        if self.config.previous_action:
            for dim, table in enumerate(self.actions):
                assert isinstance(table, nn.Embedding)
                parts.append(embedding(table, action[..., dim]))
        if self.config.previous_reward:
            parts.append(symlog_of_data(reward)[..., None] * self.reward.weight[:, 0])
        return sum(parts[1:], parts[0]) if parts else torch.zeros_like(self.first)

    def vectors(self) -> dict[str, Normalised]:
        """The leaves that have statistics."""
        pairs = zip(self.paths, self.encoders, strict=True)
        return {path: encoder for path, encoder in pairs if isinstance(encoder, Normalised)}
