import os

import numpy as np
import pytest
import torch
from scipy.ndimage import grey_closing, label
from skimage.filters import gaussian, threshold_li, threshold_otsu
from sklearn.cluster import KMeans
from sklearn.metrics import jaccard_score

from classify import HAM10000, LESION_CLASSES, LesionPhantom
from joint.analysis import fill_hair, intersection_over_union, segment
from joint.analysis.colour import lab
from joint.analysis.segment import _blur, _cut, _two_clusters
from optics import linear_to_srgb, srgb_to_linear


@pytest.fixture(scope="module")
def phantoms():
    made = LesionPhantom(40, 128, seed=11, difficulty=0.2)
    return made.gather(range(40)).images / 255.0, made.gather_masks(range(40))


def _lesion(size=(90, 120), centre=(45, 60), radius=20.0, colour=(0.45, 0.28, 0.22)):
    y, x = torch.meshgrid(*(torch.arange(n) for n in size), indexing="ij")
    mask = torch.hypot(y - float(centre[0]), x - float(centre[1])) <= radius
    noise = 0.02 * torch.randn(3, *size, generator=torch.Generator().manual_seed(0))
    ground = torch.tensor([0.82, 0.62, 0.58])[:, None, None]
    picture = torch.where(mask, torch.tensor(colour)[:, None, None], ground) + noise
    return picture.clamp(0, 1)[None], mask[None]


@pytest.mark.parametrize("threshold", ["otsu", "li", "kmeans"])
@pytest.mark.parametrize("channel", ["grey", "blue", "pca"])
def test_a_clear_lesion_is_found(threshold, channel):
    picture, mask = _lesion()
    found = segment(picture, threshold=threshold, channel=channel, margin=0.0)
    # Li's threshold lies nearer to the skin, further out on the blurred border.
    assert intersection_over_union(found, mask) > (0.84 if threshold == "li" else 0.95)
    assert found.dtype == torch.bool


def test_phantoms_are_found(phantoms):
    images, masks = phantoms
    there = masks.flatten(1).any(1)
    quality = intersection_over_union(segment(images), masks)[there]
    assert quality.median() > 0.75


def test_a_red_lesion_is_found_by_colour_not_by_luma():
    # Of the same luma as the skin.
    picture, mask = _lesion(colour=(0.95, 0.55, 0.53))
    assert intersection_over_union(segment(picture, margin=0.0), mask) > 0.9
    assert intersection_over_union(segment(picture, channel="grey"), mask) < 0.6


def test_thresholds_are_those_of_scikit_image(phantoms):
    level = -_blur(phantoms[0], 2.0)[:, 2]
    field = torch.rand(level.shape, generator=torch.Generator().manual_seed(0)) < 0.8
    for threshold, theirs in (("otsu", threshold_otsu), ("li", threshold_li)):
        found = _cut(level, field, threshold).flatten()
        expected = [theirs(values[seen].numpy()) for values, seen in zip(level, field, strict=True)]
        assert torch.equal(found, torch.tensor(expected))


def test_thresholds_see_the_field_alone():
    level = torch.tensor([0.1, 0.12, 0.5, 0.52, 9.0])[None, None]
    field = torch.tensor([True, True, True, True, False])[None, None]
    assert 0.11 < _cut(level, field, "otsu") < 0.5
    assert 0.11 < _cut(level, field, "li") < 0.5


def test_clusters_are_those_of_scikit_learn(phantoms):
    colours = lab(srgb_to_linear(_blur(phantoms[0][:6], 2.0)))
    level = -colours[:, 0]
    ours = _two_clusters(colours, level, torch.ones_like(level, dtype=torch.bool))
    for picture, mine in zip(colours.numpy(), ours.numpy(), strict=True):
        points = picture.reshape(3, -1).T
        found = KMeans(2, n_init=5, random_state=0).fit(points).labels_.reshape(mine.shape)
        agree = (found == mine).mean()
        assert max(agree, 1 - agree) > 0.98


def test_blur_is_gaussian():
    picture = torch.rand(2, 3, 30, 40, generator=torch.Generator().manual_seed(0))
    for row, blurred in zip(picture.numpy(), _blur(picture, 2.0).numpy(), strict=True):
        theirs = gaussian(row, 2.0, mode="nearest", truncate=3.0, channel_axis=0)
        assert np.allclose(blurred, theirs, atol=1e-5)
    assert torch.equal(_blur(picture, 0.0), picture)


