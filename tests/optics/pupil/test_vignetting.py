import copy
import math

import pytest
import torch

import optics

F64 = torch.float64
_GREEN = torch.tensor([550e-9], dtype=F64)


def _rim(**changes):
    given = {
        "spacing": 1e-4,
        "diameter": 4e-3,
        "shift": 1e-3,
        "places": (3, 5),
        "picture": (30, 50),
    }
    return optics.Vignetting(64, **given | changes)


def _left(rim, stop=4e-3):
    """Share of the stop's area that the rim leaves open [P, Q], counted on a fine grid."""
    fine = (torch.arange(900, dtype=F64) + 0.5) / 900 * 2 * stop - stop
    y, x = fine[:, None], fine
    shift = float(rim.shift)
    found = torch.empty(rim.places, dtype=F64)
    inside = y**2 + x**2 <= (stop / 2) ** 2
    for p, q in torch.cartesian_prod(*(torch.arange(n) for n in rim.places)).tolist():
        # Heights are parts of the half diagonal.
        height = (p / (rim.places[0] - 1) * 2 - 1) * 30, (q / (rim.places[1] - 1) * 2 - 1) * 50
        v, u = (shift * h / math.hypot(30, 50) for h in height)
        open_ = (y - v) ** 2 + (x - u) ** 2 <= (float(rim.diameter) / 2) ** 2
        found[p, q] = (inside & open_).sum() / inside.sum()
    return found


@pytest.mark.parametrize("shift", [1e-3, -2e-3])
@pytest.mark.parametrize("diameter", [4.3e-3, 5e-3])
def test_the_rim_and_the_stop_share_their_overlap(shift, diameter):
    rim = _rim(shift=shift, diameter=diameter)
    stop = optics.circular_aperture(64, diameter=4e-3, spacing=1e-4, dtype=F64)
    passed = rim.transmission(_GREEN).real.squeeze(2).double() * stop
    torch.testing.assert_close(passed.sum((-2, -1)) / stop.sum(), _left(rim), atol=6e-3, rtol=0)
    # Mirrored places have mirrored rims; the middle has the whole one.
    assert rim.transmission(_GREEN).shape == (3, 5, 1, 64, 64)
    torch.testing.assert_close(passed[1, 2], stop, atol=1e-7, rtol=0)


def test_the_rim_lies_towards_the_place():
    rim = _rim(shift=2e-3)
    rows = optics.coordinates(64, spacing=1e-4)
    amplitude = rim.transmission(_GREEN).real[:, :, 0]
    middle = (amplitude.sum(-1) * rows).sum(-1) / amplitude.sum((-2, -1))
    heights = torch.tensor([-30.0, 0, 30]) / math.hypot(30, 50)
    torch.testing.assert_close(
        middle, (2e-3 * heights)[:, None].expand(3, 5), atol=1e-7, rtol=0, check_dtype=False
    )


def test_a_loss_is_what_two_circles_do_not_share():
    for loss in (0.0, 0.1, 0.5, 0.95):
        shift = optics.vignetting_shift(loss, diameter=2.0)
        # Area of a lens of two circles of radius 1, by integration.
        x = torch.linspace(shift / 2, 1, 200_001, dtype=F64)
        shared = 4 * torch.trapezoid((1 - x**2).clamp_min(0).sqrt(), x) / math.pi
        assert float(shared) == pytest.approx(1 - loss, abs=1e-6)
    for rim in (4e-3, 6e-3):
        corner = optics.vignetting_shift(0.3, diameter=4e-3, rim=rim)
        left = _left(_rim(shift=corner, diameter=rim))
        assert float(left[0, 0]) == pytest.approx(0.7, abs=3e-3)
    assert optics.vignetting_shift(0, diameter=1.0, rim=3.0) == pytest.approx(1.0)


def test_corners_are_darker_and_narrow_where_the_opening_is_wide_in_focus():
    pupil = optics.Pupil(
        [_rim(shift=optics.vignetting_shift(0.5, diameter=4e-3), places=3, picture=(64, 64))],
        wavelengths=(550e-9,),
        aperture=optics.circular_aperture(64, diameter=4e-3, spacing=1e-4),
        spacing=1e-4,
        focal_length=30e-3,
        pixel_pitch=2e-6,
        psf_size=31,
    )
    camera = optics.VaryingImaging(pupil, rank=9)
    seen = camera(torch.ones(1, 1, 64, 64))[0, 0]
    assert float(seen[0, 0] / seen[32, 32]) == pytest.approx(0.5, abs=0.02)
    # In the corner, the opening is narrow towards the axis: so is the band there.
    frequency = torch.tensor([1e5])
    corner = pupil.mtf(frequency, angle=torch.tensor(math.pi / 4), pixel=False)[0, 0]
    across = pupil.mtf(frequency, angle=torch.tensor(-math.pi / 4), pixel=False)[0, 0]
    assert float(corner) < 0.75 * float(across)
    # Out of focus the PSF is the shadow of the opening: narrow where that is.
    shadow = pupil(distance=0.9)[0, 0, 0].double()
    y = optics.coordinates(31).double()
    along, beside = (y[:, None] + y) / math.sqrt(2), (y[:, None] - y) / math.sqrt(2)
    spread = [
        (shadow * (r - (shadow * r).sum() / shadow.sum()) ** 2).sum() for r in (along, beside)
    ]
    assert float(spread[0]) < 0.8 * float(spread[1])


def test_a_rim_is_the_same_after_it_was_kept():
    rim = _rim()
    assert [*rim.parameters()] == []
    assert not rim.state_dict()  # it is made of its numbers
    assert "diameter=0.004 m, shift=0.001 m" in repr(rim)
    assert torch.equal(copy.deepcopy(rim).open, rim.open)


def test_what_does_not_fit_is_refused():
    for changes, match in (
        ({"diameter": 0.0}, "diameter must be positive"),
        ({"shift": math.inf}, "shift must be finite"),
        ({"places": 1}, "places must be"),
        ({"picture": 0}, "picture"),
    ):
        with pytest.raises(ValueError, match=match):
            _rim(**changes)
    with pytest.raises(TypeError, match="shift must be one number"):
        _rim(shift=torch.ones(2))
    for loss in (-0.1, 1.0, math.nan):
        with pytest.raises(ValueError, match="loss must be a share of the light"):
            optics.vignetting_shift(loss, diameter=1.0)
    with pytest.raises(ValueError, match="diameter must be positive"):
        optics.vignetting_shift(0.5, diameter=-1.0)
    with pytest.raises(ValueError, match="rim must be as large as the stop, 2 m, or more, not 1"):
        optics.vignetting_shift(0.5, diameter=2.0, rim=1.0)
