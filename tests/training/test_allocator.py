"""Freed memory is kept: taking the same block again costs no page faults."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")

FAULTS = """
import resource, sys
import torch
from seqel.training.allocator import keep_freed_memory
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


def faults(mode: str, **environment: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, mode], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_a_block_that_comes_back_is_not_cleared_again() -> None:
    each_time = faults("as it was", MALLOC_TRIM_THRESHOLD_="131072")
    assert each_time > 20 * 3072
    assert faults("kept") < each_time / 4


def test_the_users_own_settings_win(monkeypatch: pytest.MonkeyPatch) -> None:
    from seqel.training.allocator import keep_freed_memory

    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    assert not keep_freed_memory()
