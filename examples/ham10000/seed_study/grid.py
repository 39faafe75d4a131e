"""Grids of cells, as text for a terminal and as Markdown for the page; and what fills them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

PENDING = "not yet measured"


class Grid(NamedTuple):
    """A table."""

    title: str
    head: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    note: str = ""

    def text(self) -> str:
        """Columns under each other."""
        if not self.lines:
            return f"{self.title}: {PENDING}"
        cells = [self.head, *self.lines]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        shown = [
            "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip()
            for line in cells
        ]
        return "\n".join([self.title, *shown, *([self.note] if self.note else [])])

    def markdown(self) -> str:
        """As GitHub and Sphinx read it."""
        if not self.lines:
            return f"**{self.title}**: {PENDING}"
        lines = [self.head, ("---",) * len(self.head), *self.lines]
        shown = [f"| {' | '.join(line)} |" for line in lines]
        return "\n".join([f"**{self.title}**", "", *shown, *(["", self.note] if self.note else [])])


class Source(NamedTuple):
    """A column: one protocol of one run, or a run that has not been made."""

    label: str
    found: Mapping[str, Any] | None
    """``{"data": ..., "rows": ..., "analyses": ...}``; None before it is measured."""

    def row(self, name: str) -> Mapping[str, Any] | None:
        """What a stage came to."""
        return None if self.found is None else self.found["rows"].get(name)


def sources(document: Mapping[str, Any] | None, label: str = "") -> list[Source]:
    """The columns of a run."""
    if document is None:
        return [Source(f"{label}seed's protocol", None), Source(f"{label}honest", None)]
    names = {"seed": "seed's protocol", "honest": "honest"}
    return [Source(label + names[p], found) for p, found in document["protocols"].items()]


def grid(title: str, head: Sequence[str], lines: Sequence[Sequence[str]], note: str = "") -> Grid:
    """Make a grid of lists."""
    return Grid(title, tuple(head), tuple(map(tuple, lines)), note)


def number(value: float | None, digits: int) -> str:
    """A number, or a dash where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def interval(ends: Sequence[float | None] | None) -> str:
    """An interval in brackets; nothing where there is none."""
    if ends is None or None in ends:
        return ""
    return f"[{ends[0]:.3f}, {ends[1]:.3f}]"


def signed(value: float | None, ends: Sequence[float | None] | None) -> str:
    """A difference with its sign and its interval."""
    if value is None:
        return "-"
    if ends is None or None in ends:
        return f"{value:+.3f}"
    return f"{value:+.3f} [{ends[0]:+.3f}, {ends[1]:+.3f}]"


def percent(share: float | None) -> str:
    """A share in percent, or a dash."""
    return "-" if share is None else f"{100 * share:.1f} %"
