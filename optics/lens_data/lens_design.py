"""Import of text listings of a lens design program, Zemax OpticStudio.

::

    "Zernike Standard" or "Fringe Coefficients" ──import_zernikes──► metres RMS, of Noll's indices
    "FFT PSF" or "Huygens PSF" ──import_psf──► shares of the light [h, w], and their distance

The program's x is +x here. Its y is +y, towards increasing rows: the first row of its listings, the
largest y, becomes the last. A path is positive there if light is ahead, and here if it lags: the
sign of coefficients is changed.
"""

import math
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from optics.wave.zernike import fringe_to_noll, noll_to_nm

__all__ = ["PSFListing", "ZernikeListing", "import_psf", "import_zernikes"]

_METRES: Mapping[str, float] = {"nm": 1e-9, "um": 1e-6, "mm": 1e-3}
_NUMBER = r"\d+\.?\d*(?:E[+-]?\d+)?"
# A micro sign, a Greek mu, or the letter that stands for one.
_LENGTH = rf"({_NUMBER})\s*(nm|[\u00b5\u03bcu]m|mm)"
_TERM = re.compile(r"Z\s*(\d+)\s*:?\s+(\S+)")
_REAL = rf"(-?{_NUMBER})"
_FIELD = re.compile(rf"{_REAL}(?:\s*,\s*{_REAL})?\s*\(?([A-Za-z\u00b5\u03bc]+)\)?")
# Tolerances of the RMS of the coefficients against that of the listing: relative, and absolute for
# the last of its digits.
_SAME, _LAST = 1e-3, 1e-6
# Relative difference of the RMS of the coefficients, over the whole circle, and of the rays, over
# its illuminated part, above which a warning is given.
_LIT = 0.05
# Share of the light outside of the part centred on the axis, above which a warning is given.
_CUT = 0.01
# Largest number of samples along a side; more than the program computes.
_MOST = 8192


class ZernikeListing(NamedTuple):
    """Zernike coefficients of one wavelength at one point of the field."""

    indices: tuple[int, ...]
    """J Noll indices."""
    coefficients: Tensor
    """Path by which light lags, ``[J]``, metres RMS, float64, for :class:`Aberration`."""
    wavelength: float
    """Wavelength, metres."""
    field: tuple[float, float]
    """Point of the field, x and y, in :attr:`unit`."""
    unit: str
    """Unit of the field: ``deg``, or a length."""


class PSFListing(NamedTuple):
    """A point-spread function at one point of the field."""

    psf: Tensor
    """Shares of the light in the window, ``[h, w]``, float64, with a sum of 1. h and w are odd, and
    the axis, the position of the chief ray or another reference, is the central sample."""
    spacing: float
    """Sampling interval, metres."""
    wavelengths: tuple[float, float]
    """The shortest and the longest, metres."""
    field: tuple[float, float]
    """Point of the field, x and y, in :attr:`unit`."""
    unit: str
    """Of the field: ``deg``, or a length."""


def import_zernikes(path: Path | str) -> ZernikeListing:
    """Read a listing of Zernike coefficients that OpticStudio saved as text.

    Parameters
    ----------
    path : path
        File of *Zernike Standard Coefficients*, which are Noll's (J. Opt. Soc. Am. 66:207, 1976),
        or of *Zernike Fringe Coefficients* up to 37, which are converted to Noll's.

    Returns
    -------
    ZernikeListing
        All terms of the listing, including piston and tilt: tilt shifts the image. Leave out
        unwanted terms, or set them to 0.

    Raises
    ------
    OSError
        When the file cannot be read.
    ValueError
        When the file is not such a listing, lacks a wavelength, a field or terms, has a term twice,
        or terms whose RMS differs from that in the listing.

    Warns
    -----
    UserWarning
        When the listing's RMS of the rays differs from that of the terms by more than 5 %: the
        terms were fitted where light passes, and a part of the circle is dark, by vignetting or a
        stop. They are then wrong in that part, and a :class:`Pupil` needs an ``aperture`` that is
        dark there. When the listing states no RMS of the terms, so that they cannot be verified.

    Notes
    -----
    The listing's own "RMS (to chief)" of the fitted coefficients is compared with the RMS of the
    imported ones, which detects a different normalisation or a decimal comma. The sign and the axes
    were verified for a telescope with a field along the diagonal: OpticStudio's wavefronts then
    give OpticStudio's PSFs.

    Examples
    --------
    >>> found = import_zernikes("corner.txt")
    >>> Aberration(
    ...     128, spacing=1.2e-3 / 127, diameter=1.2e-3, coefficients=found.coefficients,
    ...     indices=found.indices,
    ... )
    """
    path = Path(path)
    lines = _lines(path, "Zernike Coefficient", ("Standard", "Fringe"))
    fringe = "Fringe" in lines[0]
    terms = [found for found in map(_TERM.match, lines) if found is not None]
    numbers = [int(term[1]) for term in terms]
    if numbers != [*range(1, len(terms) + 1)] or not terms:
        raise ValueError(f"{path}: the terms must be Z 1, Z 2, ..., each once, not {numbers}")
    named = _named(lines)
    wavelength = _wavelength(path, named.get("Wavelength", ""))
    field, unit = _field(path, named.get("Field", ""))
    rms: dict[int, float] = {}
    for number, term in zip(numbers, terms, strict=True):
        index = fringe_to_noll(number) if fringe else number
        rms[index] = _number(path, term[2]) * (_fringe_rms(index) if fringe else 1.0)
    _check_rms(path, lines, rms)
    _warn_of_dark(path, lines)
    order = sorted(rms)
    waves = torch.tensor([rms[index] for index in order], dtype=torch.float64)
    return ZernikeListing(tuple(order), -wavelength * waves, wavelength, field, unit)


