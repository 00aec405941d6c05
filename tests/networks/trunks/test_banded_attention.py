"""Attention by its definition: the band, the ring, and angles that stay exact at large step numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from seqel.networks.trunks.banded_attention import (
    attention_weights,
    banded_attention,
    banded_causal_mask,
    phase_cosines,
    ring_attention,
    ring_bias,
    ring_empty,
    rotary,
    rotate,
    written_ring_attention,
)


def test_the_band_is_its_definition() -> None:
    first = torch.zeros(2, 9, dtype=torch.bool)
    first[0, 0] = first[0, 4] = first[1, 6] = True  # row 1 begins in the middle of an episode
    mask = banded_causal_mask(first, 3)[:, 0]
    for row, starts in enumerate(([0, 4], [6])):
        for i in range(9):
            for j in range(9):
                same = sum(s <= i for s in starts) == sum(s <= j for s in starts)
                assert bool(mask[row, i, j]) == (same and i - 3 < j <= i), (row, i, j)


@pytest.mark.parametrize("context", [1, 2, 5])
def test_the_ring_holds_the_last_steps_but_the_one_about_to_be_overwritten(context: int) -> None:
    for position in range(4 * context):
        slots = {step % context: step for step in range(position)}  # the latest step in each slot
        seen = {s for s, step in slots.items() if position - context < step}
        empty = ring_empty(torch.tensor([position]), context)[0, 0]
        assert set((~empty).nonzero()[:, 0].tolist()) == seen


def test_the_ring_and_the_band_give_the_same_sums() -> None:
    torch.manual_seed(0)
    context, steps = 4, 11
    q, k, v = torch.randn(3, 1, 2, steps, 6, dtype=torch.float64)
    first = torch.zeros(1, steps, dtype=torch.bool)
    first[0, 0] = True
    whole = banded_attention(q, k, v, banded_causal_mask(first, context))
    keys, values = torch.zeros(2, 1, 2, context, 6, dtype=torch.float64)
    for t in range(steps):
        empty = ring_empty(torch.tensor([t]), context)
        one = ring_attention(q[:, :, t], k[:, :, t], v[:, :, t], keys, values, empty)
        torch.testing.assert_close(one, whole[:, :, t])
        keys[:, :, t % context], values[:, :, t % context] = k[:, :, t], v[:, :, t]
        bias = torch.from_numpy(ring_bias(np.array([t]), 2, context)).double()
        written = written_ring_attention(q[:, :, t], keys[0], values[0], bias)
        torch.testing.assert_close(written, whole[:, :, t].flatten(1))


def test_a_written_ring_is_seen_up_to_the_step_itself() -> None:
    no = -np.inf
    bias = ring_bias(np.array([1, 7]), heads=2, slots=3)
    assert bias.tolist() == [[[0.0, 0.0, no]]] * 2 + [[[0.0, 0.0, 0.0]]] * 2, (
        "two heads of each row; the ring of 7 is full"
    )


def test_the_weights_shown_are_the_weights_used() -> None:
    q, k, v = torch.randn(3, 2, 2, 7, 4)
    mask = banded_causal_mask(torch.zeros(2, 7, dtype=torch.bool), 3)
    torch.testing.assert_close(attention_weights(q, k, mask) @ v, banded_attention(q, k, v, mask))


def test_bfloat16_on_a_cpu_is_the_same_attention() -> None:
    q, k, v = torch.randn(3, 2, 2, 7, 4)
    mask = banded_causal_mask(torch.zeros(2, 7, dtype=torch.bool), 3)
    half = banded_attention(q.bfloat16(), k.bfloat16(), v.bfloat16(), mask)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), banded_attention(q, k, v, mask), atol=0.05, rtol=0.05)


def test_rotation_keeps_lengths_and_scores_depend_on_the_distance_only() -> None:
    torch.manual_seed(0)
    q, k = torch.randn(2, 16)
    waves = rotary(16, 10_000.0)

    def score(i: int, j: int) -> float:
        turned = [rotate(x, *phase_cosines(torch.tensor(p), *waves).split(16)) for x, p in ((q, i), (k, j))]
        assert math.isclose(float(turned[0].norm()), float(q.norm()), rel_tol=1e-5)
        return float(turned[0] @ turned[1])

    for far in (100, 10_000, 1_000_000):
        assert score(far + 7, far) == pytest.approx(score(7, 0), abs=1e-5)
    assert abs(score(8, 0) - score(7, 0)) > 1e-3


def test_angles_at_step_100000_are_those_of_python_floats() -> None:
    factors = phase_cosines(torch.tensor([99_999]), *rotary(8, 10_000.0))
    assert factors.dtype == torch.float32
    for i in range(4):
        angle = 99_999 * 10_000.0 ** (-2 * i / 8)
        for at, expected in enumerate((math.cos(angle), math.cos(angle), -math.sin(angle), math.sin(angle))):
            assert float(factors[0, i + 4 * at]) == pytest.approx(expected, abs=1e-7)


def test_a_rotation_by_hand() -> None:
    """Pair (x0, x2) turns by one radian per step, pair (x1, x3) by a hundredth of a radian."""
    x, waves = torch.tensor([1.0, 1.0, 0.0, 0.0]), rotary(4, 10_000.0)
    turned = rotate(x, *phase_cosines(torch.tensor(2), *waves).split(4))
    expected = [math.cos(2.0), math.cos(0.02), math.sin(2.0), math.sin(0.02)]
    assert turned.tolist() == pytest.approx(expected, abs=1e-6)
