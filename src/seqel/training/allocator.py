"""Keep freed memory in the process: an update frees and takes the same megabytes again and again.

The C library hands large blocks back to the system at once, and the system clears every page of them when they are taken
again. On glibc two settings stop that (3 to 7 % of an update on a CPU, `docs/experiments.md`); elsewhere nothing happens.
"""

from __future__ import annotations

import ctypes
import os
import platform

__all__ = ["keep_freed_memory"]

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # of mallopt(3)
_LARGEST = 32 << 20  # bytes: larger blocks (a replay, a dataset) still go back to the system when they are freed
_KEPT = 1 << 30  # bytes that may lie free at the end of the heap


def keep_freed_memory() -> bool:
    """Set it for this process. A user's own settings in the environment win.  -> whether anything was set."""
    if platform.libc_ver()[0] != "glibc" or any(
        name.startswith("MALLOC_") or name in ("GLIBC_TUNABLES", "LD_PRELOAD") for name in os.environ
    ):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all([mallopt(_MMAP_THRESHOLD, _LARGEST), mallopt(_TRIM_THRESHOLD, _KEPT), mallopt(_TOP_PAD, 2 * _LARGEST)])
