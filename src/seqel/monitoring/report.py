"""A drift report as one HTML page that opens offline: no scripts, no fonts, no pictures from elsewhere.

Every text is escaped, and the page's own policy forbids scripts and requests: a log is foreign data.
"""

from __future__ import annotations

import math
import time
from html import escape
from typing import TYPE_CHECKING

from seqel.monitoring.comparison import FEWEST_FOR_INDEX
from seqel.pages.frame import fact_boxes, page
from seqel.terminal import sparkline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seqel.monitoring.comparison import Comparison, FeatureComparison
    from seqel.monitoring.familiarity import Familiarity
    from seqel.monitoring.reference import Reference
    from seqel.monitoring.summary import FeatureSummary

__all__ = ["report_page"]

WIDTH, HEIGHT = 320, 110  # of a histogram, in the units of its view box
MOST_CARDS = 120  # features with a histogram
MOST_DRIFTS = 200
LONGEST = 80  # characters of a bin's name

KEY = (
    '<p class="soft"><span class="key then"></span> reference &nbsp; <span class="key"></span> logged. Bars are bins of the '
    "reference, each with a tenth of its decisions where there are enough values.</p>"
)
MORE_STYLE = """
svg rect.then { fill: var(--soft); opacity: 0.55; } .large { color: #b3413a; font-weight: 600; }
.moderate { color: #a06a00; font-weight: 600; } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
.key { display: inline-block; width: 0.8rem; height: 0.8rem; border-radius: 2px; background: var(--bar); }
.key.then { background: var(--soft); opacity: 0.55; } .wide { overflow-x: auto; } td.course { letter-spacing: -0.05em; }
.wide td:first-child { min-width: 9rem; }
"""


def report_page(
    found: Comparison,
    reference: Reference,
    title: str,
    problems: Sequence[str] = (),
    unreadable: int = 0,
    states: Familiarity | None = None,
) -> str:
    """Return the page.

    Args:
        title: of the log.
        problems, unreadable: lines that were left out, as `read_log` reports them.
        states: the share of unfamiliar states; None: it is not known.
    """
    made = ", ".join(f"{name} {value}" for name, value in reference.made.items() if name != "version")
    what = (
        f"Report of <code>seqel monitor report</code>: {found.decisions:,} logged decisions compared with "
        f"{reference.decisions:,} decisions of {reference.episodes:,} episodes{escape(f' ({made})' if made else '')}"
    )
    notes = []
    if unreadable:
        notes.append(f"{unreadable:,} lines could not be read: {'; '.join(problems[:3])}")
    if found.decisions < FEWEST_FOR_INDEX:
        notes.append(f"{found.decisions:,} decisions are few: an index of 0.1 can occur by chance.")
    body = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="soft">{what}</p>',
        _facts(found),
        *(f'<p class="note">{escape(note)}</p>' for note in notes),
        f"<h2>Detected drifts</h2>{_drifts(found)}",
        *([] if states is None else [f"<h2>Unfamiliar states</h2>{_states(states)}"]),
        f"<h2>Features</h2>{_table(found)}",
        f"<h2>Distributions</h2>{KEY}",
        f'<div class="cards">{"".join(map(_card, found.features[:MOST_CARDS]))}</div>',
        f"<h2>Rewards</h2>{_rewards(found)}",
    ]
    return page(title, body, MORE_STYLE)


def _facts(found: Comparison) -> str:
    severe = sum(one.severity == "large" for one in found.features)
    moderate = sum(one.severity == "moderate" for one in found.features)
    facts = {
        "decisions": f"{found.decisions:,}",
        "sessions": f"{found.sessions:,}",
        "from (UTC)": _when(found.first),
        "to (UTC)": _when(found.last),
        "features with a large index": f"{severe} of {len(found.features)}",
        "features with a moderate index": f"{moderate} of {len(found.features)}",
        "drifts": f"{len(found.drifts)}",
        "versions of the agent": ", ".join(found.agents[:3]) + (" ..." if len(found.agents) > 3 else ""),
    }
    return fact_boxes(facts)


def _drifts(found: Comparison) -> str:
    if not found.drifts:
        return "<p>None. The thresholds are calibrated for one false alarm in 10,000 decisions.</p>"
    rows = "".join(
        f'<tr><td class="n">{one.decision:,}</td><td>{escape(str(one))}</td></tr>' for one in found.drifts[:MOST_DRIFTS]
    )
    return f'<table><tr><th class="n">decision</th><th>what was detected</th></tr>{rows}</table>'


