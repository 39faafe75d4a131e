import numpy as np
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


def _grey(transmittance):
    return optics.AmplitudeMask(
        torch.full((64, 64), transmittance), spacing=1e-3 / 63, trainable=False
    )


def test_a_point_looks_the_same_in_coherent_and_incoherent_light():
    # The period of the amplitude is 142 to 205 pixels, its central half keeps what the window of 31
    # has, and beyond 3/4 of it nothing is left to come in again at the other side of 180. Behind
    # grey glass no overshoot between the samples reaches 1.
    pupil = _pupil([_mask(), _grey(0.1)])
    point = torch.zeros(1, 3, 180, 180)
    point[..., 90, 90] = 1
    coherent = optics.CoherentImaging(pupil, boundary="circular")(point)[..., 75:106, 75:106]
    incoherent = optics.IncoherentImaging(pupil)(point)[..., 75:106, 75:106]
    share = coherent.sum((-2, -1)) / incoherent.sum((-2, -1))
    torch.testing.assert_close(coherent, share[..., None, None] * incoherent, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("psf_size", [31, 32, (47, 6)])
@pytest.mark.parametrize("boundary", ["zero", "reflect", "replicate", "circular"])
def test_an_even_scene_has_the_light_of_the_pupils_middle(boundary, psf_size):
    share = torch.rand(64, 64, generator=torch.Generator().manual_seed(2))
    mask = optics.AmplitudeMask(share, spacing=1e-3 / 63, trainable=False)
    lens = optics.CoherentImaging(_pupil([mask, _mask()], psf_size=psf_size), boundary=boundary)
    even = torch.full((1, 3, 48, 50), 0.7)
    light = lens(even).detach()
    if boundary == "zero":  # no even scene: only its total can be told
        assert float(light.sum()) <= float(even.sum())
        return
    # The transfer function at 0 is the pupil's middle (Goodman, eq. 7-20).
    expected = (0.7 * share[32, 32]).expand_as(light)
    torch.testing.assert_close(light, expected, rtol=1e-5, atol=0)


@settings(deadline=None, max_examples=25)
@given(
    st.integers(0, 2**31),
    st.sampled_from(["zero", "circular"]),
    st.sampled_from([None, 2.0]),
    st.integers(5, 40),
)
def test_no_scene_gains_light(seed, boundary, depth, size):
    generator = torch.Generator().manual_seed(seed)
    phase = 6.3 * torch.rand(64, 64, generator=generator, dtype=torch.float64)
    plate = optics.PhaseMask(phase, spacing=1e-3 / 63, design_wavelength=550e-9)
    lens = optics.CoherentImaging(_pupil([plate]).double(), boundary=boundary, phase_depth=depth)
    scene = torch.rand(1, 3, size, size + 3, generator=generator, dtype=torch.float64)
    given = scene.sum() if depth is None else torch.tensor(float(scene.numel()))
    assert float(lens(scene).sum()) <= float(given) * (1 + 1e-12)
    transfer = lens.pupil.amplitude_transfer((size, size + 3))
    assert float(transfer.abs().max()) <= 1 + 1e-12


@pytest.mark.parametrize("boundary", ["zero", "reflect", "replicate", "circular"])
def test_a_field_is_filtered_by_the_pupil_where_it_lies(boundary):
    """With numpy: continue, transform, multiply, transform back, cut."""
    pupil = _pupil([_mask()], psf_size=(9, 12)).double()
    lens = optics.CoherentImaging(pupil, boundary=boundary)
    scene = torch.randn(2, 3, 20, 17, dtype=torch.complex128)
    # Up to a size without prime factors above 5, where there is more than to reflect.
    after, total = {
        "circular": ((0, 0), (20, 17)),
        "reflect": ((4, 6), (28, 28)),
    }.get(boundary, ((5, 7), (30, 30)))
    before = tuple(t - n - a for t, n, a in zip(total, (20, 17), after, strict=True))
    mode = {"zero": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
    border = ((0, 0), (0, 0), *zip(before, after, strict=True))
    field = np.pad(scene.numpy(), border, mode=mode[boundary])
    transfer = pupil.amplitude_transfer(field.shape[-2:]).detach().numpy()
    spectrum = np.fft.fft2(field) * np.fft.ifftshift(transfer, axes=(-2, -1))
    image = np.fft.ifft2(spectrum)[..., before[0] : before[0] + 20, before[1] : before[1] + 17]
    np.testing.assert_allclose(lens(scene).detach().numpy(), np.abs(image) ** 2, atol=1e-12)


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


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
def test_a_phase_object_delays_light_and_absorbs_none(dtype):
    scene = _scene(2, 3, 9, 8).to(dtype)
    field = optics.phase_object(scene, -1.7)
    assert field.dtype == (torch.complex128 if dtype == torch.float64 else torch.complex64)
    expected = np.exp(-1.7j * scene.double().numpy())
    np.testing.assert_allclose(field.numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(optics.phase_object(scene, 0.0).numpy(), 1)


def test_a_phase_object_has_a_gradient():
    scene = _scene(1, 1, 4, 3).double().requires_grad_()
    lens = optics.CoherentImaging(
        _pupil(wavelengths=(550e-9,), psf_size=5).double(), phase_depth=0.8
    )
    assert torch.autograd.gradcheck(
        lambda s: torch.view_as_real(optics.phase_object(s, 0.8)), scene
    )
    assert torch.autograd.gradcheck(lens, scene)


def test_a_lens_images_phase_objects_as_their_fields():
    scene = _scene(2, 3, 24, 20)
    pupil = _pupil([_mask()])
    lens = optics.CoherentImaging(pupil, phase_depth=1.2)
    plain = optics.CoherentImaging(pupil)
    assert torch.equal(lens(scene), plain(optics.phase_object(scene, 1.2)))
    assert repr(lens) == repr(plain).replace("'replicate'", "'replicate', phase_depth=1.2")


def test_a_lens_sees_nothing_of_an_object_without_depth():
    lens = optics.CoherentImaging(_pupil(wavelengths=(550e-9,)), phase_depth=0.0)
    scene = _scene(2, 1, 16, 16)
    torch.testing.assert_close(lens(scene), lens(torch.ones_like(scene)))


def test_what_is_no_phase_object_is_refused():
    scene = _scene(1, 3, 8, 8)
    for wrong, error, message in (
        ((torch.polar(scene, scene), 1.0), ValueError, "not torch.complex64: a complex field has"),
        ((torch.ones(2, 2, dtype=torch.uint8), 1.0), ValueError, "not torch.uint8"),
        ((scene / 0, 1.0), ValueError, "scene must be finite"),
        (([1.0], 1.0), TypeError, "scene must be a Tensor"),
        ((scene, float("nan")), ValueError, "depth must be finite, in radians"),
        ((scene, "deep"), TypeError, "depth must be one number"),
    ):
        with pytest.raises(error, match=message):
            optics.phase_object(*wrong)
    with pytest.raises(ValueError, match="phase_depth must be finite, in radians"):
        optics.CoherentImaging(_pupil(), phase_depth=float("inf"))
    with pytest.raises(TypeError, match="phase_depth is not learned here"):
        optics.CoherentImaging(_pupil(), phase_depth=torch.tensor(1.0, requires_grad=True))


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


def test_a_radiance_below_zero_makes_no_light_and_can_come_back():
    scene = torch.tensor([[-1.0, -1e-2, -1e-7], [0.0, 1e-7, 0.25]], requires_grad=True)
    field = optics.scene_field(scene)
    assert not field[0].any()
    assert float(field[1, 2].detach()) == 0.5
    (slope,) = torch.autograd.grad(field.sum(), scene)
    torch.testing.assert_close(slope[0], torch.full((3,), 1e3))
    dark = torch.full((1, 3, 16, 16), -1e-2)
    assert not optics.CoherentImaging(_pupil())(dark).any()
    assert not optics.coherent_image(dark, torch.ones(16, 16)).any()
    with pytest.raises(ValueError, match=r"scene must be complex or real floating point.*int64"):
        optics.scene_field(torch.ones(2, 2, dtype=torch.int64))


def test_a_spread_may_be_real():
    field = torch.rand(1, 2, 8, 9, generator=torch.Generator().manual_seed(0))
    spread = torch.rand(2, 3, 3, generator=torch.Generator().manual_seed(1))
    expected = optics.convolve(field, spread, boundary="replicate")
    for light in (field, field + 0j):
        made = optics.coherent_blur(light, spread)
        torch.testing.assert_close(made, expected + 0j)


def test_what_is_no_pupil_and_no_tensor_is_called_by_its_name():
    with pytest.raises(TypeError, match=r"pupil must be an optics\.Pupil\(\.\.\.\), not Tensor"):
        optics.CoherentImaging(torch.ones(3, 3))
    with pytest.raises(TypeError, match="scene must be a Tensor, not list"):
        optics.CoherentImaging(_pupil())([1.0])
    with pytest.raises(TypeError, match="scene must be a Tensor, not float"):
        optics.scene_field(1.0)
    with pytest.raises(TypeError, match="field must be a Tensor, not list"):
        optics.coherent_blur([1.0], torch.ones(1, 3, 3))


@pytest.mark.parametrize(
    ("field", "spread"), [((3, 8, 8), (3, 3, 3)), ((1, 3, 8, 8), (3, 3)), ((1, 3, 8, 8), (1, 3, 3))]
)
def test_fields_and_spreads_have_the_same_channels(field, spread):
    with pytest.raises(
        ValueError, match=r"field must be \[B, C, H, W\] and spread \[C, h, w\], not"
    ):
        optics.coherent_blur(torch.ones(field), torch.ones(spread))


def test_a_scene_has_a_channel_for_each_wavelength():
    imaging = optics.CoherentImaging(_pupil())
    assert (imaging.in_channels, imaging.out_channels, imaging.exposures) == (3, 3, 1)
    for shape in ((1, 1, 8, 8), (3, 8, 8)):
        with pytest.raises(ValueError, match=r"the front end takes scenes \[B, 3, H, W\], not \("):
            imaging(torch.ones(shape))


def test_the_throughput_is_the_share_of_the_open_aperture_that_passes():
    # One half of the open aperture passes all of its light, the other half a quarter.
    share = torch.ones(64, 64)
    share[:, 32:] = 0.25
    aperture = torch.zeros(64, 64)
    aperture[16:48, 16:48] = 1
    mask = optics.AmplitudeMask(share, spacing=1e-3 / 63, trainable=False)
    imaging = optics.CoherentImaging(_pupil([mask], aperture=aperture))
    assert float(imaging.throughput()) == pytest.approx((1 + 0.25) / 2, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    scene, spread = _scene(1, 3, 16, 16).to(dtype), _scene(3, 5, 5).to(dtype)
    camera = optics.CoherentImaging(_pupil())
    assert torch.equal(camera(scene), camera(scene.float()))
    found = optics.coherent_blur(scene, spread)
    assert torch.equal(found, optics.coherent_blur(scene.float(), spread.float()))
    # The camera too may be of half precision.
    found = optics.CoherentImaging(_pupil([_mask()])).to(dtype)(scene)
    wanted = optics.CoherentImaging(_pupil([_mask()]))(scene)
    torch.testing.assert_close(found, wanted, rtol=0, atol=0.03)


@pytest.mark.parametrize("psf_size", [(9, 12), (8, 11), (12, 10)])
@pytest.mark.parametrize("boundary", ["zero", "reflect", "replicate", "circular"])
def test_rows_and_columns_are_treated_alike(boundary, psf_size):
    phase = 2 * torch.rand(64, 64, generator=torch.Generator().manual_seed(0)).double()
    scene = torch.rand(1, 3, 20, 17, generator=torch.Generator().manual_seed(1)).double()
    images = []
    for turned in (False, True):
        mask = optics.PhaseMask(phase.mT if turned else phase, spacing=1e-3 / 63)
        pupil = _pupil([mask], psf_size=psf_size[::-1] if turned else psf_size).double()
        image = optics.CoherentImaging(pupil, boundary=boundary)(scene.mT if turned else scene)
        images.append(image.mT if turned else image)
    torch.testing.assert_close(*images, rtol=0, atol=1e-6)
