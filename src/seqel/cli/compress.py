"""`seqel compress RUN`: a smaller and faster agent that decides as the trained one does, and its drop in return."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import FlagCreatePairsOff, Positional, UseAppendAction, arg

from seqel.cli.arguments import ENV_HELP, EnvArguments, Json, OwnSchema, Trust

if TYPE_CHECKING:
    from rich.table import Table

    from seqel.agents.agent import Agent
    from seqel.cli.output import Output
    from seqel.compression.report import Compression
    from seqel.training.config import RunConfig

__all__ = ["EXAMPLES", "SUMMARY", "Arguments", "run"]

SUMMARY = (
    "Make a trained agent smaller and faster (pruning, distillation, 8-bit weights), and report the loss of return."
)

EXAMPLES = """
1. Pruning removes the attention heads, hidden units, layers and channels that matter least for the agent's decisions, until
   at most --target-size of the parameters remain. The result is a smaller network, not one with zeros.
2. Distillation trains the pruned agent on the full agent's decisions and values, in episodes of both or on the run's data.
3. int8 stores the exported weights in 8 bits (dynamic quantisation, one scale per output channel), for the full and for the
   distilled agent, if the extra `serve` is installed. --int8 yes requires this, --int8 no turns it off.

All versions play the same --episodes on fresh seeds (seed --seed + n). The drop of a version is the mean difference from the
full agent in the same episodes, as a share of the full agent's mean return. A version is saved if its estimated drop is at
most --max-drop; with --strict, the upper end of its 95 % interval must be. If no version qualifies, nothing is written and
the exit code is 1. If an agent was trained on recorded data, its return cannot be measured: the drop is then the share of
decisions on held-out sessions that differ from the full agent's.

RUN-compressed/ (or --out) contains agent/ (as in a run), agent.onnx, agent-int8.onnx, and compression.json with the table.
Times are medians of single decisions on one core with a full context, in PyTorch (uncompiled) and in onnxruntime.

examples:
  seqel compress runs/mine                                 a quarter of the parameters, at most 2 % lost
  seqel compress runs/mine --target-size 0.5 --max-drop 0.01 --strict
  seqel compress runs/mine --target-size 1                 only 8-bit weights
  seqel compress downloaded/agent --env CartPole-v1        an agent without its run
  seqel compress runs/table --data sessions.parquet        an agent that was trained on recorded sessions
  seqel evaluate runs/mine-compressed                      the smaller agent is used like any other
"""


@dataclass(frozen=True)
class Arguments:
    """The arguments of `seqel compress`."""

    run: Annotated[
        str,
        Positional,
        arg(metavar="RUN", help="the folder of a run, or of an agent (weights.safetensors, config.json)",
            help_behavior_hint=""),
    ]  # fmt: skip
    target_size: Annotated[
        float, arg(metavar="SHARE", help="largest share of the parameters that may remain; 1: no pruning")
    ] = 0.25
    max_drop: Annotated[
        float, arg(metavar="SHARE", help="largest drop at which a version is saved, relative to the full agent")
    ] = 0.02
    strict: Annotated[
        bool,
        FlagCreatePairsOff,
        arg(help="the whole 95 % interval of the drop must be within --max-drop", help_behavior_hint=""),
    ] = False
    int8: Annotated[
        Literal["auto", "yes", "no"], arg(help="8-bit weights; auto: if the extra `serve` is installed")
    ] = "auto"
    episodes: Annotated[int, arg(metavar="N", help="greedy episodes of each version")] = 200
    seed: Annotated[int, arg(metavar="S", help="seed of the first episode, and of distillation")] = 0
    updates: Annotated[int, arg(metavar="N", help="updates of distillation")] = 2_000
    steps: Annotated[int, arg(metavar="N", help="environment steps that distillation learns from")] = 40_000
    env: Annotated[
        str | None,
        arg(metavar="ENV", help=f"the environment, if the run does not name it: {ENV_HELP}", help_behavior_hint="",
            constructor=str),
    ] = None  # fmt: skip
    env_arg: EnvArguments = ()
    data: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(metavar="FILE", help="recorded sessions, instead of an environment (the run's own)",
            help_behavior_hint="(repeatable)"),
    ] = ()  # fmt: skip
    schema: OwnSchema = None
    out: Annotated[
        str | None,
        arg(metavar="DIR", help="a new folder for the result (RUN-compressed)", help_behavior_hint="", constructor=str),
    ] = None
    trust: Trust = False
    device: Annotated[str, arg(metavar="D", help="device of pruning and distillation: auto, cpu, cuda")] = "auto"
    json: Json = False


def run(arguments: Arguments, output: Output) -> tuple[dict[str, Any], int]:
    """Compress, show the table. Returns (the table, 0 if something was saved, else 1)."""
    import torch

    from seqel.agents.agent import Agent
    from seqel.cli.run_environment import run_environment
    from seqel.compression.compressing import compress
    from seqel.compression.distilling import DistillationConfig
    from seqel.errors import ConfigError
    from seqel.runs.progress_bar import sharing
    from seqel.training.hardware.devices import choose_device
    from seqel.training.hardware.threads import choose_threads

    folder = Path(arguments.run)
    out = Path(arguments.out) if arguments.out is not None else _out(folder)
    if out.exists():
        raise ConfigError(f"{out} exists already: choose another folder with --out")
    agent = Agent.load(folder, choose_device(arguments.device))
    torch.set_num_threads(choose_threads(agent.network.config.width))
    config = _config(folder, arguments.trust)
    given: dict[str, Any] = {}
    files = arguments.data or _files(folder, agent, arguments, config)
    if files:
        from seqel.cli.estimate import recorded_sessions

        given["data"] = recorded_sessions(agent, files, arguments.schema, False)[0]
        given["objective"] = None if config is None else config.objective
    else:
        given["env"] = run_environment(folder, agent.info, arguments, output, "compress")[1]
    with sharing(output.progress, "compressing") as tell:
        found = compress(
            agent,
            target_size=arguments.target_size,
            max_drop=arguments.max_drop,
            strict=arguments.strict,
            int8={"auto": None, "yes": True, "no": False}[arguments.int8],
            episodes=arguments.episodes,
            seed=arguments.seed,
            out=out,
            distillation=DistillationConfig(updates=arguments.updates, steps=arguments.steps),
            progress=tell,
            **given,
        )
    _show(found, folder, out, output)
    return found.as_json() | {"out": str(out) if found.saved else None}, 0 if found.saved else 1


def _out(folder: Path) -> Path:
    """Return RUN-compressed, beside the run, also for an agent's folder in it."""
    from seqel.runs.run_config import run_of

    run = run_of(folder.absolute())
    return run.with_name(f"{run.name}-compressed")


