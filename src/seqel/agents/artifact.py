"""An agent on disk: `weights.safetensors` and `config.json`. Nothing is pickled, so loading cannot run code.

`config.json` holds the CRC-32 of the weights and of its own content, so that damage is found before a value is used.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from seqel.errors import CheckpointError, ConfigError, StorageError
from seqel.networks.config import NetworkConfig
from seqel.networks.qnetwork import QNetwork
from seqel.spaces import ActionSpec, ObservationSpec
from seqel.storage import atomic_directory

__all__ = ["info", "load", "save"]

FORMAT = 1
WEIGHTS, CONFIG = "weights.safetensors", "config.json"
KEYS = {"format", "network", "observation", "action", "info"}
SUMS = "crc32"  # of both files; agents from before it was written have none


def save(directory: Path, network: QNetwork, info: dict[str, Any]) -> Path:
    """Write both files into `directory` (replaced as a whole), and return it.

    Raises:
        StorageError: it could not be written, or `info` is not JSON; what was there before is untouched.
    """
    config: dict[str, Any] = {
        "format": FORMAT,
        "network": asdict(network.config),
        "observation": network.observation_spec.to_json(),
        "action": asdict(network.action_spec),
        "info": info,
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    weights = save_tensors(tensors)
    try:
        config = json.loads(json.dumps(config))
    except (TypeError, ValueError) as error:
        raise StorageError(f"cannot write {directory}: expected an `info` of JSON's own kinds, but {error}") from error
    config[SUMS] = {WEIGHTS: zlib.crc32(weights), CONFIG: _sum(config)}
    with atomic_directory(directory, replace=True) as temporary:
        (temporary / WEIGHTS).write_bytes(weights)
        (temporary / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return directory


def load(directory: Path) -> tuple[QNetwork, dict[str, Any]]:
    """Read what `save` wrote; `directory` may also be a run's folder that has an `agent/`.

    Raises:
        CheckpointError: a file is missing, truncated, altered or of another version.
    """
    if not (directory / CONFIG).exists() and (directory / "agent" / CONFIG).exists():
        directory = directory / "agent"
    config = _read_config(directory)
    try:
        spec = ObservationSpec.from_json(config["observation"])
        action = ActionSpec(**{name: tuple(value) for name, value in config["action"].items()})
        network = QNetwork(NetworkConfig(**config["network"]), spec, action)
    except (LookupError, TypeError, AttributeError, ValueError, RuntimeError, ConfigError) as error:
        raise CheckpointError(f"{directory / CONFIG}: expected an agent's description, but {error}") from error
    path = directory / WEIGHTS
    try:
        weights = path.read_bytes()
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing: an agent needs {WEIGHTS} beside {CONFIG}") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror})") from error
    if SUMS in config and zlib.crc32(weights) != config[SUMS][WEIGHTS]:
        raise CheckpointError(f"{path} is truncated or altered: its checksum is not the one that {CONFIG} tells")
    try:
        network.load_state_dict(load_tensors(weights))
    except Exception as error:  # safetensors has no public error type of its own
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{path} is truncated, altered or of another network: {reason}") from error
    if not all(bool(torch.isfinite(p).all()) for p in network.parameters()):
        raise CheckpointError(f"{path} holds weights that are not finite")
    return network, config.get("info", {})


def info(directory: Path) -> dict[str, Any]:
    """What was written of it beside the weights, without reading them. Raises CheckpointError as `load` does."""
    found: dict[str, Any] = _read_config(directory).get("info", {})
    return found


def _read_config(directory: Path) -> dict[str, Any]:
    path = directory / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CheckpointError(f"no agent in {directory}: expected {CONFIG} and {WEIGHTS} there") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        came = config.get("format") if isinstance(config, dict) else type(config).__name__
        raise CheckpointError(
            f"{path}: expected format {FORMAT}, got {came!r}; it was made by another version of Seqel"
        )
    sums = config.get(SUMS, {WEIGHTS: 0, CONFIG: _sum(config)})
    if not KEYS <= set(config) <= KEYS | {SUMS} or not isinstance(sums, dict) or set(sums) != {WEIGHTS, CONFIG}:
        raise CheckpointError(f"{path} is altered: expected the keys {sorted(KEYS)} and {SUMS}, got {sorted(config)}")
    if sums[CONFIG] != _sum(config):
        raise CheckpointError(f"{path} is altered: its content does not match its own checksum")
    return config


def _sum(config: dict[str, Any]) -> int:
    """CRC-32 of a description, whatever its layout, without the checksums themselves."""
    content = {name: value for name, value in config.items() if name != SUMS}
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())
