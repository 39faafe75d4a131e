"""A study in its folder: plain files, without a server or database.

::

    STUDY/
        study.json                study and plan; written first
        designs/<number>.json     designs that a search has chosen since
        runs/<digest>/            one run each, see joint.study.ledger

    open_study ──► Ledger ──runs end, a search adds designs──► refreshed ──► Ledger

Folders may be copied, and merged with rsync.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from joint.caution import caution
from joint.config.faults import fault_line
from joint.config.run import RunConfig
from joint.parse import parse_json
from joint.saved.checkpoint import write_atomically

from .axis import Design
from .condition import axes_of
from .ledger import Ledger, PlannedRun, StudyError, design_path
from .race_decision import called, called_first
from .sampler import Search
from .space import Study

__all__ = [
    "AFTERWARDS",
    "FORMAT",
    "STUDY_FILE",
    "add_design",
    "done_before",
    "open_study",
    "read_design",
    "read_study",
    "refreshed",
    "seeded",
    "with_next",
    "write_new",
]

STUDY_FILE = "study.json"
FORMAT = 1
AFTERWARDS = "a study is fixed before its first run, and what it calls planned may not have been"


def open_study(folder: Path | str) -> Ledger:
    """Open the study in ``folder``.

    Raises
    ------
    StudyError
        When there is none, or it cannot be read.
    CheckpointError
        When a run that decides a race is damaged.

    Warns
    -----
    UserWarning
        When its file was changed after it was written.
    """
    ledger, sealed = read_study(folder)
    if not sealed:
        caution(
            f"{ledger.folder / STUDY_FILE} was changed after it was written: {AFTERWARDS}. "
            "Describe another study in a separate file; --earlier copies the runs that both have"
        )
    return refreshed(ledger)


def read_study(folder: Path | str) -> tuple[Ledger, bool]:
    """The study in ``folder`` as written, and whether its file is unchanged.

    Raises
    ------
    StudyError
        When there is none, or it cannot be read.
    """
    folder = Path(folder)
    path = folder / STUDY_FILE
    try:
        content = parse_json(path.read_bytes())
        if content["format"] != FORMAT:
            raise StudyError(f"{path} has format {content['format']}, not {FORMAT}")
        study = Study.model_validate(content["study"])
        runs = tuple(PlannedRun(**run) for run in content["runs"])
        designs = tuple(content["designs"])
        _check_designs(designs, runs)
        if type(content["done_before"]) is not int:
            raise ValueError(f"{content['done_before']!r} runs were done before it was written")
        first = called_first(study.race, runs, study.seeds)
        return Ledger(folder, study, designs, first, runs), content["seal"] == seal(content)
    except FileNotFoundError as error:
        raise StudyError(
            f"there is no study in {folder}: lens2label study run writes one, or create_study"
        ) from error
    except NotADirectoryError as error:
        raise StudyError(
            f"{folder} is a file, not the folder of a study: if it describes a study, lens2label "
            f"study run {folder} --output FOLDER trains it and writes such a folder"
        ) from error
    except OSError as error:
        raise StudyError(f"cannot read {path}: {error.strerror or error}") from error
    except ValidationError as error:
        faults = "\n  ".join(
            fault_line(fault, Study, whole="the study") for fault in error.errors()
        )
        raise StudyError(f"{path} is not a valid study:\n  {faults}") from error
    except StudyError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise StudyError(f"{path} is damaged: {type(error).__name__}: {error}") from error


def _check_designs(designs: Sequence[object], runs: Sequence[PlannedRun]) -> None:
    """Refuse what is JSON but no ledger, before a run is looked up in it."""
    for number, design in enumerate(designs):
        if not isinstance(design, dict):
            raise ValueError(f"design {number} is {design!r}, not a table")
    for number, run in enumerate(runs):
        if run.design not in range(len(designs)):
            raise ValueError(
                f"run {number} is of design {run.design!r}, of {len(designs)} counted from 0"
            )


def seal(content: Mapping[str, Any]) -> str:
    """Digest of what a study file fixes: the study, its designs and runs."""
    fixed = {name: content[name] for name in ("study", "designs", "runs")}
    text = json.dumps(fixed, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def done_before(ledger: Ledger) -> int:
    """Number of runs of a study that were already done when it was written."""
    return parse_json((ledger.folder / STUDY_FILE).read_bytes())["done_before"]


# ------------------------------------------------------------- what a search or a race has chosen


def refreshed(ledger: Ledger) -> Ledger:
    """The same study, with what a search or a race has chosen meanwhile.

    A race may also call fewer runs than before: it decides again if a failed run is retried.

    Parameters
    ----------
    ledger : Ledger

    Returns
    -------
    Ledger
        The given one if nothing has changed.

    Raises
    ------
    StudyError
        When a design that a search has chosen cannot be read.
    CheckpointError
        When a run that decides a race is damaged.
    """
    if ledger.study.race is not None:
        runs = called(ledger)
        return ledger if runs == ledger.runs else replace(ledger, runs=runs)
    while (more := with_next(ledger)) is not None:
        ledger = more
    return ledger


def add_design(ledger: Ledger, design: Design, *, by_chance: bool = False) -> Ledger:
    """Add ``design`` to a search; if another worker was faster, its design is taken.

    The file records whether the design was drawn ``by_chance``.
    """
    number = len(ledger.designs)
    config = ledger.study.config(design, ledger.study.seeds[0])
    runs = [(seeded(config, seed).digest(), seed) for seed in ledger.study.seeds]
    path = design_path(ledger, number)
    path.parent.mkdir(exist_ok=True)
    drawn = {"by_chance": True} if by_chance else {}
    write_new(path, {"design": design, "runs": dict(runs), **drawn})
    return refreshed(ledger)


def with_next(ledger: Ledger) -> Ledger | None:
    """The study with the next design of its search; None if there is none yet.

    Raises
    ------
    StudyError
        When the design cannot be read.
    """
    if not isinstance(ledger.study.sampler, Search) or len(ledger.runs) >= ledger.wanted:
        return None
    chosen = read_design(ledger, len(ledger.designs))
    if chosen is None:
        return None
    design, runs = chosen
    runs = (*ledger.runs, *runs)
    return replace(ledger, designs=(*ledger.designs, design), runs=runs, planned=runs)


def read_design(ledger: Ledger, number: int) -> tuple[Design, tuple[PlannedRun, ...]] | None:
    """A design that a search has chosen, and its runs; None if it has not been chosen yet.

    Raises
    ------
    StudyError
        When it cannot be read.
    """
    path = design_path(ledger, number)
    try:
        content = parse_json(path.read_bytes())
        design = content["design"]
        runs = tuple(PlannedRun(of, number, seed) for of, seed in content["runs"].items())
        if design.keys() != set(axes_of(design, ledger.study.axes)):
            raise ValueError("it has levels on other axes than the study")
        if [run.seed for run in runs] != list(ledger.study.seeds):
            raise ValueError("it has other seeds than the study")
        return design, runs
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StudyError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StudyError(f"{path} is damaged: {type(error).__name__}: {error}") from error


# ------------------------------------------------------------------------------------- its files


def seeded(config: RunConfig, seed: int) -> RunConfig:
    """The ``config``, which was checked already, with another ``seed``."""
    system = config.system.model_copy(update={"seed": seed})
    training = config.training.model_copy(update={"seed": seed})
    return config.model_copy(update={"system": system, "training": training})


def write_new(path: Path, content: object) -> bool:
    """Write ``content`` to ``path`` unless it exists; of two concurrent writers, one succeeds."""
    own = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.new")
    _write(own, content)
    try:
        os.link(own, path)  # unlike a rename, it replaces nothing
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        if path.exists():
            return False
        os.replace(own, path)
    finally:
        own.unlink(missing_ok=True)
    return True


def _write(path: Path, content: object) -> None:
    write_atomically(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())
