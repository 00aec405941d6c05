"""`seqel train ENV --compare`: an agent beside its twin without history, and whether memory pays."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from seqel.cli.output import Output
    from seqel.cli.paired_runs import Pace, Tell
    from seqel.training.config import RunConfig

__all__ = ["compare", "judge", "learn"]

EPISODES = 100  # evaluated at the end


def learn(tell: Tell, config: RunConfig, folder: str, pace: Pace, leads: bool) -> None:
    """One of the two trainings, in its own process; the twin ends, saved, where the leader ended."""
    import math
    import signal

    from seqel.cli.side_by_side import as_message
    from seqel.runs.api import train
    from seqel.training.record import Record

    asked = watching = False

    def watch(record: Record) -> None:
        nonlocal watching
        if not watching:  # `train` saves at the first signal and gives up at the second: let it see one only
            watching = True
            stop: Any = signal.getsignal(signal.SIGTERM)
            signal.signal(signal.SIGTERM, lambda number, frame: ask(stop, number, frame))
        tell(as_message(record))
        if leads:
            pace.lead(record.steps)
        elif not pace.follow(record.steps, math.inf, asked=lambda: asked):
            signal.raise_signal(signal.SIGTERM)  # a checkpoint and the summary are written, and it ends

    def ask(stop: Any, number: int, frame: Any) -> None:
        nonlocal asked
        if not asked:
            asked = True
            stop(number, frame)

    try:
        train(config.env, out=folder, config=config, progress=watch)
    except KeyboardInterrupt:
        if leads or not asked:
            raise
    finally:
        if leads:
            pace.lead(pace.steps.value, final=True)


def compare(config: RunConfig, folder: Path, output: Output) -> dict[str, Any]:
    """Both trained side by side, then evaluated on the same fresh episodes.  -> both evaluations and the verdict."""
    from seqel.agents.agent import Agent
    from seqel.cli.evaluate import results_table
    from seqel.cli.paired_runs import Child, Pace, cores, run_together
    from seqel.cli.side_by_side import WITH, WITHOUT, SideBySide
    from seqel.environments.resolve import resolve
    from seqel.evaluation.rollout import evaluate

    pace, threads = Pace(), max(1, cores() // 2)
    config = dataclasses.replace(config, threads=config.threads or threads)
    look = dataclasses.replace(config.validation, stop=False)
    twin = dataclasses.replace(config, memoryless=True, validation=look)
    folders = {WITH: folder, WITHOUT: folder.with_name(folder.name + "-memoryless")}
    children = [
        Child(name, learn, threads, {"config": c, "folder": str(folders[name]), "pace": pace, "leads": name == WITH})
        for name, c in ((WITH, config), (WITHOUT, twin))
    ]
    try:
        with SideBySide(output.progress, f"{config.env}: with and without history, seed {config.seed}") as duel:
            for message in run_together(children):
                if message is not None:
                    duel.take(message.name, message.what)
    except KeyboardInterrupt as stop:
        saved = [f"--resume {path}" for path in folders.values() if (path / "summary.json").exists()]
        raise KeyboardInterrupt(f"stopped; go on with each by {' and '.join(saved)}" if saved else "") from stop
    make = resolve(config.env, **config.env_args)
    results = {name: evaluate(Agent.load(path), make, EPISODES) for name, path in folders.items()}
    verdict = judge(results[WITH].interval, results[WITHOUT].interval)
    output.show("", f"{EPISODES} fresh episodes each:", results_table(results), "", f"[bold]{verdict}[/]")
    return {
        "verdict": verdict,
        "folders": {name: str(path) for name, path in folders.items()},
        "evaluations": {name: dataclasses.asdict(result) for name, result in results.items()},
    }


def judge(history: tuple[float, float], none: tuple[float, float]) -> str:
    """What two 95 % intervals of the mean return allow to say. One seed each: it is about these two agents."""
    if history[0] > none[1]:
        return "Memory pays here: the intervals do not overlap."
    if none[0] > history[1]:
        return "Memory does not pay here with this budget: the agent without it is better, and simpler."
    return "No difference shown: the intervals overlap. Train longer, or evaluate more episodes, before deciding."
