import json
import math

import numpy as np
import pytest
import torch

import classify
import compress
import joint
import optics
from joint.analysis.kept import kept, radial_power


class _Changing(compress.Codec):
    """A codec that hands a function of the picture on."""

    def __init__(self, change):
        super().__init__()
        self.change = change

    def forward(self, image, *, generator=None):
        bits = torch.zeros_like(image[:, :1])
        return compress.Coded(self.change(image), None, bits, bits.sum((1, 2, 3)), "rounded")

    def compress(self, image):
        raise NotImplementedError

    def decompress(self, payloads):
        raise NotImplementedError


def _changing(change):
    return joint.ImagingSystem(codec=_Changing(change))


def _texture(away, generator):
    lesion = 0.2 * (away < 0)
    return 0.6 - lesion + 0.1 * torch.randn(away.shape, generator=generator).clamp(-2, 2)


@pytest.fixture(scope="module")
def scenes(disks):
    return disks(16, size=32, draw=_texture)


def _numbers(system, name):
    return np.array([getattr(annulus, name) for annulus in system.annuli])


def test_a_wave_is_in_its_ring_alone():
    steps = torch.arange(64, dtype=torch.float64)
    for cycles, ring in ((6, 1), (14, 3), (29, 7)):
        wave = torch.cos(2 * math.pi * cycles / 64 * steps)[None, None, None].expand(1, 2, 64, 64)
        power = radial_power(wave, wave)[0]
        assert power.argmax() == ring
        assert float(power[ring] / power.sum()) > 0.98
        # Parseval, of both channels.
        window = (torch.pi * (steps + 0.5) / 64).sin().square()
        seen = (window[:, None] * window * (wave - wave.mean())).square().sum() * 64**2
        assert float(power.sum()) == pytest.approx(float(seen), rel=1e-3)
        assert torch.allclose(radial_power(wave, -0.5 * wave), -0.5 * radial_power(wave, wave))


def test_a_frequency_on_the_edge_of_a_ring_belongs_to_the_ring_above():
    # 7/35 is 0.19999999999999998 in floating point, and the third ring of five begins at 0.2.
    rows = torch.cos(2 * torch.pi * 0.2 * torch.arange(35, dtype=torch.float64))
    wave = rows[None, None, :, None].expand(1, 1, 35, 35).contiguous()
    power = radial_power(wave, wave, annuli=5)[0]
    assert power[2] > 3 * power[1]
    across = radial_power(wave.mT, wave.mT, annuli=5)[0]
    assert torch.allclose(across, power)


@pytest.mark.parametrize("factor", [(2, 2), (2, 4), (1, 3)])
def test_binned_pixels_keep_the_frequencies_of_the_scene(factor):
    rows, columns = (torch.arange(n, dtype=torch.float64) + 0.5 for n in (48, 72))

    def seen(fy, fx):
        """A wave, its pixels averaged, and powers and cross-power on the wave's own grid."""
        wave = torch.cos(2 * torch.pi * (fy * rows[:, None] + fx * columns) + 0.4)[None, None]
        pair = wave, torch.nn.functional.avg_pool2d(wave, factor)
        return [
            radial_power(one, other, annuli=5, size=(48, 72))[0]
            for one, other in ((pair[0], pair[0]), (pair[1], pair[1]), pair)
        ]

    def averaged(f, n):
        return math.sin(math.pi * f * n) / (n * math.sin(math.pi * f))

    fy, fx = 6 / 48, 5 / 72
    scene, binned, both = seen(fy, fx)
    gain = averaged(fy, factor[0]) * averaged(fx, factor[1])
    ring = int(math.hypot(fy, fx) * 10)
    assert scene.argmax() == binned.argmax() == ring
    assert float(binned[ring] / scene[ring]) == pytest.approx(gain**2, rel=0.01)
    assert float(both[ring] / scene[ring]) == pytest.approx(gain, rel=0.01)
    # Beyond the limit of the larger pixels nothing is left but its alias, which is not the scene.
    f = 30 / 72
    scene, binned, both = seen(0, f)
    limit = 0.5 / factor[1]
    if f > limit:
        assert scene.argmax() == 4
        alias = abs(f - round(f / (2 * limit)) * 2 * limit)
        assert binned.argmax() == int(alias * 10)
        assert both.abs().max() < 1e-3 * scene.max()


