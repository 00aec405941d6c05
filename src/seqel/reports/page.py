"""The report as one HTML page, drawn from the figures alone; every text is escaped."""

from __future__ import annotations

import math
from html import escape
from typing import Any

from seqel.pages.charts import CHART_STYLE, Series, chart, histogram_chart, legend
from seqel.pages.frame import fact_boxes, page
from seqel.reports.groups_page import comparison_part, settings_part

__all__ = ["report_page"]

SHORTEST = 30  # episodes: with fewer, the page says that its intervals are wide
MORE_STYLE = """
.wide { overflow-x: auto; } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; } th.n { min-width: 0; }
td, th { overflow-wrap: normal; } td code { overflow-wrap: anywhere; } code { font-size: 0.85rem; }
.card > .keys { margin-top: 0.3rem; } .card p { font-size: 0.9rem; } td.name { min-width: 8rem; overflow-wrap: anywhere; }
a { color: var(--bar); }
.wide .n { white-space: nowrap; } td.setting { min-width: 7rem; overflow-wrap: normal; }
section { border-top: 2px solid var(--line); margin-top: 2.5rem; } section > h2 { margin-top: 1rem; }
.share { position: relative; } .share i { position: absolute; left: 0; bottom: 2px; height: 3px; background: var(--bar); }
.cards { grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)); }
@media (max-width: 40rem) { .stack, .stack tbody { display: block; } .stack tr { display: flex; flex-wrap: wrap; gap: 0 1rem;
  border-bottom: 1px solid var(--line); padding: 0.2rem 0; } .stack td, .stack th { border: 0; padding: 0.1rem 0; flex: 1; }
  .stack td:last-child { flex: 0 0 100%; } .stack th:last-child { display: none; } }
"""


def report_page(figures: dict[str, Any], title: str) -> str:
    """Return the page. figures: what `report_figures` returned, also after JSON."""
    made = figures["made"]
    runs = figures["runs"]
    what = f"Report of <code>seqel report</code> on {len(runs)} run{'s' if len(runs) > 1 else ''}"
    if any(run["episodes"] for run in runs):
        first, last = made["seed"], made["seed"] + made["episodes"] - 1
        what += (
            f": {made['episodes']:,} greedy episodes each, with the seeds {first:,} to {last:,}. Intervals are 95 %."
        )
    parts = [f"<h1>{escape(title)}</h1>", f'<p class="soft">{what}</p>']
    if any(run["episodes"] for run in runs) and made["episodes"] < SHORTEST:
        parts.append(
            f'<p class="note">{made["episodes"]} episodes are few, so the intervals are wide. Use, for instance, '
            f"--episodes {10 * SHORTEST}.</p>"
        )
    if len(runs) > 1:
        parts += [_overview(runs), comparison_part(figures), settings_part(figures["settings"], runs)]
    parts += [_run(run, None if len(runs) == 1 else place) for place, run in enumerate(runs)]
    return page(title, parts, CHART_STYLE + MORE_STYLE)


def text_of(value: Any) -> str:
    """Return a number as text; "-" if it is unknown."""
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else f"{value:,}"


def interval_of(interval: Any) -> str:
    """Return "low to high"; "" if it is unknown."""
    if not interval or None in interval:
        return ""
    return f"{interval[0]:.4g} to {interval[1]:.4g}"


def _known(value: Any) -> float:
    return math.nan if value is None else float(value)


def _overview(runs: list[dict[str, Any]]) -> str:
    succeeds = any((run["episodes"] or {}).get("success") is not None for run in runs)
    head = '<tr><th>run</th><th class="n">return</th><th class="n">95 %</th>'
    head += '<th class="n">success</th>' if succeeds else ""
    head += '<th class="n">length</th><th class="n">value minus return</th><th class="n">seed</th><th>group</th>'
    head += "<th>task</th></tr>"
    rows = []
    for number, run in enumerate(runs):
        played, calibration = run["episodes"] or {}, run["calibration"] or {}
        success = played.get("success")
        cells = [
            f'<td class="name"><a href="#run{number}">{escape(run["name"])}</a></td>',
            f'<td class="n">{text_of(played.get("mean"))}</td>',
            f'<td class="n">{interval_of(played.get("interval")) or "-"}</td>',
            (f'<td class="n">{"-" if success is None else f"{success:.1%}"}</td>' if succeeds else ""),
            f'<td class="n">{text_of((run["lengths"] or {}).get("mean"))}</td>',
            f'<td class="n">{text_of(calibration.get("bias"))}</td><td class="n">{text_of(run["seed"])}</td>',
            f"<td>{escape(run['label'])}</td><td>{escape(run['task'] or '-')}</td>",
        ]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return f'<h2>Runs</h2><div class="wide"><table>{head}{"".join(rows)}</table></div>'


