"""Restore a trainer from its run's last checkpoint."""

from __future__ import annotations

from pathlib import Path

from seqel.agents.info import ValidationInfo
from seqel.errors import CheckpointError, SeqelError
from seqel.runs.folder import RunFolder
from seqel.runs.run_config import CONFIG
from seqel.training.action_features import read_action_features
from seqel.training.online.trainer import OnlineTrainer
from seqel.training.sources import Source, action_names
from seqel.training.trainer import Trainer

__all__ = ["restore", "restore_best"]


def restore(trainer: Trainer, run: RunFolder, newest: Path | None, source: Source | None = None) -> bool:
    """Load the newest intact checkpoint and return True; without one, start the trainer and return False.

    Args:
        newest: the result of `run.checkpoints.latest()`.
        source: the recorded data, whose action names a restarted run needs to read its action features.

    Raises:
        CheckpointError: every checkpoint is damaged, or the newest belongs to other settings or another environment.
    """
    skipped = run.checkpoints.warnings
    if newest is None and skipped:
        raise CheckpointError(
            f"{run.path}: every checkpoint is damaged: {'; '.join(skipped)}. The best agent so far is in {run.agent}. "
            f"To start the run again from its config.toml, remove {run.checkpoints.directory}"
        )
    if newest is None:
        _describe_actions(trainer, source)
        trainer.begin()
        return False
    state = run.checkpoints.load(newest)
    try:
        lost = trainer.load_state_dict(state)
    except SeqelError:
        raise
    except (RuntimeError, KeyError, ValueError, TypeError, IndexError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"{newest} does not fit this run: was {run.path / CONFIG} edited, or the environment changed? ({reason})"
        ) from error
    trainer.notes.extend(skipped)
    if lost:
        trainer.notes.append(
            f"environments {lost} did not repeat their episodes from seeds and actions: their open episodes were "
            "dropped, so this run differs from the uninterrupted one"
        )
    return True


def restore_best(trainer: OnlineTrainer, run: RunFolder, saved: ValidationInfo | None) -> None:
    """Compare `agent/` on disk, whose figures are `saved` (None: it is lost), with the best weights of the checkpoint.

    After `restore`. A lost agent is written again. One that is later than the checkpoint, because the run was killed after it
    was saved, must not be overwritten by a worse one, if the environment does not repeat its episodes.
    """
    best = trainer.selection.best
    if saved is None and best is not None:
        run.keep(trainer.best_agent, best.as_json(), best.evaluation.success)
    elif saved is not None and saved.get("steps", 0) > trainer.steps:
        run.later = saved


def _describe_actions(trainer: Trainer, source: Source | None) -> None:
    """Read the action features again if a run restarts: checkpoints hold them with the weights."""
    if not trainer.config.network.action_features:
        return
    file = trainer.config.offline.action_features
    if not file:
        raise CheckpointError("there is no checkpoint, and the action features were passed in memory: start a new run")
    names = action_names(trainer.agent.action_spec, source)
    trainer.learner.describe_actions(read_action_features(file, names))
