"""Passages, questions and answers for extraction, by distant supervision from the Schema-Guided Dialogue dataset.

The data say which slots a turn is about ("INFORM city"), but not which words are the value. A value is what two turns share:

1. *Key words* are words with a digit, words of numbers and dates, and names: words that are capitalised in most of their
   occurrences that do not begin a sentence.
2. Two turns of different speakers, at most five turns apart, that both inform about, offer or confirm a slot are compared.
   What they share are runs of words, from one key word to another, without prepositions.
3. If they share one slot and one run, the run is the slot's value. Slots whose value is already known in this dialogue are
   set aside together with it, so that one slot and one run may be left. This is repeated until nothing changes.
4. In each turn that is about a slot, its value is the one run that is known as such, widened over neighbouring key words of
   its kind that belong to no other value ("Sipan" becomes "Sipan Peruvian Restaurant"), and over "of March", "of this month"
   and "in the morning". If the value occurs twice, or is also that of another slot, the turn is dropped.
5. A value is a time, a date, a number or a name. Values of another kind than at least 80 % of their slot's are dropped;
   slots without such a majority, or with fewer than 20 values, are dropped too. Then all is done once more, with the
   kinds of the slots known: step 3 now needs one slot and one run of a kind.

Slots that are true or false have no span and are left out. The values of a slot with a list of possible values have to be
in that list. The question is the slot's description in the schema, the passage is the turn, and a question with the same
passage occurs once. How many labels are right was read in a sample (docs/experiments.md).
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Example", "Words", "examples", "label_dialogue", "shared_runs", "split_words"]

TOKEN = re.compile(r"[$£€#]?\w+(?:[:.,'’&/-]\w+)*%?|[^\w\s]")
NUMBERS = {
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "half", "quarter",
}  # fmt: skip
TIMES = {"am", "pm", "a.m", "p.m", "o'clock", "noon", "morning", "afternoon", "evening"}
MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december",
)  # fmt: skip
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
DATES = {*MONTHS, *DAYS, "today", "tomorrow", "next"}
BREAKS = {*"?!", "in", "at", "on", "for", "from", "to", "with", "by"}  # no value goes over these
STOP = {  # never key words, however they are written
    "a", "an", "the", "of", "in", "on", "at", "to", "for", "from", "by", "with", "and", "or", "is", "are", "was",
    "be", "it", "its", "it's", "this", "that", "there", "i", "i'm", "i'd", "i'll", "you", "your", "my", "me", "we",
    "they", "he", "she", "do", "does", "did", "can", "could", "will", "would", "please", "yes", "no", "not", "ok",
    "okay", "so", "as", "if", "any", "some", "which", "what", "where", "when", "who", "how", "have", "has", "want",
    "need", "like", "find", "book", "about", "hi", "hello",
}  # fmt: skip
SAYS = {"INFORM", "OFFER", "CONFIRM"}
APART, FEWEST, PURE = 5, 20, 0.8
Slot = tuple[str, str]  # service and name
Schema = dict[str, dict[str, dict[str, Any]]]  # service -> slot -> its entry
Span = tuple[int, int]  # the first word, and the one after the last
Run = tuple[str, ...]  # words in lower case
Turn = tuple[
    str, Sequence[str], set[str]
]  # the speaker, the words, and the slots that it informs about, offers or confirms


@dataclass(frozen=True)
class Example:
    """A question, the words of the passage, and the span of the answer."""

    service: str
    slot: str
    question: str
    words: tuple[str, ...]
    span: Span


def split_words(text: str) -> list[str]:
    """Split a text into words and punctuation marks."""
    return TOKEN.findall(text)


class Words:
    """Which words are key words, from the capital letters of all utterances."""

    def __init__(self, texts: Iterable[Sequence[str]]) -> None:
        capital: Counter[str] = Counter()
        every: Counter[str] = Counter()
        for words in texts:
            for before, word in pairwise(words):
                if before not in ".?!" and word[0].isalpha():
                    every[word.lower()] += 1
                    capital[word.lower()] += word[0].isupper()
        share = {word: capital[word] / count for word, count in every.items() if word not in STOP}
        self.names = {word for word, part in share.items() if part > 0.5}
        self.always = {
            word for word, part in share.items() if part > 0.9
        }  # names also where they are written in lower case

    def is_key(self, word: str) -> bool:
        low = word.lower()
        known = self.names if word[0].isupper() else self.always
        return low in known or low in NUMBERS or low in TIMES or low in DATES or any(map(str.isdigit, low))


def kind_of(run: Sequence[str]) -> str:
    """Return whether some words in lower case are a time, a date, a number or a name."""
    if any(word in TIMES or re.search(r"\d:\d\d|\d[ap]m", word) for word in run):
        return "time"
    if any(word in DATES or re.fullmatch(r"\d+(st|nd|rd|th)", word) for word in run):
        return "date"
    return "number" if all(word in NUMBERS or word.lstrip("$£€#")[:1].isdigit() for word in run) else "name"


def shared_runs(one: Sequence[str], other: Sequence[str], words: Words) -> set[Run]:
    """Return the longest runs that both have, from one key word to another; none goes over a preposition."""
    a, b = [word.lower() for word in one], [word.lower() for word in other]
    key = [words.is_key(word) for word in one]
    found: set[Run] = set()
    for i in range(len(a)):
        for j in range(len(b)):
            if a[i] != b[j] or a[i] in BREAKS or (i and j and a[i - 1] == b[j - 1] and a[i - 1] not in BREAKS):
                continue
            size = 1
            while (
                max(i, j - len(b) + len(a)) + size < len(a) and a[i + size] == b[j + size] and a[i + size] not in BREAKS
            ):
                size += 1
            keys = [k for k in range(i, i + size) if key[k]]
            if any(a[k] not in TIMES | {"next"} for k in keys):
                found.add(tuple(a[keys[0] : keys[-1] + 1]))
    return {run for run in found if not any(run != more and _places(run, more) for more in found)}


def _places(run: Sequence[str], words: Sequence[str]) -> list[int]:
    return [start for start in range(len(words) - len(run) + 1) if tuple(words[start : start + len(run)]) == tuple(run)]


def find_values(turns: Sequence[Turn], words: Words, kinds: Mapping[str, str]) -> dict[str, set[Run]]:
    """Return the values of each slot of a dialogue. `kinds`: the kind of some slots' values, which then must have it."""
    pairs: list[tuple[set[str], set[Run]]] = []
    for i, (speaker, said, slots) in enumerate(turns):
        for other, more, theirs in turns[i + 1 : i + 1 + APART]:
            if other != speaker and slots & theirs:
                runs = shared_runs(said, more, words)
                if runs:
                    pairs.append((slots & theirs, runs))
    values: dict[str, set[Run]] = defaultdict(set)
    changed = True
    while changed:
        changed = False
        for slots, runs in pairs:
            told = {slot: values[slot] & runs for slot in slots}
            open_slots = [slot for slot in sorted(slots) if not told[slot]]
            open_runs = runs.difference(*told.values())
            for kind in sorted({kinds.get(slot, "") for slot in open_slots}):
                some = [slot for slot in open_slots if kinds.get(slot, "") == kind]
                fit = [run for run in open_runs if kind in ("", kind_of(run))]
                if len(some) == len(fit) == 1 and (kind or len(open_slots) == len(open_runs) == 1):
                    values[some[0]].add(fit[0])
                    changed = True
    return values


