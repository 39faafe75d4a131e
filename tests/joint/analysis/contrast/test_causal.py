import json
import math

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt
from skimage.color import rgb2lab
from sklearn.linear_model import LogisticRegression
from torch import nn

import joint
import optics
from classify import LesionDataset, LesionPhantom
from joint.analysis import contrast, recall_against_contrast, robustness, scale_contrast
from joint.analysis.colour import lab
from joint.analysis.contrast.causal import mean_colours, scalable
from joint.analysis.region import skin_ring
from optics import srgb_to_linear

FACTORS = (0.0, 0.25, 0.5, 0.75, 1.0)


@pytest.fixture(scope="module")
def phantoms():
    return LesionPhantom(160, 48, seed=5, difficulty=0.3)


@pytest.fixture(scope="module")
def pictures(phantoms):
    rows = range(40)
    masks = phantoms.gather_masks(rows)
    there = skin_ring(masks).flatten(1).any(1) & masks.flatten(1).any(1)
    return phantoms.gather(rows).images[there] / 255.0, masks[there]


class _Colours(nn.Module):
    """Linear in the mean colours of 16 patches."""

    def __init__(self, features=48, classes=7):
        super().__init__()
        self.linear = nn.Linear(features, classes)

    def features(self, image):
        return nn.functional.adaptive_avg_pool2d(image, 4).flatten(1)

    def forward(self, image):
        return self.linear(self.features(image))


@pytest.fixture(scope="module")
def classifier(phantoms):
    """Fitted to the phantoms that it will be asked about: what it knows, it knows well."""
    made = _Colours()
    images = phantoms.gather(range(len(phantoms))).images / 255.0
    found = LogisticRegression(C=300.0, max_iter=3000).fit(
        made.features(images).numpy(), phantoms.labels.numpy()
    )
    with torch.no_grad():
        made.linear.weight.copy_(torch.from_numpy(found.coef_))
        made.linear.bias.copy_(torch.from_numpy(found.intercept_))
    return made


def test_factor_one_is_the_identity(pictures):
    images, masks = pictures
    assert torch.equal(scale_contrast(images, masks, 1.0), images)
    linear = srgb_to_linear(images)
    assert torch.equal(scale_contrast(linear, masks, 1.0, encoding="linear"), linear)


def test_factor_zero_gives_the_lesion_the_moments_of_its_ring(pictures):
    images, masks = (part.double() if part.is_floating_point() else part for part in pictures)
    colours = lab(srgb_to_linear(scale_contrast(images, masks, 0.0))).numpy()
    gaps = []
    for picture, mask, ring in zip(colours, masks.numpy(), skin_ring(masks).numpy(), strict=True):
        lesion, skin = picture[:, mask], picture[:, ring]
        gaps.append((np.abs(lesion.mean(1) - skin.mean(1)), np.abs(lesion.std(1) - skin.std(1))))
    # But for colours that sRGB does not have: a few pixels of a few pictures.
    assert np.median(gaps) < 1e-4
    assert np.quantile(gaps, 0.9) < 0.3


def test_the_ring_and_the_rest_are_not_touched(pictures):
    images, masks = pictures
    near = masks | ~torch.isinf(torch.where(skin_ring(masks, inner=0, outer=1.99), 1.0, math.inf))
    scaled = scale_contrast(images, masks, 0.3)
    changed = (scaled != images).any(1)
    assert not (changed & ~near).any()
    assert (changed & masks).any()
    sharp = scale_contrast(images, masks, 0.3, feather=0.0)
    assert not ((sharp != images).any(1) & ~masks).any()


