"""An explained episode as one HTML page that needs nothing from elsewhere: a timeline to scrub, and what each decision
depends on.

The page's text, script and style are files in `static`. Data are put into it as JSON, in which "<" is escaped, and the script
shows them as text only, so nothing in them is read as markup.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np

from seqel.explanation.methods.registry import method_of
from seqel.explanation.pictures import encode_pictures

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from seqel.explanation.report import Report
    from seqel.explanation.words import WordInfluence

__all__ = ["PAGE_LIMIT", "report_page"]

PAGE_LIMIT = 6_000_000  # bytes
MARK = re.compile("@@([A-Z]+)@@")
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"


def report_page(
    report: Report,
    title: str,
    facts: Sequence[tuple[str, str]] = (),
    *,
    start: int | None = None,
    counterfactuals: Mapping[int, str] | None = None,
) -> str:
    """Return the page. facts: about the episode. start: the decision that is shown first; None: the most interesting one.
    counterfactuals: a sentence about some of the decisions, by row."""
    pictures = encode_pictures([one if isinstance(one, np.ndarray) else None for one in report.frames])
    screens = [one if isinstance(one, str) else None for one in report.frames]
    data = {
        "title": title,
        "facts": [list(fact) for fact in facts],
        "unit": report.unit,
        "question": report.question,
        "start": report.interesting if start is None else start,
        "notes": [*report.notes, *([pictures.note] if pictures.note else [])],
        "pictures": pictures.uris,
        "steps": [
            {
                "n": step.number,
                "facts": [list(fact) for fact in step.facts],
                "bars": [[one.name, _rounded(one.score), _rounded(one.std), one.chosen, one.over, one.recorded]
                         for one in step.scores],
                "more": max(0, step.actions - len(step.scores)),
                "action": step.action,
                "reward": _rounded(step.reward),
                "picture": pictures.shown[row] if row < len(pictures.shown) else None,
                "screen": screens[row] if row < len(screens) else None,
                "texts": _texts(report, row),
            }
            for row, step in enumerate(report.steps)
        ],
        "methods": [
            {"name": name, "title": method_of(name).title, "meaning": method_of(name).meaning,
             "signed": method_of(name).signed, **_packed(found, triangle=True)}
            for name, found in report.methods.items()
        ],
        "counterfactuals": {str(row): text for row, text in (counterfactuals or {}).items()},
    }  # fmt: skip
    folder = resources.files("seqel.explanation") / "static"
    page = (folder / "page.html").read_text(encoding="utf-8")
    parts = {
        "POLICY": POLICY,
        "STYLE": (folder / "page.css").read_text(encoding="utf-8"),
        "DATA": as_script_data(data),
        "SCRIPT": (folder / "page.js").read_text(encoding="utf-8"),
    }
    # split once, so that no mark is looked for in what was put in
    return "".join(parts[piece] if place % 2 else piece for place, piece in enumerate(MARK.split(page)))


def as_script_data(data: Any) -> str:
    """Return JSON for an element `script` of type application/json: it cannot end that element."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text.encode("utf-8", "replace").decode()  # lone surrogates cannot be written


def _texts(report: Report, row: int) -> list[dict[str, Any]]:
    found = []
    for leaf, said in report.texts.items():
        if row not in said:
            continue
        one = next((words for words in report.words.get(leaf, []) if words.step == row), None)
        known: dict[str, Any] = {} if one is None or not one.spans else _word_data(one)
        found.append({"leaf": leaf, "text": said[row], **known})
    return found


def _word_data(words: WordInfluence) -> dict[str, Any]:
    return {"spans": [list(span) for span in words.spans], **_packed(words.change)}


def _packed(rows: NDArray[np.float32], triangle: bool = False) -> dict[str, Any]:
    """Return rows (S, N) as 16-bit integers, each row in units of its largest magnitude, which is `most`.

    triangle: only row i's numbers up to column i, which are all that are not 0; `width` is then None.
    """
    most = np.abs(rows).max(axis=1, initial=0.0)
    scaled = rows / np.where(most > 0, most, 1.0)[:, None]
    numbers = np.rint(32767 * scaled).astype("<i2")
    if triangle:
        numbers = numbers[np.tril_indices(len(rows))]
    return {
        "width": None if triangle else rows.shape[1],
        "most": [_rounded(float(one)) for one in most],
        "data": base64.b64encode(numbers.tobytes()).decode(),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(f"{value:.4g}")
