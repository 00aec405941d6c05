from __future__ import annotations

import json
import math
from itertools import product
from pathlib import Path

import pytest

from seqel.agents.agent import Agent
from seqel.errors import CheckpointError, ConfigError, DataError
from seqel.integrity import read_sealed, sealed_line
from seqel.language import generate, read_pairs, read_texts, train_text
from seqel.language.decoding import read_tokens, step
from seqel.language.generation import tokenizer_of
from seqel.language.reading import split_prompts
from seqel.language.settings import Method

SMALL = {
    "network.width": 16, "network.layers": 1, "network.heads": 2, "network.bins": 21, "replay.batch_tokens": 256,
    "learner.learning_rate": 5e-3, "learner.warmup": 10, "threads": 1, "device": "cpu", "offline.held_out": 0.1,
}  # fmt: skip


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An agent of 'ab' and 'ac', equally frequent, of which the second has a reward."""
    out = tmp_path_factory.mktemp("text") / "run"
    train_text(
        ["ab", "ac"] * 100, lambda text: float(text == "ac"), out=out, prompt=1, length=4, updates=(300, 400), samples=1_000,
        seed=1, settings=SMALL, progress=False,
    )  # fmt: skip
    return out


@pytest.mark.parametrize("dial", [0.0, 1.0, 3.0])
def test_the_dial_gives_the_optimal_policy(writer: Path, dial: float) -> None:
    """Of reward minus KL / dial: the odds of 'c' are exp(dial r / scale); the return scale is the root of a half."""
    found = generate(writer / "values", ["a"], dial=dial, n=2_000, seed=0)[0]
    share = sum(text == "c" for text in found) / len(found)
    assert share == pytest.approx(1.0 / (1.0 + math.exp(-dial / math.sqrt(0.5))), abs=0.06)
    assert sum(text in ("b", "c") for text in found) > 0.97 * len(found)  # and the base policy is still there


def test_texts_are_repeatable_and_one_list_per_prompt(writer: Path) -> None:
    agent = Agent.load(writer / "values")
    found = generate(agent, ["a", ""], dial=1.0, n=3, seed=4)
    assert [len(texts) for texts in found] == [3, 3] and found == generate(agent, ["a", ""], dial=1.0, n=3, seed=4)
    assert (
        generate(agent, ["a"], dial=9.0, temperature=0.0)
        == [["c"]]
        == generate(writer, ["a"], dial=9.0, temperature=0.0)
    )


def test_each_part_keeps_the_weights_that_do_best_at_what_it_learns(writer: Path) -> None:
    for part, metric in (("imitation", "imitation"), ("values-1", "unexplained")):
        records = [json.loads(line) for line in (writer / part / "metrics.jsonl").read_text().splitlines()]
        assert [one["validation"]["metric"] for one in records if one.get("validation")] == [metric]


def test_what_is_no_writer_is_refused(writer: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected an agent that was trained on texts"):
        generate(writer / "imitation")
    with pytest.raises(ConfigError, match="n: expected at least 1"):
        generate(writer / "values", n=0)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="is not empty"):
        train_text(["ab"], len, out=tmp_path)


def test_a_reward_that_fails_stops_the_training(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the reward function"):
        train_text(
            ["ab", "ac"] * 20, lambda text: math.nan, out=tmp_path / "run", prompt=1, length=4, updates=(2, 2), samples=4,
            settings=SMALL, progress=False,
        )  # fmt: skip


def test_paragraphs_of_files(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n\r\n\r\n\r\nthree\n")
    assert read_texts([tmp_path / "a.txt"]) == ["one\ntwo", "three"]
    assert [(one.prompt, one.text) for one in split_prompts(["abc", "ab"], 2)] == [("ab", "c")]
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe")
    (tmp_path / "c.txt").write_bytes(b"\n\n \n")
    for name in ("b.txt", "c.txt", "missing.txt"):
        with pytest.raises(DataError, match="expected"):
            read_texts([tmp_path / name])


def test_pairs_of_files(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"prompt": "a\\n", "text": "b"}\n\n{"prompt": "c", "text": "d", "id": 3}\n')
    assert read_pairs([tmp_path / "a.jsonl"]) == [("a\n", "b"), ("c", "d")]
    assert [(one.prompt, one.text) for one in split_prompts([("ab", "c"), ("d", "")], 1)] == [("ab", "c")]
    for number, line in enumerate(("[1, 2]", "no JSON", '{"prompt": "a"}', '{"prompt": "a", "text": 3}')):
        (tmp_path / f"bad-{number}.jsonl").write_text('{"prompt": "a", "text": "b"}\n' + line)
        with pytest.raises(DataError, match="line 2: expected"):
            read_pairs([tmp_path / f"bad-{number}.jsonl"])


@pytest.mark.parametrize("texts", [["a", ("a", "b")], [("a",)], [("a", 3)]])
def test_texts_and_pairs_are_not_mixed(texts: list[object], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="texts: expected"):
        train_text(texts, len, out=tmp_path / "run")  # type: ignore[arg-type]


def test_pairs_with_a_reward_that_depends_on_the_prompt(tmp_path: Path) -> None:
    """After either prompt, 'x' and 'y' are equally frequent; it is the prompt that says which is better."""
    agent = train_text(
        [(prompt, text) for prompt in ("a:", "b:") for text in ("x", "y")] * 50,
        lambda prompt, text: float((prompt, text) in {("a:", "x"), ("b:", "y")}),
        out=tmp_path / "run", length=3, updates=(200, 300), samples=1_000, seed=1, settings=SMALL, progress=False,
    )  # fmt: skip
    assert generate(agent, ["a:", "b:"], dial=9.0, temperature=0.0) == [["x"], ["y"]]


def test_implicit_q_learning_learns_from_the_texts_alone(tmp_path: Path) -> None:
    agent = train_text(
        ["ab", "ac"] * 100, lambda text: float(text == "ac"), out=tmp_path / "run", prompt=1, length=4, method="ilql",
        updates=(200, 300), seed=1, settings=SMALL, progress=False,
    )  # fmt: skip
    assert not list((tmp_path / "run").glob("samples*")) and agent.network.config.critics == 2
    shares = [
        sum(text == "c" for text in generate(agent, ["a"], dial=dial, n=400, seed=0)[0]) / 400 for dial in (0.0, 4.0)
    ]
    assert shares[0] == pytest.approx(0.5, abs=0.1) and shares[1] > 0.9
    with pytest.raises(ConfigError, match="method: expected one of q-sharp, ilql"):
        train_text(["ab"], len, out=tmp_path / "other", method="sarsa")  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["q-sharp", "ilql"])
def test_rewards_by_token_give_each_token_its_own_value(method: Method, tmp_path: Path) -> None:
    """Each "a" is worth 1 where it stands, and the values are of those that are still to come."""
    texts = ["".join(letters) for letters in product("ab", repeat=5)]
    agent = train_text(
        texts, lambda text: float(text.count("a")), out=tmp_path / "run", length=6, updates=(150, 300), samples=64,
        partial=True, method=method, seed=1, settings=SMALL, progress=False,
    )  # fmt: skip
    tokenizer = tokenizer_of(agent)
    state, latest = read_tokens(agent, [[tokenizer.begin, *tokenizer.encode(text)] for text in ("", "a", "aa", "aaa")])
    q = step(agent, latest, state).q[:, 0]
    (a,), (b,) = tokenizer.encode("a"), tokenizer.encode("b")
    assert q[:, a].tolist() == pytest.approx([3.0, 2.5, 2.0, 1.5], abs=0.4)  # what is still to come, not 3, 3.5, 4, 4.5
    assert (q[:, a] - q[:, b]).tolist() == pytest.approx([1.0] * 4, abs=0.4)


def test_further_rounds_reach_what_the_base_policy_hardly_writes(tmp_path: Path) -> None:
    """The reward is for a text that the base policy writes once in nine times."""
    texts = [f"{a}{b}{c}{d}{e}{f}" for a in "ab" for b in "ab" for c in "ab" for d in "ab" for e in "ab" for f in "ab"]

    def reward(text: str) -> float:
        return float(text.count("a") >= 5)

    options = {"length": 7, "updates": (200, 200), "samples": 150, "seed": 1, "settings": SMALL, "progress": False}
    agent = train_text(texts, reward, out=tmp_path / "run", rounds=3, **options)  # type: ignore[arg-type]
    lines = (tmp_path / "run" / "samples-3.jsonl").read_text().splitlines()
    assert len(lines) == 150
    written = generate(agent, [""], dial=6.0, n=200, seed=0)[0]
    assert sum(map(reward, written)) / 200 > 0.6  # the base policy: 7 of 64


def test_a_training_that_was_interrupted_continues(tmp_path: Path) -> None:
    """Interrupted in each of its runs, it ends with the weights of an uninterrupted one."""
    import torch

    def call(out: Path, stop: int = 0, **changes: object) -> Agent:
        def interrupt(record: object) -> None:
            nonlocal stop
            stop -= 1
            if stop == 0:
                raise KeyboardInterrupt

        options = {"prompt": 1, "length": 4, "updates": (30, 30), "samples": 20, "settings": SMALL | {"log_every": 10}}
        return train_text(["ab", "ac"] * 20, len, out=out, progress=interrupt, **(options | changes))  # type: ignore[arg-type]

    whole = call(tmp_path / "whole")
    out = tmp_path / "cut"
    for stop in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            call(out, stop)
    with pytest.raises(ConfigError, match="holds a training with another length"):
        call(out, length=5)
    resumed = call(out)
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, resumed.network.state_dict()[name]), name
    again = call(out)  # complete: nothing is trained
    assert torch.equal(again.network.head.scale, whole.network.head.scale)
    lines, _, _ = read_sealed((out / "text.json").read_bytes())
    del lines[0]["asked"]["temperature"]  # as in older folders
    (out / "text.json").write_text(sealed_line(lines[0]) + "\n")
    call(out)
    with pytest.raises(ConfigError, match="another temperature"):
        call(out, temperature=0.5)
    with pytest.raises(ConfigError, match="temperature: expected a positive number"):
        call(out, temperature=0.0)
    samples = out / "samples-1.jsonl"
    samples.write_bytes(samples.read_bytes()[:-9])
    with pytest.raises(CheckpointError, match=r"samples-1\.jsonl is damaged"):
        call(out)


def test_blocked_phrases_are_not_written_and_the_rest_keeps_its_odds(writer: Path) -> None:
    found = generate(writer, ["a"], dial=0.0, n=400, seed=0, blocked=["ac*"])[0]
    assert "c" not in found and found.count("b") > 380


def test_harmful_texts_are_written_again_and_in_the_end_withheld(writer: Path) -> None:
    seen: list[str] = []

    def harmful(text: str) -> bool:
        seen.append(text)
        return text == "ab"

    found = generate(writer, ["a"], dial=0.0, n=200, seed=0, harmful=harmful, tries=20)[0]
    assert "b" not in found and found.count("c") > 190
    assert set(seen) >= {"ab", "ac"}  # with the prompt
    with pytest.warns(UserWarning, match=r"2 of 2 texts were withheld: harmful in each of 3 tries"):
        assert generate(writer, ["a"], n=2, seed=0, harmful=lambda text: True, tries=3) == [["", ""]]
    with pytest.warns(UserWarning, match="1 of 1 .* in each of 1 tries"):  # all tries would be alike
        generate(writer, ["a"], seed=0, temperature=0.0, harmful=lambda text: True)
    with pytest.raises(DataError, match="ZeroDivisionError"):
        generate(writer, ["a"], seed=0, harmful=lambda text: 1 / 0 > 0)
    with pytest.raises(ConfigError, match="tries"):
        generate(writer, ["a"], tries=0)
