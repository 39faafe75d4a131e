import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import optics


def _pupil(elements=(), **options):
    grid = {} if elements else {"size": 64, "spacing": 1e-3 / 63}
    given = {
        "wavelengths": (450e-9, 550e-9, 650e-9),
        "focal_length": 10e-3,
        "pixel_pitch": 2e-6,
        "psf_size": 31,
    }
    return optics.Pupil(elements, **(grid | given | options))


def _mask(**options):
    phase = 2 * torch.rand(64, 64, generator=torch.Generator().manual_seed(0))
    return optics.PhaseMask(torch.nn.Parameter(phase), spacing=1e-3 / 63, **options)


def _scene(*shape, seed=1):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_each_channel_is_blurred_with_the_psf_of_its_wavelength():
    front_end = optics.IncoherentImaging(_pupil([_mask()]))
    scene = _scene(2, 3, 40, 41)
    expected = optics.convolve(scene, front_end.pupil(), boundary="replicate")
    torch.testing.assert_close(front_end(scene), expected)
    assert front_end.combine(expected) is expected


def test_a_constant_scene_comes_out_as_its_throughput():
    front_end = optics.IncoherentImaging(_pupil([_mask()]))
    image = front_end(torch.full((1, 3, 40, 40), 0.7))
    light = front_end.psf().sum((-2, -1))
    torch.testing.assert_close(image, (0.7 * light)[None, :, None, None].expand_as(image))
    assert float(front_end.throughput().detach()) == pytest.approx(float(light.detach().mean()))
    assert light.max() <= 1


def test_light_is_not_negative_and_grows_with_the_scene():
    front_end = optics.IncoherentImaging(_pupil([_mask()]))
    low, more = _scene(1, 3, 40, 40), _scene(1, 3, 40, 40, seed=2)
    image = front_end(low)
    assert image.min() >= -1e-6 * image.max()
    assert (front_end(low + more) >= image - 1e-6).all()


def test_a_response_mixes_wavelengths_into_channels():
    response = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.2, 0.6]])
    front_end = optics.IncoherentImaging(_pupil(), spectral_response=response)
    assert front_end.in_channels == 2
    bands = front_end.pupil()
    torch.testing.assert_close(front_end.psf()[0], (bands[0] + bands[1]) / 2)
    torch.testing.assert_close(front_end.psf()[1], 0.2 * bands[1] + 0.6 * bands[2])
    assert front_end(_scene(1, 2, 32, 32)).shape == (1, 2, 32, 32)


def test_a_fixed_psf_is_used_as_it_is_and_a_parameter_stays_the_callers():
    psf = torch.nn.Parameter(torch.full((5, 5), 0.03))
    front_end = optics.IncoherentImaging(psf, channels=2)
    assert front_end.fixed_psf is psf
    scene = _scene(1, 2, 16, 16)
    torch.testing.assert_close(front_end(scene), optics.convolve(scene, psf, boundary="replicate"))
    assert float(front_end.throughput().detach()) == pytest.approx(0.75)


def test_what_is_given_as_a_parameter_is_trained():
    response = torch.nn.Parameter(torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.2, 0.6]]))
    distances = torch.nn.Parameter(torch.tensor([0.3, 0.8]))
    front_end = optics.IncoherentImaging(
        _pupil(focus=1.0), spectral_response=response, distances=distances
    )
    assert front_end.spectral_response is response
    assert front_end.distances is distances
    assert {name for name, _ in front_end.named_parameters()} == {"spectral_response", "distances"}
    layers = torch.full((1, 2, 32, 32), 0.5)
    front_end.image_layers(_scene(1, 2, 32, 32), layers).square().sum().backward()
    for parameter in (response, distances):
        assert torch.isfinite(parameter.grad).all()
        assert (parameter.grad != 0).all()
    fixed = optics.IncoherentImaging(
        _pupil(focus=1.0), spectral_response=torch.eye(3, dtype=torch.long), distances=distances
    )
    assert torch.equal(fixed.psf(), _pupil(focus=1.0)())


