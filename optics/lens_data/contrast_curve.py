"""MTF curves: their validity, and their interpolation and continuation.

::

    frequency, mtf ──refused, or──► no higher than ──cubic, and a rule──► contrast at
    [F]        [..., F]             diffraction      beyond its end       any frequency
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from optics.quantity import check_finite, check_tensor, has_values, mapped
from optics.sensor.pixel import pixel_mtf

__all__ = ["check_curves", "continued_curve", "cubic", "lens_curves", "pixel_area", "refuse_mapped"]

# Tolerance of a curve above the physical limit: the error of a slanted edge that the picture
# truncates, or that has noise of 1 %.
_SLACK = 0.05
# Up to this frequency, cycles/pixel, the MTF of a pixel (0.3 there) can be divided out.
_DIVISIBLE = 0.75
# Contrast at the end of a curve below which no continuation is needed.
_FAINT = 0.05
# Contrast at which a Gaussian continuation ends, and the highest at which it can begin.
_END, _FLAT = 1e-4, 0.9
# Range of the last frequency of a curve, cycles/pixel; beyond it the unit is probably another.
_LOWEST, _HIGHEST = 0.01, 32.0


def check_curves(frequency: Tensor, mtf: Tensor, tangential: Tensor | None) -> dict[str, Tensor]:
    """The one or two curves in double precision, by their names in errors."""
    check_tensor("frequency", frequency)
    if frequency.ndim != 1 or len(frequency) < 2 or not frequency.is_floating_point():
        raise ValueError(
            f"frequency must be real [F], two or more, not {frequency.dtype} "
            f"{tuple(frequency.shape)}"
        )
    refuse_mapped("frequency", frequency)
    check_finite("frequency", frequency)
    if float(frequency[0]) != 0 or not bool((frequency.diff() > 0).all()):
        raise ValueError(
            f"frequency must increase from 0, but begins at {float(frequency[0]):g}: if the table "
            "begins later, add 0 with a contrast of 1"
        )
    _check_curve("mtf", mtf, frequency)
    if tangential is None:
        return {"mtf": mtf.double()}
    _check_curve("tangential", tangential, frequency)
    if tangential.shape != mtf.shape:
        raise ValueError(
            f"tangential must have the shape of mtf, {tuple(mtf.shape)}, not "
            f"{tuple(tangential.shape)}"
        )
    if has_values(mtf) and has_values(tangential):
        least = min(float(curve.detach().min()) for curve in (mtf, tangential))
        if least < 0:
            raise ValueError(
                f"mtf and tangential must be 0 or more where there are two, and reach {least:.3g}"
            )
    return {"mtf": mtf.double(), "tangential": tangential.double()}


def refuse_mapped(name: str, places: Tensor) -> None:
    """Raise a ValueError for frequencies or positions that ``torch.vmap`` hides."""
    if mapped(places):
        raise ValueError(
            f"{name} decides what is summed, which torch.vmap hides: map over curves that have one "
            f"{name}, or loop over it"
        )


def _check_curve(name: str, curve: Tensor, frequency: Tensor) -> None:
    check_tensor(name, curve)
    fits = curve.shape[-1:] == frequency.shape and curve.numel() > 0
    if not (fits and curve.is_floating_point()):
        raise ValueError(
            f"{name} must be real [..., F] with F = {len(frequency)} frequencies, not "
            f"{curve.dtype} {tuple(curve.shape)}"
        )
    check_finite(name, curve)
    if not has_values(curve):
        return
    start = curve.detach()[..., 0]
    worst = float(start.flatten()[(start - 1).abs().argmax()])
    if abs(worst - 1) > 1e-3:
        raise ValueError(
            f"{name} must be 1 at frequency 0, not {worst:.4g}: divide it by its value there (per "
            "cent by 100); contrast that the picture loses to stray light belongs to the scene"
        )


def pixel_area(fy: Tensor, fx: Tensor) -> Tensor:
    """MTF of the area of a square pixel, at cycles/pixel."""
    return pixel_mtf(fy, pitch=1.0) * pixel_mtf(fx, pitch=1.0)


def lens_curves(
    curves: dict[str, Tensor],
    cycles: Tensor,
    *,
    cutoff: float | None,
    measured: str,
    azimuth: float,
) -> tuple[Tensor, Tensor]:
    """Frequencies ``[F]`` and MTF ``[1 or 2, ..., F]`` of a lens, with that of pixels divided out.

    ``cycles`` and ``cutoff`` are in cycles/pixel. Raise a ValueError for curves well above the
    limit of diffraction and pixels.
    """
    own = torch.ones_like(cycles)
    if measured == "camera":
        used = cycles <= _DIVISIBLE
        cycles, curves = cycles[used], {name: curve[..., used] for name, curve in curves.items()}
        own = pixel_area(cycles * math.sin(azimuth), cycles * math.cos(azimuth))
    if len(cycles) < 2:
        raise ValueError(
            f"frequency must have two values or more up to {_DIVISIBLE} cycles/pixel, to which "
            "a camera's pixels can be divided out"
        )
    ceiling = own if cutoff is None else own * _open_pupil(cycles / cutoff)
    bounded = [_bounded(name, curve, cycles, ceiling) for name, curve in curves.items()]
    return cycles, torch.stack(bounded) / own


def _open_pupil(share: Tensor) -> Tensor:
    """MTF of an open circular pupil at a fraction of its cut-off frequency."""
    s = share.clamp(0, 1)
    return 2 / math.pi * (s.arccos() - s * (1 - s.square()).sqrt())


def _bounded(name: str, curve: Tensor, cycles: Tensor, ceiling: Tensor) -> Tensor:
    """The curve, limited to the ceiling where it is slightly above it."""
    if has_values(curve):
        _check_excess(name, curve.detach(), cycles, ceiling)
    # Not minimum(), which halves the gradient of what touches the bound.
    return torch.where(curve.abs() > ceiling, ceiling * curve.sign(), curve)


def _check_excess(name: str, curve: Tensor, cycles: Tensor, ceiling: Tensor) -> None:
    excess = (curve.abs() - ceiling).reshape(-1, len(cycles))
    row, column = divmod(int(excess.argmax()), len(cycles))
    if float(excess[row, column]) > _SLACK:
        value = float(curve.reshape(-1, len(cycles))[row, column])
        raise ValueError(
            f"{name} is {value:.3g} at {float(cycles[column]):.3g} cycles/pixel, more than "
            f"{_SLACK} above {float(ceiling[column]):.3g}, that of the cutoff and of the pixels "
            "that are in it: check the unit of frequency (1 line pair/mm is 1000 cycles/m), cutoff "
            "and measured; take a picture that is not sharpened; give only what stands above the "
            "noise"
        )


def continued_curve(
    cycles: Tensor, contrast: Tensor, *, cutoff: float | None, beyond: str | None
) -> tuple[Callable[[Tensor], Tensor], float]:
    """MTF as a function of frequency, cycles/pixel, and the frequency above which it is 0.

    Raise a ValueError for a curve that ends too early without ``beyond``, or for which the given
    ``beyond`` is not possible.
    """
    end, last = float(cycles[-1]), contrast[..., -1:]
    if end < _LOWEST:
        raise ValueError(
            f"frequency ends at {end:.3g} cycles/pixel, which tells nothing of a pixel: check its "
            "unit (1 line pair/mm is 1000 cycles/m) and pixel_pitch, in metres"
        )
    # Within the rounding of frequencies, and of differences of positions, in single precision.
    whole = cutoff is not None and end >= cutoff * (1 - 1e-4)
    if mapped(last) and beyond == "gaussian" and not whole:
        raise ValueError(
            "beyond='gaussian' reaches as far as the height of the curve's end says, which "
            "torch.vmap hides: give the curves [..., F] in one call, or beyond='zero' or "
            "'diffraction'"
        )
    # Otherwise it decides only whether a rule is missing.
    height = 0.0 if mapped(last) else float(last.detach().abs().max())
    if beyond is None and not whole and (end < 0.5 * (1 - 1e-4) or height > _FAINT):
        raise ValueError(
            f"mtf, of the lens, ends at {end:.3g} cycles/pixel with a contrast of {height:.3g}, "
            f"but has to reach Nyquist, 0.5 cycles/pixel, and fall to {_FAINT}: give its "
            "continuation, beyond='zero', 'gaussian' or 'diffraction'"
        )
    if beyond == "gaussian" and not whole and height > _FLAT:
        raise ValueError(
            f"mtf ends at a contrast of {height:.3g}, too high for a Gaussian to follow: give "
            "higher frequencies, or beyond='diffraction' with the cutoff"
        )
    reach = end
    if beyond == "gaussian" and height > _END and not whole:
        # Beyond the cut-off, too: truncated there, it would ring.
        reach = end * math.sqrt(math.log(_END) / math.log(height))
    elif beyond == "diffraction" and cutoff is not None:
        reach = max(end, cutoff)
    if reach > _HIGHEST:
        raise ValueError(
            f"frequency reaches {reach:.3g} cycles/pixel, more than {_HIGHEST:g}: give pixel_pitch "
            "with frequencies in cycles/m, and none that the lens does not pass"
        )

    def curve(at: Tensor) -> Tensor:
        inside = cubic(cycles, contrast, at.clamp_max(end))
        if reach == end:
            return inside
        if beyond == "gaussian":
            rule = last.clamp_min(_END) ** (at.flatten() / end).square()
            rule = torch.where(last > _END, rule, 0.0)
        else:
            assert cutoff is not None
            rule = last * (
                _open_pupil(at.flatten() / cutoff) / float(_open_pupil(cycles[-1] / cutoff))
            )
        return torch.where(at > end, rule.unflatten(-1, at.shape), inside)

    return curve, reach


def cubic(x: Tensor, y: Tensor, at: Tensor) -> Tensor:
    """Monotone cubic interpolation of ``y [..., F]`` at ``x [F]``, evaluated at ``at [...]``.

    Fritsch and Butland, SIAM J. Sci. Stat. Comput. 5:300, 1984; scipy's PchipInterpolator.
    """
    slope = _slopes(x, y)
    flat = at.flatten()
    left = (torch.searchsorted(x, flat, right=True) - 1).clamp(0, len(x) - 2)
    h = x[left + 1] - x[left]
    t = (flat - x[left]) / h
    rise = t.square() * (3 - 2 * t)
    value = y[..., left] * (1 - rise) + y[..., left + 1] * rise
    bend = slope[..., left] * (1 - t) - slope[..., left + 1] * t
    return (value + h * t * (1 - t) * bend).unflatten(-1, at.shape)


def _slopes(x: Tensor, y: Tensor) -> Tensor:
    """Slopes of the monotone cubic at its points, ``[..., F]``."""
    h, d = x.diff(), y.diff() / x.diff()
    if len(h) == 1:
        return d.expand(*d.shape[:-1], 2)
    before, after = 2 * h[1:] + h[:-1], h[1:] + 2 * h[:-1]
    same = d[..., 1:] * d[..., :-1] > 0
    left, right = torch.where(same, d[..., :-1], 1.0), torch.where(same, d[..., 1:], 1.0)
    inner = torch.where(same, (before + after) / (before / left + after / right), 0.0)

    def end(h0: Tensor, h1: Tensor, d0: Tensor, d1: Tensor) -> Tensor:
        slope = ((2 * h0 + h1) * d0 - h0 * d1) / (h0 + h1)
        slope = torch.where((d0 * d1 < 0) & (slope.abs() > 3 * d0.abs()), 3 * d0, slope)
        return torch.where(slope * d0 > 0, slope, 0.0)

    first = end(h[0], h[1], d[..., :1], d[..., 1:2])
    final = end(h[-1], h[-2], d[..., -1:], d[..., -2:-1])
    return torch.cat([first, inner, final], -1)
