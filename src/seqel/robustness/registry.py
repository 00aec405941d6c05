"""All perturbations by name. To add one: a class in this folder, a line here, a test."""

from __future__ import annotations

from dataclasses import dataclass

from seqel.robustness.perturbation import Perturbation
from seqel.robustness.sensors import Delay, Drop, GaussianNoise, Occlusion, Repeat
from seqel.robustness.wording import Synonyms, Typos, WordDrop

__all__ = ["ATTACKS", "KINDS", "PERTURBATIONS", "AttackKind"]


@dataclass(frozen=True, slots=True)
class AttackKind:
    """An attack: how many steps of gradient ascent it takes."""

    name: str
    meaning: str
    steps: int
    unit: str = "largest change, in units of the network's scale (full brightness for pictures)"
    strengths: tuple[float, ...] = (0.0, 0.01, 0.02, 0.05, 0.1)


PERTURBATIONS: dict[str, type[Perturbation]] = {
    one.name: one for one in (GaussianNoise, Drop, Delay, Repeat, Occlusion, Typos, WordDrop, Synonyms)
}
ATTACKS: dict[str, AttackKind] = {
    one.name: one
    for one in (
        AttackKind("fgsm", "fast gradient sign method at the current step, against the greedy action", 1),
        AttackKind("pgd", "projected gradient ascent at the current step, against the greedy action", 10),
    )
}
KINDS: dict[str, type[Perturbation] | AttackKind] = {**PERTURBATIONS, **ATTACKS}
