"""Classification of unlabelled pictures by a trained run, ``lens2label predict``.

::

    run folder ─► system ────────────────────────────────────────────┐       rule
    files, folders, zips ─► codes, as those of its scenes were made ─┴─ scores ─┴► Prediction
"""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from classify import DecisionRule, as_levels
from classify.data.archive import Archive, Member
from classify.data.decode import SUFFIXES, Decoder, Picture
from classify.data.table import mask_name
from joint.config.run import RunConfig, load_config
from joint.config.scenes import ClassFolders, read_like
from joint.device import usable_device
from joint.feed import as_seed, derive_seed, generators
from joint.judge.point import OperatingPoint, operating, warn_of_cut
from joint.judge.view_average import Views, average_views
from joint.kinds import check_batch_size
from joint.run.trained import SceneKind, load_trained, rebuilt
from joint.saved.folder import as_path
from joint.settings import ConfigError
from optics.quantity import one_number

from .decision import place, tell_elsewhere

__all__ = ["Prediction", "predict"]


class Prediction(NamedTuple):
    """Prediction of a run for one picture."""

    name: str
    """The file; in a folder or zip its path inside, preceded by the path of the folder or zip if
    several were given."""
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]
    """Probability of each class: the softmax of the scores, divided by the temperature if one was
    given, or by the rule."""
    referred: bool | None = None
    """Whether the picture is referred; None without a rule that refers."""

    @property
    def label(self) -> str:
        """The most probable class."""
        return self.ranked()[0][0]

    def ranked(self) -> list[tuple[str, float]]:
        """Classes and probabilities, the most probable one first."""
        both = zip(self.classes, self.probabilities, strict=True)
        return sorted(both, key=lambda each: -each[1])

    def cells(self) -> dict[str, str | float]:
        """One row of a table."""
        both = zip(self.classes, self.probabilities, strict=True)
        said = {f"probability.{name}": probability for name, probability in both}
        if self.referred is not None:
            said = {"referred": "yes" if self.referred else "no", **said}
        return {"picture": self.name, "label": self.label, **said}

    def to_dict(self) -> dict[str, Any]:
        """For JSON: the picture, its label, the probability of each class, the referral if any."""
        both = dict(zip(self.classes, self.probabilities, strict=True))
        said = {"picture": self.name, "label": self.label, "probabilities": both}
        return said if self.referred is None else said | {"referred": self.referred}


