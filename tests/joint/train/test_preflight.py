import pytest
import torch
from small import Head, Uneven, _fit, _same, _settings, _state, full_system
from torch import nn

import classify
import compress
import joint
import joint.train.preflight
import optics


def test_a_validation_set_that_does_not_fit_is_refused_first(lesions, others, monkeypatch):
    monkeypatch.setattr(joint.train.step, "_step", None)
    small = classify.LesionDataset(
        images=torch.zeros(4, 3, 20, 20, dtype=torch.uint8),
        labels=[0, 1, 2, 0],
        groups=list("abcd"),
        identifiers=list("abcd"),
        classes=("a", "b", "c"),
    )
    system = full_system()
    system.eval()
    with pytest.raises(ValueError, match=r"differ in image_size: \(16, 16\) and \(20, 20\)"):
        _fit(system, lesions, small)
    with pytest.raises(ValueError, match="fit needs a validation set: split the data in three"):
        _fit(system, lesions, None)
    assert not system.training


def test_a_stop_that_cannot_be_asked_is_refused_first(lesions, others, monkeypatch):
    monkeypatch.setattr(joint.train.step, "_step", None)
    with pytest.raises(TypeError, match=r"stop must be a function .*, not True"):
        _fit(full_system(), lesions, others, stop=True)


def test_a_state_that_no_checkpoint_holds_is_refused_first(lesions, others, monkeypatch):
    class Counting(Head):
        def get_extra_state(self):
            return {"calls": 3}

        def set_extra_state(self, state):
            del state

    monkeypatch.setattr(joint.train.step, "_step", None)
    with pytest.raises(
        TypeError, match=r"classifier\._extra_state is of type dict, .* tensors alone"
    ):
        _fit(joint.ImagingSystem(classifier=Counting()), lesions, others)


def test_a_frozen_classifier_is_not_shown_other_classes(lesions, others):
    """What stays goes on telling apart what it told apart; what learns may learn others."""

    def turned(dataset):
        everything = dataset.gather(range(len(dataset)))
        return classify.LesionDataset(
            images=everything.images,
            labels=2 - everything.labels,
            groups=dataset.groups,
            identifiers=dataset.identifiers,
            classes=dataset.classes[::-1],
        )

    system = full_system()
    _fit(system, lesions, others)
    assert system.classes == ("a", "b", "c")
    frozen = _settings(stages=("front_end", "codec"))
    _fit(system, lesions, others, config=frozen)
    message = "the scores of the system are of a, b, c, and the classes of the data set are c, b, a"
    with pytest.raises(ValueError, match=message):
        _fit(system, turned(lesions), turned(others), config=frozen)
    system.classifier.requires_grad_(False)
    with pytest.raises(ValueError, match=message):
        _fit(system, turned(lesions), turned(others))
    system.classifier.requires_grad_(True)
    assert system.classes == ("a", "b", "c")
    _fit(system, turned(lesions), turned(others))
    assert system.classes == ("c", "b", "a")


def test_a_run_that_is_refused_leaves_the_classes_as_they_were(lesions, others, tmp_path):
    _fit(full_system(), lesions, others, directory=tmp_path)
    system = full_system()
    system.classes = ("x", "y", "z")
    with pytest.raises(joint.CheckpointError, match="already holds a run"):
        _fit(system, lesions, others, directory=tmp_path)
    assert system.classes == ("x", "y", "z")


def test_a_teacher_of_other_classes_is_refused(lesions, others):
    teacher = joint.ImagingSystem(classifier=Head(), classes=("c", "b", "a"))
    with pytest.raises(
        ValueError, match=r"scores of the teacher are of c, b, a.*load the data with"
    ):
        _fit(
            full_system(),
            lesions,
            others,
            teacher=teacher,
            objective=joint.Objective(distillation=1),
        )


def test_qualities_that_nothing_tells_apart_are_spoken_of(lesions, others):
    def system(levels=3):
        classifier = classify.backbone("resnet_s", 3, image_size=(16, 16))
        return joint.ImagingSystem(
            codec=compress.FactorizedCodec(levels=levels), classifier=classifier
        )

    def look(system, **weights):
        objective = joint.Objective(**{"rate": 0.3, **weights})
        config = joint.Training(epochs=1, batch_size=16)
        joint.train.preflight.check_run(system, lesions, others, objective, config)

    with pytest.warns(UserWarning, match="3 qualities of FactorizedCodec are trained for the same"):
        look(system())
    look(system(), distortion=1.0)
    look(system(levels=1))
    one = system()
    one.codec.quality = 2
    look(one)
    frozen = system()
    frozen.codec.requires_grad_(False)
    look(frozen)


