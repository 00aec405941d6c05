"""Phrases that are never written, and texts that are withheld: two filters against harmful output.

A blocked phrase is prevented while a text is written: a token that would complete it is never sampled; the other tokens keep
their proportions. This needs no further pass through the network, and nothing has to be written again. Only the listed
phrases are blocked, in any case and any compatibility form of Unicode. Against paraphrases, use a function that judges
complete texts (`generate(..., harmful=...)`), and a policy that has learned not to write them (`penalised`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from seqel.errors import ConfigError, StorageError
from seqel.language.episodes import Reward
from seqel.language.tokenizer import Tokenizer

__all__ = ["BlockedPhrases", "Guard", "penalised", "read_phrases"]

FIRST_WITHOUT_SPACES = 0x2E80  # from here on (Chinese, Japanese, Korean), words are not separated


class BlockedPhrases:
    """Finds phrases in texts.

    A phrase that begins or ends with a letter or digit is found only where a word begins or ends: "art" is not in "start". In
    scripts that do not separate words it is found anywhere. With a * at its end it is also found where a longer word begins:
    "kill*" is in "killing". Prefer that while texts are written letter by letter: if only the word itself is blocked, a
    text that has begun it can only continue to a longer one. Case, compatibility forms (full-width letters) and invisible
    characters do not matter; any space matches any run of spaces.
    """

    def __init__(self, phrases: Iterable[str]) -> None:
        """Raises ConfigError if there are no phrases, or one is empty."""
        self.phrases = tuple(phrases)
        folded = [folded_text(phrase).strip() for phrase in self.phrases]
        if not folded or not all(folded):
            raise ConfigError(f"blocked phrases: expected at least one, and none empty, got {list(self.phrases)!r:.80}")
        self.longest = max(map(len, folded))
        # looks ahead, so that phrases may overlap; the shortest first, because a longer one may not be complete
        folded.sort(key=len)
        self._complete, self._unfinished = (
            re.compile(f"(?={'|'.join(_pattern(phrase, after) for phrase in folded)})")
            for after in (r"(?!\w)", r"(?=\W)")
        )

    def places(self, text: str, *, complete: bool = True) -> list[tuple[int, int]]:
        """Return where a phrase begins and ends in `folded_text(text)`.

        complete: nothing follows the text. Otherwise a phrase that ends where the text ends does not count if a further
        letter could make it part of a longer word.
        """
        pattern = self._complete if complete else self._unfinished
        return [(match.start(), max(end for _, end in match.regs)) for match in pattern.finditer(folded_text(text))]

    def count(self, text: str) -> int:
        """Return how many phrases a complete text has."""
        return len(self.places(text))


def folded_text(text: str) -> str:
    """Return a text without differences of case and form: NFKC, casefolded, without format characters."""
    text = unicodedata.normalize("NFKC", text).casefold()
    return text if text.isascii() else "".join(one for one in text if unicodedata.category(one) != "Cf")


def _joins(character: str) -> bool:
    """Whether a further letter would be part of the same word."""
    return (character.isalnum() or character == "_") and ord(character) < FIRST_WITHOUT_SPACES


def _pattern(phrase: str, after: str) -> str:
    """Return a pattern of a phrase; `after`: of what must follow where a word ends."""
    begins = phrase.endswith("*") and len(phrase) > 1
    phrase = phrase.removesuffix("*") if begins else phrase
    inside = r"\s+".join(re.escape(part) for part in phrase.split())
    before = r"(?<!\w)" if _joins(phrase[0]) else ""
    return f"{before}({inside}){after if _joins(phrase[-1]) and not begins else ''}"


def read_phrases(file: str | Path) -> BlockedPhrases:
    """Read phrases from a file in UTF-8, one per line; lines that start with # are comments.

    Raises StorageError if it cannot be read, ConfigError if it holds no phrase.
    """
    try:
        lines = Path(file).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"blocked phrases: cannot read {file}: {error}") from error
    phrases = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not phrases:
        raise ConfigError(f"blocked phrases: expected at least one line with a phrase in {file}, got none")
    return BlockedPhrases(phrases)


class Guard:
    """Says of texts that are being written whether a further token may follow. What the prompt itself says does not count."""

    def __init__(self, blocked: BlockedPhrases, tokenizer: Tokenizer, prompts: Sequence[Sequence[int]]) -> None:
        self.blocked, self.tokenizer = blocked, tokenizer
        # a phrase may be written with up to four tokens for a character; spaces in it may be longer than they are listed
        self.reach = 4 * (blocked.longest + 8)
        self.prompts = [list(prompt)[-self.reach :] for prompt in prompts]
        self.cut = [len(prompt) > self.reach for prompt in prompts]

    def allows(self, row: int, tokens: Sequence[int], complete: bool) -> bool:
        """Return whether the latest of these tokens may stand. complete: the text ends after them."""
        tail = list(tokens)[-self.reach :]
        whole = len(tail) == len(tokens)
        prompt = self.prompts[row] if whole else []
        text = self.tokenizer.decode([*prompt, *tail])
        given = len(folded_text(self.tokenizer.decode(prompt)))
        is_cut = not whole or self.cut[row]
        return not any(
            end > given and not (is_cut and start == 0)  # what begins where the text is cut was judged before
            for start, end in self.blocked.places(text, complete=complete)
        )

    def shortened(self, row: int, tokens: list[int]) -> list[int]:
        """Return a text that was cut off, without a phrase that its end would complete."""
        while tokens and not self.allows(row, tokens, complete=True):
            tokens = tokens[:-1]
        return tokens


def penalised(reward: Reward, blocked: BlockedPhrases, penalty: float = 1.0) -> Callable[..., float]:
    """Return a reward function for `train_text` that subtracts `penalty` for each blocked phrase in the text.

    Where prompts are given (pairs), only what is written after them counts. Raises ConfigError if the penalty is negative or
    not finite.
    """
    if not 0.0 <= penalty < float("inf"):
        raise ConfigError(f"penalty: expected a finite number of at least 0, got {penalty}")

    def less(*texts: str) -> float:
        return float(reward(*texts)) - penalty * blocked.count(texts[-1])

    return less
