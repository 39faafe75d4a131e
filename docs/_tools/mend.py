"""Docstrings are written for people who read code; here they are made strict reStructuredText.

Three things that read well in an editor are not rst, or not on a page of many docstrings: bars of a
modulus, ``|t|``, are taken for a substitution; a table whose cells outgrow their column is refused;
and each docstring numbers its references from 1.
"""

import itertools
import re

_BORDER = re.compile(r"^ *=+( +=+)+ *$")
_MODULUS = re.compile(r"(?<![`\\\w|])\|(?=[^|`\s][^|`\n]{0,20}\|)([^|`\n]+)\|(?!\w)")


def mended(lines: list[str]) -> list[str]:
    """Lines of a docstring that docutils accepts."""
    lines = _tables(lines)
    literal = -1
    for number, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if line.strip() and literal >= 0 and indent <= literal:
            literal = -1
        if literal < 0:
            lines[number] = _line(line)
        if line.rstrip().endswith("::") and literal < 0:
            literal = indent
    return lines


def _line(line: str) -> str:
    line = re.sub(r"^( *)\.\. (\[\d+\]) ", r"\1- \2 ", line)  # an entry of a list of references
    line = re.sub(r"(\[\d+\])_(?!\w)", r"\1", line)  # and where the text cites it
    parts = re.split(r"(``.*?``|:\w+:`.*?`)", line)
    return "".join(
        part if place % 2 else _MODULUS.sub(r"\|\1\|", part) for place, part in enumerate(parts)
    )


def _tables(lines: list[str]) -> list[str]:
    borders = [number for number, line in enumerate(lines) if _BORDER.match(line)]
    lines = list(lines)
    while len(borders) >= 2:
        # A table has a border above, one below its head, and one at its end; the head is optional.
        length = 3 if len(borders) > 2 and _follows(lines, borders) else 2
        first, last = borders[0], borders[length - 1]
        lines[first : last + 1] = _widened(lines[first : last + 1])
        borders = borders[length:]
    return lines


def _follows(lines: list[str], borders: list[int]) -> bool:
    """Whether the third border ends the table that the first begins: no blank line, one shape."""
    inside = lines[borders[1] + 1 : borders[2]]
    return all(line.strip() for line in inside) and bool(inside)


def _widened(table: list[str]) -> list[str]:
    indent = len(table[0]) - len(table[0].lstrip())
    starts = [match.start() for match in re.finditer(r"=+", table[0])]
    rows = [None if _BORDER.match(line) else _cells(line, starts) for line in table]
    widths = [
        max(len(row[column]) for row in [*filter(None, rows), ["=" * 3] * len(starts)])
        for column in range(len(starts))
    ]
    border = " " * indent + "  ".join("=" * width for width in widths)
    return [
        border
        if row is None
        else (" " * indent + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)))
        for row in rows
    ]


def _cells(line: str, starts: list[int]) -> list[str]:
    edges = []
    for start in starts[1:]:
        if start < len(line) and line[start - 1] != " ":  # the cell before reaches over its end
            edges.append(line.find(" ", start) + 1 or len(line))
        else:
            edges.append(min(start, len(line)))
    return [line[a:b].strip() for a, b in itertools.pairwise([0, *edges, len(line)])]
