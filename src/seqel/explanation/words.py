"""Word occlusion: by how much the explained score falls if one word of a text is left out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from seqel.errors import ConfigError
from seqel.explanation.methods.occlusion import changes
from seqel.explanation.question import Question, explained
from seqel.explanation.reading import Reading
from seqel.spaces.text_readers import reader_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from seqel.agents.agent import Agent
    from seqel.explanation.trace import EpisodeTrace

__all__ = ["WordInfluence", "split_words", "word_occlusion"]

# Chinese, Japanese and Korean are written without spaces: each character counts as a word
WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]|[^\s\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]+"
)


@dataclass(frozen=True, slots=True)
class WordInfluence:
    """What the words of one text contribute to S decisions."""

    step: int
    spans: tuple[tuple[int, int], ...]  # where each word begins and ends in the text
    change: NDArray[np.float32]  # (S, words): the explained score less that without the word


def split_words(text: str) -> list[tuple[int, int]]:
    """Return where the words of a text begin and end."""
    return [match.span() for match in WORD.finditer(text)]


def word_occlusion(
    agent: Agent,
    trace: EpisodeTrace,
    leaf: str,
    texts: Mapping[int, str],
    steps: Sequence[int] | None = None,
    question: Question | None = None,
    *,
    reading: Reading | None = None,
) -> list[WordInfluence]:
    """Return what each word contributes to each of S decisions.

    leaf: a text of the observation. texts: the text at some of the steps, because a trace only has its encoding. steps,
    question, reading: as for `attribute`.

    Raises:
        ConfigError: the leaf is no text, or a text is not the one that the trace was read from.
    """
    found = next((one for one in agent.observation_spec.texts if one.path == leaf), None)
    if found is None:
        known = [one.path for one in agent.observation_spec.texts]
        raise ConfigError(f"leaf: expected a text of the observation, one of {known}, got {leaf!r}")
    reader = reader_of(found)
    reading = reading or Reading(agent, trace)
    chosen = list(range(len(trace))) if steps is None else list(steps)
    wanted = explained(reading, chosen, question or Question())
    places: list[tuple[int, tuple[tuple[int, int], ...]]] = []
    without: list[str] = []
    at: list[int] = []
    for step, text in sorted(texts.items()):
        if not np.allclose(reader.read([text])[0], trace.observation[leaf][step], atol=1e-4):
            raise ConfigError(f"texts: expected the text that the trace has at step {step}, got {text!r:.80}")
        spans = tuple(split_words(text))
        places.append((step, spans))
        without += [text[:begin] + text[end:] for begin, end in spans]
        at += [step] * len(spans)
    if not without:
        return [WordInfluence(step, (), np.zeros((len(chosen), 0), np.float32)) for step, _ in places]
    where = torch.tensor(at, dtype=torch.int64, device=reading.tokens.device)
    with torch.inference_mode():
        leaves = torch.from_numpy(np.ascontiguousarray(reader.read(without))).to(where.device)
        tokens = torch.cat([reading.embed(where[part], {leaf: leaves[part]}) for part in _parts(len(at))])
        change = changes(reading, wanted, where, tokens).cpu().numpy()  # (words, S)
    out, first = [], 0
    for step, spans in places:
        out.append(WordInfluence(step, spans, np.ascontiguousarray(change[first : first + len(spans)].T)))
        first += len(spans)
    return out


def _parts(count: int, size: int = 512) -> list[slice]:
    return [slice(first, first + size) for first in range(0, count, size)]
