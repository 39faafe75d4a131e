"""A camera given by its point-spread function: computed elsewhere, or a picture of a point source.

::

    file ──► [C, H, W] ─┬─ psf: shares of the light ───────┬─ resampled ─► window [C, k, k]
                        └─ picture: optics.measured_psf ───┘   sum = throughput <= 1
    where the PSF changes across the scene, the file has one for each place: [P, Q, C, H, W]
"""

import math
import warnings
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
from PIL import Image, ImageOps
from pydantic import Field, field_validator, model_validator
from torch import Tensor
from torch.nn import functional

import optics
from classify.data.sixteen import grey_codes, sixteen_bits, whole_codes
from joint.caution import caution
from joint.settings import ConfigError, Settings
from optics.imaging.kernel import raw_taps

from .bands import Wavelengths, check_bands
from .colour import ColourConfig, build_colour
from .off_axis import check_rank, varying_imaging

__all__ = ["PSFConfig", "build_psf", "read_psf"]

_PICTURES = (".tif", ".tiff", ".png")
# Listed, so that Pillow opens a file from a stranger with no other reader.
_FORMATS = ("TIFF", "PNG")
# Grey of 8, 16 or 32 bits or floats, and colours; no palette, and no opacity.
_MODES = ("L", "I", "F", "RGB")
# Pixels of a picture, 1448 along a side: measuring a picture of so many takes half a gigabyte.
_MOST = 2**21
# Smallest initial tap of a trained PSF; 1000 of them are 1e-4 of the light.
_DARK = 1e-7
# A border counts as a pedestal if the means of its quarter sides differ by at most this factor, the
# peak exceeds the brightest mean by this factor, and a background at the darkest mean over the
# whole window would hold more than this share of the light. Tails, speckle and kernels that fill
# their window do not count; rings and plateaus count only if the window cuts most of them off.
_ALIKE, _ABOVE, _PEDESTAL = 1.35, 2.0, 0.1
# Metres: no pixel is wider, so that a larger value was given in micrometres or millimetres.
_WIDEST = 1e-3
# Eigen-PSFs by default, where there are as many places.
_RANK = 16


