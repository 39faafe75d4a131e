import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from optics.fabrication import maker_file
from optics.fabrication.maker_file import (
    CODES,
    as_number,
    as_table,
    as_tiff,
    check_format,
    check_samples,
    metadata_number,
    read_table,
    read_tiff,
    target_paths,
    write_all,
)

HEAD = {"format": "plate", "version": 1, "size": [5, 7], "pitch_micrometres": 2.5}
RNG = np.random.default_rng(3)


def test_a_tiff_is_one_for_others_too():
    codes = RNG.integers(0, CODES + 1, (5, 7), dtype=np.uint16)
    content = as_tiff(codes, HEAD, spacing=2.5e-6)
    with Image.open(io.BytesIO(content)) as image:
        assert np.array_equal(np.asarray(image), codes)
        assert image.mode.startswith("I;16")
        assert json.loads(image.tag_v2[270]) == HEAD
        # 4000 samples a centimetre are 10160 an inch.
        assert image.info["dpi"] == pytest.approx((10160, 10160))
    found, head = read_tiff(content)
    assert np.array_equal(found, codes)
    assert head == HEAD


def test_a_table_is_one_for_others_too():
    numbers = RNG.normal(size=(5, 7))
    content = as_table(numbers, HEAD, digits=6)
    assert np.loadtxt(io.BytesIO(content), delimiter=",") == pytest.approx(numbers, abs=5e-7)
    found, head = read_table(content)
    assert found == pytest.approx(numbers, abs=5e-7)
    assert head == HEAD
    # As a spreadsheet writes it.
    again, _ = read_table(b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n"))
    assert np.array_equal(again, found)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff\xfe\x00", "not text"),
        (b"# size: [1, 2\n1,2\n", "line 1 is not the JSON"),
        (b"1,2\n1,x\n", "line 2: could not convert"),
        (b"1,2\n1\n", "line 2 has 1 numbers, the first row 2"),
    ],
)
def test_a_damaged_table_is_refused_by_its_line(content, said):
    with pytest.raises(ValueError, match=said):
        read_table(content)


def test_an_empty_table_has_no_samples():
    numbers, head = read_table(b"")
    assert numbers.size == 0
    with pytest.raises(ValueError, match="does not name the format 'plate'"):
        check_format(head, "plate", 1)


def test_metadata_are_those_of_the_format_and_fit_the_samples():
    check_format(HEAD, "plate", 1)
    with pytest.raises(ValueError, match="version must be 2, not 1"):
        check_format(HEAD, "plate", 2)
    check_samples(np.zeros((5, 7)), HEAD, "phases")
    with pytest.raises(ValueError, match=r"holds \[7, 5\] samples, but its metadata says \[5, 7\]"):
        check_samples(np.zeros((7, 5)), HEAD, "phases")
    with pytest.raises(ValueError, match="phases that are NaN or infinite"):
        check_samples(np.full((5, 7), np.inf), HEAD, "phases")
    assert metadata_number(HEAD, "pitch_micrometres", unit="micrometres", positive=True) == 2.5
    with pytest.raises(ValueError, match="pitch must be positive, in micrometres, not None"):
        metadata_number({}, "pitch_micrometres", unit="micrometres", positive=True)


@pytest.mark.parametrize("value", [True, "1", None, float("nan"), float("inf"), 10**400, [1]])
def test_what_is_no_real_finite_number(value):
    assert as_number(value) is None


@pytest.mark.parametrize("value", [np.float32(0.5), np.array(0.5), torch.tensor(0.5)])
def test_numbers_of_numpy_and_torch_are_numbers(value):
    number = as_number(value)
    assert number == 0.5
    assert type(number) is float
    for none in (
        np.True_,
        np.array([0.5]),
        torch.tensor([0.5]),
        torch.tensor(0.5).requires_grad_(),
    ):
        assert as_number(none) is None


def test_names_and_what_is_there_already(tmp_path):
    stem = tmp_path / "mask.v2"
    expected = [
        tmp_path / f"mask.v2{part}{end}" for part in ("_a", "_b") for end in (".tif", ".csv")
    ]
    for path in (stem, tmp_path / "mask.v2.TIF", str(stem) + ".csv"):
        assert [*target_paths(path, ["_a", "_b"], overwrite=False)] == expected
    expected[3].touch()
    with pytest.raises(FileExistsError, match=r"mask\.v2_b\.csv exists"):
        target_paths(stem, ["_a", "_b"], overwrite=False)
    assert [*target_paths(stem, ["_a", "_b"], overwrite=True)] == expected


