"""From sentences with their intents to an agent that answers, asks or hands over: record shifts, train on them, measure.

    python recipes/shortlist.py SENTENCES.csv [--costs costs.toml] [--out runs/service] [--shifts 15000]

The file has the columns text and category (the intent). A classifier of the intents is fitted on the training sentences. In
simulated shifts, decisions are drawn around those of a one-step lookahead, which knows the simulator, and the agent learns
from these when to answer, to ask or to hand over. It is then measured on shifts with sentences that it has not seen, beside
always answering and beside the lookahead.
"""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

import seqel
from seqel.errors import SeqelError
from seqel.tasks.customers import (
    CustomerService,
    CustomerServiceMetrics,
    RecordCustomers,
    Shortlist,
    classifier_of,
    read_utterances,
)
from seqel.tasks.customers.players import Evidence, Lookahead, play
from seqel.tasks.customers.recording import record_shifts
from seqel.tasks.customers.utterances import Split
from seqel.texts.config import TextConfig
from seqel.texts.make import make_class_reader

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
SETTINGS: dict[str, Any] = {
    "network.width": 64, "network.layers": 1, "network.heads": 2, "network.feedforward": 2, "network.context": 16,
    "objective.discount": 1.0, "objective.lambda_": 0.0, "objective.cql_alpha": 0.0, "replay.batch_tokens": 832,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("sentences", help="a CSV file with the columns text and category (the intent)")
    parser.add_argument("--costs", help="a TOML file that says what each outcome is worth")
    parser.add_argument("--model", default=MODEL, help="the encoder: a folder or an id of the Hugging Face hub")
    parser.add_argument("--out", type=Path, default=Path("runs/service"))
    parser.add_argument("--shifts", type=int, default=15_000, help="of eight customers, for training")
    parser.add_argument("--updates", type=int, default=4_000)
    parser.add_argument("--test-shifts", type=int, default=400)
    options = parser.parse_args()
    if options.out.exists() and any(options.out.iterdir()):  # before minutes of recording
        parser.error(f"--out: expected a new folder, got {options.out}, which is not empty")
    data, began = read_utterances(options.sentences), time.perf_counter()
    text = TextConfig(encoder="pretrained", model=options.model, length=48)
    reader = make_class_reader(text, CustomerService(data, costs=options.costs).labelled_texts())
    classify = classifier_of(reader, len(data.intents))

    def service(split: Split) -> CustomerService:
        return CustomerService(data, split, options.costs)

    def shortlist(split: Split) -> Shortlist:
        return Shortlist(service(split), partial(Lookahead, classifier=classify))

    recorded, mean = record_shifts(shortlist("train"), options.shifts)
    seconds = time.perf_counter() - began
    print(f"{options.shifts:,} shifts recorded in {seconds:.0f} s: {mean:.3f} per customer", flush=True)
    agent = seqel.train(data=recorded, steps=options.updates, preset="offline-cql", settings=SETTINGS, out=options.out)
    env, seed, noted = service("test"), 1_000_000, dict[int, list[dict[str, Any]]]()
    rule, lookahead = Evidence(env, classify, least=-np.inf, most=0), Lookahead(env, classify)
    seqel.evaluate(agent, lambda: RecordCustomers(shortlist("test"), noted), options.test_shifts, seed=seed)
    served = {
        "always answers": play(env, rule, options.test_shifts, seed).customers,
        "one-step lookahead": play(env, lookahead, options.test_shifts, seed).customers,
        "agent": list(chain(*noted.values())),
    }  # fmt: skip
    for name, customers in served.items():
        print(f"\n{name}\n{CustomerServiceMetrics.of(customers, env.costs)}")


if __name__ == "__main__":
    try:
        main()
    except SeqelError as error:
        sys.exit(f"{error}")