def predict(  # noqa: PLR0913 - as evaluate, at any point
    directory: Path | str,
    pictures: Sequence[Path | str] | Path | str,
    *,
    views: Views = "identity",
    photons: float | None = None,
    quality: float | None = None,
    distance: float | None = None,
    motion: float | None = None,
    white_level: int | None = None,
    bit_depth: Literal[8, 16] | None = None,
    temperature: float = 1.0,
    rule: DecisionRule | None = None,
    seed: int = 0,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
    workers: int | None = None,
    progress: bool = False,
    failed: Callable[[str, str], object] | None = None,
) -> list[Prediction]:
    """Classify pictures with a trained run.

    Pictures are cropped, reduced and encoded as in the training, and pass the whole system:
    simulated optics and sensor, codec, classifier. Pictures of a real camera have passed its optics
    already; for them see :func:`joint.export`.

    Parameters
    ----------
    directory : path
        The run folder. The data that it was trained on need not be there.
    pictures : path or sequence of paths
        Files (``.jpg .jpeg .png .bmp .tif .tiff .webp``), or folders and zips of them; masks among
        them, ``<picture>_segmentation``, are left out.
    views : {"identity", "mirror", "flips", "dihedral"}
        Views of each picture over which probabilities are averaged, see
        :func:`joint.average_views`.
    photons, quality, distance, motion : float, optional
        Light, quality of the codec, distance and motion instead of the system's own, as in
        :func:`joint.evaluate`. Without ``photons``, a run with a ``photon_range`` draws the light
        of each picture from its name; without ``distance``, a run with working distances draws
        these in the same way.
    white_level : int, optional
        White code of 16-bit pictures, such as 4095 for a 12-bit camera that fills the low bits; by
        default that of the training. Codes then have the encoding of the training, sRGB or linear.
    bit_depth : {8, 16}, optional
        Bits of the codes, as in :class:`classify.ImageFolder`: 8 reduces all pictures, 16 keeps all
        bits of 16-bit files; by default as in the training.
    temperature : float
        Divisor of the scores before the softmax, which calibrates the probabilities: that of
        :func:`classify.fit_temperature` on the validation part. It changes no label.
    rule : classify.DecisionRule, optional
        Rule that turns scores into probabilities and a referral, instead of a temperature, as
        ``lens2label evaluate --save-rule`` writes it. An offset may change labels.
    seed : int
        Random seed of the sensor's noise, together with the name of a file; neither its folder nor
        other pictures matter. The noise differs from that of the run's own test for every seed.
    batch_size : int
        Pictures per pass.
    device : torch.device or str
        Device of the computation.
    workers : int, optional
        Threads that decode; one for each core by default.
    progress : bool
        Show a bar, on a terminal.
    failed : callable, optional
        Called with the name of each picture that cannot be used and the reason; such pictures are
        left out. Without it, one such picture raises an error.

    Returns
    -------
    list of Prediction
        One for each picture, in the order given; within a folder by name.

    Raises
    ------
    ConfigError, CheckpointError
        When the run cannot be loaded, has no classifier, or was trained on scenes that picture
        files cannot be: with channels other than grey or colour, not square, or linear light while
        the files are not known to be linear.
    TypeError
        For pictures or a run folder that are no paths, a ``failed`` that cannot be called, a rule
        of another type, or anything but one number where one is needed.
    FileNotFoundError
        When a picture does not exist.
    ValueError
        When there is no picture; without ``failed``, for pictures that cannot be used, which are
        all named, grouped by reason; for an option that is not allowed; for an operating point that
        the system does not have; for a temperature that is not positive and finite, or given with a
        rule; or for a rule for other classes.

    Warns
    -----
    UserWarning
        When 16-bit pictures are reduced to 8 bits, or have codes above the white level; when
        pictures have transparent parts; when a rule was chosen for another run, another operating
        point or other views; and as :func:`joint.evaluate` about light that is lost at
        ``distance``.
    """
    check_batch_size(batch_size)
    seed = as_seed(seed)
    point = OperatingPoint(photons, quality, distance, motion)
    point.check()
    temperature = one_number("temperature", temperature)
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be positive and finite, not {temperature:g}")
    if rule is not None and not isinstance(rule, DecisionRule):
        raise TypeError(f"rule must be a classify.DecisionRule, not {type(rule).__name__}")
    if rule is not None and temperature != 1:
        raise ValueError(f"a rule has its own temperature: leave temperature={temperature:g} out")
    if failed is not None and not callable(failed):
        raise TypeError(f"failed must be a function of a name and a reason, not {failed!r}")
    places = _places(pictures)
    directory = as_path(directory)
    config = load_config(directory)
    trained = load_trained(directory, config.training)
    kind = trained.scenes
    decoder = _decoder(
        config,
        kind,
        directory,
        white_level=white_level,
        bit_depth=bit_depth,
        workers=workers,
        progress=progress,
    )
    system = rebuilt(config, trained, kind).to(usable_device(device))
    if system.classifier is None:
        raise ConfigError(f"the run in {directory} has no classifier and cannot label pictures")
    if rule is None:
        rule = DecisionRule(kind.classes, temperature)
    else:
        rule.check_classes(kind.classes)
        tell_elsewhere(rule, place(config, point, views))
    found: list[Prediction] = []
    with ExitStack() as held, torch.no_grad(), operating(system, point):
        warn_of_cut(system, point)
        members = _members(places, held)
        if not members:
            raise ValueError(f"there is no picture ({' '.join(SUFFIXES)}) in what was given")
        broken: dict[str, list[str]] = {}  # names for each reason
        each = decoder.decode_each(
            [Picture(member) for member in members],
            "decoding",
            failed or (lambda name, reason: broken.setdefault(reason, []).append(name)),
        )
        while part := [*islice(each, batch_size)]:
            codes = np.stack([image.codes for _, image, _ in part])
            scenes = as_levels(torch.from_numpy(codes).to(device)).div_(255)
            seeds = [derive_seed("predict", seed, members[row].name) for row, _, _ in part]
            noise = generators(seeds, scenes.device)
            scores = average_views(system, scenes, views=views, generator=noise).logits
            said = rule.probabilities(scores).tolist()
            referred = [None] * len(part) if rule.referral is None else rule.refers(scores).tolist()
            found += [
                Prediction(members[row].path, kind.classes, tuple(shares), refers)
                for (row, _, _), shares, refers in zip(part, said, referred, strict=True)
            ]
    if broken:
        told = [f"{', '.join(names)} ({reason})" for reason, names in broken.items()]
        raise ValueError(
            f"{sum(map(len, broken.values()))} of {len(members)} pictures cannot be used: "
            f"{'; '.join(told)}"
        )
    return found


