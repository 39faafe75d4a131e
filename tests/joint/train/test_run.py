import dataclasses
import json
import math

import pytest
import torch
from small import OBJECTIVE, Head, _fit, _same, _settings, _state, full_system
from torch import nn

import compress
import joint
import joint.train.loop
import joint.train.run
import joint.train.step
import optics


@pytest.mark.parametrize("interrupted", [False, True])
def test_an_epoch_without_a_number_is_the_worst(
    lesions, others, tmp_path, monkeypatch, interrupted
):
    values, original = (
        iter([float("nan"), 30.0, float("nan"), 40.0, 35.0]),
        joint.train.loop.evaluate,
    )

    def told(*args, **options):
        return dataclasses.replace(original(*args, **options), psnr=next(values))

    monkeypatch.setattr(joint.train.loop, "evaluate", told)
    config = _settings(epochs=5, monitor="psnr", batch_size=24)
    places = {"config": config, "directory": tmp_path}
    if interrupted:
        asked = iter([False] * 6)
        first = _fit(full_system(), lesions, others, stop=lambda: next(asked, True), **places)
        assert first.interrupted
        assert first.best_epoch == 1
    history = _fit(full_system(), lesions, others, resume=True, **places)
    assert history.best_epoch == 3
    assert [epoch.validation["psnr"] for epoch in history.epochs] == [None, 30.0, None, 40.0, 35.0]


def test_the_average_of_the_weights_is_what_is_validated_and_returned(
    lesions, others, tmp_path, monkeypatch
):
    path = []
    original = joint.train.run.TrainingRun.end_step

    def watching(run, pictures):
        original(run, pictures)
        path.append(_state(run.system))

    monkeypatch.setattr(joint.train.run.TrainingRun, "end_step", watching)
    config = _settings(averaging=0.9, epochs=2, restore_best=False)
    system = full_system()
    history = _fit(system, lesions, others, config=config, directory=tmp_path)
    expected = {name: tensor.double() for name, tensor in path[0].items()}
    for step, state in enumerate(path[1:], 2):
        decay = min(0.9, (1 + step) / (10 + step))
        for name, tensor in state.items():
            expected[name] += (1 - decay) * (tensor.double() - expected[name])
    for name, tensor in _state(system).items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor.double(), expected[name], rtol=1e-4, atol=1e-6)
        else:
            assert torch.equal(tensor, path[-1][name])
    seed = joint.feed.derive_seed(0, "validation")
    again = joint.evaluate(system, others, objective=OBJECTIVE, batch_size=10, seed=seed)
    assert again.scalars()["loss"] == history.epochs[-1].validation["loss"]
    monkeypatch.undo()
    # Resumed, it goes on as it would have gone.
    longer = _settings(averaging=0.9, epochs=2, checkpoint_every=2)
    whole, stopped = full_system(), full_system()
    expected_history = _fit(whole, lesions, others, config=longer)
    polls = iter([False] * 6 + [True])
    part = _fit(
        stopped, lesions, others, config=longer, directory=tmp_path / "b", stop=lambda: next(polls)
    )
    assert part.interrupted
    resumed = full_system(seed=4)
    after = _fit(resumed, lesions, others, config=longer, directory=tmp_path / "b", resume=True)
    assert _same(_state(whole), _state(resumed))
    assert after.epochs[1].validation == expected_history.epochs[1].validation


def test_an_epoch_is_recorded_with_the_learning_rate_at_its_end(lesions, others):
    config = _settings(epochs=3)
    history = _fit(full_system(), lesions, others, config=config)
    factors = [config.rate_factor(number) for number in (1, 2, 3)]
    assert [epoch.rate_factor for epoch in history.epochs] == factors
    assert len(set(factors)) == 3


def test_an_epoch_is_recorded_with_the_learning_rates_of_its_last_step(
    lesions, others, monkeypatch
):
    rates, original = [], joint.train.run.TrainingRun.end_step

    def watching(run, pictures):
        original(run, pictures)
        rates.append([group["lr"] for group in run.optimizer.param_groups])

    monkeypatch.setattr(joint.train.run.TrainingRun, "end_step", watching)
    config = _settings(epochs=2, learning_rates={"sensor": 1e-2})
    history = _fit(full_system(), lesions, others, config=config)
    for number, record in enumerate(history.epochs):
        found = record.learning_rates
        assert found["front_end"] == pytest.approx(rates[5 * number + 4][0], rel=1e-12)
        assert found["sensor"] == pytest.approx(2 * found["codec"], rel=1e-12)
        assert {*found} == {*record.gradient_norms}


