"""The learner: the effect of one update on the networks, and what it refuses."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
import torch

from seqel.errors import NonFiniteError
from seqel.losses.config import ObjectiveConfig
from seqel.networks.config import NetworkConfig
from seqel.networks.qnetwork import QNetwork
from seqel.spaces import ActionSpec, ObservationSpec
from seqel.training.config import LearnerConfig
from seqel.training.learner import Learner, rate_at
from support import SPACE, batch, network

OBJECTIVE = ObjectiveConfig(0.9, lambda_=0.0)
RATES: dict[str, Any] = {"learning_rate": 1e-3, "target_rate": 0.01}


def learner(
    objective: ObjectiveConfig = OBJECTIVE, std: float = 0.3, trunk: str = "transformer", **settings: object
) -> Learner:
    return Learner(network(std=std, trunk=trunk), objective, LearnerConfig(**{**RATES, "warmup": 1, **settings}))


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_overfitting_one_batch_lowers_its_error(optimizer: str, precision: str) -> None:
    one = learner(
        std=0.0, optimizer=optimizer, precision=precision, learning_rate=3e-3 if optimizer == "adamw" else 3e-2
    )
    windows = dataclasses.replace(batch(rows=8), discount=torch.zeros(8, 12))  # plain regression on the rewards
    errors = [float(one.update(windows)["td_error"]) for _ in range(120)]
    assert errors[-1] < 0.5 * errors[0]


@pytest.mark.parametrize("parts", [2, 3, 8])
def test_accumulation_equals_the_whole_batch(parts: int) -> None:
    """Micro-batches of unequal weight, and rewards of unequal size: the variance is that of the whole batch."""
    whole, cut = (learner(optimizer="sgd", gradient_accumulation_steps=n, max_grad_norm=0.0) for n in (1, parts))
    for seed in range(3):
        windows = batch(rows=8, seed=seed)
        learn = windows.loss_mask.clone()
        learn[:3, 5:] = False
        reward = windows.reward * torch.linspace(0.0, 3.0, 8)[:, None] + torch.linspace(-2.0, 2.0, 8)[:, None]
        windows = dataclasses.replace(windows, loss_mask=learn, num_learned=int(learn.sum()), reward=reward)
        one, other = whole.update(windows), cut.update(windows)
        for name, value in one.items():
            assert float(other[name]) == pytest.approx(float(value), rel=1e-4), name
    torch.testing.assert_close(whole.variance, cut.variance, rtol=1e-4, atol=0.0)
    for a, b in zip(whole.network.parameters(), cut.network.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("settings", [{}, {"value": "hl-gauss"}, {"value": "c51"}, {"value": "quantile"}])
def test_without_discount_the_target_network_is_not_evaluated(settings: dict[str, Any]) -> None:
    windows = dataclasses.replace(batch(), discount=torch.zeros(2, 12))
    results = []
    for discount in (0.0, 0.9):
        one = Learner(
            network(bins=11, **settings), ObjectiveConfig(discount, lambda_=0.0), LearnerConfig(warmup=1, **RATES)
        )
        one.target.forward = None if discount == 0.0 else one.target.forward  # type: ignore[assignment,method-assign]
        results.append([one.update(windows) for _ in range(3)][-1])
    for name, value in results[0].items():
        torch.testing.assert_close(value, results[1][name], rtol=1e-5, atol=1e-6)


def test_with_complete_returns_the_target_network_is_not_evaluated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows that end with a termination, lambda 1 and no cut: the same update, without the target network."""
    windows = batch()
    last = windows.valid & ~torch.nn.functional.pad(windows.valid[:, 1:], (0, 1))
    complete = dataclasses.replace(windows, discount=windows.discount.masked_fill(last, 0.0))
    objective = ObjectiveConfig(0.9, lambda_=1.0, trace="peng")
    results = []
    for evaluated in (True, False):
        one = learner(objective)
        with monkeypatch.context() as patch:
            if evaluated:
                patch.setattr("seqel.training.learner.bootstraps", lambda batch, objective: True)
            else:
                one.target.forward = None  # type: ignore[assignment,method-assign]
            results.append([one.update(complete) for _ in range(3)][-1])
    for name, value in results[0].items():
        torch.testing.assert_close(value, results[1][name], rtol=1e-5, atol=1e-6)
    for other, such in (
        (windows, objective),
        (complete, ObjectiveConfig(0.9, lambda_=0.9, trace="peng")),
        (complete, ObjectiveConfig(0.9, lambda_=1.0, trace="peng", novelty_weight=0.1)),  # novelty bootstraps by itself
    ):
        one = Learner(
            network(std=0.3, novelty=such.novelty_weight > 0.0), such, LearnerConfig(**{**RATES, "warmup": 1})
        )
        one.target.forward = None  # type: ignore[assignment,method-assign]
        with pytest.raises(TypeError):
            one.update(other)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"dueling": True},
        {"value": "hl-gauss"},
        {"value": "hl-gauss", "dueling": True},
        {"dims": 2, "dueling": True},
        {"actions": "embedded"},
        {"actions": "embedded", "dueling": True},
    ],
)
@pytest.mark.parametrize(("td_weight", "expectile"), [(0.0, 0.0), (1.0, 0.0), (1.0, 0.7)])
def test_values_of_the_actions_taken_alone_give_the_same_update(
    settings: dict[str, Any], td_weight: float, expectile: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where returns are complete or bootstrap from the state value, or values are not learned, others are not computed."""
    objective = ObjectiveConfig(
        0.9, lambda_=0.9 if expectile else 1.0, trace="peng", td_weight=td_weight, cloning_weight=1.0,
        iql_expectile=expectile,
    )  # fmt: skip
    results = []
    for few in (1_000, 0):
        monkeypatch.setattr("seqel.training.learner.FEW", few)
        several = ActionSpec((4, 3), (0, 0)) if "dims" in settings else ActionSpec((3,), (0,))
        chosen = {name: value for name, value in settings.items() if name != "dims"}
        torch.manual_seed(0)
        config = NetworkConfig(
            width=16,
            heads=2,
            layers=2,
            context=5,
            bins=11,
            policy_head="auxiliary",
            state_value=expectile > 0.0,
            **chosen,
        )
        net = QNetwork(config, ObservationSpec.from_space(SPACE), several)
        with torch.no_grad():
            for weight in net.parameters():
                weight.add_(0.3 * torch.randn_like(weight))
        # SGD, because Adam makes steps of full size out of rounding errors where a gradient is 0
        rates = {"learning_rate": 0.05, "warmup": 1, "weight_decay": 0.0, "optimizer": "sgd"}
        one = Learner(net, objective, LearnerConfig(**{**RATES, **rates}))
        if few == 0:
            one.network.head.forward = one.target.head.forward = None  # type: ignore[assignment,method-assign]
        windows = batch()
        if "dims" in settings:
            twice: dict[str, Any] = {
                name: torch.cat([getattr(windows, name)] * 2, dim=-1) for name in ("action", "previous_action")
            }
            windows = dataclasses.replace(windows, **twice)
        last = windows.valid & ~torch.nn.functional.pad(windows.valid[:, 1:], (0, 1))
        ends = last if expectile == 0.0 else torch.zeros_like(last)
        complete = dataclasses.replace(windows, discount=windows.discount.masked_fill(ends, 0.0))
        metrics = [one.update(complete) for _ in range(3)][-1]
        results.append((metrics, one.network.state_dict()))
    # (at td_weight 0 the targets are not used, so theirs may differ)
    for name in results[0][0].keys() - (set() if td_weight else {"target", "target_variance", "td_error"}):
        torch.testing.assert_close(results[0][0][name], results[1][0][name], rtol=1e-4, atol=1e-5)
    for name, tensor in results[0][1].items():
        torch.testing.assert_close(tensor, results[1][1][name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("value_weight", [0.0, 1.0])
def test_a_policy_beside_values_bootstraps_from_the_action_that_it_takes(double: bool, value_weight: float) -> None:
    net = network(policy_head="greedy", value_weight=value_weight)
    with torch.no_grad():
        net.get_parameter("policy.linear.bias")[1] = 100.0  # it always takes this action, whatever the values are
    one = Learner(net, dataclasses.replace(OBJECTIVE, double=double, cloning_weight=1.0), LearnerConfig(**RATES))
    windows = dataclasses.replace(batch(), action_mask=None)
    with torch.no_grad():
        q = net(windows).q[:, 1:, 0]
    following = q[..., 1] if value_weight else q.amax(dim=-1)
    expected = (windows.reward + windows.discount * following)[windows.loss_mask].mean()
    torch.testing.assert_close(one.update(windows)["target"], expected, rtol=1e-4, atol=1e-5)


def test_a_hand_made_batch_need_not_count_its_steps() -> None:
    counted, uncounted = learner(), learner()
    one, other = counted.update(batch()), uncounted.update(dataclasses.replace(batch(), num_learned=0))
    assert float(one["gradient_norm"]) == float(other["gradient_norm"]) > 0


@pytest.mark.parametrize("value", ["scalar", "hl-gauss"])
def test_a_batch_without_trained_transitions_changes_no_weights(value: str) -> None:
    one = Learner(network(value=value), OBJECTIVE, LearnerConfig(weight_decay=0.0, **RATES))
    before = [p.clone() for p in one.network.parameters()]
    windows = batch()
    metrics = one.update(dataclasses.replace(windows, loss_mask=torch.zeros_like(windows.loss_mask), num_learned=0))
    assert float(metrics["loss"]) == float(metrics["gradient_norm"]) == 0.0
    assert all(torch.equal(a, b) for a, b in zip(before, one.network.parameters(), strict=True))


@pytest.mark.parametrize("scale", [0.01, 3.0, 100.0])
@pytest.mark.parametrize("dueling", [False, True])
def test_another_return_scale_leaves_every_value_unchanged(scale: float, dueling: bool) -> None:
    one = Learner(network(dueling=dueling), OBJECTIVE, LearnerConfig(**RATES))
    with torch.no_grad():
        before = one.network(batch()).q, one.target(batch()).q
        one.rescale(scale)
        torch.testing.assert_close(one.network(batch()).q, before[0], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(one.target(batch()).q, before[1], rtol=1e-5, atol=1e-5)
    assert float(one.network.head.scale) == float(one.target.head.scale) == pytest.approx(scale)


def test_another_return_scale_changes_the_variance_of_the_targets_by_its_square() -> None:
    one = learner()
    one.update(batch())
    before = float(one.variance)
    assert before > 0.0 and float(one.network.head.scale) == 1.0
    one.rescale(4.0)
    assert float(one.variance) == pytest.approx(before / 16)


def test_frozen_statistics_are_shared_by_both_networks() -> None:
    one = learner()
    one.observe({"observation": (torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 0.0, 0.5]))})
    one.update(batch())
    for net in (one.network, one.target):
        encoder = net.tokens.vectors()["observation"]
        assert encoder.mean.tolist() == [1.0, 2.0, 3.0] and encoder.scale.tolist() == [2.0, 1.0, 0.5]


def test_clipping_bounds_the_step_and_momentum_is_sgds_own() -> None:
    """Without momentum and decay an SGD step is rate * gradient, so its length is at most rate * max_grad_norm."""
    one = learner(optimizer="sgd", learning_rate=0.1, max_grad_norm=0.01, momentum=0.0, weight_decay=0.0)
    before = [p.clone() for p in one.network.parameters()]
    metrics = one.update(batch())
    moved = (
        sum(float((a - b).detach().square().sum()) for a, b in zip(before, one.network.parameters(), strict=True))
        ** 0.5
    )
    assert float(metrics["gradient_norm"]) > 0.01, "the reported norm is that before clipping"
    assert moved == pytest.approx(0.1 * 0.01, rel=1e-3)


def test_a_copied_target_changes_only_at_a_copy() -> None:
    one = learner(target="copy", target_every=3)
    first = [p.clone() for p in one.target.parameters()]
    for update in range(1, 7):
        one.update(batch(seed=update))
        same = all(torch.equal(a, b) for a, b in zip(first, one.target.parameters(), strict=True))
        assert same == (update < 3)
        if update % 3 == 0:
            pairs = zip(one.network.parameters(), one.target.parameters(), strict=True)
            assert all(torch.equal(a, b) for a, b in pairs)


def test_only_matrices_decay() -> None:
    groups = learner(weight_decay=0.1).optimizer.param_groups
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    assert all(p.ndim >= 2 for p in groups[0]["params"]) and all(p.ndim < 2 for p in groups[1]["params"])


@pytest.mark.parametrize("where", ["reward", "weights"])
def test_a_nan_stops_before_the_weights_change_and_is_located(where: str) -> None:
    one = learner()
    windows = batch()
    if where == "reward":
        reward = windows.reward.clone()
        reward[0, 3] = float("nan")
        windows = dataclasses.replace(windows, reward=reward)
    else:
        with torch.no_grad():
            one.network.get_parameter("trunk.norm.weight")[0] = float("inf")
    before = [p.clone() for p in one.network.parameters()]
    with pytest.raises(NonFiniteError, match="a reward in the batch" if where == "reward" else "trunk.norm.weight"):
        one.update(windows)
    assert all(torch.equal(a, b) for a, b in zip(before, one.network.parameters(), strict=True))
    assert one.updates == 0
    if where == "reward":  # nothing else has changed either
        fresh = learner()
        assert float(one.update(batch())["loss"]) == float(fresh.update(batch())["loss"])
        assert all(torch.equal(a, b) for a, b in zip(fresh.network.parameters(), one.network.parameters(), strict=True))


def test_the_schedules_by_hand() -> None:
    linear = LearnerConfig(learning_rate=1.0, warmup=10, final_fraction=0.2)
    assert rate_at(0, 0.0, linear) == pytest.approx(0.1)
    assert rate_at(9, 0.0, linear) == pytest.approx(1.0)
    slow = dataclasses.replace(linear, warmup=10_000, final_fraction=1.0)
    assert rate_at(4, 0.05, slow) == pytest.approx(0.25)  # of a run of 100 updates, warm-up takes 20
    assert rate_at(19, 0.2, slow) == pytest.approx(1.0)
    assert rate_at(19, 0.2, dataclasses.replace(slow, schedule="constant")) == pytest.approx(0.002)  # for any total
    assert rate_at(500, 0.5, linear) == pytest.approx(0.6)
    assert rate_at(500, 1.0, linear) == pytest.approx(0.2)
    cosine = dataclasses.replace(linear, schedule="cosine")
    assert rate_at(500, 0.5, cosine) == pytest.approx(0.6)
    assert rate_at(500, 0.25, cosine) == pytest.approx(0.2 + 0.8 * 0.5 * (1 + 2**-0.5))
    assert rate_at(500, 0.9, dataclasses.replace(linear, schedule="constant")) == pytest.approx(1.0)


def test_dropout_is_active_only_in_updates() -> None:
    torch.manual_seed(0)
    one = Learner(network(dropout=0.5), OBJECTIVE, LearnerConfig(**RATES))
    with torch.no_grad():
        assert torch.equal(one.network(batch()).q, one.network(batch()).q), "acting is deterministic"
    losses = set()
    for seed in range(3):
        other = Learner(network(dropout=0.5), OBJECTIVE, LearnerConfig(**RATES))
        torch.manual_seed(seed)
        losses.add(float(other.update(batch())["loss"]))
    assert len(losses) == 3, "updates are not"
    one.update(batch())
    assert not one.network.training


@pytest.mark.parametrize("factor", [0.01, 100.0])
def test_rule_7_scaled_rewards_give_the_same_update(factor: float) -> None:
    """With the matching return scale, the normalised loss and the weights after it are the same."""
    plain, scaled = learner(std=0.0), learner(std=0.0)
    windows = batch(rows=4)
    windows = dataclasses.replace(windows, previous_reward=windows.previous_reward * 0)
    small = dataclasses.replace(windows, reward=windows.reward * factor)
    for one in (plain, scaled):
        one.network.tokens.config = dataclasses.replace(one.network.config, previous_reward=False)
        one.target.tokens.config = one.network.tokens.config
    scaled.rescale(factor)
    for _ in range(3):
        a, b = plain.update(windows), scaled.update(small)
    assert float(a["loss"]) == pytest.approx(float(b["loss"]), rel=1e-4)
    assert float(a["q"]) * factor == pytest.approx(float(b["q"]), rel=1e-3)


def test_a_restored_learner_equals_the_saved_one() -> None:
    one, other = learner(), learner(std=0.1)
    for seed in range(3):
        one.update(batch(seed=seed))
    other.load_state_dict(copy.deepcopy(one.state_dict()))  # it refers to the live tensors
    for seed in range(3, 6):
        one.update(batch(seed=seed))
        other.update(batch(seed=seed))
    assert all(torch.equal(a, b) for a, b in zip(one.network.parameters(), other.network.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(one.target.parameters(), other.target.parameters(), strict=True))


@pytest.mark.slow
def test_a_compiled_update_equals_the_eager_one() -> None:
    eager, compiled = learner(), learner(compile="on")
    for seed in range(3):
        a, b = eager.update(batch(seed=seed)), compiled.update(batch(seed=seed))
    assert float(a["loss"]) == pytest.approx(float(b["loss"]), rel=1e-3)
