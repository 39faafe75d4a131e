"""What ``rate``, ``compress`` and ``decompress`` share: codecs by a word, files, what is printed.

::

    jpeg:quality=10,50,subsampling=4:4:4 ─┐              ┌─ codec_of ─► one codec, to code files
    runs/edge:quality=0,1 ────────────────┴─ read_codec ─┴─ sweep_of ─► several points of a curve
"""

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import TypeAdapter, ValidationError

from compress import Codec, DifferentiableJPEG, LearnedCodec
from joint.config.codecs import CODEC_KINDS, CodecConfig, build_codec
from joint.config.run import load_config
from joint.judge.point import at_quality
from joint.picture.folder import FilesWritten
from joint.picture.measure import CodecPoint, CodecSweep
from joint.picture.source import holds_several
from joint.record import print_json
from joint.run.trained import load_codec
from joint.saved.folder import CONFIG_FILE
from joint.settings import ConfigError, OptionError
from joint.stages import Encoding

from .options import check_trained, tell_failed

__all__ = [
    "ChosenCodec",
    "CodecWord",
    "check_existing",
    "codec_of",
    "one_file",
    "places",
    "read_codec",
    "sweep_of",
    "tell",
    "tell_there",
]

_QUALITIES = (5, 10, 20, 35, 50, 75, 90)
# Kinds of codec that know all they need without training; what a curve of each goes through, unless
# it is told.
_STANDARD: Mapping[str, tuple[str, tuple[int, ...]]] = {
    "jpeg": ("quality", _QUALITIES),
    "webp": ("quality", _QUALITIES),
    "jpeg2000": ("rate", (80, 40, 20, 10, 5)),
    "avif": ("quality", _QUALITIES),
    "png": ("", ()),
    "kmeans": ("colors", (2, 4, 8, 16, 32, 64)),
}
# Points of a learned codec of several levels, or more: each of its levels. Also of one with
# qualities on a scale of its own.
_LEVELS = 5


class CodecWord(NamedTuple):
    """What ``--codec`` was given: ``jpeg:quality=50,subsampling=4:4:4``."""

    codec: str
    """Kind of a standard codec, or the path of a run folder."""
    settings: Mapping[str, tuple[Any, ...]]
    """One value of each, or several."""

    @property
    def is_standard(self) -> bool:
        """Whether it names a codec that needs no run, and no run folder of that name.

        What a command has written may be called as its codec is.
        """
        return self.codec in _STANDARD and not (Path(self.codec) / CONFIG_FILE).exists()

    @property
    def swept(self) -> str:
        """The setting of several values; empty without one."""
        return next((name for name, each in self.settings.items() if len(each) > 1), "")

    def __str__(self) -> str:
        """As it was given."""
        told = ",".join(
            f"{name}={','.join(map(_written, values))}" for name, values in self.settings.items()
        )
        return f"{self.codec}:{told}" if told else self.codec


class ChosenCodec(NamedTuple):
    """A codec, and how it is used."""

    codec: Codec
    encoding: Encoding
    """What it is given."""
    quality: float | None
    """That was chosen for a run; None for its own."""


def read_codec(word: str) -> CodecWord:
    """Read what ``--codec`` was given, before anything is loaded.

    Raises
    ------
    OptionError
        When settings are not ``name=value`` of those that the codec has, or are out of range.
    ConfigError
        For neither a standard codec nor a run folder.
    """
    codec, colon, rest = word.partition(":")
    if not colon or (Path(word) / CONFIG_FILE).is_file():  # a folder may have a colon in its name
        read = CodecWord(word, {})
    else:
        read = CodecWord(codec, _settings(word, rest))
    if read.is_standard:
        _check_settings(read)
        return read
    try:
        check_trained(Path(read.codec))
    except ConfigError as error:
        if Path(read.codec).exists():
            raise
        names = ", ".join(_STANDARD)
        raise ConfigError(f"{error}; nor is it a standard codec, which are {names}") from error
    for name, values in read.settings.items():
        numbers = [each for each in values if isinstance(each, int | float)]
        if name != "quality" or len(numbers) < len(values) or any(v is True for v in values):
            raise OptionError(
                f"--codec {word}: for a run only the quality can be set, to numbers, such as "
                f"{read.codec}:quality=0,1; the rest stays as trained"
            )
    return read


def _settings(word: str, rest: str) -> dict[str, tuple[Any, ...]]:
    """``name=value`` after ``name=value``; a value without a name is another one of the last."""
    settings: dict[str, tuple[Any, ...]] = {}
    name = ""
    for part in rest.split(","):
        before, equals, value = part.rpartition("=")
        if equals:
            name = before
        if not name or not value or (equals and name in settings):
            raise OptionError(
                f"--codec {word}: after the colon stand settings and their values, each setting "
                "once, such as jpeg:quality=50 or jpeg:quality=10,30,50,subsampling=4:4:4"
            )
        settings[name] = (*settings.get(name, ()), _value(value))
    if sum(len(values) > 1 for values in settings.values()) > 1:
        raise OptionError(f"--codec {word}: one setting alone may have several values")
    return settings


