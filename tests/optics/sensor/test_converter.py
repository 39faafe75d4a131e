import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

import optics
from optics.sensor.converter import _MIDPOINT, mean_code_slopes

# torch's own, at its first forward derivative
_FORWARD = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")

BITS = 5
TOP = 2**BITS - 1
SIGMAS = [0.05, 0.1, 0.3, 0.5, 1.0, 1.24, 1.26, 2.0, 3.0]


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _voltages():
    """Both ends of the range and beyond, the thresholds, the codes and what is in between."""
    ends = np.linspace(-5, 5, 401)
    return np.concatenate((ends, TOP + ends, np.linspace(9, 12, 61)))


def _mean_code(signal, sigma):
    thresholds = np.arange(1, TOP + 1) - 0.5
    return stats.norm.cdf((signal[:, None] - thresholds) / sigma).sum(1)


def _slopes(signal, sigma):
    """Closed form of the slopes of the mean code to the voltage and to the noise, by scipy."""
    z = (signal[:, None] - (np.arange(1, TOP + 1) - 0.5)) / sigma
    density = stats.norm.pdf(z)
    return density.sum(1) / sigma, (-z * density).sum(1) / sigma


@pytest.mark.parametrize("noise", SIGMAS)
def test_the_dithered_gradient_is_the_closed_form(noise):
    signal = torch.from_numpy(_voltages()).requires_grad_()
    optics.digitise(
        signal, BITS, noise=noise, estimator="dithered", generator=_generator()
    ).sum().backward()
    np.testing.assert_allclose(signal.grad, _slopes(_voltages(), noise)[0], rtol=0, atol=1e-6)
    single = torch.tensor(_voltages(), dtype=torch.float32).requires_grad_()
    optics.digitise(single, BITS, noise=noise, estimator="dithered").sum().backward()
    at = single.detach().double().numpy()
    np.testing.assert_allclose(single.grad, _slopes(at, noise)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("far", [1e4, 1e7, 1e30, np.inf])
@pytest.mark.parametrize("noise", SIGMAS)
def test_a_voltage_far_out_of_the_range_has_no_slope(noise, far):
    for dtype in (torch.float32, torch.float64):
        signal = torch.tensor([-far, far, TOP / 2], dtype=dtype, requires_grad=True)
        spread = torch.full((3,), noise, dtype=dtype, requires_grad=True)
        for width in (noise, spread):
            codes = optics.digitise(signal, BITS, noise=width, estimator="dithered")
            codes.sum().backward()
            assert codes[:2].tolist() == [0, TOP]
        assert signal.grad[:2].tolist() == spread.grad[:2].tolist() == [0, 0]
        at = np.array([TOP / 2])
        by_signal, by_noise = (2 * _slopes(at, noise)[0], _slopes(at, noise)[1])
        np.testing.assert_allclose(signal.grad[2:], by_signal, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(spread.grad[2:], by_noise, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("noise", SIGMAS)
def test_noise_in_a_tensor_has_a_gradient_too(noise):
    signal = torch.from_numpy(_voltages()).requires_grad_()
    spread = torch.tensor(noise, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(len(signal), generator=_generator(), dtype=torch.float64)
    codes = optics.digitise(signal, BITS, noise=spread, estimator="dithered")
    (codes * weights).sum().backward()
    by_signal, by_noise = _slopes(_voltages(), noise)
    np.testing.assert_allclose(signal.grad, by_signal * weights.numpy(), rtol=0, atol=1e-6)
    assert float(spread.grad) == pytest.approx((by_noise * weights.numpy()).sum(), abs=1e-4)


def test_an_accelerator_takes_the_same_sums(monkeypatch):
    # There both sums are formed, because noise in a tensor is not looked at.
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    signal = torch.from_numpy(_voltages())
    for noise in SIGMAS:
        spread = torch.tensor(noise, dtype=torch.float64)
        slopes = mean_code_slopes(signal, TOP, spread, with_noise=True)
        for ours, theirs in zip(slopes, _slopes(_voltages(), noise), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=3e-6)


@pytest.mark.parametrize("noise", [0.1, 0.3, 0.5, 3.0])
def test_the_dithered_gradient_is_the_finite_difference_of_the_mean_code(noise):
    count, step = 400_000, 0.02
    for level in (0.1, 10.0, 10.3, TOP - 0.4):
        up, down = (
            optics.digitise(
                torch.full((count,), level + s, dtype=torch.float64), BITS, noise=noise,
                estimator="dithered", generator=_generator(),
            )
            for s in (step, -step)
        )  # fmt: skip
        differences = (up - down) / (2 * step)
        signal = torch.tensor([level], dtype=torch.float64, requires_grad=True)
        optics.digitise(signal, BITS, noise=noise, estimator="dithered").sum().backward()
        # The differences carry the curvature over the step, the closed form of which is known.
        around = _mean_code(np.array([level + step, level - step]), noise)
        curvature = (around[0] - around[1]) / (2 * step) - float(signal.grad)
        error = 4 * float(differences.std()) / count**0.5 + abs(curvature) + 1e-6
        assert abs(float(differences.mean()) - float(signal.grad)) < error


@pytest.mark.parametrize(
    ("noise", "low", "high"), [(0.3, 0.66, 1.34), (0.5, 0.986, 1.014), (1.0, 1.0, 1.0)]
)
def test_straight_through_is_wrong_below_a_third_of_a_code(noise, low, high):
    # E7: its gradient is 1 everywhere; the true slope swings about 1 with the phase of the code.
    voltages = np.linspace(10, 11, 401)
    truth = _slopes(voltages, noise)[0]
    assert truth.min() == pytest.approx(low, abs=5e-3)
    assert truth.max() == pytest.approx(high, abs=5e-3)
    for estimator in ("straight_through", "dithered"):
        signal = torch.from_numpy(voltages).requires_grad_()
        optics.digitise(
            signal, BITS, noise=noise, estimator=estimator, generator=_generator()
        ).sum().backward()
        error = np.abs(signal.grad.numpy() - truth).max()
        assert error == pytest.approx(
            max(truth.max() - 1, 1 - truth.min()) if estimator == "straight_through" else 0,
            abs=1e-6,
        )


@pytest.mark.parametrize("sigma", [0.5, 1.0])
def test_straight_through_is_exact_in_the_mean_above_half_a_code_of_noise(sigma):
    count, step = 400_000, 0.2
    for level in (6.0, 6.45, 7.05):
        up, down = (
            optics.digitise(
                torch.full((count,), level + s, dtype=torch.float64), BITS, noise=sigma,
                generator=_generator(),
            ).mean()
            for s in (step, -step)
        )  # fmt: skip
        assert (up - down) / (2 * step) == pytest.approx(1.0, rel=0.03)


def test_both_estimators_read_the_same_codes():
    signal = torch.rand(1000, generator=_generator()) * 40 - 4
    first, second = (
        optics.digitise(signal, BITS, noise=0.7, estimator=name, generator=_generator(1))
        for name in ("straight_through", "dithered")
    )
    assert torch.equal(first, second)
    assert first.min() == 0
    assert first.max() == TOP
    spread = torch.tensor(0.7)
    third = optics.digitise(signal, BITS, noise=spread, generator=_generator(1))
    assert (third != first).float().mean() < 0.01  # but for rounding errors


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 16), st.integers(0, 2**31))
def test_codes_are_the_nearest_and_all_are_reached(bits, seed):
    top = 2**bits - 1
    signal = torch.rand(1000, generator=_generator(seed), dtype=torch.float64) * top
    codes = optics.digitise(signal, bits)
    assert torch.equal(codes, codes.round())
    assert (codes - signal).abs().max() <= 0.5
    if bits < 12:
        steps = torch.linspace(0, top, 4 * top + 1, dtype=torch.float64)
        assert len(optics.digitise(steps, bits).unique()) == top + 1


@pytest.mark.parametrize("estimator", ["straight_through", "dithered"])
@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("bits", [10, 12, 16])
def test_half_precision_is_read_and_returned_in_single(bits, half, estimator):
    # Whole codes, which end at 2**bits - 1, are none of its numbers.
    signal = torch.tensor([-5.0, 3.2, 300.4, 1023.0, 40001.0, 60000.0], dtype=half)
    noise = torch.tensor(0.7, dtype=half)
    options = {"noise": noise, "estimator": estimator}
    slopes, codes = [], []
    for voltage in (signal, signal.float()):
        leaf = voltage.requires_grad_()
        codes.append(optics.digitise(leaf, bits, generator=_generator(), **options))
        slopes += torch.autograd.grad(codes[-1].sum(), leaf)
    assert torch.equal(*codes)
    assert codes[0].max() <= 2**bits - 1
    assert slopes[0].dtype == half
    torch.testing.assert_close(slopes[0], slopes[1].to(half))


@pytest.mark.parametrize(("bits", "top"), [(None, 1), (8, 255)])
def test_straight_through_is_one_inside_and_zero_where_clipped(bits, top):
    signal = torch.tensor([-0.2, 0.0, 0.3, 0.9, 1.0, 1.4]) * top
    signal.requires_grad_()
    codes = optics.digitise(signal, bits)
    codes.sum().backward()
    assert signal.grad.tolist() == [0, 1, 1, 1, 1, 0]
    if bits is None:
        torch.testing.assert_close(codes, torch.tensor([0.0, 0.0, 0.3, 0.9, 1.0, 1.0]))


def test_no_noise_is_no_noise_as_a_tensor_too():
    signal = torch.rand(50, generator=_generator()) * 31
    noise = torch.tensor(0.0, requires_grad=True)
    codes = optics.digitise(signal, BITS, noise=noise, generator=_generator())
    assert torch.equal(codes, optics.digitise(signal, BITS))
    codes.sum().backward()
    assert torch.isfinite(noise.grad)


def test_straight_through_differentiates_its_noise():
    signal = torch.rand(50, dtype=torch.float64, requires_grad=True)
    noise = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda s, n: optics.digitise(s, None, noise=n, generator=_generator()), (signal, noise)
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bit_depth": 0}, "bit_depth must be a whole number from 1 to 16, or None, not 0"),
        ({"bit_depth": 17}, "not 17"),
        ({"estimator": "hope"}, "estimator must be one of .* not 'hope'"),
        ({"noise": -1.0}, "noise must be 0 or more, in DN RMS; it reaches -1"),
        ({"noise": float("nan")}, "noise must be finite, in DN RMS; it has nan"),
        ({"noise": torch.tensor(-1.0)}, "noise must be 0 or more, in DN RMS; it reaches -1"),
        ({"noise": torch.tensor(1j)}, r"noise must be real, in DN RMS, not torch\.complex64"),
        ({"estimator": "dithered"}, "noise=0.0 DN and bit_depth=8: give both"),
        (
            {"estimator": "dithered", "noise": torch.tensor(0.0)},
            "noise=0.0 DN and bit_depth=8: give both",
        ),
        ({"bit_depth": 8.0}, "bit_depth must be a whole number from 1 to 16, or None, not 8.0"),
        ({"estimator": "dithered", "noise": 1.0, "bit_depth": None}, "noise=1.0 DN and bit_depth="),
        ({"signal": torch.ones(2, dtype=torch.long)}, "signal must be real floating point in DN"),
    ],
)
def test_bad_input_is_refused(options, message):
    options = {"signal": torch.ones(2), "bit_depth": 8, **options}
    with pytest.raises(ValueError, match=message):
        optics.digitise(**options)