def _said(dataset, encoding):
    rows = range(len(dataset))
    return classify.LesionDataset(
        images=dataset.gather(rows).images,
        labels=dataset.labels,
        groups=dataset.groups,
        identifiers=dataset.identifiers,
        classes=dataset.classes,
        encoding=encoding,
    )


@pytest.mark.parametrize(("encoding", "other"), [("srgb", "linear"), ("linear", "srgb")])
def test_scenes_are_not_taken_for_what_they_are_not(lesions, others, monkeypatch, encoding, other):
    monkeypatch.setattr(joint.train.step, "_step", None)
    system = joint.ImagingSystem(classifier=Head(), encoding=other)
    message = f"--system.encoding {encoding}"
    for train, validation in (
        (_said(lesions, encoding), others),
        (lesions, _said(others, encoding)),
    ):
        with pytest.raises(ValueError, match=message):
            _fit(system, train, validation)
    with pytest.raises(ValueError, match=message):
        joint.evaluate(system, _said(others, encoding))
    with pytest.raises(ValueError, match=rf"where they are loaded, or with taken_as\('{other}'\)"):
        joint.evaluate(system, _said(others, encoding))
    taken = joint.evaluate(system, _said(others, encoding).taken_as(other))
    assert (taken.logits == joint.evaluate(system, _said(others, None)).logits).all()
    said, unsaid = _said(others, other), _said(others, None)
    found = joint.evaluate(system, said)
    assert (found.logits == joint.evaluate(system, unsaid).logits).all()


def test_an_objective_that_moves_nothing_is_refused(lesions, others):
    system = joint.ImagingSystem(front_end=optics.LearnedKernel(), codec=compress.JPEG(50))
    with pytest.raises(ValueError, match=r"bits of JPEG have no gradient.*set rate=0"):
        _fit(system, lesions, others, objective=joint.Objective(task=0, rate=1, distortion=1))
    with pytest.raises(ValueError, match="nothing that the objective weighs depends on"):
        _fit(full_system(), lesions, others, objective=joint.Objective(task=0))


