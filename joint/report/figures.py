"""The figures of a page as separate files, for slides and print.

::

    with figures_in("plots"):
        write_report(runs, "report.html")    ──► plots/01-mean-psf-of-the-camera.pdf, 02-...
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FigureFormat", "figures_in", "write_if_asked"]

FigureFormat = Literal["pdf", "svg", "png"]

_LONGEST = 60  # characters of a file name


class _Folder:
    """Folder for figures, and the number of figures written there."""

    def __init__(self, path: Path, ending: FigureFormat) -> None:
        self.path, self.ending, self.count = path, ending, 0

    def keep(self, figure: "Figure", shows: str) -> None:
        from joint.figure.file import save_figure  # noqa: PLC0415 - pages are made without it

        self.count += 1
        words = " ".join(re.findall("[a-z0-9]+", shows.lower()))
        name = shorten(words, _LONGEST, placeholder="").replace(" ", "-")
        save_figure(figure, self.path / f"{self.count:02}-{name}.{self.ending}", dpi=200)


_FOLDER: ContextVar[_Folder | None] = ContextVar("figures of a page", default=None)


@contextmanager
def figures_in(folder: Path | str, *, ending: FigureFormat = "pdf") -> Iterator[None]:
    """Also write each figure of the pages made within a ``with`` block to a file of its own.

    This works for :func:`joint.report.write_report` and :func:`joint.study.write_study_html`. The
    files are numbered in the order of the page and named after what they show.

    Parameters
    ----------
    folder : path
        Folder for the files. It is created if missing; files of the same names are replaced.
    ending : {"pdf", "svg", "png"}
        ``pdf`` and ``svg`` hold scalable lines and text, ``png`` pixels, 200 per inch.

    Returns
    -------
    context manager
        For a ``with`` block. Pages that other threads make are not included.

    Raises
    ------
    ValueError
        For another ending, or a folder that is a file.
    CheckpointError
        When a file cannot be written.
    """
    if ending not in get_args(FigureFormat):
        raise ValueError(f"figures are written as pdf, svg or png, not as {ending!r}")
    path = Path(folder)
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path} is a file: name a folder for the figures")
    before = _FOLDER.set(_Folder(path, ending))
    try:
        yield
    finally:
        _FOLDER.reset(before)


def write_if_asked(figure: "Figure", shows: str) -> None:
    """Write a figure to a file within a block of :func:`figures_in`; otherwise do nothing."""
    folder = _FOLDER.get()
    if folder is not None:
        folder.keep(figure, shows)