def label_dialogue(turns: Sequence[Turn], words: Words, kinds: Mapping[str, str]) -> Iterator[tuple[int, str, Span]]:
    """Yield the turn, the slot and the span of each value that the rule finds."""
    values = find_values(turns, words, kinds)
    for number, (_, said, slots) in enumerate(turns):
        low = [word.lower() for word in said]
        places = {
            slot: [(start, run) for run in values.get(slot, ()) for start in _places(run, low)]
            for slot in sorted(slots)
        }
        taken = {k for some in places.values() for start, run in some for k in range(start, start + len(run))}
        for slot, some in places.items():
            others = {start for name, more in places.items() if name != slot for start, _ in more}
            if len(some) != 1 or some[0][0] in others:
                continue
            start, run = some[0]
            yield number, slot, _widened(said, (start, start + len(run)), taken, words)


def _widened(said: Sequence[str], span: Span, taken: set[int], words: Words) -> Span:
    """Widen a value over neighbouring key words of its kind, "of March", "of this month", "in the morning" and "The"."""
    (start, end), low = span, [word.lower() for word in said]
    kind = kind_of(low[start:end])
    while start and start - 1 not in taken and _continues(said[start - 1], kind, words):
        start -= 1
    while end < len(said) and end not in taken and _continues(said[end], kind, words):
        end += 1
    after = " ".join(low[end : end + 3])
    if kind == "date" and (found := re.match(rf"of (this month|{'|'.join(MONTHS)})\b", after)):
        end += len(found[0].split())
    if kind == "time" and re.fullmatch(r"in the (morning|afternoon|evening)", after):
        end += 3
    if kind == "date" and start >= 2 and low[start - 1] == "of" and kind_of(low[start - 2 : start - 1]) == "date":
        start -= 2
    if kind == "name" and start >= 2 and said[start - 1] == "The":
        start -= 1
    return start, end


