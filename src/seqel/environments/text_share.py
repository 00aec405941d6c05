"""The texts that an environment gave, and how much of them is read; `seqel check` reports it if texts are cut off."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from seqel.spaces import ObservationSpec
from seqel.spaces.text_readers import HASHED, reader_of
from seqel.terminal import percent

__all__ = ["TextShare"]

MOST = 20_000  # different texts per leaf that are kept; further ones are not counted


class TextShare:
    """Counts the different texts of observations."""

    def __init__(self, spec: ObservationSpec) -> None:
        self._leaves = spec.texts
        self._seen: dict[str, Counter[str]] = {leaf.path: Counter() for leaf in self._leaves}

    def add(self, observation: Any) -> None:
        """Count one observation, as returned by the environment."""
        for leaf in self._leaves:
            text, seen = str(leaf.pick(observation)), self._seen[leaf.path]
            if text in seen or len(seen) < MOST:
                seen[text] += 1

    def texts(self) -> Iterator[str]:
        """Yield the different texts, in the order in which they were first seen, to learn a vocabulary from."""
        for seen in self._seen.values():
            yield from seen

    def warnings(self, spec: ObservationSpec) -> list[str]:
        """Return a sentence for each text that loses its word order, or of which some is not read, as `spec` reads it."""
        said = []
        for leaf in spec.texts:
            if leaf.reader == HASHED:
                said.append(
                    f"{leaf.path!r} is text: it is read as hashed byte trigrams, so word order is mostly lost. To keep it: "
                    "--set text.encoder=tokens, or a pretrained model (docs/text.md)"
                )
            reader, counts = reader_of(leaf), self._seen.get(leaf.path, Counter())
            beyond = {text: reader.unread(text) for text in counts}
            cut = sum(count for text, count in counts.items() if beyond[text])
            if not cut:
                continue
            size = sum(count * len(text.encode("utf-8", errors="replace")) for text, count in counts.items())
            unread = sum(count * beyond[text] for text, count in counts.items())
            name, unit = "text.length", "tokens"
            if leaf.reader == HASHED:
                name, unit = f"observation.{leaf.path}", "bytes"
            length = reader.shape[0] if reader.sizes else 0  # an embedding has a width, not a length
            what = f"the {length} {unit} that are read" if length else "what is read of them"
            more = f". To read more: --set {name}={2 * length}" if length else ". To read more: increase text.length"
            said.append(
                f"observation {leaf.path!r}: {percent(cut / counts.total())} of the texts are longer than {what}, and "
                f"{percent(unread / size)} of all text is not read: texts that differ only there look the same{more}"
            )
        return said
