"""`seqel explain RUN`: what a decision of an agent depends on, as a strip in the terminal or as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqel.cli.explain_arguments import Arguments

if TYPE_CHECKING:
    from seqel.agents.agent import Agent
    from seqel.cli.explain_source import Source
    from seqel.cli.output import Output
    from seqel.explanation.counterfactual_search import Counterfactual
    from seqel.explanation.describe import ActionNames
    from seqel.explanation.question import Question
    from seqel.explanation.reading import Reading
    from seqel.explanation.report import Report

__all__ = ["EXAMPLES", "SUMMARY", "Arguments", "run"]

SUMMARY = "Show which past steps a decision depends on, in one episode or recorded session."

EXAMPLES = """
The agent plays an episode with the given seed, or reads a recorded session. The command shows the decision at --step, or the
one that depends most on a past step. --out writes a page with every decision, which needs no network and no server.

The explained score is by how much the agent prefers its choice to the second-best action. --action and --over name other
actions; --over none explains the score of one action alone. docs/explain.md says what each method measures, and how far to
trust it.

examples:
  seqel explain runs/mine                                   a strip of the most interesting decision of episode 0
  seqel explain runs/mine --seed 7 --out episode.html       a page of the whole episode
  seqel explain runs/mine --step 12 --method occlusion --method rollout
  seqel explain runs/mine --data sessions.parquet --session anna --out anna.html
"""


def run(arguments: Arguments, output: Output) -> dict[str, Any]:
    """Explain one decision, or write the page. Returns the decision with its attributions."""
    from seqel.agents.agent import Agent
    from seqel.cli.explain_source import open_episode
    from seqel.cli.explain_text import counterfactual_text, show_decision
    from seqel.errors import ConfigError
    from seqel.explanation.counterfactual_search import search_counterfactuals
    from seqel.explanation.methods.registry import method_of
    from seqel.explanation.reading import Reading
    from seqel.explanation.report import explain_episode

    if arguments.session is not None and not arguments.data:
        raise ConfigError("--session needs --data: it names a recorded session")
    if arguments.limit < 1:
        raise ConfigError(f"--limit: expected at least 1 step, got {arguments.limit}")
    for name in arguments.method:
        method_of(name)
    folder = Path(arguments.run)
    agent = Agent.load(folder, arguments.device)
    source = open_episode(agent, folder, arguments, output)
    question = _question(agent, arguments, source)
    reading = Reading(agent, source.trace, source.others)
    methods = arguments.method or (() if arguments.out is not None else ("occlusion",))
    report = explain_episode(
        agent, source.trace, methods=methods or None, question=question, frames=source.frames, texts=source.texts,
        rows=source.rows, recorded=source.recorded, action_names=source.action_names, reading=reading,
    )  # fmt: skip
    report.notes[:0] = source.notes
    row = report.interesting if arguments.step is None else _row(report, arguments.step)
    changes = search_counterfactuals(agent, source.trace, row, others=source.others, reading=reading)
    show_decision(agent, report, row, changes, source, output)
    if arguments.png is not None:
        from seqel.cli.explain_picture import draw_strips

        draw_strips(arguments.png, report, row, source.title)
        output.show(f"[dim]drawn: {arguments.png}[/]")
    if arguments.out is not None:
        _write_page(agent, report, row, changes, source, reading, arguments, output)
    return _result(agent, report, row, changes, source) | {
        "counterfactual": counterfactual_text(agent, report, row, changes, source)
    }


def _row(report: Report, number: int) -> int:
    """Return the row of a decision by the number of its step in the episode."""
    from seqel.errors import ConfigError

    first, last = report.steps[0].number, report.steps[-1].number
    if not first <= number <= last:
        raise ConfigError(f"--step: expected {first} to {last}, a decision of this episode, got {number}")
    return number - first


def _question(agent: Agent, arguments: Arguments, source: Source) -> Question:
    from seqel.explanation.describe import ActionNames
    from seqel.explanation.question import Question

    names = ActionNames(agent, source.action_names)
    over: Any = arguments.over
    if over == "none":
        over = None
    elif over != "runner-up":
        over = _action(names, over, "--over")
    return Question(None if arguments.action is None else _action(names, arguments.action, "--action"), over)


def _action(action_names: ActionNames, text: str, option: str) -> tuple[int, ...]:
    """Return the codes of an action: names of the table's actions, or numbers as in the environment, one per dimension."""
    from seqel.errors import ConfigError

    names, spec = action_names.names, action_names.spec
    parts = [text] if spec.dims == 1 else [part.strip() for part in text.split(",")]
    codes = []
    for dim, (part, size, start) in enumerate(zip(parts, spec.sizes, spec.start, strict=False)):
        if names is not None and part in names[dim]:
            codes.append(names[dim].index(part))
        elif part.lstrip("-").isdecimal() and 0 <= int(part) - start < size:
            codes.append(int(part) - start)
    if len(codes) != spec.dims or len(parts) != spec.dims:
        known = (
            ", ".join(names[0][:5]) + " ..."
            if names is not None
            else f"{spec.start[0]} to {spec.start[0] + spec.sizes[0] - 1}"
        )
        several = "" if spec.dims == 1 else f", one of {spec.dims} parts each, separated by commas"
        raise ConfigError(f"{option}: expected an action ({known}{several}), got {text!r:.80}")
    return tuple(codes)


def _write_page(
    agent: Agent, report: Report, row: int, changes: list[Counterfactual], source: Source, reading: Reading,
    arguments: Arguments,
    output: Output,
) -> None:  # fmt: skip
    from rich.markup import escape

    from seqel.cli.explain_text import counterfactual_text
    from seqel.errors import ConfigError
    from seqel.explanation.page import PAGE_LIMIT, report_page
    from seqel.storage import atomic_write

    assert arguments.out is not None
    sentence = counterfactual_text(agent, report, row, changes, source)
    page = report_page(
        report, f"{source.title}: an explained episode", [("agent", Path(arguments.run).name), *source.facts], start=row,
        counterfactuals={row: sentence} if sentence else {},
    )  # fmt: skip
    size = len(page.encode())
    if size > PAGE_LIMIT:
        raise ConfigError(
            f"--out: expected a page of at most {PAGE_LIMIT / 1e6:.0f} MB, got {size / 1e6:.1f} MB: explain fewer steps "
            f"(--limit, now {arguments.limit}), or name fewer methods (--method)"
        )
    atomic_write(arguments.out, page)
    output.show(f"page: {escape(str(arguments.out))} ({size / 1e6:.2f} MB), {len(report.steps):,} decisions")
    for note in report.notes:
        output.show(f"[dim]{escape(note)}[/]")


def _result(agent: Agent, report: Report, row: int, changes: list[Counterfactual], source: Source) -> dict[str, Any]:
    step = report.steps[row]
    return {
        "episode": dict(source.facts) | {"source": source.title},
        "step": step.number,
        "question": report.question,
        "unit": report.unit,
        "actions": [
            {"action": one.name, "score": one.score, "std": one.std, "chosen": one.chosen, "recorded": one.recorded}
            for one in step.scores
        ],
        "taken": step.action,
        "reward": step.reward,
        "first_step": report.steps[0].number,
        "methods": {name: [float(one) for one in found[row, : row + 1]] for name, found in report.methods.items()},
        "changes": [
            {
                "step": source.trace.start + one.step, "leaf": one.leaf, "element": one.element, "before": one.before,
                "after": one.after, "action": list(one.action),
            }
            for one in changes[:10]
        ],
        "notes": list(report.notes),
    }  # fmt: skip