def _places(pictures: object) -> list[Path]:
    """The paths of one picture or of several; a TypeError for anything else."""
    if isinstance(pictures, str | os.PathLike) or not isinstance(pictures, Iterable):
        pictures = [pictures]
    return [as_path(each, "each of pictures").expanduser() for each in pictures]


def _members(places: Sequence[Path], held: ExitStack) -> list[Member]:
    """The picture files at the given paths, each with a unique name."""
    given = [(str(path), member) for path in places for member in _members_of(path, held)]
    # Several folders may hold the same name.
    if len({path for path, member in given if member.path != path}) < 2:
        return [member for _, member in given]
    return [
        member if member.path == path else replace(member, path=f"{path}/{member.path}")
        for path, member in given
    ]


def _members_of(path: Path, held: ExitStack) -> Iterator[Member]:
    """The picture files at a path: the file itself, or those of a folder or a zip."""
    if path.suffix.lower() in SUFFIXES and not path.is_dir():
        if not path.exists():
            raise FileNotFoundError(f"there is no {path}")
        yield Member(str(path), path.stat().st_size, 0, partial(path.open, "rb"))
        return
    if path.is_file() and path.suffix.lower() != ".zip":
        raise ValueError(
            f"{path} is neither a picture ({' '.join(SUFFIXES)}) nor a folder or a zip"
        )
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}: give pictures, or folders or zips of them")
    archive = held.enter_context(Archive(path))
    members = [member for member in archive.members if member.suffix in SUFFIXES]
    masks = {mask_name(member.stem) for member in members}
    yield from (member for member in members if member.stem not in masks)


def _decoder(
    config: RunConfig,
    kind: SceneKind,
    directory: Path,
    *,
    white_level: int | None,
    bit_depth: Literal[8, 16] | None,
    workers: int | None,
    progress: bool,
) -> Decoder:
    """Decoder that reads files as the scenes of a run were read."""
    data, (height, width) = config.data, kind.image_size
    if height != width or kind.channels not in (1, 3):
        raise ConfigError(
            f"{directory} was trained on scenes of {kind.channels} channels and {height} x {width} "
            "pixels, but picture files become square scenes in grey or colour: pass scenes "
            "through the system of joint.load_system instead"
        )
    like = read_like(ClassFolders(root=Path()), data)
    decoder = Decoder(
        image_size=height,
        geometry=like.geometry,
        bit_depth=like.bit_depth if bit_depth is None else bit_depth,
        white_level=like.white_level if white_level is None else white_level,
        channels=1 if kind.channels == 1 else 3,
        profiles=like.encoding != "linear",
        workers=workers,
        progress=progress,
        depth_advice="the run was trained on 8 bits",
        white_advice="give white_level (on the command line --white-level), such as 4095,",
    )
    said = decoder.encoding if like.encoding is None else like.encoding
    if said not in (None, config.system.encoding):
        raise ConfigError(
            f"{directory} takes linear light, but the codes of picture files are sRGB: pass scenes "
            "through the system of joint.load_system instead"
        )
    return decoder
