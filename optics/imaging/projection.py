"""Distortion, lateral colour and falloff: positions and brightness of the points of a scene.

::

    scene ──► each point to its place, its light spread over its image ──► x cos^4 x flat field
              r_scene = m_c r (1 + k1 r^2 + k2 r^4 + ...)
"""

import math
from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from optics.quantity import (
    as_real,
    check_between,
    check_finite,
    check_real,
    check_scalar,
    check_tensor,
    full_precision,
    hold,
    image_size,
    looked_at,
    whole_number,
)

__all__ = ["Projection", "distort", "distortion_fit", "relative_illumination"]

Surround: TypeAlias = Literal["zero", "replicate"]

_PADDING: dict[str, str] = {"zero": "zeros", "replicate": "border"}
# Number of radii at which a polynomial is checked for a fold.
_LOOKS = 257


def distort(
    scene: Tensor,
    *,
    radial: Tensor | Sequence[float] = (),
    magnification: Tensor | Sequence[float] | None = None,
    boundary: Surround = "replicate",
) -> Tensor:
    """Image of a scene with radial distortion and lateral colour; light is conserved.

    The pixel at radius r from the centre shows the scene at ``r (1 + k1 r^2 + k2 r^4 + ...) / m_c``
    (Brown's polynomial, Photogramm. Eng. 32:444, 1966, from image to scene, so that it need not be
    inverted). The radius is 1 at the corner. Positive terms give barrel distortion, negative ones
    pincushion distortion. A part of the scene that is imaged smaller is brighter, by the ratio of
    the areas: the sum over an image is that over the part of the scene that it shows, if the scene
    is smooth.

    Parameters
    ----------
    scene : Tensor ``[B, C, H, W]``
        Linear light, without distortion.
    radial : Tensor ``[K]`` or a sequence
        Coefficients ``k1, k2, ...``; :func:`distortion_fit` finds those of a lens.
    magnification : Tensor ``[C]`` or ``[1]``, or a sequence, optional
        Magnification of each channel's image, or of all; 1 by default. Different ones give lateral
        colour.
    boundary : {"zero", "replicate"}
        What lies outside of the scene, which a barrel distortion shows.

    Returns
    -------
    Tensor ``[B, C, H, W]``

    Raises
    ------
    TypeError, ValueError
        For anything but real pictures ``[B, C, H, W]``, an unknown boundary, terms or
        magnifications that are not a sequence of numbers, magnifications that are not positive or
        not one per channel, and a polynomial that folds: two points of the image would show the
        same point of the scene.

    Notes
    -----
    The scene is interpolated linearly between its pixels, which lowers contrast: half way between
    two of them to ``cos(pi f)`` at f cycles/pixel. Where the scene is imaged smaller, it is
    aliased: with a barrel distortion of 20 % at the corner, a single bright pixel has 0.9 to 1.4 of
    its light in the image, depending on its position, and all of it in the mean. Sample such a
    scene more finely, and bin the image. Half precision is computed, and returned, in float32, also
    under autocast.
    """
    check_real("scene", scene, "[B, C, H, W]")
    if scene.ndim != 4:
        raise ValueError(f"scene must be [B, C, H, W], not {tuple(scene.shape)}")
    if boundary not in get_args(Surround):
        raise ValueError(f"boundary must be one of {get_args(Surround)}, not {boundary!r}")
    channels = scene.shape[1]
    terms = _terms(radial)
    scales = _scales(magnification, channels).expand(channels)
    _check_monotone(terms)
    with full_precision(scene):
        if scene.dtype != torch.float64:
            scene = scene.float()
        # Defaults of arguments are on the CPU; they are copied without waiting for a GPU.
        terms, scales = (part.to(scene, non_blocking=not scene.is_cpu) for part in (terms, scales))
        y, x = _places(scene.shape[-2], scene.shape[-1], scene)
        square = y.square() + x.square()
        stretch, slope = _polynomial(terms, square)
        # [C, H, W, 2], in the units of grid_sample.
        width, height = _half_sides(*scene.shape[-2:])
        places = torch.stack(torch.broadcast_tensors(x / width, y / height), -1)
        ratio = (stretch / scales[:, None, None])[..., None]
        grid = places * ratio
        seen = functional.grid_sample(
            scene.transpose(0, 1),
            grid,
            mode="bilinear",
            padding_mode=_PADDING[boundary],
            align_corners=False,
        ).transpose(0, 1)
        # Terms trained on an accelerator are not checked and may fold; light stays non-negative.
        return seen * ((stretch * slope).abs() / scales.square()[:, None, None])