@_FORWARD
@pytest.mark.parametrize("estimator", ["straight_through", "dithered"])
def test_codes_have_their_slope_in_forward_mode_and_for_each_picture(estimator):
    signal = torch.linspace(-2.0, 17.0, 40, dtype=torch.float64)
    noise = torch.tensor(0.6, dtype=torch.float64)

    def convert(signal, noise):
        generator = torch.Generator().manual_seed(1)
        return optics.digitise(signal, 4, noise=noise, estimator=estimator, generator=generator)

    for argument in (0, 1):
        forward = torch.func.jacfwd(convert, argnums=argument, randomness="same")(signal, noise)
        backward = torch.func.jacrev(convert, argnums=argument)(signal, noise)
        assert backward.any()
        torch.testing.assert_close(forward, backward)
    each = torch.func.vmap(
        torch.func.grad(lambda row: convert(row, noise).sum()), randomness="same"
    )(torch.stack((signal, signal)))
    torch.testing.assert_close(each[1], torch.func.grad(lambda s: convert(s, noise).sum())(signal))


def test_the_terms_of_the_midpoint_rule_are_bernoullis():
    # B_2m(1/2) / (2m)! = (2^(1 - 2m) - 1) B_2m / (2m)! (DLMF 24.4.27), where by Euler's formula
    # B_2m / (2m)! = (-1)^(m + 1) 2 zeta(2m) / (2 pi)^(2m) (DLMF 25.6.2).
    m = np.arange(1, 5)
    bernoulli = (-1.0) ** (m + 1) * 2 * special.zeta(2 * m) / (2 * np.pi) ** (2 * m)
    np.testing.assert_allclose(_MIDPOINT, (2.0 ** (1 - 2 * m) - 1) * bernoulli, rtol=1e-14)


