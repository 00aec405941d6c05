"""Reads training texts from files: texts, or pairs of a prompt and a text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from seqel.datasets.json_lines import json_lines
from seqel.errors import DataError
from seqel.language.episodes import Sample

__all__ = ["Text", "read_pairs", "read_texts", "split_prompts"]

Text = str | tuple[str, str]  # a text; or a prompt, and what to write after it


def read_texts(files: Sequence[str | Path]) -> list[str]:
    """Read texts from files: each paragraph, up to an empty line, is one. Raises DataError if a file is not UTF-8 text."""
    found: list[str] = []
    for file in files:
        try:
            content = Path(file).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{file}: expected a text file in UTF-8, but {error}") from error
        found += [part.strip("\n") for part in content.replace("\r\n", "\n").split("\n\n")]
    found = [text for text in found if text.strip()]
    if not found:
        raise DataError("expected at least one paragraph of text, got none")
    return found


def read_pairs(files: Sequence[str | Path]) -> list[tuple[str, str]]:
    """Read pairs of a prompt and a text from JSON lines: {"prompt": "...", "text": "..."}.

    Raises DataError, which names the line, if one is something else.
    """
    found: list[tuple[str, str]] = []
    form = '{"prompt": "...", "text": "..."}'
    for where, line, pair in json_lines(files, form):
        try:
            found.append((pair["prompt"], pair["text"]))
        except (KeyError, TypeError) as error:
            raise DataError(f"{where}: expected {form}, got {line!r:.80}") from error
        if not all(isinstance(part, str) for part in found[-1]):
            raise DataError(f"{where}: expected two texts, got {line!r:.80}")
    if not found:
        raise DataError("expected at least one line with a prompt and a text, got none")
    return found


def split_prompts(texts: Sequence[Text], characters: int) -> list[Sample]:
    """Split each text into a prompt of so many characters and the rest, and each pair into its two parts.

    Texts without anything after the prompt are left out.
    """
    pairs = [(text[:characters], text[characters:]) if isinstance(text, str) else text for text in texts]
    return [Sample(prompt, text) for prompt, text in pairs if text]
