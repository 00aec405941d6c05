"""`seqel evaluate RUN`: greedy episodes on fresh seeds, with intervals."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from seqel.cli.evaluate_arguments import Arguments
from seqel.cli.run_environment import run_environment

if TYPE_CHECKING:
    from seqel.agents.agent import Agent
    from seqel.cli.output import Output
    from seqel.evaluation.rollout import Evaluation

__all__ = ["EXAMPLES", "SUMMARY", "Arguments", "results_table", "run"]

SUMMARY = "Play greedy episodes on fresh seeds, or estimate the return from recorded sessions, with 95 % intervals."

EXAMPLES = """
Episode n is reset with the seed SEED + n, however many are played in parallel. Seeds up to 2^30 - 1 are never used
in training. --json prints the keys of seqel.Evaluation (mean, iqm, interval, success, success_interval, returns,
lengths, seed ...); unknown values are null.
If a run or an agent comes from another machine, its environment is imported only if it is an id of an installed package.
Otherwise, name the environment with --env, or read the run's config.toml and add --trust.

examples:
  seqel evaluate runs/mine --episodes 200
  seqel evaluate runs/mine/agent-last                   the weights at the end of training, not the best ones
  seqel evaluate runs/mine --env-arg length=100         the same agent in a longer maze
  seqel evaluate runs/mine --perturb noise --perturb delay:0,1,3   returns against the strength of perturbations
  seqel evaluate downloaded/agent --env CartPole-v1     an agent without its run
  seqel evaluate runs/mine --data sessions.parquet      no environment: estimate its return from the data
  seqel evaluate runs/mine --data sessions.parquet --held-out      the same, on sessions that it was not trained on
  seqel evaluate runs/mine --data sessions.csv --held-out --group gender      do its decisions differ between groups?
"""


def run(arguments: Arguments, output: Output) -> dict[str, Any]:
    """Load, play, report. Returns `Evaluation` as a dict."""
    from pathlib import Path

    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from seqel.agents.agent import Agent
    from seqel.errors import ConfigError
    from seqel.evaluation.abstaining import played_sessions, queue_entry, realised
    from seqel.evaluation.rollout import evaluate
    from seqel.safety.review import ReviewQueueFile
    from seqel.safety.shield import read_rules

    if arguments.held_out and not arguments.data:
        raise ConfigError("--held-out needs --data: it selects recorded sessions")
    if arguments.out is not None and not arguments.data:
        raise ConfigError("--out needs --data: it is the folder of the estimate")
    if arguments.plot is not None and not (arguments.data or arguments.perturb):
        raise ConfigError("--plot needs --data or --perturb: it draws an estimate, or returns against strengths")
    if arguments.perturb and arguments.data:
        raise ConfigError("--perturb plays, and --data estimates from recorded sessions: give one of them")
    folder = Path(arguments.run)
    agent = Agent.load(folder, arguments.device)
    if arguments.group is not None and not arguments.data:
        raise ConfigError("--group needs --data: it is a column of recorded sessions")
    if arguments.review is not None and (agent.abstention is None or arguments.data):
        raise ConfigError("--review: expected an agent that seqel calibrate has calibrated, and episodes, not --data")
    if arguments.shield is not None:
        if agent.shield is not None:
            output.note("note: --shield replaces the rules of the agent for this evaluation")
        agent.set_shield(read_rules(arguments.shield))
    if arguments.group is not None:
        from seqel.cli.groups import agent_by_group

        return agent_by_group(agent, arguments, output)
    if arguments.data:
        from seqel.cli import estimate

        report = None if agent.abstention is None else _abstention_on_data(agent, arguments, output)
        return estimate.run(agent, folder, arguments, output) | ({} if report is None else {"abstention": report})
    env, make = run_environment(folder, agent.info, arguments, output, "evaluate")
    if arguments.perturb:
        from seqel.cli import perturb

        return perturb.run(agent, env, make, arguments, output)
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
    if result.truncated:
        output.show(
            f"[yellow]note[/] {result.truncated} episodes had not ended after {max(result.lengths):,} steps and were "
            "truncated"
        )
    if agent.abstention is None:
        return dataclasses.asdict(result)
    queue = None
    if arguments.review is not None:
        queue = ReviewQueueFile(Path(arguments.review))
        queue.write([queue_entry(agent)])
    found = realised(agent.abstention, played_sessions(agent, make, arguments.episodes, arguments.seed, queue=queue))
    output.show(escape(str(found)))
    return dataclasses.asdict(result) | {"abstention": dataclasses.asdict(found)}


def _abstention_on_data(agent: Agent, arguments: Arguments, output: Output) -> dict[str, Any]:
    """Report the realised error and the coverage of a calibrated agent on recorded sessions."""
    from seqel.cli.estimate import recorded_sessions as open_sessions
    from seqel.evaluation.abstaining import realised, recorded_sessions

    assert agent.abstention is not None
    source, _ = open_sessions(agent, arguments.data, arguments.schema, arguments.held_out)
    found = realised(agent.abstention, recorded_sessions(agent, source.buffer))
    output.show(str(found))
    return dataclasses.asdict(found)


def results_table(results: dict[str, Evaluation]) -> Any:
    """Return a table with one row per evaluation: success if known, mean return, both with intervals; mean length."""
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    known = any(result.success is not None for result in results.values())
    priced = any(result.cost is not None for result in results.values())
    costs = ("cost", "95 %") if priced else ()
    for title in (*(("success", "95 %") if known else ()), "return", "95 %", *costs, "length"):
        table.add_column(title, justify="right", no_wrap=True)
    for name, result in results.items():
        cells = []
        if known:
            cells += (
                ["-", "-"] if result.success is None else [f"{result.success:.1%}", _percents(result.success_interval)]
            )
        low, high = result.interval
        cells += [f"{result.mean:.3f}", f"{low:.3f} to {high:.3f}"]
        if priced:
            between = result.cost_interval
            cells += ["-", "-"] if between is None else [f"{result.cost:.3f}", f"{between[0]:.3f} to {between[1]:.3f}"]
        cells.append(f"{sum(result.lengths) / len(result.lengths):.1f}")
        table.add_row(name, *cells)
    return table


def _percents(interval: tuple[float, float] | None) -> str:
    return "-" if interval is None else f"{interval[0]:.1%} to {interval[1]:.1%}"
