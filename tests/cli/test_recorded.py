"""From a table to a policy on the command line: check, train, evaluate, and refused arguments."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from seqel.agents.agent import Agent
from seqel.cli.estimate import recorded_sessions
from seqel.cli.main import main
from seqel.cli.output import Output
from seqel.cli.train_result import show_result
from seqel.datasets.dataset import load
from seqel.datasets.encoding import Encoding
from seqel.datasets.schema import Schema

SCHEMA = (
    'session = "who"\norder = "step"\naction = "do"\nreward = "gain"\n[observation]\ncue = "category"\nx = "number"\n'
)
SMALL = [
    "network.width=16", "network.heads=2", "network.layers=1", "threads=1", "device=cpu", "replay.batch_tokens=64",
    "offline.every=20", "learner.learning_rate=3e-3",
]  # fmt: skip


def write(path: Path, sessions: int = 80, seed: int = 0) -> Path:
    """The first row shows a cue; two steps later, repeating it is rewarded. The recorded players guess."""
    rng = np.random.default_rng(seed)
    lines = ["who,step,cue,x,do,gain"]
    for who in range(sessions):
        cue = int(rng.integers(2))
        for step in range(3):
            act = int(rng.integers(2))
            gain = float(act == cue) if step == 2 else 0.0
            lines.append(f"s{who},{step},{'ab'[cue] if step == 0 else 'none'},{step}.0,{['left', 'right'][act]},{gain}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recorded")
    write(path / "t.csv")
    (path / "schema.toml").write_text(SCHEMA)
    sets = [part for one in [*SMALL, "offline.held_out=0.3"] for part in ("--set", one)]
    given = ["--data", str(path / "t.csv"), "--schema", str(path / "schema.toml")]
    assert main(["train", *given, "--updates", "200", "--out", str(path / "run"), *sets]) == 0
    return path


@pytest.mark.usefixtures("small_fits")
def test_a_table_becomes_a_policy_and_an_estimate(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    write(folder / "new.csv", seed=1)
    command = ["evaluate", str(folder / "run"), "--data", str(folder / "new.csv"), "--updates", "40"]
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["sessions"] == 80 and not found["known_probabilities"]
    assert [row["name"] for row in found["policies"]] == ["this agent", "always left", "always right"]
    assert 0.3 < found["recorded"]["value"]["value"] < 0.7
    assert main(command) == 0
    shown = capsys.readouterr().out
    for text in ("this agent", "as recorded", "always left", "over recorded", "The data do not say how likely"):
        assert text in shown


def test_the_run_folder_describes_the_run(folder: Path) -> None:
    summary = json.loads((folder / "run" / "summary.json").read_text())
    assert summary["data"] == [str(folder / "t.csv")] and summary["updates"] == 200 and summary["env"] == ""
    config = json.loads((folder / "run" / "agent" / "config.json").read_text())
    assert config["info"]["encoding"]["actions"] == ["left", "right"]


def test_the_next_command_evaluates_on_held_out_episodes(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for share, named in ((0.3, True), (0.1, False)):
        copy = tmp_path / str(share)
        shutil.copytree(folder / "run", copy)
        config = json.loads((copy / "agent" / "config.json").read_text())
        assert config["info"]["held_out"]["share"] == 0.3
        config["info"]["held_out"]["share"] = share
        (copy / "agent" / "config.json").write_text(json.dumps(config))
        capsys.readouterr()
        show_result(copy, Output(as_json=False))
        shown = " ".join(capsys.readouterr().out.split())
        assert ("t.csv --held-out (what the agent" in shown) == named


def test_resume_needs_no_further_arguments(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--resume", str(folder / "run"), "--updates", "220", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["updates"] == 220


def test_a_run_continues_after_its_table_was_moved(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--data", str(tmp_path / "t.csv"), "--schema", str(folder / "schema.toml"), "--updates", "40"]
    write(tmp_path / "t.csv")
    sets = [part for one in SMALL for part in ("--set", one)]
    assert main(["train", *given, "--out", str(tmp_path / "run"), *sets]) == 0
    (tmp_path / "t.csv").rename(tmp_path / "moved.csv")
    command = ["train", "--resume", str(tmp_path / "run"), "--updates", "60", "--json"]
    assert main(command) == 5, "the table is gone"
    capsys.readouterr()
    assert main([*command, "--data", str(tmp_path / "moved.csv"), "--tensorboard"]) == 0
    assert json.loads(capsys.readouterr().out)["updates"] == 60 and list(
        (tmp_path / "run").glob("events.out.tfevents.*")
    )
    write(tmp_path / "other.csv", seed=9)
    assert main([*command, "--data", str(tmp_path / "other.csv")]) == 6, "other sessions"
    assert "data" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--resume", "run", "--schema", "schema.toml"], "--schema needs --data"),
        (["--resume", "run", "--compare", "--wandb"], "expected only ENV, --steps, --updates, --trust, got --wandb"),
        (["--resume", "run", "--seed", "3"], "--tensorboard, --wandb, got --seed"),
        (["--data", "t.csv"], "schema: expected the TOML file"),
        (["CartPole-v1", "--data", "t.csv", "--schema", "s.toml"], "cannot be read"),
        (["--data", "t.csv", "--schema", "schema.toml", "--compare"], "needs an environment"),
        (["CartPole-v1", "--updates", "5"], "--updates needs --data without ENV"),
        (["--data", "none.csv", "--schema", "schema.toml"], "none.csv"),
    ],
)
def test_incompatible_arguments_are_refused(
    folder: Path, options: list[str], says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert main(["train", *options]) in (2, 5)
    assert says in " ".join(capsys.readouterr().err.split())


def test_data_that_do_not_fit_the_agent_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "other.csv").write_text("who,step,do,gain,z\na,0,left,1,2\na,1,left,1,3\nb,0,right,0,1\nb,1,left,1,1\n")
    (folder / "other.toml").write_text(SCHEMA.split("[")[0] + '[observation]\nz = "number"\n')
    given = ["--data", str(folder / "other.csv"), "--schema", str(folder / "other.toml")]
    assert main(["evaluate", str(folder / "run"), *given]) == 5
    assert "expected the columns that the agent observes" in " ".join(capsys.readouterr().err.split())


@pytest.mark.usefixtures("small_fits")
def test_an_agent_can_be_evaluated_on_held_outsessions(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["evaluate", str(folder / "run"), "--data", str(folder / "t.csv"), "--updates", "20"]
    capsys.readouterr()
    assert main(command) == 0
    assert "was trained on these sessions" in " ".join(capsys.readouterr().out.split())
    assert main([*command, "--held-out"]) == 0
    assert "was trained on these" not in capsys.readouterr().out
    assert main([*command, "--held-out", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    lines = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    assert found["sessions"] == lines[0]["validation"]["sessions"] < 40, "the sessions that training held out"


def test_held_outsessions_stay_held_out_if_the_table_changes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another category gives another encoding; the names of the sessions stay the same."""
    agent, schema = Agent.load(folder / "run"), Schema.load(folder / "schema.toml")
    held = agent.info["held_out"]
    assert held is not None
    table = load(folder / "t.csv", schema)
    trained = {table.sessions[row] for row in table.split(held["share"], held["seed"])[0]}
    more = (folder / "t.csv").read_text() + "".join(f"z{n},{s},c,{s}.0,left,0.0\n" for n in range(40) for s in range(3))
    (folder / "more.csv").write_text(more)
    found, _ = recorded_sessions(agent, (str(folder / "more.csv"),), None, False)
    left, _ = recorded_sessions(agent, (str(folder / "more.csv"),), None, True)
    whole = load(folder / "more.csv", schema)
    names = whole.subset(whole.held_out_rows(held["share"], held["seed"])).sessions
    assert not trained & set(names) and len(names) == left.buffer.episodes < found.buffer.episodes
    few = folder / "few.csv"
    few.write_text("\n".join((folder / "t.csv").read_text().splitlines()[:31]) + "\n")
    assert main(["evaluate", str(folder / "run"), "--data", str(few), "--held-out"]) == 2
    assert "too few for an estimate" in " ".join(capsys.readouterr().err.split())
    assert main(["evaluate", str(folder / "run"), "--held-out"]) == 2
    assert "--held-out needs --data" in " ".join(capsys.readouterr().err.split())


