"""Robustness: perturbed observations, attacks, curves of the return against their strength, unfamiliar states."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqel import lazy

if TYPE_CHECKING:
    from seqel.robustness.attacks import AttackedAgent
    from seqel.robustness.curve import Curve, perturbation_curve
    from seqel.robustness.detectors import Knn, Mahalanobis, auroc, max_softmax
    from seqel.robustness.reference import StateReference
    from seqel.robustness.registry import KINDS
    from seqel.robustness.states import PlayedStates, play_states, read_states

__all__ = [
    "KINDS",
    "AttackedAgent",
    "Curve",
    "Knn",
    "Mahalanobis",
    "PlayedStates",
    "StateReference",
    "auroc",
    "max_softmax",
    "perturbation_curve",
    "play_states",
    "read_states",
]

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "KINDS": "seqel.robustness.registry",
        "AttackedAgent": "seqel.robustness.attacks",
        "Curve": "seqel.robustness.curve",
        "Knn": "seqel.robustness.detectors",
        "Mahalanobis": "seqel.robustness.detectors",
        "PlayedStates": "seqel.robustness.states",
        "StateReference": "seqel.robustness.reference",
        "auroc": "seqel.robustness.detectors",
        "max_softmax": "seqel.robustness.detectors",
        "perturbation_curve": "seqel.robustness.curve",
        "play_states": "seqel.robustness.states",
        "read_states": "seqel.robustness.states",
    },
)
