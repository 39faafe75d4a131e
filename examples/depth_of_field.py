"""Cameras trained for a range of distances, with the light of their stops counted.

Scenes lie at one of several distances, drawn anew for each picture and step. Four cameras restore
what they take by Wiener's filter: a lens, the same lens stopped down, which gets a quarter of the
light, and two with a phase in their pupil that learns with the filter, one cubic (Dowski and
Cathey 1995) and one free (Sitzmann et al. 2018). Then all of them look at scenes at distances in
between and beyond. Writes ``depth_of_field.png``.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from matplotlib.figure import Figure

import classify
import joint
import optics
from joint.script import without_traceback


@dataclass(frozen=True)
class Options:
    """Train cameras for several distances, and measure them over a range."""

    working_distances: tuple[float, ...] = (0.3, 0.375, 0.5, 0.75, 1.5)
    """Metres; the lens is focused on the middle one."""
    photons: float = 300.0
    """Of a pixel at full scale behind the open stop."""
    pictures: int = 256
    """Procedural lesions to train on; a quarter as many to measure with."""
    epochs: int = 50
    """Passes over them."""
    points: int = 21
    """Distances at which the cameras are measured, between and beyond those."""
    seed: int = 0
    """Source of all randomness."""
    output: Path = Path("runs/depth_of_field")
    """Folder of the figure."""


# %%
# A stop of half the diameter has a quarter of the defocus and of the light.
def cameras(options: Options) -> dict[str, joint.ImagingSystem]:
    """Each with its own stop, element, light and filter."""
    distances = options.working_distances
    shared = {
        "focus": distances[len(distances) // 2],
        "working_distances": distances,
        "psf_size": 63,
        "pupil_size": 128,
    }
    made = {
        "lens, f/8": {},
        "lens, f/16": {"f_number": 16.0},
        "cubic phase, f/8": {"element": "cubic", "strength": 2.0},
        "free phase, f/8": {"element": "phase", "strength": 0.1},
    }
    systems = {}
    for name, own in made.items():
        photons = options.photons * (8 / own.get("f_number", 8.0)) ** 2
        # The filter starts from a noise that goes with the light, and learns the rest.
        config = joint.LensConfig(restoration=60 / photons, **shared, **own)
        systems[name] = joint.ImagingSystem(
            front_end=joint.build_front_end(config, (32, 32), 3),
            sensor=optics.Sensor(photons, read_noise=2.0, bit_depth=12),
        )
    return systems


# %%
# Nothing but the error of the picture is trained on here; with a classifier behind the camera the
# same call trains for its labels.
def train(system: joint.ImagingSystem, options: Options) -> None:
    """Train element and filter for all distances at once."""
    scenes = classify.LesionPhantom(options.pictures, image_size=32, seed=options.seed)
    checked = classify.LesionPhantom(options.pictures // 4, image_size=32, seed=options.seed + 1)
    joint.fit(
        system,
        scenes,
        checked,
        objective=joint.Objective(task=0, restoration=1),
        config=joint.Training(
            epochs=options.epochs,
            batch_size=32,
            learning_rate=0.05,
            monitor="psnr_scene",
            seed=options.seed,
        ),
        progress=False,
    )


def main(options: Options) -> dict[str, list[float]]:
    """Train all of them; return the PSNR of each, dB, at each distance of the range."""
    with torch.random.fork_rng():
        torch.manual_seed(options.seed)
        systems = cameras(options)
    unseen = classify.LesionPhantom(options.pictures // 4, image_size=32, seed=options.seed + 2)
    vergences = [1 / distance for distance in options.working_distances]
    # Nothing is farther than infinity, whose vergence is 0.
    shown = np.linspace(max(min(vergences) - 0.3, 0), max(vergences) + 0.3, options.points)
    distances = [1 / vergence if vergence else math.inf for vergence in shown]
    trained = ", ".join(f"{distance:g}" for distance in options.working_distances)
    ends = f"{distances[-1]:.3g} to {distances[0]:.3g} m"
    print(f"PSNR from {ends}; the cameras are trained for {trained} m")
    results: dict[str, list[float]] = {}
    spots = {}
    for name, system in systems.items():
        camera = system.front_end
        assert isinstance(camera, optics.IncoherentImaging)
        train(system, options)
        results[name] = []
        for distance in distances:
            psnr = joint.evaluate(system, unseen, distance=distance, seed=options.seed).psnr_scene
            assert psnr is not None
            results[name].append(psnr)
        with torch.no_grad():
            spots[name] = camera.psf(distance=torch.tensor(options.working_distances))[:, 1]
        worst = int(np.argmin(results[name]))
        told = f"{results[name][worst]:.2f} dB at {distances[worst]:.3g} m"
        print(f"{name}: mean {np.mean(results[name]):.2f} dB, worst {told}")

    figure = Figure(figsize=(10, 5.6), layout="constrained")
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(1, 1.05))[0]
    axis = left.subplots()
    for name, curve in results.items():
        axis.plot(shown, curve, label=name)
    for number, vergence in enumerate(vergences):
        label = "trained at" if number == 0 else None
        axis.axvline(vergence, color="grey", linestyle=":", linewidth=1, label=label)
    axis.set(xlabel="1 / distance, 1/m", ylabel="PSNR of the restored picture, dB")
    axis.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    rows = right.subplots(len(spots), len(vergences), squeeze=False)
    for row, (name, psfs) in zip(rows, spots.items(), strict=True):
        for axis, psf, distance in zip(row, psfs, options.working_distances, strict=True):
            axis.imshow(psf.clamp_min(0).sqrt().numpy(), cmap="magma")
            axis.set(xticks=[], yticks=[])
            if name == next(iter(spots)):
                axis.set_title(f"{distance:g} m", fontsize=9)
        row[0].set_ylabel(name.replace(", ", ",\n"), fontsize=8)
    right.suptitle("PSF in green light, square root", fontsize=10)
    options.output.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.output / "depth_of_field.png", dpi=110)
    return results


if __name__ == "__main__":
    with without_traceback():
        main(tyro.cli(Options))
