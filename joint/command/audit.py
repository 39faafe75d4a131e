"""``lens2label audit``: duplicates and leaks in a data set and its split."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated

import tyro

from classify import audit
from joint.config.run import RunConfig, SplitConfig
from joint.config.scenes import build_data
from joint.record import print_json
from joint.run.build import build_split
from joint.settings import OptionError

from .options import Scenes, scenes_at
from .reading import check_settings, read_given, read_source

__all__ = ["AuditOptions", "main", "read_audit_options"]


@dataclass(frozen=True)
class AuditOptions:
    """Look for duplicates, leaks between the parts of a split, contradictions and empty pictures.

    The status is 1 when something is in more than one part. For example:

        lens2label audit --data ham10000.zip --split.by image
        lens2label audit --data labels.csv --data.root pictures --data.group patient_id
    """

    data: str = "phantom"
    """Scenes, as in train, and with their --data options, which --help after it shows."""
    image_size: int = 128
    """Pixels along a side, where --data.image-size does not say; train begins with 64."""
    scenes: Annotated[Scenes, tyro.conf.arg(name="")] = field(default_factory=Scenes)
    split: SplitConfig = field(default_factory=SplitConfig)
    threshold: float = 0.975
    """Correlation above which two pictures are near duplicates."""
    align: bool = True
    """Also find crops and shifts."""
    json: bool = False
    """Print JSON instead of text."""

    def check(self) -> None:
        """Refuse numbers that are out of range, by an OptionError."""
        if not 0 < self.threshold < 1:
            raise OptionError(
                f"--threshold must be a correlation between 0 and 1, not {self.threshold:g}"
            )


class _Audited(Scenes):
    """Of the options of an audit, those that are settings."""

    split: SplitConfig = SplitConfig()


def read_audit_options(arguments: Sequence[str]) -> AuditOptions:
    """Read where the scenes lie first, then everything with the options they have.

    Raises what :func:`joint.command.train.read_train_options` does.
    """
    source = read_source(arguments)
    scenes = Scenes(data=scenes_at(source.data or "phantom", source.image_size))
    prog = "lens2label audit"
    options = read_given(AuditOptions, arguments, prog, default=AuditOptions(scenes=scenes))
    given = {**dict(options.scenes), "split": options.split}
    checked = check_settings(_Audited, given, arguments, prog)
    return replace(options, scenes=Scenes(data=checked.data), split=checked.split)


def main(arguments: Sequence[str]) -> int:
    """Audit scenes and their split; returns the exit status."""
    options = read_audit_options(arguments)
    options.check()
    config = RunConfig(data=options.scenes.data, split=options.split)
    dataset = build_data(config.data, progress=not options.json)
    found = audit(
        dataset,
        build_split(config, dataset),
        threshold=options.threshold,
        align=options.align,
    )
    (print_json if options.json else print)(found)
    return 1 if found.leaks else 0
