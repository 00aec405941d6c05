"""`seqel evaluate RUN --perturb KIND`: the return against the strength of perturbed observations."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from seqel.agents.agent import Agent
    from seqel.cli.evaluate_arguments import Arguments
    from seqel.cli.output import Output
    from seqel.environments.resolve import EnvMaker
    from seqel.robustness.curve import Curve

__all__ = ["run"]

WIDTH = 24  # of a bar


def run(agent: Agent, env: str, make: EnvMaker, arguments: Arguments, output: Output) -> dict[str, Any]:
    """Play every perturbation at its strengths, show the curves. Returns them by the text that asked for them."""
    from rich.markup import escape

    from seqel.errors import ConfigError
    from seqel.robustness.curve import parse_perturbation, perturbation_curve
    from seqel.runs.progress_bar import sharing

    wanted = [parse_perturbation(text) for text in arguments.perturb]
    kinds = [kind for kind, _ in wanted]
    if len(set(kinds)) < len(kinds):
        raise ConfigError(f"--perturb: a kind is given twice, got {kinds}")
    output.show(
        f"[bold]{escape(arguments.run)}[/] on [cyan]{escape(env)}[/], {arguments.episodes} episodes at each strength"
    )
    curves = []
    for kind, strengths in wanted:
        with sharing(output.progress, kind) as tell:
            curve = perturbation_curve(
                agent, make, kind, strengths, arguments.episodes, arguments.seed, progress=lambda share: tell(share, "")
            )
        curves.append(curve)
        low, high = curve.area_interval
        output.show(
            "", f"[bold]{kind}[/] [dim]{escape(curve.unit)}[/]", _table(curve),
            f"area under the curve: {curve.area:.3f}, 95 % {low:.3f} to {high:.3f} [dim](mean return over the strengths)[/]",
        )  # fmt: skip
    if arguments.plot is not None:
        from seqel.robustness.plot import draw_curves

        draw_curves(curves, Path(arguments.plot), f"{arguments.run} on {env}")
        output.show("", f"[dim]plot: {escape(arguments.plot)}[/]")
    return {
        "env": env, "episodes": arguments.episodes, "seed": arguments.seed,
        "perturbations": {curve.kind: dataclasses.asdict(curve) for curve in curves},
    }  # fmt: skip


def _table(curve: Curve) -> Table:
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    known = all(one.success is not None for one in curve.evaluations)
    for title in ("strength", *(("success",) if known else ()), "return", "95 %"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("")
    means = [one.mean for one in curve.evaluations]
    low, span = min(0.0, *means), (max(0.0, *means) - min(0.0, *means)) or 1.0
    for strength, one in zip(curve.strengths, curve.evaluations, strict=True):
        cells = [f"{strength:g}", *([f"{one.success:.1%}"] if known else []), f"{one.mean:.3f}"]
        cells.append(f"{one.interval[0]:.3f} to {one.interval[1]:.3f}")
        table.add_row(*cells, "█" * round(WIDTH * (one.mean - low) / span))
    return table