def _states(found: Familiarity) -> str:
    """Shares of states that the agent's network does not know from familiar input, by detector."""
    head = '<tr><th>detector</th><th class="n">states</th><th class="n">expected</th><th class="n">sessions</th></tr>'
    rows = "".join(
        f'<tr><td>{escape(name)}</td><td class="n">{share:.2%}</td><td class="n">{found.expected:.2%}</td>'
        f'<td class="n">{found.affected[name]:.1%}</td></tr>'
        for name, share in found.shares.items()
    )
    left = f" {found.incomplete:,} decisions were left out: their session lacks its start." if found.incomplete else ""
    verdict = '<p class="large">More than twice as many states are unfamiliar as expected.</p>' if found.large else ""
    note = (
        f'<p class="soft">The agent read {found.sessions:,} sessions ({found.states:,} states) again. A detector reports a '
        "state of its network that is further from the familiar ones than its threshold; sessions: the share of them in "
        f"which more states than expected are reported.{left}</p>"
    )
    return f"{verdict}<table>{head}{rows}</table>{note}"


def _table(found: Comparison) -> str:
    head = (
        '<tr><th>feature</th><th class="n">PSI</th><th></th><th>over the log</th><th class="n">missing</th>'
        '<th class="n">in the reference</th><th class="n">mean</th><th class="n">in the reference</th></tr>'
    )
    rows = "".join(
        f'<tr><td>{escape(one.name)}</td><td class="n">{one.psi:.3f}</td><td class="{one.severity}">{one.severity}</td>'
        f'<td class="course">{sparkline(list(one.course)) if len(one.course) > 1 else ""}</td>'
        f'<td class="n">{one.live.missing:.1%}</td><td class="n">{one.reference.missing:.1%}</td>'
        f'<td class="n">{_number(one.live.mean)}</td><td class="n">{_number(one.reference.mean)}</td></tr>'
        for one in found.features
    )
    note = (
        '<p class="soft">PSI: population stability index, 0 for equal distributions. By convention, 0.1 to 0.25 is a '
        "moderate change; more is large.</p>"
    )
    return f'{note}<div class="wide"><table>{head}{rows}</table></div>'


def _card(one: FeatureComparison) -> str:
    """A pair of histograms over the bins of the reference."""
    most = max((*one.reference_shares, *one.live_shares), default=0.0) or 1.0
    wide = WIDTH / len(one.labels)
    drawn = []
    for place, (label, then, now) in enumerate(zip(one.labels, one.reference_shares, one.live_shares, strict=True)):
        text = escape(f"{label[:LONGEST]}: reference {then:.1%}, logged {now:.1%}")
        for offset, share, style in ((0.08, then, ' class="then"'), (0.5, now, "")):
            tall = max(HEIGHT * share / most, 1.0 if share else 0.0)
            drawn.append(
                f'<rect{style} x="{(place + offset) * wide:.1f}" y="{HEIGHT - tall:.1f}" width="{0.42 * wide:.1f}" '
                f'height="{tall:.1f}"><title>{text}</title></rect>'
            )
    label = escape(f"{one.name}: PSI {one.psi:.3f}", quote=True)
    return (
        f'<div class="card"><h3>{escape(one.name)} <span class="{one.severity}">{one.psi:.3f}</span></h3>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT + 1}" role="img" aria-label="{label}">{"".join(drawn)}'
        f'<line x1="0" y1="{HEIGHT}" x2="{WIDTH}" y2="{HEIGHT}"/></svg>'
        f'<div class="ends"><span>{escape(one.labels[0][:LONGEST])}</span>'
        f"<span>missing {one.live.missing:.1%}</span></div></div>"
    )


def _rewards(found: Comparison) -> str:
    if math.isnan(found.reward.mean):
        return "<p>The log has no rewards.</p>"
    head = (
        '<tr><th></th><th class="n">known</th><th class="n">mean</th><th class="n">standard deviation</th>'
        '<th class="n">median</th><th class="n">1 %</th><th class="n">99 %</th></tr>'
    )

    def row(name: str, one: FeatureSummary) -> str:
        numbers = (one.mean, one.std, one.quantiles[4], one.quantiles[1], one.quantiles[7])
        cells = "".join(f'<td class="n">{_number(value)}</td>' for value in numbers)
        return f'<tr><td>{name}</td><td class="n">{1 - one.missing:.1%}</td>{cells}</tr>'

    rows = row("logged", found.reward)
    if found.reference_reward is not None:
        rows += row("reference", found.reference_reward)
    return f"<table>{head}{rows}</table>"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4g}"


def _when(seconds: float) -> str:
    if not 0 < seconds < 1e11:
        return "-"
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(seconds))
