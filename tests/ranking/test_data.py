"""Interactions as data to train on: what is learned and what validates, and the same scores with less work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seqel
from seqel.errors import DataError
from seqel.ranking import Interactions, agent_ranker, evaluate_ranker, popular, ranking_data
from seqel.runs.api import build
from seqel.training.config import preset, with_settings
from seqel.training.offline.trainer import OfflineTrainer
from support_ranking import chains

SMALL: dict[str, Any] = {
    "network.width": 16, "network.layers": 1, "network.heads": 2, "network.context": 8,
    "replay.window": 16, "replay.batch_tokens": 256, "threads": 1, "device": "cpu",

}  # fmt: skip


def test_training_episodes_and_questions() -> None:
    split = chains(users=4).leave_one_out()
    data = ranking_data(split.train, split.validation, history=3)
    training, asked = data.split(0.1, 0)
    assert training.tolist() == [0, 1, 2, 3] and asked.tolist() == [4, 5, 6, 7]
    assert data.buffer.lengths.tolist() == [7] * 4 + [4] * 4
    batch = next(data.buffer.subset(asked).batches(window=16, context=8, discount=0.0))
    assert batch.loss_mask.tolist() == [[False, False, False, True]] * 4  # the history has no loss
    for row in range(4):
        begin = split.validation.start[row]
        assert batch.action[row, :, 0].tolist() == split.validation.source.item[begin + 4 : begin + 8].tolist()
        assert bool(batch.is_first[row, 0]) and batch.start_step[row] == 0
    batch = next(data.buffer.subset(training).batches(window=16, context=8, discount=0.0))
    assert bool(batch.loss_mask.all()) and batch.reward[0].tolist() == split.train.rating[:7].tolist()


def test_without_a_question_there_is_nothing_to_validate_with() -> None:
    split = Interactions.of([1, 1, 2], ["a", "b", "a"]).leave_one_out()
    with pytest.raises(DataError, match="expected at least one question to validate with"):
        ranking_data(split.train, split.validation)


def test_few_learned_steps_are_validated_as_all_would_be() -> None:
    split = chains().leave_one_out()
    data = ranking_data(split.train, split.validation)
    config = with_settings(preset("next-item"), SMALL | {"offline.updates": 30})
    trainer, records = build(config, None, data)
    assert isinstance(trainer, OfflineTrainer)
    for _ in records:
        pass
    fast = trainer.validate()
    # a little weight on the values, which changes nothing that is compared here, takes the other way
    trainer.config = replace(trainer.config, objective=replace(trainer.config.objective, td_weight=1e-9))
    slow = trainer.validate()
    assert fast.imitation == pytest.approx(slow.imitation, rel=1e-5) and fast.agreement == slow.agreement
    assert fast.metric == slow.metric == "ranking" and fast.mean == pytest.approx(slow.mean)
    by_hand = evaluate_ranker(agent_ranker(trainer.last_agent), split.validation, exclude_seen=False).means()
    assert fast.mean == pytest.approx(by_hand["NDCG@20"] - 1.0)  # of twelve items
    assert fast.chance == pytest.approx(1.0 - (1.0 / np.log2(np.arange(2, 14))).mean())
    assert "nats" not in fast.describe() and fast.title == "held-out 1 - NDCG"


def test_the_next_item_is_learned(tmp_path: Path) -> None:
    data = chains(users=300, length=12)
    split = data.leave_one_out()
    agent = seqel.train(
        data=ranking_data(split.train, split.validation), steps=300, preset="next-item", out=tmp_path / "run",
        settings=SMALL | {"learner.sampled_negatives": 8, "learner.learning_rate": 3e-3}, progress=None,
    )  # fmt: skip
    found = evaluate_ranker(agent_ranker(agent), split.test, exclude_seen=False)
    # the next item is the following one in three of four cases, else the one after it
    assert 0.6 < (found.lists[:, 0] == np.concatenate(split.test.targets())).mean() < 0.9
    assert found.metrics["HR@5"].mean() > 0.97
    baseline = evaluate_ranker(popular(split.train), split.test, exclude_seen=False)
    assert baseline.means()["HR@5"] < 0.7 < found.interval("NDCG@10")[0]
    items, _ = agent.rank([3, 4, 5], k=2)
    assert items == ["6", "7"]
