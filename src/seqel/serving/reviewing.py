"""Adds the steps of sessions to a review queue, with what a person needs to decide those that the agent abstained from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seqel.agents.calibration import abstention_in
from seqel.datasets.encoding import Encoding
from seqel.safety.abstention import uncertainty_of_scores
from seqel.safety.review import ReviewQueueFile

if TYPE_CHECKING:
    from seqel.serving.backends.base import Backend
    from seqel.serving.steps import Ready

__all__ = ["Reviewing", "agent_entry"]

BEST = 3  # actions that a person is shown


class Reviewing:
    """Writes the decisions of one version of an agent; decisions without a session are left out."""

    def __init__(self, file: ReviewQueueFile, version: str, backend: Backend) -> None:
        self.file, self.version = file, version
        self.abstention = abstention_in(backend.info)
        entry = agent_entry(version, backend.info, backend.action_spec)
        self.names: list[list[str]] = entry["actions"]
        file.write([entry])

    def write(self, rows: Sequence[Ready], records: NDArray[np.void], scores: NDArray[np.float32]) -> None:
        """Add R steps: records (R,), scores (R, M, A)."""
        entries = []
        uncertainty = None if self.abstention is None else uncertainty_of_scores(scores, self.abstention.measure)
        for row, one in enumerate(rows):
            if one.step.session is None:
                continue
            abstain, known = False, None
            if self.abstention is not None and uncertainty is not None:
                abstain = bool(self.abstention.abstains(uncertainty)[row])
                known = float(uncertainty[row]) if np.isfinite(uncertainty[row]) else None
            order = np.argsort(-scores[row, 0], kind="stable")[:BEST]
            best = [[self.names[0][at], float(scores[row, 0, at])] for at in order if np.isfinite(scores[row, 0, at])]
            entries.append({
                "kind": "step", "agent": self.version, "session": one.step.session.removeprefix("/"), "step": one.steps,
                "time": round(float(records["time"][row]), 3), "observation": one.step.observation,
                "previous_action": self._named(records["previous_action"][row]) if one.steps else None,
                "reward": float(one.reward) if one.steps else None, "action": self._named(records["action"][row]),
                "abstain": abstain, "uncertainty": known, "best": best,
            })  # fmt: skip
        self.file.write(entries)

    def _named(self, codes: NDArray[np.int64]) -> Any:
        found = [names[int(code)] for names, code in zip(self.names, codes, strict=True)]
        return found[0] if len(found) == 1 else found


def agent_entry(version: str, info: Any, action: Any) -> dict[str, Any]:
    """Return the line about an agent: its actions' names, and the schema of its table if it was trained on one."""
    stored = info.get("encoding")
    if stored:
        encoding = Encoding.from_json(stored)
        names = [list(map(str, one)) for one in encoding.names]
        return {"kind": "agent", "agent": version, "actions": names, "schema": encoding.schema.to_json()}
    numbers = [
        list(map(str, range(start, start + size))) for start, size in zip(action.start, action.sizes, strict=True)
    ]
    return {"kind": "agent", "agent": version, "actions": numbers, "schema": None}
