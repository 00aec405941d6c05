"""What extraction.py is compared with: a rule, logistic regression per word, and a fine-tuned reader of spans."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.feature_extraction import FeatureHasher
from sklearn.linear_model import LogisticRegression
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

from extraction_data import STOP, Example, Span
from text_choice import MODEL

__all__ = ["WordRegression", "fine_tune", "rule"]


def rule(example: Example) -> Span:
    """Return the longest run of words that have a digit or a capital letter and do not begin the passage."""
    best, start = (0, 0), 1
    for k, word in enumerate([*example.words, "."]):
        if k < 1 or not (word[0].isupper() or any(map(str.isdigit, word))) or word == "I":
            best, start = max(best, (start, k), key=lambda span: span[1] - span[0]), k + 1
    return best


def _shape(word: str) -> str:
    shape = "".join("d" if one.isdigit() else "X" if one.isupper() else "x" if one.isalpha() else one for one in word)
    return "".join(one for k, one in enumerate(shape) if shape[max(0, k - 2) : k] != 2 * one)


def _features(example: Example) -> Iterator[list[str]]:
    """Yield the features of each word: itself and its neighbours, and both crossed with each word of the question."""
    low = ["<s>", "<s>", *(word.lower() for word in example.words), "</s>", "</s>"]
    shapes = ["", "", *map(_shape, example.words), "", ""]
    asked = {word for word in example.question.lower().split() if word not in STOP}
    for k in range(2, len(low) - 2):
        alone = [f"w{by}={low[k + by]}" for by in range(-2, 3)] + [f"s{by}={shapes[k + by]}" for by in range(-2, 3)]
        pairs = [f"w-1,0={low[k - 1]},{low[k]}", f"w0,1={low[k]},{low[k + 1]}", f"w-2,-1={low[k - 2]},{low[k - 1]}"]
        pairs += [f"s-1,0,1={shapes[k - 1]},{shapes[k]},{shapes[k + 1]}", f"w-1s0={low[k - 1]},{shapes[k]}"]
        plain = [*alone, *pairs]
        crossed = [f"{one}|{word}" for one in plain for word in (*asked, example.question)]
        yield plain + crossed


class WordRegression:
    """Logistic regression of whether a word is inside, on hashed features."""

    def __init__(self, some: Sequence[Example], c: float) -> None:
        self.hasher = FeatureHasher(1 << 20, input_type="string", alternate_sign=False)
        rows = self.hasher.transform(one for example in some for one in _features(example))
        inside = [example.span[0] <= k < example.span[1] for example in some for k in range(len(example.words))]
        self.model = LogisticRegression(C=c, solver="liblinear", tol=1e-3).fit(rows, inside)

    def margins(self, some: Sequence[Example]) -> list[NDArray[np.float64]]:
        """Return the log-odds of each word's being inside."""
        odds = self.model.decision_function(
            self.hasher.transform(one for example in some for one in _features(example))
        )
        return np.split(odds, np.cumsum([len(example.words) for example in some])[:-1])


def _encoded(tokenizer: Any, some: Sequence[Example]) -> tuple[Any, list[NDArray[np.int64]]]:
    """Return the tokens of questions and passages, and the number of the passage's word for each token (-1: none)."""
    tokens = tokenizer(
        [example.question.split() for example in some], [list(example.words) for example in some],
        is_split_into_words=True, padding=True, return_tensors="pt",
    )  # fmt: skip
    places = [
        np.array(
            [-1 if part != 1 else word for word, part in zip(tokens.word_ids(k), tokens.sequence_ids(k), strict=True)]
        )
        for k in range(len(some))
    ]
    return tokens, places


def fine_tune(some: Sequence[Example], epochs: int, rate: float, seed: int, batch: int = 32) -> Any:
    """Fine-tune all weights to predict the first and the last token of the answer. Returns a function to `Span`s.

    AdamW with a linear warm-up over a tenth of the updates and a linear decay, as in the scripts of transformers.
    """
    torch.manual_seed(seed)
    rng, tokenizer = np.random.default_rng(seed), AutoTokenizer.from_pretrained(MODEL)
    model = AutoModelForQuestionAnswering.from_pretrained(MODEL)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    total, done, began = epochs * (len(some) // batch), 0, time.process_time()
    model.train()
    for _ in range(epochs):
        order = rng.permutation(len(some))
        order = np.concatenate([
            sorted(part, key=lambda k: len(some[k].words)) for part in np.array_split(order, max(1, len(some) // 1024))
        ])  # fmt: skip
        batches = np.array_split(order, len(some) // batch)
        for k in rng.permutation(len(batches)):
            here = [some[place] for place in batches[k]]
            tokens, places = _encoded(tokenizer, here)
            ends = [
                torch.tensor(
                    [
                        int(np.flatnonzero(its == one.span[end] - end)[-end])
                        for its, one in zip(places, here, strict=True)
                    ]
                )
                for end in (0, 1)
            ]
            optimizer.param_groups[0]["lr"] = rate * min((done + 1) / (0.1 * total), (total - done) / (0.9 * total))
            loss = model(**tokens, start_positions=ends[0], end_positions=ends[1]).loss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            done += 1
            if done % 50 == 0:
                seconds = time.process_time() - began
                print(f"{done} of {total}, {seconds:.0f} s: {loss.item():.3f}", file=sys.stderr, flush=True)
    model.eval()

    @torch.inference_mode()
    def answer(asked: Sequence[Example]) -> list[Span]:
        found: dict[int, Span] = {}
        order = sorted(range(len(asked)), key=lambda k: len(asked[k].words))
        for first in range(0, len(order), 64):
            rows = order[first : first + 64]
            tokens, places = _encoded(tokenizer, [asked[k] for k in rows])
            out = model(**tokens)
            for row, its, start, end in zip(
                rows, places, out.start_logits.numpy(), out.end_logits.numpy(), strict=True
            ):
                scores = np.where(its[:, None] >= 0, start[:, None] + end[None, :], -np.inf)
                scores = np.where((its[None, :] >= 0) & np.tri(len(its), dtype=bool).T, scores, -np.inf)
                a, b = np.unravel_index(int(scores.argmax()), scores.shape)
                found[row] = (int(its[a]), int(its[b]) + 1)
        return [found[k] for k in range(len(asked))]

    return answer
