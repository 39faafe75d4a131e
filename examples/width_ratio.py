"""What 6X, 3X and 1.5X are in bytes.

The study behind this library names its autoencoders by elements of the picture per element of the
latent. Here they are trained as there, by the mean absolute error, and written to files: with the
continuous latent that they have, and with latents of 8 and 4 bits, entropy-coded. Beside them stand
lossless PNG, and the smallest files of JPEG and of k-means palettes that are as good as the best of
the autoencoders, or better.
Writes ``width_ratio.png``.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from matplotlib.figure import Figure

import classify
import compress
from joint import ImagingSystem, Objective, Training, build_data, data_config, fit
from joint.feed import as_scenes
from joint.panel.look import COLOURS
from joint.script import without_traceback


@dataclass(frozen=True)
class Options:
    """Train the three autoencoders of the study and count their bytes."""

    data: str = "phantom"
    """phantom, or the path of HAM10000 (folder or zip) or of other scenes."""
    limit: int = 700
    """Pictures."""
    image_size: int = 64
    """Pixels along a side."""
    epochs: int = 25
    """Epochs of each autoencoder; the study took 50."""
    device: str = "cpu"
    """Where to train."""
    seed: int = 0
    """Source of all randomness."""
    output: Path = Path("runs/width_ratio")
    """Folder of the figure."""


@dataclass(frozen=True)
class Row:
    """One way to write the test pictures."""

    name: str
    size: float
    """Mean bytes of a file."""
    psnr: float
    """Mean, dB; infinite where nothing is lost."""
    shown: torch.Tensor
    """The first picture, decoded ``[C, H, W]``."""


# %%
# Every way to write a picture is judged alike: the bytes of its file, and what it decodes to.
def count(name: str, codec: compress.Codec, scenes: torch.Tensor) -> Row:
    """Write the pictures, read them back, and measure both."""
    files = codec.eval().compress(scenes)
    decoded = (255 * codec.decompress(files).to(scenes)).round() / 255
    size = sum(map(len, files)) / len(files)
    return Row(name, size, float(compress.psnr(decoded, scenes).mean()), decoded[0].cpu())


def at_least(quality: float, name: str, codecs: list[compress.Codec], scenes: torch.Tensor) -> Row:
    """The first of the codecs, cheapest first, that is as good; or the last, which is not."""
    for codec in codecs:
        # Its poorest may be better by far.
        row = count(f"{name}, {'poorest' if codec is codecs[0] else 'as good'}", codec, scenes)
        if row.psnr >= quality:
            return row
    return count(f"{name}, at its best", codecs[-1], scenes)


# %%
# Train the three autoencoders; write them with float, 8-bit and 4-bit latents.
def main(options: Options) -> list[Row]:
    """Train, write, compare; return the rows of the table."""
    source = data_config(options.data, image_size=options.image_size)
    name = "count" if source.kind == "phantom" else "limit"
    train, validation, test = classify.split(
        build_data(source.model_copy(update={name: options.limit}), progress=True),
        seed=options.seed,
    )
    torch.manual_seed(options.seed)  # of the initial weights
    index = torch.arange(min(len(test), 64))
    scenes, _ = as_scenes(test.gather(index), torch.device(options.device))
    rows = []
    for ratio in (6, 3, 1.5):
        codec = compress.Autoencoder(ratio)
        fit(
            ImagingSystem(codec=codec),
            train,
            validation,
            objective=Objective(task=0, distortion=1, distortion_kind="mae"),
            config=Training(epochs=options.epochs, batch_size=32, seed=options.seed),
            device=options.device,
        )
        rows.append(count(f"{ratio:g}X, as trained", codec, scenes))
        for bits in (8, 4):
            codec.latent_bits = bits
            rows.append(count(f"{ratio:g}X, {bits} bit latent", codec, scenes))
    best = max(row.psnr for row in rows)
    jpegs: list[compress.Codec] = [compress.JPEG(q) for q in (1, *range(5, 96, 5), 97, 99, 100)]
    palettes: list[compress.Codec] = [compress.KMeansCodec(k) for k in (2, 4, 8, 16, 32, 64, 128)]
    rows.append(at_least(best, "JPEG", jpegs, scenes))
    rows.append(at_least(best, "k-means", palettes, scenes))
    rows.append(count("PNG, lossless", compress.PNG(), scenes))
    plain = scenes[0].numel()
    print(
        f"\nA picture of {options.image_size}x{options.image_size} is {plain} bytes as 8-bit RGB."
    )
    print(f"{'':<20}{'bytes':>9}{'smaller by':>12}{'PSNR, dB':>10}")
    for row in rows:
        print(f"{row.name:<20}{row.size:>9.0f}{plain / row.size:>11.2f}x{row.psnr:>10.2f}")
    options.output.mkdir(parents=True, exist_ok=True)
    _draw(rows, plain, scenes[0].cpu()).savefig(options.output / "width_ratio.png", dpi=120)
    return rows


def _draw(rows: list[Row], plain: int, original: torch.Tensor) -> Figure:
    figure = Figure(figsize=(11, 5.5), layout="constrained")
    grid = figure.add_gridspec(2, 6)
    axes = figure.add_subplot(grid[:, :3])
    names = [row.name for row in rows]
    colours = [COLOURS[1], COLOURS[4], COLOURS[4]] * 3 + [COLOURS[0]] * 3
    # Points: on a logarithmic axis the length of a bar is that to wherever the axis begins.
    axes.scatter([row.size for row in rows], names, color=colours, zorder=2)
    beside = {"transform": axes.get_yaxis_transform(), "ha": "right", "va": "center"}
    for y, row in enumerate(rows):
        quality = "lossless" if row.psnr == float("inf") else f"{row.psnr:.1f} dB"
        axes.text(0.98, y, f"{plain / row.size:.2g}x, {quality}", fontsize=8, **beside)
    axes.grid(axis="y", color="0.9")
    axes.axvline(plain, color="0.3", ls="--", label=f"8-bit RGB, {plain} bytes")
    figure.legend(loc="outside lower left", fontsize=8, frameon=False)
    axes.set(xscale="log", xlim=(None, 12 * max(row.size for row in rows)),
             xlabel="bytes of a file; right: times smaller than RGB, and PSNR")  # fmt: skip
    axes.invert_yaxis()
    shown = [("original", original), *((rows[i].name, rows[i].shown) for i in (0, 2, 6, 9, 10))]
    for k, (name, picture) in enumerate(shown):
        panel = figure.add_subplot(grid[k // 3, 3 + k % 3])
        panel.imshow(picture.movedim(0, -1).clamp(0, 1).numpy())
        panel.set_title(name, fontsize=9)
        panel.set(xticks=[], yticks=[])
    return figure


# %%
# Red: as the study stored them. Two of the three are larger than the picture.
if __name__ == "__main__":
    with without_traceback():
        main(tyro.cli(Options))
