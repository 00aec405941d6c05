"""Estimates of what policies would earn, from recorded episodes alone, with intervals and warnings where data are lacking.

The main estimate corrects fitted values by the recorded rewards (weighted doubly robust), step by step, for as long as
enough episodes agree with the policy; after that it uses the fitted values alone. If no step can be corrected, it is
fitted Q evaluation, with a warning. Its interval covers the sampling of episodes (bootstrap) and the error of the fit:
how far fits to other resamples differ, how much the values still change, and how far they contradict the recorded rewards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqel.errors import DataError
from seqel.evaluation.statistics import bootstrap_interval
from seqel.ope.estimators import Estimate, Logged, bellman_error, correctable_steps, effective_sizes, estimate
from seqel.ope.fqe import FQETrainer, StepEstimates, fitted_config
from seqel.ope.policies import AgentPolicy, BehaviourPolicy, Policy
from seqel.ope.saved_fits import SavedFits, fingerprint
from seqel.training.config import RunConfig
from seqel.training.held_out import HeldOut
from seqel.training.offline import loop as offline
from seqel.training.record import Record
from seqel.training.resolve import LONGEST_CONTEXT
from seqel.training.sources import Source

__all__ = ["OffPolicyEvaluation", "PolicyValue", "estimate_policies", "tabulate"]

LEAST_SESSIONS = 30.0  # effective number of sessions that a corrected step needs
LEAST_SHARE = 0.05  # the same, as a share of all sessions
UNEXPLAINED = 0.5  # unexplained share of the targets' variance above which fitted values are not used
OUTSIDE = 0.1  # share of a policy's rarely recorded choices above which there is a warning
MEMBERS = 4  # number of fits
TRANSITIONS = 200_000  # transitions to use, at most
TABLE = 1 << 28  # probabilities to store, at most: one per transition, policy and action


@dataclass(frozen=True, slots=True)
class PolicyValue:
    """One policy's row of the table."""

    name: str
    value: Estimate  # the main estimate
    others: dict[str, Estimate]  # the estimates by each method of `ope/estimators.py`, over all steps
    effective_sessions: float  # effective number of sessions behind the weighted mean at a session's end
    agreement: float  # probability of the recorded actions under the policy, mean over steps
    off_support: float  # share of its choices that are rarely recorded in similar histories
    difference: Estimate | None  # from the recorded policy, on the same resamples; None for the recorded policy itself
    warnings: tuple[str, ...] = ()
    reason: str = ""  # the first warning in a few words, for a table

    @property
    def supported(self) -> bool:
        """Whether the data support the estimate."""
        return not self.warnings

    @property
    def improves(self) -> bool:
        """Whether the data support an improvement: the 95 % interval of the difference is above 0."""
        return self.supported and self.difference is not None and self.difference.low > 0.0


@dataclass(frozen=True, slots=True)
class OffPolicyEvaluation:
    """The whole table. Values are discounted returns from the first step of a session."""

    recorded: PolicyValue
    policies: tuple[PolicyValue, ...]
    discount: float
    sessions: int
    transitions: int
    known_probabilities: bool  # whether the data contain the probability of each recorded action
    fit: HeldOut | None  # how well the fitted values explain held-out episodes

    @property
    def verdict(self) -> str:
        """The conclusion that the table supports."""
        better = [row for row in self.policies if row.improves]
        if not better:
            above = [row.name for row in self.policies if row.difference is not None and row.difference.low > 0.0]
            if above:
                return f"No improvement supported: the data do not support the estimate of {', '.join(above)}."
            return "No improvement supported: the 95 % interval of the difference is not above 0 for any policy."
        best = max(better, key=lambda row: row.value.value)
        assert best.difference is not None
        low, high = best.difference.interval
        return f"{best.name} is estimated to earn {low:+.3g} to {high:+.3g} per session more than the recorded policy."


