import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import optics
from optics.sensor.noise import standard_normal

# torch's own, at its first forward derivative
_FORWARD = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")

COUNT = 400_000


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _draws(kind, level, loss, count=COUNT, seed=0):
    """Mean of the gradient of ``loss`` over draws, and its standard error."""
    mean = torch.full((count,), level, dtype=torch.float64, requires_grad=True)
    loss(optics.shot_noise(mean, kind=kind, generator=_generator(seed))).sum().backward()
    return float(mean.grad.mean()), float(mean.grad.std() / count**0.5)


def test_poisson_counts_are_whole_and_poisson():
    mean = torch.full((50_000,), 3.0, requires_grad=True)
    counts = optics.shot_noise(mean, kind="poisson", generator=_generator()).detach()
    assert torch.equal(counts, counts.round())
    observed = torch.bincount(counts.long(), minlength=10)[:10].double()
    expected = torch.from_numpy(stats.poisson.pmf(range(10), 3.0)) * 50_000
    assert ((observed - expected).square() / expected).sum() < stats.chi2.ppf(0.9999, 9)


@pytest.mark.parametrize("kind", ["gaussian", "poisson"])
@pytest.mark.parametrize("level", [0.5, 1.0, 3.0, 30.0])
def test_the_mean_count_has_slope_one(kind, level):
    # P51. The slope has a variance of 1 / (4 x): at 0.5 electrons 0.1 % for these draws.
    slope, error = _draws(kind, level, lambda n: n)
    assert slope == pytest.approx(1.0, abs=0.02)
    assert abs(slope - 1) < 4 * error


@pytest.mark.parametrize("level", [0.0, 0.005, 0.05])
def test_the_mean_count_has_slope_one_in_the_dark(level):
    slope, error = _draws("poisson", level, lambda n: n)
    assert abs(slope - 1) <= 4 * error


@pytest.mark.parametrize("kind", ["gaussian", "poisson"])
@pytest.mark.parametrize("level", [0.05, 0.5, 2.0, 20.0])
def test_the_mean_square_has_the_slope_of_a_poisson_count(kind, level):
    slope, error = _draws(kind, level, torch.square)
    assert abs(slope - (2 * level + 1)) < 4 * error


@pytest.mark.parametrize("level", [1.0, 3.0])
def test_gaussian_shot_noise_keeps_its_variance_at_few_electrons(level):
    counts = optics.shot_noise(torch.full((200_000,), level), generator=_generator())
    assert counts.var() == pytest.approx(level, rel=0.02)


