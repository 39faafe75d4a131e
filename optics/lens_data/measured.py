"""Point-spread function from a picture of a point source.

::

    picture ──background──► light ──noise──► kept pixels, rings ──centroid──► window ──► psf
    [..., H, W]   of the border       of the border             in the middle    sum = throughput
"""

import math
import warnings
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from optics.grid import coordinates
from optics.quantity import (
    as_picture,
    check_finite,
    check_positive,
    check_real,
    check_scalar,
    full_precision,
    has_values,
    image_size,
)

__all__ = ["code_step", "measured_psf"]

# Of 100 000 pixels of noise less than one exceeds 4.5 standard deviations; of 1000 pictures with a
# dozen rings each less than three have one above 3.5.
_PIXEL, _RING = 4.5, 3.5
# Rings grow by a quarter, so that a tail is seen the better the wider it is.
_GROWTH = 0.25
# Noise, as a share of the brightest pixel, that can leave the MTF wrong by a tenth.
_NOISY = 0.04
# Pixels that share the largest value, and how many times those of the codes below: four have it in
# a spot between four pixels, and each code of a wide spot has as many as the next.
_PLATEAU, _FULLER = 5, 2
# Values of a clean picture that do not tell how far its codes are apart.
_FEW = 8
# Light apart from the spot, in deviations or codes that noise does not reach in any picture, and as
# a share of the brightest pixels.
_FAR, _APART = 8.0, 0.1


