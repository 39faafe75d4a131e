import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import optics

_STARTS = ["open", "spiral", "dark_field", "knife_edge", "phase_contrast", "random"]


def _filter(start="random", size=(16, 15), seed=0, channels=1, **options):
    generator = torch.Generator().manual_seed(seed)
    return optics.FourierFilter(
        size, start, channels=channels, generator=generator, **options
    ).double()


def test_phase_contrast_shows_a_weak_phase_linearly():
    x = torch.arange(32, dtype=torch.float64)
    phase = 0.01 * torch.cos(2 * torch.pi * 4 * x / 32).expand(32, 32)
    transmission = optics.filter_start("phase_contrast", (32, 32))
    spectrum = torch.fft.fft2(torch.polar(torch.ones_like(phase), phase))
    image = torch.fft.ifft2(spectrum * torch.fft.ifftshift(transmission)).abs().square()
    torch.testing.assert_close(image, 1 + 2 * phase, rtol=0, atol=2e-4)  # the rest is phase**2


@pytest.mark.parametrize("transmittance", [1.0, 0.25])
def test_a_ring_of_light_and_a_ring_of_phase_show_a_weak_phase_linearly(transmittance):
    # Light of every point is shifted and weakened on the ring, what the object scatters is not:
    # |i a + i phi|^2 = a^2 + 2 a phi, where it falls beside the ring.
    size, x = 64, torch.arange(64, dtype=torch.float64)
    phase = 0.002 * torch.cos(2 * torch.pi * 20 * x / size).expand(size, size)
    tilts = optics.annular_source(4 / size, 6 / size, step=1 / size)
    source = torch.full((len(tilts),), 1 / len(tilts), dtype=torch.float64)
    plate = optics.phase_contrast(size, transmittance=transmittance, ring=(3 / size, 7 / size))
    assert plate[32, 32] == 1  # the zero order is none of a ring's
    field = torch.polar(torch.ones_like(phase), phase)
    image = optics.partially_coherent_image(field, plate, source=source, tilts=tilts)
    expected = transmittance + 2 * transmittance**0.5 * phase
    torch.testing.assert_close(image, expected, rtol=0, atol=1e-5)  # the rest is phase**2
    for wrong in ({"ring": (0.2, 0.1)}, {"ring": (0, 0.1)}, {"ring": (0.1, 0.2), "stop": 0.1}):
        with pytest.raises(ValueError, match=r"0 < inner < outer, and without a stop"):
            optics.phase_contrast(size, **wrong)


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
        radius, cell = torch.hypot(fy, fx), 1 / 20
        full = getattr(optics, start)((20, 20), stop=1.0)
        inside, outside = radius <= 0.12 - cell / 2, radius >= 0.12 + cell / 2
        assert torch.equal(transmission[inside], full[inside])
        assert (transmission[outside] == 1).all()
    with pytest.raises(ValueError, match="stop_radius must be 0 cycles/pixel or more, not -1"):
        optics.filter_start("dark_field", (8, 8), stop_radius=-1)


@pytest.mark.parametrize("name", ["dark_field", "phase_contrast"])
def test_a_stop_of_the_whole_plane_is_refused_as_one_in_samples_is(name):
    said = r"a stop of 3 cycles/pixel covers .* is 0\.7071: give a smaller .*; 3 samples of 32 are"
    with pytest.raises(ValueError, match=said):
        optics.filter_start(name, 32, stop_radius=3.0)
    with pytest.raises(ValueError, match=said):
        optics.FourierFilter(32, name, stop_radius=3.0)
    # The corner of odd grids lies within: of 5 x 7 samples at (2 / 5, 3 / 7), 0.5862.
    with pytest.raises(ValueError, match=r"a stop of 0\.6 cycles/pixel .* is 0\.5862"):
        optics.filter_start(name, (5, 7), stop_radius=0.6)
    left = optics.filter_start(name, (5, 7), stop_radius=0.58)
    assert left[0, 0] != left[2, 3]
    # A lamp out to the corner leaves nothing beside the plate that covers it.
    corners = torch.tensor([[0.0, 0.0], [0.5, 0.5]])
    with pytest.raises(ValueError, match=r"covers the whole Fourier plane"):
        optics.FourierFilter(32, name, illumination="partial", tilts=corners)


