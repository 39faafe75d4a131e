"""A lens of several surfaces, whose rays are traced: its settings, and the camera of it.

::

    lens.zmx ──read once──► surfaces, plain numbers ──► optics.CompoundLens ──► VaryingImaging
                            f_number, focus ─────────┘   (what is trained)
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import AfterValidator, Field, field_validator, model_validator

import optics
from joint.parse import is_number
from joint.settings import FrozenDict, Settings
from optics.pupil.pupil import middle_wavelength

from .bands import (
    CAMERA_BANDS,
    Distance,
    Wavelengths,
    bands_of,
    check_response,
    response_of,
)
from .colour import ColourConfig, build_colour
from .lens import check_window
from .off_axis import check_places, tell_rank

__all__ = ["CompoundConfig", "SurfaceConfig", "build_compound"]

Material: TypeAlias = float | tuple[float, float] | str | None


class SurfaceConfig(Settings):
    """A surface of a lens and what is behind it, see optics.Surface."""

    curvature: float = 0.0
    """1 / radius, 1/metres: positive where its centre lies behind the surface; 0 is a plane."""
    radius: float | None = None
    """Radius in metres, instead of the curvature, to which it is converted; inf is a plane."""
    thickness: float = 0.0
    """Metres along the axis to the next surface; for the last one to the sensor."""
    material: Material = None
    """Material behind it: one of optics.MATERIALS, an index, or n_d and V_d; by default air."""
    semi_diameter: float | None = Field(default=None, gt=0)
    """Radius of its rim, metres, beyond which light is cut off; by default it has none. The stop
    needs one, or the front end's f_number."""
    conic: float = 0.0
    """Conic constant: 0 is a sphere, -1 a paraboloid."""
    aspheric: tuple[float, ...] = ()
    """Coefficients of r^4, r^6, ..., 1/metres^3, 1/metres^5, ...; to train some that the lens does
    not have yet, give zeros."""
    stop: bool = False
    """Whether it is the aperture stop; exactly one of the surfaces is."""
    trained: bool = True
    """Train the numbers of this surface that the front end's ``trained`` names; if false, none."""

    @model_validator(mode="before")
    @classmethod
    def _of_plain_numbers(cls, given: object) -> object:
        if isinstance(given, optics.Surface):
            return _plain(given)
        if not isinstance(given, Mapping) or given.get("radius") is None:
            return given
        radius = given["radius"]
        known = is_number(radius) and radius != 0 and not math.isnan(radius)
        if radius != "inf" and not known:
            raise ValueError(f"radius must be a number of metres except 0, or inf, not {radius!r}")
        return {**given, "radius": None, "curvature": 0.0 if radius == "inf" else 1 / radius}

    @property
    def surface(self) -> optics.Surface:
        """The same as :class:`optics.Surface`."""
        rim = math.inf if self.semi_diameter is None else self.semi_diameter
        return optics.Surface(
            self.curvature,
            self.thickness,
            self.material,
            rim,
            self.conic,
            self.aspheric,
            self.stop,
        )


def _plain(surface: optics.Surface) -> dict[str, Any]:
    """Numbers of a surface as a configuration writes them."""
    if surface.index_error != 0:
        raise ValueError(
            f"index_error of a surface is not kept, and must be 0, not {surface.index_error:g}: "
            "give a material of that index"
        )
    if not surface.is_aligned:
        raise ValueError("decentre and tilt of a surface are not kept, and must be (0, 0)")
    names = ("curvature", "thickness", "semi_diameter", "conic")
    numbers: dict[str, Any] = {name: float(getattr(surface, name)) for name in names}
    if math.isinf(numbers["semi_diameter"]):
        numbers["semi_diameter"] = None
    aspheric = tuple(map(float, surface.aspheric))
    return {
        **numbers,
        "material": surface.material,
        "aspheric": aspheric,
        "stop": surface.stop,
    }


def _triplet() -> tuple[SurfaceConfig, ...]:
    """Cooke's triplet of 50 mm and f/5 that OpticStudio has among its samples, made 1 mm long."""
    sk16, f2, scale = (1.62041, 60.32), (1.62004, 36.37), 1e-3 / 50
    rows: list[tuple[float, float, Material, float]] = [
        (22.01359, 3.25896, sk16, 9.5),
        (-435.76044, 6.00755, None, 9.5),
        (-22.21328, 0.99997, f2, 5.0),
        (20.29192, 4.75041, None, 3.8),
        (79.68360, 2.95208, sk16, 7.5),
        (-18.39533, 42.20778, None, 7.5),
    ]
    return tuple(
        SurfaceConfig(
            curvature=float(f"{1 / (radius * scale):.6g}"),
            thickness=float(f"{thickness * scale:.6g}"),
            material=material,
            semi_diameter=float(f"{rim * scale:.6g}"),
            stop=number == 3,
        )
        for number, (radius, thickness, material, rim) in enumerate(rows)
    )


