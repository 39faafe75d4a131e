"""A figure as a file."""

import io
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from joint.checkpoint import write_atomically

__all__ = ["save_figure"]


def save_figure(
    figure: Figure, path: Path | str, *, dpi: int = 110, colours: int | None = None
) -> None:
    """Write a PNG, whole or not at all.

    Parameters
    ----------
    figure : Figure
        What is written.
    path : path
        Of the file.
    dpi : int
        Pixels an inch.
    colours : int, optional
        At most 256: a palette of so many, a third of the bytes where a figure holds many pictures.
        Of 256, shades of pictures move by 1 to 3 units of CIEDE2000 in the mean, to be seen beside
        the original only. All colours are kept by default.
    """
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
    write_atomically(Path(path), content.getvalue())
