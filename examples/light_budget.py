"""The light budget, from a scene to digital numbers.

A lens at three stops, and the full aperture behind a mask of which 10 % of the cells are open. Each
stop is charged for the light that it keeps back: photons, electrons, noise and signal-to-noise
ratio (20 log10, of signal over noise) from the formulas of EMVA 1288 stand beside those measured in
simulated pictures. Writes ``light_budget.png``.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from matplotlib.figure import Figure

import classify
import optics
from joint.script import without_traceback


@dataclass(frozen=True)
class Options:
    """Count the light of a lesion through aperture, mask, pixels and converter."""

    image_size: int = 96
    """Pixels along a side."""
    photons: float = 4000.0
    """Photons on a pixel at full scale through the open aperture."""
    repeats: int = 64
    """Exposures from which noise is measured."""
    seed: int = 0
    """Source of all randomness."""
    output: Path = Path("runs/light_budget")
    """Folder of the figure."""


# %%
# Four apertures before one lens. A pupil's PSF sums to the fraction of the light that arrives.
def cameras() -> dict[str, optics.IncoherentImaging]:
    """The same lens, stopped down or masked; throughput is relative to its open aperture."""
    size, diameter = 96, 1.2e-3
    spacing = diameter / (size - 1)
    generator = torch.Generator().manual_seed(0)
    stops = {
        name: optics.circular_aperture(size, diameter=part * diameter, spacing=spacing)
        for name, part in (("open", 1.0), ("1/2 diameter", 0.5), ("1/10 diameter", 0.1))
    }
    coded = optics.coded_aperture(
        size, pattern="random", cells=12, open_fraction=0.1, generator=generator
    )
    # In the round stop 8.8 % of the area is open; a fifth of that light is diffracted past the 41
    # pixels of the PSF, and not counted.
    stops["coded 10 %"] = stops["open"] * coded
    return {
        name: optics.IncoherentImaging(
            optics.Pupil(
                # Light by area: a sample that the edge crosses passes its open part.
                [optics.AmplitudeMask(stop, spacing=spacing, trainable=False)],
                wavelengths=(620e-9, 540e-9, 460e-9),
                focal_length=10e-3,
                pixel_pitch=2.2e-6,
                psf_size=41,
            )
        )
        for name, stop in stops.items()
    }


# %%
# Mean and noise by formula, and the noise of repeated exposures.
def main(options: Options) -> dict[str, dict[str, float]]:
    """Expose, measure, print the budget; return it."""
    generator = torch.Generator().manual_seed(options.seed)
    lesion = classify.LesionPhantom(3, image_size=options.image_size, seed=options.seed)[2]
    scene = optics.srgb_to_linear(lesion.image / 255)[None]
    sensor = optics.Sensor(options.photons, read_noise=3.0, bit_depth=12, black_level=64)
    budget: dict[str, dict[str, float]] = {}
    figure = Figure(figsize=(12, 6), layout="constrained")
    axes = figure.subplots(2, 4)
    for column, (name, camera) in enumerate(cameras().items()):
        with torch.no_grad():
            irradiance = camera(scene)
            electrons = sensor.electrons(irradiance)
            stack = torch.stack(
                [sensor(irradiance, generator=generator) for _ in range(options.repeats)]
            )
        scale = float(sensor.electrons(torch.ones(())))  # of full light
        signal = float(electrons.mean())
        # Shot noise, read noise, and the converter's 1/12 of a step squared (EMVA 1288, eq. 9).
        gain = float(sensor.gain)
        noise = math.sqrt(signal + sensor.read_noise**2 + gain**2 / 12)
        measured = float((stack * scale).var(0).mean().sqrt())
        budget[name] = {
            "throughput": float(camera.throughput()),
            "photons": float(irradiance.mean()) * options.photons,
            "electrons": signal,
            "noise, e-": noise,
            "measured noise, e-": measured,
            "SNR, dB (20 log10)": 20 * math.log10(signal / noise),
        }
        drawn = float(1 / stack[0, 0].quantile(0.99))  # the pinhole would be black
        exposed = drawn * stack[0, 0]
        axes[0, column].imshow(optics.linear_to_srgb(exposed.clamp(0, 1)).permute(1, 2, 0).numpy())
        light = budget[name]["throughput"]
        axes[0, column].set_title(f"{name}: {light:.1%} of the light", fontsize=10)
        axes[0, column].set_xlabel(f"drawn x {drawn:.3g}", fontsize=9)
        axes[1, column].imshow(camera.psf()[1].detach().sqrt().numpy(), cmap="magma")
        snr = budget[name]["SNR, dB (20 log10)"]
        axes[1, column].set_title(f"SNR {snr:.1f} dB; root of PSF", fontsize=10)
        for axis in axes[:, column]:
            axis.set(xticks=[], yticks=[])
    options.output.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.output / "light_budget.png", dpi=110)
    rows = list(next(iter(budget.values())))
    print(" " * 14 + "".join(f"{row:>20s}" for row in rows))
    for name, values in budget.items():
        print(f"{name:14s}" + "".join(f"{values[row]:20.4g}" for row in rows))
    return budget


# %%
# Above, one exposure each, and how many times brighter it is drawn; below, the root of the PSF. A
# tenth of the diameter is a hundredth of the light, less what it spreads past the 41 pixels that
# are computed: a tenth of it here, a fifth behind the coded mask.
if __name__ == "__main__":
    with without_traceback():
        main(tyro.cli(Options))
