import re
import sys

import pytest
import torch
from torch import nn

import joint
import optics


class _Head(nn.Module):
    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():  # one in twelve of the others learns nothing in 15 epochs
            torch.manual_seed(0)
            self.net = nn.Sequential(
                nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
                nn.Linear(32, 3),
            )  # fmt: skip

    def forward(self, image):
        return self.net(image)


def _element(strength=0.3, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return joint.build_front_end(
            joint.LensConfig(element="phase", strength=strength, pupil_size=48, psf_size=15)
            .model_copy(update=options),
            (16, 16),
            3,
        )  # fmt: skip


def _two_spots():
    """Two of the spots that the plain lens makes, 4 pixels apart."""
    airy = _element(strength=0.0).psf().detach()
    return (airy.roll(2, -1) + airy.roll(-2, -1)) / 2


def test_an_element_is_shaped_to_a_psf_that_it_can_make():
    target = _element(strength=0.5).psf().detach()
    fitted = joint.fit_psf(_element(strength=0.3), target, steps=200)
    assert len(fitted.overlap) == 200
    assert fitted.overlap[0] < 0.9
    assert 0.97 < fitted.overlap[-1] <= 1


def test_the_overlap_is_that_of_the_formula_and_spots_appear_where_they_are_wanted():
    imaging, target = _element(), _two_spots()
    fitted = joint.fit_psf(imaging, 7 * target, steps=200)
    assert fitted.overlap[0] < 0.5
    assert fitted.overlap[-1] > 0.9
    psf = imaging.psf().detach()
    formed = target / target.sum((-2, -1), keepdim=True)
    expected = (psf * formed).clamp_min(0).sqrt().sum((-2, -1)).mean()
    again = joint.fit_psf(imaging, target, steps=1, learning_rate=1e-9)
    assert again.overlap[0] == pytest.approx(float(expected), rel=1e-3)
    # Of the element as each step leaves it, the last one too.
    assert fitted.overlap[-1] == pytest.approx(float(expected), abs=1e-5)
    one = joint.fit_psf(imaging, target, steps=1, learning_rate=0.5)
    moved = (imaging.psf().detach() * formed).clamp_min(0).sqrt().sum((-2, -1)).mean()
    assert one.overlap == pytest.approx((float(moved),), abs=1e-5)
    assert float(moved) < float(expected) - 0.01
    for spot in psf:
        brightest = spot.flatten().topk(2).indices
        assert set(brightest.tolist()) == {7 * 15 + 5, 7 * 15 + 9}


@pytest.mark.parametrize("size", [7, 15, 31])
def test_a_target_of_another_window_is_centred(size):
    """A flat-phased lens already has its light in the middle: no shift appears."""
    target = torch.zeros(size, size)
    target[size // 2, size // 2] = 1
    imaging = _element(strength=0.05)
    joint.fit_psf(imaging, target, steps=60)
    psf = imaging.psf().detach()[1]
    assert int(psf.argmax()) == 7 * 15 + 7


def test_kernel_then_element(lesions, others, tmp_path):
    system = joint.ImagingSystem(
        front_end=optics.LearnedKernel("gaussian", 5, signed=False),
        sensor=optics.Sensor(2000),
        classifier=_Head(),
    )
    config = joint.Training(epochs=15, batch_size=8, monitor="accuracy", learning_rate=1e-2)
    result = joint.two_stage(
        system, _element(), lesions, others, config=config, psf_steps=50,
        directory=tmp_path, progress=False,
    )  # fmt: skip
    assert isinstance(system.front_end, optics.LearnedKernel)
    assert isinstance(result.system.front_end, optics.IncoherentImaging)
    assert len(result.kernel.epochs) == len(result.element.epochs) == 15
    assert result.psf.overlap[-1] > result.psf.overlap[0]
    # The second training begins where the first ended.
    first = result.element.epochs[0].train["task"]
    assert first < result.kernel.epochs[0].train["task"]
    assert {path.name for path in tmp_path.iterdir()} == {"kernel", "element"}
    again = joint.evaluate(result.system, others)
    assert again.report.accuracy > 0.6


@pytest.mark.parametrize("after", [2, 14])
def test_it_stops_and_goes_on_to_the_same_weights(lesions, others, tmp_path, after):
    def begin():
        torch.manual_seed(0)
        system = joint.ImagingSystem(
            front_end=optics.LearnedKernel("gaussian", 5, signed=False),
            sensor=optics.Sensor(2000),
            classifier=_Head(),
        )
        return system, _element()

    torch.manual_seed(1)
    teacher = joint.ImagingSystem(classifier=_Head())
    options = {
        "config": joint.Training(epochs=2, batch_size=8),
        "objective": joint.Objective(distillation=1.0),
        "teacher": teacher,
        "psf_steps": 5,
        "progress": False,
    }
    heard, again = [], []
    whole = joint.two_stage(*begin(), lesions, others, on_epoch=heard.append, **options)
    assert [record.epoch for record in heard] == [0, 1, 0, 1]
    assert not whole.interrupted
    asked = iter(range(1000))
    found = joint.two_stage(
        *begin(), lesions, others, directory=tmp_path, stop=lambda: next(asked) == after, **options
    )
    assert found.interrupted
    # Of six steps an epoch: the last one asked about is of the second training.
    assert (found.psf is None) == (found.element is None) == (after == 2)
    kind = optics.LearnedKernel if after == 2 else optics.IncoherentImaging
    assert isinstance(found.system.front_end, kind)
    resumed = joint.two_stage(
        *begin(), lesions, others, directory=tmp_path, resume=True, on_epoch=again.append, **options
    )
    assert [record.epoch for record in again] == [0, 1, 0, 1]
    assert resumed.psf == whole.psf
    wanted = whole.system.state_dict()
    for name, value in resumed.system.state_dict().items():
        assert torch.equal(value, wanted[name]), name


def test_a_resumed_run_tells_of_the_shaping_that_its_element_had(lesions, others, tmp_path):
    def run(element, steps=5, rate=0.05, epochs=1, **options):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            kernel = optics.LearnedKernel("gaussian", 5, signed=False)
        return joint.two_stage(
            joint.ImagingSystem(front_end=kernel, classifier=_Head()), element, lesions, others,
            config=joint.Training(epochs=epochs, schedule="constant"), psf_steps=steps,
            psf_learning_rate=rate, directory=tmp_path, resume=True, progress=False, **options,
        )  # fmt: skip

    asked = iter(range(1000))
    element = _element()
    first = run(element, stop=lambda: next(asked) == 3)  # two steps an epoch
    assert first.element.interrupted
    second = run(element)  # the same, which has been shaped
    assert second.psf == first.psf
    assert not second.interrupted
    with pytest.raises(joint.CheckpointError, match="kernel with psf_steps=5, not 9"):
        run(_element(), 9)
    with pytest.raises(joint.CheckpointError, match=r"psf_learning_rate=0.05, not 0.1"):
        run(_element(), rate=0.1)
    trained = (tmp_path / "kernel" / "checkpoint.safetensors").read_bytes()
    with pytest.raises(joint.CheckpointError, match="kernel with epochs=1, not 2"):
        run(_element(), epochs=2)
    assert (tmp_path / "kernel" / "checkpoint.safetensors").read_bytes() == trained
    path = tmp_path / "element" / "psf.safetensors"
    tensors, head = joint.load_checkpoint(path)
    joint.save_checkpoint(path, tensors, head | {"kernel": "another"})
    with pytest.raises(joint.CheckpointError, match="shaped to another kernel"):
        run(_element())
    path.unlink()
    place = re.escape(repr(str(tmp_path / "element")))
    said = rf"there is no checkpoint at .*psf.*Put the file back; or .*\.fit\(.*directory={place}"
    with pytest.raises(joint.CheckpointError, match=said):
        run(_element())
    # As the message says, what is in that folder can be trained on.
    system = joint.ImagingSystem(front_end=_element(), classifier=_Head())
    history = joint.fit(
        system, lesions, others, config=joint.Training(epochs=2, schedule="constant"),
        directory=tmp_path / "element", resume=True, progress=False,
    )  # fmt: skip
    assert history.epochs[0] == second.element.epochs[0]
    assert len(history.epochs) == 2


def test_what_cannot_be_shaped_is_refused(lesions, others):
    signed = joint.ImagingSystem(front_end=optics.LearnedKernel("identity", 5), classifier=_Head())
    with pytest.raises(ValueError, match=r"LearnedKernel\(signed=False\).*exposures=2"):
        joint.two_stage(signed, _element(), lesions, others)
    with pytest.raises(ValueError, match="this one has none"):
        joint.two_stage(joint.ImagingSystem(classifier=_Head()), _element(), lesions, others)
    mixing = optics.LearnedKernel("gaussian", 5, signed=False, mix_channels=True)
    with pytest.raises(ValueError, match="does not mix the channels"):
        joint.two_stage(
            joint.ImagingSystem(front_end=mixing, classifier=_Head()), _element(), lesions, others
        )
    grey = joint.build_front_end(joint.LensConfig(element="phase"), (16, 16), 1)
    kernel = joint.ImagingSystem(
        front_end=optics.LearnedKernel("gaussian", 5, signed=False), classifier=_Head()
    )
    with pytest.raises(ValueError, match="the element images 1 channels, the kernel 3"):
        joint.two_stage(kernel, grey, lesions, others)
    with pytest.raises(ValueError, match="needs a trainable element"):
        joint.fit_psf(grey.requires_grad_(False), _two_spots())
    beyond = torch.ones(31, 31)
    beyond[8:23, 8:23] = 0
    for target, message in (
        (-_two_spots()[0], "non-negative"),
        (torch.zeros(5, 5), "some light"),
        (torch.ones(2, 5, 5), r"\[h, w\] or \[3, h, w\]"),
        (beyond, r"outside of the middle \(15, 15\) pixels"),
    ):
        with pytest.raises(ValueError, match=message):
            joint.fit_psf(_element(), target)
    for steps in (0, 1.5, None):
        with pytest.raises(ValueError, match=f"steps must be at least 1 .*, not {steps} and 0.05"):
            joint.fit_psf(_element(), _two_spots(), steps=steps)
    with pytest.raises(TypeError, match="learning_rate must be one number, not 'fast'"):
        joint.fit_psf(_element(), _two_spots(), learning_rate="fast")
    with pytest.raises(TypeError, match="target must be a Tensor, not ndarray: torch"):
        joint.fit_psf(_element(), _two_spots().numpy())


def test_what_the_second_half_refuses_is_refused_before_the_first_begins(
    lesions, others, monkeypatch, tmp_path
):
    def too_late(*_, **__):
        pytest.fail("the kernel was trained")

    monkeypatch.setattr(sys.modules["joint.train.two_stage"], "fit", too_late)
    system = joint.ImagingSystem(
        front_end=optics.LearnedKernel("gaussian", 5, signed=False), classifier=_Head()
    )
    frozen = _element()
    frozen.requires_grad_(False)
    wide = _element(psf_size=35, pupil_size=72, boundary="reflect")
    taught = joint.Objective(distillation=1)
    held = tmp_path / "element"
    held.mkdir(parents=True)
    joint.fit(
        joint.ImagingSystem(classifier=_Head()), lesions, others,
        config=joint.Training(epochs=1), directory=held, progress=False,
    )  # fmt: skip
    for element, options, message in (
        (frozen, {}, "needs a trainable element"),
        (_element(), {"psf_steps": 0}, "steps must be at least 1"),
        (_element(), {"psf_learning_rate": -1}, "not 300 and -1"),
        (_element(), {"psf_learning_rate": float("inf")}, "positive and finite"),
        (_element(), {"objective": taught}, "for distillation, but there is no teacher"),
        (_element(), {"stop": lambda: True, "on_epoch": 3}, "on_epoch"),
        (wide, {}, "a reflected border must be narrower than the picture"),
    ):
        with pytest.raises(ValueError, match=message):
            joint.two_stage(system, element, lesions, others, progress=False, **options)
    with pytest.raises(joint.CheckpointError, match="element already holds a run; pass resume"):
        joint.two_stage(system, _element(), lesions, others, directory=tmp_path, progress=False)
    with pytest.raises(TypeError, match="IncoherentImaging, not LearnedKernel; joint"):
        joint.two_stage(system, system.front_end, lesions, others, progress=False)
    with pytest.raises(TypeError, match="system must be a joint"):
        joint.two_stage(system.front_end, _element(), lesions, others, progress=False)
