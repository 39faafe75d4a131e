import pytest
import torch

import joint
import optics
from joint.analysis.passes import passes


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
        for part in passes(lesions, torch.device("cpu"), batch_size=batch_size, seed=3):
            assert len(part.rows) == len(part.scenes) == len(part.noise) <= batch_size
            found.append(system(part.scenes, generator=part.noise).handed)
            rows.append(part.rows)
    assert torch.equal(torch.cat(rows), torch.arange(48))
    assert torch.equal(torch.cat(found), expected)
    other = next(passes(lesions, torch.device("cpu"), batch_size=48, seed=4))
    with torch.no_grad():
        assert not torch.equal(system(other.scenes, generator=other.noise).handed, expected)


def test_an_empty_pass_is_refused_at_once(lesions):
    with pytest.raises(ValueError, match="batch_size must be at least 1, not 0"):
        passes(lesions, torch.device("cpu"), batch_size=0, seed=0)