def _one_class(lesions):
    return lesions.subset((lesions.targets == 1).nonzero()[:, 0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": _one_class}, "only one class"),
        ({"system": lambda: joint.ImagingSystem(classifier=Head(classes=5)),
          "objective": joint.Objective()}, "tells 5 classes"),
        ({"system": lambda: joint.ImagingSystem(classifier=Head())}, "the system has no codec"),
        ({"config": _settings(monitor="psnr"), "objective": joint.Objective(),
          "system": lambda: joint.ImagingSystem(classifier=Head())},
         "monitor='psnr' needs a codec"),
        ({"config": _settings(stages=("sensor",)), "objective": joint.Objective(),
          "system": lambda: joint.ImagingSystem(sensor=optics.Sensor(), classifier=Head())},
         "nothing to train: the stages sensor have no trainable"),
        ({"device": "cuda:99"}, "torch sees . GPUs; use 'cpu'"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_before_the_first_step(
    lesions, others, monkeypatch, change, message
):
    monkeypatch.setattr(joint.train.step, "_step", None)
    system = change.get("system", full_system)()
    train = change.get("train", lambda d: d)(lesions)
    options = {k: v for k, v in change.items() if k in ("config", "objective", "device")}
    with pytest.raises(ValueError, match=message):
        _fit(system, train, others, **options)


def test_a_picture_that_is_validated_is_not_trained_on(lesions, others):
    train, validation = lesions.subset(torch.arange(40)), lesions.subset(torch.arange(38, 48))
    assert train.shared(validation) == ("picture38", "picture39")
    assert lesions.shared(others) == ()  # the same names, but other pictures
    with pytest.raises(ValueError, match=r"2 pictures are in both .* \(picture38, \.\.\.\)"):
        _fit(full_system(), train, validation)


def _own(dataset, start=0, **changes):
    """The same pictures in a data set of its own, their names counted on."""
    given = {
        "images": dataset.gather(range(len(dataset))).images,
        "labels": dataset.labels,
        "groups": dataset.groups,
        "identifiers": [f"picture{start + row}" for row in range(len(dataset))],
        "classes": dataset.classes,
    }
    return classify.LesionDataset(**given | changes)


def test_a_picture_of_another_data_set_is_known_too(lesions, others):
    assert lesions.shared(_own(lesions.subset(torch.arange(9)))) == lesions.identifiers[:9]
    with pytest.raises(ValueError, match=r"9 pictures are in both .* \(picture0, \.\.\.\)"):
        _fit(full_system(), lesions, _own(lesions.subset(torch.arange(9))))


def test_a_picture_of_another_name_is_told(lesions, monkeypatch):
    monkeypatch.setattr(joint.train.preflight, "_check_settings", _stop)
    again = lesions.subset(torch.arange(9))
    renamed = _own(again, 100, groups=[f"else{row}" for row in range(9)])
    assert lesions.shared(renamed) == lesions.identifiers[:9]
    assert lesions.shared(renamed, named=True) == ()
    told = pytest.warns(UserWarning, match=r"^9 pictures of the training set are .* other names")
    with told, pytest.raises(_Stopped):
        _fit(full_system(), lesions, renamed)
    # One name of two pictures, and one picture of two names, are not one picture of one name.
    turned = _own(again, groups=[f"else{row}" for row in range(9)], identifiers=[
        f"picture{(row + 1) % 9}" for row in range(9)
    ])  # fmt: skip
    assert set(turned.identifiers) <= set(lesions.identifiers)
    with told, pytest.raises(_Stopped):
        _fit(full_system(), lesions, turned)


def test_lesions_on_both_sides_are_spoken_of(lesions, others, monkeypatch):
    monkeypatch.setattr(joint.train.preflight, "_check_settings", _stop)

    def look(train, validation):
        with pytest.raises(_Stopped):
            _fit(full_system(), train, validation)

    told = pytest.warns(UserWarning, match=r"^18 of the 18 pictures .* share their lesion \(or pat")
    alike = others.grouped([lesions.groups[row] for row in range(18)])
    for validation in (alike, _own(alike, 100)):  # whether or not one name is of two pictures
        with told:
            look(lesions, validation)
    look(lesions, others)
    # Numbers of rows are names of other pictures in each set, and of no patient.
    assert {*others.identifiers} <= {*lesions.identifiers}
    rows = lesions.grouped(lesions.identifiers)
    look(rows, others.grouped(others.identifiers))
    look(rows, others.grouped(lesions.identifiers[20:38]))
    paired = lesions.grouped([f"picture{row // 2}" for row in range(48)])
    look(paired, others.grouped(others.identifiers))
    # Of parts of one data set, whoever split it chose: pictures 4 and 5 are of one lesion.
    look(lesions.subset(range(5)), lesions.subset(range(5, 12)))


def test_a_class_that_is_validated_and_not_trained_on_is_spoken_of(lesions, others, monkeypatch):
    monkeypatch.setattr(joint.train.preflight, "_check_settings", _stop)
    few = lesions.subset(lesions.labels != 1)
    told = pytest.warns(UserWarning, match="no picture of b, of which the validation set has 6:")
    with told, pytest.raises(_Stopped):
        _fit(full_system(), few, others)
    # One that nobody judges, or that no picture is of at all.
    for train, validation in ((lesions, others.subset([0, 3])), (few, others.subset([0, 2]))):
        with pytest.raises(_Stopped):
            _fit(full_system(), train, validation)


@pytest.mark.parametrize("monitor", ["balanced_accuracy", "macro_f1", "auc"])
def test_a_mean_over_classes_that_lacks_one_is_spoken_of(lesions, others, monitor):
    check = joint.train.preflight.check_run
    some = others.subset(others.labels != 1)
    config, objective = _settings(monitor=monitor), joint.Objective()
    told = rf"validation set has no picture of b, .* by monitor='{monitor}' may be one that never"
    with pytest.warns(UserWarning, match=told):
        check(full_system(), lesions, some, objective, config)
    # Of one that training lacks too nothing is learned; and the loss is a mean over pictures.
    check(full_system(), lesions.subset(lesions.labels != 1), some, objective, config)
    check(full_system(), lesions, some, objective, _settings(monitor="loss"))


class _Stopped(Exception):
    pass


def _stop(*_):
    raise _Stopped


def test_a_scene_that_the_front_end_cannot_take_is_refused_first(lesions, others, monkeypatch):
    monkeypatch.setattr(joint.train.step, "_step", None)
    system = joint.ImagingSystem(front_end=optics.FourierFilter(32), classifier=Head())
    with pytest.raises(ValueError, match="build it with the size of the scene"):
        _fit(system, lesions, others, objective=joint.Objective())


def test_what_a_turn_cannot_move_is_refused_before_the_first_step(lesions, others, monkeypatch):
    monkeypatch.setattr(joint.train.step, "_step", None)
    system = joint.ImagingSystem(
        front_end=optics.LearnedKernel("identity", 3), codec=compress.JPEG(50), classifier=Head()
    )
    with pytest.raises(ValueError, match=r"depends on the stages that learn \(codec, classifier\)"):
        _fit(
            system, lesions, others, objective=joint.Objective(task=0, distortion=1),
            config=_settings(plan="alternating", monitor="loss"),
        )  # fmt: skip
    # A turn that never comes is of no account.
    monkeypatch.undo()
    for parameter in system.classifier.parameters():
        parameter.requires_grad_(False)
    alone = _settings(plan="alternating", turn_epochs=2, epochs=2)
    _fit(system, lesions, others, objective=joint.Objective(), config=alone)


def test_a_penalty_that_nothing_learns_from_is_refused_before_the_first_step(
    lesions, others, monkeypatch
):
    def train(front_end, **settings):
        system = joint.ImagingSystem(front_end=front_end, classifier=Head())
        objective = joint.Objective(penalty=0.1)
        _fit(system, lesions, others, objective=objective, config=_settings(**settings))

    # A turn in which the front end rests is of no account, as long as it has one.
    train(Uneven("identity", 3), plan="alternating", turn_epochs=1, epochs=2)
    monkeypatch.setattr(joint.train.step, "_step", None)
    message = "penalty of Uneven has no gradient to what learns here, so that penalty=0.1 would do"
    with pytest.raises(ValueError, match=message):
        train(Uneven("identity", 3), stages=("classifier",))
    with pytest.raises(ValueError, match=message):
        train(Uneven("identity", 3).requires_grad_(False))
    with pytest.raises(ValueError, match=r"weight of 0\.1 for penalty, but the system has no"):
        train(optics.LearnedKernel("identity", 3))
    with pytest.raises(ValueError, match="monitor='loss_penalty' needs a front_end, and the syst"):
        train(None, monitor="loss_penalty")


def test_a_plan_with_a_turn_in_which_nothing_learns_is_refused(lesions, others):
    with pytest.raises(ValueError, match=r"nothing to train: .* plan='alternating'"):
        _fit(
            joint.ImagingSystem(classifier=Head()), lesions, others,
            objective=joint.Objective(), config=_settings(plan="alternating"),
        )  # fmt: skip


def test_a_plan_with_a_turn_of_stages_that_were_frozen_by_hand_is_refused(lesions, others):
    system = full_system()
    for stage in (system.codec, system.classifier):
        stage.requires_grad_(False)
    check = joint.train.preflight.check_run
    message = (
        r"the stages codec, classifier have no trainable .* in epoch 3 with plan='alternating'"
    )
    with pytest.raises(ValueError, match=message):
        check(
            system, lesions, others, joint.Objective(),
            _settings(plan="alternating", turn_epochs=2),
        )  # fmt: skip
    check(system, lesions, others, joint.Objective(), _settings())


@pytest.mark.parametrize(
    ("processes", "parts", "batch_size"), [(1, 11, 10), (1, 10, 10), (3, 4, 10), (2, 5, 10)]
)
def test_a_step_that_leaves_a_process_without_a_picture_is_refused(
    lesions, others, monkeypatch, processes, parts, batch_size
):
    # 48 pictures are steps of 10, 10, 10, 9 and 9: it is the smallest that counts.
    monkeypatch.setattr(joint.train.step, "_step", None)
    monkeypatch.setattr(joint.train.preflight, "world_size", lambda: processes)
    message = rf"a step of 9 pictures .* among {processes} processes in {parts} parts each"
    with pytest.raises(ValueError, match=message):
        _fit(
            full_system(), lesions, others,
            config=_settings(micro_batches=parts, batch_size=batch_size),
        )  # fmt: skip


def test_a_step_of_all_pictures_is_not_to_be_larger(lesions, others, monkeypatch):
    monkeypatch.setattr(joint.train.step, "_step", None)
    message = r"a step of 48 pictures .* among 1 processes in 49 parts each: lower micro_batches$"
    with pytest.raises(ValueError, match=message):
        _fit(
            full_system(), lesions, others,
            config=_settings(micro_batches=49, batch_size=1000),
        )  # fmt: skip


def test_a_weight_of_two_stages_is_refused_where_one_learns(lesions, others, monkeypatch):
    monkeypatch.setattr(joint.train.preflight, "_check_settings", _stop)

    def tied():
        system = full_system()
        system.restoration = optics.RestorationUNet(width=4, scales=2)
        weight = next(system.restoration.parameters())
        system.classifier.bias = weight  # one weight, of two names
        return system, weight

    message = r"restoration\.\S* and classifier\.bias are one weight, .* give each its own"
    for stages in (joint.Training().stages, ("codec", "restoration"), ("codec", "classifier")):
        with pytest.raises(ValueError, match=message):
            _fit(tied()[0], lesions, others, config=_settings(stages=stages))
    with pytest.raises(_Stopped):  # neither learns
        _fit(tied()[0], lesions, others, config=_settings(stages=("codec",)))
    system, weight = tied()
    weight.requires_grad_(False)
    with pytest.raises(_Stopped):
        _fit(system, lesions, others)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_weights_of_half_precision_are_not_trained(lesions, others, monkeypatch, kind):
    monkeypatch.setattr(joint.train.step, "_step", None)
    system = full_system()
    system.classifier.to(kind)
    name = str(kind).removeprefix("torch.")
    with pytest.raises(
        ValueError, match=rf"classifier\.\S+ is of torch\.{name}, .*classifier\.float"
    ):
        _fit(system, lesions, others)
    system.classifier.requires_grad_(False)  # what is only asked may be
    joint.train.preflight.check_run(system, lesions, others, joint.Objective(), _settings())


@pytest.mark.parametrize(("processes", "parts"), [(1, 9), (2, 4), (3, 3), (9, 1)])
def test_a_step_that_gives_each_part_a_picture_is_taken(
    lesions, others, monkeypatch, processes, parts
):
    monkeypatch.setattr(joint.train.preflight, "world_size", lambda: processes)
    config = _settings(micro_batches=parts)
    joint.train.preflight.check_run(full_system(), lesions, others, joint.Objective(), config)
    monkeypatch.setattr(joint.train.step, "world_size", lambda: processes)
    for number in range(processes):
        monkeypatch.setattr(joint.train.step, "rank", lambda number=number: number)
        assert all(len(part) for part in joint.train.step._share(torch.arange(9), parts))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"classes": ("a", "b", "z")}, r"differ in classes: \('a', 'b', 'c'\) and"),
        ({"images": torch.zeros(18, 1, 16, 16, dtype=torch.uint8)}, "differ in channels: 3 and 1"),
    ],
)
def test_two_sets_of_different_splits_are_refused(lesions, others, other, message):
    given = {
        "images": torch.zeros(18, 3, 16, 16, dtype=torch.uint8),
        "labels": others.targets,
        "groups": [f"lesion{i}" for i in range(18)],
        "identifiers": [f"other{i}" for i in range(18)],
        "classes": others.classes,
    }
    with pytest.raises(ValueError, match=message):
        _fit(full_system(), lesions, classify.LesionDataset(**{**given, **other}))


