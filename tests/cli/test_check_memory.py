"""`seqel check` reports that a default run would not fit into memory, instead of failing as the run would."""

from __future__ import annotations

import json

import pytest

from seqel.cli.main import main
from seqel.environments.probe import probe
from seqel.environments.resolve import resolve
from seqel.training.config import preset
from seqel.training.hardware import memory
from seqel.training.resolve import for_environment


def test_check_warns_if_a_default_run_does_not_fit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = probe(resolve("CartPole-v1"), steps=200)
    parts = memory.memory_needed(for_environment(preset(), found), found.observation, found.action)
    present = sum(size for size, _ in parts.values()) - (parts["the replay"][0] >> 1)
    monkeypatch.setattr(memory, "memory_present", lambda: present)
    assert main(["check", "CartPole-v1", "--steps", "200", "--json"]) == 0
    warnings = json.loads(capsys.readouterr().out)["warnings"]
    assert any("GiB of memory" in text and "are available" in text for text in warnings)