class PSFConfig(Settings):
    """A camera given by its point-spread function, see optics.IncoherentImaging.

    The file is read at the start of a run. The PSF is then part of the weights, so that a run
    folder on another machine does not need the file.
    """

    kind: Literal["psf"] = "psf"
    file: Path | None = None
    """The PSF, [H, W] for all channels or [C, H, W]: .npy, or grey or RGB .tif or .png, where pages
    of a TIFF are channels. Without a file the PSF is a point, from which a trained PSF may
    begin."""
    places: tuple[int, int] | None = None
    """Rows and columns of places, from border to border of the scene, for which the file has PSFs:
    a .npy [P, Q, H, W] or [P, Q, C, H, W]. Between them, PSFs are interpolated, see
    optics.VaryingImaging. By default there is one PSF for the whole scene."""
    rank: int | None = Field(default=None, ge=1)
    """Number of eigen-PSFs that represent the PSFs of the places; each costs a convolution. By
    default 16, or the number of places if that is less."""
    content: Literal["psf", "picture"] = "psf"
    """psf: shares of a point's light, used as they are, with the axis at [H // 2, W // 2] and no
    light outside the file. picture: a linear picture of a point source, such as the codes of a
    camera, whose background and noise are removed, see optics.measured_psf."""
    throughput: float | tuple[float, ...] | None = None
    """Share of the light that the optics transmit, up to 1; give several for the channels. In each
    place the PSF is scaled to this sum. By default a PSF keeps its own sum; a picture needs a
    throughput."""
    spacing: float | None = Field(default=None, gt=0)
    """Distance between the file's samples, metres, to be given with pixel_pitch; by default one
    sample is one pixel."""
    pixel_pitch: float | None = Field(default=None, gt=0)
    """Distance between the sensor's pixels, metres; at least spacing."""
    pixel: Literal["area", "centre"] = "area"
    """Light of a pixel that is wider than a sample: area integrates over the pixel; centre takes
    the light at its centre times its area, as a lens with oversample=1 does."""
    centre: Literal["common", "each", "kept"] = "common"
    """Axis in a picture. common: the centroid of all channels; each: the centroid of each channel;
    kept: [H // 2, W // 2], as for a psf."""
    background: float | None = None
    """Background of a picture, in its unit; by default the mean along its border."""
    noise: float | None = Field(default=None, ge=0)
    """Standard deviation of a dark pixel of a picture, in its unit; by default that of the
    border."""
    psf_size: int = Field(default=31, ge=1)
    """Side of the window that holds the PSF, an odd number of pixels. Light of a psf outside it is
    lost; for a picture the window holds the whole throughput."""
    trained: bool = False
    """Train the PSF as an optics.LearnedKernel of one exposure that starts from it and never
    transmits more light than arrives. If false, the PSF is fixed."""
    restoration: float | None = Field(default=None, gt=0)
    """Initial noise-to-signal ratio at the Nyquist frequency of an optics.Wiener, which learns to
    undo the blur of a fixed PSF after the sensor; by default the blur stays."""
    colour: ColourConfig = ColourConfig()
    """Lamps and filters that make the channels from the bands of the scenes, each of which has a
    PSF; by default each band is a channel."""
    wavelengths: Wavelengths | None = None
    """Wavelengths of the bands of the scenes, metres; colour.start='camera' needs them."""
    boundary: optics.Boundary = "replicate"
    """How the picture is continued beyond its border."""

    @field_validator("file")
    @classmethod
    def _readable(cls, file: Path | None) -> Path | None:
        if file is not None and file.suffix.lower() not in (".npy", *_PICTURES):
            raise ValueError(f"{file} must end in .npy, {', '.join(_PICTURES)}")
        return file

    @field_validator("throughput")
    @classmethod
    def _passive(
        cls, throughput: float | tuple[float, ...] | None
    ) -> float | tuple[float, ...] | None:
        for share in _several(throughput):
            if not 0 < share <= 1:
                raise ValueError(f"throughput is a share of the light, above 0 to 1, not {share:g}")
        return throughput

    @field_validator("psf_size")
    @classmethod
    def _odd(cls, size: int) -> int:
        if size % 2 == 0:
            raise ValueError(f"psf_size must be odd, so that a pixel is in the middle, not {size}")
        return size

    @model_validator(mode="after")
    def _of_use(self) -> Self:
        if (self.spacing is None) != (self.pixel_pitch is None):
            raise ValueError(
                "give both spacing, of the file's samples, and pixel_pitch, of the sensor, in "
                "metres, or neither"
            )
        if self.spacing and self.pixel_pitch and self.pixel_pitch < self.spacing * (1 - 1e-9):
            raise ValueError(
                f"pixel_pitch={self.pixel_pitch:g} m is finer than spacing={self.spacing:g} m: "
                "interpolation cannot add detail that the file does not have"
            )
        of_pictures = (self.centre, self.background, self.noise)
        if self.content == "psf" and of_pictures != ("common", None, None):
            raise ValueError("centre, background and noise are for content='picture' only")
        if self.content == "picture" and self.file is not None and self.throughput is None:
            raise ValueError(
                "a picture does not show how much light the optics transmit: give its throughput, "
                "above 0 to 1"
            )
        if self.trained and self.restoration is not None:
            raise ValueError(
                "restoration undoes the blur of a fixed PSF: set either restoration or trained"
            )
        self._check_places()
        self._check_colour()
        return self

    def _check_places(self) -> None:
        if self.places is None:
            if self.rank is not None:
                raise ValueError("rank is for PSFs of several places: give places, too")
            return
        if min(self.places) < 1 or self.places == (1, 1):
            raise ValueError(
                f"places are rows and columns, together two or more, not {self.places}: leave them "
                "out for one PSF"
            )
        if self.rank is not None:
            check_rank(self.rank, self.places)
        if self.trained or self.restoration is not None:
            other = "trained" if self.trained else "restoration"
            raise ValueError(
                f"{other} needs one PSF for the whole scene: set only one of {other} and places"
            )

    def _check_colour(self) -> None:
        if not self.colour.mixes:
            return
        if self.trained or self.restoration is not None:
            other = "trained" if self.trained else "restoration"
            raise ValueError(
                f"{other} needs one PSF per channel, but colour makes each channel from several "
                "bands with their own PSFs: set one of the two"
            )
        if self.colour.start == "camera" and self.wavelengths is None:
            raise ValueError(
                "colour.start='camera' depends on the wavelengths of the bands, metres: give them"
            )


