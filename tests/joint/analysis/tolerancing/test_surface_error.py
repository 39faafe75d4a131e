"""Errors of single surfaces of a traced lens, against the same lens traced with them."""

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

import classify
import joint
import optics
from joint.analysis import applicable, surface_error, tolerance
from joint.analysis.tolerancing.perturbation import KINDS, perturbed, resolved
from joint.analysis.tolerancing.surface_error import OffDesign, _elements_of
from joint.analysis.tolerancing.tolerance import ranges

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


_MISALIGNED = ("surface_decentre", "surface_tilt", "element_decentre", "element_tilt")


@pytest.fixture(scope="module")
def centred():
    """With a place on the axis."""
    lens = optics.CompoundLens(_SURFACES, wavelength=550e-9)
    camera = optics.compound_imaging(
        lens, picture=(24, 16), pixel_pitch=20e-6, wavelengths=_LIGHT, psf_size=5, rank=2,
        places=(3, 3), pupil_size=60, oversample=11,
    )  # fmt: skip
    return joint.ImagingSystem(front_end=camera)


def _azimuth():
    """What a direction is that a new generator draws."""
    drawn = torch.rand((), generator=torch.Generator(), dtype=torch.float64)
    return 2 * math.pi * float(drawn)


def test_surfaces_and_elements_are_beside_the_axis_where_that_changes_the_light(system):
    names = [kind.name for kind in resolved(_MISALIGNED, system, channels=3)]
    assert names == [
        "surface_decentre.0", "surface_decentre.1", "surface_decentre.2", "surface_decentre.4",
        "surface_tilt.1", "surface_tilt.2", "surface_tilt.3", "surface_tilt.4",
        "element_decentre.0", "element_decentre.1", "element_tilt.0", "element_tilt.1",
    ]  # fmt: skip
    plain = joint.ImagingSystem(front_end=optics.LearnedKernel("gaussian", 5))
    assert not {*_MISALIGNED} & {*applicable(plain)}
    assert KINDS["element_decentre"].levels(system)[-1] == pytest.approx(
        3e3 * _lens(system).focal_length
    )


def test_cemented_glasses_are_one_element():
    mirror = (None, 1.5, 1.6, None, None, 1.5, None)
    surfaces = [optics.Surface(0.0, 1e-3, material) for material in mirror]
    assert _elements_of(surfaces) == ((1, 3), (5, 6))


@pytest.mark.parametrize("name", _MISALIGNED)
def test_a_part_goes_beside_the_axis_in_the_units_of_a_drawing(system, name):
    number = 1
    with torch.no_grad():
        made = _lens(_made(system, surface_error(name, number), 6.0)).surfaces
        design = _lens(system).surfaces
    towards = (6 * math.cos(_azimuth()), 6 * math.sin(_azimuth()))
    which = (3, 4) if name.startswith("element") else 1
    if name.endswith("tilt"):
        how = {"tilt": tuple(math.radians(level / 60) for level in towards)}
    else:
        how = {"decentre": tuple(1e-6 * level for level in towards)}
    wanted = optics.misalign(design, which, **how)
    for one, other in zip(made, wanted, strict=True):
        for what in ("decentre", "tilt"):
            found, right = (list(map(float, getattr(s, what))) for s in (one, other))
            # Turned about x, and then about y: 2e-3 radians to the second power.
            assert found == pytest.approx(right, rel=1e-5, abs=1e-9)
        assert float(one.thickness) == pytest.approx(float(other.thickness), abs=1e-9)
    assert any(not s.is_aligned for s in made)


def test_a_stop_beside_the_axis_makes_coma_of_the_spherical_aberration(centred):
    radius, off = 500.0, 10.0  # micrometres
    design = _coefficients(centred)[1, 1, 1] / 550e-9
    made = _coefficients(_made(centred, surface_error("surface_decentre", 0), off))[1, 1, 1]
    made = made / 550e-9
    # W040 |r + d|^4 has the coma 4 W040 d r^3 cos, of unit RMS by sqrt(72), where W040 is
    # sqrt(180) Z11: and the light comes from the opposite side.
    spherical = float(design[10])
    assert abs(spherical) > 0.02
    wanted = 4 * math.sqrt(180) * spherical * off / radius / math.sqrt(72)
    along = [float(made[7]), float(made[6])]
    towards = [wanted * math.cos(_azimuth()), wanted * math.sin(_azimuth())]
    assert math.hypot(*along) == pytest.approx(abs(wanted), rel=0.05)
    assert abs(along[0] * towards[1] - along[1] * towards[0]) < 1e-3 * wanted**2
    assert float(design[6:8].abs().max()) < 1e-9


