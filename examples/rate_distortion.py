"""Rate against distortion, for every codec of the library.

Files with files, on the same pictures. Trains what can be trained (the learned codecs with one
model for all rates, JPEG's tables, the autoencoders), codes the test pictures at several settings,
counts bytes with their headers, and compares by Bjontegaard's rate difference. Writes
``rate_distortion.png`` and ``.json``.

On phantoms it takes three minutes; on all of HAM10000, two hours on one core::

    python examples/rate_distortion.py --data ham10000.zip --image-size 128 --epochs 24

.. figure:: /figures/ham10000_rate_distortion.png
   :alt: PSNR against bits per pixel of eight codecs

   HAM10000 at 128x128 pixels, 1000 test pictures; :doc:`what it shows </rate_distortion>`.
"""

# sphinx_gallery_thumbnail_path = 'figures/ham10000_rate_distortion.png'

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
import tyro
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

import classify
import compress
from joint import ImagingSystem, Objective, Training, build_data, data_config, fit
from joint.feed import as_scenes
from joint.panel.look import COLOURS, open_axis
from joint.script import without_traceback

Family = Literal["hyperprior", "factorized", "learned JPEG", "autoencoder", "k-means",
                 "WebP", "AVIF", "JPEG 2000", "JPEG"]  # fmt: skip
FAMILIES: tuple[Family, ...] = get_args(Family)
#: A family looks the same whatever else is drawn; black is what the others are compared with.
_LOOKS: dict[str, tuple[str, str]] = dict(
    zip(FAMILIES, zip((*COLOURS, "grey", "black"), "osD^vP*X<", strict=True), strict=True)
)


@dataclass(frozen=True)
class Options:
    """Draw rate-distortion curves of codecs, trained and classical."""

    data: str = "phantom"
    """phantom, or the path of HAM10000 (folder or zip) or of other scenes."""
    limit: int | None = None
    """Use only this many pictures; 800 phantoms by default."""
    image_size: int = 64
    """Pixels along a side."""
    epochs: int = 32
    """Epochs of the learned codecs; the others take a quarter as many."""
    size: compress.Size = "small"
    """Size of the learned codecs; large is for a GPU."""
    families: tuple[Family, ...] = FAMILIES
    """What is compared; JPEG is always."""
    device: str = "cpu"
    """Where to train and to code."""
    seed: int = 0
    """Source of all randomness."""
    resume: bool = False
    """Continue interrupted trainings in the output folder, and keep finished ones."""
    output: Path = Path("runs/rate_distortion")
    """Folder of the runs, the figure and the numbers."""


