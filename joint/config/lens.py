"""A lens: its settings, and the pupil, the colours and the projection that are built from them.

::

    LensConfig ── _element, _aberration ──► Pupil ──┐
               ── _projection ─► Projection ────────┼─► IncoherentImaging, or VaryingImaging
               ── build_colour ► ColourChannels ────┘
"""

import math
import warnings
from typing import Annotated, Literal, Self

import torch
from pydantic import AfterValidator, Field, field_validator, model_validator
from torch import nn

import optics
from joint.settings import ConfigError, FrozenDict, Settings
from optics.pupil.height_map import check_depth
from optics.pupil.pupil import middle_wavelength
from optics.pupil.sampling import (
    check_oversample,
    image_distance_of,
    point_spacing,
    spacing_across,
    window_period,
)

from .bands import (
    CAMERA_BANDS,
    Distance,
    Wavelengths,
    bands_of,
    check_response,
    response_of,
)
from .colour import ColourConfig, build_colour
from .off_axis import OffAxisConfig, off_axis_coefficients, varying_imaging, vignetting

__all__ = ["LensConfig", "build_lens", "check_window"]

# Noll's indices of the aberrations that have a name: along x where there are two of a kind.
_NOLL = {"astigmatism": 6, "coma": 8, "spherical": 11}
_DEFOCUS = 4  # of the same
# Largest initial range of a learned relief, in waves: at the ends of its range it cannot move.
_RELIEF = 0.96
# Metres: a camera with a longer lens is a telescope.
_LONGEST = 1.0


