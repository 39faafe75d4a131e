import pytest
from seed_study import tables
from seed_study.grid import PENDING, sources
from seed_study.published import ROWS


@pytest.fixture
def columns(document):
    return sources(document)


def _row(name):
    (found,) = [row for row in ROWS if row.stage == name]
    return found


def _line(grid, name):
    (found,) = [line for line in grid.lines if line[0] == name]
    return found


def test_a_table_of_losses_stands_beside_the_published_one(columns):
    grid = tables.losses(_row("frozen_3x"), columns)
    assert grid.title.startswith("Table 5: 3X Autoencoder")
    assert _line(grid, "Training")[1:3] == ("0.0194", "-")
    assert _line(grid, "Test")[1:3] == ("1.2854", "0.7315")
    seed, honest = (column.found["rows"] for column in columns)
    # Training and validation are the autoencoder's own, the test is the pair's.
    assert _line(grid, "Training")[3] == f"{seed['autoencoder_3x']['train']['loss']:.4f}"
    assert _line(grid, "Test")[6] == f"{honest['frozen_3x']['test']['accuracy']:.4f}"


def test_a_table_of_classes_stands_beside_the_published_one(columns):
    grid = tables.classes(_row("joint_6x"), columns)
    assert grid.title.startswith("Table 13: ")
    assert _line(grid, "DF")[1:5] == ("0.00", "0.00", "0.00", "12")
    own = columns[1].found["rows"]["joint_6x"]["report"]["by_class"]["df"]
    assert _line(grid, "DF")[9:] == (
        f"{own['precision']:.2f}",
        f"{own['recall']:.2f}",
        f"{own['f1']:.2f}",
        "10",
    )
    assert _line(grid, "Accuracy")[3:5] == ("0.76", "1002")
    assert _line(grid, "Macro Average")[1:4] == ("0.59", "0.38", "0.39")


def test_every_published_table_and_figure_is_told(document):
    text = tables.text(document)
    for number in (1, 2, *range(4, 16)):
        assert f"Table {number}: " in text
    for number in range(7, 13):
        assert f"Figure {number}: " in text
    for word in ("K-means", "300 photons", "Rare classes", "JPEG", "Goals", "Claims", "lesions"):
        assert word in text
    assert "nan" not in text.lower().split()


def test_what_is_not_measured_says_so(document):
    columns = [*sources(document, "CPU, "), *sources(None, "GPU, ")]
    grid = tables.accuracies(columns)
    assert grid.head[2:] == (
        "CPU, seed's protocol",
        "CPU, honest",
        "GPU, seed's protocol",
        "GPU, honest",
    )
    assert all(line[4:] == (PENDING, PENDING) for line in grid.lines)
    assert tables.losses(ROWS[0], columns).lines[0][-2:] == (PENDING, "")
    assert len({len(line) for line in tables.classes(ROWS[0], columns).lines}) == 1


def test_counts_and_leaks_are_those_of_all_pictures(columns):
    counts = tables.counts(columns)
    assert _line(counts, "Dermatofibroma (df)")[1:] == ("115", "115", "115")
    assert _line(counts, "Used")[1:] == ("10015", "4000", "4000")
    leaks = tables.leaks(columns)
    assert _line(leaks, "all")[1:] == ("40.0 %", "40.0 %")
    assert _line(leaks, "mel")[1:] == ("25.0 %", "25.0 %")
    # 0.4 + 0.6 x 0.82
    assert "would be 0.892: the leak alone does not explain the 0.923" in leaks.note
    columns[0].found["data"]["leaked"] = 0.6
    assert "would be 0.928: the leak alone could explain" in tables.leaks(columns).note
    columns[0].found["rows"]["classifier"]["by_leak"] = {
        "leaked": {"pictures": 10, "accuracy": 0.75},
        "clean": {"pictures": 60, "accuracy": 0.5},
        "within_class": 0.125,
    }
    leaks = tables.leaks(columns)
    assert _line(leaks, "accuracy on those")[1:] == ("0.750", "-")
    assert _line(leaks, "difference within class")[1:] == ("+0.125", "-")
