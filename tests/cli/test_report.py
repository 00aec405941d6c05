"""`seqel report`: two runs of seconds, the cache, the page in a browser, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import seqel
from seqel.cli.main import main
from seqel.evaluation import recording
from support import MAZE, TINY
from support_browser import chromium, needs_chromium


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache folder of the tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("report")
    for seed in (0, 1):
        seqel.train(MAZE, steps=400, seed=seed, out=folder / f"run-{seed}", settings=TINY, progress=False)
    return [str(folder / f"run-{seed}") for seed in (0, 1)]


def report(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["report", *arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_the_figures_are_those_of_evaluate(runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "page.html"
    found = report(capsys, *runs, "--episodes", "12", "--seed", "3", "--out", str(out))
    assert main(["evaluate", runs[0], "--episodes", "12", "--seed", "3", "--json"]) == 0
    evaluated = json.loads(capsys.readouterr().out)
    first = found["runs"][0]
    for name in ("mean", "iqm", "interval", "success"):
        assert first["episodes"][name] == evaluated[name]
    assert first["hardest"][0]["return"] == min(evaluated["returns"])
    assert first["label"] == found["runs"][1]["label"], "they differ by the seed"
    assert found["comparison"]["groups"][0]["runs"] == 2
    assert "run-0" in out.read_text() and "<script" not in out.read_text()


def test_episodes_are_kept_until_something_changes(
    runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = [runs[0], "--episodes", "5", "--out", str(tmp_path / "page.html")]
    before = report(capsys, *given)

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("played again")

    with monkeypatch.context() as patch:
        patch.setattr("seqel.reports.played.play_recorded", refuse)
        assert report(capsys, *given) == before
        for change in (["--seed", "9"], ["--fresh"], ["--env-arg", "length=4"]):
            with pytest.raises(AssertionError, match="exit code"):
                assert main(["report", *given, *change]) == 0, "exit code"
    assert recording.play_recorded is not refuse
    place = Path(runs[0], "report", "episodes-5-0", "arrays.safetensors")
    files = list(place.parent.iterdir())
    assert files
    files[0].write_bytes(b"damaged")
    assert report(capsys, *given) == before, "a damaged cache is played again"


def test_the_episodes_of_a_run_from_elsewhere_are_played_again(
    runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files may claim anything."""
    given = ["--episodes", "3", "--out", str(tmp_path / "page.html")]
    before = report(capsys, runs[0], *given)
    foreign = str(shutil.copytree(runs[0], tmp_path / "run-0"))
    played: list[int] = []
    real = recording.play_recorded

    def count(*given: Any, **named: Any) -> Any:
        played.append(1)
        return real(*given, **named)

    monkeypatch.setattr("seqel.reports.played.play_recorded", count)
    assert report(capsys, foreign, *given)["runs"][0]["returns"] == before["runs"][0]["returns"] and played == [1]
    report(capsys, foreign, *given, "--trust")
    assert played == [1]


def test_the_terminal_shows_runs_and_groups(
    runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [f"one={runs[0]}", f"other={runs[1]}", "--episodes", "5", "--out", str(tmp_path / "page.html")]
    assert main(["report", *given]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "one: interquartile mean" in shown and "one beats other with probability" in shown and "report:" in shown


def test_labels_group_runs(runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [f"one={runs[0]}", f"other={runs[1]}"]
    found = report(capsys, *given, "--episodes", "5", "--out", str(tmp_path / "page.html"))
    assert [group["label"] for group in found["comparison"]["groups"]] == ["one", "other"]
    assert found["comparison"]["groups"][0]["interval"] == [None, None], "a single run"


@pytest.mark.parametrize("arguments", [[], ["nowhere"], ["RUN", "RUN"]])
def test_what_cannot_be_reported_is_refused(
    runs: list[str], tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    given = [runs[0] if text == "RUN" else text for text in arguments]
    assert main(["report", *given, "--out", str(tmp_path / "page.html")]) != 0
    assert not (tmp_path / "page.html").exists()
    assert capsys.readouterr().err


@needs_chromium
def test_the_page_fits_a_phone(runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "page.html"
    report(capsys, *runs, "--episodes", "5", "--out", str(out))
    with chromium() as opened:
        for width, scheme in ((390, "dark"), (1200, "light")):
            context = opened.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
            page = context.new_page()
            messages: list[str] = []
            page.on("console", lambda message, kept=messages: kept.append(message.text))
            requests: list[str] = []
            page.on("request", lambda request, kept=requests: kept.append(request.url))
            page.goto(out.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "no horizontal scroll"
            assert requests == [out.as_uri()] and messages == []
            assert page.locator("svg.chart").count() >= 8
            dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (dark == "rgb(20, 25, 31)") == (scheme == "dark")
            context.close()
