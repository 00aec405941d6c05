"""The figures of a report: distributions, action use, hardest episodes, groups, and settings that differ."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from seqel.evaluation.recording import PlayedEpisodes
from seqel.reports.figures import RunSource, action_use, distribution, finite, hardest, learning_curve, run_figures
from seqel.reports.page import report_page
from seqel.reports.report import compare_groups, differing_settings, group_labels, report_figures
from seqel.spaces import ActionSpec

ACTION = ActionSpec((3,), (5,))


def played(returns: list[float], seed: int = 10) -> PlayedEpisodes:
    """Episodes of one step."""
    count = len(returns)
    return PlayedEpisodes(
        np.arange(count, dtype=np.float32), np.array(returns), np.arange(count)[:, None] % 2, np.ones(count, np.int64),
        np.ones(count, bool), np.full(count, np.nan), seed,
    )  # fmt: skip


def source(name: str, returns: list[float], label: str = "", task: str = "T-v0", **config: Any) -> RunSource:
    return RunSource(name, f"runs/{name}", label or name, task, {"seed": 0, **config}, [], 0.9, ACTION, played(returns))


def test_whole_numbers_have_a_bin_each() -> None:
    found = distribution(np.array([1, 1, 3]))
    assert found["counts"] == [2, 0, 1] and found["edges"] == [0.5, 1.5, 2.5, 3.5]
    assert distribution(np.array([2.0, 2.0]))["counts"] == [2]
    assert sum(distribution(np.random.default_rng(0).normal(size=99))["counts"]) == 99


def test_action_use_counts_from_the_start_of_the_space() -> None:
    """Actions 0, 1, 0, 1, 0 with values 0 to 4: action 5 in 3 of 5 steps with the mean value 2."""
    (rows,) = action_use(played([0.0] * 5), ACTION)
    assert [(row["action"], row["share"]) for row in rows] == [("5", 0.6), ("6", 0.4), ("7", 0.0)]
    assert rows[0]["value"] == 2.0 and rows[1]["value"] == 2.0 and np.isnan(rows[2]["value"])


def test_rare_actions_are_summed_up() -> None:
    many = PlayedEpisodes(
        np.ones(60, np.float32), np.zeros(60), np.arange(60)[:, None] % 30, np.ones(60, np.int64), np.ones(60, bool),
        np.full(60, np.nan), 0,
    )  # fmt: skip
    (rows,) = action_use(many, ActionSpec((30,), (0,)))
    assert len(rows) == 21 and rows[-1]["action"] == "10 others" and rows[-1]["share"] == pytest.approx(1 / 3)


def test_the_hardest_episodes_come_first_with_their_seeds() -> None:
    found = hardest(played([3.0, -1.0, 2.0]), "runs/my run", " --env X-v0", most=2)
    assert [(one["seed"], one["return"]) for one in found] == [(11, -1.0), (12, 2.0)]
    assert found[0]["command"] == "seqel explain 'runs/my run' --seed 11 --env X-v0"


def test_a_curve_of_recorded_data_counts_updates() -> None:
    line = {"steps": 0, "updates": 7, "validation": {"mean": -0.5, "agreement": 0.9, "unexplained": 0.5}}
    found = learning_curve([line])
    assert found["unit"] == "updates" and found["recorded"] and found["validation"][0]["at"] == 7
    online = learning_curve(
        [{"steps": 9, "updates": 7, "return": 1.0, "validation": {"mean": 2.0, "interval": [1, 3]}}]
    )
    assert online["training"] == [[9, 1.0]] and online["validation"][0] | {"success": None} == {
        "at": 9, "mean": 2.0, "low": 1, "high": 3, "success": None,
    }  # fmt: skip


def test_settings_that_differ_leave_the_seed_out() -> None:
    configs = {"a": {"seed": 0, "x": 1, "y": 2}, "b": {"seed": 1, "x": 1, "y": 3}, "c": {}}
    assert differing_settings(configs) == [{"setting": "y", "values": {"a": 2, "b": 3, "c": None}}]


def test_runs_that_differ_by_the_seed_alone_are_a_group() -> None:
    base = {"network.width": 8, "threads": 1}
    configs = {
        "a-0": {**base, "seed": 0}, "a-1": {**base, "seed": 1, "threads": 2}, "b-0": {**base, "network.width": 16, "seed": 0},
        "other": {}, "another": {},
    }  # fmt: skip
    labels = group_labels(configs)
    assert labels["a-0"] == labels["a-1"] == "width 8" and labels["b-0"] == "width 16"
    assert labels["other"] == "other" and labels["another"] == "another", "nothing is known of them"


def test_groups_are_compared_on_the_mean_returns_of_their_runs() -> None:
    found = compare_groups(
        [source("a", [1, 3], "A"), source("b", [4, 4], "A"), source("c", [0, 2], "B"), source("d", [2], "B")]
    )
    assert found is not None and found["rescaled"] is None
    assert [(group["label"], group["scores"]) for group in found["groups"]] == [
        ("A", [[2.0, 4.0]]),
        ("B", [[1.0, 2.0]]),
    ]
    assert found["improvement"][0]["probability"] == (0.5 + 1 + 1 + 1) / 4
    assert found["groups"][0]["iqm"] == 3.0


def test_several_tasks_are_rescaled_by_their_worst_and_best_runs() -> None:
    sources = [
        source("a", [0], "A", "S"),
        source("b", [10], "B", "S"),
        source("c", [5], "A", "T"),
        source("d", [-5], "B", "T"),
    ]
    found = compare_groups([*sources, source("e", [1], "A", "only one has it")])
    assert found is not None and found["tasks"] == ["S", "T"]
    assert [group["scores"] for group in found["groups"]] == [[[0.0], [1.0]], [[1.0], [0.0]]]
    assert compare_groups([source("a", [0], "A", "S"), source("b", [0], "B", "T")])["groups"] == []  # type: ignore[index]


def test_one_run_is_not_compared() -> None:
    assert compare_groups([source("a", [1, 2])]) is None


def test_values_that_were_not_trained_are_not_calibrated() -> None:
    found = run_figures(source("a", [1, 2], **{"objective.td_weight": 0.0}))  # type: ignore[arg-type]
    assert found["calibration"] is None and "did not train values" in found["calibration_note"]


def test_the_figures_survive_json_and_the_page_needs_nothing_else() -> None:
    figures = report_figures([source("a<b", [1.0, 2.0]), source("c", [3.0, 1.0])], {"episodes": 2, "seed": 10})
    text = json.dumps(figures, allow_nan=False)
    assert report_page(json.loads(text), "<two>") == report_page(figures, "<two>")
    page = report_page(figures, "<two>")
    assert "a<b" not in page and "a&lt;b" in page and "<two>" not in page
    assert "NaN" not in page and "None" not in page.replace("None besides the seed", "")


def test_a_run_on_recorded_data_shows_its_held_out_figures() -> None:
    line = {
        "steps": 0,
        "updates": 7,
        "seconds": 1.0,
        "validation": {"mean": -0.5, "agreement": 0.9, "first_value": 2.0},
    }
    recorded = RunSource("a", "runs/a", "a", "", {"seed": 0}, [line, {**line, "updates": 9}], 0.9, ACTION, None)
    page = report_page(report_figures([recorded], {"episodes": 2, "seed": 0}), "a")
    assert "Agreement with the recorded action" in page and "Expected and earned" in page
    assert "No episodes were played" in page and "None" not in page


def test_numbers_that_are_not_finite_are_null() -> None:
    assert finite({"a": (np.float64("nan"), 1), "b": np.array([1.5]), "c": "x"}) == {
        "a": [None, 1],
        "b": [1.5],
        "c": "x",
    }
