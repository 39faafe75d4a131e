import dataclasses
import math
import re

import numpy as np
import pytest
import torch
from scipy.special import rel_entr, softmax
from torch import nn
from torch.nn import functional

import classify
import compress
import joint
import optics


class _Grey(nn.Module):
    def forward(self, image):
        return image.mean((-2, -1))


def _output(codec=True, classifier=True):
    generator = torch.Generator().manual_seed(0)
    system = joint.ImagingSystem(
        codec=compress.FactorizedCodec() if codec else None,
        classifier=_Grey() if classifier else None,
    )
    return system(torch.rand(4, 3, 16, 16, generator=generator), generator=generator)


LABELS = torch.tensor([0, 1, 2, 1])


def test_total_is_the_weighted_sum_of_the_terms():
    output = _output()
    losses = joint.Objective(task=2.0, rate=0.3, distortion=5.0)(output, LABELS)
    torch.testing.assert_close(
        losses.total, 2 * losses.task + 0.3 * losses.rate + 5 * losses.distortion
    )
    torch.testing.assert_close(losses.task, functional.cross_entropy(output.logits, LABELS))
    torch.testing.assert_close(losses.rate, output.coded.bits.mean() / 256)
    error = output.coded.reconstruction - output.measurement
    torch.testing.assert_close(losses.distortion, error.abs().mean())
    squared = joint.Objective(distortion_kind="mse")(output, LABELS)
    torch.testing.assert_close(squared.distortion, error.square().mean())
    assert set(losses.named()) == {"total", "task", "rate", "distortion"}


def test_a_penalty_is_added_as_it_is_whatever_the_pictures():
    output = dataclasses.replace(_output(), penalty=torch.tensor(0.7, dtype=torch.float64))
    objective = joint.Objective(task=2.0, penalty=0.1)
    losses = objective(output, LABELS)
    assert losses.total.item() == pytest.approx(2 * losses.task.item() + 0.07)
    assert losses.named()["penalty"].item() == 0.7
    unweighted = joint.Objective(task=2.0)(output, LABELS)
    assert unweighted.penalty.item() == 0.7
    torch.testing.assert_close(unweighted.total, 2 * losses.task)
    with pytest.raises(ValueError, match=r"weight of 0\.1 for penalty, but .* no front end with"):
        objective(_output(), LABELS)


def test_training_smooths_weighs_and_adjusts_and_evaluation_does_not():
    output = _output()
    counts = torch.tensor([50, 30, 20])
    plain = functional.cross_entropy(output.logits, LABELS)
    smooth = joint.Objective(label_smoothing=0.1)
    torch.testing.assert_close(
        smooth(output, LABELS, counts=counts).task,
        functional.cross_entropy(output.logits, LABELS, label_smoothing=0.1),
    )
    torch.testing.assert_close(smooth(output, LABELS).task, plain)
    adjusted = joint.Objective(label_smoothing=0, logit_adjustment=1.0)
    prior = (counts / counts.sum()).log()
    torch.testing.assert_close(
        adjusted(output, LABELS, counts=counts).task,
        functional.cross_entropy(output.logits + prior, LABELS),
    )
    weighted = joint.Objective(label_smoothing=0, class_weight_power=1.0)
    # Over the mean weight of the data set, which is 1 for balancing weights.
    each = functional.cross_entropy(output.logits, LABELS, reduction="none")
    torch.testing.assert_close(
        weighted(output, LABELS, counts=counts).task,
        ((100 / (3 * counts))[LABELS] * each).mean(),
    )


COUNTS = torch.tensor([50, 30, 20])


