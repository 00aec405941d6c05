"""The head: values in units of reward, all action dimensions, and a change of unit that changes no value."""

from __future__ import annotations

import pytest
import torch

from seqel.networks.config import NetworkConfig
from seqel.networks.heads.q import QHead
from seqel.spaces import ActionSpec

VALUES = ["scalar", "hl-gauss", "c51", "quantile"]


def head(sizes: tuple[int, ...] = (3,), std: float = 0.3, **settings: object) -> QHead:
    torch.manual_seed(0)
    made = QHead(ActionSpec(sizes, (0,) * len(sizes)), NetworkConfig(width=16, **settings))  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * std)
    return made


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("dueling", [False, True])
def test_rule_8_every_action_dimension_has_its_axis(value: str, dueling: bool) -> None:
    out = head((3, 5), value=value, dueling=dueling, bins=21)(torch.randn(2, 7, 16))
    assert out.q.shape == (2, 7, 2, 5) and out.q.dtype == torch.float32
    assert (out.logits is None) == (value == "scalar")
    if out.logits is not None:
        assert out.logits.shape == (2, 7, 2, 5, 21)


def test_dueling_is_value_plus_centred_advantage() -> None:
    made = head(dueling=True)
    h = torch.randn(4, 16)
    assert made.value is not None
    q, value, advantage = made(h).q[:, 0], made.value(h), made.advantage(h)
    torch.testing.assert_close(q, value + advantage - advantage.mean(dim=1, keepdim=True))
    torch.testing.assert_close(q.mean(dim=1, keepdim=True), value)


@pytest.mark.parametrize("dueling", [False, True])
@pytest.mark.parametrize("value", ["scalar", "quantile"])
def test_rule_7_scalars_and_quantiles_do_not_change(value: str, dueling: bool) -> None:
    made = head(dueling=dueling, value=value, bins=8)
    h = torch.randn(50, 16)
    before = made(h).q.detach()
    for scale in (4.0, 0.125, 0.0625):  # powers of two: not one bit may change
        made.rescale(scale)
        assert float(made.scale) == scale and torch.equal(made(h).q, before)
    for scale in (0.013, 170.0, 1.0):
        made.rescale(scale)
        torch.testing.assert_close(made(h).q, before, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("value", ["hl-gauss", "c51"])
def test_rule_7_a_fixed_support_is_stretched(value: str) -> None:
    made = head(value=value, bins=51)
    h = torch.randn(50, 16)
    before = made(h).q.detach()
    made.rescale(10.0)
    torch.testing.assert_close(made(h).q, 10.0 * before)


@pytest.mark.parametrize("value", VALUES)
def test_an_untrained_head_returns_zero_for_every_state(value: str) -> None:
    assert head(std=0.0, value=value)(100 * torch.randn(5, 16)).q.abs().max() < 1e-4


def test_values_are_float32_also_in_half_precision() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert head()(torch.randn(5, 16)).q.dtype == torch.float32
