"""Smaller agents that decide as the trained one does: pruning, distillation, 8-bit weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqel import lazy

if TYPE_CHECKING:
    from seqel.compression.compressing import compress
    from seqel.compression.distilling import DistillationConfig
    from seqel.compression.measuring import RelativeDrop
    from seqel.compression.quantising import quantise
    from seqel.compression.report import Compression, Variant

__all__ = [
    "Compression",
    "DistillationConfig",
    "RelativeDrop",
    "Variant",
    "compress",
    "quantise",
]

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "Compression": "seqel.compression.report",
        "DistillationConfig": "seqel.compression.distilling",
        "RelativeDrop": "seqel.compression.measuring",
        "Variant": "seqel.compression.report",
        "compress": "seqel.compression.compressing",
        "quantise": "seqel.compression.quantising",
    },
)
