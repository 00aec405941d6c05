"""The number of windows in a batch of about N transitions."""

from __future__ import annotations

import pytest

from seqel.replay.gathering import windows_of


@pytest.mark.parametrize(
    ("transitions", "mean", "most", "windows"),
    [
        (100, 9.0, 50, 10),
        (104, 9.0, 50, 10),
        (106, 9.0, 50, 11),
        (1, 9.0, 50, 1),
        (1_000, 9.0, 50, 50),
        (10, 1.5, 9, 4),
    ],
)
def test_windows_of_a_mean_length_and_one_more_observation_hold_so_many_transitions(
    transitions: float, mean: float, most: int, windows: int
) -> None:
    assert windows_of(transitions, mean, most) == windows
