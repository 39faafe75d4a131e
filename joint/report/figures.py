"""The figures of a page as files of their own, for slides and print.

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

__all__ = ["FigureFormat", "figures_in", "tell"]

FigureFormat = Literal["pdf", "svg", "png"]

_LONGEST = 60  # letters of a name


class _Folder:
    """Where figures go, and how many went there."""

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
    """Also write the figures of the pages that are made in the block, each to a file of its own.

    Of :func:`joint.report.write_report` and :func:`joint.study.write_study_html`. The files are
    numbered as they stand on the page, and named by what they show.

    Parameters
    ----------
    folder : path
        Where they go; made if it is not there, and files of these names are replaced.
    ending : {"pdf", "svg", "png"}
        Lines and text that print can scale, or pixels, 200 an inch.

    Returns
    -------
    context manager
        Of the block; pages that other threads make are not looked at.

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


def tell(figure: "Figure", shows: str) -> None:
    """Write a figure, where a block of :func:`figures_in` asks for it."""
    folder = _FOLDER.get()
    if folder is not None:
        folder.keep(figure, shows)
