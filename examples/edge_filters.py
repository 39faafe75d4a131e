"""Edge filters in the Fourier plane, and one that learns.

In coherent light, what lies in the Fourier plane of a 4f system decides which detail becomes
bright: a spiral shows steps of any direction, a dark field all that is not constant, a knife edge
slopes. The last one is learned: it is asked to put light on the border of lesions, whose masks are
known. Each is drawn with its PSF and with what it passes of the amplitude of a grating. That is no
MTF, which is of incoherent light: here amplitudes add. None makes light, and a filter with a
gradient begins at ``|t| = 0.995``, 1 % of the light below an empty plane. Writes
``edge_filters.png``.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from matplotlib.figure import Figure
from torch.nn import functional

import classify
import optics
from joint.script import without_traceback


@dataclass(frozen=True)
class Options:
    """Filter phantom lesions in the Fourier plane of a 4f system."""

    count: int = 160
    """Lesions, two or more: half to learn from, half to judge by."""
    image_size: int = 64
    """Pixels along a side."""
    steps: int = 100
    """Steps of the optimiser."""
    seed: int = 0
    """Source of all randomness."""
    output: Path = Path("runs/edge_filters")
    """Folder of the figure."""


# %%
# What is asked of a filter: light on the border of the lesion, and little elsewhere.
def borders(masks: torch.Tensor) -> torch.Tensor:
    """Pixels within two of the border of a mask ``[B, 1, H, W]``, as 0 or 1."""
    inner = -functional.max_pool2d(-masks, 5, 1, 2)
    return functional.max_pool2d(masks, 5, 1, 2) - inner


def contrast(image: torch.Tensor, border: torch.Tensor) -> torch.Tensor:
    """Light on the border over the light elsewhere, each a mean over pixels; then over pictures."""
    grey = image.mean(1, keepdim=True)
    on = (grey * border).sum((1, 2, 3)) / border.sum((1, 2, 3)).clamp_min(1)
    off = (grey * (1 - border)).sum((1, 2, 3)) / (1 - border).sum((1, 2, 3))
    return (on / off).mean()


# %%
# The learned filter starts from the spiral, and its ``|t| <= 1`` holds by construction.
def main(options: Options) -> dict[str, float]:
    """Learn a filter, compare it with the classical ones, draw them; return their contrasts."""
    if options.count < 2:
        raise ValueError(f"--count {options.count} leaves no lesion to judge by: give 2 or more")
    torch.manual_seed(options.seed)
    lesions = classify.LesionPhantom(
        options.count, image_size=options.image_size, seed=options.seed
    )
    items = [lesions[i] for i in range(len(lesions))]
    scenes = optics.srgb_to_linear(torch.stack([item.image for item in items]) / 255)
    masks = [item.mask for item in items if item.mask is not None]
    border = borders(torch.stack(masks).float().reshape(-1, 1, *scenes.shape[-2:]))
    size = options.image_size
    filters = {
        name: optics.FourierFilter(size, name)
        for name in ("open", "spiral", "dark_field", "knife_edge")
    }
    # From the best of the classical ones.
    learned = filters["learned"] = optics.FourierFilter(size, "spiral")
    half = len(items) // 2
    optimiser = torch.optim.Adam(learned.parameters(), lr=0.02)
    for _ in range(options.steps):
        optimiser.zero_grad()
        some = torch.randperm(half)[:16]
        (-contrast(learned(scenes[some]), border[some]).log()).backward()
        optimiser.step()

    # The darkest of the lesions that were not learned from is drawn.
    shown_one = half + int(scenes[half:].mean((1, 2, 3)).argmin())
    figure = Figure(figsize=(12, 2.4 * len(filters)), layout="constrained")
    axes = figure.subplots(len(filters), 5, squeeze=False)
    results = {}
    for row, (name, element) in zip(axes, filters.items(), strict=True):
        with torch.no_grad():
            image = element(scenes[half:])
            results[name] = float(contrast(image, border[half:]))
            t = element.transmission
            spread = torch.fft.fftshift(torch.fft.ifft2(torch.fft.ifftshift(t)))
            psf = spread.abs().square()
        seen = image[shown_one - half]
        # Dark fields would be black: how much brighter a picture is drawn is written below it.
        gain = float(1 / seen.quantile(0.995))
        shown = optics.linear_to_srgb((gain * seen).clamp(0, 1))
        middle = psf.shape[0] // 2
        row[0].imshow(items[shown_one].image.permute(1, 2, 0).numpy())
        row[1].imshow(shown.permute(1, 2, 0).numpy())
        row[2].imshow(
            t.abs().numpy() * torch.cos(t.angle()).numpy(), cmap="RdBu_r", vmin=-1, vmax=1
        )
        row[3].imshow(
            psf[middle - 12 : middle + 13, middle - 12 : middle + 13].sqrt().numpy(), cmap="magma"
        )
        row[4].plot(optics.frequencies(t.shape[1]).numpy(), t[t.shape[0] // 2].abs().numpy())
        row[4].set(xlim=(-0.5, 0.5), ylim=(-0.05, 1.1))
        row[0].set_ylabel(name)
        for axis in row[:4]:
            axis.set(xticks=[], yticks=[])
        passed = float(element.throughput().detach())
        bright = float(seen.mean() / scenes[shown_one].mean())
        row[1].set_title(f"border / rest {results[name]:.2f}", fontsize=9)
        row[1].set_xlabel(f"{bright:.1%} of the scene's light, drawn x {gain:.3g}", fontsize=9)
        row[2].set_title(f"Re t, -1 (blue) to 1; throughput {passed:.2f}", fontsize=9)
    for axis, title in zip(
        axes[0], ("scene", None, None, "root of PSF, ±12 px", "|t| along x"), strict=True
    ):
        if title:
            axis.set_title(title, fontsize=9)
    axes[-1][4].set_xlabel("cycles/pixel")
    options.output.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.output / "edge_filters.png", dpi=110)
    for name, value in results.items():
        print(f"{name:12s} light on the border / elsewhere: {value:.2f}")
    return results


# %%
# Top to bottom: the open plane, three classical plates, and the learned one. Each picture is scaled
# by itself, 99.5 % of its values to white or less; below it stands how much of the scene's light is
# in it, and how many times brighter it is drawn.
if __name__ == "__main__":
    with without_traceback():
        main(tyro.cli(Options))
