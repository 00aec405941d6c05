from __future__ import annotations

from pathlib import Path

import pytest

from seqel.errors import ConfigError
from seqel.tasks.customers.costs import Costs


def test_a_table_of_costs(tmp_path: Path) -> None:
    path = tmp_path / "costs.toml"
    path.write_text('escalation = -0.5\n[wrong_of]\n"card lost" = -5\n')
    costs = Costs.read(path)
    assert costs.escalation == -0.5 and costs.right == 1.0
    assert costs.wrong_by_intent(["balance", "card lost"]).tolist() == [-1.0, -5.0]
    with pytest.raises(ConfigError, match="names of intents, such as 'balance', got 'card lost'"):
        costs.wrong_by_intent(["balance"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("wrong = 1.0", "wrong: expected a cost of at most 0"), ("right = 'much'", "right: expected a finite number"),
        ("left = nan", "left: expected a finite number"), ("queue = true", "queue: expected a finite number"),
        ("lost = -1", "expected entries among"), ("wrong_of = -5", "expected a table of intents"),
        ("[wrong_of]\nx = 3", "wrong_of.x: expected a cost"), ("right = ", "in TOML"),
    ],
)  # fmt: skip
def test_a_bad_table_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "costs.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        Costs.read(path)
    with pytest.raises(ConfigError, match="expected a table of costs"):
        Costs.read(tmp_path / "missing.toml")
