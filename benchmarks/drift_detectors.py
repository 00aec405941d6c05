"""Which sequential detector notices a change of a scalar stream soonest: Page-Hinkley, ADWIN or KSWIN of river.

    python benchmarks/drift_detectors.py [--seeds 0 1 2] [--tasks cartpole table]

Tasks and streams are those of `drift.py`. Every detector reads the means of blocks of 16 decisions and has one parameter,
which is calibrated to the same rate of false alarms. KSWIN takes so long that it is calibrated and tested on a tenth of the
streams.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from drift import RESULTS, cartpole, missing, summary, table
from measured import commit, measured
from seqel.monitoring.calibration import calm_rows
from seqel.monitoring.collect import Decisions
from seqel.monitoring.detectors import (
    BLOCK,
    STREAMS,
    THRESHOLDS,
    Surprise,
    blocks_of,
    page_hinkley,
    standard,
    strictest,
)
from seqel.monitoring.drift import FALSE_ALARMS, MARGIN, SHARE


def detectors() -> dict[str, tuple[Callable[[float], Any], list[float], float]]:
    """Return name -> how to make it of its parameter, the parameters from sensitive to calm, and the share of the stream that
    it reads when it is calibrated."""
    from river.drift import ADWIN, KSWIN

    return {
        "Page-Hinkley": (page_hinkley, list(THRESHOLDS), 1.0),
        "ADWIN": (
            lambda delta: ADWIN(delta=delta, clock=1, grace_period=5), [10.0 ** -(1 + 1.5 * n) for n in range(40)], 1.0
        ),
        "KSWIN": (lambda alpha: KSWIN(alpha=alpha, seed=0), [10.0 ** -(3 + 2 * n) for n in range(8)], 0.1),
    }  # fmt: skip


def measure_detectors(
    task: str, seed: int, sessions: int = 16, count: int = 12, length: int = 20_000
) -> dict[str, Any]:
    """Calibrate each detector on calm streams of the reference, for the rate that `DriftMonitor` gives one stream; then count
    false alarms in other calm streams, and decisions until a drift is noticed."""
    with tempfile.TemporaryDirectory() as folder:
        reference, live = {"cartpole": cartpole, "table": table}[task](seed, Path(folder))
    described = reference.reference()
    surprise = Surprise(described)
    feature = reference.features.names.index("load") if task == "table" else 2
    found: dict[str, Any] = {"task": task, "seed": seed, "commit": commit(), "sessions": sessions, "block": BLOCK}

    def series(of: Decisions, stream: str, number: int, drift_after: int | None = None) -> list[float]:
        rng = np.random.default_rng((seed, number, of is live))
        rows = of.rows[calm_rows(of.lengths, sessions, length, rng)].copy()
        if drift_after is not None and stream == "q_max":
            rows[drift_after:, -1] += np.nanstd(reference.rows[:, -1])
        elif drift_after is not None:
            missing(feature, 0.1)(rows[drift_after:], rng)
        values = rows[:, -1] if stream == "q_max" else surprise.of(described.bins.index(rows))
        return blocks_of(values).tolist()

    for stream, drift_of_it in (("q_max", "mean + 1 standard deviation"), ("surprise", "10 % missing in one feature")):
        calm = [series(reference, stream, number) for number in range(count)]
        mean, std = float(np.mean(calm)), float(np.std(calm))
        if not std > 1e-9 * max(1.0, abs(mean)):  # all values are in deciles, which are equally surprising
            continue
        for name, (make, grid, share) in detectors().items():
            rate = FALSE_ALARMS / MARGIN * (1.0 - SHARE) / len(STREAMS)
            some = [[standard(x, mean, std) for x in one] for one in calm[: max(1, round(share * count))]]
            parameter = strictest(make, grid, some, rate * length * len(some))
            tests = max(2, round(share * count))
            quiet = [[standard(x, mean, std) for x in series(live, stream, number)] for number in range(tests)]
            drifting = [
                [standard(x, mean, std) for x in series(live, stream, 100 + number, length // 2)]
                for number in range(tests)
            ]
            alarms, delay, begin, values = 0, [], time.process_time(), 0
            for calm_one, changed in zip(quiet, drifting, strict=True):
                detector = make(parameter)
                for value in calm_one:
                    detector.update(value)
                    alarms += detector.drift_detected
                detector, first = make(parameter), None
                for place, value in enumerate(changed):
                    detector.update(value)
                    values += 1
                    if detector.drift_detected and (place + 1) * BLOCK > length // 2:
                        first = (place + 1) * BLOCK - length // 2
                        break
                delay.append(first)
            cost = (time.process_time() - begin) / (values + tests * length // BLOCK)
            found[f"{stream}, {drift_of_it}: {name}"] = {
                "parameter": parameter, "false_alarms": alarms, "decisions": tests * length, "delay": summary(delay),
                "microseconds_per_value": round(cost * 1e6, 2),
            }  # fmt: skip
            print(task, seed, stream, name, found[f"{stream}, {drift_of_it}: {name}"], flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--tasks", nargs="+", default=["cartpole", "table"])
    arguments = parser.parse_args()
    for task in arguments.tasks:
        for seed in arguments.seeds:
            measured(RESULTS / f"detectors-{task}-{seed}.json", False, partial(measure_detectors, task, seed))


if __name__ == "__main__":
    main()
