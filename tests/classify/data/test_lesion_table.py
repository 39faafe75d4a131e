import pytest

from classify.data.archive import Archive
from classify.data.lesion_table import lesion_groups, pictures_of
from classify.data.table import mask_name


def test_a_picture_of_an_unknown_lesion_is_a_group_of_its_own():
    assert lesion_groups(["1", "", "NA", "1"], list("abcd")) == ["1", "b", "c", "1"]


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
