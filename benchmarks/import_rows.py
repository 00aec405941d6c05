"""Import ten million rows of recorded sessions from CSV and from Parquet, compared with a plain pass of polars.

    taskset -c 1 python benchmarks/import_rows.py [--rows 10000000] [--directory runs]

Each measurement runs in a process of its own: the import, a second start, and polars summing every column of the same file.
It needs 3 GiB of disk. The results are written to benchmarks/results/import/import.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from measured import commit

RESULTS = Path(__file__).parent / "results" / "import"
STEPS = 20  # of a session, on average
NUMBERS, CATEGORIES = ("age", "price"), {"country": 40, "page": 1_000}


def make(rows: int, directory: Path) -> None:
    """Write interleaved sessions in the order of time, as a service does; in chunks, so that memory use stays small."""
    import polars as pl

    rng = np.random.default_rng(0)
    piece = 1_000_000
    parts = []
    for number, start in enumerate(range(0, rows, piece)):
        n = min(piece, rows - start)
        # a few thousand sessions are open at a time
        session = (start + np.arange(n)) // (1_000 * STEPS) * 1_000 + rng.integers(0, 1_000, n)
        frame = pl.DataFrame(
            {
                "session": [f"s{i}" for i in session],
                "time": 1_700_000_000_000 + 37 * (start + np.arange(n)),
                "age": rng.normal(40, 12, n).round(1),
                "price": rng.lognormal(3, 1, n).round(2),
                "country": [f"c{i}" for i in rng.integers(0, CATEGORIES["country"], n)],
                "page": [f"p{i}" for i in np.minimum(rng.zipf(1.3, n), CATEGORIES["page"])],
                "action": rng.integers(0, 8, n),
                "reward": (rng.random(n) < 0.05).astype(np.int8),
            }
        )
        with (directory / "rows.csv").open("ab") as file:
            frame.write_csv(file, include_header=number == 0)
        parts.append(directory / f"part{number}.parquet")
        frame.write_parquet(parts[-1])
    pl.scan_parquet(parts).sink_parquet(directory / "rows.parquet")
    for part in parts:
        part.unlink()


def peak() -> float:
    """Return the peak memory of this process in GiB."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) / (1 << 20)


def measure(what: str, file: Path) -> dict[str, Any]:
    """One of "import" (or a second start, where the store is there), "training" (from there on) and "polars"."""
    import polars as pl

    if what == "polars":
        began = time.perf_counter()
        scan = pl.scan_csv(file) if file.suffix == ".csv" else pl.scan_parquet(file)
        numeric, text = pl.selectors.numeric(), pl.selectors.string()
        scan.select(numeric.sum(), text.str.len_bytes().sum()).collect(engine="streaming")
        return {"seconds": time.perf_counter() - began, "peak_gib": peak()}
    from seqel.datasets.dataset import load
    from seqel.datasets.schema import Schema

    before = peak()
    kinds = {**dict.fromkeys(NUMBERS, "number"), **dict.fromkeys(CATEGORIES, "category")}
    schema = Schema("session", "action", "reward", kinds, order="time")
    began = time.perf_counter()
    dataset = load(file, schema)
    if what == "training":
        return train(dataset, began)
    seconds = time.perf_counter() - began
    batch = dataset.buffer.sample(32, window=20, context=10, discount=0.99, rng=np.random.default_rng(0))
    return {
        "seconds": seconds,
        "seconds_with_a_first_batch": time.perf_counter() - began,
        "peak_gib": peak(),
        "peak_before_gib": before,
        "transitions": len(dataset),
        "sessions": dataset.buffer.episodes,
        "learned_in_the_batch": int(batch.loss_mask.sum()),
        "store_gib": sum(path.stat().st_size for path in (dataset.directory or file).rglob("*")) / (1 << 30),
    }


def train(dataset: Any, began: float) -> dict[str, Any]:
    """Measure the time from the start to the first update, then the speed of training."""
    from seqel.training.config import preset, with_settings
    from seqel.training.offline.trainer import OfflineTrainer

    config = with_settings(preset("offline-cql"), {"threads": 1, "device": "cpu", "learner.compile": "off"})
    trainer = OfflineTrainer(config, dataset)
    trainer.update()
    start = time.perf_counter() - began
    window, updates = trainer.config.replay.window, 200
    rows = trainer._windows(window) * float(np.minimum(trainer.training_episodes.lengths, window).mean())
    again = time.perf_counter()
    for _ in range(updates):
        trainer.update()
    seconds = time.perf_counter() - again
    return {
        "start_seconds": start,
        "update_ms": 1e3 * seconds / updates,
        "rows_per_second": rows * updates / seconds,
        "context": trainer.config.network.context,
        "window": window,
        "peak_gib": peak(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--directory", help="on a disk with 3 GiB of room; by default the machine's temporary one")
    parser.add_argument("--one", nargs=2, metavar=("WHAT", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one[0], Path(options.one[1]))))
        return
    record: dict[str, Any] = {
        "command": f"benchmarks/import_rows.py --rows {options.rows}",
        "commit": commit(),
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores_used": len(os.sched_getaffinity(0)),
        },
        "rows": options.rows,
        "formats": {},
    }
    with tempfile.TemporaryDirectory(dir=options.directory) as temporary:
        directory = Path(temporary)
        make(options.rows, directory)
        for kind in ("csv", "parquet"):
            file = directory / f"rows.{kind}"
            found: dict[str, Any] = {"file_gib": file.stat().st_size / (1 << 30)}
            for name, what in (("polars", "polars"), ("import", "import"), ("second_start", "import")):
                command = [sys.executable, __file__, "--one", what, str(file)]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode:
                    sys.exit(done.stderr)
                found[name] = json.loads(done.stdout)
                found[name]["rows_per_second"] = options.rows / found[name]["seconds"]
            del found["second_start"]["rows_per_second"]
            record["formats"][kind] = found
            print(kind, json.dumps(found, indent=1), flush=True)
        done = subprocess.run(
            [sys.executable, __file__, "--one", "training", str(file)], capture_output=True, text=True, check=True
        )
        record["training"] = json.loads(done.stdout)
        print("training", json.dumps(record["training"], indent=1), flush=True)
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "import.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
