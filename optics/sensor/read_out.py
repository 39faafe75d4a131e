"""The steps of a sensor as functions, each with the numbers that it needs.

::

    seen ──mean_electrons──► electrons ──counted──► counts ──stored──► charge ──converted──► codes
    0..1   Phi QE PRNU + D t           shot noise    full well, DSNU, binning  / gain, noise, ADC │
                                                                                               │
                                                  picture ◄──developed─────────────────────────┘
                                                   0..1   (codes - black) / (top - black), colours
"""

import math

import torch
from torch import Tensor

from optics.constraint import clip
from optics.fourier import kept
from optics.light.illumination import weighted
from optics.quantity import check_tensor, looked_at, whole_number

from .converter import Converter, digitise
from .mosaic import ColourFilterArray, select
from .noise import Generators, ShotNoise, poisson_counts, poisson_log_likelihood, shot_noise
from .pixel import bin_pixels

__all__ = [
    "channel_values",
    "check_codes",
    "check_exposures",
    "check_irradiance",
    "converted",
    "counted",
    "developed",
    "mean_electrons",
    "shape_developed",
    "stored",
]


def check_irradiance(irradiance: Tensor) -> None:
    """Raise a TypeError unless the irradiance is a Tensor, a ValueError unless floating point."""
    check_tensor("irradiance", irradiance)
    if not irradiance.is_floating_point():
        raise ValueError(
            f"irradiance must be real floating point, full scale 1, not {irradiance.dtype}: "
            "divide codes by their range, as image.float() / 255, and convert them to linear light "
            "with srgb_to_linear; the irradiance of a field is its squared modulus"
        )


def check_exposures(picture: Tensor, exposures: int) -> None:
    """Raise a ValueError unless the channels are those of so many exposures."""
    whole_number("exposures", exposures)
    if picture.ndim > 2 and picture.shape[-3] % exposures:
        raise ValueError(
            f"exposures={exposures} need their channels one after another, [B, {exposures} * C, H, "
            f"W], not {tuple(picture.shape)}"
        )


def check_codes(
    codes: Tensor, exposures: int, cfa: ColourFilterArray | None, *, bit_depth: int | None, top: int
) -> None:
    """Raise a TypeError or a ValueError unless these are the codes of so many exposures.

    Their range is checked only on a CPU: the check would make an accelerator wait.
    """
    check_tensor("codes", codes)
    if not codes.is_floating_point():
        raise ValueError(f"codes must be floating point, DN: give codes.float(), not {codes.dtype}")
    if cfa is None:
        check_exposures(codes, exposures)
    elif codes.ndim != 4 or codes.shape[1] != exposures:
        raise ValueError(
            f"codes behind a colour filter array must be [B, {exposures}, H, W] mosaics, one "
            f"for each of exposures={exposures}, not {tuple(codes.shape)}"
        )
    if looked_at(codes) and not ((codes >= 0) & (codes <= top)).all():
        raise ValueError(
            f"codes must be finite and within 0 to {top} DN, the range of bit_depth={bit_depth}; "
            f"they are {float(codes.min()):g} to {float(codes.max()):g}: give the sensor the "
            "bit_depth of the camera, and leave the black level in the codes"
        )


def channel_values(
    values: tuple[float, ...], picture: Tensor, exposures: int, cfa: ColourFilterArray | None
) -> Tensor:
    """Values of the channels, in a shape that broadcasts with a picture.

    Parameters
    ----------
    values : tuple of C floats
        Quantum efficiencies, or factors computed from them.
    picture : Tensor ``[..., H, W]``
        Picture that they will be multiplied with.
    exposures : int
    cfa : ColourFilterArray, optional
        If given, each pixel has the value of its own channel.

    Returns
    -------
    Tensor ``[exposures * C, 1, 1]``, or ``[1, 1, H, W]`` behind colour filters

    Raises
    ------
    ValueError
        When the picture has the wrong channels.
    """
    device = picture.device
    each = kept(  # in float64 whatever the module was cast to
        ("of channels", values, device),
        lambda: torch.tensor(values, dtype=torch.float64, device=device)[:, None, None],
    ).to(picture)
    if cfa is not None:
        return select(each.expand(-1, *picture.shape[-2:])[None], cfa.indices)
    if picture.ndim < 3 or picture.shape[-3] != exposures * len(values):
        raise ValueError(
            f"the sensor has a quantum_efficiency for each of {len(values)} channels, and takes "
            f"irradiance [B, {exposures} exposures * {len(values)}, H, W], not "
            f"{tuple(picture.shape)}: give one quantum_efficiency, or one for each channel of the "
            "irradiance"
        )
    return each.repeat(exposures, 1, 1)


