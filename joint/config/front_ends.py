"""Front ends: their configurations by kind and their construction."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import BeforeValidator, Field, field_validator, model_validator

import optics
from joint.settings import NoneConfig, Settings
from optics.imaging.plate import STOPPED, check_stop

from .compound import CompoundConfig, build_compound
from .custom import CustomConfig, build_custom
from .lens import LensConfig, build_lens
from .psf import PSFConfig, build_psf
from .shutter import ShutterConfig, build_shutter

__all__ = [
    "BASELINES",
    "FRONT_END_KINDS",
    "FourierConfig",
    "FrontEndConfig",
    "KernelConfig",
    "LensConfig",
    "build_front_end",
]


def _without_colour(given: object, remedy: str) -> object:
    """Refuse a colour setting for a kind that has none, and name the remedy."""
    if isinstance(given, Mapping) and "colour" in given:
        raise ValueError(
            "colour is a setting of a lens or a psf, which blur each band of the scene and then "
            f"make channels from the bands: {remedy}"
        )
    return given


class KernelConfig(Settings):
    """A learned convolution kernel, see optics.LearnedKernel."""

    kind: Literal["kernel"] = "kernel"

    @model_validator(mode="before")
    @classmethod
    def _colourless(cls, given: object) -> object:
        return _without_colour(
            given, "a kernel gathers light from all bands with mix_channels=true, or choose one"
        )

    start: optics.KernelStart = "identity"
    """Initial kernel of the training."""
    kernel_size: int = Field(default=7, ge=1)
    """Side of the kernel, an odd number of pixels."""

    @field_validator("kernel_size")
    @classmethod
    def _odd(cls, size: int) -> int:
        if size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, not {size}")
        return size

    signed: bool = True
    """If true, two exposures per filter, subtracted after the sensor; if false, one exposure with a
    non-negative kernel. sobel and scharr are two filters, gabor and odd_gabor four. All exposures
    share the light of a single one, and each is read: the pixels of a study count them all."""
    mix_channels: bool = False
    """Let each output channel gather light from all channels."""
    boundary: optics.Boundary = "replicate"
    """How the picture is continued beyond its border."""


class FourierConfig(Settings):
    """A learned transmission in the Fourier plane of a 4f system, see optics.FourierFilter."""

    kind: Literal["fourier"] = "fourier"

    @model_validator(mode="before")
    @classmethod
    def _colourless(cls, given: object) -> object:
        return _without_colour(given, "a 4f system has one light for each channel; choose one")

    start: optics.FilterStart = "open"
    """Initial transmission of the training."""
    illumination: Literal["coherent", "incoherent", "partial"] = "coherent"
    """coherent light shows edges by interference; incoherent light is only blurred; partial
    coherence is that of an extended source, such as the condenser of a microscope: a disc of 13
    points, each of which costs as much as coherent light, or a ring."""
    source_radius: float = Field(default=0.1, gt=0, le=0.5)
    """Radius of the extended source in the Fourier plane, cycles/pixel; waves from a larger one
    would be aliased."""
    source_inner_radius: float = Field(default=0.0, ge=0)
    """If above 0, the source is a ring from this radius to source_radius, cycles/pixel, like the
    condenser annulus of a phase-contrast microscope."""
    oversample: int = Field(default=1, ge=1)
    """Sample points along a side of a pixel; 1 samples only its centre, and aliases."""
    margin: int = Field(default=16, ge=0)
    """Pixels by which the scene is continued beyond its border."""
    stop_radius: float | None = Field(default=None, ge=0)
    """Radius of the zero-order stop of start='dark_field' or 'phase_contrast', cycles/pixel. By
    default it is only the zero frequency; in partial coherence it covers the source and half a
    sample of the Fourier plane around it, as a ring for a ring. A smaller stop lets light pass as
    if there were none, and causes a warning."""
    phase_depth: float | None = None
    """Phase delay in radians where the scene is 1 (sRGB codes after decoding): scenes are then
    transparent objects. By default scenes are light."""

    @model_validator(mode="after")
    def _fields_alone_have_phases(self) -> Self:
        if self.phase_depth is not None and self.illumination == "incoherent":
            raise ValueError(
                "phase_depth needs coherent or partial illumination: incoherent light does not "
                "show phases"
            )
        return self

    @model_validator(mode="after")
    def _of_a_lamp(self) -> Self:
        for name, default in (("source_radius", 0.1), ("source_inner_radius", 0.0)):
            if self.illumination != "partial" and getattr(self, name) != default:
                raise ValueError(f"{name} is for illumination='partial', not {self.illumination!r}")
        if self.source_inner_radius > self.source_radius:
            raise ValueError(
                f"source_inner_radius must be at most source_radius={self.source_radius:g} "
                f"cycles/pixel, not {self.source_inner_radius:g}"
            )
        return self

    @model_validator(mode="after")
    def _of_a_stop(self) -> Self:
        if self.stop_radius is not None and self.start not in STOPPED:
            named = " or ".join(repr(name) for name in STOPPED)
            raise ValueError(f"stop_radius is for start={named}, not {self.start!r}")
        check_stop(self.stop_radius or 0.0)
        return self


#: Common cameras by name, so that a study needs only the name. Their trainable parameters start
#: there and are trained, unless training.stages leaves the front end out. The random mask scatters
#: so widely that half to two thirds of its light falls outside its window, and counts as lost.
BASELINES: Mapping[str, KernelConfig | FourierConfig | LensConfig | NoneConfig] = MappingProxyType(
    {
        "no_optics": NoneConfig(),
        "ideal_lens": LensConfig(),
        "defocus": LensConfig(defocus=1.0),
        "cubic": LensConfig(element="cubic", strength=2.0),
        "random_mask": LensConfig(element="random", strength=0.5),
        "spiral": FourierConfig(start="spiral"),
        "dark_field": FourierConfig(start="dark_field"),
        "phase_contrast": FourierConfig(start="phase_contrast"),
        "laplacian": KernelConfig(start="laplacian"),
        "sobel": KernelConfig(start="sobel"),
    }
)


def _named(value: object) -> object:
    """The baseline of a name; anything else unchanged."""
    if not isinstance(value, str):
        return value
    if value not in BASELINES:
        raise ValueError(f"no front end is called {value!r}; choose from {', '.join(BASELINES)}")
    return BASELINES[value]


FrontEndConfig: TypeAlias = Annotated[
    KernelConfig
    | FourierConfig
    | LensConfig
    | PSFConfig
    | CompoundConfig
    | ShutterConfig
    | CustomConfig
    | NoneConfig,
    Field(discriminator="kind"),
    BeforeValidator(_named),
]
"""An element by its kind and settings, or the name of one of :data:`BASELINES`."""

#: Configuration of each kind.
FRONT_END_KINDS: dict[str, type[Settings]] = {
    "kernel": KernelConfig,
    "fourier": FourierConfig,
    "lens": LensConfig,
    "psf": PSFConfig,
    "compound": CompoundConfig,
    "shutter": ShutterConfig,
    "custom": CustomConfig,
    "none": NoneConfig,
}


def lens_of(config: FrontEndConfig) -> tuple[str, LensConfig | PSFConfig | CompoundConfig | None]:
    """Path in the configuration and configuration of a camera's lens, also that of a shutter."""
    found, path = config, "front_end"
    if isinstance(found, ShutterConfig):
        found, path = found.lens, "front_end.lens"
    return path, found if isinstance(found, LensConfig | PSFConfig | CompoundConfig) else None


