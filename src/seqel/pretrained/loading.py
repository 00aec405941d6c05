"""Loads pretrained models with the library `transformers`: always float32 on the CPU first, never with code from the model.

The dtype would otherwise follow the file (bfloat16 is many times slower on most CPUs). A GGUF file is dequantised.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from seqel.errors import ConfigError
from seqel.extras import require

__all__ = ["load_description", "load_model", "load_skeleton", "load_tokenizer"]

Part = str  # "encoder": the model without a head; "causal": with its language-model head


def load_tokenizer(path: Path) -> Any:
    """Return the fast tokenizer of a model. Raises ConfigError if it has none."""
    with _quiet() as transformers:
        found = _from(transformers.AutoTokenizer, path, use_fast=True)
    if not found.is_fast:
        raise ConfigError(f"text.model: expected a model with a fast tokenizer (tokenizer.json), got {str(path)!r}")
    return found


def load_description(path: Path) -> Any:
    """Return the model's config."""
    with _quiet() as transformers:
        return _from(transformers.AutoConfig, path)


def load_model(path: Path, part: Part, attention: str = "sdpa") -> nn.Module:
    """Return the model in evaluation mode, its weights frozen. attention: "sdpa", or "eager" for attention weights."""
    with _quiet() as transformers:
        found = _from(_kind(transformers, part), path, dtype=torch.float32, attn_implementation=attention)
    model: nn.Module = found.eval().requires_grad_(False)
    return model


def load_skeleton(path: Path, part: Part) -> nn.Module:
    """Return the model without memory for its weights, to learn names and shapes."""
    with _quiet() as transformers, torch.device("meta"):
        model: nn.Module = _kind(transformers, part).from_config(load_description(path))
    return model


def _kind(transformers: Any, part: Part) -> Any:
    return transformers.AutoModel if part == "encoder" else transformers.AutoModelForCausalLM


def _from(kind: Any, path: Path, **settings: Any) -> Any:
    """Call `from_pretrained` on a folder or GGUF file, offline, without code or pickles from it.

    Raises:
        ConfigError: the library cannot read it.
    """
    settings |= {"local_files_only": True, "trust_remote_code": False}
    folder = path
    if path.suffix == ".gguf":
        require("gguf", "text", "a model in a GGUF file")
        folder, settings["gguf_file"] = path.parent, path.name
    elif "dtype" in settings:
        settings["use_safetensors"] = True
    try:
        with torch.device("cpu"):  # the caller may be building networks without memory
            return kind.from_pretrained(folder, **settings)
    except (OSError, ValueError, LookupError, TypeError, RuntimeError, ImportError, AttributeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(f"text.model: {str(path)!r} cannot be loaded by transformers: {reason}") from error


@contextmanager
def _quiet() -> Iterator[Any]:
    """Import transformers and load without its progress bars, which would break ours."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # threads of its own would fight with torch's
    transformers = require("transformers")
    logging = transformers.utils.logging
    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield transformers
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()
