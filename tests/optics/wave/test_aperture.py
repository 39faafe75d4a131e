import math
import warnings

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import integrate

import optics
from optics.wave import aperture

F64 = torch.float64
quick = settings(deadline=None, max_examples=25)


@given(radius=st.floats(0.1, 60), size=st.tuples(st.integers(122, 128), st.integers(122, 131)))
@quick
def test_area_of_circle_and_ring(radius, size):
    dx = 2e-6
    circle = aperture.circular_aperture(size, diameter=2 * radius * dx, spacing=dx, dtype=F64)
    assert circle.shape == size
    assert 0 <= circle.min() <= circle.max() <= 1
    assert math.isclose(float(circle.sum()), math.pi * radius**2, rel_tol=1e-10)
    ring = aperture.annular_aperture(
        size, outer_diameter=2 * radius * dx, inner_diameter=radius * dx, spacing=dx, dtype=F64
    )
    assert math.isclose(float(ring.sum()), 0.75 * math.pi * radius**2, rel_tol=1e-10)
    assert 0 <= ring.min() <= ring.max() <= 1


@given(height=st.floats(0.1, 29), width=st.floats(0.1, 36))
@quick
def test_area_of_rectangle_is_exact(height, width):
    dx = 3e-6
    mask = aperture.rectangular_aperture(
        (30, 37), height=height * dx, width=width * dx, spacing=dx, dtype=F64
    )
    assert math.isclose(float(mask.sum()), height * width, rel_tol=1e-9)


@given(radius=st.floats(2, 20), dx=st.floats(1e-7, 1e-4))
@quick
def test_symmetry_on_odd_grids_and_the_centre_on_even_ones(radius, dx):
    def circle(size):
        return aperture.circular_aperture(size, diameter=2 * radius * dx, spacing=dx, dtype=F64)

    odd = circle(43)
    for other in (odd.flip(0), odd.flip(1), odd.T):
        torch.testing.assert_close(other, odd, rtol=0, atol=1e-12)
    # An even grid is the odd one without its last row and column, about N // 2.
    torch.testing.assert_close(circle(44)[1:, 1:], odd, rtol=0, atol=1e-12)
    torch.testing.assert_close(circle((43, 45))[:, 1:-1], odd, rtol=0, atol=1e-12)


@given(radius=st.one_of(st.floats(0.05, 60), st.integers(1, 60).map(lambda n: n - 0.5)))
@quick
def test_gradient_to_the_radius_is_the_rim(radius):
    """P28: d(sum A)/dR = 2 pi R / dx^2."""
    dx = 5e-6
    diameter = torch.tensor(2 * radius * dx, dtype=F64, requires_grad=True)
    spacing = torch.tensor(dx, dtype=F64, requires_grad=True)
    total = aperture.circular_aperture(128, diameter=diameter, spacing=spacing, dtype=F64).sum()
    slope, to_spacing = torch.autograd.grad(total, (diameter, spacing))
    # Where a rim all but touches an edge, a slope is a difference of terms 1e8 as large.
    assert math.isclose(2 * float(slope), 2 * math.pi * radius / dx, rel_tol=1e-7)
    # The area in samples is pi (D / 2 dx)^2.
    assert math.isclose(float(to_spacing), -2 * math.pi * radius**2 / dx, rel_tol=1e-7)


@pytest.mark.parametrize("radius", [0.6, 0.7071, 1.6, 2.8, 5.5, 6.3])
def test_each_sample_is_its_covered_part_and_its_slope_the_rim_within(radius):
    """Against the area and the arc by quadrature of chords, one sample after the other."""
    given = torch.tensor(2 * radius, dtype=F64, requires_grad=True)
    mask = aperture.circular_aperture((15, 16), diameter=given, spacing=1.0, dtype=F64)
    for row in range(15):
        for column in range(8, 16):
            y, x = row - 7, column - 8

            def height(v, x=x):
                half = math.sqrt(max(0.0, radius**2 - v * v))
                return max(0.0, min(x + 0.5, half) - max(x - 0.5, -half))

            # Where a chord begins to count, or ends.
            ends = [math.sqrt(max(0.0, radius**2 - (x + d) ** 2)) for d in (-0.5, 0.5)]
            breaks = sorted({e for end in (*ends, radius) for e in (-end, end)})
            breaks = [e for e in breaks if y - 0.5 < e < y + 0.5]
            wanted, _ = integrate.quad(height, y - 0.5, y + 0.5, points=breaks or None, limit=200)
            assert float(mask[row, column].detach()) == pytest.approx(wanted, abs=1e-9)
    outside = (torch.arange(15) - 7)[:, None] ** 2 + (torch.arange(16) - 8) ** 2 > (radius + 1) ** 2
    assert not mask[outside].any()
    assert (mask.detach() == 1).sum() >= math.floor(math.pi * max(0, radius - 1.5) ** 2)
    (at,) = torch.autograd.grad(mask[7].sum(), given)
    # Within a row of height 1 the rim is two arcs of 2 asin(1 / 2R).
    arc = 4 * radius * math.asin(0.5 / radius)
    assert 2 * float(at) == pytest.approx(arc, rel=1e-7)


