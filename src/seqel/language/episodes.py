"""Texts as recorded episodes: the observation is the latest token, the action the next one, the reward comes at the end.

The tokens of a prompt are the environment's, not the agent's: they are in the history but not in the loss. The discount
of such episodes is 1. A text ends with its end token, or at the largest number of tokens; both terminate the episode.
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

Reward = Callable[..., float]  # of a complete text, with its prompt; where prompts are given, of a prompt and a text
TOKEN = "token"  # path of the observation


@dataclass(frozen=True, slots=True)
class Sample:
    """A text: what was given, what was written, and what that was worth."""

    prompt: str
    text: str  # what was written after the prompt
    reward: float = 0.0
    # what was drawn, with the end token if it was; None: the text as the tokenizer reads it
    tokens: list[int] | None = None
    given: int = 0  # first tokens of these that another policy than the base policy drew
    gains: list[float] | None = None  # the reward by token, whose sum is `reward`; None: all of it at the end


def text_spaces(size: int) -> tuple[ObservationSpec, ActionSpec]:
    """Return the spaces of texts with `size` tokens."""
    leaf = Leaf(TOKEN, (TOKEN,), "token", (1,), "int32", (1,), sizes=(size,))
    return ObservationSpec((leaf,)), ActionSpec((size,), (0,))


def reward_of(reward: Reward, prompt: str, text: str, pairs: bool = False) -> float:
    """Call a reward function with a complete text or, with `pairs`, with a prompt and what was written after it.

    Raises DataError if the function fails, or returns something else than a finite number.
    """
    try:
        found = float(reward(prompt, text) if pairs else reward(prompt + text))
    except Exception as error:  # a function of the user may raise anything
        raise DataError(
            f"the reward function raised {type(error).__name__} for {prompt + text!r:.80}: {error}"
        ) from error
    if not np.isfinite(found):
        raise DataError(f"the reward function: expected a finite number, got {found} for {prompt + text!r:.80}")
    return found


def as_dataset(samples: Iterable[Sample], tokenizer: Tokenizer, length: int) -> InMemoryDataset:
    """Return samples as episodes, of each text at most `length` tokens.

    Raises DataError if there is no text.
    """
    observation, action = text_spaces(tokenizer.size)
    found = [_episode(sample, tokenizer, length) for sample in samples if sample.text or sample.tokens]
    if not found:
        raise DataError("expected at least one text that is not empty, got none")
    return InMemoryDataset.of(found, observation, action)


def _episode(sample: Sample, tokenizer: Tokenizer, length: int) -> Episode:
    prompt = [tokenizer.begin, *tokenizer.encode(sample.prompt)]
    written = [*tokenizer.encode(sample.text), tokenizer.end] if sample.tokens is None else sample.tokens
    tokens = np.array([*prompt, *written[:length]], np.int64)
    steps = len(tokens) - 1
    reward = np.zeros(steps, np.float32)
    if sample.gains is None:
        reward[-1] = sample.reward
    else:
        reward[len(prompt) - 1 :] = sample.gains
    return Episode(
        {TOKEN: _column(tokens)}, tokens[1:, None], reward, terminated=True,
        by_agent=np.arange(steps) >= len(prompt) - 1 + sample.given,
    )  # fmt: skip


def _column(tokens: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int32]:
    return np.asarray(tokens, np.int32)[:, None]
