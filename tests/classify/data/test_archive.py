import errno
import os
import struct
import zipfile
from itertools import product
from pathlib import PurePosixPath

import pytest

from classify.data.archive import Archive, Member, listed


def paths(members):
    return [member.path for member in members]


CONTENT = {"b/x.jpg": b"one", "a.csv": b"two", "b/c/y.PNG": b"three"}


@pytest.mark.parametrize("name", ["folder", "some.zip"])
def test_lists_and_reads_files_in_order(write, name):
    with Archive(write(CONTENT, name)) as archive:
        assert paths(archive.members) == ["a.csv", "b/c/y.PNG", "b/x.jpg"]
        member = archive.members[1]
        assert (member.name, member.stem, member.suffix, member.size) == ("y.PNG", "y", ".png", 5)
        assert [member.read() for member in archive.members] == [b"two", b"three", b"one"]


@pytest.mark.parametrize("name", ["folder", "some.zip"])
def test_passes_over_what_no_data_set_means(write, name):
    junk = ["__MACOSX/b/._x.jpg", "b/._x.jpg", ".hidden/x.jpg", "ham.cache/k/x.jpg", "b/.DS_Store"]
    with Archive(write(CONTENT | dict.fromkeys(junk, b""), name)) as archive:
        assert paths(archive.members) == sorted(CONTENT)


def test_follows_links_but_not_in_circles(write, tmp_path):
    write({"x.jpg": b"1"}, "elsewhere")
    root = write({"y.jpg": b"2"})
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "up").symlink_to(root)
    with Archive(root) as archive:
        assert paths(archive.members) == ["linked/x.jpg", "y.jpg"]


def test_links_that_lead_nowhere_are_refused(write):
    root = write({"a/x.jpg": b"1"})
    (root / ".hidden.jpg").symlink_to(root / "nothing")
    with Archive(root) as archive:
        assert paths(archive.members) == ["a/x.jpg"]
    (root / "a" / "broken.jpg").symlink_to("nothing")
    (root / "class").symlink_to("not mounted")
    with pytest.raises(
        ValueError,
        match=r"cannot be read.*: .*/broken.jpg \(a link to nothing: No such.*\), .*/class \(a",
    ):
        Archive(root)


def test_folders_that_cannot_be_read_are_refused(write, monkeypatch):
    """Also for who may read all, as root."""
    root = write({"a/x.jpg": b"1", "b/y.jpg": b"2", "lost+found/z.jpg": b"3"})
    with Archive(root) as archive:
        assert paths(archive.members) == ["a/x.jpg", "b/y.jpg"]
    scan = os.scandir

    def refused(path):
        if str(path).endswith(("b", "lost+found")):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(ValueError, match=r"cannot be read.*: \S*/b \(Permission denied\); make it"):
        Archive(root)


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_a_folder_with_two_names_is_there_under_its_own(write, tmp_path, monkeypatch, names):
    root = write({"a/x.jpg": b"1", "b/more/y.jpg": b"2", ".kept/w.jpg": b"4"})
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "z.jpg").write_bytes(b"3")
    (root / "a" / "extra").symlink_to(root / "b" / "more")
    (root / "a" / "kept").symlink_to(root / ".kept")  # which is looked into by no other name
    for number in (1, 2):
        (root / "b" / f"link{number}").symlink_to(tmp_path / "other")
    (root / "b" / "more" / "up").symlink_to(root)
    look = os.walk

    def walk(*arguments, **settings):  # the order of a file system is any
        for folder, folders, files in look(*arguments, **settings):
            folders.sort(reverse=names == ("b", "a"))
            yield folder, folders, files

    monkeypatch.setattr(os, "walk", walk)
    with Archive(root) as archive:
        assert paths(archive.members) == [
            "a/kept/w.jpg", "a/x.jpg", "b/link1/z.jpg", "b/more/y.jpg"
        ]  # fmt: skip


def test_folders_that_link_to_each_other_are_walked_once(write):
    names = [f"c{k}" for k in range(9)]  # in all orders, they would be a million
    root = write({f"{name}/x.jpg": b"1" for name in names})
    for one in names:
        for other in names:
            if one != other:
                (root / one / other).symlink_to(root / other)
    with Archive(root) as archive:
        assert paths(archive.members) == [f"{name}/x.jpg" for name in names]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("name", ["folder", "some.zip"])
