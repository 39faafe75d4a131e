"""A system that is taught by another one."""

import json
import math

import pytest
import torch
from small import Head, Uneven, _fit, _same, _settings, _state, full_system
from torch import nn

import compress
import joint
import joint.train.step
import optics
from joint.cli import main
from joint.train.teacher import identify, said, why_another

TAUGHT = joint.Objective(rate=0.1, distortion=1.0, distillation=0.7, distillation_temperature=2)
ALONE = joint.Objective(task=0, distillation=1)


class Smooth(nn.Module):
    """Neither normalisation nor dropout: the parts of a step are the step."""

    def __init__(self, classes=3, channels=3):
        super().__init__()
        self.in_channels = channels
        self.net = nn.Sequential(
            nn.Conv2d(channels, 8, 3, stride=2, padding=1), nn.Tanh(), nn.Flatten(),
            nn.Linear(8 * 64, classes),
        )  # fmt: skip

    def forward(self, image):
        return self.net(image)


def _made(build, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build()


def _teacher(seed=5, photons=500):
    """One with a camera that draws, and with what evaluation mode changes."""
    return _made(
        lambda: joint.ImagingSystem(sensor=optics.Sensor(photons), classifier=Head()), seed
    )


@pytest.fixture(scope="module")
def clean(lesions, others):
    """A trained classifier of the scenes as they are."""
    system = _made(lambda: joint.ImagingSystem(classifier=Smooth()))
    _fit(system, lesions, others, objective=joint.Objective(), config=_settings(epochs=12))
    return system


def test_what_is_said_is_that_of_evaluation_and_leaves_no_trace(lesions):
    teacher = _teacher().train()
    teacher.classifier.net[1].eval()
    before, modes = _state(teacher), [module.training for module in teacher.modules()]
    scenes = lesions.gather(range(6)).images / 255
    noise = [torch.Generator().manual_seed(k) for k in range(6)]
    scores = said(teacher, scenes, noise=noise, precision="float32")
    assert not scores.requires_grad
    assert _same(before, _state(teacher))
    assert modes == [module.training for module in teacher.modules()]
    again = [torch.Generator().manual_seed(k) for k in range(6)]
    assert torch.equal(scores, teacher.eval()(scenes, generator=again).logits)


def test_a_student_learns_from_a_teacher_alone(lesions, others, clean):
    system = _made(lambda: joint.ImagingSystem(sensor=optics.Sensor(300), classifier=Smooth()), 3)
    config = _settings(epochs=12, monitor="accuracy", augmentation="dihedral")
    history = _fit(system, lesions, others, objective=ALONE, config=config, teacher=clean)
    first, last = (history.epochs[k].train for k in (0, -1))
    assert first["total"] == first["distillation"]
    assert last["distillation"] < 0.5 * first["distillation"]
    assert history.best.validation["accuracy"] > 0.9  # though it was told no label
    # An evaluation has no teacher: its loss is of the other terms, of which there are none.
    assert history.epochs[0].validation["loss"] == 0
    assert "loss_distillation" not in history.epochs[0].validation


def test_the_gradient_is_that_of_the_student_alone(lesions, others):
    teacher = _teacher().train()
    before = _state(teacher)
    system = full_system()
    _fit(system, lesions, others, objective=TAUGHT, config=_settings(epochs=1), teacher=teacher)
    assert _same(before, _state(teacher))
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert all(parameter.requires_grad for parameter in teacher.parameters())
    assert all(module.training for module in teacher.modules())


@pytest.mark.parametrize("mixing", ["none", "mixup", "cutmix"])
@pytest.mark.parametrize("micro_batches", [1, 2])
def test_both_see_the_same_views(lesions, others, mixing, micro_batches):
    teacher, system = _teacher(), full_system()
    shown = {"teacher": [], "student": []}
    teacher.register_forward_pre_hook(lambda _, given: shown["teacher"].append(given[0].clone()))
    system.register_forward_pre_hook(
        # In training: it is validated, too.
        lambda module, given: (
            shown["student"].append(given[0].clone()) if module.classifier.training else None
        )
    )
    config = _settings(epochs=2, mixing=mixing, micro_batches=micro_batches)
    _fit(system, lesions, others, objective=TAUGHT, config=config, teacher=teacher)
    checked, *theirs = shown["teacher"]  # the first are those of the checks before
    assert len(checked) == 2
    assert len(theirs) == len(shown["student"]) == 2 * 5 * micro_batches
    assert all(torch.equal(a, b) for a, b in zip(theirs, shown["student"], strict=True))


def test_a_teacher_changes_no_draw_of_the_student(lesions, others):
    """Bit for bit: one whose weight is too small to be felt, with noise and dropout and mixing."""
    config = _settings(epochs=2, mixing="mixup", micro_batches=2)
    plain = joint.Objective(rate=0.1, distortion=1.0)
    weights = []
    for objective, teacher in (
        (plain, None),
        (plain.model_copy(update={"distillation": 1e-38}), _teacher()),
        (plain.model_copy(update={"distillation": 1.0}), _teacher()),
    ):
        system = full_system()
        _fit(system, lesions, others, objective=objective, config=config, teacher=teacher)
        weights.append(_state(system))
    assert _same(weights[0], weights[1])
    assert not _same(weights[0], weights[2])


def test_a_teacher_that_nothing_weighs_rests(lesions, others, tmp_path):
    alone, taught, teacher = full_system(), full_system(), _teacher()
    teacher.register_forward_pre_hook(lambda *_: pytest.fail("it was asked"))
    _fit(alone, lesions, others, directory=tmp_path / "alone")
    with pytest.warns(
        UserWarning, match="the teacher has no effect, because the objective has distillation=0"
    ):
        _fit(taught, lesions, others, directory=tmp_path / "taught", teacher=teacher)
    assert _same(_state(alone), _state(taught))
    ours, theirs = (
        joint.load_checkpoint(tmp_path / name / "checkpoint.safetensors")
        for name in ("alone", "taught")
    )
    assert ours[0].keys() == theirs[0].keys()
    assert ours[1]["identity"] == theirs[1]["identity"]  # and each goes on without a teacher
    _fit(taught, lesions, others, directory=tmp_path / "taught", resume=True)


_RESUMED = {"objective": TAUGHT, "config": _settings(epochs=2, mixing="cutmix", averaging=0.9)}


@pytest.fixture(scope="module")
def whole(lesions, others):
    """What a taught run leaves that nothing interrupts: its state and its history."""
    system = full_system()
    history = _fit(system, lesions, others, teacher=_teacher(), **_RESUMED)
    return _state(system), history


@pytest.mark.parametrize("steps", [2, 5, 7])
def test_a_taught_run_resumes_to_equal_bits(lesions, others, whole, tmp_path, steps):
    state, expected = whole
    polls = iter([False] * steps + [True])
    asked = {"directory": tmp_path, "stop": lambda: next(polls)}
    assert _fit(full_system(), lesions, others, teacher=_teacher(), **asked, **_RESUMED).interrupted
    resumed = full_system(seed=2)
    again = {"directory": tmp_path, "resume": True, "teacher": _teacher()}
    history = _fit(resumed, lesions, others, **again, **_RESUMED)
    assert _same(state, _state(resumed))
    assert [r.train for r in history.epochs] == [r.train for r in expected.epochs]
    tensors, head = joint.load_checkpoint(tmp_path / "checkpoint.safetensors")
    assert {name.split(".")[0] for name in tensors} <= {"system", "optimizer", "sums", "average"}
    names = {name.removeprefix("system.") for name in tensors if name.startswith("system.")}
    assert names == state.keys()
    assert head["identity"]["teacher"] == identify(_teacher())


@pytest.mark.parametrize("other", [{"seed": 6}, {"photons": 501}])
def test_a_run_goes_on_with_no_other_teacher(lesions, others, tmp_path, other):
    given = {"objective": TAUGHT, "config": _settings(epochs=1), "directory": tmp_path}
    _fit(full_system(), lesions, others, teacher=_teacher(), **given)
    with pytest.raises(
        joint.CheckpointError, match="another configuration: the teacher is another"
    ):
        _fit(full_system(), lesions, others, teacher=_teacher(**other), resume=True, **given)
    _fit(full_system(), lesions, others, teacher=_teacher(), resume=True, **given)


def test_what_a_teacher_is_is_told_by_weights_and_numbers():
    assert identify(_teacher()) == identify(_teacher().eval())
    one = identify(_teacher())
    assert why_another(one, identify(_teacher(6))) == "its weights are others"
    other = why_another(one, identify(_teacher(5, 501)))
    assert str(other).startswith("sensor: photons=500.0 there, photons=501.0 here; ")
    assert why_another(one, json.loads(json.dumps(one))) is None
    assert why_another(None, None) is None
    assert why_another(None, one) == "none there"
    assert why_another(one, None) == "none here"
    # As of a file that has another text there.
    assert why_another("0" * 64, one) == why_another({}, one) == "it is not described there"


def test_a_teacher_is_the_same_on_another_machine_whose_last_digits_differ():
    gain = 1.23456789
    was, now = (
        identify(_made(lambda g=g: joint.ImagingSystem(sensor=optics.Sensor(500, gain=g))))
        for g in (gain, math.nextafter(gain, 2))
    )
    assert was != now
    assert why_another(was, now) is None


def test_the_parts_of_a_step_are_taught_as_the_step(lesions, others, clean):
    weights, records = [], []
    for micro_batches in (1, 4):
        system = _made(lambda: joint.ImagingSystem(classifier=Smooth()), 3)
        objective = joint.Objective(distillation=1)
        config = _settings(micro_batches=micro_batches, epochs=2, monitor="accuracy")
        history = _fit(system, lesions, others, objective=objective, config=config, teacher=clean)
        weights.append(torch.cat([p.detach().flatten() for p in system.parameters()]))
        records.append(history.epochs[-1].train)
    torch.testing.assert_close(*weights, rtol=0, atol=2e-5)
    assert records[0] == pytest.approx(records[1], rel=1e-4)


def test_the_noise_of_a_teacher_is_that_of_the_picture(lesions, others, monkeypatch):
    drawn = []

    def hear(*given, noise, **options):
        drawn[-1] += [source.initial_seed() for source in noise]
        return said(*given, noise=noise, **options)

    monkeypatch.setattr(joint.train.step, "said", hear)
    for micro_batches in (1, 2):
        drawn.append([])
        config = _settings(epochs=1, micro_batches=micro_batches)
        _fit(full_system(), lesions, others, objective=TAUGHT, config=config, teacher=_teacher())
    assert drawn[0] == drawn[1]
    assert len({*drawn[0]}) == len(lesions)


def test_in_half_precision_the_teacher_speaks_in_it_too(lesions, others):
    kinds, teacher, system = [], _teacher(), full_system()
    teacher.classifier.register_forward_hook(lambda *given: kinds.append(given[2].dtype))
    config = _settings(epochs=1, precision="bfloat16")
    history = _fit(system, lesions, others, objective=TAUGHT, config=config, teacher=teacher)
    assert kinds == [torch.float32] + [torch.bfloat16] * 5  # first the checks before
    exact = _fit(
        full_system(), lesions, others, objective=TAUGHT, config=_settings(epochs=1),
        teacher=_teacher(),
    )  # fmt: skip
    ours, theirs = (each.epochs[0].train["distillation"] for each in (history, exact))
    assert ours == pytest.approx(theirs, rel=0.1)
    assert all(p.dtype == torch.float32 for p in teacher.parameters())


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        (lambda _: None, r"weight of 0\.7 for distillation, but there is no teacher: give one"),
        (
            lambda _: joint.ImagingSystem(codec=compress.JPEG(50)),
            "the teacher has no classifier: give",
        ),
        (
            lambda _: joint.ImagingSystem(classifier=Head(classes=5)),
            "the teacher tells 5 classes apart, the data set has 3: a, b, c; give a teacher of",
        ),
        (
            lambda _: joint.ImagingSystem(classifier=Head(), encoding="linear"),
            "encoding='linear', the system for 'srgb': build both with one encoding",
        ),
        (
            lambda _: joint.ImagingSystem(classifier=Head(channels=5)),
            r"cannot take these, of 3 channels and 16 x 16 pixels: .*expected",
        ),
        (
            lambda system: joint.ImagingSystem(classifier=system.classifier),
            "the teacher shares weights with the system that it teaches, and would change",
        ),
        (lambda system: system, "the teacher shares weights with the system"),
        (
            # Of what it has, the camera is its own.
            lambda system: joint.ImagingSystem(
                front_end=optics.LearnedKernel("gaussian", 3), classifier=system.classifier
            ),
            "the teacher shares weights with the system",
        ),
    ],
)
def test_what_cannot_teach_is_refused_before_a_step(
    lesions, others, tmp_path, monkeypatch, teacher, message
):
    monkeypatch.setattr(joint.train.step, "_step", None)
    system = full_system()
    given = {"objective": TAUGHT, "directory": tmp_path / "run", "teacher": teacher(system)}
    with pytest.raises(ValueError, match=message):
        _fit(system, lesions, others, **given)
    assert not (tmp_path / "run").exists()


