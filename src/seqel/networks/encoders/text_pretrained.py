"""Encoders of texts with a pretrained Transformer: from its vectors if it is frozen, or through it if it is trained."""

from __future__ import annotations

from torch import Tensor, nn

from seqel.networks.layers import linear
from seqel.pretrained.adapted import Adapted, mean_pooled
from seqel.spaces import Leaf
from seqel.texts.subwords import SubwordReader

__all__ = ["PretrainedTextEncoder", "TextEmbeddingEncoder"]


class TextEmbeddingEncoder(nn.Module):
    """A layer norm, so that the scale of a frozen encoder's vectors does not matter, and one linear layer."""

    def __init__(self, leaf: Leaf, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(leaf.shape[0])
        self.linear = nn.Linear(leaf.shape[0], width)

    def forward(self, x: Tensor) -> Tensor:
        """Encode vectors (..., W) -> (..., D)."""
        return linear(self.linear, self.norm(x))


class PretrainedTextEncoder(nn.Module):
    """The mean state of a text's tokens in a pretrained Transformer that is trained, then as `TextEmbeddingEncoder`."""

    def __init__(self, leaf: Leaf, width: int, reader: SubwordReader) -> None:
        super().__init__()
        self.model = Adapted(reader.model, reader.tuning)
        states = self.model.shared.description.width
        self.norm = nn.LayerNorm(states)
        self.linear = nn.Linear(states, width)

    def forward(self, x: Tensor) -> Tensor:
        """Encode codes (..., length), 0 for padding -> (..., D)."""
        lead, x = x.shape[:-1], x.reshape(-1, x.shape[-1]).long()
        if not len(x):
            return self.linear.weight.new_zeros(*lead, self.linear.out_features)
        there = x != 0
        longest = max(1, int(there.sum(dim=1).max()))
        x, there = x[:, :longest], there[:, :longest]
        seen = there.clone()
        seen[:, 0] = True  # an empty text has no token, and attention needs one
        states = self.model(input_ids=(x - 1).clamp(min=0), attention_mask=seen.long()).last_hidden_state
        out: Tensor = self.linear(self.norm(mean_pooled(states, there)))
        return out.reshape(*lead, -1)
