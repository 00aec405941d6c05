"""Mutation testing: introduce small faults into the code, one at a time, and check whether a test fails.

    make mutants ROOM=losses                                   a room, against tests/losses
    make mutants ROOM=ope/estimators.py                        a file, against the tests of its room
    make mutants ROOM=replay ARGS='--sample 400 --seed 1'      at most 400 mutants, drawn evenly

A mutant takes about half a second (see `forking.py`); `planting.py` defines the faults. `[tool.mutants]` in pyproject.toml
names the tests of a file if they are not those of its room. Mutants that are equivalent to the original are listed in
`equivalent.toml` in this folder, with the reason, and excluded.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from forking import LONGEST, Runner
from planting import Mutant, mutants_of, realise, short
from selection import ROOT, SOURCE, equivalent_mutants, named_tests, tests_for


def table(mutants: list[Mutant]) -> str:
    """Return one line per file and one in total: the number of mutants, and how many were detected."""
    rows, files = [f"{'':34}{'mutants':>9}{'killed':>9}{'survived':>9}{'unreached':>10}{'score':>8}"], defaultdict(list)
    for mutant in mutants:
        files[mutant.file].append(mutant)
    for name, some in [*sorted(files.items()), ("all", mutants)]:
        killed = sum(m.result in ("killed", "timeout") for m in some)
        count = {result: sum(m.result == result for m in some) for result in ("survived", "unreached")}
        rows.append(
            f"{name:34}{len(some):9}{killed:9}{count['survived']:9}{count['unreached']:10}{killed / len(some):8.1%}"
        )
    return "\n".join(rows)


def is_known(mutant: Mutant, one: dict[str, str]) -> bool:
    """Return whether an entry of `equivalent.toml` matches this mutant: parts of the code before and after the change."""
    before, after = short(mutant.before), short(mutant.after)
    return mutant.file == one["file"] and one["before"] in before and one.get("after", "") in after


def _fate(mutant: Mutant) -> dict[str, Any]:
    return {name: getattr(mutant, name) for name in ("file", "line", "before", "after", "result", "test")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", help="rooms or files below src/seqel")
    parser.add_argument("--tests", nargs="+", help="test files or folders instead of the rooms' own")
    parser.add_argument("--sample", type=int, default=0, help="at most N mutants, drawn at random (0: all)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--only", default="", help="only mutants whose `file:line  before  ->  after` holds this text")
    parser.add_argument("--out", type=Path, help="write every mutant and its fate there, as JSON")
    parser.add_argument("--again", type=Path, help="only mutants that were undetected in the file of an earlier --out")
    parser.add_argument("--list", action="store_true", help="count the mutants and run nothing")
    given = parser.parse_args()

    named, known = named_tests(), equivalent_mutants()
    paths: list[Path] = []
    for name in given.paths:
        path = SOURCE / name.removeprefix("src/seqel/").strip("/")
        if not path.exists():
            raise SystemExit(f"there is no {path.relative_to(ROOT)}")
        paths += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    tests = given.tests or sorted({test for path in paths for test in tests_for(path, named)})
    every = [mutant for path in paths for mutant in mutants_of(path)]
    every = [m for m in every if given.only in m.name and not any(is_known(m, one) for one in known)]
    total = len(every)
    if given.sample and total > given.sample:
        drawn = sorted(random.Random(given.seed).sample(range(total), given.sample))
        every = [every[i] for i in drawn]
    if given.again:
        left = [m for m in json.loads(given.again.read_text()) if m["result"] in ("survived", "unreached")]
        names = {(m["file"], m["before"], m["after"]) for m in left}
        every = [m for m in every if (m.file, m.before, m.after) in names]
    if not given.list:
        every = realise(every)
    print(f"{len(every)} of {total} mutants, against {' '.join(tests)}", flush=True)
    if given.list or not every:
        return

    begin = time.monotonic()

    def show(mutant: Mutant) -> None:
        if mutant.result in ("survived", "unreached"):
            print(f"{mutant.result:9} {mutant.name}", flush=True)

    os.chdir(ROOT)
    runner = Runner(every, show)
    pytest.main(["-p", "no:cacheprovider", "-p", "no:terminal", *tests], plugins=[runner])
    if runner.unfit:
        print(f"\nnot used, because they fail or take over {LONGEST:g} s: {', '.join(runner.unfit)}")
    print(f"\n{table(every)}\n{(time.monotonic() - begin) / len(every):.2f} s each")
    if given.out:
        given.out.write_text(json.dumps([_fate(m) for m in every], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
