"""The numbers of ``docs/seed.md``: written from the results beside it, never by hand.

::

    docs/results/seed/cpu.json ─┐
    docs/results/seed/gpu.json ─┴─► blocks ─► between the markers of docs/seed.md

A run that is not there has columns that say so.
"""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from joint.saved.checkpoint import write_atomically

from . import further, tables
from .grid import PENDING, Grid, Source, sources
from .published import LOSSES, REPORTS, ROWS, faults

RunName = Literal["cpu", "gpu"]
RUNS: dict[RunName, str] = {"cpu": "CPU, ", "gpu": "GPU, "}

# Blocks that have a table for each run.
_BEYOND = (
    "bits",
    "rates",
    "optics",
    "remedies",
    "architectures",
    "contrast",
    "optimal",
    "claims",
    "goals",
)


# Blocks of figures: their files, without the run, and what they show.
_FIGURES = {
    "matrices": {
        "seed_confusion": "Confusion matrices under the published protocol",
        "honest_confusion": "Confusion matrices under the honest protocol",
        "seed_curves": "Curves of every training, published protocol",
        "honest_curves": "Curves of every training, honest protocol",
    },
    "curves": {
        "rates": "Balanced accuracy against bits per pixel",
        "rate_map": "Where the bits go",
    },
    "filters": {"filters": "The filter before and after training"},
}


def read(folder: Path) -> dict[RunName, Mapping[str, Any] | None]:
    """The results that are there."""
    found: dict[RunName, Mapping[str, Any] | None] = {}
    for name in RUNS:
        path = folder / f"{name}.json"
        found[name] = json.loads(path.read_text()) if path.exists() else None
    return found


def drawn(folder: Path) -> list[str]:
    """Names of the figures that are there."""
    return sorted(path.name for path in folder.glob("*.png"))


def blocks(
    runs: Mapping[RunName, Mapping[str, Any] | None], figures: Sequence[str] = ()
) -> dict[str, str]:
    """Everything on the page that has a number of ours, by the name of its marker.

    ``figures`` are the names of the files beside the results.
    """
    columns = [c for name, prefix in RUNS.items() for c in sources(runs[name], prefix)]
    found = {
        "runs": _grid_of_runs(runs).markdown(),
        "counts": tables.counts(columns).markdown(),
        "leaks": tables.leaks(columns).markdown(),
        "accuracies": tables.accuracies(columns).markdown(),
        "losses": _all_losses(columns).markdown(),
        "recalls": _all_recalls(columns).markdown(),
        "kmeans": tables.palettes(columns).markdown(),
        "faults": "\n".join(f"- **{each.where}:** {each.what}." for each in faults()),
    }
    beyond: dict[str, list[str]] = {name: [] for name in _BEYOND}
    for name, document in runs.items():
        label = f" ({name.upper()} run)"
        if document is None:
            for parts in beyond.values():
                parts.append(f"{name.upper()} run: {PENDING}.")
            continue
        for column in sources(document, RUNS[name]):
            beyond["bits"].append(further.bits(column).markdown())
            beyond["contrast"].append(further.contrasts(column).markdown())
            beyond["optimal"].append(further.optimal(column).markdown())
            if further.is_honest(column):
                beyond["rates"].append(further.rates(column).markdown())
                beyond["optics"].append(further.optics(column).markdown())
                beyond["remedies"].append(further.remedies(column).markdown())
                beyond["architectures"].append(further.architectures(column).markdown())
        beyond["claims"].append(further.claimed(document, label).markdown())
        beyond["goals"].append(further.reached(document, label).markdown())
    for block, kinds in _FIGURES.items():
        shown = [
            f"![{title}, {name.upper()} run](results/seed/{name}_{kind}.png)"
            for kind, title in kinds.items()
            for name in RUNS
            if f"{name}_{kind}.png" in figures
        ]
        found[block] = "\n\n".join(shown or [f"Figures: {PENDING}."])
    return found | {name: "\n\n".join(parts) for name, parts in beyond.items()}


