"""Draw docs/figures/memory.png: learning with and without memory, from two run folders.

CURVE="--seed 0 --steps 40000 --set validation.every=2500 --set validation.episodes=64"
seqel train seqel/TMaze-v0 --env-arg length=50 $CURVE --out runs/with
seqel train seqel/TMaze-v0 --env-arg length=50 $CURVE --memoryless --out runs/without
python benchmarks/readme_figure.py runs/with runs/without
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

PICTURE = Path(__file__).parents[1] / "docs" / "figures" / "memory.png"
COLOURS = {"with memory": "#1f6fb2", "without memory": "#9aa5b1"}


def validations(run: Path) -> list[tuple[int, dict[str, Any]]]:
    """(environment steps, validation) of every validation in a run's metrics.jsonl."""
    lines = (json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines() if line)
    return [(line["steps"], line["validation"]) for line in lines if line.get("validation")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("memory", type=Path, help="folder of the run with memory")
    parser.add_argument("memoryless", type=Path, help="folder of the run without memory")
    parser.add_argument("--title", default="Passive T-Maze, length 50")
    parser.add_argument("--out", type=Path, default=PICTURE)
    options = parser.parse_args()

    figure = Figure(figsize=(6.4, 2.6), layout="constrained")
    axis = figure.subplots()
    runs = {"with memory": options.memory, "without memory": options.memoryless}
    for label, run in runs.items():
        found = validations(run)
        share = all(one.get("success") is not None for _, one in found)
        key, span = ("success", "success_interval") if share else ("mean", "interval")
        steps, values = [step for step, _ in found], [one[key] for _, one in found]
        axis.plot(steps, values, color=COLOURS[label], lw=2, marker="o", ms=3, label=label)
        low, high = zip(*(one[span] for _, one in found), strict=True)
        axis.fill_between(steps, low, high, color=COLOURS[label], alpha=0.15, lw=0)
        axis.set_ylabel("success rate" if share else "mean return")
    axis.set(title=options.title, xlabel="environment steps")
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, loc="best")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out, dpi=130)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