class LensConfig(Settings):
    """A lens that images incoherent light, with an element in its pupil: optics.IncoherentImaging.

    With its defaults it is a diffraction-limited lens, the baseline of all others.
    """

    kind: Literal["lens"] = "lens"
    element: Literal["none", "phase", "height", "cubic", "random"] = "none"
    """Element in the pupil: none; phase, a learned phase mask; height, a learned relief in glass;
    cubic, a cubic phase (Dowski and Cathey 1995) of learned strength; random, a fixed random
    phase."""
    strength: float = Field(default=0.0, ge=0)
    """Waves at the middle wavelength. For a cubic phase: alpha, its path at the rim along x or y.
    For a random phase, and for the random start of a learned element: the range, peak to valley.
    Above 2 (cubic) or 0.1 (random), light falls outside a window of 31 pixels: see
    optics.audit_sampling. A cubic phase learns only from a strength above 0, such as 1."""
    defocus: float = 0.0
    """Waves of defocus at the rim of the pupil, peak to valley, at the middle wavelength. A
    positive value focuses light in front of the sensor. It is -W020: 1 is -0.289 (-1 / sqrt 12)
    waves RMS of Noll's index 4, and cancels a zernike 4 of 0.289."""
    astigmatism: float = 0.0
    """Waves RMS at the middle wavelength, of the Zernike polynomial of Noll's index 6: lines along
    x and y. Like the other aberrations, it has the same path length at all wavelengths."""
    coma: float = 0.0
    """Waves RMS at the middle wavelength, of Noll's index 8: a tail along x."""
    spherical: float = 0.0
    """Waves RMS at the middle wavelength, of Noll's index 11: spherical aberration at best
    focus."""
    zernike: Annotated[dict[int, float], AfterValidator(FrozenDict)] = FrozenDict()
    """Further terms of the wavefront: waves RMS at the middle wavelength by Noll's index, from 1,
    positive where light lags. Reverse the sign of coefficients from OpticStudio."""
    off_axis: OffAxisConfig = OffAxisConfig()
    """Aberrations and vignetting that grow towards the corners of the scene; none by default."""
    focus: float | None = Field(default=None, gt=0)
    """Metres from the lens to the plane in focus; by default infinity."""
    working_distances: tuple[Distance, ...] = ()
    """Metres from the lens to the scenes, inf included. Each scene lies at one of these distances,
    drawn with equal probability: the element is trained for all of them. By default all scenes are
    in focus."""
    focal_length: float = Field(default=20e-3, gt=0)
    """Metres."""
    f_number: float = Field(default=8.0, gt=0)
    """Focal length / diameter. The sensor's photons do not follow it: to compare stops or pixels at
    equal illumination, scale the photons by (pixel_pitch / f_number)**2, see
    optics.exposure_photons."""
    obscuration: float = Field(default=0.0, ge=0, le=0.9)
    """Diameter of a round central obscuration, such as the secondary mirror of a telescope, over
    the diameter of the pupil. The light on its area, obscuration**2, is missing from the
    throughput; the f-number stays focal length / diameter."""
    pixel_pitch: float = Field(default=3.5e-6, gt=0)
    """Distance between pixels, metres."""
    pupil_size: int = Field(default=96, ge=8)
    """Samples across the pupil; a cubic phase of a waves needs 28 a. Fewer than psf_size
    pixel_pitch / (lambda f_number) + 1, at the shortest wavelength, are refused, because copies of
    the PSF would lie in its window."""
    psf_size: int = Field(default=31, ge=3)
    """Side of the window that holds the PSF, pixels; light outside it is lost. A cubic phase of a
    waves sends light up to 6 a lambda f_number / pixel_pitch pixels away."""
    oversample: int = Field(default=1, ge=1)
    """Odd number of sample points along a side of a pixel. 1 samples the centre; 3 or 5 integrate
    over the area, as pixels wider than lambda s' / D need."""
    wavelengths: Wavelengths | None = None
    """One per channel of the scenes, metres; by default the bands of a colour camera, or evenly
    spaced ones. With data.wavelengths, those; with a spectral_response, any number. The
    middle wavelength is the median; of an even number, the longer of the two in the middle."""
    spectral_response: tuple[float, ...] = ()
    """For channels that see a broad band, as in a monochrome camera: shares of the light at each of
    the wavelengths, first those of the first channel, then those of the next. The shares of each
    channel are scaled to a sum of 1, because the sensor's photons are those that it detects."""
    colour: ColourConfig = ColourConfig()
    """Lamps and filters that make channels from the bands of the scenes; by default each band is a
    channel."""
    material: str = "fused_silica"
    """Glass of the relief, one of optics.MATERIALS."""
    max_height: float | None = Field(default=None, gt=0)
    """Maximum depth of the relief, metres; by default one wave at the middle wavelength. A deeper
    relief can serve several colours; a depth above the width of the pupil is refused."""
    levels: int | None = Field(default=None, ge=2)
    """Number of heights that can be manufactured; by default the height is continuous."""
    minimum_feature: float = Field(default=0.0, ge=0)
    """Width over which the relief is averaged, metres; the steps between levels may be narrower."""
    distortion: float = Field(default=0.0, ge=-0.5, le=0.5)
    """Relative distortion at a corner of the scene: excess of its image height over the undistorted
    one. Barrel distortion is negative."""
    lateral_colour: float = Field(default=0.0, ge=-0.1, le=0.1)
    """Relative excess in size of the last channel's picture over the first channel's; refused for
    scenes of one channel."""
    axial_colour: float = Field(default=0.0, ge=-0.1, le=0.1)
    """Relative difference by which the focal length is shorter at the shortest wavelength than at
    the longest. It is linear in between, and the middle wavelength keeps its focus; refused for a
    lens of one wavelength. From 486 to 656 nm a lens of one glass has 1 / its Abbe number, 0.016
    for crown glass; from 400 to 1000 nm three times as much; an achromat has hardly any."""
    singlet: str | None = None
    """Glass of a lens made of one glass, one of optics.MATERIALS. Its focal length is proportional
    to 1 / (n - 1), with the index n at each wavelength; the middle wavelength keeps its focus. It
    takes the place of axial_colour."""
    half_field: float = Field(default=0.0, ge=0, lt=1.57)
    """Angle from the axis to a corner of the scene, radians; light falls off towards it."""
    restoration: float | None = Field(default=None, gt=0)
    """Initial noise-to-signal ratio at the Nyquist frequency of an optics.Wiener, which learns to
    undo the blur after the sensor, averaged over the working distances; by default the blur
    stays."""
    boundary: optics.Boundary = "replicate"
    """How the picture is continued beyond its border."""

    @field_validator("material", "singlet")
    @classmethod
    def _known(cls, material: str | None) -> str | None:
        if material is not None and material not in optics.MATERIALS:
            raise ValueError(
                f"no material is called {material!r}; choose from {sorted(optics.MATERIALS)}"
            )
        return material

    @field_validator("zernike")
    @classmethod
    def _counted_from_1(cls, zernike: dict[int, float]) -> dict[int, float]:
        for index in zernike:
            if index < 1:
                raise ValueError(f"zernike has Noll's indices, from 1, and not {index}")
        return zernike

    @field_validator("focus", mode="before")
    @classmethod
    def _far(cls, focus: object) -> object:
        return None if focus in (math.inf, "inf") else focus  # one way to say one thing: one digest

    @field_validator("working_distances")
    @classmethod
    def _in_front(cls, distances: tuple[float, ...]) -> tuple[float, ...]:
        for distance in distances:
            if distance <= 0:
                raise ValueError(f"working_distances are metres from the lens, not {distance:g}")
        return distances

    @model_validator(mode="after")
    def _of_use(self) -> Self:
        if self.focus is not None and self.focus <= self.focal_length:
            raise ValueError(
                f"focus={self.focus:g} m is within the focal length of {self.focal_length:g} m, "
                "where a lens makes no real image"
            )
        if any(distance <= self.focal_length for distance in self.working_distances):
            raise ValueError(
                f"working_distances {self.working_distances} m reach into the focal length of "
                f"{self.focal_length:g} m"
            )
        for name, index in _NOLL.items():
            if getattr(self, name) != 0 and index in self.zernike:
                raise ValueError(f"{name} is zernike {index}: set one of the two")
        if self.singlet is not None and self.axial_colour != 0:
            raise ValueError(
                "the axial colour of a singlet is that of its glass: set one of the two"
            )
        if self.element == "none" and self.strength > 0:
            raise ValueError(
                f"strength={self.strength:g} needs an element: choose one, or set strength to 0"
            )
        made = (self.max_height, self.levels, self.minimum_feature, self.material)
        if self.element != "height" and made != (None, None, 0.0, "fused_silica"):
            raise ValueError(
                f"max_height, levels, minimum_feature and material are for element='height', "
                f"not {self.element!r}"
            )
        if self.element == "height" and self.strength > _RELIEF:
            raise ValueError(
                f"a relief starts within one wave: strength is at most {_RELIEF}, not "
                f"{self.strength:g}"
            )
        if self.max_height is not None:
            size, spacing = (self.pupil_size, self.pupil_size), _pupil_spacing(self)
            check_depth("max_height", self.max_height, size, spacing)
        check_oversample(self.oversample)
        widest = _spot(self, min(self.wavelengths or CAMERA_BANDS))
        points = point_spacing(widest / self.pixel_pitch, self.oversample)
        if not points.enough:
            raise ValueError(
                f"pixel_pitch={self.pixel_pitch:g} m is wider than lambda s' / D = {widest:.3g} m "
                "at the shortest wavelength, with the image distance s', and with "
                f"oversample={self.oversample} light would be counted wrongly: "
                + points.advice("or a larger f_number")
            )
        if self.colour.mixes and self.restoration is not None:
            raise ValueError(
                "restoration undoes the blur of each channel by its PSF, and colour makes channels "
                "of several bands, each with its own: set one of the two"
            )
        if self.off_axis.varies and self.restoration is not None:
            raise ValueError(
                "off_axis gives each place of the scene its own PSF, but restoration takes "
                "one for all: set one of the two"
            )
        check_response(self.spectral_response, self.wavelengths, mixes=self.colour.mixes)
        if self.element == "random" and self.strength == 0:
            raise ValueError("a random phase needs a strength above 0, in waves")
        return self