def test_a_circle_beside_the_axis_is_the_same_circle():
    middle = aperture.circular_aperture(64, diameter=20.0, spacing=1.0, dtype=F64)
    beside = aperture.circular_aperture(64, diameter=20.0, spacing=1.0, centre=(5, -7), dtype=F64)
    assert torch.equal(beside, middle.roll((5, -7), (0, 1)))
    # Between the samples, against points of which each square has many.
    fine = (torch.arange(64 * 40, dtype=F64) + 0.5) / 40 - 32.5
    inside = (fine[:, None] - 5.3) ** 2 + (fine + 7.8) ** 2 <= 100
    brute = inside.double().reshape(64, 40, 64, 40).mean((1, 3))
    several = torch.tensor([0.0, 5.3], dtype=F64)
    found = aperture.circular_aperture(
        64, diameter=20.0, spacing=1.0, centre=(several, -7.8), dtype=F64
    )
    assert found.shape == (2, 64, 64)
    torch.testing.assert_close(found[1], brute, atol=3e-3, rtol=0)
    assert found.sum((-2, -1)).tolist() == pytest.approx([100 * math.pi] * 2, abs=1e-9)
    # What lies beyond the grid is cut away.
    cut = aperture.circular_aperture(64, diameter=20.0, spacing=1.0, centre=(-32.5, 0), dtype=F64)
    assert float(cut.sum()) == pytest.approx(50 * math.pi, abs=1e-9)
    with pytest.raises(ValueError, match="centre must be finite"):
        aperture.circular_aperture(64, diameter=20.0, spacing=1.0, centre=(math.nan, 0))
    for centre in ((1.0,), 1.0, (1.0, 2.0, 3.0), torch.tensor(1.0)):
        with pytest.raises(TypeError, match=r"centre must be \(y, x\), metres, not .*: give both"):
            aperture.circular_aperture(64, diameter=20.0, spacing=1.0, centre=centre)
    pair = torch.tensor([5.0, -7.0], dtype=F64)
    several = aperture.circular_aperture(64, diameter=20.0, spacing=1.0, centre=pair, dtype=F64)
    assert torch.equal(several, beside)


@pytest.mark.parametrize("at", [(0.5, 0.5), (0.5, -0.2), (-1.5, 2.5), (0.3, 0.4)])
def test_the_slope_to_the_centre_is_that_of_a_finite_difference(at):
    """Also where it lies on the border of two samples."""
    weights = torch.rand(32, 32, dtype=F64, generator=torch.Generator().manual_seed(0))

    def light(y, x):
        opening = aperture.circular_aperture(
            32, diameter=20.3, spacing=1.0, centre=(y, x), dtype=F64
        )
        return (opening * weights).sum()

    centre = [torch.tensor(part, dtype=F64, requires_grad=True) for part in at]
    slopes = torch.autograd.grad(light(*centre), centre)
    for slope, (dy, dx) in zip(slopes, ((1e-5, 0), (0, 1e-5)), strict=True):
        rise = light(at[0] + dy, at[1] + dx) - light(at[0] - dy, at[1] - dx)
        assert float(slope) == pytest.approx(float(rise) / 2e-5, abs=1e-6)


def test_a_pinhole_passes_its_area():
    for radius in (0.05, 0.3, 0.5):
        pinhole = aperture.circular_aperture(9, diameter=2 * radius, spacing=1.0, dtype=F64)
        assert math.isclose(float(pinhole.sum()), math.pi * radius**2, rel_tol=1e-6)
        assert int(pinhole.count_nonzero()) == 1


