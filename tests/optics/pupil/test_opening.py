import math

import pytest
import torch

import optics
from optics.pupil.opening import flat_beyond, open_aperture, opening_diameter, whole_lenses
from optics.pupil.sampling import Grid

_GRID = Grid((33, 40), 1e-4)
_LIGHT = torch.tensor([450e-9, 650e-9], dtype=torch.float64)


def test_the_aperture_by_default_is_the_largest_circle_or_one_that_is_told():
    for diameter in (None, 2.5e-3):
        found = open_aperture(None, _GRID, diameter=diameter)
        across = 32e-4 if diameter is None else diameter
        assert float(found.sum()) * 1e-8 == pytest.approx(math.pi / 4 * across**2, rel=1e-6)
        assert opening_diameter(found, 1e-4) == pytest.approx(across, rel=3e-4)


def test_whole_numbers_are_an_aperture_and_a_parameter_stays_one():
    hard = open_aperture(None, _GRID) > 0.5
    assert torch.equal(open_aperture(hard.long(), _GRID), hard.float())
    learned = torch.nn.Parameter(hard.float())
    assert open_aperture(learned, _GRID) is learned


@pytest.mark.parametrize(
    ("aperture", "message"),
    [
        (torch.ones(40, 33), r"aperture must be real \(33, 40\), not torch.float32 \(40, 33\)"),
        (torch.ones(33, 40) + 0j, r"aperture must be real \(33, 40\), not torch.complex64"),
        (torch.full((33, 40), 1.1), r"an amplitude in 0\.\.1, open somewhere"),
        (torch.full((33, 40), -0.1), r"an amplitude in 0\.\.1, open somewhere"),
        (torch.full((33, 40), math.nan), r"an amplitude in 0\.\.1, open somewhere"),
        (torch.zeros(33, 40), r"an amplitude in 0\.\.1, open somewhere"),
    ],
)
def test_what_is_no_aperture_is_refused(aperture, message):
    with pytest.raises(ValueError, match=message):
        open_aperture(aperture, _GRID)


def test_a_row_of_samples_holds_no_circle():
    with pytest.raises(ValueError, match=r"size=\(1, 8\) holds no circle"):
        open_aperture(None, Grid((1, 8), 1e-4))
    slit = torch.ones(1, 8)
    assert opening_diameter(open_aperture(slit, Grid((1, 8), 1e-4)), 1e-4) == pytest.approx(8e-4)


def _plate(across):
    coefficients = torch.tensor([5e-8])
    return optics.Aberration(
        (33, 40), spacing=1e-4, diameter=across, coefficients=coefficients, indices=[11]
    )


def test_an_opening_is_compared_with_the_narrowest_wavefront():
    wide = open_aperture(None, _GRID)[None]
    given = {"opening": wide, "grid": _GRID, "wavelength": _LIGHT}
    assert not flat_beyond([], **given)
    assert not flat_beyond([_plate(32e-4), _plate(30.5e-4)], **given)
    assert flat_beyond([_plate(32e-4), _plate(28e-4)], **given)
    narrow = open_aperture(None, _GRID, diameter=28e-4)
    assert not flat_beyond([_plate(28e-4)], **(given | {"opening": narrow[None]}))
    mask = optics.AmplitudeMask(narrow.square(), spacing=1e-4, trainable=False)
    assert not flat_beyond([_plate(28e-4), mask], **given)


class _InMicrometres(optics.Element):
    """An element of one's own, that changes what it is given."""

    def transmission(self, wavelength):
        wavelength *= 1e6
        return torch.ones(len(wavelength), *self.size)


def test_an_element_that_changes_the_wavelengths_changes_those_of_nobody_else():
    wavelength = _LIGHT.clone()
    own = _InMicrometres((33, 40), spacing=1e-4)
    wide = open_aperture(None, _GRID)[None]
    assert flat_beyond([_plate(28e-4), own], wide, _GRID, wavelength=wavelength)
    assert torch.equal(wavelength, _LIGHT)


def test_elements_that_are_no_whole_lens_are_none():
    assert [*whole_lenses([_plate(32e-4), torch.nn.Sequential(_plate(32e-4))])] == []
