import pytest
from pages import HISTORY, Page

from joint.report.draw import history_figure
from joint.report.page import (
    number,
    page,
    paragraph,
    picture,
    section,
    table,
    with_interval,
)


@pytest.mark.parametrize(
    "hostile", ["<script>alert(1)</script>", '"><img src=x onerror=y>', "&lt;"]
)
def test_what_comes_from_a_run_stays_text(hostile):
    built = page(
        hostile,
        section(hostile, paragraph(hostile), anchor=hostile),
        table([hostile], [[hostile]], caption=hostile),
        picture(history_figure(HISTORY, best=0, monitor="loss"), shows=hostile, caption=hostile),
    )
    read = Page(built)
    assert "script" not in read.tags
    assert [image["alt"] for image in read.images] == [hostile]
    assert read.headings == [hostile, hostile]
    assert read.tables == [[[hostile], [hostile]]]
    assert read.anchors == {hostile}


def test_numbers_that_do_not_exist_are_dashes():
    nan = float("nan")
    assert (number(None), number(nan), number(0.5)) == ("–", "–", "0.500")
    assert with_interval(0.5, (nan, nan)) == with_interval(0.5, None) == "0.500"
    assert with_interval(0.5, (0.25, 0.75), "+.2f") == "+0.50 [+0.25, +0.75]"
