"""Encoders of texts with a pretrained Transformer: from its vectors if it is frozen, or through it if it is trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqel.networks.layers import linear
from seqel.pretrained.adapted import Adapted, mean_pooled
from seqel.spaces import Leaf
from seqel.texts.subwords import SubwordReader

__all__ = ["PretrainedTextEncoder", "TextEmbeddingEncoder"]

SHORT = 9  # tokens: below, a difference in length costs nothing


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
        lengths = (x != 0).sum(dim=1)
        # texts of similar length together: a pass over all at once would be as long as the longest for each of them
        group = (lengths.clamp(min=SHORT) - 1).log2().floor().long()
        out = self.linear.weight.new_zeros(len(x), self.model.shared.description.width)
        for one in torch.unique(group).tolist():
            rows = (group == one).nonzero()[:, 0]
            out = out.index_copy(0, rows, self._states(x[rows, : max(1, int(lengths[rows].max()))]).to(out.dtype))
        encoded: Tensor = self.linear(self.norm(out))
        return encoded.reshape(*lead, -1)

    def _states(self, x: Tensor) -> Tensor:
        """Return the mean state of each text's tokens: codes (R, N) -> (R, W)."""
        there = x != 0
        seen = there.clone()
        seen[:, 0] = True  # an empty text has no token, and attention needs one
        states = self.model(input_ids=(x - 1).clamp(min=0), attention_mask=seen.long()).last_hidden_state
        return mean_pooled(states, there)