def build_lens(
    config: LensConfig, image_size: tuple[int, int], channels: int
) -> optics.IncoherentImaging | optics.VaryingImaging:
    """Build the lens of a configuration; a random phase is drawn from torch's global generator.

    Parameters
    ----------
    config : LensConfig
    image_size : (int, int), pixels
        Height and width of the scenes.
    channels : int
        Channels of the scenes.

    Returns
    -------
    optics.IncoherentImaging or optics.VaryingImaging
        The latter if the wavefront or the aperture changes towards the corners.

    Raises
    ------
    ConfigError
        When wavelengths or spectral response do not match the number of channels of the scenes; for
        axial colour or a singlet with a single wavelength, or lateral colour with a single channel;
        for a window too large for the pupil's samples.
    ValueError
        When the filters or lamps are given for another number of bands.

    Warns
    -----
    UserWarning
        When too few eigen-PSFs represent PSFs that change across the scene, for a cubic phase of
        strength 0, and for a focal length above 1 m, which was probably given in millimetres.
    """
    if config.focal_length > _LONGEST:
        warnings.warn(
            f"focal_length={config.focal_length:g} is that of a telescope, in metres: "
            f"{config.focal_length:g} mm are {config.focal_length / 1e3:g}",
            UserWarning,
            stacklevel=2,
        )
    if config.element == "cubic" and config.strength == 0:
        warnings.warn(
            "element='cubic' with strength=0 is a lens without an element, and hardly learns: a "
            "cubic phase of either sign has the same effect, so that its gradient at 0 is about "
            "zero. Set a strength in waves to begin from, such as strength=1",
            UserWarning,
            stacklevel=2,
        )
    restoration, distances = config.restoration, config.working_distances or None
    pupil = _pupil(config, image_size, channels)
    projection = _projection(config, channels)
    colour = build_colour(config.colour, pupil.wavelengths)
    response = response_of(config.spectral_response, config.wavelengths, channels)
    if config.off_axis.varies:
        return varying_imaging(
            pupil,
            rank=min(config.off_axis.rank, math.prod(config.off_axis.places)),
            spectral_response=response,
            working_distances=distances,
            projection=projection,
            colour=colour,
            boundary=config.boundary,
        )
    return optics.IncoherentImaging(
        pupil,
        spectral_response=response,
        working_distances=distances,
        projection=projection,
        restoration=None if restoration is None else optics.Wiener(restoration),
        colour=colour,
        boundary=config.boundary,
    )


