"""The training loop over recorded data: train, validate on held-out episodes, and yield records."""

from __future__ import annotations

from collections.abc import Iterator

from seqel.training.offline.trainer import OfflineTrainer
from seqel.training.record import Record, next_multiple

__all__ = ["records"]


def records(trainer: OfflineTrainer) -> Iterator[Record]:
    """Train until the config's updates are done, or until `offline.patience` validations in a row were not accepted.

    Whenever it yields or ends, the trainer can be saved, and the loop over a restored trainer continues exactly.
    The consumer of a record decides what to do with accepted weights; `trainer.checks_since_best` is 0 for those.
    """
    offline = trainer.config.offline
    before, began = trainer.updates, trainer.elapsed
    next_check = next_multiple(trainer.updates, offline.every)
    while trainer.progress < 1.0 and not trainer.stop_requested and not trainer.solved:
        trainer.pending_metrics.append(trainer.update())
        if trainer.on_update is not None:
            trainer.on_update(trainer)
        if trainer.updates < next_check and trainer.progress < 1.0:
            continue
        next_check = next_multiple(trainer.updates, offline.every)
        validation = trainer.validate()
        accepted = trainer.accept(validation)
        if offline.patience and trainer.checks_since_best >= offline.patience:
            trainer.solved = True
            trainer.notes.append(
                f"stopped early: the held-out score has been clearly below its best for {trainer.checks_since_best} "
                "checks; the best weights are kept"
            )
        metrics = trainer.mean_metrics() | {"return_scale": float(trainer.agent.network.head.scale)}
        speed = (trainer.updates - before) / max(trainer.elapsed - began, 1e-9)
        before, began = trainer.updates, trainer.elapsed
        yield trainer.record(speed, metrics, validation, accepted)
