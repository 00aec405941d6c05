"""API keys and rates: who may ask, and how often."""

from __future__ import annotations

import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from seqel.errors import ConfigError
from seqel.serving.errors import Forbidden, TooManyRequests, Unauthorized

__all__ = ["Client", "Keys", "Rates"]

REMEMBERED = 10_000  # clients whose rate is known


@dataclass(frozen=True, slots=True)
class Client:
    """Who asks: the name of the key's owner ("" where no keys are used), and whether it may change agents."""

    name: str
    admin: bool


class Keys:
    """The keys of a service: lines "NAME KEY" or "NAME KEY admin" of a file. Without a file, anyone may ask.

    Only digests of the keys are held. Sessions belong to the NAME, so two keys with one name share sessions.

    Raises ConfigError if the file cannot be read or a line is something else.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._clients: dict[bytes, Client] | None = None
        if file is None:
            return
        self._clients = {}
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError) as error:
            raise ConfigError(f"keys: {file} cannot be read ({error})") from error
        for number, line in enumerate(lines, 1):
            parts = line.split()
            if not parts or line.lstrip().startswith("#"):
                continue
            admin = len(parts) == 3 and parts[2] == "admin"
            if len(parts) != 2 + admin or not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", parts[0]) or len(parts[1]) < 16:
                raise ConfigError(
                    f'keys: {file}, line {number}: expected "NAME KEY" or "NAME KEY admin", a key of at least 16 characters'
                )
            self._clients[_digest(parts[1])] = Client(parts[0], admin)
        if not self._clients:
            raise ConfigError(f"keys: {file} has no key")

    @property
    def used(self) -> bool:
        """Whether keys are asked for."""
        return self._clients is not None

    def client(self, headers: Mapping[bytes, bytes]) -> Client:
        """Return who asks, by "Authorization: Bearer KEY" or "X-API-Key: KEY". Raises Unauthorized."""
        if self._clients is None:
            return Client("", True)
        key = headers.get(b"x-api-key", b"")
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() == b"bearer":
            key = token.strip()
        found = self._clients.get(hashlib.sha256(key).digest())
        if found is None:
            raise Unauthorized("expected an API key: Authorization: Bearer KEY")
        return found

    @staticmethod
    def require_admin(client: Client) -> None:
        """Raise Forbidden unless the client may change agents."""
        if not client.admin:
            raise Forbidden("expected a key with admin rights")


class Rates:
    """A token bucket per client: `rate` requests per second on average, and as many at once. 0: no limit."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate, self._clock = rate, clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, and when

    def spend(self, client: str) -> None:
        """Count a request of a client. Raises TooManyRequests, with the time after which the next one is allowed."""
        if not self.rate:
            return
        most, now = max(1.0, self.rate), self._clock()
        left, since = self._left.pop(client, (most, now))
        left = min(most, left + (now - since) * self.rate)
        if left < 1.0:
            self._left[client] = (left, now)
            raise TooManyRequests(
                f"expected at most {self.rate:g} requests per second", retry_after=(1.0 - left) / self.rate
            )
        self._left[client] = (left - 1.0, now)
        while len(self._left) > REMEMBERED:
            self._left.popitem(last=False)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
