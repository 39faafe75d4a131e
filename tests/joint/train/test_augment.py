import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from joint import augment as views_of
from joint.train import view as parts
from joint.train.augment import Augmentation, AugmentationName, augmentation
from optics import linear_to_srgb, srgb_to_linear

EVERYTHING = Augmentation(
    dihedral=True,
    turn=180,
    scale=0.3,
    shift=0.1,
    shear=10,
    blur=1.5,
    channel_gain=0.1,
    brightness=0.2,
    contrast=0.2,
    saturation=0.3,
    hue=20,
    cutout=0.4,
)


def _pictures(shape=(64, 3, 8, 8)):
    return torch.rand(shape, generator=torch.Generator().manual_seed(9))


def _views(settings, seed=0, shape=(64, 3, 8, 8)):
    pictures = _pictures(shape)
    return pictures, views_of(pictures, settings, generator=torch.Generator().manual_seed(seed))


def _poses(picture):
    for turned in (picture, picture.transpose(-1, -2)):
        for flips in ([], [-1], [-2], [-1, -2]):
            yield turned.flip(flips) if flips else turned


def _constant(settings, value=0.5, count=500, **options):
    pictures = torch.full((count, 3, 6, 6), value)
    generator = torch.Generator().manual_seed(0)
    return views_of(pictures, settings, generator=generator, **options)


def test_nothing_changes_where_every_range_is_zero():
    for settings_ in ("none", Augmentation(), Augmentation(domain="linear", cutout_probability=1)):
        pictures, views = _views(settings_)
        assert views is pictures


def test_dihedral_views_are_exact_and_all_eight_occur():
    pictures, views = _views("dihedral")
    seen = set()
    for picture, view in zip(pictures, views, strict=True):
        matches = [i for i, pose in enumerate(_poses(picture)) if torch.equal(pose, view)]
        assert len(matches) == 1
        seen.add(matches[0])
    assert seen == set(range(8))


@pytest.mark.parametrize(
    ("settings_", "shape"),
    [("dihedral", (32, 3, 8, 6)), (Augmentation(flips=True), (32, 3, 8, 8))],
)
def test_flips_and_oblong_pictures_are_only_flipped(settings_, shape):
    pictures, views = _views(settings_, shape=shape)
    seen = set()
    for picture, view in zip(pictures, views, strict=True):
        poses = [picture.flip(f) if f else picture for f in ([], [-1], [-2], [-1, -2])]
        matches = [i for i, pose in enumerate(poses) if torch.equal(pose, view)]
        assert len(matches) == 1
        seen.add(matches[0])
    assert seen == set(range(4))


def test_a_pose_is_the_same_whether_or_not_there_is_a_warp_too():
    for shape in ((64, 3, 8, 8), (64, 3, 8, 6)):
        _, exact = _views("dihedral", shape=shape)
        _, sampled = _views(Augmentation(dihedral=True, shift=1e-9), shape=shape)
        torch.testing.assert_close(sampled, exact, rtol=0, atol=1e-5)


def test_the_pose_comes_first_and_the_rest_after_it():
    """In two goes with the same draws: first the one, then the other."""
    warp = {"turn": 40, "scale": 0.3, "shift": 0.1, "shear": 15}
    _, at_once = _views(Augmentation(dihedral=True, **warp))
    _, posed = _views("dihedral")
    again = torch.Generator().manual_seed(0)
    in_two = views_of(posed, Augmentation(**warp), generator=again)
    torch.testing.assert_close(at_once, in_two, rtol=0, atol=1e-5)


@pytest.mark.parametrize("settings_", ["dihedral", "full", EVERYTHING])
def test_views_are_a_function_of_the_generator(settings_):
    before = torch.random.get_rng_state()
    first, again, other = (_views(settings_, seed)[1] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), before)


@settings(deadline=None, max_examples=20)
@given(st.permutations(range(6)), st.integers(1, 6), st.integers(0, 2**31))
def test_with_generators_of_its_own_a_view_does_not_depend_on_the_batch(order, count, seed):
    pictures = _pictures((6, 3, 8, 8))

    def generators(rows):
        return [torch.Generator().manual_seed(seed + row) for row in rows]

    together = views_of(pictures, EVERYTHING, generator=generators(range(6)))
    some = order[:count]
    apart = views_of(pictures[some], EVERYTHING, generator=generators(some))
    torch.testing.assert_close(apart, together[some], rtol=0, atol=1e-6)


