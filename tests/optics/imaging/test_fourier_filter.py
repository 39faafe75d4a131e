import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.special import ive, j0

import optics

_STARTS = ["open", "spiral", "dark_field", "knife_edge", "phase_contrast", "random"]


def _scene(seed, size=(16, 15), channels=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, channels, *size, dtype=torch.float64, generator=generator)


def _filter(start="random", size=(16, 15), seed=0, channels=1, **options):
    generator = torch.Generator().manual_seed(seed)
    return optics.FourierFilter(
        size, start, channels=channels, generator=generator, **options
    ).double()


def _stir(front_end, seed, scale):
    with torch.no_grad():
        noise = torch.randn(front_end.raw.shape, generator=torch.Generator().manual_seed(seed))
        front_end.raw.add_(scale * noise.double())


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**31), st.floats(0, 10), st.sampled_from(["coherent", "incoherent"]))
def test_a_passive_filter_never_makes_light(seed, scale, illumination):
    front_end = _filter("random", seed=seed, illumination=illumination, margin=0)
    _stir(front_end, seed, scale)
    scene = _scene(seed) * (_scene(seed + 1) > 0.5)  # with black parts
    irradiance = front_end(scene)
    assert front_end.transmission.abs().max() <= 1 + 1e-12
    assert irradiance.min() >= -1e-12
    assert (irradiance.sum((-2, -1)) <= scene.sum((-2, -1)) * (1 + 1e-9)).all()
    assert 0 <= front_end.throughput() <= 1


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31))
def test_incoherent_light_arrives_in_the_share_of_the_throughput(seed):
    front_end = _filter("random", seed=seed, illumination="incoherent", margin=0)
    _stir(front_end, seed, 1.0)
    scene = _scene(seed)
    torch.testing.assert_close(
        front_end(scene).sum((-2, -1)), scene.sum((-2, -1)) * front_end.throughput()
    )


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.floats(0.1, 4), st.floats(0.1, 4))
def test_incoherent_imaging_is_linear_and_coherent_imaging_homogeneous(seed, a, b):
    x, y = _scene(seed), _scene(seed + 1) + 0.1
    incoherent = _filter(seed=seed, illumination="incoherent")
    torch.testing.assert_close(
        incoherent(a * x + b * y), a * incoherent(x) + b * incoherent(y), rtol=1e-9, atol=1e-9
    )
    coherent = _filter(seed=seed)
    torch.testing.assert_close(coherent(a * y), a * coherent(y), rtol=1e-6, atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(
    st.integers(0, 2**31),
    st.integers(-9, 9),
    st.integers(-9, 9),
    st.sampled_from(["coherent", "incoherent"]),
)
def test_a_periodic_picture_shifts_with_its_scene(seed, dy, dx, illumination):
    front_end = _filter(seed=seed, margin=0, illumination=illumination)
    scene = _scene(seed)
    torch.testing.assert_close(
        front_end(scene.roll((dy, dx), (-2, -1))), front_end(scene).roll((dy, dx), (-2, -1))
    )


@pytest.mark.parametrize("illumination", ["coherent", "incoherent"])
@pytest.mark.parametrize("margin", [0, 5])
def test_an_open_plane_relays_the_scene_upright(illumination, margin):
    scene = _scene(0, (16, 15), 3)
    front_end = _filter("open", channels=3, illumination=illumination, margin=margin)
    # 1 % is lost by the largest modulus of 0.995.
    torch.testing.assert_close(front_end(scene), scene * 0.995**2, rtol=1e-5, atol=1e-7)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31), st.tuples(st.integers(2, 17), st.integers(2, 17)))
@example(339, (2, 3))  # has a radiance of 9e-8
def test_without_a_filter_the_picture_is_the_scene_upright(seed, size):
    # P45: the second lens of the 4f system transforms back. Below 1e-6 a field is not the root.
    scene, open_ = _scene(seed, size).clamp_min(1e-6), torch.ones(size, dtype=torch.complex128)
    for image in (optics.coherent_image, optics.incoherent_image):
        torch.testing.assert_close(image(scene, open_), scene, rtol=1e-12, atol=1e-12)


def test_a_point_is_the_same_in_coherent_and_incoherent_light():
    scene = torch.zeros(1, 1, 15, 15, dtype=torch.float64)
    scene[..., 7, 7] = 1.0
    filters = [
        _filter("random", (15, 15), margin=0, illumination=i) for i in ("coherent", "incoherent")
    ]
    coherent, incoherent = (f(scene) for f in filters)
    torch.testing.assert_close(coherent, incoherent)
    psf = torch.fft.ifft2(torch.fft.ifftshift(filters[1].transmission)).abs().square()
    torch.testing.assert_close(incoherent[0, 0], psf.roll((7, 7), (0, 1)))


def test_dark_field_removes_the_mean_amplitude():
    x = torch.arange(24, dtype=torch.float64)
    for modulation in (0.1, 0.5):
        amplitude = (1 + modulation * torch.cos(2 * torch.pi * 3 * x / 24)).expand(1, 1, 24, 24)
        transmission = optics.filter_start("dark_field", (24, 24))
        result = optics.coherent_image(amplitude.square(), transmission)
        torch.testing.assert_close(result, (amplitude - 1).square(), rtol=1e-10, atol=1e-12)
    constant = torch.full((1, 1, 24, 24), 0.6, dtype=torch.float64)
    assert optics.coherent_image(constant, transmission).max() < 1e-20


def test_spiral_has_a_dark_centre_and_shows_edges_of_any_direction():
    transmission = optics.filter_start("spiral", (33, 33))
    psf = torch.fft.ifft2(torch.fft.ifftshift(transmission)).abs().square()
    assert psf[0, 0] < 1e-12 * psf.max()  # P27: |U| < 1e-6 of its peak
    yy, xx = torch.meshgrid(torch.arange(33.0) - 16, torch.arange(33.0) - 16, indexing="ij")
    disk = ((yy**2 + xx**2) < 81).double() * 0.8 + 0.1
    image = optics.coherent_image(disk[None, None], transmission)[0, 0]
    rim = ((yy**2 + xx**2).sqrt() - 9).abs() < 1.5
    angles = torch.atan2(yy, xx)
    inside = (yy**2 + xx**2) < 25
    for octant in range(8):
        sector = (angles >= -torch.pi + octant * torch.pi / 4) & (
            angles < -torch.pi + (octant + 1) * torch.pi / 4
        )
        assert image[rim & sector].mean() > 5 * image[inside].mean()


