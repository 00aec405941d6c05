"""Writes decisions to an audit log before they are stored or answered, with a digest of the history that each is based on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seqel.serving.records import StepFormat

if TYPE_CHECKING:
    from seqel.serving.steps import Ready

__all__ = ["EMPTY", "decision_entries", "history_digest", "withdrawn_entries"]

EMPTY = bytes(32)  # the digest of a history without a step


def history_digest(form: StepFormat, records: NDArray[np.void], before: bytes = EMPTY) -> bytes:
    """Return the digest of a history (T,): what the agent read at each step, its observation, previous action and reward.

    d(0) = 32 zero bytes, d(t + 1) = SHA-256(d(t), what step t read). `before`: the digest of the steps before.
    """
    fields = ("previous_action", "previous_reward", *form.leaves.values())
    for record in records:
        whole = hashlib.sha256(before)
        for field in fields:
            whole.update(record[field].tobytes())
        before = whole.digest()
    return before


def decision_entries(
    agent: str, rows: Sequence[Ready], records: NDArray[np.void], scores: NDArray[np.float32], sizes: Sequence[int]
) -> list[dict[str, Any]]:
    """Return the entries of R decisions: records (R,), scores (R, M, A), sizes of the M action dimensions.

    "history" is `history_digest` of the session's steps from number "history_from" on, this one included. "mask" has one text
    per dimension, of 1 (allowed) and 0; scores of actions that are not allowed are null.
    """
    entries = []
    for row, one in enumerate(rows):
        owner, _, session = (one.step.session or "").partition("/")
        lists = [
            [float(x) if np.isfinite(x) else None for x in part[:n]]
            for part, n in zip(scores[row].tolist(), sizes, strict=True)
        ]
        entries.append(
            {"kind": "decision", "agent": agent, "session": session or None}
            | ({"owner": owner} if owner else {})
            | {
                "step": one.steps, "history": one.digest.hex(), "history_from": one.digest_from,
                "action": records["action"][row].tolist(), "scores": lists,
                "mask": ["".join("01"[x is not None] for x in part) for part in lists],
            }
        )  # fmt: skip
    return entries


def withdrawn_entries(agent: str, rows: Sequence[Ready]) -> list[dict[str, Any]]:
    """Return the entries for decisions that were logged but not given, because another process decided that step first."""
    entries = []
    for one in rows:
        owner, _, session = (one.step.session or "").partition("/")
        entries.append(
            {"kind": "withdrawn", "agent": agent, "session": session}
            | ({"owner": owner} if owner else {})
            | {"step": one.steps, "history": one.digest.hex()}
        )
    return entries