def test_each_remedy_is_the_one_of_classify():
    output = _output()
    z = output.logits
    counts = COUNTS
    for objective, options in (
        (joint.Objective(focal_gamma=2), {"focal_gamma": 2.0}),
        (
            joint.Objective(effective_number=0.99),
            {"weights": classify.effective_number_weights(counts, beta=0.99)},
        ),
        (
            joint.Objective(class_weight_power=0.5),
            {"weights": classify.class_weights(counts, power=0.5)},
        ),
        (joint.Objective(margin=15), {"margins": classify.ldam_margins(counts, largest=15.0)}),
        (
            joint.Objective(logit_adjustment=0.7, margin=2, focal_gamma=1),
            {
                "margins": classify.ldam_margins(counts, largest=2.0),
                "log_prior": 0.7 * classify.log_prior(counts),
                "focal_gamma": 1.0,
            },
        ),
    ):
        expected = classify.task_loss(z, LABELS, label_smoothing=0.05, **options)
        if "weights" in options:  # a step counts by what its pictures weigh
            weights = options["weights"]
            expected *= weights[LABELS].mean() * counts.sum() / (weights * counts).sum()
        torch.testing.assert_close(objective(output, LABELS, counts=counts).task, expected)
        assert expected != objective(output, LABELS).task
        # Measured without counts, all objectives tell the plain cross-entropy.
        torch.testing.assert_close(
            objective(output, LABELS).task, functional.cross_entropy(z, LABELS)
        )


@pytest.mark.parametrize("weights", [{"class_weight_power": 1.0}, {"effective_number": 0.99}])
def test_deferred_weights_act_from_the_very_epoch(weights):
    output = _output()
    deferred = joint.Objective(margin=3, deferred_from=7, **weights)
    at_once, never = joint.Objective(margin=3, **weights), joint.Objective(margin=3)

    def task(objective, epoch):
        return float(objective(output, LABELS, counts=COUNTS, epoch=epoch).task.detach())

    assert task(at_once, 0) != task(never, 0)
    assert task(at_once, None) == task(at_once, 0)
    for epoch in (0, 1, 6):
        assert task(deferred, epoch) == task(never, epoch)
    for epoch in (7, 8, 100, None):
        assert task(deferred, epoch) == task(at_once, epoch)


def test_mixed_labels_cost_what_their_parts_cost():
    output = _output()
    objective = joint.Objective(
        class_weight_power=0.5, logit_adjustment=1, focal_gamma=1, label_smoothing=0.1
    )

    def task(labels):
        return objective(output, labels, counts=COUNTS).task

    torch.testing.assert_close(task(functional.one_hot(LABELS, 3).float()), task(LABELS))
    plain = joint.Objective(label_smoothing=0)
    others = LABELS.flip(0)
    mixed = 0.3 * functional.one_hot(LABELS, 3) + 0.7 * functional.one_hot(others, 3)
    for counts in (COUNTS, None):
        losses = [plain(output, labels, counts=counts).task for labels in (LABELS, others, mixed)]
        torch.testing.assert_close(losses[2], 0.3 * losses[0] + 0.7 * losses[1])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_and_a_class_without_pictures_leave_a_finite_gradient(dtype):
    logits = torch.tensor([[40.0, -40, 0], [0, 40, -40]], dtype=dtype).requires_grad_()
    output = dataclasses.replace(_output(), logits=logits)
    objective = joint.Objective(
        class_weight_power=1, logit_adjustment=1, focal_gamma=0.5, margin=15
    )
    losses = objective(output, torch.tensor([0, 0]), counts=torch.tensor([9000, 3, 0]))
    assert losses.task.dtype == torch.float32
    losses.total.backward()
    assert torch.isfinite(logits.grad).all()
    assert logits.grad.abs().max() > 0


def _camera(codec=None, **options):
    lens = optics.LearnedKernel("gaussian", 5, **options)
    sensor = optics.Sensor(300)
    return joint.ImagingSystem(front_end=lens, sensor=sensor, codec=codec)