@pytest.mark.parametrize("waves", [0.25, 0.5, 1.5])
def test_a_flat_scene_out_of_focus_has_the_strehl_ratio_of_the_closed_form(waves):
    # W = r^2 / 2 (1 / distance - 1 / focus) at the rim; on the axis sinc^2(W) (Goodman, sec. 6.4).
    samples, wavelength, diameter = 128, 550e-9, 1e-3
    spacing = diameter / (samples - 2)
    pupil = optics.Pupil(
        [],
        wavelengths=(wavelength,),
        focal_length=10e-3,
        pixel_pitch=1e-6,
        psf_size=41,
        size=samples,
        spacing=spacing,
        aperture=optics.circular_aperture(samples, diameter=diameter, spacing=spacing),
        focus=1.0,
    )
    front_end = optics.IncoherentImaging(pupil, boundary="zero")
    distance = 1 / (1 + 8 * waves * wavelength / diameter**2)
    point = torch.zeros(1, 1, 61, 61)
    point[..., 30, 30] = 1
    for at in (distance, torch.tensor(distance, dtype=torch.float64)):
        blurred = front_end(point, distance=at)
        ratio = float((blurred / front_end(point))[..., 30, 30])
        assert ratio == pytest.approx(float(torch.sinc(torch.tensor(waves))) ** 2, abs=5e-3)
    torch.testing.assert_close(front_end(point, distance=1.0), front_end(point))
    distance = torch.tensor(distance, requires_grad=True)
    front_end(point, distance=distance)[..., 30, 30].sum().backward()
    assert distance.grad != 0


def test_layers_share_each_point_and_equal_depths_are_one():
    distances = torch.tensor([0.3, 1.0, 4.0])
    front_end = optics.IncoherentImaging(_pupil(focus=1.0), distances=distances)
    scene = _scene(2, 3, 40, 40)
    layers = torch.softmax(3 * _scene(2, 3, 40, 40, seed=2), 1)
    stack = front_end.psf(distance=distances)
    torch.testing.assert_close(stack[1], front_end.psf())
    alone = torch.zeros_like(layers)
    alone[:, 1] = 1
    torch.testing.assert_close(front_end.image_layers(scene, alone), front_end(scene))
    expected = sum(
        optics.convolve(scene * layers[:, d, None], stack[d], boundary="replicate")
        for d in range(3)
    )
    torch.testing.assert_close(front_end.image_layers(scene, layers), expected)
    same = optics.layered_blur(scene, layers, stack[:1].expand(3, -1, -1, -1))
    torch.testing.assert_close(
        same, optics.convolve(scene, stack[0], boundary="replicate"), rtol=1e-4, atol=1e-5
    )


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31), st.sampled_from(["zero", "reflect", "replicate", "circular"]))
def test_coherent_blur_is_a_complex_convolution(seed, boundary):
    generator = torch.Generator().manual_seed(seed)
    field = torch.randn(2, 3, 12, 11, dtype=torch.complex128, generator=generator)
    spread = torch.randn(3, 5, 4, dtype=torch.complex128, generator=generator)
    result = optics.coherent_blur(field, spread, boundary=boundary)
    expected = 0
    for f, i in ((field.real, 1), (field.imag, 1j)):
        for s, j in ((spread.real, 1), (spread.imag, 1j)):
            expected = expected + i * j * optics.convolve(f, s, boundary=boundary)
    torch.testing.assert_close(result, expected)
    real = optics.coherent_blur(field.real, spread, boundary=boundary)
    complex_ = optics.coherent_blur(field.real.to(torch.complex128), spread, boundary=boundary)
    torch.testing.assert_close(real, complex_)


def test_a_point_looks_the_same_in_coherent_and_incoherent_light():
    pupil = _pupil([_mask()])
    point = torch.zeros(1, 3, 41, 41)
    point[..., 20, 20] = 1
    coherent = optics.CoherentImaging(pupil)(point)
    incoherent = optics.IncoherentImaging(pupil)(point)
    share = coherent.sum((-2, -1)) / incoherent.sum((-2, -1))
    torch.testing.assert_close(coherent, share[..., None, None] * incoherent, rtol=1e-4, atol=1e-7)