@pytest.mark.parametrize("illumination", ["coherent", "incoherent"])
@pytest.mark.parametrize("start", _STARTS)
def test_gradients_agree_with_finite_differences(start, illumination):
    front_end = _filter(start, (6, 5), illumination=illumination, margin=2)
    scene = (0.1 + _scene(0, (6, 5))[:1]).requires_grad_()

    def form(scene, raw):
        return torch.func.functional_call(front_end, {"raw": raw}, (scene,))

    assert torch.autograd.gradcheck(form, (scene, front_end.raw.detach().requires_grad_()))


def test_a_black_scene_stays_black_and_dark_pixels_have_finite_gradients():
    front_end = _filter("random", (8, 8))
    assert (front_end(torch.zeros(1, 1, 8, 8, dtype=torch.float64)) == 0).all()
    scene = torch.zeros(1, 1, 8, 8, dtype=torch.float64)
    scene[..., 4, 4] = 0.5
    scene.requires_grad_()
    front_end(scene).square().sum().backward()
    assert torch.isfinite(scene.grad).all()
    assert (scene.grad != 0).all()
    assert torch.isfinite(front_end.raw.grad).all()


def test_an_own_transmission_is_kept():
    transmission = 0.9 * optics.filter_start("spiral", (8, 8))
    front_end = optics.FourierFilter(8, transmission, margin=0).double()
    torch.testing.assert_close(front_end.transmission, transmission, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: optics.FourierFilter(16, "spirale"), "no filter is called 'spirale'"),
        (lambda: optics.FourierFilter(1), "at least 2 pixels"),
        (lambda: optics.FourierFilter(16, margin=-1), "margin must be .* at least 0, not -1"),
        (lambda: optics.FourierFilter(16, illumination="laser"), "not 'laser'"),
        (lambda: optics.FourierFilter(16)(torch.rand(1, 3, 8, 8)), "build it with the size"),
        (lambda: optics.FourierFilter(8, torch.ones(8, 8), margin=0), r"complex \(8, 8\)"),
        (
            lambda: optics.FourierFilter(8, torch.ones(8, 9) + 0j, margin=0),
            r"start must be complex \(8, 8\) .* not torch\.complex64 \(8, 9\)",
        ),
        (
            lambda: optics.FourierFilter(8, 2 * torch.ones(8, 8) + 0j, margin=0),
            r"\|t\| <= 1; start reaches 2",
        ),
    ],
)
def test_what_cannot_be_built_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def _field(seed=0, *shape):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*(shape or (16, 16)), dtype=torch.complex128, generator=generator)


def _phase_grating(depth, cycles=3, n=32):
    x = torch.arange(n, dtype=torch.float64)
    phase = depth * torch.cos(2 * math.pi * cycles * x / n)
    return torch.polar(torch.ones(n, n, dtype=torch.float64), phase.expand(n, n).contiguous())


@pytest.mark.parametrize("depth", [0.1, 0.5, 1.3])
def test_a_dark_field_removes_the_mean_of_a_phase_grating(depth):
    # The zero order of exp(i d cos) is J0(d).
    image = optics.coherent_image(_phase_grating(depth), optics.dark_field(32))
    assert float(image.mean()) == pytest.approx(1 - j0(depth) ** 2, abs=1e-12)


@pytest.mark.parametrize("sign", [1, -1])
def test_phase_contrast_shows_weak_phase_in_proportion(sign):
    depth, x = 1e-3, torch.arange(32, dtype=torch.float64)
    plate = optics.phase_contrast(32, shift=sign * math.pi / 2)
    image = optics.coherent_image(_phase_grating(depth), plate)
    expected = 1 + sign * 2 * depth * torch.cos(2 * math.pi * 3 * x / 32)
    torch.testing.assert_close(image[0], expected, rtol=0, atol=3 * depth**2)
    dimmed = optics.phase_contrast(32, shift=math.pi / 2, transmittance=0.25)
    assert float(dimmed[16, 16].abs().square()) == pytest.approx(0.25)


def test_a_knife_edge_has_an_odd_response_to_phase():
    knife = optics.knife_edge(32)
    flat = optics.coherent_image(torch.ones(32, 32, dtype=torch.complex128), knife)
    plus, minus = (optics.coherent_image(_phase_grating(d), knife) - flat for d in (1e-4, -1e-4))
    assert plus.abs().max() > 1e-5
    torch.testing.assert_close(plus, -minus, rtol=0, atol=1e-7)


@pytest.mark.parametrize("size", [(15, 16), (16, 15), (17, 17)])
def test_a_knife_in_incoherent_light_has_the_psf_of_half_a_pupil(size):
    # P48. The knife halves the light of the samples on its edge, the column of f = 0; on an even
    # grid, one more edge lies between the highest frequency and its negative.
    f = np.fft.fftfreq(size[1])
    half = np.where(f > 0, 1.0, 0.0)
    half[0] = math.sqrt(0.5)
    if size[1] % 2 == 0:
        half[size[1] // 2] = optics.knife_edge(size)[0, 0].real
    expected = np.abs(np.fft.ifft2(np.tile(half, (size[0], 1)))) ** 2
    point = torch.zeros(size, dtype=torch.float64)
    point[3, 5] = 1
    image = optics.incoherent_image(point, optics.knife_edge(size)).numpy()
    np.testing.assert_allclose(image, np.roll(expected, (3, 5), (0, 1)), rtol=0, atol=1e-15)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31), st.floats(-4, 4))
def test_two_opposite_knives_together_give_the_open_plane(seed, angle):
    # P48: in incoherent light spectra's powers add; the light, not the picture, is that of the
    # open plane, and each knife alone passes what the other one stops.
    scene = _scene(seed, (15, 15))
    light = sum(
        optics.incoherent_image(scene, optics.knife_edge((15, 15), angle=a)).sum((-2, -1))
        for a in (angle, angle + math.pi)
    )
    torch.testing.assert_close(light, scene.sum((-2, -1)), rtol=1e-10, atol=0)


@pytest.mark.parametrize("charge", [1, -1, 2])
def test_a_spiral_makes_rings_of_points_and_is_the_same_for_both_hands(charge):
    point = torch.zeros(33, 33, dtype=torch.float64)
    point[16, 16] = 1
    ring = optics.coherent_image(point, optics.spiral(33, charge=charge))
    assert ring[16, 16] < 1e-12 * ring.max()  # P27: |U| < 1e-6 of its peak
    torch.testing.assert_close(
        ring, optics.coherent_image(point, optics.spiral(33, charge=-charge))
    )
    torch.testing.assert_close(ring, ring.rot90(1))


