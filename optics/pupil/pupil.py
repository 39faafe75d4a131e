"""The pupil of a lens: an aperture and the elements in it.

::

    open aperture x elements x defocus ──psf_from_pupil──► psf [(D,) L, h, w]

The phases of elements and of defocus are added first, so that a single sine and cosine are computed
for all of them. The field is kept in two real planes until the PSF is formed.
"""

import math
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from optics.fourier import kept_copy, phasor
from optics.grid import coordinates
from optics.quantity import (
    check_positive,
    check_wavelength,
    has_values,
    hold,
    image_size,
    looked_at,
    one_number,
    single,
)
from optics.sensor.pixel import pixel_mtf
from optics.wave.planes import as_field, as_planes, polar_planes

from .coarse import Coarse, PupilLight, coarse_phase
from .defocus import vergence_of, warn_of_coarse
from .element import Element, PhaseElement, WholeLens, penalty_within
from .modulation import modulus, otf_along
from .opening import flat_beyond, open_aperture, opening_diameter, whole_lenses
from .psf import amplitude_spread, amplitude_transfer, psf_from_planes
from .sampling import (
    Grid,
    check_oversample,
    check_sampling,
    cycles_per_sample,
    image_distance_of,
    point_spacing,
    q_sampling,
    shared_grid,
)

__all__ = ["Pupil", "check_same_everywhere", "middle_wavelength", "pupil_of"]

_SQUARE_PIXELS = (
    "pixels are square: for pixels of k by l times a pitch give that pitch, and average the image "
    "over each pixel, torch.nn.functional.avg_pool2d(image, (k, l))"
)
# Frequencies below this fraction of the cut-off lose no contrast, as do all in line pairs/mm.
_NO_CONTRAST_LOST = 1e-3
# Relative tolerance of lengths that should be those of a whole lens, as data sheets round them.
_SAME = 1e-3


def _check_elements(elements: Sequence[Element]) -> None:
    """Raise a TypeError unless this is a sequence of elements, and not a single one."""
    others = (
        [part for part in elements if not isinstance(part, Element)]
        if (isinstance(elements, Sequence | nn.ModuleList))
        else [elements]
    )
    if others:
        raise TypeError(
            "elements must be a sequence of optics.Element, such as [optics.PhaseMask(...)], not "
            f"of {type(others[0]).__name__}"
        )


def middle_wavelength(wavelengths: Sequence[float]) -> float:
    """The median wavelength; of an even number of wavelengths the longer of the middle two."""
    return sorted(wavelengths)[len(wavelengths) // 2]


def _wavelengths_of(given: Sequence[float]) -> tuple[float, ...]:
    """Return wavelengths, metres, as floats; raise an error unless they are a sequence of some."""
    if not hasattr(given, "__len__") or getattr(given, "ndim", 1) == 0:
        raise TypeError(
            f"wavelengths must be a sequence, in metres, such as (550e-9,), not {given!r}"
        )
    if len(given) == 0:
        raise ValueError("wavelengths must hold at least one, in metres")
    found = tuple(one_number("each of wavelengths", each, "metres") for each in given)
    for wavelength in found:
        check_wavelength("wavelengths", wavelength)
    return found


def _only_whole_lens(elements: nn.ModuleList) -> WholeLens | None:
    """The whole lens among elements, or None; raise a ValueError for several."""
    wholes = [*whole_lenses(elements)]
    if len(wholes) > 1:
        raise ValueError(
            f"elements hold {len(wholes)} whole lenses, such as optics.CompoundPupil, each "
            "with its own stop and focus: a pupil has one at most"
        )
    return wholes[0] if wholes else None


def pupil_of(module: nn.Module) -> tuple["Pupil", nn.Module | None]:
    """The only pupil in a module, or the module itself, and the part that has it as ``pupil``.

    Raises
    ------
    TypeError
        When this is not a module.
    ValueError
        For a module with no pupil or several.
    """
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"module must be a Pupil or contain exactly one, not {type(module).__name__}"
        )
    pupils = [part for part in module.modules() if isinstance(part, Pupil)]
    if len(pupils) != 1:
        raise ValueError(
            f"module must be a Pupil or contain exactly one; {type(module).__name__} contains "
            f"{len(pupils)}"
        )
    owners = (part for part in module.modules() if getattr(part, "pupil", None) is pupils[0])
    return pupils[0], next(owners, None)


