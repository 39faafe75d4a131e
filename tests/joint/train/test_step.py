import copy

import pytest
import torch
from small import (
    OBJECTIVE,
    Head,
    Uneven,
    _fit,
    _gradients,
    _same,
    _settings,
    _state,
    full_system,
)
from torch import nn

import classify
import compress
import joint
import joint.train.loop
import joint.train.step
import optics
from joint.feed import Feed


def test_every_epoch_has_an_order_of_its_own_and_shows_each_picture_once(
    lesions, others, monkeypatch
):
    seen = []
    original = joint.train.step._step

    def watching(runs, graph, given, *rest):
        (run,), (step,) = runs, given
        seen.append((run.epoch, torch.cat([batch.scenes.sum((1, 2, 3)) for batch in step.parts])))
        assert not any(p.requires_grad for p in run.system.codec.parameters())
        return original(runs, graph, given, *rest)

    monkeypatch.setattr(joint.train.step, "_step", watching)
    learning = ("front_end", "sensor", "classifier")
    config = _settings(augmentation="none", epochs=2, stages=learning)
    _fit(full_system(), lesions, others, config=config)
    first, second = (torch.cat([s for epoch, s in seen if epoch == e]) for e in (0, 1))
    assert len(first) == len(lesions)
    assert not torch.equal(first, second)
    torch.testing.assert_close(first.sort().values, second.sort().values)


def _watch(monkeypatch):
    """Keep what each step is given: (epoch, step) and its batches."""
    seen = {}
    original = joint.train.step._step

    def watching(runs, graph, given, *rest):
        (run,), (step,) = runs, given
        seen[run.epoch, run.step] = step.parts
        return original(runs, graph, given, *rest)

    monkeypatch.setattr(joint.train.step, "_step", watching)
    return seen


def _by_picture(lesions, seen, epoch):
    """Scene, and the first number of its noise, of each picture by its mean code."""
    found = {}
    for (at, _), batches in sorted(seen.items()):
        for batch in batches if at == epoch else []:
            for scene, noise in zip(batch.scenes, batch.noise, strict=True):
                found[float(scene.double().mean())] = float(torch.rand(1, generator=noise))
    return found


def test_order_and_noise_of_a_picture_depend_on_nothing_but_its_name(lesions, others, monkeypatch):
    def shown(data, **changes):
        with monkeypatch.context() as patch:
            seen = _watch(patch)
            config = _settings(augmentation="none", epochs=1, **changes)
            _fit(full_system(), data, others, config=config)
            return _by_picture(data, seen, 0)

    whole = shown(lesions)
    assert len(whole) == len(lesions)
    assert whole == shown(lesions, batch_size=48) == shown(lesions, micro_batches=3)
    mixed = torch.randperm(48, generator=torch.Generator().manual_seed(3))
    rows = shown(lesions.subset(mixed))
    assert list(rows.items()) == list(whole.items())  # the same order too
    fewer = shown(lesions.subset(torch.arange(40)))
    assert list(fewer.items()) == [pair for pair in whole.items() if pair[0] in fewer]
    assert whole != shown(lesions, seed=1)


def test_views_of_a_picture_do_not_depend_on_its_batch(lesions, others, monkeypatch):
    found = []
    for size in (6, 48):
        with monkeypatch.context() as patch:
            seen = _watch(patch)
            config = _settings(augmentation="full", epochs=1, batch_size=size)
            _fit(full_system(), lesions, others, config=config)
        found.append(torch.cat([seen[key][0].scenes for key in sorted(seen)]))
    torch.testing.assert_close(*found, rtol=0, atol=1e-6)


@pytest.mark.filterwarnings("ignore:the training set has no picture of c")
def test_a_picture_that_is_shown_twice_has_other_views_and_other_noise(
    lesions, others, monkeypatch
):
    rare = lesions.subset(torch.tensor([0, *range(1, 48, 3)]))  # one of a class, 16 of another
    seen = _watch(monkeypatch)
    config = _settings(sampling_power=1.0, augmentation="full", epochs=1, monitor="loss")
    _fit(full_system(), rare, others, config=config)
    batches = [batch for key in sorted(seen) for batch in seen[key]]
    labels = torch.cat([batch.labels for batch in batches])
    assert 8 <= int((labels == 0).sum()) <= 9
    again = torch.cat([batch.scenes for batch in batches])[labels == 0]
    assert len({float(scene.double().sum()) for scene in again}) == len(again)
    drawn = [g.initial_seed() for batch in batches for g in batch.noise]
    assert len(set(drawn)) == len(rare)