class _Counting(nn.Module):
    """A pass changes what it is described by."""

    def __init__(self):
        super().__init__()
        self.net, self.calls = Head(), 0

    def forward(self, picture):
        self.calls += 1
        return self.net(picture)


def test_a_run_is_known_by_what_its_system_was_before_any_pass(lesions, others, tmp_path):
    def train(**given):
        system = joint.ImagingSystem(classifier=_Counting())
        objective = joint.Objective()
        return _fit(system, lesions, others, objective=objective, directory=tmp_path, **given)

    train(config=_settings(epochs=1), stop=lambda: True)
    _, head = joint.load_checkpoint(tmp_path / "checkpoint.safetensors")
    assert head["identity"]["system"]["classifier"]["settings"] == {"calls": 0}
    train(config=_settings(epochs=1), resume=True)
    joint.load_fitted(joint.ImagingSystem(classifier=_Counting()), tmp_path)  # nothing is said


def test_a_run_of_an_earlier_version_is_told_as_such(lesions, others, tmp_path):
    _fit(full_system(), lesions, others, directory=tmp_path)
    for name in ("checkpoint.safetensors", "best.safetensors"):
        tensors, head = joint.load_checkpoint(tmp_path / name)
        head["identity"]["system"] = "ImagingSystem(...)"
        joint.save_checkpoint(tmp_path / name, tensors, head)
    message = "was written by an earlier version of lens2label, and cannot be loaded or resumed$"
    with pytest.raises(joint.CheckpointError, match=message):
        _fit(full_system(), lesions, others, directory=tmp_path, resume=True)
    with pytest.raises(joint.CheckpointError, match=message):
        joint.load_fitted(full_system(), tmp_path)


def test_a_run_is_not_overwritten_or_mixed_with_another(lesions, others, tmp_path):
    _fit(full_system(), lesions, others, directory=tmp_path)
    with pytest.raises(joint.CheckpointError, match="already holds a run; pass resume=True"):
        _fit(full_system(), lesions, others, directory=tmp_path)
    message = r"another configuration: training\.learning_rate was 0\.005 and is 0\.001"
    changed = _settings(learning_rate=1e-3)
    with pytest.raises(joint.CheckpointError, match=message):
        _fit(full_system(), lesions, others, config=changed, directory=tmp_path, resume=True)
    with pytest.raises(joint.CheckpointError, match=r"objective\.rate was 0\.1 and is 0\.2"):
        _fit(
            full_system(),
            lesions,
            others,
            directory=tmp_path,
            resume=True,
            objective=OBJECTIVE.model_copy(update={"rate": 0.2}),
        )
    with pytest.raises(joint.CheckpointError, match="the train set is another one"):
        _fit(
            full_system(), lesions.subset(torch.arange(40)), others, directory=tmp_path, resume=True
        )
    other = joint.ImagingSystem(codec=compress.FactorizedCodec(), classifier=Head())
    message = "is another one: front_end: LearnedKernel there, none here; sensor: "
    with pytest.raises(joint.CheckpointError, match=message):
        _fit(other, lesions, others, directory=tmp_path, resume=True)
    with pytest.raises(ValueError, match="resume=True needs the directory"):
        _fit(full_system(), lesions, others, resume=True)


@pytest.mark.parametrize("schedule", ["cosine", "one_cycle"])
def test_a_run_whose_steps_would_have_been_others_gets_no_more_epochs(
    lesions, others, tmp_path, schedule
):
    config = _settings(epochs=2, schedule=schedule)
    _fit(full_system(), lesions, others, config=config, directory=tmp_path)
    before = (tmp_path / "checkpoint.safetensors").read_bytes()
    for changes, said in (
        ({"epochs": 3}, f"schedule {schedule} over training.epochs 2, and with 3 every step would"),
        ({"epochs": 1}, r"training\.epochs was 2 and is 1"),
        ({"epochs": 3, "seed": 1}, r"training\.seed was 0 and is 1"),
    ):
        other = config.model_copy(update=changes)
        with pytest.raises(joint.CheckpointError, match=said):
            _fit(full_system(), lesions, others, config=other, directory=tmp_path, resume=True)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before