def check_same_everywhere(pupil: "Pupil") -> None:
    """Raise a ValueError for a pupil whose PSF varies over the field."""
    if pupil.places is not None:
        raise ValueError(
            f"the pupil has a different wavefront or opening at each of {pupil.places[0]} x "
            f"{pupil.places[1]} places of the image: use optics.VaryingImaging, or leave out the "
            "element that has places; give an Aberration coefficients [J] or [L, J]"
        )


class Pupil(nn.Module):
    """The pupil of a lens: an open aperture and the elements in it; calling it gives the PSF.

    ::

        aperture x elements x defocus ──psf_from_pupil──► psf [(D,) L, h, w]

    Parameters
    ----------
    elements : sequence of Element
        Elements in the pupil, on one grid, in any order. An optimiser of the pupil trains them.
    wavelengths : sequence of float, metres
        One PSF is formed at each.
    focal_length : float, metres
        Focal length of a thin lens in the pupil. The image lies at :attr:`image_distance` behind
        it: in the focal plane for a focus at infinity, farther away for a nearer focus. If the
        elements focus by themselves, add ``Lens(focal_length=-focal_length)`` to the elements to
        cancel this lens. Beside a :class:`CompoundPupil` it is that of its lens.
    pixel_pitch : float, metres
        Pitch of rows and of columns. For pixels that are not square, compute with smaller square
        ones, k by l for each, and average the image over them.
    psf_size : int or (int, int), pixels
        Size of the window of the PSF.
    size, spacing : int or (int, int); float, metres, optional
        Grid of the pupil, needed when there are no elements.
    aperture : Tensor, real ``[H, W]``, optional
        Amplitude of the open aperture, in 0..1; by default the largest circle on the grid.
        Throughput is a fraction of the light in this aperture, so that a code in it costs no light.
        If it should, as a coded aperture in a lens that was open, use an :class:`AmplitudeMask`
        among the elements instead. A parameter is trained directly and may leave 0..1; an
        :class:`AmplitudeMask` stays within. A :class:`CompoundPupil` has its own.
    focus : float, metres
        Distance in front of the pupil that is in focus; larger than the focal length. A
        :class:`CompoundPupil` has its own, and all distances are then from its first vertex.
    oversample : int, odd
        Points along a side of a pixel at which the irradiance is computed. 1, the pixel's centre,
        suits pixels that are small compared with ``lambda s' / D``; 3 or 5 integrate over the area
        of larger ones, as most cameras have. At Q = 0.83 the light in the pixel on the axis is
        4.2 % too high with 3, 1.5 % with 5, 0.7 % with 7.

    Raises
    ------
    TypeError
        For elements or wavelengths that are not a sequence of such, for an aperture that is not a
        Tensor, and for a length that is not one number or is a parameter, which would not be
        trained: train a :class:`Lens` among the elements, or call :func:`psf_from_pupil`.
    ValueError
        When the elements do not share one grid, or one grid of places; the pupil is sampled too
        coarsely for the window; the focus lies within the focal length, where a lens forms no real
        image; an aperture, a focus or a second one is given beside a :class:`CompoundPupil`, or
        other wavelengths, pixels or focal length than it has; or the points in a pixel lie farther
        apart than ``lambda s' / D``, with the image distance ``s'``:
        the sum of the PSF would not be its light.

    Warns
    -----
    UserWarning
        When the window is a tenth of ``lambda s' / D`` or less, as with a length that is not in
        metres. When the open aperture extends by more than a sample beyond the diameter of an
        :class:`Aberration`, where the wavefront is flat. Later, once, for a distance at which the
        phase of the defocus changes by more than pi from sample to sample at the rim of the
        illuminated pupil, at the distance R from the axis:
        ``|1 / distance - 1 / focus - P| R spacing / lambda > 1/2``, where P is the sum of the
        powers ``1 / f`` of each :class:`Lens` among the elements. The PSF would be aliased. This
        is not checked for distances on an accelerator, nor where other phases stand beside a
        :class:`Lens`, as they may cancel its power. Where the elements are an :class:`Aberration`
        or a :class:`CubicMask`, with or without a :class:`Lens` and amplitude masks, the whole
        wavefront is checked within the illuminated pupil for steps of more than pi, so that the
        same defocus gives the warning whatever causes it.
    """

    aperture: Tensor

    def __init__(
        self,
        elements: Sequence[Element],
        *,
        wavelengths: Sequence[float],
        focal_length: float,
        pixel_pitch: float,
        psf_size: int | tuple[int, int],
        size: int | tuple[int, int] | None = None,
        spacing: float | None = None,
        aperture: Tensor | None = None,
        focus: float = math.inf,
        oversample: int = 1,
    ) -> None:
        super().__init__()
        _check_elements(elements)
        grids = [Grid(element.size, element.spacing) for element in elements]
        self.size, self.spacing = grid = shared_grid(grids, size=size, spacing=spacing)
        self.elements = nn.ModuleList(elements)
        _ = self.places  # one for all
        self.wavelengths = _wavelengths_of(wavelengths)
        lens = "train an optics.Lens among the elements"
        self.focal_length = one_number("focal_length", focal_length, "metres", learned=lens)
        self.pixel_pitch = one_number("pixel_pitch", pixel_pitch, "metres", remedy=_SQUARE_PIXELS)
        focus = one_number("focus", focus, "metres", learned=lens)
        check_positive("focal_length", self.focal_length, "metres")
        check_positive("pixel_pitch", self.pixel_pitch, "metres")
        if not focus > 0:
            raise ValueError(f"focus must be positive, in metres, not {focus}")
        whole = _only_whole_lens(self.elements)
        if whole is not None and (aperture is not None or focus != math.inf):
            raise ValueError(
                "give no aperture and no focus beside an optics.CompoundPupil, which is a whole "
                "lens with its own"
            )
        if whole is None and focus <= self.focal_length:
            raise ValueError(
                f"focus must be beyond the focal length of {self.focal_length:g} metres, not at "
                f"{focus:g}: a lens forms no real image of nearer points"
            )
        if whole is not None:
            self._check_same(whole)
        aperture = open_aperture(aperture, grid, diameter=None if whole is None else whole.diameter)
        self.psf_size = image_size(psf_size, "psf_size")
        self.focus = focus if whole is None else whole.focus
        self._image_distance = None if whole is None else whole.image_distance
        self.oversample = check_oversample(oversample)
        hold(self, "aperture", aperture)
        self._warned = False
        self._check_sampling()
        self._warn_of_use(stacklevel=3)

    def _check_same(self, whole: WholeLens) -> None:
        """Refuse light, pixels and a focal length that are not those of the whole lens."""
        if self.wavelengths != whole.wavelengths:
            raise ValueError(
                "wavelengths must be those of the optics.CompoundPupil among the elements, "
                f"{whole.wavelengths} metres, in their order, not {self.wavelengths}"
            )
        for name in ("focal_length", "pixel_pitch"):
            own, its = getattr(self, name), getattr(whole, name)
            if not math.isclose(own, its, rel_tol=_SAME):
                raise ValueError(
                    f"{name} must be that of the optics.CompoundPupil among the elements, "
                    f"{its:.9g} metres, not {own:.9g}"
                )

    def _check_sampling(self) -> None:
        """Refuse points of the PSF that are too far apart, and a window that holds copies of it."""
        quality = min(self.q_sampling)
        points = point_spacing(quality, self.oversample)
        if not points.enough:
            raise ValueError(
                f"Q = lambda s' / (D p) is {quality:.3g}, with the image distance s', and "
                f"oversample={self.oversample}: with points further apart than lambda s' / D the "
                "sum of the PSF is not its light; "
                + points.advice("or more to integrate over the area of the pixels well")
            )
        step = cycles_per_sample(
            self.aperture, self.wavelengths, self.image_distance, self.spacing, self.pixel_pitch
        )
        check_sampling(step, self.psf_size)

    def _warn_of_use(self, *, stacklevel: int) -> None:
        """Warn of a window without the light, and of an aperture without a wavefront."""
        quality = max(self.q_sampling)
        if quality > 10 * max(self.psf_size):
            warnings.warn(
                f"lambda s' / D is {quality:.3g} pixels, with the image distance s', and the "
                f"window {self.psf_size}: nearly all light falls outside of it; give all lengths "
                "in metres, or a larger psf_size",
                UserWarning,
                stacklevel=stacklevel,
            )
        grid = Grid(self.size, self.spacing)
        if flat_beyond(self.elements, self.opening, grid, wavelength=self._wavelengths()):
            warnings.warn(
                "the open aperture extends more than a sample beyond the diameter of an "
                "Aberration, whose wavefront is flat there: give an aperture of that diameter, or "
                "choose spacing = diameter / (samples - 1), so that the default aperture has it",
                UserWarning,
                stacklevel=stacklevel,
            )

    @property
    def places(self) -> tuple[int, int] | None:
        """Places (P, Q) of the image with a wavefront or opening each; None if there is one PSF.

        Raises
        ------
        ValueError
            When the elements have places on several grids.
        """
        parts = [part for part in self.elements.modules() if isinstance(part, Element)]
        found = {part.places for part in parts if part.places is not None}
        if len(found) > 1:
            raise ValueError(f"all elements must share one grid of places, not {sorted(found)}")
        return found.pop() if found else None

    @property
    def image_distance(self) -> float:
        """Distance s' from pupil to image, metres: ``1 / s' = 1 / focal_length - 1 / focus``.

        This is the lens equation (Goodman, Fourier Optics, sec. 5.3). A lens focused at twice its
        focal length has its image at the same distance, 1:1, and an Airy disk that is twice as wide
        as for infinity. Of a :class:`CompoundPupil` it is the working f-number times the diameter.
        """
        if self._image_distance is not None:
            return self._image_distance
        return image_distance_of(self.focal_length, self.focus)

    @property
    def diameter(self) -> float:
        """Widest extent of the open aperture along x or y, metres, including obscured parts.

        Each open sample counts as one spacing; samples at the rim count by their amplitude,
        relative to the largest. For :func:`optics.circular_aperture` the error is 1e-3 at 16
        samples across and 4e-5 at 64. Amplitudes below a thousandth of the largest count as dark.
        """
        return opening_diameter(single(self.aperture.detach()), self.spacing)

    @property
    def q_sampling(self) -> tuple[float, ...]:
        """``Q = lambda s' / (D p)`` at each wavelength; with Q >= 2 the PSF is not aliased."""
        return q_sampling(
            self.wavelengths,
            image_distance=self.image_distance,
            diameter=self.diameter,
            pixel_pitch=self.pixel_pitch,
        )

    @property
    def working_f_number(self) -> Tensor:
        """Image distance over the diameter of a full circle of the aperture's area, scalar.

        It is ``N (1 + m)``, the argument of :func:`optics.image_irradiance`. The area is measured
        by the light of the open aperture, so that a central obscuration counts. The elements do not
        count: their losses are in the PSF. The soft edge of :func:`optics.circular_aperture` makes
        the number about 1 % too large at 32 samples across, half of that at 64.
        """
        area = self.incident_power * self.spacing**2
        return self.image_distance * (math.pi / 4 / area).sqrt()

    @property
    def opening(self) -> Tensor:
        """Amplitude of the open stop, ``[1, H, W]``: the aperture.

        With a :class:`CompoundPupil`, whose cones differ over the field, it is its own stop,
        ``[P, Q, 1, H, W]``, and has the light of the aperture at each place.
        """
        whole = self._whole_lens()
        return single(self.aperture)[None] if whole is None else single(whole.stop)

    @property
    def curve(self) -> Tensor:
        """Path of a defocus over its vergence, float64 ``[1, H, W]``, metres^2: ``r^2 / 2``.

        With a :class:`CompoundPupil` ``[P, Q, 1, H, W]``: off the axis, the image moves along
        slanting light.
        """
        whole = self._whole_lens()
        if whole is not None:
            return whole.curve
        y, x = (
            coordinates(n, spacing=self.spacing, device=self.aperture.device) for n in self.size
        )
        return ((y[:, None].square() + x.square()) / 2)[None]

    @property
    def entrance_pupil(self) -> float:
        """Place of the entrance pupil behind where distances are measured from, metres.

        0 of a thin lens; of a :class:`CompoundPupil` that of its lens as it is now.
        """
        with torch.no_grad():
            return float(self._entrance()[0])

    @property
    def widening(self) -> float:
        """Diameter of the entrance pupil over that of the grid.

        1, but of a :class:`CompoundPupil` whose lens was trained, or made other than designed.
        """
        with torch.no_grad():
            return float(self._entrance()[1])

    def vergence(self, distance: Tensor | float) -> Tensor:
        """Defocus of a scene, float64 ``[...]``, 1/metres: its path is this times :attr:`curve`.

        ``(1 / (distance + E) - 1 / (focus + E)) w^2``, with the :attr:`entrance_pupil` E and the
        :attr:`widening` w; positive where the scene is nearer than the focus.

        Parameters
        ----------
        distance : float or Tensor ``[...]``, metres

        Returns
        -------
        Tensor, float64 ``[...]``, 1/metres
            With gradients to the distance and to the surfaces of a :class:`CompoundPupil`.

        Raises
        ------
        TypeError, ValueError
            For what is no number, and for a distance in the entrance pupil.
        """
        place, widening = self._entrance()
        return vergence_of(distance, self.focus, entrance_pupil=place) * widening**2

    def defocused(self, distance: Tensor | float, vergence: Tensor) -> Tensor:
        """Distance of a scene whose :meth:`vergence` is larger than that of ``distance``, metres.

        Parameters
        ----------
        distance : float or Tensor ``[...]``, metres
        vergence : Tensor ``[...]``, 1/metres
            By which it is larger.

        Returns
        -------
        Tensor ``[...]``, metres
        """
        with torch.no_grad():
            place, widening = map(float, self._entrance())
        return 1 / (vergence / widening**2 + 1 / (distance + place)) - place

    def _entrance(self) -> tuple[Tensor | float, Tensor | float]:
        whole = self._whole_lens()
        return (0.0, 1.0) if whole is None else whole.entrance()

    def _whole_lens(self) -> WholeLens | None:
        return next(whole_lenses(self.elements), None)

    def _wavelengths(self) -> Tensor:
        """Wavelengths ``[L]``, metres, in float64 whatever the module's dtype.

        Each call makes a copy, as an element may change its argument in place.
        """
        device = self.aperture.device
        return kept_copy(
            ("wavelengths", self.wavelengths, device),
            lambda: torch.tensor(self.wavelengths, dtype=torch.float64, device=device),
        )

    def penalty(self) -> Tensor | None:
        """Sum of the penalties of the elements that have one, a scalar; None if none has."""
        return penalty_within(self.elements)

    def field(self, *, distance: Tensor | float | None = None) -> Tensor:
        """Complex amplitude in the pupil.

        Parameters
        ----------
        distance : float or Tensor ``[D]``, metres, optional
            Distance of the point source in front of the pupil, or of the first vertex of a
            :class:`CompoundPupil`; in focus by default.

        Returns
        -------
        Tensor, complex ``[L, H, W]``, or ``[D, L, H, W]`` for several distances
            With places ``[(D,) P, Q, L, H, W]``.
        """
        return as_field(self._light(distance).planes)

    def _light(self, distance: Tensor | float | None) -> PupilLight:
        """:meth:`field` in two real planes, and what made it."""
        amplitude, phase = self.opening, None
        for element in self.elements:
            assert isinstance(element, Element)
            if isinstance(element, PhaseElement):
                shift = single(element.phase_shift(self._wavelengths()))
                phase = shift if phase is None else phase + shift
            else:
                amplitude = amplitude * element.transmission(self._wavelengths())
        vergence = None if distance is None else self.vergence(distance)
        if vergence is not None:
            shift = self._defocus(vergence)
            phase = shift if phase is None else phase + shift
        if phase is None:
            planes = as_planes(amplitude)
        elif amplitude.is_complex():
            planes = as_planes(amplitude * phasor(phase))
        else:
            planes = polar_planes(amplitude, phase)
        bands = len(self.wavelengths)
        planes = planes.expand(*planes.shape[:-4], bands, *planes.shape[-3:])
        return PupilLight(planes, phase, vergence)

    def _defocus(self, vergence: Tensor) -> Tensor:
        """Phase of a point out of focus, ``[(D,) (P or 1, Q or 1,) L, H, W]``, radians."""
        wavelength = self._wavelengths()
        if vergence.ndim and self.places is not None:
            if vergence.ndim > 1:
                raise ValueError(
                    f"distance must be one number or [D], metres, not {list(vergence.shape)}: it "
                    "is the same for all places"
                )
            vergence = vergence[:, None, None]
        path = vergence.to(wavelength.device)[..., None, None, None] * self.curve.to(wavelength)
        turns = path / wavelength[:, None, None]
        return (2 * math.pi * turns).to(single(self.aperture).dtype)

    def _coarse(self, light: PupilLight) -> Coarse | None:
        """Phase steps above pi from sample to sample, which are aliased."""
        return coarse_phase(
            light,
            [*self.elements],
            aperture=self.aperture,
            grid=Grid(self.size, self.spacing),
            wavelength=min(self.wavelengths),
        )

    def _check_phase(self, light: PupilLight, *, stacklevel: int) -> None:
        """Warn once of light whose phase the samples do not hold."""
        if self._warned or torch.compiler.is_compiling():
            return
        found = self._coarse(light)
        if found is not None:
            self._warned = True
            warn_of_coarse(*found, spacing=self.spacing, stacklevel=stacklevel + 1)

    def forward(self, *, distance: Tensor | float | None = None) -> Tensor:
        """Form the PSF.

        Parameters
        ----------
        distance : Tensor ``[D]`` or float, metres, optional
            Distance of the point source in front of the pupil, or of the first vertex of a
            :class:`CompoundPupil`; in focus by default.

        Returns
        -------
        Tensor ``[L, h, w]`` or ``[D, L, h, w]``, with places ``[(D,) P, Q, L, h, w]``
            Fractions of the light in the open aperture.

        Warns
        -----
        UserWarning
            Once, if a distance, or a :class:`Lens`, :class:`Aberration` or :class:`CubicMask` among
            the elements, makes the phase change by more than pi from sample to sample.
        """
        light = self._light(distance)
        self._check_phase(light, stacklevel=4)  # beyond a module's two calls
        return psf_from_planes(
            light.planes,
            wavelength=self.wavelengths,
            focal_length=self.image_distance,
            pupil_spacing=self.spacing,
            pixel_pitch=self.pixel_pitch,
            size=self.psf_size,
            incident_power=self.incident_power,
            oversample=self.oversample,
        )

    def otf(
        self,
        frequency: Tensor,
        *,
        angle: float | Tensor = 0.0,
        distance: Tensor | float | None = None,
        pixel: bool = True,
    ) -> Tensor:
        """Optical transfer function (OTF) of the pupil and, by default, of the pixel area.

        It is computed from the wavefront. Unlike :func:`optics.otf` of a PSF, it is neither
        truncated by the window of the PSF nor aliased at half a cycle per pixel.

        Parameters
        ----------
        frequency : Tensor, real ``[F]``, cycles/m
            Spatial frequency in the image. One line pair per millimetre is 1000 cycles/m;
            ``0.5 / pixel_pitch`` is the Nyquist frequency.
        angle : float or scalar Tensor, radians
            Direction in which the sine varies: 0 along a row, pi / 2 along a column.
        distance : float or Tensor ``[D]``, metres, optional
            Distance of the scene; in focus by default. Several give a through-focus curve.
        pixel : bool
            Include the MTF of the pixel area, :func:`optics.pixel_mtf`.

        Returns
        -------
        Tensor, complex ``[L, F]``, or ``[D, L, F]``, with places ``[(D,) P, Q, L, F]``
            1 at zero frequency. Its angle is the phase transfer function: pi where contrast is
            reversed.

        Raises
        ------
        TypeError, ValueError
            As in :func:`optics.otf_along`, for a distance of 0, and for several distances that are
            not a Tensor.

        Warns
        -----
        UserWarning
            When all frequencies are below a thousandth of the cut-off, and not all 0, as in line
            pairs/mm or cycles/pixel. Once, if the phase changes by more than pi from sample to
            sample, as in :meth:`forward`.
        """
        return self._otf(frequency, angle, distance, pixel)

    def _otf(
        self,
        frequency: Tensor,
        angle: float | Tensor,
        distance: Tensor | float | None,
        pixel: bool,
    ) -> Tensor:
        """:meth:`otf`, whose warnings name the line that calls the method that calls this one."""
        light = self._light(distance)
        found = otf_along(
            as_field(light.planes),
            frequency,
            angle=angle,
            wavelength=self.wavelengths,
            focal_length=self.image_distance,
            pupil_spacing=self.spacing,
        )
        self._check_phase(light, stacklevel=3)
        self._check_unit(frequency)
        if not pixel:
            return found
        line = frequency.to(found.device, torch.float64)
        angle = torch.as_tensor(angle, dtype=torch.float64, device=found.device)
        across, down = (
            pixel_mtf(line * part, pitch=self.pixel_pitch) for part in (angle.cos(), angle.sin())
        )
        return found * (across * down).to(found.real.dtype)

    def _check_unit(self, frequency: Tensor) -> None:
        """Warn of frequencies that seem to be in another unit: so low that no contrast is lost."""
        if not (looked_at(frequency) and has_values(self.aperture) and frequency.numel()):
            return
        highest = float(frequency.detach().abs().max())
        spread = max(self.wavelengths) * self.image_distance
        # First with the whole grid: finding the diameter has to wait for the aperture's device.
        if not 0 < highest < _NO_CONTRAST_LOST * max(self.size) * self.spacing / spread:
            return
        cutoff = self.diameter / spread
        if highest < _NO_CONTRAST_LOST * cutoff:
            warnings.warn(
                f"frequency is in cycles/m, and reaches {highest:g}, where the cut-off is "
                f"{cutoff:.3g}: give line pairs/mm times 1000, and cycles/pixel divided by the "
                "pixel_pitch",
                UserWarning,
                stacklevel=4,
            )

    def mtf(
        self,
        frequency: Tensor,
        *,
        angle: float | Tensor = 0.0,
        distance: Tensor | float | None = None,
        pixel: bool = True,
    ) -> Tensor:
        """Modulation transfer function: the modulus of :meth:`otf`.

        By default it includes the pixel area, even with ``oversample=1``, whose PSF does not. To
        compare it with the MTF of that PSF, or with that of a lens alone, give ``pixel=False``.

        Parameters
        ----------
        frequency : Tensor, real ``[F]``, cycles/m
        angle : float or scalar Tensor, radians
        distance : float or Tensor ``[D]``, metres, optional
        pixel : bool
            All as for :meth:`otf`.

        Returns
        -------
        Tensor ``[L, F]``, or ``[D, L, F]``, with places ``[(D,) P, Q, L, F]``
            In 0..1. It has a gradient, to train the elements for contrast, which is 0 where the
            MTF is 0.

        Raises
        ------
        TypeError, ValueError
            As :meth:`otf`.

        Warns
        -----
        UserWarning
            As :meth:`otf`.
        """
        return modulus(self._otf(frequency, angle, distance, pixel))

    def amplitude_spread(self) -> Tensor:
        """Amplitude spread function in focus, complex ``[L, h, w]``: the image of a coherent point.

        See :func:`optics.amplitude_spread`.

        Raises
        ------
        ValueError
            When ``oversample`` is above 1: pixels integrate irradiance, not amplitude.
        """
        self._check_amplitude()
        return amplitude_spread(
            self.field(),
            wavelength=self.wavelengths,
            focal_length=self.image_distance,
            pupil_spacing=self.spacing,
            pixel_pitch=self.pixel_pitch,
            size=self.psf_size,
        )

    def amplitude_transfer(self, size: int | tuple[int, int]) -> Tensor:
        """Coherent transfer function in focus, at the frequencies of a periodic image.

        The Fourier transform of a field is multiplied by it (Goodman, Fourier Optics, eq. 7-20).

        Parameters
        ----------
        size : int or (int, int), pixels
            Size (h, w) of the image.

        Returns
        -------
        Tensor, complex ``[L, h, w]``
            Values at the centred frequencies ``(i - n // 2) / n`` cycles/pixel, as for
            :func:`optics.coherent_image`: the amplitude in the pupil, interpolated and at most 1.
            The zero frequency has that of the pupil's central sample.

        Raises
        ------
        ValueError
            As :meth:`amplitude_spread`, and for a size of less than a pixel.
        """
        self._check_amplitude()
        return amplitude_transfer(
            self.field(),
            wavelengths=self.wavelengths,
            focal_length=self.image_distance,
            pupil_spacing=self.spacing,
            pixel_pitch=self.pixel_pitch,
            size=image_size(size),
        )

    def _check_amplitude(self) -> None:
        if self.oversample > 1:
            raise ValueError(
                f"oversample={self.oversample} integrates irradiance over the pixels, but a "
                "coherent image needs amplitudes: use smaller pixels, and bin in the sensor"
            )

    @property
    def incident_power(self) -> Tensor:
        """Light in the open aperture, ``sum A^2``, scalar."""
        return single(self.aperture).square().sum()

    def extra_repr(self) -> str:
        """Name the geometry with its units."""
        bands = ", ".join(f"{w * 1e9:g}" for w in self.wavelengths)
        return (
            f"size={self.size}, spacing={self.spacing:g} m, wavelengths=({bands}) nm, "
            f"focal_length={self.focal_length:g} m, pixel_pitch={self.pixel_pitch:g} m, "
            f"psf_size={self.psf_size} pixels, focus={self.focus:g} m"
            + (
                ""
                if self._image_distance is None
                else f", image_distance={self._image_distance:g} m"
            )
            + (f", oversample={self.oversample}" if self.oversample > 1 else "")
        )
