"""Timing: figures that are consistent with each other, and counts computed by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from seqel.errors import ConfigError
from seqel.profiling.timing import Shapes, machine, time_act, time_replay, time_update

SMALL = Shapes(width=16, heads=2, context=6, batch=4, envs=3, steps=60)


def test_the_figures_of_an_update_are_consistent() -> None:
    found = time_update(SMALL, repeats=3)
    tokens = 4 * 7
    by_hand = 4 * 2 * (2 * tokens * 12 * 16**2 + 2 * 2 * 4 * 7 * 7 * 16) / 1e9
    assert found["gflop"] == pytest.approx(by_hand)
    assert found["gflop_per_s"] == pytest.approx(1e3 * by_hand / found["ms"])
    assert found["updates_per_s"] == pytest.approx(1e3 / found["ms"])
    assert 0.0 < found["share_of_peak"] < 1.0
    assert found["parameters"] == sum(p.numel() for p in SMALL.network().parameters())
    memory = found["memory_bytes"]
    assert memory["weights"] == memory["target"] == memory["gradients"] == 4 * found["parameters"]
    assert memory["optimizer"] > 2 * memory["weights"], "two moments per weight, and step counts"
    tokens_of_a_layer = 4 * 7 * 16 * 4  # bytes of one (B, T + 1, D)
    assert 10 * tokens_of_a_layer < memory["activations"] < 100 * tokens_of_a_layer
    assert "gflop" not in time_update(replace(SMALL, trunk="gru"), repeats=1)


def test_the_figures_of_acting_and_sampling_are_consistent() -> None:
    act = time_act(SMALL, repeats=20)
    assert act["steps_per_s"] == pytest.approx(3e3 / act["ms"])
    assert act["ratio_to_recomputing"] == pytest.approx(act["recomputed_ms"] / act["ms"])
    assert act["memory_bytes"] == 2 * 2 * 3 * 6 * 16 * 4 + 3 * 8  # keys and values of 2 layers, positions
    exported = time_act(replace(SMALL, backend="onnxruntime"), repeats=5)
    assert exported["memory_bytes"] == act["memory_bytes"] and exported["ms"] > 0
    draw = time_replay(SMALL, repeats=5)
    assert draw["transitions"] == 60
    assert draw["ms"] > 0.0


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ConfigError, match="batch"):
        Shapes(batch=0)
    with pytest.raises(ConfigError, match="two windows"):
        Shapes(steps=50)
    assert machine()["versions"]["torch"]
