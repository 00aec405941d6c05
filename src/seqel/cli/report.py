"""`seqel report RUN...`: one HTML page about one or more runs, from recorded greedy episodes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import FlagCreatePairsOff, Positional, arg

from seqel.cli.arguments import EnvArguments, Json, OtherEnv, Trust

if TYPE_CHECKING:
    from seqel.cli.output import Output
    from seqel.reports.figures import RunSource

__all__ = ["EXAMPLES", "SUMMARY", "Arguments", "run"]

SUMMARY = "Write a report on one or more runs as an HTML page: learning curves, returns, calibration, a comparison."

EXAMPLES = """
The page is self-contained and needs no network. Each agent plays N greedy episodes on fresh seeds, which are kept in
RUN/report, so another report takes seconds. --json prints every figure on the page.
Runs whose settings differ only in the seed form a group. LABEL=RUN names a group; use the same labels across tasks.

examples:
  seqel report runs/mine --out report.html
  seqel report runs/a-0 runs/a-1 runs/b-0 runs/b-1 --out report.html        two groups, compared
  seqel report memory=runs/a-0 memory=runs/a-1 none=runs/b-0 none=runs/b-1
  seqel report runs/mine --episodes 400 --json
"""


@dataclass(frozen=True)
class Arguments:
    """The arguments of `seqel report`."""

    runs: Annotated[
        tuple[str, ...],
        Positional,
        arg(
            metavar="RUN",
            help="the folder of a run or of an agent, or LABEL=FOLDER",
            help_behavior_hint="(one or more)",
        ),
    ]
    out: Annotated[str, arg(metavar="HTML", help="the page")] = "report.html"
    episodes: Annotated[int, arg(metavar="N", help="greedy episodes per run")] = 100
    seed: Annotated[int, arg(metavar="S", help="seed of the first episode")] = 0
    fresh: Annotated[
        bool,
        FlagCreatePairsOff,
        arg(help="play again, for instance after a change of the environment", help_behavior_hint=""),
    ] = False  # fmt: skip
    env: OtherEnv = None
    env_arg: EnvArguments = ()
    trust: Trust = False
    device: Annotated[str, arg(metavar="D", help="device of the network: cpu, cuda")] = "cpu"
    json: Json = False


def run(arguments: Arguments, output: Output) -> dict[str, Any]:
    """Play or read the episodes, compute, write the page. Returns the figures."""
    from rich.markup import escape

    from seqel.errors import ConfigError
    from seqel.reports.page import report_page
    from seqel.reports.report import group_labels, report_figures
    from seqel.storage import atomic_write
    from seqel.version import __version__

    if not arguments.runs:
        raise ConfigError("report: expected the folder of one or more runs")
    given = [_labelled(text) for text in arguments.runs]
    names = _names([path for _, path in given])
    sources = [_source(name, label, path, arguments, output) for name, (label, path) in zip(names, given, strict=True)]
    labels = group_labels({source.name: source.config for source in sources})
    sources = [_with_label(source, labels[source.name]) for source in sources]
    made = {"episodes": arguments.episodes, "seed": arguments.seed, "version": __version__}
    figures = report_figures(sources, made)
    title = names[0] if len(names) == 1 else f"{len(names)} runs: {', '.join(dict.fromkeys(s.label for s in sources))}"
    atomic_write(Path(arguments.out), report_page(figures, title[:120]))
    output.show(_table(figures), *_comparison(figures["comparison"]), "", f"report: {escape(arguments.out)}")
    return figures


def _labelled(text: str) -> tuple[str, Path]:
    """Split LABEL=FOLDER; the label is "" if there is none. A folder whose own name has "=" is taken as it is."""
    label, equals, path = text.partition("=")
    if not equals or Path(text).exists():
        return "", Path(text)
    return label.strip(), Path(path)


def _names(paths: list[Path]) -> list[str]:
    """Return short names: the folders' own, with as many parents as are needed to distinguish them."""
    from seqel.errors import ConfigError
    from seqel.runs.run_config import run_of

    folders = [run_of(path).resolve() if path.name == "agent" else path.resolve() for path in paths]
    if len(set(folders)) < len(folders):
        raise ConfigError("report: a run is given twice")
    for depth in range(1, max(len(folder.parts) for folder in folders) + 1):
        names = ["/".join(folder.parts[-depth:]) for folder in folders]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]