def measured_psf(
    picture: Tensor | np.ndarray,
    *,
    size: int | tuple[int, int],
    background: float | Tensor | None = None,
    noise: float | None = None,
    centre: Literal["common", "each", "kept"] = "common",
    picture_pitch: float | None = None,
    pixel_pitch: float | None = None,
    pixel: Literal["area", "centre"] = "area",
    throughput: float = 1.0,
) -> Tensor:
    """Point-spread function from a picture of a point source.

    The background is subtracted, then the noise is removed. Pixels more than 4.5 standard
    deviations above the background are kept. All others are replaced by their mean in rings about
    the centroid, each a quarter as wide as its inner radius, if that mean is more than 3.5 of its
    own standard deviations above the background, and by zero elsewhere. (Setting only negative
    values to zero would turn the noise into a pedestal.) Finally the centroid is moved to the
    window's centre, by the Fourier shift theorem, and the sum is normalised to ``throughput``.

    Parameters
    ----------
    picture : Tensor or array, real ``[..., H, W]`` or ``[..., C, H, W]``
        Linear values in any scale, also integers as of a PNG; not saturated, and with the point
        away from the border. Integers give a PSF of torch's default type.
    size : int or (int, int), pixels
        Window (h, w), no larger than the picture.
    background : float or scalar Tensor, optional
        Background, in the unit of the picture; by default the mean along its border (one sixteenth
        of the picture wide) without values more than three standard deviations from the median.
    noise : float, optional
        Standard deviation of a dark pixel, in the unit of the picture; by default that of the
        border. 0 keeps everything above the background.
    centre : {"common", "each", "kept"}
        ``common``: channels ``[..., C, H, W]`` share one centroid, that of their sum, which keeps
        lateral colour. ``each``: every channel has its own, which removes lateral colour. Leading
        dimensions are always treated separately. ``kept``: the centre of the picture
        ``(H // 2, W // 2)`` is the centre of the PSF; use it to compare the PSF with a design, or
        for one as asymmetric as that of a cubic phase.
    picture_pitch, pixel_pitch : float, metres, optional
        Give both or none: sampling interval of the picture, and pixel pitch of the sensor that the
        PSF is for, which is not smaller. Each pixel gets the light on its area, with the light of a
        sample spread evenly over its own area. This is exact if one pitch is a whole multiple of
        the other; otherwise the error is 0.02 of the peak for a spot with a standard deviation of 4
        samples, 0.005 for 8.
    pixel : {"area", "centre"}
        With pitches, the value of a pixel. ``area``: the light on its area, for scenes that are
        sampled at points. ``centre``: the irradiance at its centre times its area, as in the PSF of
        a :class:`Pupil`, for scenes that are already averaged over pixels and would be so twice.
        The picture is interpolated trigonometrically: it must not be aliased, with two samples or
        more in ``lambda s' / D``.
    throughput : float
        Fraction of the light that the optics pass, which a picture alone does not contain.

    Returns
    -------
    Tensor ``[..., h, w]``

    Raises
    ------
    TypeError
        When the picture is neither a Tensor nor an array, or background or noise is not a number.
    ValueError
        For a window larger than the picture, a picture without light above its background and
        noise, an unknown centre or pixel, negative noise, a background that is not finite, or
        pitches of which one is missing, not positive, or smaller for the sensor than for the
        picture: interpolation cannot add detail.

    Warns
    -----
    UserWarning
        When the noise is more than 1/25 of the brightest pixel; when the picture seems to be
        saturated, with five pixels or more at the largest value and far fewer at the next ones;
        when there is light of more than a tenth of the brightest pixels at a distance from the spot
        larger than its width, as from a hot pixel or a second source.

    Notes
    -----
    Errors for a Gaussian with a standard deviation of 1.5 pixels in 65 x 65, with noise of 0.2, 0.5
    and 1 % of its peak: the share of the light within 9 x 9 pixels is right within 0.002, 0.006 and
    0.002 in each of forty draws (0.015 in 150 of the last), the MTF at any frequency within 0.005,
    0.011 and 0.019. With a halo that holds a tenth of the light, with a standard deviation of 8
    pixels, the share is right within 0.008 at 0.05 % and 0.022 at 0.2 %; at 1 % most of the halo is
    lost. A tail that reaches the border counts as background: give ``background``, or a larger
    picture. If the camera clips its noise at black, the share of the Gaussian is up to 0.02 too
    small at 0.5 % and 0.06 at 1 %: set a black level.

    The gradient treats the background and the noise of the border as constants. Under
    ``torch.vmap`` and ``torch.compile`` the picture is not checked: no errors or warnings, and a
    picture without light gives NaN. The step of the codes is found from all pictures of a call
    together, under ``vmap`` from each.

    The centroid of a device with coma differs from that of its design: if a centred PSF replaces
    that of the design, the restored picture is shifted. Shifting needs a picture that is not
    aliased: a spot of a sharp lens at the sensor's own pixels gets ringing, which is clipped at
    zero.
    """
    picture = as_picture("picture", picture)
    check_real("picture", picture, "[..., H, W]")
    check_finite("picture", picture)
    if picture.numel() == 0:
        raise ValueError(f"picture must hold at least one [H, W], not {tuple(picture.shape)}")
    height, width = image_size(size)
    rows, columns = picture.shape[-2:]
    ratio = _ratio(picture_pitch, pixel_pitch)
    if max(height * ratio / rows, width * ratio / columns) > 1 + 1e-9:
        allowed = rows, columns
        if ratio != 1:
            allowed = math.floor(rows / ratio + 1e-9), math.floor(columns / ratio + 1e-9)
        raise ValueError(
            f"size must be at most the picture's {allowed} pixels, not {(height, width)}"
        )
    check_scalar("throughput", throughput)
    if not 0 < throughput <= 1:
        raise ValueError(f"throughput must be a fraction in (0, 1], not {throughput}")
    if centre not in ("common", "each", "kept"):
        raise ValueError(f"centre must be 'common', 'each' or 'kept', not {centre!r}")
    if pixel not in ("area", "centre"):
        raise ValueError(f"pixel must be 'area' or 'centre', not {pixel!r}")
    if background is not None:
        check_finite("background", background, "the unit of the picture")
    if noise is not None:
        check_scalar("noise", noise, "the unit of the picture")
        if not 0 <= noise < math.inf:
            raise ValueError(f"noise must be 0 or more, in the unit of the picture, not {noise}")
    level, deviation, count = _dark(picture)
    if noise is not None:
        deviation = torch.full_like(deviation, noise)
    error = deviation / count.sqrt()
    if background is not None:
        level, error = background, torch.zeros_like(error)
    light = _without_noise(picture - level, deviation, error)
    total = light.sum((-2, -1), keepdim=True)
    if has_values(light):
        if not bool((total > 0).all()):
            raise ValueError("picture has no light above its background and noise")
        _judge(picture - level, light, deviation, error, float(code_step(picture)))
    seen = light.sum(-3, keepdim=True) if centre == "common" and light.ndim > 2 else light
    y, x = _centroid(seen) if centre != "kept" else (seen.new_zeros(1, 1), seen.new_zeros(1, 1))
    # An even number of samples to a pixel: the axis goes between two, so that edges meet edges.
    even = pixel == "area" and abs(ratio / 2 - round(ratio / 2)) < 1e-9
    half = 0.5 if even else 0.0
    moved = _moved(light, y + half, x + half)
    along = [
        _overlap(n, k, ratio, half) if pixel == "area" else _between(n, k, ratio)
        for n, k in ((rows, height), (columns, width))
    ]
    with full_precision(moved):
        window = (along[0].to(moved) @ moved @ along[1].mT.to(moved)).clamp_min(0)
    return window * (throughput / window.sum((-2, -1), keepdim=True))