def test_the_gaussian_gradient_is_that_of_the_draw():
    # The difference needs both sides: a mean below zero counts as zero, see the next test.
    mean = torch.tensor([1e-5, 0.005, 0.02, 1.0, 50.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: optics.shot_noise(x, generator=_generator()), (mean,))


@pytest.mark.parametrize("read_noise", [0.0, 2.0])
@pytest.mark.parametrize("kind", ["gaussian", "poisson", "none"])
def test_a_mean_below_zero_counts_as_zero_and_has_slope_one(kind, read_noise):
    options = {"kind": kind, "read_noise": read_noise if kind == "gaussian" else 0.0}
    below = torch.tensor([-5.0, -1e-3, -0.0], requires_grad=True)
    counts = optics.shot_noise(below, generator=_generator(), **options)
    dark = optics.shot_noise(torch.zeros(3), generator=_generator(), **options)
    assert torch.equal(counts, dark)
    (slope,) = torch.autograd.grad(counts[:2].sum(), below)
    assert slope.tolist() == [1, 1, 0]
    if kind == "none":
        bright = torch.tensor([0.0, 3.0, float("inf")])
        assert torch.equal(optics.shot_noise(bright, kind=kind), bright)


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("read_noise", [0.0, 2.0])
@pytest.mark.parametrize("kind", ["gaussian", "poisson", "none"])
def test_infinite_light_makes_infinite_counts_and_leaves_its_neighbours_alone(
    kind, read_noise, asked
):
    options = {"kind": kind, "read_noise": read_noise if kind == "gaussian" else 0.0}
    many = torch.full((64,), float("inf"))  # of either sign are the numbers that are drawn
    light = torch.cat((many, torch.tensor([3.0, float("nan")]))).requires_grad_(asked)
    counts = optics.shot_noise(light, generator=_generator(), **options)
    assert torch.equal(counts[:64].detach(), many)
    assert counts[64].isfinite()
    assert counts[65].isnan()
    if asked:
        (slope,) = torch.autograd.grad(counts[:65].sum(), light, create_graph=True)
        assert slope[:65].isfinite().all()
        if slope.requires_grad:
            (curvature,) = torch.autograd.grad(slope[:65].sum(), light)
            assert curvature[:65].isfinite().all()


def test_a_mean_below_zero_is_no_more_probable_than_the_dark():
    means = torch.tensor([[-2.0], [0.0]], requires_grad=True)
    likelihood = optics.poisson_log_likelihood(torch.zeros(2, 1), means)
    assert likelihood.tolist() == [0, 0]
    (score,) = torch.autograd.grad(likelihood.sum(), means)
    assert score.flatten().tolist() == [-1, -1]


@settings(deadline=None, max_examples=25)
@given(st.lists(st.floats(0.01, 80), min_size=1, max_size=6), st.integers(0, 99))
def test_log_likelihood_is_that_of_scipy(levels, seed):
    means = torch.tensor([levels, levels], dtype=torch.float64)
    counts = torch.poisson(means, generator=_generator(seed))
    ours = optics.poisson_log_likelihood(counts, means)
    theirs = stats.poisson.logpmf(counts.numpy(), means.numpy()).sum(1)
    torch.testing.assert_close(ours, torch.from_numpy(theirs), rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("level", [1e4, 1e6])
def test_the_likelihood_of_much_light_is_exact_in_single_precision(level):
    means = torch.full((1, 1000), level)
    counts = torch.poisson(means, generator=_generator())
    theirs = stats.poisson.logpmf(counts.double().numpy(), level).sum()
    assert float(optics.poisson_log_likelihood(counts, means)) == pytest.approx(theirs, rel=2e-7)


def test_a_likelihood_of_light_without_end_is_that_of_the_rest():
    means = torch.tensor([[2.0, math.inf, 1e30], [2.0, 3.0, math.nan]], requires_grad=True)
    counts = torch.tensor([[5.0, math.inf, 1e30], [5.0, 1.0, 1.0]])
    likelihood = optics.poisson_log_likelihood(counts, means)
    assert float(likelihood[0].detach()) == pytest.approx(stats.poisson.logpmf(5, 2), rel=1e-6)
    assert likelihood[1].isnan()  # whoever trains looks for it there
    (score,) = torch.autograd.grad(likelihood[0], means)
    assert score[0].tolist() == [1.5, 0, 0]
    # As improbable as it was: counts that are not the mean.
    none = optics.poisson_log_likelihood(torch.zeros(1, 1), torch.tensor([[1e30]]))
    assert none.tolist() == [pytest.approx(-1e30)]


def test_the_score_of_the_log_likelihood():
    means = torch.tensor([[0.0, 1e-3, 2.0]], requires_grad=True)
    optics.poisson_log_likelihood(torch.tensor([[0.0, 1.0, 5.0]]), means).sum().backward()
    torch.testing.assert_close(means.grad, torch.tensor([[-1.0, 999.0, 1.5]]))


@pytest.mark.parametrize("baseline", [None, 0.0, 0.4])
@pytest.mark.parametrize(("level", "threshold"), [(0.7, 1), (3.0, 2), (3.0, 6)])
def test_the_score_surrogate_differentiates_a_decision(level, threshold, baseline):
    # d/dx P(n >= k) = pmf(k - 1; x), of a loss whose path gradient is zero.
    mean = torch.full((COUNT, 1), level, dtype=torch.float64, requires_grad=True)
    counts = torch.poisson(mean.detach(), generator=_generator())
    loss = (counts >= threshold).double()[:, 0]
    surrogate = optics.score_surrogate(
        loss, optics.poisson_log_likelihood(counts, mean), baseline=baseline
    )
    assert torch.equal(surrogate, loss)
    surrogate.sum().backward()
    expected = stats.poisson.pmf(threshold - 1, level)
    assert abs(mean.grad.mean() - expected) < 4 * mean.grad.std() / COUNT**0.5
    assert mean.grad.std() / COUNT**0.5 < 0.02 * expected


def test_the_score_surrogate_keeps_the_path_gradient_and_takes_a_single_picture():
    weight = torch.tensor(2.0, requires_grad=True)
    loss = (weight * torch.tensor([3.0])).reshape(1)
    likelihood = torch.tensor([-1.0], requires_grad=True)
    optics.score_surrogate(loss, likelihood).sum().backward()
    assert weight.grad == 3
    assert likelihood.grad == 6  # without others to compare with, the loss itself
    optics.score_surrogate(loss.detach(), likelihood, baseline=torch.tensor([5.0])).sum().backward()
    assert likelihood.grad == 7


def test_the_mean_of_the_others_lowers_the_variance():
    level = 5.0
    mean = torch.full((1000, 1), level, requires_grad=True)
    counts = torch.poisson(mean.detach(), generator=_generator())
    spread = {}
    for name, baseline in (("others", None), ("none", 0.0)):
        mean.grad = None
        loss = 100 + counts[:, 0]
        likelihood = optics.poisson_log_likelihood(counts, mean)
        optics.score_surrogate(loss, likelihood, baseline=baseline).sum().backward()
        spread[name] = mean.grad.std()
    assert spread["others"] < 0.1 * spread["none"]


def test_a_picture_is_compared_with_the_others_alone():
    # Mean losses of the others are 11/3, 10/3, 3 and 2.
    loss = torch.tensor([1.0, 2.0, 3.0, 6.0], dtype=torch.float64)
    likelihood = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    optics.score_surrogate(loss, likelihood).sum().backward()
    expected = torch.tensor([-8 / 3, -4 / 3, 0, 4], dtype=torch.float64)
    torch.testing.assert_close(likelihood.grad, expected)


def test_score_counts_refuse_a_path_gradient():
    light = torch.ones(3, requires_grad=True)
    with pytest.raises(ValueError, match=r"no gradient through its counts: call Sensor\.expose"):
        optics.shot_noise(light, kind="score")
    with torch.no_grad():
        counts = optics.shot_noise(light, kind="score", generator=_generator())
    assert torch.equal(counts, optics.shot_noise(light, kind="poisson", generator=_generator()))


def test_normal_numbers_have_the_type_of_what_they_join():
    for dtype in (torch.float32, torch.float64):
        like = torch.zeros(2, 5, dtype=dtype)
        for source in (None, _generator(), [_generator(), _generator()]):
            drawn = standard_normal(like, source)
            assert drawn.dtype == dtype
            assert drawn.shape == like.shape


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"one of .*'gaussian', 'poisson', 'score'.* not 'salt'"):
        optics.shot_noise(torch.ones(1), kind="salt")
    with pytest.raises(ValueError, match=r"of one shape \[B, \.\.\.\], not \(2,\) and \(3,\)"):
        optics.poisson_log_likelihood(torch.ones(2), torch.ones(3))
    with pytest.raises(ValueError, match=r"both be \[B\], one number a picture, not \(\) and"):
        optics.score_surrogate(torch.tensor(1.0), torch.ones(2))
    for baseline in (torch.ones(4, 1), torch.ones(3)):
        with pytest.raises(ValueError, match=r"one for each of the 4 pictures, not \((4, 1|3,)\)"):
            optics.score_surrogate(torch.ones(4), torch.ones(4), baseline=baseline)
    for kind in ("gaussian", "poisson", "none"):
        with pytest.raises(ValueError, match=r"electrons must be real floating .* torch\.int64"):
            optics.shot_noise(torch.ones(2, dtype=torch.int64), kind=kind)


def test_a_baseline_is_one_number_or_one_for_each_picture():
    loss, score = torch.rand(4), torch.rand(4, requires_grad=True)
    slopes = []
    for baseline in (0.5, torch.tensor(0.5), torch.full((4,), 0.5)):
        surrogate = optics.score_surrogate(loss, score, baseline=baseline)
        assert torch.equal(surrogate, loss)
        slopes += torch.autograd.grad(surrogate.sum(), score)
    for slope in slopes:
        torch.testing.assert_close(slope, loss - 0.5)


def test_read_noise_in_the_same_draw_adds_its_variance_and_has_its_slope():
    light = torch.full((200_000,), 3.0, dtype=torch.float64, requires_grad=True)
    counts = optics.shot_noise(light, read_noise=2.0, generator=torch.Generator().manual_seed(0))
    assert float(counts.detach().mean()) == pytest.approx(3.0, abs=0.03)
    assert float(counts.detach().var()) == pytest.approx(7.0, rel=0.02)
    (slope,) = torch.autograd.grad(counts.square().mean(), light)
    # d E[n^2] / dx = d (x^2 + x + s^2) / dx
    assert float(slope.sum()) == pytest.approx(7.0, rel=0.02)
    quiet = torch.full((200_000,), 0.5, dtype=torch.float64)
    counts = optics.shot_noise(quiet, read_noise=0.4, generator=torch.Generator().manual_seed(1))
    assert float(counts.var()) == pytest.approx(0.5 + 0.4**2, rel=0.02)
    dark = torch.zeros(3, requires_grad=True)
    (slope,) = torch.autograd.grad(optics.shot_noise(dark, read_noise=2.0).sum(), dark)
    assert torch.isfinite(slope).all()
    with pytest.raises(ValueError, match="joins gaussian shot noise only"):
        optics.shot_noise(light, kind="poisson", read_noise=2.0)


@pytest.mark.parametrize("many", [1, 3])
def test_counts_of_nothing_of_what_is_no_number_and_of_more_than_can_be_counted(many):
    generators = [_generator(n) for n in range(many)]
    means = torch.tensor([0.0, float("nan"), float("inf"), 1e25, 2.0**62]).repeat(many, 1)
    counts = optics.shot_noise(means, kind="poisson", generator=generators)
    assert torch.equal(counts.isnan(), means.isnan())
    assert torch.equal(counts[:, [0, 2, 3, 4]], means[:, [0, 2, 3, 4]])
    assert optics.shot_noise(means[:0], kind="poisson", generator=[]).shape == (0, 5)
    bright = torch.full((many, 1000), 1e15, dtype=torch.float64)
    assert optics.shot_noise(bright, kind="poisson", generator=generators).std() == pytest.approx(
        1e15**0.5, rel=0.1
    )


@_FORWARD
def test_counts_have_their_slope_in_forward_mode_too():
    light = torch.tensor([0.5, 4.0, 60.0], dtype=torch.float64)
    for kind in ("gaussian", "poisson", "none"):

        def draw(light, kind=kind):
            return optics.shot_noise(light, kind=kind, generator=_generator(3))

        _, change = torch.func.jvp(draw, (light,), (torch.ones_like(light),))
        expected = torch.func.jacrev(draw)(light).diagonal()
        assert (expected != 0).all()
        torch.testing.assert_close(change, expected)
    with pytest.raises(ValueError, match="has no gradient through its counts"):
        torch.func.jvp(
            lambda light: optics.shot_noise(light, kind="score"),
            (light,),
            (torch.ones_like(light),),
        )


@pytest.mark.parametrize("read_noise", [0.0, 2.0])
def test_gaussian_shot_noise_has_a_second_derivative(read_noise):
    light = torch.tensor([-1.0, 0.005, 0.5, 4.0], dtype=torch.float64, requires_grad=True)

    def draw(light):
        return optics.shot_noise(light, read_noise=read_noise, generator=_generator(3))

    assert torch.autograd.gradgradcheck(draw, (light,))


@_FORWARD
@pytest.mark.parametrize("kind", ["gaussian", "poisson"])
def test_second_derivatives_agree_where_one_is_forward(kind):
    light = torch.tensor([0.5, 4.0], dtype=torch.float64)

    def draw(light):
        return optics.shot_noise(light, kind=kind, generator=_generator(3)).square().sum()

    forward, reverse = torch.func.jacfwd, torch.func.jacrev
    wanted = reverse(reverse(draw))(light)
    assert wanted.diagonal().all()
    # Twice forward torch makes zero of, for every function whose gradient is written out.
    torch.testing.assert_close(forward(reverse(draw), randomness="same")(light), wanted)
    torch.testing.assert_close(reverse(forward(draw, randomness="same"))(light), wanted)


@pytest.mark.parametrize("kind", ["gaussian", "poisson"])
def test_the_mean_square_has_the_curvature_of_a_poisson_count(kind):
    mean = torch.full((COUNT,), 1.0, dtype=torch.float64, requires_grad=True)
    square = optics.shot_noise(mean, kind=kind, generator=_generator()).square().sum()
    (slope,) = torch.autograd.grad(square, mean, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), mean)
    # The mean square is x^2 + x.
    assert abs(curvature.mean() - 2) < 4 * curvature.std() / COUNT**0.5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_likelihood_of_half_precision_is_formed_in_single(dtype):
    counts, means = (torch.tensor([numbers], dtype=dtype) for numbers in ([0, 0, 9], [0, 2, 7.3]))
    found = optics.poisson_log_likelihood(counts, means)
    assert torch.equal(found, optics.poisson_log_likelihood(counts.float(), means.float()))
    assert found.isfinite()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", ["gaussian", "poisson", "score", "none"])
def test_counts_of_half_precision_are_formed_in_single(dtype, kind):
    electrons = torch.full((2, 50_000), 3000.0, dtype=dtype)
    counts, same = (
        optics.shot_noise(x, kind=kind, generator=torch.Generator().manual_seed(0))
        for x in (electrons, electrons.float())
    )
    assert counts.dtype == torch.float32
    assert torch.equal(counts, same)
    if kind in ("poisson", "score"):
        assert counts.unique().diff().min() == 1


def test_a_read_noise_that_single_precision_does_not_hold_has_a_finite_slope():
    for read_noise in (0.0, 1e-25, 1e-18):
        dark = torch.zeros(1, 100, requires_grad=True)
        optics.shot_noise(dark, read_noise=read_noise).sum().backward()
        assert dark.grad.isfinite().all(), read_noise
