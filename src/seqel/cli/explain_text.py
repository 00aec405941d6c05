"""An explained decision in the terminal: strips over the past, the steps that matter most, the smallest change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from seqel.agents.agent import Agent
    from seqel.cli.explain_source import Source
    from seqel.cli.output import Output
    from seqel.explanation.counterfactual_search import Counterfactual
    from seqel.explanation.report import Report, Step

__all__ = ["counterfactual_text", "show_decision", "step_text"]

MOST = 5  # past steps that are listed


def show_decision(
    agent: Agent, report: Report, row: int, changes: list[Counterfactual], source: Source, output: Output
) -> None:
    """Show one decision: its actions, a strip for each method, the steps that matter most."""
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    step = report.steps[row]
    facts = ", ".join(f"{name} {value}" for name, value in source.facts)
    output.show(f"[bold]{escape(source.title)}[/], {escape(facts)}")
    chosen = next(one for one in step.scores if one.chosen)
    others = [one for one in step.scores if one.over]
    text = f"step {step.number}: the agent chooses [bold]{escape(chosen.name)}[/] ({chosen.score:.4g}"
    text += f"; the runner-up, {escape(others[0].name)}, has {others[0].score:.4g})" if others else ")"
    if source.recorded and step.action:
        text += f"; recorded was {escape(step.action)}"
    output.show(text, f"[dim]explained: {escape(report.question)}, in {report.unit}[/]", "")
    if row == 0:
        output.show("This is the first decision: it has no past.")
        return
    width = 100 if output.as_json else output.progress.width
    for name, found in report.methods.items():
        weights = found[row, : row + 1]
        at = int(abs(weights[:row]).argmax())
        output.show(_strip(name, weights, at, step, report, width), "")
    name = next(iter(report.methods))
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("step", justify="right")
    table.add_column(name, justify="right")
    table.add_column("seen there", overflow="fold")
    weights = report.methods[name][row, :row]
    for past in abs(weights).argsort(kind="stable")[::-1][:MOST].tolist():
        if weights[past]:
            table.add_row(str(report.steps[past].number), f"{weights[past]:+.3g}", Text(step_text(report, past, row)))
    output.show(table)
    sentence = counterfactual_text(agent, report, row, changes, source)
    if sentence:
        output.show("", escape(sentence))


def _strip(name: str, weights: NDArray[np.float32], at: int, step: Step, report: Report, width: int) -> Any:
    from rich.text import Text

    from seqel.cli.influence_strip import Strip, text
    from seqel.explanation.methods.registry import method_of

    method = method_of(name)
    value = f"{weights[at]:+.3g}" if method.signed else f"{weights[at]:.1%}"
    ago = len(weights) - 1 - at
    pointed = f"step {report.steps[at].number}, {ago} step{'s' * (ago != 1)} earlier: {value}"
    chosen = next(one.name for one in step.scores if one.chosen)
    strip = Strip([abs(float(one)) for one in weights], at, pointed, chosen if len(chosen) <= 24 else chosen[:23] + "…")
    return Text(f"{method.title}: {method.meaning}\n", style="dim").append_text(text(strip, width))


def step_text(report: Report, row: int, now: int) -> str:
    """Return in one line what a step showed that the decision `now` does not show, and the action before it."""
    shown = [
        [said[at] for said in report.texts.values() if at in said]
        + [f"{name}: {one}" for name, one in report.steps[at].facts]
        for at in (row, now)
    ]
    parts = [part for part in shown[0] if part not in shown[1]]
    if row:
        parts.append(f"after {report.steps[row - 1].action}")
    text = "; ".join(" ".join(part.split()) for part in parts)
    return text if len(text) <= 160 else text[:159] + "…"


def counterfactual_text(agent: Agent, report: Report, row: int, changes: list[Counterfactual], source: Source) -> str:
    """Return the smallest change at a past step, else at the decision itself, as a sentence; "" if none was found."""
    from seqel.explanation.describe import leaf_text

    if not changes:
        return ""
    past = [one for one in changes if one.step < row]
    change = (past or changes)[0]
    before, after = (
        leaf_text(agent, change.leaf, value, change.element)
        for value in (source.trace.observation[change.leaf][change.step], change.value)
    )
    if before[1] == after[1]:  # too large to be written out
        what = f"another observed {before[0]}"
    else:
        what = f"{before[0]} {after[1]} in place of {before[1]}"
    number = report.steps[change.step].number if change.step < len(report.steps) else source.trace.start + change.step
    return (
        f"With {what} at step {number}, and nothing else changed, the agent would "
        f"have chosen {report.names(change.action)}."
    )