def test_micro_batches_take_the_step_of_the_whole(lesions, others):
    steps = []
    for micro_batches in (1, 5):
        system = full_system()
        system.classifier.net[1] = nn.Identity()  # statistics of a part are not those of a whole
        system.classifier.net[7] = nn.Identity()  # no dropout: it has no sources of its own
        system.front_end = Uneven("identity", 3)
        config = _settings(micro_batches=micro_batches, epochs=1, batch_size=48)
        weighed = OBJECTIVE.model_copy(update={"penalty": 0.3})
        history = _fit(system, lesions, others, config=config, objective=weighed)
        steps.append((_gradients(system), history.epochs[0]))
    (whole, record), (parts, other) = steps
    for name, gradient in whole.items():
        assert (parts[name] - gradient).norm() < 1e-4 * gradient.norm(), name
    assert record.train == pytest.approx(other.train, rel=1e-5)
    assert record.gradient_norms == pytest.approx(other.gradient_norms, rel=1e-4)


@pytest.mark.parametrize("micro_batches", [1, 3])
def test_a_penalty_counts_once_in_a_step(lesions, others, micro_batches):
    system = joint.ImagingSystem(front_end=Uneven("gaussian", 3), classifier=Head())
    start = copy.deepcopy(system.front_end)
    config = _settings(
        micro_batches=micro_batches, epochs=1, batch_size=48, optimizer="adam", monitor="loss",
        stages=("front_end",), gradient_clip=None, restore_best=False,
    )  # fmt: skip
    history = _fit(
        system, lesions, others, config=config, objective=joint.Objective(task=0, penalty=2.0)
    )
    (2.0 * start.penalty()).backward()
    for ours, theirs in zip(system.front_end.parameters(), start.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
    record = history.epochs[0]
    assert record.train["penalty"] == pytest.approx(start.penalty().item())
    assert record.train["total"] == pytest.approx(2 * start.penalty().item())
    now = system.front_end.penalty().item()
    assert record.validation["loss_penalty"] == pytest.approx(now)
    assert record.validation["loss"] == pytest.approx(2 * now)


def test_class_weights_of_parts_add_up_to_those_of_the_step(lesions, others):
    rare = lesions.subset([*range(0, 48, 3), 1, 4, 7, 2])  # 16, 3 and 1 of the classes
    found = []
    for micro_batches in (1, 4):
        system = full_system()
        system.classifier.net[1] = system.classifier.net[7] = nn.Identity()
        config = _settings(micro_batches=micro_batches, epochs=1, batch_size=20)
        weighted = joint.Objective(class_weight_power=1, rate=0.1, distortion=1.0)
        _fit(system, rare, others, config=config, objective=weighted)
        found.append(_gradients(system))
    for name, gradient in found[0].items():
        assert (found[1][name] - gradient).norm() < 1e-4 * gradient.norm(), name


def test_class_weights_wait_for_their_epoch(lesions, others):
    rare = lesions.subset([*range(0, 48, 3), 1, 4, 7, 2])
    found = []
    for weighing in ({}, {"deferred_from": 1}, {"deferred_from": 0}):
        power = 1.0 if weighing else 0.0
        weighted = joint.Objective(class_weight_power=power, **weighing)
        history = _fit(full_system(), rare, others, objective=weighted, config=_settings(epochs=2))
        found.append([record.train["total"] for record in history.epochs])
    plain, deferred, at_once = found
    assert deferred[0] == plain[0]
    assert deferred[1] != pytest.approx(plain[1], rel=1e-3)
    assert at_once[0] != pytest.approx(plain[0], rel=1e-3)


def test_gradient_norms_are_those_before_clipping(lesions, others):
    config = _settings(epochs=1, gradient_clip=1e-6)
    clipped = _fit(full_system(), lesions, others, config=config).epochs[0]
    assert set(clipped.gradient_norms) == {"front_end", "sensor", "codec", "classifier"}
    assert min(clipped.gradient_norms.values()) > 1e-4
    assert clipped.clipped == dict.fromkeys(clipped.gradient_norms, 1.0)
    first = full_system()
    config = _settings(epochs=1, batch_size=48, gradient_clip=None, augmentation="none")
    record = _fit(first, lesions, others, config=config).epochs[0]
    # A single step: the norm is that of the gradient that is left in the parameters.
    for name, stage in first.stages():
        squares = sum(float(p.grad.double().square().sum()) for p in stage.parameters())
        assert record.gradient_norms[name] == pytest.approx(squares**0.5, rel=1e-4)
        assert record.clipped[name] == 0


def test_a_frozen_stage_has_no_gradient_norm(lesions, others):
    system = full_system()
    for parameter in system.parameters():
        parameter.grad = torch.ones_like(parameter)
    history = _fit(system, lesions, others, config=_settings(stages=("classifier",), epochs=1))
    assert set(history.epochs[0].gradient_norms) == {"classifier"}
    assert all((p.grad == 1).all() for p in system.codec.parameters())


@pytest.mark.parametrize("mixing", ["mixup", "cutmix"])
def test_mixed_pictures_train(lesions, others, mixing, monkeypatch):
    seen = _watch(monkeypatch)
    system = joint.ImagingSystem(classifier=Head())
    config = _settings(epochs=20, mixing=mixing, augmentation="dihedral", monitor="accuracy")
    history = _fit(system, lesions, others, config=config, objective=joint.Objective())
    labels = seen[0, 0][0].labels
    assert labels.shape == (10, 3) or labels.shape[1] == 3
    assert torch.allclose(labels.sum(1), torch.ones(len(labels)))
    assert history.best.validation["accuracy"] > 0.8


def test_a_loss_that_is_no_number_stops_the_run_and_spares_the_checkpoint(
    lesions, others, tmp_path, monkeypatch
):
    original = joint.train.step._step

    def broken(runs, *rest):
        (run,) = runs
        if run.epoch == 1 and run.step == 2:
            with torch.no_grad():
                run.system.classifier.net[0].weight.fill_(float("nan"))
        return original(runs, *rest)

    monkeypatch.setattr(joint.train.step, "_step", broken)
    with pytest.raises(joint.TrainingDiverged, match=r"became nan in epoch 2, step 3.*classifier"):
        _fit(
            full_system(),
            lesions,
            others,
            directory=tmp_path,
            config=_settings(checkpoint_every=1),
        )
    tensors, head = joint.load_checkpoint(tmp_path / "checkpoint.safetensors")
    assert (head["epoch"], head["step"]) == (1, 2)
    assert all(torch.isfinite(t).all() for t in tensors.values())


def test_a_stage_that_refuses_what_a_diverged_one_hands_it_is_divergence(lesions, others):
    system = joint.ImagingSystem(
        front_end=optics.LearnedKernel(), sensor=optics.Sensor(), codec=compress.JPEG()
    )
    system.front_end.raw.register_hook(lambda gradient: gradient * float("nan"))
    with pytest.raises(joint.TrainingDiverged, match=r"weights are no longer finite.*front_end"):
        joint.fit(
            system,
            lesions,
            others,
            objective=joint.Objective(task=0, distortion=1),
            config=_settings(),
            progress=False,
        )


def test_exact_photon_counts_diverge_in_the_same_words(lesions, others):
    system = full_system()
    system.sensor = optics.Sensor(500, shot_noise="poisson")
    with torch.no_grad():
        for parameter in system.front_end.parameters():
            parameter.fill_(float("nan"))
    with pytest.raises(joint.TrainingDiverged, match="the loss became nan in epoch 1"):
        _fit(system, lesions, others, config=_settings())


def test_half_precision_and_channels_last_train(lesions, others):
    config = _settings(precision="bfloat16", channels_last=True, epochs=2)
    history = _fit(full_system(), lesions, others, config=config)
    assert history.epochs[1].train["total"] < history.epochs[0].train["total"]


class Masks(nn.Module):
    """Dropout that remembers what it kept; it has no sources but torch's own."""

    def __init__(self):
        super().__init__()
        self.kept = []

    def forward(self, x):
        mask = nn.functional.dropout(torch.ones_like(x), 0.5, self.training)
        if self.training:
            self.kept.append(mask.detach())
        return x * mask


def _masked(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        system = joint.ImagingSystem(classifier=Head())
    system.classifier.net[7] = Masks()
    return system, system.classifier.net[7].kept


def test_each_part_of_a_step_has_a_dropout_of_its_own_which_a_resume_repeats(
    lesions, others, tmp_path
):
    config = _settings(epochs=2, batch_size=12, micro_batches=3, checkpoint_every=1)
    plain = {"objective": joint.Objective(), "config": config}
    whole, kept = _masked()
    _fit(whole, lesions, others, **plain)
    assert [mask.shape for mask in kept] == [(4, 16)] * 24  # 2 epochs of 4 steps of 3 parts
    assert len({tuple(mask.flatten().tolist()) for mask in kept}) == 24
    # Whatever state torch's own generator is in.
    for steps, done in ((1, 3), (6, 18)):
        torch.manual_seed(steps)
        asked = iter([False] * (steps - 1) + [True])
        stopped, first = _masked()
        folder = tmp_path / str(steps)
        _fit(stopped, lesions, others, directory=folder, stop=lambda a=asked: next(a), **plain)
        torch.rand(steps)
        resumed, rest = _masked(seed=4)
        _fit(resumed, lesions, others, directory=folder, resume=True, **plain)
        assert len(first) == done
        for mask, expected in zip([*first, *rest], kept, strict=True):
            assert torch.equal(mask, expected)
        assert _same(_state(whole), _state(resumed))
    other, drawn = _masked()
    config = config.model_copy(update={"seed": 1})
    _fit(other, lesions, others, objective=joint.Objective(), config=config)
    assert not any(torch.equal(mask, mine) for mask, mine in zip(drawn, kept, strict=True))


def _rates(monkeypatch):
    """Keep the learning rates with which each step is taken."""
    taken, original = [], joint.train.step._step

    def watching(runs, *rest):
        taken.append([group["lr"] for group in runs[0].optimizer.param_groups])
        return original(runs, *rest)

    monkeypatch.setattr(joint.train.step, "_step", watching)
    return taken


def test_the_learning_rate_of_a_step_is_that_of_its_place(lesions, others, tmp_path, monkeypatch):
    config = _settings(
        epochs=2, batch_size=12, schedule="cosine", learning_rate=4e-3, averaging=0.5,
        learning_rates={"front_end": 1e-2}, stages=("front_end", "classifier"),
    )  # fmt: skip
    # As torch's own schedule has it, asked after each step, over the whole run.
    own = torch.optim.SGD([{"params": [torch.zeros(1)], "lr": rate} for rate in (1e-2, 4e-3, 4e-3)])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(own, T_max=8)
    expected = []
    for _ in range(8):
        expected.append(pytest.approx([group["lr"] for group in own.param_groups], rel=1e-9))
        own.step()
        schedule.step()
    taken = _rates(monkeypatch)
    _fit(full_system(), lesions, others, config=config)
    assert taken == expected
    for steps in (1, 4, 6):  # in the middle of an epoch, and between two
        taken.clear()
        asked = iter([False] * (steps - 1) + [True])
        place = {"config": config, "directory": tmp_path / str(steps)}
        _fit(full_system(), lesions, others, stop=lambda a=asked: next(a), **place)
        assert len(taken) == steps
        _fit(full_system(), lesions, others, resume=True, **place)
        assert taken == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"augmentation": "full", "micro_batches": 2},
        {"mixing": "mixup", "mixing_alpha": 1.0},
        {"mixing": "cutmix", "mixing_alpha": 1.0, "micro_batches": 2},
        {"sampling_power": 0.7, "augmentation": "full"},
    ],
)
def test_a_resume_is_given_the_very_batches_that_were_left(
    lesions, others, tmp_path, monkeypatch, changes
):
    config = _settings(**{"epochs": 2, "batch_size": 12, "augmentation": "none", **changes})
    with monkeypatch.context() as patch:
        whole = _watch(patch)
        expected = full_system()
        _fit(expected, lesions, others, config=config)
    asked = iter([False] * 5 + [True])
    _fit(
        full_system(), lesions, others, config=config, directory=tmp_path,
        stop=lambda: next(asked),
    )  # fmt: skip
    rest = _watch(monkeypatch)
    resumed = full_system(seed=3)
    _fit(resumed, lesions, others, config=config, directory=tmp_path, resume=True)
    assert list(whole) == [(epoch, step) for epoch in range(2) for step in range(4)]
    assert list(rest) == [(1, 2), (1, 3)]
    for place, parts in rest.items():
        for part, other in zip(parts, whole[place], strict=True):
            assert torch.equal(part.scenes, other.scenes)
            assert torch.equal(part.labels, other.labels)
            drawn, drawn_then = ([g.initial_seed() for g in b.noise] for b in (part, other))
            assert len(drawn) == len(part.labels)
            assert drawn == drawn_then
            assert part.key == other.key
    assert _same(_state(expected), _state(resumed))
    # No two parts are drawn alike.
    batches = [part for parts in whole.values() for part in parts]
    assert len({batch.key for batch in batches}) == len(batches)
    seeds = [g.initial_seed() for batch in batches for g in batch.noise]
    assert len(set(seeds)) == 2 * len(lesions)


