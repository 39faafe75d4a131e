"""Contents of a run folder without its scenes; an incomplete folder is refused by name."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from classify import Report, report
from joint.config.run import RunConfig, load_config
from joint.parse import parse_json
from joint.run.trained import load_trained
from joint.saved.checkpoint import CheckpointError
from joint.saved.folder import (
    ENVIRONMENT_FILE,
    HISTORY_FILE,
    PREDICTIONS_FILE,
    RESULT_FILE,
    is_done,
    read_history,
    read_result,
    summarise_run,
)
from joint.saved.predictions import Predictions, load_predictions
from joint.settings import NoneConfig

__all__ = ["SavedRun", "read_runs"]


@final
@dataclass(frozen=True, eq=False)
class SavedRun:
    """A finished run, as its folder holds it."""

    path: Path
    name: str
    """Name of the run on the page."""
    config: RunConfig
    result: dict[str, Any]
    """``result.json``."""
    history: list[dict[str, Any]]
    """Lines of ``history.jsonl``."""
    environments: list[dict[str, Any]]
    """Where the run was computed, one entry per start; empty if not recorded."""
    predictions: Predictions | None
    """Scores on the test part; None without a classifier."""
    report: Report | None
    """Report on the predictions."""

    @property
    def test(self) -> dict[str, Any]:
        """Numbers on the test part."""
        return self.result["test"]


def read_runs(
    folders: Sequence[Path | str], *, names: Sequence[str] | None = None, resamples: int = 1000
) -> list[SavedRun]:
    """Read run folders; ``resamples`` is the number of resamples for the intervals.

    ``names`` are the names on the page; by default those of the folders, or their paths where two
    names would be the same.

    Raises
    ------
    ValueError
        Without a folder, when one is given twice, or for a wrong number of names.
    ConfigError, CheckpointError
        When a folder is not a run folder, its run is not done, or a file in it is damaged.
    """
    paths = [Path(folder) for folder in folders]
    if not paths:
        raise ValueError("a report needs at least one run folder")
    places = [path.resolve() for path in paths]
    for number, place in enumerate(places):
        if place in places[:number]:
            raise ValueError(f"{paths[number]} is given twice: give each run folder once")
    if names is None:
        names = [place.name for place in places]
    elif len(names) != len(paths):
        raise ValueError(f"{len(paths)} runs need as many names, not {len(names)}")
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    return [_read(path, name, resamples) for path, name in zip(paths, names, strict=True)]


def _read(path: Path, name: str, resamples: int) -> SavedRun:
    config = load_config(path)
    if not is_done(path):
        found = summarise_run(path)
        why = f": {found.note}" if found.note else ""
        raise CheckpointError(
            f"the run in {path} is not done ({found.state}{why}): finish it with lens2label train "
            f"--output {path} --resume, or leave it out"
        )
    result = read_result(path)
    load_trained(path, config.training)  # a damaged file is reported before anything is measured
    predictions = judged = None
    if not isinstance(config.system.classifier, NoneConfig):
        predictions = load_predictions(path)
        judged = report(
            predictions.logits,
            predictions.labels,
            classes=predictions.classes,
            groups=predictions.groups,
            resamples=resamples,
        )
        recorded = result["test"].get("accuracy")
        if recorded is None or abs(recorded - judged.accuracy) > 1e-6:
            raise CheckpointError(
                f"{path / PREDICTIONS_FILE} has an accuracy of {judged.accuracy:.4f} and "
                f"{RESULT_FILE} says {recorded}: they belong to different runs"
            )
    return SavedRun(
        path=path,
        name=name,
        config=config,
        result=result,
        history=_history(path),
        environments=_environments(path / ENVIRONMENT_FILE),
        predictions=predictions,
        report=judged,
    )


def _history(path: Path) -> list[dict[str, Any]]:
    records = read_history(path)
    for number, record in enumerate(records, start=1):
        parts = (record.get("train"), record.get("validation"))
        if not isinstance(record.get("epoch"), int) or not all(isinstance(p, dict) for p in parts):
            raise CheckpointError(f"line {number} of {path / HISTORY_FILE} is damaged: no epoch")
    return records


def _environments(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    try:
        found = parse_json(path.read_bytes())
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise CheckpointError(f"{path} is damaged: it is not a list of environments")
    return found
