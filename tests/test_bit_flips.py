"""A bit flipped anywhere in a run is detected, or has no effect on training and reports."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import seqel
from seqel.errors import SeqelError
from seqel.runs.folder import RunFolder
from support import TINY

LEFT_OUT = (
    "learning-curve.png",
    "events.out.tfevents",
    "summary.json",
)  # never read back; a resumed run writes them again


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flips") / "run"
    settings = TINY | {"validation.every": 100, "log_every": 50, "replay.capacity": 500}
    seqel.train("seqel/TMaze10-v0", steps=200, out=folder, settings=settings, progress=False)
    seqel.resume(folder, steps=300, progress=False)  # for a second checkpoint
    return folder


def read(folder: Path) -> dict[str, Any]:
    """Return everything that a resume or an evaluation reads from a run's files, and the reports of damage."""
    run, config = RunFolder.open(folder)
    try:
        records = run.records()
        newest = run.checkpoints.latest()
        agent, last = seqel.Agent.load(folder), seqel.Agent.load(folder / "agent-last")
        return {
            "config": config,
            "records": records,
            "damaged": list(run.damaged),
            "said": run.checkpoints.warnings,
            "latest": None if newest is None else newest.name,
            "state": None if newest is None else run.checkpoints.load(newest),
            "info": agent.info,
            "weights": agent.network.state_dict(),
            "last": (last.info, last.network.state_dict()),
        }
    finally:
        run.close()


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(equal(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if hasattr(one, "tobytes"):
        return bool(one.tobytes() == other.tobytes())
    return bool(one == other) or (one != one and other != other)


def flips(original: Path, folder: Path, count: int, seed: int) -> dict[str, int]:
    """Flip `count` bits, one at a time, in files drawn at random."""
    shutil.copytree(original, folder)
    before = read(folder)
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(LEFT_OUT)]
    assert len(files) == 12
    rng, outcome = random.Random(seed), {"refused": 0, "reported": 0, "without effect": 0}
    for _ in range(count):
        path = rng.choice(files)
        data = path.read_bytes()
        at, bit = rng.randrange(len(data)), rng.randrange(8)
        path.write_bytes(data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :])
        where = f"{path.relative_to(folder)}, byte {at}, bit {bit}"
        try:
            after = read(folder)
        except SeqelError:
            outcome["refused"] += 1
        else:
            if after["said"]:  # the checkpoint before takes its place
                outcome["reported"] += 1
                assert after["latest"] != before["latest"], where
                same = [name for name in before if name not in ("state", "latest", "said")]
            elif after["damaged"]:
                outcome["reported"] += 1
                assert all(line in before["records"] for line in after["records"]), where
                assert len(after["records"]) >= len(before["records"]) - 2, where
                same = [name for name in before if name not in ("records", "damaged")]
            elif path.name == "metrics.jsonl" and at == len(data) - 1:  # the end of the last line: as a crash leaves it
                same = [name for name in before if name != "records"]
            else:
                outcome["without effect"] += 1
                same = list(before)
            assert all(equal(before[name], after[name]) for name in same), where
        path.write_bytes(data)
    return outcome


def test_a_bit_flipped_anywhere_in_a_run_is_found_or_without_effect(original: Path, tmp_path: Path) -> None:
    outcome = flips(original, tmp_path / "run", 80, seed=0)
    assert outcome["refused"] > 20 and outcome["reported"] > 10, outcome


@pytest.mark.slow
def test_five_hundred_flipped_bits_in_a_run_are_found_or_without_effect(original: Path, tmp_path: Path) -> None:
    outcome = flips(original, tmp_path / "run", 500, seed=1)
    assert sum(outcome.values()) >= 490, outcome
