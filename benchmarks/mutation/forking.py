"""Runs the tests on mutants: one process collects the tests, and each mutant is a fork of it with one code object replaced.

The fork runs the tests that reach the mutated line, fastest first, until one fails. For code that runs at import (defaults,
constants) the fork imports the package again.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import resource
import select
import signal
import sys
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest
from planting import Mutant
from selection import SOURCE

LONGEST = 4.0  # seconds of a test, beyond which it is not run
MEMORY = 8 << 30  # bytes that a mutant may allocate


def functions_of(module: Any) -> dict[str, FunctionType]:
    """Return qualified name -> the function itself, without properties and decorators."""
    found: dict[str, FunctionType] = {}

    def take(thing: Any, depth: int = 0) -> None:
        for name in ("fget", "__func__", "func", "__wrapped__"):
            inner = getattr(thing, name, None)
            if inner is not None and depth < 4:
                take(inner, depth + 1)
        if isinstance(thing, FunctionType) and thing.__module__ == module.__name__:
            found.setdefault(thing.__code__.co_qualname, thing)
        if isinstance(thing, type) and thing.__module__ == module.__name__:
            for value in vars(thing).values():
                take(value, depth)

    for value in list(vars(module).values()):
        take(value)
    return found


def codes_of(code: CodeType) -> Iterator[CodeType]:
    """All code objects within."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from codes_of(constant)


def module_name(file: str) -> str:
    """losses/td.py -> seqel.losses.td."""
    return ".".join(("seqel", *Path(file).with_suffix("").parts)).removesuffix(".__init__")


def exchange(mutant: Mutant) -> bool:
    """Replace the running code by the mutant; return False if the file must be imported again."""
    if not mutant.function:
        return False
    path = str(SOURCE / mutant.file)
    code = compile(mutant.source, path, "exec")
    new = next((one for one in codes_of(code) if one.co_qualname == mutant.function), None)
    live = functions_of(importlib.import_module(module_name(mutant.file))).get(mutant.function)
    if new is None or live is None or new.co_freevars != live.__code__.co_freevars:
        return False
    live.__code__ = new
    return True


class Loader:
    """An import hook that gives the mutated source of one module."""

    def __init__(self, mutant: Mutant) -> None:
        self.mutant, self.name = mutant, module_name(mutant.file)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Of `importlib.abc.MetaPathFinder`."""
        if name != self.name:
            return None
        return importlib.util.spec_from_file_location(name, SOURCE / self.mutant.file, loader=self)  # type: ignore[arg-type]

    def create_module(self, spec: Any) -> None:
        """Of `importlib.abc.Loader`."""

    def exec_module(self, module: Any) -> None:
        """Of `importlib.abc.Loader`."""
        exec(compile(self.mutant.source, str(SOURCE / self.mutant.file), "exec"), module.__dict__)


class Failures:
    """A pytest plugin: the first test that fails."""

    def __init__(self) -> None:
        self.first = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.first:
            self.first = report.nodeid


class Reached:
    """A pytest plugin: which lines of the mutated files each test reaches, how long it takes, and whether it passes."""

    def __init__(self, files: set[str]) -> None:
        self.files = {str(SOURCE / file): file for file in files}
        self.lines: dict[str, set[tuple[str, int]]] = defaultdict(set)
        self.shared: dict[str, set[tuple[str, int]]] = defaultdict(set)  # reached by a test file's fixtures
        self.seconds: dict[str, float] = defaultdict(float)
        self.failed: set[str] = set()
        self.target: set[tuple[str, int]] = set()

    def trace(self, frame: Any, event: str, arg: Any) -> Any:
        file = self.files.get(frame.f_code.co_filename)
        if file is None:
            return None

        def local(frame: Any, event: str, arg: Any) -> Any:
            self.target.add((file, frame.f_lineno))
            return local

        return local(frame, event, arg)

    def _watched(self, item: pytest.Item, target: set[tuple[str, int]]) -> Iterator[None]:
        self.target, begin = target, time.perf_counter()
        sys.settrace(self.trace)
        yield
        sys.settrace(None)
        self.seconds[item.nodeid] += time.perf_counter() - begin

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Iterator[None]:
        yield from self._watched(item, self.shared[item.nodeid.split("::")[0]])

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        yield from self._watched(item, self.lines[item.nodeid])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.add(report.nodeid)


def run_items(session: pytest.Session, items: list[pytest.Item], plugin: Any) -> None:
    """Run tests that are collected; a plugin of `Failures` ends it at the first failure."""
    session.config.pluginmanager.register(plugin)
    for item, following in zip(items, [*items[1:], None], strict=True):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if getattr(plugin, "first", ""):
            return


def in_fork(work: Callable[[], Any], timeout: float) -> Any:
    """Return the JSON value that `work` returns in a fork of this process; None if it dies or takes too long."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        with contextlib.suppress(BaseException):
            os.close(read)
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 1)
            os.dup2(nowhere, 2)
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
            with os.fdopen(write, "w") as pipe:
                json.dump(work(), pipe)
            code = 0
        os._exit(code)
    os.close(write)
    deadline, text = time.monotonic() + timeout, b""
    while True:
        ready, _, _ = select.select([read], [], [], max(0.0, deadline - time.monotonic()))
        chunk = os.read(read, 1 << 16) if ready else b""
        if not chunk:
            break
        text += chunk
    if time.monotonic() >= deadline:
        os.kill(pid, signal.SIGKILL)
    os.close(read)
    os.waitpid(pid, 0)
    return json.loads(text) if text else None