def _source(name: str, label: str, path: Path, arguments: Arguments, output: Output) -> RunSource:
    """Load a run and play its episodes, unless they are kept."""
    import shlex

    from seqel.agents.agent import Agent
    from seqel.cli.output import plain
    from seqel.cli.run_environment import run_environment
    from seqel.errors import CheckpointError, ConfigError
    from seqel.reports.figures import RunSource
    from seqel.reports.played import played_episodes
    from seqel.runs.progress_bar import sharing
    from seqel.runs.records import read_records
    from seqel.runs.run_config import CONFIG, read_run_config, run_of
    from seqel.settings import as_dict

    agent = Agent.load(path, arguments.device)
    folder = run_of(path)
    config: dict[str, Any] = {}
    records: list[dict[str, Any]] = []
    if (folder / CONFIG).exists():
        try:
            config = dict(_dotted(plain(as_dict(read_run_config(folder, arguments.trust)))))
        except (CheckpointError, ConfigError) as error:
            output.note(f"note: {error}; the report has no settings of {name}")
        records, damaged = read_records(folder)
        if damaged:
            output.note(f"note: {folder}: {len(damaged)} damaged lines of metrics.jsonl were ignored")
    played, task, replay = None, "", ""
    if arguments.env is not None or agent.info.get("env") or config.get("env"):
        env, make = run_environment(path, agent.info, arguments, output, "report")
        changes = {text.partition("=")[0].strip(): text.partition("=")[2].strip() for text in arguments.env_arg}
        env_args = (
            dict(agent.info.get("env_args") or {} if arguments.env in (None, agent.info.get("env")) else {}) | changes
        )
        task = env + (
            f" ({', '.join(f'{key}={value}' for key, value in sorted(env_args.items()))})" if env_args else ""
        )
        replay = f" --env {shlex.quote(arguments.env)}" if arguments.env is not None else ""
        replay += "".join(f" --env-arg {shlex.quote(text)}" for text in arguments.env_arg)
        with sharing(output.progress, f"playing {name}") as tell:
            played, kept = played_episodes(
                agent, make, env, env_args, folder, arguments.episodes, arguments.seed,
                fresh=arguments.fresh, trust=arguments.trust,
                progress=lambda done: tell(done / arguments.episodes, f"{done:,} episodes"),
            )  # fmt: skip
        if kept:
            output.note(f"{name}: episodes of an earlier report ({folder / 'report'}); --fresh plays again")
    return RunSource(
        name, str(path), label, task, config, records, float(agent.info.get("discount", 0.99)), agent.action_spec, played,
        replay,
    )  # fmt: skip


def _with_label(source: RunSource, label: str) -> RunSource:
    import dataclasses

    return source if source.label else dataclasses.replace(source, label=label)


def _dotted(tree: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested settings as pairs of a dotted name and a value; tables such as `env_args` stay whole."""
    from seqel.settings import list_settings
    from seqel.training.config import RunConfig

    known = {info.name for info in list_settings(RunConfig)}
    found: list[tuple[str, Any]] = []
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and name not in known:
            found += _dotted(value, f"{name}.")
        else:
            found.append((name, value))
    return found


def _table(figures: dict[str, Any]) -> Any:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("run")
    for title in ("return", "95 %", "success", "value minus return", "slope"):
        table.add_column(title, justify="right", no_wrap=True)
    for one in figures["runs"]:
        played, calibration = one["episodes"] or {}, one["calibration"] or {}
        low, high = played.get("interval") or (None, None)
        success = played.get("success")
        table.add_row(
            escape(one["name"]), _number(played.get("mean")), "-" if low is None else f"{low:.3f} to {high:.3f}",
            "-" if success is None else f"{success:.1%}", _number(calibration.get("bias")), _number(calibration.get("slope")),
        )  # fmt: skip
    return table


def _comparison(found: dict[str, Any] | None) -> list[str]:
    """Lines with the interquartile mean of each group, and the probabilities of improvement."""
    from rich.markup import escape

    if found is None or not found["groups"]:
        return [] if found is None else ["", f"[yellow]note[/] {escape(found['note'])}"]
    lines = [""]
    for group in found["groups"]:
        low, high = group["interval"]
        within = "one run per task" if low is None else f"95 % {low:.3f} to {high:.3f}"
        lines.append(f"{escape(group['label'])}: interquartile mean {group['iqm']:.3f}, {within}")
    for one in found["improvement"]:
        low, high = one["interval"]
        within = "" if low is None else f", 95 % {low:.2f} to {high:.2f}"
        lines.append(
            f"{escape(one['first'])} beats {escape(one['second'])} with probability {one['probability']:.2f}{within}"
        )
    return lines


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
