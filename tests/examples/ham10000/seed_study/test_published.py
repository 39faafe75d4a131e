import pytest
from seed_study import published


@pytest.mark.parametrize("number", published.REPORTS)
def test_every_table_agrees_with_its_own_rows(number):
    # A cell that was copied wrongly would not: all means are printed to two digits.
    table = published.REPORTS[number]
    rows = table.rows.values()
    assert sum(row.support for row in rows) == table.macro.support == 1002
    assert table.right() == pytest.approx(table.accuracy, abs=0.0055)
    for k in range(3):
        macro = sum(row[k] for row in rows) / len(rows)
        weighted = sum(row[k] * row.support for row in rows) / 1002
        assert macro == pytest.approx(table.macro[k], abs=0.0085)
        assert weighted == pytest.approx(table.weighted[k], abs=0.0085)
    for row in rows:
        f1 = 2 * row.precision * row.recall / max(row.precision + row.recall, 1e-9)
        assert f1 == pytest.approx(row.f1, abs=0.0125)


def test_every_table_is_reproduced_by_a_row():
    numbers = [n for row in published.ROWS for n in (row.losses, row.report) if n is not None]
    assert sorted(numbers) == [1, 2, *range(4, 16)]
    assert sorted(numbers) == sorted([*published.LOSSES, *published.REPORTS])
    figures = [table.figure for table in published.REPORTS.values()]
    assert figures == [None, *range(7, 13)]
    assert sum(published.COUNTS.values()) == published.TOTAL
    assert sorted(published.NAMES.values()) == sorted(published.COUNTS)


def test_it_contradicts_itself():
    found = [f"{fault.where}: {fault.what}" for fault in published.faults()]
    assert len(found) == 8
    assert "0.923 in table 1 (925 of 1002 right) and 0.82 in table 2" in found[0]
    assert "add up to 0.819" in found[0]
    assert found[1].startswith("tables 10 to 12 and 13 to 15: they are the same numbers")
    assert "0.7538, 0.7315, 0.7196" in found[2]
    assert "0.7555, 0.8183, 0.7814" in found[2]
    assert "0.2 points below 0.82 and 10.5 below 0.923" in found[3]
    assert "6X above 3X above 1.5X" in found[4]


def test_tables_that_differ_are_no_fault(monkeypatch):
    other = published.REPORTS[13]._replace(rows={**published.REPORTS[2].rows})
    monkeypatch.setitem(published.REPORTS, 13, other)
    monkeypatch.setitem(published.REPORTS, 10, published.REPORTS[10]._replace(accuracy=0.75))
    places = [fault.where for fault in published.faults()]
    assert "tables 10 to 12 and 13 to 15" not in places
    assert "tables 4 to 6 and 10 to 12" not in places
