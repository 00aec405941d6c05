"""Why a request to the service fails, with the HTTP status that says so."""

from __future__ import annotations

from seqel.errors import SeqelError

__all__ = [
    "Conflict",
    "Forbidden",
    "Gone",
    "InvalidRequest",
    "NotFound",
    "Overloaded",
    "RequestError",
    "TimedOut",
    "TooLarge",
    "TooManyRequests",
    "TooSlow",
    "Unauthorized",
    "Unavailable",
]


class RequestError(SeqelError):
    """The base class. `status` is the HTTP status; `retry_after`, in seconds, is sent if it is set."""

    status: int = 400
    retry_after: float | None = None

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        if retry_after is not None:
            self.retry_after = retry_after


class InvalidRequest(RequestError):
    """The content of the request does not fit the agent."""

    status = 422


class Unauthorized(RequestError):
    """The request has no API key that is known."""

    status = 401


class Forbidden(RequestError):
    """The API key does not allow this."""

    status = 403


class NotFound(RequestError):
    """There is no such session, agent or page."""

    status = 404


class TooSlow(RequestError):
    """The body of the request did not arrive in time."""

    status = 408


class Conflict(RequestError):
    """The session is at another step than the request assumes."""

    status = 409


class Gone(RequestError):
    """The session was closed, has expired, or was evicted."""

    status = 410


class TooLarge(RequestError):
    """The body is larger than the service reads."""

    status = 413


class TooManyRequests(RequestError):
    """The client sends more than its rate."""

    status = 429
    retry_after = 1.0


class Unavailable(RequestError):
    """The service is stopping, or its store of sessions cannot be reached."""

    status = 503
    retry_after = 1.0


class Overloaded(Unavailable):
    """More requests wait than can be answered in time."""


class TimedOut(RequestError):
    """The request was not answered in time. It may have been carried out."""

    status = 504
