import pytest


@pytest.mark.parametrize("name", ["optics", "compress", "classify"])
@pytest.mark.parametrize("content", ["", None], ids=["package", "folder"])
def test_a_stranger_under_one_of_our_names_is_named(fresh, tmp_path, name, content):
    (tmp_path / name).mkdir()
    if content is not None:
        (tmp_path / name / "__init__.py").write_text(content)
    done = fresh.run("import joint", cwd=tmp_path)
    if content is None and done.returncode == 0:
        return  # a folder without code does not shadow an installed package
    assert done.returncode != 0
    assert "another distribution or folder has the same name" in done.stderr
    assert str(tmp_path / name) in done.stderr
