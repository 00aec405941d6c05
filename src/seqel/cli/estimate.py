"""`seqel evaluate RUN --data FILE`: what the agent would earn, estimated from recorded sessions alone."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray
    from rich.table import Table

    from seqel.agents.agent import Agent
    from seqel.cli.evaluate_arguments import Arguments
    from seqel.cli.output import Output
    from seqel.ope.estimation import OffPolicyEvaluation, PolicyValue
    from seqel.training.sources import Source

__all__ = ["recorded_sessions", "run", "trained_on"]

MOST_ACTIONS = 30  # constant-action policies that are shown; if there are more actions, the most frequent ones
FEWEST, VALUES = 3, 1_000  # fewest constant-action policies, and most values: each policy has a value per action
FITS = "fits"  # folder of the finished fits, until all are done
FEWEST_SESSIONS = 10  # fewest sessions for an estimate


def run(agent: Agent, folder: Path, arguments: Arguments, output: Output) -> dict[str, Any]:
    """Fit, estimate, and show the table. Returns `OffPolicyEvaluation` as a dict, with the verdict.

    Raises:
        ConfigError: no schema is known for a table, or it is not known which sessions were held out. DataError: the data do
            not fit the agent.
    """
    from rich.markup import escape
    from rich.text import Text

    from seqel.ope.estimation import estimate_policies
    from seqel.ope.policies import AgentPolicy, ConstantAction, Policy
    from seqel.runs.progress_bar import counting

    source, names = recorded_sessions(agent, arguments.data, arguments.schema, arguments.held_out)
    policies: list[Policy] = [AgentPolicy(agent)]
    sizes, start = agent.action_spec.sizes, agent.action_spec.start
    for codes in _frequent(source.buffer.actions(), sizes):
        label = ", ".join(names[m][code] if names else str(code + start[m]) for m, code in enumerate(codes))
        single = len(sizes) == 1
        policies.append(ConstantAction(codes[0] if single else codes, sizes[0] if single else sizes, f"always {label}"))
    discount = float(agent.info.get("discount", 0.99))
    place = _place(folder, arguments)
    with counting(output.progress, "fitting the policies' values") as progress:
        found = estimate_policies(
            policies, source, discount=discount, updates=arguments.updates, seed=arguments.seed, progress=progress,
            saved=None if place is None else place / FITS,
        )  # fmt: skip
    result = dataclasses.asdict(found) | {"verdict": found.verdict, "data": list(arguments.data)}
    if place is not None:
        _save(found, result, place, folder)
    if arguments.plot is not None:
        from seqel.ope.plot import draw_estimate

        draw_estimate(found, Path(arguments.plot), str(folder))
    output.show(
        f"[bold]{escape(str(folder))}[/] on {found.sessions:,} recorded sessions ({found.transitions:,} transitions); value: "
        f"return of a session from its first step, discounted by {found.discount:g}; 95 % intervals cover the sampling of "
        "the sessions and the error of the fit",
        _table(found),
        "[dim]over recorded: 95 % interval of the difference; agrees: probability of the recorded actions under this policy; "
        "unseen: share of its actions that are rare in the data after similar histories[/]",
        "",
    )
    if agent.shield is not None:
        output.show(
            "[dim]The agent is evaluated with its rules, after the recorded histories; the other policies have none.[/]"
        )
    if not found.known_probabilities:
        output.show(
            "[dim]The data do not say how likely each action was: that is estimated, and the intervals do not cover it.[/]"
        )
    if found.fit is not None:
        output.show(
            f"[dim]The fitted values leave {found.fit.unexplained:.1%} of their targets' variance unexplained on "
            "held-out episodes.[/]"
        )
    if not arguments.held_out and trained_on(agent, arguments.data):
        output.show(
            "[dim]The agent was trained on these sessions and may be overfitted to them: the estimate is then too high. If "
            "there are enough sessions, train with --set offline.held_out=0.3 and evaluate with --held-out.[/]"
        )
    agent_row = found.policies[0]
    for text in agent_row.warnings:
        output.show(f"[yellow]warning[/] {escape(agent_row.name)}: {text}")
    if any(not row.supported for row in found.policies):
        more = "--json" if place is None else str(place / "estimate.json")
        output.show(f"[dim](?) the data do not support these estimates; {escape(more)} has all reasons[/]")
        for reason, marked in _unsupported(found.policies).items():
            output.show(Text(f"{reason}: {', '.join(marked)}", "dim"))
    output.show("", f"[bold]{escape(found.verdict)}[/]")
    if place is not None:
        output.show(f"[dim]saved: {escape(str(place / 'estimate.json'))}, {escape(str(place / 'estimate.png'))}[/]")
    if arguments.plot is not None:
        output.show(f"[dim]plot: {escape(arguments.plot)}[/]")
    return result


def _place(folder: Path, arguments: Arguments) -> Path | None:
    """Return where to save the estimate: --out, or the run's folder; None for an agent without a run."""
    if arguments.out is not None:
        return Path(arguments.out)
    return folder / "estimate" if (folder / "agent").is_dir() else None


