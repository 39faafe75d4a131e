import pytest
import torch

import joint
import optics
from classify import LesionDataset
from joint.analysis.passes import one_pass, passes


class _Remembers(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, image):
        self.seen.append(image)
        return image.mean((-2, -1))


@pytest.mark.parametrize("batch_size", [1, 7, 48, 100])
def test_pictures_and_noise_are_those_of_the_evaluation(lesions, batch_size):
    judge = _Remembers()
    system = joint.ImagingSystem(sensor=optics.Sensor(50, read_noise=5.0), classifier=judge).eval()
    joint.evaluate(system, lesions, batch_size=32, seed=3)
    expected = torch.cat(judge.seen)
    found, rows = [], []
    with torch.no_grad():
        for part in passes(lesions, system, batch_size=batch_size, seed=3):
            assert len(part.rows) == len(part.scenes) == len(part.noise) <= batch_size
            found.append(system(part.scenes, generator=part.noise).handed)
            rows.append(part.rows)
    assert torch.equal(torch.cat(rows), torch.arange(48))
    assert torch.equal(torch.cat(found), expected)
    last = part.noise  # anew: of the same state as before it was drawn from
    assert [each.initial_seed() for each in last] == part.seeds.tolist()
    assert torch.equal(torch.rand(1, generator=last[0]), torch.rand(1, generator=part.noise[0]))
    other = next(passes(lesions, system, batch_size=48, seed=4))
    with torch.no_grad():
        assert not torch.equal(system(other.scenes, generator=other.noise).handed, expected)


def test_an_empty_pass_is_refused_at_once(lesions):
    with pytest.raises(ValueError, match="batch_size must be at least 1, not 0"):
        passes(lesions, joint.ImagingSystem(), batch_size=0, seed=0)


@pytest.mark.parametrize("seed", [True, 1.5, "1"])
def test_a_seed_that_is_not_whole_is_refused_at_once(lesions, seed):
    told = f"seed must be a whole number, not {seed!r}"
    with pytest.raises(ValueError, match=told):
        passes(lesions, joint.ImagingSystem(), batch_size=2, seed=seed)
    with pytest.raises(ValueError, match=told):
        one_pass(joint.ImagingSystem(), lesions, [0], seed=seed)


def test_scenes_of_another_encoding_are_refused_at_once():
    codes = torch.zeros(2, 3, 8, 8, dtype=torch.uint16)
    raw = LesionDataset(
        images=codes, labels=[0, 1], groups=[0, 1], identifiers=[0, 1], classes=("a", "b"),
        encoding="linear",
    )  # fmt: skip
    with pytest.raises(ValueError, match="the scenes are linear light and the system takes them"):
        passes(raw, joint.ImagingSystem(), batch_size=2, seed=0)
    passes(raw, joint.ImagingSystem(encoding="linear"), batch_size=2, seed=0)
