"""What the benchmark of explanations measures: its held-out decisions, its means, and what passes."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqel.agents.ranking import history_scores
from seqel.explanation.attribute import attribute
from seqel.explanation.trace import decision_scores
from seqel.ranking import Interactions
from support_explanation import make_agent, make_trace
from support_ranking import make_agent as make_ranking_agent

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import faithfulness_data as data
import faithfulness_report as reports
import recommend
from faithfulness_measure import measure
from faithfulness_tasks import Decision


def test_a_recommendation_is_the_decision_before_the_users_last_item_among_unseen_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    user = np.repeat([0, 1, 2], [25, 21, 9])
    item = np.concatenate([rng.permutation(30)[:size] for size in (25, 21, 9)])
    known = Interactions.of(user, item, items=range(30))
    monkeypatch.setattr(recommend, "split_of", lambda _: known.leave_one_out())
    agent = make_ranking_agent(30, context=64)
    decisions = data.item_decisions("games", agent, 9, 0)
    assert sorted(one.step for one in decisions) == [20, 24]  # the third user has too few
    for one in decisions:
        first = 0 if one.step == 24 else 25
        history = item[first : first + one.step]
        np.testing.assert_array_equal(one.trace.action, history)
        scores = decision_scores(agent, one.trace)[one.step]
        np.testing.assert_allclose(scores, history_scores(agent.network, [history])[0], atol=1e-4)
        mask = one.trace.action_mask
        assert mask is not None and mask[:-1].all()
        assert set(np.flatnonzero(~mask[-1])) == set(history.tolist())


def test_a_question_is_a_session_of_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("polars")
    folder = tmp_path / "banking77"
    folder.mkdir()
    asked = {
        "train": [("Where is my card?", "arrival"), ("I can't pay with it", "declined")] * 4,
        "test": [("Where is my other card?", "arrival"), ("my card", "arrival")],
    }
    for part, rows in asked.items():
        with (folder / f"{part}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("text", "category"), *rows])
    monkeypatch.setenv("SEQEL_DATA", str(tmp_path))
    monkeypatch.setattr(data, "HERE", tmp_path / "benchmarks")
    monkeypatch.setattr(data, "TEXT", data.TEXT | {"network.width": 16, "network.layers": 1})
    agent = data.train_text(tmp_path / "run", 0, 2)
    assert agent.network.config.policy_head == "greedy" and not agent.network.config.previous_action
    (one,) = data.text_decisions(agent, 5, 0)  # the other has too few words
    assert one.step == 4 and len(one.trace) == 5
    (codes,) = (leaf[:5, 0] for leaf in one.trace.observation.values())
    assert codes[3] == 0 and (codes[[0, 1, 2, 4]] > 0).all()  # "other" is in no training question
    assert data.text_score(agent)["accuracy"] in (0.0, 1.0)


def test_nothing_passes_without_steps_that_decide() -> None:
    agent = make_agent((8,), context=16, layers=1)
    traces = [make_trace(agent, 8, seed) for seed in range(10)]
    best = [int(np.abs(attribute(agent, trace, "occlusion", [7])[0, :7]).argmax()) for trace in traces]
    same = [Decision(trace, 7, (step,), trace) for trace, step in zip(traces, best, strict=True)]
    found = measure(agent, same, 0, make_agent((8,), layers=1))
    assert found["decides"] == 0.0 and found["methods"]["occlusion"]["first"] == 1.0
    assert not any(one["passes"] for one in found["methods"].values())
    altered = [
        Decision(one.trace, 7, one.relevant, other.trace) for one, other in zip(same, [*same[1:], same[0]], strict=True)
    ]
    changed = measure(agent, altered, 0, areas=False)
    assert changed["methods"]["occlusion"]["passes"] == (changed["decides"] >= 0.5)
    assert 0.0 < changed["decides"] <= 1.0 and not changed["methods"]["random"]["passes"]
    occlusion, chance = (found["methods"][name] for name in ("occlusion", "random"))
    assert len(occlusion["deletion"]) == len(occlusion["insertion_exchanged"]) == 10
    assert np.mean(occlusion["deletion"]) < np.mean(chance["deletion"])
    assert -1.0 < occlusion["likeness"] < 1.0 and "deletion" not in changed["methods"]["occlusion"]


def test_the_report_joins_seeds_and_compares_decision_by_decision(tmp_path: Path) -> None:
    def method(deletion: list[float], insertion: list[float]) -> dict[str, Any]:
        return {"deletion": deletion, "insertion": insertion, "first": 1.0, "passes": True, "likeness": 0.2}

    for seed, shift in enumerate((0.0, 0.2)):
        methods = {
            "occlusion": method([0.1, 0.2], [0.9, 0.8 + shift]),
            "rollout": method([0.4, 0.5], [0.6, 0.5]),
            "random": method([0.5, 0.5], [0.5, 0.5]),
        }
        run = {"task": "maze", "seed": seed, "trained": {"decisions": 2, "decides": 0.75, "methods": methods}}
        (tmp_path / f"maze-seed{seed}.json").write_text(json.dumps(run | {"random": [run["trained"]]}))
    report = reports.report(tmp_path)
    assert "| occlusion | 0.150 | 0.900 | 1.000 | 0.200 |" in report
    # insertion less deletion: 0.8, 0.6, 0.8, 0.8, and 0.2, 0 twice for rollout
    assert "| occlusion | +0.750 (" in report and "| +0.650 (" in report
    assert "| 1 | random | 2 | 75% | 100.0%, passes |" in report


def test_an_interval_holds_the_mean_and_narrows_with_the_decisions() -> None:
    values = np.random.default_rng(0).normal(0.3, 1.0, 400)

    def width(some: np.ndarray) -> float:
        text = reports._interval(some).translate(str.maketrans("", "", "()to"))
        mean, low, high = map(float, text.split())
        assert low < mean < high
        return high - low

    assert width(values) == pytest.approx(2 * 1.96 / 20, rel=0.15)
    assert width(values[:100]) == pytest.approx(2 * 1.96 / 10, rel=0.2)
