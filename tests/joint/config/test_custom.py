import json
import sys

import pytest
import torch

import joint
import optics
from joint.command.train import read_train_options
from joint.config.custom import CustomConfig, build_custom, check_custom
from joint.report.words import configuration_words
from joint.run.complete import complete_run
from joint.run.trained import load_teacher

_MODULE = '''
import compress, optics, torch

class Grey(optics.FrontEnd):
    """Passes a part of all light."""

    def __init__(self, part: float = 0.5, *, channels: int, image_size: tuple[int, int]) -> None:
        super().__init__()
        self.in_channels = self.out_channels = channels
        self.exposures = 1
        self.size = image_size
        self.raw = torch.nn.Parameter(torch.tensor(part).logit())

    def forward(self, scene):
        return self.raw.sigmoid() * scene

    def throughput(self):
        return self.raw.sigmoid()

    def combine(self, raw):
        return raw

class Unwritten(optics.FrontEnd):
    def forward(self, scene):
        return scene

class NoChannels(Grey):
    def __init__(self) -> None:
        torch.nn.Module.__init__(self)

class Brighter(torch.nn.Module):
    def __init__(self, gain: float = 1.5, *, image_size, scene_size, out_channels: int) -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(gain))
        self.larger = torch.nn.Upsample(scene_size)
        self.asked = image_size, scene_size
        self.out_channels = out_channels

    def forward(self, picture):
        return self.gain * self.larger(picture).mean(1, keepdim=True).expand(
            -1, self.out_channels, -1, -1
        )

class Coarse(compress.Codec):
    """Codes of so many levels, a byte each."""

    def __init__(self, levels: int, *, channels: int) -> None:
        super().__init__()
        self.channels, self.levels = channels, levels
        self.gain = torch.nn.Parameter(torch.ones(()))

    def forward(self, image, *, generator=None):
        codes = self.gain * image * (self.levels - 1)
        decoded = (codes + (codes.round() - codes).detach()) / (self.levels - 1)
        bits = torch.full_like(image[:, :1], 8.0 * self.channels)
        return compress.Coded(decoded, None, bits, bits.new_zeros(len(image)), "rounded")

    def compress(self, image):
        codes = (self.gain * image * (self.levels - 1)).round().byte()
        return [bytes(each.shape[1:]) + bytes(each.flatten().tolist()) for each in codes]

    def decompress(self, payloads):
        raise NotImplementedError

class Mean(torch.nn.Module):
    def __init__(self, in_channels: int, classes: int) -> None:
        super().__init__()
        self.last = torch.nn.Linear(in_channels, classes)

    def forward(self, picture):
        return self.last(picture.mean((-2, -1)))

def called():
    raise AssertionError("what is no class of optics.FrontEnd is not called")
'''


