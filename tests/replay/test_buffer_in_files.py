"""Experience in files: little of them stays in memory, and nothing that was written is lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from seqel.replay import ring as storage
from seqel.replay.ring import Ring

STATUS = Path("/proc/self/status")


def of_files() -> int:
    """Return how many bytes of files this process holds in memory."""
    lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    return 1024 * sum(int(lines[name].split()[0]) for name in ("RssFile", "RssShmem"))


@pytest.mark.skipif(not STATUS.exists(), reason="the system does not say what a process holds")
def test_pages_are_released_and_written_data_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "RESIDENT", 4 << 20)
    slots = Ring({"frame": ((64, 64), np.dtype(np.uint8))}, 10_000, tmp_path)  # 40 MB
    before = of_files()
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (100, 64, 64), dtype=np.uint8)
    for number in range(100):
        slots.write({"frame": frames + np.uint8(number)})
    assert of_files() - before < 16 << 20, "of 40 MB written"
    for number in rng.permutation(100):
        at = number * 100 + np.arange(100)
        assert np.array_equal(slots.take("frame", at), frames + np.uint8(number))
    assert of_files() - before < 16 << 20, "of 40 MB read"
    assert np.array_equal(slots.take("frame", np.array([10_000])), frames[:1]), "modulo the capacity"