@pytest.mark.parametrize("estimator", ["straight_through", "dithered"])
def test_noise_may_be_each_pictures_own(estimator):
    noise = torch.tensor([0.2, 0.9, 4.0], dtype=torch.float64).view(3, 1, 1, 1).requires_grad_()
    signal = torch.linspace(-3, 20, 96, dtype=torch.float64).view(3, 2, 4, 4).requires_grad_()
    weights = torch.rand(3, 2, 4, 4, dtype=torch.float64)

    def slopes(signal, noise, weights, sources):
        codes = optics.digitise(signal, 4, noise=noise, estimator=estimator, generator=sources)
        return codes, torch.autograd.grad((codes * weights).sum(), (signal, noise))

    sources = [torch.Generator().manual_seed(n) for n in range(3)]
    codes, (to_signal, to_noise) = slopes(signal, noise, weights, sources)
    assert to_noise.shape == noise.shape
    for n in range(3):
        one, source = slice(n, n + 1), torch.Generator().manual_seed(n)
        alone, (own_signal, own_noise) = slopes(
            signal[one], noise[n, 0, 0, 0], weights[one], source
        )
        assert torch.equal(alone, codes[one])
        torch.testing.assert_close(own_signal, to_signal[one])
        torch.testing.assert_close(own_noise, to_noise[n, 0, 0, 0])


