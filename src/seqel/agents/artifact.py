"""An agent on disk: `weights.safetensors` and `config.json`. Nothing is pickled, so loading cannot run code.

`config.json` holds the CRC-32 of the weights and of its own content, so that damage is found before any value is used.
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

from seqel.agents.description import check_info, check_leaves, require_same_weights
from seqel.agents.info import AgentInfo
from seqel.errors import CheckpointError, ConfigError, SeqelError, StorageError
from seqel.integrity import require_own, too_large
from seqel.networks.config import NetworkConfig
from seqel.networks.qnetwork import QNetwork
from seqel.settings import under_present_names
from seqel.spaces import ActionSpec, ObservationSpec
from seqel.storage import atomic_directory
from seqel.texts.embeddings import Embed
from seqel.texts.make import ReaderUnavailable, require_reader

__all__ = ["info", "load", "save", "weights_checksum"]

FORMAT = 1
WEIGHTS, CONFIG = "weights.safetensors", "config.json"
SUMS = "crc32"  # of both files
KEYS = {"format", "network", "observation", "action", "info", SUMS}
TEXT = "text"  # how texts are read, if not as hashed trigrams
CONFIG_LIMIT = 1 << 28  # bytes; vocabularies are the largest part of a description


def save(directory: Path, network: QNetwork, info: AgentInfo) -> Path:
    """Write both files into `directory` (replaced as a whole), and return it.

    Raises:
        StorageError: it could not be written, or `info` cannot be JSON; an existing agent is untouched.
    """
    config: dict[str, Any] = {
        "format": FORMAT,
        "network": asdict(network.config),
        "observation": network.observation_spec.to_json(),
        "action": asdict(network.action_spec),
        "info": info,
    }
    reader = network.observation_spec.text_reader
    if reader is not None:
        config[TEXT] = reader.to_json()
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    weights = save_tensors(tensors)
    try:
        config = json.loads(json.dumps(config))
    except (TypeError, ValueError) as error:
        raise StorageError(f"cannot write {directory}: expected `info` that JSON can hold, but {error}") from error
    config[SUMS] = {WEIGHTS: zlib.crc32(weights), CONFIG: _sum(config)}
    with atomic_directory(directory, replace=True) as temporary:
        (temporary / WEIGHTS).write_bytes(weights)
        (temporary / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return directory


def load(directory: Path, embed: Embed | None = None) -> tuple[QNetwork, AgentInfo]:
    """Read what `save` wrote; `directory` may also be a run's folder that contains `agent/`.

    embed: the function that encodes texts, for an agent that was trained with one.

    Raises:
        ConfigError: the pretrained model that the agent needs is not known on this machine, or the function is missing.
        CheckpointError: a file is missing, truncated, altered, or of another version.
    """
    directory, root = _agent_of(directory)
    config = _read_config(directory, root)
    path = directory / WEIGHTS
    require_own(path, root)
    try:
        weights = path.read_bytes()
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing: an agent needs both {WEIGHTS} and {CONFIG}") from error
    except (OSError, MemoryError) as error:
        raise CheckpointError(f"{path} cannot be read ({getattr(error, 'strerror', 'out of memory')})") from error
    if zlib.crc32(weights) != config[SUMS][WEIGHTS]:
        raise CheckpointError(f"{path} is truncated or altered: its checksum differs from the one in {CONFIG}")
    try:
        spec = ObservationSpec.from_json(config["observation"])
        check_leaves(spec)
        require_reader(spec, config.get(TEXT), embed)
        action = ActionSpec(**{name: tuple(value) for name, value in config["action"].items()})
        described = NetworkConfig(**under_present_names(NetworkConfig, config["network"]))
        require_same_weights(described, spec, action, weights)
        network = QNetwork(described, spec, action)
    except ReaderUnavailable as error:
        raise ConfigError(f"{directory}: {error}") from error.__cause__
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RuntimeError, SeqelError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{directory / CONFIG}: expected an agent's description, but {reason}") from error
    try:
        network.load_state_dict(load_tensors(weights))
    except Exception as error:  # safetensors has no public error type
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{path} is truncated, altered or of another network: {reason}") from error
    if not all(bool(torch.isfinite(p).all()) for p in network.parameters()):
        raise CheckpointError(f"{path} holds weights that are not finite")
    return network, config["info"]


def info(directory: Path) -> AgentInfo:
    """Return the agent's `info` without reading the weights; folders and errors as for `load`."""
    found: AgentInfo = _read_config(*_agent_of(directory))["info"]
    return found


def weights_checksum(network: QNetwork) -> str:
    """Return the CRC-32 of a network's weights, as eight hexadecimal digits."""
    crc = 0
    for _, tensor in sorted(network.state_dict().items()):
        crc = zlib.crc32(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes(), crc)
    return f"{crc:08x}"


def _agent_of(directory: Path) -> tuple[Path, Path]:
    """Return the folder of the agent's files, and the folder that they must not leave."""
    try:
        if not (directory / CONFIG).exists() and (directory / "agent" / CONFIG).exists():
            return directory / "agent", directory
    except OSError as error:
        raise CheckpointError(f"no agent in {str(directory)!r:.120} ({error.strerror})") from error
    return directory, directory


def _read_config(directory: Path, root: Path) -> dict[str, Any]:
    path = directory / CONFIG
    require_own(path, root)
    too_large(path, CONFIG_LIMIT)
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CheckpointError(f"no agent in {directory}: expected the files {CONFIG} and {WEIGHTS}") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        got = config.get("format") if isinstance(config, dict) else type(config).__name__
        raise CheckpointError(
            f"{path}: expected format {FORMAT}, got {got!r}; it was saved by another version of Seqel"
        )
    sums = config.get(SUMS)
    if set(config) - {TEXT} != KEYS or not isinstance(sums, dict) or set(sums) != {WEIGHTS, CONFIG}:
        raise CheckpointError(
            f"{path} is damaged: expected the keys {sorted(KEYS)} with the checksums of both files, got {sorted(config)}"
        )
    if sums[CONFIG] != _sum(config):
        raise CheckpointError(f"{path} was altered: its content does not match its checksum")
    check_info(config["info"], path)
    return config


def _sum(config: dict[str, Any]) -> int:
    """Return the CRC-32 of a description, whatever its layout, without the checksums themselves."""
    content = {name: value for name, value in config.items() if name != SUMS}
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())
