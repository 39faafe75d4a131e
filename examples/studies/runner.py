"""Run a shipped study at a size that fits the machine, say what it shows, and draw it.

Without a flag, a study runs on phantoms, as its TOML file says and a CPU can do; ``--small`` is for
looking at how it goes; ``--full`` is the whole study on HAM10000, for a GPU. What is left out of
which size stands in ``sizes.toml``. A study that was interrupted goes on where it was::

    python examples/studies/runner.py edge_filter --workers 2
    python examples/studies/runner.py edge_filter --full ham10000.zip --device cuda --workers 4
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import tyro

from joint import data_config
from joint.figure import save_figure
from joint.saved.checkpoint import write_atomically
from joint.script import without_traceback
from joint.study import (
    Ledger,
    Study,
    StudyReport,
    create_study,
    load_study,
    report,
    rows,
    run_study,
    to_csv,
)
from joint.study.page.charts import designs_figure
from joint.study.page.whole import write_study_html
from joint.study.paths import set_path

HERE = Path(__file__).parent

Size: TypeAlias = Literal["small", "middle", "full"]
Name: TypeAlias = Literal[
    "edge_filter",
    "rate_accuracy",
    "imbalance",
    "detector",
    "tolerance",
    "converter_gradient",
    "shutter",
]


@dataclass(frozen=True)
class Options:
    """Run a shipped study: on phantoms, or in full on HAM10000."""

    study: Annotated[Name, tyro.conf.Positional]
    """Which one."""
    small: bool = False
    """A few tiny runs, to see how it goes; they show nothing."""
    full: Path | None = None
    """HAM10000, a folder or zip: the whole study on it, at 64 pixels; for a GPU."""
    workers: int = 1
    """Processes that train side by side; 0 only judges what is there."""
    device: str = "cpu"
    """Where to train: cpu, cuda, cuda:1, ..."""
    output: Path = Path("runs/studies")
    """Folder of the ledgers and of what they come to."""
    elements: bool = False
    """Also compare the learned elements of all runs in the page, which takes minutes."""

    @property
    def size(self) -> Size:
        """The size that is asked for."""
        if self.small and self.full is not None:
            raise ValueError("--small and --full exclude each other: give one of them")
        return "small" if self.small else "middle" if self.full is None else "full"


def sized(name: Name, size: Size, *, data: Path | None = None) -> Study:
    """Read a study at a size.

    Parameters
    ----------
    name : str
        Of the TOML file beside this one.
    size : {"small", "middle", "full"}
        ``sizes.toml`` may change the base, the seeds and the number of resamples, and leave out
        levels of axes; comparisons that name one of these go with them.
    data : path, optional
        HAM10000, needed for ``full``.

    Raises
    ------
    ValueError
        When ``full`` lacks its data, or the sizes name what the study does not have.
    """
    if size == "full" and data is None:
        raise ValueError("the full study runs on HAM10000: say where it is")
    content = load_study(HERE / f"{name}.toml").model_dump(mode="json")
    changes = tomllib.loads((HERE / "sizes.toml").read_text())[name].get(size, {})
    if size == "full" and data is not None:
        scenes = data_config(data, image_size=64)
        content["base"]["data"] = scenes.model_dump(mode="json")
    for path, value in changes.get("base", {}).items():
        set_path(content["base"], path, value)
    for axis, levels in changes.get("without", {}).items():
        if axis not in content["axes"]:
            raise ValueError(
                f"sizes.toml leaves out levels of {axis!r}, which is no axis of {name}"
            )
        content["constraints"] += [f"{axis} != {level}" for level in levels]
        content["plan"]["comparisons"] = [
            comparison
            for comparison in content["plan"]["comparisons"]
            if not {comparison["first"].get(axis), comparison["second"].get(axis)} & set(levels)
        ]
    content["seeds"] = changes.get("seeds", content["seeds"])
    content["plan"]["resamples"] = changes.get("resamples", content["plan"]["resamples"])
    return Study.model_validate(content)


def judge(ledger: Ledger, folder: Path, *, elements: bool = False) -> StudyReport:
    """Write what a study shows into a folder: report, rows, figure, page."""
    found = report(ledger)
    folder.mkdir(parents=True, exist_ok=True)
    written: Mapping[str, Any] = {
        "report.txt": f"{found}\n",
        "report.json": found.to_json(),
        "rows.csv": to_csv(rows(ledger)),
    }
    for name, text in written.items():
        write_atomically(folder / name, text.encode())
    save_figure(designs_figure(found.designs, metric=found.metric), folder / "designs.png")
    write_study_html(ledger, folder / "study.html", elements=elements)
    return found


def main(options: Options) -> Ledger:
    """Run what is not done yet, judge it, print the report; return the ledger."""
    study = sized(options.study, options.size, data=options.full)
    folder = options.output / f"{options.study}_{options.size}"
    ledger = create_study(study, folder)
    if options.workers:
        run_study(folder, workers=options.workers, device=options.device)
    print(judge(ledger, folder / "found", elements=options.elements))
    print(f"\nfigures and tables are in {folder / 'found'}")
    return ledger


if __name__ == "__main__":
    with without_traceback():
        main(tyro.cli(Options))