def build_front_end(
    config: FrontEndConfig, image_size: tuple[int, int], channels: int
) -> optics.FrontEnd | None:
    """Build the front end of a configuration; random values come from torch's global generator.

    Parameters
    ----------
    config : FrontEndConfig
    image_size : (int, int), pixels
        Height and width of the scenes.
    channels : int
        Channels of the scenes.

    Returns
    -------
    optics.FrontEnd or None
        None for :class:`NoneConfig`.

    Raises
    ------
    ValueError
        When it does not fit scenes ``[B, channels, *image_size]``.
    ConfigError
        When the file of a PSF cannot be read or holds no PSF, or a custom class cannot be imported
        or constructed.

    Warns
    -----
    UserWarning
        As :func:`joint.config.lens.build_lens` and :class:`optics.FourierFilter`.
    """
    match config:
        case KernelConfig():
            return optics.LearnedKernel(
                config.start,
                config.kernel_size,
                channels=channels,
                signed=config.signed,
                mix_channels=config.mix_channels,
                boundary=config.boundary,
            )
        case FourierConfig():
            return optics.FourierFilter(
                image_size,
                config.start,
                channels=channels,
                illumination=config.illumination,
                source_radius=config.source_radius,
                source_inner_radius=config.source_inner_radius,
                oversample=config.oversample,
                margin=config.margin,
                stop_radius=config.stop_radius,
                phase_depth=config.phase_depth,
            )
        case LensConfig():
            return build_lens(config, image_size, channels)
        case PSFConfig():
            return build_psf(config, channels)
        case CompoundConfig():
            return build_compound(config, image_size, channels)
        case ShutterConfig():
            return build_shutter(config, image_size, channels)
        case CustomConfig():
            return build_custom(
                config, optics.FrontEnd, "front_end", image_size=image_size, channels=channels
            )
        case NoneConfig():
            return None
