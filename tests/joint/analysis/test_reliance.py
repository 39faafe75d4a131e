import json
import math
import sys

import numpy as np
import pytest
import scipy.fft
import torch
from gratings import RINGS, SIZE, WAVES, scene_of, wave
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score
from torch import nn

import classify
import joint
import optics
from joint.analysis import filter_ring, octave_rings, reliance


class _Reads(nn.Module):
    """Two classes by the sign of one grating, which has four digits; without it, the first."""

    def __init__(self, periods):
        super().__init__()
        self.register_buffer("wave", wave(periods).float())

    def forward(self, picture):
        grating = (picture * self.wave).mean((1, 2, 3)).mul(1e4).round() / 1e4
        return torch.stack([torch.full_like(grating, 1e-3), -grating], -1)


def _graded(count=40, first=0.7):
    """Scenes of three gratings in linear light; the class is the sign of the middle one."""
    generator = torch.Generator().manual_seed(1)
    labels = (torch.arange(count) >= first * count).long()
    scenes = []
    for label in labels.tolist():
        low, high = (0.2 * torch.rand(2, generator=generator)).tolist()
        scenes.append(scene_of(low, -0.1 if label else 0.1, high / 2))
    return classify.LesionDataset(
        images=(65535 * torch.cat(scenes)).round().to(torch.uint16),
        labels=labels,
        groups=[f"lesion{k // 2}" for k in range(count)],
        identifiers=[f"picture{k}" for k in range(count)],
        classes=("plus", "minus"),
        encoding="linear",
    )


@pytest.fixture(scope="module")
def graded():
    return _graded()


def test_only_the_ring_that_is_read_is_missed_and_by_the_known_amount(graded):
    system = joint.ImagingSystem(classifier=_Reads(WAVES[1]), encoding="linear")
    found = reliance(system, graded, RINGS, resamples=200)
    assert [score.value for score in found.scores] == [1, 1, 1]
    for number, ring in enumerate(found.rings):
        changes = [score.value for score in ring.change]
        if number == 1:
            # All are taken for the first class, of which 0.7 are: its recall is 1, the other's 0.
            assert changes == pytest.approx([-0.3, -0.5, -0.5])
            assert ring.flipped == pytest.approx(0.3)
            assert [score.value for score in ring.scores] == pytest.approx([0.7, 0.5, 0.5])
            assert all(score.interval.high < 0 for score in ring.change)
        else:
            assert changes == [0, 0, 0]
            assert ring.flipped == 0
            assert all(score.interval == (0, 0) for score in ring.change)
    alone = reliance(system, graded, RINGS, kind="pass", resamples=20)
    assert [ring.scores.accuracy.value for ring in alone.rings] == pytest.approx([0.7, 1, 0.7, 0.7])
    powers = [ring.power for ring in found.rings]
    assert [ring.power for ring in alone.rings] == pytest.approx(powers)


def test_the_power_of_a_ring_is_that_of_its_grating(graded):
    system = joint.ImagingSystem(classifier=_Reads(WAVES[1]), encoding="linear")
    found = reliance(system, graded, RINGS, resamples=5)
    pictures = graded.gather(range(len(graded))).images.double() / 65535
    spread = (pictures - pictures.mean((-2, -1), keepdim=True)).square().mean()
    # The mean square of a product of cosines is a quarter, of one cosine a half.
    middle = 0.1**2 / 4
    assert found.rings[1].power == pytest.approx(middle / float(spread), rel=1e-3)
    assert sum(ring.power for ring in found.rings) == pytest.approx(1)
    assert found.rings[3].power < 1e-6
    assert [(r.low, r.high) for r in found.rings] == [*RINGS[:3], (0.5, math.sqrt(0.5))]
    assert all(ring.clipped == 0 for ring in found.rings)
    assert [ring.left for ring in found.rings[:3]] == pytest.approx([0] * 3, abs=1e-6)
    soft = reliance(system, graded, RINGS, edge=0.5, resamples=5)
    assert sum(ring.power for ring in soft.rings) == pytest.approx(1)


