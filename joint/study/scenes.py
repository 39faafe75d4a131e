"""Scenes of a study: loaded once for many runs, also if their files have moved."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from classify import LesionDataset
from joint.config.run import RunConfig
from joint.config.scenes import DataConfig, build_data
from joint.run.build import build_split
from joint.run.resume import places
from joint.saved.folder import RunFolder

from .ledger import Ledger, PlannedRun, StudyError
from .machine import NoInput

__all__ = ["KeptScenes", "check_same", "scenes_now"]

_KEPT = 2  # data sets that a worker keeps for later runs


class KeptScenes:
    """Data sets by their configuration: each is built once, and the last few are kept."""

    def __init__(self) -> None:
        self._kept: dict[str, LesionDataset] = {}

    def __call__(self, config: DataConfig) -> LesionDataset:
        """The data set of a configuration."""
        key = config.model_dump_json()
        dataset = self._kept.pop(key) if key in self._kept else build_data(config)
        self._kept[key] = dataset  # the data set used last is dropped last
        while len(self._kept) > _KEPT:
            del self._kept[next(iter(self._kept))]
        return dataset


def scenes_now(
    ledger: Ledger, where: Mapping[str, Path | str]
) -> Callable[[DataConfig], LesionDataset]:
    """Loader for the scenes of a study, some of whose files have moved.

    Raises
    ------
    StudyError
        When ``where`` names files that the scenes do not have, or that differ between designs.
    """
    load, described = KeptScenes(), ledger.study.base.data
    for name in where:
        if ledger.study.varies(f"data.{name}"):
            raise StudyError(
                f"designs of the study in {ledger.folder} differ in data.{name}, so one path "
                "cannot replace all of theirs. Put each file where the study says"
            )
        if name not in places(described):
            files = ", ".join(f"data.{each}" for each in places(described)) or "no files at all"
            raise StudyError(
                f"the scenes of the study in {ledger.folder} ({described.kind}) have {files}, and "
                f"no data.{name}"
            )
    now = {name: Path(place) for name, place in where.items()}
    return lambda data: load(data.model_copy(update=now))


def check_same(
    ledger: Ledger, config: RunConfig, runs: Sequence[PlannedRun], scenes: LesionDataset
) -> None:
    """Refuse scenes from elsewhere that differ from those of the runs that are there.

    Raises
    ------
    NoInput
        When some part of them differs from that of a run in ``runs`` that has begun, or of a
        finished run; the message names the run.
    """

    def refused(path: Path) -> NoInput:
        return NoInput(
            f"the scenes given for the study differ from those "
            f"of the run in {path}: give the path of the same scenes (--data), or start a new study"
        )

    there = [*_made_of(ledger, config, runs)]
    if not there:
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # training warns again
            parts = build_split(config, scenes).parts
    except ValueError as error:  # the scenes of the runs could be split, so these differ
        raise refused(there[0][0]) from error
    ours = {name: part.fingerprint for name, part in parts.items()}
    for path, theirs in there:
        if any(theirs.get(name, own) != own for name, own in ours.items()):
            raise refused(path)


def _made_of(
    ledger: Ledger, config: RunConfig, runs: Sequence[PlannedRun]
) -> Iterator[tuple[Path, Mapping[str, str]]]:
    """Digests of the parts with which runs have begun, and of those of one finished run."""
    for folder in (RunFolder(ledger.path(run)) for run in runs):
        if folder.has_checkpoint():
            yield folder.path, folder.load_checkpoint()[1].get("identity", {})
    for run in ledger.done():
        other = ledger.config(run)
        if (other.data, other.split) == (config.data, config.split):
            yield ledger.path(run), ledger.result(run).get("scenes", {})
            return