def test_known_changes_have_known_spectra(scenes):
    noise = torch.Generator().manual_seed(0)
    systems = {
        "same": joint.ImagingSystem(),
        "half": _changing(lambda image: 0.5 + 0.5 * (image - 0.5)),
        "negative": _changing(lambda image: 1 - image),
        "noise": _changing(lambda image: torch.rand(image.shape, generator=noise)),
        "brighter": _changing(lambda image: image + 0.1),
    }
    found = kept(systems, scenes, resamples=50)
    same, half, negative, other, brighter = found.systems
    for system, power in ((same, 1), (half, 0.25), (negative, 1), (brighter, 1)):
        np.testing.assert_allclose(_numbers(system, "power"), power, rtol=1e-5)
        np.testing.assert_allclose(_numbers(system, "coherence"), 1, rtol=1e-5)
        np.testing.assert_allclose(_numbers(system, "change"), power, rtol=1e-5)
    assert (_numbers(other, "coherence")[1:] < 0.1).all()
    assert [d.region for d in same.differences] == ["picture", "lesion", "boundary", "background"]
    assert all(difference.rms == 0 for difference in same.differences)
    for difference in brighter.differences:
        assert difference.rms == pytest.approx(25.5, rel=1e-5)
        assert difference.interval == pytest.approx((25.5, 25.5), rel=1e-5)
    # Against a first system that changes nothing there is no ratio.
    assert all(math.isnan(difference.change) for difference in half.differences)


def test_coherence_is_the_share_of_the_power_that_is_the_scene(scenes):
    # The mirror image has the power of the scene, ring by ring, and is added to one copy of each
    # scene and taken from the other: over both it goes with nothing in the scene.
    pictures = scenes.gather(torch.arange(16)).images.repeat_interleave(2, 0)
    twice = classify.LesionDataset(
        images=pictures, labels=[0, 1] * 16, groups=range(32), identifiers=range(32), classes="ab"
    )
    sign = (-1) ** torch.arange(32)[:, None, None, None]
    system = _changing(lambda image: image + sign * image.flip(-1))
    found = kept({"noisy": system}, twice, batch_size=32, resamples=10).systems[0]
    np.testing.assert_allclose(_numbers(found, "power"), 2, rtol=1e-5)
    np.testing.assert_allclose(_numbers(found, "coherence"), 1 / 2, rtol=1e-5)


def test_what_is_restored_is_what_is_handed_on(scenes):
    class Half(torch.nn.Module):
        def forward(self, image):
            return 0.5 * image

    found = kept({"half": joint.ImagingSystem(restoration=Half())}, scenes, resamples=10)
    np.testing.assert_allclose(_numbers(found.systems[0], "power"), 0.25, rtol=1e-5)


def test_a_blur_takes_high_frequencies_as_its_transfer_function_says(scenes):
    kernel = optics.LearnedKernel("gaussian", 5, signed=False)
    system = joint.ImagingSystem(front_end=kernel, encoding="linear")
    found = kept({"blurred": system}, scenes, resamples=20).systems[0]
    power = _numbers(found, "power")
    assert (np.diff(power) < 0).all()
    # Rings of equal width up to half a cycle a pixel, without a gap.
    np.testing.assert_allclose(_numbers(found, "low"), np.arange(8) / 16)
    np.testing.assert_allclose(_numbers(found, "high"), np.arange(1, 9) / 16)
    with torch.no_grad():
        response = kernel.response[0, 0, 0].double()
    padded = torch.zeros(32, 32, dtype=torch.float64)
    padded[:5, :5] = response
    transfer = torch.fft.fft2(padded).abs().square()
    f = torch.fft.fftfreq(32, dtype=torch.float64)
    ring = (torch.hypot(f[:, None], f) * 16).floor()
    # White texture: the ratio is the mean of the squared transfer over the ring.
    for k in (3, 4, 5):
        assert power[k] == pytest.approx(float(transfer[ring == k].mean()), rel=0.15)


def test_a_change_of_the_lesion_is_found_there_and_paired(scenes):
    def darker(image):
        return torch.where(image.mean(1, keepdim=True) < 0.5, image - 0.1, image)

    weak = _changing(lambda image: image + 0.1)
    found = kept({"all": weak, "dark": _changing(darker)}, scenes, resamples=100)
    dark = {d.region: d for d in found.systems[1].differences}
    assert dark["lesion"].rms > 15 > 12 > dark["background"].rms
    for difference in found.systems[1].differences:
        assert difference.change == pytest.approx(difference.rms / 25.5, rel=1e-4)
        assert difference.change_interval.low < difference.change < difference.change_interval.high
    assert dark["lesion"].change_interval.low > dark["background"].change_interval.high
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert told["systems"][1]["differences"][1]["rms"] == dark["lesion"].rms
    assert told["systems"][0]["annuli"][0]["power_interval"] == pytest.approx([1, 1])
    assert "what is kept of 16 pictures" in str(found)


def test_smaller_pictures_and_missing_masks(scenes):
    rows = torch.arange(16)
    bare = classify.LesionDataset(
        images=scenes.gather(rows).images,
        labels=scenes.labels,
        groups=scenes.groups,
        identifiers=scenes.identifiers,
        classes=scenes.classes,
        masks=scenes.gather_masks(rows),
        has_mask=rows < 10,
    )
    binned = joint.ImagingSystem(
        sensor=optics.Sensor(1e9, binning=2, read_noise=0, bit_depth=None, shot_noise="none"),
        encoding="linear",
    )
    found = kept({"binned": binned}, bare, resamples=20)
    assert (found.pictures, found.masked) == (16, 10)
    assert all(d.rms < 0.1 for d in found.systems[0].differences)
    none = kept({"same": joint.ImagingSystem()}, bare.subset(range(10, 16)), resamples=5)
    picture, *rest = none.systems[0].differences
    assert picture.rms == 0
    assert all(math.isnan(d.rms) and math.isnan(d.interval.low) for d in rest)


