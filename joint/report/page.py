"""HTML of a report: text becomes markup here and nowhere else."""

import base64
import io
import math
import struct
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, NewType

from . import figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "MISSING",
    "Html",
    "contents",
    "details",
    "joined",
    "note",
    "number",
    "page",
    "paragraph",
    "picture",
    "section",
    "table",
    "with_interval",
]

Html = NewType("Html", str)
"""Markup that this module made. Any other string is text and gets escaped."""

#: Shown in a table for a number that does not exist.
MISSING = "–"

# On screens with two pixels per point, figures are sharp at one and a half times their size.
_SCREEN, _PRINTED = 96, 144

_STYLE = """
:root { color-scheme: light dark; --ground: #fff; --ink: #1b1f24; --soft: #57606a;
  --line: #d0d7de; --stripe: #f6f8fa; --accent: #0b5cad; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #15181c; --ink: #e3e7ec; --soft: #9aa4af; --line: #363d46;
    --stripe: #1d2127; --accent: #7db8f5; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1.25rem 4rem; max-width: 72rem; background: var(--ground);
  color: var(--ink); font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.4rem; margin: 3rem 0 .5rem; padding-top: 1rem;
  border-top: 2px solid var(--line); overflow-wrap: anywhere; }
h3 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
p { margin: .5rem 0; max-width: 48rem; overflow-wrap: anywhere; }
a { color: var(--accent); }
nav ul { padding-left: 1.25rem; margin: .5rem 0; }
.note { color: var(--soft); }
.scroll { overflow-x: auto; margin: .75rem 0 1rem; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding-bottom: .35rem; }
th, td { padding: .3rem .7rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
th { font-weight: 600; vertical-align: bottom; white-space: normal; }
th:first-child, td:first-child { text-align: left; padding-left: .3rem; }
tbody tr:nth-child(even) { background: var(--stripe); }
table.words th, table.words td { text-align: left; white-space: normal; vertical-align: top;
  overflow-wrap: anywhere; }
table.words th:first-child, table.words td:first-child { white-space: nowrap; }
figure { margin: .75rem 0 1.25rem; }
figure img { display: block; max-width: 100%; height: auto; background: #fff;
  border: 1px solid var(--line); border-radius: 6px; }
figcaption { color: var(--soft); font-size: .9rem; margin-top: .35rem; max-width: 48rem; }
details { margin: .75rem 0; }
summary { cursor: pointer; color: var(--accent); }
pre { overflow-x: auto; background: var(--stripe); border: 1px solid var(--line);
  border-radius: 6px; padding: .75rem; font-size: .8rem; line-height: 1.4; }
@media print {
  body { max-width: none; }
  h2 { break-before: page; }
  figure { break-inside: avoid; }
}
"""


def page(title: str, *parts: Html) -> str:
    """A whole HTML document; the policy in its head forbids scripts and network access."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n{joined(parts)}\n</body>\n</html>\n"
    )


def section(title: str, *parts: Html, level: int = 3, anchor: str | None = None) -> Html:
    """Parts under a heading, as one section."""
    name = "" if anchor is None else f' id="{escape(anchor)}"'
    return Html(
        f"<section{name}>\n<h{level}>{escape(title)}</h{level}>\n{joined(parts)}\n</section>"
    )


def joined(parts: Iterable[Html]) -> Html:
    """Parts one below the other."""
    return Html("\n".join(parts))


def contents(entries: Iterable[tuple[str, str]]) -> Html:
    """Links to sections, given as anchor and text."""
    items = "".join(f'<li><a href="#{escape(a)}">{escape(text)}</a></li>' for a, text in entries)
    return Html(f"<nav><ul>{items}</ul></nav>")


def paragraph(text: str) -> Html:
    """A paragraph of text."""
    return Html(f"<p>{escape(text)}</p>")


def note(text: str) -> Html:
    """A less prominent line: why a part is missing, or how a number was computed."""
    return Html(f'<p class="note">{escape(text)}</p>')


def details(summary: str, text: str) -> Html:
    """Text with its line breaks, collapsed under a summary."""
    return Html(f"<details><summary>{escape(summary)}</summary><pre>{escape(text)}</pre></details>")


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    caption: str = "",
    words: bool = False,
) -> Html:
    """A table of text cells; ``words`` aligns it for sentences rather than numbers."""
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    body = "\n".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    kind = ' class="words"' if words else ""
    return Html(
        f'<div class="scroll"><table{kind}>{title}\n<thead><tr>{top}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def picture(figure: "Figure", *, shows: str, caption: str = "") -> Html:
    """A figure embedded in the page; ``shows`` describes it in words."""
    content = io.BytesIO()
    # Without the name of the program that drew it, equal figures give equal bytes.
    figure.savefig(
        content,
        format="png",
        dpi=_PRINTED,
        metadata={"Software": None},
        bbox_inches="tight",
        pad_inches=0.1,
    )
    figures.write_if_asked(figure, shows)
    data = base64.b64encode(content.getvalue()).decode()
    # In a PNG, width and height are two integers from byte 16 on.
    size = struct.unpack(">II", content.getvalue()[16:24])
    width, height = (round(pixels * _SCREEN / _PRINTED) for pixels in size)
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return Html(
        f'<figure><img src="data:image/png;base64,{data}" width="{width}" height="{height}" '
        f'alt="{escape(shows)}">{below}</figure>'
    )


def number(value: float | None, form: str = ".3f") -> str:
    """A number as text; a dash where there is none."""
    return MISSING if value is None or math.isnan(value) else format(value, form)


def with_interval(value: float, interval: Sequence[float] | None, form: str = ".3f") -> str:
    """A number with its interval, if the interval exists."""
    if interval is None or any(map(math.isnan, interval)):
        return number(value, form)
    low, high = interval
    return f"{number(value, form)} [{low:{form}}, {high:{form}}]"