def test_a_spiral_in_a_gaussian_aperture_is_a_ring_of_bessel_functions():
    # 2 pi int f exp(-p f^2) J1(2 pi r f) df = 2 pi (sqrt(pi) b / 8 p^1.5) e^-z (I0(z) - I1(z)),
    # b = 2 pi r, z = b^2 / 8 p (Gradshteyn & Ryzhik 6.618).
    n, cut = 128, 0.1
    point = torch.zeros(n, n, dtype=torch.float64)
    point[n // 2, n // 2] = 1
    plate = optics.spiral(n) * optics.gaussian_pass(n, high=cut)
    image = optics.coherent_image(point, plate)[n // 2, n // 2 :][:16].numpy()
    b, p = 2 * np.pi * np.arange(16), np.log(2) / cut**2
    z = b**2 / (8 * p)
    field = 2 * np.pi * np.sqrt(np.pi) * b / (8 * p**1.5) * (ive(0, z) - ive(1, z))
    np.testing.assert_allclose(image, field**2, rtol=0, atol=2e-3 * (field**2).max())


def test_a_knife_shows_the_hilbert_transform_of_a_weak_phase():
    # Half of the orders of exp(i d cos): 1/2 - d / sqrt(2) sin + O(d^2).
    depth, x = 1e-3, torch.arange(32, dtype=torch.float64)
    image = optics.coherent_image(_phase_grating(depth), optics.knife_edge(32))
    expected = 0.5 - depth / math.sqrt(2) * torch.sin(2 * math.pi * 3 * x / 32)
    torch.testing.assert_close(image[0], expected, rtol=0, atol=2 * depth**2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_pictures_keep_the_precision_of_the_scene(dtype):
    scene, plate = torch.rand(8, 8).to(dtype), optics.spiral(8)
    expected = torch.float64 if dtype == torch.float64 else torch.float32
    assert optics.coherent_image(scene, plate).dtype == expected
    assert optics.incoherent_image(scene, plate).dtype == expected
    image = optics.partially_coherent_image(
        scene, plate, source=torch.ones(2) / 2, tilts=torch.zeros(2, 2)
    )
    assert image.dtype == expected


@pytest.mark.parametrize("oversample", [2, 3])
def test_oversampled_abbe_sum_is_the_oversampled_incoherent_image(oversample):
    scene, transmission = torch.rand(6, 5, dtype=torch.float64), _field(1, 6, 5) / 4
    fy, fx = torch.meshgrid(optics.frequencies(6), optics.frequencies(5), indexing="ij")
    image = optics.partially_coherent_image(
        scene,
        transmission,
        source=torch.full((30,), 1 / 30, dtype=torch.float64),
        tilts=torch.stack((fy.flatten(), fx.flatten()), 1),
        oversample=oversample,
    )
    torch.testing.assert_close(
        image, optics.incoherent_image(scene, transmission, oversample=oversample)
    )


def test_patterns_and_memory_of_a_source_change_nothing(monkeypatch):
    scene, transmission = torch.rand(2, 3, 6, 5, dtype=torch.float64), _field(1, 6, 5) / 4
    tilts = 0.2 * torch.rand(5, 2, dtype=torch.float64)
    source = torch.rand(2, 5, dtype=torch.float64, requires_grad=True)

    def image(weights):
        return optics.partially_coherent_image(scene, transmission, source=weights, tilts=tilts)

    whole = image(source)
    assert whole.shape == (2, 3, 2, 6, 5)
    torch.testing.assert_close(whole[:, :, 1], image(source[1]))
    (expected,) = torch.autograd.grad(whole.square().sum(), source)
    for held in (2**26, 1):  # kept, and computed again
        monkeypatch.setattr("optics.imaging.fourier_filter._HELD", held)
        parts = image(source)
        torch.testing.assert_close(parts, whole)
        torch.testing.assert_close(torch.autograd.grad(parts.square().sum(), source)[0], expected)


def test_an_oversampled_sum_counts_all_its_points(monkeypatch):
    again = []
    monkeypatch.setattr("optics.imaging.fourier_filter._HELD", 3 * 64 * 4 - 1)
    monkeypatch.setattr(
        "optics.imaging.fourier_filter.checkpoint", lambda run, *a, **_: again.append(1) or run(*a)
    )
    given = {"source": torch.full((3,), 1 / 3), "tilts": torch.zeros(3, 2)}
    scene = torch.rand(8, 8, requires_grad=True)
    for points, times in ((1, 0), (2, 3)):
        optics.partially_coherent_image(scene, torch.ones(8, 8), oversample=points, **given)
        assert len(again) == times


def test_a_tilt_beyond_the_grid_is_warned_of():
    with pytest.warns(UserWarning, match=r"tilt of 0.8 cycles/pixel exceeds 0.5"):
        optics.partially_coherent_image(
            torch.ones(4, 4),
            torch.ones(4, 4),
            source=torch.ones(1),
            tilts=torch.tensor([[0.0, 0.8]]),
        )


def test_a_zernike_filter_is_flat_without_coefficients_and_tilts_by_whole_pixels():
    flat = optics.zernike_filter(32, coefficients=torch.zeros(3), cutoff=0.3)
    f = optics.frequencies(32)
    inside = torch.hypot(f[:, None], f) <= 0.3
    torch.testing.assert_close(flat, inside.to(torch.complex128))
    # Noll 2 is 2 rho cos: a waves RMS shift the picture by 2 a / cutoff pixels towards +x, where
    # the wavefront rises.
    shift = 3
    tilt = optics.zernike_filter(
        32, coefficients=torch.tensor([shift * 0.3 / 2]), cutoff=0.3, indices=(2,)
    )
    scene = torch.rand(32, 32, dtype=torch.float64)
    moved = optics.coherent_image(scene, tilt)
    expected = optics.coherent_image(scene, flat).roll(shift, 1)
    torch.testing.assert_close(moved, expected, rtol=1e-6, atol=1e-9)


def test_a_zernike_filter_is_the_transfer_of_a_pupil_with_those_coefficients():
    # Coma, trefoil and tilt would be mirrored if the frequencies were not.
    coefficients = torch.tensor([0.1, 0.08, -0.12], dtype=torch.float64)
    wavelength, diameter, size = 550e-9, 5e-3, 32
    spacing = diameter / 124
    plate = optics.Aberration(
        129, spacing=spacing, diameter=diameter, coefficients=coefficients * wavelength,
        indices=[2, 8, 9],
    )  # fmt: skip
    pupil = optics.Pupil(
        [plate],
        aperture=optics.circular_aperture(129, diameter=diameter, spacing=spacing),
        wavelengths=(wavelength,),
        focal_length=50e-3,
        pixel_pitch=1.5e-6,
        psf_size=size,
    )
    cutoff = diameter * 1.5e-6 / (2 * wavelength * 50e-3)
    ours = optics.zernike_filter(size, coefficients=coefficients, cutoff=cutoff, indices=[2, 8, 9])
    f = optics.frequencies(size)
    inside = torch.hypot(f[:, None], f) < 0.9 * cutoff
    theirs = pupil.amplitude_transfer(size)[0].to(ours.dtype)
    torch.testing.assert_close(ours[inside], theirs[inside], atol=0.01, rtol=0)


@pytest.mark.parametrize("oversample", [2, 3, 4])
def test_oversampling_keeps_the_light_and_does_not_alias(oversample):
    n = 32
    transmission = _field(1, n, n) / 4
    scene = torch.rand(2, n, n, dtype=torch.float64)
    plain = optics.coherent_image(scene, transmission)
    fine = optics.coherent_image(scene, transmission, oversample=oversample)
    torch.testing.assert_close(fine.sum((-2, -1)), plain.sum((-2, -1)))
    blurred = optics.incoherent_image(scene, transmission, oversample=oversample)
    expected = scene.sum((-2, -1)) * transmission.abs().square().mean()
    torch.testing.assert_close(blurred.sum((-2, -1)), expected)
    # Two waves at +-12/32 cycles/pixel beat at 24/32, which at points is aliased to 8/32 in full.
    x = torch.arange(n, dtype=torch.float64)
    beat = torch.cos(2 * math.pi * 12 * x / n).expand(n, n).to(torch.complex128)
    open_ = torch.ones(n, n, dtype=torch.complex128)

    def at(image, cycles):
        return float(torch.fft.rfft(image[0])[cycles].abs() / n)

    assert at(optics.coherent_image(beat, open_), 8) == pytest.approx(0.25)
    # Mean of n points spread evenly over the pixel: near its sinc(0.75) = 0.30.
    pixel = np.sin(np.pi * 0.75) / (oversample * np.sin(np.pi * 0.75 / oversample))
    assert at(optics.coherent_image(beat, open_, oversample=oversample), 8) == pytest.approx(
        0.25 * abs(pixel), abs=1e-9
    )


def test_one_point_on_the_axis_is_coherent_and_all_frequencies_are_incoherent_light():
    scene, transmission = torch.rand(2, 6, 5, dtype=torch.float64), _field(1, 6, 5) / 4
    axis = optics.partially_coherent_image(
        scene, transmission, source=torch.ones(1), tilts=torch.zeros(1, 2)
    )
    torch.testing.assert_close(axis, optics.coherent_image(scene, transmission))
    fy, fx = torch.meshgrid(optics.frequencies(6), optics.frequencies(5), indexing="ij")
    tilts = torch.stack((fy.flatten(), fx.flatten()), 1)
    image = optics.partially_coherent_image(
        scene, transmission, source=torch.full((30,), 1 / 30, dtype=torch.float64), tilts=tilts
    )
    torch.testing.assert_close(image, optics.incoherent_image(scene, transmission))


def test_partial_coherence_is_linear_in_the_source_and_differentiable():
    scene, transmission = torch.rand(5, 4, dtype=torch.float64) + 0.1, _field(1, 5, 4) / 4
    tilts = torch.tensor([[0.0, 0.0], [0.1, -0.2]], dtype=torch.float64, requires_grad=True)
    source = torch.tensor([0.3, 0.7], dtype=torch.float64, requires_grad=True)

    def image(scene, transmission, source, tilts):
        return optics.partially_coherent_image(scene, transmission, source=source, tilts=tilts)

    parts = [
        image(scene, transmission, torch.ones(1, dtype=torch.float64), tilts[i : i + 1])
        for i in range(2)
    ]
    torch.testing.assert_close(
        image(scene, transmission, source, tilts), 0.3 * parts[0] + 0.7 * parts[1]
    )
    assert torch.autograd.gradcheck(
        image, (scene.requires_grad_(), transmission.requires_grad_(), source, tilts)
    )


def test_partial_light_is_taken_at_as_many_points_as_asked_for():
    front = optics.FourierFilter(
        16, "spiral", channels=1, illumination="partial", oversample=2, margin=0
    )
    scene = torch.rand(2, 1, 16, 16)
    source = torch.full((len(front.tilts),), 1 / len(front.tilts))
    given = {"source": source, "tilts": front.tilts}
    wanted, points = (
        optics.partially_coherent_image(scene, front.transmission, oversample=n, **given)
        for n in (2, 1)
    )
    torch.testing.assert_close(front(scene), wanted)
    assert (wanted - points).abs().max() > 1e-2


def test_partial_light_lies_between_the_two():
    front_ends = [
        optics.FourierFilter(
            24, "low_pass", channels=1, illumination=light, source_radius=0.2, margin=4
        )
        for light in ("coherent", "partial", "incoherent")
    ]
    torch.manual_seed(0)
    scene = torch.rand(1, 1, 24, 24)
    grains = [front_end(scene).std().item() for front_end in front_ends]
    assert grains[0] != grains[1] != grains[2]
    assert front_ends[1].tilts.shape == (13, 2)


@pytest.mark.parametrize(
    ("size", "margin", "oversample"), [(32, 16, 1), ((33, 20), 16, 2), ((21, 20), 0, 1)]
)
def test_partial_light_prints_no_pattern_on_an_even_scene(size, margin, oversample):
    plate = optics.FourierFilter(
        size, "phase_contrast", channels=1, illumination="partial", margin=margin,
        oversample=oversample,
    ).double()  # fmt: skip
    height, width = plate.size
    even = plate(torch.ones(1, 1, height, width, dtype=torch.float64)).detach()
    torch.testing.assert_close(even, torch.full_like(even, 0.995**2), rtol=0, atol=1e-6)
    # So that a wave of theirs closes over the border, for each point of the source.
    turns = plate.tilts * torch.tensor(plate.grid_size)
    torch.testing.assert_close(turns, turns.round(), rtol=0, atol=1e-12)


def test_a_small_phase_looks_alike_wherever_it_lies_in_partial_light():
    plate = optics.FourierFilter(64, "phase_contrast", channels=1, illumination="partial")
    at = optics.coordinates(64)
    blob = 0.05 * torch.exp(-(at[:, None] ** 2 + at**2) / 18).float()
    peaks = []
    for s in (-16, -8, 0, 8):
        moved = torch.polar(torch.ones_like(blob), blob.roll((s, s), (0, 1)))
        peaks.append(float(plate(moved[None, None]).detach()[0, 0, 32 + s, 32 + s]))
    assert max(peaks) - min(peaks) < 1e-4


def test_a_phase_object_is_seen_in_partial_light():
    """A complex scene is the field; Abbe's sum over the disc, in numpy."""
    size = 24
    y, x = np.mgrid[:size, :size] - size // 2
    field = np.exp(0.5j * (np.hypot(y, x) < 6))
    front_end = optics.FourierFilter(
        size, "spiral", channels=1, illumination="partial", source_radius=0.1, margin=0
    ).double()
    plate = np.fft.ifftshift(front_end.transmission.detach().numpy())
    tilts = [
        (round(fy * size) / size, round(fx * size) / size)
        for fy in (-0.1, -0.05, 0.0, 0.05, 0.1)
        for fx in (-0.1, -0.05, 0.0, 0.05, 0.1)
        if math.hypot(fy, fx) <= 0.1 * (1 + 1e-9)
    ]
    assert len(tilts) == 13
    waves = [field * np.exp(2j * np.pi * (fy * y + fx * x)) for fy, fx in tilts]
    wanted = np.mean([np.abs(np.fft.ifft2(np.fft.fft2(w) * plate)) ** 2 for w in waves], 0)
    image = front_end(torch.from_numpy(field)[None, None]).detach()
    torch.testing.assert_close(image[0, 0], torch.from_numpy(wanted), rtol=0, atol=1e-12)
    assert float(image.max()) > 0.05  # its edge; a scene of radiance alone would be blank
    with pytest.raises(ValueError, match=r"scene must be real .* in incoherent light"):
        optics.FourierFilter(size, channels=1, illumination="incoherent")(
            torch.from_numpy(field)[None, None]
        )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optics.spiral(8, charge=0), "charge must be a whole number of turns, not 0"),
        (lambda: optics.spiral(8, charge=0.5), "charge must be a whole number"),
        (lambda: optics.knife_edge(8, angle=math.nan), "angle must be finite, in radians"),
        (
            lambda: optics.dark_field(8, stop=-0.1),
            "stop must be 0 or more, in cycles/p.*reaches -0.1",
        ),
        (
            lambda: optics.phase_contrast(8, transmittance=2),
            "transmittance must be between 0 and 1.*reaches 2",
        ),
        (
            lambda: optics.phase_contrast(8, transmittance=torch.tensor([0.5, 1.01])),
            r"transmittance must be between 0 and 1.*reaches 1\.01",
        ),
        (lambda: optics.phase_contrast(8, shift=math.nan), "shift must be finite, in radians"),
        (lambda: optics.gaussian_pass(8), "give low, high or both, in cycles/pixel"),
        (lambda: optics.gaussian_pass(8, low=0), "low must be positive and finite, in cycles/p"),
        (
            lambda: optics.zernike_filter(8, coefficients=torch.ones(2), cutoff=0.1, indices=(4,)),
            r"coefficients must be \[J\], one for each of the 1 Noll indices",
        ),
        (
            lambda: optics.partially_coherent_image(
                torch.ones(4, 4), torch.ones(4, 4), source=torch.ones(2), tilts=torch.ones(3, 2)
            ),
            r"source must be real \[S\] or \[P, S\] with S = 3",
        ),
        (
            lambda: optics.partially_coherent_image(
                torch.ones(4, 4), torch.ones(4, 4), source=-torch.ones(1), tilts=torch.ones(1, 2)
            ),
            "source must be 0 or more, in shares of the light; it reaches -1",
        ),
        (
            lambda: optics.coherent_image(torch.ones(4, 4), torch.ones(4, 4), oversample=0),
            "least 1",
        ),
        (
            lambda: optics.partially_coherent_image(
                torch.ones(4, 4), torch.ones(4, 4), source=torch.ones(2), tilts=torch.ones(2)
            ),
            r"tilts must be real \[S, 2\]",
        ),
        (
            lambda: optics.coherent_image(torch.full((4, 4), math.nan), torch.ones(4, 4)),
            "scene must be finite",
        ),
        (
            lambda: optics.coherent_image(torch.ones(4, 4), torch.ones(1, 1)),
            r"transmission must have the samples \(4, 4\) of the scene, not \(1, 1\)",
        ),
        (
            lambda: optics.incoherent_image(_field(0, 4, 4), torch.ones(4, 4)),
            "scene must be real floating point .* in incoherent light",
        ),
        (
            lambda: optics.dark_field(8, stop=torch.tensor(-1.0)),
            "stop must be 0 or more, in cycles/pixel; it reaches -1",
        ),
        (lambda: optics.gaussian_pass(8, low=0.3, high=0.1), "low must be below high, in cycles"),
        (lambda: optics.FourierFilter(8, oversample=0), "oversample must be .* at least 1, not 0"),
    ],
)
def test_filters_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("oversample", [2, 3, 4])
def test_oversampling_does_not_move_the_picture(oversample):
    x = torch.arange(32, dtype=torch.float64)
    waves = torch.cos(2 * math.pi * 3 * x / 32).expand(32, 32).to(torch.complex128)
    open_ = torch.ones(32, 32)
    image = optics.coherent_image(waves, open_, oversample=oversample)
    weak = np.sin(np.pi * 6 / 32) / (oversample * np.sin(np.pi * 6 / 32 / oversample))
    expected = 0.5 + 0.5 * weak * torch.cos(2 * math.pi * 6 * x / 32)
    torch.testing.assert_close(image[0], expected, rtol=0, atol=1e-12)


