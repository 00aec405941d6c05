"""Process-wide settings of the command line, made before torch is loaded; a library must not make them for its user."""

from __future__ import annotations

import os

from seqel.training.hardware.threads import available_cores, cores_by_affinity, wait_passively

__all__ = ["prepare_process"]


def prepare_process() -> None:
    """Let threads sleep while they wait, limit them to the container's cores, and keep freed memory in this process.

    Settings that the user made in the environment take precedence. Child processes inherit them.
    """
    from seqel.training.hardware.allocator import tune_memory

    wait_passively()
    cores = available_cores()
    if cores < cores_by_affinity():
        os.environ.setdefault("OMP_NUM_THREADS", str(cores))
    tune_memory()
