"""Reads the head of a plain POST request from its bytes, without a parser.

Only what every parser must read alike is read here: one request line without escapes, headers of tokens and visible text, and
one content-length (RFC 9112). All else is left to httptools, so the two never disagree on where a request ends.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["Head", "Heads"]

PLAIN = re.compile(
    rb"POST (/[!$&-;=@-Z_a-z~]*) HTTP/1\.1((?:\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~]*)*)"
)  # no escapes, query or fragment in the path; no folded lines
TOLD = re.compile(
    rb"\r\n(content-length|connection|x-request-id|authorization|x-api-key|transfer-encoding|expect|upgrade|te|trailer"
    rb"|forwarded|x-forwarded-[^:]*):[\t ]*([^\r]*)",
    re.IGNORECASE,
)  # headers that say how the request is read, who sent it, or how it is answered
LENGTH = re.compile(rb"\d{1,12}")
OWN = frozenset((b"x-request-id", b"authorization", b"x-api-key"))  # the others change how a request is read
KNOWN = 4_096  # heads that are remembered
LONGEST = 512  # bytes of one that is


class Head(NamedTuple):
    """The head of a request."""

    path: bytes
    request: bytes  # the id that its client gave, or b""
    headers: dict[bytes, bytes]  # those of `OWN`, by lower-case names
    length: int  # bytes of the body
    total: int  # bytes of head and body


class Heads:
    """Reads heads, and remembers those that a client may send again: it often sends the same one many times.

    A head with a key is never remembered, nor one with an id of its own. most: bytes of a body.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._known: dict[bytes, Head] = {}

    def read(self, data: bytes) -> Head | None:
        """Return the head of the request that `data` begins with; None: it is incomplete, or unusual."""
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return None
        text = data[:end]
        return self._known.get(text) or self._parse(text)

    def _parse(self, text: bytes) -> Head | None:
        match = PLAIN.fullmatch(text)
        if match is None:
            return None
        headers: dict[bytes, bytes] = {}
        for name, value in TOLD.findall(match[2]):
            name = name.lower()
            if name in headers:
                return None
            headers[name] = value.rstrip(b"\t ")
        length = headers.pop(b"content-length", b"")
        if not LENGTH.fullmatch(length) or int(length) > self.most:
            return None
        if headers.pop(b"connection", b"keep-alive").lower() != b"keep-alive" or not OWN.issuperset(headers):
            return None
        head = Head(match[1], headers.get(b"x-request-id", b""), headers, int(length), len(text) + 4 + int(length))
        if not headers and len(text) <= LONGEST:
            if len(self._known) >= KNOWN:
                self._known.clear()
            self._known[text] = head
        return head