def test_a_source_and_its_tilts_are_tensors():
    scene, plate = torch.ones(8, 8), torch.ones(8, 8)
    with pytest.raises(TypeError, match="source must be a Tensor, not float"):
        optics.partially_coherent_image(scene, plate, source=1.0, tilts=torch.zeros(1, 2))
    with pytest.raises(TypeError, match="tilts must be a Tensor, not list"):
        optics.partially_coherent_image(scene, plate, source=torch.ones(1), tilts=[[0.0, 0.0]])


def test_a_start_is_a_name_or_a_tensor_and_a_radius_a_number():
    with pytest.raises(
        TypeError, match=r"start must be a name or a complex Tensor \(64, 64\), not nd"
    ):
        optics.FourierFilter(32, np.ones((64, 64)))
    for illumination in ("coherent", "partial"):
        for radius in ("a", [0.1, 0.2], torch.tensor([0.1, 0.2])):
            with pytest.raises(TypeError, match=r"source_radius must be one number, .* not ['\[]"):
                optics.FourierFilter(32, illumination=illumination, source_radius=radius)
        with pytest.raises(TypeError, match="source_radius is not learned here"):
            optics.FourierFilter(
                32,
                illumination=illumination,
                source_radius=torch.nn.Parameter(torch.tensor(0.1)),
            )
    with pytest.raises(
        ValueError, match="source_radius must be positive and finite, in cycles/pix"
    ):
        optics.FourierFilter(32, illumination="partial", source_radius=-0.1)