def test_a_run_whose_patience_ran_out_gets_no_more_epochs(lesions, others, tmp_path):
    # Nothing that learns changes what is monitored: the first epoch is the best.
    config = _settings(
        epochs=9, schedule="constant", patience=1, stages=("classifier",), monitor="psnr_scene"
    )
    history = _fit(full_system(), lesions, others, config=config, directory=tmp_path)
    assert len(history.epochs) == 2
    more = config.model_copy(update={"epochs": 10})
    said = r"patience of 1 ran out in epoch 2: with training.epochs 10 it would have ended there"
    with pytest.raises(joint.CheckpointError, match=said):
        _fit(full_system(), lesions, others, config=more, directory=tmp_path, resume=True)


def test_a_gradient_that_is_no_number_never_reaches_a_file(lesions, others, tmp_path):
    system = full_system()
    calls = 0

    def poison(gradient):
        nonlocal calls
        calls += 1
        return gradient * float("nan") if calls == 5 else gradient  # the last step of an epoch

    system.classifier.net[0].weight.register_hook(poison)
    with pytest.raises(joint.TrainingDiverged, match="weights are no longer finite in epoch 1"):
        _fit(system, lesions, others, config=_settings(checkpoint_every=1), directory=tmp_path)
    tensors, head = joint.load_checkpoint(tmp_path / "checkpoint.safetensors")
    assert (head["epoch"], head["step"]) == (0, 4)
    assert all(torch.isfinite(t).all() for t in tensors.values())


@pytest.mark.parametrize("training", [True, False])
def test_a_number_that_is_too_large_for_a_stage_has_diverged(lesions, others, tmp_path, training):
    """In the fourth step, or in the validation of the first epoch: all weights are finite."""
    system, seen = full_system(), []

    def gain(module, _):
        seen.append(module.training)
        if seen.count(training) == (4 if training else 2):  # the first is of the preflight
            math.exp(1e6)

    system.sensor.register_forward_pre_hook(gain)
    message = rf"too large .*math range.* in epoch 1, step {3 if training else 5}: .*checkpoint is"
    with pytest.raises(joint.TrainingDiverged, match=message) as caught:
        _fit(system, lesions, others, directory=tmp_path)
    assert isinstance(caught.value.__cause__, OverflowError)


@pytest.mark.parametrize("part", [1, 2])
def test_weights_that_steps_drove_far_off_are_told_at_the_end(lesions, others, tmp_path, part):
    """Adam's first steps are as long as the learning rate: here 1e4, of a kernel of less than 1."""
    kernel = optics.LearnedKernel("gaussian", 5)
    was, said = float(kernel.raw.detach().square().mean().sqrt()), r"^front_end\.raw went from"
    head = torch.nn.Sequential(
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 3)
    )
    system = joint.ImagingSystem(front_end=kernel, classifier=head)
    config = joint.Training(epochs=2, batch_size=48, learning_rates={"front_end": 1e4})

    def fit(stop=None):
        return joint.fit(
            system, lesions, others, config=config, directory=tmp_path, resume=True, stop=stop,
            progress=False,
        )  # fmt: skip

    if part == 2:  # of a run that goes on, what it began with is in its checkpoint
        asked = iter([True])
        with pytest.warns(UserWarning, match=said):
            assert fit(stop=lambda: next(asked)).interrupted
    with pytest.warns(UserWarning, match=said) as told:
        fit()
    now = float(kernel.raw.detach().square().mean().sqrt())
    assert [str(each.message).partition(" (root")[0] for each in told] == [
        f"front_end.raw went from {was:.3g} to {now:.3g}"
    ]
    assert told[0].filename == __file__


@pytest.mark.parametrize("steps", [0, 3])
def test_a_run_goes_on_with_the_parameters_that_it_trained(lesions, others, tmp_path, steps):
    def frozen():
        system = full_system()
        system.classifier.requires_grad_(False)
        return system

    def begun(system, name):
        path = tmp_path / name / "checkpoint.safetensors"
        asked = iter([False] * (steps - 1))
        _fit(system, lesions, others, directory=path.parent, stop=lambda: next(asked, True))
        if not steps:  # the one of before the first step, in which nothing has moments
            path.unlink()
            path.with_name("checkpoint.previous.safetensors").rename(path)
        return path

    less, all_ = begun(frozen(), "less"), begun(full_system(), "all")
    with pytest.raises(joint.CheckpointError, match=r"was not training classifier\.net\.0\.w"):
        _fit(full_system(), lesions, others, directory=less.parent, resume=True)
    with pytest.raises(joint.CheckpointError, match=r"was training classifier\.net\.0\.weight"):
        _fit(frozen(), lesions, others, directory=all_.parent, resume=True)
    expected, system = frozen(), frozen()
    _fit(expected, lesions, others)
    _fit(system, lesions, others, directory=less.parent, resume=True)
    assert _same(_state(system), _state(expected))