def test_knife_edge_passes_half_of_the_plane():
    transmission = optics.filter_start("knife_edge", (31, 31))
    assert transmission.abs().square().mean() == pytest.approx(0.5, abs=1e-12)
    assert (transmission[:, :15] == 0).all()


def _field(seed=0, *shape):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*(shape or (16, 16)), dtype=torch.complex128, generator=generator)


def test_the_starts_are_the_functions():
    size = (16, 18)
    for name, expected in {
        "spiral": optics.spiral(size),
        "dark_field": optics.dark_field(size, stop=0.1),
        "knife_edge": optics.knife_edge(size),
        "phase_contrast": optics.phase_contrast(size, stop=0.1),
        "band_pass": optics.gaussian_pass(size, low=0.05, high=0.1),
    }.items():
        stop = 0.1 if name in ("dark_field", "phase_contrast") else None
        assert torch.equal(optics.filter_start(name, size, stop_radius=stop), expected)


def test_a_stop_of_a_filter_without_one_is_refused():
    for name in ("open", "high_pass", "spiral", "random"):
        with pytest.raises(ValueError, match=f"that of dark_field or phase_contrast, not '{name}'"):
            optics.filter_start(name, (8, 8), stop_radius=0.1)
    start = torch.ones(8, 8, dtype=torch.complex128)
    with pytest.raises(ValueError, match="a start by name: a Tensor has its own stop"):
        optics.FourierFilter(8, start, margin=0, stop_radius=0.1)


@pytest.mark.parametrize("angle", [0.0, 0.3, math.pi / 2, 2.0])
def test_two_opposite_knives_share_the_light(angle):
    one, other = optics.knife_edge(15, angle=angle), optics.knife_edge(15, angle=angle + math.pi)
    total = one.abs().square() + other.abs().square()
    torch.testing.assert_close(total, torch.ones(15, 15, dtype=torch.float64))


@pytest.mark.parametrize("size", [(32, 32), (16, 24), (33, 32)])
@pytest.mark.parametrize("charge", [1, -3])
def test_a_spiral_is_dark_on_its_axis_on_even_grids_too(size, charge):
    psf = torch.fft.ifft2(torch.fft.ifftshift(optics.spiral(size, charge=charge))).abs().square()
    assert psf[0, 0] < 1e-12 * psf.max()


