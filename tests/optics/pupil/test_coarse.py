import math

import pytest
import torch

import optics


def _out_of_focus(size, psf_size=31, elements=(), **options):
    """50 mm, f/8.3, on pixels of 4 micrometres."""
    lengths = {"wavelengths": (550e-9,), "focal_length": 50e-3, "pixel_pitch": 4e-6}
    grid = {"size": size, "spacing": 6e-3 / (size - 1)}
    return optics.Pupil(elements, psf_size=psf_size, oversample=3, **lengths, **grid, **options)


def test_a_defocus_that_the_samples_do_not_hold_is_warned_of():
    # Geometry: at 0.3 m the disk is 6 mm * 50 mm / 0.3 m = 1 mm wide, and even. A window of 31
    # pixels holds 0.124^2 / (pi / 4) = 0.0196 of it; Fresnel's fringes are some per cent of that.
    share = (31 * 4e-6) ** 2 / (math.pi / 4 * 1e-3**2)
    assert float(_out_of_focus(512)(distance=0.3).sum()) == pytest.approx(share, rel=0.05)
    coarse = _out_of_focus(64)
    steps = r"dioptres out of focus.* by 10\.9 radians .* more than pi.* at most 2\.75e-05 metres"
    with pytest.warns(UserWarning, match=r"a point 3\.33 " + steps):
        assert float(coarse(distance=0.3).sum()) > 8 * share
    coarse(distance=0.3)  # said once
    for distance in (0.3, torch.tensor([0.3, math.inf], requires_grad=True)):
        with pytest.warns(UserWarning, match="sampled too coarsely for a point"):
            _out_of_focus(64)(distance=distance)
        with pytest.warns(UserWarning, match="sampled too coarsely for a point"):
            _out_of_focus(64).mtf(torch.tensor([1e5]), distance=distance)
    camera = optics.IncoherentImaging(_out_of_focus(64), working_distances=[0.3, 9.0])
    with pytest.warns(UserWarning, match="sampled too coarsely for a point"):
        camera.throughput()
    # The closed form: half a wave from sample to sample at the rim, and on neither side of focus.
    rim, spacing = 3e-3, 6e-3 / 63
    for side in (1, -1):
        limit = side * 550e-9 / (2 * rim * spacing)
        _out_of_focus(64)(distance=1 / (0.999 * limit))
        with pytest.warns(UserWarning, match=r"by 3\.14 radians .* more than pi"):
            _out_of_focus(64)(distance=1 / (1.001 * limit))


def test_a_defocus_is_not_judged_where_it_cannot_be():
    # What a lens among the elements takes away is in focus.
    grid = {"spacing": 6e-3 / 63}
    lens = optics.Lens(64, focal_length=0.3, **grid)
    near = optics.Pupil(
        [lens], wavelengths=(550e-9,), focal_length=50e-3, pixel_pitch=2e-6, psf_size=31
    )
    sharp = _out_of_focus(64).field()
    torch.testing.assert_close(near.field(distance=0.3), sharp, rtol=0, atol=1e-3)
    near(distance=0.3)
    # Nor what other phases may take away: a mask of the same, which has no focal length.
    wavelength = torch.tensor([550e-9], dtype=torch.float64)
    strong = optics.Lens(64, focal_length=0.03, **grid)
    mask = optics.PhaseMask(-strong.phase_shift(wavelength)[0], **grid)
    _out_of_focus(64, elements=[strong, mask])(distance=9.0)
    coarse = _out_of_focus(64, psf_size=9)
    seen = torch.vmap(lambda distance: coarse(distance=distance))(torch.tensor([0.3, 0.5]))
    assert seen.shape == (2, 1, 9, 9)
    compiled = torch.compile(lambda distance: coarse(distance=distance), backend="eager")
    torch.testing.assert_close(compiled(torch.tensor(0.3)), seen[0])
    assert coarse(distance=torch.ones(0)).shape == (0, 1, 9, 9)