class CompoundConfig(Settings):
    """A lens of several surfaces, whose rays are traced, see optics.compound_imaging.

    By default it is a triplet of 1 mm and f/5, as in an endoscope: with 128 x 128 pixels the angle
    from the axis to the corners is 18 degrees.
    """

    kind: Literal["compound"] = "compound"
    surfaces: tuple[SurfaceConfig, ...] = Field(default=_triplet(), min_length=1)
    """From behind the scene to before the sensor, all in air; the axis meets the middle of the
    scene."""
    prescription: Path | None = None
    """File .zmx of OpticStudio, see optics.import_prescription. It is read once: its surfaces, and
    the distance of its object where it is finite, are kept as numbers in place of those given."""
    glasses: Annotated[dict[str, float | tuple[float, float] | str], AfterValidator(FrozenDict)] = (
        FrozenDict()
    )
    """Materials, as of a surface, by the names that the prescription has for them: for glasses
    whose numbers it leaves to a catalogue."""
    trained: tuple[Literal["curvature", "thickness", "conic", "aspheric"], ...] = ("curvature",)
    """Numbers that are trained, of all surfaces that have them but for those with trained=false;
    the last thickness is the focus. Focal length, f-number and focus stay as they start, see
    optics.CompoundLens. Without any, the lens is not trained."""
    f_number: float | None = Field(default=None, gt=0)
    """Focal length / diameter of the entrance pupil, to which the stop is opened; by default it is
    as wide as its semi_diameter."""
    focus: Distance | None = None
    """Metres from the first surface to the plane in focus, or inf: the last thickness is then that
    to its paraxial image. By default the last thickness is kept."""
    object_distance: Distance = math.inf
    """Metres from the first surface to the scenes."""
    centre: float = Field(default=1e-3, gt=0)
    """Least thickness of glass on the axis, metres, for objective.penalty. This default and the
    next two suit lenses of some centimetres: give smaller ones for a smaller lens."""
    edge: float = Field(default=1e-3, gt=0)
    """Least thickness of glass at the rim, metres, for objective.penalty."""
    air: float = Field(default=1e-4, gt=0)
    """Least distance of glass from glass and from the sensor, metres, for objective.penalty."""
    pixel_pitch: float = Field(default=3.5e-6, gt=0)
    """Distance between pixels, metres. With the number of pixels it determines the imaged field."""
    pupil_size: int = Field(default=64, ge=8)
    """Samples across the pupil; at least psf_size pixel_pitch / (lambda f_number) + 1."""
    psf_size: int = Field(default=31, ge=3)
    """Side of the window that holds the PSF, pixels; light outside it is lost."""
    oversample: int = Field(default=3, ge=1)
    """Odd number of sample points along a side of a pixel, whose area they integrate over; at least
    pixel_pitch / (lambda f_number)."""
    places: tuple[int, int] = (5, 5)
    """Rows and columns of places, from border to border of the scene, whose PSFs are computed;
    between them, PSFs are interpolated."""
    rank: int = Field(default=8, ge=1)
    """Number of eigen-PSFs that represent these PSFs; each costs a convolution."""
    wavelengths: Wavelengths | None = None
    """One per channel of the scenes, metres; by default the bands of a colour camera, or evenly
    spaced ones. With data.wavelengths, those; with a spectral_response, any number. At
    the middle one, focal length, f-number and focus are kept."""
    spectral_response: tuple[float, ...] = ()
    """For channels with a broad band: shares of the light at each of the wavelengths, first
    those of the first channel, then those of the next, each scaled to a sum of 1."""
    colour: ColourConfig = ColourConfig()
    """Lamps and filters that make channels from the bands of the scenes; by default each band is a
    channel."""
    boundary: optics.Boundary = "replicate"
    """How the picture is continued beyond its border."""

    @model_validator(mode="before")
    @classmethod
    def _read_once(cls, given: object) -> object:
        if not isinstance(given, Mapping) or given.get("prescription") is None:
            return given
        path, names = given["prescription"], given.get("glasses") or {}
        if not isinstance(path, str | Path) or not isinstance(names, Mapping):
            return given
        glasses = {
            name: tuple(glass) if isinstance(glass, list) else glass
            for name, glass in names.items()
        }
        try:
            found = optics.import_prescription(path, glasses=glasses)
        except OSError as error:
            raise ValueError(f"prescription {path}: {error.strerror or error}") from error
        except (TypeError, ValueError) as error:
            raise ValueError(f"prescription: {error}") from error
        read = {"prescription": None, "glasses": {}, "surfaces": [*map(_plain, found.surfaces)]}
        if math.isfinite(found.object_distance):
            read["object_distance"] = found.object_distance
        return {**given, **read}

    @field_validator("trained")
    @classmethod
    def _each_once(cls, trained: tuple[str, ...]) -> tuple[str, ...]:
        if len({*trained}) < len(trained):
            raise ValueError(f"trained must name each kind of number once, not {trained}")
        return trained

    @field_validator("focus", "object_distance")
    @classmethod
    def _in_front(cls, distance: float | None) -> float | None:
        if distance is not None and distance <= 0:
            raise ValueError(
                f"a distance is metres in front of the first surface, above 0, not {distance:g}"
            )
        return distance

    @model_validator(mode="after")
    def _of_use(self) -> Self:
        if self.glasses:
            raise ValueError(
                "glasses are for a prescription, but there is none: give the material of each "
                "surface"
            )
        check_places(self.places)
        optics_of(self, middle_wavelength(self.wavelengths or CAMERA_BANDS))
        check_response(self.spectral_response, self.wavelengths, mixes=self.colour.mixes)
        return self