@pytest.mark.parametrize("sampling_power", [0.0, 0.5, 1.0])
def test_each_epoch_has_its_order_however_it_is_drawn(lesions, others, monkeypatch, sampling_power):
    seen = _watch(monkeypatch)
    config = _settings(sampling_power=sampling_power, augmentation="none", epochs=2)
    system = joint.ImagingSystem(classifier=Head())
    _fit(system, lesions, others, config=config, objective=joint.Objective())
    orders = [
        torch.cat([part.scenes for (at, _), parts in seen.items() if at == epoch for part in parts])
        for epoch in range(2)
    ]
    assert [len(order) for order in orders] == [48, 48]
    alike = [torch.equal(one, other) for one, other in zip(*orders, strict=True)]
    assert sum(alike) < 10
    # Nothing draws in this system: no source is made.
    assert all(part.noise == [] for parts in seen.values() for part in parts)


@pytest.mark.parametrize("sampling_power", [0.0, 0.5, 1.0])
def test_an_order_is_one_of_names(lesions, sampling_power):
    """Not of rows: neither their order nor what else is there moves two pictures."""
    config = _settings(sampling_power=sampling_power)
    lesions = lesions.subset(torch.cat([torch.arange(0, 48, 3), torch.tensor([1, 4, 7, 2, 5])]))

    def shown(dataset, epoch=0):
        rows = joint.train.step._order(Feed(dataset, torch.device("cpu")), config, epoch)
        return [dataset.identifiers[row] for row in rows.tolist()]

    names = shown(lesions)
    assert names != shown(lesions, 1)
    turned = torch.randperm(21, generator=torch.Generator().manual_seed(0))
    assert shown(lesions.subset(turned)) == names
    fewer = shown(lesions.subset(torch.arange(1, 21)))
    alike = {name for name in names if names.count(name) == fewer.count(name)}
    assert len({*names} - alike) <= 4  # what is gone, and one of each class
    assert [n for n in names if n in alike] == [n for n in fewer if n in alike]
    # 16, 3 and 2 of the classes: each in its share, and each picture as often as others of it.
    shares = torch.tensor([16.0, 3.0, 2.0]) ** (1 - sampling_power)
    labels = dict(zip(lesions.identifiers, lesions.labels.tolist(), strict=True))
    for label, share in enumerate((21 * shares / shares.sum()).tolist()):
        times = [names.count(name) for name in labels if labels[name] == label]
        assert abs(sum(times) - share) < 1
        assert max(times) - min(times) <= 1


