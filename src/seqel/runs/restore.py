"""A session taken back to where its run's last checkpoint stands."""

from __future__ import annotations

from pathlib import Path

from seqel.errors import CheckpointError, SeqelError
from seqel.training.action_features import read_action_features
from seqel.runs.folder import CONFIG, RunFolder
from seqel.training.offline.trainer import OfflineTrainer
from seqel.training.online.trainer import OnlineTrainer
from seqel.training.sources import action_names

__all__ = ["restore"]


def restore(session: OnlineTrainer | OfflineTrainer, run: RunFolder, newest: Path | None, best: float | None = None) -> bool:
    """Take the newest intact checkpoint's state, True; without one, begin.

    newest: as the run's `checkpoints.latest()` found it; best: the mean return of the agent that the run keeps, None where
    it is lost.

    Raises:
        CheckpointError: every checkpoint is damaged, or the newest is of other settings or another environment.
    """
    skipped = run.checkpoints.warnings
    if newest is None and skipped:
        raise CheckpointError(
            f"{run.path}: every checkpoint is damaged: {'; '.join(skipped)}. The best agent so far is in {run.agent}. "
            f"To begin the run again from its config.toml, remove {run.checkpoints.directory}"
        )
    if newest is None:
        _describe_again(session)
        if isinstance(session, OnlineTrainer):
            session.collector.begin()
        return False
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
    if isinstance(session, OnlineTrainer):
        if best is None and session.best is not None and session.config.learner.acting_weights == "incumbent":
            figures = {"steps": session.steps, "mean": session.best}
            run.keep(session.agent, figures)  # agent/ is lost, and the checkpoint has its weights
        else:
            session.best = best  # may be of later steps than the checkpoint: not to be overwritten by a worse one
    session.notes.extend(skipped)
    if lost:
        session.notes.append(
            f"environments {lost} did not do the same again from their seeds and actions: their open episodes "
            "were dropped, so this run is not bit for bit the uninterrupted one"
        )
    return True


def _describe_again(session: OnlineTrainer | OfflineTrainer) -> None:
    """The features of actions, where a run is begun again: otherwise they stand with the weights."""
    if not session.config.network.action_features:
        return
    if not session.config.offline.action_features:
        raise CheckpointError("no checkpoint, and the features of its actions came from memory: train anew")
    names = action_names(session.agent.action_spec, getattr(session, "source", None))
    session.learner.describe_actions(read_action_features(session.config.offline.action_features, names))
