"""Two trainings at the same time, each in a process of its own with its share of the cores, watched from here.

The children tell what happens through a pipe. `Pace` keeps the second one from running ahead of the first, so that both
can be stopped at the same number of environment steps. Ctrl-C here asks both to save and stop; when this process dies,
so do they.
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
GRACE = 60.0  # seconds for a child to save after it was asked to stop

Tell = Callable[[dict[str, Any]], None]  # what a child's work calls with each thing worth knowing


class ChildFailed(SeqelError):
    """One of two trainings failed; carries the exit code of what it failed by."""

    def __init__(self, name: str, message: str, exit_code: int) -> None:
        super().__init__(f"{name}: {message}")
        self.exit_code = exit_code


class Pace:
    """Shared by both processes: how far the leader is, and whether that is where it ended."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.steps: Any = context.Value("q", 0)
        self.final: Any = context.Value("b", 0)

    def lead(self, steps: int, final: bool = False) -> None:
        """The leader tells how far it is."""
        self.steps.value = steps
        self.final.value = int(final or bool(self.final.value))

    def follow(self, steps: int, deadline: float, least: int = 0, asked: Callable[[], bool] = lambda: False) -> bool:
        """The follower waits while it is ahead. False: stop here. `deadline` in seconds of `time.time`.

        Once the leader has ended, the follower goes on to as many steps, and to `least`. `asked` says whether somebody
        wants it to stop meanwhile.
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
    """One training: `work(tell, **arguments)` runs in its process. Everything must survive pickling."""

    name: str
    work: Callable[..., None]
    threads: int
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Message:
    """What a child told; `what` is None when it has ended."""

    name: str
    what: dict[str, Any] | None


def cores() -> int:
    """How many cores this process may use, its container's quota respected."""
    return available_cores()


def run_together(children: list[Child], *, tick: float = 0.2) -> Iterator[Message | None]:
    """Start all, and yield what they tell as it comes (None every `tick` seconds in between), until all have ended.

    Raises:
        ChildFailed: a child failed; the others have been stopped.
        KeyboardInterrupt: after the children have saved and ended.
    """
    context = multiprocessing.get_context("spawn")
    open_: dict[Connection, tuple[Child, Any]] = {}
    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, _interrupt) if main else None  # to be asked to end is to ask the children
    try:
        for child in children:
            here, there = context.Pipe(duplex=False)
            process = context.Process(target=_child, args=(there, child), daemon=True, name=child.name)
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
                except EOFError:  # it died without a word: killed, or out of memory
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
    """Ask to save and stop; insist after a while."""
    for process in processes:
        process.terminate()
    until = time.monotonic() + GRACE
    for process in processes:
        process.join(max(0.0, until - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()


def _child(pipe: Connection, child: Child) -> None:
    """The process of one training. The parent alone asks it to stop, by one SIGTERM.

    It leaves the terminal's process group: Ctrl-C there would be a second signal, and a second one does not save.
    """
    os.setpgrp()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _interrupt)
    sys.stdout = sys.stderr  # standard output belongs to the parent's result
    prepare_process()
    outcome: tuple[str, Any] = ("ended", None)
    try:
        child.work(lambda what: pipe.send(("tell", what)), **child.arguments)
    except (KeyboardInterrupt, BrokenPipeError):
        outcome = ("ended", None)
    except SeqelError as error:
        outcome = ("failed", (str(error), error.exit_code))
    except Exception as error:  # noqa: BLE001  (told to the parent in one line)
        if os.environ.get("SEQEL_DEBUG"):
            import traceback

            traceback.print_exc()
        outcome = ("failed", (f"{type(error).__name__}: {error}", 1))
    with suppress(BrokenPipeError):
        pipe.send(outcome)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


class _environment:
    """Environment variables set while a child starts: libraries read them once, when they are loaded."""

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