def test_what_is_clipped_is_counted_with_what_it_puts_back():
    scene = 0.5 + 0.5 * (wave((0, 2)) - wave((0, 6)) / 3) / 0.943
    codes = (65535 * scene).round().to(torch.uint16).expand(2, 1, SIZE, SIZE)
    data = classify.LesionDataset(
        images=codes, labels=torch.tensor([0, 1]), groups=["a", "b"],
        identifiers=["a", "b"], classes=("a", "b"), encoding="linear",
    )  # fmt: skip

    class Mean(nn.Module):
        def forward(self, picture):
            return picture.mean((-2, -1)) * torch.tensor([1.0, -1.0])

    system = joint.ImagingSystem(classifier=Mean(), encoding="linear")
    for kind, ring in (("stop", (0.08, 0.2)), ("pass", (0.0, 0.08))):
        (row,) = reliance(system, data, [ring], kind=kind, resamples=2).rings
        spectrum = scipy.fft.dctn(codes[0, 0].numpy() / 65535, norm="ortho")
        f = np.arange(SIZE) / (2 * SIZE)
        gone = (np.hypot(f[:, None], f) >= 0.08) & (np.hypot(f[:, None], f) < 0.2)
        if kind == "pass":
            gone = np.hypot(f[:, None], f) >= 0.08
        filtered = scipy.fft.idctn(np.where(gone, 0, spectrum), norm="ortho")
        again = scipy.fft.dctn(filtered.clip(0, 1), norm="ortho")
        assert row.clipped == pytest.approx(((filtered < 0) | (filtered > 1)).mean())
        assert row.clipped > 0.1
        wanted = (again[gone] ** 2).sum() / (spectrum[gone] ** 2).sum()
        assert row.left == pytest.approx(wanted, rel=1e-4)
        assert row.left > 1e-3
        assert row.left_in_codes == row.left
        as_codes = joint.ImagingSystem(classifier=Mean())
        light = optics.srgb_to_linear(codes[:1] / 65535.0)
        (row,) = reliance(as_codes, data.taken_as("srgb"), [ring], kind=kind, resamples=2).rings
        shown = filter_ring(codes[:1] / 65535.0, ring, kind=kind)
        for name, pair in (
            ("left", (light, optics.srgb_to_linear(shown))),
            ("left_in_codes", (codes[:1] / 65535.0, shown)),
        ):
            before, after = (
                (scipy.fft.dctn(each[0, 0].numpy(), norm="ortho")[gone] ** 2).sum() for each in pair
            )
            assert getattr(row, name) == pytest.approx(after / before, rel=1e-3), name
        assert row.left_in_codes > 0.01


@pytest.mark.parametrize("kind", ["stop", "pass"])
def test_a_smooth_edge_leaves_a_known_part_of_what_was_to_go(kind):
    numbers = np.random.default_rng(0)
    picture = (65535 * numbers.uniform(0.4, 0.6, (1, SIZE, SIZE))).round()
    data = classify.LesionDataset(
        images=torch.from_numpy(picture).to(torch.uint16).expand(2, 1, SIZE, SIZE),
        labels=torch.tensor([0, 1]), groups=["a", "b"],
        identifiers=["a", "b"], classes=("a", "b"), encoding="linear",
    )  # fmt: skip
    classifier = nn.Sequential(nn.Flatten(), nn.Linear(SIZE * SIZE, 2))
    system = joint.ImagingSystem(classifier=classifier, encoding="linear")
    ring, edge = (0.1, 0.25), 0.8
    (row,) = reliance(system, data, [ring], kind=kind, edge=edge, resamples=2).rings
    assert row.clipped == 0
    power = scipy.fft.dctn(picture[0] / 65535, norm="ortho") ** 2
    f = np.arange(SIZE) / (2 * SIZE)
    radius = np.hypot(f[:, None], f)
    power[0, 0], radius[0, 0] = 0, 1e-9
    # A raised cosine of the octaves, half of it to either side of the ring's end.
    rises = (
        (1 - np.cos(np.pi * np.clip(np.log2(radius / end) / edge + 0.5, 0, 1))) / 2 for end in ring
    )
    share = np.subtract(*rises)
    gone = share if kind == "stop" else 1 - share
    # Squares of amplitudes: of what was to go, what passes the filter.
    wanted = (gone**2 * (1 - gone) ** 2 * power).sum() / (gone**2 * power).sum()
    assert 0.005 < wanted < 0.5
    assert row.left == pytest.approx(wanted, rel=1e-4)
    assert row.left_in_codes == row.left  # its codes are the light
    assert row.power == pytest.approx((share * power).sum() / power.sum(), rel=1e-4)


