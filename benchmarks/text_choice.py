"""Choosing among classes of a text with the Q-network: a session is a text, its action the right class, its reward 1."""

from __future__ import annotations

import csv
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import seqel

__all__ = ["BASE", "MODEL", "choose", "train_choice"]

MODEL = os.environ.get("MINILM", "sentence-transformers/all-MiniLM-L6-v2")
SCHEMA = """session = "session"
action = "answer"
actions = {actions}
reward = "reward"

[observation]
text = "text"
"""
BASE: dict[str, Any] = {
    "text.encoder": "pretrained", "text.model": MODEL, "text.length": 64, "network.width": 256, "network.layers": 1,
    "network.context": 2, "objective.discount": 0.0, "replay.batch_tokens": 64, "learner.warmup": 100, "threads": 1,
    "device": "cpu", "checkpoint_every": 0,
}  # fmt: skip


def train_choice(
    pairs: Sequence[tuple[str, str]], settings: dict[str, Any], updates: int, seed: int, name: str = ""
) -> tuple[seqel.Agent, list[str], list[tuple[int, float, float]]]:
    """Train on texts and their classes. Returns the agent, the classes, and (updates, seconds, nats) of validations.

    A tenth of the texts is held out for validation. `name` is printed with each validation.
    """
    names, curve = sorted({answer for _, answer in pairs}), []

    def watch(record: Any) -> None:
        if record.validation is not None:
            curve.append((record.updates, record.seconds, record.validation.mean))
            print(
                f"{name} {record.updates} updates, {record.seconds:.0f} s, {curve[-1][2]:.3f}",
                file=sys.stderr,
                flush=True,
            )

    with tempfile.TemporaryDirectory() as folder:
        table, schema = Path(folder) / "texts.csv", Path(folder) / "schema.toml"
        with table.open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["session", "text", "answer", "reward"])
            rows.writerows([number, *pair, 1] for number, pair in enumerate(pairs))
        schema.write_text(SCHEMA.format(actions=json.dumps(names, ensure_ascii=False)), encoding="utf-8")
        agent = seqel.train(
            data=table, schema=schema, steps=updates, seed=seed, preset="supervised-q", settings=BASE | settings,
            out=Path(folder) / "run", progress=watch,
        )  # fmt: skip
    return agent, names, curve


def choose(agent: seqel.Agent, names: Sequence[str], texts: Sequence[str], batch: int = 256) -> list[str]:
    """Return the class that the agent chooses for each text."""
    found: list[str] = []
    for start in range(0, len(texts), batch):
        decision, _ = agent.act({"text/text": list(texts[start : start + batch])})
        found += [names[int(one)] for one in decision.action]
    return found
