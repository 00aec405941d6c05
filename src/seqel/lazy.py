"""Public names of a package, imported on first access (PEP 562).

A package lists its public names and the module that defines each:

    __all__ = ["export"]
    __getattr__, __dir__ = lazy.attach(__name__, {"export": "seqel.deployment.export"})

Importing the package then costs nothing, and `from package import name` imports only the module that defines the name.
Type checkers do not run this: repeat the names as ordinary imports under `if TYPE_CHECKING:`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

__all__ = ["attach"]


class _Package(ModuleType):
    """A package whose public names are not replaced by its submodules.

    Importing `package.name` sets the attribute `name` of the package to the submodule. If a public function has the
    same name (`seqel.deployment.export`), the function must win, whatever was imported first.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        homes = self.__dict__.get("_lazy_homes", {})
        if isinstance(value, ModuleType) and homes.get(name) == value.__name__:
            return
        super().__setattr__(name, value)


def attach(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the `__getattr__` and `__dir__` of a package.

    Args:
        package: the package's `__name__`.
        homes: public name -> the module that defines it under the same name, or "module:name" if the names differ.
    """
    module = sys.modules[package]
    known = {name: home.partition(":")[0] for name, home in homes.items()}
    module.__dict__["_lazy_homes"] = known
    if any(home == f"{package}.{name}" for name, home in known.items()):
        module.__class__ = _Package

    def __getattr__(name: str) -> Any:
        home = homes.get(name)
        if home is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}; it has {', '.join(sorted(homes))}")
        where, _, attribute = home.partition(":")
        value = getattr(import_module(where), attribute or name)
        module.__dict__[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*module.__dict__, *homes})

    return __getattr__, __dir__
