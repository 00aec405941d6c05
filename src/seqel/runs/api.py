"""`seqel.train` and `seqel.resume`: build a trainer from what the user asks for, or restore it from its checkpoint."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from seqel.agents.agent import Agent
from seqel.environments.probe import probe
from seqel.environments.resolve import EnvMaker, environment_name, resolve
from seqel.errors import ConfigError, EnvironmentFault
from seqel.runs.folder import CONFIG, RunFolder
from seqel.runs.loop import OnRecord, run_to_end
from seqel.runs.restore import restore, restore_best
from seqel.training import config as configs
from seqel.training.action_features import read_action_features, settings_for
from seqel.training.config import RunConfig, save_config, with_settings
from seqel.training.offline import loop as offline
from seqel.training.offline.trainer import OfflineTrainer
from seqel.training.online import loop as online
from seqel.training.online.trainer import OnlineTrainer
from seqel.training.record import Record
from seqel.training.sources import Data, Source, action_names, open_source, source_names
from seqel.training.trainer import Trainer

__all__ = ["OnRecord", "build", "resume", "train"]


def train(
    env: str | EnvMaker | None = None,
    *,
    data: Data | None = None,
    schema: str | Path | None = None,
    start: str | Path | Agent | None = None,
    steps: int | None = None,
    seed: int | None = None,
    out: str | Path | None = None,
    preset: str | None = None,
    config: RunConfig | None = None,
    settings: dict[str, Any] | None = None,
    memoryless: bool = False,
    action_features: str | Path | NDArray[Any] | None = None,
    progress: bool | OnRecord | None = True,
) -> Agent:
    """Train an agent on an environment, or on recorded data, and return it with its best weights by validation.

    Args:
        env: an id ("CartPole-v1"), "module:Class", or a function (or class) without arguments that makes one.
        data: recorded sessions to learn from: tables (one row a step), a Minari dataset's id, or a `seqel.datasets`
            object. Without `env` from these alone, and `steps` are then updates; with it, `offline.fraction` of each batch.
        schema: the TOML file that says what a table's columns are; `seqel data check` proposes one.
        start: an agent, or the folder of one, whose weights are begun with (learnt from data, say).
        steps: environment steps in all; None: the config's (200,000).
        seed: of everything in the run; None: the config's (0).
        out: the run's folder, new or empty; None: runs/NAME-N.
        preset: a named starting point, see `seqel.preset`; None: "default", and "offline-cql" for data without `env`. Not
            used where `config` is given.
        config: every setting.
        settings: on top of either, by dotted name: {"learner.learning_rate": 3e-4}.
        memoryless: the same learner with the history removed, to see what memory is worth.
        action_features: (A, F), numbers that describe each action; or a table whose first column names it. Actions are
            then scored by what they are (`network.actions = "embedded"`).
        progress: True: a live display on standard error; False or None: nothing; or a function called with each `Record`.

    Raises:
        ConfigError, SpaceError, EnvironmentFault, StorageError: see `seqel.errors`.
        NonFiniteError: training met a NaN; the message names the last good checkpoint, `agent/` keeps the best weights.
        KeyboardInterrupt: after a checkpoint was written; `resume` goes on exactly there.
    """
    settings = dict(settings or {})
    if memoryless:
        settings["memoryless"] = True
    if env is None and data is None:
        raise ConfigError("train: expected an environment, or data")
    if data is not None:
        settings = {"offline.files": source_names(data) or (), "offline.schema": str(schema or "")} | settings
    if env is None and steps is not None:
        settings, steps = settings | {"offline.updates": steps}, None
    if env is not None and start is not None:
        settings["init_from"] = str(start) if isinstance(start, str | Path) else "an agent in memory"
    config = _config(env, steps, seed, preset or ("default" if env is not None else "offline-cql"), config, settings)
    make = None if env is None else resolve(env, **config.env_args)
    source = None if data is None else open_source(data, config.offline.schema)
    config, features = _with_action_features(config, action_features, make, source)
    trainer, records = build(config, make, source, start if start is not None else config.init_from or None)
    try:
        if features is not None:
            trainer.learner.describe_actions(features)
        folder = RunFolder.create(Path(out), trainer.config) if out is not None else _new_folder(trainer.config)
        trainer.begin()
        return run_to_end(trainer, records, folder, progress)
    finally:
        trainer.close()


def build(
    config: RunConfig, make: EnvMaker | None, source: Source | None, start: str | Path | Agent | None = None
) -> tuple[Trainer, Iterator[Record]]:
    """The trainer of a config, and the loop over it: online where there is an environment, else offline."""
    if make is None:
        assert source is not None
        offline_trainer = OfflineTrainer(config, source)
        return offline_trainer, offline.records(offline_trainer)
    agent = Agent.load(start) if isinstance(start, str | Path) else start
    online_trainer = OnlineTrainer(config, make, start=agent, source=source)
    return online_trainer, online.records(online_trainer)


def resume(
    folder: str | Path,
    *,
    env: EnvMaker | None = None,
    data: Source | None = None,
    steps: int | None = None,
    progress: bool | OnRecord | None = True,
) -> Agent:
    """Continue a run exactly where its last checkpoint stands, and return its best agent.

    Args:
        folder: the run's folder. Without any checkpoint yet, the run starts again from its config.toml.
        env: the function that made the environment, where config.toml has no name that can be looked up.
        data: the recorded data, where they came from memory and not from files.
        steps: a new total (updates, of a run on recorded data alone), to continue a finished run or to make it longer.
            The learning rate's schedule follows. None: a finished run only returns its agent.

    Raises:
        CheckpointError: there is no run, its checkpoints are all damaged, or they belong to other settings or another
            environment; nothing is then changed.
        StorageError: another process is training in the folder.
        ConfigError: config.toml is garbled, or fewer `steps` were asked for than are done. Otherwise as `train`.
    """
    run, config = RunFolder.open(Path(folder))
    try:
        online_run = bool(config.env) or env is not None
        if not online_run and not config.offline.files and data is None:
            raise ConfigError(f"{folder} was trained on data in memory: pass them, seqel.resume(folder, data=...)")
        if steps is not None:
            config = with_settings(config, {"steps" if online_run else "offline.updates": steps})
        make = _environment(env if env is not None else config.env, config) if online_run else None
        found = data if data is not None else config.offline.files or None
        source = None if found is None else open_source(found, config.offline.schema)
        newest, best = run.checkpoints.latest(), run.best()
        start: str | Path | None = config.init_from or None
        if start and newest is not None and best is not None:
            start = run.agent  # weights come from the checkpoint; the starting agent may have moved since
        trainer, records = build(config, make, source, start)
        try:
            restored = restore(trainer, run, newest, source)
            if restored and online_run:
                restore_best(trainer, run, best)
            if steps is not None:
                slack = trainer.config.environments if online_run else 1  # one step of every environment is one call
                if steps <= trainer.steps - slack:
                    raise ConfigError(
                        f"{trainer.unit}: expected at least the {trainer.steps:,} already done, got {steps:,}"
                    )
                trainer.extend()
                save_config(trainer.config, run.path / CONFIG)
            run.cut(trainer.steps if restored else -1)
            return run_to_end(trainer, records, run, progress)
        finally:
            trainer.close()
    finally:
        run.close()


def _environment(env: str | EnvMaker, config: RunConfig) -> EnvMaker:
    try:
        return resolve(env, **config.env_args)
    except EnvironmentFault as error:
        raise EnvironmentFault(f"{error}. If a function made it, pass it: seqel.resume(folder, env=...)") from error


def _with_action_features(
    config: RunConfig, given: str | Path | NDArray[Any] | None, make: EnvMaker | None, source: Source | None
) -> tuple[RunConfig, Tensor | None]:
    """The action features that were given, or that the config names, and the config that they need."""
    given = given if given is not None else config.offline.action_features or None
    if given is None:
        return config, None
    action = probe(make).action if make is not None else source.action if source is not None else None
    assert action is not None
    features = read_action_features(given, action_names(action, source if make is None else None))
    return with_settings(config, settings_for(features, given)), features


def _new_folder(config: RunConfig) -> RunFolder:
    """The next free folder, also where several runs begin at once."""
    while True:
        path = free_folder(config.env or (Path(config.offline.files[0]).stem if config.offline.files else "data"))
        try:
            return RunFolder.create(path, config)
        except ConfigError:
            if not path.exists():
                raise


def free_folder(name: str) -> Path:
    """runs/NAME-N with the first N that is free."""
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-") or "run"
    number = 1
    while (path := Path("runs") / f"{stem}-{number}").exists():
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
    chosen = with_settings(base, given)
    # How many threads add up a sum decides its last bits: a resumed run must use as many.
    return chosen if chosen.threads else dataclasses.replace(chosen, threads=torch.get_num_threads())