class _Projects(nn.Module):
    """Logits of seven random directions."""

    def __init__(self, features):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("weight", torch.randn(features, 7, generator=generator))
        self.dropout = nn.Dropout(0.5)  # of training alone

    def forward(self, picture):
        return self.dropout((picture - 0.5).flatten(1)) @ self.weight / 10


@pytest.fixture(scope="module")
def phantoms():
    return classify.LesionPhantom(60, image_size=16, balance=0.0, seed=3)


def test_scores_are_those_of_the_filtered_pictures_by_scikit_learn(phantoms):
    system = joint.ImagingSystem(classifier=_Projects(3 * 16 * 16)).train()
    rings = [(0, 0.1), (0.05, 0.3), (0.2, math.inf)]
    found = reliance(system, phantoms, rings, resamples=50, batch_size=7)
    assert system.training
    system.eval()
    plain = joint.evaluate(system, phantoms, resamples=50)
    assert plain.report is not None
    for name, score in found.scores._asdict().items():
        assert score == (getattr(plain.report, name), plain.report.intervals[name])
    pictures = phantoms.gather(range(60)).images / 255.0
    labels = phantoms.labels.numpy()

    def judged(shown):
        logits = system(shown).logits
        return logits.argmax(-1).numpy(), [
            accuracy_score(labels, logits.argmax(-1)),
            balanced_accuracy_score(labels, logits.argmax(-1)),
            roc_auc_score(labels, logits.softmax(-1).double(), multi_class="ovr"),
        ]

    guesses, before = judged(pictures)
    assert len(np.unique(labels)) == 7
    for ring, row in zip(rings, found.rings, strict=True):
        others, after = judged(filter_ring(pictures, ring))
        assert [s.value for s in row.scores] == pytest.approx(after, abs=1e-6)
        change = np.subtract(after, before)
        assert [s.value for s in row.change] == pytest.approx(change, abs=1e-6)
        assert row.flipped == pytest.approx((others != guesses).mean())
    assert found.rings[0].flipped > 0.1


def test_draws_and_noise_are_the_same_for_all_rings(phantoms):
    system = joint.ImagingSystem(
        sensor=optics.Sensor(200), classifier=_Projects(3 * 16 * 16)
    )  # noise that turns some answers
    rings = [(0.2, 0.4), (0, 0.1), (0.2, 0.4)]
    found = reliance(system, phantoms, rings, resamples=60)
    assert found.rings[0] == found.rings[2]
    assert found.rings[1] == reliance(system, phantoms, rings[1:2], resamples=60).rings[0]
    other = reliance(system, phantoms, rings, resamples=60, seed=1)
    assert other.rings[0] != found.rings[0]

    def drawn(seed):
        generator = torch.Generator().manual_seed(seed)
        return reliance(system, phantoms, rings, resamples=60, generator=generator)

    five, six = drawn(5), drawn(6)
    assert five == drawn(5)
    assert five.rings[0] == five.rings[2]
    assert five.rings[0].change != six.rings[0].change
    assert five.rings[0].change.accuracy.value == six.rings[0].change.accuracy.value
    plain, without = (
        joint.evaluate(system, data).logits
        for data in (phantoms, phantoms.redrawn(_codes(phantoms, rings[0])))
    )
    paired = classify.bootstrap_difference(
        without, plain, labels=phantoms.labels.numpy(), groups=phantoms.groups, resamples=60
    )
    assert found.rings[0].change.balanced_accuracy == (paired.difference, paired.interval)


def _codes(data, ring):
    pictures = data.gather(range(len(data))).images / 255.0
    return (65535 * filter_ring(pictures, ring)).round().to(torch.uint16)


def test_the_default_is_octaves_and_a_single_class_has_no_auc(phantoms):
    system = joint.ImagingSystem(classifier=_Projects(3 * 16 * 16))
    one = phantoms.subset(torch.nonzero(phantoms.labels == phantoms.labels[0])[:, 0])
    found = reliance(system, one, resamples=10)
    assert [(r.low, r.high) for r in found.rings] == [*octave_rings((16, 16))]
    assert math.isnan(found.scores.auc.value)
    assert math.isnan(found.rings[0].change.auc.value)
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert told["rings"][0]["change"]["auc"] == {"value": None, "interval": [None, None]}
    assert told["rings"][1]["high"] == found.rings[1].high
    assert told["kind"] == "stop"


