"""Finds environments by name and returns functions that make them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym

from seqel.errors import EnvironmentFault

__all__ = ["EnvMaker", "environment_name", "import_named", "known_id", "registered", "resolve"]

EnvMaker = Callable[[], "gym.Env[Any, Any]"]

# packages that register their environments when imported, by the prefix of their ids
REGISTRARS = {
    "MiniGrid": "minigrid",
    "BabyAI": "minigrid",
    "ALE/": "ale_py",
    "popgym": "popgym",
    "MinAtar": "minatar",
    "highway": "highway_env",
    "seqel/": "seqel.tasks.registry",
}


def resolve(env: str | EnvMaker, **kwargs: Any) -> EnvMaker:
    """Return a function that makes the environment.

    env: an id ("CartPole-v1"), "module:Id-v0", "module:ClassName", a class, or a function without arguments.

    Raises:
        EnvironmentFault: nothing with that name was found; the message says what was tried and suggests similar names.
    """
    if callable(env):
        return partial(env, **kwargs) if kwargs else env
    if not isinstance(env, str):
        raise EnvironmentFault(f"expected an environment id or a function that makes one, got {type(env).__name__}")
    module_name, _, name = env.rpartition(":")
    if module_name:
        # `seqel train my_env:MyEnv` from the folder that holds my_env.py
        return import_named(module_name, name, kwargs, Path.cwd())
    if not known_id(name):
        raise EnvironmentFault(f"no environment {env!r} is registered{_near(name)}")
    return partial(_make, name, kwargs)


def import_named(module_name: str, name: str, kwargs: dict[str, Any], folder: Path | None = None) -> EnvMaker:
    """Find the class `name` in a module, or the id that importing it registers; `folder`, if given, is searched first.

    Nothing is called unless it is known to be an environment.

    Raises:
        EnvironmentFault: there is no such module, or the name is neither a subclass of `gymnasium.Env` nor an id.
    """
    module = _import(module_name, folder)
    found = getattr(module, name, None)
    if isinstance(found, type) and issubclass(found, gym.Env):
        return partial(found, **kwargs)
    if name in gym.registry:
        return partial(_make, name, kwargs)
    if found is None:
        raise EnvironmentFault(f"module {module_name!r} has no class {name!r} and registers no id with that name")
    raise EnvironmentFault(
        f"{module_name}:{name}: expected a subclass of gymnasium.Env, got {type(found).__name__}; it was not called. "
        "A function that makes an environment can be passed in Python: seqel.train(make_env)"
    )


def known_id(name: str) -> bool:
    """Return whether Gymnasium has an environment with that id, after importing the installed package it belongs to."""
    for prefix, package in REGISTRARS.items():
        if name.startswith(prefix) and name not in gym.registry:
            _register(package)
    return name in gym.registry


def environment_name(env: str | EnvMaker) -> str:
    """Return the name for a run's config: the id, or the function's qualified name (which cannot be looked up again)."""
    return env if isinstance(env, str) else getattr(env, "__qualname__", type(env).__name__)


def registered(make: EnvMaker) -> tuple[str, dict[str, Any]]:
    """Return the id and the arguments of a maker from `resolve`; the id is empty if a function makes the environment."""
    if isinstance(make, partial) and make.func is _make:
        return make.args[0], make.args[1]
    return "", {}


def _make(name: str, kwargs: dict[str, Any]) -> gym.Env[Any, Any]:
    if any(
        name.startswith(prefix) for prefix in REGISTRARS
    ):  # for an environment of a library, Gymnasium's checker prints warnings
        kwargs = {"disable_env_checker": True} | kwargs  # (twice per run, in colour) that the user cannot fix
    return gym.make(name, **kwargs)


def _import(module: str, folder: Path | None) -> Any:
    if folder is not None and str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        where = "here or installed" if folder is not None else "installed"
        hint = f"; did you mean {module[:-3]!r}?" if module.endswith(".py") else ""
        raise EnvironmentFault(f"no module {module!r} {where} ({error}){hint}") from error
    except Exception as error:
        raise EnvironmentFault(f"importing {module!r} failed: {type(error).__name__}: {error}") from error


def _register(package: str) -> None:
    with suppress(ImportError):
        module = importlib.import_module(package)
        if package == "ale_py":
            gym.register_envs(module)
        elif package == "minatar":
            importlib.import_module("minatar.gym").register_envs()
        elif package == "seqel.tasks.registry":
            module.register()


def _near(name: str) -> str:
    import difflib

    close = difflib.get_close_matches(name, list(gym.registry), n=3)
    package = next((p for prefix, p in REGISTRARS.items() if name.startswith(prefix)), None)
    hint = f"; did you mean {', '.join(close)}?" if close else ""
    if package and not package.startswith("seqel"):
        try:
            importlib.import_module(package)
        except ImportError:
            hint += f" It belongs to the package {package!r}: pip install {package.replace('_', '-')}"
    return hint or "; give an id, 'module:Id-v0' or 'module:ClassName'"
