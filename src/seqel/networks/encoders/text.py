"""Encoders of texts, by the reader that made their codes; here are those that need no other library."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqel.networks.encoders.deduplicated import Deduplicated
from seqel.networks.encoders.text_tokens import TextTokensEncoder
from seqel.networks.layers import linear
from seqel.spaces import Leaf
from seqel.spaces.text_readers import HASHED, reader_of
from seqel.texts.classes import ClassReader

__all__ = ["TextClassesEncoder", "TextEncoder", "make_text_encoder"]


def make_text_encoder(leaf: Leaf, width: int) -> nn.Module:
    """Make the encoder for a text that was read by this leaf's reader. Raises SpaceError if the reader is not loaded."""
    if leaf.reader == HASHED:
        return Deduplicated(leaf, TextEncoder(leaf, width))
    reader = reader_of(leaf)
    if isinstance(reader, ClassReader):
        return TextClassesEncoder(leaf, width)
    # these load the library of pretrained models, which only they need
    from seqel.networks.encoders.text_pretrained import PretrainedTextEncoder, TextEmbeddingEncoder
    from seqel.texts.subwords import SubwordReader

    if reader.dtype == "float32":
        return TextEmbeddingEncoder(leaf, width)
    if isinstance(reader, SubwordReader):
        return Deduplicated(leaf, PretrainedTextEncoder(leaf, width, reader), worth_comparing=2)
    return Deduplicated(leaf, TextTokensEncoder(leaf, width))


class TextEncoder(nn.Module):
    """The mean of the embeddings of a text's hashed byte trigrams (0 is padding)."""

    def __init__(self, leaf: Leaf, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(leaf.sizes[0], width, padding_idx=0)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, x.shape[-1]).long()
        out: Tensor = F.embedding_bag(flat, self.table.weight, mode="mean", padding_idx=0)
        return out.reshape(*x.shape[:-1], -1)


class TextClassesEncoder(nn.Module):
    """One linear layer on probabilities, which say what a text is, and their logarithms, whose sums are evidence."""

    def __init__(self, leaf: Leaf, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * leaf.shape[0], width)

    def forward(self, x: Tensor) -> Tensor:
        """Encode log-probabilities (..., C) -> (..., D)."""
        return linear(self.linear, torch.cat([x.exp(), x / 3.0], dim=-1))  # a third: evidence of 10 to 1 is about 1
