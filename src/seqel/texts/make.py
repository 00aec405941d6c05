"""Makes text readers: from the settings of a run, or from what an agent has stored."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from seqel.errors import ConfigError
from seqel.pretrained.location import BaseModel, find, use
from seqel.spaces import ObservationSpec
from seqel.spaces.text_readers import HASHED, TextReader, is_registered, register
from seqel.texts.class_cache import fit_classes_once
from seqel.texts.classes import ClassReader, LabelledTexts, fit_classes
from seqel.texts.config import TextConfig
from seqel.texts.embeddings import Embed, EmbeddingReader, fingerprint
from seqel.texts.tokens import TokenReader, learn_vocabulary

__all__ = ["ReaderUnavailable", "make_class_reader", "make_reader", "reader_from_json", "require_reader"]


def make_reader(config: TextConfig, texts: Iterable[str] = (), embed: Embed | None = None) -> TextReader | None:
    """Make the reader that the settings of a run ask for; None: the spec's own (hashed trigrams).

    With `classes` it is what they are read from: `fit_classes` needs labelled texts as well.

    texts: what a vocabulary is learned from, for `encoder` = "tokens". embed: the function, for `encoder` = "callable".

    Raises:
        ConfigError: the pretrained model is not there, the function is missing or does not return vectors.
        MissingExtraError: the extra `text` is not installed.
    """
    if (embed is not None) != (config.encoder == "callable"):
        raise ConfigError(
            "text.encoder = 'callable' and a function from texts to vectors (text_encoder=...) need each other; got "
            f"{config.encoder!r} and {'no function' if embed is None else 'a function'}"
        )
    if config.encoder == "hashed":
        return None
    if config.encoder == "tokens":
        return TokenReader(learn_vocabulary(texts, config.vocabulary), config.tokens)
    if embed is not None:
        return _of_function(embed, None)
    model, path = use(config.model)
    return _pretrained(model, path, (config.tuning, config.rank, config.prefix), config.tokens)


def make_class_reader(config: TextConfig, labelled: LabelledTexts, embed: Embed | None = None) -> ClassReader:
    """Make a reader of the classes of labelled texts, on the frozen encoder that the settings ask for.

    Raises ConfigError or MissingExtraError as `make_reader`, and ConfigError as `fit_classes`.
    """
    base = make_reader(config, embed=embed)
    if base is None:
        raise ConfigError(f"text.classes needs a frozen encoder, got text.encoder = {config.encoder!r}")
    # the name of a function of one's own need not change with what it does
    return fit_classes_once(base, labelled) if config.encoder == "pretrained" else fit_classes(base, labelled)


def reader_from_json(data: Any, embed: Embed | None = None) -> TextReader:
    """Make the reader that an agent has stored.

    Raises:
        ConfigError: its model is not known on this machine, or its function was not passed or is another one.
        ValueError, TypeError, LookupError: `data` is not what a reader stores.
    """
    if not isinstance(data, Mapping):
        raise TypeError(f"expected the description of a text reader, got {data!r:.80}")
    encoder = data["encoder"]
    if encoder == "classes":
        if not isinstance(data["base"], Mapping) or data["base"]["encoder"] == "classes":
            raise ValueError("expected the description of an encoder below the classes")
        return ClassReader.from_json(reader_from_json(data["base"], embed), data)
    if encoder == "tokens":
        return TokenReader(str(data["vocabulary"]), _count(data["length"]))
    if encoder == "callable":
        if embed is None:
            raise ConfigError(
                "its texts were encoded by a function that is not part of the agent: pass the same function, "
                "Agent.load(..., text_encoder=function)"
            )
        return _of_function(embed, data)
    if encoder != "pretrained" or data["tuning"] not in ("frozen", "lora", "prefix", "full"):
        raise ValueError(f"expected a known text encoder, got {data!r:.200}")
    model = BaseModel.from_json(data["model"])
    tuning = (str(data["tuning"]), _count(data["rank"]), _count(data["prefix"]))
    return _pretrained(model, find(model), tuning, _count(data["length"]))


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 1 << 20:
        raise ValueError(f"expected a number from 1 to {1 << 20:,}, got {value!r:.80}")
    return value


def _pretrained(model: BaseModel, path: Path, tuning: tuple[str, int, int], length: int) -> TextReader:
    from seqel.pretrained.adapted import Tuning  # these import torch, which the other readers do not need
    from seqel.texts.pretrained import pretrained_reader

    return pretrained_reader(model, path, Tuning(*tuning), length)


def require_reader(spec: ObservationSpec, described: Any, embed: Embed | None = None) -> None:
    """Make the reader of the texts in a saved spec known to this process, unless it is.

    described: what the reader has stored. Raises ReaderUnavailable if this machine or the caller lacks something; ValueError,
    TypeError or LookupError if `described` is not the reader of the spec's leaves.
    """
    names = {leaf.reader for leaf in spec.texts} - {HASHED}
    if not names or all(map(is_registered, names)):
        return
    try:
        reader = reader_from_json(described, embed)
    except ConfigError as error:
        raise ReaderUnavailable(str(error)) from error
    if names != {reader.name} or any(leaf != reader.leaf(leaf.path, leaf.keys) for leaf in spec.texts):
        raise ValueError(f"texts are read by {sorted(names)}, but {reader.name!r} is described")
    register(reader)


class ReaderUnavailable(Exception):
    """A reader is described correctly, but this machine lacks its model, or the caller did not pass its function."""


def _of_function(embed: Embed, stored: Mapping[str, Any] | None) -> TextReader:
    width, numbers = fingerprint(embed)
    described = {"encoder": "callable", "width": width, "fingerprint": numbers}
    if stored is not None:
        same = stored["width"] == width and np.allclose(stored["fingerprint"], numbers, atol=1e-3)
        if not same:
            raise ConfigError(
                f"text_encoder: expected the function that the agent was trained with ({stored['width']} numbers per text), "
                f"got one with {width} numbers, or with other values"
            )
        described = dict(stored)
    digest = sha256(json.dumps(described["fingerprint"]).encode()).hexdigest()
    name = f"callable-{width}-{digest[:16]}"
    return EmbeddingReader(name, f"text, as {width} numbers of a function", embed, width, described)
