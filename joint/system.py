"""The whole camera as one differentiable graph."""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from compress import Codec, Coded
from optics import FrontEnd, Generators, Sensor, clip, linear_to_srgb, srgb_to_linear
from optics.quantity import full_precision, looked_at, single

from .stages import (
    HIGHEST,
    LOWEST,
    REMEDY,
    STAGES,
    Encoding,
    Stage,
    check_channels,
    check_encoding_name,
    check_pixels,
    check_stage,
)

__all__ = [
    "ImagingSystem",
    "Measured",
    "SystemOutput",
    "as_weights",
    "evaluating",
    "only_learning",
    "seen_by",
]


class Measured(NamedTuple):
    """What the camera alone makes of scenes; what belongs to a stage that is left out is None."""

    irradiance: Tensor | None
    """Linear light on the sensor, all exposures ``[B, E*C, H, W]``."""
    raw: Tensor | None
    """What the sensor read, 0 at the black level, 1 at the top code, ``[B, E*C, H, W]``."""
    developed: Tensor | None
    """What the restoration was given, ``[B, C'', H', W']``, encoded like the measurement."""
    measurement: Tensor
    """The camera's picture, restored where it does that, encoded like the scene
    ``[B, C', H, W]`` in 0..1; of linear light without a sensor, what there is."""


@dataclass(frozen=True, repr=False)
class SystemOutput:
    """Every intermediate of one pass; what belongs to a stage that is left out is None."""

    scene: Tensor
    """The pictures as given ``[B, C, H, W]`` in 0..1; in linear light also above, or a field."""
    irradiance: Tensor | None
    """Linear light on the sensor, all exposures ``[B, E*C, H, W]``."""
    raw: Tensor | None
    """What the sensor read, 0 at the black level, 1 at the top code, ``[B, E*C, H, W]``."""
    measurement: Tensor
    """The camera's picture, restored where it does that, encoded like the scene
    ``[B, C', H, W]`` in 0..1; of linear light without a sensor, what there is."""
    coded: Coded | None
    """Result of the codec."""
    handed: Tensor
    """What the classifier is handed ``[B, C', H, W]``: the reconstruction, or the measurement."""
    logits: Tensor | None
    """Class scores ``[B, K]``."""
    encoding: Encoding = "srgb"
    """What scene, measurement and reconstruction are."""
    developed: Tensor | None = None
    """What the restoration was given, ``[B, C'', H', W']``, encoded like the measurement."""
    exposures: int = 1
    """E: captures that share the exposure time, the outer part of the channels of light."""

    def __repr__(self) -> str:
        lines = (f"{part.name}: {_outlined(getattr(self, part.name))}" for part in fields(self))
        return "SystemOutput\n  " + "\n  ".join(lines)


