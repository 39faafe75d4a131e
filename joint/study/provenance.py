"""Whether the runs of a study are of one library on one kind of machine, so that they compare.

A study may be worked on for weeks, by any machine that sees its folder. A seed pairs two designs
only where nothing else differs: a library that was updated in between is no part of either.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from joint.parse import parse_json
from joint.saved.folder import ENVIRONMENT_FILE

from .space import varies
from .store import Ledger

__all__ = [
    "EnvironmentDifference",
    "changed_inputs",
    "changed_note",
    "environment_differences",
    "other_pictures",
]

# What numbers depend on by more than the order of a sum: not the threads, nor the kernel's version.
_TOLD = ("lens2label", "commit", "pytorch", "device", "deterministic", "matmul_precision")


@final
@dataclass(frozen=True)
class EnvironmentDifference:
    """Something about where runs were made in which they differ."""

    name: str
    """A field of :class:`joint.Environment`."""
    runs: dict[str, int]
    """How many runs were made with each value; ``a then b`` where a run went on with another."""
    seeds: tuple[int, ...]
    """Seeds of which the runs differ in it, so that designs are not compared under one."""

    def __str__(self) -> str:
        values = ", ".join(f"{value} ({count} runs)" for value, count in self.runs.items())
        if not self.seeds:
            apart = "each seed has one of them, so that pairs share it"
        else:
            which = ", ".join(map(str, self.seeds))
            apart = f"designs differ in it within seed{'s' * (len(self.seeds) > 1)} {which}"
        return f"runs were made with different {self.name.replace('_', ' ')}: {values}; {apart}"


def environment_differences(ledger: Ledger) -> tuple[EnvironmentDifference, ...]:
    """In which versions, devices and settings the runs that are done differ.

    Runs of which nothing says where they were made are left out.

    Parameters
    ----------
    ledger : Ledger
        The study, finished or not.

    Returns
    -------
    tuple of EnvironmentDifference
        Empty where all runs are of one kind.
    """
    there = [
        (run.seed, found)
        for run, state in zip(ledger.runs, ledger.states(), strict=True)
        if state == "done" and (found := _recorded(ledger.path(run)))
    ]
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
    """Designs whose runs were made of other pictures or files than others of the same description.

    A path is no picture: files may be replaced, and one part of the runs has seen the old ones; so
    may the weights and the PSF that runs begin with. Runs that do not say what they were made of
    are left out.

    Parameters
    ----------
    ledger : Ledger
        The study, finished or not.

    Returns
    -------
    dict of int to str
        What differs, the pictures of a set before a file, by the number of the design.
    """
    made = [
        (run.design, ledger.result(run))
        for run, state in zip(ledger.runs, ledger.states(), strict=True)
        if state == "done"
    ]
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
    """Numbers of the designs, those of the same data and split together."""
    study = ledger.study
    if not varies(study, "data", "split"):
        return [set(range(len(ledger.designs)))]  # without a look at each
    described: dict[str, set[int]] = {}
    for number, design in enumerate(ledger.designs):
        with suppress(ValueError):  # a class of one's own takes other arguments by now
            config = study.config(design, study.seeds[0])
            said = config.data.model_dump_json() + config.split.model_dump_json()
            described.setdefault(said, set()).add(number)
    return [*described.values()]


def changed_note(changed: Mapping[int, str], design: int) -> str | None:
    """What to say of one design, where it is among those of :func:`changed_inputs`."""
    if design not in changed:
        return None
    return f"{changed[design]} changed between runs of one description"


def other_pictures(designs: Collection[int]) -> str | None:
    """What to say of the ``designs`` that :func:`changed_inputs` gives; None of none."""
    if not designs:
        return None
    which = f"design{'s' * (len(designs) > 1)} {', '.join(map(str, sorted(designs)))}"
    return (
        f"runs of {which} were made of other pictures, or began with other weights or another PSF, "
        "than others of the same description: files were replaced between them. Each result.json "
        "names its scenes and files: delete the folders of those that are to be made anew, and run "
        "the study again"
    )


def _recorded(folder: Path) -> list[Mapping[str, Any]]:
    """Where a run was made, one after the other; empty where nothing tells."""
    try:
        found = parse_json((folder / ENVIRONMENT_FILE).read_bytes())
    except (OSError, ValueError):  # a report does not fail for want of it
        return []
    return found if isinstance(found, list) and all(isinstance(e, dict) for e in found) else []


def _said(found: list[Mapping[str, Any]], name: str) -> str:
    values = [each.get(name) for each in found]
    return " then ".join(dict.fromkeys("unknown" if v is None else str(v) for v in values))