@pytest.mark.filterwarnings("ignore:the training set has no picture of c")
@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_parts_are_mixed_each_in_its_own_way(lesions, others, monkeypatch, kind):
    # White pictures of one class among black ones of another: what shows of a white one is the
    # share of its class.
    train = classify.LesionDataset(
        images=(torch.arange(48) % 2 * 255).to(torch.uint8)[:, None, None, None].repeat(1, 3, 8, 8),
        labels=torch.arange(48) % 2,
        groups=[f"shade{i // 2}" for i in range(48)],
        identifiers=[f"shade{i}" for i in range(48)],
        classes=lesions.classes,
    )
    small = others.subset(torch.arange(6))
    validation = classify.LesionDataset(
        images=torch.zeros(6, 3, 8, 8, dtype=torch.uint8),
        labels=small.targets,
        groups=small.groups,
        identifiers=small.identifiers,
        classes=small.classes,
    )
    seeds, original = [], joint.train.step.mix

    def mixing(*arguments, generator, **options):
        seeds.append(generator.initial_seed())
        return original(*arguments, generator=generator, **options)

    monkeypatch.setattr(joint.train.step, "mix", mixing)
    seen = _watch(monkeypatch)
    for seed in range(2):
        config = _settings(
            mixing=kind, mixing_alpha=1.0, augmentation="none", epochs=2, batch_size=16,
            micro_batches=2, seed=seed,
        )  # fmt: skip
        system = joint.ImagingSystem(classifier=Head())
        _fit(system, train, validation, config=config, objective=joint.Objective())
    parts = [part for parts in seen.values() for part in parts]
    assert len(parts) == 12
    for part in parts:
        torch.testing.assert_close(
            part.scenes.mean((1, 2, 3)), part.labels[:, 1], rtol=0, atol=1e-5
        )
    assert len(seeds) == len(set(seeds)) == 24


