"""A lens prepared for a data sheet: its pupil, places and light.

::

    module ─► pupil ─► field [(D,) (P, Q,) L, H, W] ─┬─► optics.lens_performance
    distance, frequency, weights, picture ───────────┴─► optics.through_focus
"""

import math
import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from optics.fourier import squared_modulus
from optics.pupil.modulation import at_lags, lags_along, modulus, padded_power
from optics.pupil.pupil import Pupil, pupil_of
from optics.pupil.vignetting import Vignetting
from optics.quantity import as_numbers, check_between, image_size
from optics.rays.compound_imaging import CompoundPupil
from optics.sensor.pixel import pixel_mtf
from optics.wave.off_axis import place_heights
from optics.wave.planes import as_field

__all__ = ["Examined", "examine", "plain", "shown_places", "told_length", "told_mix", "told_table"]

# Tolerance for the shapes of two pictures, as after cropping: 1.5 degrees of the diagonal.
_SAME_SHAPE = 0.05
# Samples of padded fields that are transformed together: as many as fit into a cache.
_TOGETHER = 2**18


class Examined(NamedTuple):
    """Data of an examined lens; float64 on the CPU, but the field has the pupil's dtype."""

    pupil: Pupil
    """Pupil of the lens."""
    distance: Tensor | None
    """Distances of the scene, ``[D]``, metres."""
    places: Tensor | None
    """Positions of the places, ``[P, Q, 2]``: y and x from the centre, in half diagonals."""
    frequency: Tensor
    """Frequencies ``[F]``, cycles/m."""
    wavelength: Tensor
    """Wavelengths ``[L]``, metres."""
    weights: Tensor
    """Weight of each wavelength: its share in the detected light before the elements, ``[L]``."""
    field: Tensor
    """Complex amplitude in the pupil, ``[(D,) (P, Q,) L, H, W]``."""
    power: Tensor
    """Its light, ``[(D,) (P, Q,) L]``."""

    @property
    def light(self) -> Tensor:
        """Share of each wavelength in the detected light behind the elements, ``[..., L]``."""
        seen = self.weights * self.power
        return seen / seen.sum(-1, keepdim=True)

    def otf(self, position: Tensor, *, pixel: bool = True) -> Tensor:
        """Transfer function in planes ``[Z]``: tangential and sagittal ``[..., L, Z, F, 2]``.

        It is that of the lens and, with ``pixel``, of the pixel area. Planes are in metres from the
        image of the focus.
        """
        curve = self.pupil.curve.cpu()
        if self.places is None:
            return self._crossed(self.field, curve, position, math.pi / 2, pixel=pixel)
        # Each place has its own directions; the centre, which has none, uses y and x.
        rows = []
        for p, row in enumerate(self.places.tolist()):
            found = []
            for q, (y, x) in enumerate(row):
                angle = math.atan2(y, x) if y or x else math.pi / 2
                here = self.field[..., p, q, :, :, :]
                bend = curve if curve.ndim == 3 else curve[p, q]
                found.append(self._crossed(here, bend, position, angle, pixel=pixel))
            rows.append(torch.stack(found, -5))
        return torch.stack(rows, -6)

    def _crossed(
        self, field: Tensor, curve: Tensor, position: Tensor, angle: float, *, pixel: bool
    ) -> Tensor:
        """Transfer function of one place along ``angle`` and across it."""
        pupil = self.pupil
        light = squared_modulus(field).sum((-2, -1), keepdim=True)
        flat = (padded_power(field.abs()) / light)[..., None, :, :]
        wave = self.wavelength[:, None]
        found = []
        for planes in position.split(max(1, _TOGETHER // flat.numel())):
            # The path to a plane at z, of vergence 1 / z - 1 / s', does not change the amplitude.
            distance = pupil.image_distance + planes
            turns = ((1 / distance - 1 / pupil.image_distance) / wave)[..., None, None]
            there = field[..., None, :, :] * torch.exp(2j * math.pi * turns * curve).to(field.dtype)
            whole = padded_power(there) / light[..., None, :, :]
            step = pupil.spacing / (wave * distance)
            lines = [
                lags_along(self.frequency, angle=each, step=step)
                for each in (angle, angle + math.pi / 2)
            ]
            down, across = (torch.cat(lags, -2) for lags in zip(*lines, strict=True))
            both = at_lags(flat, whole, down, across).unflatten(-1, (2, -1))
            found.append(both.mT.to(torch.complex128))
        otf = torch.cat(found, -3)
        if pixel:  # square, and so the same along and across
            for part in (math.cos(angle), math.sin(angle)):
                area = pixel_mtf(self.frequency * part, pitch=pupil.pixel_pitch)
                otf = otf * area[:, None]
        return otf

    def mixed(self, otf: Tensor) -> Tensor:
        """Polychromatic contrast ``[..., Z, F, 2]`` from ``[..., L, Z, F, 2]``.

        All wavelengths share one plane and one axis: complex transfer functions add, not moduli.
        """
        return modulus((self.light[..., None, None, None] * otf).sum(-4))


def examine(
    lens: nn.Module,
    *,
    distance: float | Sequence[float] | Tensor | None,
    frequency: Tensor | Sequence[float] | float,
    picture: int | tuple[int, int] | None,
    weights: Sequence[float] | Tensor | None,
    stacklevel: int,
) -> Examined:
    """Check the arguments of :func:`optics.lens_performance` and :func:`optics.through_focus`.

    It raises and warns as they do.
    """
    pupil, owner = pupil_of(lens)
    if distance is None:
        distance = getattr(owner, "working_distances", None)
    if distance is not None:
        distance = as_numbers("distance", distance, "metres", dtype=torch.float64).reshape(-1)
        if bool((distance == 0).any()):  # also where the pupil lies elsewhere, as in a whole lens
            raise ValueError(
                "distance must be metres other than 0, where the lens itself stands, not "
                f"{distance.tolist()}"
            )
    frequency = as_numbers("frequency", frequency, "cycles/m", dtype=torch.float64).reshape(-1)
    check_between("frequency", frequency, 0, math.inf, "cycles/m")
    shares = _weights(weights, len(pupil.wavelengths))
    light = pupil._light(distance)
    pupil._check_phase(light, stacklevel=stacklevel + 1)
    field = as_field(light.planes).cpu()
    power = squared_modulus(field).double().sum((-2, -1))
    if not bool((power > 0).all()):
        raise ValueError("the pupil passes no light at one of its wavelengths or places")
    places = None
    if pupil.places is not None:
        shape = _shape(pupil, picture, stacklevel=stacklevel + 1)
        places = torch.stack(place_heights(pupil.places, shape), -1)
    return Examined(
        pupil=pupil,
        distance=distance,
        places=places,
        frequency=frequency,
        wavelength=torch.tensor(pupil.wavelengths, dtype=torch.float64),
        weights=shares,
        field=field,
        power=power,
    )


def _weights(weights: Sequence[float] | Tensor | None, bands: int) -> Tensor:
    """Given weights, normalised to a sum of 1, or equal ones, ``[L]``."""
    if weights is None:
        return torch.full((bands,), 1 / bands, dtype=torch.float64)
    given = as_numbers("weights", weights, dtype=torch.float64).reshape(-1)
    check_between("weights", given, 0, math.inf)
    if len(given) != bands or not bool(torch.isfinite(given).all()) or not bool(given.any()):
        raise ValueError(
            f"weights must be finite and one for each of {bands} wavelengths, not all 0: such as "
            f"the scene's spectrum times the sensor's response; not {given.tolist()}"
        )
    return given / given.sum()


def _shape(
    pupil: Pupil, picture: int | tuple[int, int] | None, *, stacklevel: int
) -> tuple[int, int]:
    """Height and width of the picture, as given or from an element that is made for one."""
    made = (part for part in pupil.modules() if isinstance(part, Vignetting | CompoundPupil))
    known = [part.picture for part in made]
    if picture is not None:
        known.insert(0, image_size(picture, "picture"))
    if not known:
        warnings.warn(
            "the positions of the places, and so the tangential direction, depend on the shape of "
            "the picture, which is taken as square: give picture=(height, width)",
            UserWarning,
            stacklevel=stacklevel + 1,
        )
        return 1, 1
    first, *others = known
    for other in others:
        if abs(math.log(first[0] * other[1] / (first[1] * other[0]))) > _SAME_SHAPE:
            warnings.warn(
                f"the picture is {first[0]} x {first[1]} pixels, but an element of the pupil is "
                f"for {other[0]} x {other[1]}: its places lie in "
                "other directions than those of this picture; make it for this picture",
                UserWarning,
                stacklevel=stacklevel + 1,
            )
    return first


def shown_places(places: Tensor) -> list[tuple[int, int]]:
    """Places ``[P, Q, 2]`` that a table shows: the central one, one at the border, a corner.

    The results contain all places.
    """
    rows, columns = places.shape[:2]
    return [
        *dict.fromkeys(
            [(rows // 2, columns // 2), (rows // 2, columns - 1), (rows - 1, columns - 1)]
        )
    ]


def told_mix(weights: Tensor) -> str:
    """Weights of the wavelengths in words."""
    if bool((weights == weights[0]).all()):
        return "equal parts"
    return ", ".join(f"{100 * each:.3g} %" for each in weights.tolist())


def told_table(rows: list[list[str]]) -> Iterator[str]:
    """Lines of a table with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def told_length(metres: float) -> str:
    """A length with a suitable unit, as text."""
    if math.isinf(metres):
        return "infinity"
    for unit, size in (("m", 1.0), ("mm", 1e-3), ("um", 1e-6)):
        if abs(metres) >= size:
            return f"{metres / size:.4g} {unit}"
    return f"{metres / 1e-9:.4g} nm"


def plain(value: object) -> object:
    """Convert a value to JSON types; None for numbers that are not finite."""
    if isinstance(value, Tensor):
        return plain(value.tolist())
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
