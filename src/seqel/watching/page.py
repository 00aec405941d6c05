"""The last day as one HTML page, without scripts and without anything from elsewhere: volume, sentiment, alerts."""

from __future__ import annotations

import html
import io
from pathlib import Path
from typing import Any

from seqel.storage import atomic_write
from seqel.tasks.opinion.sentences import SENTIMENTS
from seqel.watching.messages import when
from seqel.watching.trends import Trend
from seqel.watching.watcher import Alert, Watcher

__all__ = ["ARROWS", "bars", "write_page"]

COLOURS = ("#b3413a", "#c9d1d8", "#3b7d4f")  # negative, neutral, positive
ARROWS = {"up": "↑", "down": "↓", "level": "→"}  # of the share of negative messages
BARS = "▁▂▃▄▅▆▇█"

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2730; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin-bottom: 0; } h2 { font-size: 1.05rem; margin-top: 2rem; }
p.note { color: #5b6873; margin-top: 0; } svg { width: 100%; height: auto; }
table { border-collapse: collapse; width: 100%; } th { text-align: left; color: #5b6873; font-weight: 600; }
td, th { padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #e4e8eb; vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; } td.bars { letter-spacing: -.05em; color: #1f6fb2; }
.up { color: #b3413a; font-weight: 600; } .down { color: #3b7d4f; font-weight: 600; }
ul { margin: 0; padding-left: 1.1rem; } time { color: #5b6873; }
"""


def bars(numbers: tuple[int, ...]) -> str:
    """Return numbers as a line of small bars; the largest is full."""
    top = max(numbers, default=0)
    return "".join(BARS[min(7, 8 * number // (top + 1))] if top else BARS[0] for number in numbers)


def write_page(watcher: Watcher, path: Path, most: int = 30) -> None:
    """Write the page. `most`: companies and topics that are shown. Raises StorageError."""
    end = (watcher.companies.now + 1.0) if watcher.companies.now >= 0 else 0.0
    alerts = [alert for alert in watcher.alerts if alert.time >= end - 24.0]
    day = watcher.companies.day()
    limits = watcher.calibration
    note = (
        f'<p class="note">{_count(int(day.sum()), "message", "messages")} about '
        f"{_count(watcher.companies.active, 'company', 'companies')}, {_count(len(alerts), 'alert', 'alerts')}. "
        f"Threshold {limits.alone:.3g}, in groups {limits.threshold:.3g}: one false alarm about a company in "
        f"{limits.budget:,.0f} hours. Sentiments are read by a classifier (validation accuracy "
        f"{limits.sentiment.accuracy:.1%}).</p>"
    )
    title = f"Messages of the 24 hours to {when(end)[:16].replace('T', ' ')} UTC"
    parts = [
        f"<h1>{title}</h1>", note,
        _picture(day, alerts, end) if day.sum() else "",
        "<h2>Alerts</h2>", _alerts(alerts),
        "<h2>Companies</h2>", _table("company", watcher.companies.busiest(most)),
    ]  # fmt: skip
    if watcher.topics.places:
        parts += ["<h2>Topics</h2>", _table("topic", watcher.topics.busiest(most))]
    body = "\n".join(parts)
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n<body>\n{body}\n</body></html>\n'
    )
    atomic_write(path, page)


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def _alerts(alerts: list[Alert]) -> str:
    if not alerts:
        return "<p>None.</p>"
    rows = []
    for alert in reversed(alerts):
        causes = "".join(f"<li>{html.escape(text)} <time>{when(time)}</time></li>" for time, _, text in alert.causes)
        rows.append(
            f"<tr><td><time>{when(alert.time)}</time></td><td>{html.escape(alert.company)}</td>"
            f'<td class="n">{alert.score:.3g}</td><td><ul>{causes}</ul></td></tr>'
        )
    head = '<tr><th>time</th><th>company</th><th class="n">score</th><th>messages that raised it most</th></tr>'
    return f"<table>{head}{''.join(rows)}</table>"


def _table(name: str, trends: list[Trend]) -> str:
    rows = []
    for one in trends:
        low, high = one.interval
        before = "" if one.before is None else f"{one.before:.0%}"
        rows.append(
            f'<tr><td>{html.escape(one.name)}</td><td class="n">{one.messages:,}</td><td class="bars">{bars(one.hours)}</td>'
            f'<td class="n">{one.shares[0]:.0%} ({low:.0%} to {high:.0%})</td><td class="n">{before}</td>'
            f'<td class="{one.direction}">{ARROWS[one.direction]}</td><td class="n">{one.shares[2]:.0%}</td></tr>'
        )
    head = (
        f'<tr><th>{name}</th><th class="n">messages</th><th>by hour</th><th class="n">negative (95 %)</th>'
        '<th class="n">7 days before</th><th></th><th class="n">positive</th></tr>'
    )
    return f"<table>{head}{''.join(rows)}</table>"


def _picture(day: Any, alerts: list[Alert], end: float) -> str:
    """Return an SVG of the messages by hour and sentiment, with a line at each alert."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure  # no pyplot: nothing global, no window, no display needed
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9.0, 2.6), layout="constrained")
    axes = figure.subplots()
    base = day[:, 0] * 0
    hours = [int(end) - 24 + place for place in range(24)]
    for place, name in enumerate(SENTIMENTS):
        axes.bar(hours, day[:, place], 0.9, base, color=COLOURS[place], align="edge", label=name)
        base = base + day[:, place]
    for number, alert in enumerate(alerts):
        axes.axvline(alert.time, color="#10344f", lw=1.2, ls=":", label="alert" if not number else None)
    ticks = [*hours[::3], hours[-1] + 1]
    axes.set_xticks(ticks, [when(hour)[11:16] for hour in ticks])
    axes.set_xlim(hours[0], hours[-1] + 1)
    axes.set_xlabel("hour (UTC)")
    axes.set_ylabel("messages per hour")
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, ncols=4, loc="upper left", bbox_to_anchor=(0.0, 1.18))
    picture = io.StringIO()
    # without a fixed salt, the same page would have other ids each time
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "seqel"}):
        figure.savefig(picture, format="svg", metadata={"Date": None})
    text = picture.getvalue()
    return text[text.index("<svg") :]
