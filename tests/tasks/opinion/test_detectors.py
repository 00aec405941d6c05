"""Detectors: hand-worked charts, windows by definition, and CUSUM's run length against Siegmund's formula."""

from __future__ import annotations

import numpy as np
import pytest

from seqel.tasks.opinion import detectors
from seqel.tasks.opinion.detectors import ClassifiedMessages, likelihood_ratios
from seqel.tasks.opinion.sentences import NEGATIVE
from seqel.tasks.opinion.stream import BAD, CALM, Setting, draw_stream

PRIOR = np.full(3, 1 / 3)


def read(time: list[float], company: list[int], sentiment: list[int]) -> ClassifiedMessages:
    """Messages whose sentiment is known."""
    return ClassifiedMessages(np.array(time), np.array(company), np.eye(3)[sentiment])


def test_likelihood_ratios_of_known_sentiments() -> None:
    bad = CALM + 0.5 * (BAD - CALM)
    found = likelihood_ratios(np.eye(3), PRIOR, 0.5)
    np.testing.assert_allclose(found, np.log(bad / CALM))
    assert found[NEGATIVE] > 0.0 > found[2]
    # a classifier that says nothing gives the shares that it was trained on, and a ratio of 1
    np.testing.assert_allclose(likelihood_ratios(PRIOR[None], PRIOR, 0.5), [0.0], atol=1e-12)


def test_charts_by_hand() -> None:
    some = read([0.0, 1.0, 2.0, 3.0, 4.0], [0, 1, 0, 0, 1], [0, 0, 2, 0, 2])
    up, _, down = likelihood_ratios(np.eye(3), PRIOR, 0.5)
    after = max(0.0, up + down)
    expected = [up, up, after, after + up, max(0.0, up + down)]
    np.testing.assert_allclose(detectors.cusum(PRIOR, 0.5)(some), expected)
    one = np.exp(up)
    two = (1.0 + one) * np.exp(down)
    three = (1.0 + two) * np.exp(up)
    found = detectors.shiryaev_roberts(PRIOR, 0.5)(some)
    np.testing.assert_allclose(np.exp(found), [one, one, two, three, two])


def test_windows_by_definition() -> None:
    rng = np.random.default_rng(0)
    stream = draw_stream(rng, Setting(companies=3, rate=0.5), 24.0 * 12, onset=200.0)
    probabilities = rng.dirichlet(np.ones(3), len(stream.time))
    some = ClassifiedMessages(stream.time, stream.company, probabilities)

    def total(place: int, newest: float, oldest: float, weight: np.ndarray) -> float:
        age = stream.time[place] - stream.time
        return float(weight[(stream.company == stream.company[place]) & (age >= newest) & (age < oldest)].sum())

    negative, ones = probabilities[:, NEGATIVE], np.ones(len(probabilities))
    last, half, loud, days = (
        rule(some)
        for rule in (detectors.last_hour, detectors.seven_days_and_a_half, detectors.volume, detectors.seven_days)
    )
    for place in range(0, len(stream.time), 37):
        time = stream.time[place]
        assert last[place] == pytest.approx(total(place, 0, 1, negative) / (total(place, 1, 13, negative) / 12 + 0.25))
        assert loud[place] == pytest.approx(total(place, 0, 1, ones) / (total(place, 1, 25, ones) / 24 + 0.25))
        past = min(max(time - 24.0, 1.0), 168.0) / 24.0
        assert half[place] == pytest.approx(
            total(place, 0, 24, negative) / (total(place, 24, 192, negative) / past + 1.0)
        )
        before = [total(place, 24.0 * day, 24.0 * day + 24.0, negative) for day in range(1, 8) if 24.0 * day <= time]
        before = before[: int(time // 24)]
        if len(before) > 1:
            score = (total(place, 0, 24, negative) - np.mean(before)) / np.sqrt(np.var(before, ddof=1) + 1.0)
            assert days[place] == pytest.approx(score)
        else:
            assert days[place] == 0.0


@pytest.mark.parametrize("change", [-0.3, 0.0, 0.4])
def test_run_lengths_of_cusum_follow_siegmunds_formula(change: float) -> None:
    rng, threshold, lengths = np.random.default_rng(0), 4.0, []
    for _ in range(400):
        level, count = 0.0, 0
        while level <= threshold:
            level, count = max(0.0, level + rng.normal(change)), count + 1
        lengths.append(count)
    assert np.mean(lengths) == pytest.approx(detectors.siegmund(threshold, change, 1.0), rel=0.12)
