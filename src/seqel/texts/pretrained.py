"""Text readers of pretrained models: frozen, as vectors, or trained, as the codes of their tokenizers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from seqel.pretrained.adapted import Adapted, Tuning, mean_pooled
from seqel.pretrained.location import BaseModel
from seqel.spaces.text_readers import TextReader
from seqel.texts.cache import EmbeddingCache
from seqel.texts.embeddings import EmbeddingReader
from seqel.texts.subwords import SubwordReader, Subwords

__all__ = ["pretrained_reader"]

ROWS = 32  # texts that a frozen model encodes at once


def pretrained_reader(model: BaseModel, path: Path, tuning: Tuning, length: int) -> TextReader:
    """Make the reader of a model that lies at `path`. Raises ConfigError if the model cannot be read."""
    subwords = Subwords(path, length)
    if tuning.kind != "frozen":
        return SubwordReader(model, subwords, tuning)
    adapted = Adapted(model, tuning)
    name = f"frozen-{subwords.length}-{model.checksum[:16]}"
    width = adapted.shared.description.width
    described = SubwordReader(model, subwords, tuning).to_json()

    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        out = np.empty((len(texts), width), np.float32)
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))  # little padding in each batch
        for start in range(0, len(order), ROWS):
            some = order[start : start + ROWS]
            out[some] = _embedded(adapted, subwords, [texts[place] for place in some])
        return out

    return EmbeddingReader(
        name, f"text, as the mean of its first {subwords.length} tokens' states in {model.name} (frozen)", embed, width,
        described, EmbeddingCache(name, width), subwords.unread,
    )  # fmt: skip


@torch.inference_mode()
def _embedded(adapted: Adapted, subwords: Subwords, texts: Sequence[str]) -> NDArray[np.float32]:
    codes = subwords.codes(texts)
    longest = max(1, *map(len, codes))
    ids = torch.zeros(len(codes), longest, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, text in enumerate(codes):
        ids[row, : len(text)] = torch.tensor(text, dtype=torch.int64)
        mask[row, : len(text)] = 1
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    ids, mask = ids.to(device), mask.to(device)
    hidden = adapted.base(input_ids=ids, attention_mask=mask).last_hidden_state
    found: NDArray[np.float32] = mean_pooled(hidden, mask).float().cpu().numpy()
    return found
