import numpy as np
import pytest

from classify.data.archive import Archive
from classify.data.table import chosen_rows, mask_name, pictures_of, read_table, typed_column


@pytest.mark.parametrize(
    "text", ["a, b\n1,x\n2,\n", "\ufeffa\tb\n1\tx\n2\t\n", "a,b\r\n\r\n1,x\r\n2,\r\n"]
)
def test_a_table_is_read_in_any_dress(text):
    assert read_table(text.encode(), ("a",), "t.csv") == {"a": ["1", "2"], "b": ["x", ""]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff\xfe1", "t.csv is not a table in UTF-8"),
        (b"", "t.csv lacks the columns a, b; it has none"),
        (b"a,c\n1,2\n", "t.csv lacks the columns b; it has a, c"),
        (b"a,b\n", "t.csv is empty: it has a header but no rows"),
        (b"a,b\n1,2\n3\n4, \n", "without a, b: line 3, line 4"),
    ],
)
def test_a_table_that_says_too_little_is_refused(content, said):
    with pytest.raises(ValueError, match=said):
        read_table(content, ("a", "b"), "t.csv")


def test_a_limit_keeps_shares_and_a_few_of_every_class():
    names = [f"n{i:03}" for i in range(300)]
    classes = ["big"] * 250 + ["small"] * 40 + ["rare"] * 10
    rows = chosen_rows(names[::-1], classes, 60)
    kept = [classes[row] for row in rows]
    assert len(rows) == 60
    # Six each, then 42 in the shares of 244, 34 and 4: 36.3, 5.1 and 0.6, the last rounded up.
    assert {name: kept.count(name) for name in set(kept)} == {"big": 42, "small": 11, "rare": 7}
    assert [names[::-1][row] for row in rows] == sorted(names[::-1][row] for row in rows)
    # It is the same pictures, whatever the order of the rows.
    again = chosen_rows(names, classes[::-1], 60)
    assert {names[row] for row in again} == {names[::-1][row] for row in rows}
    assert chosen_rows(names, classes, None) == list(range(300))
    assert chosen_rows(names, classes, 1000) == list(range(300))
    with pytest.raises(ValueError, match="limit must be None or at least 3 images"):
        chosen_rows(names, classes, 2)


def test_ages_are_numbers_and_all_else_is_text():
    ages = typed_column("age", ["35", "", "NA", "unknown", "0.5"])
    np.testing.assert_array_equal(ages, [35, np.nan, np.nan, np.nan, 0.5])
    assert typed_column("sex", ["", "NA"]).tolist() == ["", "NA"]
    with pytest.raises(ValueError, match="an age that is not a number"):
        typed_column("age", ["old"])


def test_every_row_has_its_picture_and_maybe_a_mask(write):
    root = write({"x.jpg": b"1", "deep/y.png": b"2", "deep/y_segmentation.png": b"3"})
    with Archive(root) as archive:
        wanted = {"x", "y", mask_name("x"), mask_name("y")}
        first, second = pictures_of(archive, ["x", "y"], wanted, table="list", column="name")
        assert (first.image.path, first.mask) == ("x.jpg", None)
        assert (second.image.path, second.mask.path) == ("deep/y.png", "deep/y_segmentation.png")
        with pytest.raises(
            ValueError, match=r"1 of 2 rows of the list have no picture .* z; expect"
        ):
            pictures_of(archive, ["x", "z"], wanted | {"z"}, table="list", column="name")
