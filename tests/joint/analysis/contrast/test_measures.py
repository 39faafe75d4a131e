import os
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import distance_transform_edt, sobel
from skimage.color import deltaE_ciede2000, rgb2lab
from toys import tinted_disks

from classify import LESION_CLASSES, LesionPhantom
from classify.data.archive import Archive
from classify.data.ham10000 import _read_metadata
from joint.analysis import (
    MEASURES,
    Contrast,
    contrast,
    keep_region,
    scale_contrast,
)
from optics import srgb_to_linear

DIFFERENTIABLE = tuple(m for m in MEASURES if m != "gcnr")


@pytest.fixture(scope="module")
def phantoms():
    """Sixty phantoms of 96 pixels with their masks."""
    made = LesionPhantom(60, 96, seed=3)
    return made.gather(range(60)).images / 255.0, made.gather_masks(range(60))


_disks = partial(tinted_disks, dtype=torch.float64)


def _reference(picture, mask, bins=64):
    """All measures of one picture [3, H, W] with scipy, scikit-image and numpy."""
    distance = distance_transform_edt(~mask)
    ring = (distance > 2) & (distance <= 10)
    linear = np.where(picture <= 0.04045, picture / 12.92, ((picture + 0.055) / 1.055) ** 2.4)
    y = np.tensordot([0.212671, 0.715160, 0.072169], linear, 1)
    colours = rgb2lab(picture, channel_axis=0)
    lesion, skin, both = y[mask], y[ring], y[mask | ring]
    limits = (both.min(), both.max())
    one, two = (np.histogram(v, bins, limits)[0] / len(v) for v in (lesion, skin))
    length = np.sqrt(
        sum((sobel(c, axis, mode="nearest") / 8) ** 2 for c in colours for axis in (0, 1))
    )
    padded = np.pad(mask, 1, mode="edge")
    shifted = [padded[1:-1, 2:], padded[1:-1, :-2], padded[2:, 1:-1], padded[:-2, 1:-1]]
    border = np.any([s != mask for s in shifted], axis=0)
    rows, columns = np.nonzero(mask)
    y0, x0 = np.mgrid[: mask.shape[0], : mask.shape[1]]
    turn = np.degrees(np.arctan2(y0 - rows.mean(), x0 - columns.mean())) % 360
    return {
        "weber": lesion.mean() / skin.mean() - 1,
        "michelson": (skin.mean() - lesion.mean()) / (skin.mean() + lesion.mean()),
        "rms": both.std() / both.mean(),
        "cnr": abs(lesion.mean() - skin.mean()) / np.sqrt((lesion.var() + skin.var()) / 2),
        "gcnr": 1 - np.minimum(one, two).sum(),
        "delta_e": deltaE_ciede2000(colours[:, mask].mean(1), colours[:, ring].mean(1)),
        "edge": length[border].mean(),
        "octants": [
            length[border & (turn // 45 == k)].mean()
            if (border & (turn // 45 == k)).any()
            else np.nan
            for k in range(8)
        ],
    }


def test_every_measure_agrees_with_scipy_and_scikit_image(phantoms):
    images, masks = phantoms[0][:12].double(), phantoms[1][:12]
    ours = contrast(images, masks)
    assert {u.measure for u in ours.undefined} <= {"octants"}  # some reach the frame
    for row in range(12):
        theirs = _reference(images[row].numpy(), masks[row].numpy())
        for name, value in theirs.items():
            # A pixel on the edge of a bin may fall to either side of it.
            slack = 0.004 if name == "gcnr" else 1e-3 if name in ("edge", "octants") else 1e-4
            assert np.allclose(getattr(ours, name)[row], value, atol=slack, equal_nan=True), name


def test_single_precision_and_batching_change_nothing(phantoms):
    images, masks = phantoms
    exact, ours = contrast(images.double(), masks), contrast(images, masks)
    for name in MEASURES:
        slack = 0.01 if "gcnr" in name else 2e-3
        theirs = getattr(exact, name)
        assert torch.allclose(getattr(ours, name).double(), theirs, atol=slack, equal_nan=True), (
            name
        )
        assert getattr(ours, name).dtype == torch.float32
    alone = [contrast(images[i : i + 1], masks[i : i + 1]) for i in range(5)]
    joined = type(ours).concatenate(alone)
    for name in MEASURES:
        assert torch.allclose(
            getattr(joined, name), getattr(ours, name)[:5], atol=1e-5, equal_nan=True
        )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        same = contrast(images[:5], masks[:5])
    assert torch.equal(same.delta_e, contrast(images[:5], masks[:5]).delta_e)


@pytest.mark.parametrize("scale", [0.01, 1e-12])
def test_michelson_follows_from_weber_and_scale_leaves_ratios(phantoms, scale):
    images, masks = phantoms
    light = srgb_to_linear(images.double())
    bright = contrast(light, masks, encoding="linear")
    assert torch.allclose(bright.michelson, -bright.weber / (2 + bright.weber), atol=1e-12)
    assert (bright.weber > -1).all()
    dim = contrast(scale * light, masks, encoding="linear")
    for name in ("weber", "michelson", "rms", "cnr", "soft_gcnr"):
        assert torch.allclose(getattr(dim, name), getattr(bright, name), atol=1e-9), name
    assert torch.allclose(dim.gcnr, bright.gcnr, atol=0.004)
    coded = contrast(images.double(), masks)
    assert torch.allclose(coded.delta_e, bright.delta_e)


def test_a_border_that_crosses_the_frame_is_measured_up_to_its_edge():
    # A corner of the frame is lesion: its border meets two edges of the frame, each way about.
    picture, _ = _disks(1, 16, noise=0.1)
    for flips in ((), (-1,), (-2,), (-2, -1)):
        mask = torch.zeros(1, 16, 16, dtype=torch.bool)
        mask[:, :2, :2] = True
        mask = mask.flip(flips)
        expected = _reference(picture[0].numpy(), mask[0].numpy())["edge"]
        assert float(contrast(picture, mask).edge) == pytest.approx(expected, rel=1e-4)


def test_noise_lowers_cnr_and_blur_lowers_edges(phantoms):
    images, masks = phantoms
    generator = torch.Generator().manual_seed(1)
    noisy = images + 0.1 * torch.randn(images.shape, generator=generator)
    before, after = contrast(images, masks), contrast(noisy, masks)
    assert (after.cnr < before.cnr).float().mean() > 0.9
    assert (after.soft_gcnr < before.soft_gcnr + 0.02).all()
    blurred = torch.nn.functional.avg_pool2d(images, 7, 1, 3, count_include_pad=False)
    assert (contrast(blurred, masks).edge < before.edge).all()


def test_soft_gcnr_is_close_to_the_histogram(phantoms):
    ours = contrast(*phantoms)
    assert (ours.soft_gcnr - ours.gcnr).abs().max() < 0.03
    faint = contrast(*_disks(lesion=0.55, noise=0.1, size=120, radius=30))
    assert (faint.soft_gcnr - faint.gcnr).abs().max() < 0.03
    assert 0.2 < float(faint.gcnr.mean()) < 0.9


@pytest.mark.parametrize("gamma", [0.5, 0.7, 1.4, 2.0])
def test_tone_curves_move_gcnr_little_but_cnr_much(gamma):
    images, masks = _disks(8, 200, lesion=0.25, skin=0.7, noise=0.15, radius=60)
    before = contrast(images, masks, encoding="linear")
    after = contrast(images**gamma, masks, encoding="linear")
    assert (after.gcnr - before.gcnr).abs().max() < 0.03
    assert (after.soft_gcnr - before.soft_gcnr).abs().max() < 0.03
    if gamma in (0.5, 2.0):  # around 1.4 the CNR of these happens to turn
        assert ((after.cnr / before.cnr).log().abs() > 0.05).all()


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradients_by_finite_differences(name):
    images, masks = _disks(2, 16, radius=3.0, noise=0.2)

    def measured(scene):
        return getattr(contrast(scene, masks, inner=1, outer=3, bins=8), name)

    # Away from the corners of the linear bins, nearly everywhere.
    assert torch.autograd.gradcheck(
        measured, images.requires_grad_(), eps=1e-7, atol=1e-4, fast_mode=True
    )


def test_the_histogram_has_no_gradient():
    images, masks = _disks()
    assert not contrast(images.requires_grad_(), masks).gcnr.requires_grad


def test_border_score_counts_abrupt_octants():
    size = 80
    steps = torch.arange(size) - 40.0
    distance = torch.hypot(steps[:, None], steps[None])
    angle = torch.atan2(steps[:, None], steps[None])
    width = torch.where(angle.abs() < torch.pi / 2, 1.0, 12.0)  # sharp on the right alone
    level = 0.3 + 0.4 * torch.sigmoid((distance - 20) / width)
    ours = contrast(level.expand(1, 3, -1, -1), (distance <= 20)[None])
    assert ours.octants.shape == (1, 8)
    sharp = [0, 1, 6, 7]
    assert ours.octants[0, sharp].min() > 3 * ours.octants[0, 2:6].max()
    assert ours.border_score() == 4
    assert ours.border_score(0.0) == 8
    assert ours.border_score(100.0) == 0


def test_octants_outside_of_the_frame_are_undefined_and_take_no_part():
    images, masks = _disks(1, 40, noise=0.0)
    images, masks = images[..., 20:], masks[..., 20:]  # the left half is cut off
    ours = contrast(images, masks)
    assert ours.octants.isnan().any()
    assert ours.border_score() == 8
    (undefined,) = [u for u in ours.undefined if u.measure == "octants"]
    assert str(undefined) == "octants: 1 undefined, the border does not cross all octants"


def test_a_contrast_prints_medians_and_what_is_missing():
    pictures, masks = _disks()
    masks[1] = False
    found = contrast(pictures, masks)
    lines = str(found).splitlines()
    there = found.weber[[0, 2, 3]].numpy()
    assert lines[0] == "contrast of 4 pictures; their median, least and most"
    assert lines[1] == (
        f"weber      {np.median(there):8.3f} [{there.min():.3f}, {there.max():.3f}], "
        "negative: darker lesion"
    )
    assert lines[2].endswith("], positive: darker lesion")
    assert not any("lesion" in line for line in lines[3:10])
    assert [line.split()[0] for line in lines[1:10]] == [*MEASURES]
    assert lines[10:] == [str(reason) for reason in found.undefined]
    assert "weber: 1 undefined, the mask is empty" in lines
    for blind in (contrast(pictures[1:2], masks[1:2]), contrast(pictures[:0], masks[:0])):
        assert "weber      " not in str(blind)


def test_what_does_not_exist_is_nan_with_a_reason():
    images, masks = _disks(6)
    masks[1] = False
    masks[2] = True
    masks[3] = True
    masks[3, :2] = False  # a border, but no pixel further than 2 from it
    images[4] = 0
    images[5] = 0.5
    ours = contrast(images, masks)
    found = {(u.measure, u.reason): u.rows for u in ours.undefined}
    empty, ringless = "the mask is empty", "no skin is left around the lesion"
    for name in ("weber", "michelson", "rms", "cnr", "gcnr", "soft_gcnr", "delta_e"):
        assert found.pop((name, empty)) == (1,)
        assert found.pop((name, ringless)) == (2, 3)
        assert getattr(ours, name)[1:4].isnan().all()
        assert not getattr(ours, name)[0].isnan()
    assert found.pop(("weber", "the skin has no light")) == (4,)
    for name in ("michelson", "rms"):
        assert found.pop((name, "lesion and skin have no light")) == (4,)
    assert found.pop(("cnr", "lesion and skin are constant")) == (4, 5)
    for name in ("edge", "octants"):
        assert found.pop((name, empty)) == (1,)
        assert found.pop((name, "no border of the lesion crosses the frame")) == (2,)
    assert found.pop(("octants", "the border does not cross all octants")) == (3,)
    assert not found
    # Equal regions have no contrast: that is a value.
    for name in ("weber", "michelson", "rms", "gcnr", "soft_gcnr", "delta_e", "edge"):
        assert getattr(ours, name)[5] == pytest.approx(0, abs=1e-6), name
    assert ours.undefined[0].count == 1


def test_constant_regions_have_no_spread_in_any_precision():
    # The mean of many equal numbers need not be that number.
    images, masks = _disks(1, 90, lesion=0.31, skin=0.73, noise=0.0, radius=30)
    for dtype in (torch.float32, torch.float64):
        ours = contrast(images.to(dtype), masks)
        assert ours.cnr.isnan().all()
        assert [str(u) for u in ours.undefined] == [
            "cnr: 1 undefined, lesion and skin are constant"
        ]
        assert ours.gcnr == 1


def test_a_spread_too_small_to_be_squared_is_none():
    _, masks = _disks(1)
    images = (~masks[:, None]).float().expand(-1, 3, -1, -1).contiguous()
    images[0, :, 20, 20] = 1e-30  # the lesion is not constant
    ours = contrast(images, masks, encoding="linear")
    (undefined,) = ours.undefined
    assert str(undefined) == "cnr: 1 undefined, lesion and skin are constant"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", [(20, 20), (20, 28), (0, 0)])  # lesion, border, far from both
def test_a_picture_with_a_value_that_is_no_number_has_no_contrast(value, place):
    images, masks = _disks(3, lesion=0.6, noise=0.1)
    whole = contrast(images, masks)
    images[1, 0, *place] = value
    images.requires_grad_()
    ours = contrast(images, masks)
    found = {u.measure: (u.reason, u.rows) for u in ours.undefined}
    expected = ("the picture has values that are not finite", (1,))
    assert found == dict.fromkeys(MEASURES, expected)
    for name in MEASURES:
        assert torch.equal(getattr(ours, name)[::2], getattr(whole, name)[::2]), name
    for name in DIFFERENTIABLE:
        (gradient,) = torch.autograd.grad(getattr(ours, name).nansum(), images, retain_graph=True)
        assert gradient.isfinite().all(), name
        assert (gradient[1] == 0).all(), name
        assert (gradient[::2] != 0).flatten(1).any(1).all(), name


def test_light_that_is_too_bright_to_be_squared_is_named():
    images, masks = _disks(1, dtype=torch.float32)
    found = {
        u.measure: u.reason for u in contrast(1e30 * images, masks, encoding="linear").undefined
    }
    assert found == {"delta_e": "the light is too bright to be squared in its precision"}


@pytest.mark.parametrize("power", [-110, -70, -1, 60, 126])
def test_ratios_of_light_do_not_depend_on_its_unit(power):
    images, masks = _disks(2, dtype=torch.float32)
    images[1] *= 0.25  # each picture has a scale of its own
    scaled = (2.0**power * images).requires_grad_()
    ours, whole = (contrast(x, masks, encoding="linear") for x in (scaled, images))
    for name in ("weber", "michelson", "rms", "cnr", "gcnr"):
        assert torch.equal(getattr(ours, name), getattr(whole, name)), name
    (gradient,) = torch.autograd.grad(ours.rms.sum() + ours.cnr.sum(), scaled)
    assert gradient.isfinite().all()
    assert (gradient != 0).flatten(1).any(1).all()


def test_undefined_pictures_do_not_spoil_the_gradient_of_others():
    images, masks = _disks(5, lesion=0.6, noise=0.1)
    masks[1] = False
    masks[2] = True
    images[3] = 0
    images[4] = 0.5
    images.requires_grad_()
    ours = contrast(images, masks)
    for name in DIFFERENTIABLE:
        (gradient,) = torch.autograd.grad(getattr(ours, name).nansum(), images, retain_graph=True)
        assert gradient.isfinite().all(), name
        assert (gradient[0] != 0).any(), name


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_other_channels_than_three_are_a_brightness(channels):
    images, masks = _disks(2)
    planes = torch.cat((images, images.flip(-1)), 1)[:, :channels]
    ours = contrast(planes, masks, encoding="linear")
    grey = planes.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    same = contrast(grey, masks, encoding="linear")
    for name in MEASURES:
        if name != "delta_e":
            assert torch.allclose(getattr(ours, name), getattr(same, name)), name
    assert ours.delta_e.isnan().all()
    (undefined,) = ours.undefined
    assert str(undefined) == "delta_e: 2 undefined, the plane does not have three colours"


def test_contrast_refuses_what_it_cannot_read():
    images, masks = _disks(2)
    with pytest.raises(ValueError, match="encoding must be 'srgb' or 'linear', not 'log'"):
        contrast(images, masks, encoding="log")
    with pytest.raises(ValueError, match="divide 8-bit codes by 255"):
        contrast((255 * images).to(torch.uint8), masks)
    with pytest.raises(ValueError, match="differ in number or size"):
        contrast(images, masks[:, :5])


# Medians over full frames of 200 x 150 pixels, up to 250 a class, measured with other code.
GCNR = dict(zip(LESION_CLASSES, (0.490, 0.559, 0.674, 0.725, 0.846, 0.890, 0.899), strict=True))
DELTA_E = dict(zip(LESION_CLASSES, (7.9, 8.1, 11.6, 9.4, 22.1, 18.6, 19.5), strict=True))


def _frames(files, identifiers):
    """Full frames, as floats, and their masks."""
    pictures, masks = [], []
    for name in identifiers:
        with files[name].open() as file:
            pictures.append(np.asarray(Image.open(file).convert("RGB")).transpose(2, 0, 1))
        with files[f"{name}_segmentation"].open() as file:
            masks.append(np.asarray(Image.open(file).convert("L")) > 127)
    return torch.from_numpy(np.stack(pictures)) / 255.0, torch.from_numpy(np.stack(masks))


@pytest.fixture(scope="module")
def real():
    """Classes of the real pictures by their names, and all files of both."""
    root = os.environ.get("HAM10000_ROOT")
    if not root:
        pytest.skip("HAM10000_ROOT is not set to the folder or zip of HAM10000")
    with Archive(root) as archive:
        table = _read_metadata(archive)
        stems = {n for i in table["image_id"] for n in (i, f"{i}_segmentation")}
        files = archive.pictures(stems, (".jpg", ".png"))  # in 20 000 names: once for all classes
        yield dict(zip(table["image_id"], table["dx"], strict=True)), files


@pytest.mark.ham10000
@pytest.mark.parametrize(
    "name",
    [
        # The least contrast, and the fewest pictures; the others are by the same code.
        pytest.param(name, marks=[] if name in ("akiec", "df", "vasc") else pytest.mark.slow)
        for name in LESION_CLASSES
    ],
)
def test_real_medians_by_class(real, name):
    classes, files = real
    identifiers = sorted(identifier for identifier, dx in classes.items() if dx == name)
    assert len(identifiers) > 100
    # At most 250, as many as the other code saw, from all over the class.
    chosen = np.linspace(0, len(identifiers) - 1, min(250, len(identifiers))).round()
    frames = _frames(files, [identifiers[k] for k in chosen.astype(int)])
    parts = zip(*(part.split(20) for part in frames), strict=True)
    found = Contrast.concatenate([contrast(*part) for part in parts])
    assert float(found.gcnr.nanmedian()) == pytest.approx(GCNR[name], abs=0.03)
    assert float(found.delta_e.nanmedian()) == pytest.approx(DELTA_E[name], abs=1)


def test_codes_of_eight_bits_are_not_taken_for_pictures():
    images, masks = _disks(1)
    for change in (lambda x, m: contrast(x, m), lambda x, m: keep_region(x, m, "lesion")):
        with pytest.raises(ValueError, match=r"divide 8-bit codes .*light above full scale"):
            change(255 * images, masks)
    with pytest.raises(ValueError, match="divide 8-bit codes by 255"):
        scale_contrast(255 * images, masks, 0.5)
    # Light has no such bound, and its contrast no unit.
    dim, bright = (contrast(gain * images, masks, encoding="linear") for gain in (1, 255))
    torch.testing.assert_close(dim.weber, bright.weber)
