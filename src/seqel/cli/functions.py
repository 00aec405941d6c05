"""Functions that a user names on the command line, as module:function; the module may lie in the current folder."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from seqel.errors import ConfigError

__all__ = ["named_function"]


def named_function(name: str, option: str) -> Callable[..., Any]:
    """Import a function. Raises ConfigError if there is none of this name; the message names the option."""
    module, _, function = name.rpartition(":")
    if not module or not function:
        raise ConfigError(f"{option}: expected module:function, got {name!r}")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = getattr(import_module(module), function)
    except ModuleNotFoundError as error:
        hint = f"; did you mean {module[:-3]!r}?" if module.endswith(".py") else ""
        raise ConfigError(f"{option}: no module {module!r} here or installed ({error}){hint}") from error
    except AttributeError as error:
        raise ConfigError(f"{option}: module {module!r} has no function {function!r}") from error
    except Exception as error:  # the module's own
        raise ConfigError(f"{option}: importing {module!r} failed: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise ConfigError(f"{option}: expected a function, got {type(found).__name__} {name!r}")
    return found  # type: ignore[no-any-return]
