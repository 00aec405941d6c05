"""The errors of Seqel: everything that it raises on purpose is a `SeqelError`.

Each message says what was expected, what was got and, if there is one, the way out. The command line prints
the message and exits with `exit_code`; it never shows a traceback for one of these.
"""

from __future__ import annotations

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "EnvironmentFault",
    "MissingExtraError",
    "NonFiniteError",
    "SeqelError",
    "SpaceError",
    "StorageError",
    "TrustError",
]


class SeqelError(Exception):
    """The base class of all errors."""

    exit_code: int = 1


class ConfigError(SeqelError, ValueError):
    """A setting is unknown, of the wrong type, or out of range."""

    exit_code = 2


class SpaceError(SeqelError, TypeError):
    """An observation or action space is not supported, or a value does not fit its space."""

    exit_code = 3


class EnvironmentFault(SeqelError, RuntimeError):
    """An environment cannot be created, or breaks Gymnasium's contract (a NaN reward, a step after the end)."""

    exit_code = 4


class DataError(SeqelError, ValueError):
    """Recorded experience is empty, malformed or not finite."""

    exit_code = 5


class CheckpointError(SeqelError, RuntimeError):
    """A saved agent or checkpoint is missing, truncated, altered, or from an incompatible version."""

    exit_code = 6


class StorageError(SeqelError, OSError):
    """Writing failed (full disk, no permission); existing files are untouched."""

    exit_code = 7


class NonFiniteError(SeqelError, ArithmeticError):
    """Training produced a NaN or an infinity; the message names the value and the last good checkpoint."""

    exit_code = 8


class MissingExtraError(SeqelError, ImportError):
    """An optional dependency is missing; the message names the extra that installs it."""

    exit_code = 9


class TrustError(SeqelError, PermissionError):
    """A file names code, or a path outside its folder, that no one has confirmed on this machine."""

    exit_code = 10