def test_a_size_that_the_teacher_was_not_built_for_is_refused(lesions, others):
    teacher = joint.ImagingSystem(classifier=nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 3)))
    with pytest.raises(ValueError, match="cannot take these, of 3 channels and 16 x 16 pixels"):
        _fit(full_system(), lesions, others, objective=TAUGHT, teacher=teacher)


def test_half_precision_is_bfloat16_whatever_torch_would_take(lesions):
    usual, teacher, kinds = torch.get_autocast_dtype("cpu"), _teacher(), []
    teacher.classifier.register_forward_hook(lambda *given: kinds.append(given[2].dtype))
    noise = [torch.Generator() for _ in range(2)]
    try:
        torch.set_autocast_dtype("cpu", torch.float16)  # what it is on a GPU
        said(teacher, lesions.gather(range(2)).images / 255, noise=noise, precision="bfloat16")
    finally:
        torch.set_autocast_dtype("cpu", usual)
    assert kinds == [torch.bfloat16]


def test_a_folder_or_a_module_is_no_teacher(lesions, others):
    for given in ("runs/clean", Head()):
        with pytest.raises(TypeError, match=r"teacher must be a joint\.ImagingSystem, not (str|H)"):
            _fit(full_system(), lesions, others, objective=TAUGHT, teacher=given)


