"""Which runs may import, open or send what their config.toml names: those started on this machine, or confirmed here.

For a run whose config names code, paths or wandb, `seqel train` leaves a note in the user's own state folder
($XDG_STATE_HOME/seqel, by default ~/.local/state/seqel): the run's folder, everything that its config names, and the folder
that its module was imported from. A run needs no confirmation if such a note matches its current config exactly. Nothing in
the run's own folder counts as proof, because whoever made the run could have written it. A foreign run that is unpacked over
an old one can only import or open exactly what the user asked for in that place before.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqel.environments.named import is_plain
from seqel.errors import StorageError, TrustError
from seqel.storage import atomic_write

if TYPE_CHECKING:
    from collections.abc import Collection

    from seqel.training.config import RunConfig

__all__ = ["Known", "known", "named_by", "remember", "require_inside"]

PATHS = (
    "init_from",
    "replay.directory",
    "offline.files",
    "offline.schema",
    "offline.action_features",
    "text.model",
    "network.model",
)


@dataclass(frozen=True, slots=True)
class Known:
    """Whether the user has confirmed what a run names, and the folder of its module."""

    trusted: bool
    folder: Path | None = None


def named_by(config: RunConfig) -> dict[str, Any]:
    """Return everything in a config that names code or a path, or has data sent, by the setting's dotted name."""
    sends = [name for name in config.trackers if name == "wandb"]
    found: dict[str, Any] = {"env": config.env, "env_args": config.env_args, "trackers": sends}
    for name in PATHS:
        value: Any = config
        for part in name.split("."):
            value = getattr(value, part)
        found[name] = value
    if config.network.model_checksum:  # then it is looked for where the user keeps models, not under this name
        found["network.model"] = ""
    return json.loads(json.dumps(found, default=str))  # type: ignore[no-any-return]


def remember(run: Path, config: RunConfig) -> None:
    """Note that the user asked for what this run names. If that cannot be written, `--trust` will be needed later."""
    named = named_by(config)
    if (
        ":" not in config.env
        and all(map(is_plain, config.env_args.values()))
        and not any(named[name] for name in (*PATHS, "trackers"))
    ):
        return  # nothing to confirm
    note = {"run": str(run.resolve()), "named": named, "folder": _folder_of(config.env)}
    with suppress(StorageError, OSError, RuntimeError):
        path = _note(run)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        atomic_write(path, json.dumps(note, indent=1) + "\n")


def known(run: Path, config: RunConfig, trust: bool = False) -> Known:
    """Return what is known about a run. With `trust`, the user confirms it now, and that is remembered."""
    note: dict[str, Any] = {}
    with suppress(OSError, ValueError, TypeError, RuntimeError):
        note = dict(json.loads(_note(run).read_text(encoding="utf-8")))
    same = note.get("run") == str(run.resolve()) and note.get("named") == named_by(config)
    if trust and not same:
        remember(run, config)
    folder = note.get("folder") if same else None
    return Known(trust or same, Path(folder) if isinstance(folder, str) else None)


def require_inside(config: RunConfig, root: Path, *, source: str, confirm: str, given: Collection[str] = ()) -> None:
    """Require every path in a config to be within `root`, except for settings that the user has `given`.

    Raises TrustError, which names the setting.
    """
    named = named_by(config)
    for name in PATHS:
        values = named[name] if isinstance(named[name], list) else [named[name]] if named[name] else []
        for value in values:
            if name in given or (name == "init_from" and value == "an agent in memory"):
                continue
            if not _within(value, root):
                raise TrustError(
                    f"{source} names {name} = {value!r}, which is outside its folder: it was not opened. {confirm}"
                )


def _within(path: str, root: Path) -> bool:
    try:
        top = os.path.realpath(root)
        return os.path.commonpath([os.path.realpath(path), top]) == top
    except ValueError:  # a NUL character, or another drive
        return False


def _note(run: Path) -> Path:
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    name = hashlib.sha256(os.fsencode(run.resolve())).hexdigest()[:32]
    return Path(base) / "seqel" / "runs" / f"{name}.json"


def _folder_of(env: str) -> str | None:
    """Return the folder in which to look for the module of `module:Class`."""
    module = env.rpartition(":")[0]
    if not module:
        return None
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        return None
    path = Path(file).resolve()
    depth = module.count(".") + (path.stem == "__init__")
    return str(path.parents[depth])
