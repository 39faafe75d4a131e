import math

import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform

import compress
import joint
import optics
from joint.analysis.tolerancing.imperfection import Imperfection
from joint.analysis.tolerancing.perturbation import (
    KINDS,
    PERTURBATIONS,
    applicable,
    perturbed,
    resolved,
)


def _same_phase(found, expected, *, atol):
    """Apart from whole turns."""
    away = torch.remainder(found - expected + math.pi, 2 * math.pi) - math.pi
    return bool((away.abs() < atol).all())


def _system(**stages):
    return joint.ImagingSystem(encoding="linear", **stages)


def _pupil(*elements, size=65, wavelengths=(550e-9,), psf_size=15, aperture=None):
    return optics.Pupil(
        elements, wavelengths=wavelengths, focal_length=20e-3, pixel_pitch=2e-6,
        psf_size=psf_size, size=size, spacing=2.5e-3 / (size - 1), aperture=aperture,
    )  # fmt: skip


def _lens(*elements, **options):
    return optics.IncoherentImaging(_pupil(*elements, **options))


def _camera():
    """Two exposures."""
    front = optics.LearnedKernel("unsharp", 7)
    return _system(front_end=front, sensor=optics.Sensor(200, read_noise=3.0, bit_depth=6))


def _front(system, name, level, seed=0):
    generator = torch.Generator().manual_seed(seed)
    channels = system.front_end.in_channels
    made = perturbed(system, name, level, channels=channels, generator=generator)
    return made.front_end


def _seen(system, light, name, level):
    """What the system hands on at a level."""
    made = perturbed(
        system, name, level, channels=3, generator=torch.Generator().manual_seed(0)
    ).eval()
    with torch.no_grad():
        return made(light, generator=torch.Generator().manual_seed(1)).handed


def _light(count, size):
    generator = torch.Generator().manual_seed(0)
    return 0.2 + 0.6 * torch.rand((count, 3, size, size), generator=generator)


def test_defocus_has_the_strehl_ratio_of_born_and_wolf():
    system = _system(front_end=_lens())
    sharp = system.front_end.psf()[0, 7, 7]
    for waves in (0.1, 0.25, -0.5):
        blurred = _front(system, "defocus", waves).psf()[0, 7, 7]
        # sinc^2 of the waves at the rim of a circle: 1/2 wave leaves 0.41.
        assert float(blurred / sharp) == pytest.approx(np.sinc(waves) ** 2, abs=0.003)


@pytest.mark.parametrize("stop", [0.3, 0.5])
def test_defocus_of_an_annulus_is_counted_to_its_rim(stop):
    ring = optics.annular_aperture(
        129, outer_diameter=2.5e-3, inner_diameter=stop * 2.5e-3, spacing=2.5e-3 / 128
    )
    system = _system(front_end=_lens(size=129, aperture=ring))
    sharp = system.front_end.psf()[0, 7, 7]
    for waves in (0.25, -0.5):
        blurred = _front(system, "defocus", waves).psf()[0, 7, 7]
        # Of a full circle's waves those from the stop to the rim (Mahajan, 1983).
        expected = np.sinc(waves * (1 - stop**2)) ** 2
        assert float(blurred / sharp) == pytest.approx(expected, abs=0.003)


def test_defocus_is_that_of_the_configuration():
    def built(defocus):
        config = joint.LensConfig(defocus=defocus, psf_size=21)
        return joint.build_front_end(config, (16, 16), 3)

    ours = _front(_system(front_end=built(0.0)), "defocus", 1.0).psf()
    assert torch.allclose(ours, built(1.0).psf(), atol=2e-5)
    assert float((ours - built(0.0).psf()).abs().max()) > 0.1


