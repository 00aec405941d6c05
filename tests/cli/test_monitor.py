"""`seqel monitor`: a service in the terminal, references from play and from data, reports, rules, and what is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("prometheus_client")
pytest.importorskip("river")

import seqel
from seqel.cli.main import main
from seqel.deployment.export import export
from seqel.monitoring import DecisionRecord, Reference, ServiceMetrics
from support import TINY
from support_monitoring import quick_calibration, served


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("monitor") / "run"
    seqel.train("CartPole-v1", steps=800, settings=TINY, out=path, progress=False)
    return path


@pytest.fixture
def copied(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "run"))


@pytest.fixture
def service() -> Iterator[tuple[str, ServiceMetrics]]:
    metrics = ServiceMetrics(actions=["left", "right"])
    metrics.swap("v7")
    metrics.request("/decide", "POST", 200, 0.004)
    metrics.batch(2, 0.002)
    metrics.sessions(3, limit=10)
    metrics.decisions("v7", np.array([0, 1]), np.ones(2), np.ones(2))
    metrics.drift("position", 0.4)
    metrics.drift_detected("position")
    with served(metrics.render) as url:
        yield url, metrics


def test_a_service_is_shown_once(service: tuple[str, ServiceMetrics], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["monitor", service[0], "--once"]) == 0
    shown = capsys.readouterr().out
    for text in (
        "v7, in service for",
        "3 open of at most 10",
        "left 50%, right 50%",
        "position 0.4",
        "! large drift: position",
    ):
        assert text in shown
    assert main(["monitor", service[0], "--once", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["agent"] == "v7" and found["sessions"] == 3 and found["reward"] is None
    assert found["alerts"] == ["drift: position", "large drift: position"]


def test_the_table_is_renewed_until_it_is_stopped(
    service: tuple[str, ServiceMetrics], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0

    def wait(seconds: float) -> None:
        nonlocal looks
        assert seconds == 0.25
        looks += 1
        service[1].decisions("v7", np.array([1, 1]), np.ones(2), np.ones(2))
        if looks == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", wait)
    assert main(["monitor", service[0], "--every", "0.25", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["decisions"] == 4 and found["actions"] == {"right": 1.0, "left": 0.0}, "since the first answer"


def test_a_service_that_does_not_answer(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["monitor", "127.0.0.1:9", "--once", "--json", "--timeout", "2"]) == 1
    shown = capsys.readouterr()
    assert json.loads(shown.out)["error"]["type"] == "SeqelError"
    assert "http://127.0.0.1:9/metrics cannot be reached" in shown.err and "is the service running" in shown.err


def test_a_reference_from_play_and_a_report(copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["monitor", "reference", str(copied), "--episodes", "60", "--seed", "7", "--json"]) == 0
    shown = capsys.readouterr()
    made = json.loads(shown.out)
    assert made["path"] == str(copied / "reference.json") and made["episodes"] == 60
    assert made["made"]["env"] == "CartPole-v1" and made["made"]["from"] == "play" and made["made"]["seed"] == 7
    assert set(made["features"]) == {*(f"observation[{n}]" for n in range(4)), "action", "q_max"}
    assert made["reward"]["mean"] == 1.0 and "few" not in shown.err
    reference = Reference.load(copied)
    assert reference.decisions == made["decisions"] > 400
    log = write_log(copied, tmp_path / "log.jsonl", reference.decisions // 2)
    command = ["monitor", "report", str(copied / "agent"), "--decisions", str(tmp_path / "*.jsonl")]
    with quick_calibration():
        assert main([*command, "--html", str(tmp_path / "r.html")]) == 0
    shown = capsys.readouterr()
    assert (
        "observation[2]" in shown.out and "large" in shown.out and "drift at decision" in shown.out.replace("\n", " ")
    )
    assert "1 lines were left out; log.jsonl, line" in shown.err
    assert (tmp_path / "r.html").read_text().startswith("<!doctype html>")
    with quick_calibration():
        assert main([*command, "--json", "--last", "300"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["decisions"] == 300 and found["unreadable"] == 1 and found["features"][0]["name"] == "observation[2]"
    assert found["features"][0]["severity"] == "large" and log.exists()


def test_a_report_for_a_schedule(copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the share of unfamiliar states, the last hours alone, and an exit code."""
    assert main(["monitor", "reference", str(copied), "--episodes", "60", "--states", "--json"]) == 0
    log = write_log(copied, tmp_path / "log.jsonl", 1_200)
    now, lines = time.time(), log.read_text().splitlines()[:-1]
    for number, line in enumerate(lines):
        hours = 30.0 if number < 200 else 2.0
        lines[number] = json.dumps(json.loads(line) | {"time": now - 3600 * hours + 0.01 * number})
    log.write_text("\n".join(lines) + "\n")
    capsys.readouterr()
    command = ["monitor", "report", str(copied), "--decisions", str(log)]
    page = tmp_path / "pages" / "drift.html"
    with quick_calibration():
        assert main([*command, "--hours", "24", "--html", str(page)]) == 0
        shown = capsys.readouterr().out
        assert main([*command, "--json", "--fail-on-drift"]) == 1
        found = json.loads(capsys.readouterr().out)
    assert f"{len(lines) - 200:,} decisions of" in shown and "unfamiliar states: mahalanobis" in shown.replace(
        "\n", " "
    )
    assert "<h2>Unfamiliar states</h2>" in page.read_text()
    assert found["drifted"] is True and found["decisions"] == len(lines)
    states = found["states"]
    assert states["states"] + states["incomplete"] == len(lines) and states["states"] > 1_000
    assert states["large"] is True and states["expected"] == 0.01, "the angle is in another unit"
    (copied / "states.safetensors").unlink()
    with quick_calibration():
        assert main([*command, "--json"]) == 0, "without --fail-on-drift"
    assert json.loads(capsys.readouterr().out)["states"] is None
    assert main([*command, "--hours", "1"]) == 5
    assert "are older than asked for" in capsys.readouterr().err


