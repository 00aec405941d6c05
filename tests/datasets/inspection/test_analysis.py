from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from seqel.datasets.dataset import load
from seqel.datasets.inspection.analysis import UPDATE_STEPS, analyse, bar, histogram, shortened
from seqel.datasets.inspection.leakage import explained
from seqel.training.config import preset

ROWS = 4_000
KINDS = {"x": "number", "y": "number", "kind": "category", "say": "text"}


def clean(**columns: Any) -> pl.DataFrame:
    """Rewards that depend on the observation and the action, with noise: clean data without warnings."""
    rng = np.random.default_rng(0)
    x, action = rng.normal(size=ROWS), rng.integers(0, 3, ROWS)
    base = {
        "who": [f"s{i // 10}" for i in range(ROWS)],
        "step": np.arange(ROWS) % 10,
        "x": x,
        "y": rng.normal(size=ROWS),
        "kind": rng.choice(list("abcd"), ROWS),
        "say": [f"text {i}" for i in rng.integers(0, 50, ROWS)],
        "do": action,
        "gain": (x * (action == 1) + rng.normal(size=ROWS)).round(2),
    }
    return pl.DataFrame({**base, **columns})


def found(tables: Any, frame: pl.DataFrame, kinds: dict[str, str] | None = None, **schema: Any) -> dict[str, Any]:
    path = tables.directory / "t.parquet"
    frame.write_parquet(path)
    return analyse(load(path, tables.schema(observation=kinds or KINDS, **schema), duplicates="first"))


def test_clean_data_give_no_warning(tables: Any) -> None:
    report = found(tables, clean())
    assert report["warnings"] == []
    assert (report["rows"], report["sessions"], report["transitions"]) == (4_000, 400, 4_000)
    assert report["lengths"]["median"] == 10
    assert sum(one["count"] for one in report["reward"]["histogram"]) == 4_000
    assert [one["name"] for one in report["actions"]] == ["0", "1", "2"]
    trained = report["trained_on"]
    assert trained["sessions"] + trained["held_out_sessions"] == 400
    assert [leaf["path"] for leaf in trained["observation"]] == ["numbers", "categories", "text/say"]


def leaks() -> dict[str, Any]:
    gain = clean()["gain"].to_numpy()
    rng = np.random.default_rng(1)
    return {
        "itself": gain,
        "scaled": 3 - 100 * gain,
        "noisy": gain + 0.05 * rng.normal(size=ROWS),
        "squared": (gain + 20) ** 4,
    }


@pytest.mark.parametrize("name", ["itself", "scaled", "noisy", "squared"])
def test_a_number_that_predicts_the_reward_is_named(tables: Any, name: str) -> None:
    report = found(tables, clean(after=leaks()[name]), {**KINDS, "after": "number"})
    assert [(leak["column"], leak["tells"]) for leak in report["leaks"]] == [("after", "reward")]
    assert "column 'after' alone explains" in report["warnings"][0]


@pytest.mark.parametrize("kind", ["category", "text", "vector"])
def test_a_category_text_or_vector_that_predicts_the_reward_is_named(tables: Any, kind: str) -> None:
    gain = np.random.default_rng(2).integers(0, 4, ROWS)
    after: Any = [[0.5, float(g)] for g in gain] if kind == "vector" else [f"got {g}" for g in gain]
    report = found(tables, clean(after=after, gain=gain), {**KINDS, "after": kind})
    assert [leak["column"] for leak in report["leaks"]] == ["after[1]" if kind == "vector" else "after"]


def test_a_column_that_is_the_action_is_named(tables: Any) -> None:
    action = clean()["do"].to_numpy()
    for kind, after in (("number", action * 2.0), ("category", [f"act {a}" for a in action])):
        report = found(tables, clean(after=after), {**KINDS, "after": kind})
        assert [(leak["column"], leak["tells"]) for leak in report["leaks"]] == [("after", "action")]


def test_values_that_occur_once_explain_nothing(tables: Any) -> None:
    report = found(tables, clean(after=[f"id {i}" for i in range(ROWS)]), {**KINDS, "after": "category"})
    assert report["leaks"] == []
    groups, reward = np.arange(100), np.arange(100.0) % 2
    assert explained(groups, reward, 50) <= 0.0
    assert explained(np.arange(100) % 2, reward, 50) == 1.0


def test_suspicious_data_give_warnings(tables: Any) -> None:
    frame = clean(gain=np.full(ROWS, 2.0))
    assert any("the reward is 2 in every row" in text for text in found(tables, frame)["warnings"])
    one = clean().head(10)
    assert any("a single session" in text for text in found(tables, one)["warnings"])
    double = pl.concat([clean(), clean().head(3)])
    report = found(tables, double)
    assert report["duplicates"] == 3
    assert any("row 1 and" in text and "3 rows repeat" in text for text in report["warnings"])
    report = found(tables, clean().sample(fraction=1.0, shuffle=True, seed=0))
    assert report["out_of_order"] > 1_000
    assert any("they were sorted" in text for text in report["warnings"])
    rare = clean().with_columns(do=pl.when(pl.int_range(pl.len()) == 5).then(9).otherwise("do"))
    assert any("1 actions are rare (9)" in text for text in found(tables, rare)["warnings"])
    report = found(tables, clean(), actions=["0", "1", "2", "3"])
    assert any("1 actions never occur (3)" in text for text in report["warnings"])
    single = found(tables, clean(do=["a"] * ROWS))
    assert any("nothing to decide" in text for text in single["warnings"])
    holes = clean().with_columns(y=pl.when(pl.int_range(pl.len()) % 3 > 0).then(None).otherwise("y"))
    report = found(tables, holes)
    assert report["missing"]["y"] == pytest.approx(2 / 3, abs=1e-3)
    assert any("'y' is missing in 67%" in text for text in report["warnings"])
    odd = clean().with_columns(kind=pl.when(pl.int_range(pl.len()) == 7).then(pl.lit("zz")).otherwise("kind"))
    assert any("kind: 1 of 5" in text for text in found(tables, odd)["warnings"])
    cut = found(tables, clean(), ends="truncated")
    assert any("400 sessions are truncated without a final observation" in text for text in cut["warnings"])


