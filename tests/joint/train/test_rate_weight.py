import dataclasses
import itertools
import math
import warnings

import numpy as np
import pytest
import torch
from small import Head, _fit, _same, _settings, _state, full_system

import compress
import joint
import joint.study
import joint.train.loop
import joint.train.step
import optics
from joint.train.rate_weight import _AT_LIMIT, _QUICK, _RECENT, _SLOW, ON_TARGET, RateWeight

# Most trainings here are too short to meet a target.
pytestmark = pytest.mark.filterwarnings("ignore:the rate was to end at")

# A file of the codec has 27 bytes of header, which is 0.84 bits a pixel of these pictures.
AIMED = joint.Objective(rate=0.1, distortion=1.0, rate_target=1.2)


def _weight(start=0.1, target=0.5):
    objective = joint.Objective(rate=start, rate_target=target)
    return RateWeight(objective, torch.device("cpu"))


def _take(weight, rate, step, speed=1.0):
    """A step of an epoch in which the codec learns."""
    weight.see(torch.as_tensor(rate), step)
    weight.follow(torch.as_tensor(rate), speed)


def test_the_weight_is_that_of_the_closed_form():
    rates = torch.rand(40, generator=torch.Generator().manual_seed(0)) * 1.5
    speeds = np.linspace(0.04, 1, 40)
    weight = _weight()
    assert float(weight()) == pytest.approx(0.1, rel=1e-6)
    for number, (rate, speed) in enumerate(zip(rates, speeds, strict=True)):
        if number == 20:
            weight.compare(0.6)
        _take(weight, rate, number % 20, speed)
    # The mean of the last steps forgets a tenth a step, once it is of ten.
    seen = rates[:20].double().numpy()
    shares = (1 - _RECENT) ** np.r_[[10.0] * 10, 9:-1:-1]
    shares *= np.r_[[0.1] * 10, [_RECENT] * 10]
    assert shares.sum() == pytest.approx(1)
    ratio = np.where(np.arange(40) < 20, 1.0, 0.6 / (shares @ seen))
    errors = np.minimum(ratio * rates.double().numpy() / 0.5 - 1, 1.0)
    assert (errors == 1).any()  # the limit is reached
    growths = np.where(errors < 1, errors, _AT_LIMIT)
    expected = 0.1 * np.exp(_SLOW * np.sum(speeds * growths) + _QUICK * errors[-1])
    # Forty sums in float32.
    assert float(weight()) == pytest.approx(expected, rel=40 * torch.finfo(torch.float32).eps)
    before = weight()
    for nothing in (None, 0.0):
        weight.compare(nothing)
    fresh = _weight()
    fresh.compare(1.0)  # before any step there is nothing to compare with
    assert torch.equal(weight(), before)
    assert float(fresh.state[2]) == 1


def test_the_validation_is_compared_with_the_end_of_the_epoch():
    """In a first epoch the rate falls far: its mean is not what the validation sees."""
    weight = _weight(target=0.5)
    rates = np.geomspace(4, 0.5, 200)
    for step, rate in enumerate((*rates, *[0.5] * 50)):
        _take(weight, float(rate), step)
    weight.compare(0.45)  # a tenth below, as rounding is below noise
    assert float(weight.state[2]) == pytest.approx(0.9, rel=0.01)


def test_a_short_epoch_is_compared_with_its_own_steps():
    weight = _weight(target=0.5)
    for rates in ((4.0, 3.0, 2.0), (1.1, 0.9)):
        for step, rate in enumerate(rates):
            _take(weight, rate, step)
        weight.compare(0.9 * sum(rates) / len(rates))
        assert float(weight.state[2]) == pytest.approx(0.9)


@pytest.mark.parametrize("rate", [0.7, 1.5])
def test_what_the_camera_does_to_the_rate_is_counted_once(rate):
    weight = _weight(target=1.0)
    for step in range(100):
        _take(weight, 1.0, step)
    weight.compare(1.0)
    before = weight()
    for step in range(5):  # the codec rests
        weight.see(torch.tensor(rate), step)
    weight.compare(rate)
    assert torch.equal(weight(), before)
    _take(weight, rate, 0)
    assert float(weight.named()["rate_weight.error"]) == pytest.approx(rate - 1)


@pytest.mark.parametrize(
    ("rate", "end"), [(5.0, 1e3 * math.exp(_QUICK)), (0.0, 1e-5 / math.exp(_QUICK))]
)
def test_a_rate_that_does_not_answer_leaves_a_finite_weight(rate, end):
    weight = _weight()
    for _ in range(2000):
        weight.follow(torch.tensor(rate), 1.0)
    assert float(weight()) == pytest.approx(end, rel=1e-5)


