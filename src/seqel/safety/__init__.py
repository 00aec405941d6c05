"""Rules that veto actions, abstention with a bound on its error, a log of decisions that shows changes, a review queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqel import lazy

if TYPE_CHECKING:
    from seqel.safety.shield import Shield

__all__ = ["Shield"]

__getattr__, __dir__ = lazy.attach(__name__, {"Shield": "seqel.safety.shield"})
