"""An environment that a file names (a run's config.toml, an agent's description): what may be looked up without asking.

A file from elsewhere is data. It may name an id that an installed package has registered with Gymnasium, with arguments
that are numbers, yes/no or plain words. Anything else imports or reaches what its author chose, and needs the user's word:
`module:Class` imports a module; a text with a dot, slash or colon may be a path or, to some environments, a class to load.
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
    """The maker of an environment that `source` (a file) names. The current directory is not searched.

    confirm: what the user can do to confirm it, for the message; trusted: that was done; folder: where the module was
    imported from when the user named it on this machine, searched first; given: arguments that the user typed.

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
                    f"{error}. The current directory is not searched for a name from {source}: give it, --env {env}"
                ) from error
        return resolve(env, **arguments)


def require_plain(arguments: dict[str, Any], *, source: str, confirm: str) -> None:
    """See that arguments from a file can reach nothing by name. Raises TrustError."""
    for name, value in arguments.items():
        if not is_plain(value):
            raise TrustError(
                f"{source}: env_args.{name}: expected numbers, true or false, or plain words (letters, digits, _ and -), "
                f"got {value!r:.120}, which may name code or a path. {confirm}"
            )


def is_plain(value: Any) -> bool:
    """Numbers, yes/no, plain words, and lists of these."""
    if isinstance(value, list | tuple):
        return len(value) <= 10_000 and all(map(is_plain, value))
    return isinstance(value, bool | int | float) or (isinstance(value, str) and WORD.fullmatch(value) is not None)


@contextmanager
def without_current_directory() -> Iterator[None]:
    """While it lasts, nothing is imported from the current directory: that may be the folder the file came in."""
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
