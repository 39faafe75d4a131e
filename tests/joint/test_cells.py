import csv
import io

from joint.cells import aligned, as_csv


def test_columns_are_under_each_other():
    assert aligned([["a", "bbb", ""], ["cc", "d", "e"]]) == ["  a   bbb", "  cc  d    e"]
    assert aligned([]) == []


def test_what_a_row_lacks_is_empty_and_the_fullest_one_orders():
    cells = [{"b": 1}, {"a": 0.1, "b": 2, "c": 'x, "y"\n'}, {"d": None}]
    text = as_csv(cells)
    assert text.startswith("a,b,c,d\n")
    assert [*csv.DictReader(io.StringIO(text, newline=""))] == [
        {"a": "", "b": "1", "c": "", "d": ""},
        {"a": "0.1", "b": "2", "c": 'x, "y"\n', "d": ""},
        {"a": "", "b": "", "c": "", "d": ""},
    ]
    assert as_csv([]) == "\n"
