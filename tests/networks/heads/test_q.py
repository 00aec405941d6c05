"""The head: values in units of reward, all action dimensions, and a change of unit that changes no value."""

from __future__ import annotations

import pytest
import torch

from seqel.errors import ConfigError
from seqel.networks.config import NetworkConfig
from seqel.networks.heads.q import QHead, by_action, gathered
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


@pytest.mark.parametrize("value", ["scalar", "hl-gauss"])
@pytest.mark.parametrize("dueling", [False, True])
def test_the_value_is_the_smallest_of_the_critics(value: str, dueling: bool) -> None:
    made = head((3, 5), value=value, dueling=dueling, bins=11, critics=3)
    made.rescale(2.0)
    out = made(torch.randn(2, 7, 16))
    assert out.per_critic is not None and out.per_critic.shape == (2, 7, 3, 2, 5)
    assert torch.equal(out.q, out.per_critic.amin(dim=2)) and not torch.equal(
        out.per_critic[:, :, 0], out.per_critic[:, :, 1]
    )
    if value == "hl-gauss":
        assert (
            out.logits is not None
            and out.per_critic_logits is not None
            and out.per_critic_logits.shape == (2, 7, 3, 2, 5, 11)
        )
        torch.testing.assert_close(made.values.expectation(out.logits) * 2.0, out.q)


def test_critics_start_at_different_small_values() -> None:
    out = head(std=0.0, critics=2)(torch.randn(50, 16))
    assert out.per_critic is not None and not torch.equal(out.per_critic[:, 0], out.per_critic[:, 1])
    assert float(out.per_critic.detach().abs().max()) < 1.0


def test_several_critics_need_values_with_one_target() -> None:
    with pytest.raises(ConfigError, match=r"network\.critics: expected 1 with network\.value = 'c51'"):
        NetworkConfig(critics=2, value="c51")


@pytest.mark.parametrize("sizes", [(12,), (3, 5)])
@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("dueling", [False, True])
@pytest.mark.parametrize("critics", [1, 2])
@pytest.mark.parametrize("actions", ["outputs", "embedded"])
def test_the_action_taken_alone_has_the_same_value(
    sizes: tuple[int, ...], value: str, dueling: bool, critics: int, actions: str
) -> None:
    if critics > 1 and value in ("c51", "quantile"):
        return
    made = head(sizes, value=value, dueling=dueling, bins=11, critics=critics, actions=actions)
    made.rescale(3.0)
    h = torch.randn(4, 6, 16)
    action = torch.stack([torch.randint(size, (4, 6)) for size in sizes], dim=-1)
    every, one = made(h), made.of_taken(h, action)
    assert one.taken and one.q.shape == (*action.shape, 1)
    torch.testing.assert_close(one.q[..., 0], every.q.gather(-1, action[..., None])[..., 0], rtol=1e-4, atol=1e-4)
    if value != "scalar":
        assert one.logits is not None and every.logits is not None
        index = action[..., None, None].expand(*action.shape, 1, 11)
        torch.testing.assert_close(one.logits, every.logits.gather(-2, index), rtol=1e-4, atol=1e-4)
    if critics > 1:
        assert one.per_critic is not None and every.per_critic is not None
        index = action[..., None, :, None].expand(*action.shape[:-1], 2, len(sizes), 1)
        torch.testing.assert_close(one.per_critic, every.per_critic.gather(-1, index), rtol=1e-4, atol=1e-4)


def test_the_weights_of_each_action_are_applied_to_its_steps() -> None:
    """By action as on a CPU, and gathered as on a GPU: the same outputs and gradients, even where an action never occurs."""
    index = torch.randint(1, 6, (4, 5, 2))
    grads = []
    for way in (by_action, gathered):
        torch.manual_seed(0)
        h, weight, bias = (torch.randn(size, requires_grad=True) for size in ((4, 5, 16), (7, 3, 16), (7, 3)))
        out = way(h, index, weight, bias)
        assert out.shape == (4, 5, 2, 3)
        out.square().sum().backward()
        grads.append([out.detach(), h.grad, weight.grad, bias.grad])
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    assert grads[0][2] is not None and not grads[0][2][0].any()
