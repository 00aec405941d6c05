"""`seqel.train` and `seqel.resume`: a session made from what the user asks for, or from its last checkpoint."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from seqel.agents.agent import Agent
from seqel.environments.probe import probe
from seqel.environments.resolve import EnvMaker, environment_name, resolve
from seqel.errors import ConfigError, EnvironmentFault
from seqel.spaces import ActionSpec
from seqel.training import config as configs
from seqel.training.action_features import read_action_features, settings_for
from seqel.training.config import RunConfig, save_config, with_settings
from seqel.runs.loop import OnRecord, run_to_end
from seqel.runs.folder import CONFIG, RunFolder
from seqel.training.offline.trainer import OfflineTrainer
from seqel.runs.restore import restore
from seqel.training.online.trainer import OnlineTrainer
from seqel.training.sources import Data, Source, action_names, source_names, open_source

__all__ = ["OnRecord", "resume", "train"]


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
    if memoryless:
        settings = (settings or {}) | {"memoryless": True}
    if data is not None and env is None:
        offline = preset or "offline-cql"
        return _train_offline(data, schema, steps, seed, out, offline, config, settings, progress, action_features)
    if env is None:
        raise ConfigError("train: expected an environment, or data")
    if data is not None:
        settings = {"offline.files": source_names(data) or (), "offline.schema": str(schema or "")} | (settings or {})
    if start is not None:
        settings = (settings or {}) | {"start": str(start) if isinstance(start, str | Path) else "an agent in memory"}
    config = _config(env, steps, seed, preset or "default", config, settings)
    start = start if start is not None else config.init_from or None
    make = resolve(env, **config.env_args)
    config, features = _described(config, action_features, lambda: probe(make).action)
    session = _online(config, make, start, data)
    try:
        if features is not None:
            session.learner.describe_actions(features)
        folder = RunFolder.create(Path(out), session.config) if out is not None else _new_folder(session.config)
        session.collector.begin()
        return run_to_end(session, folder, progress)
    finally:
        session.close()


def _online(config: RunConfig, make: EnvMaker, start: str | Path | Agent | None, data: Data | None) -> OnlineTrainer:
    begun = Agent.load(start) if isinstance(start, str | Path) else start
    source = None if data is None else open_source(data, config.offline.schema)
    return OnlineTrainer(config, make, start=begun, source=source)


def _train_offline(
    data: Data,
    schema: str | Path | None,
    updates: int | None,
    seed: int | None,
    out: str | Path | None,
    preset: str,
    config: RunConfig | None,
    settings: dict[str, Any] | None,
    progress: bool | OnRecord | None,
    action_features: str | Path | NDArray[Any] | None,
) -> Agent:
    given: dict[str, Any] = {"offline.files": source_names(data) or (), "offline.schema": str(schema or ""), **(settings or {})}
    given |= {"offline.updates": updates} if updates is not None else {}
    config = _config(None, None, seed, preset, config, given)
    source = open_source(data, config.offline.schema)
    config, features = _described(config, action_features, lambda: source.action, source)
    session = OfflineTrainer(config, source)
    if features is not None:
        session.learner.describe_actions(features)
    folder = RunFolder.create(Path(out), session.config) if out is not None else _new_folder(session.config)
    return run_to_end(session, folder, progress)


def resume(
    folder: str | Path,
    *,
    env: EnvMaker | None = None,
    data: Source | None = None,
    steps: int | None = None,
    progress: bool | OnRecord | None = True,
) -> Agent:
    """Go on with a run exactly where its last checkpoint stands, and return its best agent.

    Args:
        folder: the run's. Without any checkpoint yet, the run is begun again from its config.toml.
        env: the function that made the environment, where that was no name that can be looked up.
        data: the recorded sessions, where they came from memory and not from files.
        steps: a new total, to go on with a finished run or to make it longer. The learning rate's schedule follows.
            None: a run that has done its steps, or reached its threshold, only returns its agent.

    Raises:
        CheckpointError: there is no run, its checkpoints are all damaged, or of other settings or another environment;
            nothing is then changed. StorageError: another process is training in it.
        ConfigError: config.toml is garbled, or `steps` are fewer than are done. Otherwise as `train`.
    """
    run, config = RunFolder.open(Path(folder))
    try:
        if not config.env and not config.offline.files and data is None and env is None:
            raise ConfigError(f"{folder} learnt from data in memory: pass them, seqel.resume(folder, data=...)")
        if not config.env and (config.offline.files or data is not None):
            return _go_on_offline(run, config, data, steps, progress)
        return _go_on(run, config, env, data, steps, progress)
    finally:
        run.close()


def _go_on(
    run: RunFolder,
    config: RunConfig,
    env: EnvMaker | None,
    data: Source | None,
    steps: int | None,
    progress: bool | OnRecord | None,
) -> Agent:
    if steps is not None:
        config = with_settings(config, {"steps": steps})
    try:
        make = resolve(env if env is not None else config.env, **config.env_args)
    except EnvironmentFault as error:
        raise EnvironmentFault(f"{error}. If a function made it, pass it: seqel.resume(folder, env=...)") from error
    newest, best = run.checkpoints.latest(), run.best()
    start: str | Path | None = config.init_from or None
    if start and newest is not None and best is not None:
        start = run.agent  # weights come from the checkpoint; what was begun with may have moved since
    session = _online(config, make, start, data if data is not None else config.offline.files or None)
    try:
        restored = restore(session, run, newest, best)
        if steps is not None:
            done = session.collector.steps  # past what was asked for by less than one step of every environment
            if steps <= done - session.config.environments:
                raise ConfigError(f"steps: expected at least the {done:,} already done, got {steps:,}")
            session.solved = False
            save_config(session.config, run.path / CONFIG)
        run.cut(session.collector.steps if restored else -1)
        return run_to_end(session, run, progress)
    finally:
        session.close()


def _go_on_offline(
    run: RunFolder, config: RunConfig, data: Source | None, updates: int | None, progress: bool | OnRecord | None
) -> Agent:
    if updates is not None:
        config = with_settings(config, {"offline.updates": updates})
    session = OfflineTrainer(config, data if data is not None else open_source(config.offline.files, config.offline.schema))
    restore(session, run, run.checkpoints.latest())
    if updates is not None:
        if updates < session.steps:
            raise ConfigError(f"updates: expected at least the {session.steps:,} already done, got {updates:,}")
        session.solved, session.checks_since_best = False, 0
        save_config(session.config, run.path / CONFIG)
    run.cut(session.steps)
    return run_to_end(session, run, progress)


def _described(
    config: RunConfig,
    given: str | Path | NDArray[Any] | None,
    action: Callable[[], ActionSpec],
    source: Source | None = None,
) -> tuple[RunConfig, Tensor | None]:
    """The features of actions that were given, or that the config names, and the config that they need."""
    given = given if given is not None else config.offline.action_features or None
    if given is None:
        return config, None
    features = read_action_features(given, action_names(action(), source))
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