def test_the_loss_of_an_evaluation_cannot_know_the_best_epoch_of_a_teacher(lesions, others, clean):
    system = joint.ImagingSystem(classifier=Smooth())
    with pytest.raises(ValueError, match="has no weight but distillation: use another monitor"):
        _fit(system, lesions, others, objective=ALONE, teacher=clean)
    system = joint.ImagingSystem(front_end=Uneven(), classifier=Smooth())
    objective = ALONE.model_copy(update={"penalty": 0.1})
    with pytest.raises(ValueError, match="has no weight but distillation and penalty: use another"):
        _fit(system, lesions, others, objective=objective, teacher=clean)


# ---------------------------------------------------------------------------------- several at once


def _students():
    sensor = {"photons": 2000, "bit_depth": None}
    return [
        _made(lambda: joint.ImagingSystem(sensor=optics.Sensor(**sensor), classifier=Smooth()), k)
        for k in (1, 2)
    ]


def test_an_ensemble_is_taught_as_its_members_are_alone(lesions, others, clean):
    objective = joint.Objective(distillation=2, distillation_temperature=3)
    configs = [_settings(seed=seed, mixing="mixup") for seed in (3, 4)]
    options = {"objective": objective, "progress": False}
    for teachers in (clean, [clean, _made(_teacher)]):
        together, alone = _students(), _students()
        each = teachers if isinstance(teachers, list) else [teachers] * 2
        histories = joint.fit_ensemble(
            together, lesions, others, config=configs, teacher=teachers, **options
        )
        for ours, system, config, teacher, history in zip(
            together, alone, configs, each, histories, strict=True
        ):
            expected = joint.fit(system, lesions, others, config=config, teacher=teacher, **options)
            for name, weight in ours.state_dict().items():
                torch.testing.assert_close(weight, system.state_dict()[name], rtol=0, atol=2e-4)
            for one, other in zip(history.epochs, expected.epochs, strict=True):
                assert one.train["distillation"] == pytest.approx(
                    other.train["distillation"], rel=1e-3
                )


