"""Motion during the exposure, and a coded shutter.

::

    scene ──► moves by d while code[0] .. code[T-1] let light through ──► lens ──► irradiance
              PSF: the path of a point, as bright as the shutter was open there

A longer exposure gathers more light but blurs more. A fluttered shutter keeps the frequencies that
an open shutter loses, at the cost of light. The best code depends on the motion, the noise and the
use of the picture, so that it is learned.
"""

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from optics.constraint import bounded, bounded_raw
from optics.fourier import Boundary, convolve
from optics.front_end import FrontEnd, check_part, check_raw, check_scene
from optics.quantity import (
    as_numbers,
    as_real,
    check_between,
    check_finite,
    check_real,
    check_tensor,
    full_precision,
    looked_at,
    one_number,
    single,
    whole_number,
)
from optics.sensor.noise import Generators, standard_normal

__all__ = ["CodedExposure", "ShutterStart", "motion_psf", "shutter_code"]

ShutterStart: TypeAlias = Literal["open", "fluttered", "random"]

# Points of the path per pixel of its length: fewer would show as beats, as the light of each is
# spread over the pixels around it.
_POINTS_A_PIXEL = 8
# Drawn motion is limited to this many times its RMS, so that the window holds it.
_FARTHEST = 3.0
# Largest RMS motion, in sides of a picture: the window grows with the square of the motion.
_MOST_SIDES = 4
# Of 26 open slots in 52, found by Raskar et al. in a search for the flattest spectrum.
_FLUTTERED = "1010000111000001010000110011110111010111001001100111"


