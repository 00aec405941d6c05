"""Verses that alliterate: text generation by Q-learning on Shakespeare, beside the best of N texts of the base policy.

    SEQEL_DATA=/folder/of/data python benchmarks/shakespeare.py [--seeds 0 1 2 3 4] [--updates 4000 2000] [--table]

The texts are the paragraphs of tinyshakespeare (one speech each). A tenth of them, by their hash, is held out; its beginnings
are the prompts that are measured. The reward is the number of words that alliterate: they start with the same letter as the
word before, and are another word. It means something for an unfinished text, too (`partial`). A text is at most 200
characters. Each seed is a JSON file in benchmarks/results/shakespeare/ and is not run again; an interrupted training
continues. `--table` prints what is there.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import time
import zlib
from itertools import pairwise
from pathlib import Path
from typing import Any

from learn import commit
from seqel.language import read_texts, train_text
from seqel.language.frontier import draw_frontier, frontier
from seqel.language.reading import split_prompts

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "shakespeare"
PROMPT, LENGTH, MEASURED = 16, 200, 300  # characters; characters; prompts


def alliterates(text: str) -> float:
    """Return how many words start with the letter of the word before and differ from it."""
    return float(sum(one != two and one[0] == two[0] for one, two in pairwise(re.findall(r"[a-z]+", text.lower()))))


def speeches() -> tuple[list[str], list[str]]:
    """Return the speeches to learn from, and those that are held out; without the speakers' names."""
    folder = Path(os.environ["SEQEL_DATA"]) / "tinyshakespeare"
    texts = [text.partition("\n")[2] for text in read_texts(sorted(folder.glob("*.txt")))]
    texts = [text for text in texts if len(text) > 2 * PROMPT]
    held = [zlib.crc32(text.encode()) % 10 == 0 for text in texts]
    return (
        [text for text, out in zip(texts, held, strict=True) if not out],
        [text for text, out in zip(texts, held, strict=True) if out],
    )


def run(seed: int, updates: tuple[int, int], samples: int) -> dict[str, Any]:
    learned, held_out = speeches()
    began = time.perf_counter()
    agent = train_text(
        learned, alliterates, out=HERE.parent / "runs" / f"shakespeare-{seed}", prompt=PROMPT, length=LENGTH, updates=updates,
        samples=samples, partial=True, seed=seed, settings={"threads": 1, "device": "cpu"},
    )  # fmt: skip
    seconds = time.perf_counter() - began
    prompts = [one.prompt for one in split_prompts(held_out, PROMPT)][:MEASURED]
    points = frontier(agent, prompts, alliterates, seed=seed)
    draw_frontier(points, HERE.parent / "docs" / "figures" / "dial.png")
    return {
        "seed": seed, "updates": list(updates), "samples": samples, "seconds": seconds, "commit": commit(),
        "data": sum(map(alliterates, held_out)) / len(held_out), "points": [point.to_json() for point in points],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--updates", nargs=2, type=int, default=[4_000, 2_000])
    parser.add_argument("--samples", type=int, default=4_000)
    parser.add_argument("--table", action="store_true", help="print the finished runs instead of running any")
    given = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    print(
        "| seed | how | reward (95 %) | KL, nats | perplexity | distinct pairs | repetition |\n|---|---|---|---|---|---|---|"
    )
    for seed in given.seeds:
        path = RESULTS / f"seed{seed}.json"
        if not path.exists() and not given.table:
            path.write_text(json.dumps(run(seed, tuple(given.updates), given.samples), indent=1) + "\n")
        if path.exists():
            for point in json.loads(path.read_text())["points"]:
                low, high = point["interval"]
                print(
                    f"| {seed} | {point['name']} | {point['reward']:.3f} ({low:.3f} to {high:.3f}) | {point['kl']:.2f} | "
                    f"{point['perplexity']:.2f} | {point['distinct']:.3f} | {point['repetition']:.3f} |"
                )


if __name__ == "__main__":
    main()
