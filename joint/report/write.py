"""Write the page from run folders."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from joint.device import usable_device
from joint.saved.checkpoint import check_writable, write_atomically

from .compare import comparison
from .page import Html, contents, note, page, section
from .saved import read_runs
from .scenes import Measuring, coded_pixels, load_scenes
from .sections import LONG, run_sections, sections_of

__all__ = ["report_html", "teller", "write_report"]

_LEFT_OUT = (
    f"This is a quick report. It leaves out: {', '.join(map(str.lower, LONG))}, lesions at other "
    "contrasts, distances and motions one by one, and file bytes in the cost of a picture."
)


def report_html(
    runs: Sequence[Path | str],
    *,
    names: Sequence[str] | None = None,
    quick: bool = False,
    pictures: int = 500,
    resamples: int = 1000,
    batch_size: int = 64,
    device: str = "cpu",
    progress: bool = False,
) -> str:
    """Make the page of one run, or of several side by side.

    Parameters
    ----------
    runs : sequence of path
        Folders of finished runs. If there are several, each is compared with the first.
    names : sequence of str, optional
        Names of the runs on the page. By default those of their folders, or paths where two would
        be the same.
    quick : bool
        Leave out what evaluates the system many times: where accuracy is lost, robustness, optimal
        images, information on the class at each plane, lesions at other contrasts, distances and
        motions one by one. Do not write every picture with the codec to count bytes. The page
        says so at its beginning.
    pictures : int
        Largest number of pictures of the test part, drawn at random, for contrast, rate by region,
        costs, losses and robustness. The classification uses all test pictures.
    resamples : int
        Bootstrap resamples of the lesions, for the intervals.
    batch_size : int
        Pictures per forward pass.
    device : str
        Device to compute on.
    progress : bool
        Print on standard error which part is being made, one line for each.

    Returns
    -------
    str
        A complete HTML document that loads nothing else. If the scenes of a run are not available,
        the parts that need them say so.

    Raises
    ------
    ValueError
        Without a run, when one is given twice, for a wrong number of names, for a number below 1,
        or for a device that is not there.
    ConfigError, CheckpointError
        When a folder is not a run folder, its run is not done, or a file in it is damaged.
    """
    for name, value in (
        ("pictures", pictures),
        ("resamples", resamples),
        ("batch_size", batch_size),
    ):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
    usable_device(device)
    how = Measuring(quick, pictures, resamples, batch_size, device)
    # Steps: the intervals, a comparison if there are several runs, and per run scenes and parts.
    steps = 1 + (len(runs) > 1) + len(runs) * (1 + len(sections_of(how)))
    say = teller(steps, progress=progress)
    say("the intervals of the classification")
    saved = read_runs(runs, names=names, resamples=resamples)
    anchors = [f"run-{number}" for number in range(1, len(saved) + 1)]
    parts: list[Html] = [note(_LEFT_OUT)] if quick else []
    several = len(saved) > 1
    pixels: dict[str, int] = {}
    sections: list[Html] = []
    for run, anchor in zip(saved, anchors, strict=True):
        about = f"{run.name}: " if several else ""
        # One run after the other, so that only one data set is in memory at a time.
        say(f"{about}the scenes")
        scenes = load_scenes(run, how)
        if several and not isinstance(scenes, str) and run.test.get("bpp") is not None:
            pixels[run.name] = coded_pixels(scenes)
        whole = run_sections(run, scenes, how, begin=lambda title, about=about: say(about + title))
        sections.append(section(run.name, whole, level=2, anchor=anchor) if several else whole)
    if several:
        links = [("comparison", "Comparison"), *zip(anchors, (r.name for r in saved), strict=True)]
        parts.append(contents(links))
        say("the comparison of the runs")
        compared = comparison(saved, pixels=pixels, resamples=resamples)
        parts.append(section("Comparison", *compared, level=2, anchor="comparison"))
    parts += sections
    parts.append(
        note(
            "This page shows pictures of the data sets of its runs and names pictures and lesions: "
            "pass it on only where the data may be passed on. Made by lens2label."
        )
    )
    title = saved[0].name if len(saved) == 1 else f"{len(saved)} runs side by side"
    return page(f"lens2label: {title}", *parts)


def teller(steps: int, *, progress: bool) -> Callable[[str], None]:
    """Function that prints on standard error which of so many steps begins; or does nothing."""
    numbers = iter(range(1, steps + 1))

    def say(what: str) -> None:
        if progress:
            print(f"report {next(numbers)}/{steps}: {what}", file=sys.stderr, flush=True)

    return say


def write_report(
    runs: Sequence[Path | str],
    path: Path | str,
    *,
    names: Sequence[str] | None = None,
    quick: bool = False,
    pictures: int = 500,
    resamples: int = 1000,
    batch_size: int = 64,
    device: str = "cpu",
    progress: bool = False,
) -> None:
    """Write :func:`report_html` to a file; the file appears only when it is complete.

    Parameters
    ----------
    runs : sequence of path
    path : path
        File of the page; a missing folder is created.
    names, quick, pictures, resamples, batch_size, device, progress : as in :func:`report_html`

    Raises
    ------
    ValueError
        As :func:`report_html`, and when ``path`` is a folder, before anything is measured.
    ConfigError, CheckpointError
        As :func:`report_html`, and when the file cannot be written, which is checked first.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(
            f"{path} is a folder: give the name of a file, such as {path / 'report.html'}"
        )
    check_writable(path)
    text = report_html(
        runs,
        names=names,
        quick=quick,
        pictures=pictures,
        resamples=resamples,
        batch_size=batch_size,
        device=device,
        progress=progress,
    )
    write_atomically(path, text.encode())
