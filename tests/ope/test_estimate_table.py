"""The off-policy table, computed by hand from invented step estimates: no network is fitted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from seqel.agents.agent import Agent
from seqel.cli.estimate import _cells, _unsupported
from seqel.ope import estimation as offpolicy
from seqel.ope.estimation import PolicyValue, Thinned, tabulate
from seqel.ope.estimators import Estimate
from seqel.ope.fqe import StepEstimates
from seqel.ope.policies import AgentPolicy, BehaviourPolicy, ConstantAction
from seqel.replay.episode_buffer import EpisodeBuffer
from seqel.replay.layout import Layout
from seqel.training.held_out import HeldOut
from seqel.training.offline import loop as offline
from seqel.types import Episode
from support import network
from test_exactness_offline import poor_data


def one_step(count: int, *, members: int = 1, **changed: Any) -> StepEstimates:
    """`count` sessions of one transition with a uniform behaviour policy: every second session took the action that the
    evaluated policy always takes and earned 1, the others 0. Nothing is fitted: all values are 0."""
    agree = np.arange(count) % 2 == 0
    nothing = np.zeros((members, 2, count, 2), np.float32)
    policy = np.zeros((2, count, 2))
    policy[0, :, 0], policy[1, :, 0] = 1.0, agree
    reward = np.zeros((count, 2))
    reward[:, 0] = agree
    steps = StepEstimates(
        valid=np.tile([True, False], (count, 1)),
        reward=reward,
        behaviour=np.tile([0.5, 1.0], (count, 1)),
        policy=policy,
        q=nothing,
        v=nothing.copy(),
        off_support=np.zeros((2, count, 2)),
        iterate_std=np.zeros((members, 2)),
    )
    return replace(steps, **changed)


def row(steps: StepEstimates, **given: Any) -> PolicyValue:
    (found,) = tabulate(steps, ["better"], 0.5, **given).policies
    return found


def fit(unexplained: float) -> HeldOut:
    return HeldOut(-unexplained, unexplained, 0.0, None, 0.0, 0.0, 0.0, 1)


def test_a_better_policy_by_hand() -> None:
    table = tabulate(one_step(200), ["better"], 0.5)
    (found,) = table.policies
    # ratios 2 and 0: only sessions that agree have weight, and they earned 1
    assert (found.name, found.value.method) == ("better", "weighted-doubly-robust")
    assert found.value.value == pytest.approx(1.0)
    assert found.value.corrected == 2 and found.value.fit == 0.0 and found.value.interval == (1.0, 1.0)
    assert found.effective_sessions == pytest.approx(100.0) and found.agreement == pytest.approx(0.5)
    assert set(found.others) == {"fitted", "weighted", "doubly-robust", "weighted-doubly-robust"}
    assert found.others["fitted"].value == 0.0 and found.others["doubly-robust"].value == pytest.approx(1.0)
    assert found.difference is not None and found.difference.value == pytest.approx(0.5)
    # the mean of 200 coins has a standard error of 0.5 / sqrt(200)
    assert found.difference.low == pytest.approx(0.5 - 1.96 * 0.5 / np.sqrt(200), abs=0.015)
    assert found.warnings == () and found.supported and found.improves
    assert (table.sessions, table.transitions, table.discount, table.known_probabilities) == (200, 200, 0.5, False)
    own = table.recorded
    assert (own.name, own.value.value, own.value.method) == ("as recorded", 0.5, "recorded")
    assert own.value.corrected == 2, "every step uses recorded rewards"
    assert (own.effective_sessions, own.agreement, own.off_support, own.difference) == (200.0, 1.0, 0.0, None)
    assert own.value.low < 0.5 < own.value.high and not own.improves
    assert table.verdict.startswith("better is estimated to earn +0.4")


def test_the_recorded_return_of_a_truncated_session_includes_the_fitted_value_of_the_rest() -> None:
    steps = one_step(40)
    steps.v[0, 0, :, 0] = 7.0  # at a recorded step: its reward is used instead
    steps.v[0, 0, :, 1] = 4.0  # at the observation after it: r + 0.5 * 4
    assert tabulate(steps, ["better"], 0.5).recorded.value.value == pytest.approx(0.5 + 2.0)
    whole = one_step(40)
    whole.v[0, 1, :, 1] = 4.0  # the evaluated policy's own value there does not affect the recorded policy
    assert tabulate(whole, ["better"], 0.5).recorded.value.value == pytest.approx(0.5)


def test_if_too_few_sessions_agree_the_fitted_value_is_not_corrected() -> None:
    """58 sessions: 29 have weight, fewer than the 30 that a corrected step needs; 60 are enough."""
    steps = one_step(58)
    steps.v[0, 1, :, 0] = 0.25
    found = row(steps)
    assert found.value.corrected == 0 and found.value.value == pytest.approx(0.25)
    assert len(found.warnings) == 1 and "very few recorded sessions begin like this policy" in found.warnings[0]
    assert not found.supported and not found.improves
    found = row(one_step(60))
    assert found.value.corrected == 2 and found.warnings == ()
    assert "29 sessions are too few" in row(one_step(29)).warnings[0]
    assert "too few" not in row(one_step(30)).warnings[0]


def test_a_corrected_step_needs_a_twentieth_of_many_sessions() -> None:
    """1,000 sessions of which 40 agree: more than 30, fewer than 50."""
    few = one_step(1_000)
    few.policy[1, 80:, 0] = 0.0
    assert row(few).value.corrected == 0
    some = one_step(1_000)
    some.policy[1, 102:, 0] = 0.0
    assert row(some).value.corrected == 2


def test_the_interval_covers_the_spread_of_fits_and_their_changes_over_updates() -> None:
    """Nothing is corrected, so the values are the members': 0.2 and 0.6, whose standard deviation is 0.2 sqrt(2)."""
    steps = one_step(20, members=2)
    steps.v[:, 1, :, 0] = np.array([0.2, 0.6])[:, None]
    steps.q[:, 1, :, 0] = steps.reward[:, 0]  # the fit contradicts nothing
    found = row(steps)
    assert found.value.value == pytest.approx(0.4)
    assert found.value.fit == pytest.approx(0.2 * np.sqrt(2))
    reach = 12.7062 * 0.2 * np.sqrt(2)  # Student's t with one degree of freedom
    assert found.value.interval == pytest.approx((0.4 - reach, 0.4 + reach), rel=1e-4)
    moved = replace(
        steps, iterate_std=np.array([[9.0, 0.3], [9.0, 0.5]])
    )  # of the evaluated policy: root of (.09 + .25) / 2
    assert row(moved).value.fit == pytest.approx(np.sqrt(0.08 + 0.17))
    wrong = replace(steps, q=steps.q - np.float32(1.0))  # every fitted value is 1 too low where ratios are not 0
    assert row(wrong).value.fit == pytest.approx(np.sqrt(0.08 + 1.0))
    apart = replace(steps, q=steps.q - np.array([1.0, 0.0], np.float32)[:, None, None, None])
    assert row(apart).value.fit == pytest.approx(np.sqrt(0.08 + 0.25)), "without correction, q adds no spread"
    alone = row(one_step(20))
    assert alone.value.fit == pytest.approx(1.0), "one member: its contradiction, a reward of 1 against a value of 0"


