import functools

import numpy as np
import pytest
import torch

import compress
from classify import LesionPhantom
from joint.analysis.altered import altered, equal_contrast, keep_region
from joint.analysis.contrast.causal import mean_colours, scalable
from joint.analysis.rate_map import REGIONS
from joint.analysis.region import regions
from optics import linear_to_srgb, srgb_to_linear


def _disk(away, generator):
    inside = (away < 0).float()
    noise = 0.05 * torch.randn(away.shape, generator=generator)
    return 0.75 - inside * torch.linspace(0.05, 0.4, len(away))[:, None, None] + noise


@pytest.fixture(scope="module")
def scenes(disks):
    return disks(12, draw=_disk)


def _pictures(scenes):
    rows = torch.arange(len(scenes))
    return scenes.gather(rows).images.float() / 255, scenes.gather_masks(rows)


def test_only_the_region_stays_and_the_light_of_both_sides(scenes):
    images, masks = _pictures(scenes)
    where = dict(zip(REGIONS, regions(masks), strict=True)) | {"none": torch.zeros_like(masks)}
    for region, kept in where.items():
        seen = keep_region(images, masks, region)
        there = kept[:, None].expand_as(images)
        assert torch.equal(seen[there], images[there])
        for before, after, mask, own in zip(images, seen, masks, kept, strict=True):
            for side in (mask, ~mask):
                rest = after[:, side & ~own]
                assert torch.equal(rest, rest[:, :1].expand_as(rest))
                # No light is made or lost on either side of the border.
                light = [srgb_to_linear(p[:, side]).double().mean() for p in (before, after)]
                assert float(light[0]) == pytest.approx(float(light[1]), abs=1e-5)


def test_half_precision_rounds_the_flat_colours_alone(scenes):
    images, masks = _pictures(scenes)
    for dtype in (torch.bfloat16, torch.float16):
        half = images.to(dtype)
        seen = keep_region(half, masks, "boundary")
        assert torch.equal(seen, keep_region(half.float(), masks, "boundary").to(dtype))


def test_regions_are_those_of_the_codecs(scenes):
    _, masks = _pictures(scenes)
    for band in (0, 1, 2.5, 3):
        found = compress.bits_by_region(
            torch.ones(len(masks), 1, *masks.shape[-2:]), masks[:, None], band=band
        )
        for name, own in zip(REGIONS, regions(masks, band=band), strict=True):
            share = getattr(found, name).area_share
            torch.testing.assert_close(own.flatten(1).float().mean(1), share)
    assert torch.stack(regions(masks)).sum(0).eq(1).all()


def test_a_mask_without_a_border_has_no_boundary():
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    masks = torch.stack([torch.zeros(8, 8), torch.ones(8, 8)]).bool()
    seen = keep_region(images, masks, "boundary")
    assert torch.equal(seen, seen[..., :1, :1].expand_as(seen))
    flat = linear_to_srgb(srgb_to_linear(images).mean((-2, -1)))
    torch.testing.assert_close(seen[..., 0, 0], flat)
    torch.testing.assert_close(keep_region(images, masks, "lesion")[1], images[1])


def test_equal_contrast_is_the_same_in_every_picture(scenes):
    images, masks = _pictures(scenes)
    before = torch.stack(mean_colours(images, masks))
    apart = (before[0] - before[1]).norm(dim=-1)
    assert float(apart.max() / apart.min()) > 4
    seen = equal_contrast(images, masks, 12.0, strongest=20)
    after = torch.stack(mean_colours(seen, masks))
    torch.testing.assert_close(after[1], before[1], atol=1e-3, rtol=0)  # the skin is not touched
    torch.testing.assert_close(
        (after[0] - after[1]).norm(dim=-1), torch.full((12,), 12.0), atol=0.05, rtol=0
    )
    weak = equal_contrast(images, masks, 12.0, strongest=1.5)
    after = torch.stack(mean_colours(weak, masks))
    wanted = (1.5 * apart).clamp_max(12)
    torch.testing.assert_close((after[0] - after[1]).norm(dim=-1), wanted, atol=0.05, rtol=0)


@pytest.mark.parametrize("inner", [0.0, 1.5])
def test_a_ring_may_begin_within_the_feather(scenes, inner):
    images, masks = _pictures(scenes)
    seen = equal_contrast(images, masks, 12.0, strongest=20, inner=inner)
    before, after = (torch.stack(mean_colours(x, masks, inner=inner)) for x in (images, seen))
    torch.testing.assert_close(after[1], before[1], atol=1e-3, rtol=0)  # the skin is not touched
    apart = (after[0] - after[1]).norm(dim=-1)
    torch.testing.assert_close(apart, torch.full((12,), 12.0), atol=0.05, rtol=0)
    with pytest.raises(ValueError, match=r"0 <= inner < outer pixels, not -1.0 and 10"):
        equal_contrast(images, masks, 12.0, inner=-1.0)


