"""What a command prints, and where: people read standard error and tables, programs one JSON object.

Without `--json`, results go to standard output and progress to standard error. With `--json`, standard output carries
exactly one JSON object, the result or `{"error": {"type", "message", "exit_code"}}`; whatever else is printed while the
command works (by an environment, say) goes to standard error.
"""

from __future__ import annotations

import json
import math
import os
import sys
import traceback
import warnings
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

from seqel.errors import SeqelError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console, RenderableType

__all__ = ["INTERRUPTED", "UNEXPECTED", "USAGE", "Output", "guarded", "plain"]

USAGE, UNEXPECTED, INTERRUPTED = 2, 70, 130  # exit codes; SeqelError brings its own


class Output:
    """Where a command shows what it has found."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self._progress: Console | None = None
        self._result: Console | None = None

    @property
    def progress(self) -> Console:
        """Standard error: what goes on."""
        if self._progress is None:
            from rich.console import Console

            self._progress = Console(stderr=True, highlight=False)
        return self._progress

    def show(self, *parts: RenderableType) -> None:
        """Print a result for people; with `--json` nothing, the JSON object says it."""
        if self.as_json:
            return
        if self._result is None:
            from rich.console import Console

            self._result = Console(highlight=False)
        for part in parts:
            self._result.print(part)

    def note(self, text: str) -> None:
        """Tell on standard error what happens; with or without `--json`. The text is taken as it is, without markup."""
        self.progress.print(text, markup=False)


def plain(value: Any) -> Any:
    """Anything a command reports -> what JSON can say: NaN and infinities become null, arrays lists, paths text."""
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
    except BrokenPipeError:  # `seqel tasks | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), stdout.fileno())
        return UNEXPECTED
    except BaseException as error:  # noqa: BLE001  (the last place that can say it in one line)
        code, message = _describe(error)
        if os.environ.get("SEQEL_DEBUG"):
            traceback.print_exc()
        if message:
            print(f"seqel: {message}", file=sys.stderr)
        kind = "UsageError" if isinstance(error, SystemExit) else type(error).__name__
        result = {"error": {"type": kind, "message": message, "exit_code": code}}
        if code == 0:  # `--help`
            return 0
    if as_json:
        print(json.dumps(plain(result)), file=stdout, flush=True)
    return code


def _show_warning(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
    """One line for a warning of ours; Python's own form, with the place in the code, for others."""
    if category.__module__.startswith("seqel."):
        print(f"seqel: note: {message}", file=sys.stderr)
    else:
        sys.stderr.write(warnings.formatwarning(message, category, *place[:2]))


def _describe(error: BaseException) -> tuple[int, str]:
    if isinstance(error, SystemExit):  # tyro has said already what is wrong with the arguments
        code = error.code if isinstance(error.code, int) else USAGE
        return code, "" if code == 0 else "the arguments are wrong; see above, and --help"
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, str(error) or "stopped"
    if isinstance(error, SeqelError):
        return error.exit_code, str(error)
    hint = "" if os.environ.get("SEQEL_DEBUG") else " (SEQEL_DEBUG=1 shows the traceback)"
    return UNEXPECTED, f"unexpected {type(error).__name__}: {error}{hint}"
