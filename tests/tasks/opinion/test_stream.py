"""Streams: rates and shares of sentiments before and in a crisis, spread, busy times, and settings that are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from seqel.errors import ConfigError
from seqel.tasks.opinion.stream import BAD, CALM, TEXTBOOK, Setting, draw_stream, in_crisis, part_of


def shares(sentiment: Any) -> Any:
    return np.bincount(sentiment, minlength=3) / len(sentiment)


def test_the_textbook_stream() -> None:
    found = draw_stream(np.random.default_rng(0), TEXTBOOK, 20_000.0, onset=10_000.0)
    assert len(found.time) == pytest.approx(20_000, rel=0.03) and (np.diff(found.time) >= 0.0).all()
    late = in_crisis(found)
    assert found.onset.tolist() == [10_000.0] and (late == (found.time >= 10_000.0)).all()
    np.testing.assert_allclose(shares(found.sentiment[~late]), CALM, atol=0.02)
    np.testing.assert_allclose(shares(found.sentiment[late]), CALM + 0.6 * (BAD - CALM), atol=0.02)


def test_a_crisis_has_more_messages_and_spreads_to_related_companies() -> None:
    setting = Setting(companies=8, uneven=0.0, drift=0.0, busy=0.0, size=(1.0, 1.0), volume=(3.0, 3.0), spread=1.0)
    found = draw_stream(np.random.default_rng(1), setting, 4_000.0, onset=2_000.0)
    struck = np.isfinite(found.onset)
    first = int(found.onset.argmin())
    assert struck.sum() == 4 and (found.related[first] == (struck & (np.arange(8) != first))).all()
    assert found.onset[first] == 2_000.0 and (found.onset[struck] < 2_100.0).all()
    late = (found.time > 2_200.0) & (found.company == first)
    assert late.sum() / 1_800.0 == pytest.approx(3.0, rel=0.1)
    calm = found.company == np.flatnonzero(~struck)[0]
    assert calm.sum() / 4_000.0 == pytest.approx(1.0, rel=0.1)
    np.testing.assert_allclose(shares(found.sentiment[late]), BAD, atol=0.03)
    np.testing.assert_allclose(shares(found.sentiment[calm]), CALM, atol=0.03)


def test_rates_are_uneven_and_busy_times_calm() -> None:
    rng = np.random.default_rng(2)
    found = draw_stream(rng, Setting(companies=400, drift=0.0, busy=0.0), 100.0, onset=np.inf)
    rates = np.bincount(found.company, minlength=400) / 100.0
    assert rates.mean() == pytest.approx(1.0, abs=0.1) and rates.std() == pytest.approx(0.53, abs=0.1)
    busy = draw_stream(rng, Setting(companies=50, uneven=0.0, drift=0.0, busy=0.02), 400.0, onset=np.inf)
    assert len(busy.time) / 20_000.0 == pytest.approx(1.0 + 2.0 * (1.0 - 0.98**12), rel=0.1)
    np.testing.assert_allclose(shares(busy.sentiment), CALM, atol=0.02)
    assert not in_crisis(busy).any()


def test_the_share_of_streams_with_a_crisis() -> None:
    rng = np.random.default_rng(3)
    some = [draw_stream(rng, Setting(crises=0.7, spread=0.0), 24.0) for _ in range(300)]
    assert np.mean([np.isfinite(one.onset).any() for one in some]) == pytest.approx(0.7, abs=0.08)
    assert all(np.isfinite(one.onset).sum() <= 1 for one in some)


@pytest.mark.parametrize(
    "bad",
    [
        {"companies": 0},
        {"rate": 0.0},
        {"crises": 1.5},
        {"size": (0.9, 0.1)},
        {"size": 0.5},
        {"volume": (1.0, 1e3)},
        {"busy": None},
    ],
)
def test_settings_out_of_range_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"setting: {next(iter(bad))}: expected"):
        Setting(**bad)


def test_a_part_of_a_stream() -> None:
    whole = draw_stream(np.random.default_rng(4), Setting(companies=6), 40.0, 5.0)
    places, part = part_of(whole, [1, 4])
    assert set(whole.company[places].tolist()) == {1, 4} and set(part.company.tolist()) == {0, 1}
    assert (np.array([1, 4])[part.company] == whole.company[places]).all()
    assert (part.time == whole.time[places]).all() and (part.sentiment == whole.sentiment[places]).all()
    assert part.onset.tolist() == whole.onset[[1, 4]].tolist()
    assert part.related.tolist() == whole.related[[1, 4]][:, [1, 4]].tolist()
