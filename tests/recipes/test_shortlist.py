"""The recipe that docs/tasks.md names: from a file of sentences with their intents to an agent and what it earns."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest

from seqel import Agent
from support_customers import corpus
from support_recipes import load_recipe
from tiny_models import tiny_encoder


def test_from_sentences_to_rewards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("SEQEL_MODELS", str(tiny_encoder().parent))
    sentences, costs, out = tmp_path / "sentences.csv", tmp_path / "costs.toml", tmp_path / "run"
    data = corpus()
    with sentences.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "category", "split"])
        for split, some in data.by_intent.items():
            rows.writerows(
                [text, name, split] for name, texts in zip(data.intents, some, strict=True) for text in texts
            )
            rows.writerows([text, "", split] for text in data.out_of_scope[split])
    costs.write_text('[wrong_of]\n"card lost" = -5.0\n')
    recipe = load_recipe("shortlist")
    small = {"network.width": 16, "network.layers": 1, "network.context": 16, "learner.compile": "off"}
    monkeypatch.setattr(recipe, "SETTINGS", recipe.SETTINGS | small | {"replay.batch_tokens": 256})
    few = ["--shifts", "30", "--updates", "20", "--test-shifts", "4"]
    given = [str(sentences), "--costs", str(costs), "--model", str(tiny_encoder()), "--out", str(out), *few]
    monkeypatch.setattr(sys, "argv", ["shortlist.py", *given])
    recipe.main()
    said = capsys.readouterr().out
    assert "30 shifts recorded in" in said
    for name in ("always answers", "one-step lookahead", "agent"):
        assert f"\n{name}\nresolution " in said
    assert said.count(f"customers                {4 * 8}\n") == 3  # the same number of each
    assert Agent.load(out).action_spec.actions == 6
