"""All terms of the objective. To add one: a file in this folder, a line here, its setting in `losses/config.py`, a test."""

from __future__ import annotations

from seqel.losses.config import ObjectiveConfig
from seqel.losses.terms.cloning import CLONING
from seqel.losses.terms.cost import COST
from seqel.losses.terms.cql import CQL
from seqel.losses.terms.distillation import DISTILLATION
from seqel.losses.terms.iql import IQL
from seqel.losses.terms.novelty import NOVELTY
from seqel.losses.terms.robustness import ROBUSTNESS
from seqel.losses.terms.term import Term

__all__ = ["TERMS", "active_terms"]

TERMS: tuple[Term, ...] = (CQL, IQL, CLONING, DISTILLATION, NOVELTY, COST, ROBUSTNESS)  # in the order of the sum


def active_terms(config: ObjectiveConfig) -> tuple[Term, ...]:
    """Return the terms that the objective has."""
    return tuple(term for term in TERMS if term.active(config))
