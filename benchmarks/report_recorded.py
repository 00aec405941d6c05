"""The tables about recorded data: training, off-policy evaluation, continuing in an environment, imports.

`report.py` puts them into docs/benchmarks.md.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"
HELD = 20_000  # steps after the switch in which performance must not drop

DATA = {
    "cartpole": "`CartPole-v1`",
    "acrobot": "`Acrobot-v1`",
    "cartpole-hidden": "`CartPole-v1` without velocities",
    "tmaze20": "T-Maze 20",
    "memory-s7": "`MiniGrid-MemoryS7-v0`",
}
LEARNED = """## Learning from recorded data

50,000 transitions per task (`python benchmarks/offline_data.py`): 30 % random play, 70 % half-trained agents that take one
action in ten at random. Training uses these transitions only (`python benchmarks/offline.py`); then 100 fresh episodes are
played. Figures are in the order of the seeds 0, 1, 2, ...; the settings of each run are in its JSON file. The peer
(`benchmarks/peers/README.md`) sees one observation in fully observed tasks and up to four stacked observations elsewhere. Its
figures are those of its last weights, with the setting that its tuning chose."""
ESTIMATED = """## What a policy would earn, from recorded data alone

Eight policies per task, estimated from the same data (`python benchmarks/ope.py`). Their true values were measured by
playing. The discount is 0.99. The last columns are the estimates of SCOPE-RL on the same data, given our fitted values and
the recorded probabilities: direct method, self-normalised per-decision importance sampling, self-normalised doubly robust."""
ONLINE = """## From recorded data on to an environment

Trained on the data, then for 60,000 steps in the environment (preset `offline-online`,
`python benchmarks/offline_online.py`). The incumbent acts in three quarters of the environments; the challenger acts and
explores in the others. *Incumbent*: greedy episodes on 50 seeds that nothing else uses, every 1,000 steps; these weights are
also the ones that are saved. *Training episodes*: the last hundred episodes of all environments, challenger and exploration
included. *Learner*: the weights that would act without an incumbent. Before and after: 100 fresh episodes."""
IMPORTS = """## Ten million rows of recorded sessions

Commands: `python benchmarks/import_rows.py`."""


def read(folder: str) -> list[dict[str, Any]]:
    """Every result in a folder, in order of their names."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted((RESULTS / folder).glob("*.json"))]


def learned() -> str:
    """Ours, cloning, and the peer; one row per task."""
    ours: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for run in read("offline"):
        ours[run["task"], run["preset"]].append(run)
    best = RESULTS / "offline" / "peers" / "best.json"
    rows = json.loads(best.read_text()) if best.exists() else []
    peers = {(row["task"], row["algorithm"]): row["means"] for row in rows if not row["whole_history"]}
    mixture = {run["task"]: run for run in read("offline/data")}
    lines = [
        "| task | recorded (half-trained alone) | `offline-cql` | mean | cloning | mean | d3rlpy CQL | d3rlpy BCQ |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for task, what in DATA.items():
        if (task, "offline-cql") not in ours:
            continue
        facts = mixture[task]
        cells = [f"{facts['mixture']['mean']:.4g} ({facts['half_trained']['mean']:.4g})"]
        for preset in ("offline-cql", "behaviour-cloning"):
            means = [run["mean"] for run in sorted(ours[task, preset], key=lambda run: run["seed"])]
            cells += ["; ".join(f"{mean:.4g}" for mean in means), f"{np.mean(means):.4g}" if means else ""]
        for name in ("cql", "bcq"):
            cells.append("; ".join(f"{mean:.4g}" for mean in peers.get((task, name), [])))
        lines.append(f"| {what} | " + " | ".join(cells) + " |")
    whole = [row for row in rows if row["whole_history"]]
    if whole:
        found = "; ".join(
            f"{row['algorithm'].upper()} {', '.join(f'{mean:.4g}' for mean in row['means'])}" for row in whole
        )
        lines.append(f"\nT-Maze 20 with its whole history, 21 observations, stacked for the peer: {found}.")
    return "\n".join(lines) if len(lines) > 2 else ""


def estimated() -> str:
    """One row per policy, and the totals."""
    parts = []
    for run in read("ope"):
        peers = {one["policy"]: one["estimates"] for one in read(f"ope/peers/{run['task']}")}
        sums = (
            f"**{DATA[run['task']]}**: rank correlation {run['rank_correlation']:.3f}; {run['inside']} of {len(run['rows'])} "
            f"true values inside the 95 % interval; its median width is {run['median_width']:.1%} of the policies' range; "
            f"{run['seconds']:.0f} s.\n"
        )
        lines = [
            sums,
            "| policy | true value | estimate | 95 % | SCOPE-RL direct | importance sampling | doubly robust |",
            "|---|---|---|---|---|---|---|",
        ]
        for row in run["rows"]:
            theirs = peers.get(row["policy"], {})
            cells = [_estimate(theirs.get(name)) for name in ("DM", "SNPDIS", "SNDR")]
            low, high = row["interval"]
            lines.append(
                f"| {row['policy']} | {row['true']:.4g} | {row['value']:.4g} | {low:.4g} to {high:.4g} | "
                + " | ".join(cells)
                + " |"
            )
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _estimate(found: dict[str, Any] | None) -> str:
    if not found or found["value"] is None:
        return ""
    bounds = found["interval"]
    return f"{found['value']:.4g}" + ("" if bounds is None else f" ({bounds[0]:.4g} to {bounds[1]:.4g})")


def online() -> str:
    """One row per run."""
    columns = (
        "task", "seed", "before", "incumbent: at first; lowest of 20,000 steps", "training episodes at 20,000; at the end",
        "learner, lowest of 20,000", "after", "seconds",
    )  # fmt: skip
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for run in read("offline-online"):
        held = [mean for steps, mean in run["learner"] if steps <= HELD]
        live = next(mean for steps, mean in run["live"] if steps >= HELD)
        lines.append(
            f"| {DATA[run['task']]} | {run['seed']} | {run['before']:.4g} | {run['served_before']:.4g}; "
            f"{run['served_lowest']:.4g} | {live:.4g}; {run['live'][-1][1]:.4g} | {min(held):.4g} | {run['after']:.4g} | "
            f"{run['online_seconds']:.0f} |"
        )
    return "\n".join(lines) if len(lines) > 2 else ""


def imports() -> str:
    """Ten million rows of recorded sessions into episodes."""
    found = next(iter(read("import")), None)
    if found is None:
        return ""
    lines = [
        "| file | GiB | import: rows/s | seconds | process, peak GiB | polars, sums only: rows/s | second start, s |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind, row in found["formats"].items():
        come, plain, again = row["import"], row["polars"], row["second_start"]
        lines.append(
            f"| {kind} | {row['file_gib']:.2f} | {come['rows_per_second']:,.0f} | {come['seconds']:.0f} | "
            f"{come['peak_gib']:.2f} | {plain['rows_per_second']:,.0f} | {again['seconds']:.2f} |"
        )
    if "training" in found:
        row = found["training"]
        lines.append(
            f"\nTraining on them (one core, context {row['context']}): {row['rows_per_second']:,.0f} trained rows/s, "
            f"{row['peak_gib']:.2f} GiB at the peak, {row['start_seconds']:.1f} s from the start to the first update."
        )
    return "\n".join(lines)


def sections() -> list[str]:
    """Return headings and tables of the existing results."""
    found = ((LEARNED, learned()), (ESTIMATED, estimated()), (ONLINE, online()), (IMPORTS, imports()))
    return [part for heading, table in found if table for part in (heading, table)]