def _projection(config: LensConfig, channels: int) -> optics.Projection | None:
    lateral = config.lateral_colour
    if channels == 1 and lateral != 0:
        raise ConfigError(
            f"front_end.lateral_colour={lateral:g} has no effect, because it shifts channels "
            "against each other and these scenes have one: give no lateral_colour. In Python, "
            "optics.seidel_coefficients(tilt=[L]) shifts the wavelengths of one channel"
        )
    if config.distortion == lateral == config.half_field == 0:
        return None
    corner = 1 + config.distortion  # where the corner of the scene is seen
    radial = () if config.distortion == 0 else ((1 / corner - 1) / corner**2,)
    sizes = (1 + lateral) ** (torch.linspace(0, 1, channels) - 0.5)
    return optics.Projection(
        radial=radial,
        magnification=None if lateral == 0 else sizes,
        half_field=config.half_field,
        boundary="zero" if config.boundary == "zero" else "replicate",
    )


def _pupil(config: LensConfig, image_size: tuple[int, int], channels: int) -> optics.Pupil:
    wavelengths = bands_of(config.wavelengths, config.spectral_response, channels)
    middle = middle_wavelength(wavelengths)
    diameter, spacing = config.focal_length / config.f_number, _pupil_spacing(config)
    check_window(
        config.psf_size,
        pupil_size=config.pupil_size,
        f_number=config.f_number,
        pixel_pitch=config.pixel_pitch,
        wavelength=min(wavelengths),
        spot=_spot(config, min(wavelengths)),
    )
    elements = [
        _element(config, spacing, diameter, middle),
        _aberration(config, spacing, diameter, wavelengths),
        _central_stop(config, spacing, diameter),
    ]
    if config.defocus != 0:
        # Its rim is D^2 / (8 f) ahead of its middle.
        focal_length = diameter**2 / (8 * middle * config.defocus)
        elements.append(optics.Lens(config.pupil_size, spacing=spacing, focal_length=focal_length))
    if config.off_axis.vignetting > 0:
        elements.append(
            vignetting(
                config.off_axis,
                image_size,
                pupil_size=config.pupil_size,
                spacing=spacing,
                diameter=diameter,
            )
        )
    if config.off_axis.aberrates:
        terms, indices = off_axis_coefficients(
            config.off_axis, image_size, wavelength=middle, obscuration=config.obscuration
        )
        elements.append(
            optics.Aberration(
                config.pupil_size,
                spacing=spacing,
                diameter=diameter,
                coefficients=terms,
                indices=indices,
            )
        )
    return optics.Pupil(
        [element for element in elements if element is not None],
        wavelengths=wavelengths,
        focal_length=config.focal_length,
        oversample=config.oversample,
        pixel_pitch=config.pixel_pitch,
        psf_size=config.psf_size,
        size=config.pupil_size,
        spacing=spacing,
        focus=math.inf if config.focus is None else config.focus,
    )


def _pupil_spacing(config: LensConfig) -> float:
    """Metres between pupil samples: the aperture reaches from the first to the last one."""
    return spacing_across(config.focal_length / config.f_number, config.pupil_size)


def _spot(config: LensConfig, wavelength: float) -> float:
    """Width lambda s' / D of a PSF, metres, with the image distance s' and the diameter D."""
    focus = math.inf if config.focus is None else config.focus
    distance = image_distance_of(config.focal_length, focus)
    return wavelength * config.f_number * (distance / config.focal_length)


def check_window(
    psf_size: int,
    *,
    pupil_size: int,
    f_number: float,
    pixel_pitch: float,
    wavelength: float,
    spot: float,
) -> None:
    """Refuse a PSF window that holds copies of the PSF, which a coarsely sampled pupil makes.

    Parameters
    ----------
    psf_size, pupil_size, f_number, pixel_pitch
        As of a :class:`LensConfig`.
    wavelength : float, metres
        The shortest.
    spot : float, metres
        Width lambda s' / D of its PSF.
    """
    window = window_period(spot / pixel_pitch, psf_size, samples=pupil_size)
    if not window.fits:
        raise ConfigError(
            f"front_end.psf_size={psf_size} is too large for pupil_size={pupil_size}: at "
            f"f_number={f_number:g}, pixel_pitch={pixel_pitch:g} m and {wavelength * 1e9:.4g} nm "
            f"such a pupil makes copies of the PSF every {window.period:.4g} pixels; set "
            f"pupil_size to {window.least} or more, or psf_size to less"
        )


