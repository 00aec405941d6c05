"""`seqel evaluate RUN`: greedy episodes on fresh seeds, with intervals."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from seqel.cli.arguments import NamesEnvironment, values

if TYPE_CHECKING:
    from pathlib import Path

    from seqel.agents.info import AgentInfo
    from seqel.cli.output import Output
    from seqel.environments.resolve import EnvMaker
    from seqel.evaluation.rollout import Evaluation

from seqel.cli.evaluate_arguments import Arguments

__all__ = ["EXAMPLES", "SUMMARY", "Arguments", "environment_to_play", "results_table", "run"]

SUMMARY = "Play greedy episodes on fresh seeds, or estimate from recorded sessions; returns with 95 % intervals."

EXAMPLES = """
Episode n is reset with the seed SEED + n, however many are played in parallel. Seeds up to 2^30 - 1 are never used
in training. --json prints the keys of seqel.Evaluation (mean, iqm, interval, success, success_interval, returns,
lengths, seed ...); unknown values are null.
A run or an agent from another machine is only data: the environment that it names is imported only if it is an id of an
installed package. Otherwise, give it with --env, or read its config.toml and add --trust.

examples:
  seqel evaluate runs/mine --episodes 200
  seqel evaluate runs/mine/agent-last                   the weights at the end of training, not the best ones
  seqel evaluate runs/mine --env-arg length=100         the same agent in a longer maze
  seqel evaluate downloaded/agent --env CartPole-v1     only an agent, without its run
  seqel evaluate runs/mine --data sessions.parquet      no environment: estimate its return from the data
  seqel evaluate runs/mine --data sessions.parquet --held-out      the same, on sessions that it was not trained on
"""


def run(arguments: Arguments, output: Output) -> dict[str, Any]:
    """Load, play, report. Returns `Evaluation` as a dict."""
    from pathlib import Path

    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from seqel.agents.agent import Agent
    from seqel.errors import ConfigError
    from seqel.evaluation.rollout import evaluate

    if arguments.held_out and not arguments.data:
        raise ConfigError("--held-out needs --data: it selects recorded sessions")
    if arguments.out is not None and not arguments.data:
        raise ConfigError("--out needs --data: it is the folder of the estimate")
    if arguments.plot is not None and not arguments.data:
        raise ConfigError("--plot needs --data: it draws an estimate from recorded sessions")
    folder = Path(arguments.run)
    agent = Agent.load(folder, arguments.device)
    if arguments.data:
        from seqel.cli import estimate

        return estimate.run(agent, folder, arguments, output)
    env, make = environment_to_play(folder, agent.info, arguments, output)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=output.progress, transient=True) as progress:
        task = progress.add_task("playing", total=arguments.episodes)
        result = evaluate(
            agent,
            make,
            arguments.episodes,
            arguments.seed,
            progress=lambda done: progress.update(task, completed=done),
        )
    output.show(
        f"[bold]{escape(arguments.run)}[/] on [cyan]{escape(env)}[/], {arguments.episodes} episodes",
        results_table({"": result}),
    )
    if result.cut:
        output.show(
            f"[yellow]note[/] {result.cut} episodes had not ended after {max(result.lengths):,} steps and were cut off"
        )
    return dataclasses.asdict(result)


def environment_to_play(
    folder: Path, info: AgentInfo, arguments: NamesEnvironment, output: Output
) -> tuple[str, EnvMaker]:
    """Return the environment to play: the argument, or what the run's config or the agent's description names."""
    from seqel.environments.named import require_plain, resolve_named
    from seqel.environments.resolve import resolve
    from seqel.errors import CheckpointError, ConfigError, EnvironmentFault
    from seqel.runs.run_config import CONFIG, read_run_config, run_of
    from seqel.runs.trust import Known, known

    env, env_args = str(info.get("env") or ""), dict(info.get("env_args") or {})
    source, sure = str(folder / "config.json"), Known(arguments.trust)
    run = run_of(folder)
    if (run / CONFIG).exists() and (run / "agent").is_dir():  # another program's config.toml is ignored
        try:
            config = read_run_config(run, arguments.trust)
        except (CheckpointError, ConfigError) as error:
            if arguments.env is None:
                raise
            output.note(f"note: {error}; the environment is created without the run's env_args")
            env, env_args = "", {}
        else:
            env, env_args, source = config.env, config.env_args, str(run / CONFIG)
            sure = known(run, config, arguments.trust)
    given = values(arguments.env_arg)
    confirm = (
        f"It was not trained on this machine. Name the environment: seqel evaluate {folder} --env ENV (and --env-arg); or, "
        "if you have read the config and trust what it names, add --trust"
    )
    if arguments.env is not None:
        env_args = env_args if arguments.env == env else {}
        if not sure.trusted:
            require_plain({n: v for n, v in env_args.items() if n not in given}, source=source, confirm=confirm)
        return arguments.env, resolve(arguments.env, **env_args | given)
    if not env:
        raise ConfigError(f"{folder} does not say which environment it was trained on: give one with --env ENV")
    try:
        return env, resolve_named(
            env, env_args | given, source=source, confirm=confirm, trusted=sure.trusted, folder=sure.folder, given=given
        )
    except EnvironmentFault as error:
        raise EnvironmentFault(
            f"{error}. The agent was trained on it; if it has another name here, give that with --env ENV"
        ) from error


def results_table(results: dict[str, Evaluation]) -> Any:
    """Return a table with one row per evaluation: success if known, mean return, both with intervals; mean length."""
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    known = any(result.success is not None for result in results.values())
    for title in (*(("success", "95 %") if known else ()), "return", "95 %", "length"):
        table.add_column(title, justify="right", no_wrap=True)
    for name, result in results.items():
        cells = []
        if known:
            cells += (
                ["-", "-"] if result.success is None else [f"{result.success:.1%}", _percents(result.success_interval)]
            )
        low, high = result.interval
        cells += [f"{result.mean:.3f}", f"{low:.3f} to {high:.3f}", f"{sum(result.lengths) / len(result.lengths):.1f}"]
        table.add_row(name, *cells)
    return table


def _percents(interval: tuple[float, float] | None) -> str:
    return "-" if interval is None else f"{interval[0]:.1%} to {interval[1]:.1%}"
