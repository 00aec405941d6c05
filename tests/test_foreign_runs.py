"""A run or an agent from elsewhere is data: nothing that it names is imported, called or opened without confirmation."""

from __future__ import annotations

import json
import os
import shutil
import sys
import types
from pathlib import Path
from typing import Any, cast

import pytest

import seqel
from seqel.agents import artifact
from seqel.cli.main import main
from seqel.errors import CheckpointError, TrustError
from seqel.training.config import with_settings
from seqel.training.config_file import load_config, save_config
from support import TINY

MODULE = """
import pathlib
pathlib.Path({mark!r}).touch()
import gymnasium as gym
class Env(gym.Env):
    observation_space, action_space = gym.spaces.Discrete(3), gym.spaces.Discrete(2)
    def __init__(self, size=1):
        self.time = 0
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return 0, {{}}
    def step(self, action):
        self.time += 1
        return self.time % 3, float(action), self.time >= 5, False, {{}}
def make(cmd=""):
    return Env()
"""


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of seconds, of which tests take copies."""
    folder = tmp_path_factory.mktemp("original") / "run"
    seqel.train("CartPole-v1", steps=200, out=folder, settings=TINY | {"validation.every": 100}, progress=False)
    return folder


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """Return the path of the file that foreign code would create."""
    return tmp_path / "ran"


@pytest.fixture
def foreign(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: Path) -> Path:
    """Return a downloaded run that contains a module; the current directory is its folder."""
    run = tmp_path / "downloads" / "run"
    shutil.copytree(original, run)
    (run / "evil_env.py").write_text(MODULE.format(mark=str(mark)))
    monkeypatch.chdir(run)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "evil_env", raising=False)
    return run


def rename(run: Path, settings: dict[str, Any]) -> None:
    """Rename the environment as a hostile author would: with valid checksums."""
    save_config(with_settings(load_config(run / "config.toml"), settings), run / "config.toml")


def touching(mark: Path) -> dict[str, Any]:
    return {"env": "subprocess:getoutput", "env_args": {"cmd": f"touch {mark}"}}


HOSTILE = ["a shell command", "a module beside it", "a Gymnasium id that imports"]


def hostile(kind: str, mark: Path) -> dict[str, Any]:
    return {
        "a shell command": touching(mark),
        "a module beside it": {"env": "evil_env:Env"},
        "a Gymnasium id that imports": {"env": "evil_env:Evil-v0"},
    }[kind]


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("command", [["evaluate", "."], ["evaluate", "agent"], ["train", "--resume", "."]], ids=str)
def test_a_hostile_run_runs_no_foreign_code(
    kind: str, command: list[str], foreign: Path, mark: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rename(foreign, hostile(kind, mark))
    assert main(command) == TrustError.exit_code
    assert not mark.exists()
    assert "--trust" in capsys.readouterr().err


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("checksum", ["fits", "missing"])
def test_a_hostile_agent_runs_no_foreign_code(
    kind: str, checksum: str, foreign: Path, mark: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    agent = seqel.Agent.load(foreign)
    agent.info.update(cast(Any, hostile(kind, mark)))
    agent.save(foreign / "alone")
    if checksum == "missing":
        config = json.loads((foreign / "alone" / "config.json").read_text())
        del config["crc32"]
        (foreign / "alone" / "config.json").write_text(json.dumps(config))
    code = main(["evaluate", "alone"])
    assert code == (TrustError.exit_code if checksum == "fits" else CheckpointError.exit_code)
    assert not mark.exists()
    assert ("--env ENV" if checksum == "fits" else "damaged") in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        {"config": {"other_vehicles_type": "evil_env.Env"}},
        {"xml_file": "/etc/passwd"},
        {"env_id": "evil_env:Evil-v0"},
        {"names": [["fine", "../up"]]},
    ],
    ids=str,
)
def test_arguments_from_a_file_reach_nothing_by_name(arguments: dict[str, Any], foreign: Path, mark: Path) -> None:
    """highway-env, for one, imports the class that its config names."""
    rename(foreign, {"env_args": arguments})
    for command in (["evaluate", "."], ["evaluate", ".", "--env", "CartPole-v1"], ["train", "--resume", "."]):
        assert main(command) == TrustError.exit_code, command
    assert not mark.exists()


def test_plain_arguments_from_a_file_are_passed_on(foreign: Path) -> None:
    rename(foreign, {"env_args": {"sutton_barto_reward": True, "render_mode": "rgb_array"}})
    assert main(["evaluate", ".", "--episodes", "2"]) == 0


def test_a_confirmed_foreign_name_is_looked_up_but_not_in_the_current_directory(
    foreign: Path, mark: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rename(foreign, {"env": "evil_env:Env"})
    assert main(["evaluate", ".", "--trust"]) == 4 and not mark.exists(), "S2: the current directory is not searched"
    assert "current directory is not searched" in capsys.readouterr().err
    assert main(["evaluate", ".", "--env", "evil_env:Env"]) == 3 and mark.exists(), "typed: found, other spaces"


def test_something_that_is_not_an_environment_is_not_called_even_if_trusted(foreign: Path, mark: Path) -> None:
    rename(foreign, touching(mark))
    assert main(["evaluate", ".", "--trust"]) == 4
    assert main(["train", "--resume", ".", "--trust"]) == 4
    assert main(["check", "subprocess:getoutput", "--env-arg", f"cmd=touch {mark}"]) == 4
    assert not mark.exists()


@pytest.mark.parametrize(
    "settings",
    [
        {"replay.directory": "/tmp"}, {"offline.files": ["../../elsewhere.csv"]}, {"offline.schema": "/etc/passwd"},
        {"offline.action_features": "~/x.csv"}, {"offline.files": ["D4RL/door/human-v2"]}, {"replay.directory": "a\0b"},
    ],
    ids=str,
)  # fmt: skip
def test_a_foreign_config_reaches_no_path_outside_its_folder(
    settings: dict[str, Any], foreign: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (name,) = settings
    if "\0" not in str(settings):
        rename(foreign, settings)
        with pytest.raises(TrustError, match=f"{name} = .*outside its folder"):
            seqel.resume(foreign, steps=400, progress=False)


def test_a_foreign_run_of_an_installed_environment_continues_without_a_question(foreign: Path) -> None:
    assert seqel.resume(foreign, steps=300, progress=False).info["env"] == "CartPole-v1"


def test_a_config_file_names_no_code_unless_it_is_confirmed(foreign: Path, mark: Path) -> None:
    rename(foreign, {"env": "evil_env:Env"})
    given = ["--config", "config.toml", "--steps", "150", "--out", "new"]
    assert main(["train", *given]) == TrustError.exit_code and not mark.exists()
    assert main(["train", *given, "--trust"]) == 4 and not mark.exists()
    assert main(["train", "evil_env:Env", *given]) == 0 and mark.exists()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Return what a stand-in for wandb is given, and run elsewhere than in the network."""
    found: list[dict[str, Any]] = []

    class Run:
        def __init__(self) -> None:
            self.summary: dict[str, Any] = {}

        def define_metric(self, name: str, step_metric: str | None = None) -> None: ...

        def log(self, values: dict[str, float]) -> None:
            found.append(values)

        def finish(self, exit_code: int) -> None: ...

    module = types.ModuleType("wandb")
    module.init = lambda **options: found.append(options) or Run()  # type: ignore[attr-defined, func-returns-value]
    monkeypatch.setitem(sys.modules, "wandb", module)
    return found


