"""Questions from recorded episodes, and how well an agent ranks for each group of users."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from seqel.cli.main import main
from seqel.errors import DataError
from seqel.ranking import agent_ranker, evaluate_ranker, ranking_data
from seqel.ranking.recorded import last_items
from seqel.spaces import ActionSpec
from support_ranking import chains, make_agent


def test_the_last_step_of_every_episode_is_a_question() -> None:
    split = chains(users=5).leave_one_out()
    buffer = ranking_data(split.train, split.validation).buffer
    rows = np.array([3, 0])
    asked = last_items(buffer.subset(rows), split.train.items)
    assert asked.user.tolist() == [0, 1] and len(asked) == 2
    for row, (history, target) in zip(rows, zip(asked.histories(), asked.targets(), strict=True), strict=True):
        every = split.train.item[split.train.user == row]
        assert history.tolist() == every[:-1].tolist() and target.tolist() == every[-1:].tolist()
    assert asked.ratings().tolist() == [float(split.train.rating[split.train.user == row][-1]) for row in rows]


def test_the_questions_are_those_of_leave_one_out() -> None:
    """The same ranks as for interactions, from episodes that hold all of them."""
    split = chains(users=12).leave_one_out()
    everything = split.test.source
    whole = ranking_data(everything, split.validation).buffer
    ranker = agent_ranker(make_agent())
    expected = evaluate_ranker(ranker, split.test)
    found = evaluate_ranker(ranker, last_items(whole.subset(np.arange(12)), everything.items))
    for name, values in expected.metrics.items():
        assert found.metrics[name].tolist() == values.tolist()


def test_episodes_of_one_step_are_not_asked_about() -> None:
    split = chains(users=2, length=3).leave_one_out()
    buffer = ranking_data(split.train, split.validation).buffer  # one step each, then the questions
    with pytest.raises(DataError, match="two steps"):
        last_items(buffer.subset(np.arange(2)), split.train.items)


def test_an_agent_with_a_shield_or_other_actions_ranks_nothing() -> None:
    agent = make_agent()
    assert agent.ranks_items and not make_agent(actions="outputs").ranks_items
    assert agent.action_spec == ActionSpec((12,), (0,))
    agent.set_shield("fallback = 0\n[[rule]]\nnever = 1\n")
    assert not agent.ranks_items


def test_the_command_compares_how_well_an_agent_ranks_for_groups(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Users of group A go through the items in a ring, users of group B choose at random: only A can be predicted."""
    rng, lines = np.random.default_rng(0), ["user,n,item,rating,team"]
    for user in range(80):
        team = "AB"[user % 2]
        item = int(rng.integers(12))
        for n in range(9):
            item = (item + 1) % 12 if team == "A" else int(rng.integers(12))
            lines.append(f"u{user},{n},i{item:02d},3,{team}")
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "s.toml").write_text(
        'session = "user"\norder = "n"\naction = "item"\nreward = "rating"\nends = "truncated"\n'
    )
    sets = [
        "network.width=16", "network.layers=1", "network.context=8", "replay.window=16", "replay.batch_tokens=256",
        "learner.learning_rate=2e-2", "learner.sampled_negatives=8", "offline.held_out=0.5", "threads=1", "device=cpu",
    ]  # fmt: skip
    given = ["--data", str(tmp_path / "t.csv"), "--schema", str(tmp_path / "s.toml"), "--preset", "next-item"]
    options = [part for one in sets for part in ("--set", one)]
    assert main(["train", *given, "--updates", "80", "--out", str(tmp_path / "run"), *options]) == 0
    capsys.readouterr()
    command = ["evaluate", str(tmp_path / "run"), "--data", str(tmp_path / "t.csv"), "--held-out", "--group", "team"]
    assert main([*command, "--json"]) == 0
    rows = {(row["metric"], row["group"]): row for row in json.loads(capsys.readouterr().out)["groups"]}
    for measure in ("NDCG@10 of the last action", "agreement with the recorded action"):
        assert rows[measure, "A"]["clear"] and rows[measure, "A"]["difference"] > 0.2
        assert rows[measure, "A"]["difference_interval"][0] > 0.0
    assert rows["HR@10 of the last action", "A"]["value"] > 0.9
