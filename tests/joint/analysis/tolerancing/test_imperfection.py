import dataclasses

import pytest
import torch

import joint
import optics
from joint.analysis import Imperfection, wavefront_error, zernike_error
from joint.analysis.tolerancing.imperfection import diameter_of, in_any_direction, pupil_of
from joint.analysis.tolerancing.perturbation import KINDS, perturbed

_STEP = 2.5e-3 / 64


def _pupil(wavelengths=(612e-9, 545e-9, 463e-9), aperture=None):
    return optics.Pupil(
        [], wavelengths=wavelengths, focal_length=20e-3, pixel_pitch=2e-6, psf_size=15,
        size=65 if aperture is None else len(aperture), spacing=_STEP, aperture=aperture,
    )  # fmt: skip


def test_it_is_frozen_and_each_is_its_own():
    kind = KINDS["defocus"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        kind.name = "blur"
    assert len({zernike_error(5), zernike_error(5), kind, kind}) == 3
    # A table of limits that names one twice keeps both, and is refused.
    assert len({Imperfection("a", "metres"), Imperfection("a", "metres")}) == 2


def test_the_places_follow_the_light():
    order = {name: kind.order for name, kind in KINDS.items()}
    assert order["height_error"] == order["kernel_error"] == 0
    assert order["decentre_radial"] == order["rotation"] == 1
    assert order["defocus"] == zernike_error(5).order == wavefront_error([5]).order == 2
    assert order["tilt_x"] == order["tilt_y"] == 3
    assert order["shift"] == order["photons"] == 4


def test_parts_are_itself_or_what_it_is_shared_out_over():
    one, other = Imperfection("one", "metres"), Imperfection("other", "metres")
    both = Imperfection("both", "metres", shared=lambda level, _: {one: level, other: 2 * level})
    generator = torch.Generator()
    assert one.parts(3.0, generator) == {one: 3.0}
    assert both.parts(3.0, generator) == {one: 3.0, other: 6.0}
    all_ = Imperfection("all", "metres", shared=lambda level, _: {both: level, one: level / 2})
    assert all_.parts(4.0, generator) == {one: 6.0, other: 8.0}


def test_what_is_shared_out_in_turn_acts():
    blur = Imperfection("blur", "waves", shared=lambda level, _: {KINDS["defocus"]: level})
    worn = Imperfection("worn", "waves", shared=lambda level, _: {blur: level})
    system = joint.ImagingSystem(front_end=optics.IncoherentImaging(_pupil()))
    made, expected = (
        perturbed(system, kind, 0.25, channels=3, generator=torch.Generator())
        for kind in (worn, KINDS["defocus"])
    )
    assert torch.equal(made.front_end.pupil(), expected.front_end.pupil())
    assert not torch.allclose(made.front_end.pupil(), system.front_end.pupil())


def test_one_of_the_user_s_own_changes_a_copy():
    def absorb(camera, level, channels, generator):
        pupil = camera.front_end.pupil
        passed = torch.full_like(pupil.aperture, 1 - level)
        pupil.elements.append(optics.AmplitudeMask(passed, spacing=pupil.spacing))

    system = joint.ImagingSystem(front_end=optics.IncoherentImaging(_pupil()))
    before = system.front_end.pupil().clone()
    coating = Imperfection("coating", "of the light", absorb, where="wavefront")
    made = perturbed(system, coating, 0.25, channels=3, generator=torch.Generator())
    assert torch.allclose(made.front_end.pupil(), 0.75 * before, rtol=1e-4)
    light = [float(camera.front_end.throughput().detach()) for camera in (made, system)]
    assert light[0] == pytest.approx(0.75 * light[1], rel=1e-4)
    assert torch.equal(system.front_end.pupil(), before)
    assert coating.fits(system, 3)
    assert coating.allowed(0.25)
    assert coating.nominal(system) == 0


def test_the_pupil_of_a_front_end_has_a_diameter():
    pupil = _pupil()
    assert diameter_of(pupil) == pytest.approx(2.5e-3, rel=1e-4)
    for front, found in (
        (optics.IncoherentImaging(pupil), pupil),
        (optics.CoherentImaging(pupil), pupil),
        (optics.LearnedKernel("gaussian", 5), None),
        (optics.IncoherentImaging(torch.full((5, 5), 0.04)), None),
        (None, None),
    ):
        assert pupil_of(joint.ImagingSystem(front_end=front)) is found


@pytest.mark.parametrize("axes", [(), (0,), (1,), (0, 1)])
def test_the_disk_is_about_the_axis_also_where_one_side_is_shut(axes):
    quarter = optics.circular_aperture(129, diameter=100.0, spacing=1.0)
    quarter[64:, :] = quarter[:, 64:] = 0
    assert diameter_of(_pupil(aperture=quarter.flip(axes))) == pytest.approx(100 * _STEP, rel=1e-3)


def test_the_diameter_is_that_of_the_rim_whatever_is_dark_or_grey_within():
    ring = optics.annular_aperture(129, outer_diameter=100.0, inner_diameter=60.0, spacing=1.0)
    radius = torch.hypot(*torch.meshgrid(*2 * [torch.arange(129) - 64.0], indexing="ij"))
    whole = optics.circular_aperture(129, diameter=100.0, spacing=1.0)
    soft = whole * torch.exp(-((radius / 40) ** 2))
    for aperture in (ring, soft):
        # A rim that is grey is known to within a sample.
        assert diameter_of(_pupil(aperture=aperture)) == pytest.approx(100 * _STEP, abs=_STEP)


def test_the_disk_holds_the_corners():
    square = optics.rectangular_aperture(129, height=60.0, width=80.0, spacing=1.0)
    assert diameter_of(_pupil(aperture=square)) == pytest.approx(100 * _STEP, abs=_STEP)


def test_every_direction_from_the_axis_is_as_likely():
    x, y = Imperfection("x", "m"), Imperfection("y", "m")
    shared, drawing = in_any_direction(x, y), torch.Generator().manual_seed(0)
    drawn = [shared(2.0, drawing) for _ in range(2000)]
    places = torch.tensor([(each[x], each[y]) for each in drawn], dtype=torch.float64)
    torch.testing.assert_close(places.norm(dim=1), torch.full((2000,), 2.0, dtype=torch.float64))
    # Uniform: of an even share in each eighth, chi squared of 7 degrees is above 24.3 once in 1000.
    eighth = torch.atan2(places[:, 1], places[:, 0]).div(torch.pi / 4).floor().long() + 4
    counts = torch.bincount(eighth.clamp(0, 7), minlength=8).double()
    assert float(((counts - 250) ** 2 / 250).sum()) < 24.3
