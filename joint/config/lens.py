"""A lens: its settings, and the pupil, the colours and the projection that are built of them.

::

    LensConfig ── _element, _aberration ──► Pupil ──┐
               ── _projection ─► Projection ────────┼─► IncoherentImaging, or VaryingImaging
               ── build_colour ► ColourChannels ────┘
"""

import math
import warnings
from typing import Annotated, Literal, Self

import torch
from pydantic import AfterValidator, Field, PlainSerializer, field_validator, model_validator
from torch import nn

import optics
from joint.settings import ConfigError, FrozenDict, Settings, added
from optics.psf import check_oversample
from optics.pupil import middle_wavelength

from .bands import Wavelengths, check_bands
from .colour import ColourConfig, build_colour
from .off_axis import OffAxisConfig, off_axis_coefficients, varying_imaging, vignetting

__all__ = ["LensConfig", "build_lens"]

# Middle of the bands of a colour camera, metres; see classify.skin_reflectance.
_CAMERA_BANDS = (612e-9, 545e-9, 463e-9)
_VISIBLE = (460e-9, 620e-9)
# Noll's indices of the aberrations that have a name: along x where there are two of a kind.
_NOLL = {"astigmatism": 6, "coma": 8, "spherical": 11}
_DEFOCUS = 4  # of the same
# Range of a relief that a learned one may start from, in waves: its ends cannot be left.
_RELIEF = 0.96
# Part of its period by which a window may be larger, as optics.Pupil allows.
_ROUNDED = 1e-9
# Points along a side of a pixel beyond which lengths are taken for a slip, as by optics.Pupil.
_MOST_POINTS = 31
# Metres: a camera with a longer lens is a telescope.
_LONGEST = 1.0


def _number(distance: float) -> float:
    if math.isnan(distance):
        raise ValueError("a distance is a number of metres, or inf, not nan")
    return distance


#: Metres, or inf, which JSON has no number for: there it is "inf", and read again from it.
_Distance = Annotated[
    float,
    Field(allow_inf_nan=True),
    AfterValidator(_number),
    PlainSerializer(lambda distance: "inf" if math.isinf(distance) else distance, when_used="json"),
]


