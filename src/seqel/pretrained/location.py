"""Where a pretrained model lies: the folder or hub id that a user names, or the checksum that an agent names.

An agent stores its base model's name and checksum, not the model. A file from elsewhere must not make Seqel open any path,
so an agent's model is looked for only where the user has said: in what training on this machine used (noted in the user's
own state folder), in the folders of the environment variable SEQEL_MODELS, and in the local cache of the Hugging Face hub.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from seqel.errors import ConfigError, StorageError
from seqel.extras import require
from seqel.storage import atomic_write

__all__ = ["BaseModel", "find", "locate", "remember", "use"]

HUB_ID = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")
FILES = ("*.json", "*.safetensors", "*.txt", "*.model")  # what is fetched of a hub's repository: no code, no pickles
VOCABULARY = ("tokenizer.json", "tokenizer_config.json", "vocab.*", "merges.txt", "*.model")
VARIABLE = "SEQEL_MODELS"


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A pretrained model, as an agent names it."""

    name: str  # as the user wrote it, without the folders above it
    checksum: str  # SHA-256 of its description, vocabulary and weights

    @classmethod
    def of(cls, path: Path, name: str) -> BaseModel:
        """Name the model that lies at `path`."""
        return cls(name if HUB_ID.fullmatch(name) else path.name, _checksum(path))

    def to_json(self) -> dict[str, str]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> BaseModel:
        """Read what `to_json` returned. Raises ValueError if it is something else."""
        if not isinstance(data, dict) or set(data) != {"name", "checksum"}:
            raise ValueError(f"expected the name and checksum of a pretrained model, got {data!r:.80}")
        if not all(isinstance(value, str) for value in data.values()) or not re.fullmatch(
            r"[0-9a-f]{64}", data["checksum"]
        ):
            raise ValueError(f"expected the name and checksum of a pretrained model, got {data!r:.200}")
        return cls(data["name"], data["checksum"])


def locate(model: str) -> Path:
    """Return the folder (or GGUF file) of a model that the user names: a path, or an id of the Hugging Face hub.

    An id is downloaded if it is not in the local cache yet; only descriptions, vocabularies and safetensors are.

    Raises:
        ConfigError: it is not there, or its weights are not safetensors or GGUF.
        MissingExtraError: the extra `text` is not installed.
    """
    path = Path(model).expanduser()
    if path.exists():
        _weights(path)
        return path.absolute()
    if not HUB_ID.fullmatch(model) or model.startswith("."):
        raise ConfigError(f"text.model: expected a folder, a GGUF file or a hub id (owner/name), got {model!r}")
    hub = require("huggingface_hub")
    try:
        found = Path(hub.snapshot_download(model, allow_patterns=list(FILES)))
    except Exception as error:  # the hub's errors, and those of the network below it
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(
            f"text.model: {model!r} is neither a path on this machine nor available from the hub ({reason})"
        ) from error
    _weights(found)
    return found


def use(name: str) -> tuple[BaseModel, Path]:
    """Locate a model that the user names, and note where it lies for the agents that are built on it. Raises as `locate`."""
    path = locate(name)
    model = BaseModel.of(path, name)
    remember(model, path)
    return model, path


def find(model: BaseModel) -> Path:
    """Return where the model of an agent lies on this machine.

    Raises:
        ConfigError: it is not known; the message says how to make it known.
    """
    for path in _candidates(model):
        with suppress(OSError, ConfigError):
            if path.exists() and _checksum(path) == model.checksum:
                return path
    raise ConfigError(
        f"the pretrained model {model.name!r} (SHA-256 {model.checksum[:16]}...) is not known on this machine. Set the "
        f"environment variable {VARIABLE} to its folder (or to the folder that holds it)"
    )


def remember(model: BaseModel, path: Path) -> None:
    """Note in the user's own state folder where a model lies. If that cannot be written, SEQEL_MODELS will be needed."""
    with suppress(StorageError, OSError, RuntimeError):
        note = _note(model)
        note.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        atomic_write(note, json.dumps({"path": str(path)}) + "\n")


def _candidates(model: BaseModel) -> Iterator[Path]:
    with suppress(OSError, ValueError, KeyError, TypeError, RuntimeError):
        yield Path(json.loads(_note(model).read_text(encoding="utf-8"))["path"])
    for entry in filter(None, os.environ.get(VARIABLE, "").split(os.pathsep)):
        folder = Path(entry).expanduser()
        yield folder
        with suppress(OSError):
            yield from (one for one in sorted(folder.iterdir()) if one.is_dir() or one.suffix == ".gguf")
    if HUB_ID.fullmatch(model.name):
        with suppress(Exception):  # not in the cache, or the library is not installed
            yield Path(require("huggingface_hub").snapshot_download(model.name, local_files_only=True))


def _weights(path: Path) -> list[Path]:
    """Return the files that hold the weights. Raises ConfigError if there are none that can be read safely."""
    if path.is_file():
        if path.suffix != ".gguf":
            raise ConfigError(f"text.model: expected a folder or a .gguf file, got {str(path)!r}")
        return [path]
    found = sorted(path.glob("*.safetensors"))
    if not (path / "config.json").is_file() or not found:
        pickled = " (weights in pickle format can run code: convert them first)" if any(path.glob("*.bin")) else ""
        raise ConfigError(
            f"text.model: expected a folder with config.json and *.safetensors, or a .gguf file, got {str(path)!r}{pickled}"
        )
    return [path / "config.json", *found]


def _vocabulary(path: Path) -> list[Path]:
    """Return the files from which a folder's tokenizer is made: they decide what the model is given."""
    return sorted({file for pattern in VOCABULARY for file in path.glob(pattern)}) if path.is_dir() else []


def _checksum(path: Path) -> str:
    files = [*_vocabulary(path), *_weights(path)]
    return _digest(tuple((file, file.stat().st_size, file.stat().st_mtime_ns) for file in files))


@lru_cache(maxsize=16)
def _digest(files: tuple[tuple[Path, int, int], ...]) -> str:
    """Hash files, once per process unless their size or their time of change differs: a model's can be gigabytes."""
    digest = sha256()
    for file, _, _ in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


def _note(model: BaseModel) -> Path:
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "seqel" / "models" / f"{model.checksum}.json"