@pytest.mark.parametrize("error", [("element_tilt", 0, 30.0), ("element_decentre", 0, 20.0)])
def test_wavefronts_at_each_place_are_those_of_rays_through_the_device(centred, error):
    *error, level = error
    made = _made(centred, surface_error(*error), level)
    change = _coefficients(made) - _coefficients(centred)
    lens, device = (_lens(each).surfaces for each in (centred, made))
    corner = centred.front_end.pupil.elements[0].fields[-1].tan()
    y, x = (corner * torch.linspace(-1, 1, 3).double() * n / math.hypot(24, 16) for n in (24, 16))
    slopes = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1)
    # The fields, which are as far apart as the image's places but for distortion.
    given = {"fields": slopes.reshape(-1, 2).atan(), "wavelengths": _LIGHT, "reference": 1}
    with torch.no_grad():
        traced = [optics.lens_wavefronts(each, **given).coefficients for each in (device, lens)]
    wanted = (traced[0] - traced[1]).unflatten(0, (3, 3))[:, :, 1]
    found = change[:, :, 1]
    for terms in (slice(3, 6), slice(6, 8)):  # focus and astigmatism, coma
        size = wanted[..., terms].abs().max()
        assert size > 1e-9
        torch.testing.assert_close(
            found[..., terms], wanted[..., terms], rtol=0, atol=0.15 * float(size)
        )
    # It is none of revolution any more: opposite places differ.
    assert (found[0, 0, 3] - found[2, 2, 3]).abs() > 0.2 * found[..., 3].abs().max()


def test_a_small_tilt_is_a_small_change_in_all_places(centred):
    made = _made(centred, surface_error("surface_tilt", 2), 1e-6)
    torch.testing.assert_close(_coefficients(made), _coefficients(centred), rtol=0, atol=1e-14)


def test_the_shift_of_the_picture_is_no_loss(centred):
    made = _made(centred, surface_error("element_tilt", 0), 100.0)
    fields = {"fields": [0.0], "wavelengths": [550e-9]}
    with torch.no_grad():
        spots = [optics.lens_spots(_lens(each).surfaces, **fields) for each in (made, centred)]
        psfs = [each.front_end.pupil()[1, 1, 1].double() for each in (made, centred)]
    shift = (spots[0].points - spots[1].points)[0, 0].mean(0).norm() / 20e-6
    assert float(shift) > 0.3  # pixels
    at = torch.arange(5).double() - 2
    for psf in psfs:
        light = psf / psf.sum()
        assert float((light.sum(0) @ at).abs()) < 0.05 * float(shift)
        assert float((light.sum(1) @ at).abs()) < 0.05 * float(shift)


def test_a_configuration_does_not_drop_what_is_beside_the_axis():
    surfaces = optics.misalign(_SURFACES, 1, tilt=(1e-3, 0.0))
    with pytest.raises(ValidationError, match="decentre and tilt of a surface are not kept"):
        joint.CompoundConfig(surfaces=surfaces, f_number=5.0, pixel_pitch=20e-6)


def test_devices_are_drawn_in_all_directions(centred):
    scenes = classify.LesionPhantom(4, 16, progress=False)

    def sharpness(camera):
        return camera.front_end.psf().detach().amax((-2, -1)).mean().item()

    limits = {"element_decentre": 60.0, surface_error("surface_tilt", 2): 10.0}
    found = tolerance(centred, scenes, limits, measure=sharpness, devices=3)
    assert {*found.levels} == {
        f"{name}{part}"
        for name in ("element_decentre.0", "element_decentre.1", "surface_tilt.2")
        for part in ("", ".x", ".y")
    }
    size, x, y = (np.array(found.levels[f"element_decentre.0{part}"]) for part in ("", ".x", ".y"))
    np.testing.assert_allclose(np.hypot(x, y), size)
    assert (size <= 60).all()
    assert (x != y).all()
    assert found.units["element_decentre.0.x"] == "micrometres"
    assert found.units["surface_tilt.2"] == "arc minutes"
    assert max(found.values) < found.nominal


