import json
import sys

import pytest
import torch

import joint
import optics
from joint.config.custom import CustomConfig, build_custom

_MODULE = '''
import optics, torch

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
    kernel = build_custom(config, (16, 16), 3)
    assert isinstance(kernel, optics.LearnedKernel)
    assert (kernel.in_channels, kernel.response.shape[-2:]) == (3, (5, 5))


@pytest.mark.parametrize(
    ("path", "arguments", "message"),
    [
        ("", {}, "needs front_end.class_path, the module and the name of a class"),
        ("no_such.Grey", {}, "'no_such.Grey' cannot be imported: No module .*PYTHONPATH"),
        ("own_filters.Gray", {}, "'own_filters.Gray' cannot be imported: .*has no attribute"),
        ("own_filters.called", {}, "must be a class of optics.FrontEnd"),
        ("torch.nn.Linear", {}, "must be a class of optics.FrontEnd"),
        ("own_filters.Grey", {"par": 1}, r"unexpected keyword argument 'par'; set .* part, chann"),
    ],
)
def test_what_cannot_be_made_is_refused(path, arguments, message):
    with pytest.raises(joint.ConfigError, match=message):
        build_custom(CustomConfig(class_path=path, init_args=arguments), (8, 8), 3)


@pytest.mark.parametrize("path", ["Grey", "own filters.Grey", "a..b", "os:system", "a.b()"])
def test_a_path_is_that_of_an_import(path):
    with pytest.raises(ValueError, match="class_path"):
        CustomConfig(class_path=path)
