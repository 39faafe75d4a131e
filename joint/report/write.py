"""From run folders to a page."""

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
    f"A quick report. Left out: {', '.join(map(str.lower, LONG))}, lesions at other contrasts, "
    "distances and motions one by one, and the bytes of files where a picture's cost is told."
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
    """Make the page of one run, or of several beside one another.

    Parameters
    ----------
    runs : sequence of path
        Run folders that are done. Of several, each is compared with the first.
    names : sequence of str, optional
        What the page calls them; as their folders by default, or where two would be alike.
    quick : bool
        Leave out what evaluates the system many times: where accuracy is lost, robustness, optimal
        images, what can be told of the class at each plane, lesions at other contrasts, distances
        and motions one by one. Do not write every picture with the codec to count bytes. The page
        begins with a line on it.
    pictures : int
        Contrast, rate by region, costs, losses and robustness are measured on at most so many
        pictures of the test part, drawn at random; the classification is of all of them.
    resamples : int
        Bootstrap resamples of the lesions, for the intervals.
    batch_size : int
        Pictures in one pass.
    device : str
        Where to compute.
    progress : bool
        Say on the standard error what is being made, a line for each part.

    Returns
    -------
    str
        A whole HTML document that needs nothing else. Where the scenes of a run are not at hand,
        the parts that need them say so.

    Raises
    ------
    ValueError
        Without a run, with one that is given twice, for another number of names, for a number
        below 1, or a device that is not there.
    ConfigError, CheckpointError
        When a folder is no run, its run is not done, or a file in it is damaged.
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
    # The intervals, a comparison of several runs, and of each run its scenes and its parts.
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
        # One after the other, so that the pictures of one data set are in memory at a time.
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
            "This page holds pictures of the data sets of its runs, and names of pictures and "
            "lesions: pass it on only where they may be. Made by lens2label."
        )
    )
    title = saved[0].name if len(saved) == 1 else f"{len(saved)} runs side by side"
    return page(f"lens2label: {title}", *parts)


def teller(steps: int, *, progress: bool) -> Callable[[str], None]:
    """Says on the standard error which of so many steps begins, in words; or nothing."""
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
    """Write :func:`report_html` to a file, whole or not at all.

    Parameters
    ----------
    runs : sequence of path
    path : path
        The file; a folder that is not there is made.
    names, quick, pictures, resamples, batch_size, device, progress : as in :func:`report_html`

    Raises
    ------
    ValueError
        As :func:`report_html`, and when ``path`` is a folder, before anything is measured.
    ConfigError, CheckpointError
        As :func:`report_html`, and when the file cannot be written, which is tried first.
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
