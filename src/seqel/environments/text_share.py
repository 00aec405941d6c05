"""Measures how much of an environment's texts is read; `seqel check` reports it if texts are cut off."""

from __future__ import annotations

from typing import Any

from seqel.spaces import ObservationSpec

__all__ = ["TextShare"]


class TextShare:
    """Counts the texts of observations, and the part of them beyond the bytes that are read."""

    def __init__(self, spec: ObservationSpec) -> None:
        self._leaves = [leaf for leaf in spec.leaves if leaf.kind == "text"]
        self._counts = {leaf.path: [0, 0, 0, 0] for leaf in self._leaves}  # texts, cut, bytes, unread

    def add(self, observation: Any) -> None:
        """Count one observation, as returned by the environment."""
        for leaf in self._leaves:
            size = len(str(leaf.pick(observation)).encode("utf-8", errors="replace"))
            beyond = max(0, size - leaf.shape[0])
            counts = self._counts[leaf.path]
            for place, value in enumerate((1, int(beyond > 0), size, beyond)):
                counts[place] += value

    def warnings(self) -> list[str]:
        """Return a sentence for each leaf of which some text is not read."""
        return [
            f"observation {leaf.path!r}: {cut / texts:.0%} of the texts are longer than the {leaf.shape[0]} bytes that are "
            f"read, and {unread / size:.0%} of all text is not read: texts that differ only there look the same. To read "
            f"more: --set observation.{leaf.path}={2 * leaf.shape[0]}"
            for leaf in self._leaves
            for texts, cut, size, unread in [self._counts[leaf.path]]
            if cut
        ]