@pytest.mark.parametrize("slope", [0.3, 1.0])
@pytest.mark.parametrize("lag", [5, 50])
@pytest.mark.parametrize("start", [1e-3, 10.0])
def test_a_codec_that_answers_slowly_comes_to_its_target(slope, lag, start):
    # log rate goes towards -slope * log(weight / 0.2) + log 0.5 within `lag` steps.
    weight, rate = _weight(start), torch.tensor(2.0)
    for _ in range(2000):
        goal = -slope * (weight() / 0.2).log() + math.log(0.5)
        rate = (rate.log() + (goal - rate.log()) / lag).exp()
        weight.follow(rate, 1.0)
    # The slowest of these loops forgets e**(-_SLOW * slope / (1 + _QUICK * slope)) a step.
    assert float(rate) == pytest.approx(0.5, rel=1e-3)
    assert float(weight()) == pytest.approx(0.2, rel=1e-2)


def _watched(monkeypatch):
    """Weights that act in the batches, and rates of the steps, of one run."""
    weights, original = [], joint.train.step._step

    def watching(runs, graph, given, counts):
        weights.append([float(batch.rate_weight) for batch in given[0].parts])
        return original(runs, graph, given, counts)

    monkeypatch.setattr(joint.train.step, "_step", watching)
    return weights


@pytest.mark.parametrize("micro_batches", [1, 3])
def test_the_rate_of_a_whole_step_moves_the_weight_of_the_next(
    lesions, others, monkeypatch, micro_batches
):
    weights, followed = _watched(monkeypatch), []
    original = RateWeight.follow

    def following(self, rate, speed):
        followed.append((float(rate), speed))
        original(self, rate, speed)

    monkeypatch.setattr(RateWeight, "follow", following)
    system = full_system()
    config = _settings(epochs=2, micro_batches=micro_batches)
    history = _fit(system, lesions, others, objective=AIMED, config=config)
    assert len(weights) == len(followed) == 10
    expected = _weight(target=1.2)
    for number, (acted, (rate, speed)) in enumerate(zip(weights, followed, strict=True)):
        assert acted == [float(expected())] * micro_batches
        assert speed == pytest.approx(config.rate_factor(number / 5))
        expected.see(torch.tensor(rate), number % 5)
        original(expected, torch.tensor(rate), speed)
        if number == 4:
            expected.compare(history.epochs[0].validation["bpp"])
    sizes = [len(part) for part in np.array_split(np.arange(48), 5)]
    for record, own in zip(history.epochs, (slice(5), slice(5, None)), strict=True):
        # Rates of the steps, and weights, are those that the history has the means of.
        mean = np.average([rate for rate, _ in followed[own]], weights=sizes)
        assert record.train["rate"] == pytest.approx(mean, rel=1e-5)
        mean = np.average([one for one, *_ in weights[own]], weights=sizes)
        assert record.train["rate_weight"] == pytest.approx(mean, rel=1e-5)
    losses = history.epochs[-1].validation
    rest = losses["loss_task"] + losses["loss_distortion"]
    assert losses["loss"] == pytest.approx(rest, rel=1e-5)  # the rate is no part of it


_RESUMED = {"objective": AIMED, "config": _settings(epochs=2, averaging=0.9)}


@pytest.fixture(scope="module")
def whole(lesions, others):
    """What a run leaves that nothing interrupts: its state and its history."""
    system = full_system()
    history = _fit(system, lesions, others, **_RESUMED)
    return _state(system), history


@pytest.mark.parametrize("steps", [1, 6, 8])
def test_a_run_with_a_target_resumes_to_equal_bits(lesions, others, whole, tmp_path, steps):
    state, expected = whole
    polls = itertools.chain([False] * (steps - 1), itertools.repeat(True))
    given = {**_RESUMED, "directory": tmp_path}
    first = _fit(full_system(), lesions, others, stop=lambda: next(polls), **given)
    assert first.interrupted
    resumed = full_system(seed=5)
    history = _fit(resumed, lesions, others, resume=True, **given)
    assert _same(state, _state(resumed))
    assert [r.train for r in history.epochs] == [r.train for r in expected.epochs]
    other = joint.Objective(rate=0.1, distortion=1.0, rate_target=1.3)
    with pytest.raises(joint.CheckpointError, match=r"rate_target was 1\.2 and is 1\.3"):
        _fit(full_system(), lesions, others, resume=True, **{**given, "objective": other})


