"""Resolves the pretrained model that a run's network is built on."""

from __future__ import annotations

import dataclasses

from seqel.networks.config import NetworkConfig
from seqel.pretrained.loading import describe
from seqel.pretrained.location import use

__all__ = ["with_base_model"]


def with_base_model(network: NetworkConfig) -> NetworkConfig:
    """Return the config with the checksum and the shape of its pretrained model, which is looked up by its name once.

    A config that has the checksum already (of a resumed run, of an agent) is returned as it is.

    Raises:
        ConfigError: there is no such model. MissingExtraError: the extra `text` is not installed.
    """
    if network.trunk != "pretrained" or network.model_checksum:
        return network
    model, path = use(network.model)
    shape = describe(path)
    return dataclasses.replace(
        network,
        model=model.name,
        model_checksum=model.checksum,
        width=shape.width,
        layers=shape.layers,
        heads=shape.heads,
    )
