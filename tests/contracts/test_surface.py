"""The public names and their signatures are those of the snapshot: none goes by accident."""

import difflib

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
