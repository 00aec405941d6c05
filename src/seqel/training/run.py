"""`seqel.train` and `seqel.resume`: the loop of `online.py` with a run folder around it.

The first interruption (Ctrl-C, or the signal to terminate) ends the loop where a checkpoint is exact, writes it, and is
raised again as KeyboardInterrupt; a second one does not wait.
"""

from __future__ import annotations

import dataclasses
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from seqel.agents.agent import Agent
from seqel.environments.resolve import EnvMaker, environment_name, resolve
from seqel.errors import CheckpointError, ConfigError, EnvironmentFault, NonFiniteError, SeqelError
from seqel.training import config as configs
from seqel.training import offline
from seqel.training.config import RunConfig, save_config, with_settings
from seqel.training.folder import CONFIG, RunFolder
from seqel.training.offline_session import OfflineSession
from seqel.training.online import Record, records
from seqel.training.progress import Progress
from seqel.training.session import Session
from seqel.training.sources import Data, Source, named, open_source

__all__ = ["Watch", "resume", "train"]

Watch = Callable[[Record], None]


def train(
    env: str | EnvMaker | None = None,
    *,
    data: Data | None = None,
    schema: str | Path | None = None,
    steps: int | None = None,
    seed: int | None = None,
    out: str | Path | None = None,
    preset: str = "default",
    config: RunConfig | None = None,
    settings: dict[str, Any] | None = None,
    memoryless: bool = False,
    progress: bool | Watch | None = True,
) -> Agent:
    """Train an agent on an environment, or on recorded data, and return it with its best weights by validation.

    Args:
        env: an id ("CartPole-v1"), "module:Class", or a function (or class) without arguments that makes one.
        data: recorded sessions to learn from instead: tables (one row a step), a Minari dataset's id, or a
            `seqel.datasets` object. `steps` are then updates.
        schema: the TOML file that says what a table's columns are; `seqel data check` proposes one.
        steps: environment steps in all; None: the config's (200,000).
        seed: of everything in the run; None: the config's (0).
        out: the run's folder, new or empty; None: runs/NAME-N.
        preset: a named starting point, see `seqel.preset`; not used where `config` is given.
        config: every setting.
        settings: on top of either, by dotted name: {"learner.learning_rate": 3e-4}.
        memoryless: the same learner with the history removed, to see what memory is worth.
        progress: True: a live display on standard error; False or None: nothing; or a function called with each `Record`.

    Raises:
        ConfigError, SpaceError, EnvironmentFault, StorageError: see `seqel.errors`.
        NonFiniteError: training met a NaN; the message names the last good checkpoint, `agent/` keeps the best weights.
        KeyboardInterrupt: after a checkpoint was written; `resume` goes on exactly there.
    """
    if memoryless:
        settings = (settings or {}) | {"memoryless": True}
    if data is not None:
        return _train_offline(env, data, schema, steps, seed, out, preset, config, settings, progress)
    if env is None:
        raise ConfigError("train: expected an environment, or data")
    config = _config(env, steps, seed, preset, config, settings)
    make = resolve(env, **config.env_args)
    session = Session(config, make)
    try:
        folder = RunFolder.create(Path(out), session.config) if out is not None else _new_folder(session.config)
        session.collector.begin()
        return _drive(session, folder, progress)
    finally:
        session.close()


def _train_offline(
    env: str | EnvMaker | None,
    data: Data,
    schema: str | Path | None,
    updates: int | None,
    seed: int | None,
    out: str | Path | None,
    preset: str,
    config: RunConfig | None,
    settings: dict[str, Any] | None,
    progress: bool | Watch | None,
) -> Agent:
    if env is not None:
        raise ConfigError("train: expected an environment or data, got both")
    given: dict[str, Any] = {"data.files": named(data) or (), "data.schema": str(schema or ""), **(settings or {})}
    given |= {"data.updates": updates} if updates is not None else {}
    config = _config(None, None, seed, preset, config, given)
    session = OfflineSession(config, open_source(data, config.data.schema))
    folder = RunFolder.create(Path(out), session.config) if out is not None else _new_folder(session.config)
    return _drive(session, folder, progress)


