"""Parts of a camera that sit elsewhere than designed, and a scene in other light."""

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from optics import (
    Element,
    FrontEnd,
    Generators,
    IncoherentImaging,
    PhaseElement,
    Pupil,
    convolve,
    coordinates,
)

from .imperfection import diameter_of

__all__ = [
    "Disturbed",
    "MovedElement",
    "MovedPhase",
    "Seat",
    "Tilted",
    "magnified",
    "moved",
    "shifted",
]

# Between two PSFs whose rims differ by so many waves the one in the middle is their mean, to within
# 0.3 % of the peak.
_WAVES_APART = 1 / 16
# Attributes of a front end that a scale, a shift and a lamp around it do not change.
_TOLD = (
    "psf", "mtf", "working_distances", "spectral_response", "kernels", "response", "transmission",
)  # fmt: skip


class Disturbed(FrontEnd):
    """A front end, or none, in other light, of another scale and on a sensor that is elsewhere.

    A measure that asks for its ``psf`` or ``mtf`` has that of the front end, as ``throughput`` is:
    scale, shift and lamp are in the pictures.
    """

    gains: Tensor

    def __init__(
        self,
        inner: FrontEnd | None,
        channels: int,
        *,
        gains: Sequence[float] | None = None,
        magnification: float = 1.0,
        shifts: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.inner = inner
        self.in_channels = channels if inner is None else inner.in_channels
        self.out_channels = channels if inner is None else inner.out_channels
        self.exposures = 1 if inner is None else inner.exposures
        self.phase_depth = getattr(inner, "phase_depth", None)
        lamp = torch.ones(self.in_channels) if gains is None else torch.tensor(gains)
        self.register_buffer("gains", lamp)
        self.magnification, self.shifts = magnification, shifts

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the front end has
        """Attribute of the front end."""
        if name not in _TOLD:
            return super().__getattr__(name)
        if hasattr(self.inner, name):
            return getattr(self.inner, name)
        what = "no front end" if self.inner is None else f"a {type(self.inner).__name__}"
        raise AttributeError(
            f"no {name} of a camera of another scale, shift or lamp: around {what}, which has none"
        )

    @property
    def pupil(self) -> Pupil | None:
        """That of the front end, where it has one."""
        found = getattr(self.inner, "pupil", None)
        return found if isinstance(found, Pupil) else None

    @property
    def draws(self) -> bool:
        """As the front end does."""
        return getattr(self.inner, "draws", False)

    @property
    def interferes(self) -> bool:
        """As the front end does."""
        return getattr(self.inner, "interferes", False)

    def forward(self, scene: Tensor, *, generator: Generators | None = None) -> Tensor:
        """Irradiance of a scene in the other light, enlarged, each exposure by its own shift."""
        gains = self.gains.to(scene)[:, None, None]
        drawing = {"generator": generator} if self.draws else {}
        if self.inner is None:
            image = scene * gains
        elif self.phase_depth is None:
            image = self.inner(scene * gains, **drawing)
        else:  # the lamp is not in the scene, which is what delays its light
            image = self.inner(scene, **drawing)
            image = (image.unflatten(1, (self.exposures, -1)) * gains).flatten(1, 2)
        if self.magnification != 1:
            image = magnified(image, self.magnification)
        if self.shifts is None:
            return image
        each = image.unflatten(1, (self.exposures, -1)).unbind(1)
        return torch.cat([shifted(e, s) for e, s in zip(each, self.shifts, strict=True)], 1)

    def throughput(self) -> Tensor:
        """Of the front end; the lamp is not in it."""
        return self.gains.new_ones(()) if self.inner is None else self.inner.throughput()

    def penalty(self) -> Tensor | None:
        """As the front end has it."""
        asked = getattr(self.inner, "penalty", None)
        return None if asked is None else asked()

    def combine(self, raw: Tensor) -> Tensor:
        """As the front end does, which does not know."""
        return raw if self.inner is None else self.inner.combine(raw)


class Tilted(FrontEnd):
    """A camera whose sensor is tilted: out of focus by what grows linearly across the picture.

    ::

        scene, placed x share of each defocus ──convolve with its PSF──► summed, lit ──► image

    The sensor lies ``dz = slopes[0] y + slopes[1] x`` behind its place, about the pixel
    ``(H // 2, W // 2)``. There the PSF is that of a wavefront ``r^2 / 2 (1 / (s' + dz) - 1 / s')``
    with the image distance s' (Goodman, Fourier Optics, sec. 6.4), and between two PSFs that are
    1/16 of a wave apart at the rim a mean of both. Each point is spread by the PSF of its place;
    the picture is neither foreshortened nor a trapezium, which grow with the square of the angle.
    Distortion, falloff and colours are those of the camera. Where that knows its field
    (``optics.Projection(half_field=...)``), the corner of the picture lies ``s' tan(half_field)``
    from the axis; otherwise a pixel is as wide as ``pixel_pitch``.

    Parameters
    ----------
    inner : IncoherentImaging
        With a pupil.
    slopes : (float, float)
        Metres of dz per metre along +y and +x; towards +z, away from the lens.

    Raises
    ------
    ValueError
        When the front end has no pupil, or, once it sees a picture, when the sensor reaches the
        pupil.
    """

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as of a Module
        """Parts of a module; a sentence for the one PSF that there is not."""
        if name in ("psf", "mtf"):
            raise AttributeError(
                f"no {name} of a tilted sensor, each place of which is out of focus by another "
                "amount: measure its pictures"
            )
        return super().__getattr__(name)

    def __init__(self, inner: IncoherentImaging, slopes: tuple[float, float]) -> None:
        super().__init__()
        if inner.pupil is None:
            raise ValueError("a tilt needs a front end with a pupil: a fixed PSF has one focus")
        self.inner, self.slopes = inner, slopes
        self.in_channels, self.out_channels = inner.in_channels, inner.out_channels
        self.exposures = inner.exposures

    @property
    def pupil(self) -> Pupil:
        """That of the camera."""
        assert self.inner.pupil is not None
        return self.inner.pupil

    def forward(self, scene: Tensor) -> Tensor:
        """Irradiance ``[B, C, H, W]`` of a scene of that shape on the tilted sensor."""
        pupil = self.pupil
        spacing = self._spacing(scene.shape[-2:])
        y, x = (coordinates(n, spacing=spacing, device=scene.device) for n in scene.shape[-2:])
        behind = self.slopes[0] * y[:, None] + self.slopes[1] * x
        distance = pupil.image_distance
        if float(behind.min()) <= -distance:
            raise ValueError(
                f"the tilted sensor reaches {-float(behind.min()):.3g} metres towards the pupil, "
                f"which is {distance:.3g} away; use a smaller tilt"
            )
        # A vergence v is r^2 v / 2 of optical path, D^2 v / 8 at the rim about the axis.
        step = 8 * _WAVES_APART * min(pupil.wavelengths) / diameter_of(pupil) ** 2
        place = (1 / (distance + behind) - 1 / distance) / step
        first, last = math.floor(float(place.min())), math.ceil(float(place.max()))
        steps = torch.arange(first, last + 1, dtype=torch.float64, device=scene.device)
        scene_at = self.inner.scene_distance
        focus = pupil.focus if scene_at is None else scene_at
        # In focus is a step, exactly, and infinity a distance.
        psfs = self.inner.psf(distance=pupil.defocused(focus, steps * step))
        shares = (1 - (place - steps[:, None, None]).abs()).clamp_min(0).to(psfs.dtype)
        light = self.inner.placed(scene)
        image = convolve(light * shares[0], psfs[0], boundary=self.inner.boundary)
        for share, psf in zip(shares[1:], psfs[1:], strict=True):
            image = image + convolve(light * share, psf, boundary=self.inner.boundary)
        return self.inner.lit(image)

    def _spacing(self, size: Sequence[int]) -> float:
        """Of the pixels in the image, metres.

        That of the field, where it is known, as distortion and falloff have it: a picture may show
        the whole of a sensor in fewer pixels than it has.
        """
        pupil, projection = self.pupil, self.inner.projection
        angle = 0.0 if projection is None else abs(float(projection.half_field))
        if angle == 0:
            return pupil.pixel_pitch
        return pupil.image_distance * math.tan(angle) / (math.hypot(*size) / 2)

    def throughput(self) -> Tensor:
        """Of the camera in focus: on the axis."""
        return self.inner.throughput()

    def penalty(self) -> Tensor | None:
        """As the camera has it."""
        return self.inner.penalty()

    def combine(self, raw: Tensor) -> Tensor:
        """As the camera does."""
        return self.inner.combine(raw)


class Seat(NamedTuple):
    """Where an element sits: turned about the axis, then moved."""

    shift: float = 0.0
    """Along +x, samples."""
    shift_y: float = 0.0
    """Along +y, samples."""
    angle: float = 0.0
    """From +x to +y about the sample ``N // 2``, degrees."""

    def after(self, first: "Seat") -> "Seat":
        """The seat of what sat at ``first`` and is then turned and moved by this one."""
        c, s = self._turn()
        return Seat(
            self.shift + (c * first.shift - s * first.shift_y),
            self.shift_y + (s * first.shift + c * first.shift_y),
            self.angle + first.angle,
        )

    def sources(self, size: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
        """Where each sample ``[H, W]`` of what sits here comes from, y and x."""
        y = coordinates(size[0], device=device)[:, None] - self.shift_y
        x = coordinates(size[1], device=device) - self.shift
        c, s = self._turn()
        return c * y - s * x, c * x + s * y

    def _turn(self) -> tuple[float, float]:
        angle = math.radians(self.angle)
        return math.cos(angle), math.sin(angle)


class MovedPhase(PhaseElement):
    """A phase element that sits askew.

    A plate that is a formula has the phase of that formula where it sits. In between the samples
    of any other the phase is that of its interpolated phasor, so that a jump by a whole
    wave, as of a relief that is folded into one, is none. A jump by another phase, as of levels or
    of that relief at another wavelength, becomes one or two steps where its phasors are mixed, as
    wide as a sample. Beyond its grid the border goes on.
    """

    def __init__(self, inner: PhaseElement, seat: Seat) -> None:
        super().__init__(inner.size, inner.spacing)
        self.inner, self.seat = inner, seat

    def phase_shift(self, wavelength: Tensor) -> Tensor:
        """Phase in radians where the element sits, in -pi..pi where it is interpolated."""
        y, x = (self.spacing * each for each in self.seat.sources(self.size, wavelength.device))
        away = self.spacing * math.hypot(self.seat.shift, self.seat.shift_y)
        exact = self.inner.phase_at(wavelength, y, x, beyond=away)
        if exact is not None:
            return exact
        phase = self.inner.phase_shift(wavelength)
        sits = moved(torch.stack((phase.sin(), phase.cos())), self.seat, outside="border")
        return torch.atan2(*sits.unbind())


class MovedElement(Element):
    """An element that sits askew."""

    def __init__(self, inner: Element, seat: Seat) -> None:
        super().__init__(inner.size, inner.spacing)
        self.inner, self.seat = inner, seat

    def transmission(self, wavelength: Tensor) -> Tensor:
        """Complex amplitude that passes, interpolated where the element sits."""
        given = self.inner.transmission(wavelength)
        sits = moved(torch.stack((given.real, given.imag)), self.seat, outside="border")
        return torch.complex(*sits.unbind())


def moved(maps: Tensor, seat: Seat, *, outside: Literal["zeros", "border"]) -> Tensor:
    """Maps ``[..., H, W]`` where they sit; in between samples they are interpolated linearly."""
    height, width = maps.shape[-2:]
    y, x = seat.sources((height, width), maps.device)
    # In -1..1 from the first sample to the last.
    rows = 2 * (y + height // 2) / max(1, height - 1) - 1
    columns = 2 * (x + width // 2) / max(1, width - 1) - 1
    flat = maps.reshape(1, -1, height, width)
    grid = torch.stack((columns, rows), -1)[None].to(maps.dtype)
    found = functional.grid_sample(flat, grid, padding_mode=outside, align_corners=True)
    return found.reshape(maps.shape)


def magnified(image: Tensor, factor: float) -> Tensor:
    """Pictures ``[B, C, H, W]`` that are ``factor`` times as large about their middle.

    The middle is that of the pixels, ``(N - 1) / 2``, as :func:`optics.distort` has it. In between
    pixels it is interpolated linearly; the border is continued.
    """
    scale = torch.eye(2, 3, dtype=image.dtype, device=image.device) / factor
    grid = functional.affine_grid(
        scale.expand(len(image), 2, 3), list(image.shape), align_corners=False
    )
    return functional.grid_sample(image, grid, padding_mode="border", align_corners=False)


def shifted(image: Tensor, pixels: float) -> Tensor:
    """Move ``[B, C, H, W]`` along +x, with linear interpolation; the border is continued."""
    whole = math.floor(pixels)
    part = pixels - whole
    place = torch.arange(image.shape[-1], device=image.device) - whole
    near, far = (image[..., (place - k).clamp(0, image.shape[-1] - 1)] for k in (0, 1))
    return near if part == 0 else (1 - part) * near + part * far