def test_estimates_use_the_mean_of_the_members() -> None:
    steps = one_step(200, members=2)
    steps.v[:, 1, :, 0] = np.array([0.0, 1.0])[:, None]
    steps.q[:, 1, :, 0] = np.array([0.0, 0.5])[:, None]
    # weighted mean of r - q is 1 - 0.25, and v is 0.5
    assert row(steps).value.value == pytest.approx(1.25)
    assert row(steps).others["fitted"].value == pytest.approx(0.5)


def test_there_is_a_warning_about_choices_that_are_rarely_recorded() -> None:
    outside = np.zeros((2, 200, 2))
    outside[1, :, 0] = np.where(np.arange(200) < 22, 1.0, 0.0)
    outside[:, :, 1] = 1.0  # padding counts nothing
    found = row(one_step(200, off_support=outside))
    assert found.off_support == pytest.approx(0.11)
    assert len(found.warnings) == 1 and "11% of its choices are rare in the data" in found.warnings[0]
    assert not found.improves
    outside[1, 20:, 0] = 0.0
    assert row(one_step(200, off_support=outside)).off_support == pytest.approx(0.1)
    assert row(one_step(200, off_support=outside)).warnings == ()


def test_the_shown_table_marks_what_is_not_supported_and_says_why_once() -> None:
    outside = np.zeros((2, 200, 2))
    outside[1, :, 0] = np.where(np.arange(200) < 22, 1.0, 0.0)
    outside[:, :, 1] = 1.0
    supported, rare = row(one_step(200)), replace(row(one_step(200, off_support=outside)), name="rare")
    assert _cells(supported)[0] == "better" and _cells(rare)[0] == "rare (?)"
    found = _unsupported([supported, rare, replace(rare, name="rarer")])
    assert found == {"11% of its actions are rare": ["rare", "rarer"]}


