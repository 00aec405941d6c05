"""Comparisons between groups of sessions, for `seqel data check --group` and `seqel evaluate --data --group`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from seqel.agents.agent import Agent
    from seqel.cli.evaluate_arguments import Arguments
    from seqel.cli.output import Output
    from seqel.datasets.dataset import Dataset

__all__ = ["agent_by_group", "show_groups"]


def show_groups(
    metrics: Mapping[str, tuple[NDArray[np.floating], NDArray[np.floating]]],
    values: Sequence[str | None],
    column: str,
    output: Output,
) -> list[dict[str, Any]]:
    """Compare n sessions by a column, show a table, and return its rows. metrics: see `compare_groups`."""
    from rich.text import Text

    from seqel.safety.groups import compare_groups, make_groups

    found = compare_groups(metrics, make_groups(values))
    wide = max(len(column), *(len(row.group) for row in found))
    output.show("", Text(f"  {column:<{wide}}      value  {'95 %':<19}  difference  {'95 %':<19}", style="bold"))
    before = ""
    for row in found:
        if row.metric != before:
            output.show(Text(row.metric))
        (low, high), (below, above) = row.interval, row.difference_interval
        inside, apart = f"{low:.3g} to {high:.3g}", f"{below:+.3g} to {above:+.3g}"
        clear = "*" if row.clear else ""
        line = f"  {row.group:<{wide}} {row.value:>10.4g}  {inside:<19}  {row.difference:>+10.3g}  {apart:<19} {clear}"
        output.show(Text(line.rstrip()))
        before = row.metric
    sizes = ", ".join(f"{row.group} {row.sessions:,}" for row in found if row.metric == found[0].metric)
    note = (
        f"Sessions: {sizes}. difference: to all other sessions. Intervals resample sessions. *: beyond chance, even if "
        "all of these comparisons together may be wrong in 5 % of cases. A difference is no proof of unfair treatment, and "
        "none is no proof of fair treatment."
    )
    output.show(Text(note, style="dim"))
    return [asdict(row) for row in found]


def agent_by_group(agent: Agent, arguments: Arguments, output: Output) -> dict[str, Any]:
    """Compare an agent's decisions after recorded histories between groups. Returns the rows of the table."""
    from seqel.cli.estimate import recorded_sessions as open_sessions
    from seqel.datasets.dataset import Dataset
    from seqel.datasets.inspection.groups import action_shares, column_of_sessions, session_metrics
    from seqel.errors import ConfigError
    from seqel.evaluation.abstaining import recorded_sessions

    assert arguments.group is not None
    source, _ = open_sessions(agent, arguments.data, arguments.schema, arguments.held_out)
    if not isinstance(source, Dataset):
        raise ConfigError("--group: expected a table, got other data")
    with output.progress.status("deciding the recorded steps ..."):
        decided = recorded_sessions(agent, source.buffer)
    assert decided.wrong is not None and decided.actions is not None
    steps = np.array([len(one) for one in decided.wrong], np.float64)
    same = np.array([float((~one).sum()) for one in decided.wrong])
    recorded = session_metrics(source)
    names = [source.actions] if source.encoding is None else [list(one) for one in source.encoding.names]
    columns = [f"agent's {name}" for name in (source.schema.action_columns if source.schema else ("action",))]
    shares = action_shares(
        np.concatenate(decided.actions), np.repeat(np.arange(len(steps)), steps.astype(int)), len(steps), names, columns
    )
    metrics = {"agreement with the recorded action": (same, steps)} | shares | {
        name: recorded[name] for name in ("reward per step", "return per session")
    }  # fmt: skip
    metrics |= _ranking_metrics(agent, source)
    if agent.abstention is not None:
        waits = np.array([float(agent.abstention.abstains(one).sum()) for one in decided.uncertainty])
        metrics = {"abstains": (waits, steps)} | metrics
    values = column_of_sessions(source, list(arguments.data), arguments.group)
    return {"groups": show_groups(metrics, values, arguments.group, output)}


def _ranking_metrics(agent: Agent, source: Dataset) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Return how well an agent that reads nothing but items ranks each session's last one; nothing for other agents.

    The whole catalogue is ranked, without the items that the session had before.
    """
    from seqel.ranking.evaluation import evaluate_ranker
    from seqel.ranking.rank import agent_ranker
    from seqel.ranking.recorded import last_items

    if not agent.ranks_items:
        return {}
    sessions = source.buffer.episodes
    asked = last_items(source.buffer, source.actions)
    found = evaluate_ranker(agent_ranker(agent), asked)
    there = np.zeros(sessions)
    there[asked.user] = 1.0
    metrics = {}
    for name in ("HR@10", "NDCG@10"):
        gain = np.zeros(sessions)
        gain[asked.user] = found.metrics[name]
        metrics[f"{name} of the last action"] = gain, there
    return metrics
