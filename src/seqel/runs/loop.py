"""Run a trainer to its end in its folder: write records, save the best agent and checkpoints, handle interruptions.

The first interruption (Ctrl-C or SIGTERM) ends the loop at the next point where a checkpoint is exact, writes one, and is
raised again as KeyboardInterrupt; a second one takes effect at once.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from seqel.agents.agent import Agent
from seqel.errors import NonFiniteError
from seqel.runs.display import Progress
from seqel.runs.folder import RunFolder
from seqel.runs.trackers.base import Tracker
from seqel.runs.trackers.registry import Trackers
from seqel.training.record import Record
from seqel.training.trainer import Trainer

__all__ = ["OnRecord", "run_to_end"]

OnRecord = Callable[[Record], None]


def run_to_end(
    trainer: Trainer,
    records: Iterator[Record],
    folder: RunFolder,
    progress: bool | OnRecord | None,
    trackers: Sequence[Tracker] = (),
) -> Agent:
    """Consume the trainer's `records` and return its best agent. A tracker that fails is a warning.

    Raises:
        NonFiniteError: training produced a NaN; the message names the last good checkpoint.
        KeyboardInterrupt: after a checkpoint was written.
    """
    saved, summary, all_trackers = time.monotonic(), None, Trackers(trackers)
    all_trackers.start(trainer.config, folder.path)
    with _display(trainer, folder, progress) as on_record, _interruptible(trainer):
        try:
            for record in records:
                folder.append(record)
                all_trackers.log(record)
                if record.accepted or record.reassessed:
                    folder.save_agent(trainer.best_agent, record)
                on_record(record)
                if time.monotonic() - saved >= trainer.config.checkpoint_every > 0:
                    folder.save(trainer)
                    saved = time.monotonic()
        except NonFiniteError as error:
            last = folder.checkpoints.latest()
            good = f"The last good checkpoint is {last}" if last else "No checkpoint was written yet"
            raise NonFiniteError(f"{error} {good}.") from error
        else:
            folder.save(trainer)
            summary = folder.finish(trainer)
        finally:
            all_trackers.finish(None if trainer.stop_requested else summary)
            folder.close()
    if trainer.stop_requested:
        raise KeyboardInterrupt(
            f"stopped and saved at {trainer.count:,} {trainer.unit}: continue with --resume {folder.path}"
        )
    return Agent.load(folder.agent, trainer.device)


@contextmanager
def _display(trainer: Trainer, folder: RunFolder, progress: bool | OnRecord | None) -> Iterator[OnRecord]:
    if callable(progress):
        yield progress
    elif progress:
        with Progress(trainer.config, folder.path, trainer.best, trainer.unit == "updates") as display:
            trainer.on_update = display.tick
            yield display.take
    else:
        yield lambda record: None


@contextmanager
def _interruptible(trainer: Trainer) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the loop where a checkpoint is exact; a second signal interrupts at once."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread can handle signals
        return

    def ask(number: int, frame: Any) -> None:
        if trainer.stop_requested:
            raise KeyboardInterrupt("stopped at once; --resume continues from the last checkpoint")
        trainer.stop_requested = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
