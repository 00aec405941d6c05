"""A missing optional library is named with the extra that installs it, by the same error everywhere."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from seqel.deployment.export import export
from seqel.deployment.runtime import ExportedAgent
from seqel.environments.envpool import PoolEnv
from seqel.errors import MissingExtraError
from seqel.extras import require


def test_an_installed_library_is_returned() -> None:
    assert require("json", "data").loads("3") == 3


@pytest.mark.parametrize("module", ["no_such_library", "no_such_library.inside"])
def test_a_missing_library_is_named_with_its_extra(module: str) -> None:
    with pytest.raises(
        MissingExtraError, match=r'^drawing needs no_such_library, which is not installed: pip install "seqel\[art\]"$'
    ):
        require(module, "art", "drawing")


def test_a_library_that_is_installed_but_broken_is_not_called_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half_a_library.py").write_text("raise ImportError('libhalf.so: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtraError, match=r"is installed but cannot be imported \(libhalf\.so"):
        require("half_a_library", "art")


def test_export_exported_agent_and_envpool_raise_the_same_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("onnx", "onnxruntime", "envpool"):
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    with pytest.raises(MissingExtraError, match=r'export needs onnx, .*"seqel\[serve\]"'):
        export(None, tmp_path / "a.onnx")  # type: ignore[arg-type]
    with pytest.raises(MissingExtraError, match=r'an exported agent needs onnxruntime, .*"seqel\[serve\]"'):
        ExportedAgent(tmp_path / "a.onnx")
    with pytest.raises(MissingExtraError, match=r'needs envpool, .*"seqel\[pool\]"'):
        PoolEnv("CartPole-v1", 2)