def test_all_files_are_written_or_none(tmp_path, monkeypatch):
    targets = [tmp_path / "new" / name for name in "ab"]
    write_all(targets, [b"1", b"2"])
    assert [target.read_bytes() for target in targets] == [b"1", b"2"]

    class Full(Exception):
        pass

    opened = Path.open

    def fail_at_b(path, *arguments):
        if path.name.startswith(".b"):
            raise Full
        return opened(path, *arguments)

    monkeypatch.setattr(maker_file.Path, "open", fail_at_b)
    with pytest.raises(Full):
        write_all(targets, [b"3", b"4"])
    monkeypatch.undo()
    assert [target.read_bytes() for target in targets] == [b"1", b"2"]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a", "b"]


def test_the_endings_of_other_formats_are_refused(tmp_path):
    for name in ("m.png", "m.STL", "a.b.npy"):
        with pytest.raises(
            ValueError, match=r"a \.tif and a \.csv are written, no \.(png|stl|npy)"
        ):
            target_paths(tmp_path / name, overwrite=False)
    for name in ("v1.2", "mask.v2", "f.55um", "a.b"):
        assert target_paths(tmp_path / name, overwrite=False)[0].name == f"{name}.tif"


def test_bare_files_are_read_on_demand():
    table = b"# a remark\n1;2\t3\n\n4, 5  6\n"
    numbers, metadata = read_table(table, bare=True)
    np.testing.assert_array_equal(numbers, [[1, 2, 3], [4, 5, 6]])
    assert metadata == {}
    with pytest.raises(ValueError, match="line 1 is not the JSON of its metadata"):
        read_table(table)
    ours = as_table(np.ones((1, 2)), {"format": "x"}, digits=1)
    assert read_table(ours, bare=True)[1] == {"format": "x"}
    with pytest.raises(ValueError, match="line 2 has 1 numbers, the first row 2"):
        read_table(b"1 2\n3", bare=True)


@pytest.mark.parametrize("row", [b"2,5;3,5", b"2,5\t3,5", b"2,5  3,5", b"1;,5"])
def test_a_decimal_comma_is_not_taken_for_two_numbers(row):
    with pytest.raises(ValueError, match=r"line 2 has commas and other .*decimals with a point"):
        read_table(b"1;2\n" + row, bare=True)


def test_commas_between_aligned_numbers_part_them():
    numbers, _ = read_table(b"  1,  22,1000\n1,\t2 ,3\n", bare=True)
    np.testing.assert_array_equal(numbers, [[1, 22, 1000], [1, 2, 3]])


@pytest.mark.parametrize(
    ("table", "column"),
    [
        (b"1,2,3\n5,,8", 2),
        (b"1;2;3\n5; ;8", 2),
        (b"1\t2\t3\n5\t\t8", 2),
        (b"1\t2\t3\n\t5\t8", 1),
        (b"1,2,3\n5,8,", 3),
    ],
)
def test_an_empty_cell_is_told_by_its_place(table, column):
    with pytest.raises(ValueError, match=f"line 2 has an empty cell, column {column}: write"):
        read_table(table, bare=True)


def test_tabs_and_spaces_about_a_separator_part_once():
    numbers, _ = read_table(b" 1 \t 2\t;3\t\n4 ;\t5;6 \n", bare=True)
    np.testing.assert_array_equal(numbers, [[1, 2, 3], [4, 5, 6]])


def test_the_format_of_another_program_is_a_remark():
    numbers, metadata = read_table(b"# format: Zygo\n1,2\n", bare=True)
    np.testing.assert_array_equal(numbers, [[1, 2]])
    assert metadata == {}


def test_one_page_of_several_is_not_taken_for_all():
    page, content = Image.fromarray(np.zeros((2, 3), np.uint16)), io.BytesIO()
    page.save(content, format="TIFF", save_all=True, append_images=[page])
    with pytest.raises(ValueError, match="the TIFF has 2 pages, but must have one"):
        read_tiff(content.getvalue(), bare=True)
