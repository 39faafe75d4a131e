import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import optics
from optics.light.illumination import condenser


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 9), st.integers(1, 3), st.floats(1e-3, 1e3), st.integers(0, 2**31))
def test_the_budget_holds_after_any_step(count, patterns, budget, seed):
    torch.manual_seed(seed)
    lamps = optics.Illumination(count, patterns=patterns, budget=budget)
    optimiser = torch.optim.SGD(lamps.parameters(), lr=10.0)
    lamps(torch.randn(2, count, 3, 4)).square().sum().backward()
    optimiser.step()
    assert (lamps.weights >= 0).all()
    torch.testing.assert_close(lamps.weights.sum(1), torch.full((patterns,), budget))


def test_the_picture_is_linear_in_the_lamps():
    start = torch.tensor([[1.0, 3.0], [1.0, 0.0]])
    lamps = optics.Illumination(2, patterns=2, budget=2.0, start=start)
    pictures = torch.rand(3, 2, 3, 5, 4)
    lit = lamps(pictures)
    assert lit.shape == (3, 2, 3, 5, 4)
    expected = 0.5 * pictures[:, 0] + 1.5 * pictures[:, 1]
    torch.testing.assert_close(lit[:, 0], expected)
    torch.testing.assert_close(lit[:, 1], 2 * pictures[:, 0], rtol=1e-3, atol=1e-3)
    lit.square().sum().backward()
    assert (lamps.raw.grad.abs() > 0).all()  # a lamp that is off can come back


@pytest.mark.parametrize("count", [2, 100, 1024])
def test_lamps_that_are_dark_take_little_of_one_that_is_lit(count):
    start = torch.zeros(1, count)
    start[0, 0] = 1
    weights = optics.Illumination(count, start=start).weights.detach()
    # 1 to (S - 1) floors, of the sum of both.
    floor = min(1e-4, 0.01 / count)
    assert float(weights[0, 0]) == pytest.approx(1 / (1 + (count - 1) * floor), rel=1e-5)
    assert (weights[0, 1:] > 0).all()


def test_a_disc_holds_the_points_of_its_grid():
    points = optics.disc_source(0.2, step=0.1)
    assert len(points) == 13
    assert (points == 0).all(1).any()
    assert float(points.norm(dim=1).max()) == pytest.approx(0.2)


def test_a_ring_is_a_disc_without_its_inside():
    points = optics.annular_source(0.1, 0.2, step=0.05)
    radius = points.norm(dim=1)
    assert 0.1 - 1e-9 <= float(radius.min()) <= float(radius.max()) <= 0.2 + 1e-9
    inside = len(optics.disc_source(0.0999, step=0.05))
    assert len(points) == len(optics.disc_source(0.2, step=0.05)) - inside == 49 - 9
    for wrong in ((0.2, 0.1), (0.12, 0.13)):
        with pytest.raises(ValueError, match=r"no point of a grid of step=0\.05 lies between"):
            optics.annular_source(*wrong, step=0.05)
    with pytest.raises(ValueError, match="inner must be positive"):
        optics.annular_source(-0.1, 0.2, step=0.05)


def test_points_on_a_rim_are_in_whatever_their_radius_rounds_to():
    assert len(optics.disc_source(0.3, step=0.1)) == 29  # 3 * 0.1 is above 0.3
    ring = optics.annular_source(0.33, 0.4, step=0.03).norm(dim=1)  # 11 * 0.03 is below 0.33
    assert float(ring.min()) == pytest.approx(0.33, abs=1e-12)


@pytest.mark.parametrize("inner", [0, 0.01, 0.05, 0.07, 0.075, 0.08, 0.09, 0.097, 0.1])
def test_a_condenser_has_enough_points_and_the_symmetry_of_a_ring(inner):
    points = condenser(0.1, inner)
    assert 12 <= len(points) <= 24
    radius = points.norm(dim=1)
    assert inner - 1e-9 <= float(radius.min()) <= float(radius.max()) == pytest.approx(0.1)
    around = {(round(y, 9), round(x, 9)) for y, x in points.tolist()}
    assert {(x, -y) for y, x in around} == around == {(x, y) for y, x in around}
    assert torch.equal(condenser(0.1), optics.disc_source(0.1, step=0.05))


