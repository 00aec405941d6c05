"""C51 and quantiles by hand and against loops in float64, and that a coin's two outcomes are both found."""

from __future__ import annotations

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
    torch.testing.assert_close((found * atoms.atoms(found)).sum(-1), (value * mass).sum(-1))


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
def test_a_step_is_pulled_to_the_distribution_n_steps_on(n: int) -> None:
    """Against a loop: rewards until the bootstrap, then the quantiles of the online network's favourite."""
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


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(ConfigError, match="lambda_ = 0"):
        Learner(network(value="c51"), ObjectiveConfig(0.9), LearnerConfig())
    with pytest.raises(ConfigError, match="low < high"):
        Categorical(5, 1.0, 1.0)
    with pytest.raises(ConfigError, match="delta > 0"):
        Quantiles(5, delta=0.0)
