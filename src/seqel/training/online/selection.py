"""Which weights are kept: validation on fresh episodes, and a second set of them before the best weights are replaced.

The largest of many noisy means is biased upwards, and the weights that reached it were partly lucky (Cawley & Talbot 2010,
"On over-fitting in model selection"; Van Hasselt 2013, arXiv:1302.7175). Therefore every validation plays new episodes, and
three rules decide:

1. Weights are a candidate if the 50 % interval of their validation's mean reaches the best mean so far.
2. A candidate plays a second set of episodes. It replaces the best weights unless its mean over both sets is lower.
3. If it is lower, the best weights play that second set as well, and all episodes of both are compared again. A lucky
   validation therefore does not protect the best weights.

Rule 3 follows the incumbent of SMAC, which plays again whenever it is challenged (Hutter, Hoos & Leyton-Brown 2011,
"Sequential model-based optimization for general algorithm configuration"). Differs: it plays only if it would otherwise
stay, and a candidate plays two sets instead of as many as the incumbent. docs/experiments.md has the gain and the cost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from seqel.agents.agent import Agent
from seqel.environments.seeds import CONFIRMATION, VALIDATION, FreshSeeds
from seqel.evaluation.rollout import Evaluation, pooled, summarise
from seqel.evaluation.statistics import bootstrap_interval
from seqel.training.config import ValidationConfig
from seqel.training.record import Best

__all__ = ["Selection", "Verdict"]

OVER_LIMIT = 1e9  # how far weights that exceed a limit of costs are put below those that keep it
NEAR = 0.5  # confidence of the interval that has to reach the best mean so far

Play = Callable[[Agent, int, int], Evaluation]  # agent, number of episodes, seed of the first one


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of validating weights: whether they are kept, and why."""

    accepted: bool  # they are the best from here on
    solved: bool = False  # the run may end: the threshold is reached, also in further episodes
    reassessed: bool = False  # the best so far has played further episodes, too
    candidate: Evaluation | None = None  # all episodes of the validated weights, if they played a second set
    rival: Evaluation | None = None  # all episodes of the best so far, if the validated weights were compared with it

    def comparison(self) -> str | None:
        """Return a sentence on the comparison of the trained agent with the incumbent; None if there was none."""
        if self.candidate is None or self.rival is None:
            return None
        return (
            f"the trained agent {'acts from here on' if self.accepted else 'does not replace the best one'}: mean return "
            f"{self.candidate.mean:.3f} in {len(self.candidate.returns)} episodes, against {self.rival.mean:.3f} in "
            f"{len(self.rival.returns)}"
        )


class Selection:
    """Validates `candidate`, whose weights training changes, and keeps its best weights in `kept`."""

    def __init__(
        self,
        config: ValidationConfig,
        play: Play,
        candidate: Agent,
        kept: Agent,
        further: int,
        cost_limit: float | None = None,
    ) -> None:
        """`further`: number of episodes in a second set, unless it also has to confirm the threshold. `cost_limit`: weights
        whose mean cost per episode is above it are worse than all that keep it, the worse the more."""
        self.cost_limit = cost_limit
        self.config, self.play, self.further = config, play, further
        self.candidate, self.kept = candidate, kept
        self.best: Best | None = None  # about `kept`; None before the first validation
        self.verdict = Verdict(False)  # the last one
        self.validation_seeds, self.second_seeds = FreshSeeds(VALIDATION), FreshSeeds(CONFIRMATION)

    def validate(self, episodes: int | None = None) -> Evaluation:
        """Play greedy episodes that were not played before, with the latest weights and fresh memory."""
        count = episodes or self.config.episodes
        return self.play(self.candidate, count, self.validation_seeds.take(count))

    def judge(self, first: Evaluation, steps: int, updates: int) -> Verdict:
        """Decide whether the weights with the validation `first` are the best so far, and keep them if they are."""
        goal = self.config.stop and self._merit(first) >= self.config.threshold
        rival = None if self.best is None else self.best.evaluation
        if not goal and (rival is None or not self._reaches(first, rival)):
            return self._decide(Verdict(rival is None), first, steps, updates)
        count = self.config.confirm if goal else self.further
        seed = self.second_seeds.take(count)
        second = self.play(self.candidate, count, seed)
        both = pooled(first, second)
        solved = goal and self._merit(second) >= self.config.threshold
        reassessed = rival is not None and not solved and self._merit(both) < self._merit(rival)
        if reassessed:
            assert self.best is not None and rival is not None
            rival = pooled(rival, self.play(self.kept, count, seed))
            self.best = Best(self.best.steps, self.best.updates, rival)
        # between equals, the newer weights
        accepted = solved or rival is None or self._merit(both) >= self._merit(rival)
        return self._decide(Verdict(accepted, solved, reassessed, both, rival), both, steps, updates)

    def _decide(self, verdict: Verdict, found: Evaluation, steps: int, updates: int) -> Verdict:
        self.verdict = verdict
        if verdict.accepted:
            self.best = Best(steps, updates, found)
            self.keep()
        return verdict

    def _merit(self, found: Evaluation) -> float:
        """Return the mean return; where a limit of costs is exceeded, a number below all returns."""
        return found.mean - self._excess(found)

    def _excess(self, found: Evaluation) -> float:
        if self.cost_limit is None or found.cost is None or found.cost <= self.cost_limit:
            return 0.0
        return OVER_LIMIT * (1.0 + found.cost - self.cost_limit)

    def _reaches(self, found: Evaluation, rival: Evaluation) -> bool:
        merit, high = self._merit(found), bootstrap_interval(found.returns, confidence=NEAR)[1]
        return merit >= self._merit(rival) or high - self._excess(found) >= self._merit(rival)

    def keep(self) -> None:
        """Copy the validated weights to `kept`."""
        self.kept.network.load_state_dict(self.candidate.network.state_dict())

    # -- saved and restored ----------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return everything that an exact resume needs; it refers to the live weights."""
        return {
            "validation_seeds": self.validation_seeds.used,
            "second_seeds": self.second_seeds.used,
            "kept": self.kept.network.state_dict(),
            "best": None if self.best is None else _packed(self.best),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.validation_seeds.used = int(state["validation_seeds"])
        self.second_seeds.used = int(state["second_seeds"])
        self.kept.network.load_state_dict(state["kept"])
        self.best = None if state["best"] is None else _unpacked(state["best"])


def _packed(best: Best) -> dict[str, Any]:
    """Return the single episodes, from which every figure follows."""
    found = best.evaluation
    return {
        "steps": best.steps,
        "updates": best.updates,
        "returns": np.array(found.returns),
        "lengths": np.array(found.lengths),
        "successes": None if found.successes is None else np.array(found.successes),
        "seed": found.seed,
        "truncated": found.truncated,
        "costs": None if found.costs is None else np.array(found.costs),
    }


def _unpacked(state: dict[str, Any]) -> Best:
    success = np.array([np.nan]) if state["successes"] is None else state["successes"]
    truncated = state["truncated"] if "truncated" in state else state["cut"]  # its name in earlier checkpoints
    found = summarise(
        state["returns"], state["lengths"], success, int(state["seed"]), int(truncated), state.get("costs")
    )
    return Best(int(state["steps"]), int(state["updates"]), found)
