import json

import numpy as np
import pytest
import torch
from toys import densities_of, everywhere, spent_evenly

import classify
import compress
import joint
import optics
from classify.intervals import membership
from joint.analysis.by_lesion import widened_interval, widened_intervals
from joint.analysis.rate_map import (
    REGIONS,
    _resized,
    densities,
    drawn_densities,
    rate_map,
)

CLASSES = ("a", "b", "c")


def _rim(away, generator):
    """Noise within 4 pixels of the rim, grey elsewhere."""
    noise = 0.5 * torch.rand(away.shape, generator=generator) - 0.25
    return 0.5 + noise * (away.abs() < 4)


def test_even_spending_has_density_one_whatever_the_sizes_and_rates(spending, disks):
    scenes = disks()
    found = rate_map(joint.ImagingSystem(codec=spending(spent_evenly)), scenes, resamples=50)
    assert [row.name for row in found.rows] == ["all", *CLASSES]
    assert found.rate == "rounded"
    assert found.side_bits == 7
    for row in found.rows:
        assert row.pictures == (24 if row.name == "all" else 8)
        for region in row.regions:
            assert region.density == pytest.approx(1, abs=1e-9)
            assert region.interval == pytest.approx((1, 1), abs=1e-9)
        assert sum(region.bits_share for region in row.regions) == pytest.approx(1)
        assert sum(region.area_share for region in row.regions) == pytest.approx(1)


def test_bits_are_those_of_the_map_and_shares_are_means_over_pictures(spending, disks):
    def price(image):
        return 3 * image[:, :1]

    scenes = disks(9, draw=everywhere)
    found = rate_map(joint.ImagingSystem(codec=spending(price)), scenes, band=2, resamples=20)
    images = scenes.gather(torch.arange(9)).images / 255.0
    by_hand = compress.bits_by_region(
        price(images).double(), scenes.gather_masks(torch.arange(9))[:, None], band=2
    )
    for row in found.rows:
        own = np.ones(9, bool) if row.name == "all" else found.labels == CLASSES.index(row.name)
        for region in row.regions:
            expected = getattr(by_hand, region.region)
            bits, shares, areas = (
                part.numpy()[own]
                for part in (expected.bits, expected.bits_share, expected.area_share)
            )
            assert region.bits == pytest.approx(bits.mean())
            assert region.bpp == pytest.approx(bits.sum() / (areas.sum() * 48 * 48))
            assert region.bits_share == pytest.approx(shares.mean())
            assert region.area_share == pytest.approx(areas.mean())
            assert region.density == pytest.approx(shares.mean() / areas.mean())
            assert region.interval.low <= region.density <= region.interval.high


def test_bits_are_those_of_the_restored_picture(spending, disks):
    class Negative(torch.nn.Module):
        def forward(self, image):
            return 1 - image

    scenes = disks(9, draw=everywhere)
    restored = joint.ImagingSystem(restoration=Negative(), codec=spending(lambda i: i[:, :1]))
    plain = joint.ImagingSystem(codec=spending(lambda i: 1 - i[:, :1]))
    ours, theirs = (rate_map(system, scenes, band=2, resamples=20) for system in (restored, plain))
    for one, other in zip(ours.rows, theirs.rows, strict=True):
        for region, expected in zip(one.regions, other.regions, strict=True):
            assert region.bpp == pytest.approx(expected.bpp)
            assert region.density == pytest.approx(expected.density)


def test_jpeg_of_a_rim_spends_at_the_rim(disks):
    camera = joint.ImagingSystem(codec=compress.JPEG(75, subsampling="4:4:4"))
    rim = rate_map(camera, disks(draw=_rim), band=4, resamples=100)
    region = rim.rows[0].regions[1]
    assert region.region == "boundary"
    assert region.interval.low > 1.5
    others = densities_of(rim)
    assert max(others["lesion"], others["background"]) < 1
    assert rim.rate == "bytes"
    assert not camera.codec.block_bits
    # With the same noise everywhere it is even, to the random bits of a block.
    even = rate_map(camera, disks(draw=everywhere), band=4, resamples=100)
    assert densities_of(even) == pytest.approx(dict.fromkeys(REGIONS, 1), abs=0.03)
    files = camera.codec.compress(disks(draw=_rim).gather(torch.arange(24)).images / 255.0)
    total = sum(region.bits for region in rim.rows[0].regions) + rim.side_bits
    assert total == pytest.approx(8 * np.mean([len(data) for data in files]))


