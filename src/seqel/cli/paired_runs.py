"""Two trainings in parallel, each in its own process with its share of the cores, monitored from this process.

The children report through a pipe. `Pace` keeps the second one from running ahead of the first, so that both can stop at
the same number of environment steps. Ctrl-C asks both to save and stop; if this process dies, they stop too.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

from seqel.cli.process import prepare_process
from seqel.errors import SeqelError
from seqel.training.hardware.threads import available_cores

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

__all__ = ["Child", "ChildFailed", "Message", "Pace", "Tell", "cores", "run_together"]

POLL = 0.05  # seconds
GRACE = 60.0  # seconds for a child to save after a request to stop

Tell = Callable[[dict[str, Any]], None]  # called by a child's work with each message


class ChildFailed(SeqelError):
    """One of the two trainings failed; carries the exit code of its error."""

    def __init__(self, name: str, message: str, exit_code: int) -> None:
        super().__init__(f"{name}: {message}")
        self.exit_code = exit_code


class Pace:
    """Shared by both processes: the leader's step, and whether the leader has ended there."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.steps: Any = context.Value("q", 0)
        self.final: Any = context.Value("b", 0)

    def lead(self, steps: int, final: bool = False) -> None:
        """Report the leader's step."""
        self.steps.value = steps
        self.final.value = int(final or bool(self.final.value))

    def follow(self, steps: int, deadline: float, least: int = 0, asked: Callable[[], bool] = lambda: False) -> bool:
        """Let the follower wait while it is ahead. Returns False if it should stop. `deadline`: seconds of `time.time`.

        Once the leader has ended, the follower continues to the same number of steps, but at least to `least`. `asked` says
        whether a stop was requested meanwhile.
        """
        while time.time() < deadline and not asked():
            if self.final.value:
                return bool(steps < max(self.steps.value, least))
            if steps <= self.steps.value:
                return True
            time.sleep(POLL)
        return False


@dataclass(frozen=True)
class Child:
    """One training: `work(tell, **arguments)` runs in its own process. Everything must be picklable."""

    name: str
    work: Callable[..., None]
    threads: int
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Message:
    """A message from a child; `what` is None when it has ended."""

    name: str
    what: dict[str, Any] | None


def cores() -> int:
    """Return how many cores this process may use, limited by its container's quota."""
    return available_cores()


def run_together(children: list[Child], *, tick: float = 0.2) -> Iterator[Message | None]:
    """Start all and yield their messages (None every `tick` seconds in between) until all have ended.

    Raises:
        ChildFailed: a child failed; the others were stopped.
        KeyboardInterrupt: after the children have saved and ended.
    """
    context = multiprocessing.get_context("spawn")
    open_: dict[Connection, tuple[Child, Any]] = {}
    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, _interrupt) if main else None  # pass a request to end on to the children
    try:
        for child in children:
            here, there = context.Pipe(duplex=False)
            # not a daemon: those may not start processes, and slow environments run in processes of their own
            process = context.Process(target=_child, args=(there, child), name=child.name)
            with _environment(OMP_NUM_THREADS=str(child.threads), MKL_NUM_THREADS=str(child.threads)):
                process.start()
            there.close()
            open_[here] = (child, process)
        while open_:
            ready = wait(list(open_), timeout=tick)
            if not ready:
                yield None
            for pipe in ready:
                assert isinstance(pipe, Connection)
                child, process = open_[pipe]
                try:
                    kind, content = pipe.recv()
                except EOFError:  # it died without a message: killed, or out of memory
                    process.join()
                    kind, content = "failed", (f"its process ended with code {process.exitcode}", 1)
                if kind == "tell":
                    yield Message(child.name, content)
                    continue
                del open_[pipe]
                process.join()
                if kind == "failed":
                    raise ChildFailed(child.name, *content)
                yield Message(child.name, None)
    finally:
        _stop([process for _, process in open_.values()])
        if main:
            signal.signal(signal.SIGTERM, before)


def _stop(processes: list[Any]) -> None:
    """Ask the processes to save and stop; terminate them after a while."""
    for process in processes:
        process.terminate()
    until = time.monotonic() + GRACE
    for process in processes:
        process.join(max(0.0, until - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()


def _child(pipe: Connection, child: Child) -> None:
    """The main function of a child process. Only the parent asks it to stop, by one SIGTERM.

    It leaves the terminal's process group: otherwise Ctrl-C would be a second signal, and a second one does not save.
    """
    os.setpgrp()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _interrupt)
    sys.stdout = sys.stderr  # standard output is reserved for the parent's result
    prepare_process()
    outcome: tuple[str, Any] = ("ended", None)
    try:
        child.work(lambda what: pipe.send(("tell", what)), **child.arguments)
    except (KeyboardInterrupt, BrokenPipeError):
        outcome = ("ended", None)
    except SeqelError as error:
        outcome = ("failed", (str(error), error.exit_code))
    except Exception as error:  # noqa: BLE001  (reported to the parent in one line)
        if os.environ.get("SEQEL_DEBUG"):
            import traceback

            traceback.print_exc()
        outcome = ("failed", (f"{type(error).__name__}: {error}", 1))
    with suppress(BrokenPipeError):
        pipe.send(outcome)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


class _environment:
    """Sets environment variables while a child starts: libraries read them once, when they are loaded."""

    def __init__(self, **values: str) -> None:
        self.values, self.before = values, {name: os.environ.get(name) for name in values}

    def __enter__(self) -> None:
        os.environ.update(self.values)

    def __exit__(self, *_: object) -> None:
        for name, value in self.before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
