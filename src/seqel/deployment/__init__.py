"""Agents in use: export to one ONNX file, a runtime that acts from it without torch, and conversations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqel import lazy

if TYPE_CHECKING:
    from seqel.deployment.conversation import Conversation
    from seqel.deployment.export import export
    from seqel.deployment.runtime import ExportedAgent
    from seqel.deployment.service_conversation import ServiceConversation

__all__ = [
    "Conversation",
    "ExportedAgent",
    "ServiceConversation",
    "export",
]

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "Conversation": "seqel.deployment.conversation",
        "ExportedAgent": "seqel.deployment.runtime",
        "ServiceConversation": "seqel.deployment.service_conversation",
        "export": "seqel.deployment.export",
    },
)