def _fitting(name: str, pattern: Tensor, picture: Tensor) -> Tensor:
    if picture.shape[-2:] != pattern.shape:
        raise ValueError(
            f"the {name} pattern has {tuple(pattern.shape)} pixels, the picture "
            f"{tuple(picture.shape[-2:])}; give resolution=(H, W) of the picture"
        )
    return pattern.to(picture.dtype)


def mean_electrons(
    seen: Tensor, made: float | Tensor, *, deviations: Tensor | None = None, dark: float = 0.0
) -> Tensor:
    """Mean electrons of each pixel, ``made seen (1 + deviations) + dark``.

    Parameters
    ----------
    seen : Tensor ``[..., H, W]``
        Irradiance on the pixels, full scale 1.
    made : float or Tensor that broadcasts to it, electrons
        Electrons at irradiance 1: photons times quantum efficiency.
    deviations : Tensor ``[H, W]``, optional
        Relative deviations of the pixels' sensitivities; a sensitivity below 0 counts as 0.
    dark : float, electrons
        Electrons of the dark current.

    Returns
    -------
    Tensor of the shape of ``seen``, electrons

    Raises
    ------
    ValueError
        For a pattern of another size.
    """
    mean = seen * made
    if deviations is not None:
        mean = mean * (1 + _fitting("prnu", deviations, seen)).clamp_min(0)
    return mean + dark if dark > 0 else mean


