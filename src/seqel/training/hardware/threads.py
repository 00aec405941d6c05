"""How many threads torch may use, and how they wait for each other. No torch here: the second has to be set before it loads.

On a machine that others use as well, a thread that waits by spinning takes the time that the other one needs to finish
(`benchmarks/busy_machine.py` measures it). So threads follow the cores that this process may really use, a small network gets
one, and the command line makes threads sleep while they wait.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import MutableMapping
from pathlib import Path

__all__ = ["available_cores", "cgroup_folders", "choose_threads", "cores_by_affinity", "cpu_quota", "wait_passively"]

WORTH_THREADS = 128  # width of a network from which on a second thread gains more than it costs
CGROUPS = Path("/sys/fs/cgroup")


def available_cores(root: Path = CGROUPS, own: Path = Path("/proc/self/cgroup")) -> int:
    """Cores that this process may use: its CPU affinity, and the CPU quota of its container (cgroup version 1 or 2)."""
    quota = cpu_quota(root, own)
    return cores_by_affinity() if quota is None else max(1, min(cores_by_affinity(), math.ceil(quota)))


def cores_by_affinity() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose_threads(width: int, cores: int | None = None) -> int:
    """Torch's threads for a network of this width: one for a small network, else one per core."""
    return 1 if width < WORTH_THREADS else cores or available_cores()


def wait_passively(environment: MutableMapping[str, str] = os.environ) -> bool:
    """Let OpenMP's threads sleep while they wait, unless the user has said how.  -> whether anything was set.

    For whoever owns the process, before torch is imported: afterwards it has no effect.
    """
    if "torch" in sys.modules and environment is os.environ:
        return False
    if any(name in environment for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")):
        return False
    environment["OMP_WAIT_POLICY"] = "PASSIVE"  # GNU's OpenMP, which torch brings along, Intel's and LLVM's read it
    return True


def cpu_quota(root: Path = CGROUPS, own: Path = Path("/proc/self/cgroup")) -> float | None:
    """CPU time that the container may use per second, in cores; None: no limit."""
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
    """The folders with this process's limits for one resource, its own and those above it, as far as they can be seen.

    Inside a container the paths of /proc/self/cgroup are often those outside of it; then only the topmost folder is there.
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