def _save(found: OffPolicyEvaluation, result: dict[str, Any], place: Path, folder: Path) -> None:
    """Save the table as JSON and as a plot, and remove the fits, which are no longer needed."""
    import json
    import shutil

    from seqel.cli.output import plain
    from seqel.ope.plot import draw_estimate
    from seqel.storage import atomic_write

    atomic_write(place / "estimate.json", json.dumps(plain(result), indent=2, ensure_ascii=False) + "\n")
    draw_estimate(found, place / "estimate.png", str(folder))
    shutil.rmtree(place / FITS, ignore_errors=True)


def _frequent(recorded: NDArray[np.int64], sizes: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Every action where there are few, else those recorded most often, in order.  recorded (N, M)."""
    import numpy as np

    many = math.prod(sizes)
    shown = many if many <= MOST_ACTIONS else max(FEWEST, VALUES // sum(sizes))
    if len(sizes) == 1 or many <= MOST_ACTIONS:
        rows = np.stack(np.unravel_index(np.arange(many), sizes), axis=1)
        often = np.bincount(np.ravel_multi_index(tuple(recorded.T), sizes), minlength=many)
    else:
        rows, often = np.unique(recorded, axis=0, return_counts=True)
    chosen = np.argsort(-often, kind="stable")[:shown]
    return sorted(tuple(int(code) for code in row) for row in rows[chosen])


def recorded_sessions(
    agent: Agent, files: tuple[str, ...], schema: str | None, held_out: bool
) -> tuple[Source, tuple[tuple[str, ...], ...] | None]:
    """Return the data in the agent's own encoding, and the actions' names, by dimension."""
    from seqel.datasets.encoding import Encoding
    from seqel.errors import DataError
    from seqel.training.sources import open_source, reencode_for_agent

    kept = agent.info.get("encoding")
    source = open_source(
        files, schema or (None if kept is None else kept["schema"]), agent.observation_spec.text_reader
    )
    if held_out:
        source = _only_held_out(agent, source)
    if kept is not None:
        source = reencode_for_agent(source, kept)
        names: tuple[tuple[str, ...], ...] | None = Encoding.from_json(kept).names
    else:
        names = None
    if source.observation != agent.observation_spec or source.action != agent.action_spec:
        raise DataError(
            f"expected data that observe {[str(leaf) for leaf in agent.observation_spec.leaves]} and have "
            f"{agent.action_spec} actions, as the agent was trained on; got "
            f"{[str(leaf) for leaf in source.observation.leaves]} and {source.action}"
        )
    return source, names


def trained_on(agent: Agent, files: tuple[str, ...]) -> bool:
    trained = {Path(name).resolve() for name in agent.info.get("data", ())}
    return any(Path(name).resolve() in trained for name in files)


def _only_held_out(agent: Agent, source: Source) -> Source:
    """Return the sessions that were held out from the agent's training: the same ones, by the hash of their names."""
    from seqel.datasets.dataset import Dataset
    from seqel.errors import ConfigError

    held = agent.info.get("held_out")
    if held is None or not isinstance(source, Dataset):
        raise ConfigError(
            "--held-out: the agent does not say which sessions were held out: it was not trained on data, or was saved by an "
            "older version"
        )
    rows = source.held_out_rows(held["share"], held["seed"])
    if len(rows) < FEWEST_SESSIONS:
        raise ConfigError(
            f"--held-out: only {len(rows)} of {source.buffer.episodes:,} sessions were held out in training, "
            "too few for an estimate: train with --set offline.held_out=0.3, or record more"
        )
    return source.subset(rows)


def _table(found: OffPolicyEvaluation) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("policy")
    for name in ("value", "95 %", "over recorded", "agrees", "unseen"):
        table.add_column(name, justify="right", no_wrap=True)
    first, *others = found.policies
    for row in [first, found.recorded, *sorted(others, key=lambda one: -one.value.value)]:
        table.add_row(*[escape(cell) for cell in _cells(row)], style="" if row.supported else "dim")
    return table


def _unsupported(policies: Sequence[PolicyValue]) -> dict[str, list[str]]:
    """Return the policies whose estimates the data do not support, by the first reason."""
    found: dict[str, list[str]] = {}
    for row in policies:
        if not row.supported:
            found.setdefault(row.reason, []).append(row.name)
    return found


def _cells(row: PolicyValue) -> list[str]:
    over = "" if row.difference is None else f"{row.difference.low:+.3g} to {row.difference.high:+.3g}"
    return [
        row.name if row.supported else f"{row.name} (?)", f"{row.value.value:.4g}",
        f"{row.value.low:.4g} to {row.value.high:.4g}", over, f"{row.agreement:.0%}", f"{row.off_support:.0%}",
    ]  # fmt: skip