class LensConfig(Settings):
    """A lens that images incoherent light, with an element in its pupil: optics.IncoherentImaging.

    As it is, a diffraction-limited lens: the baseline of every other.
    """

    kind: Literal["lens"] = "lens"
    element: Literal["none", "phase", "height", "cubic", "random"] = "none"
    """What lies in the pupil: nothing; a learned phase mask; a learned relief in glass; a cubic
    phase (Dowski and Cathey 1995), whose strength is learned; a fixed random phase."""
    strength: float = Field(default=0.0, ge=0)
    """Waves at the middle wavelength: alpha of the cubic phase, its path at the rim along x or y;
    or the range of the random one, peak to valley, which a learned element starts from, too. With
    more than 2, or 0.1 of what is random, light falls beyond a window of 31 pixels: see
    optics.audit_sampling. A cubic phase learns from a strength above 0 alone, such as 1."""
    defocus: float = 0.0
    """Waves of defocus at the rim of the pupil, peak to valley, at the middle wavelength: with a
    positive one, light is focused in front of the sensor. It is -W020: 1 is -0.289 (-1 / sqrt 12)
    waves RMS of Noll's index 4, and takes a zernike 4 of 0.289 away."""
    astigmatism: float = added(0.0)
    """Waves RMS at the middle wavelength, of Zernike's polynomial of Noll's index 6: lines along x
    and y. Like the other aberrations it is one length of path at all wavelengths."""
    coma: float = added(0.0)
    """Waves RMS at the middle wavelength, of Noll's index 8: a tail along x."""
    spherical: float = added(0.0)
    """Waves RMS at the middle wavelength, of Noll's index 11, which is in best focus."""
    zernike: Annotated[dict[int, float], AfterValidator(FrozenDict)] = added(FrozenDict())
    """More of the wavefront: waves RMS at the middle wavelength by Noll's indices, from 1, positive
    where light lags: those of OpticStudio change their sign."""
    off_axis: OffAxisConfig = added(OffAxisConfig())
    """What the wavefront has more, and the light less, towards the corners of the scene; as it is,
    nothing."""
    focus: float | None = added(None, gt=0)
    """Metres from the lens to what is sharp; by default infinitely many."""
    working_distances: tuple[_Distance, ...] = added(())
    """Metres from the lens to the scenes, also inf, each of which lies at one of these, drawn
    evenly: the element is trained for all of them. By default all are in focus."""
    focal_length: float = Field(default=20e-3, gt=0)
    """Metres."""
    f_number: float = Field(default=8.0, gt=0)
    """Focal length / diameter. The light is that of the sensor's photons whatever the stop: where
    stops or pixels are compared at equal illumination, scale those by (pixel_pitch / f_number)**2,
    see optics.exposure_photons."""
    obscuration: float = added(0.0, ge=0, le=0.9)
    """Diameter of a round stop in the middle of the pupil, as the second mirror of a telescope is,
    over that of the pupil. The light of its area, obscuration**2, is missing from the throughput;
    the f-number stays focal length / diameter."""
    pixel_pitch: float = Field(default=3.5e-6, gt=0)
    """Metres."""
    pupil_size: int = Field(default=96, ge=8)
    """Samples across the pupil; a cubic phase of a waves takes 28 a. With fewer than psf_size
    pixel_pitch / (lambda f_number) + 1, at the shortest wavelength, copies of the PSF would lie in
    its window, and they are refused."""
    psf_size: int = Field(default=31, ge=3)
    """Pixels of the window that holds the PSF; light that falls beyond is lost. A cubic phase of a
    waves sends it up to 6 a lambda f_number / pixel_pitch pixels away."""
    oversample: int = added(1, ge=1)
    """Points along a side of a pixel at which light is taken, an odd number: 1, its centre; 3 or 5
    integrate over its area, as pixels wider than lambda s' / D need."""
    wavelengths: Wavelengths | None = None
    """One a channel of the scenes, metres; by default the bands of a colour camera, or evenly
    spread ones. With colour, those of data.wavelengths; with a spectral_response, any number. The
    middle wavelength is that by length, of an even number the longer of two."""
    spectral_response: tuple[float, ...] = added(())
    """Of channels that see a broad band, as a monochrome camera does: parts of the light at each of
    the wavelengths, first those of the first channel, then those of the next. Each channel's are
    scaled to a sum of 1, as the sensor's photons are those that it sees."""
    colour: ColourConfig = added(ColourConfig())
    """Lamps and filters that make channels of the bands of the scenes; as it is, each is one."""
    material: str = "fused_silica"
    """Glass of the relief, one of optics.MATERIALS."""
    max_height: float | None = added(None, gt=0)
    """Deepest relief, metres; by default one wave at the middle wavelength. A deeper one can serve
    several colours."""
    levels: int | None = Field(default=None, ge=2)
    """Heights of the relief that can be made; any by default."""
    minimum_feature: float = Field(default=0.0, ge=0)
    """Width that the relief is averaged over, metres; its levels may have narrower steps."""
    distortion: float = added(0.0, ge=-0.5, le=0.5)
    """By which part of its height a corner of the scene is imaged too far out; a barrel is
    negative."""
    lateral_colour: float = added(0.0, ge=-0.1, le=0.1)
    """By which part the picture of the last channel is larger than that of the first; refused for
    scenes of one."""
    axial_colour: float = added(0.0, ge=-0.1, le=0.1)
    """By which part the focal length at the shortest wavelength is less than at the longest; in
    between evenly, and the middle one of them, by length, keeps its focus; refused for a lens
    of one wavelength. From 486 to 656 nm a lens of one glass has 1 / its Abbe number,
    0.016 of crown, from 400 to 1000 nm three times as much, and an achromat hardly any."""
    singlet: str | None = added(None)
    """Glass of a lens of one, among optics.MATERIALS: its focal length goes with 1 / (n - 1), the
    index n at each wavelength. As with axial_colour, which it takes the place of, the middle
    wavelength keeps its focus."""
    half_field: float = added(0.0, ge=0, lt=1.57)
    """Radians from the axis to a corner of the scene, towards which light falls off."""
    restoration: float | None = added(None, gt=0)
    """Noise-to-signal ratio at Nyquist's frequency from which an optics.Wiener learns to undo the
    blur after the sensor, of all working distances in the mean; by default it stays."""
    boundary: optics.Boundary = "replicate"
    """What lies outside of the picture."""

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
                f"strength={self.strength:g} is that of an element: choose one, or set it to 0"
            )
        made = (self.max_height, self.levels, self.minimum_feature, self.material)
        if self.element != "height" and made != (None, None, 0.0, "fused_silica"):
            raise ValueError(
                f"max_height, levels, minimum_feature and material are those of element='height', "
                f"not {self.element!r}"
            )
        if self.element == "height" and self.strength > _RELIEF:
            raise ValueError(
                f"a relief starts within one wave: strength is at most {_RELIEF}, not "
                f"{self.strength:g}"
            )
        check_oversample(self.oversample)
        widest = _spot(self, min(self.wavelengths or _CAMERA_BANDS))
        if self.pixel_pitch > widest * self.oversample:
            enough = 2 * math.ceil((self.pixel_pitch / widest - 1) / 2) + 1
            advice = (
                f"give oversample={enough}, or a larger f_number"
                if enough <= _MOST_POINTS
                else f"give all lengths in metres; of these, oversample={enough} would be needed"
            )
            raise ValueError(
                f"pixel_pitch={self.pixel_pitch:g} m is wider than lambda s' / D = {widest:.3g} m "
                "at the shortest wavelength, with the image distance s', and with "
                f"oversample={self.oversample} light would be counted wrongly: {advice}"
            )
        if self.colour.mixes and self.restoration is not None:
            raise ValueError(
                "restoration undoes the blur of each channel by its PSF, and colour makes channels "
                "of several bands, each with its own: set one of the two"
            )
        if self.off_axis.varies and self.restoration is not None:
            raise ValueError(
                "off_axis gives each place of the scene a PSF of its own, and restoration takes "
                "one for all: set one of the two"
            )
        self._check_response()
        if self.element == "random" and self.strength == 0:
            raise ValueError("a random phase needs a strength above 0, in waves")
        return self

    def _check_response(self) -> None:
        given, bands = self.spectral_response, len(self.wavelengths or ())
        if not given:
            return
        if not bands or len(given) % bands:
            raise ValueError(
                f"spectral_response has {len(given)} values, and wavelengths {bands}: give as many "
                "values for each channel, row by row"
            )
        rows = [given[at : at + bands] for at in range(0, len(given), bands)]
        if any(min(row) < 0 or max(row) == 0 for row in rows):
            raise ValueError(
                f"spectral_response is not negative, and each channel sees light, not {given}"
            )
        if self.colour.mixes:
            raise ValueError(
                "colour makes channels of the bands of the scenes, and spectral_response of one "
                "channel several wavelengths: set one of the two"
            )