@pytest.mark.parametrize(
    ("name", "group", "surfaces"),
    [
        ("element_tilt", (0, 1), (1, 4)),
        ("element_decentre", [0, 1], (1, 4)),
        ("surface_tilt", (0, 2), (0, 2)),
        ("surface_decentre", (2, 3), (2, 3)),
    ],
)
def test_a_group_moves_as_one(system, name, group, surfaces):
    kind = surface_error(name, group)
    assert kind.name == f"{name}.{group[0]}-{group[1]}"
    assert [*ranges(system, 3, {kind: 1.0})] == [kind]
    with torch.no_grad():
        made = _lens(_made(system, kind, 1.0)).surfaces
        design = _lens(system).surfaces
    level = math.cos(_azimuth()), math.sin(_azimuth())
    if name.endswith("tilt"):
        how = {"tilt": tuple(math.radians(each / 60) for each in level)}
    else:
        how = {"decentre": tuple(1e-6 * each for each in level)}
    wanted = optics.misalign(design, surfaces, **how)
    for number, (one, other) in enumerate(zip(made, wanted, strict=True)):
        for what in ("decentre", "tilt"):
            found, right = (list(map(float, getattr(s, what))) for s in (one, other))
            assert found == pytest.approx(right, rel=1e-3, abs=1e-10)
        assert one.is_aligned == (not surfaces[0] <= number <= surfaces[1])


def test_a_group_and_its_elements_are_in_one_table(system):
    group = surface_error("element_tilt", (0, 1))
    found = ranges(system, 3, {group: 3.0, "element_tilt": 10.0})
    names = {kind.name: limit for kind, limit in found.items()}
    each = {f"element_tilt.{number}": (0.0, 10.0) for number in (0, 1)}
    assert names == each | {"element_tilt.0-1": (0.0, 3.0)}
    told = [part.name for part in group.parts(1.0, torch.Generator())]
    assert told == ["x", "y"]


@pytest.mark.parametrize(
    ("name", "group", "told"),
    [
        ("radius", (0, 1), "radius is one surface's own: only decentres and tilts are of a group"),
        ("element_tilt", (1, 1), r"the first and the last, not \(1, 1\)"),
        ("element_tilt", (1, 0), r"the first and the last, not \(1, 0\)"),
        ("element_tilt", (-1, 1), r"the first and the last, not \(-1, 1\)"),
        ("element_tilt", (0, 1, 2), r"the first and the last, not \(0, 1, 2\)"),
        ("element_tilt", (False, 1), r"the first and the last, not \(False, 1\)"),
        ("element_tilt", (0, 2), r"no element_tilt\.0-2: .* with elements 0 and 2 of glass; this"),
        ("surface_tilt", (3, 5), r"no surface_tilt\.3-5: .* with surfaces 3 and 5 of glass; this"),
    ],
)
def test_other_groups_are_refused(system, name, group, told):
    with pytest.raises(ValueError, match=told):
        ranges(system, 3, {surface_error(name, group): 1.0})


@pytest.mark.parametrize(
    ("name", "level", "rule"),
    [("element_tilt", (0.0, 601.0), "0 to 600"), ("surface_decentre", (-1.0, 1.0), "0 or more")],
)
def test_a_size_is_not_negative_and_a_tilt_not_large(system, name, level, rule):
    scenes = classify.LesionPhantom(4, 16, progress=False)
    with pytest.raises(ValueError, match=f"takes levels in .*, {rule}"):
        tolerance(system, scenes, {surface_error(name, 1): level}, measure=lambda _: 0.0)


def test_surfaces_that_would_change_their_order_are_refused(system):
    _made(system, surface_error("thickness", 2), -0.29 * mm)
    with pytest.raises(ValueError, match=r"thickness\.2 cannot be -0\.0003 metres: surface 3 is"):
        _made(system, surface_error("thickness", 2), -0.3 * mm)