def build_psf(config: PSFConfig, channels: int) -> optics.FrontEnd:
    """Build the camera of a PSF for scenes with this number of channels.

    Parameters
    ----------
    config : PSFConfig
    channels : int
        Channels of the scenes.

    Returns
    -------
    optics.FrontEnd
        An :class:`optics.IncoherentImaging`, an :class:`optics.VaryingImaging` for several places,
        or an :class:`optics.LearnedKernel` if trained. Its state dict holds the PSF and has the
        same shapes for every file.

    Raises
    ------
    ConfigError
        As :func:`read_psf`.
    """
    psf = read_psf(config, channels).to(torch.get_default_dtype())
    colour = _colour(config, channels)
    if config.places is not None:
        rank = min(_RANK, math.prod(config.places)) if config.rank is None else config.rank
        return varying_imaging(psf, rank=rank, colour=colour, boundary=config.boundary)
    if not config.trained:
        restoration = None if config.restoration is None else optics.Wiener(config.restoration)
        return optics.IncoherentImaging(
            psf, restoration=restoration, colour=colour, boundary=config.boundary
        )
    point = torch.zeros(1, config.psf_size, config.psf_size)
    kernel = optics.LearnedKernel(point, channels=channels, signed=False, boundary=config.boundary)
    # LearnedKernel's inverse would start dark taps at 7e-5, which sums to a veil over a window.
    with torch.no_grad():
        kernel.raw.copy_(raw_taps(psf[None, None, :, None], darkest=_DARK))
    return kernel


def _colour(config: PSFConfig, channels: int) -> optics.ColourChannels | None:
    bands = config.wavelengths
    check_bands(bands, channels)
    # Filters from equal parts of the bands, or from given rows, need only the number of bands.
    return build_colour(config.colour, [math.nan] * channels if bands is None else bands)


def read_psf(config: PSFConfig, channels: int) -> Tensor:
    """PSFs of a configuration on the sensor's pixels; each sums to the light it transmits.

    Parameters
    ----------
    config : PSFConfig
    channels : int
        Channels of the scenes.

    Returns
    -------
    Tensor, float64 ``[channels, psf_size, psf_size]``
        With several places ``[P, Q, channels, psf_size, psf_size]``.

    Raises
    ------
    ConfigError
        When the file cannot be read, has another number of channels or places, sums to more than 1,
        or has a channel without light in the window; the message names the file and the remedy. For
        a pixel_pitch above a millimetre, which was probably given in micrometres.

    Warns
    -----
    UserWarning
        When the border of a psf is uniform, and so bright that a background of that level would
        hold more than a tenth of its light. For a picture as :func:`optics.measured_psf`.
    """
    shares = _several(config.throughput)
    if len(shares) not in (0, 1, channels):
        raise ConfigError(
            f"front_end.throughput names {len(shares)} shares, but the scenes have {channels} "
            "channels: give one for all, or one a channel"
        )
    passed = torch.tensor(shares or (1.0,), dtype=torch.float64)[:, None, None]
    if config.file is None:
        point = torch.ones(*(config.places or ()), channels, 1, 1, dtype=torch.float64)
        return passed * _window(point, config.psf_size)
    # Checked here and not in PSFConfig: a saved run may have both lengths in another unit, and its
    # PSF is right, because only their ratio counts.
    if config.pixel_pitch is not None and config.pixel_pitch > _WIDEST:
        raise ConfigError(
            f"front_end.pixel_pitch={config.pixel_pitch:g} m is wider than any pixel, {_WIDEST:g} "
            f"m: give all lengths in metres; {config.pixel_pitch:g} micrometres are "
            f"{config.pixel_pitch * 1e-6:g}"
        )
    try:
        given = _read(config.file)
        places = [given] if config.places is None else _as_places(given, config.places)
        places = [_as_channels(own, channels) for own in places]
        psf = torch.stack([_shared(own, config, passed if shares else None) for own in places])
        if config.content == "psf":
            _warn_of_pedestal(torch.cat(places))
        _check_light(psf, config.psf_size)
        return psf[0] if config.places is None else psf.unflatten(0, config.places)
    except Exception as error:  # Pillow and NumPy raise nearly anything on a damaged file
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ConfigError(f"front_end.file {config.file}: {reason}") from error


