"""Models in GGUF files, as folders: `transformers` takes long to dequantise one, and cannot save the result as it is.

The copy is in the user's cache folder ($XDG_CACHE_HOME/seqel, by default ~/.cache/seqel), in float32.
"""

from __future__ import annotations

import copy
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from seqel.extras import require
from seqel.storage import atomic_directory

__all__ = ["dequantised"]


def dequantised(path: Path) -> Path:
    """Return the folder of a GGUF file's model; the first call for a file makes it.

    Raises:
        MissingExtraError: the library `gguf` is not installed. StorageError: the cache folder cannot be written. Also what
            `transformers` raises for a file that it cannot read.
    """
    facts = path.stat()
    key = sha256(f"{path.resolve()} {facts.st_size} {facts.st_mtime_ns}".encode()).hexdigest()[:24]
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seqel" / "models"
    folder = base / f"{path.stem}-{key}"
    if folder.exists():
        return folder
    require("gguf", "text", "a model in a GGUF file")
    transformers = require("transformers")
    given: dict[str, Any] = {"gguf_file": path.name, "local_files_only": True, "trust_remote_code": False}
    model = transformers.AutoModelForCausalLM.from_pretrained(path.parent, dtype=torch.float32, **given)
    tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, **given)
    config = copy.deepcopy(model.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    plain = transformers.AutoModelForCausalLM.from_config(config)
    plain.load_state_dict(model.state_dict())
    base.mkdir(parents=True, exist_ok=True)
    with atomic_directory(folder, replace=True) as temporary:
        plain.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
    return folder