@pytest.mark.parametrize(
    "codec", [compress.DifferentiableJPEG(75), compress.KMeansCodec(4), compress.FactorizedCodec()]
)
def test_other_codecs_have_a_map_that_adds_up(codec, disks):
    system = joint.ImagingSystem(codec=codec)
    scenes = disks(8, draw=_rim)
    found = rate_map(system, scenes, resamples=10)
    total = sum(region.bits for region in found.rows[0].regions) + found.side_bits
    bpp = joint.evaluate(system, scenes).bpp
    assert total == pytest.approx(48 * 48 * bpp, rel=1e-5)


def test_a_binned_pixel_is_lesion_where_half_of_it_is():
    masks = torch.tensor([[[1, 1, 1, 0, 1, 0], [1, 1, 1, 0, 0, 0]]], dtype=torch.bool)
    assert _resized(masks, (1, 3)).tolist() == [[[[True, True, False]]]]
    assert torch.equal(_resized(masks, (2, 6))[0, 0], masks[0])


def test_masks_follow_the_binned_measurement(spending, disks):
    def dark(image):
        return (image[:, :1] < 0.5).float()

    scenes = disks(12, draw=lambda away, _: (away > 0).float())
    sensor = optics.Sensor(1e6, read_noise=0, bit_depth=None, binning=2, shot_noise="none")
    system = joint.ImagingSystem(sensor=sensor, codec=spending(dark))
    found = rate_map(system, scenes, band=1, resamples=10)
    assert densities_of(found)["background"] == pytest.approx(0, abs=0.01)
    assert densities_of(found)["lesion"] > 3
    assert found.areas.sum(1) == pytest.approx(24 * 24)


def test_pictures_without_boundary_or_bits_are_left_out_and_counted(spending, disks):
    scenes = disks(12)
    masks = scenes.gather_masks(torch.arange(12)).clone()
    masks[0], masks[1] = False, True
    has_mask = torch.ones(12, dtype=torch.bool)
    has_mask[2] = False
    images = scenes.gather(torch.arange(12)).images.clone()
    images[3] = 0
    part = classify.LesionDataset(
        images=images, labels=scenes.labels, groups=scenes.groups,
        identifiers=scenes.identifiers, classes=(*CLASSES, "none"), masks=masks, has_mask=has_mask,
    )  # fmt: skip
    found = rate_map(joint.ImagingSystem(codec=spending(spent_evenly)), part, resamples=10)
    assert (found.no_mask, found.no_bits) == (3, 1)
    assert found.identifiers == tuple(f"picture{i}" for i in range(4, 12))
    nothing = found.rows[-1]
    assert nothing.pictures == 0
    assert np.isnan(nothing.regions[0].density)
    summary = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert summary["rows"][-1]["regions"][0]["density"] is None
    assert summary["rows"][0]["regions"][1]["interval"] == pytest.approx([1, 1])
    assert "3 without a boundary, 1 without bits left out" in str(found)
    assert "all           8 boundary" in str(found)


def test_side_bits_are_those_of_the_pictures_that_count(disks):
    class Side(compress.Codec):
        """As many bits beside the map as the mean of the picture has codes."""

        def forward(self, image, *, generator=None):
            del generator
            side = 255 * image.mean((-3, -2, -1))
            return compress.Coded(image, None, torch.ones_like(image[:, :1]), side, "rounded")

        def compress(self, image):
            raise NotImplementedError

        def decompress(self, payloads):
            raise NotImplementedError

    scenes = disks(9)
    masks = scenes.gather_masks(torch.arange(9)).clone()
    masks[0] = False  # without a boundary
    images = torch.full((9, 3, 48, 48), 20, dtype=torch.uint8)
    images[0] = 200
    part = classify.LesionDataset(
        images=images, labels=scenes.labels, groups=scenes.groups,
        identifiers=scenes.identifiers, classes=CLASSES, masks=masks,
    )  # fmt: skip
    found = rate_map(joint.ImagingSystem(codec=Side()), part, resamples=10)
    assert found.no_mask == 1
    assert found.side_bits == pytest.approx(20)


def test_a_class_of_one_lesion_has_no_interval(disks):
    scenes = disks(12, draw=everywhere)
    own = [0, 3, 4, 7, 1]  # classes a and b of several lesions, ...
    part = scenes.subset([*own, 2])  # ... and a single picture of c
    found = rate_map(joint.ImagingSystem(codec=compress.JPEG(50)), part, resamples=20)
    rows = {row.name: row for row in found.rows}
    assert np.isnan(rows["c"].regions[0].interval.low)
    assert rows["c"].regions[0].density > 0
    assert not np.isnan(rows["a"].regions[0].interval.low)