def _aberration(
    config: LensConfig, spacing: float, diameter: float, wavelengths: tuple[float, ...]
) -> optics.Aberration | None:
    middle = middle_wavelength(wavelengths)
    waves = {index: getattr(config, name) for name, index in _NOLL.items()} | config.zernike
    terms = {index: size for index, size in waves.items() if size != 0}
    power = _chromatic_power(config, wavelengths)
    if power is not None:
        terms.setdefault(_DEFOCUS, 0.0)
    if not terms:
        return None
    coefficients = middle * torch.tensor([*terms.values()], dtype=torch.float64)
    if power is not None:
        # A power P more is a path of -P r^2 / 2, -P D^2 / (16 sqrt 3) RMS of Noll's index 4.
        coefficients = coefficients.repeat(len(wavelengths), 1)
        at = [*terms].index(_DEFOCUS)
        coefficients[:, at] -= power * diameter**2 / (16 * math.sqrt(3))
    return optics.Aberration(
        config.pupil_size,
        spacing=spacing,
        diameter=diameter,
        coefficients=coefficients.float(),
        indices=[*terms],
    )


def _central_stop(
    config: LensConfig, spacing: float, diameter: float
) -> optics.AmplitudeMask | None:
    """What is open beside the obscuration; with the circle around it an annular_aperture."""
    if config.obscuration == 0:
        return None
    stop = optics.circular_aperture(
        config.pupil_size, diameter=config.obscuration * diameter, spacing=spacing
    )
    # As an element and not as the aperture: throughput is a fraction of the aperture's light, and
    # the obscured light has to be missing from it.
    return optics.AmplitudeMask((1 - stop).square(), spacing=spacing, trainable=False)


def _chromatic_power(config: LensConfig, wavelengths: tuple[float, ...]) -> torch.Tensor | None:
    """Power of the lens at each wavelength above that at the middle one, ``[L]``, 1/metres."""
    name = "axial_colour" if config.singlet is None else "singlet"
    if not getattr(config, name):
        return None
    spread = max(wavelengths) - min(wavelengths)
    if spread == 0:
        raise ConfigError(
            f"front_end.{name}={getattr(config, name)} has no effect, because this lens has only "
            f"one wavelength, {wavelengths[0] * 1e9:g} nm: give several wavelengths, with a "
            f"spectral_response, or no {name}"
        )
    sharp = middle_wavelength(wavelengths)
    light = torch.tensor(wavelengths, dtype=torch.float64)
    if config.singlet is None:
        part = config.axial_colour * (sharp - light) / spread
    else:
        # The lens maker's formula: the power is n - 1 times a constant of the surfaces.
        index = optics.refractive_index(config.singlet, light)
        part = (index - 1) / (optics.refractive_index(config.singlet, sharp) - 1) - 1
    return part / config.focal_length


def _element(
    config: LensConfig, spacing: float, diameter: float, middle: float
) -> optics.Element | None:
    size = config.pupil_size
    waves = config.strength * torch.rand(size, size)
    match config.element:
        case "none":
            return None
        case "phase":
            phase = nn.Parameter(2 * math.pi * waves)
            return optics.PhaseMask(phase, spacing=spacing, design_wavelength=middle)
        case "random":
            phase = 2 * math.pi * waves
            return optics.PhaseMask(phase, spacing=spacing, design_wavelength=middle)
        case "cubic":
            return optics.CubicMask(
                size,
                spacing=spacing,
                diameter=diameter,
                alpha=nn.Parameter(torch.tensor(config.strength)),
                design_wavelength=middle,
            )
        case "height":
            wave = middle / (optics.refractive_index(config.material, middle) - 1)
            deepest = wave if config.max_height is None else config.max_height
            # From the middle of the range, where the bounded relief has its largest gradient.
            share = 0.5 + (waves - config.strength / 2) * wave / deepest
            relief = deepest * share.clamp(0.02, 0.98)
            return optics.HeightMap(
                relief,
                spacing=spacing,
                material=config.material,
                design_wavelength=middle,
                max_height=config.max_height,
                levels=config.levels,
                minimum_feature=config.minimum_feature,
            )
