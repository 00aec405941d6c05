"""The picture of an estimate: labels that fit, whatever the policies are called."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from seqel.cli.main import main
from seqel.ope.estimation import OffPolicyEvaluation, PolicyValue
from seqel.ope.estimators import Estimate
from seqel.ope.plot import WIDEST, _escaped, _label, draw_estimate


def row(name: str, value: float, reason: str = "") -> PolicyValue:
    found = Estimate(value, value - 1.0, value + 1.0, "fitted")
    return PolicyValue(name, found, {}, 100.0, 0.5, 0.1, None, (reason,) if reason else (), reason)


def test_a_label_is_never_wider_than_its_column() -> None:
    lines = _label(
        "always " + "film " * 40, "it rarely does what was recorded, and its values are unstable"
    ).splitlines()
    assert max(map(len, lines)) <= WIDEST
    assert any(line.startswith("(?) it rarely") for line in lines)


def test_names_with_dollars_and_reasons_are_drawn(tmp_path: Path) -> None:
    found = OffPolicyEvaluation(
        row("recorded", 2.0), (row("agent", 3.0), row("always $x$ \\frac{", 1.0, "few sessions"), row("中" * 60, 0.5)),
        0.9, 50, 500, True, None,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of characters that its fonts lack
        draw_estimate(found, tmp_path / "estimate.png", "/very" * 40 + "/हिन्दी 🎬")
    assert (tmp_path / "estimate.png").read_bytes().startswith(b"\x89PNG")


def test_characters_that_no_font_has_are_escaped() -> None:
    latin = frozenset(range(32, 127)) | {ord("é")}
    assert _escaped("always 中é 🎬", latin) == "always \\u4e2dé \\U0001f3ac"
    assert _escaped("always 中", latin | {0x4E2D}) == "always 中"
    assert max(map(len, _label("中" * 60, None).splitlines())) == WIDEST // 2, "wide characters take two columns"


def test_a_plot_without_recorded_data_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(tmp_path), "--plot", "x.png"]) == 2
    assert "--plot needs --data" in capsys.readouterr().err
