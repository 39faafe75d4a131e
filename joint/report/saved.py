"""What a run folder says without its scenes; a folder that is not whole is refused by name."""

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
    """A run that is done."""

    path: Path
    name: str
    """What the page calls it."""
    config: RunConfig
    result: dict[str, Any]
    """``result.json``."""
    history: list[dict[str, Any]]
    """Lines of ``history.jsonl``."""
    environments: list[dict[str, Any]]
    """Where it ran, one after the other; empty where nothing says."""
    predictions: Predictions | None
    """None without a classifier."""
    report: Report | None
    """Of the predictions."""

    @property
    def test(self) -> dict[str, Any]:
        """Its numbers on the test part."""
        return self.result["test"]


def read_runs(
    folders: Sequence[Path | str], *, names: Sequence[str] | None = None, resamples: int = 1000
) -> list[SavedRun]:
    """Read run folders; ``resamples`` are those of the intervals of their reports.

    They are called by ``names``, or as their folders; by their paths where two would be alike.

    Raises
    ------
    ValueError
        Without a folder, when one is given twice, or for another number of names.
    ConfigError, CheckpointError
        When a folder is no run, its run is not done, or a file in it is damaged.
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
    load_trained(path, config.training)  # a damaged file is said before anything is measured
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
                f"{RESULT_FILE} says {recorded}: they are not of one run"
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
        raise CheckpointError(f"{path} is damaged: it is no list of environments")
    return found
