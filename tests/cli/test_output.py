"""One JSON object or one message in every case, and what JSON can hold."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from seqel.cli.arguments import pairs, values
from seqel.cli.output import INTERRUPTED, UNEXPECTED, Output, UsageExit, guarded, plain
from seqel.errors import ConfigError, SpaceError


def test_plain_converts_everything_to_json() -> None:
    value = {"nan": float("nan"), "inf": -np.inf, "array": np.array([1, 2]), "scalar": np.float32(0.5), "flag": True}
    value |= {"path": Path("a/b"), "tuple": (1, None, np.array([np.nan])), 3: "text"}  # type: ignore[dict-item]
    found = json.loads(json.dumps(plain(value), allow_nan=False))
    assert found == {
        "nan": None, "inf": None, "array": [1, 2], "scalar": 0.5, "flag": True,
        "path": "a/b", "tuple": [1, None, [None]], "3": "text",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (SpaceError("no such space"), SpaceError.exit_code, "no such space"),
        (KeyboardInterrupt("stopped and saved"), INTERRUPTED, "stopped and saved"),
        (ZeroDivisionError("division"), UNEXPECTED, "SEQEL_DEBUG=1"),
        (UsageExit(2), 2, "--help"),
        (SystemExit(2), UNEXPECTED, "sys.exit(2)"),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_every_failure_is_one_message(
    error: BaseException, code: int, says: str, as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(output: Output) -> None:
        raise error

    assert guarded(work, as_json=as_json) == code
    said = capsys.readouterr()
    assert says in said.err and said.err.count("\n") == 1 and "Traceback" not in said.err
    if as_json:
        found = json.loads(said.out)["error"]
        assert found["exit_code"] == code and says in found["message"]
    else:
        assert said.out == ""


def test_the_traceback_can_be_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SEQEL_DEBUG", "1")
    assert guarded(lambda output: 1 // 0, as_json=False) == UNEXPECTED
    assert "Traceback" in capsys.readouterr().err


def test_other_output_does_not_mix_with_the_json(capsys: pytest.CaptureFixture[str]) -> None:
    def work(output: Output) -> tuple[dict[str, int], int]:
        print("hello from an environment")
        output.show("for people")
        output.note("for both")
        return {"a": 1}, 1

    assert guarded(work, as_json=True) == 1
    said = capsys.readouterr()
    assert json.loads(said.out) == {"a": 1}
    assert "hello" in said.err and "for both" in said.err and "for people" not in said.err


def test_values_are_toml_or_text() -> None:
    assert values(("size=9", "mode=easy", 'name="3"', "deep={a = [1, 2]}")) == {
        "size": 9, "mode": "easy", "name": "3", "deep": {"a": [1, 2]},
    }  # fmt: skip
    assert pairs(("a = 1", "b=x=y"), "--set") == {"a": "1", "b": "x=y"}
    for wrong, says in ((("size",), "NAME=VALUE"), (("=3",), "NAME=VALUE"), (("a=1", "a=2"), "twice")):
        with pytest.raises(ConfigError, match=says):
            values(wrong)
