import json
import math
import re

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.special import j1

import joint
import optics
from joint.analysis.tolerancing.perturbation import perturbed
from joint.study import Axis, Study


def _build(channels=3, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return joint.build_front_end(joint.LensConfig(**options), (32, 32), channels)


def test_the_plain_lens_has_an_airy_pattern():
    lens = _build(f_number=8.0, pixel_pitch=1.0e-6, psf_size=41, pupil_size=128)
    psf = lens.psf()
    y, x = torch.meshgrid(torch.arange(41) - 20.0, torch.arange(41) - 20.0, indexing="ij")
    radius = torch.hypot(x, y).double() * 1e-6
    for wavelength, spot in zip((612e-9, 545e-9, 463e-9), psf, strict=True):
        v = (math.pi * radius / (wavelength * 8.0)).clamp_min(1e-9).numpy()
        airy = torch.from_numpy((2 * j1(v) / v) ** 2)
        torch.testing.assert_close(spot.double() / spot.max(), airy, rtol=0, atol=0.01)


def test_defocus_in_waves_lowers_the_peak_as_in_the_closed_form():
    sharp = _build(psf_size=63).psf()[1]
    for waves in (0.25, -0.25, 0.5, 1.3):
        blurred = _build(psf_size=63, defocus=waves).psf()[1]
        # Strehl ratio of defocus: sinc^2 of the path at the rim, in waves.
        expected = (math.sin(math.pi * waves) / (math.pi * waves)) ** 2
        assert float(blurred.max() if abs(waves) < 1 else blurred[31, 31]) == pytest.approx(
            expected * float(sharp.max()), rel=0.03, abs=2e-4
        )


@pytest.mark.parametrize(
    "options",
    [{"astigmatism": 0.04}, {"coma": -0.04}, {"spherical": 0.04}, {"zernike": {5: 0.04, 9: 0.02}}],
)
def test_an_aberration_in_waves_rms_lowers_the_peak_as_marechal_says(options):
    grid = {"pupil_size": 160, "psf_size": 15, "pixel_pitch": 0.2e-6}
    sharp, aberrated = _build(**grid).psf(), _build(**grid, **options).psf()
    waves = options.get("zernike") or {0: next(iter(options.values()))}
    variance = sum(size**2 for size in waves.values())
    # One length of path: the more waves, the shorter they are.
    for channel, wavelength in enumerate((612e-9, 545e-9, 463e-9)):
        strehl = math.exp(-variance * (2 * math.pi * 545e-9 / wavelength) ** 2)
        peak = float(aberrated[channel].max() / sharp[channel].max())
        assert peak == pytest.approx(strehl, abs=0.01)


def test_defocus_takes_the_zernike_term_of_its_sign_away():
    # W = sqrt 3 (2 r^2 - 1) a is 2 sqrt 3 a r^2 but for a piston.
    plain = _build()
    balanced = _build(defocus=1.0, zernike={4: 1 / math.sqrt(12)})
    torch.testing.assert_close(balanced.psf(), plain.psf(), rtol=0, atol=2e-5)


def _overlap(a, b, apart):
    """Area that two disks have in common."""
    if apart >= a + b:
        return 0.0
    if apart <= abs(a - b):
        return math.pi * min(a, b) ** 2
    x, y = ((apart**2 + p**2 - q**2) / (2 * apart) for p, q in ((a, b), (b, a)))
    chord = apart * math.sqrt(max(0.0, a**2 - x**2))
    return a**2 * math.acos(x / a) + b**2 * math.acos(y / b) - chord


@pytest.mark.parametrize("part", [0.2, 0.5])
def test_an_obscured_lens_has_the_mtf_and_the_light_of_a_ring(part):
    lens = _build(obscuration=part, pupil_size=192, psf_size=91)
    of_cutoff = torch.linspace(0, 1, 21, dtype=torch.float64)
    found = lens.pupil.mtf(of_cutoff / (545e-9 * 8), pixel=False)[1]
    # The autocorrelation of a ring (O'Neill, J. Opt. Soc. Am. 46:285, 1956).
    expected = [
        _overlap(1, 1, 2 * nu) - 2 * _overlap(1, part, 2 * nu) + _overlap(part, part, 2 * nu)
        for nu in of_cutoff.tolist()
    ]
    np.testing.assert_allclose(found, np.array(expected) / expected[0], rtol=0, atol=7e-3)
    assert float(lens.throughput()) == pytest.approx(1 - part**2, abs=0.01)
    pupil = lens.pupil
    ring = optics.annular_aperture(
        pupil.size, outer_diameter=20e-3 / 8, inner_diameter=part * 20e-3 / 8, spacing=pupil.spacing
    )
    torch.testing.assert_close(pupil.field()[1].real, ring, rtol=0, atol=1e-6)
    assert pupil.diameter == pytest.approx(_build(pupil_size=192).pupil.diameter)


def test_an_obscured_lens_keeps_its_element_and_can_be_toleranced():
    camera = joint.ImagingSystem(
        front_end=_build(obscuration=0.4, element="phase", strength=0.1, coma=0.05, pupil_size=48)
    )
    open_ = _build(element="phase", strength=0.1, coma=0.05, pupil_size=48)
    assert [*camera.front_end.state_dict()][: len(open_.state_dict())] == [*open_.state_dict()]
    assert len([*camera.parameters()]) == 1
    for name in ("defocus", "decentre", "rotation"):
        generator = torch.Generator().manual_seed(0)
        moved = perturbed(camera, name, 0.05, channels=3, generator=generator)
        assert not torch.equal(moved.front_end.psf(), camera.front_end.psf())
        light = float((moved.front_end.throughput() / open_.throughput()).detach())
        assert light == pytest.approx(1 - 0.4**2, abs=0.02)


def test_an_obscuration_is_swept():
    given = joint.LensConfig(obscuration=0.3)
    assert joint.LensConfig.model_validate_json(given.model_dump_json()) == given
    for part in (-0.1, 1.0):
        with pytest.raises(ValidationError, match="obscuration"):
            joint.LensConfig(obscuration=part)


def test_aberrations_point_where_they_say():
    coma = _build(coma=0.15).psf()[1]
    torch.testing.assert_close(coma, coma.flip(0), rtol=0, atol=1e-6)
    assert float((coma - coma.flip(1)).abs().sum()) > 0.1
    lines = _build(astigmatism=0.3, defocus=1.0).psf()[1]
    y, x = (torch.arange(31) - 15.0)[:, None], torch.arange(31) - 15.0
    wide, high = ((lines * axis.square()).sum() for axis in (x, y))
    assert max(wide, high) > 1.5 * min(wide, high)


def test_aberrations_are_swept_by_a_study_and_come_back_from_json():
    config = joint.LensConfig(coma=0.1, zernike={4: 0.2, 22: -0.1})
    assert joint.LensConfig.model_validate_json(config.model_dump_json()) == config
    assert len({config, joint.LensConfig(coma=0.1)}) == 2
    study = Study(
        base=joint.RunConfig(system=joint.SystemConfig(front_end=config)),
        axes={
            "coma": Axis(path="system.front_end.coma", values=(0.0, 0.2)),
            "astigmatism": Axis(path="system.front_end.astigmatism", values=(0.0, 0.1)),
            "defocus": Axis(path="system.front_end.zernike.4", values=(0.0, 0.3)),
        },
    )
    for design in study.designs():
        front_end = study.config(design, 0).system.front_end
        assert front_end.coma == design["coma"]
        assert front_end.astigmatism == design["astigmatism"]
        assert front_end.zernike == {4: design["defocus"], 22: -0.1}


def test_millimetre_waves_and_soft_x_rays_are_wavelengths_too():
    for wavelength in (1e-3, 13.5e-9):
        lens = _build(1, wavelengths=(wavelength,), pixel_pitch=4 * wavelength)
        assert lens.pupil.wavelengths == (wavelength,)
        assert torch.isfinite(lens.psf()).all()


@pytest.mark.parametrize("element", ["phase", "height", "cubic", "random"])
def test_elements_spread_the_light_and_learn(element):
    plain = _build().psf()
    lens = _build(element=element, strength=0.95)
    psf = lens.psf()
    assert float(psf.detach().max()) < 0.8 * float(plain.max())
    assert float(psf.detach().sum((-2, -1)).max()) <= 1 + 1e-5
    parameters = list(lens.parameters())
    assert (not parameters) == (element == "random")
    if parameters:
        (psf[:, 15, 15].sum() - psf[:, 12, 17].sum()).backward()
        assert all(float(p.grad.abs().max()) > 0 for p in parameters)


def test_levels_and_material_reach_the_relief():
    lens = _build(element="height", strength=0.9, levels=4, material="pmma")
    relief = lens.pupil.elements[0]
    assert relief.material == "pmma"
    assert len(relief.height.unique()) == 4


def test_a_relief_may_be_deeper_than_a_wave():
    options = {"element": "height", "strength": 0.9}
    shallow, deep = _build(**options), _build(**options, max_height=5e-6)
    relief, one = deep.pupil.elements[0], shallow.pupil.elements[0]
    assert (relief.max_height, one.max_height) == (5e-6, one.period)
    # Both start from the same random relief of 0.9 waves, each in the middle of its range.
    torch.testing.assert_close(
        relief.height - 2.5e-6, one.height - one.period / 2, rtol=0, atol=2e-9
    )


def test_a_lens_may_restore_its_pictures():
    plain, restoring = _build(defocus=1.0), _build(defocus=1.0, restoration=0.05)
    assert plain.restoration is None
    assert float(restoring.restoration.noise_to_signal.detach()) == pytest.approx(0.05)
    raw = torch.rand(1, 3, 32, 32)
    assert torch.equal(plain.combine(raw), raw)
    expected = optics.wiener(raw, restoring.psf(), noise_to_signal=0.05)
    torch.testing.assert_close(restoring.combine(raw), expected)


def test_a_lens_may_be_focused_on_one_distance_and_see_scenes_at_others():
    lens = _build(focus=0.5, working_distances=(0.4, 0.5, 0.8), restoration=0.1)
    assert lens.pupil.focus == 0.5
    assert lens.working_distances.tolist() == [0.4, 0.5, 0.8]
    sharp = _build(focus=0.5)
    assert sharp.working_distances is None
    torch.testing.assert_close(lens.psf(distance=0.5), sharp.psf())
    # W = D^2 / 8 (1 / d - 1 / focus) of 2.5 mm, in waves of green light.
    waves = 2.5e-3**2 / 8 * (1 / 0.4 - 1 / 0.5) / 545e-9
    blurred = lens.psf(distance=0.4)[1].amax() / sharp.psf()[1].amax()
    assert float(blurred) == pytest.approx(np.sinc(waves) ** 2, abs=0.02)


def test_distances_reach_to_infinity_and_back_from_json():
    config = joint.LensConfig(focus=0.5, working_distances=(0.3, math.inf))
    written = config.model_dump_json()
    assert joint.LensConfig.model_validate_json(written) == config
    assert json.loads(written)["working_distances"] == [0.3, "inf"]
    run = joint.RunConfig(system=joint.SystemConfig(front_end=config))
    assert joint.RunConfig.model_validate_json(run.canonical()) == run
    lens = joint.build_front_end(config, (32, 32), 3)
    assert lens.working_distances.tolist() == [0.3, math.inf]
    assert torch.isfinite(lens(torch.rand(2, 3, 32, 32))).all()
    # Infinity is where a lens is focused by default: one configuration, one digest.
    assert joint.LensConfig(focus=math.inf) == joint.LensConfig()


def test_a_camera_of_small_pixels_loses_and_makes_no_light():
    # f/2.8 on 1.55 micrometres: Q is 0.84 in the blue and 1.1 in the red.
    camera = {"focal_length": 8e-3, "f_number": 2.8, "pixel_pitch": 1.55e-6}
    lens = _build(**camera, oversample=3, restoration=0.1)
    light = lens.psf().sum((-2, -1))
    assert (light < 1).all()
    assert (light > 0.99).all()
    one = optics.psf_from_pupil(
        lens.pupil.field(), wavelength=lens.pupil.wavelengths, focal_length=8e-3,
        pupil_spacing=lens.pupil.spacing, pixel_pitch=1.55e-6 / 3, size=93,
    )  # fmt: skip
    torch.testing.assert_close(lens.psf(), optics.bin_pixels(one[None], 3)[0])


def test_a_lens_may_distort_colour_and_shade_its_field():
    assert _build().projection is None
    lens = _build(distortion=-0.2, lateral_colour=0.1, half_field=0.5)
    projection = lens.projection
    # A barrel: 0.8 of the way out, the corner of the scene is seen.
    (term,) = projection.radial.tolist()
    assert 0.8 * (1 + term * 0.8**2) == pytest.approx(1.0, abs=1e-6)
    smallest, middle, largest = projection.magnification.tolist()
    assert largest / smallest == pytest.approx(1.1, rel=1e-6)
    assert middle == pytest.approx(1)
    assert projection.illumination((32, 32))[0, 0] < 0.6 < projection.illumination((32, 32))[16, 16]
    scene = torch.rand(1, 3, 32, 32)
    shade = projection.illumination((32, 32))
    expected = optics.convolve(projection(scene), lens.psf(), boundary="replicate") * shade
    torch.testing.assert_close(lens(scene), expected)


def test_axial_colour_is_the_defocus_of_a_lens_of_another_focal_length():
    waves = (460e-9, 500e-9, 550e-9, 620e-9)
    options = {"f_number": 8.0, "focal_length": 20e-3, "psf_size": 41, "defocus": 0.3}
    lens = _build(4, wavelengths=waves, axial_colour=0.016, spherical=0.1, **options)
    plain = _build(4, wavelengths=waves, spherical=0.1, **options)
    middle, psf = 550e-9, lens.psf()
    for row, wavelength in enumerate(waves):
        # W020 = D^2 / 8 (1 / f - 1 / f'), in waves of the middle wavelength.
        power = 0.016 * (550e-9 - wavelength) / (620e-9 - 460e-9) / 20e-3
        own = _build(
            4,
            wavelengths=waves,
            spherical=0.1,
            **options | {"defocus": 0.3 + 2.5e-3**2 / 8 * power / middle},
        )
        torch.testing.assert_close(psf[row], own.psf()[row], atol=2e-6, rtol=1e-4)
    torch.testing.assert_close(psf[2], plain.psf()[2], atol=1e-7, rtol=0)
    assert float((psf[3] - plain.psf()[3]).abs().max()) > 1e-3
    # In whichever order the channels are, the glass is one.
    order = [3, 0, 2, 1]
    other = _build(
        4, wavelengths=[waves[k] for k in order], axial_colour=0.016, spherical=0.1, **options
    )  # fmt: skip
    torch.testing.assert_close(other.psf(), psf[order], atol=1e-6, rtol=0)
    # A singlet of BK7: sharpest in blue nearer to it by 1 / V = 1.6 % of its focal length.
    index = [optics.refractive_index("n_bk7", w) for w in (486.1327e-9, 587.5618e-9, 656.2725e-9)]
    assert (index[0] - index[2]) / (index[1] - 1) == pytest.approx(0.0156, abs=1e-4)


def test_a_singlet_has_the_focal_lengths_of_its_glass():
    # Fraunhofer's C, d and F, and the index of N-BK7 there by SCHOTT's data sheet 517642.251; the
    # power in the middle is 1 / V of the focal length between the two others: V is 64.17.
    waves, index = (656.2725e-9, 587.5618e-9, 486.1327e-9), (1.51432, 1.51680, 1.52238)
    options = {"wavelengths": waves, "f_number": 8.0, "focal_length": 20e-3}
    (glass,) = _build(3, singlet="n_bk7", **options).pupil.elements
    # W020 is sqrt(12) of Noll's 4, and that of a power P is -P D^2 / 8.
    power = -8 * math.sqrt(12) * glass.coefficients[:, 0].double() / 2.5e-3**2
    # Printed to 5 decimals, an index is off by half of the last one, and so is the other.
    for found, n in zip((power * 20e-3).tolist(), index, strict=True):
        assert found == pytest.approx((n - index[1]) / (index[1] - 1), abs=1e-5 / 0.5168)
    assert float((power[2] - power[0]) * 20e-3) == pytest.approx(
        1 / 64.17, rel=0.005 / 64.17 + 1e-6
    )
    bluer = dict(zip(waves, power.tolist(), strict=True))
    (turned,) = _build(3, singlet="n_bk7", **options | {"wavelengths": waves[::-1]}).pupil.elements
    assert turned.coefficients.flatten().tolist() == glass.coefficients.flatten().flip(0).tolist()
    assert bluer[waves[0]] < bluer[waves[1]] == 0 < bluer[waves[2]]


def test_lateral_colour_needs_several_channels():
    seen = {"wavelengths": (620e-9, 460e-9), "spectral_response": (0.5, 0.5)}
    with pytest.raises(
        joint.ConfigError, match=r"front_end\.lateral_colour=0\.05 .* scenes have one"
    ):
        _build(1, lateral_colour=0.05, **seen)
    assert _build(3, lateral_colour=0.05).projection is not None


@pytest.mark.parametrize("given", [{"axial_colour": 0.016}, {"singlet": "n_bk7"}])
def test_a_glass_needs_several_wavelengths(given):
    (name,) = given
    with pytest.raises(
        joint.ConfigError, match=rf"front_end\.{name}=.* has only one wavelength, 540 nm: give"
    ):
        _build(1, **given)
    _build(1, wavelengths=(620e-9, 460e-9), spectral_response=(0.5, 0.5), **given)
    with pytest.raises(ValueError, match="the axial colour of a singlet is that of its glass"):
        joint.LensConfig(axial_colour=0.01, singlet="n_bk7")
    with pytest.raises(ValueError, match="no material is called 'crown'"):
        joint.LensConfig(singlet="crown")
    with pytest.raises(ValueError, match="wavelength must be between 404"):
        _build(3, singlet="pmma", f_number=16.0, wavelengths=(400e-9, 5e-7, 6e-7))


def test_aberrations_too_steep_for_the_pupil_are_warned_of_as_the_defocus_is():
    for given in ({"defocus": 40.0}, {"zernike": {4: -40 / math.sqrt(12)}}, {"axial_colour": 0.1}):
        steep = _build(3, f_number=4.0, oversample=3, **given)
        with pytest.warns(UserWarning, match="sampled too coarsely"):
            steep.psf()


def test_the_start_is_a_function_of_the_seed():
    config = joint.SystemConfig(front_end=joint.LensConfig(element="random", strength=1.0))
    options = {"image_size": (32, 32), "channels": 3, "classes": 3}
    first, again, other = (
        joint.build_system(c, **options).front_end.psf()
        for c in (config, config, config.model_copy(update={"seed": 1}))
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_other_numbers_of_channels_have_a_wavelength_each(channels):
    lens = _build(channels)
    assert lens.in_channels == channels
    assert 500e-9 < sum(lens.pupil.wavelengths) / channels < 580e-9
    assert len(set(lens.pupil.wavelengths)) == channels
    assert isinstance(lens, optics.IncoherentImaging)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": 1.0}, "strength=1 needs an element"),
        ({"element": "random"}, "needs a strength above 0"),
        ({"material": "jade"}, "no material is called 'jade'; choose from"),
        ({"wavelengths": (550.0,)}, "wavelengths must be in metres, 1e-9 to 1e-2, not 550"),
        ({"zernike": {0: 0.1}}, "zernike has Noll's indices, from 1, and not 0"),
        ({"coma": 0.1, "zernike": {8: 0.2}}, "coma is zernike 8: set one of the two"),
        ({"f_number": 0.0}, "greater than 0"),
        ({"oversample": 2}, "oversample must be odd"),
        (
            {"f_number": 4.0},
            r"pixel_pitch=3\.5e-06 m is wider than lambda s' / D = 1\.85e-06 m .*oversample=3, or",
        ),
        ({"pixel_pitch": 2.0}, r"give all lengths in metres; of these, oversample=\d+ would be"),
        ({"element": "phase", "levels": 4}, "are for element='height', not 'phase'"),
        ({"element": "phase", "max_height": 1e-6}, "max_height, .*for element='height'"),
        (
            {"element": "height", "max_height": 1.0},
            "max_height must span less than .*: it spans 1, and 96 samples .* are 0.00252632 wide",
        ),
        ({"element": "height", "strength": 5.0}, r"strength is at most 0\.96, not 5"),
        ({"restoration": 0.0}, "greater than 0"),
        ({"focus": 0.02}, r"focus=0\.02 m is within the focal length of 0\.02 m"),
        ({"working_distances": (0.5, 0.01)}, r"\(0\.5, 0\.01\) m reach into the focal length"),
        ({"working_distances": (0.5, math.nan)}, "a number of metres, or inf, not nan"),
        ({"working_distances": (0.5, -1.0)}, "working_distances are metres from the lens, not -1"),
        ({"distortion": -0.8}, "greater than or equal to -0.5"),
        ({"half_field": 1.6}, "less than 1.57"),
        ({"element": "prism"}, "'none', 'phase', 'height', 'cubic' or 'random'"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValidationError, match=message):
        joint.LensConfig(**options)


def test_wavelengths_that_do_not_fit_the_scenes_are_refused():
    with pytest.raises(ValueError, match="names 2 bands, but the scenes have 3 channels"):
        _build(wavelengths=(500e-9, 600e-9))


def test_the_width_of_a_pixel_is_compared_with_the_spot_of_a_near_focus():
    """At 1:1 the image is twice as far, and the spot twice as wide: as optics.Pupil judges."""
    options = {"f_number": 4, "focal_length": 10e-3, "wavelengths": (550e-9,)}
    pupil = _build(1, focus=0.02, pixel_pitch=3e-6, **options).pupil
    # The aperture is the whole grid, but for the sample that an even one has more.
    assert pupil.q_sampling[0] == pytest.approx(550e-9 * 4 * 2 / 3e-6, rel=1e-4)
    with pytest.raises(ValidationError, match=r"lambda s' / D = 2\.2e-06 m"):
        joint.LensConfig(pixel_pitch=3e-6, **options)
    with pytest.raises(ValidationError, match=r"lambda s' / D = 4\.4e-06 m"):
        joint.LensConfig(focus=0.02, pixel_pitch=4.5e-6, **options)


def test_a_pixel_as_wide_as_the_unit_of_diffraction_is_not_refused_for_a_rounding():
    # 400e-9 * 1.4 is less than 5.6e-7, in the last bit.
    options = {"f_number": 1.4, "wavelengths": (400e-9,), "psf_size": 15}
    pupil = _build(1, pixel_pitch=5.6e-7, **options).pupil
    assert pupil.q_sampling[0] == pytest.approx(1, rel=1e-4)
    with pytest.raises(ValidationError, match="give oversample=3, or a larger f_number"):
        joint.LensConfig(pixel_pitch=5.61e-7, **options)


@pytest.mark.parametrize("pitch", [2.3e-6, 6.5e-6, 6.7e-6, 30e-6])
def test_the_oversample_that_is_told_is_the_least_that_a_pupil_takes(pitch):
    options = {"f_number": 4, "wavelengths": (550e-9,), "pixel_pitch": pitch, "psf_size": 3}
    with pytest.raises(ValidationError, match=r"give oversample=\d+, or a larger f_num") as e:
        joint.LensConfig(**options)
    enough = int(re.search(r"give oversample=(\d+)", str(e.value))[1])
    pupil = _build(1, oversample=enough, **options).pupil
    assert pupil.q_sampling[0] * (enough - 2) < 1


def test_a_focal_length_in_millimetres_is_warned_of_once_it_is_built():
    config = joint.LensConfig(focal_length=10)
    with pytest.warns(UserWarning, match=r"focal_length=10 .* in metres: 10 mm are 0\.01") as told:
        joint.build_front_end(config, (16, 16), 1)
    assert len(told) == 1
    joint.build_front_end(joint.LensConfig(focal_length=1), (16, 16), 1)


@pytest.mark.parametrize(("channels", "focus"), [(3, None), (1, None), (1, 0.05)])
def test_a_pupil_that_is_too_coarse_for_the_window_is_refused_in_its_words(channels, focus):
    """The pupil_size that the message names is the least one that optics.Pupil takes."""
    options = {"f_number": 2.0, "pixel_pitch": 7.2e-6, "oversample": 9, "focus": focus}
    lens = joint.LensConfig(psf_size=15, pupil_size=50, **options)
    with pytest.raises(joint.ConfigError, match=r"psf_size=15 .*pupil_size=50: at f_number=2") as e:
        joint.build_front_end(lens, (32, 32), channels)
    least = int(re.search(r"set pupil_size to (\d+) or more", str(e.value))[1])
    enough = lens.model_copy(update={"pupil_size": least})
    pupil = joint.build_front_end(enough, (32, 32), channels).pupil
    coarse = pupil.spacing * (least - 1) / (least - 2)  # of one sample less across the same circle
    with pytest.raises(ValueError, match="undersampled"):
        optics.Pupil(
            [], wavelengths=pupil.wavelengths, focal_length=pupil.focal_length, psf_size=15,
            pixel_pitch=pupil.pixel_pitch, size=least - 1, spacing=coarse, focus=pupil.focus,
            oversample=9,
        )  # fmt: skip
    period = float(re.search(r"every ([\d.]+) pixels", str(e.value))[1])
    same = pupil.image_distance * min(pupil.wavelengths) / (pupil.spacing * (least - 1) / 49)
    assert period == pytest.approx(same / 7.2e-6, rel=5e-4)  # four digits are told


def test_a_cubic_phase_that_begins_at_its_symmetry_is_warned_of():
    with pytest.warns(UserWarning, match=r"strength=0 is a lens .* such as strength=1"):
        joint.build_front_end(joint.LensConfig(element="cubic"), (16, 16), 1)
    joint.build_front_end(joint.LensConfig(element="cubic", strength=1), (16, 16), 1)


def test_a_channel_may_see_a_broad_band():
    """The picture in a broad band is the sum of those in each of its colours, in their parts."""
    bands, parts = (450e-9, 550e-9, 650e-9), (1.0, 3.0, 1.0)
    options = {"defocus": 0.7, "psf_size": 31, "pupil_size": 128, "restoration": 0.1}
    grey = _build(channels=1, wavelengths=bands, spectral_response=parts, **options)
    assert grey.in_channels == 1
    assert grey.restoration is not None
    colours = _build(channels=3, wavelengths=bands, **options)
    scene = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    each = optics.IncoherentImaging(colours.pupil)(scene.expand(-1, 3, -1, -1))
    expected = (each * torch.tensor([0.2, 0.6, 0.2])[:, None, None]).sum(1, keepdim=True)
    torch.testing.assert_close(
        optics.IncoherentImaging(grey.pupil, spectral_response=grey.spectral_response)(scene),
        expected,
    )
    # Two channels, each with parts of its own; also where the PSF changes across the scene.
    rows = (1.0, 0.0, 0.0, 0.0, 2.0, 2.0)
    two = _build(channels=2, wavelengths=bands, spectral_response=rows, psf_size=15)
    torch.testing.assert_close(
        two.spectral_response, torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]])
    )
    varying = _build(
        channels=1,
        wavelengths=bands,
        spectral_response=parts,
        psf_size=15,
        off_axis={"coma": 0.3, "rank": 9},
    )
    assert isinstance(varying, optics.VaryingImaging)
    assert varying(scene).shape == scene.shape
    torch.testing.assert_close(varying.spectral_response, torch.tensor([[0.2, 0.6, 0.2]]))


