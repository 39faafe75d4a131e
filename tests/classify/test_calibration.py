import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from judgeable import scored
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax

import classify


def _nll(logits, labels, temperature=1.0):
    return -log_softmax(logits / temperature, axis=1)[np.arange(len(labels)), labels].mean()


@pytest.mark.filterwarnings("ignore:no temperature is best")  # some draws know nothing
@settings(deadline=None, max_examples=80)
@given(st.integers(0, 2**31), st.floats(0.1, 20))
def test_temperature_is_the_minimum_and_never_worse_than_one(seed, scale):
    logits, labels = scored(seed, scale=scale)
    temperature = classify.fit_temperature(logits, labels)
    assert _nll(logits, labels, temperature) <= _nll(logits, labels) + 1e-12
    np.testing.assert_array_equal((logits / temperature).argmax(1), logits.argmax(1))
    expected = minimize_scalar(
        lambda t: _nll(logits, labels, np.exp(t)),
        bounds=np.log([0.01, 100]),
        method="bounded",
        options={"xatol": 1e-10},
    )
    assert _nll(logits, labels, temperature) <= expected.fun + 1e-12
    if 0.02 < temperature < 50:
        assert np.log(temperature) == pytest.approx(expected.x, abs=1e-4)


@pytest.mark.parametrize("scale", [1e-9, 1e-4, 1e4, 1e9])
def test_temperature_follows_the_scale_of_the_scores(scale):
    logits, labels = scored(3)
    expected = minimize_scalar(
        lambda t: _nll(logits, labels, np.exp(t)),
        bounds=(-10, 10),  # those of scikit-learn's temperature scaling
        method="bounded",
        options={"xatol": 1e-10},
    )
    temperature = classify.fit_temperature(scale * logits, labels)
    assert np.log(temperature / scale) == pytest.approx(expected.x, abs=1e-6)


def test_temperature_finds_the_scale_that_was_planted():
    random = np.random.default_rng(0)
    logits = 2 * random.normal(size=(40_000, 5))
    labels = (logits + random.gumbel(size=logits.shape)).argmax(1)  # draws from the softmax
    assert classify.fit_temperature(logits, labels) == pytest.approx(1, abs=0.03)
    assert classify.fit_temperature(3 * logits, labels) == pytest.approx(3, abs=0.09)
    scaled = classify.fit_temperature(torch.from_numpy(3 * logits), torch.from_numpy(labels))
    assert scaled == classify.fit_temperature(3 * logits, labels)
    over = classify.report(3 * logits, labels, classes=range(5))
    mended = classify.report(3 * logits / scaled, labels, classes=range(5))
    assert over.ece > 0.1
    assert mended.ece < 0.02


def test_temperature_at_its_bounds():
    labels = np.array([0, 1, 1])
    right = np.eye(2)[labels]
    with pytest.warns(UserWarning, match="no temperature is best: .* these 3 .* make no mistake"):
        assert classify.fit_temperature(right, labels) == 0.01
    with pytest.warns(UserWarning, match="these 3 .* no better than chance.* 100 is the end"):
        assert classify.fit_temperature(-right, labels) == 100
    # Chance itself: the slope at T = infinity is 0, but for a rounding.
    scores = np.tile([0.95, -0.7, -1.27], (3, 1))
    with pytest.warns(UserWarning, match="no better than chance"):
        assert classify.fit_temperature(scores, np.arange(3)) == 100
    assert classify.fit_temperature(np.zeros((3, 2)), labels) == 1  # makes no difference
    # An impossible class is no trouble as long as it is not the true one.
    logits, labels = scored(0)
    impossible = np.column_stack([logits, np.full(len(labels), -np.inf)])
    assert classify.fit_temperature(impossible, labels) == classify.fit_temperature(logits, labels)
    half = torch.from_numpy(logits).bfloat16()
    assert classify.fit_temperature(half, labels) == classify.fit_temperature(half.double(), labels)


@pytest.mark.parametrize("kind", ["tensor", "array"])
def test_half_precision_is_divided_in_float32(kind):
    logits = torch.tensor([[700.0, 699, 0], [-3, 60_000, 1]], dtype=torch.float16)
    wanted = logits.double() / 0.01 + torch.tensor([0.1, -0.2, 0.3]).double()
    given = logits if kind == "tensor" else logits.numpy()
    found = classify.calibrate_logits(given, 0.01, (0.1, -0.2, 0.3))
    assert str(found.dtype).endswith("float32")
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    rule = classify.DecisionRule(("a", "b", "c"), 0.01)
    np.testing.assert_allclose(rule.probabilities(given), np.eye(3)[:2], atol=1e-6)


