"""`seqel train ENV`: train an agent, continue a run, or compare an agent with a memoryless one."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import OmitArgPrefixes, UseAppendAction, arg

from seqel.cli.arguments import EnvArguments, Flag, Json, OptionalEnv, Trust, settings, values
from seqel.cli.train_result import show_result
from seqel.cli.train_text import TextArguments

if TYPE_CHECKING:
    from seqel.cli.output import Output
    from seqel.training.config import RunConfig
    from seqel.training.sources import Source

__all__ = ["EXAMPLES", "SUMMARY", "Arguments", "run"]

SUMMARY = "Train an agent on an environment or on recorded sessions, or continue a run. Ctrl-C saves."

EXAMPLES = """
A run's folder holds config.toml (every setting), metrics.jsonl (one line per record), checkpoints (for exact resume),
agent/ (the best weights by validation), agent-last/ (the weights at the end) and learning-curve.png.

The default settings are for immediate and for delayed rewards in an environment. Presets for --data: `offline-cql` (the
default), `offline-iql`, `offline-bcq`, `supervised-q`, `behaviour-cloning` (a baseline). To continue in an environment after
recorded data (ENV --init-from RUN --data FILE): `offline-online`. For streams whose wrong actions are costly: `monitoring`.

Check recorded data first with `seqel data check`. Afterwards, `seqel evaluate RUN --data FILE` estimates the return of the
agent.

examples:
  seqel train seqel/TMaze-v0 --steps 60000 --out runs/maze
  seqel train popgym-RepeatPreviousMedium-v0 --stop-at 0.95
  seqel train my_file:MyEnv --compare                      does memory help here?
  seqel train CartPole-v1 --network gru --set learner.learning_rate=3e-4 --set network.width=128
  seqel train --data sessions.parquet --schema schema.toml no environment: train on recorded sessions
  seqel train --data sessions.csv --schema schema.toml --set offline.action_features=films.csv    actions by their features
  seqel train --data sessions.parquet --schema schema.toml --shield rules.toml      rules that veto actions
  seqel train CartPole-v1 --init-from runs/sessions-1      from recorded data to the environment
  seqel train --resume runs/maze --steps 120000            continue where the run stopped
  seqel train --resume runs/mine --data moved/sessions.csv the same sessions, in another place
  seqel train --compare --resume runs/mine                 continue both runs of a comparison
  seqel train --text verses.txt --reward my_file:rhymes --out runs/verses     then: seqel generate
  seqel train seqel/TMaze-v0 --tensorboard                 then: tensorboard --logdir runs