def test_gradcheck():
    length = torch.tensor([7.3e-6, 9.1e-6], dtype=F64, requires_grad=True)
    dx = torch.tensor(1.03e-6, dtype=F64, requires_grad=True)

    def circle(length, dx):
        centre = (length / 11, 0.4e-6)
        return aperture.circular_aperture(12, diameter=length, spacing=dx, centre=centre, dtype=F64)

    def ring(length, dx):
        return aperture.annular_aperture(
            12, outer_diameter=length, inner_diameter=length / 3, spacing=dx, dtype=F64
        )

    def box(length, dx):
        return aperture.rectangular_aperture(
            (11, 12), height=length, width=0.7 * length, spacing=dx, dtype=F64
        )

    def vanes(length, dx):
        return aperture.spider(12, vanes=3, width=length / 4, spacing=dx, angle=0.3, dtype=F64)

    for shape in (circle, ring, box, vanes):
        assert shape(length, dx).shape[0] == 2
        # Lengths are 1e-6: the step of the difference follows.
        torch.autograd.gradcheck(shape, (length, dx), eps=1e-13, atol=10, rtol=1e-3)


def test_gradients_are_finite_everywhere():
    for diameter in (1e-9, 0.5, 1.0, 2.0, 8.0, 9.0, 100.0):
        length = torch.tensor(diameter, requires_grad=True)
        dx = torch.tensor(1.0, requires_grad=True)
        circle = aperture.circular_aperture(9, diameter=length, spacing=dx)
        box = aperture.rectangular_aperture(9, height=length, width=length, spacing=dx)
        (circle.sum() + box.sum()).backward()
        assert torch.isfinite(length.grad)
        assert torch.isfinite(dx.grad)
        assert circle.dtype == torch.get_default_dtype()


@pytest.mark.parametrize(
    ("diameter", "size", "percent"),
    [
        # A circle in a strip of half its width: 1 - (2 asin(1/2) + sin(2 asin(1/2))) / pi.
        (200.0, (100, 300), 100 * (1 - (math.pi / 3 + math.sin(math.pi / 3)) / math.pi)),
        (200.0, (300, 100), 100 * (1 - (math.pi / 3 + math.sin(math.pi / 3)) / math.pi)),
        # A square inscribed in the circle keeps 2 / pi.
        (math.sqrt(2) * 100, 100, 100 * (1 - 2 / math.pi)),
    ],
)
def test_too_large_is_a_warning_with_the_part_cut_away(diameter, size, percent):
    with pytest.warns(UserWarning, match=f"cuts off {percent:.3g} % of its area"):
        mask = aperture.circular_aperture(size, diameter=diameter, spacing=1.0)
    assert math.isclose(
        float(mask.sum()), (1 - percent / 100) * math.pi * diameter**2 / 4, rel_tol=2e-2
    )


@pytest.mark.parametrize("size", [(16, 16), (15, 16), (16, 15), (15, 15)])
@pytest.mark.parametrize("across", [15.5, 16.0, 16.3, 17.0, 21.0, 40.0])
def test_the_part_that_is_told_is_that_which_the_samples_lack(across, size):
    """An even grid ends half a sample sooner on its positive side."""
    shapes = [
        (aperture.rectangular_aperture, {"height": across, "width": 9.0}, across * 9),
        (aperture.rectangular_aperture, {"height": 16.2, "width": across}, across * 16.2),
        (aperture.circular_aperture, {"diameter": across}, math.pi * across**2 / 4),
        (
            aperture.annular_aperture,
            {"outer_diameter": across, "inner_diameter": 15.4},
            math.pi * (across**2 - 15.4**2) / 4,
        ),
    ]
    for shape, lengths, area in shapes:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            mask = shape(size, spacing=1.0, dtype=F64, **lengths)
        lacking = 100 * (1 - float(mask.sum()) / area)
        if "height" in lengths:
            fits = lengths["height"] <= size[0] and lengths["width"] <= size[1]
        else:
            fits = across <= min(size)
        if fits:
            assert not told  # of one as large as the grid, which an even one cuts by a little
        elif lacking < 1e-9:
            assert not told
        else:
            (warning,) = told
            assert f"cuts off {lacking:.3g} % of its area" in str(warning.message)