# %%
# A family is a curve: one model with five qualities, one model a point, or settings of an encoder.
def settings(
    family: Family,
    options: Options,
    training_set: classify.LesionDataset,
    validation_set: classify.LesionDataset,
) -> Iterator[compress.Codec]:
    """The codecs of a family, trained, one for each point of its curve."""

    def train(name: str, codec: compress.Codec, objective: Objective, epochs: int) -> None:
        config = Training(
            epochs=max(epochs, 1), batch_size=16, weight_decay=0, gradient_clip=1, seed=options.seed
        )
        folder = options.output / name.replace(" ", "_")
        fit(ImagingSystem(codec=codec), training_set, validation_set, objective=objective,
            config=config, directory=folder, resume=options.resume,
            device=options.device)  # fmt: skip

    if family in ("hyperprior", "factorized"):
        kind = {"hyperprior": compress.HyperpriorCodec, "factorized": compress.FactorizedCodec}
        codec = kind[family](options.size, levels=5, level_ratio=3)
        train(family, codec, Objective.rate_distortion(0.008), options.epochs)
        for quality in range(5):
            codec.quality = quality
            yield codec
    elif family == "learned JPEG":
        for quality, price in ((5, 5e-4), (15, 2e-3), (35, 8e-3), (60, 2e-2)):
            codec = compress.DifferentiableJPEG(quality, trainable=True)
            objective = Objective.rate_distortion(price)
            train(f"{family} {quality}", codec, objective, options.epochs // 4)
            yield codec
    elif family == "autoencoder":
        for ratio in (6, 3, 1.5):
            codec = compress.Autoencoder(ratio)
            train(f"{family} {ratio}", codec, Objective(task=0, distortion=1), options.epochs // 4)
            codec.latent_bits = 6
            yield codec
    elif family == "k-means":
        yield from (compress.KMeansCodec(colors) for colors in (2, 4, 8, 16, 32))
    else:
        classical = {
            "WebP": [compress.WebP(q, method=6) for q in (1, 5, 10, 20, 35, 50, 75, 85, 92)],
            "AVIF": [compress.AVIF(q, speed=4) for q in (5, 10, 20, 30, 40, 50, 60, 70)],
            "JPEG 2000": [compress.JPEG2000(rate) for rate in (80, 60, 45, 35, 25, 18)],
            "JPEG": [compress.JPEG(q) for q in (5, 10, 15, 20, 30, 40, 50, 60, 75, 85)],
        }
        yield from classical[family]


# %%
# All curves, and how they differ in rate at equal PSNR. Bytes are counted with their headers, and
# fidelity after rounding to 8 bits.
def main(options: Options) -> dict[str, compress.RateCurve]:
    """Train, measure, compare; return the curve of each family."""
    source = data_config(options.data, image_size=options.image_size)
    if options.limit or source.kind == "phantom":
        name = "count" if source.kind == "phantom" else "limit"
        source = source.model_copy(update={name: options.limit or 800})
    train, validation, test = classify.split(build_data(source, progress=True), seed=options.seed)
    torch.manual_seed(options.seed)  # of the initial weights; all else has seeds of its own
    pictures, _ = as_scenes(test.gather(torch.arange(len(test))), torch.device(options.device))
    curves = {}
    for family in dict.fromkeys((*options.families, "JPEG")):
        codecs = settings(family, options, train, validation)
        ready = (codec.eval().to(options.device) for codec in codecs)
        curves[family] = compress.rate_curve(family, ready, pictures)
    anchors = [name for name in ("JPEG", "WebP") if name in curves]
    heads = ("bit/pixel", "PSNR, dB", *(f"than {name}" for name in anchors))
    print(f"\nTest set, {len(test)} pictures; at the right: + more or - fewer bits at equal PSNR")
    print(f"{'':<13}" + "".join(f"{head:>15}" for head in heads))
    differences = {}
    notes: dict[str, int] = {}
    for family, curve in curves.items():
        versus = {name: _difference(curve, curves[name]) for name in anchors}
        differences[family] = versus
        span = f"{min(curve.quality):.1f}-{max(curve.quality):.1f}"
        cells = [f"{curve.rate[0]:.3f}-{curve.rate[-1]:.3f}", span]
        for change in versus.values():
            cell, _, why = change.partition(" (")
            cells.append(f"{cell} [{notes.setdefault(why, len(notes) + 1)}]" if why else cell)
        print(f"{family:<13}" + "".join(f"{cell:>15}" for cell in cells))
    for why, number in notes.items():
        print(f"[{number}] {why.removesuffix(')')}")
    options.output.mkdir(parents=True, exist_ok=True)
    numbers = {
        name: asdict(curve) | {"bd_rate": differences[name]} for name, curve in curves.items()
    }
    (options.output / "rate_distortion.json").write_text(json.dumps(numbers, indent=2) + "\n")
    _draw(curves, len(test)).savefig(options.output / "rate_distortion.png", dpi=120)
    return curves


def _difference(curve: compress.RateCurve, anchor: compress.RateCurve) -> str:
    """Bjontegaard's rate difference in percent, or why there is none."""
    try:
        return f"{curve.bd_rate(anchor, minimum_overlap=0.2):+.1f} %"
    except ValueError as error:
        return f"none ({str(error).split(':')[0]})"


def _draw(curves: dict[str, compress.RateCurve], count: int) -> Figure:
    figure = Figure(figsize=(8.4, 5), layout="constrained")
    axes = figure.subplots()
    for name, curve in curves.items():
        colour, marker = _LOOKS[name]
        axes.plot(curve.rate, curve.quality, f"{marker}-", ms=5, lw=1.2, color=colour, label=name)
    axes.set(xscale="log", xlabel="bits per pixel of the file, header included",
             ylabel="PSNR, dB", title=f"{count} test pictures")  # fmt: skip
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    open_axis(axes)
    axes.legend(fontsize=9, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


if __name__ == "__main__":
    with without_traceback():
        main(tyro.cli(Options))