def test_opens_zips_inside(write, name, method, zipped):
    inner = zipped({"p/x.jpg": b"one", "y.jpg": b"two"}, method)
    with Archive(write({"in.zip": inner, "z.jpg": b"three"}, name)) as archive:
        assert paths(archive.members) == ["in.zip", "z.jpg"]
        assert paths(archive.deep) == ["in.zip", "z.jpg", "in.zip/p/x.jpg", "in.zip/y.jpg"]
        assert [m.read() for m in archive.deep[1:]] == [b"three", b"one", b"two"]
        assert archive.pictures({"x"}, [".jpg"])["x"].read() == b"one"


def test_remembers_zips_inside_that_cannot_be_read(write):
    with Archive(write({"half.zip": b"PK no", "z.jpg": b"1"})) as archive:
        assert paths(archive.deep) == ["half.zip", "z.jpg"]
        assert archive.unreadable == {"half.zip": "File is not a zip file"}


def test_no_room_to_unpack(write, zipped, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("classify.data.archive.copyfileobj", full)
    with (
        Archive(write({"in.zip": zipped({"x.jpg": b"1"})}, "some.zip")) as archive,
        pytest.raises(OSError, match=r"cannot unpack in.zip into .*: No space left .*; set TMPDIR"),
    ):
        len(archive.deep)


def test_one_name_twice(write):
    same = {"A/x.jpg": b"123", "a/x.jpg": b"123", "b/y.jpg": b"1"}
    with Archive(write(same, "same")) as archive:
        assert archive.pictures({"x"}, [".jpg"])["x"].path == "A/x.jpg"
    with Archive(write({**same, "c/x.jpg": b"1"}, "other")) as archive:
        assert list(archive.pictures({"y"}, [".jpg"])) == ["y"]
        with pytest.raises(ValueError, match=r"different files for one name: A/x.jpg and c/x.jpg;"):
            archive.pictures({"x", "y"}, [".jpg"])


@pytest.mark.parametrize("name", ["folder", "some.zip"])
def test_two_files_of_one_name_and_size_are_told_by_their_content(write, name):
    root = write({"a/x.jpg": b"123", "b/x.jpg": b"123", "c/x.jpg": b"124"}, name)
    if root.is_dir():
        for path in root.rglob("*.jpg"):
            os.utime(path, (1, 1))
    with (
        Archive(root) as archive,
        pytest.raises(ValueError, match=r"different files for one name: a/x.jpg and c/x.jpg;"),
    ):
        archive.pictures({"x"}, [".jpg"])


def test_path_that_does_not_exist(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing does not exist; give the folder or"):
        Archive(tmp_path / "nothing")


def test_neither_folder_nor_zip(tmp_path):
    (tmp_path / "ham.rar").write_bytes(b"Rar!")
    with pytest.raises(ValueError, match=r"ham.rar is not a folder or a usable zip: File is not"):
        Archive(tmp_path / "ham.rar")


def test_half_a_zip(write):
    root = write(CONTENT, "half.zip")
    root.write_bytes(root.read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"half.zip is not a folder or a usable zip"):
        Archive(root)


@pytest.mark.parametrize(
    "path", ["../x.jpg", "a/../../x.jpg", "/etc/x.jpg", "C:/x.jpg", "a\\..\\x"]
)
def test_names_that_lead_outside(write, path):
    with pytest.raises(ValueError, match="names that lead outside of it: "):
        Archive(write({path: b"1"}, "evil.zip"))


def test_a_file_without_a_name(write):
    root = write({"x.jpg": b"1"}, "nameless.zip")
    content = bytearray(root.read_bytes())
    at = content.index(b"PK\x01\x02") + 46
    content[at] = 0  # zipfile takes a name up to its first zero
    root.write_bytes(content)
    with pytest.raises(ValueError, match="it has a file without a name"):
        Archive(root)


def test_encrypted_zip(write):
    root = write({"x.jpg": b"1"}, "locked.zip")
    content = bytearray(root.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # local and central header
        at = content.index(signature) + offset
        content[at : at + 2] = struct.pack("<H", 1)
    root.write_bytes(content)
    with pytest.raises(ValueError, match="it is encrypted; unpack it with its password"):
        Archive(root)


def test_long_lists_are_cut():
    assert listed(["a", "b"]) == "a, b"
    assert listed(map(str, range(13))) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 3 more"


def test_names_are_parted_as_by_pathlib():
    for letters in product("aB. ", repeat=4):
        name = "x" + "".join(letters)
        member = Member(f"folder.d/{name}", 0, 0, lambda: None)
        path = PurePosixPath(name)
        assert (member.stem, member.suffix) == (path.stem, path.suffix.lower())