def test_hair_is_filled_and_the_lesion_stays():
    picture, mask = _lesion()
    hairy = picture.clone()
    for offset in range(-60, 100, 25):
        for row in range(90):
            column = row + offset
            if 0 <= column < 118:
                hairy[0, :, row, column : column + 2] = 0.1
    filled = fill_hair(hairy, 7)
    assert (filled - picture).abs().mean() < 0.3 * (hairy - picture).abs().mean()
    inner = mask & (fill_hair(picture, 7) == picture).all(1)
    assert inner.sum() > 0.9 * mask.sum()
    with_hair, without = (
        intersection_over_union(segment(hairy, threshold="otsu", hair=w, margin=0.0), mask)
        for w in (0, 7)
    )
    assert without > 0.9
    assert without > with_hair + 0.05


def test_black_corners_are_no_lesion():
    picture, mask = _lesion()
    y, x = torch.meshgrid(torch.arange(90) - 45.0, torch.arange(120) - 60.0, indexing="ij")
    outside = torch.hypot(y, x) > 58
    picture[0, :, outside] = 0.02
    found = segment(picture, threshold="otsu", margin=0.0)
    assert intersection_over_union(found, mask) > 0.9
    assert not (found[0] & outside).any()
    # Black in the middle is a lesion.
    dark, mask = _lesion(colour=(0.05, 0.04, 0.04))
    assert intersection_over_union(segment(dark, threshold="otsu", margin=0.0), mask) > 0.9


def test_one_component_without_holes_the_central_one(phantoms):
    for found in segment(phantoms[0], margin=0.0).numpy():
        assert label(found)[1] <= 1
        assert label(~found)[1] <= 1 or label(np.pad(~found, 1, constant_values=True))[1] == 1
    middle, mask = _lesion(radius=15.0)
    aside, second = _lesion(centre=(12, 14), radius=17.0)
    both = torch.where(second[:, None], aside, middle)
    assert intersection_over_union(segment(both, threshold="otsu", margin=0.0), mask) > 0.9


def test_the_margin_widens():
    picture, _ = _lesion()
    narrow, wide = (segment(picture, margin=m).sum() for m in (0.0, 3.0))
    assert wide / narrow == pytest.approx((23 / 20) ** 2, rel=0.05)


def test_nothing_in_a_picture_without_structure():
    noise = torch.rand(2, 3, 40, 50, generator=torch.Generator().manual_seed(0))
    flat = 0.6 + 1e-6 * noise
    for threshold in ("otsu", "li", "kmeans"):
        assert not segment(flat, threshold=threshold).any()
    assert not segment(torch.zeros(1, 3, 40, 50)).any()


def test_a_picture_does_not_depend_on_its_batch(phantoms):
    images = phantoms[0][:8]
    together = segment(images)
    for row in range(8):
        assert torch.equal(segment(images[row : row + 1])[0], together[row])


def test_intersection_over_union_agrees_with_scikit_learn(phantoms):
    found = segment(phantoms[0][:10], margin=0.0)
    ours = intersection_over_union(found, phantoms[1][:10])
    for row in range(10):
        theirs = jaccard_score(phantoms[1][row].flatten(), found[row].flatten())
        assert float(ours[row]) == pytest.approx(theirs)
    nothing = torch.zeros(1, 4, 4, dtype=torch.bool)
    assert intersection_over_union(nothing, nothing).isnan()


def test_what_cannot_be_segmented_is_refused():
    picture = torch.rand(1, 3, 20, 20)
    with pytest.raises(ValueError, match=r"floats \[B, 3, H, W\] in 0\.\.1.*divide 8-bit codes"):
        segment((picture * 255).to(torch.uint8))
    with pytest.raises(ValueError, match=r"floats \[B, 3, H, W\].*\[1, 1, 20, 20\]"):
        segment(picture[:, :1])
    with pytest.raises(ValueError, match=r"threshold must be one of .*not 'yen'"):
        segment(picture, threshold="yen")
    with pytest.raises(ValueError, match=r"channel must be one of .*not 'red'"):
        segment(picture, channel="red")
    with pytest.raises(ValueError, match="sigma and margin must be 0 or more pixels, not -1"):
        segment(picture, sigma=-1)
    with pytest.raises(ValueError, match="hair must be 0, or odd and at least 3 pixels, not 4"):
        segment(picture, hair=4)
    with pytest.raises(ValueError, match="width of hair must be odd and at least 3 pixels, not 1"):
        fill_hair(picture, 1)


