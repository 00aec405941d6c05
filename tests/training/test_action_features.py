"""Action features from arrays and tables, and errors with file, column and action."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from seqel.errors import ConfigError, DataError
from seqel.training.action_features import read_action_features

NAMES = ["hat", "shoe", "tie"]
TABLE = "item,price,new,kind\ntie,3.5,true,silk\nhat,10,false,felt\nshoe,80,true,felt\ncoat,200,true,wool\n"


def test_a_table_is_read_in_the_order_of_the_actions(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text(TABLE)
    found = read_action_features(tmp_path / "items.csv", NAMES)
    # price, new, then a column for felt and for silk; the coat is not an action
    expected = [[10.0, 0.0, 1.0, 0.0], [80.0, 1.0, 1.0, 0.0], [3.5, 1.0, 0.0, 1.0]]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_an_array_is_used_as_it_is() -> None:
    array = np.arange(6).reshape(3, 2)
    torch.testing.assert_close(read_action_features(array, NAMES), torch.from_numpy(array).float())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TABLE.replace("hat,", "cap,"), "1 have none: 'hat'"),
        (TABLE.replace("coat", "tie"), "got 'tie' twice"),
        (TABLE.replace("80", ""), "column 'price': expected a value for every action, got 1 missing"),
        (TABLE.replace("80", "inf"), "action 'shoe': expected finite numbers"),
        ("item\nhat\nshoe\ntie\n", "expected at least one column besides 'item'"),
        ("item,price\n", "expected one row per action, got an empty table"),
        ("", "expected a table of actions"),
    ],
)
def test_a_bad_table_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "items.csv").write_text(text)
    with pytest.raises(DataError, match=said) as found:
        read_action_features(tmp_path / "items.csv", NAMES)
    assert "items.csv" in str(found.value)


def test_too_many_texts_a_missing_file_and_non_numbers_are_refused(tmp_path: Path) -> None:
    many = [f"n{n}" for n in range(70)]
    (tmp_path / "items.csv").write_text("item,text\n" + "".join(f"{name},{name}\n" for name in many))
    with pytest.raises(DataError, match="at most 64 different texts, got 70"):
        read_action_features(tmp_path / "items.csv", many)
    with pytest.raises(DataError, match="no such file"):
        read_action_features(tmp_path / "none.csv", NAMES)
    for bad in (np.zeros((2, 2)), np.zeros(3), np.zeros((3, 0)), [["a"], ["b"], ["c"]]):
        with pytest.raises(ConfigError, match="action features: expected"):
            read_action_features(bad, NAMES)  # type: ignore[arg-type]
