"""Recall of a colour: a coloured patch in a noisy picture, then only noise, then the question which colour it was."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from functools import cache
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from seqel.errors import EnvironmentFault
from seqel.tasks.arguments import require_action, require_count

__all__ = ["RecallColour", "name_colour", "optimal_action"]

SIDE = 12  # of a picture, in pixels
PATCH = slice(3, 9)  # rows and columns of the patch: 6 x 6 pixels in the middle
NOISE = 32  # levels: the noise of each channel of each pixel is uniform in -NOISE..NOISE
DARK, GREY, BRIGHT = 32, 128, 223  # levels of a colour's channels, and of the background, before the noise
SHOWN = 2  # steps that show the colour
COLOURS_LIMIT = 30


class RecallColour(gymnasium.Env["NDArray[np.uint8]", np.int64]):
    """See a colour, look at noise, name the colour.

    Observation: a picture, uint8 (12, 12, 3), channels red, green and blue. Its background is grey, of level 128. Each
    channel of each pixel has noise of its own, uniform over the 65 integers from -32 to 32 (standard deviation 18.8), at
    every step. The 6 x 6 pixels in the middle are a patch: of the colour to remember at the first two steps, and white
    (level 223) at the last step, the question. At all other steps they are grey like the rest.

    The colours are `colours` evenly spaced hues, fully saturated, whose channels lie between 32 and 223. The mean of a patch
    over its 36 pixels has a standard deviation of 3.1 levels per channel, and of 30 colours the nearest other one is 38
    levels away. So the nearest colour to that mean is the right one but for a chance below 1e-8.

    One colour is drawn uniformly at every reset. The action, Discrete (`colours`,), names a colour. The episode lasts
    `delay` + 2 steps and ends with `terminated`: the question is asked `delay` steps after the colour was last shown. The
    reward for the answer to the question is 1 if it is right and 0 otherwise; other actions have no effect and no reward.
    The best return is 1; the best memoryless player, and any guess, get 1 / `colours` on average. At the end
    `info["is_success"]` says whether the answer was right.

    Source: this project, after the idea of RememberColor in MIKASA-Robo (Cherepanov et al. 2025, arXiv:2502.10550).
    Differs: no robot; the answer is an action, not a movement.

    Raises ConfigError (colours outside 2..30, delay < 1), SpaceError (invalid action), EnvironmentFault (a step before the
    first reset, or after the end).
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (Gymnasium's own shape)

    def __init__(self, colours: int = 3, delay: int = 18) -> None:
        self.colours = require_count("colours", colours, 2, COLOURS_LIMIT)
        self.delay = require_count("delay", delay, 1)
        self.observation_space = gymnasium.spaces.Box(0, 255, (SIDE, SIDE, 3), np.uint8)
        self.action_space = gymnasium.spaces.Discrete(self.colours)
        # Suggested settings. A grid this small would otherwise be read as category codes.
        suggested = {"context": self.delay + SHOWN, "observation": {"observation": "pixels"}}
        self.metadata = {**self.metadata, "seqel": suggested}
        self._levels = levels(self.colours)
        self._colour = 0
        self._time: int | None = None  # None while no episode is open

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        super().reset(seed=seed)
        self._colour = int(self.np_random.integers(self.colours))
        self._time = 0
        return self._picture(), {}

    def step(self, action: np.int64 | int) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        if self._time is None:
            raise EnvironmentFault("expected a reset before this step: no episode is open")
        named = require_action(self.action_space, action, "a colour")
        self._time += 1
        if self._time < self.delay + SHOWN:
            return self._picture(), 0.0, False, False, {}
        picture = self._picture()
        self._time = None
        success = named == self._colour
        return picture, float(success), True, False, {"is_success": success}

    def _picture(self) -> NDArray[np.uint8]:
        """Return the picture of this step, (12, 12, 3)."""
        picture = self.np_random.integers(GREY - NOISE, GREY + NOISE, (SIDE, SIDE, 3), np.uint8, endpoint=True)
        assert self._time is not None
        if self._time < SHOWN:
            picture[PATCH, PATCH] += self._levels[self._colour]
        elif self._time == self.delay + SHOWN - 1:
            picture[PATCH, PATCH] += np.uint8(BRIGHT - GREY)
        return picture


@cache
def levels(colours: int) -> NDArray[np.uint8]:
    """Return what each colour adds to grey, modulo 256: its channels' levels minus 128.  -> (colours, 3)."""
    hues = np.array([colorsys.hsv_to_rgb(number / colours, 1.0, 1.0) for number in range(colours)])
    return np.round(DARK + hues * (BRIGHT - DARK) - GREY).astype(np.int64).astype(np.uint8)


def name_colour(picture: NDArray[np.uint8], colours: int) -> int:
    """Return the colour nearest to the mean of the patch of a picture (12, 12, 3)."""
    mean = picture[PATCH, PATCH].mean(axis=(0, 1))
    expected = (levels(colours) + np.uint8(GREY)).astype(np.float64)
    return int(np.square(expected - mean).sum(axis=1).argmin())


def optimal_action(observations: Sequence[NDArray[np.uint8]], colours: int) -> int:
    """Return the answer of the optimal policy, given all observations of the episode so far: it reads the first picture.

    Raises ValueError if there is no observation.
    """
    if len(observations) == 0:
        raise ValueError("expected the observations of an episode, starting with its first, got none")
    return name_colour(observations[0], colours)
