import copy
import dataclasses
import itertools

import pytest
import torch
from small import Uneven
from torch import nn

import compress
import joint
import optics
from joint.saved.folder import read_history


class Smooth(nn.Module):
    """Without kinks, so that rounding stays rounding for many steps; or with dropout."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.in_channels = 3
        self.net = nn.Sequential(
            nn.Conv2d(3, 6, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(6),
            nn.Tanh(),
            nn.Conv2d(6, 8, 3, stride=2, padding=1),
            nn.Tanh(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(8, 3),
        )

    def forward(self, image):
        return self.net(image)


class Blur(compress.Codec):
    """A codec whose result is a smooth function of its weights."""

    channels = 3

    def __init__(self):
        super().__init__()
        self.net = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, image, *, generator=None):
        del generator
        decoded = torch.sigmoid(self.net(image))
        bits = decoded.square().mean(1, keepdim=True)
        return compress.Coded(decoded, None, bits, bits.new_zeros(len(image)), "rounded")

    def compress(self, image):
        raise NotImplementedError

    def decompress(self, payloads):
        raise NotImplementedError


class Weighing(Blur):
    """Weighs each picture, and prices its bits by what is no tensor."""

    def __init__(self, price=1.0):
        super().__init__()
        self.price = price

    def forward(self, image, *, generator=None):
        coded = super().forward(image, generator=generator)
        weight = 4 * coded.reconstruction.detach().mean((1, 2, 3))
        return dataclasses.replace(
            coded, bits_map=self.price * coded.bits_map, distortion_weight=weight
        )


# Analogue, for a rounded code is a kink too.
SENSOR = {"photons": 2000, "bit_depth": None}
SEEDS = (3, 4, 5)


class Sharpen(nn.Conv2d):
    """A restoration without kinks, where its pictures stay between black and white."""

    def __init__(self):
        super().__init__(3, 3, 3, padding=1, padding_mode="replicate")

    def forward(self, image):
        return torch.sigmoid(super().forward(image))


def _system(seed, *, codec=Blur, dropout=0.0, restoration=None):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return joint.ImagingSystem(
            front_end=optics.LearnedKernel(("identity", "unsharp")[seed % 2], 3),
            sensor=optics.Sensor(**SENSOR),
            restoration=restoration,
            codec=codec(),
            classifier=Smooth(dropout),
        )


def _settings(seed=0, **changes):
    settings = {"epochs": 2, "batch_size": 10, "augmentation": "full", "learning_rate": 3e-3}
    return joint.Training(seed=seed, **{**settings, "monitor": "loss", **changes})


def _objectives(count=3):
    return [joint.Objective(rate=0.05 * k, distortion=1.0) for k in range(count)]


def _ensemble(systems, lesions, others, **options):
    given = {
        "objective": _objectives(len(systems)),
        "config": [_settings(seed) for seed, _ in zip(SEEDS, systems, strict=False)],
        "progress": False,
    }
    return joint.fit_ensemble(systems, lesions, others, **{**given, **options})


def _apart(systems, lesions, others, configs=None, **options):
    configs = configs or [_settings(seed) for seed in SEEDS]
    return [
        joint.fit(*given, objective=o, config=c, progress=False, **options)
        for o, c, *given in zip(
            _objectives(), configs, systems, itertools.repeat(lesions), itertools.repeat(others),
            strict=False,
        )
    ]  # fmt: skip


def _close(ours, theirs, tolerance=2e-4):
    for one, other in zip(ours, theirs, strict=True):
        expected = other.state_dict()
        for name, tensor in one.state_dict().items():
            torch.testing.assert_close(
                tensor, expected[name], rtol=tolerance, atol=tolerance, msg=lambda m, n=name: n + m
            )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"averaging": 0.9, "restore_best": False, "weight_decay": 0.1, "optimizer": "adam"},
        {"mixing": "mixup", "sampling_power": 0.5, "micro_batches": 2, "gradient_clip": 0.01},
        {"stages": ("front_end", "classifier"), "schedule": "constant"},
        {"plan": "alternating"},
    ],
)
def test_each_is_trained_as_it_is_alone(lesions, others, changes):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        one = Sharpen()  # one of them has another stage
    together = [_system(seed, restoration=one if seed == SEEDS[-1] else None) for seed in SEEDS]
    before, alone = copy.deepcopy(together), copy.deepcopy(together)
    configs = [_settings(seed, **changes) for seed in SEEDS]
    histories = _ensemble(together, lesions, others, config=configs)
    expected = _apart(alone, lesions, others, configs)
    _close(together, alone)
    for ours, theirs in zip(histories, expected, strict=True):
        assert ours.best_epoch == theirs.best_epoch
        for record, other in zip(ours.epochs, theirs.epochs, strict=True):
            for name in ("train", "validation", "gradient_norms"):
                one, two = getattr(record, name), getattr(other, name)
                assert one.keys() == two.keys()
                for key, value in one.items():
                    near = None if value is None else pytest.approx(two[key], rel=1e-2)
                    assert value == near, (name, key)
    # They did move, and not alike.
    for one, other in zip(together, before, strict=True):
        moved = one.classifier.net[-1].weight - other.classifier.net[-1].weight
        assert moved.abs().max() > 1e-3
    weights = [system.classifier.net[-1].weight for system in together]
    assert not torch.allclose(weights[0], weights[1], atol=1e-2)


# In half precision a stack rounds otherwise than its members.
@pytest.mark.parametrize(
    ("kind", "tolerance"),
    [(torch.bfloat16, 5e-4), (torch.float16, 1e-4), (torch.float64, 1e-4)],
    ids=str,
)
def test_a_frozen_classifier_is_handed_its_own_type(lesions, others, kind, tolerance):
    together = [_system(seed, codec=lambda: None) for seed in SEEDS]
    for system in together:
        system.classifier.requires_grad_(False).to(kind)
    alone, before = copy.deepcopy(together), copy.deepcopy(together)
    configs = [_settings(seed, epochs=1) for seed in SEEDS]
    objective = joint.Objective()
    # Else refused: there would be nothing to stack.
    _ensemble(together, lesions, others, config=configs, objective=objective)
    for system, config in zip(alone, configs, strict=True):
        given = {"objective": objective, "config": config, "progress": False}
        joint.fit(system, lesions, others, **given)
    _close(together, alone, tolerance)
    for system, old in zip(together, before, strict=True):
        assert (system.front_end.raw - old.front_end.raw).abs().max() > 5e-3


def test_weights_of_different_types_are_not_stacked(lesions, others):
    together = [_system(seed) for seed in SEEDS[:2]]
    together[0].classifier.double()
    alone = copy.deepcopy(together)
    configs = [_settings(seed, epochs=1) for seed in SEEDS[:2]]
    _ensemble(together, lesions, others, config=configs)  # their codecs are
    _apart(alone, lesions, others, configs)
    _close(together, alone)


def _first_steps(monkeypatch):
    """Loss and gradient of the first step of each run, by seed."""
    found, original = {}, joint.train.step._step

    def watching(runs, *rest):
        passed = original(runs, *rest)
        for run, each in zip(runs, passed, strict=True):
            given = [p.grad.flatten() for p in run.system.parameters() if p.grad is not None]
            found.setdefault(run.config.seed, (each.terms["total"], torch.cat(given)))
        return passed

    monkeypatch.setattr(joint.train.step, "_step", watching)
    return found


@pytest.mark.parametrize(
    ("codec", "objective"),
    [
        (joint.AutoencoderConfig(), joint.Objective(distortion=1.0)),
        # It draws noise in training, and is passed one by one.
        (joint.HyperpriorConfig(), joint.Objective(rate=1.0, distortion=1.0)),
        # A file: likewise.
        (joint.JPEGConfig(), joint.Objective()),
        (joint.NoneConfig(), joint.Objective()),
    ],
)
def test_shipped_nets_take_the_same_step(lesions, others, monkeypatch, codec, objective):
    found = _first_steps(monkeypatch)
    config = joint.SystemConfig(sensor=joint.SensorConfig(), codec=codec)
    settings = [_settings(seed, epochs=1, batch_size=12) for seed in SEEDS[:2]]

    def built():
        return [
            joint.build_system(
                config.model_copy(update={"seed": seed}), image_size=(16, 16), channels=3, classes=3
            )
            for seed in SEEDS[:2]
        ]

    _ensemble(built(), lesions, others, config=settings, objective=objective)
    together = {seed: found.pop(seed) for seed in SEEDS[:2]}
    for system, each in zip(built(), settings, strict=True):
        joint.fit(system, lesions, others, objective=objective, config=each, progress=False)
    # Of nets with kinks no more can be compared: there a rounding error becomes another path.
    for seed in SEEDS[:2]:
        (loss, gradient), (expected, other) = together[seed], found[seed]
        torch.testing.assert_close(loss, expected, rtol=1e-5, atol=0)
        assert (gradient - other).norm() < 1e-3 * other.norm()
    assert together[SEEDS[0]][0] != together[SEEDS[1]][0]


# What draws is passed one by one, after or before what is stacked; what a stage draws depends on
# what those before it drew.
@pytest.mark.parametrize(
    "dropping",
    [("classifier",), ("restoration",), ("restoration", "classifier"), ("restoration", "codec")],
    ids="-".join,
)
def test_dropout_draws_as_it_does_alone(lesions, others, dropping):
    together = [_system(seed) for seed in SEEDS]
    for system in together:
        if "restoration" in dropping:
            with torch.random.fork_rng():
                torch.manual_seed(0)
                system.restoration = nn.Sequential(nn.Dropout(0.3), Sharpen())
        if "codec" in dropping:
            system.codec.net = nn.Sequential(nn.Dropout(0.3), system.codec.net)
        if "classifier" in dropping:
            system.classifier.net[-2].p = 0.3
    alone = copy.deepcopy(together)
    # Dropout draws in the order of the memory, in which a stack has channels first.
    configs = [_settings(seed, channels_last=False) for seed in SEEDS]
    _ensemble(together, lesions, others, config=configs)
    _apart(alone, lesions, others, configs)
    _close(together, alone)


def test_cameras_may_be_of_different_kinds(lesions, others):
    together = [_system(seed) for seed in SEEDS]
    together[1].front_end, together[2].sensor = None, None
    alone = copy.deepcopy(together)
    _ensemble(together, lesions, others)
    _apart(alone, lesions, others)
    _close(together, alone)


def test_weights_are_of_the_system_again(lesions, others):
    systems = [_system(seed) for seed in SEEDS]
    _ensemble(systems, lesions, others, config=_settings(epochs=1))
    for system in systems:
        for tensor in (*system.parameters(), *system.buffers()):
            assert tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
            assert tensor.grad is None or tensor.grad.shape == tensor.shape


def test_patience_ends_one_and_leaves_the_others(lesions, others):
    together = [_system(seed) for seed in SEEDS]
    # Its learning does nothing: no epoch is better than the first.
    together[1] = _system(SEEDS[1])
    together[1].requires_grad_(False)
    together[1].classifier.net[-1].bias.requires_grad_(True)
    for norm in (m for m in together[1].modules() if isinstance(m, torch.nn.BatchNorm2d)):
        norm.requires_grad_(True)  # as those of the others, which are in training mode
    objectives = [joint.Objective(), joint.Objective(task=1e-12, distortion=1.0), joint.Objective()]
    config = [_settings(s, epochs=4, patience=1, augmentation="none") for s in SEEDS]
    alone = copy.deepcopy(together)
    histories = _ensemble(together, lesions, others, config=config, objective=objectives)
    expected = [
        joint.fit(s, lesions, others, objective=o, config=c, progress=False)
        for s, o, c in zip(alone, objectives, config, strict=True)
    ]
    lengths = [len(history.epochs) for history in histories]
    assert lengths == [len(history.epochs) for history in expected]
    assert min(lengths) < max(lengths)
    _close(together, alone)


def test_folders_are_those_of_fit_and_go_on_either_way(lesions, others, tmp_path):
    whole = [_system(seed) for seed in SEEDS]
    _ensemble(whole, lesions, others)
    folders = [tmp_path / str(seed) for seed in SEEDS]
    asked = iter([False] * 6)
    first = [_system(seed) for seed in SEEDS]
    histories = _ensemble(
        first, lesions, others, directories=folders, stop=lambda: next(asked, True)
    )
    assert all(history.interrupted and len(history.epochs) == 1 for history in histories)
    # Two of them go on alone, one to its end and one for a step, and are ahead of the other then.
    for k, stop in enumerate((None, lambda: True)):
        joint.fit(
            _system(SEEDS[k]), lesions, others, objective=_objectives()[k],
            config=_settings(SEEDS[k]), directory=folders[k], resume=True, stop=stop,
            progress=False,
        )  # fmt: skip
    told = [[], [], []]
    rest = [_system(7) for _ in SEEDS]  # their own weights must not matter
    for system, right in zip(rest, first, strict=True):
        system.front_end = copy.deepcopy(right.front_end)
    histories = _ensemble(
        rest, lesions, others, directories=folders, resume=True,
        on_epoch=[listening.append for listening in told],
    )  # fmt: skip
    _close(rest, whole)
    assert [[record.epoch for record in heard] for heard in told] == [[0, 1]] * 3
    for folder, history in zip(folders, histories, strict=True):
        assert [line["epoch"] for line in read_history(folder)] == [0, 1]
        assert len(history.epochs) == 2
        assert not history.interrupted


def test_a_run_that_was_ahead_is_interrupted_too(lesions, others, tmp_path):
    folders = [tmp_path / str(seed) for seed in SEEDS]
    given = {"config": _settings(SEEDS[0]), "directory": folders[0], "progress": False}
    asked = iter([False] * 5)
    joint.fit(
        _system(SEEDS[0]), lesions, others, objective=_objectives()[0],
        stop=lambda: next(asked, True), **given,
    )  # fmt: skip
    histories = _ensemble(
        [_system(seed) for seed in SEEDS], lesions, others, directories=folders, resume=True,
        stop=lambda: True,
    )  # fmt: skip
    assert [history.interrupted for history in histories] == [True] * 3


@pytest.mark.parametrize("resume", [False, True])
def test_no_folder_is_begun_where_another_is_refused(lesions, others, tmp_path, resume):
    folders = [tmp_path / str(seed) for seed in SEEDS]
    joint.fit(
        _system(SEEDS[1]), lesions, others, config=_settings(5), directory=folders[1],
        stop=lambda: True, progress=False,
    )  # fmt: skip
    with pytest.raises(joint.CheckpointError, match=r"already holds a run|another configuration"):
        _ensemble(
            [_system(seed) for seed in SEEDS], lesions, others, directories=folders, resume=resume
        )
    assert [(folder / "checkpoint.safetensors").exists() for folder in folders] == [
        False, True, False,
    ]  # fmt: skip


def test_a_loss_that_is_no_number_ends_all_and_spares_the_checkpoints(
    lesions, others, tmp_path, monkeypatch
):
    original = joint.train.step._step

    def broken(runs, *rest):
        if runs[1].epoch == 1:
            with torch.no_grad():
                runs[1].system.classifier.net[0].weight.fill_(float("nan"))
        return original(runs, *rest)

    monkeypatch.setattr(joint.train.step, "_step", broken)
    systems = [_system(seed) for seed in SEEDS]
    folders = [tmp_path / str(seed) for seed in SEEDS]
    with pytest.raises(joint.TrainingDiverged, match=f"{folders[1].name}/checkpoint"):
        _ensemble(systems, lesions, others, directories=folders)
    for folder in folders:
        tensors, head = joint.load_checkpoint(folder / "checkpoint.safetensors")
        assert head["epoch"] == 1
        assert all(torch.isfinite(tensor).all() for tensor in tensors.values())
    for system in systems:  # nobody is left with a view of somebody else's
        for tensor in system.parameters():
            assert tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()


def test_weights_that_give_no_scores_have_diverged(lesions, others, monkeypatch):
    """After the last step of an epoch, which no loss has seen."""
    original = joint.train.run.TrainingRun.check_weights

    def blown(run):
        original(run)
        with torch.no_grad():
            for weight in run.system.classifier.parameters():
                weight.mul_(1e30)

    monkeypatch.setattr(joint.train.run.TrainingRun, "check_weights", blown)
    with pytest.raises(joint.TrainingDiverged, match=r"too large to compute with \(18 rows of sco"):
        _ensemble([_system(0), _system(1)], lesions, others)


@pytest.mark.parametrize(
    ("count", "options", "message"),
    [
        (1, {}, "two systems or more"),
        (2, {"config": [_settings()] * 3}, "2 systems need 2 configurations"),
        (2, {"objective": [joint.Objective()]}, "2 systems need 2 objectives"),
        (2, {"on_epoch": [print]}, "2 systems need 2 listeners"),
        (2, {"directories": ["a"]}, "2 systems need 2 directories, one for each, not 1"),
        (2, {"resume": True}, "needs the directories"),
        (2, {"config": [_settings(), _settings(epochs=4, patience=2)]}, "epochs, patience"),
        (2, {"config": _settings(compile=True)}, "not compiled"),
        (2, {"config": _settings(batch_size=17)}, r"4352 pixels .* no faster .* from 4096"),
    ],
)
def test_what_is_no_ensemble_is_refused(lesions, others, count, options, message):
    systems = [_system(seed) for seed in SEEDS[:count]]
    with pytest.raises(ValueError, match=message):
        _ensemble(systems, lesions, others, **options)


def test_batches_of_as_many_pixels_as_pay_are_taken(lesions, others):
    few = lesions.subset(range(16))
    config = [_settings(seed, epochs=1, batch_size=17) for seed in SEEDS[:2]]
    histories = _ensemble([_system(seed) for seed in SEEDS[:2]], few, others, config=config)
    assert all(len(history.epochs) == 1 for history in histories)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"config": {"epochs": 1}}, "config must be a joint.Training, not dict"),
        ({"config": {}}, "config must be a joint.Training, not dict"),
        ({"objective": {}}, "objective must be a joint.Objective, not dict"),
        ({"directories": "runs"}, "a sequence of 2 run folders, one for each system, not 'runs'"),
        ({"directories": [1, 2]}, "each of directories must be a path, .* not int"),
        ({"stop": True}, "stop must be a function .*, not True"),
    ],
)
def test_what_is_of_another_kind_is_refused(lesions, others, options, message):
    with pytest.raises(TypeError, match=message):
        _ensemble([_system(0), _system(1)], lesions, others, **options)


def test_systems_that_share_weights_are_refused(lesions, others):
    first, second = _system(0), _system(1)
    with pytest.raises(ValueError, match="share weights"):
        _ensemble([first, first], lesions, others)
    second.classifier = first.classifier
    with pytest.raises(ValueError, match="share weights"):
        _ensemble([first, second], lesions, others)


@pytest.mark.parametrize("again", ["one", "./one/"])
def test_systems_that_share_a_folder_are_refused(lesions, others, tmp_path, monkeypatch, again):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(joint.CheckpointError, match=r"0 and 1, .* share the folder .*one: give ea"):
        _ensemble([_system(0), _system(1)], lesions, others, directories=["one", again])
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("systems", [None, "one"])
def test_what_are_no_systems_is_refused(lesions, others, systems):
    systems = None if systems is None else _system(0)
    kind = type(systems).__name__
    with pytest.raises(TypeError, match=f"sequence of two .* or more, not {kind}; use fit for one"):
        joint.fit_ensemble(systems, lesions, others)


def test_a_teacher_that_another_member_would_change_is_refused(lesions, others):
    systems, teacher = [_system(0), _system(1)], _system(2)
    teacher.classifier = systems[1].classifier
    objective = joint.Objective(distillation=1.0)
    with pytest.raises(ValueError, match=r"teacher shares weights .* copy \(copy\.deepcopy\)"):
        _ensemble(systems, lesions, others, objective=objective, teacher=[teacher, _system(3)])


def test_statistics_of_a_restoration_are_those_of_the_steps(lesions, others):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        nets = [nn.Sequential(nn.BatchNorm2d(3), nn.Sigmoid()) for _ in SEEDS]
    together = [_system(s, restoration=net) for s, net in zip(SEEDS, nets, strict=True)]
    alone = copy.deepcopy(together)
    state, configs = torch.get_rng_state(), [_settings(seed, epochs=1) for seed in SEEDS]
    with torch.inference_mode():  # of the caller: there are gradients all the same
        _ensemble(together, lesions, others, config=configs)
    assert torch.equal(torch.get_rng_state(), state)
    _apart(alone, lesions, others, configs)
    _close(together, alone)  # num_batches_tracked among them


def test_what_teaches_and_weighs_is_as_it_is_alone(lesions, others):
    rare = lesions.subset(
        torch.nonzero((lesions.labels > 0) | (torch.arange(len(lesions)) < 6))[:, 0]
    )
    assert len(set(rare.counts.tolist())) > 1
    objective = joint.Objective(
        rate=0.05, distortion=1.0, distillation=2.0, penalty=0.5, class_weight_power=1.0,
        deferred_from=1,
    )  # fmt: skip
    configs = [_settings(seed, epochs=2, restore_best=False) for seed in SEEDS]
    together = [_system(seed, codec=Weighing) for seed in SEEDS]
    for system in together:
        system.front_end = Uneven("unsharp", 3)
    alone, teachers = copy.deepcopy(together), [_system(seed) for seed in (6, 7, 8)]
    given = {"objective": objective, "progress": False}
    histories = joint.fit_ensemble(
        together, rare, others, config=configs, teacher=teachers, **given
    )
    for system, config, teacher, history in zip(alone, configs, teachers, histories, strict=True):
        expected = joint.fit(system, rare, others, config=config, teacher=teacher, **given)
        for ours, theirs in zip(history.epochs, expected.epochs, strict=True):
            assert ours.train == pytest.approx(theirs.train, rel=1e-2)
        assert ours.train["distillation"] > 1e-3
        assert ours.train["penalty"] > 0.5
    _close(together, alone)


def test_what_is_passed_one_by_one_computes_in_low_precision(lesions, others):
    systems, seen = [_system(seed, dropout=0.3) for seed in SEEDS[:2]], []
    for system in systems:
        system.classifier.net[0].register_forward_hook(lambda *given: seen.append(given[2].dtype))
    config = [_settings(seed, epochs=1, precision="bfloat16") for seed in SEEDS[:2]]
    _ensemble(systems, lesions, others, config=config)
    assert seen.count(torch.bfloat16) == 2 * 5  # steps; validation and looks are in float32


def test_dropout_that_rests_is_stacked(lesions, others):
    systems = [_system(seed, codec=lambda: None, dropout=0.3) for seed in SEEDS[:2]]
    before = copy.deepcopy(systems)
    given = {"objective": joint.Objective(), "config": _settings(epochs=1, plan="frozen")}
    _ensemble(systems, lesions, others, **given)  # else refused: there would be nothing to stack
    for system, old in zip(systems, before, strict=True):
        assert not torch.equal(system.front_end.raw, old.front_end.raw)
        assert torch.equal(system.classifier.net[0].weight, old.classifier.net[0].weight)


def test_a_member_may_learn_less_than_another(lesions, others):
    together = [_system(seed) for seed in SEEDS]
    together[0].classifier.net[0].requires_grad_(False)
    before = together[0].classifier.net[0].weight.clone()
    alone = copy.deepcopy(together)
    _ensemble(together, lesions, others)
    _apart(alone, lesions, others)
    _close(together, alone)
    assert torch.equal(together[0].classifier.net[0].weight, before)
    assert together[0].classifier.net[0].weight.grad is None


@pytest.mark.parametrize("member", [0, 1])
def test_the_frozen_classifier_of_a_member_stays_as_it_is(lesions, others, member):
    together = [_system(seed) for seed in SEEDS]
    look = lesions.gather(torch.arange(8))[0] / 255
    for system in together:  # as after a training, so that both modes give much the same
        system.classifier.net[1].momentum = 1.0
        system.classifier(system.measure(look).measurement)
        system.classifier.net[1].momentum = 0.1
    frozen = together[member].classifier.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in frozen.state_dict().items()}
    alone = copy.deepcopy(together)
    _ensemble(together, lesions, others)
    _apart(alone, lesions, others)
    _close(together, alone)
    assert all(torch.equal(before[name], t) for name, t in frozen.state_dict().items())


def test_where_nothing_can_be_stacked_it_says_why(lesions, others, tmp_path):
    systems = [_system(seed, dropout=0.3) for seed in SEEDS]
    for system in systems:
        system.codec = None
    folders = [tmp_path / str(seed) for seed in SEEDS]
    objective = joint.Objective()
    with pytest.raises(ValueError, match=r"can be stacked \(classifier: vmap: called random"):
        _ensemble(systems, lesions, others, directories=folders, objective=objective)
    assert not any(folder.exists() for folder in folders)
    systems[1].classifier.net[0] = nn.Conv2d(3, 6, 5, stride=2, padding=2)
    for system in systems:
        system.classifier.net[-2].p = 0.0
    with pytest.raises(ValueError, match=r"classifier: stack expects each tensor to be equal size"):
        _ensemble(systems, lesions, others, objective=objective)
    systems[1].classifier = None
    with pytest.raises(ValueError, match="classifier"):
        _ensemble(systems, lesions, others, objective=joint.Objective())
    for system in systems:
        system.classifier, system.restoration = None, Sharpen()
    with pytest.raises(ValueError, match=r"can be stacked \(no codec, no classifier\): train them"):
        _ensemble(systems, lesions, others, objective=joint.Objective(task=0, restoration=1))


def test_what_a_stack_would_get_wrong_is_passed_one_by_one(lesions, others):
    # Something that differs and is no tensor: the stack would take the first one's for all.
    together = [_system(seed) for seed in SEEDS]
    for system in together:
        system.classifier.net.insert(0, nn.Upsample(scale_factor=1))
    together[1].classifier.net[3] = nn.ReLU()
    alone = copy.deepcopy(together)
    _ensemble(together, lesions, others, config=[_settings(s, epochs=1) for s in SEEDS])
    _apart(alone, lesions, others, [_settings(seed, epochs=1) for seed in SEEDS])
    _close(together, alone)


def test_batch_norms_of_another_momentum_are_passed_one_by_one(lesions, others):
    together = [_system(seed) for seed in SEEDS[:2]]
    together[1].classifier.net[1].momentum = 0.01
    alone = copy.deepcopy(together)
    configs = [_settings(seed, epochs=1) for seed in SEEDS[:2]]
    _ensemble(together, lesions, others, config=configs)  # the codecs are stacked
    _apart(alone, lesions, others, configs)
    _close(together, alone)


def test_layers_under_two_names_are_passed_one_by_one(lesions, others):
    together = [_system(seed) for seed in SEEDS[:2]]
    for system in together:
        system.classifier.twin = system.classifier.net[0]
    alone = copy.deepcopy(together)
    configs = [_settings(seed, epochs=1) for seed in SEEDS[:2]]
    _ensemble(together, lesions, others, config=configs)
    _apart(alone, lesions, others, configs)
    _close(together, alone)