def test_each_stage_is_clipped_by_itself(lesions, others):
    config = _settings(epochs=1, batch_size=48, gradient_clip=None)
    free = full_system()
    _fit(free, lesions, others, config=config)
    expected = _gradients(free)
    norms = sorted(float(gradient.norm()) for gradient in expected.values())
    limit = (norms[1] * norms[2]) ** 0.5
    limited = full_system()
    config = config.model_copy(update={"gradient_clip": limit})
    _fit(limited, lesions, others, config=config)
    found = _gradients(limited)
    clipped = 0
    for name, gradient in expected.items():
        if gradient.norm() > limit:
            clipped += 1
            gradient = gradient * limit / gradient.norm()
            torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=0)
        else:
            assert torch.equal(found[name], gradient), name
    assert clipped == 2


def test_a_gradient_from_before_is_not_added(lesions, others):
    found = []
    for stale in (False, True):
        system = full_system()
        for parameter in system.parameters() if stale else ():
            parameter.grad = torch.full_like(parameter, 7.0)
        _fit(system, lesions, others, config=_settings(epochs=1, batch_size=24))
        found.append((_gradients(system), _state(system)))
    (fresh, weights), (stale, other) = found
    assert all(torch.equal(gradient, stale[name]) for name, gradient in fresh.items())
    assert _same(weights, other)


