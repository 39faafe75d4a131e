"""What ``compress`` and ``decompress`` share: the codec, the files, and what is told of them."""

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import TypeAdapter

from compress import Codec
from joint.config.codecs import CodecConfig, build_codec
from joint.config.run import load_config
from joint.folder import CONFIG_FILE
from joint.picture.folder import FilesWritten
from joint.settings import ConfigError, OptionError
from joint.stages import Encoding
from joint.trained import load_codec

from .options import check_run_folder, tell_failed

__all__ = ["check_codec", "check_existing", "codec_of", "one_file", "places", "tell", "tell_there"]

# Kinds of codec that know all they need without training.
_STANDARD = ("jpeg", "webp", "jpeg2000", "avif", "png", "kmeans")


def check_codec(named: Path) -> None:
    """Refuse what is neither a standard codec nor a run folder, before anything is loaded."""
    if _is_standard(named):
        return
    try:
        check_run_folder(named)
    except ConfigError as error:
        if named.exists():
            raise
        names = ", ".join(_STANDARD)
        raise ConfigError(f"{error}; nor is it a standard codec, which are {names}") from error


def _is_standard(named: Path) -> bool:
    """Whether ``--codec`` names a codec that needs no run, and no run folder of that name.

    What a command has written may be called as its codec is.
    """
    return str(named) in _STANDARD and not (named / CONFIG_FILE).exists()


def codec_of(named: Path) -> tuple[Codec, Encoding]:
    """The codec that ``--codec`` names, and what it is given."""
    if not _is_standard(named):
        return load_codec(named), load_config(named).system.encoding
    config = TypeAdapter(CodecConfig).validate_python({"kind": str(named)})
    codec = build_codec(config, channels=None)
    assert codec is not None  # as only that of the kind "none" is
    return codec.eval(), "srgb"


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
    return sources[0] if len(sources) == 1 and not sources[0].is_dir() else None


def tell_there(target: str, *, as_json: bool) -> int:
    """Say that a file was left as it is; returns the exit status."""
    told = json.dumps({"path": target, "there": 1})
    print(told if as_json else f"{target}: there already")
    return 0


def tell(done: FilesWritten, *, as_json: bool) -> int:
    """Say what was written, and what could not be; returns the exit status."""
    print(json.dumps(done.to_dict(), indent=2) if as_json else done)
    return tell_failed(done.failed, len(done.written))
