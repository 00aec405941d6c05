"""What cloning can reach at most on recorded games of Wordle: the policy that made them, known exactly.

    python benchmarks/wordle_limits.py [--data 0.25 0.5 0.75]

The recorded games of `wordle.py` are a mixture over words. Letter by letter, it has exact probabilities: of all words that
start with the letters that are written, weighted by the mixture. Played on the held-out secrets: drawn from these
probabilities (what the data do), and the most probable letter each time (what a cloned policy does that has learned all there
is to learn and decides greedily). Takes seconds and needs no training.
"""

from __future__ import annotations

import argparse

import numpy as np

from seqel.tasks.wordle import codes_of, feedback_table, split_secrets, word_list
from seqel.tasks.wordle.marks import HERE

ANSWERS = word_list("answers")
CODES = codes_of(ANSWERS)
TABLE = feedback_table(CODES, CODES)


def play(secret: int, consistent: float, greedy: bool, rng: np.random.Generator) -> int:
    """Return the number of guesses; 0 for a game that is lost."""
    length = CODES.shape[1]
    won, left = HERE * (3 ** np.arange(length)).sum(), np.arange(len(CODES))
    for number in range(6):
        weight = np.full(len(CODES), (1.0 - consistent) / len(CODES))
        weight[left] += consistent / len(left)
        begins = np.ones(len(CODES), np.bool_)
        for place in range(length):
            chances = np.bincount(CODES[begins, place], weights=weight[begins], minlength=26)
            letter = chances.argmax() if greedy else rng.choice(26, p=chances / chances.sum())
            begins &= CODES[:, place] == letter
        guess = int(np.flatnonzero(begins)[0])
        marks = TABLE[guess, secret]
        if marks == won:
            return number + 1
        left = left[TABLE[guess, left] == marks]
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", type=float, default=[0.25, 0.5, 0.75])
    given = parser.parse_args()
    held, rng = split_secrets(ANSWERS, "held-out"), np.random.default_rng(0)
    print("| data | letters | won, held-out | guesses |\n|---|---|---|---|")
    for data in given.data:
        for name, greedy in (("drawn", False), ("the most probable", True)):
            found = np.array([play(ANSWERS.index(secret), data, greedy, rng) for secret in held])
            won = found > 0
            print(f"| {data} | {name} | {won.mean():.1%} | {found[won].mean():.2f} |", flush=True)


if __name__ == "__main__":
    main()