def test_what_has_no_map_is_refused(spending, disks):
    scenes = disks(6)
    with pytest.raises(ValueError, match="no codec, and therefore no bits"):
        rate_map(joint.ImagingSystem(), scenes)
    with pytest.raises(ValueError, match=r"bits of WebP are only known for whole files.* JPEG"):
        rate_map(joint.ImagingSystem(codec=compress.WebP(50)), scenes)
    even = joint.ImagingSystem(codec=spending(spent_evenly))
    with pytest.raises(ValueError, match="batch_size must be at least 1, not 0"):
        rate_map(even, scenes, batch_size=0)
    with pytest.raises(ValueError, match="none of the 6 masks has a boundary, with band=0"):
        rate_map(even, scenes, band=0)
    with pytest.raises(ValueError, match="resamples must be at least 1"):
        rate_map(even, scenes, resamples=0)
    with pytest.raises(ValueError, match="at least 2 lesions, got 1"):
        rate_map(even, scenes.subset([0, 1]))
    bare = classify.LesionDataset(
        images=scenes.gather([0]).images, labels=[0], groups=["x"], identifiers=["x"],
        classes=CLASSES,
    )  # fmt: skip
    with pytest.raises(ValueError, match="none of the 1 pictures has a mask"):
        rate_map(even, bare)


def test_the_bits_are_of_what_the_camera_sees(spending, disks):
    square = disks(6, draw=everywhere)
    rows = torch.arange(6)
    scenes = classify.LesionDataset(
        images=square.gather(rows).images[..., :40], masks=square.gather_masks(rows)[..., :40],
        labels=square.labels, groups=square.groups, identifiers=square.identifiers,
        classes=CLASSES,
    )  # fmt: skip
    codec = spending(lambda image: image[:, :1])
    kernel = optics.LearnedKernel("gaussian", 3, signed=False)
    system = joint.ImagingSystem(front_end=kernel, sensor=optics.Sensor(200), codec=codec)
    found = rate_map(system, scenes, resamples=5, seed=3)
    assert found.areas.sum(1) == pytest.approx(48 * 40)
    whole = joint.evaluate(system, scenes, seed=3).bpp * 48 * 40
    assert found.bits.sum(1).mean() + found.side_bits == pytest.approx(whole, rel=1e-5)
    for part in ("front_end", "sensor"):
        fewer = joint.ImagingSystem(**{**dict(system.stages()), part: None})
        other = rate_map(fewer, scenes, resamples=5, seed=3)
        assert other.bits.sum(1) != pytest.approx(found.bits.sum(1), rel=1e-3)


def test_only_lesions_with_pixels_in_a_region_count_for_its_interval(spending, disks):
    """Of a class of four lesions, one may reach further inside than the boundary."""
    found = rate_map(
        joint.ImagingSystem(codec=spending(lambda image: 1 + image[:, :1])),
        disks(12, draw=everywhere),
        band=16,
        resamples=60,
    )
    seeded = torch.Generator().manual_seed(0)
    numbers = found.bits, found.areas, found.labels
    drawn = drawn_densities(*numbers, membership(found.groups, 12), 3, 60, seeded)
    inside = []
    for k, row in enumerate(found.rows):
        own = np.ones(12, bool) if k == 0 else found.labels == k - 1
        for a, region in enumerate(row.regions):
            lesions = len(np.unique(np.array(found.groups)[own & (found.areas[:, a] > 0)]))
            expected = widened_interval(region.density, drawn[:, k, a], lesions, 0.95, least=0.0)
            assert list(region.interval) == pytest.approx(list(expected), nan_ok=True)
            assert np.isnan(region.interval.low) == (lesions < 2)
            if region.region == "lesion":
                inside.append(lesions)
    assert 1 in inside
    assert max(inside) > 1


@pytest.mark.parametrize("count", [2, 3, 5])
def test_the_density_of_few_lesions_is_held_by_its_interval(count):
    random = np.random.default_rng(0)
    held = []
    for seed in range(80):
        share = random.normal(0.3, 0.05, count)
        bits = np.stack([share, np.full(count, 0.4), 0.6 - share], 1)
        areas = np.tile([0.2, 0.3, 0.5], (count, 1))
        parts = bits, areas, np.zeros(count, dtype=int)
        observed = densities(np.ones((1, count)), *parts, 1)[0]
        drawn = drawn_densities(
            *parts, np.arange(count), 1, 100, torch.Generator().manual_seed(seed)
        )
        found = widened_intervals(observed[1], drawn[:, 1], np.full(3, count), 0.95, least=0.0)
        assert min(interval.low for interval in found) >= 0
        held.append(found[0].low <= 1.5 <= found[0].high)
    assert np.mean(held) > 0.88  # of the draws' own percentiles 0.54, 0.72 and 0.86
