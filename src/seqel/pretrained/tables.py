"""The two tables of a pretrained language model: what a token enters it as, and how its states give the next one's logits.

They are not trained, and all networks of a process share them.
"""

from __future__ import annotations

from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seqel.pretrained.loading import describe, load_tables
from seqel.pretrained.location import BaseModel, find

__all__ = ["Tables", "tables_of"]


class Tables:
    """The embeddings and the unembeddings of a model. Not a module: no network's state or deep copy contains them."""

    def __init__(self, base: BaseModel) -> None:
        self.base = base
        self._loaded: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def __deepcopy__(self, memo: Any) -> Tables:
        return self

    @cached_property
    def path(self) -> Path:
        """Where the model lies on this machine."""
        return find(self.base)

    @cached_property
    def vocabulary(self) -> int:
        """The number of tokens."""
        return describe(self.path).vocabulary

    def inputs(self, device: torch.device) -> Tensor:
        """Return the embeddings, (vocabulary, width)."""
        return self._on(device)[0]

    def outputs(self, device: torch.device) -> Tensor:
        """Return the unembeddings, (vocabulary, width)."""
        return self._on(device)[1]

    def _on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        if device.type == "meta":
            empty = torch.empty(self.vocabulary, describe(self.path).width, device=device)
            return empty, empty
        if device not in self._loaded:
            with torch.inference_mode(mode=False), torch.device("cpu"):
                inputs, outputs = next(iter(self._loaded.values()), None) or load_tables(self.path)
                moved = inputs.to(device)
                self._loaded = {device: (moved, moved if outputs is inputs else outputs.to(device))}
        return self._loaded[device]


@cache
def tables_of(name: str, checksum: str) -> Tables:
    """Return the tables of a model. Raises ConfigError if it is not on this machine, at their first use."""
    return Tables(BaseModel(name, checksum))
