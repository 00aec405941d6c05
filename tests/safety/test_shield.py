"""Rules: the compiled shield equals a plain interpreter, unknown names are refused, and no history can get stuck."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from seqel.agents.shielding import compile_shield
from seqel.datasets.encoding import Encoding
from seqel.datasets.schema import Schema
from seqel.errors import ConfigError, SpaceError
from seqel.spaces import ActionSpec
from support_safety import RULES, SPEC, forbidden, shield


def test_it_equals_a_plain_interpreter_of_the_same_rules() -> None:
    rng, rows, steps = np.random.default_rng(0), 40, 30
    one = shield()
    state = one.initial(rows)
    seen = rng.standard_normal((rows, steps, 3)).astype(np.float32)
    actions, rewards = rng.integers(0, 4, (rows, steps)), rng.normal(-0.5, 1.0, (rows, steps)).astype(np.float32)
    vetoed = set()
    for t in range(steps):
        state, allowed = one.read(
            state, {"observation": seen[:, t]}, previous_action=actions[:, t - 1 : t] if t else actions[:, :1],
            reward=rewards[:, t - 1] if t else rewards[:, 0], first=np.full(rows, t == 0),
        )  # fmt: skip
        for row in range(rows):
            expected = forbidden(seen[row, : t + 1], actions[row, :t].tolist(), rewards[row, :t].tolist())
            assert set(np.flatnonzero(~allowed[row, 0])) == expected, (row, t)
            vetoed |= expected
    assert vetoed == {1, 2, 3}, "every rule was needed somewhere"


@pytest.mark.parametrize("cut", [1, 2, 17, 39])
def test_a_history_that_is_read_at_once_gives_the_same_bits(cut: int) -> None:
    """From the first step, and from a state that lacks the rest; the sum of the rewards depends on the order of adding."""
    rng, one = np.random.default_rng(cut), shield()
    for _ in range(20):
        seen = rng.standard_normal((40, 3)).astype(np.float32)
        actions = rng.integers(0, 4, (40, 1))
        rewards = (rng.standard_normal(40) * 10.0 ** rng.uniform(-12, 12, 40)).astype(np.float32)
        state, states = one.initial(1), []
        for t in range(40):
            state, _ = one.read(
                state, {"observation": seen[t : t + 1]}, previous_action=actions[t : t + 1], reward=rewards[t : t + 1],
                first=np.array([t == 0]),
            )  # fmt: skip
            states.append(state[0])

        def at_once(
            begin: int, end: int, start: np.ndarray, seen: Any = seen, actions: Any = actions, rewards: Any = rewards
        ) -> np.ndarray:
            return one.read_history(
                start, {"observation": seen[begin:end]}, previous_action=actions[begin:end], reward=rewards[begin:end],
                first=begin == 0,
            )  # fmt: skip

        before = at_once(0, cut, np.full(one.width, 7.0))
        kept = before.copy()
        assert np.array_equal(before, states[cut - 1])
        assert np.array_equal(at_once(cut, 40, before), states[-1])
        assert np.array_equal(before, kept), "the given state is not changed"


def test_a_row_that_begins_again_forgets_its_history() -> None:
    one = shield("fallback = 0\n[[rule]]\nnever = 1\nat_most = 1")
    seen = {"observation": np.zeros((2, 3), np.float32)}
    state, _ = one.read(
        one.initial(2), seen, previous_action=np.zeros((2, 1), int), reward=np.zeros(2), first=np.ones(2, bool)
    )
    before = state.copy()
    again, allowed = one.read(
        state, seen, previous_action=np.ones((2, 1), int), reward=np.zeros(2), first=np.array([False, True])
    )
    assert allowed[:, 0, 1].tolist() == [False, True]
    assert (state == before).all(), "the given state is not changed"
    assert again[:, 0].tolist() == [1.0, 0.0]


def test_limits_mean_what_they_say_for_values_in_float32() -> None:
    """0.1 in float32 is slightly more than 0.1 in float64: a rule on 0.1 must count it as 0.1."""
    for key, vetoed in {
        "at_most": True,
        "below": False,
        "at_least": True,
        "above": False,
        "is": True,
        "is_not": False,
    }.items():
        one = shield(f'fallback = 0\n[[rule]]\nnever = 1\nwhen = {{ leaf = "observation", index = 2, {key} = 0.1 }}')
        seen = {"observation": np.full((1, 3), 0.1, np.float32)}
        _, allowed = one.read(
            one.initial(1), seen, previous_action=np.zeros((1, 1), int), reward=np.zeros(1), first=np.ones(1, bool)
        )
        assert allowed[0, 0, 1] == (not vetoed), key


def test_several_dimensions_are_vetoed_part_by_part() -> None:
    text = "fallback = { 0 = 0, 1 = 5 }\n[[rule]]\nnever = { 1 = 6 }\nwhen = { taken = { 0 = 2 } }"
    one = compile_shield(text, SPEC, ActionSpec((3, 2), (0, 5)))
    seen = {"observation": np.zeros((2, 3), np.float32)}
    first = np.ones(2, bool)
    state, allowed = one.read(
        one.initial(2), seen, previous_action=np.zeros((2, 2), int), reward=np.zeros(2), first=first
    )
    assert allowed.tolist() == [[[True, True, True], [True, True, False]]] * 2
    _, allowed = one.read(state, seen, previous_action=np.array([[2, 0], [1, 1]]), reward=np.zeros(2), first=~first)
    assert allowed[:, 1].tolist() == [[True, False, False], [True, True, False]]
    with pytest.raises(ConfigError, match="one action for each dimension"):
        compile_shield(text.replace(", 1 = 5", ""), SPEC, ActionSpec((3, 2), (0, 5)))


def table() -> Encoding:
    schema = Schema("who", "act", "pay", {"price": "number", "mood": "category", "note": "vector"}, order="n")
    return Encoding(
        schema, ("escalate", "refund", "close"), {"mood": ("angry", "calm")}, {"note": 2}, ("price",), {"price": 1000.0}
    )


def test_rules_of_a_table_use_its_names() -> None:
    encoding = table()
    text = """
    fallback = "escalate"
    [[rule]]
    name = "dear"
    never = "refund"
    when = { leaf = "price", above = 1002.5 }
    [[rule]]
    name = "angry"
    never = ["close"]
    when = { all = [ { leaf = "mood", is = ["angry"] }, { leaf = "note", index = 1, at_least = 0.5 } ] }
    """
    one = compile_shield(text, encoding.observation, encoding.action, {"encoding": encoding.to_json()})
    rows: list[dict[str, Any]] = [
        {"price": 1003, "mood": "angry", "note": [0, 1]},
        {"price": 1002, "mood": "calm", "note": [0, 1]},
        {"price": None, "mood": "angry", "note": [1, 0]},
        {"price": 1e5, "mood": "unknown", "note": [1, 1]},
    ]
    _, allowed = one.read(
        one.initial(4),
        encoding.rows(rows),
        previous_action=np.zeros((4, 1), int),
        reward=np.zeros(4),
        first=np.ones(4, bool),
    )
    assert allowed[:, 0].tolist() == [[True, False, False], [True] * 3, [True] * 3, [True, False, True]]
    assert one.vetoes(encoding.rows(rows), one.initial(4))[0] == ["dear", "angry"]


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ('never = "refnd"', "unknown action 'refnd'; did you mean 'refund'? Known: 'escalate', 'refund', 'close'"),
        ('never = "refund"\nwhen = { leaf = "prize", above = 1 }', "did you mean 'price'? Known: 'price', 'mood', 'note'"),
        ('never = "refund"\nwhen = { leaf = "mood", is = "sad" }', "unknown category 'sad'. Known: 'angry', 'calm'"),
        ('never = "refund"\nwhen = { leaf = "mood", above = 1 }', "expected is or is_not"),
        ('never = "refund"\nwhen = { leaf = "note", above = 1 }', "say which, with index = 0 to 1"),
        ('never = "refund"\nwhen = { quantity = "stepp", above = 1 }', "unknown quantity 'stepp'; did you mean 'step'?"),
        ('never = "refund"\nwhen = { leaf = "price" }', "expected exactly one of below"),
        ('never = "refund"\nwhen = { taken = "close", times = 2, within = 1 }', "times or within, got both"),
        ('never = "refund"\nwhen = { seen = { taken = "close" } }', "inside `seen`"),
        ('never = "refund"\nat_most = -1', "whole number of at least 0"),
        ('never = "refund"\nwhenn = 1', "did you mean 'when'?"),
        ('when = { leaf = "price", above = 1 }', "expected never"),
        ('never = ["refund", "escalate"]', "vetoes the fallback"),
    ],
)  # fmt: skip
def test_what_is_unknown_or_unsafe_is_refused(rules: str, message: str) -> None:
    encoding = table()
    text = f'fallback = "escalate"\n[[rule]]\n{rules}'
    with pytest.raises(ConfigError) as caught:
        compile_shield(text, encoding.observation, encoding.action, {"encoding": encoding.to_json()})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[rule]]\nnever = 1", "expected fallback = ACTION"),
        ("fallback = 0", r"at least one \[\[rule\]\]"),
        ("fallback = 9\n[[rule]]\nnever = 1", "from 0 to 3, got 9"),
        ("fallback = [0, 1]\n[[rule]]\nnever = 2", "one action as the fallback"),
        ("fallback = 0\n[[rule]]\nname = 'a'\nnever = 1\n[[rule]]\nname = 'a'\nnever = 2", "a name of its own"),
        ("fallback = ", "expected TOML"),
        ("fallback = 0\nrules = 1\n[[rule]]\nnever = 1", "did you mean 'rule'"),
    ],
)
def test_a_file_of_rules_is_read_strictly(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        shield(text)


def test_the_fallback_stays_allowed_and_a_mask_without_it_is_an_error() -> None:
    one = shield("fallback = 0\n[[rule]]\nnever = [1, 2, 3]")
    seen = {"observation": np.zeros((2, 3), np.float32)}
    _, allowed = one.read(
        one.initial(2), seen, previous_action=np.zeros((2, 1), int), reward=np.zeros(2), first=np.ones(2, bool)
    )
    assert one.combine(None, allowed)[:, 0].tolist() == [[True, False, False, False]] * 2
    mask = np.array([[[True] * 4], [[False, True, True, True]]])
    with pytest.raises(SpaceError, match=r"rows \[1\].*the fallback \[0\]"):
        one.combine(mask, allowed)
    with pytest.raises(SpaceError, match="among the candidates"):
        one.combine_candidates(np.array([[1, 2], [0, 3]]), np.ones((2, 1, 2), bool), allowed)


def test_the_text_of_the_rules_is_kept_as_it_was() -> None:
    assert shield().text == RULES and "two refunds" in repr(shield())


def test_rules_of_a_hostile_file_are_refused_with_a_message() -> None:
    deep = "{ not = " * 3_000 + '{ leaf = "observation", index = 0, above = 1 }' + " }" * 3_000
    for condition in (
        deep,
        f'{{ leaf = "observation", index = 0, above = 1{"0" * 400} }}',
        "{ quantity = 1, is = nan }",
    ):
        with pytest.raises(ConfigError):
            shield(f"fallback = 0\n[[rule]]\nnever = 1\nwhen = {condition}")
