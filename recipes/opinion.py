"""From sentences with their sentiments to an agent that watches: record streams, train on them, watch messages.

    python recipes/opinion.py SENTENCES.csv [--out runs/opinion] [--streams 6000] [--updates 15000]

The file has the columns result (negative, neutral or positive) and content. A classifier of the sentiments is fitted on the
training sentences; a rule (CUSUM with random thresholds) raises alerts in simulated streams, and the agent learns from these
what an alert is worth. `seqel watch` then reads your own messages.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import seqel
from seqel.errors import SeqelError
from seqel.tasks.opinion import Costs, OpinionMonitoring
from seqel.texts.config import TextConfig
from seqel.texts.make import make_class_reader
from seqel.watching import record_streams

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
SETTINGS: dict[str, Any] = {
    "network.width": 64, "network.layers": 2, "network.heads": 2, "network.context": 256, "network.previous_reward": False,
    "objective.discount": 0.0, "objective.cql_alpha": 0.0, "replay.batch_tokens": 2_048,
}  # fmt: skip
# An hour of delay costs more than by default, so that each message teaches the network how probable a crisis is, and not only
# the few at which an alert was given. The order of Q(alert) - Q(wait) stays the same; its threshold is set by `seqel watch`.
COSTS = Costs(delay=-0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("sentences", help="a CSV file with the columns result and content")
    parser.add_argument("--encoding", default="utf-8", help="of the file (the Financial PhraseBank: latin-1)")
    parser.add_argument("--model", default=MODEL, help="the encoder: a folder or an id of the Hugging Face hub")
    parser.add_argument("--out", type=Path, default=Path("runs/opinion"))
    parser.add_argument("--companies", type=int, default=4, help="that may be related, and share a row of the memory")
    parser.add_argument("--streams", type=int, default=6_000, help="of 192 hours each")
    parser.add_argument("--updates", type=int, default=15_000)
    options = parser.parse_args()
    if options.out.exists() and any(options.out.iterdir()):  # before minutes of recording
        parser.error(f"--out: expected a new folder, got {options.out}, which is not empty")
    env = OpinionMonitoring(
        options.sentences, setting={"companies": options.companies}, costs=COSTS, hours=192.0, encoding=options.encoding
    )
    began = time.perf_counter()
    text = TextConfig(encoder="pretrained", model=options.model, length=64)
    data = record_streams(env, make_class_reader(text, env.labelled_texts()), options.streams)
    print(f"{data.buffer.lengths.sum():,} messages recorded in {time.perf_counter() - began:.0f} s", flush=True)
    seqel.train(data=data, steps=options.updates, settings=SETTINGS, out=options.out)
    encoding = "" if options.encoding == "utf-8" else f" --encoding {options.encoding}"
    print(f"now: seqel watch {options.out} --input MESSAGES.jsonl --sentences {options.sentences}{encoding}")


if __name__ == "__main__":
    try:
        main()
    except SeqelError as error:
        sys.exit(f"{error}")
