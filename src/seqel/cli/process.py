"""What the command line sets for its whole process, before torch is loaded; a library must not do that to its user."""

from __future__ import annotations

import os

from seqel.training.hardware.threads import available_cores, cores_by_affinity, wait_passively

__all__ = ["prepare_process"]


def prepare_process() -> None:
    """Threads that sleep while they wait and are no more than the container allows; freed memory that stays here.

    What the user has set in the environment wins. Processes that are started from here inherit it.
    """
    from seqel.training.hardware.allocator import tune_memory

    wait_passively()
    cores = available_cores()
    if cores < cores_by_affinity():
        os.environ.setdefault("OMP_NUM_THREADS", str(cores))
    tune_memory()