def test_lamps_light_at_the_sine_of_their_angle():
    positions = torch.tensor([[0.0, 0.0], [30e-3, 0.0], [0.0, -40e-3]], dtype=torch.float64)
    tilts = optics.led_tilts(positions, height=40e-3, wavelength=500e-9, pixel_pitch=200e-9)
    expected = [[0, 0], [-0.6 * 0.4, 0], [0, math.sin(math.pi / 4) * 0.4]]
    np.testing.assert_allclose(tilts, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optics.Illumination(0), "count must be a whole number of at least 1, not 0"),
        (lambda: optics.Illumination(2, budget=-1), "budget must be positive"),
        (lambda: optics.Illumination(2, start=torch.ones(2)), r"start must be \(1, 2\), not"),
        (lambda: optics.Illumination(2, start=-torch.ones(1, 2)), "not negative, and not all 0"),
        (lambda: optics.Illumination(2)(torch.ones(1, 3)), r"pictures must be \[B, 2, \.\.\.\]"),
        (lambda: optics.disc_source(-1, step=0.1), "radius must be positive"),
        (
            lambda: optics.led_tilts(torch.ones(2), height=1, wavelength=1e-6, pixel_pitch=1e-6),
            r"positions must be \[S, 2\] in metres",
        ),
        (
            lambda: optics.led_tilts(torch.ones(1, 2), height=0, wavelength=1e-6, pixel_pitch=1),
            "height must be positive and finite, in metres",
        ),
        (
            lambda: optics.led_tilts(torch.ones(1, 2), height=1, wavelength=550, pixel_pitch=1),
            "wavelength must be in metres, 1e-9 to 1e-2, not 550",
        ),
        (
            lambda: optics.led_tilts(torch.ones(1, 2), height=1, wavelength=1e-6, pixel_pitch=3.45),
            "pixel_pitch must be in metres, 1e-9 to 1e-2, not 3.45",
        ),
    ],
)
def test_light_that_makes_no_sense_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("several", [[1e-6, 2e-6], torch.tensor([1e-6, 2e-6])])
@pytest.mark.parametrize("name", ["height", "wavelength", "pixel_pitch"])
def test_lamps_are_seen_at_one_length_at_a_time(name, several):
    """Two lengths for two lamps would be broadcast over their axes y and x."""
    lengths = {"height": 0.1, "wavelength": 550e-9, "pixel_pitch": 1e-6, name: several}
    with pytest.raises(TypeError, match=rf"{name} must be one number, in m.* call it for each"):
        optics.led_tilts(torch.ones(2, 2), **lengths)


@pytest.mark.parametrize("several", [[0.1, 0.2], torch.tensor([0.1, 0.2])])
def test_what_is_one_number_is_not_several(several):
    for name, make in (
        ("radius", lambda: optics.disc_source(several, step=0.1)),
        ("step", lambda: optics.disc_source(0.3, step=several)),
        ("budget", lambda: optics.Illumination(3, budget=several)),
    ):
        with pytest.raises(TypeError, match=rf"{name} must be one number, in .*, not \[0.1"):
            make()


def test_what_is_not_learned_is_said():
    one = torch.nn.Parameter(torch.tensor(0.5))
    with pytest.raises(TypeError, match="budget is not learned here"):
        optics.Illumination(3, budget=one)


def test_weights_and_places_of_lamps_are_tensors():
    with pytest.raises(TypeError, match="start must be a Tensor, not list"):
        optics.Illumination(3, start=[[1, 0, 0]])
    with pytest.raises(TypeError, match="positions must be a Tensor, not list"):
        optics.led_tilts([[0, 1e-3]], height=0.1, wavelength=550e-9, pixel_pitch=1e-6)


@pytest.mark.filterwarnings("ignore")  # torch's own, while it compiles
def test_the_inverse_of_a_budget_is_mapped_and_compiles_to_one_graph():
    weights = torch.tensor([[1.0, 3.0, 0.0], [0.2, 0.2, 0.1]])
    together = optics.light_budget_inverse(weights)
    torch.testing.assert_close(torch.func.vmap(optics.light_budget_inverse)(weights), together)
    compiled = torch.compile(optics.light_budget_inverse, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(weights), together)


def test_fields_are_no_light():
    field = torch.ones(1, 3, 2, 2, dtype=torch.complex64)
    with pytest.raises(ValueError, match="light is real here"):
        optics.Illumination(3)(field)


def test_tilts_are_of_real_positions_also_in_half_precision():
    lengths = {"height": 1e-4, "wavelength": 500e-9, "pixel_pitch": 4e-7}
    half = torch.tensor([[1e-4, 2e-4]], dtype=torch.float16)
    exact = optics.led_tilts(half.double(), **lengths)
    torch.testing.assert_close(optics.led_tilts(half, **lengths), exact.float())
    with pytest.raises(ValueError, match="positions must be finite, in metres"):
        optics.led_tilts(torch.tensor([[math.nan, 0.0]]), **lengths)
    with pytest.raises(ValueError, match=r"positions must be real, not torch\.complex64"):
        optics.led_tilts(torch.zeros(1, 2, dtype=torch.complex64), **lengths)


def test_weights_in_half_precision_keep_their_proportions():
    start = torch.tensor([[40000.0, 30000.0]], dtype=torch.float16)
    weights = optics.Illumination(2, start=start).weights
    torch.testing.assert_close(weights, torch.tensor([[4 / 7, 3 / 7]]))
