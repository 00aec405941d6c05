"""The recipe that docs/data.md shows: its estimate agrees with playing, and the policy is better than the record."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

RECIPE = Path(__file__).parents[2] / "recipes" / "customers.py"


def seqel(*arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "seqel", *arguments, "--json"], capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_from_a_table_to_a_policy(tmp_path: Path) -> None:
    sys.path.insert(0, str(RECIPE.parent))
    import customers

    table, schema, run = (str(tmp_path / name) for name in ("sessions.csv", "schema.toml", "run"))
    customers.write_sessions(Path(table), 1_500)
    Path(schema).write_text(customers.SCHEMA, encoding="utf-8")
    small = ["--set", "replay.batch_tokens=256", "--set", "network.width=32", "--set", "threads=1"]
    seqel("train", "--data", table, "--schema", schema, "--updates", "800", "--out", run, *small)
    found = seqel("evaluate", run, "--data", table, "--updates", "500")
    true, error = customers.play(Path(run), 500)
    value = found["policies"][0]["value"]
    assert true > 0.8  # an agent that forgets the first message earns at most half of that
    assert value["low"] - 2 * error <= true <= value["high"] + 2 * error
    assert found["verdict"].startswith("this agent is estimated to earn +")
    assert found["recorded"]["value"]["value"] < 0.4