def test_contrast_is_monotone_in_the_factor(pictures):
    images, masks = pictures
    factors = (0.0, 0.25, 0.5, 0.75, 1.0, 1.3)
    found = [contrast(scale_contrast(images, masks, f), masks) for f in factors]
    delta_e = torch.stack([c.delta_e for c in found])
    gcnr = torch.stack([c.gcnr for c in found])
    assert (delta_e.diff(dim=0) > -1e-3).all()
    assert (delta_e[0] < 0.5).all()
    plain = delta_e[4]
    # The mean of L*a*b* moves in proportion, CIEDE2000 nearly so.
    assert ((delta_e[2] / plain - 0.5).abs() < 0.12).all()
    # Few pixels shake the shares of the bins, most where the regions are all but alike; beyond 1
    # some lesions leave the gamut.
    assert (gcnr[1:5].diff(dim=0) > -0.03).float().mean() > 0.97
    assert (gcnr[0] < gcnr[2]).float().mean() > 0.95  # the luminance of some hardly differs
    assert (gcnr.median(1).values.diff() > 0).all()
    assert gcnr[0].median() < 0.3


def test_factors_by_picture_and_gradients(pictures):
    images, masks = pictures[0][:3].double(), pictures[1][:3]
    each = torch.tensor([0.2, 1.0, 0.7], dtype=torch.float64)
    together = scale_contrast(images, masks, each)
    for row, factor in enumerate(each.tolist()):
        alone = scale_contrast(images[row : row + 1], masks[row : row + 1], factor)
        assert torch.allclose(together[row], alone[0], atol=1e-12)
    small = images[:1, :, 24:40, 24:40].clone().requires_grad_()
    mask = torch.zeros(1, 16, 16, dtype=torch.bool)
    mask[:, 6:10, 5:10] = True

    def scaled(picture, factor):
        return scale_contrast(picture, mask, factor, outer=4)

    factor = torch.tensor(0.6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(scaled, (small, factor), fast_mode=True)


def test_the_rows_that_can_be_scaled_do_not_depend_on_the_batch(phantoms):
    masks = phantoms.gather_masks(torch.arange(5)).clone()
    masks[1], masks[4] = False, True  # no lesion, and no skin
    some = LesionDataset(
        images=phantoms.gather(torch.arange(5)).images,
        labels=torch.zeros(5, dtype=torch.int64),
        groups=[f"l{i}" for i in range(5)],
        identifiers=[f"p{i}" for i in range(5)],
        classes=("a",),
        masks=masks,
    )
    for size in (1, 2, 5):
        assert scalable(some, batch_size=size).tolist() == [0, 2, 3]


def test_a_flat_lesion_is_moved_and_stays_flat():
    images = torch.full((1, 3, 30, 30), 0.7)
    mask = torch.zeros(1, 30, 30, dtype=torch.bool)
    mask[:, 12:18, 12:18] = True
    images[mask[:, None].expand_as(images)] = 0.3
    hidden = scale_contrast(images, mask, 0.0, feather=0.0)
    assert torch.allclose(hidden, torch.full_like(hidden, 0.7), atol=1e-4)
    assert hidden[0, 0, 12:18, 12:18].std() < 1e-6


@pytest.mark.parametrize("factor", [0.0, 0.5])
def test_a_sharp_border_leaves_no_outline(factor):
    generator = torch.Generator().manual_seed(0)
    mask = torch.zeros(1, 40, 40, dtype=torch.bool)
    mask[:, 14:26, 14:26] = True
    # Alike in structure: nothing but the colour tells lesion from skin.
    grain = 0.01 * torch.rand(1, 1, 40, 40, generator=generator)
    images = (torch.where(mask[:, None], 0.4, 0.7) + grain).expand(-1, 3, -1, -1)
    shown = scale_contrast(images, mask, factor, feather=2.0)[0]
    ring = images[0][:, skin_ring(mask)[0]]
    seen = shown if factor == 0 else shown[:, ~mask[0]]
    assert seen.max() < ring.max() + 2e-3
    assert seen.min() > ring.min() - 2e-3


def test_the_rim_stays_between_its_own_colour_and_the_skin(pictures):
    images, masks = pictures[0].double(), pictures[1]
    before, after = (lab(srgb_to_linear(p)) for p in (images, scale_contrast(images, masks, 0.2)))
    rim = ~masks & skin_ring(masks, inner=0, outer=1.99)
    assert rim.flatten(1).any(1).all()
    for one, other, region, ring in zip(before, after, rim, skin_ring(masks), strict=True):
        skin, own = one[:, ring].mean(1, keepdim=True), one[:, region]
        assert (other[:, region] < torch.maximum(own, skin) + 1e-3).all()
        assert (other[:, region] > torch.minimum(own, skin) - 1e-3).all()


def test_the_rim_fades_in_proportion_to_its_distance():
    mask = torch.zeros(1, 40, 40, dtype=torch.bool)
    mask[:, 14:26, 14:26] = True
    away = distance_transform_edt(~mask[0].numpy())
    # Lesion, a darker rim of less than 4 pixels, skin.
    grey = np.where(away == 0, 0.5, np.where(away < 4, 0.3, 0.7))
    images = torch.from_numpy(grey).expand(1, 3, -1, -1).clone()
    shown = scale_contrast(images, mask, 0.25, inner=5, outer=8, feather=3)[0]
    before, after = (rgb2lab(p.numpy(), channel_axis=0)[0] for p in (images[0], shown))
    skin = before[away >= 4].mean()
    share = np.clip(1 - away / 3, 0, None)
    outside = (away > 0) & (away < 4)
    expected = before + share * (0.25 - 1) * (before - skin)
    assert len(np.unique(away[outside & (share > 0)])) > 3
    np.testing.assert_allclose(after[outside], expected[outside], atol=1e-2)


def test_means_are_those_of_scikit_image(pictures):
    images, masks = pictures[0][:6].double(), pictures[1][:6]
    for given, encoding in ((images, "srgb"), (srgb_to_linear(images), "linear")):
        found = mean_colours(given, masks, inner=3, outer=7, encoding=encoding)
        for k, (picture, mask) in enumerate(zip(images.numpy(), masks.numpy(), strict=True)):
            away = distance_transform_edt(~mask)
            colours = rgb2lab(picture, channel_axis=0)
            for means, region in zip(found, (mask, (away > 3) & (away <= 7)), strict=True):
                np.testing.assert_allclose(means[k], colours[:, region].mean(1), atol=2e-2)


def test_above_one_the_mean_moves_and_the_structure_stays():
    generator = torch.Generator().manual_seed(0)
    mask = torch.zeros(1, 30, 30, dtype=torch.bool)
    mask[:, 10:20, 10:20] = True
    level = torch.where(mask[:, None], 0.5, 0.6) + 0.02 * torch.rand(
        1, 3, 30, 30, generator=generator
    )
    before, after = (
        lab(srgb_to_linear(p))[0][:, mask[0]] for p in (level, scale_contrast(level, mask, 1.5))
    )
    skin = lab(srgb_to_linear(level))[0][:, skin_ring(mask)[0]].mean(1)
    assert torch.allclose(after.std(1), before.std(1), atol=1e-3)
    assert torch.allclose(after.mean(1) - skin, 1.5 * (before.mean(1) - skin), atol=1e-3)


@pytest.mark.parametrize("factor", [0.0, 0.4, 1.6])
@pytest.mark.parametrize("encoding", ["srgb", "linear"])
def test_a_grey_is_scaled_as_three_equal_channels(pictures, factor, encoding):
    images, masks = pictures[0][:6].double(), pictures[1][:6]
    grey = images.mean(1, keepdim=True)
    coloured = scale_contrast(grey.expand(-1, 3, -1, -1), masks, factor, encoding=encoding)
    found = scale_contrast(grey, masks, factor, encoding=encoding)
    assert found.shape == grey.shape
    # The five digits of white's own L*a*b* leave an a* and b* of some 1e-3 in a grey.
    torch.testing.assert_close(found.expand(-1, 3, -1, -1), coloured, atol=1e-4, rtol=0)
    bands = torch.cat((grey, images[:, :1]), 1)
    apart = [scale_contrast(b, masks, factor, encoding=encoding) for b in bands.split(1, 1)]
    together = scale_contrast(bands, masks, factor, encoding=encoding)
    torch.testing.assert_close(together, torch.cat(apart, 1), atol=1e-12, rtol=0)


def test_grey_scenes_have_a_recall_against_contrast(phantoms, classifier):
    codes = phantoms.gather(range(len(phantoms))).images
    masks = phantoms.gather_masks(range(len(phantoms)))
    mean = codes.float().mean(1, keepdim=True).round().to(torch.uint8)
    grey = phantoms.redrawn(mean, masks=masks)
    three = phantoms.redrawn(mean.expand(-1, 3, -1, -1).contiguous(), masks=masks)

    class Grey(nn.Module):
        def forward(self, image):
            return classifier(image.expand(-1, 3, -1, -1))

    steps = (0.5, 1.0)
    found = recall_against_contrast(
        joint.ImagingSystem(classifier=Grey()), grey, steps, resamples=20
    )
    same = recall_against_contrast(
        joint.ImagingSystem(classifier=classifier), three, steps, resamples=20
    )
    np.testing.assert_allclose(found.recall, same.recall, atol=0.05)
    np.testing.assert_array_equal(found.recall[-1], same.recall[-1])
    np.testing.assert_allclose(found.gcnr, same.gcnr, atol=0.02)
    assert np.isnan(found.delta_e).all()
    assert " dE " in str(same)
    head, *rows = str(found).splitlines()[1:]
    assert "dE" not in head
    assert len(head) == len(str(same).splitlines()[1])
    assert "nan" not in rows[0]


def test_a_recall_that_one_picture_decides_has_no_interval_of_its_rank(phantoms):
    # Right of one lesion of class 0 at full contrast, and of it alone: two draws of three hold it.
    (lone,) = (phantoms.labels == 0).nonzero()[:1, 0].tolist()
    inside = phantoms.gather_masks([lone])[0].nonzero()
    y, x = inside[len(inside) // 2].tolist()
    picture = phantoms.gather([lone]).images[0, :, y, x].float() / 255

    class One(nn.Module):
        def forward(self, image):
            seen = (image[:, :, y, x] - picture).abs().amax(1) < 1e-6
            return torch.stack((seen.float(), *[torch.full_like(seen.float(), 0.5)] * 6), 1)

    sweep = recall_against_contrast(
        joint.ImagingSystem(classifier=One()), phantoms, (0.0, 0.5, 1.0), resamples=200
    )
    assert sweep.recall[:, 0].tolist() == [0, 0, pytest.approx(sweep.recall[2, 0])]
    assert sweep.recall[2, 0] > 0
    assert np.isfinite(sweep.spearman[0])
    assert np.isnan(sweep.spearman_intervals[0]).all()


@pytest.mark.parametrize(("dtype", "step"), [(torch.bfloat16, 2**-8), (torch.float16, 2**-11)])
def test_half_precision_rounds_the_result_alone(pictures, dtype, step):
    images, masks = pictures[0].to(dtype), pictures[1]
    ours = scale_contrast(images, masks, 0.5)
    assert ours.dtype == dtype
    assert torch.equal(scale_contrast(images, masks, 1.0), images)
    single = scale_contrast(images.float(), masks, 0.5)
    assert (ours.float() - single).abs().max() <= step / 2
    exact = torch.stack(mean_colours(images.double(), masks))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = torch.stack(mean_colours(images, masks))
    for means in (torch.stack(mean_colours(images, masks)), inside):
        torch.testing.assert_close(means.double(), exact, atol=1e-3, rtol=0)


def test_what_cannot_be_scaled_is_refused(pictures):
    images, masks = pictures[0][:3], pictures[1][:3].clone()
    masks[1] = False
    with pytest.raises(ValueError, match=r"1 of 3 pictures have no lesion or no skin.*first at 1"):
        scale_contrast(images, masks, 0.5)
    masks = pictures[1][:3]
    for factor in (-0.1, float("nan"), math.inf, torch.ones(1, 3), torch.ones(2)):
        with pytest.raises(ValueError, match="factor must be one number of 0 or more, or one a"):
            scale_contrast(images, masks, factor)
    with pytest.raises(ValueError, match="factor must be one number of 0 or more, or one a"):
        scale_contrast(images[:1], masks[:1], torch.ones(3))  # would make three of one
    with pytest.raises(ValueError, match=r"feather must be from 0 to inner = 2\.0 pixels, not 3"):
        scale_contrast(images, masks, 0.5, feather=3)
    with pytest.raises(ValueError, match="encoding must be 'srgb' or 'linear', not 'log'"):
        scale_contrast(images, masks, 0.5, encoding="log")


def test_recall_falls_with_the_contrast_of_the_same_lesions(phantoms, classifier):
    system = joint.ImagingSystem(classifier=classifier)
    sweep = recall_against_contrast(system, phantoms, (0.25, 0.5, 0.75, 1.0), resamples=200)
    assert sweep.pictures + sweep.left_out == len(phantoms)
    assert sweep.balanced_spearman >= 0.9
    assert sweep.balanced_accuracy[-1] > sweep.balanced_accuracy[0] + 0.3
    assert (np.diff(sweep.gcnr) > 0).all()
    assert (np.diff(sweep.delta_e) > 0).all()
    for value, (low, high) in zip(sweep.balanced_accuracy, sweep.balanced_intervals, strict=True):
        assert low <= value <= high
    # At factor 1 nothing is changed: the numbers are those of any evaluation.
    masks = phantoms.gather_masks(range(len(phantoms)))
    kept = masks.flatten(1).any(1) & skin_ring(masks).flatten(1).any(1)
    evaluation = joint.evaluate(system, phantoms.subset(kept), resamples=200)
    expected = evaluation.report.intervals
    assert sweep.accuracy_intervals[-1] == pytest.approx(expected["accuracy"])
    assert sweep.balanced_intervals[-1] == pytest.approx(expected["balanced_accuracy"])
    of_classes = evaluation.report.class_intervals["recall"]
    assert np.array(sweep.recall_intervals[-1]) == pytest.approx(of_classes)
    assert sweep.accuracy[-1] == pytest.approx(evaluation.report.accuracy)
    assert sweep.balanced_accuracy[-1] == pytest.approx(evaluation.report.balanced_accuracy)


def test_a_classifier_that_sees_no_lesion_does_not_care(phantoms):
    class Corner(nn.Module):
        def forward(self, image):
            colour = image[:, :, :3, :3].mean((-2, -1))
            return torch.cat((colour, -colour, 0 * colour[:, :1]), 1)

    sweep = recall_against_contrast(
        joint.ImagingSystem(classifier=Corner()), phantoms, (0.0, 0.5, 1.0), resamples=20
    )
    moved = np.ptp(sweep.recall, axis=0)
    assert (moved < 0.15).all()  # a lesion may reach into the corner
    still = moved == 0
    assert still.any()
    assert np.isnan(sweep.spearman[still]).all()


def test_what_a_picture_cannot_show_is_told_class_by_class():
    # Flat lesions: one that is as dark again as its skin at factor 2, and one that would be black
    # before, whose contrast ends at that of black.
    masks = torch.zeros(4, 48, 48, dtype=torch.bool)
    masks[:, 16:32, 16:32] = True
    grey = torch.tensor([150.0, 150.0, 60.0, 60.0])[:, None, None]
    image = torch.where(masks, grey, torch.tensor(200.0)).round().to(torch.uint8)
    scenes = LesionDataset(
        images=image[:, None].expand(-1, 3, -1, -1).contiguous(), labels=[0, 0, 1, 1],
        groups=list("abcd"), identifiers=list("abcd"), classes=("faint", "strong"), masks=masks,
    )  # fmt: skip

    class Any(nn.Module):
        def forward(self, image):
            return image.mean((-2, -1))[:, :2]

    sweep = recall_against_contrast(
        joint.ImagingSystem(classifier=Any()), scenes, (0.0, 1.0, 2.0), resamples=5
    )
    assert sweep.clipped.tolist() == [[0, 0], [0, 0], [0, 1]]
    light = lab(
        srgb_to_linear(torch.tensor([200.0, 60.0]).view(2, 1, 1, 1).expand(2, 3, 1, 1) / 255)
    )
    skin, strong = light[:, 0].flatten().tolist()
    assert np.isnan(sweep.achieved[0]).all()
    assert sweep.achieved[1].tolist() == pytest.approx([1, 1])
    assert sweep.achieved[2].tolist() == pytest.approx([1, skin / (2 * (skin - strong))], rel=1e-3)
    text = str(sweep)
    assert text.count("clipped ") == text.count("achieved ") == 1
    assert json.loads(json.dumps(sweep.to_dict()))["achieved"][0] == [None, None]


def test_a_lesion_without_contrast_and_a_clipped_one_leave_the_others_theirs():
    # A lesion that is given the spread of its skin, which is clipped at white: some contrast stays.
    drawing = np.random.default_rng(0)
    pictures = drawing.uniform(180, 255, (5, 48, 48))
    pictures[3:] = 200  # two that are as their skin, one of them alone in its class
    pictures[:3, 16:32, 16:32] = drawing.normal(90, 5, (3, 16, 16))
    masks = torch.zeros(5, 48, 48, dtype=torch.bool)
    masks[:, 16:32, 16:32] = True
    image = torch.tensor(pictures).round().to(torch.uint8)
    scenes = LesionDataset(
        images=image[:, None].expand(-1, 3, -1, -1).contiguous(),
        labels=[0, 0, 0, 0, 1], groups=list("abcde"), identifiers=list("abcde"),
        classes=("seen", "hidden"), masks=masks,
    )  # fmt: skip

    class Any(nn.Module):
        def forward(self, image):
            return image.mean((-2, -1))[:, :2]

    sweep = recall_against_contrast(
        joint.ImagingSystem(classifier=Any()), scenes, (0.0, 0.5, 1.0), resamples=5
    )
    assert sweep.clipped[0, 0] > 0.01
    assert np.isnan(sweep.achieved[0]).all()
    assert np.isnan(sweep.achieved[:, 1]).all()
    assert sweep.achieved[2, 0] == 1
    assert sweep.achieved[1, 0] == pytest.approx(1, abs=0.05)


def test_noise_is_paired_and_draws_are_of_lesions(phantoms, classifier):
    few = phantoms.subset(range(60))
    system = joint.ImagingSystem(
        sensor=optics.Sensor(300), classifier=nn.Sequential(nn.Dropout(0.5), classifier)
    )
    system.train()
    options = {"factors": (0.5, 1.0), "resamples": 50}
    first, again = (recall_against_contrast(system, few, **options) for _ in range(2))
    assert np.array_equal(first.recall, again.recall, equal_nan=True)
    other = recall_against_contrast(system, few, batch_size=7, **options)
    assert np.array_equal(other.recall, first.recall, equal_nan=True)
    assert system.training
    generator = torch.Generator().manual_seed(9)
    drawn = recall_against_contrast(system, few, generator=generator, **options)
    assert drawn.balanced_intervals != first.balanced_intervals


def test_a_class_of_one_lesion_has_no_interval(phantoms, classifier):
    rows = [i for i in range(60) if int(phantoms.labels[i]) != 2]
    lone = int((phantoms.labels == 2).nonzero()[0])
    few = phantoms.subset([*rows, lone])
    sweep = recall_against_contrast(
        joint.ImagingSystem(classifier=classifier), few, (0.5, 1.0), resamples=40
    )
    assert np.isfinite(sweep.recall[:, 2]).all()
    for row in sweep.recall_intervals:
        assert np.isnan(row[2]).all()
        assert np.isfinite(row[0]).all()
    assert np.isnan(sweep.spearman_intervals[2]).all()
    assert np.isfinite(sweep.balanced_intervals).all()


def test_a_class_of_one_lesion_adds_width_as_in_a_report(phantoms, classifier):
    rows = [i for i in range(60) if int(phantoms.labels[i]) not in (2, 4)]
    lone = [int((phantoms.labels == k).nonzero()[0]) for k in (2, 4)]
    few = phantoms.subset([*rows, *lone])
    few = few.subset(scalable(few))
    assert (torch.bincount(few.labels)[[2, 4]] == 1).all()
    system = joint.ImagingSystem(classifier=classifier)
    sweep = recall_against_contrast(system, few, (0.5, 1.0), resamples=40)
    report = joint.evaluate(system, few, resamples=40).report
    score = robustness(system, few, {"shift": (0.0,)}, resamples=40).scores.balanced_accuracy
    assert sweep.balanced_accuracy[1] == pytest.approx(report.balanced_accuracy)
    assert sweep.balanced_intervals[1] == pytest.approx(report.intervals["balanced_accuracy"])
    assert sweep.balanced_intervals[1] == pytest.approx(score.interval)
    # Two shares that are all but unknown, of seven.
    low, high = sweep.balanced_intervals[1]
    assert high - low > np.hypot(0.7, 0.7) / 7


def test_a_sweep_is_printed_and_json(phantoms, classifier):
    system = joint.ImagingSystem(classifier=classifier)
    sweep = recall_against_contrast(system, phantoms.subset(range(30)), FACTORS, resamples=20)
    text = str(sweep)
    assert f"recall of {sweep.pictures} pictures ({sweep.left_out} left out)" in text
    assert f"{sweep.balanced_spearman:+8.3f}" in text
    summary = json.loads(json.dumps(sweep.to_dict(), allow_nan=False))
    assert summary["factors"] == list(FACTORS)
    assert len(summary["recall"][0]) == 7


class _Never(nn.Module):
    def forward(self, image):
        pytest.fail("what was asked for is looked at first")


def test_what_cannot_be_swept_is_refused(phantoms, classifier):
    system = joint.ImagingSystem(classifier=classifier)
    with pytest.raises(ValueError, match=r"at least 2 of 0 or more and rise, not \(1\.0, 0\.5"):
        recall_against_contrast(system, phantoms, (1.0, 0.5))
    with pytest.raises(ValueError, match="the system has no classifier"):
        recall_against_contrast(joint.ImagingSystem(), phantoms)
    with pytest.raises(ValueError, match="batch_size must be at least 1, not 0"):
        recall_against_contrast(system, phantoms, batch_size=0)
    message = "resamples must be at least 1 and a whole number, and level in"
    with pytest.raises(ValueError, match=message):
        recall_against_contrast(joint.ImagingSystem(classifier=_Never()), phantoms, resamples=0)
    with pytest.raises(TypeError, match="the system comes first, the data set second: exchange"):
        recall_against_contrast(phantoms, system)
    bare = LesionDataset(
        images=torch.zeros(4, 3, 8, 8, dtype=torch.uint8), labels=[0, 1, 2, 3],
        groups=range(4), identifiers=range(4), encoding="srgb",
    )  # fmt: skip
    linear = joint.ImagingSystem(classifier=classifier, encoding="linear")
    with pytest.raises(ValueError, match="the scenes are sRGB codes and the system takes them"):
        recall_against_contrast(linear, bare)
    with pytest.raises(ValueError, match="none of the 4 pictures has a lesion with skin around"):
        recall_against_contrast(system, bare)


def test_a_sweep_looks_at_the_ring_that_it_is_told(phantoms, classifier):
    few = phantoms.subset(range(60))
    masks = few.gather_masks(range(60))
    # By Euclid's distance from the lesion to the rim of the picture: few have skin so far away.
    away = [distance_transform_edt(~mask) if mask.any() else mask * 0 for mask in masks.numpy()]
    there = np.array([(field > 26).any() for field in away])
    assert 1 < there.sum() < 60
    found = recall_against_contrast(
        joint.ImagingSystem(classifier=classifier), few, (0.5, 1.0), inner=26, outer=33,
        resamples=5, batch_size=16,
    )  # fmt: skip
    assert (found.pictures, found.left_out) == (there.sum(), (~there).sum())
    shown = few.subset(np.flatnonzero(there).tolist())
    expected = contrast(
        shown.gather(range(len(shown))).images / 255.0, shown.gather_masks(range(len(shown))),
        inner=26, outer=33,
    )  # fmt: skip
    assert found.delta_e[1] == pytest.approx(np.median(expected.delta_e.numpy()))
    assert found.gcnr[1] == pytest.approx(np.median(expected.gcnr.numpy()))


def test_where_all_are_right_the_interval_is_that_of_a_report(phantoms, classifier):
    system = joint.ImagingSystem(classifier=classifier)
    first = joint.evaluate(system, phantoms)
    right = first.logits.argmax(1) == np.asarray(phantoms.labels)
    rows = np.intersect1d(np.flatnonzero(right), scalable(phantoms).numpy())
    sure = phantoms.subset(rows.tolist())
    sweep = recall_against_contrast(system, sure, (0.25, 1.0), resamples=50)
    expected = joint.evaluate(system, sure, resamples=50).report
    assert sweep.accuracy[1] == expected.accuracy == 1
    assert sweep.accuracy_intervals[1] == pytest.approx(expected.intervals["accuracy"])
    assert sweep.balanced_intervals[1] == pytest.approx(expected.intervals["balanced_accuracy"])
    assert sweep.accuracy_intervals[1].low > 0.9


def test_nothing_is_learned_from_a_sweep(phantoms):
    class Watching(_Colours):
        def forward(self, image):
            assert not torch.is_grad_enabled()
            assert not self.training
            return super().forward(image)

    system = joint.ImagingSystem(classifier=Watching()).train()
    recall_against_contrast(system, phantoms.subset(range(20)), (0.5, 1.0), resamples=5)
    assert system.classifier.training


def test_a_seed_is_a_whole_number(phantoms, classifier):
    system = joint.ImagingSystem(classifier=classifier)
    with pytest.raises(ValueError, match=r"seed must be a whole number, not 1\.5"):
        recall_against_contrast(system, phantoms, FACTORS, seed=1.5)


def test_the_last_batch_may_hold_one_picture(phantoms, classifier):
    nine = phantoms.subset(scalable(phantoms)[:9].tolist())
    system = joint.ImagingSystem(classifier=classifier)
    found = [
        recall_against_contrast(system, nine, (0.0, 1.0), batch_size=size, resamples=5)
        for size in (1, 4, 9)
    ]
    for other in found[:2]:
        assert np.array_equal(other.recall, found[2].recall, equal_nan=True)
        assert other.delta_e == pytest.approx(found[2].delta_e, rel=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: _Colours(classes=8), "the classifier tells 8 classes apart, the data set has 7"),
        (
            lambda: nn.Sequential(_Colours(), nn.Threshold(math.inf, math.nan)),
            "20 rows of scores are nan or infinite",
        ),
    ],
)
def test_scores_that_cannot_be_judged_are_refused(phantoms, make, message):
    some = phantoms.subset(scalable(phantoms)[:20].tolist())
    with pytest.raises(ValueError, match=message):
        recall_against_contrast(
            joint.ImagingSystem(classifier=make()), some, (0.5, 1.0), resamples=5
        )


def test_light_beyond_the_full_scale_is_not_clipped_in_silence(pictures):
    images, masks = (part[:2] for part in pictures)
    for given in (5 * images, images - 1, images * math.nan):
        with pytest.raises(ValueError, match="divide light by that of full scale"):
            scale_contrast(given, masks, 0.5, encoding="linear")
