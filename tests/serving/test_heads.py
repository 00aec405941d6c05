"""Heads that are read without a parser: what is remembered, and what never is."""

from __future__ import annotations

import pytest

from seqel.serving.http.heads import KNOWN, LONGEST, Heads

HEAD = b"POST /v1/act HTTP/1.1\r\nHost: x\r\ncontent-length: 2\r\n%b\r\n"


def test_a_head_is_read() -> None:
    found = Heads(100).read(HEAD % b"X-Request-ID: \tmine \r\nAuthorization: Bearer a key\r\n" + b"{}")
    assert found is not None
    assert (found.path, found.request, found.length) == (b"/v1/act", b"mine", 2)
    assert found.headers == {b"x-request-id": b"mine", b"authorization": b"Bearer a key"}
    assert found.total == len(HEAD % b"X-Request-ID: \tmine \r\nAuthorization: Bearer a key\r\n") + 2


def test_the_body_is_not_needed_but_the_head_is() -> None:
    heads = Heads(100)
    assert heads.read(HEAD % b"") == heads.read(HEAD % b"" + b"{}{}")
    assert heads.read(HEAD[:-4]) is None
    assert Heads(1).read(HEAD % b"" + b"{}") is None


@pytest.mark.parametrize("more", [b"", b"a: b\r\n"])
def test_a_head_that_comes_again_is_not_read_again(more: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    heads = Heads(100)
    first = heads.read(HEAD % more)
    monkeypatch.setattr(heads, "_parse", lambda text: pytest.fail("parsed again"))
    assert heads.read(HEAD % more + b"{}") is first


@pytest.mark.parametrize(
    "more",
    [
        b"authorization: Bearer secret\r\n",
        b"x-api-key: secret\r\n",
        b"x-request-id: mine\r\n",
        b"a: " + b"a" * LONGEST + b"\r\n",
    ],
)
def test_keys_ids_and_long_heads_are_not_remembered(more: bytes) -> None:
    heads = Heads(100)
    assert heads.read(HEAD % more) is not None
    assert not heads._known


def test_only_so_many_heads_are_remembered() -> None:
    heads = Heads(100)
    for number in range(KNOWN + 10):
        assert heads.read(HEAD % (b"a: %d\r\n" % number)) is not None
    assert len(heads._known) == 10
