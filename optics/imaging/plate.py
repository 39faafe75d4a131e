"""Plates in the Fourier plane: complex transmissions of known elements.

Frequencies are in cycles per pixel of the picture, on the centred grid ``(i - N // 2) / N`` of
:func:`optics.frequencies`; angles turn from +fx to +fy. A round plate is anti-aliased: samples at
its rim are covered in part, so that its radius has a gradient.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from optics.constraint import clip
from optics.fourier import phasor
from optics.grid import frequencies
from optics.quantity import (
    check_between,
    check_finite,
    check_positive,
    check_scalar,
    check_tensor,
    device_for,
    image_size,
    index_of,
    one_number,
)
from optics.wave.zernike import chosen_indices, zernike

__all__ = [
    "FilterStart",
    "dark_field",
    "filter_start",
    "gaussian_pass",
    "knife_edge",
    "phase_contrast",
    "spiral",
    "zernike_filter",
]

FilterStart = Literal[
    "open",
    "spiral",
    "dark_field",
    "knife_edge",
    "phase_contrast",
    "low_pass",
    "high_pass",
    "band_pass",
    "random",
]
#: Those with a stop for the zero order, of a radius.
STOPPED: tuple[FilterStart, ...] = ("dark_field", "phase_contrast")


def spiral(
    size: int | tuple[int, int], *, charge: int = 1, device: torch.device | str | None = None
) -> Tensor:
    """Spiral phase plate ``exp(i charge phi)``: makes edges of any direction bright.

    Parameters
    ----------
    size : int or (int, int)
        Samples (H, W) of the Fourier plane.
    charge : int
        Number of 2 pi turns of the phase around the zero order, which is blocked; not 0.
    device : torch.device, optional
        Of the result.

    Returns
    -------
    Tensor, complex128 ``[H, W]``
        Transmission (amplitude).

    Raises
    ------
    ValueError
        When the charge is 0 or not a whole number.

    Notes
    -----
    Fürhapter, Jesacher, Bernet, Ritsch-Marte, Opt. Express 13:689 (2005). A sample at
    -1/2 cycles/pixel, on the rim of an even grid, also represents +1/2 and has the mean of both
    values, so that the image of a point is dark on its axis for every odd charge.
    """
    if not index_of(charge):
        raise ValueError(f"charge must be a whole number of turns, not 0, but is {charge}")
    fy, fx, radius = _plane(size, device)
    vortex = _mean_on_the_rim(lambda y, x: phasor(charge * torch.atan2(y, x)), fy, fx)
    return torch.where(radius > 0, vortex, 0.0)


def knife_edge(
    size: int | tuple[int, int],
    *,
    angle: float | Tensor = 0.0,
    device: torch.device | str | None = None,
) -> Tensor:
    """Knife edge through the zero order: makes gradients of phase or index bright or dark.

    It passes ``fx cos(angle) + fy sin(angle) > 0`` and blocks the other half plane (Foucault test;
    schlieren: Settles, Schlieren and Shadowgraph Techniques, 2001). A sample with the fraction c in
    the open half has ``t = sin(pi c / 2)``: on the edge itself half of the light passes, and two
    opposite edges together pass all of it at every frequency. On the rim of an even grid, where a
    sample represents -1/2 and +1/2 cycles/pixel, c is the mean of both, so that opposite edges are
    mirror images.

    Parameters
    ----------
    size : int or (int, int)
        Samples (H, W) of the Fourier plane.
    angle : float or Tensor ``[...]``, radians
        Direction of the open side. A tensor carries a gradient.
    device : torch.device, optional
        Of the result; by default that of ``angle``.

    Returns
    -------
    Tensor, complex128 ``[..., H, W]``
        Transmission (amplitude).

    Raises
    ------
    ValueError
        For an angle that is not finite.
    """
    check_finite("angle", angle, "radians")
    height, width = image_size(size)
    fy, fx, _ = _plane(size, device_for(device, angle))
    angle = _number(angle, fy)
    cosine, sine = angle.cos(), angle.sin()
    # Half of the sample's rectangle 1/W x 1/H, projected on the normal of the edge.
    across, down = cosine.abs() / (2 * width), sine.abs() / (2 * height)
    long, short = torch.maximum(across, down), torch.minimum(across, down)

    def covered(fy: Tensor, fx: Tensor) -> Tensor:
        distance = fx * cosine + fy * sine
        depth = distance.abs()
        corner = (long + short - depth).clamp_min(0.0)
        # Only a corner of the sample lies beyond the edge; without an inclination there is none.
        beyond = corner.square() / (8 * long * torch.maximum(short, 1e-9 * long))
        part = torch.where(depth <= long - short, 0.5 + depth / (2 * long), 1 - beyond)
        part = torch.where(depth >= long + short, 1.0, part)
        return torch.where(distance < 0, 1 - part, part)

    amplitude = torch.sin(torch.pi / 2 * _mean_on_the_rim(covered, fy, fx))
    return torch.complex(amplitude, torch.zeros_like(amplitude))


def dark_field(
    size: int | tuple[int, int],
    *,
    stop: float | Tensor = 0.0,
    ring: tuple[float, float] | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Round stop on the zero order: blocks undiffracted light and passes scattered light.

    This is the dark-ground method (Born and Wolf, Principles of Optics, sec. 8.6.3).

    Parameters
    ----------
    size : int or (int, int)
        Samples (H, W) of the Fourier plane.
    stop : float or Tensor ``[...]``, cycles/pixel
        Radius of the stop. Its soft edge, linear over one sample, gives a gradient. The zero
        frequency is blocked at any radius.
    ring : (float, float), cycles/pixel, optional
        Inner and outer radius of a stop that is a ring, see :func:`phase_contrast`.
    device : torch.device, optional
        Of the result; by default that of ``stop``.

    Returns
    -------
    Tensor, complex128 ``[..., H, W]``
        Transmission (amplitude).

    Raises
    ------
    ValueError
        For a radius that is negative or not finite, or a ring as :func:`phase_contrast` says.
    """
    amplitude = 1 - _covered(size, stop, ring, device_for(device, stop))
    return torch.complex(amplitude, torch.zeros_like(amplitude))


