import csv
import io

import numpy as np
import pytest

from classify.data.table import (
    age_column,
    check_columns,
    check_grouped,
    chosen_rows,
    number_column,
    read_header,
    read_table,
    warn_of_alike,
    warn_of_placeholders,
)


@pytest.mark.parametrize(
    "text",
    [
        "a, b\n1,x\n2,\n",
        "\ufeffa\tb\n1\tx\n2\t\n",
        "a,b\r\n\r\n1,x\r\n2,\r\n",
        "a;b\n1;x\n2;\n",
        '\ufeff"a";"b"\r\n"1";"x"\r\n"2";\r\n',
        "\ufeffsep=;\r\na;b\r\n1;x\r\n2;\r\n",  # as Excel is told
        "sep=\t\na\tb\n1\tx\n2\t\n",
        "\n  \r\na,b\n1,x\n2,\n",
    ],
)
def test_a_table_is_read_in_any_dress(text):
    assert read_table(text.encode(), ("a",), "t.csv") == {"a": ["1", "2"], "b": ["x", ""]}
    assert read_header(text.encode()) == ["a", "b"]


def test_what_divides_the_header_divides_the_rows():
    assert read_table(b"a;b\n1,5;x,y\n", ("a",), "t") == {"a": ["1,5"], "b": ["x,y"]}
    assert read_table(b"a,b\n1;5,x;y\n", ("a",), "t") == {"a": ["1;5"], "b": ["x;y"]}
    assert read_table(b"a\n1;5\n", ("a",), "t") == {"a": ["1;5"]}


@pytest.mark.parametrize("divider", [",", ";", "\t"])
def test_cells_are_those_that_were_written(divider):
    """Python's writer of CSV is the other side: dividers, quotes and line breaks in cells."""
    header = ["image", "label", "age, years; at, the; visit, or\tlater", 'of "one"\nlesion']
    rows = [["a", 'a "b", c', "x\r\ny", "1;2"], ["b", "u\u2028v\x0bw\x85x", "3\n\n4", "5\r6"]]
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=divider).writerows([header, *rows])
    content = text.getvalue().encode()
    assert read_header(content) == header
    found = read_table(content, ("image",), "t")
    assert list(found) == header
    assert list(map(list, zip(*found.values(), strict=True))) == rows


@pytest.mark.parametrize(
    ("head", "cells"),
    [
        ('image;label;"age, years, at, visit"', ["image", "label", "age, years, at, visit"]),
        ('"a;"";b;c",d', ['a;";b;c', "d"]),
        ('5" a,b,c" d;e', ['5" a', "b", 'c" d;e']),  # quotes that open no cell
        ("a\tb, c, d, e", ["a", "b, c, d, e"]),
        ("a,b\ra;b;c;d", ["a", "b"]),
        ('"', [""]),
        ("\n", []),
    ],
)
def test_only_what_is_outside_of_quotes_divides_a_header(head, cells):
    assert read_header(head.encode()) == cells


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff\xfe1", "t.csv is not a table in UTF-8"),
        (b"", "t.csv lacks the columns a, b; it has none"),
        (b"a,c\n1,2\n", "t.csv lacks the columns b; it has a, c"),
        (b"A,B,B1\n1,2,3\n", "lacks the columns a, b; it has A, B, B1: did you mean A, B?"),
        (b"a,b,a\n1,2,3\n", "t.csv has several columns of the name a$"),
        (b"a,b\n", "t.csv is empty: it has a header but no rows"),
        (b"a,b\n1,2\n3\n4, \n", "without a, b: line 3, line 4"),
        (b"sep=,\n\na,b\n1,2\n3\n4, \n", "without a, b: line 5, line 6"),
        (b'a,"b"\n1,"x\ny\nz"\n\n3\n4,"\n"\n', "without a, b: line 6, line 7$"),
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


def test_ages_are_numbers():
    ages = age_column(["35", "", "None", "unknown", "0.5"], where="t.csv")
    np.testing.assert_array_equal(ages, [35, np.nan, np.nan, np.nan, 0.5])
    with pytest.raises(ValueError, match=r"t.csv has an age that is not a number"):
        age_column(["old"], where="t.csv")


def test_columns_of_numbers_are_numbers():
    whole = number_column(["3", "-1", "+20"])
    assert (whole.dtype, whole.tolist()) == (np.int64, [3, -1, 20])
    some = number_column(["3", "", "1e-2", "NaN", "unknown"])
    np.testing.assert_array_equal(some, [3, np.nan, 0.01, np.nan, np.nan])
    # Names that happen to consist of digits, what no float holds, and what says nothing.
    for names in (["007", "12"], ["1_2", "3"], ["9007199254740993", "1"], ["inf", "1"], ["", "NA"]):
        assert number_column(names).tolist() == names
    assert number_column(["0", "0.5", "-0.5"]).tolist() == [0, 0.5, -0.5]


