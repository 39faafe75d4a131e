"""``lens2label compress``: pictures coded with the codec of a run, or a standard one."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from joint.picture.file import check_target, compress_file
from joint.picture.folder import compress_files
from joint.picture.quality import find_quality
from joint.picture.source import picture_suffixes
from joint.record import print_json
from joint.settings import ConfigError, OptionError

from .codec_files import (
    CodecWord,
    check_existing,
    codec_of,
    one_file,
    places,
    read_codec,
    tell,
    tell_there,
)

__all__ = ["CompressOptions", "main"]


@dataclass(frozen=True)
class CompressOptions:
    """Compress pictures with the codec of a trained run or a standard codec, a file for each.

    One picture is coded into the file that is named last; an existing file is replaced, unless it
    is a picture. Several pictures, or those of a folder with its subfolders, or of a zip, are coded
    into the folder that is named last, under the same names, as .l2l; files that are no pictures
    are skipped. A picture that cannot be coded does not stop the others; it is named at the end,
    and the status is 1. Only the pixels are coded: a colour profile (ICC) is neither kept nor
    applied. For example:

        lens2label compress lesion.png lesion.l2l --codec runs/codec
        lens2label compress pictures/ coded/ --codec runs/codec --bpp 0.25
        lens2label compress pictures/ coded/ --codec webp --quality 50 --skip-existing
        lens2label compress pictures.zip coded/ --codec jpeg:quality=50,subsampling=4:4:4
    """

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PICTURE")]
    """8-bit picture, or a folder or zip of them. Grey stays grey for jpeg, jpeg2000, avif and png,
    and becomes RGB for webp and kmeans; a run takes the channels that it was trained on."""
    target: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TARGET")]
    """File to write or, for a folder or zip, the folder; with several pictures, the next one."""
    codec: Annotated[str, tyro.conf.arg(metavar="CODEC")]
    """Run folder of lens2label train; or jpeg, webp, jpeg2000, avif, png or kmeans, with their
    settings as in train, such as jpeg:quality=50,subsampling=4:4:4 or
    kmeans:colors=8."""
    more: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[... TARGET]")
    ] = ()
    """With several pictures, folders or zips: the other ones, and last the folder to write."""
    quality: float | None = None
    """Quality of a codec that has several: 0 to levels - 1 of a learned one, by default the middle;
    1 to 100 of JPEG, 0 to 100 of WebP and AVIF, by default that of the run, or 75."""
    bpp: float | None = None
    """Instead of --quality: use the best quality, one for all pictures, at which the files take at
    most this many bits per pixel on average, headers included."""
    bpp_pictures: int = 32
    """Find that quality on at most this many of the pictures, evenly spread."""
    overwrite: bool = False
    """With several pictures: replace existing files; with one: replace an existing picture."""
    skip_existing: bool = False
    """Keep existing files, whatever wrote them, to continue a command that was stopped."""
    json: bool = False
    """Print JSON instead of lines."""

    def check(self, word: CodecWord) -> None:
        """Refuse what contradicts, by an OptionError; ``word`` is what the codec was read as."""
        if self.quality is not None and self.bpp is not None:
            raise OptionError("give --quality, or --bpp to have it found, not both")
        for option in ("quality", "bpp"):
            if getattr(self, option) is not None and "quality" in word.settings:
                raise OptionError(f"--codec {word} sets the quality: leave --{option} out")
        check_existing(overwrite=self.overwrite, skip_existing=self.skip_existing)


def main(arguments: Sequence[str]) -> int:
    """Compress pictures; returns the exit status."""
    options = tyro.cli(CompressOptions, args=arguments, prog="lens2label compress")
    word = read_codec(options.codec)
    options.check(word)
    sources, target = places(options.source, options.target, options.more)
    one = one_file(sources)
    if one is not None:
        check_target(one, target)
        if (
            Path(target).is_file()
            and Path(target).suffix.lower() in picture_suffixes()
            and not options.overwrite
        ):
            raise ConfigError(
                f"{target} is an existing picture: name the file to write, such as one.l2l, or a "
                "folder for several pictures, or give --overwrite"
            )
        if options.skip_existing and Path(target).exists():
            return tell_there(target, as_json=options.json)
    codec, encoding, quality = codec_of(word)
    quality = options.quality if quality is None else quality
    if one is None:
        return tell(
            compress_files(
                sources,
                Path(target),
                codec,
                quality=quality,
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
        done = compress_file(one, target, codec, quality=quality, encoding=encoding)
        (print_json if options.json else print)(done)
        return 0
    found = find_quality(codec, [one], options.bpp, encoding=encoding)
    done = compress_file(one, target, codec, quality=found.quality, encoding=encoding)
    if options.json:
        print_json(asdict(done) | {"quality": found.quality})
    else:
        print(f"{done}\n{found}")
    return 0
