"""Writes text with an agent that was trained on texts."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from seqel.agents.agent import Agent
from seqel.errors import ConfigError, DataError
from seqel.language.blocking import BlockedPhrases
from seqel.language.decoding import Tilt, write
from seqel.language.settings import ASKED, VALUES
from seqel.language.tokenizer import Tokenizer, tokenizer_from_json

__all__ = ["generate", "limit_of", "load_writer", "tokenizer_of"]


def load_writer(folder: str | Path) -> Agent:
    """Load an agent from its folder, that of its run, or that of a training on texts. Raises as `Agent.load`."""
    folder = Path(folder)
    return Agent.load(folder / VALUES if (folder / ASKED).exists() else folder)


def tokenizer_of(agent: Agent) -> Tokenizer:
    """Return the tokenizer of an agent. Raises ConfigError if it was not trained on texts."""
    described = agent.info.get("language")
    if not isinstance(described, dict):
        raise ConfigError(
            "generate: expected an agent that was trained on texts (seqel.language.train_text), got another one"
        )
    if agent.shield is not None:
        raise ConfigError("generate: expected an agent without a shield: writing does not apply its rules")
    return tokenizer_from_json(described.get("tokenizer"))


def limit_of(agent: Agent, length: int | None) -> int:
    """Return the maximum number of tokens to write: `length`, or as in training."""
    return length if length is not None else int(agent.info["language"]["length"])


def generate(
    agent: Agent | str | Path,
    prompts: Sequence[str] = ("",),
    *,
    dial: float = 1.0,
    tilt: Tilt = "mean",
    n: int = 1,
    length: int | None = None,
    temperature: float = 1.0,
    top_k: int = 0,
    seed: int | None = None,
    blocked: BlockedPhrases | Iterable[str] | None = None,
    harmful: Callable[[str], bool] | None = None,
    tries: int = 8,
) -> list[list[str]]:
    """Write `n` continuations of each prompt.  -> one list per prompt; the prompts are not repeated.

    Args:
        agent: an agent that was trained on texts, its folder, or that of its training.
        prompts: the beginning of each text.
        dial: how strongly reward counts against staying close to the base policy (0: not at all), in 1 / return scales. With
            large numbers, the agent follows the values where they are least reliable: read the texts.
        tilt: "mean" follows the expected return; "distribution" follows its exponential moment, which is the optimum for
            reward minus KL / dial if the agent knows the distribution well (`seqel.language.decoding`).
        n: number of continuations per prompt.
        length: maximum number of tokens of each; None: as in training.
        temperature: of sampling; 0: the most probable token at each step.
        top_k: sample among the k most probable tokens; 0: among all.
        seed: of the sampling; None: different each time.
        blocked: phrases that are never written (`seqel.language.BlockedPhrases`).
        harmful: a function from a text, with its prompt, to whether it must not be shown. Such a text is written again, up to
            `tries` times in all. If all tries are harmful, the text is withheld: the result is "", with a UserWarning.
        tries: maximum number of times that a text is written. With a temperature of 0 all tries are equal, so there is one.

    Raises ConfigError if the agent was not trained on texts, or a number is out of range; DataError if `harmful` fails.
    """
    if not isinstance(agent, Agent):
        agent = load_writer(agent)
    if n < 1:
        raise ConfigError(f"n: expected at least 1, got {n}")
    tokenizer = tokenizer_of(agent)
    limit = limit_of(agent, length)
    every = [prompt for prompt in prompts for _ in range(n)]
    rng = np.random.default_rng(seed)
    tokens = [tokenizer.encode(prompt) for prompt in every]
    if tries < 1:
        raise ConfigError(f"tries: expected at least 1, got {tries}")
    if blocked is not None and not isinstance(blocked, BlockedPhrases):
        blocked = BlockedPhrases(blocked)

    def written(some: list[int]) -> list[str]:
        found = write(
            agent, [tokens[one] for one in some], tokenizer, blocked=blocked, limit=limit, rng=rng, dial=dial,
            tilt=tilt, temperature=temperature, top_k=top_k,
        )  # fmt: skip
        return [tokenizer.decode(one.tokens) for one in found]

    texts = written(list(range(len(every))))
    if harmful is not None:
        _rewrite(every, texts, written, harmful, tries if temperature else 1)
    return [texts[start : start + n] for start in range(0, len(texts), n)]


def _rewrite(
    prompts: list[str],
    texts: list[str],
    write_again: Callable[[list[int]], list[str]],
    harmful: Callable[[str], bool],
    tries: int,
) -> None:
    """Replace harmful texts by new ones or, after the last try, by "" with a warning."""
    left = [place for place in range(len(texts)) if _is_harmful(harmful, prompts[place] + texts[place])]
    for _ in range(tries - 1):
        if not left:
            return
        for place, text in zip(left, write_again(left), strict=True):
            texts[place] = text
        left = [place for place in left if _is_harmful(harmful, prompts[place] + texts[place])]
    for place in left:
        texts[place] = ""
    if left:
        warnings.warn(
            f"{len(left)} of {len(texts)} texts were withheld: harmful in each of {tries} tries",
            UserWarning,
            stacklevel=3,
        )


def _is_harmful(harmful: Callable[[str], bool], text: str) -> bool:
    try:
        return bool(harmful(text))
    except Exception as error:  # a function of the user may raise anything
        raise DataError(f"harmful: the function raised {type(error).__name__} for {text!r:.80}: {error}") from error
