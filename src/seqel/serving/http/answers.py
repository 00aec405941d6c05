"""The answers to requests that failed."""

from __future__ import annotations

import orjson

from seqel.errors import SeqelError
from seqel.serving.errors import RequestError

__all__ = ["error_body", "error_headers"]


def error_body(error: BaseException, request: str) -> tuple[int, bytes, float | None]:
    """Return status, JSON and the time after which to try again. A fault is shown as the request's id alone."""
    if isinstance(error, RequestError):
        status, kind, message = error.status, type(error).__name__, str(error)
    elif isinstance(error, SeqelError):
        status, kind, message = 422, type(error).__name__, str(error)
    else:
        status, kind, message = 500, "Fault", "the service failed; its log has the reason under this request's id"
    body = orjson.dumps({"error": {"type": kind, "message": message[:2000], "request": request}})
    return status, body, getattr(error, "retry_after", None)


def error_headers(status: int, retry: float | None) -> list[tuple[bytes, bytes]]:
    """Return the headers that say what a client may do after an error. retry: seconds after which it may ask again."""
    headers = []
    if retry is not None:
        headers.append((b"retry-after", str(max(1, round(retry))).encode()))
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    return headers
