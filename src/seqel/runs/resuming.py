"""Continues a run from its last checkpoint: `resume`, and what a run from another machine may name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from seqel.agents.agent import Agent
from seqel.environments.named import require_plain, resolve_named
from seqel.environments.resolve import EnvMaker, resolve
from seqel.errors import ConfigError, EnvironmentFault
from seqel.runs.api import build, load_agent
from seqel.runs.folder import RunFolder
from seqel.runs.loop import OnRecord, run_to_end
from seqel.runs.restore import restore, restore_best
from seqel.runs.run_config import CONFIG
from seqel.runs.text_reader import load_reader
from seqel.runs.trackers.base import Tracker
from seqel.runs.trackers.registry import open_trackers
from seqel.runs.trust import Known, known, require_inside
from seqel.spaces.text_readers import TextReader, register
from seqel.texts.embeddings import Embed
from seqel.training.config import RunConfig, with_settings
from seqel.training.config_file import save_config
from seqel.training.online.trainer import OnlineTrainer
from seqel.training.resolve import resumed_here
from seqel.training.sources import Source, open_source
from seqel.training.trainer import Trainer

__all__ = ["resume"]


def resume(
    folder: str | Path,
    *,
    env: str | EnvMaker | None = None,
    data: Source | None = None,
    steps: int | None = None,
    trust: bool = False,
    text_encoder: Embed | None = None,
    trackers: Sequence[str | Tracker] | None = None,
    progress: bool | OnRecord | None = True,
) -> Agent:
    """Continue a run exactly from its last checkpoint, and return its best agent.

    Args:
        folder: the run's folder. If there is no checkpoint yet, the run starts again from its config.toml.
        env: the environment, as for `train`. Needed if the run was started with a function, or to replace the environment
            that the config.toml of a run from another machine names.
        data: the recorded data, if they were passed in memory and not as files.
        steps: a new total (of updates, for a run on recorded data alone), to extend the run. The learning-rate schedule
            follows. None: the total of the run; a finished run then only returns its agent.
        trust: import and open what the run's config.toml names even if the run was not started on this machine, and
            accept an edited config.toml. A run from another machine may name code that does anything: read the file
            first.
        text_encoder: the function that encodes texts, if the run was started with one.
        trackers: as for `train`; None: those of the run, without "wandb" if the run is from another machine, because a file
            must not decide that data are sent.

    Raises:
        TrustError: the run is from another machine and names code, or files outside its folder; nothing was imported or
            opened.
        CheckpointError: there is no run, its checkpoints are all damaged, or they belong to other settings or another
            environment. Nothing is changed.
        StorageError: another process is training in the folder.
        ConfigError: config.toml is invalid, or `steps` is less than what is already done. Also what `train` raises.
    """
    run, config = RunFolder.open(Path(folder).absolute(), trust)
    try:
        if trust:
            save_config(config, run.path / CONFIG)  # with a checksum of its current content
        confirmed = known(run.path, config, trust)
        online_run = bool(config.env) or env is not None
        if not online_run and not config.offline.files and data is None:
            raise ConfigError(f"{folder} was trained on data in memory: pass them as seqel.resume(folder, data=...)")
        if steps is not None:
            config = with_settings(config, {"steps" if online_run else "offline.updates": steps})
        config, notes = resumed_here(config)
        reader = load_reader(run.path, text_encoder)
        if reader is not None:
            register(reader)
        newest, best = run.checkpoints.latest(), run.best()
        if trackers is None:
            trackers = [name for name in config.trackers if confirmed.trusted or name != "wandb"]
        opened = open_trackers(trackers)
        source, initial = _named_files(
            run, config, confirmed, data, reader, has_weights=newest is not None and best is not None
        )
        make = _environment(run, config, confirmed, env) if online_run else None
        trainer, records = build(config, make, source, initial, reader)
        try:
            restored = restore(trainer, run, newest, source)
            if restored and isinstance(trainer, OnlineTrainer):
                restore_best(trainer, run, best)
            if steps is not None:
                _extend(trainer, steps)
                save_config(trainer.config, run.path / CONFIG)
            trainer.notes.extend([*notes, *run.truncate(trainer.count if restored else -1)])
            return run_to_end(trainer, records, run, progress, opened)
        finally:
            trainer.close()
    finally:
        run.close()


def _extend(trainer: Trainer, steps: int) -> None:
    """Continue a run whose length was changed to `steps`. Raises ConfigError if more is done already."""
    slack = trainer.config.environments if trainer.unit == "steps" else 1  # one call steps every environment
    if steps <= trainer.count - slack:
        raise ConfigError(f"{trainer.unit}: expected at least the {trainer.count:,} already done, got {steps:,}")
    trainer.extend()


def _named_files(
    run: RunFolder,
    config: RunConfig,
    confirmed: Known,
    data: Source | None,
    reader: TextReader | None,
    has_weights: bool,
) -> tuple[Source | None, Agent | None]:
    """Return a resumed run's recorded data and the agent it started from, after checking that its files may be opened.

    has_weights: the run's own folder holds the weights, so the starting agent's folder, which may have been moved, is not
        needed.

    Raises TrustError if the run is from another machine and names files outside its folder.
    """
    given = (set() if data is None else {"offline.files", "offline.schema"}) | ({"init_from"} if has_weights else set())
    given |= set() if reader is None else {"text.model"}  # it was found where the user keeps models, not by this name
    if not confirmed.trusted:
        require_inside(config, run.path, source=str(run.path / CONFIG), confirm=_how_to_confirm(run), given=given)
    found = data if data is not None else config.offline.files or None
    source = None if found is None else open_source(found, config.offline.schema, reader or config.text)
    return source, load_agent((run.agent if has_weights else config.init_from) if config.init_from else None)


def _how_to_confirm(run: RunFolder) -> str:
    return (
        "The run was not started on this machine. Read its config.toml; if you trust what it names: "
        f"seqel train --resume {run.path} --trust, or seqel.resume(..., trust=True)"
    )


def _environment(run: RunFolder, config: RunConfig, confirmed: Known, env: str | EnvMaker | None) -> EnvMaker:
    """Return the environment of a resumed run. Raises TrustError if only a file names it and no one has confirmed it."""
    source, confirm = str(run.path / CONFIG), _how_to_confirm(run)
    if env is not None:
        if not confirmed.trusted:
            require_plain(config.env_args, source=source, confirm=confirm)
        return resolve(env, **config.env_args)
    confirm = f"{confirm}. Or pass the environment: seqel train ENV --resume {run.path}, or seqel.resume(..., env=...)"
    try:
        return resolve_named(
            config.env, config.env_args, source=source, confirm=confirm, trusted=confirmed.trusted,
            folder=confirmed.folder,
        )  # fmt: skip
    except EnvironmentFault as error:
        raise EnvironmentFault(f"{error}. If a function made it, pass it: seqel.resume(folder, env=...)") from error
