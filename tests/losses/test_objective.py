"""The whole objective against hand-computed numbers: which network selects and which evaluates the next action, and the
effect of a termination, a truncation, a mask and padding on the target and the gradient."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from seqel.errors import ConfigError
from seqel.losses import targets as under_test
from seqel.losses.config import ObjectiveConfig
from seqel.losses.objective import step_loss
from seqel.losses.targets import q_targets
from seqel.losses.td import double_q_bootstrap, masked_mean
from seqel.types import QOutput, SequenceBatch
from seqel.values.hl_gauss import HLGauss
from seqel.values.scalar import Scalar

ONE = torch.ones(())


def windows(
    reward: list[float], discount: list[float], action: list[int], valid: list[bool] | None = None, **more: Any
) -> SequenceBatch:
    """One small window.  reward, discount, action (T,)."""
    steps = len(reward)
    real = torch.tensor([valid or [True] * steps])
    return SequenceBatch(
        observation={},
        action=torch.tensor(action)[None, :, None],
        reward=torch.tensor([reward]),
        discount=torch.tensor([discount]),
        is_first=torch.zeros(1, steps + 1, dtype=torch.bool),
        valid=real,
        loss_mask=real,
        start_step=torch.zeros(1, dtype=torch.int64),
        previous_action=torch.zeros(1, 1, dtype=torch.int64),
        previous_reward=torch.zeros(1),
        num_learned=int(real.sum()),
        **more,
    )


def values(rows: list[list[float]]) -> QOutput:
    """(T+1, A) -> an output with q (1, T+1, 1, A)."""
    return QOutput(torch.tensor(rows)[None, :, None, :])


# Two transitions, two actions. The online network prefers action 0 at step 1 and action 1 at step 2; the target network
# prefers the other one in both.
ONLINE = values([[0.0, 0.0], [5.0, 1.0], [1.0, 2.0]])
SLOW = values([[0.0, 0.0], [3.0, 7.0], [9.0, 4.0]])
PLAIN = windows([1.0, 10.0], [0.5, 0.5], [0, 1])


def goal(batch: SequenceBatch, online: QOutput = ONLINE, slow: QOutput = SLOW, **settings: Any) -> list[float]:
    settings = {"lambda_": 0.0, **settings}
    found: list[float] = q_targets(batch, online, slow, ObjectiveConfig(0.5, **settings))[0, :, 0].tolist()
    return found


# -- selection and evaluation ------------------------------------------------------------------------------------------------


def test_double_q_selects_with_the_online_network_and_evaluates_with_the_target_network() -> None:
    assert goal(PLAIN) == [1 + 0.5 * 3, 10 + 0.5 * 4]


def test_plain_q_takes_the_target_networks_own_maximum() -> None:
    assert goal(PLAIN, double=False) == [1 + 0.5 * 7, 10 + 0.5 * 9]


def test_selecting_with_the_target_network_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = goal(PLAIN)
    monkeypatch.setattr(
        under_test, "double_q_bootstrap", lambda online, slow, mask: double_q_bootstrap(slow, slow, mask)
    )
    assert goal(PLAIN) != right
    monkeypatch.setattr(
        under_test, "double_q_bootstrap", lambda online, slow, mask: double_q_bootstrap(online, online, mask)
    )
    assert goal(PLAIN) != right


# -- termination, truncation, masks, padding -------------------------------------------------------------------------------


PENG: dict[str, Any] = {"trace": "peng"}


@pytest.mark.parametrize(
    "settings",
    [{}, {"double": False}, {"n_step": 3}, PENG | {"lambda_": 0.9}, PENG | {"lambda_": 1.0}, {"lambda_": 0.9}],
    ids=str,
)
def test_a_termination_is_worth_its_reward_and_a_truncation_bootstraps(settings: dict[str, Any]) -> None:
    best = 9.0 if settings.get("double") is False else 4.0
    assert goal(windows([1.0, 10.0], [0.5, 0.0], [0, 1]), **settings)[1] == 10.0
    assert goal(PLAIN, **settings)[1] == pytest.approx(10 + 0.5 * best)


@pytest.mark.parametrize("settings", [{"n_step": 2}, PENG | {"lambda_": 1.0}])
def test_nothing_after_a_termination_affects_what_is_before_it(settings: dict[str, Any]) -> None:
    assert goal(windows([1.0, 1e6], [0.0, 0.5], [0, 1]), **settings)[0] == 1.0


def test_a_masked_action_is_neither_selected_nor_the_maximum() -> None:
    mask = torch.tensor([[[True, True], [False, True], [True, False]]])
    masked = dataclasses.replace(PLAIN, action_mask=mask)
    assert goal(masked) == [1 + 0.5 * 7, 10 + 0.5 * 9]  # the only allowed actions are 1 at step 1 and 0 at step 2
    slow = values([[0.0, 0.0], [9.0, 2.0], [3.0, 8.0]])
    assert goal(masked, slow=slow, double=False) == [1 + 0.5 * 2, 10 + 0.5 * 3]


def test_the_mask_of_the_first_step_bootstraps_nothing() -> None:
    mask = torch.tensor([[[True, False], [True, True], [True, True]]])
    assert goal(dataclasses.replace(PLAIN, action_mask=mask)) == goal(PLAIN)


def test_lambda_and_n_step_returns_by_hand() -> None:
    # G_1 = 10 + .5 * 4 = 12;  G_0 = 1 + .5 * (.25 * 3 + .75 * 12)
    assert goal(PLAIN, lambda_=0.75, trace="peng") == pytest.approx([1 + 0.5 * (0.25 * 3 + 0.75 * 12), 12.0])
    assert goal(PLAIN, n_step=2) == pytest.approx([1 + 0.5 * 12, 12.0])


def test_watkins_cuts_where_the_next_action_was_not_greedy_among_the_allowed() -> None:
    online = values([[0.0, 0.0], [5.0, 1.0], [1.0, 2.0]])
    greedy, other = windows([1.0, 10.0], [0.5, 0.5], [1, 0]), windows([1.0, 10.0], [0.5, 0.5], [1, 1])
    settings: dict[str, Any] = {"online": online, "lambda_": 1.0, "trace": "watkins"}
    assert goal(greedy, **settings)[0] == pytest.approx(1 + 0.5 * 12)
    assert goal(other, **settings)[0] == pytest.approx(1 + 0.5 * 3)
    mask = torch.tensor([[[True, True], [False, True], [True, True]]])
    forced = dataclasses.replace(other, action_mask=mask)  # the only allowed action is greedy
    assert goal(forced, **settings)[0] == pytest.approx(1 + 0.5 * 12)


@pytest.mark.parametrize(
    ("recorded", "ratio"), [(0.2, 1.0), (1.0, 0.8), (0.8, 1.0), (math.nan, 0.8), (None, 0.8)], ids=str
)
def test_retrace_follows_an_evaluated_policy_by_its_ratio_and_by_no_more_than_one(
    recorded: float | None, ratio: float
) -> None:
    """The policy takes the recorded action 1 of step 1 with 0.8; an unknown recorded probability counts as 1."""
    policy = torch.tensor([[0.5, 0.5], [0.2, 0.8], [0.5, 0.5]])[None, :, None, None]
    batch = windows(
        [1.0, 10.0], [0.5, 0.5], [0, 1],
        policy=policy, behaviour_prob=None if recorded is None else torch.tensor([[0.01, recorded]]),
    )  # fmt: skip
    # values of the policy: 0.2 * 3 + 0.8 * 7 = 6.2 at step 1, (9 + 4) / 2 = 6.5 at step 2; Q of the recorded action is 7
    last = 10 + 0.5 * 6.5
    first = 1 + 0.5 * (6.2 + 0.5 * ratio * (last - 7))
    assert goal(batch, lambda_=0.5, trace="retrace") == pytest.approx([first, last])


def test_retrace_of_the_greedy_policy_by_hand() -> None:
    # Action 1 of step 1 is not greedy for the online network: cut. Action 0 is: G_0 = 1 + .5 (3 + .5 (12 - 3)).
    greedy, other = windows([1.0, 10.0], [0.5, 0.5], [1, 0]), windows([1.0, 10.0], [0.5, 0.5], [1, 1])
    settings: dict[str, Any] = {"lambda_": 0.5, "trace": "retrace"}
    assert goal(greedy, **settings) == pytest.approx([1 + 0.5 * (3 + 0.5 * (12 - 3)), 12.0])
    assert goal(other, **settings) == pytest.approx([1 + 0.5 * 3, 12.0])


@pytest.mark.parametrize(
    "settings",
    [{"lambda_": 0.0}, {"lambda_": 0.0, "n_step": 3}, PENG | {"lambda_": 0.9}, {"lambda_": 0.9, "trace": "watkins"}],
    ids=str,
)
@pytest.mark.parametrize("classified", [False, True])
def test_padding_never_counts_whatever_it_holds(settings: dict[str, Any], classified: bool) -> None:
    """Loss, target and gradient do not depend on the contents of the padding; and its gradient is 0."""
    histogram = HLGauss(11, -30.0, 30.0) if classified else None
    found = []
    for rubbish in (0.0, 1e4):
        batch = windows(
            [1.0, 10.0, rubbish, -rubbish],
            [0.5, 0.5, rubbish and 1.0, 1.0],
            [0, 1, 1, 0],
            [True, True, False, False],
            action_mask=torch.tensor([[[True, True]] * 3 + [[rubbish > 0, False]] * 2]),
        )
        base = (
            torch.zeros(1, 5, 1, 2, 11) if classified else torch.tensor([*ONLINE.q[0, :, 0].tolist(), [0, 0], [0, 0]])
        )
        leaf = (base if classified else base[None, :, None]).clone().requires_grad_()
        q = histogram.expectation(leaf) if histogram is not None else leaf
        slow = values([*SLOW.q[0, :, 0].tolist(), [rubbish, 0.0], [0.0, -rubbish]])
        loss = step_loss(
            batch,
            QOutput(q, leaf if classified else None),
            slow,
            ONE,
            ObjectiveConfig(**settings),
            histogram or Scalar(),
        )
        masked_mean(loss.loss, batch.loss_mask).backward()
        assert leaf.grad is not None and (leaf.grad[:, 2:] == 0).all() and (leaf.grad[:, :2] != 0).any()
        found.append((loss.loss[:, :2].detach(), loss.target[:, :2], leaf.grad))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_an_episode_packed_behind_a_cut_one_does_not_reach_into_it() -> None:
    """Packed rows have a step without transition between episodes: the return stops before it and bootstraps."""
    batch = windows([1.0, 77.0, 1e6], [0.5, 0.5, 0.5], [0, 0, 0], [True, False, True])
    online, slow = (values([*out.q[0, :, 0].tolist(), [0.0, 0.0]]) for out in (ONLINE, SLOW))
    for settings in (PENG | {"lambda_": 1.0}, {"n_step": 3}):
        assert goal(batch, online, slow, **settings)[0] == 1 + 0.5 * 3


# -- the loss ---------------------------------------------------------------------------------------------------------------


def test_squared_and_huber_errors_are_measured_in_units_of_the_scale() -> None:
    online = values([[2.0, 0.0], [5.0, 1.0], [1.0, 2.0]])  # q = 2 and 1; targets 2.5 and 12, so errors -0.5 and -11
    scale = torch.tensor(2.0)
    found = step_loss(PLAIN, online, SLOW, scale, ObjectiveConfig(lambda_=0.0))
    assert found.q.tolist() == [[2.0, 1.0]] and found.target.tolist() == [[2.5, 12.0]]
    assert found.loss.tolist() == [[0.5 * 0.25**2, 0.5 * 5.5**2]]
    huber = step_loss(PLAIN, online, SLOW, scale, ObjectiveConfig(lambda_=0.0, td_loss="huber"))
    assert huber.loss.tolist() == [[0.5 * 0.25**2, 5.5 - 0.5]]


def test_scalar_values_are_trained_as_numbers_whatever_else_is_given() -> None:
    plain = step_loss(PLAIN, ONLINE, SLOW, ONE, ObjectiveConfig(lambda_=0.0))
    logits = torch.zeros(1, 3, 1, 2, 7)
    found = step_loss(PLAIN, QOutput(ONLINE.q, logits), SLOW, ONE, ObjectiveConfig(lambda_=0.0), Scalar())
    assert torch.equal(found.loss, plain.loss)


def test_the_gradient_is_that_of_the_action_taken_and_of_nothing_else() -> None:
    q = ONLINE.q.clone().requires_grad_()
    slow = SLOW.q.clone().requires_grad_()
    step_loss(PLAIN, QOutput(q), QOutput(slow), ONE, ObjectiveConfig(lambda_=0.9, trace="peng")).loss.sum().backward()
    assert q.grad is not None and slow.grad is None, "no gradient into the target"
    assert [bool(g) for g in q.grad.flatten()] == [True, False, False, True, False, False]


def test_a_classified_value_is_trained_on_the_histogram_of_its_target_in_units_of_the_scale() -> None:
    histogram = HLGauss(7, -3.5, 3.5, sigma=0.3)
    batch = windows([4.0], [0.0], [1])
    logits = torch.zeros(1, 2, 1, 2, 7, requires_grad=True)
    output = QOutput(histogram.expectation(logits) * 2.0, logits)
    found = step_loss(batch, output, output, torch.tensor(2.0), ObjectiveConfig(), histogram)
    assert found.loss.item() == pytest.approx(math.log(7), rel=1e-5), "nats, for uniform logits"
    found.loss.sum().backward()
    assert logits.grad is not None
    pull = -logits.grad[0, 0, 0, 1]
    wanted: Tensor = histogram.encode(torch.tensor(2.0)) - 1 / 7  # 4 in units of 2
    torch.testing.assert_close(pull, wanted, atol=1e-6, rtol=1e-5)
    assert pull.argmax() == 5 and (logits.grad[0, 0, 0, 0] == 0).all() and (logits.grad[0, 1] == 0).all()


@pytest.mark.parametrize(
    "settings",
    [
        {"discount": 1.1}, {"discount": -0.1}, {"discount": math.nan}, {"lambda_": -0.1}, {"lambda_": 1.1}, {"n_step": 0},
        {"n_step": 2, "lambda_": 0.5}, {"trace": "none"}, {"td_loss": "absolute"}, {"td_weight": -1.0}, {"cql_alpha": -0.1},
        {"cloning_weight": math.inf}, {"awr_beta": -1.0}, {"cql_temperature": 0.0}, {"cql_temperature": math.inf},
        {"iql_expectile": 1.0}, {"iql_expectile": -0.1}, {"td_weight": 0.0}, {"awr_beta": 1.0},
        {"awr_beta": 1.0, "cloning_weight": 1.0}, {"awr_beta": 1.0, "iql_expectile": 0.5},
        {"novelty_weight": -0.1}, {"novelty_weight": 0.1, "discount": 0.0},
    ],
    ids=str,
)  # fmt: skip
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="objective"):
        ObjectiveConfig(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"discount": 0.0}, {"discount": 1.0}, {"lambda_": 0.0}, {"lambda_": 1.0}, {"n_step": 2, "lambda_": 0.0},
        {"trace": "retrace"}, {"td_loss": "huber"}, {"td_weight": 0.0, "cloning_weight": 0.1}, {"iql_expectile": 0.99},
        {"awr_beta": 0.5, "iql_expectile": 0.5, "cloning_weight": 0.5}, {"cql_alpha": 10.0, "cql_temperature": 10.0},
    ],
    ids=str,
)  # fmt: skip
def test_settings_at_the_edge_of_their_range_are_accepted(settings: dict[str, Any]) -> None:
    config = ObjectiveConfig(**settings)
    assert {name: getattr(config, name) for name in settings} == settings


def test_the_defaults_are_double_q_with_watkins_returns_and_no_terms_for_recorded_data() -> None:
    assert dataclasses.asdict(ObjectiveConfig()) == {
        "discount": -math.inf, "lambda_": 0.9, "trace": "watkins", "n_step": 1, "double": True, "td_loss": "squared",
        "td_weight": 1.0, "cql_alpha": 0.0, "cql_temperature": 0.1, "cloning_weight": 0.0, "cloning_loss": "softmax",
        "gbce_calibration": 0.75, "distillation_weight": 0.0,
        "iql_expectile": 0.0,
        "awr_beta": 0.0,
        "novelty_weight": -math.inf,  # "auto"
        "cost_limit": -1.0,
        "robust_weight": 0.0, "robust_epsilon": 0.05, "robust_margin": 0.2, "robust_steps": 1,
    }  # fmt: skip


def test_each_critic_has_its_own_loss_towards_one_target() -> None:
    """Two critics, one transition that ends with the reward 3: values 1 and 5 of the action give the mean of 4 and 4."""
    each = torch.tensor([[[[1.0, 9.0]], [[5.0, 0.0]]], [[[0.0, 0.0]], [[0.0, 0.0]]]])[None]  # (1, T+1, K, 1, A)
    online = QOutput(each.amin(dim=2).detach(), per_critic=each.requires_grad_())
    batch = windows([3.0], [0.0], [0])
    found = step_loss(batch, online, values([[0.0, 0.0], [0.0, 0.0]]), ONE, ObjectiveConfig(0.5, lambda_=0.0))
    assert found.loss.tolist() == [[pytest.approx(0.5 * (0.5 * 2.0**2 + 0.5 * 2.0**2))]]
    assert found.q.tolist() == [[1.0]] and found.target.tolist() == [[3.0]]
    found.loss.sum().backward()
    assert each.grad is not None and each.grad[0, 0, :, 0, 0].sign().tolist() == [-1.0, 1.0]
    assert not each.grad[0, 0, :, 0, 1].any()