def _value(text: str) -> Any:  # noqa: ANN401 - as of JSON
    """A number or a flag; a word as it is, such as 4:2:0."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _written(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _check_settings(word: CodecWord) -> None:
    """Refuse settings that a standard codec does not have, by an OptionError."""
    for values in itertools.product(*word.settings.values()):
        try:
            CODEC_KINDS[word.codec].model_validate(dict(zip(word.settings, values, strict=True)))
        except ValidationError as error:
            said = [
                f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()
            ]
            raise OptionError(f"--codec {word}: {'; '.join(said)}") from error


def sweep_of(word: CodecWord, *, channels: int | None = None) -> CodecSweep:
    """The points of a codec's curve: those that were given, or its usual ones.

    ``channels`` are those of the pictures, where they are all alike. It is called as it was given,
    without what changes.

    Raises
    ------
    ConfigError, CheckpointError
        When a run cannot be loaded, or does not have such a quality.
    """
    if not word.is_standard:
        return _trained_sweep(word)
    name, values = _STANDARD[word.codec]
    if word.settings.get("lossless") == (True,):
        name, values = "", ()  # of one fidelity, whatever its quality, which is the effort
    name = word.swept or name
    values = word.settings.get(name, values)
    fixed = {key: each for key, (each, *_) in word.settings.items() if key != name}
    points = [
        CodecPoint(
            value, _built(word.codec, fixed if value is None else {**fixed, name: value}, channels)
        )
        for value in (values or (None,))
    ]
    called = CodecWord(word.codec, {key: (each,) for key, each in fixed.items()})
    return CodecSweep(str(called), name, tuple(points))


def _trained_sweep(word: CodecWord) -> CodecSweep:
    codec, encoding, _ = codec_of(word._replace(settings={}))
    values = word.settings.get("quality") or _usual(codec)
    points = [CodecPoint(value, codec, value) for value in values]
    for point in points:
        _check_quality(word, point)
    if not points:
        return CodecSweep(word.codec, "", (CodecPoint(None, codec),), encoding)
    return CodecSweep(word.codec, "quality", tuple(points), encoding)


def _usual(codec: Codec) -> tuple[float, ...]:
    """Qualities that tell the curve of a run's codec; none of one that has one point."""
    if isinstance(codec, LearnedCodec) and codec.levels > 1:
        return tuple(np.linspace(0, codec.levels - 1, max(_LEVELS, codec.levels)).tolist())
    if isinstance(codec, DifferentiableJPEG) and codec.quality is None:  # tables of its own
        return ()
    known = codec.qualities()
    usual = tuple(quality for quality in _QUALITIES if quality in known)
    if len(known) < 2 or len(usual) >= min(_LEVELS, len(known)):
        return usual
    # On a scale of its own.
    places = np.linspace(0, len(known) - 1, min(_LEVELS, len(known))).round().astype(int)
    return tuple(np.asarray(known)[places].tolist())


def _check_quality(word: CodecWord, point: CodecPoint) -> None:
    try:
        with at_quality(point.codec, point.quality):
            pass
    except ValueError as error:
        raise ConfigError(f"--codec {word}: {error}") from error


def codec_of(word: CodecWord) -> ChosenCodec:
    """The one codec that ``--codec`` names, to code files with.

    Raises
    ------
    OptionError
        Where a setting has several values.
    ConfigError, CheckpointError
        When a run cannot be loaded, or does not have such a quality.
    """
    if word.swept:
        raise OptionError(
            f"--codec {word}: files are coded at one {word.swept}; lens2label rate compares several"
        )
    settings = {name: value for name, (value,) in word.settings.items()}
    if word.is_standard:
        return ChosenCodec(_built(word.codec, settings, None), "srgb", None)
    folder = Path(word.codec)
    codec, quality = load_codec(folder), settings.get("quality")
    _check_quality(word, CodecPoint(quality, codec, quality))
    return ChosenCodec(codec, load_config(folder).system.encoding, quality)


def _built(kind: str, settings: Mapping[str, Any], channels: int | None) -> Codec:
    config = TypeAdapter(CodecConfig).validate_python({"kind": kind, **settings})
    codec = build_codec(config, channels=channels)
    assert codec is not None  # as only that of the kind "none" is
    return codec.eval()


def check_existing(*, overwrite: bool, skip_existing: bool) -> None:
    """Refuse to replace files that are there and to leave them, by an OptionError."""
    if overwrite and skip_existing:
        raise OptionError(
            "give --overwrite, to replace files that are there, or --skip-existing, to leave them, "
            "not both"
        )


def places(source: Path, target: str, more: Sequence[str]) -> tuple[list[Path], str]:
    """What is read, and what is written; this is no Path, which would lose that it ends in a /."""
    *sources, last = str(source), target, *more
    return [Path(each) for each in sources], last


def one_file(sources: Sequence[Path]) -> Path | None:
    """The file, where it is a single one, whose target is a file too."""
    return sources[0] if len(sources) == 1 and not holds_several(sources[0]) else None


def tell_there(target: str, *, as_json: bool) -> int:
    """Say that a file was left as it is; returns the exit status."""
    if as_json:
        print_json({"path": target, "there": 1})
    else:
        print(f"{target}: there already")
    return 0


def tell(done: FilesWritten, *, as_json: bool) -> int:
    """Say what was written, and what could not be; returns the exit status."""
    (print_json if as_json else print)(done)
    return tell_failed(done.failed, len(done.written))
