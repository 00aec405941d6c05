"""How many messages per second `seqel watch` reads on one core, and whether its memory stays the same.

    SEQEL_DATA=/folder/of/data python benchmarks/watch_speed.py [--messages 1000000] [--companies 10000] [--encoder hashed]

The messages are sentences of the Financial PhraseBank at random times about random companies, in a file; the network has
random weights, because speed does not depend on them. Seconds include reading, alerts and saving the state.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from measured import commit, memory
from seqel.agents.agent import Agent
from seqel.networks.config import NetworkConfig
from seqel.networks.qnetwork import QNetwork
from seqel.spaces import ActionSpec, ObservationSpec
from seqel.tasks.opinion.monitoring import OpinionMonitoring
from seqel.tasks.opinion.sentences import Opinions, read_opinions
from seqel.tasks.opinion.stream import Setting
from seqel.texts.config import TextConfig
from seqel.texts.make import make_reader
from seqel.watching.calibration import Calibration, sentiments_of, weights_of
from seqel.watching.session import Session
from seqel.watching.watcher import Watcher
from text_choice import MODEL

RESULTS = Path(__file__).parent / "results" / "watch-speed"


def make_agent(opinions: Opinions, encoder: str, context: int) -> Agent:
    """Return an agent of the size that `opinion_agents.py` trains, with random weights."""
    env = OpinionMonitoring(opinions, "test", Setting())
    reader = make_reader(TextConfig(encoder="pretrained", model=MODEL, length=64)) if encoder == "pretrained" else None
    torch.manual_seed(0)
    spec = ObservationSpec.from_space(env.observation_space)
    if reader is not None:
        spec = spec.with_text_reader(reader)
    config = NetworkConfig(width=64, layers=2, context=context, previous_reward=False)
    network = QNetwork(config, spec, ActionSpec.from_space(env.action_space))
    for parameter in network.head.parameters():
        torch.nn.init.normal_(parameter)
    return Agent(network)


def run(messages: int, companies: int, encoder: str, context: int) -> dict[str, Any]:
    (path,) = (Path(os.environ["SEQEL_DATA"]) / "financial-phrasebank").glob("*.csv")
    opinions = read_opinions(path, encoding="latin-1")
    agent = make_agent(opinions, encoder, context)
    texts = [text for split in opinions.sentences.values() for some in split for text in some]
    rng = np.random.default_rng(0)
    times = 1.75e9 + np.sort(rng.uniform(0.0, 7 * 86_400.0, messages))
    about, what = rng.integers(companies, size=messages), rng.integers(len(texts), size=messages)
    calibration = Calibration(6.0, 6.0, 500.0, sentiments_of(agent, opinions), weights_of(agent))
    seen: list[tuple[int, float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "messages.jsonl"
        with source.open("w", encoding="utf-8") as file:
            for moment, company, text in zip(times.tolist(), about.tolist(), what.tolist(), strict=True):
                file.write(json.dumps({"time": moment, "company": f"C{company}", "text": texts[text]}) + "\n")
        session = Session(Watcher(agent, calibration), Path(folder) / "state", source, Path(folder) / "alerts", print)
        began = time.perf_counter()
        for _ in session.alerts_of():
            if session.messages >= (len(seen) + 1) * messages // 10:
                seen.append((session.messages, time.perf_counter() - began, memory()))
                print(f"{seen[-1][0]:,} messages, {seen[-1][1]:.0f} s, {seen[-1][2]:.0f} MiB", flush=True)
        seconds = time.perf_counter() - began
        session.close()
    return {
        "messages": messages, "companies": companies, "encoder": encoder, "context": context, "seconds": seconds,
        "per_second": messages / seconds, "alerts": session.given, "seen": seen, "commit": commit(),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--companies", type=int, default=10_000)
    parser.add_argument("--encoder", choices=("hashed", "pretrained"), default="hashed")
    parser.add_argument("--context", type=int, default=256)
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = run(given.messages, given.companies, given.encoder, given.context)
    print(f"{found['per_second']:.0f} messages per second, {found['alerts']:,} alerts")
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{given.encoder}-{given.messages}-{given.companies}.json"
    path.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