def import_psf(path: Path | str) -> PSFListing:
    """Read a listing of a point-spread function that OpticStudio saved as text.

    Parameters
    ----------
    path : path
        File of *FFT PSF* or *Huygens PSF*, linear, not its logarithm.

    Returns
    -------
    PSFListing
        The largest part of the window that is centred on the axis, normalised to a sum of 1. Light
        outside of it is lost: compute the PSF on a window around the axis that holds nearly all
        light. :func:`optics.measured_psf` with ``centre="kept"`` and ``background=0`` resamples it
        to the pixels of a sensor.

    Raises
    ------
    OSError
        When the file cannot be read.
    ValueError
        When the file is not such a listing, lacks a spacing, a wavelength, a field or a centre
        point, has a size other than stated, has a number below 0, or is dark around its centre.

    Warns
    -----
    UserWarning
        When more than 1 % of the light in the window lies outside of the part that is kept.
    """
    path = Path(path)
    lines = _lines(path, "PSF", ("FFT", "Huygens"))
    text = "\n".join(lines)
    about = re.search(rf"^(?:({_NUMBER})\s+to\s+)?{_LENGTH}\s+at\s+(.+?)\.?$", text, re.MULTILINE)
    spacing = re.search(rf"Data spacing is\s+{_LENGTH}", text)
    grid = re.search(r"Image grid size:\s*(\d+) by (\d+)", text)
    area = re.search(rf"Data area is\s+(?:{_NUMBER} by )?{_LENGTH}", text)
    if about is None or spacing is None or grid is None:
        missing = "wavelength and field" if about is None else "data spacing, or its grid"
        raise ValueError(f"{path} does not tell its {missing}: save the whole listing as text")
    field, unit = _field(path, about[4])
    wide, high = int(grid[1]), int(grid[2])
    if max(wide, high) > _MOST:
        raise ValueError(f"{path}: {wide} by {high} samples are more than {_MOST} along a side")
    rows = [
        [_number(path, cell) for cell in line.split()]
        for line in lines
        if len(line.split()) == wide and re.match(r"[-+\d.]", line)
    ]
    if len(rows) != high:
        raise ValueError(
            f"{path} has {len(rows)} rows of {wide} numbers, and says that they are {high}"
        )
    values = np.array(rows[::-1])
    if (values < 0).any() or not values.any():
        raise ValueError(f"{path}: a PSF is not negative, nor all dark: save it linear, not as log")
    y, x = _middle(path, text, high)
    if not (0 <= y < high and 0 <= x < wide):
        raise ValueError(f"{path}: its middle, row {y} from below, column {x}, is not in the grid")
    up, across = min(y, high - 1 - y), min(x, wide - 1 - x)
    whole = values.sum()
    values = values[y - up : y + up + 1, x - across : x + across + 1]
    _check_kept(path, values, whole)
    shortest, longest = (
        _positive(path, "wavelength", _metres(number, about[3]))
        for number in (about[1] or about[2], about[2])
    )
    return PSFListing(
        torch.from_numpy(values / values.sum()),
        _positive(path, "data spacing", _spacing(spacing, area, high)),
        (shortest, longest),
        field,
        unit,
    )


def _lines(path: Path, what: str, kinds: Sequence[str]) -> list[str]:
    """Lines of a listing, from its heading on, without what is around them."""
    content = path.read_bytes()
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        text = content.decode("latin-1")  # older versions write the micro sign so
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    first, *others = what.split()
    wanted = [" ".join((kind, first) if not others else (first, kind, *others)) for kind in kinds]
    if not lines or not any(lines[0] == f"Listing of {each} Data" for each in wanted):
        heading = lines[0][:60] if lines else ""
        raise ValueError(
            f"{path} is no listing of {' or '.join(wanted)} Data as OpticStudio saves it as text; "
            f"it begins with {heading!r}"
        )
    return lines


def _spacing(spacing: re.Match[str], area: re.Match[str] | None, high: int) -> float:
    """Of the samples, metres: of the grid's height where that has more digits."""
    told = _metres(spacing[1], spacing[2])
    if area is None:
        return told
    finer = _metres(area[1], area[2]) / high
    digit = _metres("1", spacing[2]) * 10.0 ** -len(spacing[1].partition(".")[2])
    return finer if abs(finer - told) <= 0.5001 * digit else told


