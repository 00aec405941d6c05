"""Sessions as clients know them: their names without their owners, and why they are not open."""

from __future__ import annotations

from seqel.serving.errors import Gone, NotFound, RequestError
from seqel.serving.sessions.base import Ended

__all__ = ["ended", "shown"]


def shown(session: str | None) -> str:
    """Return a session's name as its client knows it, without its owner."""
    return (session or "").partition("/")[2]


def ended(session: str, found: Ended) -> RequestError:
    """Return the error that says why there is no such session."""
    session = shown(session)
    if not found.reason:
        return NotFound(f"no session {session!r}: open one first, with POST /v1/sessions")
    more = {
        "expired": "it had no step for longer than the time to live",
        "evicted": "the service held its largest number of sessions, and this one was idle longest",
    }.get(found.reason, "")
    return Gone(
        f"session {session!r} was {found.reason}" if not more else f"session {session!r} {_verb(found)}: {more}"
    )


def _verb(found: Ended) -> str:
    return "has expired" if found.reason == "expired" else f"was {found.reason}"
