"""Differences between groups: exact values, honest intervals over sessions, and the columns of tables."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import seqel
from seqel.cli.main import main
from seqel.datasets.dataset import load
from seqel.datasets.inspection.groups import column_of_sessions
from seqel.errors import ConfigError, DataError
from seqel.safety.groups import compare_groups, make_groups


def test_values_and_differences_worked_by_hand() -> None:
    reward, steps = np.array([4.0, 2.0, 9.0, 1.0]), np.array([2.0, 4.0, 3.0, 1.0])
    rows = compare_groups({"reward": (reward, steps)}, ["a", "a", "b", "b"], resamples=200)
    assert [(row.group, row.sessions, row.value) for row in rows] == [("a", 2, 1.0), ("b", 2, 2.5)]
    assert [row.difference for row in rows] == [-1.5, 1.5]
    assert rows[0].interval == (0.5, 2.0), "both sessions drawn twice: 8 / 4 and 4 / 8"
    three = compare_groups({"reward": (reward, steps)}, ["a", "a", "b", "c"], resamples=50)
    assert three[2].difference == 1.0 - 15 / 9 and np.isnan(three[2].interval[0]) and not three[2].clear
    with pytest.raises(DataError, match="two groups"):
        compare_groups({"reward": (reward, steps)}, ["a"] * 4)


def sessions(rng: np.random.Generator, n: int, apart: float = 0.0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Sessions of 50 steps whose rewards share a level: what differs between groups is `apart`."""
    groups = ["a" if rng.random() < 0.5 else "b" for _ in range(n)]
    level = rng.standard_normal(n) + apart * np.array([one == "a" for one in groups])
    return 50 * level + rng.standard_normal(n) * 7, np.full(n, 50.0), groups


def test_intervals_cover_the_truth_and_steps_are_not_taken_for_sessions() -> None:
    rng, inside, clear, too_narrow = np.random.default_rng(0), 0, 0, 0
    for _ in range(300):
        total, steps, groups = sessions(rng, 60)
        row = compare_groups({"reward": (total, steps)}, groups, resamples=300)[0]
        low, high = row.difference_interval
        inside += low <= 0.0 <= high
        clear += row.clear
        which = np.array([one == "a" for one in groups])
        deviation = np.sqrt(total.var() / 50 / 50 * (1 / (50 * which.sum()) + 1 / (50 * (~which).sum())) + 1e-12)
        too_narrow += abs(row.difference) > 1.96 * deviation  # as if the steps of a session were independent
    assert 0.90 < inside / 300 < 0.98 and clear / 300 < 0.06
    assert too_narrow / 300 > 0.5


def test_a_planted_difference_is_clear() -> None:
    rng = np.random.default_rng(1)
    found = []
    for _ in range(20):
        total, steps, groups = sessions(rng, 200, apart=1.0)
        found.append(
            compare_groups({"reward": (total, steps), "length": (steps, np.ones(200))}, groups, resamples=200)[0].clear
        )
    assert np.mean(found) > 0.9


def test_numbers_are_cut_into_quarters_and_many_names_are_refused() -> None:
    ages = [str(age) for age in range(100)] + [None]
    found = make_groups(ages)
    assert found[-1] == "(missing)" and sorted(set(found))[1:] == [
        "1:     0 to 24.75",
        "2: 24.75 to 49.5",
        "3:  49.5 to 74.25",
        "4: 74.25 to 99",
    ]
    assert [found.count(one) for one in sorted(set(found))] == [1, 25, 25, 25, 25]
    assert make_groups(["F", "M", None]) == ["F", "M", "(missing)"]
    with pytest.raises(ConfigError, match="got 20 names"):
        make_groups([f"n{number}" for number in range(20)])


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 users: women mostly get `b`, men `a`, and only `b` is paid for; the gender is not observed."""
    folder, rng = tmp_path_factory.mktemp("groups"), np.random.default_rng(0)
    lines = []
    for user in range(60):
        gender = "F" if user % 3 == 0 else "M"
        for step in range(int(rng.integers(2, 9))):
            act = ("a", "b")[int(rng.random() < (0.9 if gender == "F" else 0.1))]
            lines.append(
                {
                    "user": user,
                    "n": step,
                    "price": float(rng.integers(9)),
                    "act": act,
                    "pay": float(act == "b"),
                    "gender": gender,
                    "age": 20 + user,
                }
            )
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "schema.toml").write_text(
        'session = "user"\norder = "n"\naction = "act"\nreward = "pay"\nends = "terminated"\n'
        '[observation]\nprice = "number"\n'
    )
    return folder


def test_a_column_of_sessions_is_read_for_each_session_once(table: Path, tmp_path: Path) -> None:
    data = load(table / "log.jsonl", table / "schema.toml", tmp_path)
    found = column_of_sessions(data, table / "log.jsonl", "gender")
    assert dict(zip(data.sessions, found, strict=True)) == {str(u): "F" if u % 3 == 0 else "M" for u in range(60)}
    with pytest.raises(DataError, match="no_such"):
        column_of_sessions(data, table / "log.jsonl", "no_such")
    with pytest.raises(DataError, match="as in the rows before of session"):
        column_of_sessions(data, table / "log.jsonl", "price")


def test_the_commands_compare_data_and_decisions(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--schema", str(table / "schema.toml"), "--group"]
    assert main(["data", "check", str(table / "log.jsonl"), *where, "gender", "--json"]) == 0
    rows = {(row["metric"], row["group"]): row for row in json.loads(capsys.readouterr().out)["groups"]}
    assert (
        rows["act = b", "F"]["value"] > 0.8
        and rows["act = b", "F"]["clear"]
        and rows["act = b", "M"]["difference"] < -0.6
    )
    assert rows["reward per step", "F"]["clear"] and not rows["steps per session", "F"]["clear"]
    assert main(["data", "check", str(table / "log.jsonl"), *where, "age"]) == 0
    assert "difference" in capsys.readouterr().out
    settings = {"network.width": 16, "network.heads": 2, "network.layers": 1, "device": "cpu", "threads": 1}
    seqel.train(
        data=table / "log.jsonl",
        schema=table / "schema.toml",
        steps=5,
        out=tmp_path / "run",
        settings=settings,
        progress=False,
    )
    assert (
        main(["evaluate", str(tmp_path / "run"), "--data", str(table / "log.jsonl"), "--group", "gender", "--json"])
        == 0
    )
    rows = {(row["metric"], row["group"]): row for row in json.loads(capsys.readouterr().out)["groups"]}
    assert {name for name, _ in rows} >= {"agreement with the recorded action", "reward per step"}
    assert sum(
        rows[name, "F"]["value"] for name, _ in rows if _ == "F" and name.startswith("agent's")
    ) == pytest.approx(1.0)
    assert main(["evaluate", str(tmp_path / "run"), "--group", "gender"]) == 2
