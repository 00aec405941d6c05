"""`seqel chat`: messages from standard input, replies, handing over, the log, and what is refused."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest

from seqel.agents.agent import Agent
from seqel.agents.artifact import weights_checksum
from seqel.agents.calibration import fingerprint
from seqel.cli.chat import _certainty
from seqel.cli.main import main
from seqel.datasets.dialogues import convert_dialogues
from seqel.safety.abstention import Abstention
from support_dialogues import train_support
from tiny_models import tiny_encoder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("chat")
    train_support(found, "behaviour-cloning")
    (found / "replies.toml").write_text('ask = "Where?"\n"block the card" = "It is blocked."\n')
    return found


def test_a_conversation(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(folder)
    command = ["chat", "run", "--replies", "replies.toml", "--log", "log.jsonl"]
    for number, (outcome, hand_over) in enumerate((("good", []), ("2", []), ("", ["--hand-over", "block the card"]))):
        # the empty line ends the conversation, unless it was handed over
        typed = f"I lost my card\nin Rome\n{'' if hand_over else chr(10)}{outcome}\n"
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        assert main([*command, *hand_over]) == 0
        shown = capsys.readouterr().out
        assert "Where?" in shown and "It is blocked." in shown and "probability" in shown
        assert ("for the person who takes over" in shown) == bool(hand_over)
        lines = [json.loads(line) for line in Path("log.jsonl").read_text().splitlines()]
        assert len(lines) == number + 1 and lines[-1].get("outcome") == {"good": "good", "2": 2.0, "": None}[outcome]
        assert [turn.get("action") for turn in lines[-1]["turns"]] == [None, "ask", None, "block the card"]
    assert convert_dialogues(["log.jsonl"], "again.jsonl", {"good": 1.0}).rows == 6


class Typed:
    """Standard input whose user interrupts after some lines."""

    def __init__(self, *lines: str) -> None:
        self.lines = list(lines)

    def readline(self) -> str:
        if not self.lines:
            raise KeyboardInterrupt
        return self.lines.pop(0) + "\n"

    def isatty(self) -> bool:
        return True


def test_an_interrupted_conversation_is_kept(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", Typed("I lost my card \udcff"))
    assert main(["chat", str(folder / "run"), "--log", str(tmp_path / "log.jsonl")]) == 0
    (found,) = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert "type what a customer would say" in capsys.readouterr().err
    assert found["turns"][0]["text"] == "I lost my card ?" and "outcome" not in found
    monkeypatch.setattr("sys.stdin", Typed("hello", "", "nan"))
    assert main(["chat", str(folder / "run"), "--log", str(tmp_path / "log.jsonl")]) == 0
    assert json.loads((tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()[1])["outcome"] == "nan"


def test_json_and_the_end_of_the_input(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("what is my balance"))
    assert main(["chat", str(folder / "run" / "agent"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["answers"][0]["action"] == "tell the balance" and not found["handed_over"]
    assert found["conversation"]["turns"][0] == {"role": "customer", "text": "what is my balance"}


def test_a_calibrated_agent_hands_over_what_it_abstains_from(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    agent = Agent.load(folder / "run")
    assert main(["chat", str(folder / "run"), "--hand-over", "abstain"]) == 2
    assert "run seqel calibrate first" in capsys.readouterr().err
    weights = fingerprint(weights_checksum(agent.network), agent.info)
    agent.set_abstention(Abstention(-1.0, "entropy", 0.1, "share", None, 9, 0.0, 1.0, weights))  # always
    agent.save(tmp_path / "agent")
    for hand_over, turns in ((["--hand-over", "abstain"], 1), ([], 4)):
        monkeypatch.setattr("sys.stdin", io.StringIO("I lost my card\nin Rome\n\n"))
        assert main(["chat", str(tmp_path / "agent"), *hand_over, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["answers"][0]["abstain"] and found["handed_over"] == bool(hand_over)
        assert len(found["conversation"]["turns"]) == turns, "handed over: the agent did nothing"
    monkeypatch.setattr("sys.stdin", io.StringIO("I lost my card\n"))
    assert main(["chat", str(tmp_path / "agent"), "--hand-over", "abstain"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "abstains; it would have said [ask]" in shown
    assert f"uncertainty (entropy) {found['answers'][0]['uncertainty']:.3g}; abstains from -1" in shown


@pytest.mark.parametrize(
    ("measure", "threshold", "said"),
    [
        ("gap", -0.2, "ahead of the second by 0.5; abstains at 0.2 or less"),
        ("gap", None, "ahead of the second by 0.5"),
        ("overlap", 0.3, "uncertainty (overlap) -0.5; abstains from 0.3"),
    ],
)
def test_how_certain_an_answer_is(measure: str, threshold: float | None, said: str) -> None:
    assert _certainty(-0.5, Abstention(threshold, measure, 0.1, "share", None, 9, 0.0, 1.0, "")) == said


def test_a_calibration_on_sessions_of_training_is_named(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    Agent.load("run").save(tmp_path / "agent")
    other = shutil.copy("table.jsonl", tmp_path / "other.jsonl")
    for data, named in (("table.jsonl", True), (str(other), False)):
        assert main(["calibrate", str(tmp_path / "agent"), "--error", "0.2", "--data", data]) == 0
        assert ("the agent was trained on these sessions" in " ".join(capsys.readouterr().err.split())) == named


def test_bad_arguments_are_refused(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.toml").write_text('dance = "no"\n')
    (tmp_path / "b.toml").write_text("ask = 3\n")
    for arguments, said in (
        (["--hand-over", "dance"], "expected an action of this agent (ask, block the card"),
        (["--hand-over", "Block card"], "got 'Block card'; did you mean 'block the card'?"),
        (["--replies", str(tmp_path / "a.toml")], "expected actions of this agent"),
        (["--replies", str(tmp_path / "b.toml")], "ask: expected a text"),
        (["--replies", str(tmp_path / "c.toml")], "--replies: expected a TOML file"),
    ):
        assert main(["chat", str(folder / "run"), *arguments]) != 0
        assert said in capsys.readouterr().err.replace("\n", " ")


def test_an_agent_with_a_classifier_in_front(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It shows beliefs, ends with an answer or a hand-over, and logs what `seqel data dialogues` reads."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEQEL_MODELS", str(tiny_encoder().parent))
    rows = [(f"{word} number {number}", word) for number in range(40) for word in ("card", "loan", "fees")]
    Path("said.csv").write_text("text,category\n" + "\n".join(f"{text},{name}" for text, name in rows))
    env = ["--env-arg", "utterances=said.csv", "--env-arg", f"model={tiny_encoder()}"]
    small = ["network.width=16", "network.layers=1", "network.context=16", "environments=2", "threads=1", "device=cpu"]
    train = ["train", "seqel/CustomerShortlist-v0", *env, "--steps", "100", "--out", "run"]
    assert main([*train, *(part for one in small for part in ("--set", one))]) == 0
    capsys.readouterr()
    monkeypatch.setattr(
        "sys.stdin", io.StringIO("card number 3\nneither\nmy card\nneither\nmy card\nneither\n\nright\n")
    )
    assert main(["chat", "run", "--log", "log.jsonl"]) == 0
    shown = capsys.readouterr().out
    assert "believes: " in shown and "%" in shown
    (line,) = Path("log.jsonl").read_text().splitlines()
    actions = {turn["action"] for turn in json.loads(line)["turns"] if "action" in turn}
    assert actions <= {"answer: card", "answer: loan", "answer: fees", "ask", "did you mean", "hand over"}
    # the line after the last action is the outcome, whenever the agent answers
    outcomes = {"right": 1.0, "neither": 0.0, "my card": 0.0}
    assert convert_dialogues(["log.jsonl"], "again.jsonl", outcomes).rows >= 1

    (tmp_path / "run" / "config.toml").rename(tmp_path / "config.toml")  # an agent without its run
    shutil.copytree("run/agent", "agent")
    monkeypatch.setattr("sys.stdin", io.StringIO("card number 3\n\n"))
    assert main(["chat", "agent", "--env", "CartPole-v1"]) == 2
    assert "CustomerShortlist" in capsys.readouterr().err