def test_other_warnings():
    with pytest.warns(UserWarning, match=r"larger than the grid, which cuts off 75 % .*height"):
        aperture.rectangular_aperture(10, height=20.0, width=20.0, spacing=1.0)
    with pytest.warns(UserWarning, match=r"outer_diameter = 14.0 m"):
        aperture.annular_aperture(10, outer_diameter=14.0, inner_diameter=2.0, spacing=1.0)
    # As large as the grid is not larger, though an even one has no symmetric shape as wide.
    aperture.circular_aperture(10, diameter=10.0, spacing=1.0)
    square = aperture.rectangular_aperture(10, height=10.0, width=10.0, spacing=1.0)
    assert float(square.sum()) == 9.5**2
    aperture.rectangular_aperture(64, height=64 * 0.1, width=64 * 0.1, spacing=0.1)
    aperture.rectangular_aperture(11, height=11 * 0.1, width=0.1 * 11, spacing=0.1)
    aperture.rectangular_aperture(10, height=9 * 0.1, width=0.1 * 9, spacing=0.1)
    aperture.circular_aperture(10, diameter=torch.tensor(20.0), spacing=1.0)


@given(width=st.floats(0.05, 6), angle=st.floats(-0.7, 0.7), samples=st.integers(32, 64))
@quick
def test_two_vanes_are_a_bar_across_the_grid(width, angle, samples):
    """Its area in a square of N samples is N w / cos(angle), where it leaves by two sides."""
    assume(abs(angle) > 1e-6 or width % 2 != 1)  # along the edges of samples it has no slope
    samples = 2 * samples + 1
    wide = torch.tensor(width * 1e-6, dtype=F64, requires_grad=True)
    mask = aperture.spider(samples, vanes=2, width=wide, spacing=1e-6, angle=angle, dtype=F64)
    across = samples * math.tan(abs(angle)) + width / math.cos(angle)
    assert across < samples  # no corner
    assert 0 <= float(mask.detach().min()) <= float(mask.detach().max()) <= 1
    lost = float((1 - mask.detach()).sum())
    # Below a part of 1e-6 of its normal an edge is taken as straight.
    assert lost == pytest.approx(samples * width / math.cos(angle), rel=1e-5)
    (slope,) = torch.autograd.grad(mask.sum(), wide)
    assert float(slope) * 1e-6 == pytest.approx(-samples / math.cos(angle), rel=1e-5)
    turned = aperture.spider(
        samples, vanes=2, width=wide, spacing=1e-6, angle=angle + math.pi / 2, dtype=F64
    )
    torch.testing.assert_close(turned, mask.rot90(-1), rtol=0, atol=2e-6)


@pytest.mark.parametrize("angle", [0.0, 0.3, math.pi / 4, 2.0])
@pytest.mark.parametrize("vanes", [1, 3, 4])
def test_vanes_are_those_that_points_in_each_sample_see(vanes, angle):
    points, samples, width = 16, 33, 2.3
    at = (torch.arange(samples * points, dtype=F64) + 0.5) / points - samples / 2
    y, x = torch.meshgrid(at, at, indexing="ij")
    covered = torch.zeros(y.shape, dtype=torch.bool)
    for vane in range(vanes):
        turned = angle + 2 * math.pi * vane / vanes
        c, s = math.cos(turned), math.sin(turned)
        covered |= ((c * y - s * x).abs() < width / 2) & (c * x + s * y > 0)
    expected = 1 - covered.to(F64).reshape(samples, points, samples, points).mean((1, 3))
    mask = aperture.spider(samples, vanes=vanes, width=width, spacing=1.0, angle=angle, dtype=F64)
    grid = torch.arange(samples) - samples // 2
    away = torch.hypot(grid[:, None].double(), grid.double()) > 4  # from where vanes meet
    # An edge crosses 2 k - 1 of k x k cells, of each of which a half at most is told wrongly; a
    # vane has two.
    bound = (2 * points - 1) / points**2
    assert float((mask - expected)[away].abs().max()) < bound
    assert float((mask - expected)[away].mean().abs()) < 0.1 * bound


