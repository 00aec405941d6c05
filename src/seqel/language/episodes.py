"""Texts as recorded episodes: the observation is the latest token, the action the next one, the reward comes at the end.

The tokens of a prompt are the environment's, not the agent's: they are in the history but not in the loss. The discount
of such episodes is 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqel.errors import DataError
from seqel.language.tokenizer import Tokenizer
from seqel.replay.in_memory_dataset import InMemoryDataset
from seqel.spaces import ActionSpec, Leaf, ObservationSpec
from seqel.types import Episode

__all__ = ["Reward", "Sample", "as_dataset", "reward_of", "text_spaces"]

Reward = Callable[[str], float]  # of a complete text, with its prompt
TOKEN = "token"  # path of the observation


@dataclass(frozen=True, slots=True)
class Sample:
    """A text: what was given, what was written, and what that was worth."""

    prompt: str
    text: str  # what was written after the prompt
    reward: float = 0.0
    ended: bool = True  # whether its writer ended it; False: it was cut off


def text_spaces(size: int) -> tuple[ObservationSpec, ActionSpec]:
    """Return the spaces of texts with `size` tokens."""
    leaf = Leaf(TOKEN, (TOKEN,), "token", (1,), "int32", (1,), sizes=(size,))
    return ObservationSpec((leaf,)), ActionSpec((size,), (0,))


def reward_of(reward: Reward, text: str) -> float:
    """Call a reward function. Raises DataError if it fails, or returns something else than a finite number."""
    try:
        found = float(reward(text))
    except Exception as error:  # a function of the user may raise anything
        raise DataError(f"the reward function raised {type(error).__name__} for {text!r:.80}: {error}") from error
    if not np.isfinite(found):
        raise DataError(f"the reward function: expected a finite number, got {found} for {text!r:.80}")
    return found


def as_dataset(samples: Iterable[Sample], tokenizer: Tokenizer, longest: int) -> InMemoryDataset:
    """Return samples as episodes of at most `longest` steps; what is longer is cut off, and so not terminated.

    Raises DataError if no sample has a token.
    """
    observation, action = text_spaces(tokenizer.size)
    episodes = [_episode(sample, tokenizer, longest) for sample in samples]
    found = [episode for episode in episodes if episode is not None]
    if not found:
        raise DataError("expected at least one text that is not empty, got none")
    return InMemoryDataset.of(found, observation, action)


def _episode(sample: Sample, tokenizer: Tokenizer, longest: int) -> Episode | None:
    prompt = [tokenizer.begin, *tokenizer.encode(sample.prompt)]
    written = tokenizer.encode(sample.text)
    if sample.ended:
        written.append(tokenizer.end)
    tokens = np.array([*prompt, *written][: longest + 1], np.int64)
    steps = len(tokens) - 1
    if steps < len(prompt):
        return None  # nothing was written, or the prompt alone is too long
    complete = sample.ended and steps == len(prompt) + len(written) - 1
    reward = np.zeros(steps, np.float32)
    reward[-1] = sample.reward
    return Episode(
        {TOKEN: _column(tokens)}, tokens[1:, None], reward, terminated=complete, truncated=not complete,
        by_agent=np.arange(steps) >= len(prompt) - 1,
    )  # fmt: skip


def _column(tokens: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int32]:
    return np.asarray(tokens, np.int32)[:, None]
