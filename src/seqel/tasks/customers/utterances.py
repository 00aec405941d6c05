"""What customers say: sentences with their intents, from the files of Banking77 and CLINC150 or from your own.

A corpus has three splits, of which no sentence is shared. Sentences of no intent (out of scope) belong to splits as well.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqel.datasets.json_lines import json_lines
from seqel.errors import DataError
from seqel.tasks.csv_files import read_columns
from seqel.tasks.splits import SPLITS, Split

__all__ = ["SPLITS", "Split", "Utterances", "read_banking77", "read_clinc150", "read_tnews", "read_utterances"]

COLUMNS = ("text", "category")  # of a CSV file
# what spaces separate, and each Chinese character
_WORD = re.compile(r"[\u4e00-\u9fff]|[^\s\u4e00-\u9fff]+")

Said = tuple[str, str]  # a sentence and the name of its intent


@dataclass(frozen=True)
class Utterances:
    """Sentences by intent.

    Raises DataError if there is no intent, a split has no sentence of some intent, or two splits share a sentence.
    """

    intents: tuple[str, ...]
    by_intent: Mapping[Split, tuple[tuple[str, ...], ...]]  # one tuple of sentences per intent, in their order
    out_of_scope: Mapping[Split, tuple[str, ...]]

    def __post_init__(self) -> None:
        if not self.intents:
            raise DataError("utterances: expected sentences of at least one intent, got none")
        for split in SPLITS:
            for intent, sentences in zip(self.intents, self.by_intent[split], strict=True):
                if not sentences:
                    raise DataError(
                        f"utterances: expected a sentence of {intent!r} in each split, got none in {split!r}"
                    )
        owner: dict[str, Split] = {}
        for split in SPLITS:
            every = {one for some in self.by_intent[split] for one in some} | set(self.out_of_scope[split])
            for one in every:
                if owner.setdefault(one, split) != split:
                    raise DataError(f"utterances: {one!r:.80} is in the splits {owner[one]!r} and {split!r}")

    @classmethod
    def of(
        cls, said: Mapping[Split, Iterable[Said]], out_of_scope: Mapping[Split, Iterable[str]] | None = None
    ) -> Utterances:
        """Make a corpus of (sentence, intent). A sentence that a later split repeats stays in the first one."""
        pairs = {split: list(said[split]) for split in SPLITS}
        intents = sorted({intent for split in SPLITS for _, intent in pairs[split]})
        seen: set[str] = set()
        found: dict[Split, tuple[tuple[str, ...], ...]] = {}
        outside: dict[Split, tuple[str, ...]] = {}
        for split in SPLITS:
            some: dict[str, list[str]] = {intent: [] for intent in intents}
            for sentence, intent in pairs[split]:
                if sentence not in seen:
                    some[intent].append(sentence)
            others = [one for one in (out_of_scope or {}).get(split, ()) if one not in seen]
            seen |= {sentence for sentence, _ in pairs[split]} | set(others)
            found[split], outside[split] = tuple(tuple(one) for one in some.values()), tuple(others)
        return cls(tuple(intents), found, outside)

    def labelled(self, split: Split) -> tuple[list[str], NDArray[np.int64]]:
        """Return all sentences of a split, and the number of each one's intent, (N,).

        Sentences out of scope come last; their number follows that of the last intent.
        """
        some = (*self.by_intent[split], self.out_of_scope[split])
        return [text for one in some for text in one], np.repeat(np.arange(len(some)), [len(one) for one in some])

    @cached_property
    def characters(self) -> frozenset[str]:
        """All characters that occur."""
        texts = [one for split in SPLITS for some in (*self.by_intent[split], self.out_of_scope[split]) for one in some]
        return frozenset(character for text in texts for character in text)

    def neighbours(self, count: int = 3) -> NDArray[np.int64]:
        """Return the intents that are easily mistaken for each intent, (N, count), the most similar first.

        Similarity is the cosine of the tf-idf vectors of the words of all training sentences of an intent. A Chinese
        character counts as a word.
        """
        return self._by_similarity[:, :count]

    @cached_property
    def _by_similarity(self) -> NDArray[np.int64]:
        """All intents by similarity to each, (N, N). Computed once, because each environment asks for it."""
        words = [
            Counter(word for one in some for word in _WORD.findall(one.lower())) for some in self.by_intent["train"]
        ]
        rare = Counter(word for one in words for word in one)
        table: dict[str, int] = {word: place for place, word in enumerate(sorted(rare))}
        vectors = np.zeros((len(words), len(table)))
        for row, counts in enumerate(words):
            for word, number in counts.items():
                vectors[row, table[word]] = (1.0 + math.log(number)) * math.log(len(words) / rare[word])
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-9)
        similar = vectors @ vectors.T
        np.fill_diagonal(similar, -np.inf)
        order: NDArray[np.int64] = np.argsort(-similar, axis=1, kind="stable")
        return order


def read_utterances(path: str | Path, encoding: str = "utf-8") -> Utterances:
    """Read a CSV file with the columns `text` and `category` (the intent; empty: out of scope), and perhaps `split`.

    Without `split` (train, validation or test), a sentence's hash decides: a tenth validates, a fifth tests.

    Raises DataError if the file cannot be read, names another split, or lacks an intent in some split.
    """
    said: dict[Split, list[Said]] = {split: [] for split in SPLITS}
    outside: dict[Split, list[str]] = {split: [] for split in SPLITS}
    by_hash = False
    for number, row in enumerate(read_columns(path, COLUMNS, encoding), 2):
        sentence, intent, split = row["text"], row["category"], row.get("split")
        if split is None:
            by_hash = True
            share = zlib.crc32(sentence.encode()) / 2**32
            split = "validation" if share < 0.1 else "test" if share < 0.3 else "train"
        if split not in SPLITS:
            raise DataError(f"{path}, line {number}: split: expected one of {', '.join(SPLITS)}, got {split!r}")
        if intent:
            said[split].append((sentence, intent))
        else:
            outside[split].append(sentence)
    try:
        return Utterances.of(said, outside)
    except DataError as error:
        more = "; add different sentences, or a column `split` (train, validation, test)" if by_hash else ""
        raise DataError(f"{path}: {error}{more}") from error


def read_banking77(folder: str | Path) -> Utterances:
    """Read `train.csv` and `test.csv` (Casanueva et al. 2020, arXiv:2003.04807); a tenth of the first, by hash, validates."""
    folder = Path(folder)
    train, test = (_csv(folder / name) for name in ("train.csv", "test.csv"))
    held = [zlib.crc32(sentence.encode()) % 10 == 0 for sentence, _ in train]
    return Utterances.of(
        {
            "train": [one for one, out in zip(train, held, strict=True) if not out],
            "validation": [one for one, out in zip(train, held, strict=True) if out],
            "test": test,
        }
    )


def read_clinc150(folder: str | Path) -> Utterances:
    """Read `data_full.json` (Larson et al. 2019, arXiv:1909.02027) with its out-of-scope sentences, in its own splits."""
    path = Path(folder) / "data_full.json"
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
        names = {"train": "train", "validation": "val", "test": "test"}
        said: dict[Split, Sequence[Said]] = {split: [(a, b) for a, b in data[names[split]]] for split in SPLITS}
        outside = {split: [sentence for sentence, _ in data[f"oos_{names[split]}"]] for split in SPLITS}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: expected the file of CLINC150, but {type(error).__name__}: {error}") from error
    return Utterances.of(said, outside)


def read_tnews(folder: str | Path, shots: int = 50, seed: int = 0) -> Utterances:
    """Read the Chinese news titles of FewCLUE's `tnews` (Xu et al. 2021, arXiv:2107.07498): 15 topics as intents.

    Of the 160 labelled titles per topic, `shots` are drawn for training and up to 40 of the others for validation; the test
    is `test_public.json`.

    Raises DataError if the files cannot be read, or have too few titles of a topic.
    """
    folder = Path(folder)
    labelled = [*_json_lines(folder / "train_few_all.json"), *_json_lines(folder / "dev_few_all.json")]
    topics: dict[str, list[str]] = {}
    for sentence, topic in dict(labelled).items():  # a title that occurs twice counts once
        topics.setdefault(topic, []).append(sentence)
    rng, train, validation = np.random.default_rng(seed), list[Said](), list[Said]()
    for topic, titles in sorted(topics.items()):
        if len(titles) <= shots:
            raise DataError(f"{folder}: expected more than {shots} titles of {topic!r}, got {len(titles)}")
        order = rng.permutation(len(titles))
        train += [(titles[place], topic) for place in order[:shots]]
        validation += [(titles[place], topic) for place in order[shots : shots + 40]]
    return Utterances.of({"train": train, "validation": validation, "test": _json_lines(folder / "test_public.json")})


def _json_lines(path: Path) -> list[Said]:
    found = []
    for where, _, row in json_lines([path], "a JSON object with the keys sentence and label_desc"):
        try:
            found.append((str(row["sentence"]).strip(), str(row["label_desc"])))
        except (KeyError, TypeError) as error:
            raise DataError(f"{where}: expected the keys sentence and label_desc, got {row!r:.80}") from error
    return found


def _csv(path: Path) -> list[Said]:
    return [(row["text"], row["category"]) for row in read_columns(path, COLUMNS)]
