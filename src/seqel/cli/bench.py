"""`seqel bench`: the speed of the parts on this machine."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg

from seqel.cli.arguments import ENV_HELP, EnvArguments, Json, values

if TYPE_CHECKING:
    from seqel.cli.output import Output

__all__ = ["EXAMPLES", "SUMMARY", "Arguments", "run"]

SUMMARY = "Time an update, an acting step, sampling from the replay, or an environment, at sizes of your choice."

EXAMPLES = """
The times are medians of wall time on random data of the given shapes. Compare times only on the same machine. --json prints
`ms` or `steps_per_s`, with shapes, parameters, versions and processor.

examples:
  seqel bench update --width 128 --heads 8              ms per update, and its share of the processor's peak
  seqel bench update --precision bf16 --compile         is compilation worth its minute here?
  seqel bench act --envs 16                             also times recomputing the whole window
  seqel bench env --env CartPole-v1                     one process, or one per environment?
"""


@dataclass(frozen=True)
class Arguments:
    """The arguments of `seqel bench`."""

    what: Annotated[
        Literal["update", "act", "replay", "env"],
        Positional,
        arg(metavar="WHAT", help="update, act, replay or env", help_behavior_hint=""),
    ]
    width: Annotated[int, arg(metavar="D", help="width of the network")] = 64
    layers: Annotated[int, arg(metavar="N", help="number of layers")] = 2
    heads: Annotated[int, arg(metavar="N", help="attention heads per layer")] = 4
    context: Annotated[int, arg(metavar="N", help="steps that attention covers, and length of the window")] = 50
    batch: Annotated[int, arg(metavar="N", help="windows per update")] = 32
    envs: Annotated[int, arg(metavar="N", help="parallel environments")] = 16
    steps: Annotated[int, arg(metavar="N", help="transitions in the replay")] = 100_000
    priority: Annotated[float, arg(metavar="ALPHA", help="exponent of prioritised sampling; 0: uniform")] = 0.0
    trunk: Annotated[Literal["transformer", "gru"], arg(help="the network over the history")] = "transformer"
    precision: Annotated[Literal["float32", "bf16"], arg(help="number format of matrix products")] = "float32"
    backend: Annotated[
        Literal["torch", "onnxruntime"], arg(help="for `act`: the runtime (onnxruntime: the extra `serve`)")
    ] = "torch"
    compile: Annotated[bool, FlagCreatePairsOff, arg(help="compile the network first", help_behavior_hint="")] = False
    threads: Annotated[int, arg(metavar="N", help="threads of torch; 0: torch's default")] = 0
    device: Annotated[str, arg(metavar="D", help="cpu, cuda")] = "cpu"
    repeats: Annotated[int, arg(metavar="N", help="number of timed calls; for env: tenths of a second")] = 50
    env: Annotated[
        str | None, arg(metavar="ENV", help=f"for `env`: {ENV_HELP}", help_behavior_hint="", constructor=str)
    ] = None
    env_arg: EnvArguments = ()
    json: Json = False


def run(arguments: Arguments, output: Output) -> dict[str, Any]:
    """Time one part. Returns the figures, and what they depend on."""
    import torch

    from seqel.errors import ConfigError
    from seqel.profiling import timing
    from seqel.training.hardware.devices import choose_device
    from seqel.training.hardware.processor import busy, describe_processor

    if (arguments.env is not None) != (arguments.what == "env"):
        raise ConfigError("--env: expected with `seqel bench env`, and only with it")
    if arguments.repeats < 1:
        raise ConfigError(f"--repeats: expected at least 1, got {arguments.repeats}")
    if arguments.threads > 0:
        torch.set_num_threads(arguments.threads)
    device, warning = choose_device(arguments.device), busy(torch.get_num_threads())
    if arguments.what == "env":
        found = _environments(arguments)
    else:
        names = (field.name for field in fields(timing.Shapes) if hasattr(arguments, field.name))
        shapes = timing.Shapes(**{name: getattr(arguments, name) for name in names})
        if shapes.compile:
            output.note("compiling: half a minute to a minute ...")
        work = {"update": timing.time_update, "act": timing.time_act, "replay": timing.time_replay}
        found = work[arguments.what](shapes, arguments.repeats)
    found["machine"] = timing.machine() | {"processor": describe_processor(device), "busy": warning}
    _show(arguments.what, found, output)
    return found


def _environments(arguments: Arguments) -> dict[str, Any]:
    from seqel.environments.envpool import has_pool
    from seqel.environments.parallelism import Mode, time_env
    from seqel.environments.probe import probe
    from seqel.environments.resolve import registered, resolve

    assert arguments.env is not None
    make = resolve(arguments.env, **values(arguments.env_arg))
    seen = probe(make)
    modes: list[Mode] = ["sync", "async"]
    if has_pool(registered(make)[0]):
        modes.append("envpool")
    seconds = arguments.repeats / 10
    rows = [time_env(make, seen.observation, seen.action, arguments.envs, mode, seconds) for mode in modes]
    best = max(rows, key=lambda row: row["steps_per_s"])
    return {"env": arguments.env, "steps_per_s": best["steps_per_s"], "best": best["mode"], "modes": rows}


def _show(what: str, found: dict[str, Any], output: Output) -> None:
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in found.items():
        if name in ("shapes", "machine", "modes"):
            continue
        if isinstance(value, dict):
            value = ", ".join(f"{part} {size / 1e6:,.1f} MB" for part, size in value.items())
        table.add_row(name.replace("_", " "), f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if
                      isinstance(value, int) else str(value))  # fmt: skip
    for row in found.get("modes", ()):
        table.add_row(f"{row['mode']}, {row['environments']} environments", f"{row['steps_per_s']:,.0f} steps/s")
    machine = found["machine"]
    output.show(table, f"\n{machine['cpu']}, {machine['threads']} thread(s), torch {machine['versions']['torch']}")
    output.show(machine["processor"]["says"])
    if machine["busy"] is not None:
        output.show(f"[yellow]note[/] {machine['busy']}")
