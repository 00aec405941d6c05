"""`seqel bench`: every part is timed, as a table and as JSON."""

from __future__ import annotations

import json

import pytest

from seqel.cli.main import main

SMALL = ["--width", "16", "--heads", "2", "--context", "6", "--steps", "60", "--repeats", "3"]


@pytest.mark.parametrize(("what", "key"), [("update", "ms"), ("act", "steps_per_s"), ("replay", "ms")])
def test_json_contains_the_figures_and_what_they_depend_on(
    what: str, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", what, *SMALL, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found[key] > 0.0
    assert found["shapes"]["width"] == 16
    assert {"cpu", "cores", "threads", "versions", "busy"} <= set(found["machine"])
    assert found["machine"]["processor"]["float32_gflop_per_s"] > 0.0


def test_environments_are_compared_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "env", "--env", "CartPole-v1", "--envs", "2", "--repeats", "2"]) == 0
    shown = capsys.readouterr().out
    assert "sync, 2 environments" in shown and "async, 2 environments" in shown
    assert "GFLOP/s in float32 with" in " ".join(shown.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bench", "env"], "--env: expected with"),
        (["bench", "act", "--env", "CartPole-v1"], "--env: expected with"),
        (["bench", "act", "--repeats", "0"], "at least 1"),
        (["bench", "update", "--batch", "0"], "batch: expected at least 1"),
    ],
)
def test_a_wrong_option_gives_one_message(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) != 0
    assert message in capsys.readouterr().err
