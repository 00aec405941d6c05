"""Do data and decisions differ by gender and age? MovieLens-100k, with the commands that a user would run.

    SEQEL_DATA=/folder/of/data python benchmarks/groups.py [--seed 0] [--all] [--table]

    seqel data check ratings.csv --schema genres.toml --group gender
    seqel evaluate runs/genres --data ratings.csv --held-out --group gender
    seqel evaluate runs/films --data ratings.csv --held-out --group gender      also HR@10 and NDCG@10 of the last film

and the same with `--group age_band`. genres predicts the first genre of the next film, films the next film; both are trained
on half of the users and decide for the others. Neither observes gender or age. One JSON file per command in
benchmarks/results/groups/. --all prints every row, not those of the most frequent actions alone.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
from functools import partial
from pathlib import Path
from typing import Any

from measured import commit, measured
from movielens import train_agent, write_tables
from seqel.cli.main import main as seqel

HERE = Path(__file__).parent
RESULTS, RUNS = HERE / "results" / "groups", HERE.parent / "runs" / "abstention"
COLUMNS = ("gender", "age_band")
SHARES = 3  # of actions in a table


def command(*arguments: str) -> dict[str, Any]:
    """Run a command of seqel with --json. Returns the rows of its comparison."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = seqel([*arguments, "--json"])
    if code:
        raise SystemExit(f"seqel {' '.join(arguments)}: exit code {code}")
    return {"groups": json.loads(printed.getvalue())["groups"], "commit": commit()}


def run(what: str, column: str, seed: int) -> dict[str, Any]:
    table = write_tables(RUNS / "movielens")
    if what == "data":
        return command("data", "check", str(table), "--schema", str(table.parent / "genres.toml"), "--group", column)
    _, folder = train_agent(what, RUNS, seed)
    return command("evaluate", str(folder), "--data", str(table), "--held-out", "--group", column)


def print_table(title: str, rows: list[dict[str, Any]], every: bool) -> None:
    print(f"\n| {title} | group | sessions | value (95 %) | difference to all others (95 %) |\n" + "|---" * 5 + "|")
    shares: list[str] = []
    for row in rows:
        name = row["metric"]
        if " = " in name and name not in shares:
            shares.append(name)
        if not every and name in shares[SHARES:]:
            continue
        (low, high), (below, above) = row["interval"], row["difference_interval"]
        print(
            f"| {name} | {row['group']} | {row['sessions']} | {row['value']:.3g} ({low:.3g} to {high:.3g}) | "
            f"{row['difference']:+.3g} ({below:+.3g} to {above:+.3g}){' *' if row['clear'] else ''} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="of the agents")
    parser.add_argument("--all", action="store_true", help="print the shares of all actions that were compared")
    parser.add_argument("--table", action="store_true", help="print what was measured instead of measuring")
    given = parser.parse_args()
    for what in ("data", "genres", "films"):
        for column in COLUMNS:
            name = f"{what}-{column}" + ("" if what == "data" else f"-seed{given.seed}")
            found = measured(RESULTS / f"{name}.json", given.table, partial(run, what, column, given.seed))
            if found is not None:
                print_table(name, found["groups"], given.all)


if __name__ == "__main__":
    main()