def _named(lines: Sequence[str]) -> dict[str, str]:
    """What stands behind a colour of a name: the first of each name."""
    named: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            named.setdefault(name.strip(), value.strip())
    return named


def _number(path: Path, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        comma = ": write decimals with a point" if re.fullmatch(r"-?\d+,\d+\S*", text) else ""
        raise ValueError(f"{path}: {text!r} is no number{comma}") from None
    if not math.isfinite(number):
        raise ValueError(f"{path}: {text!r} is not finite")
    return number


def _metres(number: str, unit: str) -> float:
    return float(number) * _METRES[unit if unit in _METRES else "um"]


def _positive(path: Path, what: str, metres: float) -> float:
    if not 0 < metres < math.inf:
        raise ValueError(f"{path}: its {what} must be above 0 and finite, not {metres:g} m")
    return metres


def _wavelength(path: Path, text: str) -> float:
    found = re.fullmatch(_LENGTH, text)
    if found is None:
        raise ValueError(
            f"{path} does not tell its wavelength, or as {text!r}: save the whole listing as text, "
            "decimals with a point"
        )
    return _positive(path, "wavelength", _metres(found[1], found[2]))


def _field(path: Path, text: str) -> tuple[tuple[float, float], str]:
    """A point of the field; a single number is its y."""
    found = _FIELD.fullmatch(text)
    if found is None:
        raise ValueError(f"{path} does not tell its field, or as {text!r}")
    first, second, unit = found.groups()
    return ((0.0, float(first)) if second is None else (float(first), float(second))), unit


def _middle(path: Path, text: str, high: int) -> tuple[int, int]:
    """Row from below and column, from 0, in which the axis lies.

    An FFT PSF counts rows from the first that it prints, the largest y; a Huygens PSF from below,
    and names the column first.
    """
    fft = re.search(r"Center point is:\s*row\s*(\d+),\s*column\s*(\d+)", text, re.IGNORECASE)
    if fft is not None:
        return high - int(fft[1]), int(fft[2]) - 1
    huygens = re.search(r"Center point is:\s*(\d+),\s*(\d+)", text)
    if huygens is None:
        raise ValueError(f"{path} does not tell its center point: save the whole listing as text")
    return int(huygens[2]) - 1, int(huygens[1]) - 1


def _check_kept(path: Path, values: np.ndarray, whole: float) -> None:
    """Refuse a part of the window that is dark, and warn of one that lacks much of its light."""
    cut = 1 - values.sum() / whole
    high, wide = values.shape
    kept = f"the {high} by {wide} samples around the middle, which are kept,"
    if not values.any():
        raise ValueError(f"{path}: {kept} are dark: compute the PSF on a window around its middle")
    if cut > _CUT:
        warnings.warn(
            f"{path}: {kept} lack {cut:.1%} of the light in the window: compute the PSF on a "
            "window around its middle",
            UserWarning,
            stacklevel=3,
        )


def _fringe_rms(index: int) -> float:
    """RMS of a polynomial that is 1 at the rim (Wyant and Creath, 1992, table III)."""
    order, frequency = noll_to_nm(index)
    return 1 / math.sqrt((order + 1) * (1 if frequency == 0 else 2))


def _told_rms(path: Path, lines: Sequence[str], of: str) -> float | None:
    """RMS without piston that a listing states, waves."""
    heading = f"From integration of the {of}:"
    if heading not in lines[:-1]:
        return None
    name, _, told = lines[lines.index(heading) + 1].partition(":")
    if not name.startswith("RMS (to chief)") or not told.split():
        return None
    return _number(path, told.split()[0])


def _warn_of_dark(path: Path, lines: Sequence[str]) -> None:
    """Warn of terms that were fitted to a part of the circle."""
    rays, terms = (_told_rms(path, lines, of) for of in ("rays", "fitted coefficients"))
    if rays is None or terms is None or abs(rays - terms) <= _LIT * max(rays, terms) + _LAST:
        return
    warnings.warn(
        f"{path}: the rays have an RMS of {rays:.4g} waves, and the terms, over the whole circle, "
        f"of {terms:.4g}: a part of the circle is dark, by vignetting or a stop, and there the "
        "terms are no wavefront; give the Pupil an aperture that is dark there",
        UserWarning,
        stacklevel=3,
    )


def _check_rms(path: Path, lines: Sequence[str], rms: Mapping[int, float]) -> None:
    """Refuse coefficients whose RMS without piston is not what the listing says of them.

    Warn where it says nothing.
    """
    expected = _told_rms(path, lines, "fitted coefficients")
    if expected is None:
        warnings.warn(
            f"{path} states no RMS of the fitted coefficients: nothing tells whether the terms "
            "were read as they are meant; save the whole listing as text",
            UserWarning,
            stacklevel=3,
        )
        return
    found = math.sqrt(sum(waves**2 for index, waves in rms.items() if index > 1))
    if abs(found - expected) > _SAME * expected + _LAST:
        raise ValueError(
            f"{path}: the terms have an RMS of {found:.6g} waves, and the listing says "
            f"{expected:.6g}: it is damaged, or of polynomials that are not Noll's"
        )
