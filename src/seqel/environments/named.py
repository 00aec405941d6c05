"""Environments named in a file (a run's config.toml, an agent's description), and which names need the user's confirmation.

A file from elsewhere is data. It may name an id that an installed package has registered with Gymnasium, with arguments
that are numbers, booleans or plain words. Anything else could run code that the author of the file chose, and must be
confirmed: `module:Class` imports a module; a text with a dot, slash or colon may be a path or, in some environments, a class
to load.
"""

from __future__ import annotations

import re
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqel.environments.resolve import import_named, resolve
from seqel.errors import EnvironmentFault, TrustError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from seqel.environments.resolve import EnvMaker

__all__ = ["is_plain", "require_plain", "resolve_named"]

WORD = re.compile(r"[A-Za-z0-9_ -]{0,64}")


def resolve_named(
    env: str,
    arguments: dict[str, Any],
    *,
    source: str,
    confirm: str,
    trusted: bool = False,
    folder: Path | None = None,
    given: Collection[str] = (),
) -> EnvMaker:
    """Return a function that makes the environment that `source` (a file) names. The current directory is not searched.

    confirm: how the user can confirm the name, for the message. trusted: whether the user has confirmed it. folder: the
    folder from which the user imported the module on this machine, searched first. given: arguments that the user typed.

    Raises:
        TrustError: the name imports code, or an argument is not plain, and it is not trusted; nothing was imported.
        EnvironmentFault: there is no such environment.
    """
    module, _, name = env.rpartition(":")
    if not trusted:
        if module:
            raise TrustError(
                f"{source} names the environment {env!r}, which would import code that the file chose; nothing was "
                f"imported. {confirm}"
            )
        foreign = {key: value for key, value in arguments.items() if key not in given}
        require_plain(foreign, source=source, confirm=confirm)
    with without_current_directory():
        if module:
            try:
                return import_named(module, name, arguments, folder)
            except EnvironmentFault as error:
                raise EnvironmentFault(
                    f"{error}. The current directory is not searched for a name from {source}: pass --env {env}"
                ) from error
        return resolve(env, **arguments)


def require_plain(arguments: dict[str, Any], *, source: str, confirm: str) -> None:
    """Raise TrustError if an argument from a file could name code or a path."""
    for name, value in arguments.items():
        if not is_plain(value):
            raise TrustError(
                f"{source}: env_args.{name}: expected numbers, true or false, or plain words (letters, digits, _ and -), "
                f"got {value!r:.120}, which may name code or a path. {confirm}"
            )


def is_plain(value: Any) -> bool:
    """Return whether the value is a number, a boolean, a plain word, or a list of these."""
    if isinstance(value, list | tuple):
        return len(value) <= 10_000 and all(map(is_plain, value))
    return isinstance(value, bool | int | float) or (isinstance(value, str) and WORD.fullmatch(value) is not None)


@contextmanager
def without_current_directory() -> Iterator[None]:
    """Import nothing from the current directory inside this context: it may be the folder that the file is from."""
    here = Path.cwd()
    before = list(sys.path)
    sys.path[:] = [entry for entry in before if entry and not _same(entry, here)]
    left = list(sys.path)
    try:
        yield
    finally:
        added = [entry for entry in sys.path if entry not in left]  # the folder of a trusted run
        sys.path[:] = added + before


def _same(entry: str, folder: Path) -> bool:
    try:
        return Path(entry).resolve() == folder.resolve()
    except OSError:
        return False