def test_a_data_set_keeps_all_but_its_pictures(scenes):
    seen = altered(scenes, lambda images, masks: 1.2 - images, batch_size=5)
    before, after = (s.gather(torch.arange(12)) for s in (scenes, seen))
    torch.testing.assert_close(
        after.images, (306 - before.images.long()).clamp(0, 255).to(torch.uint8)
    )
    assert torch.equal(after.labels, before.labels)
    assert (seen.identifiers, seen.groups) == (scenes.identifiers, scenes.groups)
    assert seen.classes == scenes.classes
    assert torch.equal(seen.gather_masks([3, 4]), scenes.gather_masks([3, 4]))
    assert seen.fingerprint != scenes.fingerprint
    same = altered(scenes, functools.partial(keep_region, region="boundary", band=100))
    assert torch.equal(same.gather([0]).images, scenes.gather([0]).images)


def test_altered_pictures_keep_their_depth_and_their_encoding(scenes):
    codes = scenes.gather(torch.arange(12)).images.numpy().astype(np.uint16) * 257 - 100
    deep = type(scenes)(
        images=codes,
        labels=scenes.labels,
        groups=scenes.groups,
        identifiers=scenes.identifiers,
        classes=scenes.classes,
        masks=scenes.gather_masks(torch.arange(12)),
        encoding="linear",
    )
    seen = altered(deep, lambda images, masks: 1 - images, batch_size=5)
    assert (seen.bit_depth, seen.encoding) == (16, "linear")
    assert np.array_equal(seen.gather(torch.arange(12)).images.numpy(), 65535 - codes)


def _given(dataset, alteration):
    return altered(dataset, alteration).gather(torch.arange(12)).images


@pytest.mark.parametrize(
    "alteration",
    [
        functools.partial(keep_region, region="lesion"),
        functools.partial(equal_contrast, distance=20.0),
    ],
)
def test_an_alteration_is_told_what_the_pictures_are(scenes, alteration):
    told = {name: functools.partial(alteration, encoding=name) for name in ("srgb", "linear")}
    codes = {name: _given(scenes, each) for name, each in told.items()}
    assert not torch.equal(codes["srgb"], codes["linear"])
    assert torch.equal(_given(scenes, alteration), codes["srgb"])  # nobody says: as always
    for name, expected in codes.items():
        said = scenes.taken_as(name)
        assert torch.equal(_given(said, alteration), expected)
        for other, meant in told.items():  # who said it already means it
            assert torch.equal(_given(said, meant), codes[other])


def test_an_alteration_that_does_not_ask_is_not_told(scenes):
    said = scenes.taken_as("linear")
    for plain in (
        lambda images, masks: 1 - images,
        functools.partial(lambda x, a, b: x, torch.ones(12, 3, 48, 48)),
    ):
        _given(said, plain)

    def asked(images, masks, *, encoding="srgb"):
        assert encoding == "linear"
        return images

    assert torch.equal(_given(said, asked), scenes.gather(torch.arange(12)).images)


def test_what_was_altered_before_sources_said_what_they_are_is_the_same_data_set():
    scenes = LesionPhantom(9, 16)
    assert scenes.encoding == "srgb"
    lesions = altered(scenes, functools.partial(keep_region, region="lesion"))
    assert lesions.encoding == "srgb"
    assert lesions.fingerprint.startswith("a24013e18b7ba2b3")


def test_what_can_be_scaled_has_skin_around_it(scenes):
    assert torch.equal(scalable(scenes), torch.arange(12))
    big = altered(scenes, lambda images, masks: images)
    big = type(big)(
        images=big.gather(torch.arange(12)).images,
        labels=big.labels,
        groups=big.groups,
        identifiers=big.identifiers,
        classes=big.classes,
        masks=torch.cat((torch.ones(1, 48, 48), big.gather_masks(torch.arange(1, 12)))).bool(),
    )
    assert torch.equal(scalable(big), torch.arange(1, 12))


def test_an_alteration_that_gives_no_numbers_is_refused(scenes):
    def one_lost(images, masks):
        images = images.clone()
        images[1, 0, 3, 3] = torch.nan
        return images

    message = f"finite numbers, but for 1 of 5 pictures it did not.* {scenes.identifiers[1]}:"
    with pytest.raises(ValueError, match=message):
        altered(scenes, one_lost, batch_size=5)


def test_what_does_not_fit_is_refused(scenes):
    images, masks = _pictures(scenes)
    with pytest.raises(ValueError, match="lesion, boundary, background or none, not 'rim'"):
        keep_region(images, masks, "rim")
    with pytest.raises(ValueError, match="encoding must be 'srgb' or 'linear', not 'log'"):
        keep_region(images, masks, "lesion", encoding="log")
    with pytest.raises(ValueError, match="band must be a number of pixels, 0 or more, not -1"):
        keep_region(images, masks, "lesion", band=-1)
    with pytest.raises(ValueError, match="distance and strongest must be positive, not 0 and 4"):
        equal_contrast(images, masks, 0)
    with pytest.raises(ValueError, match="differ in number or size"):
        equal_contrast(images, masks[:, :5], 5.0)
    with pytest.raises(ValueError, match="1 of 12 pictures have no lesion or no skin"):
        equal_contrast(images, torch.cat((torch.zeros_like(masks[:1]), masks[1:])), 5.0)
    with pytest.raises(
        ValueError, match=r"must keep the shape, but \[12, 3, 48, 48\] became \[12, 48, 48"
    ):
        altered(scenes, lambda images, masks: images[:, 0])
