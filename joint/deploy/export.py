"""What is deployed of a trained system, as one file that runs without this library.

::

    light ─► glass ─► silicon ─► codes ─► all colours, combined, encoded ─► measurement
             what a factory makes   what a computer does: a file is            │
                  probabilities     from one of these     scores ◄─ handed ◄─ latent
                        ▲           to a later one          │
                        └────────────── decision rule ──────┘

Two files that meet at the latent are a camera that compresses and what it sends that to.
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
from joint.system import ImagingSystem, evaluating

from .graph_file import FORMATS

__all__ = ["DeployedEnd", "DeployedPlane", "Exported", "export"]

DeployedPlane = Literal["codes", "measurement", "latent", "handed"]
DeployedEnd = Literal["latent", "handed", "scores", "probabilities"]
_ORDER = ("codes", "measurement", "latent", "handed", "scores", "probabilities")
# Ends that the classes have a number at.
_OF_CLASSES = ("scores", "probabilities")
# Codecs that compute exactly where they are asked to.
_EXACT = (LearnedCodec, Autoencoder)
# Far above what another order of sums does, far below what a graph that went wrong does.
_TOLERANCE = 1e-2
# Share of the codes of a latent, without exact sums, that may be others, by one step.
_FLIPPED = 1e-2


@dataclass(frozen=True)
class Exported:
    """A file that was written, and what was seen when it was read again."""

    path: Path
    plane: DeployedPlane
    """Where its graph begins."""
    shape: tuple[int, ...]
    """What it takes of each picture, ``[C, H, W]``."""
    classes: tuple[str, ...] | int
    """What its scores or probabilities are of; their number, where nobody named them. None, ``()``,
    where it gives none."""
    size: int
    """Bytes."""
    difference: float
    """Largest difference of a value that it gives from the system's own, over the example
    scenes."""
    pictures: int
    """How many those were: of others, a code at the edge between two steps may differ more."""
    until: DeployedEnd = "scores"
    """Where its graph ends."""
    gives: tuple[int, ...] = ()
    """What it gives of each picture: ``[K]`` scores or probabilities, or ``[C, H, W]``."""
    flipped: float = 0.0
    """Share of the codes of a latent that fell to the other side of an edge between two steps, over
    the example scenes: of ONNX alone, which has no exact sums."""

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
    """Write the part of a system that a computer runs, as a graph without this library.

    ``.pt2`` is read by :func:`torch.export.load`, ``.onnx`` by ONNX Runtime and what compiles for
    small devices. Either takes any number of pictures of the examples' size, gives the scores of
    the classes before their softmax, their probabilities, or what comes before, and is read again
    and compared before it gets its name; probabilities by their logarithms too, in which a small
    one counts as a large one. In a file of ONNX, which has no exact sums in float64, a codec
    computes in float32: a code at the edge between two steps may fall to the other side.

    Parameters
    ----------
    system : ImagingSystem
        With a classifier, if scores are wanted; it is not changed.
    scenes : Tensor ``[B, C, H, W]``
        Example scenes, as the system takes them: their size is the size that the file is for.
    path : path
        Ends in ``.pt2`` or ``.onnx``; a file that is there is replaced.
    plane : {"codes", "measurement", "latent", "handed"}
        What the file takes: the codes that the camera writes, DN as floats with the black level in
        them, all exposures ``[B, E*C, H, W]``, mosaics ``[B, E, H, W]`` behind a colour filter
        array; the camera's picture, encoded like the scenes; the latent of a learned codec; or what
        a decoder gives the classifier.
    until : {"latent", "handed", "scores", "probabilities"}
        What it gives: the latent that a learned codec would write (``codec.encode``, whole numbers
        of a factorized one), for a camera that compresses; the picture behind the codec, or that
        of a camera without one; the scores; or probabilities, the softmax of the scores.
    classes : sequence of str, optional
        Their names, where it gives scores or probabilities, told in the file's description
        (``lens2label.json``: an extra file of a .pt2, a metadata property of a .onnx); by default
        those of the system, or those of the rule where it has none.
    rule : classify.DecisionRule, optional
        By which scores become probabilities, where it gives those. The description has it, with the
        cutoff of a referral, which is for the reader to compare with.

    Returns
    -------
    Exported

    Raises
    ------
    TypeError
        For what is no system, no Tensor or no path.
    ValueError
        For another suffix, plane or end, one that the system has not, an end that does not come
        after the plane, no classifier or scenes, another number of names than of scores, the
        system's own names in another order, a rule of other classes or without probabilities,
        scores that are not ``[B, K]``, a stage that cannot be a graph (a codec of files, or one of
        your own that computes outside of torch; in ONNX a hyperprior, float64), or a file that
        gives something else. Nothing is written then.
    CheckpointError
        Where no file can be written; before anything is computed, if the folder tells.
    ImportError
        Without ONNX, for a .onnx: ``pip install "lens2label[onnx]"``.

    Notes
    -----
    What the light passes before the codes is made by a factory, and a simulation of it draws its
    noise: no file begins there. The description of a file that takes codes says of which camera:
    black level and top code, DN, exposures, and the rows and the channels of the colour filters;
    that of a file with a codec says at which of its qualities (null: the middle, or it has none).
    """
    check_system(system)
    if not isinstance(scenes, Tensor):
        raise TypeError(
            f"scenes must be a Tensor [B, C, H, W] in 0..1, not {type(scenes).__name__}: make one "
            "of an array with torch.as_tensor(array, dtype=torch.float32)"
        )
    path = as_path(path, "path")
    check_target(path)
    form = FORMATS[path.suffix.lower()]
    _check_ends(system, plane, until)
    if rule is not None and until != "probabilities":
        raise ValueError(
            f"a rule makes probabilities of scores, and until={until!r} ends before: give "
            "until='probabilities' (--until probabilities)"
        )
    if until not in _OF_CLASSES and classes is not None:
        raise ValueError(f"classes are those of scores, and until={until!r} gives none: leave out")
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
        description = {
            "takes": plane,
            "shape": ["pictures", *takes],
            "encoding": _encoding(system, plane),
        }
        if plane == "codes":
            description |= _camera(system)
        if system.codec is not None and plane != "handed":
            description["quality"] = getattr(system.codec, "quality", None)
        if "latent" in (plane, until):  # two files that meet there have to agree in it, too
            description["pixels"] = [*size]
        if until == "scores":
            description |= {"gives": "scores, before the softmax", "classes": named}
        elif until == "probabilities":
            told = None if rule is None else rule.to_dict()
            description |= {"gives": "probabilities", "classes": named, "rule": told}
        else:
            description |= {
                "gives": until,
                "gives_shape": ["pictures", *gives],
                "gives_encoding": _encoding(system, until),
            }
        # Of a single example torch.export would take it that there never are several.
        example = value if len(value) > 1 else value.repeat(2, 1, 1, 1)
        part = part if form.exact else _inexact(part)
        content = form.write(part, example, until, json.dumps(description), _behind(part))
        run = form.read(content)
        # One picture alone, too: the number of pictures may not have stayed free.
        found = [run(value), run(value[:1])]
    pairs = [(made, wanted[: len(made)]) for made in found]
    difference, others = _difference(pairs), ""
    flipped = 0.0
    step = None if until != "latent" or form.exact else _step(system.codec, wanted)
    if step is None:
        good = difference <= _tolerated(wanted)
        if until == "probabilities":
            apart = _difference([(_logarithm(made), _logarithm(own)) for made, own in pairs])
            good = good and apart <= _tolerated(_logarithm(wanted))
            others = f", and by up to {apart:.2g} in their logarithms"
    else:  # a few codes may have fallen to the other side, none further
        steps = torch.cat(
            [((made - own).abs() / step[: len(made)]).flatten() for made, own in pairs]
        )
        flipped = float((steps > 0.5).double().mean())
        good = flipped <= _FLIPPED and float(steps.max()) < 1.5
        others = f", and {flipped:.2%} of its codes are others" if flipped else ""
    if not good:
        raise ValueError(
            f"the {until} of the file differ by up to {difference:.2g} from those of the "
            f"system{others}: nothing was written{'' if form.exact else _flipped(part)}"
        )
    write_atomically(path, content)
    return Exported(
        path, plane, takes, named, len(content), difference, len(scenes), until, gives, flipped
    )


def _difference(pairs: Sequence[tuple[Tensor, Tensor]]) -> float:
    """The largest of any value; nan where one is."""
    return float(torch.stack([(made - own).abs().max() for made, own in pairs]).max())


def _tolerated(wanted: Tensor) -> float:
    return _TOLERANCE * float(wanted.abs().max().clamp_min(1))


def _logarithm(probabilities: Tensor) -> Tensor:
    """Of the least number that has all its digits, where there is less."""
    return probabilities.clamp_min(torch.finfo(probabilities.dtype).tiny).log()


def _step(codec: nn.Module | None, latent: Tensor) -> Tensor | None:
    """How far two neighbouring codes of a latent are apart, ``[B, M or 1, 1, 1]``, if it is one."""
    if isinstance(codec, LearnedCodec):
        return torch.ones(len(latent), 1, 1, 1)
    if isinstance(codec, Autoencoder) and codec.latent_bits is not None:
        span = latent.amax((-2, -1), keepdim=True) - latent.amin((-2, -1), keepdim=True)
        return torch.where(span > 0, span / (2**codec.latent_bits - 1), 1)
    return None


def check_target(path: Path) -> None:
    """Raise what :func:`export` raises for a file that cannot be written, without a system."""
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"a graph is written as {' or '.join(FORMATS)}, not as {path.name!r}")
    if path.is_dir():
        raise ValueError(f"{path} is a folder: name a file in it")
    check_writable(path)
    FORMATS[path.suffix.lower()].check()


def _check_ends(system: ImagingSystem, plane: DeployedPlane, until: DeployedEnd) -> None:
    """Refuse a graph from a plane to an end that the system has not, or the wrong way round."""
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
            f"the system has no classifier, so that there are no {until} to export; end before it, "
            "with until='handed' or until='latent'"
        )
    if "latent" in (plane, until) and not isinstance(system.codec, _EXACT):
        kind = "no codec" if system.codec is None else type(system.codec).__name__
        raise ValueError(
            f"this system has no plane 'latent', which needs a learned codec, and not {kind}"
        )
    if plane == "measurement" and until == "handed" and system.codec is None:
        raise ValueError(
            "without a codec, 'measurement' and 'handed' are one picture: begin at 'codes'"
        )


def _example(
    system: ImagingSystem, scenes: Tensor, plane: DeployedPlane
) -> tuple[Tensor, tuple[int, int]]:
    """What a plane holds of the scenes, and how large the pictures are that a codec is given."""
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
    """What a camera has to have in common with the sensor for its codes to mean the same."""
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
    """From one plane to a later one, tensors in and out."""

    def __init__(
        self,
        system: ImagingSystem,
        plane: DeployedPlane,
        until: DeployedEnd,
        size: tuple[int, int],
    ) -> None:
        super().__init__()
        # No stage that is not used: its weights would go into the file.
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
        """Return what the end is of what the plane holds, ``[B, C, H, W]``."""
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
        pictures = pictures if classifier is None else classifier(pictures)
        return pictures if self.probabilities is None else self.probabilities(pictures)


class _Probabilities(nn.Module):
    """As :meth:`classify.DecisionRule.probabilities`, which looks at what a graph does not have."""

    offset: Tensor

    def __init__(self, rule: DecisionRule, like: Tensor) -> None:
        super().__init__()
        self.temperature = rule.temperature
        self.register_buffer("offset", like.new_tensor(rule.offset))

    def forward(self, scores: Tensor) -> Tensor:
        """Probabilities ``[B, K]`` of scores ``[B, K]``."""
        return (scores / self.temperature + self.offset).softmax(1)


def _half(codec: LearnedCodec | Autoencoder, *, encodes: bool) -> LearnedCodec | Autoencoder:
    """A copy without the weights of the nets that stand on the other side of the latent."""
    codec = copy.deepcopy(codec)
    others = ("synthesis",) if encodes else ("analysis", "side_analysis", "side_synthesis")
    for name in others:
        net = getattr(codec, name, None)
        if net is not None:
            net.layers = nn.Identity()
    return codec


def _check_codec(codec: nn.Module | None, *, exact: bool, until: DeployedEnd) -> None:
    """Refuse a codec that is no graph, or none of a format without sums in float64."""
    if isinstance(codec, FileCodec | KMeansCodec):
        after = "export what comes after it, plane='handed' (--plane handed)"
        if until not in _OF_CLASSES:  # there is nothing after it
            after = f"give until='scores' and {after}; or leave the codec out of the system"
        raise ValueError(f"{type(codec).__name__} computes outside of torch: {after}")
    if isinstance(codec, HyperpriorCodec) and not exact:
        raise ValueError(
            "HyperpriorCodec chooses its tables by exact sums in float64, which ONNX Runtime has "
            f"not: write a .pt2{_or_later(until, 'latent', 'handed')}"
        )


def _flipped(part: _Part) -> str:
    """What may have happened to a codec without exact sums."""
    if not isinstance(part.system.codec, _EXACT):
        return ""
    return (
        "; in float32 a code at the edge between two steps falls to the other side: write a .pt2"
        f"{_or_later(part.until, 'latent', 'handed')}"
    )


def _or_later(until: DeployedEnd, *planes: DeployedPlane) -> str:
    """Advice to begin at a later plane, of those that lie before the end."""
    before: list[DeployedPlane] = [p for p in planes if _ORDER.index(p) < _ORDER.index(until)]
    return f", or begin at {_named(*before)}" if before else ""


def _named(*planes: DeployedPlane) -> str:
    """Planes as they are given, in Python and on the command line."""
    options = " or ".join(f"--plane {plane}" for plane in planes)
    return f"plane={' or '.join(map(repr, planes))} ({options})"


def _inexact(part: _Part) -> _Part:
    """The same in ordinary arithmetic; the original is not changed."""
    if not isinstance(part.system.codec, _EXACT):
        return part
    part = copy.deepcopy(part)
    assert isinstance(part.system.codec, _EXACT)
    part.system.codec.exact = False
    return part


def _checked(
    classes: Sequence[str] | None, scores: object, own: tuple[str, ...] | None
) -> tuple[str, ...] | int:
    """The names of the scores, or how many there are."""
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
            f"{len(classes)} classes are named, and there are {scores.shape[1]} scores"
        )
    if own is not None and tuple(classes) != own and sorted(classes) == sorted(own):
        raise ValueError(
            f"the scores of the system are of {', '.join(own)}, in this order, and not of "
            f"{', '.join(classes)}: leave classes out"
        )
    return tuple(classes)


def _behind(part: _Part) -> str:
    """Where a graph may begin instead, behind a stage that cannot be part of it.

    Nothing tells which stage it is, and behind a classifier there is nothing.
    """
    camera, codec = part.plane == "codes", part.system.codec is not None
    later = [f"the sensor or the restoration, begin behind it, at {_named('measurement')}"] * camera
    if codec and part.until in _OF_CLASSES:
        later.append(f"the codec, begin behind it, at {_named('handed')}")
    return "".join(f"; if it is {stage}" for stage in later)
