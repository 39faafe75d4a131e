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
    """Write a figure to a file, which appears only when it is complete.

    Parameters
    ----------
    figure : Figure
        Figure to write.
    path : path
        File to write: ``.png`` for pixels, ``.pdf`` or ``.svg`` for scalable lines and text. No
        date is stored, so drawing the same figure again gives the same file.
    dpi : int
        Pixels per inch: of a whole PNG, otherwise of the pictures within the figure.
    colours : int, optional
        Number of colours in a palette, at most 256, for a PNG only. A palette takes a third of the
        bytes if the figure holds many pictures. With 256 colours, shades of pictures change by 1 to
        3 units of CIEDE2000 in the mean, visible only next to the original. By default all colours
        are kept.

    Raises
    ------
    ValueError
        For a path with another ending, or ``colours`` with a file that is not a PNG.
    """
    path = Path(path)
    write = _WRITERS.get(path.suffix.lower())
    if write is None:
        raise ValueError(f"a figure is written to {', '.join(_WRITERS)}, not to {path.name!r}")
    if colours is not None and write is not _png:
        raise ValueError(f"colours apply to a .png only, not to {path.name!r}")
    write_atomically(path, write(figure, dpi, colours))


def _png(figure: Figure, dpi: int, colours: int | None) -> bytes:
    drawn, content = io.BytesIO(), io.BytesIO()
    # Read again at once: to compress it takes longer than to draw it.
    figure.savefig(drawn, format="png", dpi=dpi, pil_kwargs={"compress_level": 0})
    # The figure is opaque, and an alpha channel would take an eighth of the bytes.
    picture = Image.open(drawn).convert("RGB")
    if colours is not None:
        # Median cut, then moved to the means; dithering would add noise and triple the bytes.
        picture = picture.quantize(
            colours, Image.Quantize.MEDIANCUT, kmeans=1, dither=Image.Dither.NONE
        )
    picture.save(content, format="png", optimize=True)
    return content.getvalue()


def _pdf(figure: Figure, dpi: int, colours: int | None) -> bytes:
    content = io.BytesIO()
    # Fonts that publishers accept, and text that can be searched.
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