"""

TRACKERS = ("tensorboard", "wandb")  # flags of these names


@dataclass(frozen=True)
class Arguments:
    """The arguments of `seqel train`."""

    env: OptionalEnv = None
    steps: Annotated[
        int | None, arg(metavar="N", help="environment steps (200,000)", help_behavior_hint="", constructor=int)
    ] = None
    seed: Annotated[
        int | None, arg(metavar="S", help="seed of all random numbers (0)", help_behavior_hint="", constructor=int)
    ] = None
    out: Annotated[
        str | None, arg(metavar="DIR", help="the run's folder (runs/NAME-N)", help_behavior_hint="", constructor=str)
    ] = None
    config: Annotated[
        str | None,
        arg(metavar="RUN.TOML", help="a settings file, such as a config.toml", help_behavior_hint="", constructor=str),
    ] = None
    preset: Annotated[
        str | None,
        arg(
            help="a named set of settings (default; with --data: offline-cql)",
            metavar="P",
            help_behavior_hint="",
            constructor=str,
        ),
    ] = None
    network: Annotated[
        Literal["transformer", "gru"] | None,
        arg(help="the trunk: transformer or gru", metavar="T", help_behavior_hint="", constructor=str),
    ] = None
    memoryless: Annotated[Flag, arg(help="train the same learner without the history", help_behavior_hint="")] = False
    compare: Annotated[
        Flag,
        arg(
            help="also train a memoryless agent, and report whether memory helps",
            help_behavior_hint="",
        ),
    ] = False
    stop_at: Annotated[
        float | None,
        arg(metavar="R", help="stop when this mean return is confirmed", help_behavior_hint="", constructor=float),
    ] = None
    environments: Annotated[
        int | None, arg(metavar="N", help="parallel environments (16)", help_behavior_hint="", constructor=int)
    ] = None
    device: Annotated[
        str | None, arg(metavar="D", help="auto, cpu, cuda (auto)", help_behavior_hint="", constructor=str)
    ] = None
    set: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(metavar="NAME=VALUE", help="any setting, as in config.toml", help_behavior_hint="(repeatable)"),
    ] = ()
    env_arg: EnvArguments = ()
    data: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(
            metavar="FILE",
            help="recorded sessions, one row per step, or a Minari id",
            help_behavior_hint="(repeatable)",
        ),
    ] = ()
    schema: Annotated[
        str | None,
        arg(
            metavar="TOML", help="the schema (`seqel data check --write` proposes one)", help_behavior_hint="",
            constructor=str,
        ),
    ] = None  # fmt: skip
    updates: Annotated[
        int | None,
        arg(metavar="N", help="number of updates, with --data (20,000)", help_behavior_hint="", constructor=int),
    ] = None
    init_from: Annotated[
        str | None,
        arg(metavar="DIR", help="an agent to start from, or its run", help_behavior_hint="", constructor=str),
    ] = None
    shield: Annotated[
        str | None,
        arg(
            metavar="TOML", help="rules that veto actions, in training and in use", help_behavior_hint="",
            constructor=str,
        ),
    ] = None  # fmt: skip
    writing: OmitArgPrefixes[TextArguments] = field(default_factory=TextArguments)
    resume: Annotated[
        str | None, arg(metavar="DIR", help="continue the run in this folder", help_behavior_hint="", constructor=str)
    ] = None
    tensorboard: Annotated[
        Flag, arg(help="also write TensorBoard events into the run's folder", help_behavior_hint="")
    ] = False
    wandb: Annotated[Flag, arg(help="log to Weights & Biases (also WANDB_MODE=offline)", help_behavior_hint="")] = False
    trust: Trust = False
    json: Json = False


def run(arguments: Arguments, output: Output) -> dict[str, Any]:
    """Train or resume. Returns the run's summary with its folder; for --compare, both evaluations and the verdict."""
    from seqel.errors import ConfigError

    if arguments.resume is not None:
        return _resume(arguments, output)
    if arguments.writing.text:
        return _train_on_text(arguments, output)
    ignored = [
        field.name for field in fields(arguments.writing) if getattr(arguments.writing, field.name) != field.default
    ]
    if ignored:
        raise ConfigError(f"--{ignored[0].replace('_', '-')} needs --text FILE")
    if arguments.env is None and arguments.config is None and not arguments.data:
        raise ConfigError("expected ENV (an id, module:Id-v0 or module:ClassName), --data FILE, or --resume DIR")
    config = settings_of(arguments)
    if config.offline.files and not config.env:
        return _learn_recorded(config, arguments, output)
    if arguments.updates is not None or (arguments.schema is not None and not config.offline.files):
        raise ConfigError("--schema needs --data, and --updates needs --data without ENV")
    if not config.env:
        raise ConfigError("expected ENV, or a config that names one, got neither")
    if arguments.compare and (arguments.init_from or config.init_from):
        raise ConfigError("--compare trains both from scratch: leave out --init-from")
    if arguments.compare and config.memoryless:
        raise ConfigError("--compare trains the memoryless agent itself: leave out --memoryless")
    # imported only now, because it takes seconds: a wrong setting is refused at once
    from seqel.runs.api import free_folder, train

    folder = (Path(arguments.out) if arguments.out else free_folder(config.env)).absolute()
    if arguments.compare:
        from seqel.cli.compare import compare

        return compare(config, folder, output)
    train(config.env, out=folder, config=config, init_from=arguments.init_from, **_recorded(config))
    return show_result(folder, output)


def _train_on_text(arguments: Arguments, output: Output) -> dict[str, Any]:
    from seqel.cli.train_text import train_on_text
    from seqel.errors import ConfigError

    for name in (
        "env",
        "data",
        "schema",
        "init_from",
        "preset",
        "config",
        "compare",
        "memoryless",
        "steps",
        "stop_at",
        "shield",
    ):
        if getattr(arguments, name) not in (None, False, ()):
            raise ConfigError(
                f"--text trains on texts alone: leave out {'ENV' if name == 'env' else '--' + name.replace('_', '-')}"
            )
    chosen = ({} if arguments.device is None else {"device": arguments.device}) | settings(arguments.set)
    return train_on_text(arguments.writing, output, arguments.out, chosen, arguments.updates, arguments.seed)


def _resume(arguments: Arguments, output: Output) -> dict[str, Any]:
    from seqel.errors import ConfigError

    assert arguments.resume is not None
    comparison = ("resume", "compare", "steps", "updates", "json", "env", "trust")
    allowed = comparison if arguments.compare else (*comparison, "data", "schema", *TRACKERS)
    every = vars(arguments) | vars(arguments.writing)
    extra = [name for name in every if name not in (*allowed, "writing")]
    given = [f"--{name.replace('_', '-')}" for name in extra if every[name] not in (None, False, ())]
    if given:
        both = " --compare" if arguments.compare else ""
        names = ", ".join(f"--{name}" for name in allowed if name not in ("resume", "compare", "json", "env"))
        raise ConfigError(
            f"--resume{both} continues with the run's own settings: expected only ENV, {names}, got {', '.join(given)}"
        )
    if arguments.schema is not None and not arguments.data:
        raise ConfigError("--schema needs --data: together they say where the recorded sessions are now")
    folder = Path(arguments.resume).absolute()  # because an environment may change the current directory
    if arguments.compare:
        from seqel.cli.compare import resume_comparison

        return resume_comparison(folder, arguments.steps, output)
    from seqel.runs.resuming import resume

    steps = arguments.steps if arguments.steps is not None else arguments.updates
    data = _moved(arguments, folder) if arguments.data else None
    trackers = _trackers(arguments) or None
    resume(folder, env=arguments.env, data=data, steps=steps, trust=arguments.trust, trackers=trackers)
    return show_result(folder, output)