@pytest.fixture(autouse=True)
def own(tmp_path, monkeypatch):
    (tmp_path / "own_filters.py").write_text(_MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("own_filters", None)


def test_a_class_outside_of_the_library_is_a_front_end_of_a_configuration():
    given = {"kind": "custom", "class_path": "own_filters.Grey", "init_args": {"part": 0.25}}
    config = joint.SystemConfig(front_end=given, codec={"kind": "none"})
    assert joint.SystemConfig.model_validate_json(config.model_dump_json()) == config
    assert json.loads(config.model_dump_json())["front_end"] == given
    system = joint.build_system(config, image_size=(16, 24), channels=2, classes=3)
    assert (system.front_end.in_channels, system.front_end.size) == (2, (16, 24))
    assert float(system.front_end.throughput().detach()) == pytest.approx(0.25)
    output = system(torch.rand(1, 2, 16, 24), generator=torch.Generator())
    output.logits.sum().backward()
    assert system.front_end.raw.grad.abs() > 0
    assert hash(config.front_end) == hash(CustomConfig(**given))


def test_a_class_of_the_library_too():
    config = CustomConfig(
        class_path="optics.LearnedKernel", init_args={"start": "sobel", "kernel_size": 5}
    )
    kernel = build_custom(config, optics.FrontEnd, "front_end", image_size=(16, 16), channels=3)
    assert isinstance(kernel, optics.LearnedKernel)
    assert (kernel.in_channels, kernel.response.shape[-2:]) == (3, (5, 5))


@pytest.mark.parametrize(
    ("path", "arguments", "message"),
    [
        ("", {}, "needs front_end.class_path, the module and the name of a class"),
        ("no_such.Grey", {}, "'no_such.Grey' cannot be imported: No module .*PYTHONPATH"),
        ("own_filters.Gray", {}, "'own_filters.Gray' cannot be imported: .*has no attribute"),
        ("own_filters.called", {}, "must be a subclass of optics.FrontEnd"),
        ("torch.nn.Linear", {}, "must be a subclass of optics.FrontEnd"),
        ("own_filters.Grey", {"par": 1}, r"unexpected keyword argument 'par'; set .* part, chann"),
        (
            "own_filters.Unwritten",
            {},
            "an abstract class: it does not implement combine, throughput$",
        ),
        ("own_filters.NoChannels", {}, "NoChannels has no exposures, no out_channels: derive it"),
    ],
)
def test_what_cannot_be_made_is_refused(path, arguments, message):
    with pytest.raises(joint.ConfigError, match=message):
        build_custom(
            CustomConfig(class_path=path, init_args=arguments),
            optics.FrontEnd,
            "front_end",
            image_size=(8, 8),
            channels=3,
        )


@pytest.mark.parametrize(
    ("path", "arguments", "message"),
    [
        ("", {}, "needs front_end.class_path, the module and the name of a class"),
        ("own_filters.Gray", {}, "'own_filters.Gray' cannot be imported: .*has no attribute"),
        ("own_filters.called", {}, "must be a subclass of optics.FrontEnd"),
        ("own_filters.Grey", {"par": 1}, r"unexpected keyword argument 'par'; set .* part, chann"),
        (
            "own_filters.Unwritten",
            {},
            "an abstract class: it does not implement combine, throughput$",
        ),
        ("own_filters.Grey", {"part": 0.2}, None),
        ("no_such.Grey", {"par": 1}, None),  # the machine that makes it may have it
    ],
)
def test_arguments_are_checked_before_a_class_is_made(path, arguments, message):
    config = CustomConfig(class_path=path, init_args=arguments)
    if message is None:
        check_custom(config, "front_end")
        return
    with pytest.raises(joint.ConfigError, match=message):
        check_custom(config, "front_end")


def test_a_module_that_cannot_be_read_here_is_passed_over(tmp_path, monkeypatch):
    (tmp_path / "own_broken.py").write_text("raise RuntimeError('no such device')")
    monkeypatch.syspath_prepend(tmp_path)
    check_custom(CustomConfig(class_path="own_broken.Grey"), "codec")


def _class(path, **arguments):
    return {"kind": "custom", "class_path": path, "init_args": arguments}


def _own(name, **arguments):
    return _class(f"own_filters.{name}", **arguments)


def test_every_stage_behind_the_sensor_may_be_one_of_its_own():
    config = joint.SystemConfig(
        front_end={"kind": "none"},
        sensor={"kind": "sensor", "binning": 2, "cfa": None},
        restoration=_own("Brighter", gain=1.25),
        codec=_own("Coarse", levels=5),
        classifier=_own("Mean"),
    )
    assert joint.SystemConfig.model_validate_json(config.model_dump_json()) == config
    system = joint.build_system(config, image_size=(16, 24), channels=3, classes=4)
    assert system.restoration.asked == ((8, 12), (16, 24))
    assert (system.codec.channels, system.codec.levels) == (3, 5)
    output = system(torch.rand(2, 3, 16, 24), generator=torch.Generator())
    assert output.measurement.shape == (2, 3, 16, 24)
    assert output.logits.shape == (2, 4)
    output.logits.square().sum().backward()
    for parameter in system.parameters():
        assert parameter.grad.abs().sum() > 0
    again = joint.build_system(config, image_size=(16, 24), channels=3, classes=4)
    assert torch.equal(again.classifier.last.weight, system.classifier.last.weight)


def test_what_a_restoration_of_its_own_makes_is_what_is_coded_and_judged():
    config = joint.SystemConfig(
        front_end={"kind": "none"},
        sensor={"kind": "none"},
        restoration=_class("torch.nn.AvgPool2d", kernel_size=4),
        codec={"kind": "none"},
        classifier=_own("Mean"),
    )
    system = joint.build_system(config, image_size=(16, 24), channels=3, classes=4)
    assert system(torch.rand(1, 3, 16, 24)).measurement.shape == (1, 3, 4, 6)
    flat = CustomConfig(**_class("torch.nn.Flatten"))
    config = config.model_copy(update={"restoration": flat})
    with pytest.raises(ValueError, match=r"makes \(1, 1152\) of pictures \[1, 3, 16, 24\]"):
        joint.build_system(config, image_size=(16, 24), channels=3, classes=4)


@pytest.mark.parametrize(
    ("stage", "path", "message"),
    [
        ("restoration", "", "restoration.kind='custom' needs restoration.class_path"),
        ("restoration", "own_filters.called", "must be a subclass of torch.nn.Module"),
        ("codec", "own_filters.Mean", "codec.class_path=.* must be a subclass of compress.Codec"),
        ("codec", "own_filters.Coarse", "missing a required argument: 'levels'; set codec.init"),
        ("classifier", "own_filters.None", "classifier.class_path=.* cannot be imported"),
        ("classifier", "own_filters.called", "must be a subclass of torch.nn.Module"),
    ],
)
def test_what_cannot_be_made_is_refused_for_its_stage(stage, path, message):
    config = joint.SystemConfig(**{stage: {"kind": "custom", "class_path": path}})
    with pytest.raises(joint.ConfigError, match=message):
        joint.build_system(config, image_size=(16, 16), channels=3, classes=4)


def test_a_run_of_stages_of_its_own_is_trained_saved_and_loaded(tmp_path):
    data = {"kind": "phantom", "count": 30, "image_size": 16}
    system = {
        "front_end": {"kind": "none"},
        "codec": _own("Coarse", levels=9),
        "classifier": _own("Mean"),
    }
    config = joint.RunConfig(
        data=data,
        system=system,
        objective={"rate": 0, "distortion": 0},
        training={"epochs": 1, "batch_size": 10, "monitor": "loss"},
    )
    scenes = joint.build_data(config.data)
    parts = joint.build_split(config, scenes)
    trained = complete_run(config, parts, tmp_path / "run", resamples=0, progress=False)
    _, loaded, _ = joint.load_run(tmp_path / "run")
    scene = torch.rand(1, 3, 16, 16)
    noise = [torch.Generator().manual_seed(1) for _ in range(2)]
    assert torch.equal(
        trained(scene, generator=noise[0]).logits, loaded(scene, generator=noise[1]).logits
    )
    words = dict(configuration_words(config))
    assert words["codec"] == "own_filters.Coarse(levels=9)"
    assert words["classifier"] == "own_filters.Mean()"
    objective = config.objective.model_copy(update={"distillation": 1.0})
    taught = config.model_copy(update={"teacher": tmp_path / "run", "objective": objective})
    teacher = load_teacher(taught, parts)
    assert torch.equal(teacher.classifier.last.weight, trained.classifier.last.weight)


def test_stages_of_its_own_are_chosen_on_the_command_line():
    options = read_train_options(
        [
            *("--output", "run", "--codec", "custom", "--classifier", "custom"),
            *("--restoration", "custom", "--system.codec.class-path", "own_filters.Coarse"),
            *("--system.codec.init-args", "levels", "5"),
            *("--system.classifier.class-path", "own_filters.Mean"),
            *("--system.restoration.class-path", "own_filters.Brighter"),
        ]
    )
    system = options.run.system
    assert system.codec.init_args == {"levels": 5}
    assert system.classifier.class_path == "own_filters.Mean"
    assert system.restoration.class_path == "own_filters.Brighter"
    assert options.run.objective.rate == 0  # whether its bits have a gradient is not known


@pytest.mark.parametrize("path", ["Grey", "own filters.Grey", "a..b", "os:system", "a.b()"])
def test_a_path_is_that_of_an_import(path):
    with pytest.raises(ValueError, match="class_path"):
        CustomConfig(class_path=path)