@pytest.mark.parametrize("illumination", ["coherent", "partial"])
def test_a_phase_object_is_seen_by_a_phase_plate_alone(illumination):
    scene = torch.rand(1, 1, 48, 48, generator=torch.Generator().manual_seed(0)).double()
    given = {"channels": 1, "illumination": illumination, "source_radius": 0.01}
    clear = optics.FourierFilter(48, "open", phase_depth=0.3, **given).double()
    torch.testing.assert_close(clear(scene), torch.full_like(scene, 0.995**2))
    plate = optics.FourierFilter(48, "phase_contrast", phase_depth=0.3, **given).double()
    plain = optics.FourierFilter(48, "phase_contrast", **given).double()
    torch.testing.assert_close(plate(scene), plain(optics.phase_object(scene, 0.3)))
    assert plate(scene).std() > 0.1 > 1e6 * clear(scene).std()
    assert repr(plate) == repr(plain)[:-1] + ", phase_depth=0.3)"


@pytest.mark.parametrize("illumination", ["coherent", "partial"])
def test_an_object_without_depth_is_clear_whatever_its_values(illumination):
    plate = optics.FourierFilter(16, "open", illumination=illumination, phase_depth=0.0)
    scene = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(plate(scene), plate(torch.ones_like(scene)))


def test_zernikes_plate_makes_light_of_weak_phase():
    # Goodman, Fourier Optics, sec. 8.1: irradiance 1 + 2 phi, phi about its mean.
    scene = torch.rand(1, 1, 48, 48, generator=torch.Generator().manual_seed(0)).double()
    for depth in (1e-3, 1e-2):
        plate = optics.FourierFilter(
            48, "phase_contrast", channels=1, margin=0, phase_depth=depth
        ).double()
        phase = depth * (scene - scene.mean())
        torch.testing.assert_close(
            plate(scene) / 0.995**2, 1 + 2 * phase, atol=2 * depth**2, rtol=0
        )


