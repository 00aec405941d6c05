"""What `analyse` found, as one HTML page that needs nothing else: no scripts, no fonts, no pictures from elsewhere.

Every text of the table is escaped, and the page's own policy forbids scripts and requests: the table is foreign data.
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seqel.datasets.encoding import CATEGORIES, NUMBERS
from seqel.datasets.inspection.analysis import by_column, histogram
from seqel.pages.frame import fact_boxes, page

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from seqel.datasets.dataset import Dataset

__all__ = ["html_page"]

BINS = 24
TAIL = 0.05  # share of the values at each end that the outer bars take, where a few values are very far away
MOST_BARS = 30  # actions or categories of a column
MOST_COLUMNS = 60  # numeric columns, and as many categorical ones
LONGEST = 120  # characters of a name; the whole of it is in the tooltip
WIDTH, HEIGHT = 320, 110  # of a histogram, in the units of its view box


def html_page(analysis: dict[str, Any], dataset: Dataset, files: Sequence[str], schema: str) -> str:
    """The page. found: what `analyse` returned. schema: as TOML."""
    title = ", ".join(Path(name).name for name in files) or "recorded sessions"
    parts = [
        f"<h1>{_name(title)}</h1>",
        '<p class="soft">Report of <code>seqel data check</code> on recorded sessions</p>',
        _facts(analysis),
        *(f'<p class="note">{escape(warning)}</p>' for warning in analysis["warnings"]),
        f'<h2>Distributions</h2><div class="cards">{"".join(_distributions(analysis, dataset))}</div>',
        f"<h2>Actions</h2>{_actions(analysis)}",
        *_columns(dataset),
        f"<h2>Missing values</h2>{_missing(analysis)}",
        f"<h2>The table itself</h2>{_facts_of_import(analysis)}",
        f"<h2>What an agent would observe</h2>{_leaves(dataset, analysis)}",
        f"<h2>Schema</h2><pre>{escape(schema)}</pre>",
    ]
    return page(title, parts)


def _facts(found: dict[str, Any]) -> str:
    reward, returns, actions = found["reward"], found["returns"], found["trained_on"]["actions"]
    facts = {
        "rows": f"{found['rows']:,}",
        "sessions": f"{found['sessions']:,}",
        "transitions": f"{found['transitions']:,}",
        "actions": " x ".join(map(str, actions)) if isinstance(actions, list) else f"{actions:,}",
        "mean reward": f"{reward['mean']:.4g}",
        "rewards that are zero": f"{reward['zero']:.1%}",
        "median return": f"{returns['median']:.4g}",
        "median length": f"{found['lengths']['median']:.4g}",
    }
    return fact_boxes(facts)


def _distributions(found: dict[str, Any], dataset: Dataset) -> list[str]:
    buffer = dataset.buffer
    reward = np.asarray(buffer.slots.columns["reward"])[np.asarray(buffer.slots.columns["by_agent"])]
    ends = f"{found['terminated']:,} terminated, {found['truncated']:,} truncated"
    return [
        _histogram("Reward per step", reward),
        _histogram("Return per session, undiscounted", buffer.returns()),
        _histogram("Length of sessions, in steps", buffer.lengths, ends),
    ]


def _histogram(title: str, values: NDArray[Any], note: str = "") -> str:
    """A card with bars, the range below, and the median."""
    bins = histogram(np.asarray(values), BINS)
    low, high = np.quantile(values, [TAIL, 1.0 - TAIL])
    if any(one["from"] != one["to"] for one in bins) and low < high and _is_uneven(bins):  # a heavy tail
        bins = histogram(np.clip(values, low, high), BINS)
        if not _is_uneven(bins):
            note = " ".join(
                filter(None, (note, f"The outer bars hold what lies beyond them, up to {_number(np.max(values))}."))
            )
    most = max(one["count"] for one in bins)
    single = all(one["from"] == one["to"] for one in bins)
    wide = WIDTH / len(bins)
    drawn = []
    for place, one in enumerate(bins):
        tall = max(HEIGHT * one["count"] / most, 1.0 if one["count"] else 0.0)
        where = _number(one["from"]) if single else f"{_number(one['from'])} to {_number(one['to'])}"
        drawn.append(
            f'<rect x="{place * wide + 0.5:.1f}" y="{HEIGHT - tall:.1f}" width="{max(wide - 1, 0.5):.1f}" '
            f'height="{tall:.1f}">'
            f"<title>{where}: {one['count']:,}</title></rect>"
        )
    if not single and _is_uneven(bins):
        note = " ".join(filter(None, (note, "Bars of unequal range: each holds about as many values.")))
    what = f"median {_number(float(np.median(values)))}, mean {_number(float(np.mean(values, dtype=np.float64)))}"
    label = f"{title}: {what}, from {_number(bins[0]['from'])} to {_number(bins[-1]['to'])}"
    return (
        f'<div class="card"><h3>{_name(title)}</h3><svg viewBox="0 0 {WIDTH} {HEIGHT + 1}" role="img" '
        f'aria-label="{escape(label, quote=True)}">{"".join(drawn)}'
        f'<line x1="0" y1="{HEIGHT}" x2="{WIDTH}" y2="{HEIGHT}"/></svg>'
        f'<div class="ends"><span>{_number(bins[0]["from"])}</span><span>{what}</span>'
        f"<span>{_number(bins[-1]['to'])}</span></div>"
        + (f'<p class="soft">{escape(note)}</p>' if note else "")
        + "</div>"
    )


def _is_uneven(bins: list[dict[str, Any]]) -> bool:
    """Whether some bars stand for a wider range than others, apart from single values."""
    widths = [one["to"] - one["from"] for one in bins]
    return bool(max(widths) > 1.01 * min(widths))


def _actions(found: dict[str, Any]) -> str:
    """Bars, or a card of them for each action column."""
    parts = [
        _bars(((one["name"], one["count"]) for one in part[:MOST_BARS]), found["transitions"], len(part))
        for part in by_column(found)
    ]
    if len(parts) == 1:
        return parts[0]
    return f'<div class="cards">{"".join(f"""<div class="card">{part}</div>""" for part in parts)}</div>'


def _bars(counts: Iterable[tuple[str, int]], total: int, all_of_them: int, full: int | None = None) -> str:
    """A bar per name, longest first. total: what shares are of. full: the count that fills the width; None: the largest."""
    rows = list(counts)
    most = full or max((count for _, count in rows), default=1) or 1
    cells = "".join(
        f'<span class="name">{_name(name)}</span><span class="bar" style="width:{100 * count / most:.1f}%"></span>'
        f'<span class="share" title="{count:,}">{count / max(total, 1):.1%}</span>'
        for name, count in rows
    )
    more = f'<p class="soft">and {all_of_them - len(rows):,} more</p>' if all_of_them > len(rows) else ""
    return f'<div class="bars">{cells}</div>{more}'


def _columns(dataset: Dataset) -> list[str]:
    """The observed columns: numbers as histograms, categories as bars."""
    encoding = dataset.encoding
    if encoding is None:
        return []
    parts = []
    names = encoding.schema.of_kind("number")
    if names:
        values = dataset.buffer.observations(NUMBERS)
        cards = [
            _histogram(name, _plain(values, place, encoding, name)) for place, name in enumerate(names[:MOST_COLUMNS])
        ]
        parts.append(f'<h2>Numeric columns</h2><div class="cards">{"".join(cards)}</div>{_more(names)}')
    names = encoding.schema.of_kind("category")
    if names:
        codes = dataset.buffer.observations(CATEGORIES)
        cards = []
        for place, name in enumerate(names[:MOST_COLUMNS]):
            words = ("(missing or rare)", *encoding.vocabularies[name])
            counts = np.bincount(codes[:, place], minlength=len(words))
            order = [code for code in np.argsort(-counts, kind="stable") if counts[code]]
            bars = _bars(((words[code], int(counts[code])) for code in order[:12]), len(codes), len(order))
            cards.append(f'<div class="card"><h3>{_name(name)}</h3>{bars}</div>')
        parts.append(f'<h2>Categories</h2><div class="cards">{"".join(cards)}</div>{_more(names)}')
    return parts


def _plain(values: NDArray[Any], place: int, encoding: Any, name: str) -> NDArray[np.float64]:
    """One number column as it is in the table: its offset added, without what is missing."""
    column: NDArray[np.float64] = values[:, place].astype(np.float64) + encoding.offsets.get(name, 0.0)
    if name in encoding.missing:
        marked = [one for one in encoding.schema.of_kind("number") if one in encoding.missing]
        plain = len(encoding.schema.of_kind("number"))
        present: NDArray[np.float64] = column[values[:, plain + marked.index(name)] == 0]
        return present if len(present) else np.zeros(1)
    return column


def _more(names: Sequence[str]) -> str:
    return f'<p class="soft">and {len(names) - MOST_COLUMNS} more columns</p>' if len(names) > MOST_COLUMNS else ""


def _missing(found: dict[str, Any]) -> str:
    missing = [(name, share) for name, share in found["missing"].items() if share > 0]
    if not missing:
        return "<p>No value is missing.</p>"
    rows = sorted(((name, round(share * found["rows"])) for name, share in missing), key=lambda one: -one[1])
    return _bars(rows[:MOST_COLUMNS], found["rows"], len(rows), full=found["rows"])


def _facts_of_import(found: dict[str, Any]) -> str:
    behaviour = found["behaviour"]
    known = (
        "not recorded: they will be estimated"
        if behaviour is None
        else f"known for {behaviour['known']:.1%} of the steps, from {behaviour['min']:.3g} to {behaviour['max']:.3g}"
    )
    rows = {
        "duplicate rows": f"{found['duplicates']:,}",
        "rows that were out of order": f"{found['out_of_order']:,}",
        "rows with the same place in a session": f"{found['ties']:,}",
        "probabilities of the recorded actions": known,
        "possible leaks": ", ".join(one["column"] for one in found["leaks"]) or "none found",
    }
    return _table(rows)


def _leaves(dataset: Dataset, found: dict[str, Any]) -> str:
    trained = found["trained_on"]
    rows = {leaf.path: str(leaf).removeprefix(f"{leaf.path}: ") for leaf in dataset.observation.leaves} | {
        "learns from": f"{trained['transitions']:,} transitions of {trained['sessions']:,} sessions; "
        f"{trained['held_out_sessions']:,} sessions are held out"
    }
    return _table(rows)


def _table(rows: dict[str, str]) -> str:
    cells = "".join(f"<tr><th>{_name(name)}</th><td>{escape(text)}</td></tr>" for name, text in rows.items())
    return f"<table>{cells}</table>"


def _name(text: str) -> str:
    """A text of the table, escaped; a long one is cut, and its tooltip has more of it."""
    if len(text) <= LONGEST:
        return escape(text)
    return f'<span title="{escape(text[:1_000], quote=True)}">{escape(text[:LONGEST])} ...</span>'


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) and abs(value) < 1e9 else f"{value:.4g}"
