"""The process environment of all tests."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# A shell's background job ignores Ctrl-C, and so would every program that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What `seqel train` notes of runs begun on this machine is the user's own; tests, and the programs they start, have theirs.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="seqel-state-")

# Programs that tests start run the sources that the tests run.
SOURCE = str(Path(__file__).parents[1] / "src")
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [SOURCE, os.environ.get("PYTHONPATH")]))


def _save_blank(lines: list[dict[str, Any]], path: Path, title: str, threshold: float | None = None) -> None:
    path.write_bytes(b"")


@pytest.fixture
def small_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Off-policy evaluation fits two small networks, which learn fast, instead of four of the default size."""
    from seqel.ope import estimation
    from seqel.ope.fqe import fitted_config

    full = fitted_config

    def small(*given: Any, **named: Any) -> Any:
        config = full(*given, **named, width=32, heads=2, layers=1)
        return dataclasses.replace(config, learner=dataclasses.replace(config.learner, learning_rate=3e-3, warmup=20))

    monkeypatch.setattr(estimation, "fitted_config", small)
    monkeypatch.setattr(estimation, "MEMBERS", 2)


@pytest.fixture(scope="session", autouse=True)
def _blank_curves() -> Iterator[None]:
    """Runs save an empty file as their learning curve, because drawing takes longer than a short run; see `curves_drawn`."""
    folder = sys.modules.get("seqel.runs.folder")  # None: no test that was collected trains
    with pytest.MonkeyPatch.context() as patch:
        if folder is not None:
            patch.setattr(folder, "draw_curve", _save_blank)
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_trial_of_parallel_environments() -> Iterator[None]:
    """No environment counts as slow: on a busy machine many would, and each run would then try processes for seconds."""
    parallelism = sys.modules.get("seqel.environments.parallelism")
    with pytest.MonkeyPatch.context() as patch:
        if parallelism is not None:
            patch.setattr(parallelism, "FAST", 0.0)
        yield