@pytest.mark.parametrize("code", [0, 77, 128, 255])
def test_constant_scenes_have_no_power_beyond_rounding(code):
    scenes = classify.LesionDataset(
        images=torch.full((4, 3, 30, 40), code, dtype=torch.uint8),
        labels=[0, 1] * 2,
        groups=range(4),
        identifiers=range(4),
        classes=("plus", "minus"),
    )
    network = nn.Sequential(nn.AvgPool2d((30, 40)), nn.Flatten(), nn.Linear(3, 2))
    found = reliance(joint.ImagingSystem(classifier=network), scenes, resamples=5)
    for ring in found.rings:
        assert np.isnan((ring.power, ring.left, ring.left_in_codes)).all()
        assert (ring.flipped, ring.clipped) == (0, 0)


def test_a_picture_with_one_other_code_has_power():
    pictures = torch.full((2, 3, 30, 40), 128, dtype=torch.uint8)
    pictures[0, 0, 3, 4] += 1
    scenes = classify.LesionDataset(
        images=pictures, labels=[0, 1], groups=range(2), identifiers=range(2), classes=("a", "b")
    )
    network = nn.Sequential(nn.AvgPool2d((30, 40)), nn.Flatten(), nn.Linear(3, 2))
    rings = [(0, 0.25), (0.25, math.inf)]
    found = reliance(joint.ImagingSystem(classifier=network), scenes, rings, resamples=5)
    # A point has the same power in each direction of the spectrum.
    shares = [ring.power for ring in found.rings]
    assert sum(shares) == pytest.approx(1)
    assert shares[0] == pytest.approx(math.pi / 16, abs=0.02)


def test_a_table_says_what_was_done(graded):
    system = joint.ImagingSystem(classifier=_Reads(WAVES[1]), encoding="linear")
    text = str(reliance(system, graded, RINGS[1:2], resamples=20))
    assert "40 pictures as they are: accuracy 1.000" in text
    assert "change: without the ring, less as they are; - is worse" in text
    assert " 0.0600- 0.2000 " in text
    assert "-0.300 [" in text
    text = str(reliance(system, graded, RINGS[1:2], kind="pass", edge=0.5, resamples=20))
    assert "of the ring and the mean alone, edges of 0.5 octaves, less" in text


def test_what_cannot_be_judged_is_refused_at_once(graded, monkeypatch):
    system = joint.ImagingSystem(classifier=_Reads(WAVES[1]), encoding="linear")
    module = sys.modules["joint.analysis.reliance"]  # the function has its name
    monkeypatch.setattr(module, "evaluate", lambda *_, **__: pytest.fail("a long job began"))
    with pytest.raises(TypeError, match="the system comes first"):
        reliance(graded, system)
    with pytest.raises(ValueError, match="the system has no classifier"):
        reliance(joint.ImagingSystem(encoding="linear"), graded)
    with pytest.raises(ValueError, match=r"at least one ring \(low, high\), in cycles/pixel"):
        reliance(system, graded, [])
    with pytest.raises(ValueError, match=r"0.7 to 0.8 cycles/pixel holds no frequency"):
        reliance(system, graded, [(0.1, 0.2), (0.7, 0.8)])
    with pytest.raises(ValueError, match="kind must be 'stop' or 'pass', not 'notch'"):
        reliance(system, graded, kind="notch")
    with pytest.raises(ValueError, match="edge must be 0 or more octaves, and finite, not -1"):
        reliance(system, graded, edge=-1)
    with pytest.raises(ValueError, match="resamples must be at least 1"):
        reliance(system, graded, resamples=0)
    with pytest.raises(ValueError, match="at least 2 lesions"):
        reliance(system, graded.subset([0, 1]))
    monkeypatch.undo()
    with pytest.raises(ValueError, match="the scenes are linear light and the system takes them"):
        reliance(joint.ImagingSystem(classifier=_Reads(WAVES[1])), graded)