def _as_places(given: np.ndarray, places: tuple[int, int]) -> np.ndarray:
    """PSFs of a file by place, ``[P * Q, (C,) H, W]``."""
    if given.ndim not in (4, 5) or given.shape[:2] != places:
        rows, columns = places
        raise ValueError(
            f"PSFs of {rows} x {columns} places must be [{rows}, {columns}, H, W] or [{rows}, "
            f"{columns}, C, H, W], not {given.shape}: see front_end.places"
        )
    return given.reshape(-1, *given.shape[2:])


def _shared(given: Tensor, config: PSFConfig, passed: Tensor | None) -> Tensor:
    """PSF ``[C, k, k]`` from the values ``[C, H, W]`` of a file, scaled to the sums ``passed``."""
    if config.content == "picture":
        assert passed is not None  # PSFConfig refuses a picture without a throughput
        return passed * _measured(given, config, config.psf_size)
    return _window(_on_pixels(_scaled(given, passed), config), config.psf_size)


def _warn_of_pedestal(psf: Tensor) -> None:
    """Warn if one of the PSFs ``[N, H, W]`` has a uniform bright border, as a background makes."""
    sides = psf[:, 0], psf[:, -1], psf[..., 0], psf[..., -1]
    parts = [part.mean(1) for side in sides for part in side.chunk(4, 1)]
    darkest, brightest = torch.stack(parts).aminmax(dim=0)
    share = darkest * psf[0].numel() / psf.sum((1, 2))
    even = (brightest <= _ALIKE * darkest) & (_ABOVE * brightest < psf.amax((1, 2)))
    found = float(torch.where(even, share, 0.0).max())
    if found > _PEDESTAL:
        caution(
            f"the border of this PSF is as bright all around as a background that holds "
            f"{100 * found:.0f} % of its light, which counts as part of the PSF: if the file is a "
            "picture of a point source, give front_end.content='picture', which removes the "
            "background; if it is a PSF, its window cuts off the light further out"
        )


def _check_light(psf: Tensor, size: int) -> None:
    """Refuse PSFs ``[P * Q, C, k, k]`` if a channel is dark in all places."""
    for channel, light in enumerate(psf.sum((0, 2, 3)).tolist()):
        if light == 0:
            raise ValueError(
                f"channel {channel} has no light in the window of psf_size={size} pixels about the "
                "middle [H // 2, W // 2]: give a PSF with light there, or a larger psf_size"
            )


def _several(throughput: float | tuple[float, ...] | None) -> tuple[float, ...]:
    if throughput is None:
        return ()
    return throughput if isinstance(throughput, tuple) else (throughput,)


def _read(path: Path) -> np.ndarray:
    """Values ``[H, W]`` or ``[C, H, W]`` of a file."""
    if path.suffix.lower() == ".npy":
        # Not np.load, which treats any other file as a pickle, and advises to load it unsafely.
        return np.lib.format.open_memmap(path, mode="r")
    pages = []
    with Image.open(path, formats=_FORMATS) as picture:
        count = getattr(picture, "n_frames", 1)
        for number in range(count):
            picture.seek(number)
            pixels = (len(pages) + 1) * picture.width * picture.height
            if pixels > _MOST:
                raise ValueError(
                    f"a picture of a PSF has up to {_MOST} pixels, all pages together, and this "
                    f"one {pixels} or more: crop it to the surroundings of the point"
                )
            pages.append(_page(picture, path, number))
    if count > 1 and any(page.shape != pages[0].shape or page.ndim != 2 for page in pages):
        raise ValueError("its pages, which are the channels, must be grey and of one size")
    return np.stack(pages) if count > 1 else pages[0]


def _page(picture: Image.Image, path: Path, number: int) -> np.ndarray:
    """Values ``[H, W]`` or ``[3, H, W]`` of a page that is not loaded yet, with all their bits."""
    if picture.mode == "RGB" and sixteen_bits(picture):

        def opened() -> Image.Image:
            again = Image.open(path, formats=_FORMATS)
            again.seek(number)
            return again

        return np.moveaxis(whole_codes(opened), 2, 0)
    if picture.mode not in _MODES and not picture.mode.startswith("I;16"):
        raise ValueError(f"a picture is grey or RGB, without opacity, not {picture.mode}")
    if picture.mode.startswith("I;16"):
        return grey_codes(picture)
    values = np.asarray(ImageOps.exif_transpose(picture))
    return np.moveaxis(values, 2, 0) if values.ndim == 3 else values


