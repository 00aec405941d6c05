"""Trunks by name. To add one: a file in this folder, a line here, its name in `networks/config.py`, a test."""

from __future__ import annotations

from seqel.networks.config import NetworkConfig
from seqel.networks.trunks.base import Trunk
from seqel.networks.trunks.gru import GRUTrunk
from seqel.networks.trunks.pretrained import PretrainedTrunk
from seqel.networks.trunks.transformer import Transformer

__all__ = ["TRUNKS", "make_trunk", "trunk_class", "trunks_with"]

TRUNKS: dict[str, type[Trunk]] = {"transformer": Transformer, "gru": GRUTrunk, "pretrained": PretrainedTrunk}


def trunk_class(config: NetworkConfig) -> type[Trunk]:
    """Return the class that `config.trunk` names. It declares what it can do, so a trunk need not be built to find out."""
    return TRUNKS[config.trunk]


def trunks_with(ability: str) -> str:
    """Return the names of the trunks that declare this ability (`has_attention`, `exportable`), for messages."""
    return " or ".join(repr(name) for name, trunk in TRUNKS.items() if getattr(trunk, ability))


def make_trunk(config: NetworkConfig) -> Trunk:
    """Make the trunk that `config.trunk` names."""
    make: type = TRUNKS[config.trunk]
    trunk: Trunk = make(config)
    return trunk
