"""Export of an agent to one ONNX file, and a runtime that acts from it without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqel import lazy

if TYPE_CHECKING:
    from seqel.deployment.export import export
    from seqel.deployment.runtime import ExportedAgent

__all__ = [
    "ExportedAgent",
    "export",
]

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "ExportedAgent": "seqel.deployment.runtime",
        "export": "seqel.deployment.export",
    },
)