def test_incoherent_light_sees_no_phase():
    for depth in (0.0, 1.0):
        with pytest.raises(ValueError, match="incoherent light does not show phase"):
            optics.FourierFilter(16, illumination="incoherent", phase_depth=depth)
    with pytest.raises(ValueError, match="a complex field has its phase already"):
        optics.FourierFilter(16, phase_depth=1.0)(torch.ones(1, 3, 16, 16, dtype=torch.complex64))


@pytest.mark.parametrize("channels", ["3", 3.5, 0, None])
def test_channels_are_a_whole_number(channels):
    with pytest.raises((TypeError, ValueError), match="channels"):
        optics.FourierFilter((9, 12), channels=channels)


# ------------------------------------------------------------------------- the lamp, as a setting

_RING = {"illumination": "partial", "source_radius": 0.1, "source_inner_radius": 0.08}
_LAMPS = {
    "disc": {"illumination": "partial"},
    "ring": _RING,
    "line": {**_RING, "source_inner_radius": 0.1},
    "own": {"illumination": "partial", "tilts": torch.tensor([[0.0, 0.13], [0.21, -0.02]])},
}


@pytest.mark.parametrize("lamp", _LAMPS)
@pytest.mark.parametrize(("size", "margin"), [(32, 0), ((21, 20), 0), ((33, 20), 16)])
def test_a_plate_matches_its_lamp_by_default(lamp, size, margin):
    given = {**_LAMPS[lamp], "channels": 1, "margin": margin, "phase_depth": 1.0}
    stop = optics.FourierFilter(size, "dark_field", **given).double()
    plate = optics.FourierFilter(size, "phase_contrast", **given).double()
    grid = torch.tensor(stop.grid_size)
    rows, columns = ((stop.tilts * grid).round().long() + grid // 2).mT
    assert (stop.transmission[rows, columns] == 0).all()
    lit = plate.transmission[rows, columns]
    torch.testing.assert_close(lit, 0.995j * torch.ones_like(lit), rtol=0, atol=1e-6)
    # It is no larger: what is a sample farther out, or farther in, is free.
    fy, fx = (optics.frequencies(length) for length in stop.grid_size)
    radius, sample = torch.hypot(fy[:, None], fx), 1.001 / min(stop.grid_size)
    points = stop.tilts.norm(dim=1)
    free = (radius > points.max() + sample) | (radius < points.min() - sample)
    assert free.any()
    assert (stop.transmission[free].abs() > 0.994).all()
    flat = torch.zeros(1, 1, *stop.size, dtype=torch.float64)
    assert float(stop(flat).detach().abs().max()) < 1e-24
    torch.testing.assert_close(plate(flat), torch.full_like(flat, 0.995**2), rtol=0, atol=1e-6)


def test_a_lamp_that_is_a_point_has_the_plate_of_coherent_light():
    for start in ("dark_field", "phase_contrast"):
        coherent = optics.FourierFilter(32, start)
        tiny = optics.FourierFilter(32, start, illumination="partial", source_radius=1e-3)
        assert torch.equal(tiny.raw, coherent.raw)


@pytest.mark.parametrize("lamp", _LAMPS)
@pytest.mark.parametrize("cycles", [2, 5, 9])
def test_phase_contrast_is_twice_the_phase_that_falls_beside_the_plate(lamp, cycles):
    # The orders of exp(i d cos a) at a point's -+ cycles are i d / 2, and interfere with its own,
    # which the plate has made i: 1 + d Re(t+ e^ia + t- e^-ia), to the first order in d. Beside the
    # plate t is 1, and on it i as well, where from opposite points nothing is seen.
    size, depth = 32, 1e-3
    plate = optics.FourierFilter(
        size, "phase_contrast", channels=1, margin=0, phase_depth=depth, **_LAMPS[lamp]
    ).double()
    angle = (2 * math.pi * cycles / size * torch.arange(size)).expand(1, 1, size, size).double()
    t = plate.transmission.detach() / 0.995
    rows, columns = ((plate.tilts * size).round().long() + size // 2).mT
    falls, rises = (
        (plate.source * t[rows, (columns + side * cycles) % size]).sum() for side in (-1, 1)
    )
    wave = torch.polar(torch.ones_like(angle), angle)
    expected = 1 + depth * (rises * wave + falls * wave.conj()).real
    image = plate(angle.cos()).detach() / 0.995**2
    torch.testing.assert_close(image, expected, rtol=0, atol=4 * depth**2)
    if cycles == 9 and lamp != "own":  # beside the plate from all points: twice the phase
        twice = 1 + 2 * depth * angle.cos()
        torch.testing.assert_close(image, twice, rtol=0, atol=4 * depth**2)


@pytest.mark.parametrize("lamp", _LAMPS)
def test_a_dark_field_shows_a_weak_phase_by_its_square(lamp):
    scene = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0)).double()
    weak, twice = (
        optics.FourierFilter(
            32, "dark_field", channels=1, margin=0, phase_depth=depth, **_LAMPS[lamp]
        )
        .double()(scene)
        .detach()
        for depth in (1e-4, 2e-4)
    )
    assert float(weak.mean()) > 0.5 * float(scene.var()) * 1e-8
    torch.testing.assert_close(twice, 4 * weak, rtol=0, atol=1e-3 * float(weak.max()))


