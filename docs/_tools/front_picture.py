"""The picture on the front page: one trained system, opened between its stages.

Trains a Fourier filter, a codec and a classifier as one graph on procedural lesions, and draws
what test lesions look like on every plane. It takes four minutes of one core::

    python docs/_tools/front_picture.py
"""

import io
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
import tyro
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from PIL import Image

import classify
import compress
import joint
import optics
from joint.feed import as_scenes

INK, SOFT = "#1f2933", "#6b7785"
STAGES = {
    "front end": "#4c78a8",
    "sensor": "#59a14f",
    "codec": "#e08214",
    "classifier": "#b5539c",
}


@dataclass(frozen=True)
class Options:
    """Train the system of the front page and draw it."""

    count: int = 1600
    """Procedural lesions."""
    image_size: int = 64
    """Pixels along a side."""
    start: optics.FilterStart = "spiral"
    """Plate from which the filter learns."""
    epochs: int = 14
    """Passes over the training part."""
    photons: float = 2000.0
    """On a pixel at full scale."""
    shown: tuple[str, ...] = ("mel", "bcc", "vasc")
    """Classes of which a lesion is drawn."""
    seed: int = 0
    """Source of all randomness."""
    output: Path = Path("docs/figures/graph.png")
    """The picture."""


def train(options: Options) -> tuple[joint.ImagingSystem, classify.LesionDataset]:
    """One graph from light to label, and the lesions that it has not seen."""
    size = options.image_size
    scenes = classify.LesionPhantom(options.count, size, seed=options.seed, balance=0.0)
    parts = classify.split(scenes, seed=options.seed)
    torch.manual_seed(options.seed)  # of the initial weights
    system = joint.ImagingSystem(
        front_end=optics.FourierFilter(size, options.start),
        sensor=optics.Sensor(options.photons, black_level=10),
        codec=compress.FactorizedCodec(),
        classifier=classify.backbone(classes=len(scenes.classes), image_size=(size, size)),
    )
    joint.fit(
        system,
        parts.train,
        parts.validation,
        objective=joint.Objective(task=1, rate=0.1, distortion=4),
        config=joint.Training(
            epochs=options.epochs,
            learning_rates={"front_end": 2e-2},
            monitor="balanced_accuracy",
            seed=options.seed,
        ),
    )
    return system, parts.test


def draw(
    system: joint.ImagingSystem, test: classify.LesionDataset, options: Options
) -> tuple[Figure, joint.Evaluation]:
    """Planes as columns, the stages between them above, a lesion in each row."""
    result = joint.evaluate(system, test, count_bytes=True)
    assert result.report is not None
    # The first of each class, whatever the classifier says of it.
    index = [
        int(torch.nonzero(test.targets == test.classes.index(name))[0, 0]) for name in options.shown
    ]
    pictures, _ = as_scenes(test.gather(index), torch.device("cpu"))
    with joint.system.evaluating(system), torch.no_grad():
        seen = system(pictures, generator=torch.Generator().manual_seed(options.seed))
    assert isinstance(system.front_end, optics.FourierFilter)
    assert seen.coded is not None
    assert seen.irradiance is not None
    assert seen.logits is not None

    rows = len(index)
    figure = plt.figure(figsize=(12.6, 1.72 * rows + 1.15), dpi=110)
    grid = figure.add_gridspec(
        rows, 7, left=0.012, right=0.992, bottom=0.015, top=1 - 1.3 / (1.72 * rows + 1.15),
        wspace=0.09, hspace=0.16, width_ratios=[1, 1, 1, 1, 1, 1, 0.92],
    )  # fmt: skip
    light = optics.linear_to_srgb((seen.irradiance / seen.irradiance.amax()).clamp(0, 1) ** 0.8)
    bits = seen.coded.bits_map
    columns = {
        0: ("scene", pictures),
        2: ("light on the sensor", light),
        3: ("measurement", seen.measurement),
        4: ("reconstruction", seen.coded.reconstruction),
        5: (f"bits, 0 to {float(bits.max()):.1f} a pixel", bits),
    }
    first = {}
    for column, (title, planes) in columns.items():
        for row in range(rows):
            axis = figure.add_subplot(grid[row, column])
            first.setdefault(column, axis)
            if planes.shape[1] == 3:
                axis.imshow(planes[row].movedim(0, -1).clamp(0, 1).numpy())
            else:
                axis.imshow(planes[row, 0].numpy(), cmap="magma", vmin=0, vmax=float(bits.max()))
            _bare(axis)
            if row == 0:
                axis.set_title(title, fontsize=10, color=INK, pad=4)
    for row, (name, panel, cmap, top) in enumerate(_filter(system.front_end, options.image_size)):
        axis = figure.add_subplot(grid[row, 1])
        first.setdefault(1, axis)
        axis.imshow(panel, cmap=cmap, vmin=0, vmax=top, interpolation="nearest")
        _bare(axis)
        axis.set_title(name, fontsize=10 if row == 0 else 8.5, color=INK, pad=4)
    for row in range(rows):
        axis = figure.add_subplot(grid[row, 6])
        first.setdefault(6, axis)
        _labels(axis, seen.logits[row].softmax(0).numpy(), test.classes, options.shown[row])
    first[6].set_title("label", fontsize=10, color=INK, pad=4)
    throughput = float(system.front_end.throughput().detach())
    says = {
        "front end": (1, 1, f"4f filter, passes {throughput:.0%}"),
        "sensor": (2, 3, f"{options.photons:.0f} photons, 2 e$^-$, 10 bit"),
        "codec": (4, 5, f"{result.bpp_bytes:.2f} bit/pixel in files"),
        "classifier": (6, 6, f"balanced acc. {result.report.balanced_accuracy:.2f}"),
    }
    _strip(figure, first, says)
    return figure, result