@pytest.mark.parametrize("temperature", [torch.tensor(2.0, requires_grad=True), np.float64(2)])
def test_an_array_stays_one_whatever_the_temperature_is(temperature):
    logits = np.float32([[1, -3, 5]])
    found = classify.calibrate_logits(logits, temperature)
    assert isinstance(found, np.ndarray)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, logits / 2)


def test_temperature_refuses_what_it_cannot_mend():
    for logits, labels, message in (
        ([[-np.inf, 0.0], [0.0, 1.0]], [0, 1], "1 true classes have the score -inf, which no"),
        ([[np.nan, 0.0], [0.0, 1.0]], [0, 1], "1 rows of scores are nan or infinite"),
        ([[0.0, 0.0], [0.0, 1.0]], [0, 2], "label 2 is beyond the 2 classes"),
        ([0.0, 1.0], [0, 1], r"scores must be \[N, K\], not \(2,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            classify.fit_temperature(np.array(logits), np.array(labels))


@pytest.mark.parametrize("far", [-1e4, -1e9, np.finfo(np.float32).min, np.finfo(float).min])
def test_scores_that_stand_for_impossible_count_as_such(far):
    logits, labels = scored(0, count=200)
    masked = np.random.default_rng(1).random(logits.shape) < 0.3
    masked[np.arange(200), labels] = False
    minus, finite = (np.where(masked, value, logits) for value in (-np.inf, far))
    assert classify.fit_temperature(finite, labels) == classify.fit_temperature(minus, labels)
    found = classify.fit_bias_corrected_temperature(finite, labels)
    expected = classify.fit_bias_corrected_temperature(minus, labels)
    assert found.temperature == expected.temperature
    np.testing.assert_array_equal(found.bias, expected.bias)
    worse = np.where(masked, far, logits - 3 * np.eye(4)[labels])
    with pytest.warns(UserWarning, match="no better than chance"):
        assert classify.fit_temperature(worse, labels) == 100
    with pytest.raises(ValueError, match="no better than chance"):
        classify.fit_bias_corrected_temperature(worse, labels)


def test_a_far_score_counts_where_a_true_class_lies_as_far():
    logits, labels = scored(0, count=200, classes=3)
    logits[:, 2], labels = -5000, np.where(labels == 2, 0, labels)
    labels[0] = 2
    temperature = classify.fit_temperature(logits, labels)
    expected = minimize_scalar(
        lambda t: _nll(logits, labels, np.exp(t)), bounds=(0, 12), method="bounded"
    )
    assert 100 < temperature < 10_000
    assert _nll(logits, labels, temperature) <= expected.fun + 1e-9


def test_probabilities_are_not_taken_for_logits_silently():
    generator = np.random.default_rng(0)
    logits = 2 * generator.normal(size=(60, 4))
    labels = np.where(np.arange(60) % 3 == 0, generator.integers(0, 4, 60), logits.argmax(1))
    shares = np.exp(log_softmax(logits, 1))
    for scores in (shares, shares.astype(np.float32), torch.as_tensor(shares)):
        with pytest.warns(UserWarning, match="probabilities, but are taken as logits: give their"):
            classify.fit_temperature(scores, labels)
    with pytest.warns(UserWarning, match="taken as logits"):
        classify.choose_tau(shares, labels, log_prior=np.log(np.full(4, 0.25)))
    with pytest.warns(UserWarning, match="taken as logits: give kind='probabilities'"):
        classify.report(shares, labels, classes="abcd")
    # Of these it is quiet: warnings are errors here.
    for fine in (logits, np.log(shares), np.abs(logits), shares + 0.01):
        classify.fit_temperature(fine, labels)
        classify.report(fine, labels, classes="abcd")
    classify.report(shares, labels, classes="abcd", kind="probabilities")
    assert classify.fit_temperature(np.log(shares), labels) == pytest.approx(
        classify.fit_temperature(logits, labels)
    )


@pytest.mark.filterwarnings("ignore:no temperature is best")  # for one without biases
@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**31), st.floats(-3, 3))
def test_bias_corrected_temperature_is_the_minimum(seed, power):
    random = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(4), random.choice(4, 146, p=[0.7, 0.1, 0.1, 0.1])])
    logits = random.normal(size=(150, 4)) + random.normal(size=4)
    logits[np.arange(150), labels] += random.uniform(0.7, 2)
    logits *= 10**power
    fitted = classify.fit_bias_corrected_temperature(logits, labels)

    def nll(found):
        return _nll(logits * np.exp(-found[0]) + np.append(found[1:], 0), labels)

    start = np.append(np.log(logits.std()), np.zeros(3))
    theirs = minimize(nll, start, method="BFGS", options={"gtol": 1e-8})
    ours = _nll(logits / fitted.temperature + fitted.bias, labels)
    assert ours <= theirs.fun + 1e-7
    assert ours <= _nll(logits, labels, classify.fit_temperature(logits, labels)) + 1e-9
    assert np.log(fitted.temperature) == pytest.approx(theirs.x[0], abs=1e-3)
    # Where the slope by the biases is zero, each class is expected as often as it occurs.
    expected = np.exp(log_softmax(logits / fitted.temperature + fitted.bias, axis=1)).mean(0)
    np.testing.assert_allclose(expected, np.bincount(labels) / 150, atol=1e-6)
    assert fitted.bias.mean() == pytest.approx(0, abs=1e-12)


