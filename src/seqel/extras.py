"""Polars and Minari, imported when they are needed, with a message that says how to get them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from seqel.errors import MissingExtraError

__all__ = ["require"]


def require(name: str) -> Any:
    """The module `name`.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingExtraError(
            f'reading recorded data needs {name}, which is not installed: pip install "seqel[data]"'
        ) from error
