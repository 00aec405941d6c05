"""The terms of the objective for recorded data, against hand-computed numbers: each term, its weight, mask and gradient; and
targets that bootstrap from a state value or are constrained by a policy head."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch

from seqel.losses.config import ObjectiveConfig
from seqel.losses.objective import StepLoss, step_loss
from seqel.losses.targets import q_targets
from seqel.types import QOutput, SequenceBatch

LN2, LN3 = math.log(2.0), math.log(3.0)
TWO = torch.tensor(2.0)


def windows(action: list[int], **more: Any) -> SequenceBatch:
    """One window of two transitions with rewards 1 and 10 and discount one half."""
    learn = torch.ones(1, 2, dtype=torch.bool)
    plain = SequenceBatch(
        observation={},
        action=torch.tensor(action)[None, :, None],
        reward=torch.tensor([[1.0, 10.0]]),
        discount=torch.full((1, 2), 0.5),
        is_first=torch.zeros(1, 3, dtype=torch.bool),
        valid=learn,
        loss_mask=learn,
        start_step=torch.zeros(1, dtype=torch.int64),
        previous_action=torch.zeros(1, 1, dtype=torch.int64),
        previous_reward=torch.zeros(1),
        num_learned=2,
    )
    return dataclasses.replace(plain, **more)


def steps(rows: list[list[float]]) -> torch.Tensor:
    """(T+1, A) -> (1, T+1, 1, A)."""
    return torch.tensor(rows)[None, :, None, :]


# In units of 2: values 0 and ln 3 at step 0, ln 3 and 0 at step 1. The policy head: 1/4 and 3/4, then 3/4 and 1/4.
Q = steps([[0.0, 2 * LN3], [2 * LN3, 0.0], [0.0, 0.0]])
LOGITS = steps([[0.0, LN3], [LN3, 0.0], [0.0, 0.0]])
VALUE = torch.tensor([[1.0, 2.0, 6.0]])
SLOW = QOutput(steps([[0.0, 3.0], [3.0, 7.0], [9.0, 4.0]]))
ONLINE = QOutput(Q, policy_logits=LOGITS, value=VALUE)
ONES = windows([1, 1])
ALL: dict[str, Any] = {
    "lambda_": 0.0,
    "cql_alpha": 0.5,
    "cql_temperature": 1.0,
    "cloning_weight": 2.0,
    "iql_expectile": 0.75,
    "awr_beta": 3.0,
}


def terms(batch: SequenceBatch = ONES, online: QOutput = ONLINE, **settings: Any) -> Any:
    config = ObjectiveConfig(0.5, **{"lambda_": 0.0, "cql_temperature": 1.0, **settings})
    return step_loss(batch, online, SLOW, TWO, config)


def near(found: torch.Tensor | None, expected: list[float]) -> bool:
    assert found is not None and found.shape == (1, 2)
    return bool(found[0].tolist() == pytest.approx(expected, rel=1e-5, abs=1e-6))


# -- each term --------------------------------------------------------------------------------------------------------


def test_without_terms_there_is_nothing_extra() -> None:
    found = terms()
    assert found.extra is None and found.terms == {}
    plain = StepLoss(found.loss, found.q, found.target)
    assert plain.extra is None and plain.terms == {}


def test_the_cql_term_is_in_units_of_the_scale_and_weighted() -> None:
    found = terms(cql_alpha=0.5)
    # ln(1 + 3) - ln 3, and ln(3 + 1) - 0
    assert set(found.terms) == {"conservative"}
    assert near(found.terms["conservative"], [math.log(4) - LN3, math.log(4)])
    assert near(found.extra, [0.5 * (math.log(4) - LN3), 0.5 * math.log(4)])


def test_a_lower_cql_temperature_enlarges_differences() -> None:
    # temperature 1/2: ln(1 + 9) / 2 - ln 3, and ln(9 + 1) / 2
    found = terms(cql_alpha=1.0, cql_temperature=0.5)
    assert near(found.extra, [math.log(10) / 2 - LN3, math.log(10) / 2])


def test_a_masked_action_counts_in_no_term() -> None:
    mask = torch.tensor([[[False, True], [True, True], [True, False]]])
    found = terms(windows([1, 1], action_mask=mask), cql_alpha=1.0, cloning_weight=1.0)
    assert near(found.terms["conservative"], [0.0, math.log(4)])
    assert near(found.terms["imitation"], [0.0, math.log(4)])


def test_a_candidate_counts_for_as_many_actions_as_it_represents() -> None:
    count = torch.tensor([[[LN2, 0.0], [0.0, LN2], [9.0, 9.0]]])
    found = terms(windows([1, 1], log_count=count), cql_alpha=1.0, cloning_weight=1.0)
    # 2 * 1 + 3 = 5 ways; then 3 + 2 * 1
    assert near(found.terms["conservative"], [math.log(5) - LN3, math.log(5)])
    # the recorded action is 3 of 5; then 2 of 5
    assert near(found.terms["imitation"], [math.log(5 / 3), math.log(5 / 2)])


def test_cloning_is_in_nats_and_weighted() -> None:
    found = terms(cloning_weight=2.0)
    assert set(found.terms) == {"imitation"}
    assert near(found.terms["imitation"], [math.log(4 / 3), math.log(4)])
    assert near(found.extra, [2 * math.log(4 / 3), 2 * math.log(4)])


def test_the_state_value_is_trained_on_an_expectile_of_the_target_networks_values() -> None:
    found = terms(iql_expectile=0.75)
    # (3 - 1) / 2 = 1 and (7 - 2) / 2 = 2.5, both above: 0.75 times their squares
    assert set(found.terms) == {"state_value"}
    assert near(found.terms["state_value"], [0.75, 0.75 * 6.25])
    assert near(found.extra, [0.75, 0.75 * 6.25])
    below = dataclasses.replace(ONLINE, value=torch.tensor([[5.0, 2.0, 6.0]]))
    assert near(terms(online=below, iql_expectile=0.75).extra, [0.25, 0.75 * 6.25])


def test_good_recorded_actions_get_more_weight_in_the_loss_but_not_in_the_metric() -> None:
    found = terms(cloning_weight=2.0, iql_expectile=0.5, awr_beta=1.4)
    # advantages 1 and 2.5 in units of 2, mean size 1.75: weights exp(1.4 / 1.75) and exp(1.4 * 2.5 / 1.75) = e^2
    plain = [math.log(4 / 3), math.log(4)]
    assert near(found.terms["imitation"], plain)
    heavy = [math.exp(0.8) * plain[0], math.exp(2.0) * plain[1]]
    assert near(found.extra, [0.5 * 1.0 + 2 * heavy[0], 0.5 * 6.25 + 2 * heavy[1]])
    first = windows([1, 1], loss_mask=torch.tensor([[True, False]]))
    found = terms(first, cloning_weight=1.0, iql_expectile=0.5, awr_beta=1.4)
    assert found.extra is not None
    assert found.extra[0, 0] == pytest.approx(0.5 + math.exp(1.4) * plain[0]), "the mean is over trained steps only"


def test_without_beta_every_recorded_action_has_the_same_weight() -> None:
    found = terms(cloning_weight=1.0, iql_expectile=0.5)
    assert near(found.extra, [0.5 * 1.0 + math.log(4 / 3), 0.5 * 6.25 + math.log(4)])


def test_values_of_several_policies_work_with_one_recorded_behaviour() -> None:
    wide = windows([1, 1], policy=torch.full((1, 3, 3, 1, 2), 0.5))
    online = QOutput(Q[:, :, None].expand(1, 3, 3, 1, 2), policy_logits=LOGITS)
    slow = QOutput(SLOW.q[:, :, None].expand(1, 3, 3, 1, 2))
    config = ObjectiveConfig(0.5, lambda_=0.0, cloning_weight=1.0)
    assert near(step_loss(wide, online, slow, TWO, config).extra, [math.log(4 / 3), math.log(4)])


def test_terms_train_their_own_outputs_and_report_without_gradient() -> None:
    q, logits, value = (x.clone().requires_grad_() for x in (Q, LOGITS, VALUE))
    slow = SLOW.q.clone().requires_grad_()
    found = step_loss(
        ONES, QOutput(q, policy_logits=logits, value=value), QOutput(slow), TWO, ObjectiveConfig(0.5, **ALL)
    )
    assert found.extra is not None and not any(term.requires_grad for term in found.terms.values())
    assert not found.q.requires_grad and not found.target.requires_grad
    found.extra.sum().backward()
    assert slow.grad is None, "the target network is not trained"
    assert q.grad is not None and logits.grad is not None and value.grad is not None
    # conservative: half of softmax minus the recorded action, in units of 2
    assert q.grad[0, :, 0].flatten().tolist() == pytest.approx([0.0625, -0.0625, 0.1875, -0.1875, 0, 0], abs=1e-6)
    # expectile: -2 * 0.75 * advantage / 2; the imitation's weight carries none
    assert value.grad[0].tolist() == pytest.approx([-0.75, -0.75 * 2.5, 0.0])
    assert (logits.grad[0, 0, 0, 0] > 0) and (logits.grad[0, 0, 0, 1] < 0)


@pytest.mark.parametrize("trace", ["peng", "watkins", "retrace"])
def test_no_target_carries_a_gradient(trace: Any) -> None:
    live = QOutput(Q.clone().requires_grad_(), None, LOGITS.clone().requires_grad_(), VALUE.clone().requires_grad_())
    slow = QOutput(SLOW.q.clone().requires_grad_())
    policy = torch.full((1, 3, 1, 1, 2), 0.5)
    for batch in (ONES, windows([1, 1], policy=policy)):
        for settings in ({}, {"double": False}, {"iql_expectile": 0.75}):
            for lambda_ in (0.0, 0.9):
                config = ObjectiveConfig(0.5, lambda_=lambda_, trace=trace, **settings)
                assert not q_targets(batch, live, slow, config).requires_grad


def test_q_learning_is_weighted_too() -> None:
    whole, part = terms(), terms(td_weight=0.25, cloning_weight=1.0)
    torch.testing.assert_close(part.loss, 0.25 * whole.loss)


# -- bootstrap values ------------------------------------------------------------------------------------------


def goal(
    batch: SequenceBatch,
    online: QOutput,
    support: float | None = None,
    prefer: torch.Tensor | None = None,
    **settings: Any,
) -> list[float]:
    config = ObjectiveConfig(0.5, **{"lambda_": 0.0, **settings})
    given: dict[str, Any] = {} if support is None else {"support": support}
    given |= {} if prefer is None else {"prefer": prefer}
    target = q_targets(batch, online, SLOW, config, **given)
    assert torch.equal(step_loss(batch, online, SLOW, TWO, config, **given).target, target.mean(dim=-1))
    found: list[float] = target[0, :, 0].tolist()
    return found


def test_targets_bootstrap_from_a_trained_state_value() -> None:
    assert goal(ONES, ONLINE, iql_expectile=0.75) == [1 + 0.5 * 2, 10 + 0.5 * 6]
    # an untrained state value is ignored: the online network prefers action 0 at both steps, worth 3 and 9
    assert goal(ONES, ONLINE) == [1 + 0.5 * 3, 10 + 0.5 * 9]


def test_targets_bootstrap_from_the_expectation_under_an_evaluated_policy() -> None:
    policy = steps([[0.0, 1.0], [0.25, 0.75], [1.0, 0.0]])[:, :, None]
    assert goal(windows([1, 1], policy=policy), ONLINE, iql_expectile=0.75) == [1 + 0.5 * 6, 10 + 0.5 * 9]


def test_targets_do_not_bootstrap_from_actions_that_the_policy_head_finds_too_unlikely() -> None:
    # action 0 is 1/4 as likely as action 1 at step 1, and even at step 2; values prefer action 0 at both
    logits = steps([[0.0, 0.0], [0.0, math.log(4)], [0.0, 0.0]])
    online = QOutput(Q, policy_logits=logits)
    assert goal(ONES, online, support=0.3) == [1 + 0.5 * 7, 10 + 0.5 * 9]
    assert goal(ONES, online, support=0.2) == [1 + 0.5 * 3, 10 + 0.5 * 9]
    assert goal(ONES, online) == [1 + 0.5 * 3, 10 + 0.5 * 9], "a policy head alone filters nothing"
    mask = torch.tensor([[[True, True], [True, True], [False, True]]])
    assert goal(windows([1, 1], action_mask=mask), online, support=0.3) == [1 + 0.5 * 7, 10 + 0.5 * 4]
    mask = torch.tensor([[[True, True], [True, False], [True, True]]])
    assert goal(windows([1, 1], action_mask=mask), online, support=0.3)[0] == 1 + 0.5 * 3, "likely among the allowed"


def test_targets_follow_the_scores_that_the_policy_maximises() -> None:
    # at step 1, values prefer action 0 and these scores action 1; at step 2 both prefer action 0
    scores = steps([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    for settings in ({}, {"double": False}):
        assert goal(ONES, ONLINE, prefer=scores, **settings) == [1 + 0.5 * 7, 10 + 0.5 * 9]
    last = 10 + 0.5 * 9
    traced: dict[str, Any] = {"lambda_": 1.0, "trace": "watkins"}
    assert goal(ONES, ONLINE, prefer=scores, **traced) == [1 + 0.5 * last, last], (
        "action 1 is what the policy would take"
    )
    assert goal(windows([1, 0]), ONLINE, prefer=scores, **traced)[0] == 1 + 0.5 * 7


def test_watkins_cuts_by_the_best_supported_action() -> None:
    logits = steps([[0.0, 0.0], [0.0, math.log(4)], [0.0, 0.0]])
    online = QOutput(Q, policy_logits=logits)
    settings: dict[str, Any] = {"lambda_": 1.0, "trace": "watkins"}
    last = 10 + 0.5 * 9
    assert goal(ONES, online, support=0.3, **settings) == [1 + 0.5 * last, last], "action 1 is the best that is left"
    assert goal(ONES, online, **settings) == [1 + 0.5 * 3, last]