def test_spikes_lie_across_the_vanes():
    """Each bar spreads light across itself, to both sides: three make six spikes."""
    spacing, angle = 1e-4, 0.2
    ring = aperture.annular_aperture(
        129, outer_diameter=128e-4, inner_diameter=30e-4, spacing=spacing
    )
    vanes = aperture.spider(129, vanes=3, width=3e-4, spacing=spacing, angle=angle)
    y, x = torch.meshgrid(*[torch.arange(151, dtype=F64) - 75] * 2, indexing="ij")
    far = (torch.hypot(y, x) > 30) & (torch.hypot(y, x) < 75)
    sixfold = torch.polar(far.double(), 6 * (torch.atan2(y, x) - angle - math.pi / 2))
    share = []
    for opening in (ring * vanes, ring):
        pupil = optics.Pupil(
            [], wavelengths=(550e-9,), focal_length=0.1, pixel_pitch=2e-6, psf_size=151, size=129,
            spacing=spacing, aperture=opening,
        )  # fmt: skip
        psf = pupil()[0].double()
        share.append((psf * sixfold).sum() / psf[far].sum())
    # They are where they are to half a pixel at a radius of 30, and a ring has none.
    assert abs(float(share[0].angle())) / 6 < 0.5 / 30
    assert float(share[0].abs()) > 10 * float(share[1].abs())


def test_a_spider_is_told_what_it_takes():
    given_ = {"vanes": 3, "width": 1.0, "spacing": 1.0}
    for wrong, said in (
        ({"vanes": 0}, "vanes must be a whole number of at least 1"),
        ({"width": 0.0}, "width must be positive"),
        ({"spacing": -1.0}, "spacing must be positive"),
        ({"angle": math.nan}, "angle must be finite"),
    ):
        with pytest.raises(ValueError, match=said):
            aperture.spider(9, **{**given_, **wrong})
    with pytest.raises(TypeError, match="angle must be one number"):
        aperture.spider(9, **given_, angle=[1.0])
    several = aperture.spider(9, **{**given_, "width": torch.tensor([1.0, 2.0])})
    assert several.shape == (2, 9, 9)


def test_bad_sizes():
    with pytest.raises(ValueError, match="diameter must be positive and finite, in metres"):
        aperture.circular_aperture(8, diameter=0.0, spacing=1.0)
    with pytest.raises(ValueError, match="spacing must be positive and finite, in metres"):
        aperture.circular_aperture(8, diameter=1.0, spacing=torch.tensor(-1.0))
    with pytest.raises(ValueError, match="size must be"):
        aperture.circular_aperture(0, diameter=1.0, spacing=1.0)
    with pytest.raises(ValueError, match="inner_diameter must be positive and finite, in metres"):
        aperture.annular_aperture(8, outer_diameter=2.0, inner_diameter=-1.0, spacing=1.0)
    with pytest.raises(ValueError, match="inner_diameter must be smaller than outer_diameter"):
        aperture.annular_aperture(8, outer_diameter=2.0, inner_diameter=2.0, spacing=1.0)
    with pytest.raises(ValueError, match="inner_diameter must be smaller"):
        aperture.annular_aperture(
            8, outer_diameter=2.0, inner_diameter=torch.tensor([1.0, 3.0]), spacing=1.0
        )
    for name in ("height", "width"):
        lengths = {"height": 1.0, "width": 1.0, name: -1.0}
        with pytest.raises(ValueError, match=f"{name} must be positive and finite, in metres"):
            aperture.rectangular_aperture(8, spacing=1.0, **lengths)


def test_compiles():
    def total(diameter):
        circle = aperture.circular_aperture(16, diameter=diameter, spacing=1.0)
        ring = aperture.annular_aperture(
            16, outer_diameter=diameter, inner_diameter=2.0, spacing=1.0
        )
        return (circle + ring).sum()

    diameter = torch.tensor(9.0)
    compiled = torch.compile(total, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(diameter), total(diameter))


def test_rings_of_several_sizes_are_mapped():
    outer = torch.tensor([7.0, 8.5, 9.0], dtype=torch.float64)
    inner = torch.tensor([2.0, 3.5, 6.0], dtype=torch.float64)

    def ring(outer, inner):
        return aperture.annular_aperture(
            (9, 10), outer_diameter=outer, inner_diameter=inner, spacing=1.0
        )

    each = torch.stack([ring(*pair) for pair in zip(outer, inner, strict=True)])
    torch.testing.assert_close(torch.func.vmap(ring)(outer, inner), each)
    one = torch.stack([ring(o, inner[0]) for o in outer])
    torch.testing.assert_close(torch.func.vmap(ring, in_dims=(0, None))(outer, inner[0]), one)
