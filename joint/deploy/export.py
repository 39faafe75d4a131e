"""Export of a trained system for deployment, as one file that runs without this library.

::

    light ─► glass ─► silicon ─► codes ─► all colours, combined, encoded ─► measurement
             hardware               software: a file goes                      │
                  probabilities     from one of these     scores ◄─ handed ◄─ latent
                        ▲           to a later one          │
                        └────────────── decision rule ──────┘

Two files, one to the latent and one from it, are a camera that compresses and its receiver.
"""

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from classify import DecisionRule
from classify.scores import class_names
from compress import Autoencoder, HyperpriorCodec, KMeansCodec, LearnedCodec
from compress.files import FileCodec
from joint.kinds import check_system
from joint.planes import Noise, reach
from joint.saved.checkpoint import check_writable, write_atomically
from joint.saved.folder import as_path
from joint.system import ImagingSystem, evaluating, seen_by
from optics.quantity import single

from .graph_file import FORMATS

__all__ = ["DeployedEnd", "DeployedPlane", "Exported", "export"]

DeployedPlane = Literal["codes", "measurement", "latent", "handed"]
DeployedEnd = Literal["latent", "handed", "scores", "probabilities"]
_ORDER = ("codes", "measurement", "latent", "handed", "scores", "probabilities")
# Ends with one value for each class.
_OF_CLASSES = ("scores", "probabilities")
# Codecs that can compute exactly.
_EXACT = (LearnedCodec, Autoencoder)
# Far above the effect of another order of sums, far below that of a wrong graph.
_TOLERANCE = 1e-2
# Share of the codes of a latent, without exact sums, that may be others, by one step.
_FLIPPED = 1e-2


@dataclass(frozen=True)
class Exported:
    """An exported file, and the result of reading it again."""

    path: Path
    plane: DeployedPlane
    """Plane at which its graph begins."""
    shape: tuple[int, ...]
    """Shape of its input for each picture, ``[C, H, W]``."""
    classes: tuple[str, ...] | int
    """Names of the classes of its scores or probabilities; their number if they have no names;
    ``()`` for a file that gives neither."""
    size: int
    """Size of the file, bytes."""
    difference: float
    """Largest difference between an output value and that of the system, over the example
    scenes."""
    pictures: int
    """Number of example scenes. For other scenes, a code at the edge between two steps may differ
    more."""
    until: DeployedEnd = "scores"
    """Plane at which its graph ends."""
    gives: tuple[int, ...] = ()
    """Shape of its output for each picture: ``[K]`` scores or probabilities, or ``[C, H, W]``."""
    flipped: float = 0.0
    """Share of the codes of a latent that differ by a step from the system's, over the example
    scenes; only for ONNX, which has no exact sums."""

    def __str__(self) -> str:
        takes, gives = (", ".join(map(str, shape)) for shape in (self.shape, self.gives))
        of_classes = self.until in _OF_CLASSES
        if of_classes:
            named = self.classes if isinstance(self.classes, int) else ", ".join(self.classes)
            gives = f"classes] ({named}"
        return (
            f"wrote {self.path}, {self.size / 1e6:.1f} MB: {self.plane} [pictures, {takes}] to "
            f"{self.until} [pictures, {gives}{')' if of_classes else ']'}; read again, "
            f"of {self.pictures} {'picture' if self.pictures == 1 else 'pictures'} no "
            f"{'score' if self.until == 'scores' else 'value'} differs by more than "
            f"{self.difference:.1e}"
            f"{f', and {self.flipped:.2%} of the codes do by a step' if self.flipped else ''}"
        )


