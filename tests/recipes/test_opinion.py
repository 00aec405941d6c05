"""The recipe that docs/watching.md names: from a file of sentences to an agent that `seqel watch` takes."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest

from seqel.cli.main import main
from support_opinion import opinions
from support_recipes import load_recipe
from tiny_models import tiny_encoder


def test_from_sentences_to_alerts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("SEQEL_MODELS", str(tiny_encoder().parent))
    sentences, messages, out = tmp_path / "sentences.csv", tmp_path / "messages.jsonl", tmp_path / "run"
    some = opinions().sentences
    with sentences.open("w", encoding="latin-1", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["result", "content"])
        rows.writerow(["neutral", "The Société Générale meets"])  # no UTF-8
        for place, name in enumerate(("negative", "neutral", "positive")):
            rows.writerows([name, text] for split in some for text in some[split][place])
    recipe = load_recipe("opinion")
    small = {
        "network.width": 16,
        "network.layers": 1,
        "network.heads": 2,
        "network.context": 16,
        "learner.compile": "off",
    }
    monkeypatch.setattr(recipe, "SETTINGS", recipe.SETTINGS | small | {"replay.batch_tokens": 256})
    given = ["--model", str(tiny_encoder()), "--out", str(out), "--companies", "2", "--streams", "6", "--updates", "40"]
    given += ["--encoding", "latin-1"]
    monkeypatch.setattr(sys, "argv", ["opinion.py", str(sentences), *given])
    recipe.main()
    said = capsys.readouterr().out
    assert "messages recorded in" in said
    command = f"seqel watch {out} --input MESSAGES.jsonl --sentences {sentences} --encoding latin-1"
    assert command in said
    lines = [
        json.dumps({"time": 1_750_000_000 + 900 * n, "company": "Acme", "text": f"Losses grow at plant {n}"})
        for n in range(40)
    ]
    messages.write_text("\n".join(lines) + "\n")
    watch = command.replace("MESSAGES.jsonl", str(messages)).split()[1:]
    assert main([*watch, "--budget", "1 per day"]) == 0
    assert "40 messages" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        recipe.main()
    assert f"--out: expected a new folder, got {out}" in capsys.readouterr().err
