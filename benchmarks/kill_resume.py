"""Kill runs with SIGKILL at random moments, resume them, and compare with the uninterrupted run, bit for bit.

    python benchmarks/kill_resume.py [--kills 50] [--seed 0]

Half of the runs learn from an environment, half from a table of recorded sessions. A run is killed once or twice, at
moments drawn uniformly over the time that the uninterrupted run takes (start-up included), then resumed to its end.
Compared are the saved agent, the last checkpoint (every array; not the seconds) and the history in metrics.jsonl.
Checkpoints are written about every 50 ms, so that many kills hit one half-written.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import types
from pathlib import Path
from typing import Any

TINY: dict[str, Any] = {
    "network.width": 16, "network.heads": 2, "network.layers": 1, "threads": 1, "device": "cpu", "learner.compile": "off",
    "replay.batch_tokens": 128, "checkpoint_every": 1,
}  # fmt: skip
ONLINE = TINY | {
    "environments": 4, "vectorization": "sync", "validation.every": 400, "validation.episodes": 4, "log_every": 200,
    "replay.learning_starts": 100, "replay.replay_ratio": 4.0,
}  # fmt: skip
OFFLINE = TINY | {"offline.every": 20}
SPEED_UP = 20.0  # of the clock that decides when a checkpoint is due: one second is the shortest setting


def table(folder: Path) -> None:
    """Write recorded sessions and their schema."""
    rng = random.Random(0)
    lines = ["session,step,seen,action,reward"]
    for session in range(60):
        steps = range(rng.randint(3, 12))
        lines += [f"s{session},{n},{rng.random():.3f},{rng.choice(['stay', 'go'])},{rng.random():.2f}" for n in steps]
    (folder / "sessions.csv").write_text("\n".join(lines) + "\n")
    (folder / "schema.toml").write_text(
        'session = "session"\norder = "step"\naction = "action"\nreward = "reward"\n[observation]\nseen = "number"\n'
    )


def train(kind: str, out: Path, data: Path, resume: bool) -> None:
    """Train or resume, in this process, with a fast clock for checkpoints."""
    import seqel
    from seqel.runs import loop

    vars(loop)["time"] = types.SimpleNamespace(monotonic=lambda: time.monotonic() * SPEED_UP)
    if resume and (out / "config.toml").exists():
        seqel.resume(out, progress=False)
    elif kind == "online":
        shutil.rmtree(out, ignore_errors=True)
        seqel.train("seqel/TMaze-v0", config=None, steps=2_000, seed=1, out=out, settings=ONLINE, progress=False)
    else:
        shutil.rmtree(out, ignore_errors=True)
        seqel.train(
            data=data / "sessions.csv", schema=data / "schema.toml", steps=150, seed=1, out=out, settings=OFFLINE,
            progress=False,
        )  # fmt: skip


def child(kind: str, out: Path, data: Path, resume: bool, kill_after: float | None) -> bool:
    """Run in a fork, killed after so many seconds.  -> whether it ended by itself."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            train(kind, out, data, resume)
            code = 0
        except BaseException as error:  # noqa: BLE001 - reported by the exit code
            print(f"{kind}: {type(error).__name__}: {error}", file=sys.stderr)
        finally:
            os._exit(code)
    began = time.monotonic()
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            if status != 0:
                raise SystemExit(f"{kind}: the run failed with status {status}")
            return True
        if kill_after is not None and time.monotonic() - began >= kill_after:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return False
        time.sleep(0.001)


def contents(out: Path) -> tuple[bytes, Any, list[Any]]:
    """What has to be equal: the agent's weights, the last checkpoint without times, the history without times."""
    from seqel.runs.checkpoints import CheckpointStore

    state = CheckpointStore(out / "checkpoints").load()
    for name in ("seconds", "notes"):
        state.pop(name)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    timeless = [
        {n: v for n, v in line.items() if n not in ("seconds", "steps_per_second", "notes", "crc32")} for line in lines
    ]
    return (out / "agent" / "weights.safetensors").read_bytes(), state, timeless


def equal(one: Any, two: Any) -> bool:
    """Bit for bit, through nested dicts and lists."""
    import numpy as np
    import torch

    if isinstance(one, dict):
        return isinstance(two, dict) and one.keys() == two.keys() and all(equal(one[k], two[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(equal(a, b) for a, b in zip(one, two, strict=True))
    if isinstance(one, torch.Tensor):
        one, two = one.cpu().numpy(), two.cpu().numpy()
    if isinstance(one, np.ndarray | np.generic):
        return bool(np.asarray(one).tobytes() == np.asarray(two).tobytes())
    return bool(one == two or (one != one and two != two))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    import seqel.runs.api  # noqa: F401 - imported once, before the forks

    rng, bad, killed = random.Random(arguments.seed), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        os.environ["XDG_STATE_HOME"] = str(data / "state")
        table(data)
        reference, duration = {}, {}
        for kind in ("online", "offline"):
            began = time.monotonic()
            child(kind, data / kind, data, False, None)
            duration[kind], reference[kind] = time.monotonic() - began, contents(data / kind)
            print(f"{kind}: uninterrupted in {duration[kind]:.1f} s", flush=True)
        number = 0
        while killed < arguments.kills:
            kind = ("online", "offline")[number % 2]
            out, number = data / f"{kind}-{number}", number + 1
            moments = [rng.uniform(0.0, duration[kind]) for _ in range(rng.randint(1, 2))]
            for attempt, moment in enumerate(moments):
                killed += not child(kind, out, data, attempt > 0, moment)
            child(kind, out, data, True, None)
            same = [equal(a, b) for a, b in zip(contents(out), reference[kind], strict=True)]
            bad += not all(same)
            said = "equal" if all(same) else f"DIFFERS (agent, checkpoint, history: {same})"
            print(
                f"{killed:3} kills  {kind:7} killed after {', '.join(f'{m:.2f} s' for m in moments)}: {said}",
                flush=True,
            )
            shutil.rmtree(out)
    print(f"{killed} kills, {number} runs, {bad} of them differ from the uninterrupted run")
    raise SystemExit(bad > 0)


if __name__ == "__main__":
    main()