def _filter(
    element: optics.FourierFilter, size: int
) -> list[tuple[str, np.ndarray, str, float | None]]:
    """Phase and modulus of its transmission, and what becomes of a point of light."""
    t = element.transmission.detach().numpy()
    point = torch.zeros(1, 3, size, size)
    point[..., size // 2, size // 2] = 1
    with torch.no_grad():
        spread = element(point)[0].mean(0).numpy()
    near = slice(size // 2 - 8, size // 2 + 9)
    return [
        ("phase, 0 to 2π", np.angle(t) % (2 * np.pi), "twilight", 2 * np.pi),
        ("modulus, 0 to 1", np.abs(t), "gray", 1.0),
        ("a point of light, 17 pixels", spread[near, near] ** 0.5, "gray", None),
    ]


def _labels(axis: Axes, p: np.ndarray, classes: tuple[str, ...], true: str) -> None:
    colours = [STAGES["classifier"] if name == true else "#c9d1d9" for name in classes]
    axis.barh(range(len(p)), p, color=colours, height=0.72)
    for place, name in enumerate(classes):
        axis.text(p[place] + 0.03, place, name, va="center", fontsize=7.5,
                  color=INK if name == true else SOFT)  # fmt: skip
    axis.set(xlim=(0, 1.3), ylim=(len(p) - 0.4, -0.6))
    axis.axis("off")


def _strip(figure: Figure, axes: dict[int, Axes], says: dict[str, tuple[int, int, str]]) -> None:
    """The stages, each above what it makes."""
    height = figure.get_figheight()
    top, tall = 1 - 0.1 / height, 0.62 / height
    edges = []
    for (name, (start, stop, told)), colour in zip(says.items(), STAGES.values(), strict=True):
        left, right = axes[start].get_position().x0, axes[stop].get_position().x1
        edges.append((left, right))
        figure.patches.append(
            FancyBboxPatch(
                (left, top - tall), right - left, tall, transform=figure.transFigure,
                boxstyle="round,pad=0,rounding_size=0.008", mutation_aspect=2.2,
                facecolor=colour, edgecolor="none",
            )
        )  # fmt: skip
        middle = (left + right) / 2
        figure.text(middle, top - 0.33 * tall, name, ha="center", va="center",
                    color="white", fontsize=11.5, weight="bold")  # fmt: skip
        figure.text(middle, top - 0.74 * tall, told, ha="center", va="center",
                    color="white", fontsize=8.2)  # fmt: skip
    scene = axes[0].get_position()
    figure.text((scene.x0 + scene.x1) / 2, top - tall / 2, "light", ha="center", va="center",
                color=INK, fontsize=11.5, weight="bold")  # fmt: skip
    ends = [((scene.x0 + scene.x1) / 2 + 0.025, 0), *((right, 0) for _, right in edges)]
    for (start, _), (stop, _) in zip(ends, edges, strict=False):
        figure.patches.append(
            FancyArrowPatch(
                (start + 0.001, top - tall / 2), (stop - 0.001, top - tall / 2),
                transform=figure.transFigure, arrowstyle="-|>", mutation_scale=9,
                color=INK, shrinkA=0, shrinkB=0, linewidth=1.2,
            )
        )  # fmt: skip


def _bare(axis: Axes) -> None:
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set_visible(False)


def main(options: Options) -> None:
    """Train, draw, and print the numbers that the picture shows."""
    system, test = train(options)
    figure, result = draw(system, test, options)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=110)
    # 256 colours: a third of the bytes, and no difference to be seen.
    few = Image.open(drawn).convert("RGB").quantize(256, method=Image.Quantize.MEDIANCUT)
    few.save(options.output, optimize=True)
    assert result.report is not None
    print(
        f"{len(test)} test lesions: balanced accuracy {result.report.balanced_accuracy:.3f}, "
        f"{result.bpp_bytes:.3f} bit/pixel in files, throughput {result.throughput:.3f}"
    )


if __name__ == "__main__":
    main(tyro.cli(Options))