def _run(run: dict[str, Any], place: int | None) -> str:
    """The section of a run; place: its number among several runs."""
    anchor = "" if place is None else f' id="run{place}"'
    cards = [_curve(run["curve"]), *_held_out(run["curve"])]
    if run["episodes"]:
        cards += [
            _distribution("Return of an episode", run["returns"], "undiscounted return"),
            _distribution("Length of an episode", run["lengths"], "steps"),
        ]
        cards += [_calibration(run)]
    heading = "" if place is None else f"<h2>{escape(run['name'])}</h2>"
    parts = [heading, _facts(run)]
    if not run["episodes"]:
        parts.append(
            '<p class="note">No episodes were played: the run has no environment here. Name one with --env.</p>'
        )
    parts.append(f'<div class="cards" style="margin-top:.8rem">{"".join(cards)}</div>')
    if run["episodes"]:
        parts += [_actions(run["actions"]), _hardest(run["hardest"])]
    return "".join(parts) if place is None else f"<section{anchor}>{''.join(parts)}</section>"


def _facts(run: dict[str, Any]) -> str:
    played = run["episodes"] or {}
    success = played.get("success")
    facts = {
        "task": run["task"] or "-",
        "mean return": text_of(played.get("mean")),
        "95 % interval": interval_of(played.get("interval")) or "-",
        "interquartile mean": text_of(played.get("iqm")),
        "success": "-" if success is None else f"{success:.1%}",
        "environment steps": text_of(run["steps"]) if run["steps"] else "-",
        "updates": text_of(run["updates"]),
        "terminated, truncated": f"{played['terminated']:,}, {played['truncated']:,}" if played else "-",
    }
    return fact_boxes({name: value for name, value in facts.items() if value != "-"})


def _curve(curve: dict[str, Any]) -> str:
    points = curve["validation"]
    if not points:
        return '<div class="card"><h3>Learning curve</h3><p class="soft">No validation was recorded.</p></div>'
    x = "environment steps" if curve["unit"] == "steps" else "updates"
    y = "score on held-out episodes" if curve["recorded"] else "return"
    greedy = Series(
        [(point["at"], _known(point["mean"])) for point in points],
        "validation",
        band=[(point["at"], _known(point["low"]), _known(point["high"])) for point in points],
        dots=len(points) <= 30,
    )
    training = Series([(at, _known(value)) for at, value in curve["training"]], "training", colour=5, dashed=True)
    names = [(0, "validation (greedy), 95 %" if not curve["recorded"] else "held-out episodes, larger is better")]
    names += [(5, "training (exploring)")] if curve["training"] else []
    drawn = chart([training, greedy] if curve["training"] else [greedy], label="Learning curve", x=x, y=y)
    return f'<div class="card"><h3>Learning curve</h3>{drawn}{legend(names)}</div>'


def _held_out(curve: dict[str, Any]) -> list[str]:
    """The figures of held-out episodes, for a run on recorded data."""
    panels = {
        "Agreement with the recorded action": ("share of the steps", (("agreement", "agreement"),)),
        "Expected and earned": (
            "discounted return",
            (("first_value", "expected from its own actions"), ("first_return", "earned by the recorded actions")),
        ),
    }
    cards = []
    for title, (y, names) in panels.items():
        shown = [(key, name) for key, name in names if any(point.get(key) is not None for point in curve["validation"])]
        if not curve["recorded"] or not shown:
            continue
        series = [
            Series([(point["at"], _known(point.get(key))) for point in curve["validation"]], name, colour=colour)
            for colour, (key, name) in enumerate(shown)
        ]
        keys = legend((colour, name) for colour, (_, name) in enumerate(shown))
        drawn = chart(series, label=title, x=curve["unit"], y=y)
        cards.append(f'<div class="card"><h3>{title}</h3>{drawn}{keys}</div>')
    return cards