def test_a_ring_shows_more_of_a_phase_than_a_disc_as_large():
    scene = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.avg_pool2d(scene, 5, 1, 2)

    def contrast(lamp):
        plate = optics.FourierFilter(
            32, "phase_contrast", channels=1, phase_depth=0.1, **_LAMPS[lamp]
        )
        return float(plate(smooth).detach().std())

    assert contrast("ring") > 1.1 * contrast("disc")


def _by_hand(scene, front_end, tilts, weights):
    """Abbe's sum in numpy, of a real scene without margin."""
    height, width = scene.shape
    y, x = np.mgrid[:height, :width]
    plate = np.fft.ifftshift(front_end.transmission.detach().numpy())
    image = np.zeros(scene.shape)
    for weight, (fy, fx) in zip(weights, tilts, strict=True):
        ky, kx = round(fy * height), round(fx * width)
        wave = np.exp(2j * np.pi * (ky * y / height + kx * x / width))
        image += weight * np.abs(np.fft.ifft2(np.fft.fft2(np.sqrt(scene) * wave) * plate)) ** 2
    return image / sum(weights)


def test_a_ring_of_light_is_abbes_sum_over_it():
    front_end = _filter("random", (18, 27), margin=0, **_RING)
    scene = _scene(3, (18, 27))[:1]
    radius, step = (0.08, 0.1), 0.025  # the coarsest grid of 0.1 / n with 12 points
    tilts = [
        (step * a, step * b)
        for a in range(-4, 5)
        for b in range(-4, 5)
        if radius[0] - 1e-9 <= step * math.hypot(a, b) <= radius[1] + 1e-9
    ]
    assert len(tilts) == len(front_end.tilts) == 12
    wanted = _by_hand(scene[0, 0].numpy(), front_end, tilts, [1] * 12)
    image = front_end(scene).detach()[0, 0].numpy()
    np.testing.assert_allclose(image, wanted, rtol=0, atol=1e-12)


def test_points_of_ones_own_are_lit_in_their_proportions():
    lamps = torch.tensor([[0.0, 0.0], [20e-3, 0.0], [0.0, -15e-3], [9e-3, 9e-3]])
    tilts = optics.led_tilts(lamps, height=60e-3, wavelength=500e-9, pixel_pitch=400e-9)
    weights = torch.tensor([2.0, 1.0, 5.0, 0.0])  # the last one is off
    front_end = _filter(
        "spiral", (18, 27), margin=0, illumination="partial", tilts=tilts, source=weights
    )
    assert len(front_end.tilts) == 3
    assert float(front_end.source.sum()) == 1
    scene = _scene(3, (18, 27))[:1]
    wanted = _by_hand(scene[0, 0].numpy(), front_end, tilts.tolist(), weights.tolist())
    image = front_end(scene).detach()[0, 0].numpy()
    np.testing.assert_allclose(image, wanted, rtol=0, atol=1e-12)
    # An object without a filter has the light of the lamp, 1, whatever the weights.
    clear = _filter(
        "open", (18, 27), illumination="partial", tilts=tilts, source=weights, phase_depth=1.0
    )
    torch.testing.assert_close(clear(scene), torch.full_like(scene, 0.995**2))


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**31), st.sampled_from(sorted(_LAMPS)), st.sampled_from(_STARTS))
def test_no_lamp_makes_light_behind_a_plate(seed, lamp, start):
    front_end = _filter(start, seed=seed, margin=0, **_LAMPS[lamp])
    _stir(front_end, seed, 1.0)
    scene = _scene(seed) * (_scene(seed + 1) > 0.5)
    light = front_end(scene).detach()
    assert light.min() >= 0
    assert (light.sum((-2, -1)) <= scene.sum((-2, -1)) * (1 + 1e-9)).all()
    assert 0 <= front_end.throughput() <= 1