def test_the_share_of_long_texts_that_is_read_is_reported(tables: Any) -> None:
    say = ["short", "x" * 96, "é" * 64, "y" * 64] * (ROWS // 4)
    report = found(tables, clean(say=say))
    assert report["texts"]["say"] == {
        "length": 64, "texts": ROWS, "truncated": ROWS // 2, "bytes": 293 * ROWS // 4, "unread": 96 * ROWS // 4,
    }  # fmt: skip
    assert any(
        "column 'say': 50% of the texts are longer than the 64 bytes that are read, and 33%" in t
        for t in report["warnings"]
    )
    assert not any("longer than" in text for text in found(tables, clean(say=say), text_length=128)["warnings"])


def test_events_at_one_moment_are_mentioned(tables: Any) -> None:
    report = found(tables, clean().with_columns(step=pl.int_range(pl.len()) % 10 // 2))
    assert (report["ties"], report["duplicates"]) == (ROWS // 2, 0)
    assert any("2,000 rows have the same order as the row before" in text for text in report["warnings"])


def test_behaviour_probabilities_are_checked(tables: Any) -> None:
    rng = np.random.default_rng(3)
    chances = np.array([0.5, 0.3, 0.2])
    action = rng.choice(3, ROWS, p=chances)
    good = found(tables, clean(do=action, p=chances[action]), behaviour_probability="p")
    assert good["warnings"] == []
    assert good["behaviour"]["mean_inverse"] == pytest.approx(3, abs=0.15)
    wrong = found(tables, clean(do=action, p=np.full(ROWS, 0.9)), behaviour_probability="p")
    assert any("check that these are the probabilities of the recorded actions" in text for text in wrong["warnings"])
    sure = found(tables, clean(do=action, p=np.ones(ROWS)), behaviour_probability="p")
    assert any("every behaviour probability is 1" in text for text in sure["warnings"])


def test_histograms_and_bars() -> None:
    assert histogram(np.array([1.0, 0.0, 1.0])) == [
        {"from": 0.0, "to": 0.0, "count": 1},
        {"from": 1.0, "to": 1.0, "count": 2},
    ]
    bins = histogram(np.arange(100.0), 4)
    assert [one["count"] for one in bins] == [25] * 4
    assert (bins[0]["from"], bins[-1]["to"]) == (0.0, 99.0)
    assert (bar(0.0, 2), bar(1.0, 2), bar(0.5, 3), bar(1e-9, 2)) == ("", "██", "█▌", "▏")


def test_the_action_of_a_column_with_many_values_needs_no_large_table() -> None:
    """20,000 actions and 60,000 groups: a dense table of pairs would take 10 GB."""
    from seqel.datasets.inspection.leakage import _same

    action = np.random.default_rng(0).permutation(np.repeat(np.arange(20_000), 6))
    assert _same(action * 3, action, 60_000, 20_000) > 0.9
    rows = np.random.default_rng(1).integers(0, 5, (2, 1_000))
    dense = np.zeros((5, 5), int)
    np.add.at(dense, (rows[0, :500], rows[1, :500]), 1)
    expected = np.mean(dense.argmax(axis=1)[rows[0, 500:]] == rows[1, 500:])
    assert _same(rows[0], rows[1], 500, 5) == expected


def test_bins_of_a_heavy_tail_hold_about_as_many_values_each() -> None:
    values = np.exp(3 * np.random.default_rng(0).normal(size=10_000))
    bins = histogram(values)
    assert max(one["count"] for one in bins) < 1_000
    assert sum(one["count"] for one in bins) == 10_000
    assert (bins[0]["from"], bins[-1]["to"]) == (values.min(), values.max())
    mostly = histogram(np.concatenate([np.zeros(9_000), np.random.default_rng(0).exponential(size=1_000) ** 4]))
    assert sum(one["count"] for one in mostly) == 10_000


def test_long_names_are_shortened_in_the_middle_and_stay_distinct() -> None:
    long = "recommend_article_about_"
    names = [f"{long}sports_today", f"{long}sports_today_2", f"{long}x_sports_today", "short", f"{long}y_sports_today"]
    found = shortened(names)
    assert found[3] == "short"
    assert len(set(found)) == len(names)
    assert all(len(name) <= 24 for name in found)
    assert found[1].endswith("today_2")


def test_many_actions_give_a_warning(tables: Any) -> None:
    report = found(tables, clean(do=np.arange(ROWS)), actions=[str(n) for n in range(20_000)])
    assert any("there are 20,000 actions, and a value is computed for each" in text for text in report["warnings"])
    assert preset("offline-cql").replay.batch_tokens == UPDATE_STEPS, "the estimate is that of a real update"
