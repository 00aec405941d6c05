"""The typed description of an agent names what is checked in a file, and what trainers write."""

from __future__ import annotations

from pathlib import Path

import pytest

from seqel.agents.description import check_info
from seqel.agents.info import AgentInfo, ValidationInfo
from seqel.errors import CheckpointError


def test_a_complete_description_passes_the_check_of_files() -> None:
    info: AgentInfo = {
        "env": "CartPole-v1", "env_args": {"length": 3}, "seed": 1, "discount": 0.9, "masked": True, "data": ["a.csv"],
        "held_out": {"share": 0.1, "seed": 0}, "validation": {"steps": 5, "updates": 2, "mean": 1.0}, "success": 0.5,
        "language": {"length": 8}, "shield": "fallback = 0", "abstention": {"threshold": 0.5},
    }  # fmt: skip
    assert set(info) | {"encoding"} == set(AgentInfo.__annotations__)
    check_info(info, Path("config.json"))


def test_a_description_of_texts_that_is_none_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"info\.language"):
        check_info({"language": "English"}, Path("config.json"))


@pytest.mark.parametrize("name", ["steps", "updates"])
def test_a_count_that_is_no_number_is_refused(name: str) -> None:
    assert name in ValidationInfo.__annotations__
    with pytest.raises(CheckpointError, match=r"info\.validation"):
        check_info({"validation": {"mean": 1.0, name: "many"}}, Path("config.json"))