def test_bias_and_temperature_find_what_was_planted():
    random = np.random.default_rng(0)
    logits, bias = 2 * random.normal(size=(40_000, 4)), np.array([1.5, 0.5, -0.5, -1.5])
    labels = (logits + bias + random.gumbel(size=logits.shape)).argmax(1)
    temperature, found = classify.fit_bias_corrected_temperature(3 * logits, labels)
    assert temperature == pytest.approx(3, abs=0.09)
    np.testing.assert_allclose(found, bias, atol=0.06)
    as_tensors = classify.fit_bias_corrected_temperature(
        torch.from_numpy(3 * logits), torch.from_numpy(labels)
    )
    assert as_tensors.temperature == temperature
    # Impossible for some of the pictures, a class is no trouble where it is not the true one.
    logits[:2000][labels[:2000] != 3, 3] = -np.inf
    fitted = classify.fit_bias_corrected_temperature(logits, labels)
    mended = log_softmax(logits / fitted.temperature + fitted.bias, axis=1)
    np.testing.assert_allclose(np.exp(mended).mean(0), np.bincount(labels) / 40_000, atol=1e-6)
    # Where the scores say nothing, the biases are the shares.
    temperature, found = classify.fit_bias_corrected_temperature(
        np.zeros((10, 2)), [0] * 8 + [1] * 2
    )
    assert temperature == 1
    np.testing.assert_allclose(found, [np.log(2), -np.log(2)], atol=1e-6)


def test_bias_and_temperature_refuse_what_has_no_minimum():
    labels = np.array([0, 1, 1, 0])
    right = np.eye(2)[labels]
    for logits, truth, message in (
        (
            np.zeros((4, 4)),
            labels,
            "classes 2, 3 have no picture among these 4, .* fit_temperature",
        ),
        (
            right + np.array([5, 0]),
            labels,
            "the lower the better on these 4 .* such biases .* no mistake",
        ),
        (-right, labels, "the higher the better on these 4 pictures, .* no better than chance"),
        (np.full((4, 2), np.nan), labels, "4 rows of scores are nan or infinite"),
        ([[-np.inf, 0.0], [0.0, 1.0]], [0, 1], "1 true classes have the score -inf, which no"),
    ):
        with pytest.raises(ValueError, match=message):
            classify.fit_bias_corrected_temperature(np.array(logits), np.array(truth))
    with pytest.warns(UserWarning, match="taken as logits: give their logarithms"):
        classify.fit_bias_corrected_temperature(np.array([[0.2, 0.8]] * 4), labels)


def test_bias_and_temperature_of_scores_that_err_in_ties_alone():
    scores, labels = np.array([-2.0, -1, -1, 0, 0, 1, 2]), np.array([0, 0, 0, 0, 1, 1, 1])
    logits = np.stack([np.zeros(7), scores], 1)
    for scale in (1e-3, 1, 1e3):
        with pytest.raises(
            ValueError, match=r"the lower the better on these 7 .*, except for ties"
        ):
            classify.fit_bias_corrected_temperature(scale * logits, labels)
    labels[2] = 1  # an error of a surer score: there is a minimum
    assert 0 < classify.fit_bias_corrected_temperature(logits, labels).temperature < 10
    # Scores that say nothing have one at any temperature, with balanced classes too.
    assert classify.fit_bias_corrected_temperature(np.zeros((6, 3)), [0, 1, 2] * 2).temperature == 1


