import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

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


def test_phase_contrast_shows_a_weak_phase_linearly():
    x = torch.arange(32, dtype=torch.float64)
    phase = 0.01 * torch.cos(2 * torch.pi * 4 * x / 32).expand(32, 32)
    transmission = optics.filter_start("phase_contrast", (32, 32))
    spectrum = torch.fft.fft2(torch.polar(torch.ones_like(phase), phase))
    image = torch.fft.ifft2(spectrum * torch.fft.ifftshift(transmission)).abs().square()
    torch.testing.assert_close(image, 1 + 2 * phase, rtol=0, atol=2e-4)  # the rest is phase**2


def test_spiral_has_a_dark_centre_and_shows_edges_of_any_direction():
    transmission = optics.filter_start("spiral", (33, 33))
    psf = torch.fft.ifft2(torch.fft.ifftshift(transmission)).abs().square()
    assert psf[0, 0] < 1e-6 * psf.max()
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


def test_spiral_turns_once():
    transmission = optics.filter_start("spiral", (33, 33))
    circle = torch.linspace(0, 2 * torch.pi, 201)
    rows = (16 + 10 * torch.sin(circle)).round().long()
    columns = (16 + 10 * torch.cos(circle)).round().long()
    phase = transmission[rows, columns].angle()
    steps = torch.remainder(phase.diff() + torch.pi, 2 * torch.pi) - torch.pi
    assert float(steps.sum()) == pytest.approx(2 * torch.pi, abs=1e-6)


def test_a_stop_covers_its_radius():
    for start in ("dark_field", "phase_contrast"):
        transmission = optics.filter_start(start, (20, 20), stop_radius=0.12)
        fy, fx = torch.meshgrid(optics.frequencies(20), optics.frequencies(20), indexing="ij")
        touched = transmission != 1
        assert torch.equal(touched, torch.hypot(fy, fx) <= 0.12)
    with pytest.raises(ValueError, match="stop_radius must be 0 cycles/pixel or more, not -1"):
        optics.filter_start("dark_field", (8, 8), stop_radius=-1)


def test_knife_edge_passes_half_of_the_plane():
    transmission = optics.filter_start("knife_edge", (31, 31))
    assert transmission.abs().square().mean() == pytest.approx(0.5, abs=1e-12)
    assert (transmission[:, :15] == 0).all()


@settings(deadline=None, max_examples=20)
@given(st.sampled_from(_STARTS), st.sampled_from(["coherent", "incoherent"]))
def test_gradients_agree_with_finite_differences(start, illumination):
    front_end = _filter(start, (6, 5), illumination=illumination, margin=2)
    scene = (0.1 + _scene(0, (6, 5))).requires_grad_()

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
        (lambda: optics.FourierFilter(16, margin=-1), "margin at least 0, not 16 and -1"),
        (lambda: optics.FourierFilter(16, illumination="partial"), "not 'partial'"),
        (lambda: optics.FourierFilter(16)(torch.rand(1, 3, 8, 8)), "build it with the size"),
        (lambda: optics.FourierFilter(8, torch.ones(8, 8), margin=0), r"complex \(8, 8\)"),
        (
            lambda: optics.FourierFilter(8, 2 * torch.ones(8, 8) + 0j, margin=0),
            r"\|t\| <= 1; start reaches 2",
        ),
    ],
)
def test_what_cannot_be_built_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
