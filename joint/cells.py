"""Tables as text: to print, and as CSV for other programs."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["aligned", "as_csv"]


def aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table with its columns under each other."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  " + "  ".join(f"{c:<{w}}" for c, w in zip(line, widths, strict=True)).rstrip()
        for line in table
    ]


def as_csv(cells: Sequence[Mapping[str, Any]]) -> str:
    """Rows of cells by column as CSV; missing cells are empty."""
    # Some have fewer columns, as a run that is not done; the order is that of the fullest row.
    names = list(max(cells, key=len, default={}))
    names += [name for row in cells for name in row if name not in names]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, dict.fromkeys(names), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(cells)
    return text.getvalue()