def test_a_broad_band_blurs_less_than_its_reddest_light_and_more_than_its_bluest():
    bands = (450e-9, 550e-9, 650e-9)
    grey = _build(channels=1, wavelengths=bands, spectral_response=(1, 1, 1), f_number=16.0)
    alone = [_build(channels=1, wavelengths=(band,), f_number=16.0) for band in bands]
    peaks = [float(lens.psf().max() / lens.psf().sum()) for lens in (*alone, grey)]
    assert peaks[0] > peaks[3] > peaks[2]
    assert peaks[3] == pytest.approx(sum(peaks[:3]) / 3, rel=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spectral_response": (1.0,)}, "has 1 values, and wavelengths 0: give as many"),
        (
            {"spectral_response": (1.0, 2.0, 3.0), "wavelengths": (5e-7, 6e-7)},
            "has 3 values, and wavelengths 2: give as many",
        ),
        ({"spectral_response": (1.0, -1.0), "wavelengths": (5e-7, 6e-7)}, "not be negative"),
        ({"spectral_response": (0.0, 0.0), "wavelengths": (5e-7, 6e-7)}, "channel needs light"),
        ({"spectral_response": (math.nan,), "wavelengths": (5e-7,)}, "a finite number"),
        (
            {"spectral_response": (1.0,), "wavelengths": (5e-7,), "colour": {"filters": "fixed"}},
            "spectral_response gives one channel several wavelengths: set one of the two",
        ),
    ],
)
def test_a_response_that_is_none_is_refused(options, message):
    with pytest.raises(ValidationError, match=message):
        joint.LensConfig(**options)


def test_a_response_of_other_channels_than_the_scenes_is_refused():
    with pytest.raises(joint.ConfigError, match=r"has 1 channels, 2 wavelengths each, .* have 3"):
        _build(channels=3, wavelengths=(5e-7, 6e-7), spectral_response=(1.0, 1.0))