def test_numbers_of_an_epoch_are_means_over_its_pictures(lesions, others, monkeypatch):
    steps, norms = [], []
    original, clip = joint.train.step._step, joint.train.step._clip

    def watching(runs, graph, given, *rest):
        passed = original(runs, graph, given, *rest)
        steps.append((given[0].pictures, passed[0].terms))
        return passed

    def clipping(run):
        norms.append(clip(run))
        return norms[-1]

    monkeypatch.setattr(joint.train.step, "_step", watching)
    monkeypatch.setattr(joint.train.step, "_clip", clipping)
    few = lesions.subset(torch.arange(8))
    (record,) = _fit(full_system(), few, others, config=_settings(epochs=1, batch_size=3)).epochs
    sizes = [size for size, _ in steps]
    assert sizes == [3, 3, 2]

    def mean(values, weights):
        total = sum(float(v) * w for v, w in zip(values, weights, strict=True))
        return total / sum(weights)

    for name, value in record.train.items():
        terms = [terms[name] for _, terms in steps]
        assert value == pytest.approx(mean(terms, sizes), rel=1e-9), name
        assert value != pytest.approx(mean(terms, [1, 1, 1]), rel=1e-7), name
    for name, value in record.gradient_norms.items():
        given = [each[joint.train.run.NORM + name] for each in norms]
        assert value == pytest.approx(mean(given, sizes), rel=1e-9), name


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_half_precision_is_of_the_networks_while_they_train(lesions, others, precision):
    system, seen = full_system(), {}

    def look(name, tensor):
        seen.setdefault((name, system.training), set()).add(tensor.dtype)

    for name, module in (
        ("light", system.front_end), ("raw", system.sensor),
        ("codec", system.codec.analysis.layers[0]), ("classifier", system.classifier),
    ):  # fmt: skip
        module.register_forward_hook(lambda m, a, out, name=name: look(name, out))
    system.classifier.net[0].weight.register_hook(lambda gradient: look("gradient", gradient))
    _fit(system, lesions, others, config=_settings(precision=precision, epochs=1))
    half = getattr(torch, precision)
    for name in ("codec", "classifier"):
        assert seen[name, True] == {half}, name
    assert seen["classifier", False] == {torch.float32}  # it is validated in full
    for name in ("light", "raw", "gradient"):
        assert seen[name, True] == {torch.float32}, name
    floats = [t for t in system.state_dict().values() if t.is_floating_point()]
    assert all(tensor.dtype == torch.float32 for tensor in floats)