def _as_channels(given: np.ndarray, channels: int) -> Tensor:
    """Float64 ``[channels, H, W]`` from one PSF for all channels or one for each."""
    if given.ndim not in (2, 3) or given.size == 0 or given.dtype.kind not in "buif":
        several = " (give front_end.places for PSFs of several)" if given.ndim in (4, 5) else ""
        raise ValueError(
            f"a PSF must be real [H, W] or [C, H, W], not {given.dtype} {given.shape}{several}"
        )
    if not np.isfinite(given).all():
        raise ValueError("a PSF must be finite; it has nan or inf")
    psf = torch.from_numpy(given.astype(np.float64))
    psf = psf[None] if psf.ndim == 2 else psf
    if len(psf) not in (1, channels):
        last = " (an array [H, W, C] is turned by numpy.moveaxis(psf, -1, 0))"
        raise ValueError(
            f"it has {len(psf)} channels, {tuple(psf.shape)}, and the scenes have {channels}: give "
            f"one for all, or one a channel{last if psf.shape[-1] in (1, channels) else ''}"
        )
    return psf.expand(channels, -1, -1)


def _scaled(psf: Tensor, passed: Tensor | None) -> Tensor:
    """Shares of the light, each channel scaled to the sum ``passed``, or kept if that is None."""
    if bool((psf < 0).any()):
        raise ValueError(
            f"a PSF is not negative, and its least value is {float(psf.min()):.4g}: for a picture "
            "of a point source, give front_end.content='picture' and front_end.throughput, which "
            "removes its background and noise; set the negative values of a PSF to 0"
        )
    light = psf.sum((-2, -1), keepdim=True)
    if passed is not None:
        if not bool((light > 0).all()):
            raise ValueError("a channel has no light and cannot be scaled to a throughput")
        return psf * (passed / light)
    brightest = float(light.max())
    if brightest > 1 + 1e-5:
        scale = "give front_end.throughput, to which it is then scaled"
        if bool((psf == psf.round()).all()):
            scale = (
                "whole numbers are those of a picture of a point source, for which give "
                "front_end.content='picture' and front_end.throughput; of a PSF without a "
                f"background, {scale}"
            )
        raise ValueError(
            f"a PSF sums to the share of the light that it transmits, at most 1, but this one to "
            f"{brightest:.9g}: {scale}"
        )
    return psf


def _on_pixels(psf: Tensor, config: PSFConfig) -> Tensor:
    """A PSF resampled from its own samples to the sensor's pixels, with all of its light."""
    if config.spacing is None or config.pixel_pitch is None:
        return psf
    ratio = config.pixel_pitch / config.spacing
    # Padded with dark: the pixels reach beyond the border of the PSF, and no light is cut off.
    padded = functional.pad(psf, [math.ceil(ratio) + 1] * 4)
    size = math.floor(padded.shape[-2] / ratio), math.floor(padded.shape[-1] / ratio)
    light = psf.sum((-2, -1), keepdim=True)
    computed = config.model_copy(update={"background": 0.0, "noise": 0.0, "centre": "kept"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # meant for pictures: side lobes are no second source
        return light * _measured(padded, computed, size)


def _measured(picture: Tensor, config: PSFConfig, size: int | tuple[int, int]) -> Tensor:
    """A PSF ``[C, h, w]`` of sum 1."""
    return optics.measured_psf(
        picture,
        size=size,
        background=config.background,
        noise=config.noise,
        centre=config.centre,
        picture_pitch=config.spacing,
        pixel_pitch=config.pixel_pitch,
        pixel=config.pixel,
    )


def _window(psf: Tensor, size: int) -> Tensor:
    """The ``size`` pixels around ``[H // 2, W // 2]``, with dark padding outside the PSF."""
    rows, columns = psf.shape[-2:]
    above, before = size // 2 - rows // 2, size // 2 - columns // 2
    return functional.pad(psf, [before, size - columns - before, above, size - rows - above])