@pytest.mark.parametrize("codec", [None, compress.FactorizedCodec()])
@pytest.mark.parametrize("kind", ["mae", "mse", "ms_ssim"])
def test_restoration_is_the_error_of_what_leaves_against_what_came(codec, kind):
    generator = torch.Generator().manual_seed(0)
    scene = torch.rand(3, 3, 16, 16, generator=generator)
    system = _camera(codec)
    output = system(scene, generator=generator)
    objective = joint.Objective(task=0, restoration=2.0, distortion_kind=kind)
    losses = objective(output, LABELS[:3])
    made = (output.measurement if codec is None else output.coded.reconstruction).detach().numpy()
    wanted = {
        "mae": np.abs(made - scene.numpy()).mean(),
        "mse": ((made - scene.numpy()) ** 2).mean(),
        "ms_ssim": 1 - float(compress.ms_ssim(torch.from_numpy(made), scene, scales=1).mean()),
    }[kind]
    assert losses.restoration.item() == pytest.approx(wanted, rel=1e-5)
    assert losses.total.item() == pytest.approx(2 * wanted, rel=1e-5)
    losses.total.backward()
    assert all(p.grad.abs().sum() > 0 for p in system.front_end.parameters())
    assert "restoration" in losses.named()
    assert "restoration" not in joint.Objective(task=0)(output, LABELS[:3]).named()


def test_restoration_needs_a_picture_of_the_scene():
    objective = joint.Objective(task=0, restoration=1)
    with pytest.raises(ValueError, match="1 for restoration, but the system has no camera and no"):
        objective(_output(codec=False), LABELS)
    binned = joint.ImagingSystem(sensor=optics.Sensor(300, binning=2))
    output = binned(torch.rand(4, 3, 16, 16), generator=torch.Generator())
    with pytest.raises(ValueError, match=r"\[3, 8, 8\] and \[3, 16, 16\] .* such as binning"):
        objective(output, LABELS)


@pytest.mark.parametrize("size", [(16, 16), (16, 32)])
@pytest.mark.parametrize("channels", [3, 1])
def test_a_restoration_of_another_size_is_told_which_one_fits(channels, size):
    objective = joint.Objective(task=0, restoration=1)
    sensor, scenes = optics.Sensor(300, binning=2), torch.rand(2, 3, *size)

    def judged(**made):
        net = optics.RestorationUNet(3, width=2, scales=1, **made)
        output = joint.ImagingSystem(sensor=sensor, restoration=net)(scenes)
        return objective(output, LABELS[:2]).restoration

    with pytest.raises(ValueError, match="the restoration must convert") as told:
        judged(out_channels=channels, upscaling=3)
    assert "leave out" not in str(told.value)
    named = re.findall(r"(\w+)=(\d)", str(told.value).partition(" of a RestorationUNet")[0])
    assert judged(**{name: int(value) for name, value in named}).isfinite()


