import zipfile
from contextlib import ExitStack

import pytest

from joint.picture.file import read_picture
from joint.picture.source import content_of, find_files, holds_several, name_of, picture_suffixes


def _zip(path, contents):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return path


def test_files_folders_and_zips_are_found_in_the_order_given(tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "a").mkdir()
    for name in ("b.PNG", "deep/a.jpg", "a/x.jpg", "notes.txt", ".hidden.png"):
        (tmp_path / "in" / name).write_bytes(name.encode())
    (tmp_path / "as it is").write_bytes(b"named")
    packed = _zip(
        tmp_path / "all.ZIP", {"y.png": "y", "x/z.jpg": "z", "t.csv": "", "__MACOSX/y.png": "-"}
    )
    with ExitStack() as held:
        found = find_files([packed, tmp_path / "as it is", tmp_path / "in"], {".png", ".jpg"}, held)
        inside = [file.inside.as_posix() for file in found.files]
        assert inside == ["x/z.jpg", "y.png", "as it is", "a/x.jpg", "b.PNG", "deep/a.jpg"]
        contents = [content_of(file.source) for file in found.files]
        assert contents == [b"z", b"y", b"named", b"a/x.jpg", b"b.PNG", b"deep/a.jpg"]
        assert name_of(found.files[0].source) == f"{packed}/x/z.jpg"
        assert name_of(found.files[2].source) == str(tmp_path / "as it is")
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as again:  # one tree, in one order
        for path in (tmp_path / "in").rglob("*"):
            again.write(path, path.relative_to(tmp_path / "in"))
    with ExitStack() as held:
        for source in ("in", "in.zip"):
            files = find_files([tmp_path / source], {".png", ".jpg", ".txt"}, held).files
            inside = [file.inside.as_posix() for file in files]
            assert inside == ["a/x.jpg", "b.PNG", "deep/a.jpg", "notes.txt"]
    assert found.skipped == 3  # notes.txt, .hidden.png and t.csv; what a Mac adds is no file of it
    assert [holds_several(p) for p in (packed, tmp_path, tmp_path / "as it is")] == [1, 1, 0]
    assert {".png", ".jpg", ".tif", ".webp"} <= picture_suffixes()


def test_what_is_no_source_is_refused(tmp_path):
    with ExitStack() as held:
        for name in ("gone", "gone.zip"):
            with pytest.raises(FileNotFoundError, match=f"there is no .*{name}"):
                find_files([tmp_path / name], {".png"}, held)
        (tmp_path / "words.zip").write_text("words")
        with pytest.raises(ValueError, match=r"words\.zip is not a folder or a usable zip"):
            find_files([tmp_path / "words.zip"], {".png"}, held)
        outside = _zip(tmp_path / "outside.zip", {"../a.png": "a"})
        with pytest.raises(ValueError, match="names that lead outside of it"):
            find_files([outside], {".png"}, held)


def test_a_damaged_file_of_a_zip_is_named(tmp_path):
    packed = _zip(tmp_path / "all.zip", {"a.png": "some words", "b.png": "others"})
    packed.write_bytes(packed.read_bytes().replace(b"some words", b"some WORDS", 1))
    with ExitStack() as held:
        first, second = find_files([packed], {".png"}, held).files
        with pytest.raises(ValueError, match=r"all\.zip/a\.png cannot be read from its zip"):
            content_of(first.source)
        assert content_of(second.source) == b"others"
        with pytest.raises(ValueError, match="cannot be read from its zip") as raised:
            read_picture(first.source)
        assert str(raised.value).count("all.zip") == 1