def test_the_weight_rests_while_the_codec_does(lesions, others, monkeypatch):
    weights, seen = _watched(monkeypatch), []
    original = RateWeight.see

    def seeing(self, rate, step):
        seen.append((float(rate), step))
        original(self, rate, step)

    monkeypatch.setattr(RateWeight, "see", seeing)
    config = _settings(epochs=2, plan="alternating")
    history = _fit(full_system(), lesions, others, objective=AIMED, config=config)
    first, second = history.epochs
    told = [first.train[f"rate_weight.{name}"] for name in ("error", "correction")]
    assert told == [0, 1]  # of before the first validation
    # The steps in which the codec rests are what the validation after them is compared with.
    assert [step for _, step in seen] == [*range(5)] * 2
    mean = np.mean([rate for rate, _ in seen[:5]])
    correction = second.train["rate_weight.correction"]
    assert correction == pytest.approx(first.validation["bpp"] / mean, rel=1e-5)
    camera = [one for (one,) in weights[:5]]
    assert camera == [camera[0]] * 5
    network = [one for (one,) in weights[5:]]
    assert len({*network}) == 5


def test_an_epoch_near_the_target_is_better_than_any_other(lesions, others, monkeypatch):
    rates = iter([2.2, 1.25, 1.15, 1.17, 0.7])
    losses = iter([0.1, 3.0, 2.0, 2.5, 0.1])
    original = joint.train.loop.evaluate

    def told(*args, **options):
        found = original(*args, **options)
        terms = {**found.losses, "total": next(losses)}
        return dataclasses.replace(found, bpp=next(rates), losses=terms)

    monkeypatch.setattr(joint.train.loop, "evaluate", told)
    history = _fit(full_system(), lesions, others, objective=AIMED, config=_settings(epochs=5))
    assert history.best_epoch == 2


@pytest.mark.parametrize(
    ("codec", "changes", "message"),
    [
        (compress.FactorizedCodec, {"stages": ("front_end", "classifier")}, "does not learn here"),
        (lambda: compress.FactorizedCodec().requires_grad_(False), {}, "does not learn here"),
        (lambda: compress.JPEG(50), {}, "does not learn here"),
        (lambda: compress.FactorizedCodec(levels=3), {}, "is one rate, and .* learns 3 qualities"),
        (compress.Autoencoder, {}, "bits of Autoencoder have no gradient.*without a rate_target"),
        (lambda: None, {}, "the system has no codec"),
    ],
)
def test_a_target_that_nothing_moves_to_is_refused(lesions, others, codec, changes, message):
    system = joint.ImagingSystem(
        front_end=optics.LearnedKernel("identity", 3), codec=codec(), classifier=Head()
    )
    with pytest.raises(ValueError, match=message):
        _fit(system, lesions, others, objective=AIMED, config=_settings(**changes))


def test_systems_together_have_weights_of_their_own(lesions, others):
    def systems():
        found = [full_system(seed) for seed in (0, 1)]
        for system in found:
            system.classifier.net[7] = torch.nn.Identity()  # dropout is not stacked
        return found

    objectives = [AIMED, joint.Objective(rate=0.2, distortion=1.0, rate_target=2.0)]
    configs = [_settings(seed=seed, epochs=2) for seed in (0, 1)]
    together = joint.fit_ensemble(
        systems(), lesions, others, objective=objectives, config=configs, progress=False
    )
    for system, objective, config, found in zip(
        systems(), objectives, configs, together, strict=True
    ):
        alone = _fit(system, lesions, others, objective=objective, config=config)
        for one, other in zip(found.epochs, alone.epochs, strict=True):
            # The weights follow the rate of rounded codes, of which a few in a thousand may fall to
            # the other side of an edge; everything else agrees more closely.
            moving = {name for name in one.train if name.startswith("rate_weight")}
            for name, value in one.train.items():
                close = {"rel": 1e-2, "abs": 2e-3} if name in moving else {"rel": 1e-3}
                assert value == pytest.approx(other.train[name], **close), name
    assert (
        together[0].epochs[-1].train["rate_weight"] != together[1].epochs[-1].train["rate_weight"]
    )


@pytest.mark.parametrize(
    "codec",
    [
        lambda: compress.FactorizedCodec(),
        lambda: compress.Autoencoder(6, latent_bits=4),
        lambda: compress.DifferentiableJPEG(30, trainable=True),
    ],
)
def test_a_target_below_what_any_file_has_is_refused(lesions, others, codec):
    codec = codec().eval()
    least = codec.header_bytes((16, 16))
    size = len(codec.compress(torch.full((1, 3, 16, 16), 0.5))[0])
    # Of a grey picture the others write nothing; an untrained entropy model prices even zeros.
    assert size == least or isinstance(codec, compress.LearnedCodec)
    below = joint.Objective(rate=0.1, distortion=1.0, rate_target=8 * least / 256)
    system = joint.ImagingSystem(codec=codec, classifier=Head())
    told = rf"{least} bytes .* is {8 * least / 256:.3g} bits per pixel of 16 x 16"
    with pytest.raises(ValueError, match=told):
        _fit(system, lesions, others, objective=below)


