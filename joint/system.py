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
    """Result of the camera without codec and classifier; None for a stage that is left out."""

    irradiance: Tensor | None
    """Linear light on the sensor, all exposures ``[B, E*C, H, W]``."""
    raw: Tensor | None
    """What the sensor read, 0 at the black level, 1 at the top code, ``[B, E*C, H, W]``."""
    developed: Tensor | None
    """Input of the restoration ``[B, C'', H', W']``, encoded like the measurement."""
    measurement: Tensor
    """The camera's picture, restored where it does that, encoded like the scene
    ``[B, C', H, W]`` in 0..1; of linear light without a sensor, what there is."""


@dataclass(frozen=True, repr=False)
class SystemOutput:
    """All intermediate results of one pass; None for a stage that is left out.

    Pictures are ``[B, C, H, W]``. ``irradiance`` is the light on the sensor and ``raw`` what it
    read, both linear and for all exposures; ``measurement`` is the picture of the camera before the
    codec, and ``handed`` the one after it, which the classifier sees. Both are encoded like the
    scene: sRGB codes in 0..1 can be saved with :func:`joint.picture.file.write_picture`.
    """

    scene: Tensor
    """The pictures as given ``[B, C, H, W]`` in 0..1; linear light may exceed 1, or be a complex
    field."""
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
    """Input of the classifier ``[B, C', H, W]``: the reconstruction of the codec, or the
    measurement without one."""
    logits: Tensor | None
    """Class scores ``[B, K]``."""
    encoding: Encoding = "srgb"
    """Encoding of scene, measurement and reconstruction."""
    developed: Tensor | None = None
    """Input of the restoration ``[B, C'', H', W']``, encoded like the measurement."""
    exposures: int = 1
    """E: exposures that share the exposure time, the outer index of the channels of light."""
    penalty: Tensor | None = None
    """How far the front end is from one that can be made, a scalar of 0 or more; None for a front
    end that does not say."""

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
        Optics, usually trainable; without it the sensor measures the scene itself.
    sensor : optics.Sensor, optional
        Without it the irradiance is read without noise or quantisation and, in linear light,
        without saturation.
    restoration : nn.Module, optional
        Network that restores the sensor's picture, such as :class:`optics.RestorationUNet`: from
        pictures ``[B, C'', H', W']`` in 0..1 to the measurement ``[B, C', H, W]``, which may have
        other channels and more pixels, and is clipped to the range of a picture. Without it the
        developed picture is the measurement.
    codec : compress.Codec, optional
        Without it the measurement is the input of the classifier.
    classifier : nn.Module, optional
        Pictures ``[B, C', H, W]`` in 0..1 to logits ``[B, K]``.
    encoding : {"srgb", "linear"}
        ``srgb``: scenes are sRGB codes, linearised before the optics, and the measurement is
        encoded again after the sensor. ``linear``: scenes are linear light, and so is everything
        after them; a complex scene is then a field, for a front end that takes one
        (:class:`optics.CoherentImaging`, :class:`optics.FourierFilter`). Without optics and sensor
        no conversion takes place.
    classes : sequence of str, optional
        Names of the classes in the order of the classifier's scores, as in ``dataset.classes``. A
        data set with other classes is refused. :func:`joint.fit` sets those that it trains for.

    Raises
    ------
    TypeError
        For a stage that is no module, or lacks a method or attribute of its kind; for classes that
        are no names.
    ValueError
        When the channels of two neighbouring stages do not fit, for an unknown encoding, or for a
        front end that restores pictures which the sensor bins or gives as a mosaic; for classes
        without a classifier, or a name that occurs twice.
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
        """Names of the classes in the order of the classifier's scores; None if not set."""
        return self._classes

    @classes.setter
    def classes(self, names: Sequence[str] | None) -> None:
        self._classes = _checked_names(names, self.classifier)

    def extra_repr(self) -> str:
        """Name what is not a module."""
        return f"encoding={self.encoding!r}"

    def __str__(self) -> str:
        """One line for each stage, with its number of parameters; ``repr`` shows its layers."""
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
        """Return the same system with other stages; unchanged stages are shared, not copied.

        Parameters
        ----------
        **stages : nn.Module or None
            New stages by name; None leaves one out, as in ``system.replace(classifier=None)``.

        Returns
        -------
        ImagingSystem
            In the same mode, training or evaluation; new stages keep their own. With a new
            classifier ``classes`` is None.

        Raises
        ------
        TypeError
            When a name is not that of a stage, or the value is no such stage.
        ValueError
            When a stage gets other channels than it takes.
        """
        classes = None if "classifier" in stages else self.classes
        whole = {**dict(self.stages()), **stages}
        made = ImagingSystem(**whole, encoding=self.encoding, classes=classes)  # pyright: ignore[reportArgumentType]
        made.training = self.training
        return made

    @property
    def draws(self) -> bool:
        """Whether a stage may draw: a sensor, a codec, or a front end whose ``draws`` is true."""
        front = getattr(self.front_end, "draws", False)
        return front or self.sensor is not None or self.codec is not None

    @property
    def exposures(self) -> int:
        """Number of exposures that share the exposure time: that of the front end, or one."""
        return 1 if self.front_end is None else self.front_end.exposures

    def forward(self, scene: Tensor, *, generator: Generators | None = None) -> SystemOutput:
        """Pass scenes through the system.

        Parameters
        ----------
        scene : Tensor ``[B, C, H, W]`` in 0..1
            In linear light values may exceed 1, or be complex.
        generator : torch.Generator or a sequence of them, optional
            Source of all random numbers: distances of scenes, noise of the sensor, and of a codec
            in training. With one generator per picture, the random numbers of a picture do not
            depend on its batch.

        Returns
        -------
        SystemOutput
            In float64 for float64 scenes, up to the first restoration, codec or classifier with
            weights of another type. Restoration and classifier get their input in the type of their
            weights.

        Raises
        ------
        TypeError
            For anything but a Tensor; when a codec returns no :class:`compress.Coded`, or a front
            end or classifier no Tensor; for a penalty that is no Tensor.
        ValueError
            For anything but floating-point pictures ``[B, C, H, W]``, or complex fields for a front
            end in linear light; on a CPU also for values that are not finite or, in sRGB, clearly
            outside 0..1. When a codec returns pictures of another shape, or a map of bits that is
            not ``[B, 1, H, W]``, a front end other channels than it declares, or a penalty that is
            no scalar of 0 or more, or a classifier anything but scores ``[B, K]``.
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
            penalty=self.penalty(),
        )

    def penalty(self) -> Tensor | None:
        """How far the front end is from one that can be made, see :meth:`optics.FrontEnd.penalty`.

        Returns
        -------
        Tensor, scalar
            0 or more; None without a front end, or for one that does not say.

        Raises
        ------
        TypeError, ValueError
            When the front end gives something else.
        """
        front_end = self.front_end
        # A stage of another base class has what a camera needs, and may not have this.
        if front_end is None or not hasattr(front_end, "penalty"):
            return None
        with full_precision(next(front_end.parameters(), torch.empty(0))):
            found = front_end.penalty()
        _check_penalty(found, type(front_end).__name__)
        return found

    def measure(self, scene: Tensor, *, generator: Generators | None = None) -> Measured:
        """Pass scenes through the camera: front end, sensor and restoration.

        Parameters
        ----------
        scene : Tensor ``[B, C, H, W]`` in 0..1
        generator : torch.Generator or a sequence of them, optional
            Source of the random numbers of front end and sensor.

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
            Source of the random numbers of the front end.

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
            When the system has no sensor.
        """
        if self.sensor is None:
            raise ValueError("the system has no sensor to read the irradiance")
        with full_precision(irradiance):
            return self.sensor(irradiance, exposures=self.exposures, generator=generator)

    def _check_scene(self, scene: Tensor) -> None:
        """Refuse input that is no batch of pictures, such as 8-bit codes or a single picture."""
        if not isinstance(scene, Tensor):
            raise TypeError(
                f"the system takes a Tensor [B, C, H, W] in 0..1, not {type(scene).__name__}: "
                "convert an array with torch.as_tensor(array, dtype=torch.float32)"
            )
        if scene.is_complex() and (self.encoding != "linear" or self.front_end is None):
            raise ValueError(
                "a complex scene is a field of light: it needs encoding='linear' and a front end "
                "for fields, such as optics.CoherentImaging; otherwise give the radiance, "
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
                "the system takes pictures in 0..1, but some values of these are NaN: check how "
                "they were computed, for example for a division of 0 by 0"
            )
        far_out = self.encoding == "srgb" and (low < LOWEST or high > HIGHEST)
        if far_out or not math.isfinite(high - low):
            raise ValueError(
                f"the system takes pictures in 0..1, but these reach from {low:g} to {high:g}: "
                f"{REMEDY}"
            )

    def develop(self, raw: Tensor) -> Tensor:
        """Combine, clip and encode the sensor's reading: the third step of :meth:`measure`.

        In linear light without a sensor nothing is clipped at 1, because there is no saturation.

        Parameters
        ----------
        raw : Tensor ``[B, E*C, H', W']``
            The sensor's reading, or the irradiance if there is no sensor.

        Returns
        -------
        Tensor ``[B, C'', H', W']``

        Raises
        ------
        ValueError
            When the front end gives other channels than it declares.
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
        """Restore the developed picture: the last step of :meth:`measure`.

        Without a restoration it is returned unchanged. Under autocast the restoration runs in half
        precision, as codec and classifier do.

        Parameters
        ----------
        developed : Tensor ``[B, C'', H', W']``
            Encoded like the scene.

        Returns
        -------
        Tensor ``[B, C', H, W]``
            In 0..1; in linear light without a sensor non-negative.

        Raises
        ------
        ValueError
            When the restoration does not return one picture ``[B, C', H, W]`` for each input.
        """
        if self.restoration is None:
            return developed
        restored, pictures = seen_by(self.restoration, developed), developed.shape[0]
        made = [*restored.shape] if isinstance(restored, Tensor) else type(restored).__name__
        if not isinstance(restored, Tensor) or len(made) != 4 or made[0] != pictures:
            raise ValueError(
                f"the restoration {type(self.restoration).__name__} must return pictures "
                f"[{pictures}, C, H, W] for {list(developed.shape)}, but returned {made}"
            )
        has_white = self.encoding == "srgb" or self.sensor is not None
        return clip(single(restored), high=1.0 if has_white else math.inf)


def seen_by(stage: nn.Module, picture: Tensor) -> Tensor:
    """Output of a network for a picture that :func:`as_weights` converts to its type.

    A codec gets the picture unchanged, because it converts for itself.
    """
    return stage(as_weights(stage, picture))


def as_weights(stage: nn.Module, picture: Tensor) -> Tensor:
    """A picture in the type of a network's weights; unchanged for a network without weights."""
    weights = (weight.dtype for weight in stage.parameters() if weight.is_floating_point())
    return picture.to(next(weights, picture.dtype))


@contextmanager
def evaluating(system: nn.Module) -> Iterator[None]:
    """Put every module into evaluation mode within the block, and restore its mode afterwards."""
    modes = {module: module.training for module in system.modules()}
    system.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def only_learning(system: ImagingSystem, learning: tuple[Stage, ...]) -> Iterator[None]:
    """Freeze the other stages within the block: no gradient to their weights, and evaluation mode.

    A stage whose parameters are all frozen by ``requires_grad_(False)`` is treated in the same way,
    because batch statistics and dropout would change its output. So is a batch or instance
    normalisation with frozen weight and bias in a stage that learns.
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
        raise ValueError("classes need a classifier, but the system has none")
    if not classes or len(set(classes)) < len(classes):
        raise ValueError(f"classes must be different names, at least one, not {tuple(classes)}")
    return tuple(classes)


def _check_light(irradiance: object, light: Tensor, front_end: FrontEnd) -> None:
    """Check the irradiance of a front end, before a sensor would misread it."""
    name, exposures = type(front_end).__name__, front_end.exposures
    if not isinstance(irradiance, Tensor):
        raise TypeError(f"{name} must return a Tensor, not {type(irradiance).__name__}")
    shape = irradiance.shape
    if len(shape) != 4 or shape[0] != light.shape[0] or shape[1] % exposures:
        raise ValueError(
            f"{name} returned an irradiance {list(shape)} for scenes {list(light.shape)}: it must "
            f"be [{light.shape[0]}, {exposures} * C, H, W], because its exposures are {exposures}"
        )


def _check_combined(picture: Tensor, front_end: FrontEnd) -> None:
    """Check that a combined picture has the channels that the front end declares."""
    channels = front_end.out_channels
    if not isinstance(picture, Tensor) or picture.ndim != 4 or picture.shape[1] != channels:
        made = list(picture.shape) if isinstance(picture, Tensor) else type(picture).__name__
        raise ValueError(
            f"{type(front_end).__name__}.combine returned {made}, but its out_channels requires "
            f"[B, {channels}, H, W]"
        )


def _check_penalty(penalty: object, name: str) -> None:
    """Check that the penalty of a front end is one number, which a loss can add."""
    if penalty is None:
        return
    if not isinstance(penalty, Tensor):
        raise TypeError(
            f"{name}.penalty must return a Tensor, or None, not {type(penalty).__name__}: compute "
            "it of the parameters, so that it has a gradient"
        )
    if penalty.ndim or not penalty.is_floating_point():
        raise ValueError(
            f"{name}.penalty must return a real scalar, not {penalty.dtype} "
            f"{list(penalty.shape)}: add up its parts"
        )
    if looked_at(penalty) and float(penalty.detach()) < 0:
        raise ValueError(
            f"{name}.penalty must be 0 or more, not {float(penalty.detach()):g}: what can be made "
            "has 0, and is not rewarded"
        )


def _check_logits(logits: object, count: int, name: str) -> None:
    """Check the scores of a classifier; other libraries may return named outputs."""
    if not isinstance(logits, Tensor):
        raise TypeError(
            f"the classifier {name} must return scores [B, K], not {type(logits).__name__}: wrap "
            "it in a module that returns its logits"
        )
    if logits.ndim != 2 or logits.shape[0] != count or not logits.is_floating_point():
        raise ValueError(
            f"the classifier {name} must return scores [{count}, K], one for each class, but "
            f"returned {logits.dtype} {list(logits.shape)}"
        )


def _check_coded(coded: Coded, picture: Tensor, name: str) -> None:
    """Check the result of a codec before it is compared with the picture."""
    if not isinstance(coded, Coded):
        raise TypeError(f"{name}.forward must return a compress.Coded, not {type(coded).__name__}")
    count, _, height, width = picture.shape
    made, mapped = coded.reconstruction.shape, coded.bits_map.shape
    if made != picture.shape:
        raise ValueError(
            f"{name} returned pictures {list(made)} for {list(picture.shape)}: it must keep their "
            "shape. If its blocks do not divide a picture, pad the picture, and cut the padding "
            "off again"
        )
    if mapped != (count, 1, height, width):
        raise ValueError(
            f"{name} returned a bits_map {list(mapped)} for pictures {list(picture.shape)}: it "
            f"must be [{count}, 1, {height}, {width}], bits of each pixel; compress.codec.spread "
            "makes one from the bits of blocks"
        )


def _outlined(value: object) -> str:
    """Summary of a field for ``repr``: for a tensor its shape and range, not its values."""
    if not isinstance(value, Tensor):
        return repr(value)
    shape = f"{list(value.shape)}"
    if value.is_complex() or value.numel() == 0 or not looked_at(value):
        return f"{value.dtype} {shape}".removeprefix("torch.")
    low, high = value.detach().aminmax()
    return f"{shape} from {float(low):.4g} to {float(high):.4g}"
