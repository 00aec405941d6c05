"""The part of a report's page that compares groups of runs: curves, interquartile means, profiles, differing settings."""

from __future__ import annotations

import math
from html import escape
from typing import Any

from seqel.pages.charts import COLOURS, Series, chart, legend

__all__ = ["comparison_part", "settings_part"]

MOST_SETTINGS = 60
LONGEST = 60  # characters of a setting's value


def comparison_part(figures: dict[str, Any]) -> str:
    """Return the comparison of the groups; "" if there is none."""
    labels = list(dict.fromkeys(run["label"] for run in figures["runs"]))
    parts = ["<h2>Comparison</h2>"]
    found = figures["comparison"]
    if found is not None and found.get("note"):
        parts.append(f'<p class="note">{escape(found["note"])}</p>')
    elif found is not None:
        if any(group["interval"][0] is None for group in found["groups"]):
            parts.append(
                '<p class="note">A group has a single run per task: how much seeds differ is not known, so it has no '
                "interval.</p>"
            )
        parts.append(_aggregate(found))
    cards = _curves(figures["runs"], labels)
    if found is not None and found["groups"]:
        cards += [_profiles(found, labels), *([_improvement(found)] if found["improvement"] else [])]
    parts.append(f'<div class="cards" style="margin-top:.8rem">{"".join(cards)}</div>')
    return "".join(parts)


def settings_part(settings: list[dict[str, Any]], runs: list[dict[str, Any]]) -> str:
    """Return the settings in which the runs differ."""
    if not settings:
        return "<h2>Settings that differ</h2><p>None besides the seed.</p>"
    head = "<tr><th>setting</th>" + "".join(f"<th>{escape(run['name'])}</th>" for run in runs) + "</tr>"
    body = "".join(
        f'<tr><td class="setting">{escape(one["setting"]).replace(".", ".<wbr>").replace("_", "_<wbr>")}</td>'
        + "".join(f"<td>{_value(one['values'].get(run['name']))}</td>" for run in runs)
        + "</tr>"
        for one in settings[:MOST_SETTINGS]
    )
    more = f'<p class="soft">and {len(settings) - MOST_SETTINGS} more</p>' if len(settings) > MOST_SETTINGS else ""
    return f'<h2>Settings that differ</h2><div class="wide"><table>{head}{body}</table></div>{more}'


def _value(value: Any) -> str:
    text = "-" if value in (None, "") else str(value)
    return escape(text if len(text) <= LONGEST else f"{text[:LONGEST]} ...")


def _aggregate(found: dict[str, Any]) -> str:
    head = '<tr><th>group</th><th class="n">runs</th><th class="n">interquartile mean</th><th class="n">95 %</th>'
    head += '<th class="n">mean</th></tr>'
    rows = ""
    for group in found["groups"]:
        low, high = group["interval"]
        within = "-" if low is None else f"{low:.4g} to {high:.4g}"
        rows += (
            f'<tr><td class="name">{escape(group["label"])}</td><td class="n">{group["runs"]}</td>'
            f'<td class="n">{group["iqm"]:.4g}</td><td class="n">{within}</td><td class="n">{group["mean"]:.4g}</td></tr>'
        )
    scale = (
        "In each task, scores are rescaled so that the worst run has 0 and the best has 1."
        if found["rescaled"]
        else "The score of a run is the mean return of its episodes."
    )
    note = f'<p class="soft">{scale} Intervals: stratified bootstrap over runs (Agarwal et al. 2021).</p>'
    return f'<div class="wide"><table>{head}{rows}</table></div>{note}'


def _curves(runs: list[dict[str, Any]], labels: list[str]) -> list[str]:
    """One card per task with the validations of every run, coloured by group."""
    cards = []
    for task in dict.fromkeys(run["task"] for run in runs):
        own = [run for run in runs if run["task"] == task and run["curve"]["validation"]]
        if not own:
            continue
        series = [
            Series(
                [(point["at"], _known(point["mean"])) for point in run["curve"]["validation"]],
                run["name"],
                colour=labels.index(run["label"]) % COLOURS,
            )
            for run in own
        ]
        recorded = any(run["curve"]["recorded"] for run in own)
        x = "environment steps" if own[0]["curve"]["unit"] == "steps" else "updates"
        drawn = chart(series, label=f"Learning curves on {task}", x=x, y="held-out score" if recorded else "return")
        shown = dict.fromkeys(run["label"] for run in own)
        keys = legend((labels.index(label), label) for label in shown)
        cards.append(
            f'<div class="card"><h3>Validation of each run, {escape(task or "recorded data")}</h3>{drawn}{keys}</div>'
        )
    return cards


def _profiles(found: dict[str, Any], labels: list[str]) -> str:
    at = found["thresholds"]
    series = []
    for group in found["groups"]:
        profile = group["profile"]
        band = [
            (place, _known(low), _known(high))
            for place, low, high in zip(at, profile["low"], profile["high"], strict=True)
        ]
        points = list(zip(at, profile["share"], strict=True))
        series.append(Series(points, group["label"], band=band, colour=labels.index(group["label"]) % COLOURS))
    drawn = chart(series, label="Performance profiles", x="score", y="share of runs above", y_range=(0.0, 1.0))
    keys = legend((labels.index(group["label"]), group["label"]) for group in found["groups"])
    return f'<div class="card"><h3>Performance profiles</h3>{drawn}{keys}</div>'


def _improvement(found: dict[str, Any]) -> str:
    head = '<tr><th>probability that</th><th class="n"></th><th class="n">95 %</th></tr>'
    rows = ""
    for one in found["improvement"]:
        low, high = one["interval"]
        within = "-" if low is None else f"{low:.2f} to {high:.2f}"
        rows += (
            f'<tr><td class="name">{escape(one["first"])} beats {escape(one["second"])}</td>'
            f'<td class="n">{one["probability"]:.2f}</td><td class="n">{within}</td></tr>'
        )
    return f'<div class="card"><h3>Probability of improvement</h3><table>{head}{rows}</table></div>'


def _known(value: Any) -> float:
    return math.nan if value is None else float(value)
