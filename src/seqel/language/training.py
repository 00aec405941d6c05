"""Trains an agent that writes text, from texts and a reward function.

Training has three parts, whose results are in one folder:

    text.json       what was asked for, and the tokenizer
    imitation/      a run: the base policy, a language model of the texts (behaviour cloning)
    samples.jsonl   texts that the base policy wrote, with their rewards
    values/         a run: the distribution of the return of these texts, after every token (no bootstrap), beside further
                    cloning of them, which leaves the base policy as it is; the agent is in values/agent

The optimal policy for reward minus KL is then a formula (`seqel.language.decoding`), with one number that is chosen when
text is written. Zhou et al. 2025 (Q#, arXiv:2502.20548) show why the distribution under the base policy suffices. Differs:
one network has both heads, and the texts that it is fitted on are written by it alone, in one round.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from seqel.agents.agent import Agent
from seqel.errors import CheckpointError, ConfigError, DataError
from seqel.integrity import read_sealed, sealed_line
from seqel.language.decoding import write
from seqel.language.episodes import Reward, Sample, as_dataset, reward_of
from seqel.language.tokenizer import ModelTokens, Tokenizer, make_tokenizer, tokenizer_from_json
from seqel.runs.api import OnRecord, resume, train
from seqel.runs.run_config import CONFIG
from seqel.storage import atomic_write

__all__ = ["read_texts", "split_prompts", "train_text"]

ASKED, IMITATION, SAMPLES, VALUES = "text.json", "imitation", "samples.jsonl", "values"
# A text's token is its observation and also the action before it, so one of the two suffices. Returns come at the end.
SETTINGS: dict[str, Any] = {
    "network.width": 128, "network.layers": 4, "network.previous_action": False, "network.previous_reward": False,
    "network.first_step": False, "network.policy_head": "auxiliary", "network.value": "hl-gauss", "network.bins": 51,
    "network.value_range": 3.0, "objective.discount": 1.0, "objective.cloning_weight": 1.0, "replay.batch_tokens": 2_048,
    "learner.learning_rate": 1e-3, "learner.warmup": 100, "learner.target_rate": 0.02,
}  # fmt: skip
# A model has tens of thousands of tokens: their values are numbers, and an update has fewer steps
OF_MODEL: dict[str, Any] = {
    "network.trunk": "pretrained", "network.actions": "tokens", "network.value": "scalar", "replay.batch_tokens": 512,
    "learner.learning_rate": 5e-4,
}  # fmt: skip
OF_IMITATION: dict[str, Any] = {"objective.td_weight": 0.0}
OF_VALUES: dict[str, Any] = {"objective.td_weight": 1.0, "objective.lambda_": 1.0, "objective.trace": "peng"}


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
    model: str | None = None,
    updates: tuple[int, int] = (2_000, 1_000),
    samples: int = 2_000,
    seed: int = 0,
    settings: dict[str, Any] | None = None,
    progress: bool | OnRecord | None = True,
) -> Agent:
    """Train an agent that writes texts like these, and can be turned towards higher reward.

    If it is interrupted, the same call continues: a part that is complete is not repeated, and a run continues from its last
    checkpoint.

    Args:
        texts: one text per entry; `read_texts` reads them from files.
        reward: a function from a complete text, with its prompt, to a number.
        out: a folder for all parts; the agent is in `values/agent`.
        prompt: characters at the beginning of each text that are given, not written.
        length: tokens of a text, with its prompt; longer texts are cut off.
        tokens: 0: one token per character; else the size of a vocabulary of byte pairs.
        model: a pretrained causal language model (a folder, a GGUF file, or a hub id) to start from, with its own tokens and
            low-rank adapters; None: a network from scratch.
        updates: of imitation, and of fitting values.
        samples: texts that the base policy writes to fit values on.
        seed: of all random numbers.
        settings: changes to the settings of both runs, by dotted name.
        progress: as for `seqel.train`.

    Raises:
        ConfigError: a setting is invalid, or the folder holds something else. CheckpointError: a file in it is damaged.
        DataError: there are too few texts, or the reward function fails.
    """
    for name, value, least in (("prompt", prompt, 0), ("length", length, 1), ("samples", samples, 2)):
        if value < least:
            raise ConfigError(f"{name}: expected at least {least}, got {value}")
    folder, chosen = Path(out), SETTINGS | {"network.context": length + 1}
    chosen |= ({} if model is None else OF_MODEL | {"network.model": model}) | (settings or {})
    asked = {
        "texts": sha256(json.dumps(list(texts)).encode()).hexdigest(), "prompt": prompt, "length": length, "tokens": tokens,
        "model": model,
        "updates": list(updates), "samples": samples, "seed": seed, "settings": json.loads(json.dumps(settings or {})),
    }  # fmt: skip
    tokenizer = _begin(folder, asked, texts)
    given = split_prompts(texts, prompt)
    base = _run(
        folder / IMITATION,
        as_dataset(given, tokenizer, length),
        updates[0],
        None,
        seed,
        chosen | OF_IMITATION,
        progress,
    )
    judged = _samples(folder / SAMPLES, base, [one.prompt for one in given], tokenizer, reward, asked)
    agent = _run(
        folder / VALUES, as_dataset(judged, tokenizer, length), updates[1], folder / IMITATION / "agent", seed,
        chosen | OF_VALUES, progress,
    )  # fmt: skip
    agent.info["language"] = {"tokenizer": tokenizer.to_json(), "length": length, "prompt": prompt}
    agent.save(folder / VALUES / "agent")
    return agent


def _begin(folder: Path, asked: dict[str, Any], texts: Sequence[str]) -> Tokenizer:
    """Write or check what is asked for, and return the tokenizer."""
    path = folder / ASKED
    if not path.exists():
        if folder.exists() and any(folder.iterdir()):
            raise ConfigError(f"{folder} is not empty and holds no training on texts: choose another folder")
        model = asked["model"]
        tokenizer = make_tokenizer(texts, asked["tokens"]) if model is None else ModelTokens.of(model)
        folder.mkdir(parents=True, exist_ok=True)
        atomic_write(path, sealed_line({"asked": asked, "tokenizer": tokenizer.to_json()}) + "\n")
        return tokenizer
    lines, _, _ = read_sealed(path.read_bytes())
    if len(lines) != 1:
        raise CheckpointError(f"{path} is damaged: choose another folder")
    before = lines[0]["asked"]
    other = [name for name, value in asked.items() if before.get(name) != value]
    if other:
        raise ConfigError(
            f"{folder} holds a training with another {other[0]} ({before.get(other[0])!r:.80}, now {asked[other[0]]!r:.80}): "
            "repeat the call as it was to continue, or choose another folder"
        )
    return tokenizer_from_json(lines[0]["tokenizer"])


def _run(
    folder: Path, data: Any, updates: int, start: Path | None, seed: int, settings: dict[str, Any], progress: Any
) -> Agent:
    """Train in a new folder, or continue the run that is there; a complete one only returns its agent."""
    if (folder / CONFIG).exists():
        return resume(folder, data=data, progress=progress)
    return train(
        data=data, out=folder, seed=seed, steps=updates, start=start, preset="behaviour-cloning", settings=settings,
        progress=progress,
    )  # fmt: skip


def _samples(
    path: Path, base: Agent, prompts: Sequence[str], tokenizer: Tokenizer, reward: Reward, asked: dict[str, Any]
) -> list[Sample]:
    """Return texts that the base policy writes, with their rewards, from the file if they were written before."""
    if path.exists():
        lines, damaged, _ = read_sealed(path.read_bytes())
        if damaged or len(lines) != asked["samples"]:
            raise CheckpointError(f"{path} is damaged: remove it to have these texts written again")
        return [Sample(**line) for line in lines]
    rng = np.random.default_rng((asked["seed"], 1))
    chosen = [prompts[place] for place in rng.integers(len(prompts), size=asked["samples"])]
    written = write(base, [tokenizer.encode(prompt) for prompt in chosen], tokenizer, limit=asked["length"], rng=rng)
    found = [
        Sample(prompt, tokenizer.decode(one.tokens), ended=one.ended)
        for prompt, one in zip(chosen, written, strict=True)
    ]
    found = [replace(one, reward=reward_of(reward, one.prompt + one.text)) for one in found]
    atomic_write(path, "".join(sealed_line(asdict(one)) + "\n" for one in found))
    return found