def test_values_that_explain_little_are_not_used() -> None:
    table = tabulate(one_step(200), ["better"], 0.5, fit(0.51), True)
    (found,) = table.policies
    assert len(found.warnings) == 1 and "51% unexplained" in found.warnings[0]
    assert table.known_probabilities and table.fit == fit(0.51)
    assert table.verdict == "No improvement supported: the data do not support the estimate of better."
    assert row(one_step(200), fit=fit(0.5)).warnings == ()


def test_the_verdict_names_the_best_of_several_or_none_if_none_is_above() -> None:
    steps = one_step(200)
    three = replace(
        steps,
        policy=np.stack([steps.policy[0], 1.0 - steps.policy[1], steps.policy[1], np.full((200, 2), 0.75)]),
        q=np.zeros((1, 4, 200, 2), np.float32), v=np.zeros((1, 4, 200, 2), np.float32),
        off_support=np.zeros((4, 200, 2)), iterate_std=np.zeros((1, 4)),
    )  # fmt: skip
    table = tabulate(three, ["worse", "better", "alike"], 0.5)
    assert [one.value.value for one in table.policies] == pytest.approx([0.0, 1.0, 0.5])
    assert [one.improves for one in table.policies] == [False, True, False]
    assert table.verdict.startswith("better is estimated to earn")
    none = replace(table, policies=(table.policies[0], table.policies[2]))
    assert (
        none.verdict == "No improvement supported: the 95 % interval of the difference is not above 0 for any policy."
    )
    twice = replace(table.policies[1], name="best", value=Estimate(2.0, 1.0, 3.0, "fitted"))
    assert replace(table, policies=(table.policies[1], twice)).verdict.startswith("best is estimated")


def test_an_improvement_is_an_interval_above_zero() -> None:
    base = row(one_step(200))
    for low, improves in ((0.0, False), (1e-9, True), (-0.1, False)):
        assert replace(base, difference=Estimate(1.0, low, 2.0, "x")).improves is improves


def test_the_same_seed_gives_the_same_table() -> None:
    steps = one_step(100)
    steps.v[0, 1, :, 0] = np.linspace(0, 1, 100)
    first, again, other = (row(steps, seed=seed) for seed in (0, 0, 1))
    assert first == again and first.difference != other.difference
    assert row(steps) == first
    own = [tabulate(steps, ["better"], 0.5, seed=seed).recorded.value for seed in (3, 3, 4)]
    assert own[0] == own[1] != own[2]


@pytest.mark.parametrize(("most", "sessions"), [(9, 3), (11, 3), (12, 4), (1, 2), (10_000, 20)])
def test_a_large_dataset_is_thinned_to_whole_sessions(most: int, sessions: int) -> None:
    """Sessions of three transitions each; never fewer than two of them."""
    source = poor_data(0, 20)
    thinned = Thinned(source, 5, most)
    assert thinned.buffer.episodes == sessions and len(thinned.buffer) == 3 * sessions
    assert thinned.action == source.action and thinned.observation == source.observation
    again = Thinned(source, 5, most).buffer
    assert (again.actions() == thinned.buffer.actions()).all()
    rows, held = thinned.split(0.5, 1)
    assert sorted([*rows.tolist(), *held.tolist()]) == list(range(sessions))


@dataclass
class FakeRecord:
    """A record of a fit."""

    progress: float
    validation: Any = None


class Asked:
    """Stands in for a fit, and keeps its arguments; the table is not computed."""

    def __init__(self, config: Any, source: Any, policies: Any, table: Any = None) -> None:
        self.config, self.source, self.policies = config, source, policies
        self.given, self.table = table, object() if table is None else table

    def steps_of(self, recorded: Any) -> None: ...


def ask(monkeypatch: pytest.MonkeyPatch, policies: Any, source: Any, **given: Any) -> tuple[list[Any], Any]:
    monkeypatch.setattr(offpolicy, "FQETrainer", Asked)
    monkeypatch.setattr(offline, "records", lambda member: iter([FakeRecord(0.5), FakeRecord(1.0, fit(0.25))]))
    monkeypatch.setattr(StepEstimates, "of", lambda steps: steps)
    monkeypatch.setattr(offpolicy, "tabulate", lambda steps, names, discount, held_out, known, seed: held_out)
    members: list[Any] = []
    found = offpolicy.estimate_policies(policies, source, discount=0.9, on_fit=members.append, **given)
    return members, found