def test_a_lens_among_the_elements_adds_to_the_defocus():
    # Half a wave from sample to sample at the rim, of what two lenses leave of a distance.
    grid = {"spacing": 6e-3 / 63}
    limit = 550e-9 / (2 * 3e-3 * grid["spacing"])
    for power in (4 / 0.3, -3 / 0.3):
        for excess, steps in ((0.999, False), (1.001, True)):
            lenses = [optics.Lens(64, focal_length=2 / power, **grid) for _ in range(2)]
            camera = _out_of_focus(64, elements=lenses)
            # By hand: the field's own phase, between the last two open samples of a row.
            distance = 1 / (power + excess * limit)
            field = camera.field(distance=distance)[0, 32]
            turn = abs(float((field[62] * field[61].conj()).angle().detach()))
            assert turn < math.pi
            if steps:
                with pytest.warns(UserWarning, match=r"by 3\.14 radians .* more than pi"):
                    camera(distance=distance)
            else:
                camera(distance=distance)


def test_a_lens_that_the_samples_do_not_hold_is_warned_of_at_its_focus_too():
    # By geometry as above: what a lens of 0.3 m beside the one that is focused makes of infinity.
    share = (31 * 4e-6) ** 2 / (math.pi / 4 * 1e-3**2)

    def camera(size):
        lens = optics.Lens(size, spacing=6e-3 / (size - 1), focal_length=0.3)
        return _out_of_focus(size, elements=[lens])

    assert float(camera(512)().sum().detach()) == pytest.approx(share, rel=0.05)
    for told in ({}, {"distance": math.inf}):
        coarse = camera(64)
        with pytest.warns(UserWarning, match=r"a point 3\.33 dioptres out of focus") as found:
            assert float(coarse(**told).sum().detach()) > 8 * share
        assert [warning.filename for warning in found] == [__file__]
        coarse(**told)  # said once
        with pytest.warns(UserWarning, match="more than pi") as found:
            camera(64).otf(torch.tensor([1e5]), **told)
        assert [warning.filename for warning in found] == [__file__]
    # One that brings the scene into focus again, 3.33 dioptres nearer, is none.
    camera(64)(distance=0.3)


def _wavefront(waves, index=4, diameter=6e-3, size=64):
    """A polynomial of Noll's, of so many waves RMS at 550 nm."""
    return optics.Aberration(
        size, spacing=6e-3 / 63, diameter=diameter, coefficients=torch.tensor([waves * 550e-9]),
        indices=[index],
    )  # fmt: skip


def _cubic(alpha):
    return optics.CubicMask(
        64, spacing=6e-3 / 63, diameter=6e-3, alpha=alpha, design_wavelength=550e-9
    )


def test_a_defocus_is_told_whatever_made_it():
    # sqrt(3) (2 rho^2 - 1) from the sample 29 to that 30 from the axis, the last that is whole
    # within a radius of 31.5, is 2 sqrt(3) (900 - 841) / 31.5^2: half a wave of it is pi.
    limit = 31.5**2 / (4 * math.sqrt(3) * 59)
    # Of x^3 from 30 to 31, which is lit.
    cubic = 31.5**3 / (2 * (31**3 - 30**3))
    for side in (1, -1):
        for make, most in ((_wavefront, side * limit), (_cubic, side * cubic)):
            _out_of_focus(64, elements=[make(0.999 * most)])()
            coarse = _out_of_focus(64, elements=[make(1.001 * most)])
            with pytest.warns(UserWarning, match=r"its wavefront.* by 3\.14 radians") as found:
                coarse()
            assert [warning.filename for warning in found] == [__file__]
            coarse()  # said once
            with pytest.warns(UserWarning, match="its wavefront"):
                _out_of_focus(64, elements=[make(1.001 * most)]).mtf(torch.tensor([1e5]))
    # What a distance or a lens takes away is none: W = r^2 / (2 d), D^2 / (8 d) at the rim, and
    # sqrt(12) waves RMS from the middle to the rim are.
    strong = 3 * limit * math.sqrt(12) * 550e-9
    lens = optics.Lens(64, spacing=6e-3 / 63, focal_length=6e-3**2 / (8 * strong))
    _out_of_focus(64, elements=[_wavefront(3 * limit), lens])()
    _out_of_focus(64, elements=[_wavefront(-3 * limit)])(distance=6e-3**2 / (8 * strong))
    with pytest.warns(UserWarning, match="its wavefront"):
        _out_of_focus(64, elements=[_wavefront(3 * limit)])(distance=6e-3**2 / (8 * strong))


