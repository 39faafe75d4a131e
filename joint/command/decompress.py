"""``lens2label decompress``: files of ``lens2label compress`` decoded into pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from joint.picture.file import check_target, decompress_file
from joint.picture.folder import decompress_files
from joint.record import print_json

from .codec_files import (
    check_existing,
    codec_of,
    one_file,
    places,
    read_codec,
    tell,
    tell_there,
)

__all__ = ["DecompressOptions", "main"]


@dataclass(frozen=True)
class DecompressOptions:
    """Decompress files of lens2label compress into pictures.

    One file is decoded into the picture that is named last; an existing one is replaced. Several
    files, or the .l2l of a folder with its subfolders, or of a zip, are decoded into the folder
    that is named last, under the same names, as .png; other files are skipped. A damaged file does
    not stop the others; it is named at the end, and the status is 1. For example:

        lens2label decompress lesion.l2l decoded.png --codec runs/codec
        lens2label decompress coded/ decoded/ --codec runs/codec
    """

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """File of lens2label compress, or a folder or zip of them."""
    target: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TARGET")]
    """Picture to write (.png, .bmp or .tif) or, for a folder or zip, the folder; with several
    files, the next one."""
    codec: Annotated[str, tyro.conf.arg(metavar="CODEC")]
    """Run folder whose codec wrote the files, or the standard codec, as in compress."""
    more: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[... TARGET]")
    ] = ()
    """With several files, folders or zips: the other ones, and last the folder to write."""
    overwrite: bool = False
    """With several files: replace existing pictures."""
    skip_existing: bool = False
    """Keep existing pictures, to continue a command that was stopped."""
    json: bool = False
    """Print JSON instead of lines."""

    def check(self) -> None:
        """Refuse what contradicts, by an OptionError."""
        check_existing(overwrite=self.overwrite, skip_existing=self.skip_existing)


def main(arguments: Sequence[str]) -> int:
    """Decompress files; returns the exit status."""
    options = tyro.cli(DecompressOptions, args=arguments, prog="lens2label decompress")
    word = read_codec(options.codec)
    options.check()
    sources, target = places(options.source, options.target, options.more)
    one = one_file(sources)
    if one is not None:
        check_target(one, target)
        if options.skip_existing and Path(target).exists():
            return tell_there(target, as_json=options.json)
    codec = codec_of(word).codec
    if one is None:
        return tell(
            decompress_files(
                sources,
                Path(target),
                codec,
                overwrite=options.overwrite,
                skip_existing=options.skip_existing,
                progress=not options.json,
            ),
            as_json=options.json,
        )
    height, width = decompress_file(one, target, codec)
    if options.json:
        print_json({"path": target, "height": height, "width": width})
    else:
        print(f"{target}: {height}x{width} pixels")
    return 0
