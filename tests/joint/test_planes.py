import pytest
import torch

import classify
import compress
import joint
import optics
from joint.planes import Noise, reach

PLANES = ("scene", "irradiance", "raw", "measurement", "handed")


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _scene(channels=3):
    return 0.1 + 0.8 * torch.rand(2, channels, 24, 20, generator=_generator(1))


def _full(encoding="srgb", exposures="log", codec=None, training=False):
    """All four stages; a log kernel takes two exposures, an identity one."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        system = joint.ImagingSystem(
            front_end=optics.LearnedKernel(exposures, 3),
            sensor=optics.Sensor(500, dark_current=3000),
            codec=compress.FactorizedCodec(proxy="noise") if codec is None else codec,
            classifier=classify.backbone(classes=3),
            encoding=encoding,
        )
    return system.train(training)


def _at_drawn_distances():
    pupil = optics.Pupil(
        [],
        wavelengths=(620e-9, 545e-9, 460e-9),
        focal_length=20e-3,
        pixel_pitch=3.5e-6,
        psf_size=15,
        size=64,
        spacing=40e-6,
    )
    system = _full()
    system.front_end = optics.IncoherentImaging(
        pupil, working_distances=torch.tensor([0.3, 0.6, float("inf")])
    )
    return system


def _restored():
    system = _full()
    net = optics.RestorationUNet(width=2, scales=2)
    torch.nn.init.constant_(net.tail.weight, 0.05)  # it adds something
    system.restoration = net
    return system


SYSTEMS = {
    "drawn distances": _at_drawn_distances,
    "two exposures": _full,
    "one exposure, linear": lambda: _full("linear", "identity"),
    "the codec draws noise": lambda: _full(training=True),
    "jpeg": lambda: _full(codec=compress.JPEG(50)),
    "restored": _restored,
}


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("system", list(SYSTEMS))
def test_the_rest_of_the_system_gives_the_logits_of_the_whole_pass(system, plane):
    system = SYSTEMS[system]()
    whole = None
    with torch.no_grad():
        if system.training:  # batch statistics move at every pass
            system.classifier.eval()
        whole = system(_scene(), generator=_generator(3))
        value, logits = reach(system, _scene(), plane, Noise(_generator(3), torch.device("cpu")))
        assert torch.equal(value, getattr(whole, plane))
        for _ in range(2):  # the noise is the same every time
            assert torch.equal(logits(value), whole.logits)


@pytest.mark.parametrize("plane", ["irradiance", "raw", "measurement", "handed"])
def test_planes_of_a_system_without_some_stages(plane):
    with torch.random.fork_rng():
        classifier = classify.backbone(classes=3).eval()
    noise = Noise(None, torch.device("cpu"))
    systems = {
        "irradiance": joint.ImagingSystem(
            front_end=optics.LearnedKernel("identity"), classifier=classifier
        ),
        # In the dark the noise goes below the black level.
        "raw": joint.ImagingSystem(
            sensor=optics.Sensor(30, read_noise=5, black_level=200), classifier=classifier
        ),
        "measurement": joint.ImagingSystem(classifier=classifier),
        "handed": joint.ImagingSystem(classifier=classifier),
    }
    system = systems[plane].eval()
    with torch.no_grad():
        value, logits = reach(system, _scene() / 4, plane, noise)
        whole = system(_scene() / 4, generator=_generator(0))
        assert torch.equal(value, getattr(whole, plane))
        assert (value.min() < 0) == (plane == "raw")
        assert torch.equal(logits(value), whole.logits)


def test_planes_that_are_not_there_are_refused():
    with torch.random.fork_rng():
        classifier = classify.backbone(classes=3)
    bare = joint.ImagingSystem(classifier=classifier)
    noise = Noise(None, torch.device("cpu"))
    with pytest.raises(ValueError, match="no plane 'irradiance', which needs a front end or a sen"):
        reach(bare, _scene(), "irradiance", noise)
    lensed = joint.ImagingSystem(front_end=optics.LearnedKernel(), classifier=classifier)
    with pytest.raises(ValueError, match="no plane 'raw', which needs a sensor"):
        reach(lensed, _scene(), "raw", noise)
    with pytest.raises(ValueError, match=r"plane must be one of scene, irradiance, raw, .*'lens'"):
        reach(bare, _scene(), "lens", noise)


def test_noise_is_replayed_and_the_generator_given_stays_where_it_is():
    given = _generator(5)
    torch.rand(7, generator=given)
    before = given.get_state()
    noise = Noise(given, torch.device("cpu"))
    first, second = (torch.rand(4, generator=noise.fresh()) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(given.get_state(), before)
    assert torch.equal(torch.rand(4, generator=given), first)
    unseeded = Noise(None, torch.device("cpu")).fresh()
    assert torch.equal(torch.rand(4, generator=unseeded), torch.rand(4, generator=_generator(0)))


def test_each_picture_may_have_a_generator_of_its_own():
    given = [_generator(5), _generator(6)]
    noise = Noise(given, torch.device("cpu"))
    for _ in range(2):
        drawn = [torch.rand(4, generator=source) for source in noise.fresh()]
        assert torch.equal(drawn[0], torch.rand(4, generator=_generator(5)))
        assert torch.equal(drawn[1], torch.rand(4, generator=_generator(6)))
    assert torch.equal(given[0].get_state(), _generator(5).get_state())


@pytest.mark.parametrize("plane", PLANES)
def test_light_in_float64_is_labelled_from_every_plane(plane):
    system, scenes = _full(codec=compress.JPEG(50)).eval(), _scene().double()
    with torch.no_grad():
        value, labelled = reach(system, scenes, plane, Noise(_generator(), scenes.device))
        whole = system(scenes, generator=_generator())
        assert value.dtype == torch.float64
        assert torch.equal(labelled(value), whole.logits)