def distortion_fit(ideal: Tensor, real: Tensor, *, terms: int = 3) -> Tensor:
    """Coefficients for :func:`distort` from a table of a lens, by least squares.

    Parameters
    ----------
    ideal, real : Tensor ``[N]``
        Image heights without and with distortion, in any common unit, from the axis, where they are
        equal, to the corner of the picture, which is the last of ``real``.
    terms : int
        Number of coefficients.

    Returns
    -------
    Tensor ``[terms]``
        ``k1, k2, ...``. ``torch.compile`` makes no single graph of it, due to torch's least
        squares.

    Raises
    ------
    TypeError
        When a table is not a Tensor.
    ValueError
        For tables of different lengths, shorter than the number of terms, or not increasing; for
        ``terms`` that is not a whole number from 1 on.
    """
    check_tensor("ideal", ideal)
    check_tensor("real", real)
    terms = whole_number("terms", terms)
    fits = ideal.shape == real.shape and ideal.ndim == 1 and len(ideal) >= terms >= 1
    if not fits or not (ideal.is_floating_point() and real.is_floating_point()):
        raise ValueError(
            f"ideal and real must be real [N] with N of at least terms = {terms}, not "
            f"{tuple(ideal.shape)} and {tuple(real.shape)}"
        )
    check_between("ideal", ideal, 0, math.inf, "any unit")
    check_between("real", real, 0, math.inf, "any unit")
    if looked_at(real) and not bool((real.diff() > 0).all() & (real[-1] > 0)):
        raise ValueError(
            "real must increase from the axis to the corner of the picture, its last height, above "
            "0: sort the table, and cut it where the image of the lens folds over"
        )
    if looked_at(ideal) and not bool((ideal.diff() > 0).all()):
        raise ValueError(
            "ideal must increase from the axis to the corner of the picture: sort the table, with "
            "one row for each height"
        )
    radius = real.double() / real[-1]
    powers = radius[:, None] ** (2 * torch.arange(1, terms + 1, device=real.device) + 1)
    wanted = ideal.double() / real[-1] - radius
    return torch.linalg.lstsq(powers, wanted[:, None]).solution[:, 0].to(ideal.dtype)


def relative_illumination(
    size: int | tuple[int, int],
    *,
    half_field: float | Tensor,
    radial: Tensor | Sequence[float] = (),
) -> Tensor:
    """Relative illumination of an image by the cosine-fourth law.

    It is ``cos^4(theta)`` with ``tan(theta) = r_scene tan(half_field)``: the obliquity of pupil and
    sensor, and the square of the longer path (Reiss, J. Opt. Soc. Am. 35:283, 1945). The ratio of
    areas in :func:`distort` comes in addition: together they are ``sin(theta) cos(theta) / theta``
    for a fisheye, ``r = f theta``. Magnifications are neglected, as lateral colour is small.

    Parameters
    ----------
    size : int or (int, int), pixels
        Height and width of the image.
    half_field : float or scalar Tensor, radians
        Field angle of a corner of the scene, below a right angle; its sign does not matter.
    radial : Tensor ``[K]`` or a sequence
        Distortion of the lens, as in :func:`distort`.

    Returns
    -------
    Tensor ``[H, W]``, in 0..1
        Half precision is computed, and returned, in float32.

    Raises
    ------
    TypeError
        When the angle is not one number, or the terms are not a sequence of numbers.
    ValueError
        For a size, angle or terms out of their range.
    """
    height, width = image_size(size)
    angle = _angle(half_field)
    if angle.dtype != torch.float64:
        angle = angle.float()
    terms = _terms(radial).to(angle)
    y, x = _places(height, width, angle)
    square = y.square() + x.square()
    stretch, _ = _polynomial(terms, square)
    return (1 + square * stretch.square() * angle.tan().square()).pow(-2)


