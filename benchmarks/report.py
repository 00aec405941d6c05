"""Write the tables of docs/benchmarks.md, and the rows in README.md, from the JSON files in benchmarks/results.

python benchmarks/report.py
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

import report_default
import report_recorded
from report_recorded import read

HERE = Path(__file__).parent
START, END = "<!-- results:start -->", "<!-- results:end -->"

WHAT = {
    "tmaze50": "passive T-Maze, length 50",
    "tmaze100": "passive T-Maze, length 100",
    "tmaze250": "passive T-Maze, length 250",
    "tmaze500": "passive T-Maze, length 500",
    "cartpole-hidden": "`CartPole-v1` without velocities",
    "cartpole-hidden-context-16": "`CartPole-v1` without velocities, `network.context` = 16 (episodes of 500 steps)",
    "cartpole": "`CartPole-v1`, 50,000 steps at most",
    "acrobot": "`Acrobot-v1`, 100,000 steps at most",
    "acrobot-memoryless": "`Acrobot-v1`, 100,000 steps at most, `--memoryless`",
    "memory-s7": "`MiniGrid-MemoryS7-v0`",
    "repeat-previous-medium": "`popgym-RepeatPreviousMedium-v0`",
    "count-recall-easy": "`popgym-CountRecallEasy-v0`",
    "cartpole-hidden-refreshed": "`CartPole-v1` without velocities, open episodes' keys recomputed after every update",
    "tmaze100-refreshed": "T-Maze 100, open episodes' keys recomputed after every update",
    "cartpole-hidden-bf16-compiled": "`CartPole-v1` without velocities, bf16 and compiled",
    "tmaze100-bf16-compiled": "T-Maze 100, bf16 and compiled",
    "car-flag": "Car Flag (Esslinger et al. 2022)",
    "combination-lock": "Combination Lock: 3 dials with 5 positions, set at once",
    "combination-lock-flat": "the same lock, with one action for each of the 125 combinations",
    "shuffled-objects": "Shuffled Objects, as a set of entities",
    "shuffled-objects-flat": "Shuffled Objects, as one vector",
    "memory-cards": "Memory Cards (Esslinger et al. 2022): random play -37.4, perfect memory -4.9",
    "tmaze50-rewards-x0.01": "T-Maze 50, rewards times 0.01",
    "tmaze50-rewards-x100": "T-Maze 50, rewards times 100",
}

LEARNING = """## Learning with the presets of version 0.1

