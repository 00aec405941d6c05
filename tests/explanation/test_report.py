"""A report has the numbers of the network, and a page has the numbers of the report and nothing that could run."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import numpy as np
import pytest

from seqel.explanation.attribute import attribute
from seqel.explanation.methods.registry import method_names
from seqel.explanation.page import PAGE_LIMIT, as_script_data, report_page
from seqel.explanation.question import Question
from seqel.explanation.report import explain_episode
from seqel.explanation.trace import decision_scores
from seqel.spaces import Leaf, ObservationSpec
from support_explanation import make_agent, make_trace
from support_ranking import make_agent as make_ranking_agent

HOSTILE = "</script><script>alert(1)</script><!-- @@SCRIPT@@ \u2028 <img src=x onerror=alert(2)>"


def data_of(page: str) -> dict[str, Any]:
    (found,) = re.findall(r'<script id="data" type="application/json">(.*?)</script>', page, re.DOTALL)
    data: dict[str, Any] = json.loads(found)
    return data


def unpacked(method: dict[str, Any], size: int) -> np.ndarray:
    numbers = np.frombuffer(base64.b64decode(method["data"]), "<i2").astype(float) / 32767
    out = np.zeros((size, size))
    out[np.tril_indices(size)] = numbers
    return out * np.array(method["most"])[:, None]


def test_a_report_has_the_scores_and_attributions_of_every_decision() -> None:
    agent = make_agent((4,))
    mask = np.ones((10, 4), bool)
    mask[2, 1] = False
    trace = make_trace(agent, action_mask=mask)
    report = explain_episode(agent, trace)
    q = np.where(mask, decision_scores(agent, trace), -np.inf)
    assert [step.number for step in report.steps] == list(range(9)) and list(report.methods) == method_names(
        others=False
    )
    for row, step in enumerate(report.steps):
        order = [code for code in np.argsort(-q[row]) if np.isfinite(q[row, code])]
        assert [bar.name for bar in step.scores] == [str(code) for code in order]
        np.testing.assert_allclose([bar.score for bar in step.scores], q[row, order], atol=1e-5)
        assert [bar.chosen for bar in step.scores] == [place == 0 for place in range(len(order))]
        assert [bar.over for bar in step.scores] == [place == 1 for place in range(len(order))]
        assert step.action == str(trace.action[row]) and step.reward == pytest.approx(float(trace.reward[row]))
        assert [one.std for one in step.scores] == [None] * len(order)
    for name, found in report.methods.items():
        np.testing.assert_array_equal(found, attribute(agent, trace, name)[:, :9])
    change = np.tril(report.methods["occlusion"], -1).max(axis=1).clip(min=0.0)
    lead = np.diff(np.sort(q[:9], axis=1)[:, -2:])[:, 0]
    assert report.interesting == int((change * np.minimum(1.0, change / lead)).argmax())


@pytest.mark.parametrize(("value", "more"), [("hl-gauss", {"value_range": 5.0}), ("quantile", {}), ("c51", {})])
def test_std_is_the_standard_deviation_of_the_return(value: str, more: dict[str, Any]) -> None:
    agent = make_agent((3,), value=value, bins=9, **more)
    agent.network.head.scale.fill_(2.0)
    trace = make_trace(agent, 4)
    bars = {bar.name: bar for bar in explain_episode(agent, trace, methods=["occlusion"]).steps[3].scores}
    import torch

    from seqel.explanation.trace import window_of

    with torch.no_grad():
        logits = agent.network(window_of(agent, trace)).logits
    assert logits is not None
    for code in range(3):
        outputs = logits[0, 3, 0, code]
        if value == "quantile":
            expected = float(outputs.std(correction=0))
        else:
            support = agent.network.head.values.support(outputs)
            share = outputs.softmax(dim=0)
            expected = float(((support - (share * support).sum()) ** 2 * share).sum().sqrt())
        assert bars[str(code)].std == pytest.approx(2.0 * expected, rel=1e-4)


def test_recommendations_have_a_decision_after_the_last_item_and_the_names_of_items() -> None:
    agent = make_ranking_agent(30)
    from seqel.ranking.data import item_encoding

    agent.info["encoding"] = item_encoding([f"film {n}" for n in range(30)]).to_json()
    trace = make_trace(agent, 5)
    report = explain_episode(agent, trace, methods=["occlusion"], recorded=True)
    assert len(report.steps) == 6 and report.steps[5].action == "" and report.steps[5].reward is None
    assert report.steps[4].action == f"film {trace.action[4]}" and report.steps[4].actions == 30
    assert sum(bar.recorded for bar in report.steps[4].scores) == 1
    assert all(bar.name.startswith("film ") for step in report.steps for bar in step.scores)
    named = explain_episode(agent, trace, methods=["occlusion"], question=Question(3, 4), recorded=True)
    assert named.question == "the score of action film 3, less that of film 4"
    assert {"film 3", "film 4"} <= {bar.name for bar in named.steps[0].scores}


def test_with_several_actions_the_bars_are_the_choice_and_its_neighbours() -> None:
    agent = make_agent((3, 2), trunk="gru")
    trace = make_trace(agent, 5)
    report = explain_episode(agent, trace, methods=["occlusion"])
    q = decision_scores(agent, trace)
    best = tuple(q[3].argmax(axis=1).tolist())
    bars = {bar.name: bar for bar in report.steps[3].scores}
    assert len(bars) == 4  # the choice, two others of the first dimension, one of the second
    chosen = bars[f"{best[0]}, {best[1]}"]
    assert chosen.chosen and chosen.score == pytest.approx(float(q[3].max(axis=1).mean()), abs=1e-5)
    assert sum(bar.over for bar in bars.values()) == 1 and report.steps[3].action == ", ".join(
        map(str, trace.action[3])
    )
    assert list(explain_episode(agent, trace).methods) == ["occlusion", "gradient", "integrated"]


def test_observed_images_are_the_frames_if_the_environment_draws_none() -> None:
    leaf = Leaf("eye", ("eye",), "image", (36, 36, 1), "uint8", (36, 36, 1))
    agent = make_agent((3,), ObservationSpec((leaf,)))
    trace = make_trace(agent, 2)
    trace.observation["eye"][:] = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1) * 50
    frames = explain_episode(agent, trace, methods=["occlusion"]).frames
    assert [frame.shape for frame in frames if isinstance(frame, np.ndarray)] == [(36, 36, 3)] * 2
    assert isinstance(frames[1], np.ndarray) and (frames[1] == 50).all()
    shown: list[Any] = ["drawn"] * 3
    assert explain_episode(agent, trace, methods=["occlusion"], frames=shown).frames == ["drawn"] * 2


def test_a_page_holds_the_numbers_of_the_report() -> None:
    agent = make_agent((4,))
    report = explain_episode(agent, make_trace(agent, 30), methods=["occlusion", "rollout", "attention"])
    data = data_of(report_page(report, "title", [("seed", "3")]))
    assert data["title"] == "title" and data["facts"] == [["seed", "3"]] and data["start"] == report.interesting
    for method in data["methods"]:
        found = np.tril(report.methods[method["name"]])
        most = np.abs(found).max(axis=1, keepdims=True)
        assert (np.abs(unpacked(method, 30) - found) <= 5e-4 * most + 1e-9).all()
    assert data_of(report_page(report, "title", start=7))["start"] == 7


def test_nothing_in_the_data_is_read_as_markup() -> None:
    agent = make_agent((4,))
    report = explain_episode(
        agent, make_trace(agent, 3), methods=["occlusion"], action_names=[HOSTILE, "b", "c", "\ud800"]
    )
    page = report_page(report, HOSTILE, [(HOSTILE, HOSTILE)], counterfactuals={0: HOSTILE})
    assert page.count("</script>") == 2 and "<img" not in page and "alert(1)</script" not in page
    data = data_of(page)
    assert data["title"] == HOSTILE and data["counterfactuals"]["0"] == HOSTILE
    assert {bar[0] for bar in data["steps"][0]["bars"]} == {HOSTILE, "b", "c", "?"}
    assert "<" not in as_script_data({"a": HOSTILE})


def test_a_page_needs_nothing_from_elsewhere_and_is_small() -> None:
    agent = make_agent((4,))
    rng = np.random.default_rng(0)
    trace = make_trace(agent, 300)
    frames: list[Any] = list(rng.integers(0, 256, (300, 84, 84, 3)).astype(np.uint8))
    report = explain_episode(agent, trace, methods=["occlusion", "rollout", "gradient", "attention"], frames=frames)
    page = report_page(report, "long")
    assert len(page.encode()) < PAGE_LIMIT
    assert (
        not re.findall(r"""(?:src|href)=["'](?!data:)""", page)
        and "http:" not in page
        and "https:" not in page
        and "@import" not in page
    )
    assert data_of(page)["pictures"][0].startswith("data:image/")