def test_another_system_of_the_same_weights_is_not_resumed(lesions, others, tmp_path):
    _fit(full_system(), lesions, others, directory=tmp_path)
    darker = full_system()
    darker.sensor = optics.Sensor(5, trainable_gain=True)
    message = r"sensor: photons=2000\.0 there, photons=5\.0 here"
    with pytest.raises(joint.CheckpointError, match=message):
        _fit(darker, lesions, others, directory=tmp_path, resume=True)
    linear = full_system()
    linear.encoding = "linear"
    with pytest.raises(joint.CheckpointError, match="one: encoding='srgb' there"):
        _fit(linear, lesions, others, directory=tmp_path, resume=True)


def test_how_a_codec_learns_is_another_run(lesions, others, tmp_path):
    _fit(full_system(), lesions, others, directory=tmp_path)
    sharper = full_system()
    sharper.codec.sharpness = 400.0
    message = r"one: codec: sharpness=4\.0 there, sharpness=400\.0 here"
    with pytest.raises(joint.CheckpointError, match=message):
        _fit(sharper, lesions, others, directory=tmp_path, resume=True)


def _phase_system(**options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        plate = optics.PhaseMask(nn.Parameter(torch.rand(16, 16)), spacing=1e-4, **options)
        pupil = optics.Pupil(
            [plate], wavelengths=(6e-7, 5.5e-7, 4.5e-7), focal_length=5e-3, pixel_pitch=6e-7,
            psf_size=7,
        )  # fmt: skip
        filters = optics.ColourFilters(torch.full((3, 3), 0.5), share=0.5)
        colour = optics.ColourChannels(3, filters=filters)
        return joint.ImagingSystem(
            front_end=optics.IncoherentImaging(pupil, colour=colour), classifier=Head()
        )


def test_other_optics_are_another_system(lesions, others, tmp_path):
    given = {
        "config": _settings(epochs=1), "directory": tmp_path, "resume": True,
        "objective": joint.Objective(distillation=1.0),
    }  # fmt: skip

    def fit(system, teacher, **options):
        return _fit(system, lesions, others, teacher=teacher, **given, **options)

    here, other = {"design_wavelength": 5.5e-7}, {"design_wavelength": 4e-7}
    assert fit(_phase_system(**here), _phase_system(), stop=lambda: True).interrupted
    message = "elements.0: design_wavelength=5.5e-07 there, design_wavelength=4e-07 here"
    with pytest.raises(joint.CheckpointError, match=message):
        fit(_phase_system(**other), _phase_system())
    with pytest.raises(joint.CheckpointError, match="the teacher is another one"):
        fit(_phase_system(**here), _phase_system(**other))
    assert not fit(_phase_system(**here), _phase_system()).interrupted
    with pytest.warns(UserWarning, match="design_wavelength=5.5e-07 there"):
        joint.load_fitted(_phase_system(), tmp_path)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex64])
def test_the_count_of_steps_of_a_scalar_is_no_moment(lesions, others, tmp_path, dtype):
    def begin():
        system = full_system()
        scale = nn.Parameter(torch.ones((), dtype=dtype))
        system.front_end.register_parameter("scale", scale)
        system.front_end.register_forward_hook(lambda *given: given[2] * scale.abs().float())
        return system

    config = _settings(epochs=1)
    whole, resumed = begin(), begin()
    _fit(whole, lesions, others, config=config)
    polls = iter([False, True])
    given = {"config": config, "directory": tmp_path}
    assert _fit(begin(), lesions, others, stop=lambda: next(polls), **given).interrupted
    _fit(resumed, lesions, others, resume=True, **given)
    assert _same(_state(whole), _state(resumed))
    tensors, _ = joint.load_checkpoint(tmp_path / "checkpoint.safetensors")
    assert tensors["optimizer.front_end.scale.step"].dtype == torch.float32


def test_where_the_best_weights_are_missing_it_says_what_is_left(lesions, others, tmp_path):
    config = _settings(epochs=1)
    _fit(full_system(), lesions, others, config=config, directory=tmp_path)
    (tmp_path / "best.safetensors").unlink()
    with pytest.raises(
        joint.CheckpointError, match=r"missing, the weights of epoch 0.* checkpoint\.safetensors b"
    ):
        _fit(full_system(), lesions, others, config=config, directory=tmp_path, resume=True)