class _Steps(compress.Codec):
    """Pixels in equal steps, at the price of a normal law; both learn."""

    channels = 3

    def __init__(self):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(3.0))
        self.spread = torch.nn.Parameter(torch.tensor(-1.0))

    def forward(self, image, *, generator=None):
        codes = compress.round_straight_through((image - 0.5) * self.gain.exp())
        law = torch.distributions.Normal(0.0, (self.spread + self.gain).exp())
        mass = law.cdf(codes + 0.5) - law.cdf(codes - 0.5)
        bits = -mass.clamp_min(1e-9).log2().sum(1, keepdim=True)
        return compress.Coded(
            codes / self.gain.exp() + 0.5, codes, bits, bits.new_zeros(len(bits)), "rounded"
        )

    def compress(self, image):
        raise NotImplementedError

    def decompress(self, payloads):
        raise NotImplementedError


def test_two_cameras_end_at_one_rate(lesions, others):
    rates = {}
    config = _settings(epochs=40, augmentation="dihedral", learning_rate=0.1, restore_best=False)
    for target in (None, 6.0):
        objective = joint.Objective(task=0, rate=0.1, distortion=10.0, rate_target=target)
        for photons in (30, 3000):
            system = joint.ImagingSystem(sensor=optics.Sensor(photons), codec=_Steps())
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # nothing is missed
                _fit(system, lesions, others, objective=objective, config=config)
            rates[target, photons] = joint.evaluate(system, others).bpp
    # Within ON_TARGET of the target an epoch counts as one that has met it.
    assert all(rates[6.0, p] == pytest.approx(6.0, rel=ON_TARGET) for p in (30, 3000)), rates
    assert all(abs(rates[None, p] - 6.0) > 3 * ON_TARGET * 6.0 for p in (30, 3000)), rates
    assert rates[None, 30] > (1 + ON_TARGET) * rates[None, 3000]


@pytest.mark.parametrize("restore", [True, False])
def test_a_target_that_was_missed_is_told(lesions, others, restore):
    config = _settings(epochs=2, restore_best=restore)
    history = None
    with pytest.warns(UserWarning, match=r"the rate was to end at 1\.2 bits/pixel") as told:
        history = _fit(full_system(), lesions, others, objective=AIMED, config=config)
    (said,) = [str(each.message) for each in told if "the rate was to" in str(each.message)]
    rates = [record.validation["bpp"] for record in history.epochs]
    kept = history.best_epoch if restore else 1
    assert max(abs(rates[k] / 1.2 - 1) for k in (kept, 1)) > ON_TARGET
    assert f"{rates[1]:.4g} after epoch 1" in said
    assert f"(the weights kept are of epoch {kept})" in said


def test_a_target_that_was_left_again_after_the_best_epoch_is_told(lesions, others, monkeypatch):
    rates, evaluated = iter([1.0, 1.3]), joint.train.loop.evaluate

    def rated(*args, **options):
        return dataclasses.replace(evaluated(*args, **options), bpp=next(rates))

    monkeypatch.setattr(joint.train.loop, "evaluate", rated)
    objective = AIMED.model_copy(update={"rate_target": 1.0})
    said = (
        r"at 1 bits/pixel, and is 1 after epoch 0, 1\.3 after epoch 1 \(the weights kept are of "
        r"epoch 0\)"
    )
    with pytest.warns(UserWarning, match=said):
        _fit(full_system(), lesions, others, objective=objective, config=_settings(epochs=2))


def test_a_training_that_was_stopped_has_missed_nothing(lesions, others):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _fit(full_system(), lesions, others, objective=AIMED, config=_settings(), stop=lambda: True)


def test_a_target_is_an_axis_of_a_study():
    axis = joint.study.Axis(path="objective.rate_target", values=(0.4, 0.8))
    study = joint.study.Study(axes={"rate": axis})
    low, high = (study.config({"rate": level}, 0) for level in (0.4, 0.8))
    assert (low.objective.rate_target, high.objective.rate_target) == (0.4, 0.8)
    assert low.digest() != high.digest() != joint.RunConfig().digest()