def test_four_fits_share_the_table_of_the_policies_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    source, policies = poor_data(0, 20), [ConstantAction(0, 2, "a"), ConstantAction(1, 2, "b")]
    shown: list[float] = []
    given: dict[str, Any] = {"updates": 60, "seed": 2, "progress": lambda record: shown.append(record.progress)}
    members, found = ask(monkeypatch, policies, source, **given)
    assert [one.config.seed for one in members] == [8, 9, 10, 11]
    assert members[0].given is None and all(one.given is members[0].table for one in members[1:])
    assert found == fit(0.25) and shown == [k / 8 for k in range(1, 9)]
    share = float((source.buffer.actions() == 0).mean())
    for one in members:
        assert one.source is members[0].source and one.policies[1:] == policies
        assert isinstance(one.policies[0], BehaviourPolicy)
        assert one.policies[0].frequencies == pytest.approx((share, 1.0 - share))
        assert (one.config.objective.discount, one.config.offline.updates) == (0.9, 60)


def test_the_context_of_a_fit_covers_whole_sessions_and_that_of_the_policies(monkeypatch: pytest.MonkeyPatch) -> None:
    source = poor_data(0, 20)  # three transitions each: four observations
    agent = Agent(network(context=9))
    policies = [ConstantAction(0, 2)]
    for asked, more, context in (
        (0, [], 4),
        (2, [], 4),
        (7, [], 7),
        (0, [AgentPolicy(agent)], 9),
        (12, [AgentPolicy(agent)], 12),
    ):
        members, _ = ask(monkeypatch, [*policies, *more], source, context=asked)
        assert members[0].config.network.context == context
    long = replace(source, buffer=EpisodeBuffer.of(LONG, [straight(300), straight(300)]))
    members, _ = ask(monkeypatch, policies, long)
    assert members[0].config.network.context == 128
    assert members[0].config.offline.updates == 3_000, "unless it is said otherwise"


LONG = Layout({"observation": ((1,), np.dtype(np.int64))}, 2, recorded=True)


def straight(steps: int) -> Episode:
    return Episode(
        {"observation": np.zeros((steps + 1, 1), np.int64)}, np.zeros((steps, 1), np.int64), np.zeros(steps, np.float32),
        terminated=True,
    )  # fmt: skip


@pytest.mark.parametrize("known", [True, False])
def test_from_fits_to_the_table(known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fits' steps are combined; probabilities count as known if all of them were recorded."""
    chance = np.full(300, 0.5 if known else np.nan, np.float32)
    data = replace(poor_data(0, 1), buffer=EpisodeBuffer.of(LONG, [replace(straight(300), behaviour_prob=chance)] * 2))
    asked: dict[str, Any] = {}

    class Fit:
        def __init__(self, config: Any, source: Any, policies: Any, table: Any = None) -> None:
            asked.setdefault("configs", []).append(config)
            asked.update(source=source, policies=policies)
            self.table = table or object()

        def steps_of(self, recorded: EpisodeBuffer) -> StepEstimates:
            asked["recorded"] = recorded
            return one_step(200)

    monkeypatch.setattr(offpolicy, "FQETrainer", Fit)
    monkeypatch.setattr(offpolicy, "_fit", lambda trainer, member, progress: fit(0.1))
    policies = [ConstantAction(0, 2, "better")]
    table = offpolicy.estimate_policies(policies, data, discount=0.5, updates=7, context=3, seed=4)
    assert asked["policies"][1:] == policies
    assert [(one.seed, one.offline.updates) for one in asked["configs"]] == [(16 + n, 7) for n in range(4)]
    assert isinstance(asked["source"], Thinned) and asked["recorded"] is asked["source"].buffer
    assert asked["recorded"].episodes == 2
    assert table.known_probabilities is known and table.fit == fit(0.1) and table.discount == 0.5
    assert table.policies[0].name == "better" and table.policies[0].value.value == pytest.approx(1.0)
    assert (
        table.policies == tabulate(StepEstimates.of([one_step(200)] * 4), ["better"], 0.5, fit(0.1), known, 4).policies
    )
