"""A log compared with a reference, and the page: figures, escaping, nothing from elsewhere."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from seqel.cli.output import plain
from seqel.errors import DataError
from seqel.monitoring.bins import psi
from seqel.monitoring.comparison import Comparison, compare
from seqel.monitoring.log import LoggedDecisions
from seqel.monitoring.reference import Reference
from seqel.monitoring.report import report_page
from support_monitoring import FAST, PERHAPS, decisions, quick_calibration


def logged(shift: float = 2.0) -> LoggedDecisions:
    given = decisions(60, seed=9)
    rows = given.rows.copy()
    half = len(rows) // 2
    rows[half:, FAST] += shift
    rows[::4, PERHAPS] = np.nan
    sessions = [f"s{n}" for n, length in enumerate(given.lengths.tolist()) for _ in range(length)]
    times = 1.796e9 + np.arange(float(len(rows)))
    return LoggedDecisions(rows, given.rewards, times, sessions, ["v1"] * half + ["v2"] * (len(rows) - half), 0, [])


@pytest.fixture(scope="module")
def made() -> Reference:
    return decisions(60).reference({"from": "play", "env": "<Some>-v0"})


@pytest.fixture(scope="module")
def found(made: Reference) -> Comparison:
    return compare(made, logged(), detect=False)


def test_the_figures(made: Reference, found: Comparison) -> None:
    log, bins = logged(), made.bins
    counts = bins.counts(bins.index(log.rows))
    expected = psi(counts, made.counts, bins.used, made.effective_episodes)
    assert [one.psi for one in found.features] == sorted(expected.tolist(), reverse=True)
    first = found.features[0]
    assert first.name == "seen[1]" and first.severity == "large"
    assert len(first.labels) == len(first.live_shares) == len(first.reference_shares) and first.labels[-1] == "missing"
    assert sum(first.live_shares) == pytest.approx(1.0) and sum(first.reference_shares) == pytest.approx(1.0)
    assert np.mean(first.course[:6]) < np.mean(first.course[6:]), "it began in the middle of the log"
    perhaps = next(one for one in found.features if one.name == "seen[2]")
    assert perhaps.live.missing == pytest.approx(np.isnan(log.rows[:, PERHAPS]).mean())
    assert perhaps.live_shares[-1] == pytest.approx(perhaps.live.missing)
    assert found.sessions == 60 and found.agents == ("v1", "v2") and found.decisions == len(log)
    assert found.reward.mean == pytest.approx(log.rewards.mean())
    assert plain(found.as_json())["features"][0]["severity"] == "large"


def test_drifts_are_those_of_a_monitor(made: Reference) -> None:
    pytest.importorskip("river")
    with quick_calibration():
        drifts = compare(made, logged()).drifts
    half = len(logged()) // 2
    assert "seen[1]" in {one.feature for one in drifts} and all(one.decision <= len(logged()) for one in drifts)
    assert min(one.decision for one in drifts if one.feature == "seen[1]") > half


def test_without_river_the_windows_alone_detect(made: Reference, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "river", None)
    with quick_calibration():
        assert all(one.window for one in compare(made, logged()).drifts)


class Page(HTMLParser):
    """Collects tags, addresses and unclosed elements."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "action", "data")]
        if tag not in ("meta", "rect", "line", "br", "img", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("rect", "line"):
            assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_else(made: Reference, found: Comparison) -> None:
    text = report_page(found, made, "Drift of <b>mine</b>", ["log, line 3: <script>alert(1)</script>"], 1)
    page = Page()
    page.feed(text)
    assert page.open == [] and page.addresses == []
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert text.count("<script") == 0 and "&lt;script&gt;" in text and "Drift of &lt;b&gt;mine&lt;/b&gt;" in text
    assert "&lt;Some&gt;-v0" in text and "default-src &#x27;none&#x27;" not in text and "default-src 'none'" in text
    assert not re.search(r"https?://|url\(|@import", text)
    assert page.tags.count("svg") == len(found.features) == 6
    assert page.tags.count("rect") == 2 * sum(len(one.labels) for one in found.features)
    for shown in ("1 lines could not be read", "large", "2026-11-30", "seen[1]", "60", "over the log"):
        assert shown in text


def test_names_of_features_are_escaped(made: Reference) -> None:
    given = decisions(60)
    given.features.names[FAST] = '<img src=x onerror="x">'
    text = report_page(compare(given.reference(), logged(), detect=False), made, "t")
    assert "<img" not in text and "&lt;img" in text


def test_few_decisions_and_no_rewards_are_said(made: Reference) -> None:
    log = logged()
    few = LoggedDecisions(log.rows[:50], np.full(50, np.nan), np.zeros(50), log.sessions[:50], log.agents[:50], 0, [])
    text = report_page(compare(made, few, detect=False), made, "t")
    assert "50 decisions are few" in text and "The log has no rewards" in text


def test_a_log_of_another_agent_is_refused(made: Reference) -> None:
    log = logged()
    other = LoggedDecisions(log.rows[:, :4], log.rewards, log.times, log.sessions, log.agents, 0, [])
    with pytest.raises(DataError, match="expected 6 features as in the reference, got 4"):
        compare(made, other)
