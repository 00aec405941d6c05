"""Seqel: Q-learning with a memory.

Most users only need the names below. Each is imported on first access (PEP 562), so `import seqel` is fast and
`seqel --help` does not wait for torch. No module of the package imports this one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqel import lazy
from seqel.version import __version__

if TYPE_CHECKING:
    from seqel.agents.agent import Agent
    from seqel.errors import SeqelError
    from seqel.evaluation.rollout import Evaluation, evaluate
    from seqel.runs.api import train
    from seqel.runs.resuming import resume
    from seqel.training.config import RunConfig, preset
    from seqel.training.hardware.allocator import tune_memory
    from seqel.training.record import Record

__all__ = [
    "Agent",
    "Evaluation",
    "Record",
    "RunConfig",
    "SeqelError",
    "__version__",
    "evaluate",
    "preset",
    "resume",
    "train",
    "tune_memory",
]

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "Agent": "seqel.agents.agent",
        "Evaluation": "seqel.evaluation.rollout",
        "Record": "seqel.training.record",
        "RunConfig": "seqel.training.config",
        "SeqelError": "seqel.errors",
        "evaluate": "seqel.evaluation.rollout",
        "preset": "seqel.training.config",
        "resume": "seqel.runs.resuming",
        "train": "seqel.runs.api",
        "tune_memory": "seqel.training.hardware.allocator",
    },
)
