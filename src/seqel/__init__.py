"""Seqel: Q-learning with a memory.

The names below are all that most users need. They are loaded when first touched (PEP 562), so that `import seqel`
costs nothing beyond Python itself and `seqel --help` does not wait for torch. No module of the package imports
this one: everything here points down, nothing points back.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from seqel.version import __version__

if TYPE_CHECKING:
    from seqel.agents.agent import Agent
    from seqel.errors import SeqelError
    from seqel.evaluation.rollout import Evaluation, evaluate
    from seqel.runs.api import resume, train
    from seqel.training.config import RunConfig, preset

__all__ = [
    "Agent",
    "Evaluation",
    "RunConfig",
    "SeqelError",
    "__version__",
    "evaluate",
    "preset",
    "resume",
    "train",
]

_HOME = {
    "Agent": "seqel.agents.agent",
    "Evaluation": "seqel.evaluation.rollout",
    "RunConfig": "seqel.training.config",
    "SeqelError": "seqel.errors",
    "evaluate": "seqel.evaluation.rollout",
    "preset": "seqel.training.config",
    "resume": "seqel.runs.api",
    "train": "seqel.runs.api",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its home the first time that it is asked for, and keep it."""
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'seqel' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