@pytest.mark.parametrize("far", [5.0, 9.0])
def test_a_class_that_is_far_of_scores_that_tell_nothing_is_not_impossible(far):
    # Where the others are worse than chance, the highest temperature would give it a third.
    labels = np.repeat([0, 1], [180, 220])
    logits = np.tile([1e-3, -1e-3, -far], (400, 1))
    logits[200:, :2] *= -1
    guess = np.random.default_rng(0).permutation(400)
    temperature = classify.fit_temperature(logits[guess], labels)
    assert temperature < 10


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64])
def test_arrays_and_tensors_are_calibrated_alike(kind):
    logits, _ = scored(5)
    logits, bias = (3 * logits).astype(kind), np.array([0.5, -1.0, 0.25, 0.25])
    wanted = logits / 1.7 + bias
    for offset in (bias, torch.from_numpy(bias), bias.tolist()):
        array = classify.calibrate_logits(logits, 1.7, offset)
        tensor = classify.calibrate_logits(torch.from_numpy(logits), 1.7, offset)
        np.testing.assert_allclose(array, wanted, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(tensor, wanted, rtol=1e-5, atol=1e-6)
    if kind == np.float64:  # numbers of Python come to it whole
        np.testing.assert_allclose(tensor, wanted, rtol=1e-15, atol=1e-15)
        tenth = classify.calibrate_logits(torch.zeros(1, 4).double(), 1.0, (0.1, 0.2, 0.3, 0.4))
        assert tenth.tolist() == [[0.1, 0.2, 0.3, 0.4]]
    assert array.dtype == (kind if kind != np.int64 else np.float64)
    assert tensor.dtype == (torch.float64 if kind == np.float64 else torch.float32)
    np.testing.assert_array_equal(classify.calibrate_logits(logits), logits)


def test_a_temperature_and_an_offset_may_be_learned():
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    temperature = torch.tensor(2.0, requires_grad=True)
    offset = torch.tensor([0.1, 0.2, 0.3], requires_grad=True)
    classify.calibrate_logits(logits, temperature, offset)[:, 1].sum().backward()
    assert offset.grad.tolist() == [0, 5, 0]
    assert float(temperature.grad) == pytest.approx(-float(logits[:, 1].detach().sum()) / 4)
    assert logits.grad[:, 1].tolist() == [0.5] * 5


def test_an_adjustment_is_an_offset():
    logits, prior = scored(6)[0], np.log([0.7, 0.1, 0.1, 0.1])
    wanted = classify.adjust_logits(logits, prior, tau=0.75)
    np.testing.assert_array_equal(classify.calibrate_logits(logits, offset=-0.75 * prior), wanted)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (([[1.0]],), TypeError, "logits must be an array or a tensor, not list"),
        ((np.ones((2, 3)), "2"), TypeError, "temperature must be a number, not str"),
        ((np.ones((2, 3)), True), TypeError, "temperature must be a number, not bool"),
        ((np.ones((2, 3)), 10**400), ValueError, "temperature must be positive and finite, not 1"),
        ((np.ones((2, 3)), 0.0), ValueError, "temperature must be positive and finite, not 0.0"),
        ((np.ones((2, 3)), np.inf), ValueError, "temperature must be positive and finite, not inf"),
        ((np.ones((2, 3)), np.nan), ValueError, "temperature must be positive and finite, not nan"),
        ((np.ones((2, 3)), 1.0, [1.0]), ValueError, r"offset must be \[K\] for logits"),
        ((np.ones(()), 1.0, [1.0]), ValueError, r"offset must be \[K\] for logits"),
        ((np.ones((2, 2)), 1.0, [1, np.nan]), ValueError, "offset must be finite, not"),
    ],
)
def test_what_calibrates_nothing_is_refused(given, error, message):
    with pytest.raises(error, match=message):
        classify.calibrate_logits(*given)


def test_probabilities_that_are_calibrated_as_logits_are_told():
    with pytest.warns(UserWarning, match="these scores are probabilities, but are taken as"):
        classify.calibrate_logits(np.full((2, 2), 0.5), 2.0)
