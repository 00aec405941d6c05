from __future__ import annotations

import json
from pathlib import Path

import pytest

from seqel.cli.main import main
from support_text import agent


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return agent().save(tmp_path / "agent")


def test_texts_as_json(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", str(run), "--prompt", "ab", "--prompt", "c", "--n", "2", "--seed", "0", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["dial"] == 1.0
    assert [one["prompt"] for one in found["texts"]] == ["ab", "ab", "c", "c"]
    assert all(len(one["text"]) <= 8 for one in found["texts"]) and any(one["text"] for one in found["texts"])


def test_texts_to_read(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", str(run), "--prompt", "[b]", "--n", "2", "--seed", "0", "--length", "3"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("[b]") == 2 and "---" in shown  # markup in a text is text


def test_mistakes_are_named(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, said in (
        ([str(tmp_path / "nowhere")], "no agent in"), ([str(run), "--n", "0"], "n: expected at least 1"),
        ([str(run), "--dial", "-1"], "dial: expected a number of at least 0"),
    ):  # fmt: skip
        assert main(["generate", *arguments]) != 0
        assert said in capsys.readouterr().err


def test_filters(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "judge.py").write_text("def never(text):\n    return False\n\n\ndef always(text):\n    return True\n")
    (tmp_path / "phrases.txt").write_text("a\nb\nab\nba\naa\nbb\n")
    command = ["generate", str(run), "--n", "8", "--seed", "0", "--json"]
    assert main([*command, "--block", "phrases.txt", "--harmful", "judge:never"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["notes"] == [] and not any(one["text"] in ("a", "b") for one in found["texts"])
    assert main([*command, "--harmful", "judge:always"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert not any(one["text"] for one in found["texts"]) and "8 of 8 texts were withheld" in found["notes"][0]
    assert main([*command, "--block", "nowhere.txt"]) != 0
    assert "blocked phrases: cannot read nowhere.txt" in capsys.readouterr().err


def test_the_dial_is_measured_and_drawn(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        "generate",
        str(run),
        "--prompt",
        "a",
        "--n",
        "5",
        "--reward",
        "builtins:len",
        "--plot",
        str(tmp_path / "p.png"),
    ]
    assert main([*command, "--json"]) == 0
    points = json.loads(capsys.readouterr().out)["points"]
    assert [point["name"] for point in points][:2] == ["dial 0", "dial 0.5"] and points[-1]["name"] == "best of 8"
    assert (tmp_path / "p.png").stat().st_size > 1_000
    assert main(command) == 0
    assert "best of 8" in capsys.readouterr().out
    for arguments, said in (
        (["--plot", "x.png"], "--plot needs --reward"), (["--reward", "len"], "--reward: expected module:function"),
        (["--reward", "nowhere_at_all:f"], "no module 'nowhere_at_all'"), (["--reward", "math:f"], "has no function 'f'"),
        (["--reward", "math:pi"], "expected a function, got float"),
    ):  # fmt: skip
        assert main(["generate", str(run), *arguments]) != 0
        assert said in capsys.readouterr().err


def test_training_on_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lines.txt").write_text("\n\n".join(["abc", "abd"] * 20))
    small = ["network.width=16", "network.layers=1", "network.heads=2", "replay.batch_tokens=128", "device=cpu"]
    command = ["train", "--text", "lines.txt", "--reward", "builtins:len", "--out", "run", "--prompt-length", "1"]
    command += ["--text-length", "5", "--samples", "10", "--updates", "6", *(f"--set={one}" for one in small)]
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["agent"] == "run/values" and [one["dial"] for one in found["texts"]] == [0.0, 1.0, 4.0]
    assert main(["generate", "run/values", "--prompt", "a"]) == 0
    capsys.readouterr()
    for arguments, said in (
        (["--text", "lines.txt"], "--text needs --reward"), (["--reward", "builtins:len"], "--reward needs --text"),
        (["CartPole-v1", "--text", "lines.txt", "--reward", "builtins:len"], "leave out ENV"),
        (["CartPole-v1", "--text-length", "5"], "--text-length needs --text"), (["--partial"], "--partial needs --text"),
        (["--text", "lines.txt", "--text", "pairs.jsonl", "--reward", "builtins:len"], "or pairs in *.jsonl files, got both"),
        (
            ["--text", "lines.txt", "--reward", "builtins:len", "--method", "ilql", "--rounds", "2"],
            "leave out --samples and --rounds",
        ),
        (
            ["--text", "lines.txt", "--reward", "builtins:len", "--method", "ilql", "--temperature", "0.5"],
            "leave out --samples and --rounds, and also --temperature",
        ),
    ):  # fmt: skip
        assert main(["train", *arguments]) != 0
        assert said in capsys.readouterr().err