def _config(folder: Path, trust: bool) -> RunConfig | None:
    """Return the config of the run that the agent belongs to; None for an agent alone."""
    from seqel.runs.run_config import CONFIG, read_run_config, run_of

    run = run_of(folder)
    return read_run_config(run, trust) if (run / CONFIG).exists() and (run / "agent").is_dir() else None


def _files(folder: Path, agent: Agent, arguments: Arguments, config: RunConfig | None) -> tuple[str, ...]:
    """Return the run's own recorded data, if it was trained on nothing else and was started on this machine."""
    from seqel.errors import ConfigError
    from seqel.runs.run_config import run_of
    from seqel.runs.trust import known

    if arguments.env is not None or agent.info.get("env"):
        return ()
    if config is None or config.env or not config.offline.files:
        if agent.info.get("data") is not None:
            raise ConfigError(f"{folder} was trained on recorded data: pass the files with --data (or --env ENV)")
        return ()
    if not known(run_of(folder), config, arguments.trust).trusted:
        raise ConfigError(
            f"{folder} was not trained on this machine: name its data with --data FILE; or, if you have read its config.toml "
            "and trust what it names, add --trust"
        )
    return config.offline.files


def _show(found: Compression, folder: Path, out: Path, output: Output) -> None:
    from rich.markup import escape

    before, shape = found.parameters, found.shape
    output.show(
        f"[bold]{escape(str(folder))}[/]: {before['total']:,} parameters ({before['blocks']:,} in the Transformer's layers, "
        f"{before['encoders']:,} in encoders)",
        _costs(found),
        "",
        _drops(found),
        "",
    )
    if len(found.variants) > 2 or any(one.name == "pruned" for one in found.variants):
        output.show(
            f"[dim]pruned to {shape['layers']} layers of width {shape['width']}, {shape['heads']} heads of "
            f"{shape['head_dim']}, {shape['hidden']} hidden units[/]"
        )
    output.show(f"[dim]{found.rule}[/]")
    for note in found.notes:
        output.show(f"[yellow]note[/] {escape(note)}")
    for one in found.variants:
        if one.kept and one.drop is not None and one.drop.high > found.max_drop:
            output.show(
                f"[yellow]note[/] {one.name}: its interval reaches a drop of {one.drop.high:.1%}; more --episodes narrow it"
            )
    refused = [one for one in found.variants if not one.kept and one.name != "pruned"]
    for one in refused:
        assert one.drop is not None
        output.show(f"[red]not saved[/] {one.name}: a drop of {one.drop.value:.1%} in {found.metric}")
    for name, what in found.saved.items():
        output.show(f"[green]saved[/] {escape(str(out / name))}: {what}")
    if not found.saved:
        output.show("[bold]Nothing was saved.[/] Try a larger --target-size, or more --updates and --steps.")


def _costs(found: Compression) -> Table:
    """Return what each version costs."""
    table = _table("parameters", "KiB", "torch", "onnxruntime")
    for one in found.variants:
        cells = (f"{one.parameters:,}", f"{one.bytes / 1024:,.0f}", _ms(one.torch_ms), _ms(one.onnx_ms))
        table.add_row(one.name, *cells, style="" if one.kept else "dim")
    return table


def _drops(found: Compression) -> Table:
    """Return how well each version does."""
    data = found.metric != "return"
    table = _table(*(("as recorded", "held-out") if data else ("return", "95 %")), "agrees", "drop", "95 %")
    for one in found.variants:
        if data:
            cells = [_number(one.recorded, ".1%"), _number(one.held_out, ".4g")]
        else:
            low, high = one.interval or (None, None)
            cells = [_number(one.mean, ".3f"), "-" if low is None else f"{low:.3f} to {high:.3f}"]
        cells.append(_number(one.agreement, ".2%"))
        drop = one.drop
        cells += ["-", "-"] if drop is None else [f"{drop.value:.1%}", f"{drop.low:.1%} to {drop.high:.1%}"]
        table.add_row(one.name, *cells, style="" if one.kept else "dim")
    return table


def _table(*titles: str) -> Table:
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    return table


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} ms"


def _number(value: float | None, style: str) -> str:
    return "-" if value is None else format(value, style)