def counted(
    electrons: Tensor,
    *,
    kind: ShotNoise,
    scored: bool = False,
    read_noise: float = 0.0,
    generator: Generators | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Counts with shot noise about the mean ``electrons``, and their log-likelihood if scored.

    ``read_noise``, electrons RMS, is passed to :func:`optics.shot_noise`. It is not used where
    ``kind="score"`` is scored.
    """
    if kind == "score" and scored:
        counts = poisson_counts(electrons, generator=generator)
        return counts, poisson_log_likelihood(counts, electrons)
    return shot_noise(electrons, kind=kind, read_noise=read_noise, generator=generator), None


def stored(
    counts: Tensor, *, full_well: float | None = None, offsets: Tensor | None = None, binning: int
) -> Tensor:
    """Charge to read out: counts up to the full well, plus the offset, binned.

    Parameters
    ----------
    counts : Tensor ``[B, C, H, W]``, electrons
    full_well : float, electrons, optional
    offsets : Tensor ``[H, W]``, electrons, optional
    binning : int

    Returns
    -------
    Tensor ``[B, C, H / binning, W / binning]``, electrons

    Raises
    ------
    ValueError
        For offsets of the wrong size, or blocks that do not tile the picture.
    """
    charge = counts if full_well is None else clip(counts, -math.inf, full_well)
    if offsets is not None:
        charge = charge + _fitting("dsnu", offsets, charge)
    return bin_pixels(charge, binning) if binning > 1 else charge


def converted(
    charge: Tensor,
    inverse: float | Tensor,
    *,
    black_level: float,
    bit_depth: int | None,
    read_noise: float,
    converter: Converter,
    generator: Generators | None = None,
) -> Tensor:
    """Codes of charges: ``charge inverse + black_level``, with read noise, rounded and clipped.

    Parameters
    ----------
    charge : Tensor ``[B, ...]``, electrons
    inverse : float or Tensor that broadcasts to it, DN/electron
        One over the gain.
    black_level : float, DN
    bit_depth : int, optional
    read_noise : float, electrons RMS
        0 if the counts already contain it.
    converter : str
        As in :func:`optics.digitise`.
    generator : torch.Generator or a sequence of them, optional

    Returns
    -------
    Tensor of the shape of ``charge``, DN
    """
    if isinstance(inverse, Tensor):  # infinite charge would make a clipped gradient 0 times inf
        charge = charge.clamp_max(torch.finfo(charge.dtype).max)
    signal = charge * inverse
    if black_level > 0:
        signal = signal + black_level
    return digitise(
        signal,
        bit_depth,
        noise=0.0 if read_noise == 0 else read_noise * inverse,
        estimator="straight_through" if bit_depth is None else converter,
        generator=generator,
    )


def developed(
    codes: Tensor,
    *,
    black_level: float,
    top: float,
    balance: Tensor | None = None,
    full: float | Tensor = 1.0,
    cfa: ColourFilterArray | None = None,
    colour_matrix: Tensor | None = None,
    exposures: int = 1,
) -> Tensor:
    """Measurement of codes: ``(codes - black_level) / (top - black_level)``, in colour.

    Parameters
    ----------
    codes : Tensor ``[B, C, H, W]``, DN
    black_level, top : float, DN
    balance : Tensor that broadcasts to the codes, optional
        Factors of the white balance; the products are limited to ``full``.
    full : float or scalar Tensor
        Measurement of a saturated pixel, full scale 1.
    cfa : ColourFilterArray, optional
        Demosaics, or packs, the mosaics.
    colour_matrix : Tensor ``[C, C]``, optional
        Multiplies the colours of each exposure, last. Its results are not limited: those below 0
        count where exposures are subtracted or averaged.
    exposures : int
        Number of exposures, one after another in the channels.

    Returns
    -------
    Tensor ``[B, C, H, W]``, or as :func:`shape_developed` says

    Raises
    ------
    ValueError
        When the picture has not the channels of the colour matrix.
    """
    picture = codes - black_level if black_level > 0 else codes
    span = top - black_level
    picture = picture if span == 1 else picture / span
    if balance is not None:
        picture = picture * balance
        picture = torch.where(picture > full, full, picture)
    picture = picture if cfa is None else cfa.demosaic(picture)
    return picture if colour_matrix is None else _corrected(picture, colour_matrix, exposures)


def _corrected(picture: Tensor, matrix: Tensor, exposures: int) -> Tensor:
    """Colours of each exposure times a matrix."""
    colours = len(matrix)
    if picture.ndim != 4 or picture.shape[1] != exposures * colours:
        raise ValueError(
            f"colour_matrix is {list(matrix.shape)}, for pictures [B, {exposures} exposures * "
            f"{colours}, H, W], not {list(picture.shape)}: give [C, C] for the C channels of an "
            "exposure"
        )
    each = picture.unflatten(1, (exposures, colours)).flatten(0, 1)
    return weighted(matrix, each).reshape(picture.shape)


def shape_developed(
    channels: int, height: int, width: int, *, binning: int, cfa: ColourFilterArray | None
) -> tuple[int, int, int]:
    """Shape of the measurement for a shape of the irradiance; a ValueError if it does not fit.

    Parameters
    ----------
    channels : int
        Channels of the irradiance, all exposures together.
    height, width : int, pixels
    binning : int
    cfa : ColourFilterArray, optional

    Returns
    -------
    (int, int, int)
        Channels, height and width.
    """
    rows = columns = binning
    made = channels
    if cfa is not None:
        colours = len(cfa.channels)
        made = channels // colours * cfa.picture_channels
        if channels % colours:
            raise ValueError(
                f"a colour filter array of {colours} colours needs {colours} channels for each "
                f"exposure, not {channels} in all"
            )
        if cfa.method == "packed":
            rows, columns = cfa.period
    if height % rows or width % columns:
        what = "binning" if binning > 1 else "the packed mosaic"
        raise ValueError(
            f"{what} needs pictures of whole blocks of {rows} x {columns} pixels, not "
            f"{height} x {width}: choose another size"
        )
    if cfa is not None and cfa.interpolates:
        least = cfa.period if cfa.kernel is None else (4, 4)  # for the mirror at its edges
        if height < least[0] or width < least[1]:
            raise ValueError(
                f"demosaicing={cfa.method!r} needs pictures of at least {least[0]} x {least[1]} "
                f"pixels, not {height} x {width}: choose another size"
            )
    return made, height // rows, width // columns
