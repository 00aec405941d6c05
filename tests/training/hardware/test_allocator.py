"""Freed memory is kept: allocating the same block again costs no page faults."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")

FAULTS = """
import resource, sys
import torch
from seqel.training.hardware.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
def faults(times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        a = torch.ones(3, 1 << 20)  # 12 MiB, 3072 pages
        b = a + 1
        del a, b
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults(5)
print(faults(20))
"""


SOURCE = {"PYTHONPATH": str(Path(__file__).parents[3] / "src")}  # all that these programs find in their environment


def faults(mode: str, **environment: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, mode], capture_output=True, text=True, check=False, env=SOURCE | environment
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_a_reused_block_is_not_cleared_again() -> None:
    each_time = faults("as it was", MALLOC_TRIM_THRESHOLD_="131072")
    assert each_time > 20 * 3072
    assert faults("kept") < each_time / 4


def test_the_users_own_settings_win(monkeypatch: pytest.MonkeyPatch) -> None:
    from seqel.training.hardware.allocator import keep_freed_memory

    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    assert not keep_freed_memory()


LARGE = """
import torch
from seqel.training.hardware.allocator import keep_freed_memory, use_large_pages
def large():
    lines = open("/proc/self/smaps_rollup").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("AnonHugePages"))
keep_freed_memory()
kept = [torch.ones(1 << 18) for _ in range(64)]  # 64 MiB on the heap, a MiB each
before = large()
asked = use_large_pages()
assert all(bool((x == 1).all()) for x in kept)
print(asked, large() - before)
"""
THP = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@pytest.mark.skipif(not THP.exists() or "[never]" in THP.read_text(), reason="the system has no large pages to give")
def test_memory_in_use_moves_to_large_pages_and_keeps_its_content() -> None:
    done = subprocess.run([sys.executable, "-c", LARGE], capture_output=True, text=True, check=True, env=SOURCE)
    asked, gained = map(int, done.stdout.split())
    assert asked >= 48
    assert gained >= 0, "the system may have none left, but loses none"


def test_only_memory_without_a_file_is_moved() -> None:
    from seqel.training.hardware.allocator import _anonymous

    assert _anonymous("1000-3000 rw-p 00000000 00:00 0    [heap]") == (0x1000, 0x3000)
    assert _anonymous("1000-3000 rw-p 00000000 00:00 0") == (0x1000, 0x3000)
    for other in ("r--p 00000000 00:00 0", "rw-s 00000000 08:01 12    /dev/shm/x", "rw-p 00000000 00:00 0    [stack]"):
        assert _anonymous(f"1000-3000 {other}") is None


TUNED = """
import sys
from seqel.training.hardware import allocator
moved = []
allocator.use_large_pages = lambda: moved.append(1)
if sys.argv[1] == "tuned":
    allocator.tune_memory()
for device in ("cuda", "cpu"):
    for updates in range(30):
        allocator.settle_memory(updates, device)
print(len(moved))
"""


@pytest.mark.parametrize(("mode", "times"), [("tuned", 1), ("as it was", 0)])
def test_memory_moves_once_and_only_in_a_tuned_process(mode: str, times: int) -> None:
    done = subprocess.run([sys.executable, "-c", TUNED, mode], capture_output=True, text=True, check=True, env=SOURCE)
    assert int(done.stdout) == times


def test_training_as_a_library_leaves_the_allocator_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import seqel
    from seqel.training.hardware import allocator
    from support import MAZE, TINY

    def forbidden(*_: object) -> int:
        raise AssertionError("the process belongs to the user")

    monkeypatch.setattr(allocator, "_tuned", False)
    monkeypatch.setattr(allocator, "keep_freed_memory", forbidden)
    monkeypatch.setattr(allocator, "use_large_pages", forbidden)
    seqel.train(MAZE, steps=300, settings=TINY, out=tmp_path / "run", progress=False)