def build_lens(
    config: LensConfig, image_size: tuple[int, int], channels: int
) -> optics.IncoherentImaging | optics.VaryingImaging:
    """Build the lens of a configuration; what is random in it comes from torch's generator.

    Parameters
    ----------
    config : LensConfig
    image_size : (int, int), pixels
        Height and width of the scenes.
    channels : int
        Of the scenes.

    Returns
    -------
    optics.IncoherentImaging or optics.VaryingImaging
        The second where its wavefront or its opening changes towards the corners.

    Raises
    ------
    ConfigError
        When it has wavelengths, or a response, of another number of bands than the scenes; for a
        colour of the lens that lies between wavelengths or channels where there is one.
    ValueError
        When its colours do not fit their bands.

    Warns
    -----
    UserWarning
        When PSFs that change across the scene are made of too few, for a cubic phase of strength 0,
        and for a focal length above 1 m, as one in millimetres is.
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
            "element='cubic' with strength=0 is a lens without an element, and hardly learns to be "
            "another: a cubic phase does as much as its opposite, so that its slope at 0 is about "
            "zero. Set a strength in waves to begin from, such as strength=1",
            UserWarning,
            stacklevel=2,
        )
    restoration, distances = config.restoration, config.working_distances or None
    pupil = _pupil(config, image_size, channels)
    projection = _projection(config, channels)
    colour = build_colour(config.colour, pupil.wavelengths)
    response = _response(config, channels)
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


def _response(config: LensConfig, channels: int) -> torch.Tensor | None:
    if not config.spectral_response:
        return None
    bands = len(config.wavelengths or ())
    parts = torch.tensor(config.spectral_response).reshape(-1, bands)
    if len(parts) != channels:
        raise ConfigError(
            f"front_end.spectral_response is of {len(parts)} channels, {bands} wavelengths each, "
            f"but the scenes have {channels}"
        )
    return parts / parts.sum(1, keepdim=True)


def _projection(config: LensConfig, channels: int) -> optics.Projection | None:
    lateral = config.lateral_colour
    if channels == 1 and lateral != 0:
        raise ConfigError(
            f"front_end.lateral_colour={lateral:g} lies between channels, and these scenes have "
            "one, so that it does nothing: give no lateral_colour; the wavelengths of one channel "
            "lie beside each other by optics.seidel_coefficients(tilt=[L]), in Python"
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
    wavelengths = config.wavelengths
    if not config.spectral_response:
        check_bands(wavelengths, channels)
    if wavelengths is None:
        spread = torch.linspace(*_VISIBLE, channels, dtype=torch.float64)
        if channels == 1:
            spread = spread.new_tensor([sum(_VISIBLE) / 2])
        wavelengths = _CAMERA_BANDS if channels == 3 else tuple(spread.tolist())
    middle = middle_wavelength(wavelengths)
    diameter = config.focal_length / config.f_number
    # The aperture is the largest circle on the grid, from the first sample to the last.
    spacing = diameter / (config.pupil_size - 1)
    _check_window(config, min(wavelengths))
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


def _spot(config: LensConfig, wavelength: float) -> float:
    """Width lambda s' / D of a PSF, metres, with the image distance s' and the diameter D."""
    focus = math.inf if config.focus is None else config.focus
    return wavelength * config.f_number / (1 - config.focal_length / focus)


def _check_window(config: LensConfig, shortest: float) -> None:
    """Refuse a window into which copies of the PSF reach, as a coarse pupil makes them."""
    # In pixels: after so many times as many samples as the pupil has across, the PSF repeats.
    spot = _spot(config, shortest) / config.pixel_pitch
    samples, least = config.pupil_size - 1, math.ceil(config.psf_size / spot * (1 - _ROUNDED))
    if samples < least:
        raise ConfigError(
            f"front_end.psf_size={config.psf_size} is too large for "
            f"pupil_size={config.pupil_size}: at f_number={config.f_number:g}, "
            f"pixel_pitch={config.pixel_pitch:g} m and {shortest * 1e9:.4g} nm such a pupil makes "
            f"copies of the PSF every {spot * samples:.4g} pixels; set pupil_size to "
            f"{least + 1} or more, or psf_size to less"
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
    # An element, and not the aperture, of which throughput is a fraction: its light is paid for.
    return optics.AmplitudeMask((1 - stop).square(), spacing=spacing, trainable=False)


def _chromatic_power(config: LensConfig, wavelengths: tuple[float, ...]) -> torch.Tensor | None:
    """Power of the lens at each wavelength above that at the middle one, ``[L]``, 1/metres."""
    name = "axial_colour" if config.singlet is None else "singlet"
    if not getattr(config, name):
        return None
    spread = max(wavelengths) - min(wavelengths)
    if spread == 0:
        raise ConfigError(
            f"front_end.{name}={getattr(config, name)} lies between wavelengths, and this lens has "
            f"{wavelengths[0] * 1e9:g} nm alone, so that it does nothing: give several, with a "
            f"spectral_response, or no {name}"
        )
    sharp = middle_wavelength(wavelengths)
    light = torch.tensor(wavelengths, dtype=torch.float64)
    if config.singlet is None:
        part = config.axial_colour * (sharp - light) / spread
    else:
        # The lens maker's formula: the power is n - 1 times what the surfaces are.
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
            # From the middle of the range, where the bounded relief moves freely.
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