class Projection(nn.Module):
    """Distortion, lateral colour and falloff of a lens, for :class:`optics.IncoherentImaging`.

    Parameters
    ----------
    radial, magnification : Tensor or sequence
        As in :func:`distort`; parameters are trained.
    half_field : float or Tensor, radians
        As in :func:`relative_illumination`; 0 has no falloff, and no gradient to learn one.
    flat_field : Tensor ``[H, W]`` or ``[C, H, W]``, optional
        Additional relative illumination in 0..1, such as a measured one.
    boundary : str
        As in :func:`distort`.

    Raises
    ------
    TypeError, ValueError
        As the functions; for a flat field of the wrong shape, or not in 0..1.
    """

    radial: Tensor
    magnification: Tensor | None
    half_field: Tensor
    flat_field: Tensor | None

    def __init__(
        self,
        *,
        radial: Tensor | Sequence[float] = (),
        magnification: Tensor | Sequence[float] | None = None,
        half_field: float | Tensor = 0.0,
        flat_field: Tensor | None = None,
        boundary: Surround = "replicate",
    ) -> None:
        super().__init__()
        if boundary not in get_args(Surround):
            raise ValueError(f"boundary must be one of {get_args(Surround)}, not {boundary!r}")
        terms = _terms(radial)
        _check_monotone(terms)
        angle = _angle(half_field)
        own = torch.get_default_dtype()
        if magnification is not None:
            scales = _scales(magnification, None)
            magnification = scales if isinstance(magnification, Tensor) else scales.to(own)
        if flat_field is not None:
            check_real("flat_field", flat_field, "[H, W] or [C, H, W]")
            if flat_field.ndim > 3:
                raise ValueError(
                    f"flat_field must be [H, W] or [C, H, W], not {tuple(flat_field.shape)}: it is "
                    "one for all pictures"
                )
            check_between("flat_field", flat_field, 0, 1, "relative illumination")
        hold(self, "radial", terms if isinstance(radial, Tensor) else terms.to(own))
        hold(self, "magnification", magnification)
        hold(self, "half_field", angle)
        hold(self, "flat_field", flat_field)
        self.boundary: Surround = boundary

    def forward(self, scene: Tensor) -> Tensor:
        """Distort a ``scene [B, C, H, W]``, see :func:`distort`; the falloff is not applied.

        Raises
        ------
        TypeError, ValueError
            As :func:`distort`; when the flat field has a different number of channels.
        """
        field = self.flat_field
        if field is not None and field.ndim == 3 and len(field) not in (1, scene.shape[1]):
            raise ValueError(
                f"the flat field has {len(field)} channels, the scene {scene.shape[1]}: give "
                "[H, W] for all of them, or one for each"
            )
        if self.magnification is None and len(self.radial) == 0:
            return scene
        return distort(
            scene, radial=self.radial, magnification=self.magnification, boundary=self.boundary
        )

    def illumination(self, size: tuple[int, int]) -> Tensor:
        """Relative illumination of an image: the cosine-fourth law times the flat field.

        Parameters
        ----------
        size : (int, int), pixels
            Height and width.

        Returns
        -------
        Tensor ``[H, W]``, or ``[C, H, W]`` if the flat field has channels

        Raises
        ------
        ValueError
            When the flat field has another size.
        """
        falloff = relative_illumination(size, half_field=self.half_field, radial=self.radial)
        if self.flat_field is None:
            return falloff
        if self.flat_field.shape[-2:] != tuple(size):
            raise ValueError(
                f"the flat field has {tuple(self.flat_field.shape[-2:])} pixels, the picture "
                f"{tuple(size)}"
            )
        return falloff * self.flat_field

    def extra_repr(self) -> str:
        """Name the boundary."""
        return f"boundary={self.boundary!r}"


def _numbers(name: str, given: Tensor | Sequence[float]) -> Tensor:
    if isinstance(given, Tensor):
        return given
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise TypeError(
            f"{name} must be a Tensor or a sequence of numbers, such as (0.1,), not {given!r}"
        )
    given = tuple(given)
    for number in given:
        check_scalar(f"each of {name}", number)
    return torch.tensor([float(number) for number in given], dtype=torch.float64)


def _terms(radial: Tensor | Sequence[float]) -> Tensor:
    terms = as_real("radial", _numbers("radial", radial))
    if terms.ndim != 1:
        raise ValueError(f"radial must be [K], the terms k1, k2, ..., not {tuple(terms.shape)}")
    check_finite("radial", terms.detach())
    return terms


def _angle(half_field: float | Tensor) -> Tensor:
    angle = as_real("half_field", half_field)
    if angle.ndim:
        raise ValueError(f"half_field must be one number, not {tuple(angle.shape)}")
    check_between("half_field", angle, -1.57, 1.57, "radians")
    return angle


def _scales(magnification: Tensor | Sequence[float] | None, channels: int | None) -> Tensor:
    if magnification is None:
        return torch.ones(channels or 1)
    scales = as_real("magnification", _numbers("magnification", magnification))
    if scales.ndim != 1 or (channels is not None and len(scales) not in (1, channels)):
        raise ValueError(
            f"magnification must be [C], one for each of the {channels or 'C'} channels of the "
            f"scene, not {tuple(scales.shape)}"
        )
    check_between("magnification", scales.detach(), 1e-3, 1e3)
    return scales


def _check_monotone(terms: Tensor) -> None:
    if not looked_at(terms) or len(terms) == 0:
        return
    square = torch.linspace(0, 1, _LOOKS, dtype=torch.float64).square()
    stretch, slope = _polynomial(terms.detach().double(), square)
    if bool(((stretch <= 0) | (slope <= 0)).any()):
        raise ValueError(
            f"radial = {terms.detach().tolist()} folds the picture over: r (1 + k1 r^2 + ...) must "
            "increase from the centre to the corner, r = 1"
        )


def _polynomial(terms: Tensor, square: Tensor) -> tuple[Tensor, Tensor]:
    """``1 + k1 r^2 + ...`` and the slope of r times that, from the square of the radius."""
    stretch, slope = torch.ones_like(square), torch.ones_like(square)
    power = torch.ones_like(square)
    for number, term in enumerate(terms.unbind(), start=1):
        power = power * square
        stretch = stretch + term * power
        slope = slope + (2 * number + 1) * term * power
    return stretch, slope


def _half_sides(height: int, width: int) -> tuple[float, float]:
    """Half the width and half the height, in half diagonals."""
    diagonal = math.hypot(height, width)
    return width / diagonal, height / diagonal


def _places(height: int, width: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Positions of rows ``[H, 1]`` and columns ``[W]`` from the centre, in half diagonals."""
    unit = 2 / math.hypot(height, width)
    own = {"device": like.device, "dtype": like.dtype}
    y = (torch.arange(height, **own) - (height - 1) / 2) * unit
    x = (torch.arange(width, **own) - (width - 1) / 2) * unit
    return y[:, None], x
