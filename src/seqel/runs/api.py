"""`seqel.train` and `seqel.resume`: build a trainer from what the user asks for, or restore it from its checkpoint."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from seqel.agents.agent import Agent
from seqel.environments.named import require_plain, resolve_named
from seqel.environments.probe import probe
from seqel.environments.resolve import EnvMaker, environment_name, resolve
from seqel.errors import ConfigError, EnvironmentFault
from seqel.runs.folder import RunFolder
from seqel.runs.loop import OnRecord, run_to_end
from seqel.runs.restore import restore, restore_best
from seqel.runs.run_config import CONFIG
from seqel.runs.trackers.base import Tracker
from seqel.runs.trackers.registry import open_trackers
from seqel.runs.trust import Known, known, remember, require_inside
from seqel.training import config as configs
from seqel.training.action_features import read_action_features, settings_for
from seqel.training.config import RunConfig, save_config, with_settings
from seqel.training.hardware.threads import available_cores, choose_threads
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
    trackers: Sequence[str | Tracker] | None = None,
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
        trackers: experiment trackers, "tensorboard" or "wandb", or objects with the methods of
            `seqel.runs.trackers.base.Tracker`; None: those of the config. One that fails is a warning.
        progress: True: a live display on standard error; False or None: nothing; or a function called with each `Record`.

    Raises:
        ConfigError, SpaceError, EnvironmentFault, StorageError: see `seqel.errors`.
        NonFiniteError: training met a NaN; the message names the last good checkpoint, `agent/` keeps the best weights.
        KeyboardInterrupt: after a checkpoint was written; `resume` goes on exactly there.
    """
    settings = dict(settings or {})
    if trackers is not None:
        settings["trackers"] = tuple(one for one in trackers if isinstance(one, str))
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
    told = open_trackers(config.trackers if trackers is None else trackers)
    here = Path.cwd()  # an environment may change it
    source = None if data is None else open_source(data, config.offline.schema)
    initial = _load_agent(start if start is not None else config.init_from or None)
    make = None if env is None else resolve(env, **config.env_args)
    config, features = _with_action_features(config, action_features, make, source, here)
    trainer, records = build(config, make, source, initial)
    try:
        if features is not None:
            trainer.learner.describe_actions(features)
        folder = RunFolder.create(here / out, trainer.config) if out is not None else _new_folder(trainer.config, here)
        remember(folder.path, trainer.config)
        trainer.begin()
        return run_to_end(trainer, records, folder, progress, told)
    finally:
        trainer.close()


def _load_agent(start: str | Path | Agent | None) -> Agent | None:
    return Agent.load(start) if isinstance(start, str | Path) else start


def build(
    config: RunConfig, make: EnvMaker | None, source: Source | None, start: Agent | None = None
) -> tuple[Trainer, Iterator[Record]]:
    """The trainer of a config, and the loop over it: online where there is an environment, else offline."""
    if make is None:
        assert source is not None
        offline_trainer = OfflineTrainer(config, source)
        return offline_trainer, offline.records(offline_trainer)
    online_trainer = OnlineTrainer(config, make, start=start, source=source)
    return online_trainer, online.records(online_trainer)