def test_two_points_interfere():
    """The Rayleigh dip of 26.5 % of incoherent points is a peak for coherent ones in phase."""
    apart = 14
    pitch = 1.22 * 550e-9 * 10e-3 / 1e-3 / apart
    pupil = _pupil(wavelengths=(550e-9,), pixel_pitch=pitch, psf_size=151)
    scene = torch.zeros(1, 1, 61, 61)
    scene[0, 0, 30, 30 - apart // 2] = scene[0, 0, 30, 30 - apart // 2 + apart] = 1
    middle = 30 - apart // 2 + apart // 2
    row = optics.IncoherentImaging(pupil, boundary="zero")(scene)[0, 0, 30]
    assert float(row[middle] / row.max()) == pytest.approx(0.735, abs=0.02)
    row = optics.CoherentImaging(pupil, boundary="zero")(scene)[0, 0, 30]
    assert float(row[middle] / row.max()) > 0.99
    field = scene.to(torch.complex64)
    field[0, 0, 30, 30 - apart // 2] *= -1
    row = optics.CoherentImaging(pupil, boundary="zero")(field)[0, 0, 30]
    assert float(row[middle] / row.max()) < 0.01


def test_the_field_of_a_field_is_itself():
    field = torch.randn(2, 1, 8, 8, dtype=torch.complex64)
    assert optics.scene_field(field) is field
    assert torch.equal(
        optics.scene_field(torch.full((1, 1, 8, 8), 0.25)), 0.5 * torch.ones(8, 8)[None, None]
    )


def test_coherent_gratings_pass_below_the_cutoff_and_not_above():
    # |f| < D / (2 lambda f): 1 below, 0 above, unlike the incoherent one that falls off.
    pupil = _pupil(wavelengths=(550e-9,), pixel_pitch=2e-6, psf_size=161)
    cutoff = 1e-3 * 2e-6 / (2 * 550e-9 * 10e-3)
    spread = pupil.amplitude_spread()[0]
    transfer = torch.fft.fftshift(torch.fft.fft2(torch.fft.ifftshift(spread)))[80].abs()
    f = optics.frequencies(161).abs()
    assert transfer[f < 0.85 * cutoff].sub(1).abs().max() < 0.1
    assert transfer[f > 1.15 * cutoff].max() < 0.1
    assert float(transfer[f < 0.85 * cutoff].mean()) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("kind", ["incoherent", "coherent"])
def test_pupils_are_trained_through_the_image(kind):
    mask = _mask()
    front_end = {"incoherent": optics.IncoherentImaging, "coherent": optics.CoherentImaging}[kind](
        _pupil([mask])
    )
    front_end(_scene(1, 3, 40, 40)).square().sum().backward()
    assert torch.isfinite(mask.phase.grad).all()
    assert mask.phase.grad.abs().sum() > 0
    dark = torch.zeros(1, 3, 40, 40, requires_grad=True)
    front_end(dark).sum().backward()
    assert torch.isfinite(dark.grad).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optics.IncoherentImaging(torch.ones(3)), r"psf must be a Pupil, or real \[h, w\]"),
        (lambda: optics.IncoherentImaging(torch.ones(3, 3)), "at most 1; here the sum reaches 9"),
        (lambda: optics.IncoherentImaging(-torch.ones(3, 3)), "a PSF is not negative"),
        (lambda: optics.IncoherentImaging(torch.full((3, 3), math.nan)), "psf must be finite"),
        (lambda: optics.IncoherentImaging(_pupil(), boundary="wrap"), "boundary must be one of"),
        (lambda: optics.CoherentImaging(_pupil(), boundary="wrap"), "boundary must be one of"),
        (lambda: optics.IncoherentImaging(_pupil(), channels=5), "channels=5, but .* make 3"),
        (
            lambda: optics.IncoherentImaging(_pupil(), spectral_response=torch.ones(2, 2)),
            r"spectral_response must be \[C, 3\]",
        ),
        (
            lambda: optics.IncoherentImaging(torch.ones(1, 1), distances=torch.ones(2)),
            "distances need a Pupil",
        ),
        (
            lambda: optics.IncoherentImaging(torch.ones(1, 1))(_scene(1, 3, 9, 9), distance=2.0),
            "distances need a Pupil: a fixed PSF has one depth",
        ),
        (
            lambda: optics.IncoherentImaging(_pupil())(
                _scene(1, 3, 40, 40), distance=torch.ones(3)
            ),
            r"distance must be one number or a scalar tensor, not \(3,\); for several depths",
        ),
        (
            lambda: optics.CoherentImaging(_pupil())(torch.ones(1, 3, 9, 9, dtype=torch.uint8)),
            r"scene must be complex or real floating point .* not torch.uint8",
        ),
        (
            lambda: optics.layered_blur(
                torch.ones(1, 3, 9, 9, dtype=torch.uint8),
                torch.ones(1, 1, 9, 9),
                _scene(1, 3, 3, 3),
            ),
            r"scene must be real floating point .* not torch.uint8",
        ),
        (
            lambda: optics.IncoherentImaging(
                _pupil(), spectral_response=torch.ones(3, 3, dtype=torch.complex64) / 3
            ),
            r"spectral_response must be \[C, 3\]",
        ),
        (
            lambda: optics.IncoherentImaging(_pupil())(_scene(1, 2, 40, 40)),
            r"takes scenes \[B, 3, H, W\], not \(1, 2, 40, 40\)",
        ),
        (
            lambda: optics.CoherentImaging(_pupil())(_scene(1, 2, 40, 40)),
            r"takes scenes \[B, 3, H, W\], not \(1, 2, 40, 40\)",
        ),
        (
            lambda: optics.IncoherentImaging(_pupil()).image_layers(
                _scene(1, 3, 40, 40), _scene(1, 2, 40, 40)
            ),
            "give distances, metres, when the front end is made",
        ),
        (
            lambda: optics.layered_blur(_scene(1, 3, 9, 9), _scene(1, 2, 9, 9), _scene(3, 3, 3, 3)),
            "do not fit",
        ),
        (
            lambda: optics.layered_blur(
                _scene(1, 3, 9, 9), torch.ones(1, 2, 9, 9), _scene(2, 3, 3, 3)
            ),
            "not negative, that sum to 1 in each point; .* sum to 2 to 2: use softmax",
        ),
        (
            lambda: optics.layered_blur(
                _scene(1, 3, 9, 9),
                torch.tensor([1.5, -0.5]).view(1, 2, 1, 1).expand(1, 2, 9, 9),
                _scene(2, 3, 3, 3),
            ),
            "start from -0.5 and sum to 1",
        ),
        (
            lambda: optics.coherent_blur(_scene(1, 3, 9, 9), torch.ones(2, 3, 3)),
            r"field must be \[B, C, H, W\] and spread \[C, h, w\]",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("make", [optics.IncoherentImaging, optics.CoherentImaging])
def test_one_graph_under_compile_and_full_precision_under_autocast(make):
    mask = _mask()
    front_end = make(_pupil([mask]))
    scene = _scene(1, 3, 24, 24)
    expected = front_end(scene)
    (slope,) = torch.autograd.grad(expected.square().sum(), mask.phase)
    compiled = torch.compile(front_end, backend="aot_eager", fullgraph=True)
    (again,) = torch.autograd.grad(compiled(scene).square().sum(), mask.phase)
    torch.testing.assert_close(again, slope)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(front_end(scene), expected)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"restoration": 0.01}, r"restoration must be an optics.Wiener\(...\), not float"),
        ({"projection": optics.Projection}, r"not the class Projection"),
    ],
)
def test_what_a_lens_is_given_must_be_a_part(given, message):
    with pytest.raises(TypeError, match=message):
        optics.IncoherentImaging(torch.ones(1, 1), **given)