def _moved(arguments: Arguments, folder: Path) -> Source:
    """Open the recorded sessions of a run where they are now, with the schema of its agent unless another one is given."""
    from seqel.agents import artifact
    from seqel.errors import CheckpointError
    from seqel.runs.text_reader import load_reader
    from seqel.training.sources import open_source

    schema: Any = arguments.schema
    if schema is None:
        with suppress(CheckpointError):  # nothing was validated yet: then a table needs --schema
            schema = artifact.info(folder).get("encoding", {}).get("schema")
    return open_source(arguments.data, schema, load_reader(folder))


def _trackers(arguments: Arguments) -> tuple[str, ...]:
    return tuple(name for name in TRACKERS if getattr(arguments, name))


def _learn_recorded(config: RunConfig, arguments: Arguments, output: Output) -> dict[str, Any]:
    from seqel.errors import ConfigError

    for name in ("compare", "stop_at", "steps", "environments"):
        if getattr(arguments, name) not in (None, False):
            raise ConfigError(f"--{name.replace('_', '-')} needs an environment, and --data has none (see --updates)")
    from seqel.runs.api import free_folder, train

    folder = Path(arguments.out) if arguments.out else free_folder(Path(config.offline.files[0]).stem)
    train(out=folder, config=config, init_from=arguments.init_from, **_recorded(config))
    return show_result(folder, output)


def _recorded(config: RunConfig) -> dict[str, Any]:
    """Return the arguments of `seqel.train` about recorded sessions, if the config names some."""
    return {"data": config.offline.files, "schema": config.offline.schema} if config.offline.files else {}


def settings_of(arguments: Arguments) -> RunConfig:
    """Return the config: the file or preset, then the options, then --set.

    Raises:
        ConfigError: an unknown or ill-typed setting, or --config together with --preset.
    """
    from seqel.errors import ConfigError
    from seqel.safety.shield import read_rules
    from seqel.training.config import preset, with_settings
    from seqel.training.config_file import load_config

    if arguments.config is not None and arguments.preset is not None:
        raise ConfigError('expected --config or --preset, got both (a config file may contain preset = "...")')
    config = (
        load_config(arguments.config)
        if arguments.config is not None
        else preset(arguments.preset or ("offline-cql" if arguments.data and arguments.env is None else "default"))
    )
    options = {
        "env": arguments.env,
        "steps": arguments.steps,
        "seed": arguments.seed,
        "network.trunk": arguments.network,
        "environments": arguments.environments,
        "device": arguments.device,
        "validation.threshold": arguments.stop_at,
        "validation.stop": True if arguments.stop_at is not None else None,
        "memoryless": arguments.memoryless or None,
        "env_args": values(arguments.env_arg) or None,
        "offline.files": arguments.data or None,
        "offline.schema": arguments.schema,
        "offline.updates": arguments.updates,
        "trackers": _trackers(arguments) or None,
        "shield": None if arguments.shield is None else read_rules(arguments.shield),
    }
    chosen = {name: value for name, value in options.items() if value is not None}
    chosen |= settings(arguments.set)
    config = with_settings(config, chosen)
    if arguments.config is not None:
        _require_confirmed(config, Path(arguments.config), {*chosen}, arguments.trust)
    return config


def _require_confirmed(config: RunConfig, path: Path, typed: set[str], trust: bool) -> None:
    """Require that a config file names no code, no path outside its folder, and no tracker that sends data, except what was
    typed here.

    Raises:
        TrustError: it names some, and --trust is not given.
    """
    from seqel.environments.named import require_plain, resolve_named
    from seqel.errors import TrustError
    from seqel.runs.trust import require_inside

    confirm = "Name it on the command line; or, if you have read that file and trust what it names, add --trust"
    if not trust:
        require_inside(config, path.parent, source=str(path), confirm=confirm, given=typed)
        if "env_args" not in typed:
            foreign = {name: value for name, value in config.env_args.items() if f"env_args.{name}" not in typed}
            require_plain(foreign, source=str(path), confirm=confirm)
    if "wandb" in config.trackers and "trackers" not in typed and not trust:
        raise TrustError(
            f"{path} names trackers = {list(config.trackers)}, and wandb sends the run's settings and figures to its server: "
            f"nothing was sent. {confirm}"
        )
    if ":" in config.env and "env" not in typed:
        # only from where packages are installed
        resolve_named(config.env, {}, source=str(path), confirm=confirm, trusted=trust)