@pytest.mark.usefixtures("small_fits")
def test_shuffled_rewards_support_no_improvement(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole path, on a table whose rewards depend on no action: every policy is worth the same."""
    head, *rows = write(folder / "luck.csv", sessions=400, seed=2).read_text().splitlines()
    cells = [row.rsplit(",", 1) for row in rows]
    gains = np.random.default_rng(3).permutation([gain for _, gain in cells])
    (folder / "luck.csv").write_text(
        "\n".join([head, *(f"{rest},{g}" for (rest, _), g in zip(cells, gains, strict=True))])
    )
    given = ["--data", str(folder / "luck.csv"), "--schema", str(folder / "schema.toml")]
    sets = [part for one in [*SMALL, "offline.held_out=0.5"] for part in ("--set", one)]
    assert main(["train", *given, "--updates", "400", "--out", str(folder / "luck"), *sets]) == 0
    capsys.readouterr()
    judge = ["evaluate", str(folder / "luck"), "--data", str(folder / "luck.csv"), "--updates", "60", "--held-out"]
    assert main([*judge, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"].startswith("No improvement supported")
    value = found["policies"][0]["value"]
    fair = found["recorded"]["value"]["value"]  # what any policy earns, apart from chance in these sessions
    assert value["low"] < fair < value["high"]


SEVERAL = SCHEMA.replace('action = "do"', 'action = ["do", "say"]\nmask = ["do_ok", "say_ok"]').replace(
    "[observation]", 'actions = [["left", "right", "wait"], ["no", "yes"]]\n[observation]'
)


def write_several(path: Path, sessions: int = 60) -> Path:
    """Two things are decided at each step; "wait" is never allowed, and "yes" at the first step only."""
    rng = np.random.default_rng(0)
    rows = []
    for who in range(sessions):
        cue = int(rng.integers(2))
        for step in range(3):
            do, say = int(rng.integers(2)), int(rng.integers(2)) if step == 0 else 0
            gain = 0.5 * (do == cue) + 0.5 * (say == cue) if step == 0 else 0.0
            rows.append(
                {
                    "who": f"s{who}", "step": step, "cue": "ab"[cue], "x": float(step), "do": ["left", "right"][do],
                    "say": ["no", "yes"][say], "gain": gain, "do_ok": [True, True, False], "say_ok": [True, step == 0],
                }
            )  # fmt: skip
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return path


@pytest.mark.usefixtures("small_fits")
@pytest.mark.parametrize("named", ["offline-cql", "offline-iql", "behaviour-cloning"])
def test_a_table_with_several_actions_becomes_a_policy_that_serves(
    named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, schema = write_several(tmp_path / "t.jsonl"), tmp_path / "schema.toml"
    schema.write_text(SEVERAL)
    sets = [part for one in [*SMALL, "offline.held_out=0.3"] for part in ("--set", one)]
    given = ["--data", str(data), "--schema", str(schema)]
    run = str(tmp_path / "run")
    assert main(["train", *given, "--updates", "60", "--preset", named, "--out", run, *sets]) == 0
    assert main(["train", "--resume", run, "--updates", "70"]) == 0
    agent = Agent.load(run)
    assert agent.action_spec.sizes == (3, 2)
    encoding = Encoding.from_json(agent.info["encoding"])
    seen = encoding.rows([{"cue": "a", "x": 0.0}, {"cue": "b", "x": 0.0}])
    decision, _ = agent.act(seen, mask=(np.array([[1, 1, 0]] * 2), np.array([[1, 1], [1, 0]])))
    assert decision.action[1, 1] == 0 and (decision.action[:, 0] < 2).all()
    assert set(encoding.action_of(decision.action[1])) == {"do", "say"}
    capsys.readouterr()
    if named == "offline-cql":
        assert main(["data", "check", str(data), "--schema", str(schema)]) == 0
        shown = " ".join(capsys.readouterr().out.split())  # a narrow terminal wraps lines
        assert "do = left" in shown and "3 x 2 actions" in shown
        assert main(["evaluate", run, "--data", str(data), "--updates", "20", "--json"]) == 0
        names = [row["name"] for row in json.loads(capsys.readouterr().out)["policies"]]
        assert names[:3] == ["this agent", "always left, no", "always left, yes"] and len(names) == 7


def test_sampled_negatives_are_for_one_action_column(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, schema = write_several(tmp_path / "t.jsonl"), tmp_path / "schema.toml"
    schema.write_text(SEVERAL)
    command = ["train", "--data", str(data), "--schema", str(schema), "--updates", "5", "--out", str(tmp_path / "run")]
    assert main([*command, "--set", "learner.sampled_negatives=2", "--set", "objective.cloning_weight=1.0"]) == 2
    assert "learner.sampled_negatives: expected one action dimension, got 2" in capsys.readouterr().err


@pytest.mark.usefixtures("small_fits")
def test_a_shield_vetoes_in_estimates_and_comparisons(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "rules.toml").write_text('fallback = "left"\n[[rule]]\nnever = "right"\n')
    command = ["evaluate", str(folder / "run"), "--data", str(folder / "t.csv"), "--shield", str(folder / "rules.toml")]
    capsys.readouterr()
    assert main([*command, "--updates", "2", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["policies"]}
    assert rows["this agent"]["agreement"] == rows["always left"]["agreement"]
    assert rows["this agent"]["off_support"] == rows["always left"]["off_support"]
    assert main([*command, "--updates", "2"]) == 0
    assert "evaluated with its rules" in " ".join(capsys.readouterr().out.split())
    head, *lines = (folder / "t.csv").read_text().splitlines()
    grouped = [f"{line},{'AB'[int(line[1]) % 2]}" for line in lines]
    (folder / "grouped.csv").write_text("\n".join([f"{head},team", *grouped]) + "\n")
    command[3] = str(folder / "grouped.csv")
    capsys.readouterr()
    assert main([*command, "--group", "team", "--json"]) == 0
    rows = {(row["metric"], row["group"]): row for row in json.loads(capsys.readouterr().out)["groups"]}
    assert rows["agent's do = left", "A"]["value"] == 1.0 and ("agent's do = right", "A") not in rows
