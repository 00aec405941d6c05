"""The episode that `seqel explain` explains: one that the agent plays, or a recorded session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqel.cli.run_environment import run_environment

if TYPE_CHECKING:
    from seqel.agents.agent import Agent
    from seqel.cli.explain_arguments import Arguments
    from seqel.cli.output import Output
    from seqel.explanation.rendering import Shown
    from seqel.explanation.trace import EpisodeTrace

__all__ = ["Source", "open_episode"]

REFERENCES = 8  # other episodes whose observations the counterfactual search may use


@dataclass(frozen=True)
class Source:
    """An episode, and what is known of it."""

    trace: EpisodeTrace
    title: str
    facts: list[tuple[str, str]]
    recorded: bool = False
    frames: Sequence[Shown] = ()
    texts: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    rows: Sequence[Mapping[str, Any]] | None = None
    action_names: Sequence[str] | None = None
    others: Sequence[EpisodeTrace] = ()
    notes: Sequence[str] = ()


def open_episode(agent: Agent, folder: Path, arguments: Arguments, output: Output) -> Source:
    """Play or read the episode. Raises as `seqel evaluate` does."""
    return (_recorded if arguments.data else _played)(agent, folder, arguments, output)


def _played(agent: Agent, folder: Path, arguments: Arguments, output: Output) -> Source:
    from seqel.environments.seeds import require_for_reports
    from seqel.explanation.rendering import render_episode
    from seqel.explanation.trace import record_episode

    require_for_reports(arguments.seed, 1 + REFERENCES)
    env, make = run_environment(folder, agent.info, arguments, output, "explain")
    episode = render_episode(agent, make, arguments.seed, arguments.limit)
    trace = episode.trace
    others = [record_episode(agent, make, arguments.seed + 1 + n, arguments.limit) for n in range(REFERENCES)]
    facts = [
        ("seed", str(arguments.seed)),
        ("steps", f"{len(trace):,}"),
        ("return", f"{float(trace.reward.sum()):.4g}"),
    ]
    if trace.success is not None:
        facts.append(
            ("success", "yes" if trace.success == 1.0 else "no" if trace.success == 0.0 else f"{trace.success:.0%}")
        )
    notes = (
        [f"The episode was truncated after {len(trace):,} steps (--limit)."] if len(trace) == arguments.limit else []
    )
    return Source(
        trace,
        env,
        facts,
        frames=episode.frames,
        texts=episode.texts,
        action_names=episode.action_names,
        others=others,
        notes=notes,
    )


def _recorded(agent: Agent, folder: Path, arguments: Arguments, output: Output) -> Source:
    import numpy as np

    from seqel.datasets.dataset import Dataset
    from seqel.errors import DataError
    from seqel.explanation.recorded import find_session, session_rows, trace_session
    from seqel.spaces.text_readers import reader_of
    from seqel.training.sources import open_source, reencode_for_agent, require_same_spaces

    kept = agent.info.get("encoding")
    source = open_source(
        arguments.data,
        arguments.schema or (None if kept is None else kept["schema"]),
        agent.observation_spec.text_reader,
    )
    if not isinstance(source, Dataset):
        raise DataError("--data: expected a table, or a Minari dataset's id")
    place, name = find_session(source, arguments.session)
    rows_of_others = [row for row in range(min(source.buffer.episodes, REFERENCES + 1)) if row != place][:REFERENCES]
    one = source.subset(np.array([place]))
    read = one if kept is None else reencode_for_agent(one, kept)
    require_same_spaces("the agent", agent, read.observation, read.action, "the spaces of the data")
    trace = trace_session(read.buffer, 0, arguments.limit)
    others: list[EpisodeTrace] = []
    with suppress(DataError):  # the agent may not know the actions of any of them
        more = source.subset(np.array(rows_of_others, np.int64))
        known = more if kept is None else reencode_for_agent(more, kept)
        others = [trace_session(known.buffer, row, arguments.limit) for row in range(known.buffer.episodes)]
    rows = None
    if source.schema is not None and source.schema.observation:
        rows = session_rows(arguments.data, source.schema, name)[trace.start :]
        if len(rows) not in (len(trace), len(trace) + 1):
            output.note(f"note: the rows of session {name} cannot be matched to its steps; values are shown as encoded")
            rows = None
    texts: dict[str, dict[int, str]] = {}
    if rows is not None and source.schema is not None:
        for leaf in agent.observation_spec.texts:
            column = leaf.path.removeprefix("text/")
            said = [row[column] or "" for row in rows[: len(trace)]]
            if np.allclose(reader_of(leaf).read(said), trace.observation[leaf.path][: len(said)], atol=1e-4):
                texts[leaf.path] = dict(enumerate(said))
    facts = [("session", name), ("steps", f"{len(trace):,}"), ("recorded return", f"{float(trace.reward.sum()):.4g}")]
    notes = [f"The session is longer: its latest {len(trace):,} steps are shown (--limit)."] if trace.start else []
    title = ", ".join(Path(file).name for file in arguments.data)
    return Source(trace, title, facts, True, texts=texts, rows=rows, others=others, notes=notes)
