"""Importance: hand-worked on one unit, equal to measured losses of small removals, zero for parts without effect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from seqel.compression.importance import measure_importance
from seqel.compression.loss import decision_logits, distillation, gap_temperature
from seqel.networks.qnetwork import QNetwork
from seqel.types import QOutput, SequenceBatch
from support import batch, network

TEMPERATURE = 0.7


def block(net: QNetwork, layer: int) -> Any:
    return net.trunk.get_submodule(f"blocks.{layer}")


def test_importance_of_a_unit_whose_effect_is_worked_out_by_hand() -> None:
    """One step, two actions. The only thing that reads the unit is the last norm: gains 0 but for one channel.

    Let the unit add u * w to the stream x; with factor g on the unit the stream is x + g u w. The last norm has gain 1 and
    bias 0 and the head has the weights c for action 0 and 0 for action 1. Then dq0/dg = c . J u w, with J the Jacobian of the
    norm, (I - 1/D - y y' / D) / s for the normalised y and standard deviation s. The importance is
    1/2 p (1 - p) (dq0/dg / temperature)^2 + 1/2 (dq0/dg)^2: the variance of the score of a choice between two, and the mean
    square over two actions.
    """
    net = network(actions=2, layers=1, width=4, heads=1, clock=False, std=0.2)
    windows = batch(rows=1, steps=1, actions=2)
    trunk: Any = net.trunk
    head: Any = net.head.advantage
    with torch.no_grad():
        trunk.norm.weight.fill_(1.0)
        trunk.norm.bias.zero_()
        head.weight[1], head.bias[1] = 0.0, 0.0
        x = net.embed(windows)[0, 0]
        attended = block(net, 0)
        # one step: attention is the value of the step itself
        normed = attended.norm_attention(x)
        x = x + attended.out(attended.qkv(normed)[8:])
        hidden = torch.relu(attended.mlp_in(attended.norm_mlp(x)))
        x = x + attended.mlp_out(hidden)
        unit = int(hidden.argmax())
        change = hidden[unit] * attended.mlp_out.weight[:, unit]
        centred = x - x.mean()
        s = (centred.square().mean() + 1e-5).sqrt()
        y = centred / s
        slope = (change - change.mean() - y * (y @ change) / 4) / s
        slope_q = float(head.weight[0] @ slope)
        q = float(head(y)[0])
    p = 1.0 / (1.0 + np.exp(-q / TEMPERATURE))
    wanted = 0.5 * p * (1 - p) * (slope_q / TEMPERATURE) ** 2 + 0.5 * slope_q**2
    many = [windows.rows(np.zeros(2_000, np.int64)) for _ in range(4)]
    found = measure_importance(net, many, TEMPERATURE).units[0, unit]
    assert found == pytest.approx(wanted, rel=0.08)  # 8,000 draws of a chi-square: 3 standard errors


def test_importance_is_the_loss_of_a_small_removal_to_second_order(
    net: QNetwork, windows: Sequence[SequenceBatch]
) -> None:
    """Independent of gradients: scale a part by 1 - e, measure the loss of distillation; it is e^2 times the importance."""
    found = measure_importance(net, [one.rows(np.repeat(np.arange(3), 400)) for one in windows], TEMPERATURE)

    def loss_of(scaled: torch.Tensor, e: float = 0.03) -> float:
        before, losses = scaled.clone(), []
        with torch.no_grad():
            whole = [net(one) for one in windows]
            for factor in (1 - e, 1 + e):  # third orders cancel
                scaled.copy_(before * factor)
                losses += [
                    float(distillation(net, net(one), net, wanted, one, TEMPERATURE))
                    for one, wanted in zip(windows, whole, strict=True)
                ]
            scaled.copy_(before)
        return float(np.mean(losses)) / e**2

    for layer in range(3):
        out, mlp = block(net, layer).out.weight.data, block(net, layer).mlp_out.weight.data
        for head in range(2):
            assert found.heads[layer, head] == pytest.approx(loss_of(out[:, 8 * head : 8 * head + 8]), rel=0.15)
        unit = int(found.units[layer].argmax())
        assert found.units[layer, unit] == pytest.approx(loss_of(mlp[:, unit]), rel=0.15)


def test_parts_that_nothing_reads_have_no_importance(net: QNetwork, windows: Sequence[SequenceBatch]) -> None:
    with torch.no_grad():
        block(net, 1).out.weight[:, 8:] = 0.0
        block(net, 2).mlp_out.weight[:, 7] = 0.0
    found = measure_importance(net, windows, TEMPERATURE)
    assert found.heads[1, 1] == 0.0 and found.units[2, 7] == 0.0
    others = np.delete(found.heads.ravel(), 3)
    assert (others > 0.0).all()


def test_masked_actions_and_padding_do_not_count(net: QNetwork, windows: Sequence[SequenceBatch]) -> None:
    one = windows[0]
    mask = torch.ones(3, 10, 3, dtype=torch.bool)
    mask[..., 2] = False
    masked = SequenceBatch(**{name: getattr(one, name) for name in one.__slots__} | {"action_mask": mask})
    with torch.no_grad():
        net.head.get_parameter("advantage.weight")[2] *= 100.0  # only the forbidden action's values are large
    wanted = measure_importance(net, [masked], TEMPERATURE)
    with torch.no_grad():
        net.head.get_parameter("advantage.weight")[2] *= 0.0
    found = measure_importance(net, [masked], TEMPERATURE)
    np.testing.assert_allclose(found.units, wanted.units)


def test_the_loss_is_zero_for_the_agent_itself_and_worked_out_by_hand() -> None:
    """q (1, 0) against (0, 0) with temperature 0.5 and scale 1: KL of softmax(2, 0) from (1/2, 1/2), and 1/2 for values."""
    net, one = network(actions=2), batch(rows=1, steps=1, actions=2)
    wanted, found = (QOutput(torch.tensor(q).expand(1, 2, 1, 2)) for q in ([1.0, 0.0], [0.0, 0.0]))
    assert float(distillation(net, wanted, net, wanted, one, 0.5)) == 0.0
    p = 1.0 / (1.0 + np.exp(-2.0))
    nats = p * np.log(2 * p) + (1 - p) * np.log(2 * (1 - p))
    assert float(distillation(net, found, net, wanted, one, 0.5)) == pytest.approx(nats + 0.5, rel=1e-6)


def test_where_a_policy_head_decides_its_distribution_is_the_policy() -> None:
    net, one = network(policy_head="greedy"), batch()
    with torch.no_grad():
        out = net(one)
    assert torch.equal(decision_logits(net, out, 0.1), out.policy_logits)
    assert gap_temperature(net, one) == 1.0


def test_the_temperature_is_the_median_gap_between_the_two_best_actions() -> None:
    net, one = network(), batch(rows=4, steps=20)
    with torch.no_grad():
        best = net(one).q[:, :-1, 0].topk(2, dim=-1).values
    gap = float((best[..., 0] - best[..., 1]).median())
    net.rescale(2.0)
    assert gap_temperature(net, one) == pytest.approx(min(gap / 2.0, 1.0), rel=1e-5)
