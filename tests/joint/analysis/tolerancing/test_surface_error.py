"""Errors of single surfaces of a traced lens, against the same lens traced with them."""

import math

import pytest
import torch

import classify
import joint
import optics
from joint.analysis import applicable, surface_error, tolerance
from joint.analysis.tolerancing.perturbation import KINDS, perturbed, resolved
from joint.analysis.tolerancing.surface_error import OffDesign

mm = 1e-3
_LIGHT = (480e-9, 550e-9, 650e-9)
_SURFACES = (
    optics.Surface(0.0, 0.4 * mm, semi_diameter=0.5 * mm, stop=True),
    optics.Surface(1 / (5.2 * mm), 1.2 * mm, "n_bk7", 1.2 * mm),
    optics.Surface(-1 / (4.4 * mm), 0.3 * mm, semi_diameter=1.2 * mm),
    optics.Surface(0.0, 0.5 * mm, (1.62, 36.0), 1.2 * mm),
    optics.Surface(1 / (30 * mm), 4.4 * mm, semi_diameter=1.2 * mm),
)


@pytest.fixture(scope="module")
def system():
    lens = optics.CompoundLens(_SURFACES, wavelength=550e-9)
    camera = optics.compound_imaging(
        lens, picture=(16, 16), pixel_pitch=20e-6, wavelengths=_LIGHT, psf_size=5, rank=2,
        places=2, pupil_size=100, oversample=11,
    )  # fmt: skip
    return joint.ImagingSystem(front_end=camera)


def _made(system, name, level):
    return perturbed(system, name, level, channels=3, generator=torch.Generator())


def _lens(system):
    return system.front_end.pupil.elements[0].lens


def _coefficients(system):
    with torch.no_grad():
        return system.front_end.pupil.elements[0].coefficients(torch.tensor(_LIGHT))


def _changed(number, **numbers):
    return [s._replace(**numbers) if k == number else s for k, s in enumerate(_SURFACES)]


def test_a_lens_as_made_has_the_penalty_of_its_design(system):
    wanted = system.front_end.penalty()
    assert wanted > 0
    assert _made(system, surface_error("radius", 1), 0.01).front_end.penalty() == wanted


def test_each_surface_has_the_errors_that_it_can_have(system):
    names = [kind.name for kind in resolved(("radius", "thickness", "index"), system, channels=3)]
    assert names == [
        "radius.1", "radius.2", "radius.4",
        "thickness.0", "thickness.1", "thickness.2", "thickness.3",
        "index.1", "index.3",
    ]  # fmt: skip
    assert {"radius", "thickness", "index"} < {*applicable(system)}
    plain = joint.ImagingSystem(front_end=optics.LearnedKernel("gaussian", 5))
    assert not {"radius", "thickness", "index"} & {*applicable(plain)}


@pytest.mark.parametrize(
    ("error", "level", "surfaces"),
    [
        (("radius", 2), 0.01, _changed(2, curvature=-1 / (4.4 * mm * 1.01))),
        (("thickness", 2), -0.1 * mm, _changed(2, thickness=0.2 * mm)),
        # 1 / V is a share of n - 1, which an error that is the same everywhere leaves as it is.
        (("index", 3), 0.02, _changed(3, material=(1.64, 36.0 * 0.64 / 0.62))),
    ],
)
def test_rays_are_traced_through_the_lens_as_made(system, error, level, surfaces):
    found = _made(system, surface_error(*error), level)
    light = torch.tensor(_LIGHT)
    waves = [
        optics.lens_wavefronts(each, fields=[0.0, 0.04], wavelengths=light).coefficients
        for each in (_lens(found).surfaces, surfaces)
    ]
    torch.testing.assert_close(*waves, rtol=1e-6, atol=1e-15)
    # The wavefront of a focus that moved by dz is dz / (8 N^2) at the rim, 1 / (2 sqrt 3) RMS.
    start, moved = (optics.first_order(s, wavelength=550e-9) for s in (_SURFACES, surfaces))
    away = float(moved.image_distance - start.image_distance)
    closed = away / (8 * float(start.f_number) ** 2) / (2 * math.sqrt(3))
    assert abs(closed) > 20e-9
    changed = _coefficients(found) - _coefficients(system)
    assert float(changed[0, 0, 1, 3]) == pytest.approx(closed, rel=0.1)  # 2.6 degrees off axis


def test_errors_add_up_and_the_design_stays(system):
    design = _coefficients(system)
    one = _made(system, surface_error("radius", 1), 0.01)
    both = _lens(_made(one, surface_error("index", 1), 0.002))
    assert isinstance(both, OffDesign)
    assert both.surfaces[1].curvature.item() == pytest.approx(1 / (5.2 * mm * 1.01))
    assert both.surfaces[1].index_error == pytest.approx(0.002)
    # The sensor stays, and so does what was given.
    assert both.surfaces[-1].thickness == _lens(system).surfaces[-1].thickness
    assert torch.equal(_coefficients(system), design)


def test_rays_are_traced_through_each_device(system):
    scenes = classify.LesionPhantom(4, 16, progress=False)

    def sharpness(camera):
        return camera.front_end.psf().detach().amax((-2, -1)).mean().item()

    found = tolerance(
        system, scenes, {"radius": 0.004, "thickness": 0.01 * mm}, measure=sharpness, devices=4,
    )  # fmt: skip
    assert {*found.levels} >= {"radius.1", "thickness.3"}
    assert len({*found.values}) == 4
    assert min(found.values) < 0.98 * found.nominal


def test_surfaces_that_would_change_their_order_are_refused(system):
    _made(system, surface_error("thickness", 2), -0.29 * mm)
    with pytest.raises(ValueError, match=r"thickness\.2 cannot be -0\.0003 metres: surface 3 is"):
        _made(system, surface_error("thickness", 2), -0.3 * mm)


def test_lengths_are_swept_in_parts_of_the_focal_length(system):
    levels = KINDS["thickness"].levels(system)
    assert levels[-1] == pytest.approx(3e-3 * _lens(system).focal_length)


def test_other_names_and_surfaces_are_refused(system):
    with pytest.raises(ValueError, match="name must be one of radius, thickness, index, not 'sag'"):
        surface_error("sag", 0)
    with pytest.raises(ValueError, match="surface"):
        surface_error("radius", -1)
    with pytest.raises(ValueError, match=r"no radius\.3: it needs a traced lens.*surface 3"):
        resolved([surface_error("radius", 3)], system, channels=3)
    plain = joint.ImagingSystem(front_end=optics.LearnedKernel("gaussian", 5))
    with pytest.raises(ValueError, match="no index: it needs a traced lens"):
        resolved(["index"], plain, channels=3)