@pytest.mark.parametrize("lamp", _LAMPS)
@pytest.mark.parametrize("start", ["dark_field", "phase_contrast"])
def test_a_plate_learns_in_the_light_of_any_lamp(lamp, start):
    front_end = _filter(start, (6, 5), margin=2, phase_depth=0.5, **_LAMPS[lamp])
    scene = _scene(0, (6, 5))
    for training in (True, False):
        front_end.train(training).zero_grad()
        front_end(scene).square().sum().backward()
        # A sample in no order of any point sees nothing; nearly all see something.
        assert float((front_end.raw.grad != 0).double().mean()) > 0.95

    def form(raw):
        return torch.func.functional_call(front_end, {"raw": raw}, (scene,))

    raw = front_end.raw.detach().requires_grad_()
    assert torch.autograd.gradcheck(form, raw, fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("lamp", _LAMPS)
def test_half_precision_moves_no_point_of_a_lamp(dtype, lamp):
    whole = optics.FourierFilter((15, 22), "spiral", channels=1, margin=4, **_LAMPS[lamp])
    half = copy.deepcopy(whole).to(dtype)
    assert torch.equal(half.tilts, whole.tilts)
    assert half.tilts.dtype == half.source.dtype == torch.float64
    even = half(torch.full((1, 1, 15, 22), 0.5, dtype=dtype)).detach()
    assert float(even.std()) < 1e-6
    back = copy.deepcopy(half).double()
    assert torch.equal(back.tilts, whole.tilts)
    steep = torch.tensor([[271 / 603, 0.0]])  # 271 is 272 in bfloat16
    large = optics.FourierFilter((603, 4), illumination="partial", tilts=steep, margin=0).to(dtype)
    torch.testing.assert_close(large.tilts, steep.double(), rtol=0, atol=1e-7)


def test_a_lamp_of_ones_own_is_kept_with_the_weights():
    scene = torch.rand(1, 1, 16, 16)
    first, second = (
        optics.FourierFilter(16, channels=1, illumination="partial", tilts=tilts, source=weights)
        for tilts, weights in (
            (torch.tensor([[0.0, 0.1], [0.2, 0.0]]), torch.tensor([1.0, 3.0])),
            (torch.zeros(2, 2), None),
        )
    )
    second.load_state_dict(first.state_dict())
    assert torch.equal(second(scene), first(scene))
    # A disc or a ring is made again by its radii, as before there were others.
    assert list(optics.FourierFilter(16, **_RING).state_dict()) == ["raw"]


def test_a_stop_that_does_not_cover_its_lamp_is_warned_of(recwarn):
    given = {"size": 32, "start": "phase_contrast", "illumination": "partial", "margin": 0}
    # The outermost point, 0.1, lies at 3 / 32, and half a sample covers it: 3.5 / 32 = 0.1094.
    for enough in (None, 3.5 / 32, 0.1094, 0.2):
        plate = optics.FourierFilter(**given, stop_radius=enough)
        assert not recwarn
        if enough == 3.5 / 32:
            assert torch.equal(plate.raw, optics.FourierFilter(**given).raw)
    optics.FourierFilter(**given | {"illumination": "coherent"}, stop_radius=0.05)
    assert not recwarn
    told = (
        r"stop_radius=0\.1 cycles/pixel does not cover the lamp: 3\.3 % of its light passes .* "
        r"Leave stop_radius out, or give 0\.1094 or more"
    )
    with pytest.warns(UserWarning, match=told) as caught:
        optics.FourierFilter(**given, stop_radius=0.1)
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="stop_radius=0 cycles/pixel does not cover"):
        former = optics.FourierFilter(**given, stop_radius=0)
    assert torch.equal(former.raw, optics.FourierFilter(32, "phase_contrast", margin=0).raw)
    # A lamp that rounds to a point is covered by the zero frequency alone.
    optics.FourierFilter(**given | {"source_radius": 1e-3}, stop_radius=0)
    # A round stop covers a ring too.
    round_ = optics.FourierFilter(32, "dark_field", **_RING, stop_radius=0.2)
    assert round_.transmission[32, 32] == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"illumination": "coherent", "source_inner_radius": 0.05},
            r"source_inner_radius, tilts and source need .*'partial', not 'coherent'",
        ),
        ({"illumination": "incoherent", "tilts": torch.zeros(1, 2)}, "'partial', not 'incoherent'"),
        ({"illumination": "coherent", "source": torch.ones(1)}, "'partial', not 'coherent'"),
        (
            {"source_inner_radius": 0.2},
            r"source_inner_radius must be between 0 and source_radius=0\.1 .*, not 0\.2",
        ),
        (
            {"source_inner_radius": -0.1},
            r"between 0 and source_radius=0\.1 cycles/pixel, not -0\.1",
        ),
        ({"source_inner_radius": math.nan}, "between 0 and source_radius=0.1 .*, not nan"),
        ({"source": torch.ones(13)}, "give tilts as well"),
        ({"tilts": torch.zeros(1, 2), "source_radius": 0.2}, "or tilts of your own, not both"),
        ({"tilts": torch.zeros(1, 2), "source_inner_radius": 0.02}, "your own, not both"),
        ({"tilts": torch.zeros(2)}, r"tilts must be real \[S, 2\]"),
        ({"tilts": torch.zeros(0, 2)}, r"tilts must be real \[S, 2\]"),
        ({"tilts": torch.full((1, 2), math.nan)}, "tilts must be finite, in cycles/pixel"),
        ({"tilts": torch.zeros(2, 2), "source": torch.ones(3)}, r"with S = 2 as the tilts, not"),
        ({"tilts": torch.zeros(2, 2), "source": torch.ones(1, 2)}, r"source must be \[2\] and not"),
        ({"tilts": torch.zeros(2, 2), "source": torch.zeros(2)}, "and not all 0, not tensor"),
        ({"tilts": torch.zeros(1, 2), "source": -torch.ones(1)}, "source must be 0 or more"),
        ({"tilts": torch.tensor([[0.0, 0.6]])}, r"tilts reach 0\.6 cycles/pixel: .* aliased"),
        ({"source_radius": 0.6}, r"source_radius reaches 0\.6 cycles/pixel: .* aliased"),
    ],
)
def test_lamps_that_make_no_sense_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        optics.FourierFilter(16, **({"illumination": "partial"} | given))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("size", [1e5, 1e-9, 1e-50])
def test_weights_of_a_lamp_are_proportions_of_any_size(dtype, size):
    tilts = torch.tensor([[0.0, 0.0], [0.1, 0.0]])
    weights = size * torch.tensor([1.0, 3.0], dtype=torch.float64)
    lamp = optics.FourierFilter(16, illumination="partial", tilts=tilts, source=weights).to(dtype)
    torch.testing.assert_close(lamp.source, lamp.source.new_tensor([0.25, 0.75]), rtol=2e-3, atol=0)


def test_points_of_a_lamp_are_tensors_that_are_not_trained():
    given = {"illumination": "partial"}
    with pytest.raises(TypeError, match="tilts must be a Tensor, not list"):
        optics.FourierFilter(16, **given, tilts=[[0.0, 0.0]])
    one, learned = torch.zeros(1, 2), torch.nn.Parameter(torch.ones(1))
    with pytest.raises(TypeError, match=r"tilts and source are not learned here: .* train them in"):
        optics.FourierFilter(16, **given, tilts=one, source=learned)
    with pytest.raises(TypeError, match="source_inner_radius must be one number, in cycles/pixel"):
        optics.FourierFilter(16, **given, source_inner_radius="wide")