def export(
    system: ImagingSystem,
    scenes: Tensor,
    path: Path | str,
    *,
    plane: DeployedPlane = "measurement",
    until: DeployedEnd = "scores",
    classes: Sequence[str] | None = None,
    rule: DecisionRule | None = None,
) -> Exported:
    """Write the software part of a system to a file, as a graph that runs without this library.

    ``.pt2`` is read by :func:`torch.export.load`, ``.onnx`` by ONNX Runtime and by compilers for
    small devices. Both take any number of pictures of the examples' size, and give the scores of
    the classes before the softmax, their probabilities, or an earlier plane. The file is read again
    and compared with the system before it gets its name; probabilities also by their logarithms, so
    that small ones count as much as large ones. ONNX has no exact sums in float64, and a codec
    computes in float32 there: a code at the edge between two steps may be off by one step.

    Parameters
    ----------
    system : ImagingSystem
        A system, with a classifier if scores are wanted; it is not changed.
    scenes : Tensor ``[B, C, H, W]``
        Example scenes, as the system takes them; the file is for scenes of their size.
    path : path
        Ends in ``.pt2`` or ``.onnx``; an existing file is replaced.
    plane : {"codes", "measurement", "latent", "handed"}
        Input of the file. codes: those that the camera writes, DN as floats with the black level
        included, all exposures ``[B, E*C, H, W]``, mosaics ``[B, E, H, W]`` behind a colour filter
        array. measurement: the camera's picture, encoded like the scenes. latent: that of a learned
        codec. handed: the input of the classifier.
    until : {"latent", "handed", "scores", "probabilities"}
        Output of the file. latent: that which a learned codec would write (``codec.encode``, whole
        numbers for a factorized one), for a camera that compresses. handed: the picture behind the
        codec, or that of a camera without one. scores: those of the classifier. probabilities:
        the softmax of the scores.
    classes : sequence of str, optional
        Names of the classes for the file's description, if it gives scores or probabilities
        (``lens2label.json``: an extra file of a .pt2, a metadata property of a .onnx); by default
        those of the system, or those of the rule if the system has none.
    rule : classify.DecisionRule, optional
        Rule that turns scores into probabilities, if the file gives these. The description contains
        it, with the cutoff of a referral, which the user of the file has to apply.

    Returns
    -------
    Exported

    Raises
    ------
    TypeError
        When ``system``, ``scenes`` or ``path`` is of another type.
    ValueError
        For another suffix, plane or end, one that the system does not have, an end that does not
        come after the plane, no classifier or scenes, another number of names than of scores, the
        system's own names in another order, a rule for other classes or without probabilities,
        scores that are not ``[B, K]``, a stage that cannot be a graph (a codec of files, or a
        custom one that computes outside torch; in ONNX a hyperprior, float64 or bfloat16), or a
        file whose output differs from the system's. Nothing is written then.
    CheckpointError
        When no file can be written; before anything is computed, if the folder shows it.
    ImportError
        Without ONNX, for a .onnx: ``pip install "lens2label[onnx]"``.

    Notes
    -----
    Optics and sensor are hardware, and their simulation draws noise: no file begins before the
    codes. The description of a file that takes codes has the data of the camera: black level and
    top code, DN, exposures, and the rows and channels of the colour filters. That of a file with a
    codec has its quality (null: the middle, or the codec has none).
    """
    check_system(system)
    if not isinstance(scenes, Tensor):
        raise TypeError(
            f"scenes must be a Tensor [B, C, H, W] in 0..1, not {type(scenes).__name__}: convert "
            "an array with torch.as_tensor(array, dtype=torch.float32)"
        )
    path = as_path(path, "path")
    check_target(path)
    form = FORMATS[path.suffix.lower()]
    _check_ends(system, plane, until)
    if rule is not None and until != "probabilities":
        raise ValueError(
            f"a rule turns scores into probabilities, but until={until!r} ends before: give "
            "until='probabilities' (--until probabilities)"
        )
    if until not in _OF_CLASSES and classes is not None:
        raise ValueError(f"until={until!r} gives no scores, which have classes: leave out classes")
    if plane not in ("latent", "handed"):
        _check_codec(system.codec, exact=form.exact, until=until)
    if not len(scenes):
        raise ValueError("there are no example scenes: give one or more")
    with torch.no_grad(), evaluating(system):
        value, size = _example(system, scenes, plane)
        part = _Part(system, plane, until, size)
        wanted = part(value)
        named = () if until not in _OF_CLASSES else _checked(classes, wanted, system.classes)
        if until == "probabilities":
            by = DecisionRule(class_names(named)) if rule is None else rule
            if not isinstance(named, int):
                by.check_classes(named)
            elif rule is not None:
                named = rule.classes  # which nobody else named
            wanted, part.probabilities = by.probabilities(wanted), _Probabilities(by, wanted)
        wanted = wanted.cpu()
        takes, gives = tuple(value.shape[1:]), tuple(wanted.shape[1:])
        description = _beginning(system, part, takes) | _end(system, until, gives, named, rule)
        # From a single example torch.export would conclude that there is always one picture.
        example = value if len(value) > 1 else value.repeat(2, 1, 1, 1)
        part = part if form.exact else _inexact(part)
        content = form.write(part, example, until, json.dumps(description), _behind(part))
        run = form.read(content)
        # Also with one picture: the graph may have fixed the number of pictures.
        found = [run(value), run(value[:1])]
    difference, flipped = _compared(found, wanted, part, exact=form.exact)
    write_atomically(path, content)
    return Exported(
        path, plane, takes, named, len(content), difference, len(scenes), until, gives, flipped
    )


