"""The public names and their signatures are those of the snapshot: none goes by accident."""

import difflib

import pytest
import surface


def test_the_public_names_are_those_of_the_snapshot():
    recorded = surface.SNAPSHOT.read_text(encoding="utf-8")
    found = surface.describe()
    lines = difflib.unified_diff(
        recorded.splitlines(), found.splitlines(), "recorded", "found", n=1, lineterm=""
    )
    assert found == recorded, (
        "the public names or signatures changed:\n"
        + "\n".join(lines)
        + f"\nIf that is meant, run `{surface.COMMAND}`, look at the difference, and say in "
        "CHANGELOG.md what is new and what breaks (CONTRIBUTING.md, 'Names that users rely on')."
    )


def test_the_names_of_a_room_are_sorted_and_stand_for_something():
    for room in surface.ROOMS:
        module = __import__(room, fromlist=["__all__"])
        assert len(set(module.__all__)) == len(module.__all__), room
        missing = [name for name in module.__all__ if not hasattr(module, name)]
        assert not missing, f"{room}: {missing}"


def test_the_snapshot_sees_a_parameter_a_default_and_a_method():
    text = surface.SNAPSHOT.read_text(encoding="utf-8")
    assert "\nclass Lens(PhaseElement)\n    made by(size: int | tuple[int, int], *, " in text
    assert "\n    .phase_shift(wavelength: Tensor) -> Tensor\n" in text
    assert "\nBoundary: zero, reflect, replicate, circular\n" in text
    assert "\nmtf(psf: Tensor) -> Tensor\n" in text
    assert "\n    rate: float = " in text  # a field of a configuration, with its default


def test_the_snapshot_is_written_only_where_that_was_asked_for(tmp_path, monkeypatch, capsys):
    file = tmp_path / "surface.txt"
    monkeypatch.setattr(surface, "HERE", tmp_path / "tests" / "contracts")
    monkeypatch.setattr(surface, "SNAPSHOT", file)
    for arguments, status in (["--help"], 0), (["--chekc"], 2), (["names"], 2):
        with pytest.raises(SystemExit) as left:
            surface.main(arguments)
        assert left.value.code == status
    refused = capsys.readouterr()
    assert "--check" in refused.out
    assert "unrecognized arguments: names" in refused.err
    assert surface.main(["--check"]) == 1
    assert "\n+optics\n" in capsys.readouterr().out
    assert not file.exists()
    assert surface.main([]) == 0
    assert capsys.readouterr().out == "wrote surface.txt\n"
    assert file.read_text(encoding="utf-8") == surface.describe()
    assert surface.main(["--check"]) == 0
    assert capsys.readouterr().out == ""
    file.write_text(surface.describe().replace("mtf(psf: Tensor)", "mtf(psf)"), encoding="utf-8")
    assert surface.main(["--check"]) == 1
    assert "-mtf(psf) -> Tensor\n" in capsys.readouterr().out
