"""The frame of every HTML page: one file without scripts, fonts or pictures from elsewhere, for light and dark screens."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["STYLE", "fact_boxes", "page"]

STYLE = """
:root { color-scheme: light dark; --ink: #1d2733; --soft: #5b6875; --line: #d8dee5; --bar: #1f6fb2; --back: #fff;
  --card: #f6f8fa; --note: #fff4d6; --note-ink: #5c4400; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6ebf0; --soft: #a3afbb; --line: #37424e; --bar: #5aa5e0;
  --back: #14191f; --card: #1d242c; --note: #40340f; --note-ink: #ffe9ae; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 1rem; background: var(--back); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; margin: 0.5rem 0; } h2 { font-size: 1.15rem; margin: 2rem 0 0.5rem; }
h3 { font-size: 1rem; margin: 0 0 0.3rem; }
.soft { color: var(--soft); font-size: 0.9rem; } p { margin: 0.3rem 0; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(max(9rem, 22%), 1fr)); gap: 0.6rem; }
.fact, .card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 0.6rem 0.8rem; }
.fact b { display: block; font-size: 1.25rem; } .cards { display: grid; gap: 0.8rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 17rem), 1fr)); }
.note { background: var(--note); color: var(--note-ink); border-radius: 8px; padding: 0.5rem 0.8rem; margin: 0.4rem 0; }
svg { width: 100%; height: auto; display: block; } svg rect { fill: var(--bar); } svg line { stroke: var(--line); }
.ends { display: flex; justify-content: space-between; gap: 1rem; color: var(--soft); font-size: 0.85rem; }
.ends span { flex: none; } .ends span:nth-child(2) { flex: initial; text-align: center; }
.bars { display: grid; grid-template-columns: minmax(4rem, max-content) 1fr max-content; gap: 0.15rem 0.6rem;
  align-items: center; } .bars > span:first-child, .bars .name { max-width: 14rem; }
.bars .bar { height: 0.9rem; background: var(--bar); border-radius: 2px; min-width: 1px; }
.bars .share { text-align: right; color: var(--soft); font-size: 0.9rem; font-variant-numeric: tabular-nums; }
table { border-collapse: collapse; width: 100%; } td, th { text-align: left; padding: 0.25rem 0.6rem 0.25rem 0;
  border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: normal; min-width: 7rem; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 0.6rem; white-space: pre-wrap;
  font-size: 0.85rem; }
"""


def page(title: str, parts: Iterable[str], style: str = "") -> str:
    """Return a page. The parts are HTML and must be escaped; the title is a text. style: CSS in addition to `STYLE`.

    The page's own policy forbids scripts and requests, because what it shows may be foreign data.
    """
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}{style}</style></head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def fact_boxes(facts: Mapping[str, str]) -> str:
    """Return a grid of boxes, each with a text in large type and its name below. Both are escaped."""
    boxes = "".join(
        f'<div class="fact"><b>{escape(value) or "-"}</b><span class="soft">{escape(name)}</span></div>'
        for name, value in facts.items()
    )
    return f'<div class="facts">{boxes}</div>'
