"""Encoders of the tokens of a text: a table that is learned, or that of a pretrained language model, which stays as it is."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from seqel.errors import ConfigError
from seqel.networks.config import NetworkConfig
from seqel.pretrained.tables import tables_of
from seqel.spaces import Leaf

__all__ = ["PretrainedTokenEncoder", "TokenTable", "make_token_encoder"]


class TokenTable(nn.Module):
    """One learned embedding per token."""

    def __init__(self, leaf: Leaf, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(leaf.sizes[0], width)

    def forward(self, x: Tensor) -> Tensor:
        """Encode tokens (..., 1) -> (..., D)."""
        out: Tensor = self.table(x[..., 0].long())
        return out


class PretrainedTokenEncoder(nn.Module):
    """The input embeddings of the language model that is the trunk; nothing here is trained or saved."""

    def __init__(self, leaf: Leaf, config: NetworkConfig) -> None:
        """Raises ConfigError if the tokens are not those of the model."""
        super().__init__()
        self.tables = tables_of(config.model, config.model_checksum)
        if leaf.sizes[0] != self.tables.vocabulary:
            raise ConfigError(
                f"observation {leaf.path!r}: expected the {self.tables.vocabulary:,} tokens of {config.model!r}, got "
                f"{leaf.sizes[0]:,}"
            )

    def forward(self, x: Tensor) -> Tensor:
        """Encode tokens (..., 1) -> (..., D)."""
        found: Any = torch.nn.functional.embedding(x[..., 0].long(), self.tables.inputs(x.device))
        out: Tensor = found
        return out


def make_token_encoder(leaf: Leaf, config: NetworkConfig) -> nn.Module:
    """Make the encoder of a token, according to the trunk."""
    return PretrainedTokenEncoder(leaf, config) if config.trunk == "pretrained" else TokenTable(leaf, config.width)