def _scores(seed=1):
    return 3 * torch.randn(4, 3, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("warmth", [1.0, 2.0, 7.5])
def test_distillation_is_the_divergence_from_the_teacher_at_a_temperature(warmth):
    ours, theirs = _scores(1).requires_grad_(), _scores(2).requires_grad_()
    output = dataclasses.replace(_output(codec=False), logits=ours)
    objective = joint.Objective(task=0.5, distillation=3, distillation_temperature=warmth)
    losses = objective(output, LABELS, teacher=theirs)
    p, q = (softmax(each.detach().numpy() / warmth, axis=1) for each in (theirs, ours))
    wanted = warmth**2 * rel_entr(p, q).sum(1).mean()
    assert losses.distillation.item() == pytest.approx(wanted, rel=1e-5)
    assert losses.total.item() == pytest.approx(0.5 * losses.task.item() + 3 * wanted, rel=1e-5)
    losses.distillation.backward()
    # d/dz of T^2 KL is T (q - p), and nothing reaches the teacher.
    np.testing.assert_allclose(ours.grad, warmth * (q - p) / len(p), rtol=1e-4, atol=1e-7)
    assert theirs.grad is None
    assert set(losses.named()) == {"total", "task", "distillation"}
    agreed = objective(dataclasses.replace(output, logits=theirs), LABELS, teacher=theirs)
    assert agreed.distillation.item() == pytest.approx(0, abs=1e-6)


def test_a_class_that_the_teacher_leaves_out_counts_nothing():
    ours, theirs = _scores(1).requires_grad_(), _scores(2)
    theirs[:, 1] = -math.inf
    output = dataclasses.replace(_output(codec=False), logits=ours)
    objective = joint.Objective(task=0, distillation=1, distillation_temperature=2)
    found = objective(output, LABELS, teacher=theirs).distillation
    p, q = (softmax(each.detach().numpy() / 2, axis=1) for each in (theirs, ours))
    assert found.item() == pytest.approx(4 * rel_entr(p, q).sum(1).mean(), rel=1e-5)
    found.backward()
    np.testing.assert_allclose(ours.grad, 2 * (q - p) / len(p), rtol=1e-4, atol=1e-7)
    both = dataclasses.replace(output, logits=theirs.clone().requires_grad_())
    agreed = objective(both, LABELS, teacher=theirs).distillation
    agreed.backward()
    assert agreed.item() == pytest.approx(0, abs=1e-6)
    assert torch.isfinite(both.logits.grad).all()


def test_distillation_rests_without_a_weight_or_a_teacher():
    output = _output()
    plain = joint.Objective(rate=0.2)(output, LABELS, counts=COUNTS)
    taught = joint.Objective(rate=0.2, distillation=1)
    for losses in (
        taught(output, LABELS, counts=COUNTS),  # as an evaluation does
        joint.Objective(rate=0.2)(output, LABELS, counts=COUNTS, teacher=_scores()),
    ):
        assert torch.equal(losses.total, plain.total)
        assert losses.distillation is None
        assert losses.named().keys() == plain.named().keys()
    assert taught(output, LABELS, counts=COUNTS, teacher=_scores()).total > plain.total


def test_a_teacher_of_other_pictures_or_classes_or_of_none_is_refused():
    objective = joint.Objective(task=0, distillation=2)
    with pytest.raises(ValueError, match=r"teacher gives scores \[4, 5\] and the system \[4, 3\]"):
        objective(_output(), LABELS, teacher=torch.zeros(4, 5))
    with pytest.raises(ValueError, match=r"scores \[1, 3\] and the system .* same pictures"):
        objective(_output(), LABELS, teacher=torch.zeros(1, 3))
    with pytest.raises(ValueError, match="weight of 2 for distillation, but the system has no cla"):
        objective(_output(classifier=False), LABELS, teacher=_scores())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_sure_teacher_in_half_precision_leaves_a_finite_gradient(dtype):
    ours = torch.tensor([[40.0, -40, 0], [0, 40, -40]], dtype=dtype).requires_grad_()
    theirs = torch.tensor([[-300.0, 300, 0], [0, 0, 300]], dtype=dtype)
    output = dataclasses.replace(_output(), logits=ours)
    objective = joint.Objective(task=0, distillation=1, distillation_temperature=1)
    losses = objective(output, torch.tensor([0, 0]), teacher=theirs)
    assert losses.distillation.dtype == torch.float32
    assert losses.distillation.item() == pytest.approx(80.0, rel=1e-3)  # -log q of its class
    losses.total.backward()
    assert torch.isfinite(ours.grad).all()


def test_terms_without_their_stage():
    losses = joint.Objective()(_output(codec=False), LABELS)
    assert losses.rate is None
    assert losses.distortion is None
    assert set(losses.named()) == {"total", "task"}
    with pytest.raises(ValueError, match="weight of 1 for rate, but the system has no codec"):
        joint.Objective(rate=1.0)(_output(codec=False), LABELS)
    with pytest.raises(ValueError, match="weight of 1 for task, but the system has no classifier"):
        joint.Objective()(_output(classifier=False), LABELS)


@pytest.mark.parametrize(
    "bad",
    [
        {"task": -1},
        {"label_smoothing": 1},
        {"class_weight_power": 2},
        {"effective_number": 1},
        {"focal_gamma": -1},
        {"margin": -1},
        {"deferred_from": -1},
        {"distillation": -1},
        {"penalty": -1},
        {"distillation_temperature": 0},
        {"rates": 1},
    ],
)
def test_bad_weights_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        joint.Objective(**bad)


def test_weights_that_contradict_or_defer_nothing_are_refused():
    with pytest.raises(ValueError, match="both weigh the classes: set one of them to 0"):
        joint.Objective(class_weight_power=0.5, effective_number=0.99)
    with pytest.raises(ValueError, match="deferred_from=3 defers class weights, but there are"):
        joint.Objective(deferred_from=3, margin=0.5)


def test_rate_distortion_is_the_lagrangian_of_the_literature():
    output = _output(classifier=False)
    x, y = output.measurement, output.coded.reconstruction
    rate = output.coded.bpp.mean()
    for kind, distortion in (
        ("mse", 255**2 * (x - y).square().mean()),
        ("mae", 255 * (x - y).abs().mean()),
        ("ms_ssim", 1 - compress.ms_ssim(y, x, scales=1).mean()),
    ):
        objective = joint.Objective.rate_distortion(0.013, distortion_kind=kind)
        torch.testing.assert_close(
            objective(output, LABELS).total, rate + 0.013 * distortion, rtol=1e-5, atol=0
        )
    joined = joint.Objective.rate_distortion(0.013, lambda_task=2.0)(_output(), LABELS)
    torch.testing.assert_close(
        joined.total, joined.rate + 0.013 * 255**2 * joined.distortion + 2 * joined.task
    )


def test_pictures_of_dear_quality_weigh_more():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        codec = compress.HyperpriorCodec(levels=3).train()
    generator = torch.Generator().manual_seed(0)
    output = joint.ImagingSystem(codec=codec)(torch.rand(4, 3, 16, 16), generator=generator)
    weight = output.coded.distortion_weight
    error = (output.coded.reconstruction - output.measurement).square().flatten(1).mean(1)
    losses = joint.Objective(task=0, distortion=1, distortion_kind="mse")(output, LABELS)
    torch.testing.assert_close(losses.total, (weight * error).mean())
    torch.testing.assert_close(losses.distortion, error.mean())
    assert weight.std() > 0


def test_rate_distortion_refuses_what_it_does_not_know():
    for arguments in ((-1.0, "mse"), (float("nan"), "mse"), (1.0, "ssim")):
        with pytest.raises(ValueError, match="expected lambda_pixel of at least 0 and one of mse"):
            joint.Objective.rate_distortion(arguments[0], distortion_kind=arguments[1])
    for weight in (True, "0.01", [0.01]):
        with pytest.raises(TypeError, match="lambda_pixel must be one number, not "):
            joint.Objective.rate_distortion(weight)


def test_a_rate_target_weighs_the_rate_by_what_acts_and_leaves_it_out_without():
    output = _output()
    aimed = joint.Objective(rate=0.3, distortion=5.0, rate_target=0.25)
    weight = torch.tensor(1.7)
    losses = aimed(output, LABELS, rate_weight=weight)
    torch.testing.assert_close(
        losses.total, losses.task + 1.7 * losses.rate + 5 * losses.distortion
    )
    (slope,) = torch.autograd.grad(losses.total, output.coded.bits_map, retain_graph=True)
    # Mean bits of 4 pictures of 256 pixels; the reconstruction does not depend on the map.
    torch.testing.assert_close(slope, torch.full_like(slope, 1.7 / (4 * 256)))
    plain = joint.Objective(rate=1.7, distortion=5.0)(output, LABELS)
    assert torch.equal(losses.total, plain.total)
    validated = aimed(output, LABELS)
    torch.testing.assert_close(validated.total, losses.task + 5 * losses.distortion)
    assert torch.equal(validated.rate, losses.rate)
    with pytest.raises(ValueError, match="the system has no codec"):
        joint.Objective(rate=0.3, rate_target=0.25)(_output(codec=False), LABELS)
    lagrangian = joint.Objective.rate_distortion(0.01, rate_target=0.25)
    assert (lagrangian.rate, lagrangian.rate_target) == (1.0, 0.25)
    assert joint.Objective.rate_distortion(0.01).rate_target is None


def test_a_rate_target_comes_back_from_json():
    aimed = joint.Objective(rate=0.1, rate_target=0.25)
    assert joint.Objective.model_validate_json(aimed.model_dump_json()) == aimed


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rate_target": 0.25}, "needs an initial value: set rate to more than 0"),
        ({"rate_target": 0.25, "rate": 0.1, "task": 0}, "no term needs the bits"),
        ({"rate_target": 0.0, "rate": 0.1}, "greater than 0"),
    ],
)
def test_a_rate_target_that_cannot_be_aimed_at_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        joint.Objective(**wrong)