@pytest.mark.parametrize("asked", [False, True])
def test_what_is_compiled_is_what_trains_and_no_other_name_is_saved(
    lesions, others, monkeypatch, asked
):
    compiled, passed = [], []

    def compiling(system):
        compiled.append(system)

        def run(*arguments, **options):
            passed.append(len(arguments[0]))
            return system(*arguments, **options)

        return run

    monkeypatch.setattr(torch, "compile", compiling)
    system, plain = full_system(), full_system()
    names = list(system.state_dict())
    _fit(system, lesions, others, config=_settings(epochs=1, compile=asked))
    assert [each is system for each in compiled] == [True] * asked
    assert passed == [10, 10, 10, 9, 9] * asked
    assert list(system.state_dict()) == names
    _fit(plain, lesions, others, config=_settings(epochs=1))
    assert _same(_state(system), _state(plain))


@pytest.mark.parametrize("kind", [ValueError, RuntimeError])
def test_what_a_healthy_stage_refuses_is_no_divergence(lesions, others, tmp_path, kind):
    system, calls = full_system(), []

    def refuse(module, arguments):
        if module.training:
            calls.append(len(arguments[0]))
            if len(calls) == 3:
                raise kind("this stage takes no third batch")

    system.classifier.register_forward_pre_hook(refuse)
    with pytest.raises(kind, match="takes no third batch") as caught:
        _fit(system, lesions, others, directory=tmp_path, config=_settings(checkpoint_every=1))
    assert type(caught.value) is kind
    _, head = joint.load_checkpoint(tmp_path / "checkpoint.safetensors")
    assert (head["epoch"], head["step"]) == (0, 2)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_loss_that_is_no_number_names_the_stages_that_are_lost(lesions, others, value):
    system = full_system()
    run = joint.train.loop.begun(
        system, OBJECTIVE, _settings(), lesions, others, None, resume=False
    )  # fmt: skip
    joint.train.step.check_finite(run, torch.tensor(3.0))
    with pytest.raises(
        joint.TrainingDiverged,
        match=rf"became {value} in epoch 1, step 0\. Lower .*; nothing is kept",
    ):
        joint.train.step.check_finite(run, torch.tensor(value))
    for stage, broken in ((system.front_end, value), (system.codec, value), (system.sensor, 1.0)):
        for parameter in stage.parameters():
            parameter.grad = torch.zeros_like(parameter)
            parameter.grad.view(-1)[-1] = broken
    with pytest.raises(joint.TrainingDiverged, match=r"no longer finite in: front_end, codec\)"):
        joint.train.step.check_finite(run, torch.tensor(value))


def test_the_bar_of_a_resumed_epoch_begins_where_it_was_left(
    lesions, others, tmp_path, monkeypatch
):
    bars = []

    class Bar(joint.train.step.tqdm):
        def __init__(self, **options):
            bars.append({**options, "shown": options["initial"]})
            super().__init__(**{**options, "disable": True})

        def update(self, n=1):
            bars[-1]["shown"] += n
            return super().update(n)

    monkeypatch.setattr(joint.train.step, "tqdm", Bar)
    asked = iter([False] * 6 + [True])
    given = {"directory": tmp_path, "config": _settings(epochs=2)}
    _fit(full_system(), lesions, others, stop=lambda: next(asked), **given)
    _fit(full_system(), lesions, others, resume=True, progress=True, **given)
    found = [(bar["desc"], bar["initial"], bar["shown"], bar["disable"]) for bar in bars]
    # The pictures of the step after which it is asked to stop are counted.
    assert found == [
        ("epoch 1/2", 0, 48, True),
        ("epoch 2/2", 0, 20, True),
        ("epoch 2/2", 20, 48, None),
    ]
    assert {bar["total"] for bar in bars} == {48}


def test_the_device_that_computes_is_seeded_and_no_other(monkeypatch):
    pretended = tuple(torch.Generator().manual_seed(0) for _ in range(3))
    monkeypatch.setattr(torch.cuda, "default_generators", pretended)
    with torch.random.fork_rng([]):
        joint.train.step.seed_default(7, torch.device("cuda", 1))
        assert torch.initial_seed() == 7
    assert [source.initial_seed() for source in pretended] == [0, 7, 0]
