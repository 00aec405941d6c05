"""Encoders by the kind of leaf. To add one: a file in this folder, a line here, its kind in `seqel.spaces.kinds`, a test.

An encoder is a module that maps a leaf (..., *shape) to its share of the token (..., D).
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from seqel.networks.config import NetworkConfig
from seqel.networks.encoders.categories import CategoriesEncoder
from seqel.networks.encoders.deduplicated import Deduplicated
from seqel.networks.encoders.entities import EntitiesEncoder
from seqel.networks.encoders.grid import GridEncoder
from seqel.networks.encoders.images import ConvolutionEncoder, PatchEncoder
from seqel.networks.encoders.text import make_text_encoder
from seqel.networks.encoders.token import make_token_encoder
from seqel.networks.encoders.vector import VectorEncoder
from seqel.spaces import Leaf

__all__ = ["ENCODERS", "IMAGE_ENCODERS", "make_encoder"]

IMAGE_ENCODERS: dict[str, Callable[[Leaf, int], nn.Module]] = {"cnn": ConvolutionEncoder, "patches": PatchEncoder}

ENCODERS: dict[str, Callable[[Leaf, NetworkConfig], nn.Module]] = {
    "vector": lambda leaf, config: VectorEncoder(leaf, config.width),
    "categories": lambda leaf, config: CategoriesEncoder(leaf, config.width),
    "grid": lambda leaf, config: Deduplicated(leaf, GridEncoder(leaf, config.width)),
    "text": lambda leaf, config: make_text_encoder(leaf, config.width),
    "token": make_token_encoder,
    "entities": lambda leaf, config: EntitiesEncoder(leaf, config.width),
    "image": lambda leaf, config: IMAGE_ENCODERS[config.image_encoder](leaf, config.width),
}


def make_encoder(leaf: Leaf, config: NetworkConfig) -> nn.Module:
    """Make the encoder for a leaf of this kind."""
    return ENCODERS[leaf.kind](leaf, config)
