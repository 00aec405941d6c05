"""Everything that decides a run, in frozen dataclasses; presets; TOML in and out. No torch here."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from seqel.agents.config import ExplorationConfig
from seqel.errors import ConfigError
from seqel.losses.config import ObjectiveConfig
from seqel.networks.config import NetworkConfig
from seqel.storage import atomic_write
from seqel.training.presets import PRESETS

__all__ = [
    "LearnerConfig",
    "OfflineConfig",
    "ReplayConfig",
    "RunConfig",
    "ValidationConfig",
    "from_dict",
    "load_config",
    "preset",
    "save_config",
    "with_settings",
]


@dataclass(frozen=True, slots=True)
class ReplayConfig:
    """What is kept, and what one update sees of it."""

    capacity: int = 1_000_000  # slots; an episode of T transitions takes T + 1
    window: int = 0  # transitions in a training sequence; 0: whole episodes up to 2 * context
    batch_tokens: int = 1_664  # transitions an update sees, about: the number of windows follows from it
    batch_size: int = 0  # windows an update; 0: from batch_tokens
    replay_ratio: float = 32.0  # transitions learnt for each environment step
    learning_starts: int = 1_000  # environment steps before the first update
    priority: float = 0.0  # alpha of prioritised draws: steps in proportion to their error^alpha; 0: every step alike
    directory: str = ""  # keep experience in scratch files there instead of in memory
    importance: float = 0.4  # beta at the start, 1 at the end: how far weights undo the uneven draws

    def __post_init__(self) -> None:
        _at_least(self, "replay", capacity=2, window=0, batch_tokens=1, batch_size=0, learning_starts=1)
        if not (math.isfinite(self.replay_ratio) and self.replay_ratio > 0):
            raise ConfigError(f"replay.replay_ratio: expected more than 0, got {self.replay_ratio}")
        for name in ("priority", "importance"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"replay.{name}: expected 0 to 1, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class LearnerConfig:
    """The optimiser, its schedule, and the target network."""

    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = 1e-3
    warmup: int = 200  # updates of linear warm-up
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    final_fraction: float = 0.05  # of the learning rate, at the end of the run
    betas: tuple[float, float] = (0.9, 0.99)
    momentum: float = 0.9  # sgd only
    weight_decay: float = 0.01
    clip: float = 1.0  # largest gradient norm; 0: no clipping
    accumulate: int = 1  # micro-batches an update
    target: Literal["average", "copy"] = "average"
    target_rate: float = 0.01  # moving average: target += rate * (online - target) at each update
    target_every: int = 500  # copy: updates between copies
    # whose weights act, are validated and kept; averaged: the target's; proven: those that did best in a look so far act in
    # three quarters of the environments and are kept, the averaged ones act in the others and are validated
    acting_weights: Literal["latest", "averaged", "incumbent"] = "latest"
    precision: Literal["float32", "bf16"] = "float32"
    compile: Literal["auto", "on", "off"] = "auto"  # update and acting step, where the run is long enough to pay
    image_shift: int = 0  # random shift of images, in pixels
    sampled_negatives: int = 0  # actions scored a step beside the one taken, drawn anew each update; 0: all there are

    def __post_init__(self) -> None:
        _at_least(self, "learner", learning_rate=0.0, warmup=0, weight_decay=0.0, clip=0.0, accumulate=1, image_shift=0)
        _at_least(self, "learner", target_every=1, sampled_negatives=0)
        if not 0.0 < self.target_rate <= 1.0:
            raise ConfigError(f"learner.target_rate: expected 0 < target_rate <= 1, got {self.target_rate}")
        for name, value in (("betas[0]", self.betas[0]), ("betas[1]", self.betas[1]), ("momentum", self.momentum)):
            if not 0.0 <= value < 1.0:
                raise ConfigError(f"learner.{name}: expected 0 <= {name} < 1, got {value}")
        if not 0.0 <= self.final_fraction <= 1.0:
            raise ConfigError(f"learner.final_fraction: expected 0 to 1, got {self.final_fraction}")


@dataclass(frozen=True, slots=True)
class ValidationConfig:
    """Validation while training: greedy episodes on seeds that no reported figure uses."""

    every: int = 20_000  # environment steps
    episodes: int = 32
    threshold: float | None = None  # mean return that counts as solved, for the speed of convergence
    stop: bool = False  # end the run once the threshold holds on `confirm` further episodes
    confirm: int = 100

    def __post_init__(self) -> None:
        _at_least(self, "validation", every=1, episodes=1, confirm=1)


@dataclass(frozen=True, slots=True)
class OfflineConfig:
    """Learning from recorded sessions: where they are, how long, and what is held out."""

    files: tuple[str, ...] = ()  # tables (CSV, Parquet, JSONL), or one Minari dataset's id
    schema: str = ""  # the TOML file that says what their columns are
    action_features: str = ""  # a table that describes each action: its name, then numbers or categories
    updates: int = 20_000  # of the network in all
    every: int = 500  # updates between looks at the sessions held out
    patience: int = 5  # looks in a row that know them clearly less well, after which the run ends; 0: it never does
    held_out: float = 0.1  # share of the sessions
    fraction: float = 0.5  # of each batch, where an environment is learnt from as well

    def __post_init__(self) -> None:
        _at_least(self, "offline", updates=1, every=1, patience=0)
        for name in ("held_out", "fraction"):
            if not 0.0 < getattr(self, name) < 1.0:
                raise ConfigError(f"offline.{name}: expected more than 0 and less than 1, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class RunConfig:
    """One training run."""

    env: str = ""  # what is trained on, in words that `seqel train` understands where there are such
    env_args: dict[str, Any] = field(default_factory=dict)  # for the environment's constructor; TOML values
    init_from: str = ""  # a run or agent whose weights are begun with, its network's shape included
    steps: int = 200_000  # environment steps
    seed: int = 0
    environments: int = 16  # side by side
    vectorization: Literal["auto", "sync", "async", "envpool"] = "auto"  # auto: sync or async, by a short trial
    memoryless: bool = False  # the same learner with the history removed
    device: str = "auto"
    threads: int = 0  # of torch on a CPU; 0: as torch chooses
    refresh_every: int = 0  # updates between recomputing the keys of open episodes; 0: keep the old ones
    checkpoint_every: int = 300  # seconds
    log_every: int = 2_000  # environment steps between records
    network: NetworkConfig = field(default_factory=NetworkConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    exploration: ExplorationConfig = field(default_factory=ExplorationConfig)
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    offline: OfflineConfig = field(default_factory=OfflineConfig)

    def __post_init__(self) -> None:
        _at_least(self, "", steps=1, seed=0, environments=1, threads=0, refresh_every=0, log_every=1)
        _at_least(self, "", checkpoint_every=0)
        if self.learner.acting_weights == "incumbent" and self.environments < 2:
            raise ConfigError(
                "learner.acting_weights = 'incumbent' needs environments >= 2, one of them to try newer weights in; got 1"
            )


def preset(name: str = "default", **settings: Any) -> RunConfig:
    """A named starting point, with settings on top (`network__width=128` or `**{"network.width": 128}`).

    Raises:
        ConfigError: there is no such preset or setting.
    """
    if name not in PRESETS:
        raise ConfigError(f"preset: expected one of {sorted(PRESETS)}, got {name!r}")
    return with_settings(RunConfig(), PRESETS[name][1] | {k.replace("__", "."): v for k, v in settings.items()})


def with_settings(config: RunConfig, settings: dict[str, Any]) -> RunConfig:
    """Replace settings by their dotted names ("learner.learning_rate"); strings are read as TOML values.

    Raises:
        ConfigError: a name is unknown (says which are known) or a value is of the wrong type.
    """
    nested: dict[str, Any] = {}
    for name, value in settings.items():
        head, _, tail = name.partition(".")
        if tail:
            nested.setdefault(head, {})[tail] = value
        else:
            nested[head] = value
    replaced: RunConfig = _replace(config, nested, "")
    return replaced


def from_dict(data: dict[str, Any]) -> RunConfig:
    """A nested dict, as TOML gives it -> a checked config. Raises ConfigError as `with_settings` does."""
    return with_settings(RunConfig(), data)


def load_config(path: str | Path) -> RunConfig:
    """Read a TOML file.

    Raises:
        ConfigError: it is missing, garbled, or names an unknown setting.
    """
    try:
        data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    try:
        if "preset" in data:
            name = data.pop("preset")
            return with_settings(preset(name), data)
        return from_dict(data)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def save_config(config: RunConfig, path: Path) -> None:
    """Write a TOML file that `load_config` reads back to the same config. Raises StorageError."""
    import tomli_w

    data = dataclasses.asdict(config)
    _drop_none(data)
    atomic_write(path, tomli_w.dumps(data))


def _drop_none(data: dict[str, Any]) -> None:
    for name in list(data):
        if isinstance(data[name], dict):
            _drop_none(data[name])
        elif data[name] is None:
            del data[name]  # TOML has no null; a missing setting is the default, which is None for these
        elif isinstance(data[name], tuple):
            data[name] = list(data[name])


def _replace(config: Any, data: dict[str, Any], prefix: str) -> Any:
    hints = get_type_hints(type(config))
    changed: dict[str, Any] = {}
    for name, value in data.items():
        if name not in hints:
            import difflib

            near = difflib.get_close_matches(name, hints, n=1)
            hint = f"; did you mean {prefix}{near[0]}?" if near else ""
            raise ConfigError(f"unknown setting {prefix}{name}{hint} Known: {', '.join(sorted(hints))}")
        current = getattr(config, name)
        if dataclasses.is_dataclass(current):
            if isinstance(value, type(current)):
                changed[name] = value
            elif isinstance(value, dict):
                changed[name] = _replace(current, value, f"{prefix}{name}.")
            else:
                raise ConfigError(f"{prefix}{name}: expected a table of settings, got {value!r}")
        else:
            changed[name] = _coerce(value, hints[name], f"{prefix}{name}")
    return dataclasses.replace(config, **changed)


def _coerce(value: Any, kind: Any, name: str) -> Any:
    if isinstance(value, str) and kind is not str and get_origin(kind) is not Literal:
        try:
            value = tomllib.loads(f"x = {value}")["x"]
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{name}: expected {_describe(kind)}, got {value!r}") from error
    if get_origin(kind) is Literal:
        if value in get_args(kind):
            return value
    elif get_origin(kind) is dict:
        if isinstance(value, dict):
            return dict(value)
    elif get_origin(kind) is tuple and get_args(kind)[-1] is Ellipsis:
        if isinstance(value, list | tuple):
            return tuple(_coerce(part, get_args(kind)[0], f"{name}[{n}]") for n, part in enumerate(value))
    elif get_origin(kind) is tuple:
        if isinstance(value, list | tuple) and len(value) == len(get_args(kind)):
            pairs = zip(value, get_args(kind), strict=True)
            return tuple(_coerce(part, inner, f"{name}[{n}]") for n, (part, inner) in enumerate(pairs))
    elif kind is bool:
        if isinstance(value, bool):
            return value
    elif kind is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, float) and value.is_integer():
            return int(value)
    elif kind is str:
        if isinstance(value, str):
            return value
    elif kind is float or kind == (float | None):
        if value is None and kind is not float:
            return None
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    raise ConfigError(f"{name}: expected {_describe(kind)}, got {value!r}")


def _describe(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(repr(choice) for choice in get_args(kind))
    if get_origin(kind) is dict:
        return "a table"
    names = {int: "a whole number", float: "a finite number", bool: "true or false", str: "text"}
    return names.get(kind, str(kind))


def _at_least(config: Any, prefix: str, **least: float) -> None:
    for name, bound in least.items():
        value = getattr(config, name)
        if not value >= bound:
            where = f"{prefix}.{name}" if prefix else name
            raise ConfigError(f"{where}: expected at least {bound}, got {value}")
