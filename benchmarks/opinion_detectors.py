"""How soon detectors find a crisis in a stream of opinions, at the same number of false alarms: what Q-learning has to beat.

    SEQEL_DATA=/folder/of/data python benchmarks/opinion_detectors.py [--seeds 0 1 2 3 4] [--budget 500] [--table]

Sentences of the Financial PhraseBank. All detectors read one classifier: logistic regression on the vectors of the frozen
all-MiniLM-L6-v2, trained on the training sentences, its regularisation chosen by log-loss on validation sentences. Their
parameters (the size of the crisis that the charts assume) are chosen by the mean delay on streams of validation sentences.
Thresholds are set for the budget (company-hours per false alarm) on calm streams of validation sentences; false alarms and
delays are then measured on streams of test sentences. One JSON file per seed in benchmarks/results/opinion-detectors/.
"""

from __future__ import annotations

import argparse
import os
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from measured import commit, measured
from seqel.evaluation.statistics import bootstrap_interval
from seqel.tasks.opinion import detectors
from seqel.tasks.opinion.detectors import ClassifiedMessages, Detector
from seqel.tasks.opinion.metrics import Alerts, evaluate_alerts, hours_between_false_alarms, threshold_for
from seqel.tasks.opinion.monitoring import Costs
from seqel.tasks.opinion.sentences import SENTIMENTS, SPLITS, Split, read_opinions
from seqel.tasks.opinion.stream import TEXTBOOK, Setting, Stream, draw_stream
from seqel.texts.config import TextConfig
from seqel.texts.make import make_reader
from text_choice import MODEL

RESULTS = Path(__file__).parent / "results" / "opinion-detectors"
SETTINGS = {"full": Setting(), "textbook": TEXTBOOK}
ONSET, HOURS = 192.0, 288.0  # the rules that look at seven days know them when a crisis begins
BUDGETS = (500.0, 1_000.0, 2_000.0)  # company-hours per false alarm, at which all are compared
STREAMS = {"full": 100, "textbook": 800}  # of each kind


@cache
def classified() -> tuple[dict[Split, list[NDArray[np.float64]]], NDArray[np.float64]]:
    """Return the probabilities of the sentiments of all sentences, by split and true sentiment; their shares in training."""
    opinions = read_opinions(
        next((Path(os.environ["SEQEL_DATA"]) / "financial-phrasebank").glob("*.csv")), encoding="latin-1"
    )
    reader = make_reader(TextConfig(encoder="pretrained", model=MODEL, length=64))
    assert reader is not None
    vectors = {split: [reader.read(list(some)) for some in opinions.sentences[split]] for split in SPLITS}
    x = {split: np.concatenate(some) for split, some in vectors.items()}
    y = {split: opinions.labelled(split)[1] for split in SPLITS}

    def nats(model: LogisticRegression, split: Split) -> float:
        return -float(np.log(model.predict_proba(x[split])[np.arange(len(y[split])), y[split]]).mean())

    fitted = [LogisticRegression(C=c, max_iter=2_000).fit(x["train"], y["train"]) for c in (0.3, 1.0, 3.0, 10.0, 30.0)]
    best = min(fitted, key=lambda one: nats(one, "validation"))
    share = np.bincount(y["train"]) / len(y["train"])
    return {split: [best.predict_proba(one) for one in some] for split, some in vectors.items()}, share


def streams(setting: str, split: Split, onset: float, seed: int) -> tuple[list[Stream], list[ClassifiedMessages]]:
    """Draw streams, and what the classifier says of a sentence that is drawn for each message."""
    probabilities, _ = classified()
    rng = np.random.default_rng((seed, SPLITS.index(split), int(np.isfinite(onset))))
    found = [draw_stream(rng, SETTINGS[setting], HOURS, onset) for _ in range(STREAMS[setting])]
    reads = []
    for one in found:
        said = np.empty((len(one.time), len(SENTIMENTS)))
        for sentiment, some in enumerate(probabilities[split]):
            places = np.flatnonzero(one.sentiment == sentiment)
            said[places] = some[rng.integers(len(some), size=len(places))]
        reads.append(ClassifiedMessages(one.time, one.company, said))
    return found, reads


