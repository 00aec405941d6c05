"""The least recently used memory makes room for a new one."""

from __future__ import annotations

import pytest

from seqel.errors import ConfigError
from seqel.serving.slots import Slots


def test_the_least_recently_used_slot_is_taken() -> None:
    slots = Slots(2)
    a, b = slots.take("a"), slots.take("b")
    assert {a.index, b.index} == {0, 1}
    assert slots.find("a") is a
    c = slots.take("c")
    assert c.index == b.index
    assert slots.find("b") is None and slots.find("a") is a
    assert len(slots) == 2


def test_a_dropped_slot_is_used_again() -> None:
    slots = Slots(1)
    first = slots.take("a")
    slots.drop("a")
    slots.drop("never there")
    assert slots.find("a") is None and len(slots) == 0
    assert slots.take("b").index == first.index


def test_there_must_be_a_slot() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        Slots(0)