def _with_planes(thickness=1.2 * mm):
    """The lens with its stop within the first glass, and a plane in air that only marks a place."""
    rows = list(_SURFACES[1:])
    rows[0] = rows[0]._replace(thickness=thickness / 3)
    stop = optics.Surface(0.0, 2 * thickness / 3, "n_bk7", 0.5 * mm, stop=True)
    air = rows[1]._replace(thickness=0.1 * mm), optics.Surface(0.0, 0.2 * mm)
    return [optics.Surface(0.0, 0.4 * mm), rows[0], stop, *air, *rows[2:]]


@pytest.fixture(scope="module")
def divided():
    lens = optics.CompoundLens(_with_planes(), wavelength=550e-9)
    camera = optics.compound_imaging(
        lens, picture=(16, 16), pixel_pitch=20e-6, wavelengths=_LIGHT, psf_size=5, rank=2,
        places=2, pupil_size=60, oversample=11,
    )  # fmt: skip
    return joint.ImagingSystem(front_end=camera)


def test_a_glass_with_the_stop_in_it_is_one_piece(divided):
    names = [kind.name for kind in resolved(("thickness", "index"), divided, channels=3)]
    assert names == ["thickness.1", "thickness.3", "thickness.5", "index.1", "index.5"]
    with pytest.raises(ValueError, match=r"no index\.2: .*where another glass begins"):
        resolved([surface_error("index", 2)], divided, channels=3)
    light = {"wavelength": 550e-9}
    # As of the same lens without the planes.
    whole = [each for k, each in enumerate(_with_planes()) if k not in (0, 2, 4)]
    whole[0] = whole[0]._replace(thickness=1.2 * mm, stop=True, semi_diameter=0.5 * mm)
    whole[1] = whole[1]._replace(thickness=0.3 * mm)
    for error, change in (
        (("index", 1, 0.01), {"index_error": 0.01}),
        (("thickness", 1, 0.1 * mm), {"thickness": 1.3 * mm}),
    ):
        *which, level = error
        with torch.no_grad():
            made = _lens(_made(divided, surface_error(*which), level)).surfaces
            wanted = optics.first_order([whole[0]._replace(**change), *whole[1:]], **light)
            found = optics.first_order(made, **light)
        torch.testing.assert_close(found.focal_length, wanted.focal_length, rtol=1e-9, atol=0)
        torch.testing.assert_close(
            found.back_focal_distance, wanted.back_focal_distance, rtol=1e-9, atol=0
        )
    assert [float(each.thickness) for each in made[1:3]] == pytest.approx(
        [1.3 * mm / 3, 2.6 * mm / 3]
    )
    with torch.no_grad():
        air = _lens(_made(divided, surface_error("thickness", 3), -0.06 * mm)).surfaces
    assert [float(each.thickness) for each in air[3:5]] == pytest.approx([0.08 * mm, 0.16 * mm])
    told = r"thickness\.3 cannot be -0\.000301 metres: surface 5 is 0\.0003 behind surface 3"
    with pytest.raises(ValueError, match=told):
        _made(divided, surface_error("thickness", 3), -0.301 * mm)


@pytest.mark.parametrize("level", [-0.6, 3.5])
def test_a_glass_whose_index_would_be_none_is_refused(system, level):
    error = surface_error("index", 1)
    assert error.unit == "1"
    told = rf"index\.1 cannot be {level}: the index of the glass behind surface 1 is 1\.51"
    with pytest.raises(ValueError, match=told):
        _made(system, error, level)


def test_lengths_are_swept_in_parts_of_the_focal_length(system):
    levels = KINDS["thickness"].levels(system)
    assert levels[-1] == pytest.approx(3e-3 * _lens(system).focal_length)


def test_other_names_and_surfaces_are_refused(system):
    with pytest.raises(
        ValueError, match=r"name must be one of radius, .*, element_tilt, not 'sag'"
    ):
        surface_error("sag", 0)
    with pytest.raises(ValueError, match="surface"):
        surface_error("radius", -1)
    with pytest.raises(ValueError, match=r"no radius\.3: it needs a traced lens.*surface 3"):
        resolved([surface_error("radius", 3)], system, channels=3)
    with pytest.raises(ValueError, match=r"no element_tilt\.2: .* an element 2 of glass, between"):
        resolved([surface_error("element_tilt", 2)], system, channels=3)
    plain = joint.ImagingSystem(front_end=optics.LearnedKernel("gaussian", 5))
    with pytest.raises(ValueError, match="no index: it needs a traced lens"):
        resolved(["index"], plain, channels=3)
