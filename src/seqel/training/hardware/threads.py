"""How many threads torch uses, and how they wait. Does not import torch: the waiting policy must be set before torch loads.

On a machine shared with other processes, a thread that waits by spinning takes the time that the other threads need to
finish (`benchmarks/busy_machine.py` measures it). So the number of threads follows the cores that this process may really
use, a small network gets one thread, and the command line makes threads sleep while they wait.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import MutableMapping
from pathlib import Path

__all__ = ["available_cores", "cgroup_folders", "choose_threads", "cores_by_affinity", "cpu_quota", "wait_passively"]

WORTH_THREADS = 128  # network width from which a second thread gains more than it costs
CGROUPS = Path("/sys/fs/cgroup")


def available_cores(root: Path = CGROUPS, own: Path = Path("/proc/self/cgroup")) -> int:
    """Return the cores that this process may use: its CPU affinity, limited by its container's CPU quota (cgroups 1 or 2)."""
    quota = cpu_quota(root, own)
    return cores_by_affinity() if quota is None else max(1, min(cores_by_affinity(), math.ceil(quota)))


def cores_by_affinity() -> int:
    """Return the cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose_threads(width: int, cores: int | None = None) -> int:
    """Return the number of torch threads for a network of this width: one for a small network, otherwise one per core."""
    return 1 if width < WORTH_THREADS else cores or available_cores()


def wait_passively(environment: MutableMapping[str, str] = os.environ) -> bool:
    """Let OpenMP's threads sleep while they wait, unless the user has set a policy. Returns whether anything was set.

    To be called by whoever owns the process, before torch is imported: afterwards it has no effect.
    """
    if "torch" in sys.modules and environment is os.environ:
        return False
    if any(name in environment for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")):
        return False
    environment["OMP_WAIT_POLICY"] = "PASSIVE"  # read by GNU's OpenMP (which torch ships), Intel's and LLVM's
    return True


def cpu_quota(root: Path = CGROUPS, own: Path = Path("/proc/self/cgroup")) -> float | None:
    """Return the CPU time that the container may use per second, in cores; None: no limit."""
    found: list[float] = []
    for folder in cgroup_folders("cpu", root, own):
        words = _read(folder / "cpu.max").split()  # version 2: "QUOTA PERIOD" or "max PERIOD"
        if len(words) == 2 and words[0] != "max":
            found.append(int(words[0]) / int(words[1]))
        quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")  # version 1
        if quota and period and int(quota) > 0:
            found.append(int(quota) / int(period))
    return min(found, default=None)


def cgroup_folders(controller: str, root: Path = CGROUPS, own: Path = Path("/proc/self/cgroup")) -> list[Path]:
    """Return the cgroup folders with this process's limits for one resource: its own and its parents, as far as visible.

    Inside a container, the paths in /proc/self/cgroup are often those on the host; then only the topmost folder exists.
    """
    folders: list[Path] = []
    for line in _read(own).splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            tops = [root, root / "unified"]
        elif controller in controllers.split(","):
            tops = [root / controllers, root / controller]
        else:
            continue
        for top in tops:
            inside = top / path.lstrip("/")
            folders += [
                folder for folder in (inside, *inside.parents) if folder.is_relative_to(top) and folder.is_dir()
            ]
    return list(dict.fromkeys(folders))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
