"""A text reader that encodes each distinct text once, because the texts of environments and tables repeat."""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqel.spaces.text_readers import TextReader

__all__ = ["RememberingReader"]


class RememberingReader(TextReader):
    """Keeps the arrays of the latest distinct texts in memory."""

    keeps = 16_384  # texts

    def __init__(self) -> None:
        self._recent: OrderedDict[str, NDArray[Any]] = OrderedDict()

    @abstractmethod
    def encode(self, texts: Sequence[str]) -> NDArray[Any]:
        """Encode R >= 1 distinct texts.  -> (R, *shape)."""

    def read(self, texts: Sequence[str]) -> NDArray[Any]:
        recent = self._recent
        new = [text for text in dict.fromkeys(texts) if text not in recent]
        if new:
            recent.update(zip(new, self.encode(new), strict=True))
        out = np.empty((len(texts), *self.shape), self.dtype)
        for place, text in enumerate(texts):
            out[place] = recent[text]
        while len(recent) > self.keeps:
            recent.popitem(last=False)
        return out