def test_the_nearest_column_is_named_once_for_each():
    header = ("image_name", "patient_id", "target")
    check_columns(header, ("target", "target"), "t.csv")
    with pytest.raises(ValueError, match=r"columns patient, targets; .*mean patient_id, target\?$"):
        check_columns(header, ("patient", "targets", "targets"), "t.csv")
    with pytest.raises(ValueError, match=r"columns image; it has photo, diagnosis, age$"):
        check_columns(("photo", "diagnosis", "age"), ("image",), "t.csv")  # 6 of 8 letters fit
    with pytest.raises(ValueError, match=r"columns xyz; it has image_name, patient_id, target$"):
        check_columns(header, ("xyz",), "t.csv")


def test_unknown_is_no_group():
    check_grouped(("a", "b"), ("1", "1"), column="patient", where="t.csv")
    with pytest.raises(ValueError, match=r"t.csv has no patient for 3 of 4 pictures: b, c, d; add"):
        check_grouped(tuple("abcd"), ("1", "", "NaN", "unknown"), column="patient", where="t.csv")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('a,b\n1,"x\n2,y\n3,z\n', 2),  # to the end
        ('\n\n"a,b\n1,x\n', 3),
        ('a,b\n1,x\n2,"y\n3,"z\n4,w\n', 3),  # to the next that opens a cell
        ('a,b,c\n1,"x,r\n2,y",s\n3,z,t\n', 2),  # to one that was left of another
        ('a;b;c\r\n1;"x;r\r\n2;y;s\r\n3;z";t\r\n4;w;u\r\n', 2),
    ],
)
def test_a_quote_swallows_no_rows(text, line):
    with pytest.raises(ValueError, match=f"^t: the row that begins in line {line} cannot .* quote"):
        read_table(text.encode(), ("a",), "t")


def test_cells_of_several_lines_are_no_rows():
    text = 'a,b,c\n1,"two, or\nthree\nlines",x\n2,"6"" long",y\n3,5" wide,z\n'
    notes = read_table(text.encode(), ("a",), "t")["b"]
    assert notes == ["two, or\nthree\nlines", '6" long', '5" wide']


def test_every_column_has_a_name_of_its_own():
    with pytest.raises(ValueError, match=r"^t has several columns of the name age$"):
        read_table(b"a,age,age\n1,50,51\n", ("a",), "t")
    assert read_table(b",a,\n0,1,x\n1,2,y\n", ("a",), "t") == {"a": ["1", "2"]}


def test_other_alphabets_are_named():
    text = "image,label\na,\u00e4\n"
    with pytest.raises(ValueError, match=r"^t is not a table in UTF-8: .* UTF-16 .*; save it as"):
        read_table(text.encode("utf-16"), ("image",), "t")
    with pytest.raises(ValueError, match=r"^t is not a table in UTF-8 .*0xe4.*; save it as CSV"):
        read_table(text.encode("latin-1"), ("image",), "t")


def test_a_limit_of_numpy():
    assert chosen_rows(list("abcd"), list("xyxy"), np.int64(2)) == (
        chosen_rows(list("abcd"), list("xyxy"), 2)
    )


@pytest.mark.parametrize("cell", ["None", "N/A", "NULL", "<NA>"])
def test_what_other_tools_write_for_nothing_is_no_group(cell):
    with pytest.raises(ValueError, match="t has no patient for 1 of 2 pictures: b; add"):
        check_grouped(("a", "b"), ("1", cell), column="patient", where="t")
    np.testing.assert_array_equal(number_column(["3", cell]), [3, np.nan])
    assert number_column(["arm", cell]).tolist() == ["arm", cell]  # text stays as it is


def test_a_letter_without_a_shape_makes_no_other_name():
    with pytest.warns(UserWarning, match=r"a group for each of P1, 'P1\\u200b', which differ"):
        warn_of_alike(
            ["P1", "P1\u200b", "P2"],
            what="group",
            where="t",
            column="c",
            numbers=True,
            stacklevel=1,
        )


@pytest.mark.parametrize("word", ["?", "-", "9999", "Unk"])
def test_many_pictures_of_a_placeholder_are_told(word):
    def look(times, others):
        groups = [word] * times + [f"P{row}" for row in range(others)]
        warn_of_placeholders(groups, where="t.csv", column="patient_id", stacklevel=1)

    with pytest.warns(UserWarning, match=r"t.csv has 5 of 20 pictures in one group '.*', which"):
        look(5, 15)
    look(4, 16)
    look(5, 14)
    warn_of_placeholders(["0"] * 20, where="t.csv", column="patient_id", stacklevel=1)