class ImagingSystem(nn.Module):
    """Front end, sensor, restoration, codec and classifier; any of them may be left out.

    ::

        scene ─► srgb_to_linear ─► front_end ─► sensor ─► front_end.combine ─► linear_to_srgb ─┐
                                   irradiance    raw                             developed     │
                                                                                               │
        logits ◄─ classifier ◄── reconstruction ◄── codec ◄── measurement ◄── restoration ◄────┘

    Parameters
    ----------
    front_end : optics.FrontEnd, optional
        Trainable camera element; without it the sensor sees the scene.
    sensor : optics.Sensor, optional
        Without it the irradiance is read without noise or quantisation and, in linear light,
        without a white that it saturates at.
    restoration : nn.Module, optional
        What the camera computes of its picture, such as :class:`optics.RestorationUNet`: pictures
        ``[B, C'', H', W']`` in 0..1 to the measurement ``[B, C', H, W]``, which may have other
        channels and more pixels, and is clipped to what a picture can be. Without it the
        measurement is what was developed.
    codec : compress.Codec, optional
        Without it the classifier sees the measurement.
    classifier : nn.Module, optional
        Pictures ``[B, C', H, W]`` in 0..1 to logits ``[B, K]``.
    encoding : {"srgb", "linear"}
        ``srgb``: scenes are sRGB codes, linearised before the optics, and the measurement is
        encoded again after the sensor. ``linear``: scenes are linear light, and so is everything
        after them; a complex scene is then a field, for a front end that takes one
        (:class:`optics.CoherentImaging`, :class:`optics.FourierFilter`). Without optics and sensor
        no conversion takes place.
    classes : sequence of str, optional
        Names of what the classifier's scores are of, in their order, as ``dataset.classes`` has
        them: a data set of others is refused, which would be judged by the scores of something
        else. :func:`joint.fit` sets those that it trains for.

    Raises
    ------
    TypeError
        For a stage that is no module, or lacks what makes it one of its kind; for classes that are
        no names.
    ValueError
        When the channels of two neighbours do not fit, for an unknown encoding, or for a front end
        that restores what a sensor has binned, or hands on as a mosaic; for classes without a
        classifier, or of one name twice.
    """

    def __init__(
        self,
        *,
        front_end: FrontEnd | None = None,
        sensor: Sensor | None = None,
        restoration: nn.Module | None = None,
        codec: Codec | None = None,
        classifier: nn.Module | None = None,
        encoding: Encoding = "srgb",
        classes: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        check_encoding_name(encoding)
        stages = (front_end, sensor, restoration, codec, classifier)
        for name, stage in zip(STAGES, stages, strict=True):
            check_stage(name, stage)
        self.front_end = front_end
        self.sensor = sensor
        self.restoration = restoration
        self.codec = codec
        self.classifier = classifier
        self.encoding: Encoding = encoding
        self.classes = classes
        check_channels(dict(self.stages()))
        if front_end is not None and sensor is not None:
            parts = front_end.modules()
            if any(getattr(part, "restoration", None) is not None for part in parts):
                check_pixels(sensor)

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names of what the classifier's scores are of, in their order; None where nobody said."""
        return self._classes

    @classes.setter
    def classes(self, names: Sequence[str] | None) -> None:
        self._classes = _checked_names(names, self.classifier)

    def extra_repr(self) -> str:
        """Name what is not a module."""
        return f"encoding={self.encoding!r}"

    def __str__(self) -> str:
        """One line for each stage, with its numbers that learn; ``repr`` goes into its layers."""
        lines = [f"{type(self).__name__}({self.extra_repr()})"]
        for name, stage in self.stages():
            sizes = [(p.numel(), p.requires_grad) for p in stage.parameters()]
            total, learning = sum(n for n, _ in sizes), sum(n for n, learns in sizes if learns)
            told = f"{total:_} parameters".replace("_", " ") if total else "no parameters"
            if learning < total:
                told += f", {learning:_} learn".replace("_", " ") if learning else ", frozen"
            parts = ", ".join(type(part).__name__ for part in stage.children())
            said = " ".join(stage.extra_repr().split()) or parts
            lines.append(f"  {name:<11}  {type(stage).__name__}({said}): {told}")
        return "\n".join(lines)

    def stages(self) -> Iterator[tuple[Stage, nn.Module]]:
        """Name and module of each stage that is present, in the order of the light."""
        for name in STAGES:
            module = getattr(self, name)
            if module is not None:
                yield name, module

    def replace(self, **stages: nn.Module | None) -> "ImagingSystem":
        """Make the same system with other stages; it shares those that stay.

        Parameters
        ----------
        **stages : nn.Module or None
            By their names; None leaves one out, as in ``system.replace(classifier=None)``.

        Returns
        -------
        ImagingSystem
            In the same mode, training or evaluation; stages that are given keep theirs. Another
            classifier has no ``classes`` yet.

        Raises
        ------
        TypeError
            When a name is not that of a stage, or what is given is no such stage.
        ValueError
            When a stage is handed other channels than it takes.
        """
        classes = None if "classifier" in stages else self.classes
        whole = {**dict(self.stages()), **stages}
        made = ImagingSystem(**whole, encoding=self.encoding, classes=classes)  # pyright: ignore[reportArgumentType]
        made.training = self.training
        return made

    @property
    def draws(self) -> bool:
        """Whether a stage may take random numbers: a sensor, a codec, a front end that says so."""
        front = getattr(self.front_end, "draws", False)
        return front or self.sensor is not None or self.codec is not None

    @property
    def exposures(self) -> int:
        """Captures of a scene that share the exposure time: those of the front end, or one."""
        return 1 if self.front_end is None else self.front_end.exposures

    def forward(self, scene: Tensor, *, generator: Generators | None = None) -> SystemOutput:
        """Pass scenes through the system.

        Parameters
        ----------
        scene : Tensor ``[B, C, H, W]`` in 0..1
            In linear light also brighter, or complex.
        generator : torch.Generator or a sequence of them, optional
            Source of all that is drawn: distances of scenes, noise of the sensor, and of a codec in
            training. With one generator for each picture, what is drawn for a picture does not
            depend on its batch.

        Returns
        -------
        SystemOutput
            In float64 of float64 scenes, up to a restoration or classifier, or a codec, whose
            weights are not.

        Raises
        ------
        TypeError
            For anything but a Tensor. When a codec returns no :class:`compress.Coded`, a front end
            no Tensor, or a classifier none.
        ValueError
            For anything but floating-point pictures ``[B, C, H, W]``, or fields where there is a
            front end in linear light; on a CPU also for values that are not finite or, in sRGB,
            that cannot be meant to lie in 0..1. When a codec returns pictures of another shape, or
            a map of bits that is not ``[B, 1, H, W]``, a front end other channels than it says, or
            a classifier what are no scores ``[B, K]``.
        """
        seen = self.measure(scene, generator=generator)
        codec = self.codec
        coded = None if codec is None else codec(seen.measurement, generator=generator)
        if coded is not None:
            _check_coded(coded, seen.measurement, type(codec).__name__)
        handed = seen.measurement if coded is None else coded.reconstruction
        logits = None if self.classifier is None else seen_by(self.classifier, handed)
        if self.classifier is not None:
            _check_logits(logits, handed.shape[0], type(self.classifier).__name__)
        return SystemOutput(
            scene=scene,
            **seen._asdict(),
            coded=coded,
            handed=handed,
            logits=logits,
            encoding=self.encoding,
            exposures=self.exposures,
        )

    def measure(self, scene: Tensor, *, generator: Generators | None = None) -> Measured:
        """The camera alone, its restoration included.

        Parameters
        ----------
        scene : Tensor ``[B, C, H, W]`` in 0..1
        generator : torch.Generator or a sequence of them, optional
            Source of what front end and sensor draw.

        Returns
        -------
        Measured

        Raises
        ------
        TypeError, ValueError
            As :meth:`forward`.
        """
        if self.front_end is None and self.sensor is None:
            self._check_scene(scene)
            irradiance, raw, developed = None, None, scene
        else:
            irradiance = self.image(scene, generator=generator)
            raw = None if self.sensor is None else self.read(irradiance, generator=generator)
            developed = self.develop(irradiance if raw is None else raw)
        given = None if self.restoration is None else developed
        return Measured(irradiance, raw, given, self.restore(developed))

    def image(self, scene: Tensor, *, generator: Generators | None = None) -> Tensor:
        """Form the irradiance on the sensor: the first step of :meth:`measure`.

        Parameters
        ----------
        scene : Tensor ``[B, C, H, W]`` in 0..1
        generator : torch.Generator or a sequence of them, optional
            Source of what the front end draws.

        Returns
        -------
        Tensor ``[B, exposures * C, H, W]``
            Linear light.

        Raises
        ------
        TypeError, ValueError
            As :meth:`forward`.
        """
        self._check_scene(scene)
        # Half precision has neither Fourier transforms nor the digits for photon noise.
        with full_precision(scene):
            if not scene.is_complex() and scene.dtype != torch.float64:
                scene = scene.float()
            light = srgb_to_linear(scene) if self.encoding == "srgb" else scene
            if self.front_end is None:
                return light
            drawn = {"generator": generator} if getattr(self.front_end, "draws", False) else {}
            irradiance = self.front_end(light, **drawn)
            _check_light(irradiance, light, self.front_end)
            return irradiance

    def read(self, irradiance: Tensor, *, generator: Generators | None = None) -> Tensor:
        """Read the sensor: the second step of :meth:`measure`.

        Parameters
        ----------
        irradiance : Tensor ``[B, exposures * C, H, W]``
            Linear light.
        generator : torch.Generator or a sequence of them, optional
            Source of the noise.

        Returns
        -------
        Tensor ``[B, exposures * C, H, W]``
            0 at the black level, 1 at the top code.

        Raises
        ------
        ValueError
            Without a sensor.
        """
        if self.sensor is None:
            raise ValueError("the system has no sensor that could read its irradiance")
        with full_precision(irradiance):
            return self.sensor(irradiance, exposures=self.exposures, generator=generator)

    def _check_scene(self, scene: Tensor) -> None:
        """Refuse what would pass for a picture and be none: codes of 8 bits, one picture alone."""
        if not isinstance(scene, Tensor):
            raise TypeError(
                f"the system takes a Tensor [B, C, H, W] in 0..1, not {type(scene).__name__}: make "
                "one of an array with torch.as_tensor(array, dtype=torch.float32)"
            )
        if scene.is_complex() and (self.encoding != "linear" or self.front_end is None):
            raise ValueError(
                "a complex scene is a field of light: it takes encoding='linear' and a front end "
                "for fields, such as optics.CoherentImaging; of a picture give the radiance, "
                "scene.abs().square()"
            )
        if scene.ndim != 4 or not (scene.is_floating_point() or scene.is_complex()):
            raise ValueError(
                f"the system takes floating-point pictures [B, C, H, W] in 0..1, not {scene.dtype} "
                f"{list(scene.shape)}: add a batch axis with scene[None], divide 8-bit codes by 255"
            )
        if scene.numel() == 0 or not looked_at(scene):
            return
        values = torch.view_as_real(scene) if scene.is_complex() else scene
        low, high = (float(end) for end in values.detach().aminmax())
        if math.isnan(low) or math.isnan(high):
            raise ValueError(
                "the system takes pictures in 0..1, but some values of these are NaN: look where "
                "they were made, as by a division of 0 by 0"
            )
        far_out = self.encoding == "srgb" and (low < LOWEST or high > HIGHEST)
        if far_out or not math.isfinite(high - low):
            raise ValueError(
                f"the system takes pictures in 0..1, but these reach from {low:g} to {high:g}: "
                f"{REMEDY}"
            )

    def develop(self, raw: Tensor) -> Tensor:
        """Combine, clip and encode what was read: the third step of :meth:`measure`.

        Linear light that no sensor has read has no white, and is not clipped.

        Parameters
        ----------
        raw : Tensor ``[B, E*C, H', W']``
            Or the irradiance, where no sensor reads it.

        Returns
        -------
        Tensor ``[B, C'', H', W']``

        Raises
        ------
        ValueError
            When the front end makes other channels of it than it says.
        """
        with full_precision(raw):
            if self.front_end is not None:
                filters = None if self.sensor is None else getattr(self.sensor, "cfa", None)
                combine = self.front_end.combine
                raw = combine(raw) if filters is None else filters.in_colour(raw, combine)
                if filters is None:
                    _check_combined(raw, self.front_end)
            if self.sensor is None and self.encoding == "linear":
                return raw
            # A black level lets noise go below 0, which counts until exposures are combined; sRGB,
            # and who is handed a picture, know no negative light.
            picture = clip(raw)
            return linear_to_srgb(picture) if self.encoding == "srgb" else picture

    def restore(self, developed: Tensor) -> Tensor:
        """Restore what was developed, the last step of :meth:`measure`: ``[B, C', H, W]``.

        Without a restoration it is returned as it is. Under autocast a network restores in half
        precision, as codec and classifier do.

        Parameters
        ----------
        developed : Tensor ``[B, C'', H', W']``
            Encoded like the scene.

        Returns
        -------
        Tensor ``[B, C', H, W]``
            In 0..1; linear light that no sensor has read only not negative.

        Raises
        ------
        ValueError
            When the restoration does not make one picture ``[B, C', H, W]`` of each.
        """
        if self.restoration is None:
            return developed
        restored, pictures = seen_by(self.restoration, developed), developed.shape[0]
        made = [*restored.shape] if isinstance(restored, Tensor) else type(restored).__name__
        if not isinstance(restored, Tensor) or len(made) != 4 or made[0] != pictures:
            raise ValueError(
                f"the restoration {type(self.restoration).__name__} must make pictures "
                f"[{pictures}, C, H, W] of {list(developed.shape)}, and made {made}"
            )
        has_white = self.encoding == "srgb" or self.sensor is not None
        return clip(single(restored), high=1.0 if has_white else math.inf)


def seen_by(stage: nn.Module, picture: Tensor) -> Tensor:
    """What a network makes of a picture, given as :func:`as_weights` gives it.

    A codec decides for itself, which has files to write.
    """
    return stage(as_weights(stage, picture))


def as_weights(stage: nn.Module, picture: Tensor) -> Tensor:
    """A picture in float64, as light may be, in the type of a network's weights; others as is."""
    if picture.dtype != torch.float64:
        return picture
    weights = (weight.dtype for weight in stage.parameters() if weight.is_floating_point())
    return picture.to(next(weights, picture.dtype))


@contextmanager
def evaluating(system: nn.Module) -> Iterator[None]:
    """Put every module into evaluation mode, and back into the mode that it was in."""
    modes = {module: module.training for module in system.modules()}
    system.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def only_learning(system: ImagingSystem, learning: tuple[Stage, ...]) -> Iterator[None]:
    """Freeze the other stages for a while: no gradient to their weights, and evaluation mode.

    A stage all of whose parameters were frozen by ``requires_grad_(False)`` is one of the others:
    its batch statistics and its dropout would change what is not to change. So is a batch or
    instance normalisation whose weight and bias are both frozen, in a stage that learns.
    """
    flags = {parameter: parameter.requires_grad for parameter in system.parameters()}
    modes = {module: module.training for module in system.modules()}
    try:
        for name, stage in system.stages():
            own = [flags[parameter] for parameter in stage.parameters()]
            learns = name in learning and (any(own) or not own)
            stage.train(learns)
            for norm in (module for module in stage.modules() if isinstance(module, _NormBase)):
                affine = [flags[parameter] for parameter in norm.parameters()]
                if affine and not any(affine):
                    norm.eval()
            for parameter in stage.parameters():
                parameter.requires_grad_(learns and flags[parameter])
        yield
    finally:
        for parameter, flag in flags.items():
            parameter.requires_grad_(flag)
        for module, mode in modes.items():
            module.training = mode


def _checked_names(
    classes: Sequence[str] | None, classifier: nn.Module | None
) -> tuple[str, ...] | None:
    """The names of classes as a tuple, or an error."""
    if classes is None:
        return None
    names = isinstance(classes, Iterable) and not isinstance(classes, str)
    if not names or not all(isinstance(name, str) for name in classes):
        raise TypeError(f"classes must be a sequence of names, not {classes!r}")
    if classifier is None:
        raise ValueError("classes are those of a classifier, and the system has none")
    if not classes or len(set(classes)) < len(classes):
        raise ValueError(f"classes must be different names, at least one, not {tuple(classes)}")
    return tuple(classes)


def _check_light(irradiance: object, light: Tensor, front_end: FrontEnd) -> None:
    """Refuse what a front end of one's own may return, before a sensor reads it as something."""
    name, exposures = type(front_end).__name__, front_end.exposures
    if not isinstance(irradiance, Tensor):
        raise TypeError(f"{name} must return a Tensor, not {type(irradiance).__name__}")
    shape = irradiance.shape
    if len(shape) != 4 or shape[0] != light.shape[0] or shape[1] % exposures:
        raise ValueError(
            f"{name} returned an irradiance {list(shape)} of scenes {list(light.shape)}: it must "
            f"be [{light.shape[0]}, {exposures} * C, H, W], as its exposures are {exposures}"
        )


def _check_combined(picture: Tensor, front_end: FrontEnd) -> None:
    """Refuse other channels than a front end says that it makes."""
    channels = front_end.out_channels
    if not isinstance(picture, Tensor) or picture.ndim != 4 or picture.shape[1] != channels:
        made = list(picture.shape) if isinstance(picture, Tensor) else type(picture).__name__
        raise ValueError(
            f"{type(front_end).__name__}.combine made {made}, and its out_channels says "
            f"[B, {channels}, H, W]"
        )


def _check_logits(logits: object, count: int, name: str) -> None:
    """Refuse what are no scores, such as the named outputs of other libraries."""
    if not isinstance(logits, Tensor):
        raise TypeError(
            f"the classifier {name} must return scores [B, K], not {type(logits).__name__}: wrap "
            "it in a module that returns its logits"
        )
    if logits.ndim != 2 or logits.shape[0] != count or not logits.is_floating_point():
        raise ValueError(
            f"the classifier {name} must return scores [{count}, K], one for each class, and "
            f"returned {logits.dtype} {list(logits.shape)}"
        )


def _check_coded(coded: Coded, picture: Tensor, name: str) -> None:
    """Refuse what a codec of one's own may return, and which would be compared in vain."""
    if not isinstance(coded, Coded):
        raise TypeError(f"{name}.forward must return a compress.Coded, not {type(coded).__name__}")
    count, _, height, width = picture.shape
    made, mapped = coded.reconstruction.shape, coded.bits_map.shape
    if made != picture.shape:
        raise ValueError(
            f"{name} returned pictures {list(made)} for {list(picture.shape)}: it must return them "
            "in the shape that they have. Where its blocks do not divide a picture, pad that, and "
            "cut the padding off again"
        )
    if mapped != (count, 1, height, width):
        raise ValueError(
            f"{name} returned a bits_map {list(mapped)} for pictures {list(picture.shape)}: it "
            f"must be [{count}, 1, {height}, {width}], bits of each pixel; compress.codec.spread "
            "makes one of the bits of blocks"
        )


def _outlined(value: object) -> str:
    """What a result shows of a field: of a tensor its shape and range, without its numbers."""
    if not isinstance(value, Tensor):
        return repr(value)
    shape = f"{list(value.shape)}"
    if value.is_complex() or value.numel() == 0 or not looked_at(value):
        return f"{value.dtype} {shape}".removeprefix("torch.")
    low, high = value.detach().aminmax()
    return f"{shape} from {float(low):.4g} to {float(high):.4g}"
