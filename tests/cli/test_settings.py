"""`seqel settings`: nothing that can be set is missing, and a preset shows what it changes."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from seqel.cli.main import main
from seqel.settings import list_settings
from seqel.training.config import RunConfig
from seqel.training.presets import PRESETS


def shown_by(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["settings", *arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_every_setting_is_listed_with_its_meaning_and_range(capsys: pytest.CaptureFixture[str]) -> None:
    found = shown_by(capsys)["settings"]
    assert [one["name"] for one in found] == [info.name for info in list_settings(RunConfig)]
    assert all(one["meaning"] and one["expected"] for one in found)


def test_a_section_shows_its_own_settings_alone(capsys: pytest.CaptureFixture[str]) -> None:
    names = [one["name"] for one in shown_by(capsys, "learner")["settings"]]
    assert "learner.learning_rate" in names and all(name.startswith("learner.") for name in names)


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("learner.learning_rate", "learner.learning_rate"),
        ("gamma", "objective.discount"),
        ("learning_rate", "learner.learning_rate"),
        ("learner.learning_rat", "learner.learning_rate"),
    ],
)
def test_a_name_or_a_near_miss_finds_the_setting(asked: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings", asked, "--json"]) == 0
    captured = capsys.readouterr()
    assert [one["name"] for one in json.loads(captured.out)["settings"]] == [meant]
    assert (f"did you mean {meant}?" in captured.err) == (asked != meant)


def test_a_name_that_nothing_resembles_is_refused_with_the_sections(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings", "zzzzzz"]) == 2
    assert "Sections: text, network, objective" in capsys.readouterr().err


def test_a_preset_shows_exactly_what_it_changes(capsys: pytest.CaptureFixture[str]) -> None:
    for shown in shown_by(capsys, "--presets")["presets"]:
        assert {one["name"]: one["new"] for one in shown["changes"]} == PRESETS[shown["name"]][1]
    (shown,) = shown_by(capsys, "--preset", "offline-online")["presets"]
    rate = next(one for one in shown["changes"] if one["name"] == "learner.learning_rate")
    assert (rate["old"], rate["new"]) == ("auto", 2e-4)
    assert main(["settings", "--preset", "offline-online"]) == 0
    assert '"auto" -> 0.0002' in capsys.readouterr().out


def test_a_section_under_a_preset_has_the_presets_values(capsys: pytest.CaptureFixture[str]) -> None:
    values = {
        one["name"]: one["value"] for one in shown_by(capsys, "learner", "--preset", "offline-online")["settings"]
    }
    assert values["learner.acting_weights"] == "incumbent" and values["learner.max_grad_norm"] == 1.0


def test_an_unknown_preset_is_refused_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings", "--preset", "ofline-cql"]) == 2
    assert "did you mean offline-cql?" in capsys.readouterr().err


def test_a_removed_preset_is_refused_with_the_way_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings", "--preset", "control"]) == 2
    assert "preset 'control' was removed, because one default replaces it" in " ".join(capsys.readouterr().err.split())


def test_it_does_not_wait_for_torch_or_numpy() -> None:
    script = (
        "import sys; from seqel.cli.main import main; main(['settings', 'learner']); "
        "sys.exit(' '.join({'torch', 'numpy'} & {*sys.modules}) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
