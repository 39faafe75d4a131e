"""The procedural dermoscope, and how like HAM10000 it is.

Draws a lesion of each class with its pigments and in other light, plots the spectra behind it, and
prints how far each class stands out against its skin, beside the real one. Writes ``phantom.png``.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from matplotlib.figure import Figure
from scipy.ndimage import distance_transform_edt
from skimage.color import deltaE_ciede2000, rgb2lab, rgb2xyz

import classify
from classify.data.phantom import phantom_maps
from joint.figure import save_figure
from joint.panel.look import looks, open_axis
from joint.script import without_traceback

NAMES = ("Weber", "gCNR", "dE00", "skin L*", "a*", "b*", "area")

# Medians of HAM10000, up to 250 pictures of a class, 200x150 pixels, with its masks.
REAL = {
    "akiec": (-0.225, 0.490, 7.9, 71, 17, 2, 0.41),
    "bcc": (-0.232, 0.559, 8.1, 73, 15, 1, 0.23),
    "bkl": (-0.314, 0.674, 11.6, 67, 13, -1, 0.28),
    "df": (-0.293, 0.725, 9.4, 71, 17, 4, 0.28),
    "mel": (-0.537, 0.846, 22.1, 69, 14, -1, 0.31),
    "nv": (-0.505, 0.890, 18.6, 68, 28, 6, 0.23),
    "vasc": (-0.516, 0.899, 19.5, 69, 21, 2, 0.10),
}

# Melanin, dermal melanin, blood.
SKINS = {
    "light skin": (0.03, 0.0, 0.006),
    "medium skin": (0.13, 0.0, 0.006),
    "dark skin": (0.30, 0.0, 0.006),
    "naevus": (0.10, 0.0, 0.012),
    "blue naevus": (0.03, 0.04, 0.006),
    "angioma": (0.03, 0.0, 0.15),
}


@dataclass(frozen=True)
class Options:
    """Draw phantoms of every class and measure their contrast."""

    count: int = 1050
    """Pictures to measure."""
    image_size: int = 128
    """Pixels along a side."""
    difficulty: float = 0.5
    """0 to 1."""
    seed: int = 0
    """Source of all randomness."""
    output: Path = Path("runs/phantom")
    """Folder of the figure."""


# %%
# How visible a lesion is: its pixels against those of a ring of skin, 2 to 10 of the 150 pixels
# of HAM10000's frame away. Weber's contrast and gCNR (1 less the overlap of the histograms) are of
# luminance; dE00 is of the mean colours.
def visible(item: classify.Lesion) -> list[float]:
    """Weber contrast, gCNR, dE00, L*, a* and b* of the skin, share of the frame."""
    assert item.mask is not None
    codes, mask = item.image.permute(1, 2, 0).numpy() / 255, item.mask.numpy()
    away = np.asarray(distance_transform_edt(~mask)) * 150 / len(mask)
    ring = (away >= 2) & (away <= 10)
    light, lab = np.asarray(rgb2xyz(codes))[..., 1], rgb2lab(codes)
    seen = light[mask | ring]
    bins = np.linspace(seen.min(), seen.max(), 65)
    lesion, skin = (np.histogram(light[part], bins)[0] / part.sum() for part in (mask, ring))
    colours, overlap = (lab[mask].mean(0), lab[ring].mean(0)), np.minimum(lesion, skin).sum()
    weber = light[mask].mean() / light[ring].mean() - 1
    return [weber, 1 - overlap, float(deltaE_ciede2000(*colours)), *colours[1], mask.mean()]


def table(dataset: classify.LesionDataset) -> dict[str, np.ndarray]:
    """Print the medians of each class and the real ones; return those of the phantom."""
    found, labels = np.array([visible(item) for item in dataset]), dataset.labels.numpy()
    medians = {}
    print("| phantom / real | " + " | ".join(NAMES) + " |\n" + "|---" * (len(NAMES) + 1) + "|")
    for label, name in enumerate(dataset.classes):
        medians[name] = ours = np.median(found[labels == label], 0)
        digits = (2, 2, 1, 0, 0, 0, 2)
        cells = zip(ours, REAL[name], digits, strict=True)
        print(f"| {name} | " + " | ".join(f"{a:.{d}f} / {b:.{d}f}" for a, b, d in cells) + " |")
    return medians


# %%
# A row for each class: the picture, the same lesion seen otherwise, and what is true of it.
def draw(options: Options) -> Figure:
    """The figure."""
    size, seed, hard = options.image_size, options.seed, options.difficulty
    plain = classify.LesionPhantom(40, size, seed=seed, difficulty=hard, balance=0.0)
    rows = [int(torch.nonzero(plain.labels == label)[0]) for label in range(len(plain.classes))]
    maps = phantom_maps(rows, size, seed=seed, difficulty=hard, balance=0.0)

    def seen(**look: Any) -> torch.Tensor:  # noqa: ANN401
        scenes = classify.LesionPhantom(40, size, seed=seed, difficulty=hard, balance=0.0, **look)
        return scenes.gather(rows).images.expand(-1, 3, -1, -1).permute(0, 2, 3, 1)

    columns = {
        "picture": (seen(), None),
        "contrast 0.4": (seen(contrast=0.4), None),
        "medium skin": (seen(skin="medium"), None),
        "blur 0.2 mm": (seen(blur=2e-4), None),
        "550 nm": (seen(wavelengths=[550e-9]), None),
        "940 nm": (seen(wavelengths=[940e-9]), None),
        "melanin": (maps.melanin, 0.2),
        "dermal melanin": (maps.dermal, 0.06),
        "blood": (maps.blood, 0.1),
        "keratin": (maps.keratin, 0.5),
        "structures": (maps.structures.amax(1), 1.0),
    }
    figure = Figure(figsize=(14, 11.5), layout="constrained")
    grid = figure.add_gridspec(len(rows) + 1, len(columns), height_ratios=[1] * len(rows) + [1.6])
    for line, name in enumerate(plain.classes):
        for place, (title, (values, top)) in enumerate(columns.items()):
            axis = figure.add_subplot(grid[line, place])
            axis.imshow(values[line].numpy(), "magma", vmin=0, vmax=top)
            axis.set(xticks=[], yticks=[], ylabel=name if place == 0 else "")
            scale = "" if top is None else f"\n0 to {top:g}"  # of magma, black to white
            axis.set_title(title + scale if line == 0 else "", fontsize=9)
            if place == 0:
                axis.contour(maps.mask[line].numpy(), [0.5], colors="white", linewidths=0.6)
    spectra, nm = figure.add_subplot(grid[-1, :]), np.arange(400, 1001, 2)
    for (name, skin), look in zip(SKINS.items(), looks(len(SKINS)), strict=True):
        light = classify.skin_reflectance(*skin, 0.0, wavelengths=list(nm * 1e-9))
        style = {"color": look.colour, "marker": look.marker, "markevery": 25, "ms": 4}
        spectra.plot(nm, light.numpy(), label=name, **style)
    spectra.set(xlabel="wavelength, nm", ylabel="reflectance", xlim=(400, 1000), ylim=(0, None))
    open_axis(spectra)
    spectra.legend(
        ncols=6, fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.25), frameon=False
    )
    return figure


def main(options: Options) -> dict[str, np.ndarray]:
    """Write the figure, print the table and return its medians."""
    size, seed, hard = options.image_size, options.seed, options.difficulty
    measured = classify.LesionPhantom(options.count, size, seed=seed, difficulty=hard, balance=0.0)
    if not measured.counts.all():
        raise ValueError(f"--count {options.count} has no picture of some class: give more")
    options.output.mkdir(parents=True, exist_ok=True)
    save_figure(draw(options), options.output / "phantom.png", dpi=80, colours=256)
    return table(measured)


# %%
# A row for each class, then the reflectance of the pigments behind them.
if __name__ == "__main__":
    with without_traceback():
        main(tyro.cli(Options))