def estimate_policies(
    policies: Sequence[Policy],
    source: Source,
    *,
    discount: float,
    updates: int | None = None,
    context: int = 0,
    seed: int = 0,
    progress: Callable[[Record], None] | None = None,
    saved: Path | None = None,
    on_fit: Callable[[FQETrainer], None] | None = None,
) -> OffPolicyEvaluation:
    """Fit Q-values, compute importance weights, correct the Q-values by recorded rewards, and bootstrap.

    `context`: the minimum context of the fitted network, in steps. Its context covers whole sessions up to 128 steps, and the
    context of every policy: what a policy forgets may still decide what it earns.
    `updates`: per fit; there are four. `progress` is called with the records of one fit after the other.
    `saved`: a folder in which each fit is saved when it is done. Saved fits of the same estimate are loaded from it; the
    result is the same as without it.
    `on_fit`: called with the trainer of each fit that is done, for its networks.

    An agent's rules veto in its policy as they do in `Agent.act`: what they know is the recorded history.

    Raises:
        DataError: no policies, fewer than two sessions, or empty sessions; or a recorded mask forbids all that an agent's
            rules allow. StorageError: a fit cannot be saved.
    """
    if not policies:
        raise DataError("expected at least one policy to evaluate, got none")
    wide = (len(policies) + 1) * source.action.actions * source.action.dims
    thinned = Thinned(source, seed, min(TRANSITIONS, TABLE // wide))
    policies = [one.within_rules(thinned.buffer) if isinstance(one, AgentPolicy) else one for one in policies]
    every, configs = _members(policies, thinned, discount, updates, context, seed)
    store = None
    if saved is not None:
        key = {"configs": [repr(config) for config in configs], "seed": seed}
        store = SavedFits(saved, fingerprint(every, thinned.buffer, key))
    found: list[StepEstimates] = []
    fit: HeldOut | None = None
    table = None
    for member, config in enumerate(configs):
        before = store.load(member) if store is not None else None
        if before is None:
            trainer = FQETrainer(config, thinned, every, table)
            table = trainer.table
            fit = _fit(trainer, member, progress)
            found.append(trainer.steps_of(thinned.buffer))
            if store is not None:
                store.save(member, found[-1], fit)
            if on_fit is not None:
                on_fit(trainer)
        else:
            found.append(before[0])
            fit = before[1]
    steps = StepEstimates.of(found)
    known = bool(np.isfinite(thinned.buffer.behaviour()).all())
    return tabulate(steps, [policy.name for policy in policies], discount, fit, known, seed)


def _fit(trainer: FQETrainer, member: int, progress: Callable[[Record], None] | None) -> HeldOut | None:
    """Run one fit. Returns its last validation on held-out episodes."""
    validation = None
    for record in offline.records(trainer):
        validation = record.validation
        if progress is not None:
            progress(replace(record, progress=(member + record.progress) / MEMBERS))
    return validation if isinstance(validation, HeldOut) else None


def _members(
    policies: Sequence[Policy], source: Source, discount: float, updates: int | None, context: int, seed: int
) -> tuple[list[Policy], list[RunConfig]]:
    """Return the policies, preceded by the recorded one, and the config of each fit."""
    every: list[Policy] = [BehaviourPolicy.of(source.buffer.actions(), source.action), *policies]
    given: dict[str, Any] = {} if updates is None else {"updates": updates}
    longest = int(source.buffer.lengths.max())
    own = [policy.agent.network.config.context for policy in policies if isinstance(policy, AgentPolicy)]
    context = max(context, min(longest + 1, LONGEST_CONTEXT), *own, 1)
    if any(policy.agent.network.config.actions == "items" for policy in policies if isinstance(policy, AgentPolicy)):
        given["actions"] = "items"  # rare items are valued through vectors that histories teach as well
    return every, [fitted_config(discount, context, seed=seed * MEMBERS + member, **given) for member in range(MEMBERS)]


class Thinned:
    """At most `most` transitions of a source: whole sessions sampled at random, in memory."""

    def __init__(self, source: Source, seed: int, most: int) -> None:
        self.observation, self.action, self._source = source.observation, source.action, source
        order = np.random.default_rng((seed, 0x7417)).permutation(source.buffer.episodes)
        total = np.cumsum(source.buffer.lengths[order])
        count = max(2, int(np.searchsorted(total, most, side="right")))
        self.buffer = source.buffer.copy_subset(np.sort(order[:count]))

    def split(self, held_out: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """See `Source.split`."""
        from seqel.replay.in_memory_dataset import InMemoryDataset

        return InMemoryDataset(self.buffer, self.observation, self.action).split(held_out, seed)


def tabulate(
    steps: StepEstimates,
    names: Sequence[str],
    discount: float,
    fit: HeldOut | None = None,
    known: bool = False,
    seed: int = 0,
) -> OffPolicyEvaluation:
    """Compute the table from the estimates of every step. The first policy in `steps` is the recorded one."""
    doubts = []
    if fit is not None and fit.unexplained > UNEXPLAINED:
        doubts.append(f"the fitted values are inaccurate ({fit.unexplained:.0%} unexplained): use more updates")
    recorded, earned = _recorded(steps, discount, seed)
    rows = [_row(steps, k + 1, name, discount, earned, seed, doubts) for k, name in enumerate(names)]
    return OffPolicyEvaluation(recorded, tuple(rows), discount, len(earned), int(steps.valid.sum()), known, fit)


def _recorded(steps: StepEstimates, discount: float, seed: int) -> tuple[PolicyValue, NDArray[np.float64]]:
    """Return the recorded policy's row, and each session's return; after a truncation, the fitted value is added."""
    horizon = steps.reward.shape[1]
    gamma = discount ** np.arange(horizon)
    rest = np.where(
        steps.valid, 0.0, steps.v[:, 0].mean(axis=0)
    )  # 0, except for a final observation that is bootstrapped from
    earned = (gamma * (steps.reward + rest)).sum(axis=1)
    low, high = bootstrap_interval(earned, seed=seed)
    own = Estimate(float(earned.mean()), low, high, "recorded", horizon)
    return PolicyValue("as recorded", own, {}, float(len(earned)), 1.0, 0.0, None), earned


def _row(
    steps: StepEstimates,
    k: int,
    name: str,
    discount: float,
    earned: NDArray[np.float64],
    seed: int,
    doubts: Sequence[str],
) -> PolicyValue:
    ratio = np.where(steps.valid, steps.policy[k] / steps.behaviour, 0.0)
    members = [
        Logged(steps.reward, steps.valid, ratio, q.astype(np.float64), v.astype(np.float64), discount)
        for q, v in zip(steps.q[:, k], steps.v[:, k], strict=True)
    ]
    q, v = (np.mean([getattr(one, name) for one in members], axis=0) for name in ("q", "v"))
    logged = replace(members[0], q=q, v=v)  # the estimates are linear in both
    weights = logged.weights()
    least = max(LEAST_SESSIONS, LEAST_SHARE * len(earned))
    corrected = correctable_steps(weights, least)
    method = "weighted-doubly-robust"
    spread = 0.0
    if len(members) > 1:
        spread = float(np.std([estimate(one, method, corrected, resamples=0).value for one in members], ddof=1))
    unrest = float(np.sqrt((steps.iterate_std[:, k] ** 2).mean()))
    error, freedom = float(np.linalg.norm([spread, unrest, bellman_error(logged, corrected)])), max(1, len(members) - 1)
    value = estimate(logged, method, corrected, seed).widened(error, freedom)
    others = {name: estimate(logged, name, seed=seed) for name in ("fitted", "weighted", "doubly-robust", method)}
    counted = int(steps.valid.sum())
    agreement = float(steps.policy[k][steps.valid].sum() / counted)
    outside = float(steps.off_support[k][steps.valid].sum() / counted)
    warnings = list(doubts)
    reasons = ["inaccurate fitted values"] if doubts else []
    if len(earned) < LEAST_SESSIONS:
        warnings.append(f"{len(earned)} sessions are too few to correct the fitted values, which are used alone")
        reasons.append("too few sessions")
    elif corrected == 0:
        warnings.append("very few recorded sessions begin like this policy: its value rests on the fit alone")
        reasons.append("no session begins like this")
    if outside > OUTSIDE:
        warnings.append(f"{outside:.0%} of its choices are rare in the data, which do not show what follows them")
        reasons.append(f"{outside:.0%} of its actions are rare")
    difference = estimate(logged, method, corrected, seed, minus=earned).widened(error, freedom)
    effective = float(effective_sizes(weights)[-1])
    reason = reasons[0] if reasons else ""
    return PolicyValue(name, value, others, effective, agreement, outside, difference, tuple(warnings), reason)