def test_a_foreign_run_sends_nothing_unless_it_is_asked_for(foreign: Path, sent: list[dict[str, Any]]) -> None:
    rename(foreign, {"trackers": ["wandb"]})
    assert main(["train", "--resume", ".", "--steps", "250"]) == 0 and not sent
    assert main(["train", "--resume", ".", "--steps", "300", "--wandb"]) == 0 and sent
    sent.clear()
    assert main(["train", "--resume", ".", "--steps", "350", "--trust"]) == 0 and sent
    sent.clear()
    assert main(["train", "--resume", ".", "--steps", "400"]) == 0 and sent, "it was confirmed"


def test_a_config_file_does_not_decide_that_data_is_sent(
    foreign: Path, sent: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    rename(foreign, {"trackers": ["wandb", "tensorboard"]})
    given = ["train", "--config", "config.toml", "--steps", "150", "--out"]
    assert main([*given, "no"]) == TrustError.exit_code and not sent and not (foreign / "no").exists()
    assert "wandb sends the run's settings and figures" in " ".join(capsys.readouterr().err.split())
    assert main([*given, "other", "--tensorboard"]) == 0 and not sent
    assert main([*given, "typed", "--wandb"]) == 0 and sent
    sent.clear()
    assert main([*given, "trusted", "--trust"]) == 0 and sent


def test_a_run_of_ones_own_goes_to_wandb_after_a_resume_and_its_copy_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: list[dict[str, Any]]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    run, settings = tmp_path / "run", TINY | {"validation.every": 100}
    seqel.train("CartPole-v1", steps=150, out=run, settings=settings, trackers=["wandb"], progress=False)
    sent.clear()
    seqel.resume(run, steps=200, progress=False)
    assert sent
    sent.clear()
    shutil.copytree(run, tmp_path / "copy")
    seqel.resume(tmp_path / "copy", steps=250, progress=False)
    assert not sent


def test_a_local_run_needs_no_confirmation_but_its_copy_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From any folder: the module's own folder is remembered, and the current one is not searched."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "made_here.py").write_text(MODULE.format(mark=str(tmp_path / "mine")))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(project)
    settings = [f"--set={name}={value}" for name, value in (TINY | {"validation.every": 100}).items()]
    assert main(["train", "made_here:Env", "--steps", "150", "--out", "run", *settings]) == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "made_here.py").write_text(MODULE.format(mark=str(tmp_path / "ran")))
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(project)])
    monkeypatch.delitem(sys.modules, "made_here")
    run = project / "run"
    assert main(["evaluate", str(run), "--episodes", "3"]) == 0
    assert main(["train", "--resume", str(run), "--steps", "200"]) == 0
    shutil.copytree(run, tmp_path / "copy")
    assert main(["evaluate", str(tmp_path / "copy"), "--episodes", "3"]) == TrustError.exit_code
    rename(run, {"env_args": {"size": 3, "more": "a.b"}})
    assert main(["evaluate", str(run), "--episodes", "3"]) == TrustError.exit_code, "it names something else now"
    assert not (tmp_path / "ran").exists()
    capsys.readouterr()