def test_seeds_serve_as_generators_of_their_own():
    pictures, seeds = _pictures((5, 3, 8, 8)), np.array([3, 1, 4, 1, 5], dtype=np.uint64)
    whole = views_of(pictures, EVERYTHING, generator=seeds)
    for n in range(5):
        alone = views_of(pictures[n : n + 1], EVERYTHING, generator=seeds[n : n + 1])
        torch.testing.assert_close(alone[0], whole[n], rtol=0, atol=1e-6)
    same = views_of(pictures[:1].expand(5, -1, -1, -1), EVERYTHING, generator=seeds)
    assert torch.equal(same[1], same[3])
    assert not torch.equal(same[0], same[1])
    ranged = views_of(pictures[:1].expand(400, -1, -1, -1), "dihedral", generator=np.arange(400))
    assert len({tuple(view.flatten().tolist()) for view in ranged}) == 8
    with pytest.raises(ValueError, match="one for each of the 5 pictures, not 3"):
        views_of(pictures, EVERYTHING, generator=seeds[:3])


def test_what_is_switched_on_does_not_move_the_other_draws():
    with_colours = Augmentation(turn=90, scale=0.3, blur=1e-6, hue=1e-6, cutout=1e-6)
    (_, plain), (_, more) = _views(Augmentation(turn=90, scale=0.3)), _views(with_colours)
    torch.testing.assert_close(plain, more, rtol=0, atol=1e-5)


@pytest.mark.parametrize("settings_", ["full", EVERYTHING])
def test_views_stay_in_range_and_of_their_type(settings_):
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        pictures = _pictures().to(dtype)
        views = views_of(pictures, settings_, generator=torch.Generator().manual_seed(0))
        assert views.dtype == dtype
        assert views.shape == pictures.shape
        assert views.min() >= 0
        assert views.max() <= 1


def test_full_views_keep_a_constant_up_to_their_gain():
    seen = _constant("full")
    # Gains only: the border continues the picture.
    spread = seen.amax((-2, -1)) - seen.amin((-2, -1))
    assert spread.max() < 1e-5
    gain = seen.mean((-2, -1)) / 0.5
    assert 1 / 1.1 - 1e-5 <= gain.min() < 0.912
    assert 1.098 < gain.max() <= 1.1 + 1e-5
    # Evenly on a logarithmic scale: half of them within half of the way.
    within = (gain.log().abs() < 0.5 * math.log(1.1)).double().mean()
    assert float(within) == pytest.approx(0.5, abs=0.05)
    assert torch.corrcoef(gain.T)[0, 1].abs() < 0.15


@pytest.mark.parametrize(
    ("settings_", "expected"),
    [
        (Augmentation(turn=30), 30.0),
        (Augmentation(shear=30), 30.0),
        (Augmentation(scale=0.5), 1.5),
        (Augmentation(shift=0.25), 0.25),
    ],
)
def test_ranges_of_the_geometry_are_those_asked_for(settings_, expected, monkeypatch):
    seen = {}
    affine, warp = parts.affine, parts.warp

    def spy_affine(turn, *, scale, shear):
        seen.update(turn=torch.rad2deg(turn), shear=torch.rad2deg(shear), scale=scale)
        return affine(turn, scale=scale, shear=shear)

    def spy_warp(images, matrix, shift):
        seen["shift"] = shift / torch.tensor([16.0, 8.0])
        return warp(images, matrix, shift)

    monkeypatch.setattr(parts, "affine", spy_affine)
    monkeypatch.setattr(parts, "warp", spy_warp)
    _views(settings_, shape=(500, 1, 8, 16))
    for name, still in (("turn", 0), ("shear", 0), ("scale", 1), ("shift", 0)):
        values = seen[name]
        if getattr(settings_, name) == 0:
            assert (values == still).all()
            continue
        assert values.max() == pytest.approx(expected, rel=0.02)
        assert values.max() <= expected * (1 + 1e-6)
        low = 1 / expected if name == "scale" else -expected
        assert values.min() == pytest.approx(low, rel=0.02)