def filled(page: str, made: Mapping[str, str]) -> str:
    """The page with its blocks as they should be.

    Raises
    ------
    ValueError
        When a block has no place, or a place has no block.
    """
    places = re.findall(r"<!-- begin (\w+) -->", page)
    if sorted(places) != sorted(made):
        odd = sorted(set(places) ^ set(made))
        raise ValueError(f"page and results differ in their blocks: {', '.join(odd)}")
    for name, text in made.items():
        pattern = rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)"
        page, count = re.subn(
            pattern, lambda m, t=text: f"{m[1]}\n{t}\n\n{m[2]}", page, flags=re.DOTALL
        )
        if count != 1:
            raise ValueError(f"the block {name} needs one end after its beginning, not {count}")
    return page


def publish(output: Path, docs: Path, name: RunName) -> None:
    """Take the results of a run, without any picture of its data, into the documentation."""
    folder = docs / "results" / "seed"
    folder.mkdir(parents=True, exist_ok=True)
    for source, suffix in (("results.json", "json"), ("results.csv", "csv"), ("tables.txt", "txt")):
        shutil.copyfile(output / source, folder / f"{name}.{suffix}")
    for path in sorted(output.glob("*.png")):
        shutil.copyfile(path, folder / f"{name}_{path.name}")
    page = docs / "seed.md"
    write_atomically(page, filled(page.read_text(), blocks(read(folder), drawn(folder))).encode())


def _grid_of_runs(runs: Mapping[RunName, Mapping[str, Any] | None]) -> Grid:
    lines = []
    for name, document in runs.items():
        if document is None:
            lines.append((name.upper(), PENDING, "", ""))
            continue
        seconds = sum(
            row["seconds"]
            for found in document["protocols"].values()
            for row in found["rows"].values()
        )
        label, missing = document["label"], document.get("missing", [])
        if missing:
            label += f"; {document['stages'] - len(missing)} stages done, {len(missing)} not yet"
        machine = document["environment"]
        where = f"{machine['device']}, {machine['threads']} threads, PyTorch {machine['pytorch']}"
        others: dict[str, list[str]] = {}
        for found in document["protocols"].values():
            for stage, row in found["rows"].items():
                if row.get("machine") not in (None, machine["device"]):
                    others.setdefault(row["machine"], []).append(stage)
        where += "".join(f"; {', '.join(stages)}: {device}" for device, stages in others.items())
        lines.append((name.upper(), label, where, f"{seconds / 60:.0f} min"))
    head = ("run", "what it is", "machine", "all stages of seed 0, on a shared machine")
    return Grid("Runs", head, tuple(lines))


def _all_losses(columns: Sequence[Source]) -> Grid:
    """Tables 1 and 4 to 9 in one."""
    lines = []
    for row in ROWS:
        if row.losses is None:
            continue
        for line in tables.losses(row, columns).lines:
            pairs = [_pair(line[k : k + 2]) for k in range(1, len(line), 2)]
            lines.append((f"{row.losses}: {LOSSES[row.losses].title}", line[0], *pairs))
    head = ("table", "part", "published", *(column.label for column in columns))
    note = (
        "Loss / accuracy. The losses of an autoencoder's training are mean absolute errors, as in "
        "the study."
    )
    return Grid("Tables 1 and 4 to 9", head, tuple(lines), note)


def _pair(cells: Sequence[str]) -> str:
    return " / ".join(cell for cell in cells if cell)


def _all_recalls(columns: Sequence[Source]) -> Grid:
    """Recalls of tables 2 and 10 to 15 in one."""
    lines = []
    for row in ROWS:
        if row.report is None:
            continue
        found = tables.recalls(columns, row)
        for k, source in enumerate(("published", *(column.label for column in columns))):
            cells = [line[1 + k] for line in found.lines]
            if PENDING in cells:
                continue
            lines.append((f"{row.report}: {REPORTS[row.report].title}", source, *cells))
    names = [line[0] for line in tables.recalls(columns, ROWS[0]).lines]
    return Grid("Recalls of tables 2 and 10 to 15", ("table", "", *names), tuple(lines))
