"""`seqel train ENV --compare`: train an agent with and one without memory, and say whether it helps; or continue both.

The folder of the memoryless run (below: the twin) is next to the other's, under the same name with "-memoryless" appended.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from seqel.cli.side_by_side import WITH, WITHOUT

if TYPE_CHECKING:
    from pathlib import Path

    from seqel.cli.output import Output
    from seqel.cli.paired_runs import Pace, Tell
    from seqel.training.config import RunConfig

__all__ = ["compare", "judge", "learn", "resume_comparison"]

EPISODES = 100  # evaluation episodes at the end
PICTURE = "comparison.png"


def learn(tell: Tell, config: RunConfig | None, folder: str, pace: Pace, leads: bool, steps: int | None = None) -> None:
    """Run one of the two trainings, in its own process; the twin stops, saved, at the step at which the leader stopped.

    config: of a new run; None: continue the run in `folder`, to `steps` if given.
    """
    import math
    import signal

    from seqel.cli.side_by_side import as_message
    from seqel.runs.api import train
    from seqel.runs.resuming import resume
    from seqel.training.record import Record

    asked = watching = False

    def watch(record: Record) -> None:
        nonlocal watching
        if not watching:  # `train` saves at the first signal and aborts at the second: send only one
            watching = True
            stop: Any = signal.getsignal(signal.SIGTERM)
            signal.signal(signal.SIGTERM, lambda number, frame: ask(stop, number, frame))
        tell(as_message(record))
        if leads:
            pace.lead(record.steps)
        elif not pace.follow(record.steps, math.inf, asked=lambda: asked):
            signal.raise_signal(signal.SIGTERM)  # it writes a checkpoint and the summary, and ends

    def ask(stop: Any, number: int, frame: Any) -> None:
        nonlocal asked
        if not asked:
            asked = True
            stop(number, frame)

    try:
        if config is None:
            resume(folder, steps=steps, progress=watch)
        else:
            train(config.env, out=folder, config=config, progress=watch)
    except KeyboardInterrupt:
        if leads or not asked:
            raise
    finally:
        if leads:
            pace.lead(pace.steps.value, final=True)


def compare(config: RunConfig, folder: Path, output: Output) -> dict[str, Any]:
    """Train both in parallel, then evaluate both on the same fresh episodes. Returns both evaluations and the verdict."""
    from seqel.cli.paired_runs import cores
    from seqel.training.hardware.threads import choose_threads

    threads = config.threads or choose_threads(config.network.width, max(1, cores() // 2))
    config = dataclasses.replace(config, threads=threads)
    return _together(config, folder, output, {WITH: config, WITHOUT: _twin_of(config)})


def resume_comparison(folder: Path, steps: int | None, output: Output) -> dict[str, Any]:
    """Continue both runs of a comparison, each from its last checkpoint, and evaluate them.

    steps: a new total for both. A finished run is only evaluated.

    Raises:
        ConfigError: `folder` holds no run, or a run without the memoryless one.
    """
    from seqel.errors import ConfigError
    from seqel.runs.run_config import CONFIG
    from seqel.training.config_file import load_config

    if not (folder / CONFIG).exists():
        raise ConfigError(f"--compare --resume: expected the folder of a comparison, but {folder} holds no {CONFIG}")
    config = load_config(folder / CONFIG)
    if config.memoryless:
        raise ConfigError(f"{folder} is a memoryless run: give --compare --resume the folder of the other run")
    twin = _twin_folder(folder)
    begun = (twin / CONFIG).exists()
    if not begun and twin.exists():
        raise ConfigError(f"{twin} holds no run: expected the memoryless run of {folder} in it, or no such folder")
    if steps is not None:
        config = dataclasses.replace(config, steps=steps)
    return _together(config, folder, output, {WITH: None, WITHOUT: None if begun else _twin_of(config)}, steps)


def _twin_of(config: RunConfig) -> RunConfig:
    return dataclasses.replace(config, memoryless=True, validation=dataclasses.replace(config.validation, stop=False))


def _twin_folder(folder: Path) -> Path:
    return folder.with_name(folder.name + "-memoryless")


def _together(
    config: RunConfig, folder: Path, output: Output, begin: dict[str, RunConfig | None], steps: int | None = None
) -> dict[str, Any]:
    """Train both (`begin`: the config of each new run, None for a run to continue), evaluate, draw, and judge."""
    from seqel.agents.agent import Agent
    from seqel.cli.evaluate import results_table
    from seqel.cli.paired_runs import Child, Pace, run_together
    from seqel.cli.side_by_side import SideBySide
    from seqel.environments.resolve import resolve
    from seqel.evaluation.rollout import evaluate
    from seqel.terminal import summary_line

    folders = {WITH: folder, WITHOUT: _twin_folder(folder)}
    pace = Pace()
    done = {name: _steps_done(path) for name, path in folders.items()}
    pace.lead(done[WITH])
    children = [
        Child(
            name, learn, config.threads,
            {"config": begin[name], "folder": str(path), "pace": pace, "leads": name == WITH, "steps": steps},
        )
        for name, path in folders.items()
    ]  # fmt: skip
    if begin[WITH] is None and _has_ended(folder, config.steps) and done[WITHOUT] >= done[WITH]:
        children = []
    title = f"{config.env}: with and without history, seed {config.seed}"
    try:
        with SideBySide(output.progress, title) as duel:
            for message in run_together(children):
                if message is not None:
                    duel.take(message.name, message.what)
    except KeyboardInterrupt as stop:
        saved = all((path / "summary.json").exists() for path in folders.values())
        raise KeyboardInterrupt(
            f"stopped and saved: continue with --compare --resume {folder}" if saved else ""
        ) from stop
    curves = _draw(folders, title, config.validation.threshold)
    make = resolve(config.env, **config.env_args)
    results = {name: evaluate(Agent.load(path), make, EPISODES) for name, path in folders.items()}
    verdict = judge(results[WITH].interval, results[WITHOUT].interval)
    lines = [f"{name:<16}{summary_line(values)}" for name, values in curves.items() if values]
    output.show(
        "", *(["validation return during training:", *lines, ""] if lines else []), f"{EPISODES} fresh episodes each:",
        results_table(results), "", f"[bold]{verdict}[/]", f"plot: {folder / PICTURE}",
    )  # fmt: skip
    return {
        "verdict": verdict,
        "folders": {name: str(path) for name, path in folders.items()},
        "picture": str(folder / PICTURE),
        "evaluations": {name: dataclasses.asdict(result) for name, result in results.items()},
    }


def _draw(folders: dict[str, Path], title: str, threshold: float) -> dict[str, list[float]]:
    """Draw both learning curves in one plot. Returns the validation returns of each."""
    from seqel.runs.plots import draw_comparison

    records = {name: _records(path) for name, path in folders.items()}
    draw_comparison(records, folders[WITH] / PICTURE, title, threshold)
    return {
        name: [line["validation"]["mean"] for line in lines if "validation" in line] for name, lines in records.items()
    }


def _records(folder: Path) -> list[dict[str, Any]]:
    from seqel.runs.folder import RunFolder

    if not folder.exists():
        return []
    run = RunFolder(folder)
    try:
        return run.records()
    finally:
        run.close()


def _steps_done(folder: Path) -> int:
    lines = _records(folder)
    return int(lines[-1]["steps"]) if lines else 0


def _has_ended(folder: Path, steps: int) -> bool:
    lines = _records(folder)
    return bool(lines) and (bool(lines[-1].get("solved")) or int(lines[-1]["steps"]) >= steps)


def judge(history: tuple[float, float], none: tuple[float, float]) -> str:
    """Return what two 95 % intervals of the mean return allow to conclude. One seed each: it is about these two agents."""
    if history[0] > none[1]:
        return "Memory helps here: the intervals do not overlap."
    if none[0] > history[1]:
        return "Memory does not help here with this budget: the agent without memory is better, and simpler."
    return "No difference found: the intervals overlap. Train longer, or evaluate more episodes, before deciding."
