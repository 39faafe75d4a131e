from seed_study import grid


def test_a_grid_is_text_and_markdown():
    made = grid.Grid("T", ("a", "long"), (("x", "1"), ("longer", "22")), "note")
    assert made.text() == "T\na       long\nx          1\nlonger    22\nnote"
    assert made.markdown() == (
        "**T**\n\n| a | long |\n| --- | --- |\n| x | 1 |\n| longer | 22 |\n\nnote"
    )


def test_a_grid_without_lines_says_so():
    made = grid.grid("T", ["a"], [], "note")
    assert made.text() == "T: not yet measured"
    assert made.markdown() == "**T**: not yet measured"


def test_a_run_that_is_not_there_has_columns():
    columns = grid.sources(None, "GPU, ")
    assert [column.label for column in columns] == ["GPU, seed's protocol", "GPU, honest"]
    assert columns[0].row("classifier") is None


def test_cells_say_when_there_is_nothing():
    assert grid.number(None, 2) == grid.percent(None) == grid.signed(None, None) == "-"
    assert grid.interval(None) == grid.interval([None, None]) == ""
    assert grid.interval([0.12345, 0.5]) == "[0.123, 0.500]"
    assert grid.signed(0.1, [-0.05, 0.25]) == "+0.100 [-0.050, +0.250]"
    assert grid.signed(-0.1, [None, None]) == "-0.100"
    assert grid.percent(0.4153) == "41.5 %"
