"""Gymnasium spaces -> what tokens and heads need to know about them: numpy and JSON, no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqel import lazy

if TYPE_CHECKING:
    from seqel.spaces.action import ActionSpec
    from seqel.spaces.leaf import Leaf
    from seqel.spaces.observation import FlatObservation, ObservationSpec

__all__ = [
    "ActionSpec",
    "FlatObservation",
    "Leaf",
    "ObservationSpec",
]

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "ActionSpec": "seqel.spaces.action",
        "FlatObservation": "seqel.spaces.observation",
        "Leaf": "seqel.spaces.leaf",
        "ObservationSpec": "seqel.spaces.observation",
    },
)
