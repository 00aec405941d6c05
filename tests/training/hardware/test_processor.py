"""What a processor is said to do, and when bf16 is refused: decided by its instruction sets, not by its name."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch

from seqel.training.hardware.processor import busy, describe_processor, float32_speed, has_bf16, instructions, slow_bf16

CPU = torch.device("cpu")


def pretend(monkeypatch: pytest.MonkeyPatch, **found: Any) -> None:
    """Let torch report these capabilities, as other processors do."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"architecture": "test", **found})


@pytest.mark.parametrize(
    ("found", "names", "bf16"),
    [
        ({"avx2": True, "avx512_f": False, "avx512_bf16": False}, ["AVX2"], False),
        ({"avx2": True, "avx512_f": True}, ["AVX2", "AVX-512"], False),
        ({"avx2": True, "avx512_f": True, "avx512_bf16": True}, ["AVX2", "AVX-512", "AVX-512 bf16"], True),
        ({"avx2": True, "amx_bf16": True}, ["AVX2", "AMX bf16"], True),
        ({"neon": True, "fp16_arith": True}, ["NEON"], False),
        ({"neon": True, "sve": True, "bf16": True}, ["NEON", "SVE", "bf16"], True),
        ({}, [], False),
    ],
)
def test_instructions_decide_whether_bf16_is_refused(
    found: dict[str, bool], names: list[str], bf16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, **found)
    assert instructions() == names and has_bf16(CPU) is bf16
    problem = slow_bf16(CPU)
    if bf16:
        assert problem is None
    else:
        assert problem is not None and (", ".join(names) or "none known") in problem
        assert "Set learner.precision = 'float32'" in problem


@pytest.mark.parametrize("bf16", [True, False])
def test_a_gpu_is_asked_for_units_of_its_own(bf16: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def supported(including_emulation: bool = True) -> bool:
        asked.append(including_emulation)
        return bf16 or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Old GPU")
    problem = slow_bf16(torch.device("cuda"))
    assert asked == [False], "emulation is slow"
    assert (problem is None) is bf16 and (bf16 or "Old GPU" in str(problem))


def test_one_line_says_what_the_processor_can_do(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, avx2=True)
    monkeypatch.setattr("seqel.training.hardware.processor.available_cores", lambda: 1)
    found = describe_processor(CPU)
    assert found["instructions"] == ["AVX2"] and found["cores"] == 1 and found["bf16"] is False
    assert found["says"].startswith("AVX2; 1 core; ")
    assert found["says"].endswith("no bf16: learner.precision = 'bf16' would not help")
    pretend(monkeypatch, avx2=True, avx512_bf16=True)
    assert describe_processor(CPU)["says"].endswith("; bf16: learner.precision = 'bf16' may make updates faster")


def test_the_speed_is_that_of_a_matrix_product() -> None:
    assert 0.1 < float32_speed(repeats=1) < 100_000.0


@pytest.mark.parametrize(
    ("load", "threads", "said"),
    [(2.9, 1, False), (3.4, 1, False), (3.6, 1, True), (0.0, 4, False), (0.6, 4, True), (9.0, 1, True)],
)
def test_a_machine_is_busy_if_others_leave_too_few_cores(
    load: float, threads: int, said: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    warning = busy(threads)
    assert (warning is not None) is said
    if warning is not None:
        assert f"load {load:.1f} in the last minute, on 4 cores" in warning


def test_a_system_without_a_load_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "getloadavg", raising=False)
    assert busy(1) is None
