"""Rules that veto actions, abstention with a bound on its error, a log of decisions that shows changes, a review queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqel import lazy

if TYPE_CHECKING:
    from seqel.safety.abstention import Abstention
    from seqel.safety.audit import AuditLog, verify
    from seqel.safety.conformal import SessionDecisions, calibrate
    from seqel.safety.groups import compare_groups
    from seqel.safety.review import ReviewQueue, read_review_queue
    from seqel.safety.shield import Shield

__all__ = [
    "Abstention",
    "AuditLog",
    "ReviewQueue",
    "SessionDecisions",
    "Shield",
    "calibrate",
    "compare_groups",
    "read_review_queue",
    "verify",
]

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "Abstention": "seqel.safety.abstention",
        "AuditLog": "seqel.safety.audit",
        "ReviewQueue": "seqel.safety.review",
        "SessionDecisions": "seqel.safety.conformal",
        "Shield": "seqel.safety.shield",
        "calibrate": "seqel.safety.conformal",
        "compare_groups": "seqel.safety.groups",
        "read_review_queue": "seqel.safety.review",
        "verify": "seqel.safety.audit",
    },
)