def test_binning_is_a_loss_of_the_high_frequencies_of_the_scene(scenes):
    binned = joint.ImagingSystem(
        sensor=optics.Sensor(1e9, binning=2, read_noise=0, bit_depth=None, shot_noise="none"),
        encoding="linear",
    )
    full = joint.ImagingSystem(encoding="linear")
    one, two = kept({"full": full, "binned": binned}, scenes, resamples=20).systems
    np.testing.assert_allclose(_numbers(one, "power"), 1)
    for ring, other in zip(one.annuli, two.annuli, strict=True):
        assert (ring.low, ring.high) == (other.low, other.high)
        assert other.change == other.power
    # The limit is 0.25 cycles/pixel of the scene in each direction, 0.354 between them.
    for ring in two.annuli[6:]:
        assert ring.power == ring.change == 0
        assert ring.power_interval == ring.change_interval == (0, 0)
        assert math.isnan(ring.coherence)
    assert two.annuli[5].power < 0.3
    # Of white texture, as much is folded onto lower frequencies as they lose; what was theirs has
    # the power of the transfer function of two pixels.
    f = torch.fft.fftfreq(32, dtype=torch.float64)
    transfer = (torch.pi * f).cos().square()[:, None] * (torch.pi * f).cos().square()
    ring = (torch.hypot(f[:, None], f) * 16).floor()
    for k in (2, 3):
        assert two.annuli[k].power == pytest.approx(1, rel=0.15)
        assert two.annuli[k].coherence == pytest.approx(float(transfer[ring == k].mean()), abs=0.06)
    last = kept({"binned": binned, "full": full}, scenes, resamples=5).systems[1].annuli[7]
    assert last.power == pytest.approx(1)
    assert math.isnan(last.change)  # over nothing


def test_what_does_not_fit_is_refused(scenes):
    with pytest.raises(ValueError, match="there must be at least one system"):
        kept({}, scenes)
    for annuli in (0, 2.5):
        with pytest.raises(ValueError, match=f"annuli must be a whole number .* not {annuli}"):
            kept({"same": joint.ImagingSystem()}, scenes, annuli=annuli)

    class Grey(torch.nn.Module):
        def forward(self, image):
            return image[:, :1]

    grey = joint.ImagingSystem(restoration=Grey())
    with pytest.raises(ValueError, match="input of grey has 1 channels, but the scenes have 3"):
        kept({"grey": grey}, scenes)


def test_what_is_kept_of_few_lesions_is_held_by_its_intervals(scenes):
    """Powers of 0.5 to 1.5 of the scene's, at random: the draws held 1 in half of the cases."""
    random = torch.Generator().manual_seed(0)

    def gain(image):
        square = 0.5 + torch.rand(len(image), 1, 1, 1, generator=random, dtype=image.dtype)
        return 0.5 + square.sqrt() * (image - 0.5)

    held = []
    for _ in range(50):
        few = scenes.subset(range(0, 4, 2))  # a picture of each of two lesions
        (system,) = kept({"gain": _changing(gain)}, few, annuli=3, resamples=60).systems
        for ring in system.annuli:
            held.append(ring.power_interval.low <= 1 <= ring.power_interval.high)
            assert ring.power_interval.low < ring.power < ring.power_interval.high
            assert ring.coherence_interval.high <= 1
        for region in system.differences:
            assert 0 <= region.interval.low < region.rms < region.interval.high
    assert np.mean(held) > 0.75


def test_of_one_lesion_there_is_no_interval(scenes):
    found = kept({"same": joint.ImagingSystem()}, scenes.subset([0]), resamples=5)
    assert found.pictures == 1
    (same,) = found.systems
    for ring in same.annuli:
        assert ring.power == pytest.approx(1)
        ends = (*ring.power_interval, *ring.coherence_interval, *ring.change_interval)
        assert np.isnan(ends).all()
    for region in same.differences:
        assert np.isnan((*region.interval, *region.change_interval)).all()


def test_stacks_without_a_cross_spectrum_are_refused():
    pictures = torch.rand(2, 3, 8, 8)
    with pytest.raises(ValueError, match=r"channels, not \[2, 3, 8, 8\] and \[1, 3, 8, 8\]"):
        radial_power(pictures, pictures[:1])
    for annuli in (0, 2.5):
        with pytest.raises(ValueError, match=f"annuli must be a whole number .* not {annuli}"):
            radial_power(pictures, pictures, annuli=annuli)
