"""A session's loop with its folder around it: records written, weights kept, checkpoints, a display, and interruptions.

The first interruption (Ctrl-C, or the signal to terminate) ends the loop where a checkpoint is exact, writes it, and is
raised again as KeyboardInterrupt; a second one does not wait.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from seqel.agents.agent import Agent
from seqel.errors import NonFiniteError
from seqel.training.offline import loop as offline
from seqel.runs.folder import RunFolder
from seqel.training.offline.trainer import OfflineTrainer
from seqel.training.online.loop import Record, records
from seqel.runs.display import Progress
from seqel.training.online.trainer import OnlineTrainer

__all__ = ["OnRecord", "run_to_end"]

OnRecord = Callable[[Record], None]


def run_to_end(session: OnlineTrainer | OfflineTrainer, folder: RunFolder, progress: bool | OnRecord | None) -> Agent:
    """Run the session to its end and return its best agent.

    Raises:
        NonFiniteError: training met a NaN; the message names the last good checkpoint.
        KeyboardInterrupt: after a checkpoint was written.
    """
    saved = time.monotonic()
    with _display(session, folder, progress) as watch, _interruptible(session):
        try:
            for record in records(session) if isinstance(session, OnlineTrainer) else offline.records(session):
                folder.append(record)
                if record.validation is not None and _is_best(session, record.validation.mean, record.solved):
                    if isinstance(session, OnlineTrainer):
                        session.promote()
                    folder.save_agent(session.best_agent, record)
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
    if session.stop_requested:
        unit = "steps" if isinstance(session, OnlineTrainer) else "updates"
        raise KeyboardInterrupt(f"stopped and saved at {session.steps:,} {unit}: go on with --resume {folder.path}")
    return Agent.load(folder.agent, session.device)


def _is_best(session: OnlineTrainer | OfflineTrainer, mean: float, solved: bool = False) -> bool:
    if isinstance(session, OfflineTrainer):
        return session.checks_since_best == 0  # it judges by itself
    if not solved and ((session.best is not None and mean < session.best) or not session.challenger_wins()):
        return False  # what met the threshold is kept anyhow: further episodes have confirmed it
    session.best = mean  # of equals the newer: it has learnt from more
    return True


@contextmanager
def _display(session: OnlineTrainer | OfflineTrainer, folder: RunFolder, progress: bool | OnRecord | None) -> Iterator[OnRecord]:
    if callable(progress):
        yield progress
    elif progress:
        offline_ = isinstance(session, OfflineTrainer)
        with Progress(session.config, folder.path, session.best, offline_) as display:
            yield display.take
    else:
        yield lambda record: None


@contextmanager
def _interruptible(session: OnlineTrainer | OfflineTrainer) -> Iterator[None]:
    """Ctrl-C and SIGTERM ask the loop to end where a checkpoint is exact; a second one interrupts at once."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are handled in the main thread alone
        return

    def ask(number: int, frame: Any) -> None:
        if session.stop_requested:
            raise KeyboardInterrupt("stopped at once; the last checkpoint is what --resume goes on from")
        session.stop_requested = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
