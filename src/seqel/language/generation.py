"""Text generation by Q-learning: `train_text` makes an agent of texts and a reward, `generate` writes with it.

Training has three parts, each a run in a folder of its own:

1. `imitation`: the base policy, a language model of the texts (behaviour cloning).
2. The base policy writes texts; the reward function judges them.
3. `values`: the distribution of the return of these texts, after every token (no bootstrap), beside further cloning of them,
   which leaves the base policy as it is.

The optimal policy for reward minus KL is then a formula (`seqel.language.decoding`), with one number that is chosen when
text is written. Zhou et al. 2025 (Q#, arXiv:2502.20548) show why the distribution under the base policy suffices. Differs:
one network has both heads, and the texts that it is fitted on are written by it alone, in one round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from seqel.agents.agent import Agent
from seqel.errors import ConfigError, DataError
from seqel.language.decoding import Written, decode
from seqel.language.episodes import Reward, Sample, as_dataset, reward_of
from seqel.language.tokenizer import Tokenizer, make_tokenizer, tokenizer_from_json
from seqel.runs.api import OnRecord, train

__all__ = ["generate", "read_texts", "split_prompts", "tokenizer_of", "train_text", "write"]

# A text's token is its observation and also the action before it, so one of the two suffices. Returns come at the end.
NETWORK: dict[str, Any] = {
    "network.width": 128, "network.layers": 4, "network.previous_action": False, "network.previous_reward": False,
    "network.first_step": False, "network.policy_head": "auxiliary", "network.value": "hl-gauss", "network.bins": 51,
    "network.value_range": 3.0, "objective.discount": 1.0, "objective.cloning_weight": 1.0, "replay.batch_tokens": 2_048,
    "learner.learning_rate": 1e-3, "learner.warmup": 100, "learner.target_rate": 0.02,
}  # fmt: skip
IMITATION: dict[str, Any] = {"objective.td_weight": 0.0}
VALUES: dict[str, Any] = {"objective.td_weight": 1.0, "objective.lambda_": 1.0, "objective.trace": "peng"}
AT_ONCE = 256  # texts that are written in step


def read_texts(files: Sequence[str | Path]) -> list[str]:
    """Read texts from files: each paragraph, up to an empty line, is one. Raises DataError if a file is not UTF-8 text."""
    found: list[str] = []
    for file in files:
        try:
            content = Path(file).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{file}: expected a text file in UTF-8, but {error}") from error
        found += [part.strip("\n") for part in content.replace("\r\n", "\n").split("\n\n")]
    found = [text for text in found if text.strip()]
    if not found:
        raise DataError("expected at least one paragraph of text, got none")
    return found


def split_prompts(texts: Sequence[str], characters: int) -> list[Sample]:
    """Split each text into a prompt of so many characters and the rest; a text without a rest is left out."""
    return [Sample(text[:characters], text[characters:]) for text in texts if len(text) > characters]


def train_text(
    texts: Sequence[str],
    reward: Reward,
    *,
    out: str | Path,
    prompt: int = 0,
    length: int = 200,
    tokens: int = 0,
    updates: tuple[int, int] = (2_000, 1_000),
    samples: int = 2_000,
    seed: int = 0,
    settings: dict[str, Any] | None = None,
    progress: bool | OnRecord | None = True,
) -> Agent:
    """Train an agent that writes texts like these, and can be turned towards higher reward.

    Args:
        texts: one text per entry; `read_texts` reads them from files.
        reward: a function from a complete text, with its prompt, to a number.
        out: a folder for both runs; the agent is in `values/agent`.
        prompt: characters at the beginning of each text that are given, not written.
        length: tokens of a text, with its prompt; longer texts are cut off.
        tokens: 0: one token per character; else the size of a vocabulary of byte pairs.
        updates: of imitation, and of fitting values.
        samples: texts that the base policy writes to fit values on.
        seed: of all random numbers.
        settings: changes to the settings of both runs, by dotted name.
        progress: as for `seqel.train`.

    Raises:
        ConfigError: a setting is invalid. DataError: there are too few texts, or the reward function fails.
    """
    folder = Path(out)
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty: choose another folder")
    tokenizer = make_tokenizer(texts, tokens)
    given = split_prompts(texts, prompt)
    chosen = NETWORK | {"network.context": length + 1} | (settings or {})
    base = train(
        data=as_dataset(given, tokenizer, length), out=folder / "imitation", seed=seed, steps=updates[0],
        preset="behaviour-cloning", settings=chosen | IMITATION, progress=progress,
    )  # fmt: skip
    rng = np.random.default_rng((seed, 1))
    prompts = [given[place].prompt for place in rng.integers(len(given), size=samples)]
    written = write(base, prompts, tokenizer, limit=length, rng=rng)
    judged = [
        Sample(start, tokenizer.decode(one.tokens), ended=one.ended)
        for start, one in zip(prompts, written, strict=True)
    ]
    judged = [replace(one, reward=reward_of(reward, one.prompt + one.text)) for one in judged]
    agent = train(
        data=as_dataset(judged, tokenizer, length), out=folder / "values", seed=seed, steps=updates[1], start=base,
        preset="behaviour-cloning", settings=chosen | VALUES, progress=progress,
    )  # fmt: skip
    agent.info["language"] = {"tokenizer": tokenizer.to_json(), "length": length, "prompt": prompt}
    agent.save(folder / "values" / "agent")
    return agent


def tokenizer_of(agent: Agent) -> Tokenizer:
    """Return the tokenizer of an agent. Raises ConfigError if it was not trained on texts."""
    described = agent.info.get("language")
    if not isinstance(described, dict):
        raise ConfigError(
            "generate: expected an agent that was trained on texts (seqel.language.train_text), got another one"
        )
    return tokenizer_from_json(described.get("tokenizer"))


def write(
    agent: Agent, prompts: Sequence[str], tokenizer: Tokenizer, *, limit: int, rng: np.random.Generator, **options: Any
) -> list[Written]:
    """Continue each prompt, many of them in step. `options`: see `decode`."""
    found: list[Written] = []
    for start in range(0, len(prompts), AT_ONCE):
        part = [tokenizer.encode(prompt) for prompt in prompts[start : start + AT_ONCE]]
        found += decode(agent, part, limit=limit, rng=rng, **options)
    return found


def generate(
    agent: Agent | str | Path,
    prompts: Sequence[str] = ("",),
    *,
    dial: float = 1.0,
    n: int = 1,
    length: int | None = None,
    temperature: float = 1.0,
    top_k: int = 0,
    seed: int | None = None,
) -> list[list[str]]:
    """Write `n` continuations of each prompt.  -> one list per prompt; the prompts are not repeated.

    Args:
        agent: an agent that was trained on texts, or its folder.
        prompts: what each text begins with.
        dial: how far to turn from the base policy (0) towards return, in 1 / return scales. Large numbers follow the values
            alone, which is more than they know: look at the texts.
        n: continuations per prompt.
        length: most tokens of each; None: as in training.
        temperature: 0 writes the most probable token at each step.
        top_k: draw among the k most probable tokens only; 0: among all.
        seed: of the draws; None: different each time.

    Raises ConfigError if the agent was not trained on texts, or a number is out of range.
    """
    if not isinstance(agent, Agent):
        agent = Agent.load(agent)
    if n < 1:
        raise ConfigError(f"n: expected at least 1, got {n}")
    tokenizer = tokenizer_of(agent)
    limit = length if length is not None else int(agent.info["language"]["length"])
    every = [prompt for prompt in prompts for _ in range(n)]
    rng = np.random.default_rng(seed)
    found = write(agent, every, tokenizer, limit=limit, rng=rng, dial=dial, temperature=temperature, top_k=top_k)
    texts = [tokenizer.decode(one.tokens) for one in found]
    return [texts[start : start + n] for start in range(0, len(texts), n)]
