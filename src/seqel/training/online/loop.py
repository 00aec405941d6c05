"""The loop over environments, on one screen: collect, learn, look, and say what happened.

`records` yields what happened instead of calling back, so that a notebook, the command line and a test read the same
stream. `runs/api.py` puts a run folder around it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from seqel.evaluation.rollout import Evaluation
from seqel.training.offline.validation import HeldOut
from seqel.training.online.trainer import CONFIRM_SEED, OnlineTrainer

__all__ = ["Record", "records"]


@dataclass(frozen=True, slots=True)
class Record:
    """One line of a run's history."""

    steps: int  # environment steps so far; on recorded data: updates
    seconds: float  # of training so far, earlier sittings included
    updates: int
    steps_per_second: float = 0.0  # since the last record, validation included
    metrics: dict[str, float] = field(default_factory=dict)  # means since the last record; see runs/metrics.py
    validation: Evaluation | HeldOut | None = None
    solved: bool = False  # the threshold held on the confirming episodes: the run may end
    progress: float = 0.0  # fraction of the run that is over
    notes: tuple[str, ...] = ()  # what has to be said in words: episodes that a resume lost, for instance


def records(session: OnlineTrainer) -> Iterator[Record]:
    """Train until the config's steps are done (or the threshold is confirmed), a record at a time.

    Whenever it yields or ends, the session can be saved, and a loop over the restored one goes on as this one does.
    """
    config = session.config
    before, began = session.collector.steps, session.elapsed
    next_log = next_multiple(session.collector.steps, config.log_every)
    next_look = next_multiple(session.collector.steps, config.validation.every)
    if session.has_initial_agent and session.best is None and before == 0:  # what is begun with is what has to be beaten
        first = session.validate()
        session.solved = confirmed(session, first)
        note = f"what is begun with has a validation return of {first.mean:.3f}"
        yield Record(before, began, session.learner.updates, validation=first, solved=session.solved, notes=(note,))
    while session.progress < 1.0 and not session.stop_requested and not session.solved:
        session.collect()
        while session.update_due:
            session.pending_metrics.append(session.update())
        steps = session.collector.steps
        if steps < next_log and steps < next_look and session.progress < 1.0:
            continue
        next_log = next_multiple(steps, config.log_every)
        validation = None
        if steps >= next_look or session.progress >= 1.0:
            next_look = next_multiple(steps, config.validation.every)
            validation = session.validate()
            session.solved = confirmed(session, validation)
            if validation.cut:
                session.notes.append(
                    f"{validation.cut} of {len(validation.returns)} validation episodes had not ended after "
                    f"{max(validation.lengths):,} steps and were cut off: give the environment a time limit"
                )
        metrics, notes, seconds = summary(session), tuple(session.notes), session.elapsed
        session.pending_metrics, session.notes = [], []
        speed = (steps - before) / max(seconds - began, 1e-9)
        before, began = steps, seconds
        yield Record(
            steps, seconds, session.learner.updates, speed, metrics, validation, session.solved, session.progress, notes
        )


def confirmed(session: OnlineTrainer, validation: Evaluation) -> bool:
    """Whether the run may end: the threshold is reached, and holds on further episodes."""
    look = session.config.validation
    if not look.stop or look.threshold is None or validation.mean < look.threshold:
        return False
    return session.validate(look.confirm, CONFIRM_SEED).mean >= look.threshold


def summary(session: OnlineTrainer) -> dict[str, float]:
    """Means of the learner's metrics since the last record, and of the last hundred training episodes."""
    found: dict[str, float] = {}
    gathered = session.pending_metrics
    if gathered:
        for name in gathered[-1]:
            found[name] = float(torch.stack([torch.as_tensor(m[name]).cpu().float() for m in gathered]).mean())
    if session.recent:
        found["return"] = float(np.mean([end.total for end in session.recent]))
        found["length"] = float(np.mean([end.length for end in session.recent]))
        known = [end.success for end in session.recent if end.success is not None]
        if known:
            found["success"] = float(np.mean(known))
    found["return_scale"] = session.scale.value
    found["replay"] = float(len(session.replay))
    return found


def next_multiple(steps: int, every: int) -> int:
    """The first multiple of `every` beyond `steps`."""
    return (steps // every + 1) * every