def _beginning(system: ImagingSystem, part: "_Part", takes: Sequence[int]) -> dict[str, object]:
    """Description of the input of a file."""
    found: dict[str, object] = {
        "takes": part.plane,
        "shape": ["pictures", *takes],
        "encoding": _encoding(system, part.plane),
    }
    if part.plane == "codes":
        found |= _camera(system)
    if system.codec is not None and part.plane != "handed":
        found["quality"] = getattr(system.codec, "quality", None)
    if "latent" in (part.plane, part.until):  # two files that meet there have to agree in it, too
        found["pixels"] = [*part.size]
    return found


def _end(
    system: ImagingSystem,
    until: DeployedEnd,
    gives: Sequence[int],
    classes: tuple[str, ...] | int,
    rule: DecisionRule | None,
) -> dict[str, object]:
    """Description of the output of a file."""
    if until == "scores":
        return {"gives": "scores, before the softmax", "classes": classes}
    if until == "probabilities":
        told = None if rule is None else rule.to_dict()
        return {"gives": "probabilities", "classes": classes, "rule": told}
    return {
        "gives": until,
        "gives_shape": ["pictures", *gives],
        "gives_encoding": _encoding(system, until),
    }


def _compared(
    found: Sequence[Tensor], wanted: Tensor, part: "_Part", *, exact: bool
) -> tuple[float, float]:
    """Largest difference of a file's output from the system's, and the share of flipped codes.

    Raises
    ------
    ValueError
        When the difference is more than rounding.
    """
    pairs = [(made, wanted[: len(made)]) for made in found]
    difference, flipped, others = _difference(pairs), 0.0, ""
    step = None if part.until != "latent" or exact else _step(part.system.codec, wanted)
    if step is None:
        good = difference <= _tolerated(wanted)
        if part.until == "probabilities":
            apart = _difference([(_logarithm(made), _logarithm(own)) for made, own in pairs])
            good = good and apart <= _tolerated(_logarithm(wanted))
            others = f", and by up to {apart:.2g} in their logarithms"
    else:  # a few codes may be off by one step, none by more
        steps = torch.cat(
            [((made - own).abs() / step[: len(made)]).flatten() for made, own in pairs]
        )
        flipped = float((steps > 0.5).double().mean())
        good = flipped <= _FLIPPED and float(steps.max()) < 1.5
        others = f", and {flipped:.2%} of its codes differ" if flipped else ""
    if not good:
        raise ValueError(
            f"the {part.until} of the file differ by up to {difference:.2g} from those of the "
            f"system{others}: nothing was written{'' if exact else _flipped(part)}"
        )
    return difference, flipped


def _difference(pairs: Sequence[tuple[Tensor, Tensor]]) -> float:
    """Largest absolute difference of the pairs; nan if there is one."""
    return float(torch.stack([(made - own).abs().max() for made, own in pairs]).max())


def _tolerated(wanted: Tensor) -> float:
    return _TOLERANCE * float(wanted.abs().max().clamp_min(1))


def _logarithm(probabilities: Tensor) -> Tensor:
    """Logarithm of probabilities, limited from below to the smallest normal number."""
    return probabilities.clamp_min(torch.finfo(probabilities.dtype).tiny).log()


def _step(codec: nn.Module | None, latent: Tensor) -> Tensor | None:
    """Distance between neighbouring codes of a quantised latent, ``[B, M or 1, 1, 1]``, or None."""
    if isinstance(codec, LearnedCodec):
        return torch.ones(len(latent), 1, 1, 1)
    if isinstance(codec, Autoencoder) and codec.latent_bits is not None:
        span = latent.amax((-2, -1), keepdim=True) - latent.amin((-2, -1), keepdim=True)
        return torch.where(span > 0, span / (2**codec.latent_bits - 1), 1)
    return None


def check_target(path: Path) -> None:
    """Raise the errors of :func:`export` for a file that cannot be written; needs no system."""
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"a graph is written as {' or '.join(FORMATS)}, not as {path.name!r}")
    if path.is_dir():
        raise ValueError(f"{path} is a folder: name a file in it")
    check_writable(path)
    FORMATS[path.suffix.lower()].check()