def _ratio(picture_pitch: float | None, pixel_pitch: float | None) -> float:
    """Samples of the picture to a pixel of the sensor."""
    if picture_pitch is None or pixel_pitch is None:
        if picture_pitch is not pixel_pitch:
            raise ValueError("give both picture_pitch and pixel_pitch, in metres, or none of them")
        return 1.0
    for name, pitch in (("picture_pitch", picture_pitch), ("pixel_pitch", pixel_pitch)):
        check_scalar(name, pitch, "metres")
        check_positive(name, pitch, "metres")
    if pixel_pitch < picture_pitch * (1 - 1e-9):
        raise ValueError(
            f"pixel_pitch must be at least picture_pitch, {picture_pitch:g} metres, not "
            f"{pixel_pitch:g}: take the picture at a higher magnification"
        )
    return pixel_pitch / picture_pitch


def _dark(picture: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, deviation and number of the pixels along the border, ``[..., 1, 1]``."""
    rows, columns = picture.shape[-2:]
    width = max(1, min(rows, columns) // 16)
    sides = (
        picture[..., :width, :],
        picture[..., max(width, rows - width) :, :],
        picture[..., width : rows - width, :width],
        picture[..., width : rows - width, max(width, columns - width) :],
    )
    border = torch.cat([side.detach().flatten(-2) for side in sides], -1).double()
    middle = border.median(-1, keepdim=True).values
    # 1.4826 makes a Gaussian's deviation of the median one; where more than half of the pixels
    # have one value, as in a picture that is cut off at black, the upper side alone has a spread.
    spread = 1.4826 * (border - middle).abs().median(-1, keepdim=True).values
    spread = torch.maximum(spread, border.quantile(0.8413, -1, keepdim=True) - middle)
    # Noise of less than a code shows in few pixels, which are no outliers.
    step = code_step(picture)
    near = (border - middle).abs() <= torch.maximum(3 * spread, 1.5 * step)
    count = near.sum(-1, keepdim=True)
    mean = (border * near).sum(-1, keepdim=True) / count
    # Within three deviations lies 0.9866 of one, as a Gaussian has it.
    deviation = (((border - mean) * near).square().sum(-1, keepdim=True) / count).sqrt() / 0.9866
    # What is rounded to codes is at least a code above them, in the few pixels that show it.
    deviation = torch.where(deviation > 0, deviation.hypot(step / 12**0.5), 0)
    mean, deviation, count = (v[..., None].to(picture) for v in (mean, deviation, count))
    return mean, deviation, count


def code_step(picture: Tensor) -> Tensor:
    """Distance of two codes: the least between two values, or 0; a scalar in double precision.

    Of whole numbers 1 where the values are so few that no two of them need be neighbours.
    """
    values = picture.detach().flatten().sort().values
    steps = values.diff()
    few = ((steps > 0).sum() < _FEW) & (values == values.round()).all()
    # One more than there are, so that a picture of a single pixel has one.
    steps = torch.cat([torch.where(steps > 0, steps, math.inf), steps.new_full((1,), math.inf)])
    least = steps.amin().double()
    return torch.where(least < math.inf, torch.where(few, 1.0, least), 0.0)


def _judge(seen: Tensor, light: Tensor, deviation: Tensor, error: Tensor, step: float) -> None:
    """Warn of pictures ``[..., H, W]`` as seen that are not of one point, well exposed."""
    share = float((deviation / light.amax((-2, -1), keepdim=True)).max())
    if share > _NOISY:
        warnings.warn(
            f"the noise is {share:.2g} of the brightest pixel, and what is fainter is lost: "
            "average more pictures, or expose longer",
            UserWarning,
            stacklevel=3,
        )
    pictures = seen.detach().reshape(-1, *seen.shape[-2:])
    spread = deviation.hypot(error)
    deviations = spread.expand(*seen.shape[:-2], 1, 1).flatten().tolist()
    shared = max(_plateau(picture, step) for picture in pictures)
    if shared:
        warnings.warn(
            f"{shared} pixels share the largest value, as of a saturated picture, whose spot is "
            "wider than the PSF: expose shorter",
            UserWarning,
            stacklevel=3,
        )
    for picture, own in zip(pictures, deviations, strict=True):
        found = _apart(picture, _PIXEL * own, _FAR * max(own, step))
        if found is not None:
            row, column, share = found
            warnings.warn(
                f"at row {row}, column {column}, apart from the spot, is light of {share:.2g} of "
                "its brightest pixels, as of a hot pixel or a second source, which moves the "
                "centroid and is taken for a part of the PSF: crop the picture, take a dark frame "
                "away, or put the median of its neighbours there",
                UserWarning,
                stacklevel=3,
            )
            return


def _plateau(picture: Tensor, step: float) -> int:
    """How many pixels share the largest value, where these are too many; otherwise 0."""
    largest = picture.max()
    shared = int((picture >= largest - step / 2).sum())
    fewer = [int(((largest - picture - k * step).abs() < step / 2).sum()) for k in (1, 2)]
    return shared if shared >= _PLATEAU and shared > _FULLER * max(fewer) else 0


def _apart(picture: Tensor, dark: float, faint: float) -> tuple[int, int, float] | None:
    """Row, column and height of the brightest light that no light joins to the spot, if any.

    Whatever is nearer than the spot's width at half its height is of the spot: rings of diffraction
    and the lobes of a caustic are.
    """
    # Over nine pixels a single one, as bright as it may be, is no spot.
    smooth = functional.avg_pool2d(torch.where(picture > dark, picture, 0.0)[None], 3, 1, 1)[0]
    peak = float(smooth.max())
    reach = math.ceil(2 * math.sqrt(int((smooth > peak / 2).sum()) / math.pi))
    # The tails of two points meet; what would join them has to be half as bright as what counts.
    bright = picture > max(dark, _APART / 2 * peak)
    spot = torch.zeros_like(bright)
    spot[divmod(int(smooth.argmax()), spot.shape[-1])] = True
    while True:
        # A square is a row of columns: its side in time, and not its area.
        rows = functional.max_pool2d(spot[None].to(picture), (2 * reach + 1, 1), 1, (reach, 0))
        near = functional.max_pool2d(rows, (1, 2 * reach + 1), 1, (0, reach))[0] > 0
        if not bool((near & bright & ~spot).any()):
            break
        spot |= near & bright
    far = torch.where(bright & ~spot, picture, 0.0)
    height = float(far.max())
    if height <= max(faint, _APART * peak):
        return None
    row, column = divmod(int(far.argmax()), picture.shape[-1])
    return row, column, height / peak


def _without_noise(light: Tensor, deviation: Tensor, error: Tensor) -> Tensor:
    """Pixels well above the noise, and the mean of all others in rings where it is."""
    kept = light > _PIXEL * deviation.hypot(error)
    bright = light * kept
    y, x = _centroid(bright)
    rows, columns = (coordinates(n, device=light.device).to(light) for n in light.shape[-2:])
    radius = torch.hypot(rows[:, None] - y, columns - x)
    edges = [1.0]
    while edges[-1] < sum(light.shape[-2:]):
        edges.append(edges[-1] + max(1.0, _GROWTH * edges[-1]))
    ring = torch.bucketize(radius, torch.tensor(edges, dtype=light.dtype, device=light.device))
    ring, rest = ring.flatten(-2), (~kept).to(light.dtype).flatten(-2)
    empty = torch.zeros(*ring.shape[:-1], len(edges) + 1, dtype=light.dtype, device=light.device)
    count = empty.scatter_add(-1, ring, rest).clamp_min(1)
    mean = empty.scatter_add(-1, ring, light.flatten(-2) * rest) / count
    seen = mean > _RING * (deviation[..., 0] / count.sqrt()).hypot(error[..., 0])
    faint = torch.where(seen, mean, 0.0).gather(-1, ring).unflatten(-1, light.shape[-2:])
    return torch.where(kept, light, faint)


def _centroid(light: Tensor) -> tuple[Tensor, Tensor]:
    """Where the light is, ``[..., 1, 1]`` each, pixels from ``(H // 2, W // 2)``; 0 in the dark."""
    rows, columns = (coordinates(n, device=light.device).to(light) for n in light.shape[-2:])
    total = light.sum((-2, -1), keepdim=True)
    total = torch.where(total > 0, total, 1.0)
    y = (light * rows[:, None]).sum((-2, -1), keepdim=True) / total
    return y, (light * columns).sum((-2, -1), keepdim=True) / total


def _moved(light: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Light with the point (y, x) in the middle; the shift theorem keeps its sum."""
    rows, columns = light.shape[-2:]
    fy = torch.fft.fftfreq(rows, dtype=light.dtype, device=light.device)[:, None]
    fx = torch.fft.rfftfreq(columns, dtype=light.dtype, device=light.device)
    turns = 2 * math.pi * (fy * y + fx * x)
    ramp = torch.complex(torch.cos(turns), torch.sin(turns))
    return torch.fft.irfft2(torch.fft.rfft2(light) * ramp, s=(rows, columns)).clamp_min(0)


def _overlap(samples: int, size: int, ratio: float, first: float) -> Tensor:
    """Share of each sample that lies on each pixel, ``ratio`` samples wide, ``[size, samples]``.

    The axis is ``first`` samples before ``samples // 2``, and in the middle of ``size // 2``.
    """
    here, there = coordinates(samples) + first, ratio * coordinates(size)[:, None]
    high = torch.minimum(here + 0.5, there + ratio / 2)
    low = torch.maximum(here - 0.5, there - ratio / 2)
    return (high - low).clamp(0, 1)


def _between(samples: int, size: int, ratio: float) -> Tensor:
    """Weight of each sample in what lies at each pixel's centre, ``[size, samples]``.

    The trigonometric interpolation of a picture without a frequency of half a cycle.
    """
    away = ratio * coordinates(size)[:, None] - coordinates(samples)
    turns = 2 * math.pi * away[..., None] * torch.fft.fftfreq(samples, dtype=away.dtype)
    return ratio * turns.cos().mean(-1)
