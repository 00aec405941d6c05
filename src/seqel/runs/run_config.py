"""A run's config.toml: written as a whole with a checksum, and read only if unchanged."""

from __future__ import annotations

from pathlib import Path

from seqel.errors import CheckpointError
from seqel.integrity import require_own, too_large, unsealed_text
from seqel.training.config import RunConfig
from seqel.training.config_file import load_config

__all__ = ["AGENT", "CONFIG", "LAST_AGENT", "read_run_config", "run_of"]

CONFIG = "config.toml"
AGENT, LAST_AGENT = "agent", "agent-last"  # folders of agents: the best weights by validation, and the last ones
LIMIT = 1 << 24  # bytes


def run_of(folder: Path) -> Path:
    """Return the folder of the run that an agent's folder is in; another folder is returned as it is."""
    return folder.parent if folder.name in (AGENT, LAST_AGENT) else folder


def read_run_config(run: Path, trust: bool = False) -> RunConfig:
    """Read the config of a run's folder. `trust`: accept a wrong checksum, for instance after an edit by hand.

    Raises:
        CheckpointError: there is no run, or its config is empty or was altered. ConfigError: it names an unknown setting.
    """
    path = run / CONFIG
    try:
        require_own(path, run)
        too_large(path, LIMIT)
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise CheckpointError(f"{run} holds no run: expected {CONFIG} in it") from error
    except OSError as error:
        raise CheckpointError(f"{str(path)!r:.200} cannot be read ({error.strerror})") from error
    if not data.strip(b"\0 \r\n\t"):
        begun = any((run / name).exists() for name in ("checkpoints", "agent", "metrics.jsonl"))
        way = (
            f"Its agent can still be used: seqel evaluate {run} --env ENV. To continue training, put a copy of the file back"
            if begun
            else "Nothing was learned yet: remove the folder and train again"
        )
        raise CheckpointError(f"{path} is empty, as after a crash or a full disk. {way}")
    if not unsealed_text(data) and not trust:
        raise CheckpointError(
            f"{path} was changed since it was written: its checksum is missing or wrong. If you edited it, "
            f"seqel train --resume {run} --trust accepts it; if not, it is damaged: put a copy back"
        )
    return load_config(path)