@pytest.mark.parametrize(
    ("monitor", "missing"),
    [
        *((monitor, "codec") for monitor in ("bpp", "psnr", "ssim")),
        *((m, "classifier") for m in ("accuracy", "balanced_accuracy", "macro_f1", "auc")),
    ],
)
def test_a_number_that_no_stage_gives_cannot_be_monitored(lesions, others, monitor, missing):
    system, objective = full_system(), joint.Objective()
    if missing == "classifier":
        objective = joint.Objective(task=0, rate=0.1, distortion=1.0)
    setattr(system, missing, None)
    check = joint.train.preflight.check_run
    message = f"monitor='{monitor}' needs a {missing}, and the system has none; use 'loss'"
    with pytest.raises(ValueError, match=message):
        check(system, lesions, others, objective, _settings(monitor=monitor))
    check(system, lesions, others, objective, _settings(monitor="loss"))
    check(full_system(), lesions, others, joint.Objective(), _settings(monitor=monitor))


def test_weights_that_are_deferred_for_ever_are_refused(lesions, others):
    objective = joint.Objective(class_weight_power=1.0, deferred_from=3)
    check = joint.train.preflight.check_run
    with pytest.raises(ValueError, match="deferred to epoch 3, counted from 0, but there are 3"):
        check(full_system(), lesions, others, objective, _settings(epochs=3))
    check(full_system(), lesions, others, objective, _settings(epochs=4))