def phase_contrast(
    size: int | tuple[int, int],
    *,
    shift: float | Tensor = math.pi / 2,
    stop: float | Tensor = 0.0,
    transmittance: float | Tensor = 1.0,
    ring: tuple[float, float] | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Zernike's phase plate: shifts the phase of the zero order and may attenuate it.

    With a shift of ``+pi/2`` a weak phase phi, ``exp(i phi)``, is imaged as ``1 + 2 phi``; with
    ``-pi/2`` as ``1 - 2 phi`` (Zernike, Physica 9:686, 1942; Goodman, sec. 8.1.3). Attenuation of
    the zero order raises the contrast. A sample at the rim of the plate has the weighted mean of
    both amplitudes, and loses light: half of it, with ``|t| = 0.71``, if the plate covers half of
    the sample and shifts by ``pi/2``.

    Parameters
    ----------
    size : int or (int, int)
        Samples (H, W) of the Fourier plane.
    shift : float or Tensor ``[...]``, radians
        Phase ``exp(i shift)`` of the zero order.
    stop : float or Tensor ``[...]``, cycles/pixel
        Radius of the plate; see :func:`dark_field`.
    transmittance : float or Tensor ``[...]``, in [0, 1]
        Fraction ``|t|^2`` of the light that passes the plate. Below 1e-12 the root is linear.
    ring : (float, float), cycles/pixel, optional
        Inner and outer radius of an annular plate, for light of an annular condenser:
        :func:`optics.annular_source` within these radii. It replaces the plate on the zero order,
        which then passes unchanged; ``stop`` must not be given.
    device : torch.device, optional
        Of the result; by default that of the tensors given.

    Returns
    -------
    Tensor, complex128 ``[..., H, W]``
        Transmission (amplitude), with gradients to all three.

    Raises
    ------
    ValueError
        For a value that is not finite or out of its range, a ring whose inner radius is not
        positive and below the outer one, or one with a stop.
    """
    check_finite("shift", shift, "radians")
    check_between("transmittance", transmittance, 0.0, 1.0, "a share of the light")
    plate = _covered(size, stop, ring, device_for(device, shift, stop, transmittance))
    share = _number(transmittance, plate)
    amplitude = share / share.clamp_min(1e-12).sqrt()
    return (1 - plate) + plate * amplitude * phasor(_number(shift, plate))


def zernike_filter(
    size: int | tuple[int, int],
    *,
    coefficients: Tensor,
    cutoff: float,
    indices: Sequence[int] | None = None,
) -> Tensor:
    """Coherent transfer function of a circular pupil with a wavefront of Zernike polynomials.

    It is ``P(-lambda f_l f)`` (Goodman, Fourier Optics, eq. 7-20), where P is ``exp(2 pi i W)``
    within the rim, as for an :class:`Aberration` in a :class:`Pupil`: light is deflected towards
    increasing W.

    Parameters
    ----------
    size : int or (int, int)
    coefficients : Tensor ``[J]``, waves RMS
    cutoff : float, cycles/pixel
        Radius of the aperture; the coherent cut-off frequency ``D p / (2 lambda f)``.
    indices : sequence of int, optional
        Noll indices, by default ``1, ..., J``.

    Returns
    -------
    Tensor, complex128 ``[H, W]``, 0 beyond the cut-off

    Raises
    ------
    TypeError
        When the coefficients are not a Tensor, the cut-off not one number, or the indices not a
        sequence.
    ValueError
        When the cut-off is not positive, the coefficients are not finite ``[J]``, empty or complex,
        or the number of indices differs.
    """
    check_scalar("cutoff", cutoff, "cycles/pixel")
    check_positive("cutoff", cutoff, "cycles/pixel")
    check_tensor("coefficients", coefficients)
    if coefficients.is_complex():
        raise ValueError(f"coefficients must be real, in waves RMS, not {coefficients.dtype}")
    chosen = chosen_indices(indices, coefficients.numel())
    if not chosen:
        raise ValueError("coefficients must hold at least one, in waves RMS: give [0.0] for none")
    if coefficients.ndim != 1 or len(chosen) != len(coefficients):
        raise ValueError(
            f"coefficients must be [J], one for each of the {len(chosen)} Noll indices, not "
            f"{tuple(coefficients.shape)}"
        )
    check_finite("coefficients", coefficients, "waves RMS")
    fy, fx, radius = _plane(size, coefficients.device)
    rho, theta = radius / cutoff, torch.atan2(-fy, -fx)
    basis = torch.stack([zernike(index, rho.clamp_max(1.0), theta) for index in chosen])
    waves = torch.einsum("j,jyx->yx", coefficients.double(), basis)
    return (rho <= 1) * phasor(2 * math.pi * waves)


def gaussian_pass(
    size: int | tuple[int, int],
    *,
    low: float | Tensor | None = None,
    high: float | Tensor | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Gaussian low, high or band pass: frequencies from ``low`` to ``high`` pass.

    ``exp(-f^2 ln 2 / high^2) (1 - exp(-f^2 ln 2 / low^2))``: each factor is one half, in
    amplitude, at its cut-off.

    Parameters
    ----------
    size : int or (int, int)
        Samples (H, W) of the Fourier plane.
    low : float or Tensor ``[...]``, cycles/pixel, optional
        Lower cut-off; without it low frequencies pass.
    high : float or Tensor ``[...]``, cycles/pixel, optional
        Upper cut-off; without it high frequencies pass.
    device : torch.device, optional
        Of the result; by default that of the tensors given.

    Returns
    -------
    Tensor, complex128 ``[..., H, W]``
        Transmission (amplitude), real, in [0, 1], with gradients to both.

    Raises
    ------
    ValueError
        For a cut-off that is not positive, or floats with ``low >= high``.
    """
    if low is None and high is None:
        raise ValueError("give low, high or both, in cycles/pixel")
    device = device_for(device, low, high)
    squared = math.log(2) * _plane(size, device)[2].square()
    amplitude = torch.ones_like(squared)
    if low is not None:
        check_positive("low", low, "cycles/pixel")
        amplitude = amplitude * -torch.expm1(-squared / _number(low, squared).square())
    if high is not None:
        check_positive("high", high, "cycles/pixel")
        amplitude = amplitude * torch.exp(-squared / _number(high, squared).square())
    if not (
        low is None
        or high is None
        or isinstance(low, Tensor)  # learned cut-offs may cross
        or isinstance(high, Tensor)
        or low < high
    ):
        raise ValueError(f"low must be below high, in cycles/pixel, not {low:g} and {high:g}")
    return torch.complex(amplitude, torch.zeros_like(amplitude))


def filter_start(
    name: FilterStart,
    size: int | tuple[int, int],
    *,
    stop_radius: float | None = None,
    ring: tuple[float, float] | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Transmissions of known Fourier-plane elements by name.

    Parameters
    ----------
    name : str
        ``open``; ``spiral``, ``dark_field``, ``knife_edge`` and ``phase_contrast``, the functions
        of these names; ``low_pass`` (half at 0.1 cycles/pixel), ``high_pass`` (half at 0.05) and
        ``band_pass`` (both), see :func:`gaussian_pass`; ``random``, uniform random phases.
    size : int or (int, int)
        Samples (H, W) of the Fourier plane.
    stop_radius : float, cycles/pixel, optional
        Radius of the zero-order stop of ``dark_field`` and ``phase_contrast``, which alone have
        one; the zero frequency alone by default.
    ring : (float, float), cycles/pixel, optional
        Inner and outer radius of their plate, where it is a ring instead.
    generator : torch.Generator, optional
        Source of ``random``.

    Returns
    -------
    Tensor, complex128 ``[H, W]``
        Transmission (amplitude), zero frequency at ``[H // 2, W // 2]``.

    Raises
    ------
    ValueError
        For an unknown name, or a stop that is negative, reaches beyond the highest frequency, as
        one in samples does, or is given for a filter without one; for an invalid ring, or a ring
        together with a stop.
    """
    if name not in get_args(FilterStart):
        raise ValueError(f"no filter is called {name!r}; choose from {get_args(FilterStart)}")
    stop = 0.0 if stop_radius is None else one_number("stop_radius", stop_radius, "cycles/pixel")
    if not stop >= 0:
        raise ValueError(f"stop_radius must be 0 cycles/pixel or more, not {stop_radius}")
    for given, value in (("stop_radius", stop_radius), ("ring", ring)):
        if value is not None and name not in STOPPED:
            raise ValueError(f"{given} is that of {' or '.join(STOPPED)}, not {name!r}")
    size = image_size(size)
    check_stop(stop, math.hypot(*(length // 2 / length for length in size)))
    if name == "random":
        turns = torch.rand(size, dtype=torch.float64, generator=generator)
        return phasor(2 * math.pi * turns)
    return {
        "open": lambda: torch.ones(size, dtype=torch.complex128),
        "spiral": lambda: spiral(size),
        "dark_field": lambda: dark_field(size, stop=stop, ring=ring),
        "knife_edge": lambda: knife_edge(size),
        "phase_contrast": lambda: phase_contrast(size, stop=stop, ring=ring),
        "low_pass": lambda: gaussian_pass(size, high=0.1),
        "high_pass": lambda: gaussian_pass(size, low=0.05),
        "band_pass": lambda: gaussian_pass(size, low=0.05, high=0.1),
    }[name]()


def check_stop(radius: float, highest: float = math.sqrt(0.5)) -> None:
    """Raise a ValueError for a stop beyond the highest frequency, such as one given in samples.

    Beside it nothing is left: a dark field passes no light and has no gradient, and phase contrast
    shifts all light alike. The corner of any plane lies at 1 / sqrt 2 cycles/pixel or within.
    """
    if radius > highest:
        raise ValueError(
            f"a stop of {radius:g} cycles/pixel covers the whole Fourier plane, whose highest "
            f"frequency is {highest:.4g}: give a smaller stop_radius, or in partial light a "
            "smaller lamp; 3 samples of 32 are 3/32"
        )


def _number(value: float | Tensor, like: Tensor) -> Tensor:
    """A float or a tensor ``[...]`` as float64 ``[..., 1, 1]``."""
    return torch.as_tensor(value, dtype=torch.float64, device=like.device)[..., None, None]


def _plane(
    size: int | tuple[int, int], device: torch.device | str | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Frequencies fy, fx and their modulus ``[H, W]``."""
    height, width = image_size(size)
    fy, fx = torch.meshgrid(
        frequencies(height, device=device), frequencies(width, device=device), indexing="ij"
    )
    return fy, fx, torch.hypot(fy, fx)


def _mean_on_the_rim(at: Callable[[Tensor, Tensor], Tensor], fy: Tensor, fx: Tensor) -> Tensor:
    """``at(fy, fx)``; at -1/2, on the rim of an even grid, the mean with that at +1/2.

    A sample there stands for both frequencies.
    """
    rim_y, rim_x = (torch.where(f == -0.5, 0.5, f) for f in (fy, fx))
    return torch.stack([at(y, x) for y in (fy, rim_y) for x in (fx, rim_x)]).mean(0)


def _covered(
    size: int | tuple[int, int],
    stop: float | Tensor,
    ring: tuple[float, float] | None,
    device: torch.device | str | None,
) -> Tensor:
    """Part of each sample that a round plate covers, or a ring."""
    check_between("stop", stop, 0.0, math.inf, "cycles/pixel")
    if ring is None:
        return _disk(size, stop, device)
    wrong = ValueError(
        f"ring must be (inner, outer) in cycles/pixel with 0 < inner < outer, and without "
        f"a stop, not {ring} with stop={stop}"
    )
    if not isinstance(ring, Sequence) or len(ring) != 2 or isinstance(stop, Tensor) or stop:
        raise wrong
    inner, outer = (one_number("each of ring", each, "cycles/pixel") for each in ring)
    if not 0 < inner < outer < math.inf:
        raise wrong
    plate = _disk(size, outer, device) - _disk(size, inner, device)
    if not plate.any():
        raise ValueError(f"no sample of {size} lies in the ring {ring}: make it wider")
    return plate


def _disk(
    size: int | tuple[int, int], radius: float | Tensor, device: torch.device | str | None
) -> Tensor:
    """Part ``[..., H, W]`` of each sample inside of a radius; all of the zero order."""
    height, width = image_size(size)
    fy, fx, distance = _plane(size, device)
    # Width of a sample along the radius: 1/W along fx, 1/H along fy.
    sample = torch.hypot(fx / width, fy / height) / distance.clamp_min(1e-30)
    inside = clip((_number(radius, distance) - distance) / sample.clamp_min(1e-30) + 0.5)
    return torch.where(distance > 0, inside, 1.0)