def figures(
    threshold: float,
    calm: list[Stream],
    quiet: list[NDArray[np.float64]],
    struck: list[Stream],
    found: list[NDArray[np.float64]],
) -> dict[str, Any]:
    """Return delays and false alarms on test streams, with the threshold that validation gave ("delay", "between").

    "equal": for each of `BUDGETS`, with the threshold that has exactly this budget on the calm test streams, for comparing
    detectors whose false alarms on test sentences differ. "reward": what the alerts in streams with a crisis are worth, per
    stream, in units of `Costs`, without fatigue.
    """
    costs = Costs()

    def worth(alerts: Alerts) -> float:
        caught = len(alerts.delays) - alerts.missed
        total = costs.detection * caught + costs.delay * sum(alerts.delays) + costs.false_alarm * alerts.before
        return total / len(struck)

    def of(alerts: Alerts) -> dict[str, Any]:
        return {
            "delay": alerts.mean, "interval": bootstrap_interval(alerts.delays), "reward": worth(alerts),
            "before": alerts.before, "missed": alerts.missed / len(alerts.delays),
        }  # fmt: skip

    alerts = evaluate_alerts(struck, found, threshold, HOURS)
    equal = {
        f"{one:g}": of(evaluate_alerts(struck, found, threshold_for(one, calm, quiet, HOURS), HOURS)) for one in BUDGETS
    }
    return {
        **of(alerts), "median": float(np.median(alerts.delays)), "crises": len(alerts.delays), "threshold": threshold,
        "between": hours_between_false_alarms(calm, quiet, threshold, HOURS), "equal": equal,
    }  # fmt: skip


def candidates() -> dict[str, list[Detector]]:
    """Return the detectors, each with the values of its parameter."""
    _, prior = classified()
    sizes = (0.3, 0.45, 0.6, 0.8)
    return {
        "CUSUM": [detectors.cusum(prior, size) for size in sizes],
        "Shiryaev-Roberts": [detectors.shiryaev_roberts(prior, size) for size in sizes],
        "last hour against 12 hours": [detectors.last_hour],
        "mean + k standard deviations of 7 days": [detectors.seven_days],
        "share of the 7-day mean": [detectors.seven_days_and_a_half],
        "volume alone": [detectors.volume],
    }


def run(setting: str, seed: int, budget: float) -> dict[str, Any]:
    calm = {split: streams(setting, split, np.inf, seed) for split in ("validation", "test")}
    struck = {split: streams(setting, split, ONSET, seed) for split in ("validation", "test")}
    found: dict[str, Any] = {}
    for name, some in candidates().items():
        best: tuple[float, float, Detector] | None = None
        for one in some:
            threshold = threshold_for(
                budget, calm["validation"][0], [one(read) for read in calm["validation"][1]], HOURS
            )
            alerts = evaluate_alerts(
                struck["validation"][0], [one(read) for read in struck["validation"][1]], threshold, HOURS
            )
            if best is None or alerts.mean < best[0]:
                best = (alerts.mean, threshold, one)
        assert best is not None
        _, threshold, chosen = best
        quiet, loud = ([chosen(read) for read in some["test"][1]] for some in (calm, struck))
        found[name] = figures(threshold, calm["test"][0], quiet, struck["test"][0], loud)
    return {"setting": setting, "seed": seed, "budget": budget, "commit": commit(), "found": found}


HEADER = "delay, hours (95 %) | missed | hours between false alarms | reward |" + "".join(
    f" at {one:,.0f} hours on test streams: delay (95 %) | reward |" for one in BUDGETS
)


def row(one: dict[str, Any]) -> str:
    """Return figures as the cells of `HEADER`."""
    delay = "{:.1f} ({:.1f} to {:.1f})".format
    cells = [
        delay(one["delay"], *one["interval"]),
        f"{one['missed']:.1%}",
        f"{one['between']:.0f}",
        f"{one['reward']:.2f}",
    ]
    for some in one["equal"].values():
        cells += [delay(some["delay"], *some["interval"]), f"{some['reward']:.2f}"]
    return " | ".join(cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--setting", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--budget", type=float, default=500.0, help="company-hours per false alarm")
    parser.add_argument("--table", action="store_true", help="print the finished runs instead of running any")
    given = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    print(f"| setting | seed | detector | {HEADER}\n" + "|---" * (7 + 2 * len(BUDGETS)) + "|")
    for setting in given.setting:
        for seed in given.seeds:
            path = RESULTS / f"{setting}-seed{seed}.json"
            result = measured(path, given.table, partial(run, setting, seed, given.budget))
            if result is not None:
                for name, one in result["found"].items():
                    print(f"| {setting} | {seed} | {name} | {row(one)} |", flush=True)


if __name__ == "__main__":
    main()