def test_a_checkpoint_of_something_else_is_refused(lesions, others, tmp_path):
    _fit(full_system(), lesions, others, directory=tmp_path)
    joint.save_checkpoint(tmp_path / "checkpoint.safetensors", full_system().state_dict(), {})
    with pytest.raises(joint.CheckpointError, match="not the checkpoint of a training run"):
        _fit(full_system(), lesions, others, directory=tmp_path, resume=True)


def test_an_average_keeps_a_mask_of_minus_infinity_and_follows_complex_weights(
    lesions, others, monkeypatch
):
    original, path = joint.train.run.TrainingRun.end_step, []

    def watching(run, pictures):
        original(run, pictures)
        path.append(run.system.classifier.phase.detach().clone())

    class Masked(Head):
        def __init__(self):
            super().__init__()
            self.register_buffer("mask", torch.tensor([[0.0, -math.inf], [math.inf, 0.0]]))
            self.phase = nn.Parameter(torch.tensor([1 + 1j, 2 - 1j]))

        def forward(self, image):
            return super().forward(image) * self.phase.prod().real / 3

    torch.manual_seed(0)
    system = joint.ImagingSystem(classifier=Masked())
    mask = system.classifier.mask.clone()
    monkeypatch.setattr(joint.train.run.TrainingRun, "end_step", watching)
    config = _settings(averaging=0.9, epochs=2, restore_best=False)
    history = _fit(system, lesions, others, objective=joint.Objective(), config=config)
    assert torch.equal(system.classifier.mask, mask)
    assert math.isfinite(history.epochs[-1].validation["loss"])
    expected = path[0]
    for step, phase in enumerate(path[1:], 2):
        expected = expected + max(0.1, 9 / (10 + step)) * (phase - expected)
    torch.testing.assert_close(system.classifier.phase.detach(), expected)
    moved = path[-1] - expected
    assert moved.real.abs().min() > 1e-4
    assert moved.imag.abs().min() > 1e-4


def test_the_average_of_what_is_frozen_is_what_is_frozen(lesions, others):
    system = full_system()
    before = _state(system)
    config = _settings(averaging=0.9, epochs=2, restore_best=False, stages=("classifier",))
    _fit(system, lesions, others, objective=joint.Objective(), config=config)
    after = _state(system)
    learnt = {name for name in before if not torch.equal(before[name], after[name])}
    assert learnt
    assert all(name.startswith("classifier.") for name in learnt)


def test_an_average_takes_no_part_in_training(lesions, others, monkeypatch):
    """What is validated in the place of the weights gives them back."""
    original, paths = joint.train.run.TrainingRun.end_step, []

    def watching(run, pictures):
        original(run, pictures)
        paths[-1].append(_state(run.system))

    monkeypatch.setattr(joint.train.run.TrainingRun, "end_step", watching)
    for averaging in (None, 0.9):
        paths.append([])
        config = _settings(epochs=2, batch_size=24, averaging=averaging)
        _fit(full_system(), lesions, others, config=config)
    assert all(_same(one, other) for one, other in zip(*paths, strict=True))


def test_epochs_after_the_checkpoint_are_forgotten_when_a_run_goes_on(lesions, others, tmp_path):
    config, polls = _settings(epochs=2, batch_size=24), iter([False, False, True])
    places = {"config": config, "directory": tmp_path}
    assert _fit(full_system(), lesions, others, stop=lambda: next(polls), **places).interrupted
    path = tmp_path / "history.jsonl"
    (first,) = path.read_text().splitlines()
    # Its checkpoint was lost, and the one before it is what the run goes on from.
    path.write_text("\n".join([first, first.replace('"epoch": 0', '"epoch": 1'), ""]))
    _fit(full_system(), lesions, others, resume=True, **places)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [0, 1]
    assert lines[0] == json.loads(first)
    assert lines[1]["train"] != lines[0]["train"]


def test_an_epoch_that_was_interrupted_has_its_terms_in_their_order(lesions, others, tmp_path):
    asked = iter([False] * 3)
    first = _fit(full_system(), lesions, others, stop=lambda: next(asked, True), directory=tmp_path)
    assert first.interrupted
    resumed = _fit(full_system(), lesions, others, directory=tmp_path, resume=True)
    whole = _fit(full_system(), lesions, others)
    for epoch, expected in zip(resumed.epochs, whole.epochs, strict=True):
        assert [*epoch.train] == [*expected.train]
