"""Learning rates over a run: a rise, a fall and where it ends, beside those of torch."""

import json
import warnings
from functools import partial

import pytest
import torch
from small import _fit, _same, _settings, _state, full_system
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    LinearLR,
    OneCycleLR,
    SequentialLR,
)  # fmt: skip

import joint
import joint.train.step

STEPS = 10  # of an epoch


def _expected(make, *, steps, peaks=(1.0,)):
    """Rates of all steps, and after the last one, by a scheduler of torch."""
    own = torch.optim.SGD([{"params": [torch.zeros(1)], "lr": peak} for peak in peaks])
    rates = []
    with warnings.catch_warnings():
        # SequentialLR passes the number of the step on, which torch itself warns of.
        warnings.filterwarnings("ignore", "The epoch parameter in `scheduler.step", UserWarning)
        schedule = make(own)
        for _ in range(steps + 1):
            rates.append([group["lr"] for group in own.param_groups])
            own.step()
            schedule.step()
    return rates


def _risen(own, *, rise, then):
    """A linear rise over so many steps, and then another scheduler."""
    first = LinearLR(own, start_factor=1 / 25, total_iters=rise)
    return SequentialLR(own, [first, then], milestones=[rise])


def _constant(own, *, rise, **_):
    return _risen(own, rise=rise, then=ConstantLR(own, factor=1.0))


def _cosine(own, *, rise, steps, final):
    peak = own.param_groups[0]["lr"]
    fall = CosineAnnealingLR(own, T_max=steps - rise, eta_min=final * peak)
    return _risen(own, rise=rise, then=fall)


@pytest.mark.parametrize("epochs", [3, 7])
@pytest.mark.parametrize("warmup", [0.3, 1.0, 2.5])
@pytest.mark.parametrize(
    ("schedule", "final", "make"),
    [("constant", 0.0, _constant), ("cosine", 0.0, _cosine), ("cosine", 0.1, _cosine)],
)
def test_a_rise_and_what_follows_are_those_of_torch(schedule, final, make, warmup, epochs):
    config = joint.Training(
        schedule=schedule, epochs=epochs, warmup_epochs=warmup, final_factor=final
    )
    steps, rise = epochs * STEPS, round(warmup * STEPS)
    expected = _expected(partial(make, rise=rise, steps=steps, final=final), steps=steps)
    found = [config.rate_factor(step / STEPS) for step in range(steps + 1)]
    assert found == pytest.approx([rate for (rate,) in expected], rel=1e-12, abs=1e-15)
    assert found[rise] == max(found) == 1.0
    assert found[-1] == pytest.approx(final if schedule == "cosine" else 1.0, abs=1e-15)


@pytest.mark.parametrize("final", [0.0, 0.2])
def test_a_cosine_that_rises_over_a_quarter_is_one_cycle(final):
    one, other = (
        joint.Training(epochs=6, final_factor=final, **given)
        for given in ({"schedule": "one_cycle"}, {"schedule": "cosine", "warmup_epochs": 1.5})
    )
    places = [place / 97 for place in range(6 * 97 + 1)]
    assert [*map(one.rate_factor, places)] == [*map(other.rate_factor, places)]


@pytest.mark.parametrize("final", [1e-4, 0.2])
def test_the_fall_of_one_cycle_is_that_of_torch(final):
    config = joint.Training(epochs=4, schedule="one_cycle", final_factor=final)
    steps = 4 * STEPS
    # It has one step more, at the very end; its rise is a cosine, too, and not compared.
    cycle = partial(
        OneCycleLR, max_lr=1.0, total_steps=steps + 1, pct_start=(STEPS + 1) / (steps + 1),
        anneal_strategy="cos", final_div_factor=1 / (25 * final),
    )  # fmt: skip
    expected = _expected(cycle, steps=steps)
    found = [config.rate_factor(step / STEPS) for step in range(STEPS, steps + 1)]
    assert found == pytest.approx([rate for (rate,) in expected[STEPS:]], rel=1e-9)


def test_a_run_with_nothing_said_of_a_rise_or_an_end_has_none():
    config = joint.Training()
    assert (config.warmup_epochs, config.final_factor) == (0.0, 0.0)
    assert joint.Training(schedule="cosine").rate_factor(0) == 1.0
    assert joint.Training(schedule="constant").rate_factor(0) == 1.0
    for schedule in ("cosine", "one_cycle"):
        assert joint.Training(schedule=schedule).rate_factor(20) == 0.0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"warmup_epochs": 2},
            "warmup_epochs=2 is for the schedules constant and cosine, and one_cycle has a rise of "
            "its own, a quarter of the training: set schedule='cosine'",
        ),
        (
            {"warmup_epochs": 20, "schedule": "cosine"},
            "warmup_epochs=20 is no less than epochs=20, and the learning rates would not come to "
            "their peak: lower it, or train for longer",
        ),
        (
            {"warmup_epochs": 3.5, "schedule": "constant", "epochs": 3},
            "warmup_epochs=3.5 is no less than epochs=3",
        ),
        (
            {"final_factor": 0.1, "schedule": "constant"},
            "final_factor=0.1 is for schedules that fall, cosine and one_cycle: set one of them, "
            "or final_factor=0",
        ),
        ({"final_factor": 1.0}, "final_factor\n  Input should be less than 1"),
        ({"final_factor": -0.1}, "final_factor\n  Input should be greater than or equal to 0"),
        ({"warmup_epochs": -1}, "warmup_epochs\n  Input should be greater than or equal to 0"),
        ({"warmup_epochs": float("inf")}, "warmup_epochs\n  Input should be a finite number"),
    ],
)
def test_what_no_schedule_follows_is_refused(given, said):
    with pytest.raises(ValueError, match=next(iter(given))) as caught:
        joint.Training(**given)
    assert said in str(caught.value)


