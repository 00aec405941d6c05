"""The agent that extracts answers: words as vectors in their passage, sessions as a table, training and reading."""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer

import seqel
from extraction_answers import longest_run, token_f1
from extraction_data import Example, Span
from measured import show
from text_choice import MODEL

__all__ = ["METHODS", "Contextual", "altered", "margins", "own_sessions", "train", "write_table"]

SCHEMA = """session = "session"
action = "decision"
actions = ["outside", "inside"]
reward = "reward"
mask = ["outside_allowed", "inside_allowed"]

[observation]
text = "text"
shape = "vector"
"""
SETTINGS: dict[str, Any] = {
    "network.width": 128, "network.layers": 2, "network.dropout": 0.2, "network.context": 44,
    "network.previous_reward": False, "validation.every": 250, "threads": 1, "device": "cpu", "checkpoint_every": 0,
}  # fmt: skip
METHODS: dict[str, tuple[str, dict[str, Any]]] = {  # preset and settings
    "words": ("supervised-q", {"objective.discount": 0.0, "network.state_value": True}),  # a head that "words+f1" needs
    "f1": ("offline-iql", {"objective.discount": 1.0}),
    "words+f1": ("offline-iql", {"objective.discount": 1.0, "learner.learning_rate": 3e-4}),
}
LAYERS = (0, 3, 6)  # of the encoder: its embeddings, the middle and the last layer, side by side
Session = tuple[Example, Span]  # an example, and the span that was answered


class Contextual:
    """The text encoder: a question, or "k<TAB>passage" for the k-th word of a passage whose words are separated by spaces."""

    def __init__(self, cache: Path) -> None:
        """Take the vectors of passages from a file, if it is there."""
        self.tokenizer, self.model = AutoTokenizer.from_pretrained(MODEL), AutoModel.from_pretrained(MODEL).eval()
        self.known: dict[str, NDArray[np.float32]] = {}
        if cache.exists():
            with np.load(cache) as stored:
                texts, words = stored["texts"].tolist(), stored["words"].astype(np.float32)
            ends = np.cumsum([len(text.split(" ")) for text in texts])
            self.known = dict(zip(texts, np.split(words, ends[:-1]), strict=True))
        self.cache = cache

    def keep(self, passages: Iterable[str]) -> None:
        """Read the passages that are not known, and write all of them to the file."""
        new = [passage for passage in dict.fromkeys(passages) if passage not in self.known]
        if new:
            self.read(new)
            self.cache.parent.mkdir(parents=True, exist_ok=True)
            words = np.concatenate(list(self.known.values())).astype(np.float16)
            np.savez(self.cache, texts=np.array(list(self.known)), words=words)

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        parts = [text.partition("\t") for text in texts]
        passages = [passage if tab else text for text, (_, tab, passage) in zip(texts, parts, strict=True)]
        self.read([passage for passage in dict.fromkeys(passages) if passage not in self.known])
        return np.stack([
            self.known[passage][int(place)] if tab else self.known[passage].mean(axis=0)
            for passage, (place, tab, _) in zip(passages, parts, strict=True)
        ])  # fmt: skip

    @torch.inference_mode()
    def read(self, passages: Sequence[str], batch: int = 64) -> None:
        """Keep the vector of each word of some passages."""
        passages = sorted(passages, key=len)
        for start in range(0, len(passages), batch):
            words = [passage.split(" ") for passage in passages[start : start + batch]]
            tokens = self.tokenizer(words, is_split_into_words=True, padding=True, truncation=True, return_tensors="pt")
            layers = self.model(**tokens, output_hidden_states=True).hidden_states
            states = torch.cat([layers[k] for k in LAYERS], dim=-1).numpy()
            for row, some in enumerate(words):
                ids = np.array([-1 if one is None else one for one in tokens.word_ids(row)])
                self.known[" ".join(some)] = np.stack([
                    states[row, ids == k].mean(axis=0) if (ids == k).any() else np.zeros(states.shape[-1], np.float32)
                    for k in range(len(some))
                ])  # fmt: skip


def shape_of(word: str) -> list[float]:
    """Return whether a word begins with a capital, is all capitals, has a digit, and is a punctuation mark."""
    return [
        float(one) for one in (word[0].isupper(), word.isupper(), any(map(str.isdigit, word)), not word[-1].isalnum())
    ]