def shutter_code(
    name: ShutterStart = "open",
    slots: int = 16,
    *,
    share: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Transmission of a shutter in equal time slots of the exposure.

    Parameters
    ----------
    name : str
        ``open``: open in the middle of the exposure. ``fluttered``: the code of 52 slots of Raskar,
        Agrawal and Tumblin (ACM Trans. Graph. 25:795, 2006), half of which are open. ``random``:
        open in randomly drawn slots.
    slots : int
        Number of slots; ignored by ``fluttered``.
    share : float, optional
        Fraction of the slots that are open, above 0 and up to 1; by default all for ``open`` and
        half for ``random``. It is rounded to a whole number of slots; for ``open``, to one that
        keeps the open time in the middle of the exposure.
    generator : torch.Generator, optional
        Source of ``random``; torch's default one if not given.

    Returns
    -------
    Tensor ``[T]``
        Ones and zeros, in the default type.

    Raises
    ------
    TypeError
        For a share that is not one number.
    ValueError
        For an unknown name, fewer than one slot, or a share out of range or for ``fluttered``.

    Warns
    -----
    UserWarning
        When rounding to whole slots changes the share by more than half of it.
    """
    slots = whole_number("slots", slots)
    if name not in get_args(ShutterStart):
        raise ValueError(f"a shutter name must be one of {get_args(ShutterStart)}, not {name!r}")
    if share is not None:
        share = one_number("share", share)
    if share is not None and not 0 < share <= 1:
        raise ValueError(f"share must be a fraction of the slots, above 0 and up to 1, not {share}")
    if name == "fluttered":
        if share is not None:
            raise ValueError("a fluttered shutter always has a share of one half: leave share out")
        return torch.tensor([float(slot) for slot in _FLUTTERED])
    count = open_slots(name, slots, share)
    if share is not None and abs(count / slots - share) > share / 2:
        whole = ", centred in the exposure," if name == "open" else ""
        warnings.warn(
            f"share={share:g} of {slots} slots{whole} is rounded to {count}, "
            f"{count / slots:.3g} of the exposure: give more slots, or that share",
            UserWarning,
            stacklevel=2,
        )
    if name == "random":
        return (torch.randperm(slots, generator=generator) < count).to(torch.get_default_dtype())
    code = torch.zeros(slots)
    code[(slots - count) // 2 : (slots + count) // 2] = 1
    return code


def open_slots(name: ShutterStart, slots: int, share: float | None) -> int:
    """Number of open slots of an open or a random shutter, see :func:`shutter_code`."""
    if name == "random":
        return max(1, round(slots * (0.5 if share is None else share)))
    odd = slots % 2
    wide = slots if share is None else slots * share
    return max(odd + 2 * round((wide - odd) / 2), 2 - odd)


def motion_psf(
    displacement: Tensor | Sequence[float], code: Tensor | None = None, *, size: int
) -> Tensor:
    """Point-spread function of straight, uniform motion during one exposure.

    A point of the scene moves from ``-displacement / 2`` to ``displacement / 2``. In each of T
    equal time slots the shutter transmits the fraction ``code`` of its light, which is distributed
    over the four nearest pixels with bilinear weights. An open shutter thus gives a uniform line,
    and the transform of the PSF is close to that of the code in time (Raskar, Agrawal and Tumblin,
    ACM Trans. Graph. 25:795, 2006).

    Parameters
    ----------
    displacement : Tensor ``[..., 2]`` or a sequence, pixels
        Motion ``(x, y)`` during the whole exposure, whether the shutter is open or not.
    code : Tensor ``[T]`` in 0..1, optional
        Transmission of the shutter in each slot; 1 by default.
    size : int, pixels
        Odd side of the window. It holds a motion of ``size - 1`` along each axis; light beyond the
        window is lost.

    Returns
    -------
    Tensor ``[..., size, size]``
        Non-negative PSF with the sum ``code.mean()``, the light that passes.

    Raises
    ------
    TypeError
        For a code that is not a Tensor, or a displacement that does not hold numbers.
    ValueError
        For a displacement of the wrong shape, a code that is not ``[T]`` in 0..1, an even size.
    """
    moved = single(as_real("displacement", as_numbers("displacement", displacement, "pixels")))
    if moved.ndim == 0 or moved.shape[-1] != 2:
        raise ValueError(
            f"displacement must be [..., 2], pixels along x and y, not {tuple(moved.shape)}"
        )
    check_finite("displacement", moved, "pixels")
    size = whole_number("size", size)
    if size % 2 == 0:
        raise ValueError(f"size must be odd, so that the window has a middle, not {size}")
    code = moved.new_ones(1) if code is None else _checked_code(code)
    slots = len(code)
    each = math.ceil(_POINTS_A_PIXEL * size / slots)
    times = (torch.arange(slots * each, dtype=moved.dtype, device=moved.device) + 0.5) / (
        slots * each
    ) - 0.5
    pixels = torch.arange(size, dtype=moved.dtype, device=moved.device) - size // 2
    path = moved[..., None] * times  # [..., 2, N]
    near = (1 - (path[..., None, :] - pixels[:, None]).abs()).clamp_min(0)  # [..., 2, size, N]
    light = (code / (slots * each)).repeat_interleave(each)
    with full_precision(near):
        return (near[..., 1, :, :] * light.to(near)) @ near[..., 0, :, :].mT


class CodedExposure(FrontEnd):
    """A coded shutter, open in some slots of an exposure during which the scene moves.

    ::

        scene ──► motion, drawn for each scene ──► code [T] in 0..1 ──► lens ──► irradiance

    Parameters
    ----------
    code : Tensor ``[T]`` in 0..1, or str
        Transmission in each of T equal slots of the exposure, or a name for :func:`shutter_code`.
        A shorter exposure is a code that is 0 in the rest of it.
    motion : float, pixels
        RMS displacement of scenes along each axis during the whole exposure. Each scene moves
        straight and uniformly, by a displacement that is drawn from a normal distribution and
        limited to three times this: a first-order model of hand shake.
    slots : int
        Number of slots of a code that is given by name.
    trainable : bool
        Train the code, as ``sigmoid(raw)``: a start of 0 or 1 begins 0.001 away from it. If False,
        it is used exactly as given.
    lens : optics.FrontEnd, optional
        Optics that form the image. It must take a single exposure, as two would see different
        motions, and be linear in the radiance, as the light of the slots is added.
    channels : int
        Channels of the scene, if there is no lens.
    boundary : str
        As in :func:`optics.convolve`.
    generator : torch.Generator, optional
        Source of ``code="random"``.

    Raises
    ------
    TypeError
        For a code that is neither a name nor a Tensor, a motion that is not one number or is a
        parameter, or a lens that is not a front end.
    ValueError
        For a code that is not ``[T]`` in 0..1, a negative motion, a lens with several exposures or
        in which light interferes (:attr:`FrontEnd.interferes`), or an unknown boundary.

    Notes
    -----
    The scene moves as a whole; beyond its border it is continued as ``boundary`` says. The
    ``photons`` of :class:`optics.Sensor` are those of a shutter that is open all the time.
    """

    fixed: Tensor

    def __init__(
        self,
        code: Tensor | ShutterStart = "open",
        motion: float = 4.0,
        *,
        slots: int = 16,
        trainable: bool = True,
        lens: FrontEnd | None = None,
        channels: int = 3,
        boundary: Boundary = "replicate",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if boundary not in get_args(Boundary):
            raise ValueError(f"boundary must be one of {get_args(Boundary)}, not {boundary!r}")
        if isinstance(code, str):
            code = shutter_code(code, slots, generator=generator)
        code = _checked_code(code).detach()
        if trainable:
            self.raw = nn.Parameter(bounded_raw("code", code, 0.0, 1.0))
        else:
            self.register_buffer("fixed", code)
        check_part("lens", lens, FrontEnd)
        if lens is not None and lens.exposures != 1:
            raise ValueError(
                f"the lens takes {lens.exposures} exposures, each of which would see a different "
                "motion: give one of a single exposure, such as optics.IncoherentImaging(...)"
            )
        if lens is not None and lens.interferes:
            raise ValueError(
                f"light interferes in the lens, {type(lens).__name__}, so that its image is not "
                "the sum of the images of the slots: give one that is linear in radiance, such as "
                "optics.IncoherentImaging(...), or a FourierFilter with "
                "illumination='incoherent'"
            )
        self.lens = lens
        self.in_channels = whole_number("channels", channels) if lens is None else lens.in_channels
        self.out_channels = self.in_channels if lens is None else lens.out_channels
        self.exposures = 1
        self.motion = _checked_motion(motion)
        self.boundary: Boundary = boundary
        self._moves = False  # within `moving`, if scenes move outside of it

    @property
    def code(self) -> Tensor:
        """Transmission in each slot, ``[T]`` in 0..1."""
        return self.fixed if "fixed" in self._buffers else bounded(self.raw, 0.0, 1.0)

    @property
    def psf_size(self) -> int:
        """Side of the window that holds the largest motion, pixels."""
        return 2 * math.ceil(_FARTHEST * self.motion / 2) + 1

    @property
    def draws(self) -> bool:
        """Whether a motion is drawn for each scene, or the lens draws random numbers."""
        return self._draws_motion or (self.lens is not None and self.lens.draws)

    @property
    def _draws_motion(self) -> bool:
        return self.motion > 0 or self._moves

    @contextmanager
    def moving(self, motion: float) -> Iterator[None]:
        """Set another RMS motion within a ``with`` block; each scene keeps its direction.

        The same numbers are drawn as outside of the block, so that the sensor has the same noise.
        Only a shutter whose motion was 0, which draws none, has different noise within.

        Parameters
        ----------
        motion : float, pixels
            RMS displacement along each axis during the whole exposure.

        Yields
        ------
        None
            The motion is restored at the end of the block. Other threads see the change: give each
            thread a ``copy.deepcopy``.

        Raises
        ------
        TypeError, ValueError
            When the motion is not one number of at least 0, or is a parameter.
        """
        before = self.motion, self._moves
        self.motion, self._moves = _checked_motion(motion), self._moves or self.motion > 0
        try:
            yield
        finally:
            self.motion, self._moves = before

    def throughput(self) -> Tensor:
        """Mean transmission of the shutter over the exposure, times the throughput of the lens."""
        open_for = self.code.mean()
        return open_for if self.lens is None else open_for * self.lens.throughput()

    def penalty(self) -> Tensor | None:
        """That of the lens: any code of a shutter can be made."""
        return None if self.lens is None else self.lens.penalty()

    def psf(self, *, displacement: Tensor | Sequence[float] = (0.0, 0.0)) -> Tensor:
        """Point-spread function of motion and shutter, without the lens, see :func:`motion_psf`.

        Parameters
        ----------
        displacement : Tensor ``[..., 2]`` or a sequence, pixels
            Motion ``(x, y)`` during the exposure; at rest by default.

        Returns
        -------
        Tensor ``[..., psf_size, psf_size]``
        """
        return motion_psf(displacement, self.code, size=self.psf_size)

    def forward(
        self,
        scene: Tensor,
        *,
        displacement: Tensor | None = None,
        generator: Generators | None = None,
    ) -> Tensor:
        """Form the irradiance of scenes that move.

        Parameters
        ----------
        scene : Tensor ``[B, C, H, W]``
        displacement : Tensor ``[2]`` or ``[B, 2]``, pixels, optional
            Motion ``(x, y)`` of all scenes during the exposure, or of each; drawn by default. At
            most ``psf_size - 1`` along each axis, so that the window holds all light.
        generator : torch.Generator or a sequence of them, optional
            Source of the drawn motion, or one for each picture; by default torch's global
            generator.

        Returns
        -------
        Tensor ``[B, out_channels, H, W]``

        Raises
        ------
        TypeError, ValueError
            When the scene has the wrong channels, for displacements that are not one per picture or
            larger than the window holds, or a motion of more than four times the longer side.
        """
        check_real("scene", scene, "[B, C, H, W]")
        check_scene(scene, self.in_channels)
        count, channels = scene.shape[:2]
        farthest = _MOST_SIDES * max(scene.shape[-2:])
        if displacement is None and self.motion > farthest:
            raise ValueError(
                f"motion={self.motion:g} pixels RMS is more than {_MOST_SIDES} times the longer "
                f"side of pictures of {scene.shape[-2]} x {scene.shape[-1]}: give at most "
                f"{farthest}, pixels of these pictures"
            )
        if displacement is None and not self._draws_motion:
            displacement = scene.new_zeros(2)
        elif displacement is None:
            normal = standard_normal(single(scene.new_zeros(count, 2)), generator)
            displacement = self.motion * normal.clamp(-_FARTHEST, _FARTHEST)
        else:
            displacement = self._checked_displacement(displacement, count).to(scene.device)
        psf = self.psf(displacement=displacement).expand(count, self.psf_size, self.psf_size)
        # A PSF for each picture: pictures as channels of one.
        light = scene.flatten(0, 1)[None]
        if count:
            light = convolve(light, psf.repeat_interleave(channels, 0), boundary=self.boundary)
        moved = light.reshape(scene.shape)
        if self.lens is None:
            return moved
        return self.lens(moved, generator=generator) if self.lens.draws else self.lens(moved)

    def _checked_displacement(self, given: Tensor, count: int) -> Tensor:
        displacement = as_numbers("displacement", given, "pixels")
        if displacement.shape not in ((2,), (count, 2)):
            raise ValueError(
                f"displacement must be [2], pixels along x and y, or one for each of the {count} "
                f"pictures, not {tuple(displacement.shape)}"
            )
        if not looked_at(displacement) or not displacement.numel():
            return displacement
        farthest = float(displacement.detach().abs().max())
        # What is not finite is refused with the PSF.
        if self.psf_size - 1 < farthest < math.inf:
            raise ValueError(
                f"displacement must be at most {self.psf_size - 1} pixels along each axis, which "
                f"the window of motion={self.motion:g} holds, not {farthest:g}: light beyond is "
                f"lost; give a motion of {math.ceil(farthest / _FARTHEST)} or more"
            )
        return displacement

    def combine(self, raw: Tensor) -> Tensor:
        """Combine the exposure as the lens does; without a lens return it unchanged."""
        if self.lens is not None:
            return self.lens.combine(raw)
        check_raw(raw, self.in_channels)
        return raw

    def extra_repr(self) -> str:
        """Name the code and the motion."""
        return (
            f"slots={len(self.code)}, open={float(self.code.detach().mean()):.3g}, "
            f"motion={self.motion:g} pixels RMS, in_channels={self.in_channels}, "
            f"out_channels={self.out_channels}, boundary={self.boundary!r}"
        )


def behind_shutter(front_end: FrontEnd | None) -> FrontEnd | None:
    """The front end that forms the image: the lens behind a shutter, any other one itself."""
    return front_end.lens if isinstance(front_end, CodedExposure) else front_end


def _checked_motion(motion: float) -> float:
    motion = one_number("motion", motion, "pixels")
    if not 0 <= motion < math.inf:
        raise ValueError(f"motion must be pixels RMS, of at least 0, not {motion:g}")
    return motion


def _checked_code(code: Tensor) -> Tensor:
    check_tensor("code", code)
    if code.ndim != 1 or len(code) == 0 or not code.is_floating_point():
        raise ValueError(
            f"code must be [T], the transmission in each slot, real floating point, not "
            f"{code.dtype} {tuple(code.shape)}"
        )
    check_between("code", code, 0, 1, "transmission")
    return code
