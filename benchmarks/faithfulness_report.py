"""The tables of what `faithfulness.py` measured, in Markdown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faithfulness_measure import AREAS

__all__ = ["differences", "report", "table"]

COLUMNS = (
    "deletion",
    "insertion",
    "deletion_exchanged",
    "insertion_exchanged",
    "rank",
    "first",
    "separation",
    "likeness",
)
DRAWS = 2_000
Methods = dict[str, dict[str, Any]]


def report(folder: Path) -> str:
    """Return the tables of all tasks: the methods over all seeds, their differences, and the ranks of each seed."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(folder.glob("*.json")):
        found.setdefault(path.stem.rpartition("-seed")[0], []).append(json.loads(path.read_text(encoding="utf-8")))
    parts = []
    for task, runs in found.items():
        methods = joined([one["trained"]["methods"] for one in runs])
        count = sum(one["trained"]["decisions"] for one in runs)
        parts.append(table(f"{task}: seeds {[one['seed'] for one in runs]}, {count} decisions", methods))
        parts.append(differences(methods))
        if "random" in runs[0]:
            parts.append(ranks(runs))
    return "\n\n".join(parts)


def joined(runs: list[Methods]) -> Methods:
    """Return the methods over several seeds: areas one after another, everything else as its mean."""
    out: Methods = {}
    for name in dict.fromkeys(name for methods in runs for name in methods):
        some = [methods[name] for methods in runs if name in methods]
        out[name] = {key: [value for one in some for value in one[key]] for key in some[0] if key in AREAS}
        for key in COLUMNS:
            known = [one[key] for one in some if key not in AREAS and one.get(key) is not None]
            if known:
                out[name][key] = float(np.mean(known))
    return out


def table(title: str, methods: Methods) -> str:
    """Return the methods as a table."""
    columns = [column for column in COLUMNS if any(column in found for found in methods.values())]
    lines = [title, "", f"| method | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name, found in methods.items():
        cells = ["" if found.get(column) is None else f"{np.mean(found[column]):.3f}" for column in columns]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def differences(methods: Methods) -> str:
    """Return a table of insertion less deletion, and of how much larger it is than that of random orders and of rollout."""
    against = [name for name in ("random", "rollout", "occlusion") if name in methods]
    ends = {"": "mean token", "_exchanged": "exchanged"}
    if "deletion_exchanged" not in methods["random"]:
        del ends["_exchanged"]
    lines = [
        f"| method | {' | '.join(f'{kind}, above {name}' for kind in ends.values() for name in against)} |",
        "|---" * (1 + len(ends) * len(against)) + "|",
    ]
    for name in methods:
        cells = []
        for end in ends:
            mine = _gap(methods[name], end)
            cells += ["" if one == name else _interval(mine - _gap(methods[one], end)) for one in against]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _gap(found: dict[str, Any], end: str) -> NDArray[np.float64]:
    """Return insertion less deletion of each decision: 0 is no better than chance, 1 the most."""
    return np.array(found[f"insertion{end}"]) - np.array(found[f"deletion{end}"])


def _interval(values: NDArray[np.float64]) -> str:
    """Return the mean with its 95 % bootstrap interval over decisions."""
    rng = np.random.default_rng(0)
    means = values[rng.integers(len(values), size=(DRAWS, len(values)))].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return f"{values.mean():+.3f} ({low:+.3f} to {high:+.3f})"


def ranks(runs: list[dict[str, Any]]) -> str:
    """Return, for each seed and network, how often a relevant step is first, and how often the relevant steps decide."""
    names = list(runs[0]["trained"]["methods"])
    lines = [f"| seed | weights | decisions | decide | {' | '.join(names)} |", "|---" * (4 + len(names)) + "|"]
    for run in runs:
        for weights, one in [("trained", run["trained"]), *(("random", other) for other in run["random"])]:
            cells = [
                f"{found['first']:.1%}{', passes' if found['passes'] else ''}" for found in one["methods"].values()
            ]
            lines.append(
                f"| {run['seed']} | {weights} | {one['decisions']} | {one['decides']:.0%} | {' | '.join(cells)} |"
            )
    return "\n".join(lines)