def _continues(word: str, kind: str, words: Words) -> bool:
    """Return whether a neighbouring word belongs to a value of this kind."""
    its = kind_of((word.lower(),))
    return words.is_key(word) and (its == kind or (kind == "number" and its == "time"))


def examples(split: str, most: int, seed: int = 0, longest: int = 40, per_slot: int = 400) -> list[Example]:
    """Return up to `most` examples of a split, at most `per_slot` of one slot, in an order that the seed draws.

    Passages of fewer than 4 or more than `longest` words, and those that are hardly more than the answer, are left out.
    """
    folder = Path(os.environ["SEQEL_DATA"]) / "sgd"
    dialogues = [json.loads(line) for line in (folder / f"{split}.jsonl").open(encoding="utf-8")]
    services = json.loads((folder / f"{split}_schema.json").read_text(encoding="utf-8"))
    schema: Schema = {one["service_name"]: {slot["name"]: slot for slot in one["slots"]} for one in services}
    said = [[split_words(turn[1]) for turn in one["turns"]] for one in dialogues]
    words = Words(utterance for one in said for utterance in one)
    read = [
        _turns(dialogue, utterances, _slots(dialogue["services"], schema))
        for dialogue, utterances in zip(dialogues, said, strict=True)
    ]
    kinds: dict[tuple[str, str], str] = {}
    for _ in range(2):  # the kinds of values that the first round finds are used by the second
        found = _label(dialogues, read, words, schema, kinds)
        kinds = {
            slot: counts.most_common(1)[0][0]
            for slot, some in found.items()
            if max((counts := Counter(map(_kind, some))).values()) >= PURE * len(some) >= PURE * FEWEST
        }
    rng, kept = np.random.default_rng(seed), []
    for slot, some in sorted(found.items()):
        pure = [
            one for one in some
            if slot in kinds and _kind(one) == kinds[slot] and 4 <= len(one.words) <= longest
            and one.span[1] - one.span[0] <= len(one.words) // 2
        ]  # fmt: skip
        kept += [pure[k] for k in rng.permutation(len(pure))[:per_slot]]
    return [kept[k] for k in rng.permutation(len(kept))[:most]]


def _label(
    dialogues: Sequence[dict[str, Any]],
    read: Sequence[list[Turn]],
    words: Words,
    schema: Schema,
    kinds: dict[Slot, str],
) -> dict[Slot, list[Example]]:
    """Return the examples of each slot, each question with the same passage once."""
    found: dict[Slot, list[Example]] = defaultdict(list)
    seen: set[tuple[str, Run]] = set()
    for dialogue, turns in zip(dialogues, read, strict=True):
        slots = _slots(dialogue["services"], schema)
        its = {name: kinds[service, name] for name, (service, _) in slots.items() if (service, name) in kinds}
        for number, name, span in label_dialogue(turns, words, its):
            passage, (service, slot) = tuple(turns[number][1]), slots[name]
            value = " ".join(passage[slice(*span)]).lower()
            choices = [choice.lower() for choice in slot["possible_values"]]
            if (slot["description"], passage) not in seen and (not choices or value in choices):
                seen.add((slot["description"], passage))
                found[service, name].append(Example(service, name, slot["description"], passage, span))
    return found


def _kind(one: Example) -> str:
    return kind_of([word.lower() for word in one.words[slice(*one.span)]])


def _turns(dialogue: dict[str, Any], said: Sequence[list[str]], slots: Mapping[str, Any]) -> list[Turn]:
    acts = [[act.split() for act in turn[2]] for turn in dialogue["turns"]]
    return [
        (turn[0], some, {act[1] for act in its if act[0] in SAYS and act[-1] in slots})
        for turn, some, its in zip(dialogue["turns"], said, acts, strict=True)
    ]


def _slots(services: Sequence[str], schema: Schema) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return service and entry of each slot that only one of some services has; those that are true or false are left out."""
    owners = defaultdict(list)
    for service in services:
        for name, slot in schema[service].items():
            if "True" not in slot["possible_values"]:
                owners[name].append((service, slot))
    return {name: some[0] for name, some in owners.items() if len(some) == 1}
