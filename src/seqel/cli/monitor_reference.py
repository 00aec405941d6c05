"""`seqel monitor reference RUN`: describes the decisions of an agent, as `reference.json` in its run's folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqel.errors import ConfigError

if TYPE_CHECKING:
    from seqel.agents.agent import Agent
    from seqel.cli.monitor_arguments import Arguments
    from seqel.cli.output import Output
    from seqel.environments.resolve import EnvMaker
    from seqel.monitoring.collect import Decisions
    from seqel.monitoring.reference import Reference
    from seqel.training.sources import Source

__all__ = ["run"]

FEW = 50  # episodes
SHOWN = 20  # features


def run(folder: Path, arguments: Arguments, output: Output) -> dict[str, Any]:
    """Play or read, write the file, show it. Returns what it was made from, and the summaries of the features."""
    import dataclasses

    from rich.markup import escape

    from seqel.agents.agent import Agent
    from seqel.monitoring.reference import FILE
    from seqel.runs.run_config import run_of
    from seqel.version import __version__

    if arguments.data and (arguments.env is not None or arguments.env_arg):
        raise ConfigError("--data reads recorded sessions, and --env plays: give one of them")
    agent = Agent.load(folder, arguments.device)
    reads = bool(arguments.data) or (
        arguments.env is None and not agent.info.get("env") and bool(agent.info.get("data"))
    )
    if reads:
        decisions, made = _read(folder, agent, arguments, output)
    else:
        decisions, made = _play(folder, agent, arguments, output)
    reference = decisions.reference({**made, "seed": arguments.seed, "version": __version__})
    path = reference.save(arguments.out or run_of(folder) / FILE)
    _show(reference, output)
    if reference.episodes < FEW:
        output.note(
            f"note: {reference.episodes} episodes are few, so the thresholds of drift will be high; use more, for "
            f"instance --episodes {FEW * 4}"
        )
    output.show("", f"written: {escape(str(path))}")
    states = _states(folder, agent, reads, arguments, output) if arguments.states else None
    return {
        "states": states,
        "path": str(path), "made": reference.made, "episodes": reference.episodes, "decisions": reference.decisions,
        "features": {
            name: {"kind": kind, **dataclasses.asdict(summary)}
            for name, kind, summary in zip(
                reference.names, reference.bins.kinds, reference.summaries, strict=True
            )
        },
        "reward": None if reference.reward is None else dataclasses.asdict(reference.reward),
    }  # fmt: skip


def _states(folder: Path, agent: Agent, reads: bool, arguments: Arguments, output: Output) -> dict[str, Any]:
    """Play or read, fit the detectors of unfamiliar states, write the file. Returns its path and thresholds."""
    from rich.markup import escape

    from seqel.agents.artifact import weights_checksum
    from seqel.robustness.reference import FILE, StateReference
    from seqel.robustness.states import play_states, read_states
    from seqel.runs.progress_bar import sharing
    from seqel.runs.run_config import run_of

    count = arguments.episodes
    if reads:
        source, made = _source(folder, agent, arguments)
        count = min(count, source.buffer.episodes)
        with sharing(output.progress, "reading for the states") as tell:
            played = read_states(
                agent, source.buffer, (source.observation, source.action), count, arguments.seed,
                progress=lambda done: tell(done / count, f"{done:,} sessions"),
            )  # fmt: skip
    else:
        env, make = _environment(folder, agent, arguments, output)
        made = {"from": "play", "env": env}
        with sharing(output.progress, "playing for the states") as tell:
            played = play_states(
                agent, make, count, arguments.seed, progress=lambda done: tell(done / count, f"{done:,} episodes")
            )
    made |= {"episodes": count, "seed": arguments.seed, "states": len(played.states)}
    checksum = weights_checksum(agent.network)
    reference = StateReference.fit(played, checksum, arguments.false_alarms, seed=arguments.seed, made=made)
    path = reference.save(run_of(folder) / FILE)
    found = ", ".join(f"{name} {value:.4g}" for name, value in reference.thresholds.items())
    output.show(f"written: {escape(str(path))}; thresholds at {reference.false_alarms:g} false alarms: {found}")
    return {"path": str(path), "thresholds": reference.thresholds, "false_alarms": reference.false_alarms, "made": made}


def _environment(folder: Path, agent: Agent, arguments: Arguments, output: Output) -> tuple[str, EnvMaker]:
    from seqel.cli.evaluate_arguments import Arguments as OfEvaluation
    from seqel.cli.run_environment import run_environment

    given = OfEvaluation(str(folder), env=arguments.env, env_arg=arguments.env_arg, trust=arguments.trust)
    return run_environment(folder, agent.info, given, output, "monitor reference")


def _play(folder: Path, agent: Agent, arguments: Arguments, output: Output) -> tuple[Decisions, dict[str, Any]]:
    from seqel.monitoring.collect import play_decisions
    from seqel.runs.progress_bar import sharing

    env, make = _environment(folder, agent, arguments, output)
    count = arguments.episodes
    with sharing(output.progress, "playing") as tell:
        decisions = play_decisions(
            agent, make, count, arguments.seed, progress=lambda done: tell(done / count, f"{done:,} episodes")
        )
    return decisions, {"from": "play", "env": env}


def _read(folder: Path, agent: Agent, arguments: Arguments, output: Output) -> tuple[Decisions, dict[str, Any]]:
    from seqel.monitoring.collect import recorded_decisions
    from seqel.runs.progress_bar import sharing

    source, made = _source(folder, agent, arguments)
    count = min(arguments.episodes, source.buffer.episodes)
    with sharing(output.progress, "reading") as tell:
        decisions = recorded_decisions(
            agent, source, count, arguments.seed, progress=lambda done: tell(done / count, f"{done:,} sessions")
        )
    return decisions, made


def _source(folder: Path, agent: Agent, arguments: Arguments) -> tuple[Source, dict[str, Any]]:
    """Return the recorded sessions, and what is to be said of them."""
    from seqel.cli.estimate import recorded_sessions

    files = arguments.data or _own_files(folder, agent, arguments.trust)
    source, _ = recorded_sessions(agent, files, arguments.schema, held_out=False)
    return source, {"from": "data", "files": ", ".join(Path(name).name for name in files)}


def _own_files(folder: Path, agent: Agent, trust: bool) -> tuple[str, ...]:
    """Return the files that the agent was trained on, if they were named on this machine."""
    from seqel.runs.run_config import CONFIG, read_run_config, run_of
    from seqel.runs.trust import known

    run = run_of(folder)
    if (run / CONFIG).exists() and known(run, read_run_config(run, trust), trust).trusted:
        return tuple(agent.info.get("data", ()))
    raise ConfigError(
        f"{folder} was not trained on this machine, so the files that it names are not opened: expected --data FILE, or, "
        "if you have read its config.toml and trust it, --trust"
    )


def _show(reference: Reference, output: Output) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("feature")
    for name in ("mean", "std", "1 %", "median", "99 %", "missing"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, one in list(zip(reference.names, reference.summaries, strict=True))[:SHOWN]:
        numbers = (one.mean, one.std, one.quantiles[1], one.quantiles[4], one.quantiles[7])
        table.add_row(escape(name), *(f"{number:.4g}" for number in numbers), f"{one.missing:.1%}")
    output.show(f"{reference.decisions:,} decisions of {reference.episodes:,} episodes", "", table)
    if len(reference.names) > SHOWN:
        output.show(f"[dim]and {len(reference.names) - SHOWN} more features[/]")