def test_a_report_of_an_exported_file_needs_no_torch(copied: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    assert main(["monitor", "reference", str(copied), "--episodes", "40", "--json"]) == 0
    log = write_log(copied, tmp_path / "log.jsonl", 300)
    folder = tmp_path / "models"
    folder.mkdir()
    export(seqel.Agent.load(copied), folder / "agent.onnx")
    shutil.copy(copied / "reference.json", folder)
    code = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name.partition('.')[0] in ('torch', 'polars'): raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from seqel.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    command = ["monitor", "report", str(folder / "agent.onnx"), "--decisions", str(log), "--json"]
    done = subprocess.run(
        [sys.executable, "-c", code, *command, "--html", str(folder / "drift.html")],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["features"][0]["name"] == "observation[2]"
    assert "Drift of agent" in (folder / "drift.html").read_text()


def write_log(run: Path, path: Path, least: int) -> Path:
    """Log decisions of the agent, with the angle in another unit, and one line that is none."""
    agent, env, lines, episode = seqel.Agent.load(run), gym.make("CartPole-v1"), list[str](), 0
    while len(lines) < least:
        seen, _ = env.reset(seed=500 + episode)
        state, reward, done, step = None, 0.0, False, 0
        while not done:
            decision, state = agent.act(seen[None], state, reward=reward)
            action, q = int(decision.action[0]), float(decision.q.max())
            observed = (seen * [1, 1, 57.3, 1]).tolist()
            seen, gained, terminated, truncated, _ = env.step(action)
            reward, done = float(gained), terminated or truncated
            one = DecisionRecord(1.796e9 + len(lines), f"s{episode}", step, "v1", observed, action, reward, q)
            lines.append(one.to_json())
            step += 1
        episode += 1
    path.write_text("\n".join([*lines, "oops"]) + "\n")
    return path


def test_few_episodes_are_noted_and_the_file_may_lie_elsewhere(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [
        "monitor",
        "reference",
        str(copied),
        "--episodes",
        "3",
        "--env",
        "CartPole-v1",
        "--out",
        str(tmp_path / "r.json"),
    ]
    assert main(command) == 0
    shown = capsys.readouterr()
    assert (
        "3 episodes are few" in shown.err and "observation[3]" in shown.out and "decisions of 3 episodes" in shown.out
    )
    assert (tmp_path / "r.json").exists() and not (copied / "reference.json").exists()


SCHEMA = (
    'session = "who"\norder = "step"\naction = "do"\nreward = "gain"\n[observation]\nx = "number"\nkind = "category"\n'
)


def test_a_reference_from_the_data_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("polars")
    rng, lines = np.random.default_rng(0), ["who,step,x,kind,do,gain"]
    lines += [
        f"s{who},{step},{rng.normal():.3f},{'ab'[rng.integers(2)]},{['no', 'yes'][rng.integers(2)]},{step}"
        for who in range(60)
        for step in range(4)
    ]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "s.toml").write_text(SCHEMA)
    settings: dict[str, Any] = {
        "network.width": 16, "network.heads": 2, "network.layers": 1, "threads": 1, "device": "cpu",
        "offline.updates": 20, "offline.every": 10, "replay.batch_tokens": 64, "learner.compile": "off",
    }  # fmt: skip
    data, schema = str(tmp_path / "t.csv"), tmp_path / "s.toml"
    seqel.train(data=data, schema=schema, settings=settings, out=tmp_path / "run", progress=False)
    run = str(tmp_path / "run")
    assert main(["monitor", "reference", run, "--data", data, "--episodes", "50", "--states", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["states"]["made"]["states"] == 200 and found["states"]["made"]["from"] == "data"
    assert (tmp_path / "run" / "states.safetensors").exists()
    assert found["episodes"] == 50 and found["decisions"] == 200 and found["made"]["files"] == "t.csv"
    assert list(found["features"]) == ["x", "kind", "action", "q_max"]
    assert main(["monitor", "reference", run, "--json"]) == 0, "trained here: its files are opened"
    assert json.loads(capsys.readouterr().out)["episodes"] == 60
    foreign = str(shutil.copytree(run, tmp_path / "foreign"))
    assert main(["monitor", "reference", foreign]) == 2
    assert "was not trained on this machine" in capsys.readouterr().err
    assert main(["monitor", "reference", foreign, "--trust"]) == 0
    log = [
        DecisionRecord(1.0, "a", n, "v", {"x": 0.1 * n, "kind": "c"}, "yes", None, 0.5).to_json() for n in range(300)
    ]
    (tmp_path / "log.jsonl").write_text("\n".join(log))
    capsys.readouterr()
    with quick_calibration():
        assert main(["monitor", "report", run, "--decisions", str(tmp_path / "log.jsonl"), "--json"]) == 0
    assert {one["name"] for one in json.loads(capsys.readouterr().out)["features"]} == {"x", "kind", "action", "q_max"}


def test_rules_are_copied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["monitor", "--write-rules", str(tmp_path / "rules")]) == 0
    assert sorted(path.name for path in (tmp_path / "rules").iterdir()) == [
        "alerts.yaml",
        "alerts_test.yaml",
        "seqel.json",
    ]
    assert "promtool test rules" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "expected the URL of a service"),
        (["reference"], 2, "expected one RUN after reference, got 0"),
        (["report", "a", "b"], 2, "expected one RUN after report, got 2"),
        (["localhost:1", "more"], 2, "expected one URL"),
        (["ftp://host"], 2, "expected the URL of a service, such as"),
        (["localhost:1", "--episodes", "3"], 2, "--episodes does not apply to a URL"),
        (["reference", "r", "--once"], 2, "--once does not apply to reference"),
        (["report", "r", "--env-arg", "a=1"], 2, "--env-arg does not apply to report"),
        (["localhost:1", "--every", "0"], 2, "expected positive seconds"),
        (["localhost:1", "--write-rules", "f"], 2, "--write-rules: expected nothing else"),
        (["reference", "none"], 6, "none"),
        (["reference", "r", "--data", "d", "--env", "e"], 2, "give one of them"),
        (["report", "none"], 2, "expected --decisions FILE"),
        (["report", "none", "--decisions", "d", "--last", "0"], 2, "--last: expected at least 1"),
        (["report", "none", "--decisions", "d", "--hours", "0"], 2, "--hours: expected a positive number"),
        (["reference", "r", "--hours", "1"], 2, "--hours does not apply to reference"),
        (["report", "none", "--decisions", "d"], 6, "make it with `seqel monitor reference RUN`"),
    ],
)
def test_what_is_refused(
    arguments: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["monitor", *arguments]) == code
    assert message in capsys.readouterr().err