def test_brightness_acts_on_all_channels_alike_and_in_the_light_that_is_named():
    encoded = _constant(Augmentation(brightness=0.3), 0.25)
    assert encoded.std((1, 2, 3)).max() < 1e-6
    assert encoded.max() == pytest.approx(0.25 * 1.3, rel=0.01)
    assert encoded.min() == pytest.approx(0.25 / 1.3, rel=0.01)
    draws = encoded / 0.25
    for encoding, domain in (("srgb", "linear"), ("linear", "encoded")):
        there, back = (srgb_to_linear, linear_to_srgb)[:: 1 if encoding == "srgb" else -1]
        seen = _constant(Augmentation(brightness=0.3, domain=domain), 0.25, encoding=encoding)
        torch.testing.assert_close(seen, back(there(torch.tensor(0.25)) * draws))
    same = _constant(Augmentation(brightness=0.3, domain="linear"), 0.25, encoding="linear")
    assert torch.equal(same, encoded)


def test_cutout_covers_a_share_of_the_pictures():
    settings_ = Augmentation(cutout=0.5, cutout_probability=0.25)
    pictures, views = _views(settings_, shape=(2000, 1, 16, 16))
    covered = (views != pictures).flatten(1).double().mean(1)
    assert float((covered > 0).double().mean()) == pytest.approx(0.25, abs=0.04)
    # A quarter of the picture, less what the border cuts off: half a side lies outside at most.
    assert covered.max() == 0.25
    assert covered[covered > 0].min() < 0.1


def test_pictures_of_a_batch_get_views_of_their_own():
    picture = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)).expand(
        8, -1, -1, -1
    )
    views = views_of(picture, "full", generator=torch.Generator().manual_seed(0))
    assert len({view.sum().item() for view in views}) == 8


def test_other_numbers_of_channels_pass():
    for channels in (1, 2, 5):
        plain = EVERYTHING.model_copy(update={"saturation": 0.0, "hue": 0.0})
        assert _views(plain, shape=(4, channels, 8, 8))[1].shape == (4, channels, 8, 8)


def test_settings_by_name_or_by_number():
    assert augmentation("none") == Augmentation()
    assert augmentation(EVERYTHING) is EVERYTHING
    full = augmentation("full")
    assert (full.dihedral, full.turn, full.scale, full.shift) == (True, 15, 0.1, 0.05)
    field = TypeAdapter(AugmentationName | Augmentation)
    assert field.validate_python("dihedral") == "dihedral"
    assert field.validate_json(EVERYTHING.model_dump_json()) == EVERYTHING
    with pytest.raises(ValidationError, match="turns"):
        Augmentation(turns=3)
    for name, value in (("turn", -1), ("turn", 181), ("shear", 90), ("cutout", 2), ("scale", -1)):
        with pytest.raises(ValidationError, match=name):
            Augmentation(**{name: value})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: _views("flips"), r"'none', 'dihedral', 'full'.*not 'flips'"),
        (lambda: _views("full", shape=(3, 8, 8)), r"\[B, C, H, W\] in 0..1, not torch.float32"),
        (
            lambda: views_of(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "full", generator=[]),
            "not torch.uint8",
        ),
        (
            lambda: _views(Augmentation(hue=5), shape=(2, 1, 8, 8)),
            "saturation and hue need pictures of 3 channels, not 1; set both to 0",
        ),
        (
            lambda: views_of(_pictures(), "full", generator=[torch.Generator()]),
            "one for each of the 64 pictures, not 1",
        ),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_no_pictures_have_no_views():
    nothing = torch.rand(0, 3, 8, 8)
    for generator in ([], np.zeros(0, np.uint64), torch.Generator()):
        assert views_of(nothing, EVERYTHING, generator=generator).shape == nothing.shape


@pytest.mark.parametrize("name", ["images", "settings", "generator", "encoding"])
@pytest.mark.parametrize("wrong", ["x", None, {}, 3])
def test_what_is_of_another_kind_is_refused(name, wrong):
    right = {
        "images": torch.rand(2, 3, 8, 8), "settings": "full", "generator": torch.Generator(),
        "encoding": "srgb",
    }  # fmt: skip
    if (name, wrong) == ("generator", "x"):
        return  # a sequence of one for each picture, of another number
    said = "augmentation" if name == "settings" else name
    with pytest.raises((TypeError, ValueError), match=f"^{said} must be "):
        views_of(**{**right, name: wrong})