def test_one_class_is_enough_where_nothing_is_classified(lesions, others):
    system = full_system()
    system.classifier = None
    objective = joint.Objective(task=0, rate=0.1, distortion=1.0)
    train = _one_class(lesions)
    joint.train.preflight.check_run(system, train, others, objective, _settings())


@pytest.mark.parametrize("refused", [False, True])
def test_looking_leaves_everything_as_it_was(lesions, others, tmp_path, refused):
    system = full_system()
    system.codec.eval()
    next(system.classifier.parameters()).requires_grad_(False)
    before, drawn = _state(system), torch.random.get_rng_state()
    modes = [module.training for module in system.modules()]
    flags = [parameter.requires_grad for parameter in system.parameters()]
    objective = joint.Objective(task=0) if refused else joint.Objective()
    config = _settings(plan="alternating")
    if refused:
        with pytest.raises(ValueError, match="nothing that the objective weighs"):
            _fit(
                system, lesions, others, objective=objective, config=config,
                directory=tmp_path / "run",
            )  # fmt: skip
        assert not (tmp_path / "run").exists()
    else:
        joint.train.preflight.check_run(system, lesions, others, objective, config)
    assert _same(before, _state(system))
    assert [module.training for module in system.modules()] == modes
    assert [parameter.requires_grad for parameter in system.parameters()] == flags
    assert all(parameter.grad is None for parameter in system.parameters())
    assert torch.equal(drawn, torch.random.get_rng_state())


