"""Text generation by Q-learning on Shakespeare, beside the best of N texts of the base policy, for two rewards.

    SEQEL_DATA=/folder/of/data python benchmarks/shakespeare.py [--reward love alliteration] [--seeds 0 1 2 3 4]
        [--updates 2000 1500] [--table]

The texts are the paragraphs of tinyshakespeare (one speech each). A tenth of them, by their hash, is held out; its beginnings
are the prompts that are measured. The rewards: how many different words of love a text has (a topic as a bag of words, as in
Dathathri et al. 2019, arXiv:1912.02164); and how many words alliterate: they start with the same letter as the word before,
and are another word. Both mean something for an unfinished text, too (`partial`). A text is at most 200 characters. Each seed
is a JSON file in benchmarks/results/shakespeare/ and is not run again; an interrupted training continues. `--table` prints
what is there.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import time
import zlib
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from measured import commit, measured
from seqel.language import generate, read_texts, train_text
from seqel.language.frontier import draw_frontier, frontier
from seqel.language.reading import split_prompts

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "shakespeare"
PROMPT, LENGTH, MEASURED = 16, 200, 300  # characters; characters; prompts
DIALS = (0.0, 0.5, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 6.0)
LOVE = {
    "love", "loves", "loving", "lover", "heart", "sweet", "kiss", "fair", "gentle", "dear", "beauty", "lips", "eyes",
    "tender", "bride", "marry",
}  # fmt: skip


def alliterates(text: str) -> float:
    """Return how many words start with the letter of the word before and differ from it."""
    return float(sum(one != two and one[0] == two[0] for one, two in pairwise(re.findall(r"[a-z]+", text.lower()))))


def love(text: str) -> float:
    """Return how many different words of love a text has."""
    return float(len(LOVE.intersection(re.findall(r"[a-z]+", text.lower()))))


REWARDS = {"love": love, "alliteration": alliterates}


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


def run(name: str, seed: int, updates: tuple[int, int], samples: int, rounds: int) -> dict[str, Any]:
    reward = REWARDS[name]
    learned, held_out = speeches()
    began = time.perf_counter()
    out = HERE.parent / "runs" / f"shakespeare-{name}-{seed}"
    for other in REWARDS.keys() - {name}:  # the base policy does not depend on the reward
        source = HERE.parent / "runs" / f"shakespeare-{other}-{seed}"
        if not out.exists() and (source / "base").exists():
            shutil.copytree(source / "imitation", out / "imitation")
            shutil.copy(source / "text.json", out)
    agent = train_text(
        learned, reward, out=out, prompt=PROMPT, length=LENGTH,
        updates=updates, samples=samples, rounds=rounds, partial=True, seed=seed, settings={"threads": 1, "device": "cpu"},
    )  # fmt: skip
    seconds = time.perf_counter() - began
    prompts = [one.prompt for one in split_prompts(held_out, PROMPT)][:MEASURED]
    points = frontier(agent, prompts, reward, dials=DIALS, seed=seed)
    draw_frontier(points, HERE.parent / "docs" / "figures" / f"dial-{name}.png")
    written = {str(dial): generate(agent, prompts[:3], dial=dial, seed=seed) for dial in (0.0, 2.0, 4.0)}
    return {
        "reward": name, "seed": seed, "updates": list(updates), "samples": samples, "rounds": rounds, "seconds": seconds,
        "commit": commit(), "data": sum(map(reward, held_out)) / len(held_out), "prompts": prompts[:3], "written": written,
        "points": [point.to_json() for point in points],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reward", nargs="+", choices=REWARDS, default=list(REWARDS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--updates", nargs=2, type=int, default=[2_000, 1_500])
    parser.add_argument("--samples", type=int, default=4_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="print the finished runs instead of running any")
    given = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    print(
        "| reward | seed | how | reward (95 %) | KL, nats | perplexity | distinct pairs | repetition |\n"
        + "|---" * 8
        + "|"
    )
    for name in given.reward:
        for seed in given.seeds:
            path = RESULTS / f"{name}-seed{seed}.json"
            result = measured(
                path, given.table, partial(run, name, seed, tuple(given.updates), given.samples, given.rounds)
            )
            if result is not None:
                for point in result["points"]:
                    low, high = point["interval"]
                    print(
                        f"| {name} | {seed} | {point['name']} | {point['reward']:.3f} ({low:.3f} to {high:.3f}) | "
                        f"{point['kl']:.2f} | {point['perplexity']:.2f} | {point['distinct']:.3f} | "
                        f"{point['repetition']:.3f} |",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
