"""Customer service by an agent with a classifier in front (`Shortlist`), beside the one-step lookahead of the same belief.

    SEQEL_DATA=/folder/of/data python benchmarks/customer_agents.py [--data banking77 clinc150] [--without queue] [--seeds 0]

The agent observes what the lookahead expects of each action, and learns offline from recorded shifts in which decisions are
drawn around the lookahead's (`seqel.tasks.customers.recording`), half of them with training sentences, half with validation
sentences, and the same ones for each seed. Both know the probabilities of the setting; the inverse temperature of the
classifier is chosen by what the lookahead earns on validation sentences. All are measured on the same shifts with test
sentences: with the same seed, the same customers come, whoever serves them. "answers at once" gives the most probable answer.
`--without` takes a part of the setting out. In the full setting, all are also measured where the queue and the share of
customers out of scope drift three times as fast.

The classifier of all is logistic regression on a frozen encoder, all-MiniLM-L6-v2 or for the Chinese news titles of tnews the
multilingual one of `same_meaning.py`, cross-fitted (`seqel.texts.classes`). One JSON file per run in
benchmarks/results/customer-agents/.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache, partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

import seqel
from customer_service import PARTS, READ, folder_of, vectors_of
from measured import commit, measured, show
from seqel.evaluation.statistics import bootstrap_interval
from seqel.replay.in_memory_dataset import InMemoryDataset
from seqel.spaces.text_readers import TextReader
from seqel.tasks.customers import (
    Costs,
    CustomerService,
    CustomerServiceMetrics,
    RecordCustomers,
    Setting,
    Shortlist,
    classifier_of,
)
from seqel.tasks.customers.players import Classifier, Lookahead, Thresholds, play
from seqel.tasks.customers.recording import record_shifts
from seqel.tasks.customers.utterances import SPLITS, Split, Utterances
from seqel.texts.classes import fit_classes
from seqel.texts.config import TextConfig
from seqel.texts.make import make_class_reader
from text_choice import MODEL

RESULTS = Path(__file__).parent / "results" / "customer-agents"
INVERSE_TEMPERATURES = (0.4, 0.6, 0.8, 1.0, 1.25)
RECORDED: tuple[Split, ...] = ("train", "validation")
TUNED = 100  # seed of the validation shifts
DRIFT, DRIFTING = 0.25, ", faster drift"  # of the queue and the share out of scope; in training 0.08
TRAINING: dict[str, Any] = {
    "network.width": 64, "network.layers": 1, "network.heads": 2, "network.feedforward": 2, "network.context": 16,
    "objective.discount": 1.0, "objective.lambda_": 0.0, "objective.cql_alpha": 0.0, "replay.batch_tokens": 832,
    "learner.compile": "off", "threads": 1, "device": "cpu", "checkpoint_every": 0,
}  # fmt: skip


@dataclass(frozen=True)
class Problem:
    """A corpus with its classifier, and a setting with one part taken out."""

    data: Utterances
    classify: Classifier
    setting: Setting

    @property
    def costs(self) -> Costs:
        return Costs(wrong_of=dict.fromkeys(self.data.intents[::10], -5.0))

    def service(self, split: Split, drift: str = "") -> CustomerService:
        setting = replace(self.setting, drift=DRIFT) if drift else self.setting
        return CustomerService(self.data, split, self.costs, setting)

    @cached_property
    def inverse_temperature(self) -> float:
        """The inverse temperature of the classifier with which the lookahead earns most on validation sentences."""
        env = self.service("validation")
        return max(
            INVERSE_TEMPERATURES,
            key=lambda one: play(env, Lookahead(env, self.classify, inverse_temperature=one), 400, TUNED).reward,
        )

    def lookahead(self, env: CustomerService) -> Lookahead:
        return Lookahead(env, self.classify, inverse_temperature=self.inverse_temperature)

    def shortlist(self, split: Split, drift: str = "") -> Shortlist:
        return Shortlist(self.service(split, drift), self.lookahead)


class Multilingual(TextReader):
    """Reads texts as the vectors of the multilingual encoder."""

    name, reads = "universal-sentence-encoder-multilingual", "text, as a vector"
    dtype, shape = "float32", (512,)

    def read(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return vectors_of("tnews", list(texts))

    def unread(self, text: str) -> int:
        return 0


@lru_cache(maxsize=1)
def classifier_for(name: str) -> tuple[Utterances, Classifier, dict[str, float]]:
    """Return a corpus, its classifier with all sentences in memory, and the classifier's accuracy on test sentences."""
    data = READ[name](folder_of(name))
    labelled = CustomerService(data, setting="plain").labelled_texts()
    if name.startswith("tnews"):
        reader = fit_classes(Multilingual(), labelled)
    else:
        reader = make_class_reader(TextConfig(encoder="pretrained", model=MODEL, length=48), labelled)
    read = classifier_of(reader, len(data.intents))
    table: dict[str, NDArray[np.float64]] = {}
    for split in SPLITS:
        texts, labels = data.labelled(split)
        found = read(texts)
        table |= dict(zip(texts, found, strict=True))
    inside = labels < len(data.intents)
    accuracy = {"in scope": float((found[inside].argmax(axis=1) == labels[inside]).mean())}
    if not inside.all():
        accuracy["out of scope"] = float((found[~inside].argmax(axis=1) == labels[~inside]).mean())
    print(f"{name}: accuracy of the classifier: {accuracy}", file=sys.stderr, flush=True)
    return data, lambda sentences: np.stack([table[one] for one in sentences]), accuracy