Command: `python benchmarks/learn.py`, with the presets of version 0.1. The default has changed since, and the other presets
of this table were removed; [their settings](experiments.md#one-default) reproduce these figures.

A run ends when its threshold is confirmed on 100 further validation episodes, or when its steps are used up. Then 100
(MemoryS7: 200) fresh episodes are played, with seeds from 10,000. Seconds include validation. Figures are in the order of
the seeds. MemoryS7 does not report success; there, a return is above 0 only for a successful
episode and at most 1, so a mean of 0.96 means at least 96 successes in 100. Combination Lock and Shuffled Objects were run
while other programs used the machine, so their seconds are too high."""
PEERS = """## Stable-Baselines3 DQN, tuned as in its zoo

Command and settings: `benchmarks/peers/README.md`; both use the same seeds for fresh episodes. Compare our figures
with the best of ten checkpoints, because Seqel also keeps its best weights by validation."""
SPEED = """## Speed at the public DTQN code's shapes

One core, context 50, width 128, 2 layers, 8 heads, batch 32, back to back. Command:
`python benchmarks/update_vs_dtqn.py --checkout FOLDER [--precision bf16] [--compile]`."""

SOLVE = """## Seconds to solve, next to the public DTQN code

One core each. DTQN uses its own environments, agent and settings (`benchmarks/peers/dtqn/solve.py`, one seed, at most an
hour, evaluation time not counted). Ours: `python benchmarks/learn.py --only NAME`, validation time counted."""
PIXELS = """## A game with image observations, next to Stable-Baselines3 DQN

Half an hour of training on one core each, at the same time, seed 0. Seqel uses 16 environments, Stable-Baselines3 one (its
default). Our validation time is counted, theirs is not. Commands: `python benchmarks/pixels.py`,
`benchmarks/peers/sb3/pixels.py`. A validation plays 20 episodes. At the end, 100 fresh episodes are played: with the weights
of the best validation for Seqel, with the last weights for Stable-Baselines3. `control` is a
[preset of version 0.1](experiments.md#one-default)."""
TABLE = """## The parts, and how they grow

One thread. Update: 32 windows of 50 steps (about 1,600 transitions, independent of the context), 2 layers. Act: one step of
every environment. The whole loop ran with the defaults of version 0.1. Command: `make bench`, or
`python benchmarks/speed_table.py --full`."""


def learning() -> str:
    """One row per task and trunk: fresh episodes, steps and seconds, one figure per seed."""
    rows: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for found in read("learn"):
        rows[found["task"], found["trunk"]].append(found)
    lines = [
        "| task | preset | trunk | seeds | mean return on fresh episodes | success | environment steps | seconds, one core |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for task in WHAT:
        for trunk in ("transformer", "gru"):
            runs = sorted(rows.get((task, trunk), []), key=lambda found: found["seed"])
            if not runs:
                continue
            success = "" if runs[0]["success"] is None else each(runs, lambda r: f"{r['success']:.0%}")
            lines.append(
                f"| {WHAT[task]} | {runs[0]['preset']} | {trunk} | {each(runs, lambda r: str(r['seed']))} "
                f"| {each(runs, lambda r: format(r['mean'], '.4g'))} | {success} "
                f"| {each(runs, lambda r: format(r['steps'], ','))} | {each(runs, lambda r: format(r['seconds'], '.0f'))} |"
            )
    return "\n".join(lines)


def each(runs: list[dict[str, Any]], text: Any) -> str:
    """One figure per seed."""
    return "; ".join(text(run) for run in runs)


def peers() -> str:
    """Stable-Baselines3 DQN's final and best figures, as measured here."""
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for found in read("peers"):
        if str(found.get("peer", "")).lower().startswith("stable") and "best_checkpoint" in found:
            rows[found["env"]].append(found)
    lines = [
        "| task | steps | last weights, one figure per seed | best of ten checkpoints | seconds |",
        "|---|---|---|---|---|",
    ]
    for env, runs in rows.items():
        runs.sort(key=lambda found: found["seed"])
        lines.append(
            f"| `{env}` | {runs[0]['steps']:,} | {each(runs, lambda r: format(r['mean'], '.4g'))} "
            f"| {each(runs, lambda r: format(r['best_checkpoint']['mean'], '.4g'))} "
            f"| {each(runs, lambda r: format(r['seconds'], '.0f'))} |"
        )
    return "\n".join(lines)


def speed() -> str:
    """Our update and action next to the public DTQN code's, measured back to back."""
    names = ["update_ms", "dtqn_update_ms", "update_ratio", "act_ms_an_action_16", "dtqn_act_ms", "act_ratio_16"]
    lines = [
        "| ours | update, ms | DTQN's | ratio | one action for 16 environments, ms | DTQN's action | ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    for found in read("speed"):
        kind = f"{found['precision']}, {'compiled' if found['compiled'] else 'eager'}"
        lines.append(f"| {kind} | " + " | ".join(f"{found[name]:.3g}" for name in names) + " |")
    return "\n".join(lines)


def solve() -> str:
    """The public DTQN code on its own tasks, next to ours."""
    ours: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for found in read("learn"):
        if found["trunk"] == "transformer":
            ours[found["task"]].append(found)
    lines = [
        "| task | solved means | DTQN: seconds, steps, best validation | ours: seconds, one figure per seed | times faster |",
        "|---|---|---|---|---|",
    ]
    for found in read("solve"):
        runs = sorted(ours.get(found["task"], []), key=lambda run: run["seed"])
        if not runs:
            continue
        sign = "" if found["solved"] else "not in "
        more = "" if found["solved"] else "at least "
        slowest = max(run["seconds"] for run in runs)
        lines.append(
            f"| {WHAT[found['task']]} | {found['measure']} at least {found['threshold']:g} | {sign}{found['seconds']:,.0f}; "
            f"{found['steps']:,}; {found['best']:g} | {each(runs, lambda r: format(r['seconds'], '.0f'))} "
            f"| {more}{found['seconds'] / slowest:.0f} (the slowest seed) |"
        )
    return "\n".join(lines)


def frames() -> str:
    """A million frames in memory and in files."""
    found = next(iter(read("frames")), None)
    if found is None:
        return ""
    lines = ["| where | replay, GiB | process, peak GiB | sampling 32 windows of 50, ms |", "|---|---|---|---|"]
    lines += [
        f"| {row['where']} | {row['replay_gib']:.2f} | {row['resident_most_gib']:.2f} | {row['draw_ms']:.2f} |"
        for row in found["rows"]
    ]
    return "\n".join(lines)


def pixels() -> str:
    """A game with image observations next to Stable-Baselines3, half an hour each; the curves are drawn as a figure."""
    lines = [
        "| game | who | steps/s in training | steps | fresh episodes at the end | return at 5; 10; 20; 30 minutes |",
        "|---|---|---|---|---|---|",
    ]
    theirs = {found["env"]: found for found in read("peers") if "curve" in found}
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.subplots()
    for found in read("pixels"):
        for who, one in ((f"Seqel, {found['preset']}", found), ("Stable-Baselines3 DQN", theirs.get(found["env"]))):
            if one is None:
                continue
            seconds, means = [point["seconds"] for point in one["curve"]], [point["mean"] for point in one["curve"]]
            axes.plot([s / 60 for s in seconds], means, label=f"{found['env']}: {who}")
            nearest = [min(one["curve"], key=lambda point: abs(point["seconds"] - 60 * m)) for m in (5, 10, 20, 30)]
            lines.append(
                f"| `{found['env']}` | {who} | {one['steps_per_s']:.0f} | {one['steps']:,} | {one['mean']:.3g} "
                f"| {'; '.join(format(point['mean'], '.3g') for point in nearest)} |"
            )
    if len(lines) == 2:
        return ""
    axes.set(xlabel="minutes of training on one core", ylabel="mean return of a validation")
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    picture = HERE.parent / "docs" / "figures" / "pixels.png"
    picture.parent.mkdir(exist_ok=True)
    figure.savefig(picture, dpi=110)
    return "\n".join([*lines, "", "![Return against minutes of training](figures/pixels.png)"])


def bench_table() -> str:
    """What `seqel bench` reports on this machine, one row per measurement; empty if it was not run."""
    found = next((one for one in read("table")), None)
    if found is None:
        return ""
    lines = ["| what | ms | steps/s |", "|---|---|---|"]
    for name, row in found["rows"].items():
        ms = f"{row['ms']:.3g}" if "ms" in row else ""
        rate = f"{row['steps_per_s']:,.0f}" if "steps_per_s" in row else ""
        name = re.sub("set them .*", "update them", name)
        lines.append(f"| {name} | {ms} | {rate} |")
    loop = found["loop"]
    lines.append(
        f"| the whole loop, T-Maze 50, {loop['replay_ratio']:.0f} trained transitions/step | | {loop['steps_per_s']:,.0f} |"
    )
    lines.append(f"| from starting Python to the first update | {1e3 * loop['seconds_to_the_first_update']:,.0f} | |")
    return "\n".join(lines)


def put(path: Path, text: str) -> None:
    """Replace the text between the marks."""
    before = path.read_text(encoding="utf-8")
    after = re.sub(f"{START}.*?{END}", lambda _: f"{START}\n{text}\n{END}", before, flags=re.DOTALL)
    path.write_text(after, encoding="utf-8")


def main() -> None:
    versions = next(iter(read("learn")), {}).get("versions", {})
    machine = (
        "Machine: AMD EPYC, 2 cores, one core per run, no GPU; "
        + ", ".join(f"{k} {v}" for k, v in versions.items())
        + "."
    )
    table = learning()
    parts = [machine, report_default.section(), LEARNING, table, PEERS, peers(), SPEED, speed()]
    if read("solve"):
        parts += [SOLVE, solve()]
    if pixels():
        parts += [PIXELS, pixels()]
    if frames():
        parts += ["## A million steps of 84 x 84 frames\n\nCommand: `python benchmarks/frames.py`.", frames()]
    parts += report_recorded.sections()
    if bench_table():
        parts += [TABLE, bench_table()]
    put(HERE.parent / "docs" / "benchmarks.md", "\n\n".join(parts))
    put(
        HERE.parent / "README.md",
        f"{report_default.readme()}\n\n{machine} Returns are those of greedy episodes with seeds that training did not use.\n"
        "All results, with commands and comparisons: [docs/benchmarks.md](docs/benchmarks.md).",
    )


if __name__ == "__main__":
    main()
