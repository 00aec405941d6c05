"""Which rule keeps the best weights? A simulation of validations; nothing is trained.

    python benchmarks/choosing_weights.py [--episodes 32] [--runs 1000]

The true mean return of the weights, between 0 and 1, follows one of eight curves over the validations of a run (rising,
noisy, falling, ...). A rule sees only the returns of the episodes that it has played, and keeps one of the validated
weights. Printed are means over the curves: how far the true return of the kept weights is below the largest of the run,
how far the reported return is above the true one, how often its 95 % interval holds the true one, and how many episodes
were played, in units of one set per validation.

The part `seeds` of an episode's luck is the same for all weights that play the same seed: the difficulty of that episode.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
NORMAL = np.linspace(-6.0, 6.0, 4_001)
BELOW = np.cumsum(np.exp(-0.5 * NORMAL**2))
BELOW /= BELOW[-1]
QUARTILE, LIMIT = 0.674, 1.96  # of the normal distribution: intervals of 50 and 95 %


def curves(validations: int) -> dict[str, tuple[Array, float]]:
    """Return the mean over the validations, and the spread of the weights around it."""
    t = np.linspace(0.0, 1.0, validations)
    return {
        "rising slowly": (0.5 + 0.2 * t, 0.01),
        "rising": (0.3 + 0.5 * np.minimum(1.0, t / 0.8), 0.02),
        "rising, noisy": (0.3 + 0.5 * np.minimum(1.0, t / 0.6), 0.08),
        "level, noisy": (0.7 + 0.0 * t, 0.08),
        "rising, then falling": (np.where(t < 0.4, 0.3 + 1.25 * t, 0.8 - 0.83 * (t - 0.4)), 0.04),
        "solved": (np.minimum(1.0, 0.3 + 0.9 * t), 0.02),
        "solved, noisy": (np.minimum(1.0, 0.4 + t), 0.06),
        "swinging": (0.3 + 0.4 * np.minimum(1.0, t / 0.5), 0.2),
    }


@dataclass(frozen=True)
class Rule:
    """How weights are chosen. The default: the validation with the largest mean, on new episodes every time."""

    last: bool = False  # always the newest weights
    fresh: bool = True  # new episodes at every validation, not the same ones
    sets: float = 1.0  # episodes per validation, in sets
    second: bool = False  # a candidate plays a second set
    again: bool = False  # the best plays again where it would otherwise stay
    near: bool = False  # weights are a candidate if the 50 % interval reaches the best mean
    skip: bool = False  # no second set if the 95 % intervals do not overlap


RULES = {
    "the last weights": Rule(last=True),
    "largest mean, always the same episodes (before)": Rule(fresh=False),
    "largest mean, fresh episodes": Rule(),
    "largest mean, fresh episodes, twice as many": Rule(sets=2.0),
    "a second set": Rule(second=True),
    "a second set, the best plays again": Rule(second=True, again=True),
    "a second set, the best plays again, near misses (now)": Rule(second=True, again=True, near=True),
    "the same, no second set after a clear improvement": Rule(second=True, again=True, near=True, skip=True),
    "largest mean, fresh episodes, 1.7 times as many": Rule(sets=1.7),
}


@dataclass
class Sums:
    """All episodes of some weights, one entry per run: number, sum and sum of squares of the returns."""

    count: Array
    total: Array
    square: Array

    @property
    def mean(self) -> Array:
        return self.total / self.count

    @property
    def error(self) -> Array:
        return np.sqrt(np.maximum(self.square / self.count - self.mean**2, 0.0) / self.count)

    def plus(self, other: Sums, where: NDArray[np.bool_]) -> Sums:
        return Sums(
            self.count + where * other.count, self.total + where * other.total, self.square + where * other.square
        )

    def replaced(self, other: Sums, where: NDArray[np.bool_]) -> Sums:
        return Sums(*(np.where(where, getattr(other, n), getattr(self, n)) for n in ("count", "total", "square")))


@dataclass
class Simulation:
    """Many runs at once."""

    true: Array  # (runs, validations)
    kind: str
    seeds: float
    rng: np.random.Generator
    played: float = field(default=0.0)

    def play(self, weights: NDArray[np.int64], difficulty: Array, where: Any = 1.0) -> Sums:
        """Play one set of episodes in every run; counted are the runs `where`. difficulty: (runs, episodes)."""
        own = self.rng.normal(size=difficulty.shape)
        luck = np.interp(np.sqrt(self.seeds) * difficulty + np.sqrt(1.0 - self.seeds) * own, NORMAL, BELOW)
        mean = self.true[np.arange(len(self.true)), weights][:, None]
        returns = (
            (luck < mean).astype(float) if self.kind == "success" else -np.log(1.0 - np.minimum(luck, 1 - 1e-7)) * mean
        )
        self.played += float(np.mean(where * np.ones(len(self.true)))) * difficulty.shape[1]
        return Sums(np.full(len(returns), float(returns.shape[1])), returns.sum(1), (returns**2).sum(1))

    def run(self, rule: Rule, episodes: int) -> tuple[float, float, float, float]:
        """Return the four figures of the docstring."""
        runs, validations = self.true.shape
        rng, kept = self.rng, np.zeros(runs, np.int64)
        same, size = rng.normal(size=(runs, episodes)), round(rule.sets * episodes)
        best = self.play(kept, same if not rule.fresh else rng.normal(size=(runs, size)))
        for number in range(1, validations):
            here = np.full(runs, number)
            found = self.play(here, same if not rule.fresh else rng.normal(size=(runs, size)))
            wins = found.mean + rule.near * QUARTILE * found.error >= best.mean
            if rule.second:
                clear = (found.mean - LIMIT * found.error > best.mean + LIMIT * best.error) & rule.skip
                tried, second = wins & ~clear, rng.normal(size=(runs, episodes))
                found = found.plus(self.play(here, second, tried), tried)
                losing = tried & (found.mean < best.mean) & rule.again
                best = best.plus(self.play(kept, second, losing), losing)
                wins = wins & (found.mean >= best.mean)
            wins = wins | rule.last
            kept, best = np.where(wins, here, kept), best.replaced(found, wins)
        true = self.true[np.arange(runs), kept]
        inside = np.abs(best.mean - true) <= LIMIT * best.error
        loss = float(np.mean(self.true.max(1) - true))
        return loss, float(np.mean(best.mean - true)), float(np.mean(inside)), self.played / (validations * episodes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=32)
    parser.add_argument("--runs", type=int, default=1_000)
    parser.add_argument("--curves", action="store_true", help="one line per curve, too")
    given = parser.parse_args()
    print("per entry: below the largest true return / reported above true / interval holds true / sets per validation")
    cases = [(kind, 0.0, validations) for kind in ("success", "exponential") for validations in (10, 50)]
    for kind, seeds, validations in [*cases, ("success", 0.5, 50)]:
        print(f"\n{kind}, {validations} validations of {given.episodes} episodes, seeds {seeds:g}", flush=True)
        for name, rule in RULES.items():
            rows = []
            for curve, (mean, spread) in curves(validations).items():
                rng = np.random.default_rng(0)
                true = np.clip(mean + spread * rng.normal(size=(given.runs, validations)), 0.0, 1.0)
                rows.append(Simulation(true, kind, seeds, rng).run(rule, given.episodes))
                if given.curves:
                    print(f"    {curve:22}", "  ".join(f"{value:6.3f}" for value in rows[-1]))
            print(f"  {name:54}", "  ".join(f"{value:6.3f}" for value in np.mean(rows, axis=0)), flush=True)


if __name__ == "__main__":
    main()