def test_a_monitor_that_would_never_exist_is_refused(lesions, others):
    system = joint.ImagingSystem(
        sensor=optics.Sensor(2000, binning=2), codec=compress.FactorizedCodec(), classifier=Head()
    )
    check, objective = joint.train.preflight.check_run, joint.Objective(rate=0.1)
    message = r"monitor='ssim' does not exist for the 8 x 8 pixels .*11x11.* use 'psnr'"
    with pytest.raises(ValueError, match=message):
        check(system, lesions, others, objective, _settings(monitor="ssim"))
    check(system, lesions, others, objective, _settings(monitor="psnr"))
    whole = _settings(monitor="psnr_scene")
    with pytest.raises(ValueError, match=r"'psnr_scene' does not exist for a system that .* size"):
        check(system, lesions, others, objective, whole)
    with pytest.raises(ValueError, match="'psnr_scene' does not exist for a system that leaves"):
        check(joint.ImagingSystem(classifier=Head()), lesions, others, joint.Objective(), whole)
    net = optics.RestorationUNet(3, width=2, scales=1, upscaling=3)
    with pytest.raises(ValueError, match=r"'psnr_scene' .* must convert .*upscaling=2 .*'loss'"):
        check(system.replace(restoration=net), lesions, others, objective, whole)
    system.sensor = None
    check(system, lesions, others, objective, _settings(monitor="ssim"))
    check(system, lesions, others, objective, whole)
    alone = _one_class(others)
    with pytest.raises(ValueError, match="monitor='auc' needs two classes or more in the valid"):
        check(system, lesions, alone, objective, _settings(monitor="auc"))
    check(system, lesions, alone, objective, _settings(monitor="accuracy"))