def test_a_configuration_comes_back_with_its_rise_and_its_end():
    given = {"schedule": "cosine", "warmup_epochs": 0.5, "final_factor": 0.01}
    config = joint.RunConfig(training=given)
    assert joint.RunConfig.model_validate(json.loads(config.canonical())) == config
    assert config.digest() != joint.RunConfig(training={"schedule": "cosine"}).digest()


@pytest.fixture
def taken(monkeypatch):
    """Rates of each step that is taken."""
    rates, original = [], joint.train.step._step

    def watching(runs, *rest):
        rates.append([group["lr"] for group in runs[0].optimizer.param_groups])
        return original(runs, *rest)

    monkeypatch.setattr(joint.train.step, "_step", watching)
    return rates


def test_stages_with_rates_of_their_own_rise_and_fall_alike(lesions, others, taken):
    # Twelve pictures a step are four steps an epoch: the rise ends in the middle of the second.
    config = _settings(
        epochs=3, batch_size=12, schedule="cosine", warmup_epochs=1.5, final_factor=0.2,
        learning_rate=4e-3, learning_rates={"front_end": 1e-2}, stages=("front_end", "classifier"),
    )  # fmt: skip
    history = _fit(full_system(), lesions, others, config=config)
    fall = partial(_cosine, rise=6, steps=12, final=0.2)
    front_end, classifier = (
        [rate for (rate,) in _expected(fall, steps=11, peaks=(peak,))] for peak in (1e-2, 4e-3)
    )
    assert [rates[0] for rates in taken] == pytest.approx(front_end, rel=1e-9)
    assert [rates[1] for rates in taken] == pytest.approx(classifier, rel=1e-9)
    for number, record in enumerate(history.epochs):
        last = 4 * number + 3
        assert record.learning_rates == pytest.approx(
            {"front_end": front_end[last], "classifier": classifier[last]}, rel=1e-9
        )


@pytest.mark.parametrize("steps", [1, 3, 4, 6])
def test_a_run_that_is_stopped_in_its_rise_goes_on_as_if_it_had_not_been(
    lesions, others, tmp_path, steps
):
    config = _settings(
        epochs=2, batch_size=12, schedule="cosine", warmup_epochs=1.3, final_factor=0.1,
        averaging=0.9, learning_rates={"sensor": 1e-2},
    )  # fmt: skip
    whole, resumed = full_system(), full_system()
    _fit(whole, lesions, others, config=config)
    asked = iter([False] * (steps - 1) + [True])
    place = {"config": config, "directory": tmp_path}
    part = _fit(full_system(), lesions, others, stop=lambda: next(asked), **place)
    assert part.interrupted
    _fit(resumed, lesions, others, resume=True, **place)
    assert _same(_state(resumed), _state(whole))


def test_a_constant_rate_that_rises_first_may_go_on_for_more_epochs(lesions, others, tmp_path):
    short, long = (
        _settings(epochs=epochs, batch_size=24, schedule="constant", warmup_epochs=1.5)
        for epochs in (2, 3)
    )
    whole, longer = full_system(), full_system()
    _fit(whole, lesions, others, config=long)
    _fit(full_system(), lesions, others, config=short, directory=tmp_path)
    _fit(longer, lesions, others, config=long, directory=tmp_path, resume=True)
    assert _same(_state(longer), _state(whole))


def test_a_run_of_another_rise_or_end_is_not_gone_on_with(lesions, others, tmp_path):
    given = {"epochs": 2, "batch_size": 24, "schedule": "cosine", "warmup_epochs": 0.5}
    _fit(full_system(), lesions, others, config=_settings(**given), directory=tmp_path)
    for changes, said in (
        ({"warmup_epochs": 1.0}, r"training\.warmup_epochs was 0\.5 and is 1\.0"),
        ({"final_factor": 0.1}, r"training\.final_factor was 0\.0 and is 0\.1"),
        ({"epochs": 3}, "schedule cosine over training.epochs 2, and with 3 every step would"),
    ):
        other = _settings(**given | changes)
        with pytest.raises(joint.CheckpointError, match=said):
            _fit(full_system(), lesions, others, config=other, directory=tmp_path, resume=True)


def test_members_of_an_ensemble_rise_and_fall_as_alone(lesions, others):
    config = _settings(
        epochs=2, batch_size=12, schedule="cosine", warmup_epochs=0.7, final_factor=0.1,
        stages=("classifier",), channels_last=False,
    )  # fmt: skip
    pictures = lesions.subset(torch.arange(24))
    alone = [
        _fit(full_system(seed), pictures, others, config=config).epochs[-1].learning_rates
        for seed in (0, 1)
    ]
    together = joint.fit_ensemble(
        [full_system(0), full_system(1)], pictures, others,
        objective=joint.Objective(rate=0.1, distortion=1.0), config=config, progress=False,
    )  # fmt: skip
    assert [history.epochs[-1].learning_rates for history in together] == alone
