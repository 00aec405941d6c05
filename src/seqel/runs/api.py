"""`seqel.train`: builds a trainer from the user's arguments, and trains in a new folder."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from seqel.agents.agent import Agent
from seqel.environments.probe import probe
from seqel.environments.resolve import EnvMaker, environment_name, resolve
from seqel.errors import ConfigError
from seqel.runs.folder import RunFolder
from seqel.runs.loop import OnRecord, run_to_end
from seqel.runs.text_reader import save_reader
from seqel.runs.trackers.base import Tracker
from seqel.runs.trackers.registry import open_trackers
from seqel.runs.trust import remember
from seqel.safety.shield import read_rules
from seqel.spaces.text_readers import TextReader
from seqel.texts.embeddings import Embed
from seqel.texts.make import make_reader
from seqel.training import config as configs
from seqel.training.action_features import read_action_features, settings_for
from seqel.training.config import RunConfig, with_settings
from seqel.training.offline import loop as offline
from seqel.training.offline.trainer import OfflineTrainer
from seqel.training.online import loop as online
from seqel.training.online.trainer import OnlineTrainer
from seqel.training.record import Record
from seqel.training.resolve import require_fast_precision
from seqel.training.sources import Data, Source, action_names, open_source, source_names
from seqel.training.trainer import Trainer

__all__ = ["build", "free_folder", "load_agent", "train"]


def train(
    env: str | EnvMaker | None = None,
    *,
    data: Data | None = None,
    schema: str | Path | None = None,
    init_from: str | Path | Agent | None = None,
    steps: int | None = None,
    seed: int | None = None,
    out: str | Path | None = None,
    preset: str | None = None,
    config: RunConfig | None = None,
    settings: dict[str, Any] | None = None,
    memoryless: bool = False,
    shield: str | Path | None = None,
    action_features: str | Path | NDArray[Any] | None = None,
    text_encoder: Embed | None = None,
    trackers: Sequence[str | Tracker] | None = None,
    progress: bool | OnRecord | None = True,
) -> Agent:
    """Train an agent on an environment or on recorded data, and return it with the weights that did best in validation.

    Args:
        env: an id ("CartPole-v1"), "module:Class", or a function (or class) without arguments that creates an environment.
        data: recorded sessions: tables (one row per step), a Minari dataset's id, or a `seqel.datasets` object.
            Without `env`, training uses these data alone, and `steps` counts updates. With `env`, `offline.fraction` of
            each batch is sampled from them.
        schema: the TOML file that describes a table's columns; `seqel data check` proposes one.
        init_from: an agent, or the folder of one, whose weights training starts from (for instance, of recorded data).
        steps: total number of environment steps; None: the config's (200,000).
        seed: seed of all random numbers in the run; None: the config's (0).
        out: the run's folder, new or empty; None: runs/NAME-N.
        preset: a named set of settings, see `seqel.preset`; None: "default", or "offline-cql" for data without `env`.
            Ignored if `config` is given.
        config: the complete configuration.
        settings: changes to the preset or the config, by dotted name: {"learner.learning_rate": 3e-4}.
        memoryless: train the same learner without the history, to measure what memory contributes.
        shield: a TOML file of rules that veto actions, in training and in use (see docs/safety.md). The agent keeps the
            rules.
        action_features: an array (A, F) of numbers that describe the actions, or a table whose first column holds the names
            of the actions. Actions are then scored by their features (`network.actions = "embedded"`).
        text_encoder: a function from R texts to vectors (R, W), which encodes the texts in observations. It is called once
            per distinct text and is not trained.
        trackers: experiment trackers: "tensorboard", "wandb", or objects with the methods of
            `seqel.runs.trackers.base.Tracker`; None: those of the config. If one fails, a warning is issued.
        progress: True: a live display on standard error; False or None: none; or a function to call with each `Record`.

    Returns:
        The agent with the best weights; it is also in the run's folder, in `agent/`.

    Raises:
        ConfigError: a setting or an argument is invalid, or settings contradict each other.
        SpaceError: a space is not supported, or `init_from` or `data` has other spaces than the environment.
        EnvironmentFault: the environment cannot be created, or breaks Gymnasium's contract.
        DataError: the recorded data are empty, malformed or not finite.
        StorageError: the run's folder cannot be written.
        MissingExtraError: an optional dependency is missing.
        NonFiniteError: training produced a NaN or an infinity. The message names the last good checkpoint, and `agent/` has
            the best weights.
        KeyboardInterrupt: Ctrl-C or SIGTERM. A checkpoint was written, and `resume` continues exactly there.
    """
    settings = dict(settings or {})
    if trackers is not None:
        settings["trackers"] = tuple(one for one in trackers if isinstance(one, str))
    if memoryless:
        settings["memoryless"] = True
    if shield is not None:
        settings["shield"] = read_rules(shield)
    if text_encoder is not None:
        settings["text.encoder"] = "callable"
    if env is None and data is None:
        raise ConfigError("train: expected an environment, data, or both; got neither")
    if data is not None:
        settings = {"offline.files": source_names(data) or (), "offline.schema": str(schema or "")} | settings
    if env is None and steps is not None:
        settings, steps = settings | {"offline.updates": steps}, None
    if init_from is not None:
        settings["init_from"] = str(init_from) if isinstance(init_from, str | Path) else "an agent in memory"
    config = _config(env, steps, seed, preset or ("default" if env is not None else "offline-cql"), config, settings)
    require_fast_precision(config)
    opened = open_trackers(config.trackers if trackers is None else trackers)
    here = Path.cwd()  # an environment may change it
    reader = None if text_encoder is None else make_reader(config.text, embed=text_encoder)
    source = None if data is None else open_source(data, config.offline.schema, reader or config.text)
    initial = load_agent(init_from if init_from is not None else config.init_from or None)
    if initial is None and config.objective.distillation_weight > 0.0:
        raise ConfigError(
            "objective.distillation_weight > 0: needs an agent to start from, whose policy is kept: `init_from`"
        )
    make = None if env is None else resolve(env, **config.env_args)
    config, features = _with_action_features(config, action_features, make, source, here)
    trainer, records = build(config, make, source, initial, reader)
    try:
        if features is not None:
            trainer.learner.describe_actions(features)
        folder = RunFolder.create(here / out, trainer.config) if out is not None else _new_folder(trainer.config, here)
        save_reader(folder.path, trainer.agent.observation_spec.text_reader)
        remember(folder.path, trainer.config)
        trainer.begin()
        return run_to_end(trainer, records, folder, progress, opened)
    finally:
        trainer.close()


def load_agent(given: str | Path | Agent | None) -> Agent | None:
    """Load an agent from a folder; an agent, or None, is returned as it is."""
    return Agent.load(given) if isinstance(given, str | Path) else given


def build(
    config: RunConfig,
    make: EnvMaker | None,
    source: Source | None,
    initial_agent: Agent | None = None,
    reader: TextReader | None = None,
) -> tuple[Trainer, Iterator[Record]]:
    """Return the trainer for a config, and its loop: online if there is an environment, otherwise offline."""
    if make is None:
        assert source is not None
        offline_trainer = OfflineTrainer(config, source, initial_agent)
        return offline_trainer, offline.records(offline_trainer)
    online_trainer = OnlineTrainer(config, make, initial_agent=initial_agent, source=source, reader=reader)
    return online_trainer, online.records(online_trainer)


def _with_action_features(
    config: RunConfig,
    given: str | Path | NDArray[Any] | None,
    make: EnvMaker | None,
    source: Source | None,
    here: Path,
) -> tuple[RunConfig, Tensor | None]:
    """Return the action features that are given or that the config names, and the config adapted to them."""
    given = given if given is not None else config.offline.action_features or None
    if given is None:
        return config, None
    given = here / given if isinstance(given, str | Path) else given
    spec = source if make is None else probe(make, read_as=config.observation)
    assert spec is not None
    action = spec.action
    features = read_action_features(given, action_names(action, source if make is None else None))
    return with_settings(config, settings_for(features, given, config.network.actions)), features


def _new_folder(config: RunConfig, here: Path) -> RunFolder:
    """Create the next free folder, safely even if several runs start at the same time."""
    while True:
        name = config.env or (Path(config.offline.files[0]).stem if config.offline.files else "data")
        path = here / free_folder(name, here)
        try:
            return RunFolder.create(path, config)
        except ConfigError:
            if not path.exists():
                raise


def free_folder(name: str, here: Path | None = None) -> Path:
    """Return runs/NAME-N with the first N that is free in `here` (None: the current directory)."""
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-") or "run"
    number = 1
    while ((here or Path()) / (path := Path("runs") / f"{stem}-{number}")).exists():
        number += 1
    return path


def _config(
    env: str | EnvMaker | None,
    steps: int | None,
    seed: int | None,
    preset_: str,
    config: RunConfig | None,
    settings: dict[str, Any] | None,
) -> RunConfig:
    base = config if config is not None else configs.preset(preset_)
    given: dict[str, Any] = {"env": "" if env is None else environment_name(env), **(settings or {})}
    given |= {name: value for name, value in (("steps", steps), ("seed", seed)) if value is not None}
    return with_settings(base, given)