def test_jumps_that_are_meant_are_no_coarse_wavefront():
    # Beyond its diameter a wavefront is cut off; a mask may be folded, and undo what stands beside.
    with pytest.warns(UserWarning, match="beyond the diameter of an Aberration") as found:
        _out_of_focus(64, elements=[_wavefront(0.8, index=1, diameter=3e-3)])()
    assert len(found) == 1
    wavelength = torch.tensor([550e-9], dtype=torch.float64)
    strong = _wavefront(20.0)
    mask = optics.PhaseMask(-strong.phase_shift(wavelength)[0], spacing=6e-3 / 63)
    _out_of_focus(64, elements=[strong, mask])()
    # In the dark nothing is seen.
    stop = optics.circular_aperture(64, diameter=1.5e-3, spacing=6e-3 / 63)
    dark = optics.AmplitudeMask(stop.square(), spacing=6e-3 / 63, trainable=False)
    _out_of_focus(64, elements=[_cubic(20.0), dark])()
    column = optics.Pupil(
        [_wavefront(0.1, size=(64, 1))], wavelengths=(550e-9,), focal_length=50e-3,
        pixel_pitch=1e-6, psf_size=9, aperture=torch.ones(64, 1),
    )  # fmt: skip
    assert column().shape == (1, 9, 9)


def test_the_rim_is_that_of_what_is_lit():
    # A stop in an open aperture makes the PSF of an aperture of its size, and less of the light.
    spacing = 6e-3 / 63
    stop = optics.circular_aperture(64, diameter=1.5e-3, spacing=spacing)
    mask = optics.AmplitudeMask(stop.square(), spacing=spacing, trainable=False)
    stopped, small = _out_of_focus(64, elements=[mask]), _out_of_focus(64, aperture=stop)
    light = stopped(distance=0.6) * stopped.incident_power
    torch.testing.assert_close(light, small(distance=0.6) * small.incident_power)
    with pytest.warns(UserWarning, match="sampled too coarsely for a point"):
        _out_of_focus(64)(distance=0.6)
    # The closed form, at the rim of a stop of 8 samples on each side of the axis and one on it; the
    # dark ones of a mask that is trained pass a thousandth.
    limit = 550e-9 / (2 * 8.5 * spacing * spacing)
    pin = torch.zeros(64, 64)
    pin[24:41, 24:41] = 1
    for excess in (0.999, 1.001):
        mask = optics.AmplitudeMask(pin, spacing=spacing)
        camera = _out_of_focus(64, elements=[mask])
        if excess < 1:
            camera(distance=1 / (excess * limit))
        else:
            with pytest.warns(UserWarning, match=r"by 3\.14 radians .* more than pi"):
                camera(distance=1 / (excess * limit))


def test_a_pupil_without_light_has_the_rim_of_its_aperture():
    class Dark(optics.Element):
        def transmission(self, wavelength):
            return torch.zeros(1, 64, 64)

    camera = _out_of_focus(64, elements=[Dark(64, 6e-3 / 63)])
    with pytest.warns(UserWarning, match="sampled too coarsely for a point"):
        assert not camera(distance=0.3).any()


def test_a_rim_takes_light_and_hides_no_wavefront():
    # Noll's 4, three times as strong as the samples hold, behind a mount that cuts off light.
    strong = 3 * 31.5**2 / (4 * math.sqrt(3) * 59)
    rim = optics.Vignetting(
        64, spacing=6e-3 / 63, diameter=6.3e-3, shift=1e-3, places=3, picture=48
    )
    with pytest.warns(UserWarning, match="its wavefront"):
        _out_of_focus(64, elements=[_wavefront(strong), rim])()
    with pytest.warns(UserWarning, match="sampled too coarsely for a point"):
        _out_of_focus(64, elements=[rim])(distance=0.3)
