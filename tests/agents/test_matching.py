"""Equal spaces are required in one place; the message names both sides."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from seqel.agents.matching import require_equal_spaces
from seqel.errors import SpaceError
from seqel.spaces import ActionSpec, ObservationSpec

THREE = ObservationSpec.from_space(gym.spaces.Box(-1.0, 1.0, (3,), np.float32))
FOUR = ObservationSpec.from_space(gym.spaces.Box(-1.0, 1.0, (4,), np.float32))
TWO_ACTIONS, FIVE_ACTIONS = ActionSpec((2,), (0,)), ActionSpec((5,), (0,))


def test_equal_spaces_pass_and_a_difference_names_both_sides() -> None:
    require_equal_spaces("the data", (THREE, TWO_ACTIONS), "the spaces of the run", (THREE, TWO_ACTIONS))
    with pytest.raises(SpaceError, match=r"the data: expected the spaces of the run, which observe .*, got ") as caught:
        require_equal_spaces("the data", (FOUR, TWO_ACTIONS), "the spaces of the run", (THREE, TWO_ACTIONS))
    assert str(THREE.leaves[0]) in str(caught.value) and str(FOUR.leaves[0]) in str(caught.value)
    with pytest.raises(SpaceError, match=r"which have the actions .*2.*, got .*5"):
        require_equal_spaces("the data", (THREE, FIVE_ACTIONS), "the spaces of the run", (THREE, TWO_ACTIONS))
