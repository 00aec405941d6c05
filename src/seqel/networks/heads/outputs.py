"""The last layer of a head with outputs for every action, and the layout of these outputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqel.errors import ConfigError
from seqel.networks.config import NetworkConfig
from seqel.networks.heads.action_scorer import ActionScorer
from seqel.networks.heads.item_scorer import ItemScorer
from seqel.networks.heads.token_scorer import TokenScorer
from seqel.networks.layers import linear
from seqel.pretrained.tables import tables_of
from seqel.spaces import ActionSpec

__all__ = ["ActionLayer", "action_layer", "action_outputs", "last_layer", "select_candidates"]

ActionLayer = nn.Linear | ActionScorer | ItemScorer | TokenScorer


def action_layer(
    action: ActionSpec, config: NetworkConfig, dims: int, outputs: int, is_policy: bool = False
) -> ActionLayer:
    """Make the layer with `outputs` numbers for every action of `dims` dimensions: linear, or a scorer.

    is_policy: the numbers are logits; where actions are tokens of a language model, they begin as its own.
    """
    if config.actions == "tokens":
        tables = tables_of(config.model, config.model_checksum)
        if dims != 1 or action.actions != tables.vocabulary:
            raise ConfigError(
                f"network.actions = 'tokens': expected the {tables.vocabulary:,} tokens of {config.model!r}, got "
                f"{action.actions:,} actions in {dims} dimensions"
            )
        return TokenScorer(tables, config.width, outputs, is_policy)
    if config.actions == "embedded":
        return ActionScorer(action.actions, config.width, dims * outputs, config.action_features)
    if config.actions == "items":
        if action.dims != 1:
            raise ConfigError(f"network.actions = 'items': expected one action dimension, got {action.dims}")
        return ItemScorer(config.width, dims * outputs, is_policy)
    return nn.Linear(config.width, dims * action.actions * outputs)


def last_layer(layer: ActionLayer) -> nn.Linear:
    """Return the linear layer whose weights carry the unit."""
    return layer if isinstance(layer, nn.Linear) else layer.last


def action_outputs(
    layer: ActionLayer,
    h: Tensor,
    candidates: Tensor | None,
    actions: int,
    dims: int,
    outputs: int,
) -> Tensor:
    """Apply the layer: h (..., D) -> (..., dims, A, outputs); with candidates (..., C): (..., dims, C, outputs)."""
    if isinstance(layer, TokenScorer):
        found: Tensor = layer(h, candidates)
        return found[..., None, :, :]
    if isinstance(layer, ActionScorer | ItemScorer):
        scores: Tensor = layer(h, candidates)
        return torch.unflatten(scores, -1, (dims, outputs)).transpose(-3, -2)
    out = torch.unflatten(linear(layer, h), -1, (dims, actions, outputs))
    return out if candidates is None else select_candidates(out, candidates)


def select_candidates(out: Tensor, candidates: Tensor) -> Tensor:
    """Select the candidates' outputs: out (..., dims, A, outputs), candidates (..., C) -> (..., dims, C, outputs)."""
    return out.gather(-2, candidates[..., None, :, None].expand(*out.shape[:-2], candidates.shape[-1], out.shape[-1]))