def resume(
    folder: str | Path,
    *,
    env: str | EnvMaker | None = None,
    data: Source | None = None,
    steps: int | None = None,
    trust: bool = False,
    trackers: Sequence[str | Tracker] | None = None,
    progress: bool | OnRecord | None = True,
) -> Agent:
    """Continue a run exactly where its last checkpoint stands, and return its best agent.

    Args:
        folder: the run's folder. Without any checkpoint yet, the run starts again from its config.toml.
        env: the environment, as for `train`: needed where a function made it, and in place of what a run from elsewhere
            names.
        data: the recorded data, where they came from memory and not from files.
        steps: a new total (updates, of a run on recorded data alone), to continue a finished run or to make it longer.
            The learning rate's schedule follows. None: a finished run only returns its agent.
        trust: look up and open what the run's config.toml names, although the run did not start on this machine, and
            accept a config.toml that was edited. A run from elsewhere may name code that does anything: read the file
            first.
        trackers: as for `train`; None: those that the run has, without "wandb" where the run comes from elsewhere: a file
            does not decide that something is sent.

    Raises:
        TrustError: the run comes from elsewhere and names code, or files outside its folder; nothing was imported or
            opened.
        CheckpointError: there is no run, its checkpoints are all damaged, or they belong to other settings or another
            environment; nothing is then changed.
        StorageError: another process is training in the folder.
        ConfigError: config.toml is garbled, or fewer `steps` were asked for than are done. Otherwise as `train`.
    """
    run, config = RunFolder.open(Path(folder).absolute(), trust)
    try:
        if trust:
            save_config(config, run.path / CONFIG)  # with the checksum of its present content
        confirmed = known(run.path, config, trust)
        online_run = bool(config.env) or env is not None
        if not online_run and not config.offline.files and data is None:
            raise ConfigError(f"{folder} was trained on data in memory: pass them, seqel.resume(folder, data=...)")
        if steps is not None:
            config = with_settings(config, {"steps" if online_run else "offline.updates": steps})
        newest, best = run.checkpoints.latest(), run.best()
        asked = trackers
        if asked is None:
            asked = [name for name in config.trackers if confirmed.trusted or name != "wandb"]
        told = open_trackers(asked)
        restarts_from_itself = newest is not None and best is not None
        given = (set() if data is None else {"offline.files", "offline.schema"}) | (
            {"init_from"} if restarts_from_itself else set()
        )
        if not confirmed.trusted:
            require_inside(config, run.path, source=str(run.path / CONFIG), confirm=_how_to_confirm(run), given=given)
        found = data if data is not None else config.offline.files or None
        source = None if found is None else open_source(found, config.offline.schema)
        # with a checkpoint the weights come from there, and the starting agent may have moved since
        initial = _load_agent((run.agent if restarts_from_itself else config.init_from) if config.init_from else None)
        make = _environment(run, config, confirmed, env) if online_run else None
        trainer, records = build(config, make, source, initial)
        try:
            restored = restore(trainer, run, newest, source)
            if restored and online_run:
                restore_best(trainer, run, best)
            if steps is not None:
                slack = trainer.config.environments if online_run else 1  # one call steps every environment
                if steps <= trainer.count - slack:
                    raise ConfigError(
                        f"{trainer.unit}: expected at least the {trainer.count:,} already done, got {steps:,}"
                    )
                trainer.extend()
                save_config(trainer.config, run.path / CONFIG)
            trainer.notes.extend(run.cut(trainer.count if restored else -1))
            return run_to_end(trainer, records, run, progress, told)
        finally:
            trainer.close()
    finally:
        run.close()


def _how_to_confirm(run: RunFolder) -> str:
    return (
        "The run did not start on this machine. Read its config.toml; if you trust what it names: "
        f"seqel train --resume {run.path} --trust, or seqel.resume(..., trust=True)"
    )


def _environment(run: RunFolder, config: RunConfig, confirmed: Known, env: str | EnvMaker | None) -> EnvMaker:
    """The environment of a resumed run. Raises TrustError for a name from a file that nobody has confirmed."""
    source, confirm = str(run.path / CONFIG), _how_to_confirm(run)
    if env is not None:
        if not confirmed.trusted:
            require_plain(config.env_args, source=source, confirm=confirm)
        return resolve(env, **config.env_args)
    confirm = f"{confirm}. Or give the environment: seqel train ENV --resume {run.path}, or seqel.resume(..., env=...)"
    try:
        return resolve_named(
            config.env, config.env_args, source=source, confirm=confirm, trusted=confirmed.trusted,
            folder=confirmed.folder,
        )  # fmt: skip
    except EnvironmentFault as error:
        raise EnvironmentFault(f"{error}. If a function made it, pass it: seqel.resume(folder, env=...)") from error


def _with_action_features(
    config: RunConfig,
    given: str | Path | NDArray[Any] | None,
    make: EnvMaker | None,
    source: Source | None,
    here: Path,
) -> tuple[RunConfig, Tensor | None]:
    """The action features that were given, or that the config names, and the config that they need."""
    given = given if given is not None else config.offline.action_features or None
    if given is None:
        return config, None
    given = here / given if isinstance(given, str | Path) else given
    spec = source if make is None else probe(make, read_as=config.observation)
    assert spec is not None
    action = spec.action
    features = read_action_features(given, action_names(action, source if make is None else None))
    return with_settings(config, settings_for(features, given)), features


def _new_folder(config: RunConfig, here: Path) -> RunFolder:
    """The next free folder, also where several runs begin at once."""
    while True:
        name = config.env or (Path(config.offline.files[0]).stem if config.offline.files else "data")
        path = here / free_folder(name, here)
        try:
            return RunFolder.create(path, config)
        except ConfigError:
            if not path.exists():
                raise


def free_folder(name: str, here: Path | None = None) -> Path:
    """runs/NAME-N with the first N that is free in `here` (None: the current directory)."""
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
    chosen = with_settings(base, given)
    if chosen.threads:
        return chosen
    # How many threads add up a sum decides its last bits: a resumed run must use as many.
    threads = choose_threads(chosen.network.width, min(available_cores(), torch.get_num_threads()))
    return dataclasses.replace(chosen, threads=threads)