@pytest.mark.parametrize("name", ["metrics.jsonl", "agent", "checkpoints", "config.toml"])
def test_a_link_in_a_foreign_run_does_not_lead_outside(name: str, foreign: Path, tmp_path: Path) -> None:
    """Otherwise a resumed run would write to the target of the link."""
    target = tmp_path / "precious"
    (foreign / name).rename(target)
    (foreign / name).symlink_to(target)
    before = {path: path.read_bytes() for path in target.rglob("*") if path.is_file()} or target.read_bytes()
    with pytest.raises(CheckpointError, match="leads out of its folder"):
        seqel.resume(foreign, steps=400, progress=False)
    after = {path: path.read_bytes() for path in target.rglob("*") if path.is_file()} or target.read_bytes()
    assert before == after


def test_a_pipe_in_a_foreign_run_is_refused(foreign: Path) -> None:
    os.mkfifo(foreign / "events.out.tfevents.1")
    with pytest.raises(CheckpointError, match="regular file, got a pipe"):
        seqel.resume(foreign, steps=400, progress=False)


def test_loading_a_foreign_agent_reads_only_its_own_files(foreign: Path, tmp_path: Path) -> None:
    shutil.move(foreign / "agent", tmp_path / "real")
    (foreign / "agent").symlink_to(tmp_path / "real")
    with pytest.raises(CheckpointError, match="leads out of its folder"):
        artifact.load(foreign)
