"""What the plan requires of a design on a study's page: who reaches it, and at what cost."""

from collections.abc import Iterator

from joint.report.page import Html, paragraph, picture, table
from joint.study.findings.selection import Selection

from .charts import selection_figure

__all__ = ["selection"]


def selection(found: Selection) -> Iterator[Html]:
    """The designs beside their requirements, and the cheapest of those that meet them."""
    head, *cells = found.cells()
    yield table(head, cells, words=True, caption=f"Required: {', '.join(found.requirements)}")
    for line in found.conclusions():
        yield paragraph(line[0].upper() + line[1:] + ".")
    yield picture(
        selection_figure(found),
        shows="Numbers and costs of each design, and the bounds that they must keep",
        caption="Filled: shown to meet all requirements; blue ring: perhaps; grey: does not. "
        "Lines: intervals of the means. Dashed: bounds.",
    )
