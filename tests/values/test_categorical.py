"""C51 and quantiles by hand and against loops in float64; both outcomes of a fair coin are found."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from seqel.errors import ConfigError
from seqel.losses.config import ObjectiveConfig
from seqel.losses.objective import step_loss
from seqel.training.config import LearnerConfig
from seqel.training.learner import Learner
from seqel.types import QOutput
from seqel.values.base import Target
from seqel.values.categorical import Categorical
from seqel.values.quantiles import Quantiles
from support import batch, network


def test_a_projection_by_hand() -> None:
    atoms = Categorical(5, -2.0, 2.0)  # -2, -1, 0, 1, 2
    value = torch.tensor([0.25, 1.0, 7.0, -9.0])
    mass = torch.tensor([0.4, 0.3, 0.2, 0.1])
    torch.testing.assert_close(atoms.project(value, mass), torch.tensor([0.1, 0.0, 0.3, 0.4, 0.2]))


def test_a_projection_keeps_mass_and_mean_inside_the_support() -> None:
    torch.manual_seed(0)
    atoms = Categorical(21, -3.0, 3.0)
    value, mass = 6 * torch.rand(50, 40, dtype=torch.float64) - 3, torch.rand(50, 40, dtype=torch.float64).softmax(-1)
    found = atoms.project(value, mass)
    torch.testing.assert_close(found.sum(-1), torch.ones(50, dtype=torch.float64))
    torch.testing.assert_close((found * atoms.support(found)).sum(-1), (value * mass).sum(-1))


def test_c51_against_a_loop() -> None:
    torch.manual_seed(1)
    values = Categorical(7, -2.0, 2.0)
    own, following = torch.randn(2, 3, 7, dtype=torch.float64)
    offset, factor = torch.tensor([0.3, -1.0, 0.0]).double(), torch.tensor([0.9, 0.5, 0.0]).double()
    found = values.cross_entropy(own, following, offset, factor)
    for row in range(3):
        wanted = [0.0] * 7
        for z, p in zip(torch.linspace(-2, 2, 7).tolist(), following[row].softmax(-1).tolist(), strict=True):
            at = (min(2.0, max(-2.0, float(offset[row]) + float(factor[row]) * z)) + 2.0) / (4 / 6)
            low = min(int(at), 5)
            wanted[low] += p * (1 - (at - low))
            wanted[low + 1] += p * (at - low)
        expected = -sum(w * float(o) for w, o in zip(wanted, own[row].log_softmax(-1), strict=True))
        assert float(found[row]) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("values", [Categorical(41, -2.0, 2.0), Quantiles(20, delta=0.05)])
def test_a_fair_coin_has_two_outcomes_and_not_their_mean(values: Categorical | Quantiles) -> None:
    outputs = torch.zeros(values.bins, requires_grad=True)
    optimizer = torch.optim.Adam([outputs], lr=0.05)
    rewards = torch.tensor([1.0, -1.0]).repeat(16)
    aim = Target(rewards, torch.ones(()), torch.zeros(32, values.bins), rewards, torch.zeros(32))
    for _ in range(400):
        optimizer.zero_grad()
        values.loss(rewards, outputs.expand(32, -1), aim).mean().backward()
        optimizer.step()
    found = outputs.detach()
    assert float(values.expectation(found)) == pytest.approx(0.0, abs=0.02)
    if isinstance(values, Categorical):
        mass = found.softmax(-1)
        assert float(mass[10]) == pytest.approx(0.5, abs=0.02) and float(mass[30]) == pytest.approx(0.5, abs=0.02)
    else:
        low, high = found.sort().values.chunk(2)
        torch.testing.assert_close(low, -torch.ones(10), atol=0.05, rtol=0)
        torch.testing.assert_close(high, torch.ones(10), atol=0.05, rtol=0)


@pytest.mark.parametrize("n", [1, 3])
def test_the_target_of_a_step_is_the_distribution_n_steps_later(n: int) -> None:
    """Against a loop: rewards until the bootstrap, then the quantiles of the action that the online network prefers."""
    windows = batch(rows=2, steps=6)
    windows.discount[0, 3] = 0.0  # a termination inside
    torch.manual_seed(3)
    online, slow = torch.randn(2, 2, 7, 1, 3, 4)
    values = Quantiles(4)
    output = lambda x: QOutput(x.mean(-1) * 2.0, x)  # noqa: E731
    config = ObjectiveConfig(0.9, lambda_=0.0, n_step=n)
    found = step_loss(windows, output(online), output(slow), torch.tensor(2.0), config, values).loss
    for row in range(2):
        for t in range(6):
            offset, factor, at = 0.0, 1.0, t
            for at in range(t, min(t + n, 6)):
                offset += factor * float(windows.reward[row, at]) / 2.0
                factor *= float(windows.discount[row, at])
            best = int(online[row, at + 1, 0].mean(-1).argmax())
            own = online[row, t, 0, windows.action[row, t, 0]]
            expected = values.quantile_huber(
                own, slow[row, at + 1, 0, best], torch.tensor(offset), torch.tensor(factor)
            )
            assert float(found[row, t]) == pytest.approx(float(expected), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("double", [True, False])
def test_a_masked_action_is_never_the_one_that_follows(double: bool) -> None:
    """The action that either network prefers is forbidden at step 1; only action 2 is left."""
    windows = batch(rows=1, steps=1)
    windows.discount[:] = 0.5
    windows.reward[:] = 4.0
    values = Quantiles(2)
    outputs = torch.zeros(1, 2, 1, 3, 2)
    slow = torch.tensor([[9.0, 9.0], [9.0, 9.0], [2.0, 6.0]]).expand(1, 2, 1, 3, 2)
    mask = torch.tensor([[[True, True, True], [False, False, True]]])
    made = lambda x: QOutput(x.mean(-1), x)  # noqa: E731
    masked = dataclasses.replace(windows, action_mask=mask)
    config = ObjectiveConfig(0.5, lambda_=0.0, double=double)
    found = step_loss(masked, made(outputs), made(slow), torch.tensor(2.0), config, values).loss
    # targets in units of 2: 4 / 2 + 0.5 * (2, 6) = 3 and 5; own quantiles 0 at levels 1/4 and 3/4, both errors positive:
    # the Huber errors 2.5 and 4.5 weigh 1/4 and 3/4, the mean over the four pairs
    assert float(found) == pytest.approx((0.25 * (2.5 + 4.5) + 0.75 * (2.5 + 4.5)) / 4)


def distance(
    values: Categorical | Quantiles,
    own: torch.Tensor,
    following: torch.Tensor,
    offset: torch.Tensor,
    factor: torch.Tensor,
) -> torch.Tensor:
    return values.loss(offset, own, Target(offset, torch.ones(()), following, offset, factor))


@pytest.mark.parametrize("values", [Categorical(3, -1.0, 1.0), Quantiles(3)])
def test_batches_of_any_rank_are_what_their_rows_are(values: Categorical | Quantiles) -> None:
    torch.manual_seed(4)
    own, following = torch.randn(2, 4, 2, 5, 3)
    offset, factor = torch.randn(4, 2, 5), torch.rand(4, 2, 5)
    loss, mean = distance(values, own, following, offset, factor), values.expectation(own)
    assert loss.shape == mean.shape == (4, 2, 5)
    for at in ((0, 0, 0), (3, 1, 4), (1, 0, 2)):
        torch.testing.assert_close(loss[at], distance(values, own[at], following[at], offset[at], factor[at]))
        torch.testing.assert_close(mean[at], values.expectation(own[at]))


@pytest.mark.parametrize("values", [Categorical(3, -1.0, 1.0), Quantiles(3)])
def test_a_target_distribution_carries_no_gradient(values: Categorical | Quantiles) -> None:
    own, following, offset, factor = (torch.rand(n, requires_grad=True) for n in ((2, 3), (2, 3), (2,), (2,)))
    distance(values, own, following, offset, factor).sum().backward()
    assert own.grad is not None and own.grad.any()
    assert following.grad is None and offset.grad is None and factor.grad is None


def test_the_mean_of_a_categorical_by_hand() -> None:
    # 1/8 1/8 1/4 1/2 on -3 -1 1 3: (-3 - 1 + 2 + 12) / 8 = 1.25, in each row alike
    logits = torch.tensor([0.125, 0.125, 0.25, 0.5]).log().expand(2, 4)
    assert Categorical(4, -3.0, 3.0).expectation(logits).tolist() == pytest.approx([1.25, 1.25])


def test_a_quantile_loss_by_hand() -> None:
    # one quantile at level 1/2, errors 3 and -0.5 with kappa 1: (2.5 + 0.125) / 2 / 2
    found = Quantiles(1).quantile_huber(torch.tensor([0.0]), torch.tensor([3.0]), torch.tensor(0.0), torch.tensor(1.0))
    assert float(found) == pytest.approx(0.5 * 2.5)
    # two at 1/4 and 3/4: own (0, 1), target (0.5, 0.5): errors 0.5, 0.5 weigh 1/4, -0.5, -0.5 weigh 1 - 3/4
    found = Quantiles(2).quantile_huber(
        torch.tensor([0.0, 1.0]), torch.tensor([1.0, 1.0]), torch.tensor(0.0), torch.tensor(0.5)
    )
    assert float(found) == pytest.approx(0.25 * 0.125)
    assert Quantiles(2).delta == 1.0


def test_atoms_are_as_exact_as_what_they_are_asked_for() -> None:
    atoms = Categorical(4, 0.0, 1.0).support(torch.zeros(1, dtype=torch.float64))
    assert atoms.tolist() == pytest.approx([0.0, 1 / 3, 2 / 3, 1.0], rel=1e-15)


def test_the_smallest_that_is_allowed() -> None:
    assert Quantiles(1).bins == 1 and Categorical(2, 0.0, 1.0).bins == 2
    for bins, low, high in ((1, 0.0, 1.0), (2, 1.0, 0.0), (2, 0.0, float("nan"))):
        with pytest.raises(ConfigError, match="bins >= 2"):
            Categorical(bins, low, high)
    with pytest.raises(ConfigError, match="bins >= 1"):
        Quantiles(0)


@pytest.mark.parametrize(("double", "follows"), [(True, 4.0), (False, 8.0)])
def test_the_online_network_picks_the_distribution_that_follows_unless_it_is_not_double(
    double: bool, follows: float
) -> None:
    """The online network prefers action 0, which the target network values at 4; the target's own best is worth 8."""
    windows = batch(rows=1, steps=1)
    windows.discount[:] = 0.5
    windows.reward[:] = 1.0
    made = lambda x: QOutput(x.mean(-1), x)  # noqa: E731
    online = torch.tensor([[5.0], [0.0], [0.0]]).expand(1, 2, 1, 3, 1).clone()
    online[:, 0] = 0.0
    slow = torch.tensor([[4.0], [8.0], [6.0]]).expand(1, 2, 1, 3, 1)
    config = ObjectiveConfig(0.5, lambda_=0.0, double=double)
    found = step_loss(windows, made(online), made(slow), torch.tensor(1.0), config, Quantiles(1)).loss
    assert float(found) == pytest.approx(0.5 * (1.0 + 0.5 * follows - 0.5))  # half the Huber error beyond 1


def test_incompatible_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="lambda_ = 0"):
        Learner(network(value="c51"), ObjectiveConfig(0.9), LearnerConfig(learning_rate=1e-3, target_rate=0.01))
    with pytest.raises(ConfigError, match="low < high"):
        Categorical(5, 1.0, 1.0)
    with pytest.raises(ConfigError, match="delta > 0"):
        Quantiles(5, delta=0.0)