def test_a_device_restores_by_the_psf_of_its_design():
    lens = optics.IncoherentImaging(_pupil(), restoration=optics.Wiener(0.05))
    system = _system(front_end=lens)
    raw = torch.rand(1, 1, 24, 24, generator=torch.Generator().manual_seed(0))
    device = _front(system, "defocus", 0.5)
    assert float((device.psf() - lens.psf()).abs().max()) > 0.05
    torch.testing.assert_close(device.combine(raw), lens.combine(raw))
    # Off in two ways, one after the other, and wrapped in between.
    made = system
    for name in ("defocus", "tilt_x", "phase_error"):
        made = perturbed(made, name, 0.3, channels=1, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(made.front_end.combine(raw), lens.combine(raw))
    assert lens.restoration.known_psf is None  # the design itself goes on learning


def test_the_pictures_of_a_device_are_restored_as_those_of_the_design():
    light = _light(2, 12)
    stages = {
        "front_end": optics.LearnedKernel("gaussian", 3, signed=False),
        "sensor": optics.Sensor(200, read_noise=3.0, binning=2),
    }
    enlarge = torch.nn.Upsample(scale_factor=2)
    for name in ("shift", "read_noise", "colour_cast", "kernel_error", "photons"):
        bare, whole = (
            _seen(_system(**stages, restoration=last), light, name, 0.5) for last in (None, enlarge)
        )
        assert bare.shape[-1] == 6
        assert torch.equal(whole, enlarge(bare))
    design = _system(restoration=enlarge, codec=compress.JPEG(50), classifier=torch.nn.Flatten())
    device = perturbed(design, "shift", 1.0, channels=3, generator=torch.Generator())
    for network in ("restoration", "codec", "classifier"):
        assert getattr(device, network) is getattr(design, network)


def test_elements_move_by_a_fraction_of_the_pupil():
    phase = torch.randn(65, 65, generator=torch.Generator().manual_seed(0))
    spacing = 2.5e-3 / 64
    mask = optics.PhaseMask(phase, spacing=spacing)
    stop = optics.AmplitudeMask((phase > 0).float(), spacing=spacing, trainable=False)
    # The pupil is 64 samples from rim to rim; three of them.
    pupil = _front(_system(front_end=_lens(mask, stop)), "decentre", 3 / 64).pupil
    wavelength = torch.tensor([550e-9], dtype=torch.float64)
    moved_phase = pupil.elements[0].phase_shift(wavelength)[0]
    assert _same_phase(moved_phase[:, 3:], phase[:, :-3], atol=5e-3)
    assert _same_phase(moved_phase[:, :3], phase[:, :1].expand(-1, 3), atol=5e-3)
    passed = pupil.elements[1].transmission(wavelength)[0].real
    assert torch.allclose(passed[:, 3:], stop.transmittance[:, :-3], atol=5e-3)


def test_a_lens_of_revolution_that_is_turned_is_the_same_lens_and_an_element_on_it_is_not():
    off_axis = {"coma": 0.4, "places": (3, 3), "rank": 9}
    lens = joint.LensConfig(off_axis=off_axis)
    plain = _system(front_end=joint.build_front_end(lens, (16, 16), 3))
    assert not KINDS["rotation"].fits(plain, 3)
    assert "a lens of revolution, as off_axis is one" in KINDS["rotation"].needs
    cubic = joint.LensConfig(element="cubic", strength=1.0, off_axis=off_axis)
    made = joint.build_front_end(cubic, (16, 16), 3)
    turned = _front(_system(front_end=made), "rotation", 90.0)
    light = torch.tensor([545e-9], dtype=torch.float64)
    for k, quarter in ((0, -1), (1, 0)):  # of the cubic phase, and of the lens
        before, after = (f.pupil.elements[k].phase_shift(light) for f in (made, turned))
        inside = slice(1, None)  # an even grid turns about its middle without its first line
        expected = before[..., inside, inside].rot90(quarter, (-2, -1))
        assert _same_phase(after[..., inside, inside], expected, atol=1e-4)


def test_elements_and_kernels_turn_from_x_to_y():
    kernel = torch.zeros(1, 5, 5)
    kernel[0, 2, 4] = 0.75
    kernel[0, 2, 2] = 0.25
    for angle, place in ((90, (4, 2)), (180, (2, 0)), (-90, (0, 2))):
        front = _front(
            _system(front_end=optics.LearnedKernel(kernel, channels=3, signed=False)),
            "rotation", angle,
        )  # fmt: skip
        turned = front.kernels[0, 0, 0, 0].detach()
        assert float(turned[place]) == pytest.approx(0.75, abs=0.01)
        assert float(turned[2, 2]) == pytest.approx(0.25, abs=0.01)
    fixed = optics.IncoherentImaging(kernel[0], channels=3)
    turned = _front(_system(front_end=fixed), "rotation", 90.0).fixed_psf
    assert torch.allclose(turned, kernel[0].rot90(-1), atol=1e-6)
    phase = torch.randn(65, 65, generator=torch.Generator().manual_seed(0))
    aperture = (phase > 0).float()
    spacing = 2.5e-3 / 64
    mask = optics.PhaseMask(phase, spacing=spacing)
    stop = optics.AmplitudeMask(aperture, spacing=spacing, trainable=False)
    pupil = _front(_system(front_end=_lens(mask, stop)), "rotation", 90.0).pupil
    wavelength = torch.tensor([550e-9], dtype=torch.float64)
    assert _same_phase(pupil.elements[0].phase_shift(wavelength)[0], phase.rot90(-1), atol=1e-4)
    passed = pupil.elements[1].transmission(wavelength)[0]
    assert torch.allclose(passed.real, aperture.rot90(-1), atol=1e-4)


def test_shift_moves_all_exposures_and_registration_all_but_the_first():
    system = _camera()
    scene = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    given_ = system.front_end(scene).detach()
    both = _front(system, "shift", 2.0)(scene)
    second = _front(system, "registration", 2.0)(scene)
    assert torch.equal(both[..., 2:], given_[..., :-2])
    assert torch.equal(second[:, :3], given_[:, :3])
    assert torch.equal(second[:, 3:, :, 2:], given_[:, 3:, :, :-2])
    # Also without a front end.
    plain = _system()
    light = _light(4, 12)
    seen = _seen(plain, light, "shift", 1.0)
    assert torch.allclose(seen[..., 1:], light[..., :-1], atol=1e-6)


def test_scenes_lie_where_they_lie_whatever_is_wrong_with_the_camera():
    distances = torch.tensor([0.3, 0.5, math.inf])
    lens = optics.IncoherentImaging(
        _pupil(), working_distances=distances, restoration=optics.Wiener(0.1)
    )
    system = _system(front_end=lens)
    scene = torch.rand(6, 1, 32, 32, generator=torch.Generator().manual_seed(0))

    def sources():
        return [torch.Generator().manual_seed(number) for number in range(6)]

    with torch.no_grad():
        nominal = system.image(scene, generator=sources())
        assert (nominal - lens(scene, distance=math.inf)).abs().amax((1, 2, 3)).max() > 0.01
        moved = _front(system, "shift", 2.0)
        assert moved.draws
        found = moved(scene, generator=sources())
        torch.testing.assert_close(found[..., 2:], nominal[..., :-2])
        # It restores by the PSFs of its design, at all distances.
        torch.testing.assert_close(moved.combine(found), lens.combine(found))
        blurred = _front(system, "defocus", 1.0)
        torch.testing.assert_close(blurred.combine(found), lens.combine(found))
        assert (blurred(scene, generator=sources()) - nominal).abs().max() > 0.01


def test_read_noise_is_in_electrons():
    light = _light(24, 32)
    quiet = optics.Sensor(
        1000, quantum_efficiency=0.5, read_noise=0.0, bit_depth=None, shot_noise="none"
    )
    noisy = _seen(_system(sensor=quiet), light, "read_noise", 20.0)
    assert float((noisy - light).std()) == pytest.approx(20 / 500, rel=0.02)
    dithered = optics.Sensor(1000, read_noise=9.0, bit_depth=6, converter="dithered")
    assert _seen(_system(sensor=dithered), light, "read_noise", 0.0).isfinite().all()


def test_the_electrons_of_a_sensor_are_off_by_what_is_said():
    light = _light(2, 12)
    own = {"bit_depth": None, "shot_noise": "none", "read_noise": 0.0, "exposure_time": 0.02}
    plain = _system(sensor=optics.Sensor(1000, quantum_efficiency=(0.4, 0.5, 0.25), **own))
    # The gain stays: full scale is 500 electrons, of the channel that is most sensitive.
    electrons = light * torch.tensor([400.0, 500.0, 250.0])[:, None, None]
    for level in (-0.2, 0.1):
        expected = (electrons * (1 + level) / 500).clamp_max(1)
        found = _seen(plain, light, "quantum_efficiency", level)
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    bright = _system(sensor=optics.Sensor(1000, quantum_efficiency=(0.4, 0.8), **own))
    assert KINDS["quantum_efficiency"].levels(bright) == (-0.3, -0.1, 0.0, 0.1)
    assert KINDS["quantum_efficiency"].most(bright) == pytest.approx(0.25)
    found = _seen(plain, light, "dark_current", 1500.0)
    torch.testing.assert_close(found, ((electrons + 30) / 500).clamp_max(1), atol=1e-6, rtol=0)
    deep = _system(sensor=optics.Sensor(1000, quantum_efficiency=0.5, full_well=600, **own))
    for level in (-0.5, -0.4, 0.3):
        expected = (500 * light).clamp_max(600 * (1 + level)) / 500
        found = _seen(deep, light, "full_well", level)
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    assert KINDS["dark_current"].levels(plain) == (0, 50, 500, 5000)
    warm = _system(sensor=optics.Sensor(1000, dark_current=7.0, exposure_time=1.0))
    assert KINDS["dark_current"].levels(warm) == (0, 1, 7, 10, 100)
    assert KINDS["dark_current"].nominal(warm) == 7


@pytest.mark.parametrize("level", [-0.1, 0.04, 0.5])
def test_a_picture_is_magnified_about_its_centre_as_by_scipy(level):
    light = _light(1, 13)[..., :10]
    found = _seen(_system(), light, "magnification", level)[0]
    scale = 1 / (1 + level)
    for ours, given_ in zip(found.numpy(), light[0].double().numpy(), strict=True):
        # Output pixel p shows what was at c + (p - c) / m.
        offset = [(1 - scale) * 6, (1 - scale) * 4.5]
        theirs = affine_transform(given_, [scale, scale], offset, order=1, mode="nearest")
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("level", [-0.1, 0.1])
def test_what_is_symmetric_stays_so_when_it_is_magnified(level):
    light = _light(1, 12)
    even = light + light.flip(-1)
    even = (even + even.flip(-2)) / 4
    found = _seen(_system(), even, "magnification", level)
    assert not torch.allclose(found, even, atol=1e-2)
    for axis in (-1, -2):
        torch.testing.assert_close(found.flip(axis), found, atol=1e-5, rtol=0)
    # As the lens's own magnification, but for the brightness; the border is not within.
    theirs = optics.distort(even, magnification=[1 + level]) * (1 + level) ** 2
    inner = (..., slice(1, -1), slice(1, -1))
    torch.testing.assert_close(found[inner], theirs[inner], atol=1e-5, rtol=0)


def test_a_relief_that_is_too_deep_delays_more_and_a_drawn_error_comes_on_top():
    height = 5e-7 * torch.rand(33, 33, generator=torch.Generator().manual_seed(3))
    waves = torch.tensor([620e-9, 460e-9])
    for relief in (
        optics.Relief(height, spacing=2.5e-3 / 32, material="fused_silica"),
        optics.HeightMap(
            height, spacing=2.5e-3 / 32, material=1.5, design_wavelength=550e-9, levels=4
        ),
    ):
        system = _system(front_end=_lens(relief, size=33))
        before = relief.phase_shift(waves)
        (made,) = _front(system, "depth_error", 0.05).pupil.elements
        torch.testing.assert_close(made.phase_shift(waves), 1.05 * before)
        assert relief.etch_error is None
        rough = perturbed(
            system, "height_error", 2e-8, channels=1, generator=torch.Generator().manual_seed(0)
        )
        (alone,) = rough.front_end.pupil.elements
        (both,) = _front(rough, "depth_error", 0.05).pupil.elements
        change = both.phase_shift(waves) - alone.phase_shift(waves)
        torch.testing.assert_close(change, 0.05 * before, atol=1e-5, rtol=0)


def test_light_that_the_well_does_not_hold_is_not_swept():
    photons = KINDS["photons"]
    for well, expected in ((None, 4), (2400.0, 4), (2399.0, 3), (600.0, 3)):
        system = _system(sensor=optics.Sensor(1000, full_well=well))
        levels = photons.levels(system)
        assert levels == (62.5, 250.0, 1000.0, 4000.0)[:expected]
        for level in levels:  # a warning would be an error
            with system.sensor.under(level):
                pass


def test_of_a_range_of_light_its_ends_and_its_mean_are_swept():
    sensor = optics.Sensor(300, photon_range=(30, 3000), full_well=3000)
    assert KINDS["photons"].levels(_system(sensor=sensor)) == (30, sensor.mean_photons, 3000)


def test_a_light_that_is_drawn_is_at_no_level():
    sensor = optics.Sensor(300, photon_range=(100, 1000))
    assert KINDS["photons"].nominal(_system(sensor=sensor)) == sensor.mean_photons != 300
    assert KINDS["photons"].nominal(_system(sensor=optics.Sensor(300))) == 300


def test_colour_cast_is_in_stops_of_red_over_blue():
    light = _light(6, 12)
    seen = _seen(_system(), light, "colour_cast", 1.0)
    gains = torch.tensor([2**0.5, 1, 2**-0.5])[:, None, None]
    assert torch.allclose(seen, light * gains, atol=1e-6)  # no sensor: light has no white


def test_phase_and_height_errors_have_the_strehl_ratio_of_their_variance():
    relief = optics.HeightMap(
        torch.full((129, 129), 5e-7), spacing=2.5e-3 / 128, material=1.5, design_wavelength=550e-9
    )
    made = optics.Relief(relief.height.detach(), spacing=2.5e-3 / 128, material=1.5)
    for element in (relief, made):
        system = _system(front_end=_lens(element, size=129))
        sharp = system.front_end.psf().detach().amax()
        wave = 550e-9 / (2 * math.pi * 0.5)
        for name, per_radian in (("phase_error", 1), ("height_error", wave)):
            for sigma in (0.3, 0.6):
                blurred = _front(system, name, sigma * per_radian).psf().detach().amax()
                assert float(blurred / sharp) == pytest.approx(math.exp(-(sigma**2)), abs=0.02)


def test_phase_error_of_a_fourier_filter_keeps_its_modulus():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        front = optics.FourierFilter(24, "open", channels=3)
    system = _system(front_end=front)
    wrong = _front(system, "phase_error", 0.2).transmission.detach()
    given_ = front.transmission.detach()
    assert torch.allclose(wrong.abs(), given_.abs(), atol=1e-5)
    error = (wrong / given_).angle()
    assert float(error.square().mean().sqrt()) == pytest.approx(0.2, rel=0.05)


@pytest.mark.parametrize("level", [0.05, 0.3])
@pytest.mark.parametrize("size", [5, 31])
def test_a_sharp_kernel_is_as_wrong_as_a_wide_one(level, size):
    y, x = np.mgrid[:size, :size] - size // 2
    for width in (0.05, 1.0, 6.0):
        tap = torch.from_numpy(np.exp(-(x**2 + y**2) / (2 * width**2))).float()
        given_ = 0.9 * tap / tap.sum()
        system = _system(front_end=optics.IncoherentImaging(given_[None].expand(2, -1, -1)))
        wrong = _front(system, "kernel_error", level).fixed_psf.double()
        apart = (wrong - given_).square().sum((-2, -1)).sqrt() / given_.square().sum().sqrt()
        assert apart.tolist() == pytest.approx([level] * 2, rel=1e-4)
        assert wrong.sum((-2, -1)).tolist() == pytest.approx([0.9] * 2, rel=1e-5)
        assert float(wrong.min()) >= 0


def test_kernel_error_is_relative_keeps_the_light_and_grows_with_the_level():
    front = optics.LearnedKernel(torch.full((1, 15, 15), 0.5 / 225), channels=3, signed=False)
    system = _system(front_end=front)
    given_ = front.kernels.detach()
    small, large = (_front(system, "kernel_error", x).kernels.detach() for x in (0.1, 0.2))
    for kernels, level in ((small, 0.1), (large, 0.2)):
        relative = (kernels - given_).square().mean().sqrt() / given_.square().mean().sqrt()
        assert float(relative) == pytest.approx(level, rel=0.1)
        assert torch.allclose(kernels.sum((-2, -1)), given_.sum((-2, -1)), rtol=2e-3)
    # The same device: twice the error.
    one, two = ((k - given_).flatten() for k in (small, large))
    assert float(torch.corrcoef(torch.stack((one, two)))[0, 1]) > 0.99
    psf = torch.full((5, 5), 0.02)
    fixed = _front(
        _system(front_end=optics.IncoherentImaging(psf, channels=3)), "kernel_error", 9.0
    )
    assert (fixed.fixed_psf >= 0).all()
    assert float(fixed.fixed_psf.sum()) == pytest.approx(0.5)


def test_what_a_system_can_have_depends_on_its_stages():
    picture = {"shift", "magnification"}
    camera = {"photons", "quantum_efficiency", "dark_current", "read_noise", "colour_cast"}
    kernel = {"rotation", "registration", "kernel_error"}
    assert set(applicable(_camera())) == picture | camera | kernel
    well = _system(sensor=optics.Sensor(200, full_well=500))
    assert set(applicable(well)) == picture | camera | {"full_well"}
    assert set(applicable(_system())) == picture | {"colour_cast"}
    assert set(applicable(_system(), channels=1)) == picture
    bare = _system(front_end=_lens())
    assert set(applicable(bare)) == {
        "defocus", "tilt_x", "tilt_y", "shift", "magnification", "colour_cast", "phase_error",
    }  # fmt: skip
    lens = optics.Lens(65, spacing=2.5e-3 / 64, focal_length=1.0)
    assert {"decentre", "decentre_y", "decentre_radial", "rotation"} < set(
        applicable(_system(front_end=_lens(lens)))
    )


def test_every_name_has_its_imperfection():
    assert tuple(KINDS) == PERTURBATIONS
    assert all(kind.name == name for name, kind in KINDS.items())


def test_those_asked_for_come_in_the_order_of_the_names_then_as_given():
    own, other = Imperfection("own", "metres"), Imperfection("other", "metres")
    found = resolved([other, "shift", own, "defocus"], _system(front_end=_lens()), channels=1)
    assert [kind.name for kind in found] == ["defocus", "shift", "other", "own"]
    assert found[KINDS["shift"]] == "shift"
    assert found[own] is own


def test_a_share_of_nothing_changes_nothing():
    both = Imperfection("both", "waves", shared=lambda level, _: {KINDS["defocus"]: 0.0})
    system = _system(front_end=_lens())
    assert torch.equal(_front(system, both, 1.0).psf(), system.front_end.psf())


def _menisci(moved=0.0):
    """The camera of two menisci about a stop, f/22, 35 degrees wide, and its lens."""
    crown = (1.5109, 64.2)
    rows = [(8.57, 2.2, crown), (8.63, 6.9, None), (math.inf, 6.9, None), (-8.63, 2.2, crown)]
    rows.append((-8.57, 90.0, None))
    surfaces = [
        optics.Surface(1e3 / radius, 1e-3 * way, glass, stop=number == 2)
        for number, (radius, way, glass) in enumerate(rows)
    ]
    surfaces = optics.set_stop(surfaces, wavelength=550e-9, f_number=22.0)
    image = float(optics.first_order(surfaces, wavelength=550e-9).image_distance) + moved
    lens = optics.CompoundLens(
        [*surfaces[:-1], surfaces[-1]._replace(thickness=image)], wavelength=550e-9
    )
    return lens, optics.compound_imaging(
        lens, picture=(23904, 3), pixel_pitch=6e-6, wavelengths=(550e-9,), psf_size=101, rank=4,
        places=2, pupil_size=80, oversample=1,
    )  # fmt: skip


def _height(front_end):
    """RMS height of the PSF in a corner of the picture."""
    psf = front_end.pupil().detach()[1, 1, 0].double()
    rows = psf.sum(-1) / psf.sum()
    y = torch.arange(len(rows), dtype=torch.float64) * 6e-6
    return float((rows * (y - (rows * y).sum()).square()).sum().sqrt())


@pytest.mark.parametrize("moved", [-2e-3, 2e-3])
def test_defocus_off_the_axis_of_a_traced_lens_is_that_of_a_sensor_that_moves(moved):
    lens, camera = _menisci()
    # A sensor behind the image is a lens that is too strong.
    waves = moved / (8 * lens.f_number**2) / 550e-9
    found = _front(joint.ImagingSystem(front_end=camera), "defocus", waves)
    assert _height(found) == pytest.approx(_height(_menisci(moved)[1]), rel=0.01)
    assert abs(_height(found) / _height(camera) - 1) > 0.1
