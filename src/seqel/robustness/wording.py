"""Perturbations of texts: typing errors, missing words, and synonyms."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from seqel.robustness.leaves import LeafScale
from seqel.robustness.perturbation import Perturbation

__all__ = ["SYNONYMS", "Synonyms", "Typos", "WordDrop"]

ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
NEIGHBOURS = {
    letter: "".join(row[place] for place in (at - 1, at + 1) if 0 <= place < len(row))
    for row in ROWS
    for at, letter in enumerate(row)
}
WORD = re.compile(r"[^\W\d_]+")
# English words with one meaning in most texts and a word that can take their place
SYNONYMS = {
    "agree": "concur", "answer": "reply", "ask": "request", "bad": "poor", "begin": "start", "big": "large",
    "buy": "purchase", "cancel": "revoke", "cheap": "inexpensive", "choose": "select", "close": "shut",
    "company": "firm", "correct": "right", "customer": "client", "decrease": "decline", "delay": "hold-up",
    "delete": "remove", "difficult": "hard", "drop": "fall", "easy": "simple", "end": "finish",
    "error": "mistake", "expensive": "costly", "explain": "clarify", "fall": "drop", "fast": "quick",
    "find": "locate", "fix": "repair", "gain": "profit", "get": "obtain", "glad": "happy", "good": "fine",
    "great": "excellent", "happy": "glad", "hard": "difficult", "help": "assist", "hotel": "inn",
    "huge": "enormous", "important": "significant", "increase": "rise", "job": "task", "keep": "retain",
    "large": "big", "late": "delayed", "like": "enjoy", "little": "small", "loss": "deficit", "mail": "post",
    "need": "require", "new": "recent", "often": "frequently", "old": "former", "order": "purchase",
    "phone": "telephone", "price": "cost", "problem": "issue", "profit": "gain", "quick": "fast",
    "quickly": "rapidly", "receive": "get", "refund": "repayment", "reply": "answer", "return": "send-back",
    "rise": "increase", "sad": "unhappy", "say": "state", "see": "notice", "sell": "trade", "send": "dispatch",
    "share": "stock", "shares": "stocks", "show": "display", "slow": "sluggish", "small": "little",
    "start": "begin", "stop": "halt", "strong": "robust", "sure": "certain", "talk": "speak",
    "terrible": "awful", "thanks": "cheers", "tell": "inform", "true": "correct", "try": "attempt",
    "use": "utilise", "want": "wish", "weak": "feeble", "wrong": "incorrect",
}  # fmt: skip


class Typos(Perturbation):
    """Letters that are replaced by a neighbour on the keyboard, left out, doubled, or swapped with the next one."""

    name = "typos"
    meaning = "typing errors"
    unit = "probability per letter"
    strengths = (0.0, 0.02, 0.05, 0.1, 0.2)
    kinds = ("text",)

    def change(self, value: Any, scale: LeafScale, rng: np.random.Generator) -> str:
        text, found, at = str(value), [], 0
        while at < len(text):
            letter = text[at]
            at += 1
            if not letter.isalpha() or rng.random() >= self.strength:
                found.append(letter)
                continue
            error = int(rng.integers(4))
            if error == 0 and letter.lower() in NEIGHBOURS:
                near = NEIGHBOURS[letter.lower()]
                other = near[int(rng.integers(len(near)))]
                found.append(other.upper() if letter.isupper() else other)
            elif error == 1:
                found.append(letter * 2)
            elif error == 2 and at < len(text) and text[at].isalpha():
                found.append(text[at] + letter)
                at += 1
            # otherwise it is left out
        return "".join(found)


class WordDrop(Perturbation):
    """Leaves out words; one is always kept."""

    name = "words"
    meaning = "words left out"
    unit = "probability per word"
    strengths = (0.0, 0.1, 0.2, 0.4)
    kinds = ("text",)

    def change(self, value: Any, scale: LeafScale, rng: np.random.Generator) -> str:
        parts = re.split(r"(\s+)", str(value))
        words = [place for place in range(0, len(parts), 2) if parts[place]]
        if not words:
            return str(value)
        lost = rng.random(len(words)) < self.strength
        if lost.all():
            lost[int(rng.integers(len(words)))] = False
        if not lost.any():
            return str(value)
        return " ".join(parts[place] for place, gone in zip(words, lost.tolist(), strict=True) if not gone)


class Synonyms(Perturbation):
    """Replaces words of a table by words of the same meaning; capital letters at the start are kept."""

    name = "synonyms"
    meaning = "words replaced by synonyms (a table of common English words)"
    unit = "probability per word of the table"
    strengths = (0.0, 0.25, 0.5, 1.0)
    kinds = ("text",)

    def change(self, value: Any, scale: LeafScale, rng: np.random.Generator) -> str:
        def other(match: re.Match[str]) -> str:
            word = match[0]
            found = SYNONYMS.get(word.lower())
            if found is None or rng.random() >= self.strength:
                return word
            return (
                found.upper()
                if word.isupper() and len(word) > 1
                else found.capitalize()
                if word[0].isupper()
                else found
            )

        return WORD.sub(other, str(value))