class Runner:
    """A pytest plugin that, in place of running the tests, runs every mutant against those that reach it."""

    def __init__(self, mutants: list[Mutant], show: Callable[[Mutant], None]) -> None:
        self.mutants, self.show = mutants, show
        self.unfit: list[str] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            raise SystemExit(f"{session.testsfailed} test files could not be imported")
        items = {item.nodeid: item for item in session.items}
        reached = self._baseline(session)
        for mutant in self.mutants:
            at = {(mutant.file, line) for line in range(mutant.line, mutant.last + 1)}
            names = [n for n, lines in reached.lines.items() if n in items and (not mutant.function or at & lines)]
            if not mutant.function:  # whoever reaches anything in the file
                names = [n for n in names if any(file == mutant.file for file, _ in reached.lines[n])]
            names.sort(key=lambda name: reached.seconds[name])
            self._judge(session, mutant, [items[name] for name in names], sum(reached.seconds[n] for n in names))
            self.show(mutant)
        return True

    def _baseline(self, session: pytest.Session) -> Reached:
        importlib.import_module("torch._dynamo")  # takes seconds: once, here, and not in every fork that compiles
        plugin = Reached({mutant.file for mutant in self.mutants})

        def work() -> Any:
            run_items(session, session.items, plugin)
            return {
                "lines": {n: sorted(x | plugin.shared[n.split("::")[0]]) for n, x in plugin.lines.items()},
                "seconds": plugin.seconds,
                "failed": sorted(plugin.failed),
            }

        found = in_fork(work, 3_600.0)
        if found is None:
            raise SystemExit("the tests could not be run without a mutant")
        self.unfit = found["failed"] + [n for n, s in found["seconds"].items() if s > LONGEST]
        plugin.lines = {n: {(f, k) for f, k in x} for n, x in found["lines"].items() if n not in self.unfit}
        plugin.seconds = found["seconds"]
        return plugin

    def _judge(self, session: pytest.Session, mutant: Mutant, items: list[pytest.Item], seconds: float) -> None:
        if not items:
            mutant.result = "unreached"
            return

        def work() -> str:
            plugin = Failures()
            try:
                if exchange(mutant):
                    run_items(session, items, plugin)
                else:
                    again(mutant, items, plugin)
            except BaseException:  # noqa: BLE001  whatever the mutant raises as it is imported
                return plugin.first or traceback.format_exc(limit=-1)[-200:]
            return plugin.first

        first = in_fork(work, 15.0 + 5.0 * seconds)
        mutant.result = "timeout" if first is None else "killed" if first else "survived"
        mutant.test = first or ""


def again(mutant: Mutant, items: list[pytest.Item], plugin: Failures) -> None:
    """Import the package again with the mutant in it, and run these tests until one fails."""
    tests = {item.module.__name__ for item in items if hasattr(item, "module")}
    for name in list(sys.modules):
        if name.split(".")[0] in ("seqel", "support", "conftest", "tests") or name in tests or "test_" in name:
            del sys.modules[name]
    sys.meta_path.insert(0, Loader(mutant))
    code = pytest.main(["-q", "-x", "-p", "no:cacheprovider", *(item.nodeid for item in items)], plugins=[plugin])
    if code != 0 and not plugin.first:
        plugin.first = f"exit {int(code)}"