@pytest.mark.parametrize("shape", [(2,), (3, 1, 1), (1, 1, 2, 1)])
def test_noise_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"noise must be one number, or broadcast to the signal"):
        optics.digitise(torch.ones(2, 1, 1), 8, noise=torch.full(shape, 0.5))


@pytest.mark.parametrize("noise", [(0.05, 0.3), (1.3, 4.0), (0.4, 3.0), (1.25, 1.2500001)])
def test_the_slopes_of_a_picture_are_those_of_its_own_noise(noise):
    signal = torch.linspace(-3, TOP + 3, 2 * 40).reshape(2, 1, 4, 10)
    several = torch.tensor(noise).reshape(2, 1, 1, 1)
    together = mean_code_slopes(signal, TOP, several, with_noise=True)
    alone = [
        mean_code_slopes(signal[k : k + 1], TOP, float(each), with_noise=True)
        for k, each in enumerate(several)
    ]
    for found, parts in zip(together, zip(*alone, strict=True), strict=True):
        torch.testing.assert_close(found, torch.cat(parts), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (1, 1, 3, 1), (1, 1, 1, 1), (3, 1, 1, 1)])
def test_noise_of_channels_or_rows_is_not_that_of_pictures(shape):
    signal = torch.linspace(0, TOP, 3 * 3 * 3 * 2).reshape(3, 3, 3, 2)
    noise = torch.linspace(0.3, 3.0, math.prod(shape)).reshape(shape)
    slope, _ = mean_code_slopes(signal, TOP, noise)
    each = noise.expand_as(signal)
    expected = [
        mean_code_slopes(s.reshape(1), TOP, float(n))[0]
        for s, n in zip(signal.flatten(), each.flatten(), strict=True)
    ]
    torch.testing.assert_close(slope.flatten(), torch.cat(expected), rtol=1e-5, atol=1e-6)
