"""Loads pretrained models with the library `transformers`: always float32 on the CPU first, never with code from the model.

The dtype would otherwise follow the file (bfloat16 is many times slower on most CPUs). A GGUF file is dequantised once, into
the user's cache folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seqel.errors import ConfigError
from seqel.extras import require
from seqel.pretrained.gguf import dequantised

__all__ = ["ModelDescription", "describe", "load_model", "load_skeleton", "load_tables", "load_tokenizer"]


def load_tokenizer(path: Path) -> Any:
    """Return the fast tokenizer of a model. Raises ConfigError if it has none."""
    with _quiet() as transformers:
        found = _from(transformers.AutoTokenizer, path, use_fast=True)
    if not found.is_fast:
        raise ConfigError(f"text.model: expected a model with a fast tokenizer (tokenizer.json), got {str(path)!r}")
    return found


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """The shape of a Transformer."""

    width: int  # of its states
    layers: int
    heads: int
    key_heads: int  # fewer than heads if several of these share a key
    key_width: int
    positions: int | None  # the most that it has an embedding for; None: positions are relative, or not known
    vocabulary: int


def describe(path: Path) -> ModelDescription:
    """Read a model's shape. Raises ConfigError if its config does not state it."""
    with _quiet() as transformers:
        config = _from(transformers.AutoConfig, path)
    names = {"width": "hidden_size", "layers": "num_hidden_layers", "heads": "num_attention_heads"}
    found = {short: getattr(config, name, None) for short, name in names.items()}
    if not all(isinstance(value, int) for value in found.values()):
        raise ConfigError(f"text.model: {str(path)!r} does not state {', '.join(names.values())} in its config")
    heads, width = found["heads"], found["width"]
    assert heads is not None and width is not None and found["layers"] is not None
    key_heads = getattr(config, "num_key_value_heads", None) or heads
    rotary = any(getattr(config, name, None) for name in ("rope_theta", "rope_parameters", "rope_scaling"))
    return ModelDescription(
        width, found["layers"], heads, key_heads, getattr(config, "head_dim", None) or width // heads,
        None if rotary else getattr(config, "max_position_embeddings", None), config.vocab_size,
    )  # fmt: skip


def load_model(path: Path, attention: str = "sdpa") -> nn.Module:
    """Return the model without a head, in evaluation mode, its weights frozen.

    attention: "sdpa", or "eager", which can return attention weights.
    """
    with _quiet() as transformers:
        found = _from(transformers.AutoModel, path, dtype=torch.float32, attn_implementation=attention)
    model: nn.Module = found.eval().requires_grad_(False)
    return model


def load_skeleton(path: Path) -> nn.Module:
    """Return the model without memory for its weights, to learn names and shapes."""
    with _quiet() as transformers, torch.device("meta"):
        model: nn.Module = transformers.AutoModel.from_config(_from(transformers.AutoConfig, path))
    return model


def load_tables(path: Path) -> tuple[Tensor, Tensor]:
    """Return a causal language model's embeddings and unembeddings, (vocabulary, width) each; one tensor if they are tied.

    Raises:
        ConfigError: the model has no language-model head.
    """
    with _quiet() as transformers:
        model = _from(transformers.AutoModelForCausalLM, path, dtype=torch.float32)
    head = model.get_output_embeddings()
    if head is None or getattr(head, "bias", None) is not None:
        raise ConfigError(f"{str(path)!r}: expected a causal language model whose head is one matrix")
    inputs: Tensor = model.get_input_embeddings().weight.detach().clone()
    return inputs, inputs if torch.equal(inputs, head.weight) else head.weight.detach().clone()


def _from(kind: Any, path: Path, **settings: Any) -> Any:
    """Call `from_pretrained` on a folder or GGUF file, offline, without code or pickles from it.

    Raises:
        ConfigError: the library cannot read it.
    """
    settings |= {"local_files_only": True, "trust_remote_code": False}
    if "dtype" in settings:
        settings["use_safetensors"] = True
    try:
        with torch.device("cpu"):  # the caller may be building networks without memory
            return kind.from_pretrained(dequantised(path) if path.suffix == ".gguf" else path, **settings)
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
