import math

import pytest
import torch

import optics
from optics.performance.examined import (
    examine,
    plain,
    shown_places,
    told_length,
    told_mix,
    told_table,
)


def _pupil(*elements, wavelengths=(620e-9, 550e-9, 460e-9)):
    return optics.Pupil(
        elements,
        size=64,
        spacing=5e-5,
        wavelengths=wavelengths,
        focal_length=0.01,
        pixel_pitch=3e-6,
        psf_size=15,
        oversample=3,
        focus=0.4,
    )


def _examined(lens, **options):
    given = {"distance": None, "frequency": [5e4], "picture": None, "weights": None}
    return examine(lens, stacklevel=1, **(given | options))


def test_light_is_weighted_with_what_passes():
    class _Filter(optics.Element):
        def transmission(self, wavelength):
            amplitude = torch.where(wavelength < 500e-9, 0.5, 1.0)
            return amplitude[:, None, None].expand(-1, *self.size).to(torch.complex64)

    found = _examined(_pupil(_Filter(64, 5e-5)), weights=[1, 1, 2])
    assert found.weights.tolist() == [0.25, 0.25, 0.5]
    assert found.light.tolist() == pytest.approx([0.4, 0.4, 0.2])
    assert _examined(_pupil()).weights.tolist() == pytest.approx([1 / 3] * 3)


def test_transfer_functions_are_those_of_the_pupil_and_its_pixels():
    coma = optics.Aberration(
        64, spacing=5e-5, diameter=3.15e-3, coefficients=torch.tensor([6e-8]), indices=[7]
    )
    pupil = _pupil(coma)
    frequency = torch.tensor([2e4, 1.5e5], dtype=torch.float64)
    for pixel in (True, False):
        found = _examined(pupil, frequency=frequency, distance=[0.3, 0.4]).otf(
            torch.zeros(1, dtype=torch.float64), pixel=pixel
        )
        assert found.shape == (2, 3, 1, 2, 2)
        for direction, angle in enumerate((math.pi / 2, math.pi)):
            expected = pupil.otf(
                frequency, angle=angle, distance=torch.tensor([0.3, 0.4]), pixel=pixel
            )
            torch.testing.assert_close(
                found[..., 0, :, direction], expected.to(found.dtype), atol=2e-6, rtol=0
            )


def test_distances_are_those_of_the_front_end():
    lens = optics.IncoherentImaging(_pupil(), working_distances=(0.35, 0.5))
    found = _examined(lens).distance
    assert found is not None
    assert found.tolist() == pytest.approx([0.35, 0.5])


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0], r"one for each of 3 wavelengths.* not \[1.0\]"),
        ([0.0] * 3, "not all 0: such as the scene's spectrum times the sensor's response"),
        ([1.0, -1.0, 1.0], "weights must be"),
        ([1.0, math.inf, 1.0], "weights must be"),
    ],
)
def test_weights_that_are_none_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        _examined(_pupil(), weights=weights)


def test_of_many_places_three_are_shown_and_of_few_none_twice():
    assert shown_places(torch.zeros(5, 7, 2)) == [(2, 3), (2, 6), (4, 6)]
    assert shown_places(torch.zeros(2, 2, 2)) == [(1, 1)]


def test_what_is_told():
    assert [told_length(each) for each in (2.0, 1.5e-3, 2e-6, 3e-8, math.inf)] == [
        "2 m", "1.5 mm", "2 um", "30 nm", "infinity",
    ]  # fmt: skip
    assert told_mix(torch.tensor([0.5, 0.5])) == "equal parts"
    assert told_mix(torch.tensor([0.25, 0.75])) == "25 %, 75 %"
    assert list(told_table([["a", "b"], ["long", ""]])) == ["a     b", "long"]
    assert plain({"a": (torch.tensor([1.0, math.nan]), "b")}) == {"a": [[1.0, None], "b"]}