def _check_ends(system: ImagingSystem, plane: DeployedPlane, until: DeployedEnd) -> None:
    """Refuse a plane or an end that the system does not have, or an end before the plane."""
    for name, given, allowed in (
        ("plane", plane, get_args(DeployedPlane)),
        ("until", until, get_args(DeployedEnd)),
    ):
        if given not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {given!r}")
    if _ORDER.index(until) <= _ORDER.index(plane):
        raise ValueError(f"until={until!r} does not come after plane={plane!r}: nothing is between")
    if until in _OF_CLASSES and system.classifier is None:
        raise ValueError(
            f"the system has no classifier, and therefore no {until} to export; end before it, "
            "with until='handed' or until='latent'"
        )
    if "latent" in (plane, until) and not isinstance(system.codec, _EXACT):
        kind = "no codec" if system.codec is None else type(system.codec).__name__
        raise ValueError(
            f"this system has no plane 'latent', which needs a learned codec, not {kind}"
        )
    if plane == "measurement" and until == "handed" and system.codec is None:
        raise ValueError(
            "without a codec, 'measurement' and 'handed' are one picture: begin at 'codes'"
        )


def _example(
    system: ImagingSystem, scenes: Tensor, plane: DeployedPlane
) -> tuple[Tensor, tuple[int, int]]:
    """Values of a plane for the scenes, and the size of the codec's input pictures."""
    noise = Noise(None, scenes.device)
    if plane == "codes":
        if system.sensor is None:
            raise ValueError("this system has no plane 'codes', which needs a sensor")
        drawn = noise.fresh()
        light = system.image(scenes, generator=drawn)
        codes = system.sensor.codes(light, exposures=system.exposures, generator=drawn)
        picture, _ = reach(system, scenes[:1], "measurement", noise)  # a mosaic may be packed
        return codes, (picture.shape[-2], picture.shape[-1])
    value, _ = reach(system, scenes, "measurement" if plane == "latent" else plane, noise)
    size = (value.shape[-2], value.shape[-1])
    if plane == "latent":
        assert isinstance(system.codec, _EXACT)
        value = system.codec.encode(value)
    return value, size


def _encoding(system: ImagingSystem, plane: DeployedPlane | DeployedEnd) -> str:
    if plane == "codes":
        assert system.sensor is not None
        return f"DN, 0 to {system.sensor.top}"
    if plane == "latent":
        return "quantisation steps" if isinstance(system.codec, LearnedCodec) else "latent units"
    return system.encoding


def _camera(system: ImagingSystem) -> dict[str, object]:
    """Properties of the sensor that a real camera must share for its codes to mean the same."""
    assert system.sensor is not None
    cfa = system.sensor.cfa
    return {
        "black_level": system.sensor.black_level,  # DN, as the top code
        "top": system.sensor.top,
        "exposures": system.exposures,
        "cfa": None if cfa is None else cfa.rows.split("/"),  # its letters, row by row
        "cfa_channels": None if cfa is None else cfa.channels,
    }