@pytest.mark.ham10000
def test_real_lesions_are_found():
    if not os.environ.get("HAM10000_ROOT"):
        pytest.skip("HAM10000_ROOT is not set to the folder or zip of HAM10000")
    some = HAM10000(os.environ["HAM10000_ROOT"], image_size=150, limit=210, cache=False)
    for name, least in (("nv", 0.65), ("mel", 0.6)):
        rows = (some.labels == LESION_CLASSES.index(name)).nonzero().flatten()[:40]
        masks = some.gather_masks(rows)
        quality = intersection_over_union(segment(some.gather(rows).images / 255.0), masks)
        assert float(quality[masks.flatten(1).any(1)].mean()) > least


@pytest.mark.parametrize("threshold", ["otsu", "li", "kmeans"])
def test_light_is_segmented_as_its_codes_are(phantoms, threshold):
    light = srgb_to_linear(phantoms[0][:8])
    found = segment(light, threshold=threshold, encoding="linear")
    assert torch.equal(found, segment(linear_to_srgb(light), threshold=threshold))
    assert not torch.equal(found, segment(light, threshold=threshold))
    with pytest.raises(ValueError, match="encoding must be 'srgb' or 'linear', not 'log'"):
        segment(light, encoding="log")


@pytest.mark.parametrize("threshold", ["otsu", "li", "kmeans"])
def test_no_pictures_have_no_masks(threshold):
    found = segment(torch.zeros(0, 3, 12, 10), threshold=threshold)
    assert found.shape == (0, 12, 10)
    assert found.dtype == torch.bool


def test_what_is_no_picture_or_no_mask_is_refused():
    picture, mask = _lesion()
    with pytest.raises(ValueError, match="these reach from 0 to 255: divide 8-bit codes by 255"):
        segment(255 * (picture > 0.5).float())
    broken = torch.cat((picture, picture.clone()))
    broken[1, 0, 3, 4] = torch.nan
    with pytest.raises(ValueError, match="1 of 2 pictures have values that are not finite"):
        segment(broken)
    with pytest.raises(ValueError, match="sigma and margin must be 0 or more pixels, not nan"):
        segment(picture, sigma=float("nan"))
    with pytest.raises(ValueError, match=r"of one size, not torch.bool \[1, 90, 120\] and torch"):
        intersection_over_union(mask, mask[:, 1:])
    with pytest.raises(ValueError, match="masks must be bool"):
        intersection_over_union(mask, mask.float())


@pytest.mark.parametrize("width", [3, 5])
def test_hair_is_what_a_closing_brightens(width):
    picture = 0.2 * torch.rand(2, 3, 20, 26, generator=torch.Generator().manual_seed(0))
    filled = fill_hair(picture, width)
    share = []
    for row, ours in zip(picture.numpy(), filled.numpy(), strict=True):
        closed = np.stack([grey_closing(channel, (width, width)) for channel in row])
        dark = (closed - row).mean(0) > 0.06
        np.testing.assert_array_equal(ours, np.where(dark, closed, row))
        share.append(dark.mean())
    assert min(share) > 0.2
    assert max(share) < 0.98


def test_the_narrowest_hair_is_filled_before_the_threshold():
    picture, mask = _lesion()
    found = segment(picture, hair=3, threshold="otsu", margin=0.0)
    assert intersection_over_union(found, mask) > 0.9


def test_bad_pictures_masks_and_options_are_named():
    picture, mask = _lesion()
    with pytest.raises(ValueError, match=r"at least 1 pixel a side, not \[1, 3, 0, 5\]"):
        segment(torch.zeros(1, 3, 0, 5))
    for wrong in (picture[0], (255 * picture).to(torch.uint8)):
        with pytest.raises(ValueError, match=r"pictures must be floats \[B, 3, H, W\] in 0\.\.1"):
            fill_hair(wrong)
    with pytest.raises(TypeError, match=r"pictures must be a Tensor, .*, not ndarray"):
        fill_hair(picture.numpy())
    for wrong in (3.0, float("nan")):
        with pytest.raises(ValueError, match=f"odd and at least 3 pixels, not {wrong}"):
            fill_hair(picture, wrong)
        with pytest.raises(ValueError, match=f"hair must be 0, or odd .*, not {wrong}"):
            segment(picture, hair=wrong)
    with pytest.raises(ValueError, match=r"masks must be bool \[B, H, W\] of one size"):
        intersection_over_union(mask[0], mask[0])


@pytest.mark.parametrize("sigma", [1e-30, 1e-3])
def test_a_blur_within_a_pixel_is_none(sigma):
    picture, _ = _lesion()
    assert torch.equal(segment(picture, sigma=sigma), segment(picture, sigma=0.0))
