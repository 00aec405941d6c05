"""Trains an agent that writes text, from texts and a reward function.

Training has these parts, whose results are in one folder:

    text.json         what was asked for, and the tokenizer
    imitation/        a run: the base policy, a language model of the texts (behaviour cloning)
    base/             the same agent, with a support for the values that fits the rewards
    samples-1.jsonl   texts that the base policy wrote, with their rewards
    values-1/         a run: the distribution of the return of these texts, after every token (no bootstrap, unless there are
                      rewards per token), and further cloning of them (for pairs: distillation), to keep the base policy
    samples-2.jsonl   in each further round, texts that the agent started with some dial and the base policy completed
    values-2/         a run: the same, from all samples so far
    values/agent      the agent of the last round

The optimal policy for reward minus KL is then a formula (`seqel.language.decoding`), with one number that is chosen when
text is written. Zhou et al. 2025 (Q#, arXiv:2502.20548) show why the distribution under the base policy suffices, and why it
has to be known where the turned policy goes. Differs: one network has both heads; a round begins from the last one's weights.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, get_args

import numpy as np

from seqel.agents.agent import Agent
from seqel.errors import CheckpointError, ConfigError, DataError
from seqel.integrity import read_sealed, sealed_line
from seqel.language.episodes import Reward, Sample, as_dataset
from seqel.language.reading import Text, split_prompts
from seqel.language.sampling import Sampling, compared, returns_of, stored_samples
from seqel.language.settings import (
    ASKED,
    BASE,
    IMITATION,
    IMITATION_ONLY,
    VALUES,
    Method,
    settings_for,
    settings_of_values,
)
from seqel.language.tokenizer import ModelTokens, Tokenizer, make_tokenizer, tokenizer_from_json
from seqel.networks.qnetwork import QNetwork
from seqel.runs.api import train
from seqel.runs.loop import OnRecord
from seqel.runs.resuming import resume
from seqel.runs.run_config import CONFIG
from seqel.storage import atomic_write

__all__ = ["train_text"]


def train_text(
    texts: Sequence[Text],
    reward: Reward,
    *,
    out: str | Path,
    prompt: int = 0,
    length: int = 200,
    tokens: int = 0,
    model: str | None = None,
    updates: tuple[int, int] = (2_000, 1_000),
    samples: int = 2_000,
    rounds: int = 1,
    per_prompt: int | None = None,
    partial: bool = False,
    temperature: float = 1.0,
    method: Method = "q-sharp",
    seed: int = 0,
    settings: dict[str, Any] | None = None,
    progress: bool | OnRecord | None = True,
) -> Agent:
    """Train an agent that writes texts like the given ones, with a dial that says how strongly reward counts.

    To continue an interrupted training, repeat the call: complete parts are not repeated, and a run continues from its last
    checkpoint.

    Args:
        texts: one text per entry (`read_texts` reads them from files); or pairs of a prompt and the text that follows it,
            such as a sentence and its translation. A prompt should end with a separator, such as a line break, that shows
            where it ends.
        reward: a function from a complete text, with its prompt, to a number. For pairs, from a prompt and the text that was
            written after it.
        out: a folder for all parts; the agent is in `values/agent`.
        prompt: number of characters at the beginning of each text that serve as its prompt. Not used with pairs.
        length: maximum number of tokens after a prompt; longer texts are truncated.
        tokens: 0: one token per character; otherwise the size of a vocabulary of byte pairs.
        model: a pretrained causal language model (a folder, a GGUF file, or a hub id) to start from, with its own tokens and
            low-rank adapters; None: a network from scratch.
        updates: number of updates for the base policy, and for the values in each round.
        samples: number of texts that are written in each round to fit the values on.
        per_prompt: how many of them are written for the same prompt. The mean reward of these is subtracted from each, so the
            values need not learn which prompts are hard. None: 4 for pairs; otherwise 1, and nothing is subtracted.
        rounds: the texts of the first round are the base policy's. In each further round, the agent starts texts with
            different dials and the base policy completes them, to learn values of the texts that the agent writes.
        partial: whether the reward of an unfinished text is meaningful, such as a number of rhymes. It is then computed after
            every token, and a value is the reward still to come, which is learned from far fewer texts.
        temperature: of the base policy when it writes samples. Below 1, they are nearer to its most probable text, and
            values are those of a policy that writes so. Use it if the agent is to write with a temperature of 0.
        method: "q-sharp", as above; or "ilql": implicit Q-learning on the given texts alone (Snell et al. 2022,
            arXiv:2206.11871), which writes no samples. Use it for texts of known, different quality that are expensive to
            judge; `samples`, `rounds` and `per_prompt` are not used.
        seed: of all random numbers.
        settings: changes to the settings of all runs, by dotted name.
        progress: as for `seqel.train`.

    Raises:
        ConfigError: a setting is invalid, or the folder holds something else. CheckpointError: a file in it is damaged.
        DataError: there are too few texts, or the reward function fails.
    """
    if method not in get_args(Method):
        raise ConfigError(f"method: expected one of {', '.join(get_args(Method))}, got {method!r}")
    numbers: dict[str, int] = {"prompt": prompt, "length": length, "samples": samples, "rounds": rounds}
    for name, value in numbers.items():
        least = {"prompt": 0, "samples": 2}.get(name, 1)
        if value < least:
            raise ConfigError(f"{name}: expected at least {least}, got {value}")
    if not 0.0 < temperature < float("inf"):
        raise ConfigError(f"temperature: expected a positive number, got {temperature}")
    pairs = _are_pairs(texts)
    group = (4 if pairs else 1) if per_prompt is None else per_prompt
    if group < 1 or samples % group:
        raise ConfigError(f"samples: expected a multiple of per_prompt = {group}, got {samples}")
    asked = {
        "texts": sha256(json.dumps(list(texts)).encode()).hexdigest(), "tokens": tokens, "model": model,
        "updates": list(updates), "per_prompt": group, "partial": partial, "temperature": temperature, "method": method,
        "seed": seed, "settings": json.loads(json.dumps(settings or {})),
    } | numbers  # fmt: skip
    folder, tokenizer = Path(out), _begin(Path(out), asked, texts)
    given = split_prompts(texts, prompt)
    longest = max((len(tokenizer.encode(one.prompt)) for one in given), default=0)
    kind, of_values = settings_for(method, tokenizer.size, model, partial), settings_of_values(method, partial, pairs)
    chosen = kind | {"network.context": longest + length + 1} | (settings or {})
    data = as_dataset(given, tokenizer, length)
    agent = _run(folder / IMITATION, data, updates[0], None, seed, chosen | IMITATION_ONLY, progress)
    prompts = [one.prompt for one in given]
    sampling = Sampling(prompts, tokenizer, reward, pairs, length, samples, group, seed, partial, temperature)
    if method == "ilql":
        judged = [sampling.judged(one) for one in given]
        data, start = as_dataset(judged, tokenizer, length), folder / IMITATION / "agent"
        agent = _run(folder / f"{VALUES}-1", data, updates[1], start, seed, chosen | of_values, progress)
    else:
        judged = []
        start = folder / BASE
        for number in range(1, rounds + 1):
            path = folder / f"samples-{number}.jsonl"
            judged += compared(stored_samples(path, agent, sampling, number, progress is True), group)
            if number == 1:
                _with_range(agent, _range(judged)).save(start)
            run, data = folder / f"{VALUES}-{number}", as_dataset(judged, tokenizer, length)
            agent = _run(run, data, updates[1], start, seed + number - 1, chosen | of_values, progress)
            start = run / "agent"
    agent.info["language"] = {"tokenizer": tokenizer.to_json(), "length": length, "prompt": prompt, "pairs": pairs}
    agent.save(folder / VALUES / "agent")
    return agent


def _range(samples: Sequence[Sample]) -> float:
    """Return how far a support has to extend, in return scales: a quarter further than these returns, at most 10.

    Far beyond the largest return, the little probability that a network leaves there would outweigh all else, because the
    dial weights it by an exponential.
    """
    found = np.abs(np.concatenate([returns_of(one) for one in samples]))
    scale = float(np.sqrt(np.square(found).mean()))
    return min(10.0, 1.25 * float(found.max()) / scale) if scale > 0.0 else 1.0


def _with_range(agent: Agent, reach: float) -> Agent:
    """Return an agent whose values, not yet trained, are on a support of so many return scales to either side of 0."""
    old = agent.network
    if old.head.values.support(old.head.scale) is None:
        return agent
    network = QNetwork(replace(old.config, value_range=reach), old.observation_spec, old.action_spec)
    network.load_state_dict(old.state_dict())
    return Agent(network, info=agent.info)


def _are_pairs(texts: Sequence[Any]) -> bool:
    """Return whether all are pairs. Raises DataError unless all are texts, or all are pairs of texts."""
    kinds = {isinstance(text, str) for text in texts}
    if len(kinds) > 1:
        raise DataError("texts: expected texts, or pairs of a prompt and a text, got both")
    if kinds != {False}:
        return False
    for pair in texts:
        if not (isinstance(pair, tuple | list) and len(pair) == 2 and all(isinstance(part, str) for part in pair)):
            raise DataError(f"texts: expected pairs of a prompt and a text, got {pair!r:.80}")
    return True


def _begin(folder: Path, asked: dict[str, Any], texts: Sequence[Text]) -> Tokenizer:
    """Write or check what is asked for, and return the tokenizer."""
    path = folder / ASKED
    if not path.exists():
        if folder.exists() and any(folder.iterdir()):
            raise ConfigError(f"{folder} is not empty and holds no training on texts: choose another folder")
        model = asked["model"]
        plain = [text if isinstance(text, str) else "".join(text) for text in texts]
        tokenizer = make_tokenizer(plain, asked["tokens"]) if model is None else ModelTokens.of(model)
        folder.mkdir(parents=True, exist_ok=True)
        atomic_write(path, sealed_line({"asked": asked, "tokenizer": tokenizer.to_json()}) + "\n")
        return tokenizer
    lines, _, _ = read_sealed(path.read_bytes())
    if len(lines) != 1:
        raise CheckpointError(f"{path} is damaged: choose another folder")
    before = {"temperature": 1.0} | lines[0]["asked"]  # older folders have none
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
        data=data, out=folder, seed=seed, steps=updates, init_from=start, preset="behaviour-cloning", settings=settings,
        progress=progress,
    )  # fmt: skip