def _distribution(title: str, found: dict[str, Any], x: str) -> str:
    drawn = histogram_chart(found["counts"], found["edges"], label=title, x=x)
    quantiles = found["quantiles"]
    note = (
        f"median {text_of(quantiles['50'])}, half of them {text_of(quantiles['25'])} to {text_of(quantiles['75'])}, "
        f"all {text_of(found['min'])} to {text_of(found['max'])}"
    )
    return f'<div class="card"><h3>{title}</h3>{drawn}<p class="soft">{note}</p></div>'


def _calibration(run: dict[str, Any]) -> str:
    title = "<h3>Calibration of Q-values</h3>"
    found = run["calibration"]
    if found is None:
        return f'<div class="card">{title}<p class="soft">{escape(run["calibration_note"] or "")}</p></div>'
    bins = found["bins"]
    cloud = Series([(x, y) for x, y in found["points"]], line=False, dots=True, faint=True, colour=5)
    curve = Series(
        [(one["predicted"], one["realised"]) for one in bins],
        "bin",
        band=[(one["predicted"], _known(one["low"]), _known(one["high"])) for one in bins],
        dots=True,
    )
    drawn = chart(
        [cloud, curve], label="Calibration of Q-values", x="predicted value of the chosen action", y="realised return",
        diagonal=True,
    )  # fmt: skip
    verdict = _verdict(found)
    within = {
        name: f" ({text})" if (text := interval_of(found[f"{name}_interval"])) else ""
        for name in ("slope", "intercept", "bias", "error")
    }
    left = f" {found['left_out']:,} steps too close to a truncation are left out." if found["left_out"] else ""
    rows = (
        f"<p>{verdict}</p><p class='soft'>Slope {text_of(found['slope'])}{within['slope']}, intercept "
        f"{text_of(found['intercept'])}{within['intercept']}, predicted minus realised {text_of(found['bias'])}"
        f"{within['bias']}, calibration error {text_of(found['error'])}{within['error']}, root mean square error "
        f"{text_of(found['rmse'])}, correlation {text_of(found['correlation'])}. In units of reward, discounted "
        f"by {run['discount']:g} per step; {found['steps']:,} steps of {found['episodes']:,} episodes.{left}</p>"
    )
    keys = legend(
        [(0, "mean of a tenth of the steps, 95 %"), (5, "single steps; dashed: values that are exactly right")]
    )
    return f'<div class="card">{title}{drawn}{keys}{rows}</div>'


def _verdict(found: dict[str, Any]) -> str:
    low, high = found["bias_interval"]
    if low is None:
        return "One episode does not show whether the values are too high or too low."
    if low > 0:
        return f"The agent expects {text_of(found['bias'])} more than it earns."
    if high < 0:
        return f"The agent expects {text_of(-found['bias'])} less than it earns."
    return "On average, the predicted values agree with what was earned."


def _actions(dims: list[list[dict[str, Any]]]) -> str:
    tables = []
    for dim, rows in enumerate(dims):
        most = max(row["share"] for row in rows) or 1.0
        body = "".join(
            f'<tr><td>{escape(row["action"])}</td><td class="n share"><i style="width:{100 * row["share"] / most:.0f}%"></i>'
            f'{row["share"]:.1%}</td><td class="n">{text_of(row["value"])}</td></tr>'
            for row in rows
        )
        name = f"<h3>Dimension {dim}</h3>" if len(dims) > 1 else ""
        head = '<tr><th>action</th><th class="n">of the steps</th><th class="n">mean value when chosen</th></tr>'
        tables.append(f'<div class="card">{name}<table>{head}{body}</table></div>')
    return f'<h2>Action use</h2><div class="cards">{"".join(tables)}</div>'


def _hardest(rows: list[dict[str, Any]]) -> str:
    succeeds = any(row["success"] is not None for row in rows)
    head = '<tr><th class="n">return</th><th class="n">length</th>'
    head += ('<th class="n">success</th>' if succeeds else "") + "<th>end</th><th>open it with</th></tr>"
    body = "".join(
        f'<tr><td class="n">{text_of(row["return"])}</td><td class="n">{row["length"]:,}</td>'
        + (f'<td class="n">{text_of(row["success"])}</td>' if succeeds else "")
        + f"<td>{row['end']}</td><td><code>{escape(row['command'])}</code></td></tr>"
        for row in rows
    )
    return f'<h2>Hardest episodes</h2><table class="stack">{head}{body}</table>'
