"""The loop over recorded data, on one screen: learn, look at sessions held out, and say what happened."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from seqel.training.offline.trainer import OfflineTrainer
from seqel.training.online.loop import Record, next_multiple

__all__ = ["records"]


def records(session: OfflineTrainer) -> Iterator[Record]:
    """Learn until the config's updates are done, or no weights were worth keeping at `offline.patience` looks in a row.

    Whenever it yields or ends, the session can be saved, and a loop over the restored one goes on as this one does.
    """
    data = session.config.offline
    before, began = session.steps, session.elapsed
    next_look = next_multiple(session.steps, data.every)
    while session.progress < 1.0 and not session.stop_requested and not session.solved:
        session.pending_metrics.append(session.update())
        if session.steps < next_look and session.progress < 1.0:
            continue
        next_look = next_multiple(session.steps, data.every)
        look = session.validate()
        session.accept(look.mean)
        if data.patience and session.checks_since_best >= data.patience:
            session.solved = True
            session.notes.append(
                f"the sessions held out are known clearly less well for {session.checks_since_best} looks: ended here, the weights "
                "from before are kept"
            )
        metrics, notes, seconds = means(session), tuple(session.notes), session.elapsed
        session.pending_metrics, session.notes = [], []
        speed = (session.steps - before) / max(seconds - began, 1e-9)
        before, began = session.steps, seconds
        yield Record(session.steps, seconds, session.steps, speed, metrics, look, session.solved, session.progress, notes)


def means(session: OfflineTrainer) -> dict[str, float]:
    """Of the learner's metrics since the last record."""
    gathered = session.pending_metrics
    found = {
        n: float(torch.stack([torch.as_tensor(m[n]).cpu().float() for m in gathered]).mean()) for n in gathered[-1]
    }
    found["return_scale"] = float(session.agent.network.head.scale)
    return found