@lru_cache(maxsize=1)
def problem_of(name: str, without: str) -> Problem:
    data, classify, _ = classifier_for(name)
    setting = Setting() if data.out_of_scope["train"] else Setting(out_of_scope=0.0)
    return Problem(data, classify, replace(setting, **{without: 0.0}) if without else setting)


@lru_cache(maxsize=1)
def recorded(name: str, without: str, shifts: int) -> tuple[InMemoryDataset, float]:
    """Record shifts, the same ones for each seed of the training."""
    return record_shifts([problem_of(name, without).shortlist(split) for split in RECORDED], shifts)


def run(name: str, without: str, seed: int, given: argparse.Namespace) -> dict[str, Any]:
    began = time.perf_counter()
    problem = problem_of(name, without)
    print(
        f"{name} without {without or 'nothing'}: inverse temperature {problem.inverse_temperature}",
        file=sys.stderr,
        flush=True,
    )
    shifts, behaviour = recorded(name, without, given.shifts)
    print(f"recorded in {time.perf_counter() - began:.0f} s: {behaviour:.3f} per customer", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        agent = seqel.train(
            data=shifts,
            steps=given.updates,
            seed=seed,
            preset="offline-cql",
            settings=TRAINING,
            out=folder,
            progress=show,
        )
    print(f"trained after {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    stages: dict[str, Any] = {}
    for drift in ("",) if without else ("", DRIFTING):
        stages |= {
            f"{who}{drift}": one
            for who, one in measure(
                problem, drift, agent, given.test_shifts, 1_000_000 + seed * given.test_shifts
            ).items()
        }
    return {
        "data": name, "without": without, "setting": asdict(problem.setting), "seed": seed, "shifts": given.shifts,
        "updates": given.updates, "test_shifts": given.test_shifts, "behaviour": behaviour,
        "inverse_temperature": problem.inverse_temperature, "accuracy": classifier_for(name)[2], "stages": stages,
        "commit": commit(), "seconds": time.perf_counter() - began,
    }  # fmt: skip


def measure(problem: Problem, drift: str, agent: seqel.Agent, shifts: int, seed: int) -> dict[str, Any]:
    """Return what each earns per customer on the same test shifts, and what it earns more than the lookahead there."""
    env, noted = problem.service("test", drift), dict[int, list[dict[str, Any]]]()
    looked = play(env, problem.lookahead(env), shifts, seed)
    at_once = play(env, Thresholds(env, problem.classify, sure=0.0, most=0), shifts, seed)
    played = seqel.evaluate(
        agent, lambda: RecordCustomers(problem.shortlist("test", drift), noted), shifts, seed, environments=128
    )
    agents = [one / env.customers for one in played.returns]
    found: dict[str, Any] = {}
    for who, rewards, customers in (
        ("agent", agents, list(chain(*noted.values()))), ("lookahead", looked.rewards, looked.customers),
        ("answers at once", at_once.rewards, at_once.customers),
    ):  # fmt: skip
        gain = np.subtract(rewards, looked.rewards)
        found[who] = {
            "reward": float(np.mean(rewards)), "interval": bootstrap_interval(rewards),
            "metrics": asdict(CustomerServiceMetrics.of(customers, problem.costs)),
        }  # fmt: skip
        if who != "lookahead":
            found[who] |= {"gain": float(gain.mean()), "gain_interval": bootstrap_interval(gain)}
        print(f"{who}{drift}: {found[who]}", file=sys.stderr, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=READ, default=["banking77", "clinc150"])
    parser.add_argument(
        "--without", nargs="+", choices=("", *PARTS), default=[""], help="parts that are taken out, one by one"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--shifts", type=int, default=15_000, help="recorded")
    parser.add_argument("--updates", type=int, default=4_000)
    parser.add_argument("--test-shifts", type=int, default=2_000, help="for each measurement")
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
            gains: dict[str, list[float]] = {}
            for seed in given.seeds:
                path = RESULTS / f"{name}-without-{without or 'nothing'}-seed{seed}.json"
                found = measured(path, given.table, partial(run, name, without, seed, given))
                if found is None:
                    continue
                start = f"| {name} | {without or '-'} |"
                for who, one in found["stages"].items():
                    gain = shown(one["gain"], one["gain_interval"], "+") if "gain" in one else ""
                    reward = shown(one["reward"], one["interval"])
                    print(f"{start} {seed} | {found['behaviour']:.3f} | {who} | {reward} | {gain} |", flush=True)
                    if "gain" in one:
                        gains.setdefault(who, []).append(one["gain"])
            for who, some in gains.items():
                if len(some) > 1:
                    mean = shown(float(np.mean(some)), student_interval(some), "+")
                    print(f"{start} {len(some)} seeds | | {who} | | {mean} |", flush=True)


def shown(value: float, interval: Sequence[float], sign: str = "") -> str:
    low, high = interval
    return f"{value:{sign}.3f} ({low:{sign}.3f} to {high:{sign}.3f})"


def student_interval(values: list[float]) -> tuple[float, float]:
    """Return the 95 % interval of the mean over seeds by Student's t."""
    half = float(stats.t.ppf(0.975, len(values) - 1)) * float(np.std(values, ddof=1)) / len(values) ** 0.5
    return float(np.mean(values)) - half, float(np.mean(values)) + half


if __name__ == "__main__":
    main()
