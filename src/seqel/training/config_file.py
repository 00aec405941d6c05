"""Reading and writing a run's configuration as TOML. Does not import torch."""

from __future__ import annotations

import tomllib
from pathlib import Path

from seqel.errors import ConfigError
from seqel.integrity import sealed_text
from seqel.settings import as_dict
from seqel.storage import atomic_write
from seqel.training.config import RunConfig, from_dict, preset, with_settings

__all__ = ["config_text", "load_config", "save_config"]


def load_config(path: str | Path) -> RunConfig:
    """Read a config from a TOML file.

    Raises:
        ConfigError: the file is missing, is not valid TOML, or names an unknown setting.
    """
    try:
        data = tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))  # ignores a byte-order mark
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file") from error
    except OSError as error:
        raise ConfigError(f"{str(path)!r:.200}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:  # TOML, UTF-8, or too many digits for Python
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    try:
        if "preset" in data:
            name = data.pop("preset")
            if not isinstance(name, str):
                raise ConfigError(f"preset: expected a name, got {name!r}")
            return with_settings(preset(name), data)
        return from_dict(data)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def save_config(config: RunConfig, path: Path) -> None:
    """Write a TOML file that `load_config` reads back to the same config. Raises StorageError."""
    atomic_write(path, config_text(config))


def config_text(config: RunConfig) -> str:
    """Return the config as TOML, with its checksum in the last line. Raises ConfigError if TOML cannot hold an argument."""
    import tomli_w

    try:
        return sealed_text(tomli_w.dumps(as_dict(config)))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"env_args: expected values that TOML can hold, but {error}") from error