def test_what_is_something_else_is_named(lesions, others):
    system = full_system()
    for call, message in (
        (lambda: joint.fit(lesions, system, others), "the system comes first, the data set second"),
        (lambda: joint.fit(Head(), lesions, others), r"must be a joint\.ImagingSystem, not Head"),
        (lambda: _fit(system, lesions.labels, others), "classify.LesionDataset, not Tensor"),
        (lambda: _fit(system, lesions, [others]), "classify.LesionDataset, not list"),
        (
            lambda: _fit(system, lesions, others, config={"epochs": 1}),
            r"config must be a joint\.Training, not dict; make one with joint\.Training\(",
        ),
        (
            lambda: _fit(system, lesions, others, objective=1.0),
            r"objective must be a joint\.Objective, not float",
        ),
        (
            lambda: joint.fit_ensemble([Head(), Head(1)], lesions, others),
            r"must be a joint\.ImagingSystem, not Head",
        ),
    ):
        with pytest.raises(TypeError, match=message):
            call()


def _pooled(*layers):
    """A classifier of what is left of a picture where it has one pixel, or of its four corners."""
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), *layers, nn.Flatten(), nn.Linear(3, 3))
    net.in_channels = 3
    return joint.ImagingSystem(classifier=net)


class _Corners(nn.Module):
    """Normalises the pixels of all pictures as the rows of one table."""

    in_channels = 3

    def __init__(self):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.norm = nn.BatchNorm1d(3)
        self.head = nn.Linear(3, 3)

    def forward(self, image):
        corners = self.pool(image).flatten(2).transpose(1, 2)
        return self.head(self.norm(corners.flatten(0, 1)).view(corners.shape).mean(1))


def _kinds():
    return {
        "pixel": _pooled(nn.BatchNorm2d(3)),
        "row": _pooled(nn.Flatten(), nn.BatchNorm1d(3)),
        "corners": joint.ImagingSystem(classifier=_Corners()),
        "frozen": _pooled(nn.BatchNorm2d(3).requires_grad_(False).eval()),
        "group": _pooled(nn.GroupNorm(1, 3)),
        "many": joint.ImagingSystem(classifier=Head()),
    }


@pytest.mark.parametrize("kind", _kinds())
@pytest.mark.parametrize(
    ("count", "batch_size", "parts"),
    [(9, 8, 1), (5, 2, 1), (8, 4, 2), (7, 5, 2), (4, 5, 4)],
)
def test_a_part_of_one_picture_is_refused_where_torch_could_not_take_it(
    lesions, others, monkeypatch, kind, count, batch_size, parts
):
    train = lesions.subset(torch.arange(count))
    config = _settings(epochs=1, batch_size=batch_size, micro_batches=parts)
    given = {"objective": joint.Objective(), "config": config}

    def refusal():
        try:
            _fit(_kinds()[kind], train, others, **given)
        except ValueError as error:
            return str(error)
        return None

    before = refusal()
    monkeypatch.setattr(joint.train.member, "check_run", lambda *_, **__: None)
    late = refusal()
    assert (before is None) == (late is None)
    if before is not None:
        assert "Expected more than 1 value per channel" in late
        assert before.startswith(
            f"{count} pictures with batch_size={batch_size} and micro_batches={parts} make "
            "a part of a step of one picture, from which classifier."
        )
        ways = ["raise batch_size"] * (batch_size < count) + ["lower micro_batches"] * (parts > 1)
        assert before.endswith(f"channel there: {', or '.join(ways) or 'take more pictures'}")


def test_what_looks_for_a_part_of_one_picture_leaves_nothing_behind(lesions, others):
    system = _kinds()["pixel"]
    with pytest.raises(ValueError, match=r"classifier\.1 cannot learn: it is a batch normal"):
        _fit(system, lesions, others, objective=joint.Objective(), config=_settings(batch_size=1))
    assert not any(module._forward_pre_hooks for module in system.modules())
    # It may be one where its stage does not learn, or several processes normalise together.
    check = joint.train.preflight.check_run
    system.front_end = optics.LearnedKernel("identity", 3)
    apart = _settings(batch_size=1, stages=("front_end",))
    check(system, lesions, others, joint.Objective(), apart)
