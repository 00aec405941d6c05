"""Output of the commands: standard error and tables for people, one JSON object for programs.

Without `--json`, results go to standard output and progress to standard error. With `--json`, standard output has exactly
one JSON object: the result, or `{"error": {"type", "message", "exit_code"}}`; anything else that is printed meanwhile (for
instance by an environment) goes to standard error.
"""

from __future__ import annotations

import json
import math
import os
import sys
import traceback
import warnings
from contextlib import redirect_stdout, suppress
from typing import TYPE_CHECKING, Any

from seqel.errors import SeqelError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console, RenderableType

__all__ = ["BROKEN_PIPE", "INTERRUPTED", "UNEXPECTED", "USAGE", "Output", "UsageExit", "guarded", "plain"]

# exit codes; a SeqelError has its own. BROKEN_PIPE is what a shell reports for a program ended by SIGPIPE
USAGE, UNEXPECTED, INTERRUPTED, BROKEN_PIPE = 2, 70, 130, 141


class UsageExit(SystemExit):
    """Raised when the argument parser ends the program: it has printed the help, or the error."""


class Output:
    """Shows a command's results and progress."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self._progress: Console | None = None
        self._result: Console | None = None

    @property
    def progress(self) -> Console:
        """A console on standard error, for progress."""
        if self._progress is None:
            from rich.console import Console

            self._progress = Console(stderr=True, highlight=False)
        return self._progress

    def show(self, *parts: RenderableType) -> None:
        """Print a result for people; with `--json`, print nothing, because the JSON object contains it."""
        if self.as_json:
            return
        if self._result is None:
            from rich.console import Console

            self._result = Console(highlight=False)
        for part in parts:
            self._result.print(part)

    def note(self, text: str) -> None:
        """Print a message on standard error, with or without `--json`. The text is printed as it is, without markup."""
        self.progress.print(text, markup=False)


def plain(value: Any) -> Any:
    """Convert a command's result to what JSON can hold: NaN and infinities become null, arrays lists, paths text."""
    if isinstance(value, dict):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "tolist"):  # numpy's arrays and scalars, without importing numpy
        return plain(value.tolist())
    return str(value)


def guarded(work: Callable[[Output], Any], *, as_json: bool) -> int:
    """Run a command and return its exit code; every failure becomes one message, never a traceback.

    `work` returns the result, or (result, exit code). The environment variable SEQEL_DEBUG=1 adds the traceback.
    """
    stdout = sys.stdout
    result: Any = None
    warnings.showwarning = _show_warning
    try:
        if as_json:
            with redirect_stdout(sys.stderr):
                result = work(Output(as_json))
        else:
            result = work(Output(as_json))
        code = 0
        if isinstance(result, tuple):
            result, code = result
        stdout.flush()
    except BaseException as error:  # noqa: BLE001  (the last place that can report it in one line)
        if _is_broken_pipe(error):  # `seqel tasks | head -1`: no one reads the output any more
            return _silenced()
        code, message = _describe(error)
        if os.environ.get("SEQEL_DEBUG"):
            traceback.print_exc()
        if message:
            print(f"seqel: {message}", file=sys.stderr)
        kind = "UsageError" if isinstance(error, UsageExit) else type(error).__name__
        result = {"error": {"type": kind, "message": message, "exit_code": code}}
        if code == 0:  # `--help`
            return 0
    if as_json:
        try:
            print(json.dumps(plain(result)), file=stdout, flush=True)
        except BrokenPipeError:
            return _silenced()
    return code


def _show_warning(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
    """Print a warning from Seqel in one line; others in Python's own form, with their place in the code."""
    if category.__module__.startswith("seqel."):
        print(f"seqel: note: {message}", file=sys.stderr)
    else:
        sys.stderr.write(warnings.formatwarning(message, category, *place[:2]))


def _is_broken_pipe(error: BaseException) -> bool:
    """Return whether the error is a broken pipe, which rich turns into a SystemExit."""
    return isinstance(error, BrokenPipeError) or (
        isinstance(error, SystemExit) and isinstance(error.__context__, BrokenPipeError)
    )


def _silenced() -> int:
    """Discard buffered output, so that the interpreter has nothing to complain about when it ends."""
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is None:
            continue
        try:
            stream.flush()
        except OSError:
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return BROKEN_PIPE


def _describe(error: BaseException) -> tuple[int, str]:
    if isinstance(error, UsageExit):  # tyro has already reported what is wrong with the arguments
        code = error.code if isinstance(error.code, int) else USAGE
        return code, "" if code == 0 else "invalid arguments; see above, and --help"
    if isinstance(error, SystemExit):
        return UNEXPECTED, f"called code ended the program with sys.exit({error.code!r})"
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, str(error) or "stopped"
    if isinstance(error, SeqelError):
        return error.exit_code, str(error)
    hint = "" if os.environ.get("SEQEL_DEBUG") else " (SEQEL_DEBUG=1 shows the traceback)"
    return UNEXPECTED, f"unexpected {type(error).__name__}: {error}{hint}"