def optics_of(config: CompoundConfig, wavelength: float) -> optics.CompoundLens:
    """The lens of a configuration, whose f-number and focus are those at a wavelength, metres.

    Raises
    ------
    ValueError
        As :class:`optics.CompoundLens`, and for numbers to train that no surface has.
    """
    surfaces = tuple(each.surface for each in config.surfaces)
    if config.f_number is not None:
        surfaces = optics.set_stop(surfaces, wavelength=wavelength, f_number=config.f_number)
    if config.focus is not None:
        first = optics.first_order(surfaces, wavelength=wavelength, object_distance=config.focus)
        image = float(first.image_distance)
        if not 0 < image < math.inf:
            raise ValueError(
                f"focus={config.focus:g} m has no real image behind the lens: give more than its "
                f"focal length of {float(first.focal_length):g} m"
            )
        surfaces = (*surfaces[:-1], surfaces[-1]._replace(thickness=image))
    names = ("object_distance", "centre", "edge", "air")
    given = {"wavelength": wavelength, **{name: getattr(config, name) for name in names}}
    every = optics.CompoundLens(surfaces, trained=config.trained, **given)
    chosen = {
        name: [number for number in numbers if config.surfaces[number].trained]
        for name, numbers in every.trained.items()
    }
    for name, numbers in chosen.items():
        if not numbers:
            raise ValueError(
                f"trained has {name!r}, and all surfaces that have one are set trained=false: "
                "leave it out"
            )
    return optics.CompoundLens(surfaces, trained=chosen, **given)


def build_compound(
    config: CompoundConfig, image_size: tuple[int, int], channels: int
) -> optics.VaryingImaging:
    """Build the camera of a lens for scenes of this size and number of channels.

    Parameters
    ----------
    config : CompoundConfig
    image_size : (int, int), pixels
        Height and width of the scenes.
    channels : int
        Channels of the scenes.

    Returns
    -------
    optics.VaryingImaging

    Raises
    ------
    ConfigError
        When wavelengths or spectral response do not match the number of channels of the scenes,
        and for a window too large for the pupil's samples.
    ValueError
        As :func:`optics.compound_imaging`: for scenes whose corners the lens does not reach, and
        pixels too wide for their points.

    Warns
    -----
    UserWarning
        When too few eigen-PSFs represent the PSFs of the places.
    """
    wavelengths = bands_of(config.wavelengths, config.spectral_response, channels)
    lens = optics_of(config, middle_wavelength(wavelengths))
    check_window(
        config.psf_size,
        pupil_size=config.pupil_size,
        f_number=lens.f_number,
        pixel_pitch=config.pixel_pitch,
        wavelength=min(wavelengths),
        spot=min(wavelengths) * lens.f_number,
    )
    camera = optics.compound_imaging(
        lens,
        picture=image_size,
        pixel_pitch=config.pixel_pitch,
        wavelengths=wavelengths,
        psf_size=config.psf_size,
        rank=min(config.rank, math.prod(config.places)),
        places=config.places,
        pupil_size=config.pupil_size,
        oversample=config.oversample,
        spectral_response=response_of(config.spectral_response, config.wavelengths, channels),
        colour=build_colour(config.colour, wavelengths),
        boundary=config.boundary,
    )
    tell_rank(camera)
    return camera
