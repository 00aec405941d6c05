"""The return of an agent against the strength of a perturbation."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from seqel.environments.resolve import resolve
from seqel.errors import ConfigError
from seqel.evaluation.rollout import evaluate
from seqel.robustness.attacks import AttackedAgent
from seqel.robustness.leaves import leaf_scales
from seqel.robustness.perturbation import perturbed
from seqel.robustness.registry import ATTACKS, KINDS, PERTURBATIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from seqel.agents.agent import Agent
    from seqel.environments.resolve import EnvMaker
    from seqel.evaluation.rollout import Evaluation

__all__ = ["Curve", "area", "area_interval", "parse_perturbation", "perturbation_curve"]

RESAMPLES = 2_000


@dataclass(frozen=True, slots=True)
class Curve:
    """Evaluations at rising strengths, on the same episodes."""

    kind: str
    unit: str  # of the strengths
    strengths: list[float]
    evaluations: list[Evaluation]
    area: float  # mean return over the strengths: the area under the curve, divided by its width
    area_interval: tuple[float, float]  # 95 %, bootstrap over episodes

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def area(strengths: Sequence[float], values: Sequence[float]) -> float:
    """Return the area under a curve by the trapezoidal rule, divided by its width; the value itself at one strength."""
    if len(strengths) == 1:
        return float(values[0])
    return float(np.trapezoid(values, strengths) / (strengths[-1] - strengths[0]))


def area_interval(
    strengths: Sequence[float], returns: Sequence[Sequence[float]], resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % interval of `area` of the mean returns (S, E); an episode is drawn at every strength together."""
    table = np.asarray(returns, np.float64)
    single = np.array([area(strengths, column) for column in table.T.tolist()])  # the area is linear in the returns
    if len(single) < 2:
        return float("nan"), float("nan")
    drawn = single[np.random.default_rng(seed).integers(len(single), size=(resamples, len(single)))].mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def parse_perturbation(text: str) -> tuple[str, list[float]]:
    """Read KIND or KIND:S1,S2,...: "noise:0,0.1" -> ("noise", [0.0, 0.1]); the usual strengths if there are none.

    Raises ConfigError: no such kind, or the strengths are not rising numbers from 0.
    """
    name, colon, rest = text.partition(":")
    name = name.strip()
    if name not in KINDS:
        raise ConfigError(f"--perturb: expected one of {', '.join(KINDS)}, got {name!r}")
    if not colon:
        return name, list(KINDS[name].strengths)
    try:
        strengths = [float(part) for part in rest.split(",")]
    except ValueError:
        raise ConfigError(f"--perturb {name}: expected numbers separated by commas, got {rest!r}") from None
    rising = all(one < other for one, other in pairwise(strengths))
    if not rising or not all(0.0 <= one < float("inf") for one in strengths):
        raise ConfigError(f"--perturb {name}: expected rising numbers from 0, got {rest!r}")
    return name, strengths


def perturbation_curve(
    agent: Agent,
    env: str | EnvMaker,
    kind: str,
    strengths: Sequence[float] | None = None,
    episodes: int = 100,
    seed: int = 0,
    *,
    environments: int = 32,
    perturbation_seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> Curve:
    """Play the same greedy episodes at each strength of a perturbation, and return the returns.

    Args:
        kind: a name in `KINDS`.
        strengths: rising, from 0; None: the usual ones.
        seed: of the first episode, as in `seqel.evaluate`.
        perturbation_seed: of the perturbations; each episode's follow from this and from its own seed.
        progress: gets the share that is done.

    Raises:
        ConfigError: no such kind, a strength out of range, or no part of the observation that it changes. Also what
            `seqel.evaluate` raises.
    """
    if kind not in KINDS:
        raise ConfigError(f"perturbation: expected one of {', '.join(KINDS)}, got {kind!r}")
    chosen = list(KINDS[kind].strengths if strengths is None else strengths)
    if not chosen or any(one >= other for one, other in pairwise(chosen)):
        raise ConfigError(f"strengths: expected rising numbers, got {chosen}")
    make, scales = resolve(env), list(leaf_scales(agent.network).values())
    found = []
    for place, strength in enumerate(chosen):

        def tell(done: int, place: int = place) -> None:
            if progress is not None:
                progress((place + done / episodes) / len(chosen))

        if kind in PERTURBATIONS:
            own = perturbed(make, PERTURBATIONS[kind], strength, scales, perturbation_seed)
            result = evaluate(agent, own, episodes, seed, environments=environments, progress=tell)
        else:
            attacked = AttackedAgent(agent, strength, ATTACKS[kind].steps, perturbation_seed)
            result = evaluate(attacked, make, episodes, seed, environments=environments, progress=tell)
        found.append(result)
    return Curve(
        kind,
        KINDS[kind].unit,
        chosen,
        found,
        area(chosen, [one.mean for one in found]),
        area_interval(chosen, [one.returns for one in found]),
    )
