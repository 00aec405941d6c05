"""A run that cannot fit is refused before anything is allocated, with the GiB needed and available."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import seqel
from seqel.errors import ConfigError
from seqel.spaces import ActionSpec, ObservationSpec
from seqel.training.config import preset
from seqel.training.hardware import memory
from seqel.training.hardware.memory import capped, memory_needed, memory_present, missing_memory, slots_needed
from support import MAZE, TINY

NUMBERS = ObservationSpec.from_space(gym.spaces.Box(-1.0, 1.0, (3,), np.float32))
PICTURES = ObservationSpec.from_space(gym.spaces.Box(0, 255, (210, 160, 3), np.uint8))
FOUR = ActionSpec((4,), (0,))
SAYS = r"needs at least [\d,]+\.\d GiB of memory, but only [\d,]+\.\d GiB are available; most of it is for "


def config(**settings: Any) -> Any:
    return preset(**({"network.context": 50, "replay.window": 100} | settings))


@pytest.mark.parametrize(
    ("settings", "space", "what"),
    [
        ({"network.context": 10**8}, NUMBERS, "the agent's memory of each environment .*: reduce network.context"),
        ({"replay.capacity": 10**15, "steps": 10**15}, NUMBERS, "the replay .*: reduce replay.capacity"),
        ({"steps": 10**7, "replay.capacity": 10**7}, PICTURES, "the replay .*replay.directory"),
        ({"network.width": 10**6}, NUMBERS, "the network .*: reduce network.width"),
        ({"replay.batch_tokens": 10**10}, NUMBERS, "one update .*: reduce replay.batch_tokens"),
        ({"environments": 10**9}, NUMBERS, "the agent's memory of each environment"),
    ],
)
def test_a_run_that_cannot_fit_is_refused_with_the_memory_needed_and_available(
    settings: dict[str, Any], space: ObservationSpec, what: str
) -> None:
    message = missing_memory(config(**settings), space, FOUR)
    assert message is not None and re.search(SAYS + what, message), message


def test_a_run_that_fits_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "memory_present", lambda: 2 << 30)
    assert missing_memory(config(), NUMBERS, FOUR) is None
    assert missing_memory(config(**{"replay.capacity": 10**15}), NUMBERS, FOUR) is None, "capped by the run's steps"
    pictures = {"replay.capacity": 1_000_000, "steps": 5_000_000}
    assert missing_memory(config(**pictures), PICTURES, FOUR) is not None
    assert missing_memory(config(**pictures, **{"replay.directory": "scratch"}), PICTURES, FOUR) is None


def test_nothing_is_refused_if_the_memory_size_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "memory_present", lambda: None)
    assert missing_memory(config(**{"network.context": 10**8}), NUMBERS, FOUR) is None


def test_the_estimate_is_at_most_the_size_of_the_arrays() -> None:
    from seqel.replay.buffer import Replay

    made = config(**{"replay.capacity": 5_000, "replay.priority_exponent": 0.5, "steps": 5_000})
    replay = Replay(NUMBERS.storage, 5_000, actions=4, priority_exponent=0.5, context=50)
    counted = memory_needed(made, NUMBERS, FOUR)["the replay"][0]
    assert 0.8 * replay.nbytes <= counted <= replay.nbytes


@pytest.mark.parametrize(
    ("own", "file", "text", "limit"),
    [
        ("0::/", "memory.max", "1073741824", 1 << 30),
        ("0::/", "memory.max", "max", 4 << 30),
        ("0::/a/b", "a/memory.max", "2147483648", 2 << 30),
        ("4:memory:/a", "memory/a/memory.limit_in_bytes", "1073741824", 1 << 30),
        ("4:memory:/", "memory/memory.limit_in_bytes", "9223372036854771712", 4 << 30),
        ("4:memory:/not/seen/inside", "memory/memory.limit_in_bytes", "1073741824", 1 << 30),
    ],
)
def test_a_containers_limit_bounds_the_available_memory(
    own: str, file: str, text: str, limit: int, tmp_path: Path
) -> None:
    path = tmp_path / "cgroup" / file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    (tmp_path / "own").write_text(own)
    (tmp_path / "meminfo").write_text("MemTotal:        4194304 kB\nMemFree: 1 kB\n")
    assert memory_present(tmp_path / "cgroup", tmp_path / "own", tmp_path / "meminfo") == limit
    assert memory_present(tmp_path / "none", tmp_path / "none", tmp_path / "none") is None


def test_the_capacity_is_capped_by_the_steps_with_a_note() -> None:
    short = config(steps=1_000, **{"replay.capacity": 10**15})
    slots, note = capped(short)
    assert slots == slots_needed(short) < 10_000
    assert note is not None and "1,000 steps fill at most" in note and "1,000,000,000,000,000" in note
    assert capped(config(steps=1_000))[1] is None, "there is no note about the default"
    assert capped(config(steps=10**6, **{"replay.capacity": 500})) == (500, None)


def test_train_refuses_before_it_allocates(tmp_path: Path) -> None:
    began = time.perf_counter()
    with pytest.raises(ConfigError, match=SAYS):
        seqel.train(MAZE, steps=100, settings=TINY | {"network.context": 10**8}, out=tmp_path / "run", progress=False)
    assert time.perf_counter() - began < 10 and not (tmp_path / "run").exists()


def test_a_short_run_starts_whatever_capacity_is_set(tmp_path: Path) -> None:
    settings = TINY | {"replay.capacity": 10**15}
    seqel.train(MAZE, steps=200, settings=settings, out=tmp_path / "run", progress=False)
    assert "replay.capacity: 200 steps fill" in (tmp_path / "run" / "metrics.jsonl").read_text()
    seqel.resume(tmp_path / "run", steps=400, progress=False)  # with a larger replay than the checkpoint's


def test_copies_share_a_pretrained_model_that_stays_as_it_is() -> None:
    pretrained = {
        "network.trunk": "pretrained", "network.model": "some/model", "network.width": 512, "network.layers": 10,
    }  # fmt: skip
    sizes = {
        tuning: memory_needed(config(**pretrained, **{"network.tuning": tuning}), NUMBERS, FOUR)["the network"][0]
        for tuning in ("lora", "prefix", "full")
    }
    assert sizes["full"] == memory.COPIES * sizes["lora"] == memory.COPIES * sizes["prefix"]
