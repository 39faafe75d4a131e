"""A relief in glass, trained to a shape of PSF and exported for its maker.

A point of light should become two points, side by side. The height map that does it has 16 levels,
which harden while it learns, and a new etch error each step, so that it tolerates some. Then it is
written as a 16-bit TIFF and a table in micrometres, read back, and simulated again. Writes
``phase_mask.png``, ``relief.tif`` and ``relief.csv``.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from matplotlib.figure import Figure

import optics
from joint.script import without_traceback


@dataclass(frozen=True)
class Options:
    """Train a diffractive element to a target point-spread function."""

    size: int = 96
    """Samples across the pupil."""
    levels: int = 16
    """Heights that can be made."""
    etch_error: float = 10e-9
    """Tolerance of the relief, metres RMS."""
    steps: int = 300
    """Steps of the optimiser."""
    seed: int = 0
    """Source of all randomness."""
    output: Path = Path("runs/phase_mask")
    """Folder of the figure and of the relief."""


# %%
# The target, of unit sum: a PSF sums to the light that arrives, which is at most 1.
def double_spot(size: int, distance: int, sigma: float = 1.2) -> torch.Tensor:
    """Two Gaussian spots, ``distance`` pixels apart along x, of unit sum."""
    y = optics.coordinates(size)[:, None]
    x = optics.coordinates(size)
    spots = sum(torch.exp(-(y**2 + (x - s * distance / 2) ** 2) / (2 * sigma**2)) for s in (-1, 1))
    assert isinstance(spots, torch.Tensor)
    return (spots / spots.sum()).float()


# %%
# Pupil to PSF is one matrix transform onto the pixels of the detector; the loss is one less the
# overlap of the root intensities.
def main(options: Options) -> dict[str, float]:
    """Train, export, import, simulate again; return the figures of merit."""
    generator = torch.Generator().manual_seed(options.seed)
    wavelength, spacing = 550e-9, 2e-3 / options.size
    relief = optics.HeightMap(
        1.0e-6 * torch.rand(options.size, options.size, generator=generator),
        spacing=spacing,
        material="fused_silica",
        design_wavelength=wavelength,
        levels=options.levels,
        minimum_feature=2 * spacing,
    )
    pupil = optics.Pupil(
        [relief], wavelengths=(wavelength,), focal_length=20e-3, pixel_pitch=2.5e-6, psf_size=33
    )
    target = double_spot(33, 10)
    optimiser = torch.optim.Adam(relief.parameters(), lr=0.1)
    losses = []
    for step in range(options.steps):
        # From a straight line to the staircase, and a new etch error each step.
        relief.sharpness = 8.0 * step / options.steps
        relief.draw_etch_error(options.etch_error, generator=generator)
        optimiser.zero_grad()
        psf = pupil()[0]
        # Overlap of the two, which is at most the light that reaches the window.
        loss = 1 - torch.sqrt(psf * target + 1e-12).sum()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    relief.draw_etch_error(0)

    options.output.mkdir(parents=True, exist_ok=True)
    written = optics.export_height_map(relief, options.output / "relief.tif", overwrite=True)
    again = optics.Pupil(
        [optics.relief_element(optics.import_height_map(written[0]))],
        wavelengths=(wavelength,),
        focal_length=20e-3,
        pixel_pitch=2.5e-6,
        psf_size=33,
    )
    sampling = optics.audit_sampling(pupil)
    with torch.no_grad():
        psf, repeated = pupil()[0], again()[0]
        results = {
            "overlap with the target": float(torch.sqrt(psf * target).sum()),
            "light in the window": float(psf.sum()),
            "levels": float(len(relief.height.unique())),
            "largest difference after export, of the peak": float(
                (psf - repeated).abs().max() / psf.max()
            ),
            "Q, pixels in a unit of diffraction (2 is Nyquist's)": float(sampling.q.min()),
        }
        pictures = (relief.height * 1e9, target, psf, repeated)

    figure = Figure(figsize=(14, 3), layout="constrained")
    axes = figure.subplots(1, 5)
    titles = ("relief, nm", "target", "PSF, share of the light", "PSF of the exported file")
    widths = ("2 mm", *3 * ("33 pixels of 2.5 µm",))
    for axis, picture, title, width in zip(axes, pictures, titles, widths, strict=False):
        shade = "viridis" if title == "relief, nm" else "magma"
        figure.colorbar(axis.imshow(picture.numpy(), cmap=shade), ax=axis, shrink=0.8)
        axis.set(title=title, xlabel=f"width {width}", xticks=[], yticks=[])
    axes[-1].plot(losses)
    axes[-1].set(title="1 - overlap", xlabel="step")
    figure.savefig(options.output / "phase_mask.png", dpi=110)
    for name, value in results.items():
        print(f"{name}: {value:.4g}")
    return results


# %%
# The PSF of the file is that of the element: what was trained is what is made.
if __name__ == "__main__":
    with without_traceback():
        main(tyro.cli(Options))
