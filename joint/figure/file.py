"""A figure as a file."""

import io
from collections.abc import Callable
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure
from PIL import Image

from joint.saved.checkpoint import write_atomically

__all__ = ["save_figure"]


def save_figure(
    figure: Figure, path: Path | str, *, dpi: int = 110, colours: int | None = None
) -> None:
    """Write a figure, whole or not at all.

    Parameters
    ----------
    figure : Figure
        What is written.
    path : path
        Of the file: ``.png`` for pixels, ``.pdf`` or ``.svg`` for lines and text that a page of
        print can scale. A figure that is drawn anew is the same file, without a date.
    dpi : int
        Pixels an inch: of all in a PNG, else of what is a picture in the figure.
    colours : int, optional
        Of a PNG, at most 256: a palette of so many, a third of the bytes where a figure holds many
        pictures. Of 256, shades of pictures move by 1 to 3 units of CIEDE2000 in the mean, to be
        seen beside the original only. All colours are kept by default.

    Raises
    ------
    ValueError
        For a path that ends in something else, or ``colours`` where it is no PNG.
    """
    path = Path(path)
    write = _WRITERS.get(path.suffix.lower())
    if write is None:
        raise ValueError(f"a figure is written to {', '.join(_WRITERS)}, not to {path.name!r}")
    if colours is not None and write is not _png:
        raise ValueError(f"colours are those of a .png, and {path.name!r} is none")
    write_atomically(path, write(figure, dpi, colours))


def _png(figure: Figure, dpi: int, colours: int | None) -> bytes:
    drawn, content = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=dpi)
    # Nothing of it is transparent, and to say so of each pixel is an eighth of the bytes.
    picture = Image.open(drawn).convert("RGB")
    if colours is not None:
        # Cut at medians, then moved to the means; dither would be noise, and three times the bytes.
        picture = picture.quantize(
            colours, Image.Quantize.MEDIANCUT, kmeans=1, dither=Image.Dither.NONE
        )
    picture.save(content, format="png", optimize=True)
    return content.getvalue()


def _pdf(figure: Figure, dpi: int, colours: int | None) -> bytes:
    content = io.BytesIO()
    # As fonts that a publisher takes, and text that can be searched.
    with rc_context({"pdf.fonttype": 42}):
        figure.savefig(content, format="pdf", dpi=dpi, metadata={"CreationDate": None})
    return content.getvalue()


def _svg(figure: Figure, dpi: int, colours: int | None) -> bytes:
    content = io.BytesIO()
    with rc_context({"svg.hashsalt": "lens2label"}):
        figure.savefig(content, format="svg", dpi=dpi, metadata={"Date": None})
    return content.getvalue()


_WRITERS: dict[str, Callable[[Figure, int, int | None], bytes]] = {
    ".png": _png,
    ".pdf": _pdf,
    ".svg": _svg,
}
