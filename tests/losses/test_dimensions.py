"""Rule 12: the value of an action with several dimensions is the mean of its parts' (DecQN, arXiv:2210.12566), by hand."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from seqel.losses import objective, targets
from seqel.losses.config import ObjectiveConfig
from seqel.losses.objective import step_loss, term_losses
from seqel.losses.targets import q_targets
from seqel.losses.td import action_values
from seqel.types import QOutput, SequenceBatch
from seqel.values.quantiles import Quantiles

ONE = torch.ones(())
ALL = torch.ones(1, 3, 2, 3, dtype=torch.bool)
UNEVEN = torch.tensor([[True, True, True], [True, True, False]])  # the second dimension has two actions

# (T+1, M, A) = (3, 2, 3). At step 1 the online network prefers actions (2, 0), at step 2 (0, 1).
ONLINE = torch.tensor(
    [[[1.0, 2.0, 3.0], [5.0, 7.0, 0.0]], [[0.0, 1.0, 9.0], [4.0, 3.0, 99.0]], [[6.0, 2.0, 1.0], [0.0, 8.0, 99.0]]]
)
SLOW = torch.tensor(
    [[[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]], [[10.0, 30.0, 20.0], [2.0, 6.0, 999.0]], [[3.0, 5.0, 7.0], [9.0, 1.0, 999.0]]]
)


def windows(action: list[list[int]], **more: Any) -> SequenceBatch:
    """One window of two transitions with two action dimensions: rewards 1 and 10, discounts 1/2."""
    real = torch.ones(1, 2, dtype=torch.bool)
    return SequenceBatch(
        observation={},
        action=torch.tensor([action]),
        reward=torch.tensor([[1.0, 10.0]]),
        discount=torch.tensor([[0.5, 0.5]]),
        is_first=torch.zeros(1, 3, dtype=torch.bool),
        valid=real,
        loss_mask=real,
        start_step=torch.zeros(1, dtype=torch.int64),
        previous_action=torch.zeros(1, 2, dtype=torch.int64),
        previous_reward=torch.zeros(1),
        num_learned=2,
        **more,
    )


def out(q: Tensor, available: Tensor | None = UNEVEN, **more: Any) -> QOutput:
    return QOutput(q[None], available=available, **more)


def goal(batch: SequenceBatch, **settings: Any) -> list[float]:
    config = ObjectiveConfig(**{"lambda_": 0.0, **settings})
    found: list[float] = q_targets(batch, out(ONLINE), out(SLOW), config)[0, :, 0].tolist()
    return found


BATCH = windows([[1, 0], [2, 1]])


def test_the_value_of_a_joint_action_is_the_mean_of_its_parts() -> None:
    assert action_values(ONLINE[None, :-1], BATCH.action)[0, :, 0].tolist() == [(2 + 5) / 2, (9 + 3) / 2]


def test_double_q_picks_in_each_dimension_and_bootstraps_from_the_mean() -> None:
    assert goal(BATCH) == [1 + 0.5 * (20 + 2) / 2, 10 + 0.5 * (3 + 1) / 2]


def test_plain_q_bootstraps_from_the_mean_of_the_maxima_and_from_nothing_beyond_a_dimensions_size() -> None:
    assert goal(BATCH, double=False) == [1 + 0.5 * (30 + 6) / 2, 10 + 0.5 * (7 + 9) / 2]


def test_the_mean_of_the_maxima_is_the_maximum_of_the_means() -> None:
    joint = [(a, b) for a, b in itertools.product(range(3), range(2))]
    q = SLOW[None, 1:2]
    best = max(float(action_values(q, torch.tensor([[[a, b]]]))) for a, b in joint)
    assert best == (30 + 6) / 2


def test_each_dimension_has_its_own_mask() -> None:
    mask = ALL.clone()
    mask[0, 1, 0, 1] = False  # without the best of the first dimension, the second is untouched
    assert goal(dataclasses.replace(BATCH, action_mask=mask), double=False)[0] == 1 + 0.5 * (20 + 6) / 2
    mask[0, 1, 1, 1] = False
    assert goal(dataclasses.replace(BATCH, action_mask=mask), double=False)[0] == 1 + 0.5 * (20 + 2) / 2


def test_a_mask_without_dimensions_is_refused_where_there_are_several() -> None:
    with pytest.raises(ValueError, match=r"M = 2 dimensions; got \(1, 3, 3\)"):
        goal(dataclasses.replace(BATCH, action_mask=ALL[:, :, 0]))


def test_the_loss_is_that_of_one_error_and_its_gradient_is_shared_by_the_parts() -> None:
    q = ONLINE.clone().requires_grad_()
    found = step_loss(BATCH, out(q), out(SLOW), ONE, ObjectiveConfig(lambda_=0.0))
    assert found.q.tolist() == [[3.5, 6.0]] and found.target.tolist() == [[6.5, 11.0]]
    assert found.loss.tolist() == [[0.5 * 3.0**2, 0.5 * 5.0**2]]
    found.loss.sum().backward()
    assert q.grad is not None
    assert q.grad[0].tolist() == [[0.0, -1.5, 0.0], [-1.5, 0.0, 0.0]], "the error, -3, times 1/M"


def test_watkins_continues_only_where_every_part_was_greedy() -> None:
    settings: dict[str, Any] = {"lambda_": 1.0, "trace": "watkins", "double": False}
    last = 10 + 0.5 * (7 + 9) / 2
    assert goal(windows([[1, 0], [2, 0]]), **settings) == [1 + 0.5 * last, last]
    assert goal(windows([[1, 0], [2, 1]]), **settings) == [1 + 0.5 * (30 + 6) / 2, last], "the second part was not"


def test_quantiles_of_a_joint_action_are_the_mean_of_its_parts_quantiles() -> None:
    torch.manual_seed(0)
    own, slow = torch.randn(2, 1, 3, 2, 3, 4)
    values, config = Quantiles(4), ObjectiveConfig(lambda_=0.0)
    output = lambda x: QOutput(x.mean(-1), x, available=UNEVEN)  # noqa: E731
    found = step_loss(BATCH, output(own), output(slow), ONE, config, values)
    best = [int(own[0, 1, 0].mean(-1).argmax()), int(own[0, 1, 1, :2].mean(-1).argmax())]
    following = (slow[0, 1, 0, best[0]] + slow[0, 1, 1, best[1]]) / 2
    taken = (own[0, 0, 0, 1] + own[0, 0, 1, 0]) / 2
    expected = values.quantile_huber(taken, following, torch.tensor(1.0), torch.tensor(0.5))
    torch.testing.assert_close(found.loss[0, 0], expected)


def test_terms_are_means_over_dimensions_and_see_only_what_a_dimension_has() -> None:
    logits = torch.zeros(1, 3, 2, 3)
    online = out(torch.zeros(3, 2, 3), policy_logits=logits)
    config = ObjectiveConfig(cql_alpha=1.0, cql_temperature=1.0, cloning_weight=1.0)
    found = {term.name: loss for term, loss, _ in term_losses(BATCH, online, online, ONE, config)}
    wanted = (math.log(3) + math.log(2)) / 2
    assert found["conservative"][0].tolist() == pytest.approx([wanted] * 2)
    assert found["imitation"][0].tolist() == pytest.approx([wanted] * 2)


def test_a_state_value_is_one_number_and_the_advantage_that_of_the_joint_action() -> None:
    online = out(ONLINE, value=torch.tensor([[2.0, 3.0, 4.0]]))
    config = ObjectiveConfig(lambda_=0.0, iql_expectile=0.9)
    assert q_targets(BATCH, online, out(SLOW), config)[0, :, 0].tolist() == [1 + 0.5 * 3, 10 + 0.5 * 4]
    ((_, loss, _),) = term_losses(BATCH, online, out(SLOW), ONE, config)
    # advantages: 0 - 2, and (20 + 6) / 2 - 3
    assert loss[0].tolist() == pytest.approx([0.1 * 4.0, 0.9 * 100.0])


def test_k_policies_have_an_axis_of_their_own_beside_the_dimensions() -> None:
    policy = torch.zeros(1, 3, 2, 2, 3)
    policy[:, :, 0, 0, 0] = policy[:, :, 0, 1, 1] = 1.0  # always (0, 1)
    policy[:, :, 1, 0] = 1 / 3
    policy[:, :, 1, 1, :2] = 1 / 2  # any
    batch = dataclasses.replace(BATCH, policy=policy)
    slow = QOutput(torch.stack([SLOW, 2 * SLOW], dim=1)[None])  # (1, T+1, K, M, A)
    found = q_targets(batch, slow, slow, ObjectiveConfig(lambda_=0.0))
    assert found.shape == (1, 2, 2)
    assert found[0, :, 0].tolist() == [1 + 0.5 * (10 + 6) / 2, 10 + 0.5 * (3 + 1) / 2]
    assert found[0, :, 1].tolist() == pytest.approx([1 + 0.5 * (40 + 8) / 2, 10 + 0.5 * (10 + 10) / 2])
    # Retrace: the first policy never takes the next action, (2, 1); the second takes it with probability 1/6
    traced = q_targets(batch, slow, slow, ObjectiveConfig(lambda_=1.0, trace="retrace"))
    assert traced[0, 0, 0] == found[0, 0, 0]
    taken = float(action_values(slow.q[:, 1:2], batch.action[:, 1:])[0, 0, 1])
    assert float(traced[0, 0, 1]) == pytest.approx(float(found[0, 0, 1]) + 0.5 * (float(found[0, 1, 1]) - taken) / 6)


def _check_target_and_loss() -> None:
    test_plain_q_bootstraps_from_the_mean_of_the_maxima_and_from_nothing_beyond_a_dimensions_size()
    test_the_loss_is_that_of_one_error_and_its_gradient_is_shared_by_the_parts()


@pytest.mark.parametrize(
    ("where", "name", "mutant"),
    [
        (targets, "mean_over_dimensions", lambda x: x.sum(-1)),
        (objective, "action_values", lambda q, a: 2 * action_values(q, a)),
        (targets, "allowed_actions", lambda batch, online: batch.allowed),
    ],
    ids=["a sum in the target", "a sum in the value", "sizes ignored"],
)
def test_a_sum_instead_of_a_mean_or_an_ignored_size_is_noticed(
    where: Any, name: str, mutant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(where, name, mutant)
    with pytest.raises(AssertionError):
        _check_target_and_loss()


def test_a_mask_ignored_in_one_dimension_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = targets.allowed_actions

    def first_for_all(batch: SequenceBatch, online: QOutput) -> Tensor | None:
        mask = right(batch, online)
        return None if mask is None else mask[:, :, :1].expand_as(mask)

    monkeypatch.setattr(targets, "allowed_actions", first_for_all)
    with pytest.raises(AssertionError):
        test_each_dimension_has_its_own_mask()