def steps(example: Example) -> list[tuple[str, list[float]]]:
    """Return the observations of an episode: the question, then each word."""
    passage = " ".join(example.words)
    return [
        (example.question, [0.0] * 4), *((f"{k}\t{passage}", shape_of(word)) for k, word in enumerate(example.words))
    ]  # fmt: skip


def write_table(path: Path, sessions: Sequence[Session], by_word: bool) -> None:
    """Write sessions as a table; the reward is 1 per right decision, or the F1 of the answer at the last step."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["session", "text", "shape", "decision", "reward", "outside_allowed", "inside_allowed"])
        for number, (example, answer) in enumerate(sessions):
            observed = steps(example)
            for k, (text, shape) in enumerate(observed, start=-1):
                inside = answer[0] <= k < answer[1]
                right = inside == (example.span[0] <= k < example.span[1])
                last = token_f1(answer, example.span) if k == len(observed) - 2 else 0.0
                reward = float(right and k >= 0) if by_word else last
                decision = "inside" if inside else "outside"
                rows.writerow([number, text, json.dumps(shape), decision, reward, 1, int(k >= 0)])


def altered(example: Example, rng: np.random.Generator) -> Span:
    """Return a wrong answer: one end moved by one or two words, or a span elsewhere."""
    (start, end), size = example.span, len(example.words)
    while True:
        if rng.random() < 0.5:
            by = int(rng.choice((-2, -1, 1, 2)))
            answer = (start + by, end) if rng.random() < 0.5 else (start, end + by)
        else:
            first = int(rng.integers(size))
            answer = (first, first + int(rng.integers(1, 4)))
        if answer != example.span and 0 <= answer[0] < answer[1] <= size:
            return answer


def train(
    sessions: Sequence[Session], method: str, encode: Contextual, updates: int, seed: int, folder: Path,
    init_from: seqel.Agent | None = None,
) -> seqel.Agent:  # fmt: skip
    """Train on sessions. The run is kept in the folder, its table is not."""
    preset, changes = METHODS[method]
    with tempfile.TemporaryDirectory() as temporary:
        table, schema = Path(temporary) / "sessions.csv", Path(temporary) / "schema.toml"
        write_table(table, sessions, by_word=method == "words")
        schema.write_text(SCHEMA, encoding="utf-8")
        return seqel.train(
            data=table, schema=schema, steps=updates, seed=seed, preset=preset, settings=SETTINGS | changes, out=folder,
            progress=show, text_encoder=encode, init_from=init_from,
        )  # fmt: skip


def margins(agent: seqel.Agent, some: Sequence[Example], batch: int = 256) -> list[NDArray[np.float64]]:
    """Let the agent read passages. Returns, for each word, how far the score of "inside" is above that of "outside"."""
    order = sorted(range(len(some)), key=lambda place: -len(some[place].words))
    found: list[NDArray[np.float64]] = [np.zeros(len(one.words)) for one in some]
    for first in range(0, len(order), batch):
        rows, state = order[first : first + batch], None
        observed = [steps(some[place]) for place in rows]
        for step in range(len(observed[0])):
            going = sum(len(one) > step for one in observed)
            here = {
                "text/text": [one[step][0] for one in observed[:going]],
                "vector/shape": np.array([one[step][1] for one in observed[:going]], np.float32),
            }
            mask = np.array([[True, step > 0]] * going)
            decision, state = agent.act(here, state, mask=mask, rows=None if step == 0 else np.arange(going))
            if step:
                for row, q in zip(rows[:going], decision.q, strict=True):
                    found[row][step - 1] = q[1] - q[0]
    return found


def own_sessions(agent: seqel.Agent, some: Sequence[Example]) -> list[Session]:
    """Return what an agent answers where it is wrong, and the right answer of as many examples besides."""
    answers = map(longest_run, margins(agent, some))
    wrong = [(one, answer) for one, answer in zip(some, answers, strict=True) if answer != one.span]
    return wrong + [(one, one.span) for one, _ in wrong] + [(one, one.span) for one in some[: len(some) // 2]]
