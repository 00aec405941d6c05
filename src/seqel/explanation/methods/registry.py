"""The methods of attribution by name: every module of this folder that defines `METHOD`, under its own name."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from seqel.errors import ConfigError
from seqel.explanation.methods.base import Method

__all__ = ["DEFAULT", "method_names", "method_of"]

FOLDER = "seqel.explanation.methods"
DEFAULT = "occlusion"  # docs/decisions.md says why


@cache
def _methods() -> dict[str, Method]:
    folder = import_module(FOLDER)
    found: dict[str, Method] = {}
    for module in iter_modules(folder.__path__):
        if module.name not in ("base", "registry"):
            found[module.name] = import_module(f"{FOLDER}.{module.name}").METHOD
    return dict(sorted(found.items(), key=lambda one: (one[1].order, one[0])))


def method_names(attention: bool = True, others: bool = True) -> list[str]:
    """Return the names of the methods. attention, others: also those that need a trunk with attention, or other episodes."""
    return [
        name
        for name, method in _methods().items()
        if (attention or not method.needs_attention) and (others or not method.needs_others)
    ]


def method_of(name: str) -> Method:
    """Return a method by its name.

    Raises:
        ConfigError: there is no such method.
    """
    methods = _methods()
    if name not in methods:
        raise ConfigError(f"method: expected one of {', '.join(methods)}, got {name!r}")
    return methods[name]