def resume(
    folder: str | Path,
    *,
    env: EnvMaker | None = None,
    data: Source | None = None,
    steps: int | None = None,
    progress: bool | Watch | None = True,
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
        if config.data.files or data is not None:
            return _go_on_offline(run, config, data, steps, progress)
        return _go_on(run, config, env, steps, progress)
    finally:
        run.close()


def _go_on(
    run: RunFolder, config: RunConfig, env: EnvMaker | None, steps: int | None, progress: bool | Watch | None
) -> Agent:
    if steps is not None:
        config = with_settings(config, {"steps": steps})
    try:
        make = resolve(env if env is not None else config.env, **config.env_args)
    except EnvironmentFault as error:
        raise EnvironmentFault(f"{error}. If a function made it, pass it: seqel.resume(folder, env=...)") from error
    session = Session(config, make)
    try:
        _restore(session, run)
        if steps is not None:
            done = session.collector.steps  # past what was asked for by less than one step of every environment
            if steps <= done - session.config.environments:
                raise ConfigError(f"steps: expected at least the {done:,} already done, got {steps:,}")
            session.solved = False
            save_config(session.config, run.path / CONFIG)
        run.cut(session.collector.steps)
        return _drive(session, run, progress)
    finally:
        session.close()


def _go_on_offline(
    run: RunFolder, config: RunConfig, data: Source | None, updates: int | None, progress: bool | Watch | None
) -> Agent:
    if updates is not None:
        config = with_settings(config, {"data.updates": updates})
    session = OfflineSession(config, data if data is not None else open_source(config.data.files, config.data.schema))
    _restore(session, run)
    if updates is not None:
        if updates < session.steps:
            raise ConfigError(f"updates: expected at least the {session.steps:,} already done, got {updates:,}")
        session.solved, session.waited = False, 0
        save_config(session.config, run.path / CONFIG)
    run.cut(session.steps)
    return _drive(session, run, progress)


def _restore(session: Session | OfflineSession, run: RunFolder) -> None:
    """Take the newest intact checkpoint's state; without one, begin."""
    newest = run.checkpoints.latest()
    skipped = run.checkpoints.warnings
    if newest is None and skipped:
        raise CheckpointError(
            f"{run.path}: every checkpoint is damaged: {'; '.join(skipped)}. The best agent so far is in {run.agent}. "
            f"To begin the run again from its config.toml, remove {run.checkpoints.directory}"
        )
    if newest is None:
        if isinstance(session, Session):
            session.collector.begin()
        return
    best = run.best()  # before the generators are taken back: it makes a network
    state = run.checkpoints.load(newest)
    try:
        lost = session.load_state_dict(state)
    except SeqelError:
        raise
    except (RuntimeError, KeyError, ValueError, TypeError, IndexError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"{newest} does not fit this run: was {run.path / CONFIG} edited, or the environment changed? ({reason})"
        ) from error
    session.best = best  # it may be of later steps than the checkpoint: not to be overwritten by a worse one
    session.notes.extend(skipped)
    if lost:
        session.notes.append(
            f"environments {lost} did not do the same again from their seeds and actions: their open episodes "
            "were dropped, so this run is not bit for bit the uninterrupted one"
        )


def _new_folder(config: RunConfig) -> RunFolder:
    """The next free folder, also where several runs begin at once."""
    while True:
        path = free_folder(config.env or (Path(config.data.files[0]).stem if config.data.files else "data"))
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


def _drive(session: Session | OfflineSession, folder: RunFolder, progress: bool | Watch | None) -> Agent:
    saved = time.monotonic()
    with _shown(session, folder, progress) as watch, _interruptible(session):
        try:
            for record in records(session) if isinstance(session, Session) else offline.records(session):
                folder.append(record)
                if record.validation is not None and _is_best(session, record.validation.mean):
                    folder.save_agent(session.agent, record)
                watch(record)
                if time.monotonic() - saved >= session.config.checkpoint_every > 0:
                    folder.save(session)
                    saved = time.monotonic()
        except NonFiniteError as error:
            last = folder.checkpoints.latest()
            kept = f"The last good checkpoint is {last}" if last else "No checkpoint had been written yet"
            raise NonFiniteError(f"{error} {kept}.") from error
        else:
            folder.save(session)
            folder.finish(session)
        finally:
            folder.close()
    if session.stopping:
        unit = "steps" if isinstance(session, Session) else "updates"
        raise KeyboardInterrupt(f"stopped and saved at {session.steps:,} {unit}: go on with --resume {folder.path}")
    return Agent.load(folder.agent, session.device)


def _is_best(session: Session | OfflineSession, mean: float) -> bool:
    if session.best is not None and mean < session.best:
        return False
    session.best = mean  # of equals the newer: it has learnt from more
    return True


@contextmanager
def _shown(session: Session | OfflineSession, folder: RunFolder, progress: bool | Watch | None) -> Iterator[Watch]:
    if callable(progress):
        yield progress
    elif progress:
        offline_ = isinstance(session, OfflineSession)
        with Progress(session.config, folder.path, session.best, offline_) as display:
            yield display.take
    else:
        yield lambda record: None


@contextmanager
def _interruptible(session: Session | OfflineSession) -> Iterator[None]:
    """Ctrl-C and SIGTERM ask the loop to end where a checkpoint is exact; a second one interrupts at once."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are handled in the main thread alone
        return

    def ask(number: int, frame: Any) -> None:
        if session.stopping:
            raise KeyboardInterrupt("stopped at once; the last checkpoint is what --resume goes on from")
        session.stopping = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