def test_an_ensemble_has_no_teacher_among_its_members(lesions, others, clean):
    systems = _students()
    given = {"objective": joint.Objective(distillation=1), "progress": False}
    given["config"] = _settings()
    message = "a teacher shares weights with one of the systems"
    for teachers in (systems[1], [clean, systems[0]]):
        with pytest.raises(ValueError, match=message):
            joint.fit_ensemble(systems, lesions, others, teacher=teachers, **given)
    with pytest.raises(ValueError, match="2 systems need 2 teachers, or one for all, not 3"):
        joint.fit_ensemble(systems, lesions, others, teacher=[clean] * 3, **given)
    with pytest.raises(ValueError, match="there is no teacher"):
        joint.fit_ensemble(systems, lesions, others, teacher=[clean, None], **given)


def test_two_processes_are_taught_as_one(fresh_joint, tmp_path):
    """On the CPU: a step of all pictures, divided."""
    given = [
        "train", "--quiet", "--data.count", "60", "--data.image-size", "16",
        "--front-end", "none", "--codec", "none", "--training.epochs", "1",
        "--training.batch-size", "64",
    ]  # fmt: skip

    def alone(*command):
        assert main([*map(str, command)]) == 0

    def together(*command):
        code = "import sys; from joint.cli import main; sys.exit(main(sys.argv[1:]))"
        fresh_joint.together(code, *command)

    # The teacher has a camera, whose noise is that of the picture and not of its process.
    alone(*given, "--output", tmp_path / "teacher", "--system.sensor.photons", "100")
    taught = [*given, "--teacher", tmp_path / "teacher", "--objective.distillation", "1"]
    alone(*taught, "--output", tmp_path / "one")
    together(*taught, "--output", tmp_path / "two")
    one, two = (
        json.loads((tmp_path / name / "history.jsonl").read_text()) for name in ("one", "two")
    )
    assert one["train"]["distillation"] > 0
    # The numbers are those of before the step; the gradients are what the step is made of.
    for name in ("train", "gradient_norms"):
        assert two[name] == pytest.approx(one[name], rel=1e-4)
