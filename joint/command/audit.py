"""``lens2label audit``: duplicates and leaks in a data set and its split, or between two sets.

::

    scenes ── audit ──► what leaks between the parts of their split
      │
      └───┬── audit_against ──► what they share, and which of them to leave out
    other scenes, or those that a run has learned from
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import torch
import tyro

from classify import Audit, CrossAudit, LesionDataset, audit, audit_against
from classify.data.dataset import joined
from joint.config.run import RunConfig, SplitConfig, load_config
from joint.config.scenes import DataConfig, build_data, read_like
from joint.record import print_json
from joint.run.build import build_split
from joint.run.trained import check_parts, load_trained
from joint.saved.checkpoint import write_atomically
from joint.saved.folder import BEST_FILE, CHECKPOINT_FILE, CONFIG_FILE
from joint.settings import OptionError, Settings

from .options import Scenes, check_file, check_run_folder, scenes_at
from .reading import check_settings, check_split, read_given, read_source

__all__ = ["AuditOptions", "main", "read_audit_options"]

_PROG = "lens2label audit"


class Against(Settings):
    """Scenes that others are compared with."""

    against: DataConfig
    """The other scenes; for a run, its own, at the place where they are now."""


@dataclass(frozen=True)
class AuditOptions:
    """Look for duplicates, leaks between the parts of a split, contradictions and empty pictures.

    With --against, look instead for what the scenes share with others: pictures, including near
    duplicates, and lesions. The status is 1 when something is in more than one part, or in both
    sets. For example:

        lens2label audit --data ham10000.zip --split.by image
        lens2label audit --data labels.csv --data.root pictures --data.group patient_id
        lens2label audit --data clinic/ --against ham10000.zip
        lens2label audit --data clinic/ --against runs/edge --leave-out known.txt
    """

    data: str = "phantom"
    """Scenes, as in train; --help after it shows their --data options."""
    image_size: int = 128
    """Pixels along a side, unless --data.image-size is given; the default of train is 64. With a
    run in --against, that of the run by default."""
    scenes: Annotated[Scenes, tyro.conf.arg(name="")] = field(default_factory=Scenes)
    against: str | None = None
    """Look for what the scenes share with these. Either scenes, as in train, with options like
    those of --data (such as --against.label); without options they are read like the first. Or a
    run folder: its training and validation part, and the first are read like its scenes; if these
    were moved, give --against.root or --against.path."""
    others: Annotated[Against | None, tyro.conf.arg(name="")] = None
    leave_out: Path | None = None
    """With --against: also write the names of the pictures of --data that should be left out to
    this file, one per line."""
    split: SplitConfig = field(default_factory=SplitConfig)
    threshold: float = 0.975
    """Correlation above which two pictures are near duplicates."""
    align: bool = True
    """Also find crops and shifts."""
    json: bool = False
    """Print JSON instead of text."""

    def check(self) -> None:
        """Refuse numbers that are out of range, and options of another audit, by an OptionError.

        By a CheckpointError, a file that cannot be written.
        """
        if not 0 < self.threshold < 1:
            raise OptionError(
                f"--threshold must be a correlation between 0 and 1, not {self.threshold:g}"
            )
        if self.against is None and self.leave_out is not None:
            raise OptionError("--leave-out needs --against, the scenes or the run to compare with")
        if self.against is not None and self.split != SplitConfig():
            raise OptionError(
                "--against compares all scenes, whatever their split: leave the --split options out"
            )
        check_file("--leave-out", self.leave_out)


class _Audited(Scenes):
    """The options of an audit that are settings."""

    against: DataConfig | None = None
    split: SplitConfig = SplitConfig()


def read_audit_options(arguments: Sequence[str]) -> AuditOptions:
    """Read the place of the scenes first, then everything with the options that they have.

    Raises the errors of :func:`joint.command.train.read_train_options`.
    """
    source = read_source(arguments)
    where = AuditOptions.data if source.data is None else source.data
    if source.against is None:
        return _read(arguments, scenes_at(where, source.image_size or 128))
    if _is_run(source.against):
        check_run_folder(Path(source.against))
        own = load_config(source.against).data
        size = source.image_size or own.image_size or _trained_size(Path(source.against))
        return _read(arguments, read_like(scenes_at(where, size), own), own)
    size = source.image_size or 128
    data, others = scenes_at(where, size), scenes_at(source.against, size)
    # How the first are read is only known with their options.
    first = _read(arguments, data, others).scenes.data
    others = scenes_at(source.against, first.image_size or size)
    return _read(arguments, data, read_like(others, first))


def _read(
    arguments: Sequence[str], data: DataConfig, others: DataConfig | None = None
) -> AuditOptions:
    """All options, where these are what the scenes are by default."""
    against = None if others is None else Against(against=others)
    default = AuditOptions(scenes=Scenes(data=data), others=against)
    options = read_given(AuditOptions, arguments, _PROG, default=default)
    given = {**dict(options.scenes), **dict(options.others or {}), "split": options.split}
    checked = check_settings(_Audited, given, arguments, _PROG)
    check_split(checked.split, arguments)
    if checked.against is not None:
        against = Against(against=checked.against)
    return replace(options, scenes=Scenes(data=checked.data), others=against, split=checked.split)


def main(arguments: Sequence[str]) -> int:
    """Audit scenes and their split, or against others; returns the exit status."""
    options = read_audit_options(arguments)
    options.check()
    found = _audit(options) if options.against is None else _audit_against(options)
    (print_json if options.json else print)(found)
    if isinstance(found, Audit):
        return 1 if found.leaks else 0
    if options.leave_out is not None:
        write_atomically(options.leave_out, "".join(f"{name}\n" for name in found.touched).encode())
        if not options.json:
            print(f"wrote {options.leave_out}")
    return 1 if found.touched else 0


def _audit(options: AuditOptions) -> Audit:
    config = RunConfig(data=options.scenes.data, split=options.split)
    dataset = build_data(config.data, progress=not options.json)
    return audit(
        dataset,
        build_split(config, dataset),
        threshold=options.threshold,
        align=options.align,
    )


def _audit_against(options: AuditOptions) -> CrossAudit:
    progress = not options.json
    assert options.against is not None
    assert options.others is not None
    reference = build_data(options.others.against, progress=progress)
    if _is_run(options.against):
        reference = _learned_from(Path(options.against), reference)
    return audit_against(
        build_data(options.scenes.data, progress=progress),
        reference,
        threshold=options.threshold,
        align=options.align,
    )


def _is_run(source: str) -> bool:
    """Whether it is the folder of a run, or what :func:`joint.fit` left of one."""
    names = CONFIG_FILE, BEST_FILE, CHECKPOINT_FILE
    return any((Path(source) / name).is_file() for name in names)


def _trained_size(run: Path) -> int:
    """Pixels along the shorter side of the pictures that a run was trained on."""
    return min(load_trained(run, load_config(run).training).scenes.image_size)


def _learned_from(run: Path, data: LesionDataset) -> LesionDataset:
    """The pictures of its data that a run was trained on or chosen by."""
    config = load_config(run)
    parts = build_split(config, data)
    check_parts(run, load_trained(run, config.training), parts)
    if parts.validation is None:
        return parts.train
    count, more = len(parts.train), len(parts.validation)
    places = torch.arange(count), torch.arange(count, count + more)
    whole = joined((parts.train, parts.validation), places)
    assert whole is not None  # of one split
    return whole
