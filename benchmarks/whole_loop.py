"""The seconds from starting Python to the first update, and the steps per second of training, with one thread.

    taskset -c 1 python benchmarks/whole_loop.py [--env seqel/TMaze50-v0] [--updates 100]

It prints one line of JSON. `speed_table.py` runs it as well.
"""

from __future__ import annotations

import time

BEGAN = time.perf_counter()  # before anything is imported

import argparse  # noqa: E402
import json  # noqa: E402

WARM_UP = 30  # updates before the loop is timed


def measure(env: str, updates: int) -> dict[str, float]:
    """Train on `env` until the first update, then for `updates` more after a warm-up."""
    from seqel.environments.resolve import resolve
    from seqel.training.config import preset
    from seqel.training.hardware.allocator import tune_memory
    from seqel.training.online.trainer import OnlineTrainer

    tune_memory()  # as the command line does
    trainer = OnlineTrainer(preset(env=env, threads=1), resolve(env))

    def train_until(count: int) -> None:
        while trainer.updates < count:
            trainer.collect()
            while trainer.update_due and trainer.updates < count:
                trainer.update()

    try:
        trainer.begin()
        train_until(1)
        first = time.perf_counter() - BEGAN
        train_until(WARM_UP)
        steps, at = trainer.steps, time.perf_counter()
        train_until(WARM_UP + updates)
        rate = (trainer.steps - steps) / (time.perf_counter() - at)
    finally:
        trainer.close()
    return {
        "seconds_to_the_first_update": first,
        "steps_per_s": rate,
        "replay_ratio": trainer.config.replay.replay_ratio,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="seqel/TMaze50-v0")
    parser.add_argument("--updates", type=int, default=100, help="to time")
    given = parser.parse_args()
    print(json.dumps(measure(given.env, given.updates)))


if __name__ == "__main__":
    main()
