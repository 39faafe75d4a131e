"""Check that the runs of a study have the same library, kind of machine and inputs.

A study may be worked on for weeks, by any machine that sees its folder. A seed pairs two designs
only if nothing else differs; an update of a library in between is not part of either design.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from joint.parse import parse_json
from joint.saved.folder import ENVIRONMENT_FILE

from .ledger import Ledger
from .space import numbers_shown

__all__ = [
    "EnvironmentDifference",
    "changed_inputs",
    "changed_note",
    "environment_differences",
    "other_pictures",
]

# Properties that change numbers by more than the order of a sum: not threads or kernel version.
_TOLD = ("lens2label", "commit", "pytorch", "device", "deterministic", "matmul_precision")


@final
@dataclass(frozen=True)
class EnvironmentDifference:
    """A property of the environment in which runs differ."""

    name: str
    """A field of :class:`joint.Environment`."""
    runs: dict[str, int]
    """Number of runs made with each value; ``a then b`` if a run continued with another."""
    seeds: tuple[int, ...]
    """Seeds whose runs differ in it, so that designs are not compared under equal conditions."""

    def __str__(self) -> str:
        values = ", ".join(f"{value} ({count} runs)" for value, count in self.runs.items())
        if not self.seeds:
            apart = "each seed has one of them, so pairs share it"
        else:
            apart = f"designs differ in it within {numbers_shown('seed', self.seeds)}"
        return f"runs were made with different {self.name.replace('_', ' ')}: {values}; {apart}"


def environment_differences(ledger: Ledger) -> tuple[EnvironmentDifference, ...]:
    """Versions, devices and settings in which the finished runs differ.

    Runs without a record of their environment are left out.

    Parameters
    ----------
    ledger : Ledger
        The study, finished or not.

    Returns
    -------
    tuple of EnvironmentDifference
        Empty if all runs were made under the same conditions.
    """
    there = [(run.seed, found) for run in ledger.done() if (found := _recorded(ledger.path(run)))]
    differences = []
    for name in _TOLD:
        values = [(seed, _said(found, name)) for seed, found in there]
        counts = Counter(value for _, value in values)
        if len(counts) > 1:
            by_seed: dict[int, set[str]] = {}
            for seed, value in values:
                by_seed.setdefault(seed, set()).add(value)
            apart = tuple(seed for seed, own in by_seed.items() if len(own) > 1)
            differences.append(EnvironmentDifference(name, dict(counts.most_common()), apart))
    return tuple(differences)


def changed_inputs(ledger: Ledger) -> dict[int, str]:
    """Designs whose runs used other pictures or files than runs of the same description.

    A path does not identify a picture: files may be replaced after some of the runs, also the
    weights and the PSF that runs start from. Runs without a record of their inputs are left out.

    Parameters
    ----------
    ledger : Ledger
        The study, finished or not.

    Returns
    -------
    dict of int to str
        What differs, by the number of the design; pictures of a set are named before a file.
    """
    made = [(run.design, ledger.result(run)) for run in ledger.done()]
    scenes = [(n, found) for n, result in made if isinstance(found := result.get("scenes"), dict)]
    files = [(n, found) for n, result in made if isinstance(found := result.get("files"), dict)]
    changed: dict[int, str] = {}
    for alike in _of_one_description(ledger) if scenes else ():
        for part in ("test", "validation", "train"):
            seen = {str(found.get(part)) for design, found in scenes if design in alike}
            if len(seen) > 1:
                changed = dict.fromkeys(alike, f"pictures of the {part} set") | changed
    using: dict[str, list[tuple[int, str]]] = {}
    for design, found in files:
        for path, digest in found.items():
            using.setdefault(path, []).append((design, str(digest)))
    for path, runs in using.items():
        if len({digest for _, digest in runs}) > 1:
            changed = {design: f"the file {path}" for design, _ in runs} | changed
    return changed


def _of_one_description(ledger: Ledger) -> list[set[int]]:
    """Numbers of the designs, grouped by equal data and split."""
    study = ledger.study
    if not study.varies("data", "split"):
        return [set(range(len(ledger.designs)))]  # no need to look at each
    described: dict[str, set[int]] = {}
    for number, design in enumerate(ledger.designs):
        with suppress(ValueError):  # the user's class may take other arguments by now
            config = study.config(design, study.seeds[0])
            said = config.data.model_dump_json() + config.split.model_dump_json()
            described.setdefault(said, set()).add(number)
    return [*described.values()]


def changed_note(changed: Mapping[int, str], design: int) -> str | None:
    """Note on one design, if it is among those of :func:`changed_inputs`."""
    if design not in changed:
        return None
    return f"{changed[design]} changed between runs of the same description"


def other_pictures(designs: Collection[int]) -> str | None:
    """Warning on the ``designs`` that :func:`changed_inputs` gives; None without any."""
    if not designs:
        return None
    return (
        f"runs of {numbers_shown('design', sorted(designs))} used other pictures, or started from "
        "other weights or another PSF, than others of the same description: files were "
        "replaced between them. Each result.json "
        "names its scenes and files: delete the folders of the runs to repeat, and run the study "
        "again"
    )


def _recorded(folder: Path) -> list[Mapping[str, Any]]:
    """Environments of a run, one per start; empty if not recorded."""
    try:
        found = parse_json((folder / ENVIRONMENT_FILE).read_bytes())
    except (OSError, ValueError):  # a report can do without it
        return []
    return found if isinstance(found, list) and all(isinstance(e, dict) for e in found) else []


def _said(found: list[Mapping[str, Any]], name: str) -> str:
    values = [each.get(name) for each in found]
    return " then ".join(dict.fromkeys("unknown" if v is None else str(v) for v in values))
