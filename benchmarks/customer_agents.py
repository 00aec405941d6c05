"""Customer service by an agent with a classifier in front (`Shortlist`), beside the one-step lookahead of the same belief.

    SEQEL_DATA=/folder/of/data python benchmarks/customer_agents.py [--data banking77 clinc150] [--without queue] [--seeds 0]

The agent learns offline from recorded shifts with training sentences, in which a rule decided, with a share of random
decisions (`seqel.tasks.customers.recording`); with `--online`, then in the environment. It is measured on shifts with test
sentences, and so is the lookahead, which knows the probabilities of the setting; its trust in the classifier is chosen on
validation sentences. `--without` takes a part of the setting out. Both are also measured where the queue and the share of
customers out of scope drift three times as fast.

The classifier of both is logistic regression on the frozen all-MiniLM-L6-v2, cross-fitted (`text.classes`). One JSON file per
run in benchmarks/results/customer-agents/.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import asdict, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

import seqel
from customer_service import PARTS, READ, folder_of
from measured import commit, measured, show
from seqel.evaluation.statistics import bootstrap_interval
from seqel.tasks.customers import (
    Costs,
    CustomerService,
    CustomerServiceMetrics,
    RecordCustomers,
    Setting,
    Shortlist,
    classifier_of,
)
from seqel.tasks.customers.players import Lookahead, play
from seqel.tasks.customers.recording import record_shifts
from seqel.tasks.customers.utterances import Split
from seqel.texts.config import TextConfig
from seqel.texts.make import make_class_reader
from text_choice import MODEL

RESULTS = Path(__file__).parent / "results" / "customer-agents"
SHIFTS = 1_000  # for each measurement
TRUSTS = (0.6, 0.8, 1.0)
DRIFT, DRIFTING = 0.25, ", faster drift"  # of the queue and the share out of scope; in training 0.08
TRAINING: dict[str, Any] = {
    "network.width": 64, "network.layers": 2, "network.heads": 2, "network.context": 48, "objective.discount": 1.0,
    "objective.lambda_": 0.0, "objective.cql_alpha": 0.0, "validation.every": 500, "threads": 1, "device": "cpu",
    "checkpoint_every": 0,
}  # fmt: skip


def run(name: str, without: str, seed: int, given: argparse.Namespace) -> dict[str, Any]:
    data = READ[name](folder_of(name))
    costs = Costs(wrong_of=dict.fromkeys(data.intents[::10], -5.0))
    setting = Setting() if data.out_of_scope["train"] else Setting(out_of_scope=0.0)
    if without:
        setting = replace(setting, **{without: 0.0})
    began = time.perf_counter()
    encoder = TextConfig(encoder="pretrained", model=MODEL, length=48)
    reader = make_class_reader(encoder, CustomerService(data).labelled_texts())
    classify = classifier_of(reader, len(data.intents))

    texts, labels = data.labelled("test")
    said, inside = classify(texts), labels < len(data.intents)
    accuracy = {
        "in scope": float((said[inside, :-1].argmax(axis=1) == labels[inside]).mean()),
        "out of scope": float((said[~inside].argmax(axis=1) == labels[~inside]).mean()) if (~inside).any() else None,
        "in scope, if it may be out of scope": float((said[inside].argmax(axis=1) == labels[inside]).mean()),
    }
    print(f"accuracy of the classifier: {accuracy}", file=sys.stderr, flush=True)
    faster = replace(setting, drift=DRIFT)

    def service(split: Split, how: Setting = setting) -> CustomerService:
        return CustomerService(data, split, costs, how)

    def shortlist(split: Split, how: Setting = setting) -> Shortlist:
        return Shortlist(service(split, how), partial(Lookahead, classifier=classify))

    shifts, behaviour = record_shifts(shortlist("train"), given.shifts, seed)
    print(f"recorded in {time.perf_counter() - began:.0f} s: {behaviour:.3f} per customer", file=sys.stderr, flush=True)
    on_validation = {
        trust: play(
            service("validation"), Lookahead(service("validation"), classify, inverse_temperature=trust), SHIFTS // 5, 1
        ).reward
        for trust in TRUSTS
    }
    trust = max(on_validation, key=lambda one: on_validation[one])
    customers = service("test").customers
    stages: dict[str, Any] = {}

    def ledger(how: Setting, noted: dict[int, list[dict[str, Any]]]) -> RecordCustomers:
        return RecordCustomers(shortlist("test", how), noted)

    settings = {"": setting, DRIFTING: faster}
    looked: dict[str, list[float]] = {}
    for drift, how in settings.items():
        played = play(
            service("test", how),
            Lookahead(service("test", how), classify, inverse_temperature=trust),
            SHIFTS,
            1_000_000,
        )
        looked[drift] = played.rewards
        stages[f"lookahead{drift}"] = {
            "reward": played.reward, "interval": bootstrap_interval(played.rewards), "trust": trust,
            "metrics": asdict(CustomerServiceMetrics.of(played.customers, costs)),
        }  # fmt: skip

    def measure(stage: str, found: seqel.Agent) -> None:
        for drift, how in settings.items():
            noted: dict[int, list[dict[str, Any]]] = {}
            played = seqel.evaluate(found, partial(ledger, how, noted), SHIFTS, seed=1_000_000)
            rewards = [one / customers for one in played.returns]
            gain = [one - other for one, other in zip(rewards, looked[drift], strict=True)]  # the same seeds of shifts
            stages[stage + drift] = {
                "reward": float(np.mean(rewards)), "interval": bootstrap_interval(rewards), "gain": float(np.mean(gain)),
                "gain_interval": bootstrap_interval(gain),
                "metrics": asdict(CustomerServiceMetrics.of(chain(*noted.values()), costs)),
            }  # fmt: skip
            print(f"{stage}{drift}: {stages[stage + drift]}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as folder:
        agent = seqel.train(
            data=shifts, steps=given.updates, seed=seed, preset="offline-cql", settings=TRAINING,
            out=Path(folder) / "offline", progress=show,
        )  # fmt: skip
        measure("offline", agent)
        if given.online:
            agent = seqel.train(
                lambda: shortlist("train"), init_from=agent, steps=given.online, seed=seed,
                settings=TRAINING | {"exploration.novelty": 0.0}, out=Path(folder) / "online", progress=show,
            )  # fmt: skip
            measure("online", agent)
    return {
        "data": name, "without": without, "setting": asdict(setting), "seed": seed, "shifts": given.shifts,
        "updates": given.updates, "online": given.online, "behaviour": behaviour, "accuracy": accuracy,
        "stages": stages, "commit": commit(), "seconds": time.perf_counter() - began,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=READ, default=["banking77", "clinc150"])
    parser.add_argument(
        "--without", nargs="+", choices=("", *PARTS), default=[""], help="parts that are taken out, one by one"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--shifts", type=int, default=20_000, help="recorded")
    parser.add_argument("--updates", type=int, default=3_000)
    parser.add_argument("--online", type=int, default=0, help="steps in the environment after the recorded shifts")
    parser.add_argument("--table", action="store_true", help="print what was measured instead of training")
    given = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    print(
        "| data | without | seed | recorded | who | reward per customer (95 %) | more than the lookahead (95 %) |\n"
        + "|---" * 7
        + "|",
        flush=True,
    )
    for name in given.data:
        for without in given.without:
            for seed in given.seeds:
                path = RESULTS / f"{name}-without-{without or 'nothing'}-seed{seed}.json"
                found = measured(path, given.table, partial(run, name, without, seed, given))
                if found is None:
                    continue
                for stage, one in found["stages"].items():
                    low, high = one["interval"]
                    gain = (
                        "{:+.3f} ({:+.3f} to {:+.3f})".format(one["gain"], *one["gain_interval"])
                        if "gain" in one
                        else ""
                    )
                    print(
                        f"| {name} | {without or '-'} | {seed} | {found['behaviour']:.3f} | {stage} | {one['reward']:.3f} "
                        f"({low:.3f} to {high:.3f}) | {gain} |",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
