"""The search finds exactly the changes that flip the action when the whole episode is computed again with each of them."""

from __future__ import annotations

import numpy as np
import pytest

from seqel.errors import ConfigError
from seqel.explanation import reading as reading_module
from seqel.explanation.counterfactual import counterfactual
from seqel.explanation.counterfactual_search import search_counterfactuals
from seqel.explanation.trace import decision_scores
from seqel.spaces import Leaf, ObservationSpec
from support_explanation import make_agent, make_trace

CODES = ObservationSpec(
    (
        Leaf("card", ("card",), "categories", (2,), "int64", (2,), (0, 0), (3, 4)),
        Leaf("x", ("x",), "vector", (2,), "float32", (2,), low=(-9.0,) * 2, high=(9.0,) * 2),
    )
)


@pytest.mark.parametrize("trunk", ["transformer", "gru"])
def test_all_flips_are_found_and_the_smallest_comes_first(trunk: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading_module, "TOKENS", 60)  # several passes
    agent = make_agent((4,), CODES, trunk=trunk, context=16)
    trace, other = make_trace(agent, 6), make_trace(agent, 3, seed=9)
    decision = 5
    now = int(decision_scores(agent, trace)[decision].argmax())
    found = search_counterfactuals(agent, trace, decision, others=[other])
    flips = {(one.step, one.leaf, one.value.tobytes()): one.action for one in found}
    expected = {}
    for step in range(decision + 1):
        for place, size in enumerate((3, 4)):
            for code in range(size):
                value = trace.observation["card"][step].copy()
                value[place] = code
                action = int(counterfactual(agent, trace, step, "card", value)[decision].argmax())
                if action != now:
                    expected[step, "card", value.tobytes()] = (action,)
        for value in np.concatenate([trace.observation["x"], other.observation["x"]]):
            action = int(counterfactual(agent, trace, step, "x", value)[decision].argmax())
            if action != now:
                expected[step, "x", value.tobytes()] = (action,)
    assert expected and expected.items() <= flips.items()
    for change in found:  # those with one number from another step, too
        action = counterfactual(agent, trace, change.step, change.leaf, change.value)[decision].argmax()
        assert (int(action),) == change.action != (now,)
        before = trace.observation[change.leaf][change.step]
        assert change.changed == int((change.value != before).sum()) > 0
        if change.element is not None:
            assert change.changed == 1 and change.after == change.value[change.element] != change.before
    order = [(one.changed, one.size) for one in found]
    assert order == sorted(order)


def test_steps_out_of_reach_and_later_ones_are_not_changed() -> None:
    agent = make_agent((4,), CODES)  # 7 steps
    trace = make_trace(agent, 20)
    found = search_counterfactuals(agent, trace, 15)
    assert found and {one.step for one in found} <= set(range(9, 16))
    some = search_counterfactuals(agent, trace, 15, steps=[14])
    assert {one.step for one in some} <= {14}
    assert search_counterfactuals(agent, trace, 15, steps=[2]) == []
    with pytest.raises(ConfigError, match="expected 0 to 15"):
        search_counterfactuals(agent, trace, 15, steps=[16])
    with pytest.raises(ConfigError, match="expected 0 to 20, got 21"):
        search_counterfactuals(agent, trace, 21)


def test_a_change_obeys_the_mask_and_the_number_of_tries() -> None:
    agent = make_agent((4,), CODES, context=16)
    trace = make_trace(agent, 6)
    mask = np.zeros((7, 4), bool)
    mask[:, 2] = True
    masked = make_trace(agent, 6, action_mask=mask)
    assert search_counterfactuals(agent, masked, 5) == []  # nothing else is allowed
    assert len(search_counterfactuals(agent, trace, 5, tries=3)) <= 3
