"""The training loop over environments: collect, train, validate, and yield records.

`records` yields instead of calling back, so that a notebook, the command line and a test read the same stream.
`runs/api.py` adds a run folder.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from seqel.evaluation.rollout import Evaluation
from seqel.training.online.trainer import OnlineTrainer
from seqel.training.record import Record, next_multiple

__all__ = ["records"]


def records(trainer: OnlineTrainer) -> Iterator[Record]:
    """Train until the config's steps are done, or the threshold is confirmed; yield one record at a time.

    Whenever it yields or ends, the trainer can be saved, and the loop over a restored trainer continues exactly.
    """
    config = trainer.config
    before, began = trainer.steps, trainer.elapsed
    next_log = next_multiple(trainer.steps, config.log_every)
    next_check = next_multiple(trainer.steps, config.validation.every)
    if trainer.has_initial_agent and trainer.best is None and trainer.steps == 0:
        yield _check_initial_agent(trainer)
    while trainer.progress < 1.0 and not trainer.stop_requested and not trainer.solved:
        trainer.collect()
        while trainer.update_due:
            trainer.pending_metrics.append(trainer.update())
        steps = trainer.steps
        if steps < next_log and steps < next_check and trainer.progress < 1.0:
            continue
        next_log = next_multiple(steps, config.log_every)
        validation, accepted = None, False
        if steps >= next_check or trainer.progress >= 1.0:
            next_check = next_multiple(steps, config.validation.every)
            validation, accepted = _check(trainer)
        speed = (steps - before) / max(trainer.elapsed - began, 1e-9)
        before, began = steps, trainer.elapsed
        yield trainer.record(speed, summary(trainer), validation, accepted)


def _check_initial_agent(trainer: OnlineTrainer) -> Record:
    """Validate the agent that the run starts from: the trained agent has to beat it."""
    validation, accepted = _check(trainer)
    trainer.notes.append(f"the starting agent has a validation return of {validation.mean:.3f}")
    return trainer.record(0.0, {}, validation, accepted)


def _check(trainer: OnlineTrainer) -> tuple[Evaluation, bool]:
    validation = trainer.validate()
    if validation.truncated:
        trainer.notes.append(
            f"{validation.truncated} of {len(validation.returns)} validation episodes had not ended after "
            f"{max(validation.lengths):,} steps and were truncated: give the environment a time limit"
        )
    return validation, trainer.accept(validation)


def summary(trainer: OnlineTrainer) -> dict[str, float]:
    """Return the means of the learner's metrics since the last record, and of the last hundred training episodes."""
    found = trainer.mean_metrics()
    if trainer.recent:
        found["return"] = float(np.mean([end.total for end in trainer.recent]))
        found["length"] = float(np.mean([end.length for end in trainer.recent]))
        known = [end.success for end in trainer.recent if end.success is not None]
        if known:
            found["success"] = float(np.mean(known))
    costs = [end.cost for end in trainer.recent if end.cost is not None]
    if costs:
        found["cost"] = float(np.mean(costs))
        found["cost_multiplier"] = trainer.learner.network.cost_multiplier or 0.0
    found["return_scale"] = trainer.scale.value
    found["replay"] = float(len(trainer.replay))
    return found