@settings(deadline=None, max_examples=25)
@given(st.floats(-7, 7), st.integers(4, 12), st.integers(4, 12))
def test_knives_at_any_angle_pass_all_light_together(angle, height, width):
    one, other = (optics.knife_edge((height, width), angle=a) for a in (angle, angle + math.pi))
    total = one.abs().square() + other.abs().square()
    # The angle itself is known to 1e-15, the slope of the coverage is at most the grid's size.
    torch.testing.assert_close(
        total, torch.ones(height, width, dtype=torch.float64), rtol=0, atol=1e-10
    )
    half = float(one[height // 2, width // 2].abs().square())
    assert half == pytest.approx(0.5, abs=1e-12)


@pytest.mark.parametrize("size", [(8, 8), (8, 9), (9, 8), (9, 9)])
@pytest.mark.parametrize("angle", [0.0, 0.3, math.pi / 2, 2.0])
def test_opposite_knives_are_mirror_images(size, angle):
    one, other = (optics.knife_edge(size, angle=a) for a in (angle, angle + math.pi))
    # On an even grid -1/2, the first sample, is its own mirror image.
    even = tuple(1 - n % 2 for n in size)
    torch.testing.assert_close(other, one.flip(0, 1).roll(even, (0, 1)), rtol=0, atol=1e-10)
    assert float(one.abs().square().mean()) == pytest.approx(0.5, abs=1e-10)
    scene = torch.rand(size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    turned = optics.coherent_image(scene.flip(0, 1), other).flip(0, 1)
    torch.testing.assert_close(turned, optics.coherent_image(scene, one), rtol=0, atol=1e-10)


def _parts(plate):
    return torch.view_as_real(plate)


@pytest.mark.parametrize(
    "plate",
    [
        lambda v: optics.knife_edge((6, 7), angle=2 * v),
        lambda v: optics.dark_field((6, 7), stop=v),
        lambda v: optics.phase_contrast((6, 7), shift=v, stop=v, transmittance=v),
        lambda v: optics.gaussian_pass((6, 7), low=v, high=2 * v),
        lambda v: optics.zernike_filter(
            (6, 7), coefficients=torch.stack((v, v**2, v, v)), cutoff=0.3
        ),
    ],
)
def test_plates_have_the_gradients_of_their_dimensions(plate):
    value = torch.tensor(0.231, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: _parts(plate(v)), value)


def test_an_opaque_phase_plate_has_a_finite_gradient():
    share = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    light = optics.phase_contrast(8, transmittance=share).abs().square().sum()
    assert torch.isfinite(torch.autograd.grad(light, share)[0])


def test_gaussian_cut_offs_are_one_half():
    f = optics.frequencies(40)
    low = optics.gaussian_pass(40, high=0.1)[20].real
    high = optics.gaussian_pass(40, low=0.1)[20].real
    at = int(torch.argmin((f - 0.1).abs()))
    assert float(low[at]) == pytest.approx(0.5)
    assert float(high[at]) == pytest.approx(0.5)
    assert not optics.gaussian_pass(40, low=0.05, high=0.1).imag.any()
    assert float(low[20]) == 1
    assert float(high[20]) == 0
    torch.testing.assert_close(
        low, torch.from_numpy(np.exp(-np.log(2) * f.numpy() ** 2 / 0.01)), rtol=1e-12, atol=0
    )


@pytest.mark.parametrize(
    ("name", "cutoff", "middle"), [("low_pass", 0.1, 1), ("high_pass", 0.05, 0)]
)
def test_passes_by_name_are_one_half_at_their_cut_off(name, cutoff, middle):
    plate = optics.filter_start(name, (40, 60))
    assert float(plate[20, 30 + round(60 * cutoff)].real) == pytest.approx(0.5)
    assert float(plate[20 - round(40 * cutoff), 30].real) == pytest.approx(0.5)
    assert float(plate[20, 30].real) == middle


def test_soft_stops_have_a_gradient_in_their_radius():
    stop = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    covered = (1 - optics.dark_field(64, stop=stop).real).sum()
    (slope,) = torch.autograd.grad(covered, stop)
    # d(area)/d(radius) = 2 pi R, in samples of 1 / 64; a ring of 13 samples holds it to 11 %.
    assert float(slope) == pytest.approx(2 * math.pi * 0.2 * 64**2, rel=0.15)


@pytest.mark.parametrize("angle", [0.3, 1.1, 2.6])
def test_a_knife_covers_samples_by_area(angle):
    height, width, fine = 6, 9, 401
    inside = (np.arange(fine) - fine // 2) / fine
    fy = (np.arange(height) - height // 2)[:, None] / height + inside / height
    fx = (np.arange(width) - width // 2)[:, None] / width + inside / width
    along = fx[None, :, None, :] * math.cos(angle) + fy[:, None, :, None] * math.sin(angle)
    covered = (along > 0).mean((2, 3))
    covered[0] = (covered[0] + (along[0] + math.sin(angle) > 0).mean((1, 2))) / 2  # fy = +1/2 too
    plate = optics.knife_edge((height, width), angle=angle).real.numpy()
    # Counting points along an edge errs by less than one row of them.
    np.testing.assert_allclose(plate, np.sin(np.pi / 2 * covered), rtol=0, atol=2 / fine)


def test_random_phases_are_uniform_over_a_whole_turn():
    plate = optics.filter_start("random", (128, 128), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(plate.abs(), torch.ones(128, 128, dtype=torch.float64))
    turns = plate.angle().flatten().numpy() / (2 * math.pi) % 1
    assert stats.kstest(turns, "uniform").pvalue > 0.01


def test_coefficients_are_a_tensor():
    with pytest.raises(TypeError, match="coefficients must be a Tensor, not list"):
        optics.zernike_filter(8, coefficients=[0.1], cutoff=0.1)


def test_a_wavefront_has_coefficients():
    for indices in (None, []):
        with pytest.raises(ValueError, match=r"coefficients must hold at least one, in waves RMS"):
            optics.zernike_filter(8, coefficients=torch.zeros(0), cutoff=0.1, indices=indices)


def test_what_would_make_another_plate_is_refused():
    with pytest.raises(ValueError, match=r"coefficients must be real, in waves RMS, not"):
        optics.zernike_filter(16, cutoff=0.2, coefficients=torch.ones(3) * 1j)
    with pytest.raises(ValueError, match="low must be below high"):
        optics.gaussian_pass(16, low=np.float32(0.3), high=np.float32(0.1))
    with pytest.raises(ValueError, match=r"size must be \(H, W\), whole numbers"):
        optics.filter_start("open", (0, 8))


@pytest.mark.parametrize("name", ["open", "random", "spiral"])
def test_one_size_is_that_of_both_sides(name):
    assert optics.filter_start(name, 8).shape == (8, 8)


@pytest.mark.parametrize("ring", [0.1, (0.1, 0.2, 0.3), (0.2, 0.1), (0.0, 0.1), (0.001, 0.002)])
def test_what_is_no_ring_of_the_plate_is_refused(ring):
    with pytest.raises(ValueError, match=r"ring must be \(inner, outer\)|lies in the ring"):
        optics.phase_contrast(33, ring=ring)


def test_a_stop_that_is_a_ring_stops_where_a_phase_plate_shifts():
    ring = (3 / 32, 7 / 32)
    stop = optics.dark_field(32, ring=ring)
    shifted = optics.phase_contrast(32, ring=ring, shift=math.pi)  # 1 - 2 of what is covered
    torch.testing.assert_close(2 * stop - 1, shifted)
    assert stop[16, 16] == stop[16, 31] == 1
    assert stop[16, 21] == stop[11, 16] == 0
    for name in ("dark_field", "phase_contrast"):
        made = getattr(optics, name)(32, ring=ring)
        assert torch.equal(optics.filter_start(name, 32, ring=ring), made)
    with pytest.raises(ValueError, match="ring is that of dark_field or phase_contrast, not 'op"):
        optics.filter_start("open", 32, ring=ring)
    with pytest.raises(ValueError, match=r"ring must be \(inner, outer\)"):
        optics.dark_field(32, ring=(0.2, 0.1))
    with pytest.raises(ValueError, match=r"ring must be \(inner, outer\)"):
        optics.filter_start("dark_field", 32, ring=(0.2, 0.1))
    with pytest.raises(ValueError, match=r"without a stop, not .* with stop=0\.1"):
        optics.filter_start("dark_field", 32, ring=ring, stop_radius=0.1)


def test_a_plate_that_is_a_ring_has_no_stop():
    for stop in (0.05, torch.tensor(0.0)):
        with pytest.raises(ValueError, match=r"without a stop, not \(0.1, 0.2\) with stop="):
            optics.phase_contrast(33, ring=(0.1, 0.2), stop=stop)


def test_a_ring_ends_somewhere():
    with pytest.raises(ValueError, match=r"ring must be \(inner, outer\) in cycles/pixel"):
        optics.phase_contrast(33, ring=(0.1, math.inf))