class _Part(nn.Module):
    """The part of a system from one plane to a later one, with tensors as input and output."""

    def __init__(
        self,
        system: ImagingSystem,
        plane: DeployedPlane,
        until: DeployedEnd,
        size: tuple[int, int],
    ) -> None:
        super().__init__()
        # Only stages that are used: the weights of others would go into the file.
        camera = ("front_end", "sensor", "restoration")
        unused = {
            "codes": (),
            "measurement": camera,
            "latent": camera,
            "handed": (*camera, "codec"),
        }
        behind = () if until in _OF_CLASSES else ("classifier",)
        self.system = system.replace(**dict.fromkeys((*unused[plane], *behind)))
        if isinstance(system.codec, _EXACT) and "latent" in (plane, until):
            self.system.codec = _half(system.codec, encodes=until == "latent")
        self.system.eval()
        self.plane: DeployedPlane = plane
        self.until: DeployedEnd = until
        self.size = size
        self.probabilities: nn.Module | None = None

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the values at the end for those of the plane, ``[B, C, H, W]``."""
        sensor, codec, classifier = self.system.sensor, self.system.codec, self.system.classifier
        if sensor is not None:  # of the plane of codes alone
            pictures = sensor.from_codes(pictures, exposures=self.system.exposures)
            pictures = self.system.restore(self.system.develop(pictures))
        if self.plane == "latent" or self.until == "latent":
            assert isinstance(codec, _EXACT)
            if self.until == "latent":
                return codec.encode(pictures)
            pictures = codec.decode(pictures, size=self.size)
        elif codec is not None:
            pictures = codec(pictures).reconstruction
        pictures = pictures if classifier is None else seen_by(classifier, pictures)
        return pictures if self.probabilities is None else self.probabilities(pictures)


class _Probabilities(nn.Module):
    """:meth:`classify.DecisionRule.probabilities` for a graph, without its checks of values."""

    offset: Tensor

    def __init__(self, rule: DecisionRule, like: Tensor) -> None:
        super().__init__()
        self.temperature = rule.temperature
        self.register_buffer("offset", single(like).new_tensor(rule.offset))

    def forward(self, scores: Tensor) -> Tensor:
        """Probabilities ``[B, K]`` of scores ``[B, K]``; in float32 for those of half precision."""
        return (single(scores) / self.temperature + self.offset).softmax(1)


def _half(codec: LearnedCodec | Autoencoder, *, encodes: bool) -> LearnedCodec | Autoencoder:
    """A copy of a codec without the networks on the other side of the latent."""
    codec = copy.deepcopy(codec)
    others = ("synthesis",) if encodes else ("analysis", "side_analysis", "side_synthesis")
    for name in others:
        net = getattr(codec, name, None)
        if net is not None:
            net.layers = nn.Identity()
    return codec


def _check_codec(codec: nn.Module | None, *, exact: bool, until: DeployedEnd) -> None:
    """Refuse a codec that cannot be a graph, or not in a format without sums in float64."""
    if isinstance(codec, FileCodec | KMeansCodec):
        after = "export the part behind it, plane='handed' (--plane handed)"
        if until not in _OF_CLASSES:  # there is nothing after it
            after = f"give until='scores' and {after}; or leave the codec out of the system"
        raise ValueError(f"{type(codec).__name__} computes outside of torch: {after}")
    if isinstance(codec, HyperpriorCodec) and not exact:
        raise ValueError(
            "HyperpriorCodec chooses its tables by exact sums in float64, which ONNX Runtime does "
            f"not have: write a .pt2{_or_later(until, 'latent', 'handed')}"
        )


def _flipped(part: _Part) -> str:
    """Advice for a codec without exact sums."""
    if not isinstance(part.system.codec, _EXACT):
        return ""
    return (
        "; in float32 a code at the edge between two steps may be off by one step: write a .pt2"
        f"{_or_later(part.until, 'latent', 'handed')}"
    )


def _or_later(until: DeployedEnd, *planes: DeployedPlane) -> str:
    """Advice to begin at a later plane, of those that lie before the end."""
    before: list[DeployedPlane] = [p for p in planes if _ORDER.index(p) < _ORDER.index(until)]
    return f", or begin at {_named(*before)}" if before else ""


def _named(*planes: DeployedPlane) -> str:
    """Planes as arguments in Python and as options on the command line."""
    options = " or ".join(f"--plane {plane}" for plane in planes)
    return f"plane={' or '.join(map(repr, planes))} ({options})"


def _inexact(part: _Part) -> _Part:
    """A copy that computes in ordinary arithmetic; the original is not changed."""
    if not isinstance(part.system.codec, _EXACT):
        return part
    part = copy.deepcopy(part)
    assert isinstance(part.system.codec, _EXACT)
    part.system.codec.exact = False
    return part


def _checked(
    classes: Sequence[str] | None, scores: object, own: tuple[str, ...] | None
) -> tuple[str, ...] | int:
    """The names of the classes, or their number."""
    if not isinstance(scores, Tensor) or scores.ndim != 2:
        made = list(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise ValueError(f"the classifier must give scores [pictures, classes], not {made}")
    classes = own if classes is None else classes
    if classes is None:
        return scores.shape[1]
    if isinstance(classes, str):
        raise ValueError(f"classes are names, such as ('mel', 'nv'), not the one word {classes!r}")
    if len(classes) != scores.shape[1]:
        raise ValueError(
            f"{len(classes)} classes are named, but there are {scores.shape[1]} scores"
        )
    if own is not None and tuple(classes) != own and sorted(classes) == sorted(own):
        raise ValueError(
            f"the scores of the system are for {', '.join(own)}, in this order, not for "
            f"{', '.join(classes)}: leave classes out"
        )
    return tuple(classes)


def _behind(part: _Part) -> str:
    """Advice to begin behind a stage that cannot be part of a graph.

    The error does not show which stage it is; behind a classifier nothing is left.
    """
    camera, codec = part.plane == "codes", part.system.codec is not None
    later = [f"the sensor or the restoration, begin behind it, at {_named('measurement')}"] * camera
    if codec and part.until in _OF_CLASSES:
        later.append(f"the codec, begin behind it, at {_named('handed')}")
    return "".join(f"; if it is {stage}" for stage in later)
