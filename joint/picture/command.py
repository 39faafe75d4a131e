"""The commands ``lens2label compress`` and ``lens2label decompress``, and their options."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro
from pydantic import TypeAdapter

from compress import Codec
from joint.config.codecs import CodecConfig, build_codec
from joint.config.run import load_config
from joint.folder import CONFIG_FILE
from joint.settings import ConfigError, OptionError
from joint.stages import Encoding
from joint.trained import load_codec

from .file import check_target, compress_file, decompress_file
from .folder import FilesWritten, compress_files, decompress_files, picture_suffixes
from .quality import find_quality

__all__ = [
    "STANDARD_CODECS",
    "CompressOptions",
    "DecompressOptions",
    "compress",
    "decompress",
    "is_standard",
    "tell_failed",
]

#: Kinds of codec that know all they need without training.
STANDARD_CODECS = ("jpeg", "webp", "jpeg2000", "avif", "png", "kmeans")


@dataclass(frozen=True)
class CompressOptions:
    """Code pictures with the codec of a trained run or a standard one, each into a file of its own.

    One picture is coded into the file that is named last, and one that is there is replaced, unless
    it is a picture. Several, or those of a folder and its folders, are coded into the folder that
    is named last, under the same names, as .l2l; files that are no pictures are skipped. A picture
    that cannot be coded does not stop the others; it is named at the end, and the status is 1. Only
    the pixels are coded: a colour profile (ICC) is neither kept nor applied. For example:

        lens2label compress lesion.png lesion.l2l --codec runs/codec
        lens2label compress pictures/ coded/ --codec runs/codec --bpp 0.25
        lens2label compress pictures/ coded/ --codec webp --quality 50 --skip-existing
    """

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PICTURE")]
    """Picture of 8 bits, RGB or grey as the codec takes it, or a folder of them."""
    target: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TARGET")]
    """File to write or, for a folder, the folder; of several, the next one."""
    codec: Path
    """Run folder of lens2label train; or jpeg, webp, jpeg2000, avif, png or kmeans, as train has
    them."""
    more: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[... TARGET]")
    ] = ()
    """The others of several pictures or folders, and last the folder to write."""
    quality: float | None = None
    """Operating point of a codec that has several: 0 to levels - 1 of one that learned, by default
    the middle; 1 to 100 of JPEG, 0 to 100 of WebP and AVIF, by default that of the run, or 75."""
    bpp: float | None = None
    """Instead: the best quality, one for all pictures, at which the files take no more than so many
    bits per pixel on average, headers included."""
    bpp_pictures: int = 32
    """Find that quality on at most so many of the pictures, evenly spread, and of these on those of
    the most frequent size."""
    overwrite: bool = False
    """Of several: replace files that are there; of one, a picture that is."""
    skip_existing: bool = False
    """Leave files that are there, whatever wrote them, and go on where a command was stopped."""
    json: bool = False
    """Print JSON instead of lines."""


@dataclass(frozen=True)
class DecompressOptions:
    """Decode files of lens2label compress into pictures.

    One is decoded into the picture that is named last, and one that is there is replaced. Several,
    or the .l2l of a folder and its folders, are decoded into the folder that is named last, under
    the same names, as .png; other files are skipped. A file that is damaged does not stop the
    others; it is named at the end, and the status is 1. For example:

        lens2label decompress lesion.l2l decoded.png --codec runs/codec
        lens2label decompress coded/ decoded/ --codec runs/codec
    """

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """File of lens2label compress, or a folder of them."""
    target: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TARGET")]
    """Picture to write (.png, .bmp or .tif) or, for a folder, the folder; of several, the next
    one."""
    codec: Path
    """Run folder whose codec wrote the files, or the standard one, as jpeg."""
    more: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[... TARGET]")
    ] = ()
    """The others of several files or folders, and last the folder to write."""
    overwrite: bool = False
    """Of several: replace pictures that are there."""
    skip_existing: bool = False
    """Leave pictures that are there, and go on where a command was stopped."""
    json: bool = False
    """Print JSON instead of lines."""


def compress(options: CompressOptions) -> int:
    """Do what the command ``compress`` is told; returns the exit status.

    Raises
    ------
    ConfigError, ValueError, OSError, CheckpointError
        When nothing can be done, in words for the command line.
    """
    if options.quality is not None and options.bpp is not None:
        raise OptionError("give --quality, or --bpp to have it found, not both")
    sources, target = _places(options)
    one = _one(sources)
    if one is not None:
        check_target(one, target)
        if (
            Path(target).is_file()
            and Path(target).suffix.lower() in picture_suffixes()
            and not options.overwrite
        ):
            raise ConfigError(
                f"{target} is a picture that is there: name the file to write, as one.l2l, or a "
                "folder for several pictures, or give --overwrite"
            )
        if options.skip_existing and Path(target).exists():
            return _tell_there(target, as_json=options.json)
    codec, encoding = _codec(options.codec)
    if one is None:
        return _tell(
            compress_files(
                sources,
                Path(target),
                codec,
                quality=options.quality,
                bpp=options.bpp,
                bpp_pictures=options.bpp_pictures,
                encoding=encoding,
                overwrite=options.overwrite,
                skip_existing=options.skip_existing,
                progress=not options.json,
            ),
            as_json=options.json,
        )
    if options.bpp is None:
        done = compress_file(one, target, codec, quality=options.quality, encoding=encoding)
        print(done.json() if options.json else done)
        return 0
    found = find_quality(codec, [one], options.bpp, encoding=encoding)
    done = compress_file(one, target, codec, quality=found.quality, encoding=encoding)
    told = json.dumps(asdict(done) | {"quality": found.quality})
    print(told if options.json else f"{done}\n{found}")
    return 0


def decompress(options: DecompressOptions) -> int:
    """Do what the command ``decompress`` is told; returns the exit status.

    Raises
    ------
    ConfigError, ValueError, OSError, CheckpointError
        When nothing can be done, in words for the command line.
    """
    sources, target = _places(options)
    one = _one(sources)
    if one is not None:
        check_target(one, target)
        if options.skip_existing and Path(target).exists():
            return _tell_there(target, as_json=options.json)
    codec, encoding = _codec(options.codec)
    if one is None:
        return _tell(
            decompress_files(
                sources,
                Path(target),
                codec,
                encoding=encoding,
                overwrite=options.overwrite,
                skip_existing=options.skip_existing,
                progress=not options.json,
            ),
            as_json=options.json,
        )
    height, width = decompress_file(one, target, codec, encoding=encoding)
    if options.json:
        print(json.dumps({"path": target, "height": height, "width": width}, indent=2))
    else:
        print(f"{target}: {height}x{width} pixels")
    return 0


def is_standard(named: Path) -> bool:
    """Whether ``--codec`` names a codec that needs no run, and no run folder of that name.

    What a command has written may be called as its codec is.
    """
    return str(named) in STANDARD_CODECS and not (named / CONFIG_FILE).exists()


def _codec(named: Path) -> tuple[Codec, Encoding]:
    """The codec that ``--codec`` names, and what it is given."""
    if not is_standard(named):
        return load_codec(named), load_config(named).system.encoding
    config = TypeAdapter(CodecConfig).validate_python({"kind": str(named)})
    codec = build_codec(config, channels=3)
    assert codec is not None  # as only that of the kind "none" is
    return codec.eval(), "srgb"


def _places(options: CompressOptions | DecompressOptions) -> tuple[list[Path], str]:
    """What is read, and what is written; this is no Path, which would lose that it ends in a /."""
    if options.overwrite and options.skip_existing:
        raise OptionError(
            "give --overwrite, to replace files that are there, or --skip-existing, to leave them, "
            "not both"
        )
    *sources, target = str(options.source), options.target, *options.more
    return [Path(source) for source in sources], target


def _one(sources: Sequence[Path]) -> Path | None:
    """The file, where it is a single one, whose target is a file too."""
    return sources[0] if len(sources) == 1 and not sources[0].is_dir() else None


def _tell_there(target: str, *, as_json: bool) -> int:
    told = json.dumps({"path": target, "there": 1})
    print(told if as_json else f"{target}: there already")
    return 0


def _tell(done: FilesWritten, *, as_json: bool) -> int:
    print(json.dumps(done.to_dict(), indent=2) if as_json else done)
    return tell_failed(done.failed, len(done.written))


def tell_failed(failed: Sequence[object], done: int) -> int:
    """Name the files of which nothing could be made, beside those done; returns the exit status."""
    if not failed:
        return 0
    sys.stdout.flush()  # before what follows it, where both go to one file
    lines = "".join(f"\n  {file}" for file in failed)
    count = len(failed)
    print(f"lens2label: {count} of {count + done} files could not be used:{lines}", file=sys.stderr)
    return 1
