"""Dialogues of two kinds, whose second action depends on what was said first; and an agent that was trained on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import seqel
from seqel.agents.agent import Agent
from seqel.datasets.dialogues import convert_dialogues

SETTINGS: dict[str, Any] = {
    "network.width": 32, "network.layers": 1, "network.context": 8, "replay.batch_tokens": 256, "learner.warmup": 10,
    "learner.learning_rate": 3e-3, "threads": 1, "device": "cpu",
}  # fmt: skip


def dialogues() -> list[dict[str, Any]]:
    found = []
    for number in range(60):
        if number % 2:
            said = [("I lost my card", "ask"), ("in Rome", "block the card")]
        else:
            said = [("what is my balance", "tell the balance")]
        turns = [
            turn
            for text, action in said
            for turn in ({"role": "customer", "text": text}, {"role": "agent", "action": action})
        ]
        found.append({"id": number, "turns": turns, "outcome": 1.0})
    return found


def train_support(folder: Path, preset: str, updates: int = 150) -> Agent:
    """Train on the dialogues; the run is in folder / "run"."""
    (folder / "chats.jsonl").write_text("".join(json.dumps(one) + "\n" for one in dialogues()))
    convert_dialogues([folder / "chats.jsonl"], folder / "table.jsonl")
    return seqel.train(
        data=folder / "table.jsonl", schema=folder / "table.toml", steps=updates, preset=preset, settings=SETTINGS,
        out=folder / "run", progress=False,
    )  # fmt: skip
