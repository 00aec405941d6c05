"""Compiling the update: when it is chosen, and that one compilation suffices."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from seqel.errors import ConfigError
from seqel.losses.config import ObjectiveConfig
from seqel.networks.config import NetworkConfig
from seqel.training.config import LearnerConfig, RunConfig, preset
from seqel.training.hardware import compilation as compiling
from seqel.training.hardware.compilation import compiled, gflop, is_worth_compiling, resolve_compile_mode
from seqel.training.learner import Learner
from support import batch, network

CPU = torch.device("cpu")


def run(steps: int, **settings: Any) -> RunConfig:
    return preset(steps=steps, **{"network.context": 50, "replay.window": 50, "replay.replay_ratio": 32.0, **settings})


def test_the_gflop_of_an_update_by_hand() -> None:
    """2 windows of 3 steps, width 4, 1 layer: 8 tokens, 4 passes; weights 2*8*12*16, attention 2*2*8*4*4."""
    network = NetworkConfig(width=4, heads=2, layers=1, context=3)
    assert gflop(network, 2, 3) == pytest.approx(4 * (2 * 8 * 12 * 16 + 2 * 2 * 8 * 4 * 4) / 1e9)


def test_compilation_is_chosen_if_it_saves_twice_its_time() -> None:
    assert not is_worth_compiling(run(200_000), CPU), "the default run"
    assert not is_worth_compiling(run(200_000, **{"learner.precision": "bf16"}), CPU)
    assert is_worth_compiling(run(2_000_000, **{"learner.precision": "bf16"}), CPU)
    assert not is_worth_compiling(run(2_000_000, **{"learner.precision": "bf16", "network.trunk": "gru"}), CPU)
    large = {"learner.precision": "bf16", "network.width": 256, "network.heads": 8}
    assert is_worth_compiling(run(200_000, **large), CPU), "larger updates pay sooner"
    assert not is_worth_compiling(run(200_000, **large, **{"replay.replay_ratio": 1.0}), CPU), (
        "and fewer of them do not"
    )


def test_the_choice_is_kept_and_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    long = run(50_000_000)
    chosen = resolve_compile_mode(long, CPU)
    assert chosen.learner.compile == "on"
    assert resolve_compile_mode(dataclasses.replace(chosen, steps=1), CPU) == dataclasses.replace(chosen, steps=1)
    assert resolve_compile_mode(run(1_000), CPU).learner.compile == "off"
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert resolve_compile_mode(long, CPU).learner.compile == "off"
    with pytest.raises(ConfigError, match=r"learner\.compile: 'on' needs a C\+\+ compiler"):
        resolve_compile_mode(chosen, CPU)


def test_one_compilation_serves_every_number_of_rows() -> None:
    learner = Learner(network(), ObjectiveConfig(0.9, lambda_=0.9), LearnerConfig(compile="off"))
    plain, counter = learner._step_losses, CompileCounter()
    learner._loss = compiled(plain, counter)
    for seed, rows in enumerate((8, 5, 13, 8, 6)):
        windows = batch(rows=rows, seed=seed)
        expected = float(plain(windows)[0].detach())
        assert float(learner._loss(windows)[0].detach()) == pytest.approx(expected, rel=1e-4)
        learner.update(windows)
    assert counter.frame_count == 1


def test_compiled_code_is_kept_in_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    compiling.keep_compiled()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "seqel" / "compiled")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "elsewhere")
    compiling.keep_compiled()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "elsewhere", "a choice already made is kept"
