"""A lens designed for its spots, and for the label.

One glass lens of a quarter of a millimetre, ground to spheres: it cannot be sharp everywhere. From
one start it is designed for small spots over field and colours, as lenses usually are, and end to
end, for the label that a classifier gives to what a noisy sensor saw; and so once more from the
small spots on. A penalty keeps its glass thick. Then the same classifier is tuned to each
lens, and to one without aberrations, and judged on test pictures. Writes ``lens_design.png``.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import tyro
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor, nn

import classify
import joint
import optics
from joint.device import usable_device
from joint.feed import as_scenes
from joint.panel.cross_section import draw_cross_section
from joint.panel.look import draw_intervals, looks, open_axis
from joint.script import without_traceback
from optics.rays.compound_imaging import compound_pupil_in


@dataclass(frozen=True)
class Options:
    """Design a lens for its spots and for the label, and compare what a classifier sees by it."""

    data: str = "phantom"
    """phantom, or the path of HAM10000: the folder or the zip, as downloaded."""
    limit: int = 1000
    """Pictures: half of them to train on, a tenth to validate, the rest to test."""
    image_size: int = 48
    """Pixels along a side."""
    f_number: float = 2.2
    """Focal length / diameter."""
    field: float = 20.0
    """Degrees from the axis to the corners of the picture."""
    aspheres: bool = False
    """Add r^4 and r^6 to both surfaces, as of a lens that is molded."""
    photons: float = 1000.0
    """Of a pixel at full scale."""
    steps: int = 150
    """Of the optimiser, of the design for small spots."""
    epochs: int = 10
    """Of the classifier behind a lens without aberrations, from which all others start."""
    joint_epochs: int = 6
    """Of lens and classifier together, in a design end to end."""
    tuning_epochs: int = 4
    """Of the classifier behind each lens."""
    seeds: int = 2
    """Repetitions of all that is trained on pictures."""
    seed: int = 0
    """The first of them; also of the split."""
    device: str = "cpu"
    """Where to train: cpu, cuda, cuda:1, ..."""
    output: Path = Path("runs/lens_design")
    """Folder of the figure."""


MM, LIGHT = 1e-3, (620e-9, 540e-9, 460e-9)
FOCAL_LENGTH = 0.25 * MM
# What a workshop refuses: thinner glass, on the axis and at the rim, and less air.
LEAST = {"centre": 0.05 * MM, "edge": 0.025 * MM, "air": 0.02 * MM}
START, SPOTS, LABEL, BOTH = "start", "small spots", "end to end", "spots, end to end"
IDEAL = "no aberrations"


# %%
# The start is a plano-convex lens, as a catalogue has it, with the sensor in its paraxial focus.
def start(options: Options) -> optics.CompoundLens:
    """A lens of N-BK7 behind its stop, whose curvatures, thicknesses and aspheres are trained."""
    terms = (0.0, 0.0) if options.aspheres else ()
    f = FOCAL_LENGTH
    surfaces = [
        optics.Surface(0.0, 0.2 * f, semi_diameter=f, stop=True),
        optics.Surface(0.0, 0.4 * f, "n_bk7", aspheric=terms),
        optics.Surface(-1 / (0.519 * f), f, aspheric=terms),
    ]
    surfaces = optics.set_stop(surfaces, wavelength=LIGHT[1], f_number=options.f_number)
    image = float(optics.first_order(surfaces, wavelength=LIGHT[1]).image_distance)
    return optics.CompoundLens(
        [*surfaces[:-1], surfaces[-1]._replace(thickness=image)],
        trained=("curvature", "thickness", *(("aspheric",) if options.aspheres else ())),
        wavelength=LIGHT[1],
        **LEAST,
    )


# %%
# All cameras have the same pixels: without distortion, their corners are at the field.
def pixel_pitch(options: Options) -> float:
    """Metres."""
    corner = FOCAL_LENGTH * math.tan(math.radians(options.field))
    return corner / (options.image_size / math.sqrt(2))


def sampling(options: Options) -> dict[str, Any]:
    """Pixels, window of the PSF, and the points that window and pixels need."""
    pitch = pixel_pitch(options)
    points = pitch / (min(LIGHT) * options.f_number)  # of a pixel
    return {
        "pixel_pitch": pitch,
        "psf_size": 21,
        "pupil_size": max(48, math.ceil(21 * points) + 2),
        "oversample": 2 * math.ceil(points / 2) + 1,
    }


def camera_of(lens: optics.CompoundLens, options: Options) -> optics.VaryingImaging:
    """The camera of a lens as it is now."""
    with torch.no_grad():
        lens = optics.CompoundLens(
            lens(), trained=lens.trained, wavelength=lens.wavelength, **LEAST
        )
    return optics.compound_imaging(
        lens,
        picture=options.image_size,
        wavelengths=LIGHT,
        places=3,
        rank=5,
        **sampling(options),
    )


def without_aberrations(options: Options) -> optics.IncoherentImaging:
    """A thin lens of this f-number, without distortion and falloff."""
    config = joint.LensConfig(
        focal_length=FOCAL_LENGTH,
        f_number=options.f_number,
        wavelengths=LIGHT,
        **sampling(options),
    )
    camera = joint.build_front_end(config, (options.image_size, options.image_size), 3)
    assert isinstance(camera, optics.IncoherentImaging)
    return camera


def traced(camera: nn.Module) -> optics.CompoundPupil:
    """The lens in a camera, and the angles whose images lie from the middle to the corner."""
    element = compound_pupil_in(camera)
    assert element is not None
    return element


# %%
# (a) For small spots. The colours of a field share the middle from which distances are measured, so
# that lateral colour counts.
def spot_radius(camera: nn.Module) -> Tensor:
    """RMS radius of the spots of all colours together, from the middle to the corner, metres."""
    element = traced(camera)
    given = {"fields": element.fields, "wavelengths": LIGHT, "rings": 4}
    spots = optics.lens_spots(element.lens(), **given)
    share = (spots.lit * spots.weights)[..., None] / len(LIGHT)
    middle = (share * spots.points).sum((1, 2), keepdim=True)
    return (share * (spots.points - middle).square()).sum((1, 2, 3)).sqrt()


def for_spots(camera: nn.Module, options: Options) -> optics.CompoundLens:
    """A copy of a camera's lens, trained for the mean square of its spots, in pixels."""
    camera, pitch = copy.deepcopy(camera), pixel_pitch(options)
    lens = traced(camera).lens
    optimiser = torch.optim.Adam(lens.parameters(), lr=0.3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(options.steps, 1))
    for _ in range(options.steps):
        loss = (spot_radius(camera) / pitch).square().mean() + lens.penalty()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return lens


# %%
# (b) For the label, and for glass that can be made.
def fit(
    camera: optics.FrontEnd,
    classifier: nn.Module,
    split: classify.Split,
    options: Options,
    training: joint.Training,
) -> joint.ImagingSystem:
    """Train a copy of a classifier behind a camera, whose lens learns where it is a stage."""
    assert split.validation is not None
    learns = "front_end" in training.stages
    system = joint.ImagingSystem(
        front_end=camera,
        sensor=optics.Sensor(options.photons),
        classifier=copy.deepcopy(classifier),
    )
    joint.fit(
        system,
        split.train,
        split.validation,
        objective=joint.Objective(class_weight_power=0.5, penalty=float(learns)),
        config=training,
        device=options.device,
        progress=False,
    )
    return system


# %%
# Each seed has its own initial weights, noise and order of the pictures, and so its own lenses for
# the label.
class Trial(NamedTuple):
    """A camera of one seed, and what it comes to."""

    camera: optics.FrontEnd
    spots: Tensor
    """RMS radius from the middle to the corner ``[R]``, pixels; 0 without aberrations."""
    contrast: Tensor
    """MTF of lens and pixel in the middle and in the corner, ``[2, 21]``, from 0 to half a cycle
    per pixel; tangential and sagittal in mean."""
    logits: np.ndarray
    """Class scores of the test pictures ``[N, K]``."""
    seen: Tensor
    """The first of them as the sensor saw it ``[3, H, W]``."""


def designs(
    begun: Mapping[str, optics.VaryingImaging],
    split: classify.Split,
    options: Options,
    seed: int,
) -> dict[str, Trial]:
    """Design lenses for the label, tune a classifier to each lens, and judge all."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = classify.backbone(classes=len(split.test.classes), image_size=options.image_size)
    shared = {"seed": seed, "learning_rates": {"front_end": 0.1, "classifier": 1e-3}}
    alone = joint.Training(seed=seed, stages=("classifier",), epochs=options.epochs)
    together = joint.Training(
        stages=("front_end", "classifier"), epochs=options.joint_epochs, **shared
    )
    tuning = joint.Training(stages=("classifier",), epochs=options.tuning_epochs, **shared)

    ideal = without_aberrations(options)
    net = fit(ideal, net, split, options, alone).classifier
    assert net is not None
    cameras: dict[str, optics.FrontEnd] = dict(begun)
    for name, origin in ((LABEL, START), (BOTH, SPOTS)):
        camera = copy.deepcopy(begun[origin])
        fit(camera, net, split, options, together)
        # Distortion and falloff are those that a lens has when its camera is built: built anew.
        cameras[name] = camera_of(traced(camera).lens, options)
    cameras[IDEAL] = ideal
    trials = {}
    for name, camera in cameras.items():
        system = fit(camera, net, split, options, tuning)
        trials[name] = judged(system, split.test, options, seed)
        report = classify.report(trials[name].logits, split.test.labels.numpy())
        print(f"seed {seed}, {name}: balanced accuracy {report.balanced_accuracy:.3f}", flush=True)
    return trials


def judged(
    system: joint.ImagingSystem, test: classify.LesionDataset, options: Options, seed: int
) -> Trial:
    """What a camera and its classifier come to."""
    logits = joint.evaluate(system, test, seed=seed).logits
    system, camera = system.cpu(), system.front_end
    assert logits is not None
    assert camera is not None
    frequency = torch.linspace(0, 0.5, 21, dtype=torch.float64) / pixel_pitch(options)
    contrast = optics.lens_performance(camera, frequency=frequency).polychromatic.contrast.mean(-1)
    with torch.no_grad():
        scene, noise = first_of(test)[None], torch.Generator().manual_seed(seed)
        seen = system.measure(scene, generator=noise).measurement[0]
        if compound_pupil_in(camera) is None:
            return Trial(camera, torch.zeros(6), contrast.expand(2, -1), logits, seen)
        spots = spot_radius(camera) / pixel_pitch(options)
    return Trial(camera, spots, torch.stack((contrast[1, 1], contrast[0, 0])), logits, seen)


def first_of(scenes: classify.LesionDataset) -> Tensor:
    """The first scene ``[3, H, W]``."""
    return as_scenes(scenes.gather(torch.tensor([0])), torch.device("cpu"))[0][0]


# %%
# The answers of all seeds are judged together; for the intervals, whole lesions are drawn, with the
# answers of all seeds.
class Row(NamedTuple):
    """A way to design, over all seeds."""

    trials: Sequence[Trial]
    spots: Tensor
    """Mean of those of the trials."""
    contrast: Tensor
    """Mean of those of the trials."""
    logits: np.ndarray
    """Of one seed after the other ``[S N, K]``."""
    report: classify.Report


def main(options: Options) -> dict[str, Row]:
    """Design, compare, print, draw; return the rows of the table."""
    if options.seeds < 1:
        raise ValueError(f"--seeds {options.seeds} trains nothing: give 1 or more")
    usable_device(options.device)
    source = joint.data_config(options.data, image_size=options.image_size)
    name = "count" if source.kind == "phantom" else "limit"
    scenes = joint.build_data(source.model_copy(update={name: options.limit}), progress=True)
    split = classify.split(scenes, (0.5, 0.1, 0.4), seed=options.seed)
    test = split.test
    first = camera_of(start(options), options)
    begun = {START: first, SPOTS: camera_of(for_spots(first, options), options)}
    found = [designs(begun, split, options, options.seed + n) for n in range(options.seeds)]
    answers = {
        "labels": np.tile(test.labels.numpy(), options.seeds),
        "groups": [*test.groups] * options.seeds,
        "classes": test.classes,
        "resamples": 1000,
    }
    rows = {}
    for name in found[0]:
        trials = [each[name] for each in found]
        logits = np.concatenate([each.logits for each in trials])
        spots, contrast = (
            torch.stack([getattr(each, what) for each in trials]).mean(0)
            for what in ("spots", "contrast")
        )
        rows[name] = Row(trials, spots, contrast, logits, classify.report(logits, **answers))

    print(f"\n{len(test)} test pictures; [95 % interval over their lesions, all seeds together]")
    print(f"{'':20}{'spot, pixels':<15}{'MTF at 1/4 c/px':<18}accuracy")
    print(f"{'':20}{'axis   corner':<15}{'axis   corner':<18}{'all':<24}balanced")
    for name, row in rows.items():
        blur, mtf, told = row.spots, row.contrast[:, 10], row.report
        print(
            f"{name:20}{blur[0]:<7.2f}{blur[-1]:<8.2f}{mtf[0]:<7.2f}{mtf[1]:<11.2f}"
            f"{told.accuracy:.3f} {told.intervals['accuracy']:.3f}    "
            f"{told.balanced_accuracy:.3f} {told.intervals['balanced_accuracy']:.3f}"
        )
    print("\nDifferences of balanced accuracy")
    for one, other in ((SPOTS, START), (LABEL, SPOTS), (BOTH, SPOTS), (IDEAL, SPOTS)):
        told = classify.bootstrap_difference(rows[one].logits, rows[other].logits, **answers)
        print(
            f"{f'{one} - {other}':36}{told.difference:+.3f} {told.interval:+.3f}, p = {told.p:.2g}"
        )
    options.output.mkdir(parents=True, exist_ok=True)
    figure = draw(rows, first_of(test), pixel_pitch(options))
    figure.savefig(options.output / "lens_design.png", dpi=110)
    return rows


# %%
# The lenses of the first seed, their spots about a pixel, a scene through each; then all seeds.
def draw(rows: Mapping[str, Row], scene: Tensor, pitch: float) -> Figure:
    """The figure."""
    figure = Figure(figsize=(13, 9.5), layout="constrained")
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=(1.9, 1))[:, 0]
    axes = above.subplots(3, len(rows), height_ratios=(0.9, 0.6, 1))
    for column, (name, row) in zip(axes.T, rows.items(), strict=True):
        camera = row.trials[0].camera
        if (element := compound_pupil_in(camera)) is None:
            column[0].imshow(scene.movedim(0, -1).numpy())
            column[0].set(xticks=[], yticks=[], title="the scene")
        else:
            draw_cross_section(column[0], element)
            column[0].set(title=name, ylabel="")
            draw_spots(column[1], element, pitch)
        column[1].set(xlim=(-6, 22), ylim=(-7, 7), xticks=[0, 8, 16], yticks=[], aspect="equal")
        column[1].set_xticklabels(["axis", "between", "corner"], fontsize=8)
        for place in (0, 8, 16):
            square = Rectangle((place - 0.5, -0.5), 1, 1, fill=False, edgecolor="k", zorder=3)
            column[1].add_patch(square)
        column[2].imshow(row.trials[0].seen.movedim(0, -1).numpy())
        column[2].set(xticks=[], yticks=[], xlabel=name)
    lenses = [axis for axis, row in zip(axes[0], rows.values(), strict=True) if row.spots.any()]
    for which in ("xlim", "ylim"):  # all at one scale
        ends = np.array([getattr(axis, f"get_{which}")() for axis in lenses])
        for axis in lenses:
            axis.set(**{which: (ends[:, 0].min(), ends[:, 1].max())})
    axes[0, 0].set_ylabel("y, mm")
    axes[1, 0].set_ylabel("spots and a pixel")
    axes[2, 0].set_ylabel("what the sensor saw")
    blur, mtf, label = below.subplots(1, 3)
    for number, ((name, row), look) in enumerate(zip(rows.items(), looks(len(rows)), strict=True)):
        if name != IDEAL:
            heights, style = np.linspace(0, 1, len(row.spots)), f"{look.marker}-"
            blur.plot(heights, row.spots, style, color=look.colour, ms=4)
        cycles = np.linspace(0, 0.5, row.contrast.shape[1])
        mtf.plot(cycles, row.contrast[0], color=look.colour, label=name)
        mtf.plot(cycles, row.contrast[1], "--", color=look.colour)
        whole = row.report.intervals["balanced_accuracy"]
        draw_intervals(label, [number], [row.report.balanced_accuracy], [whole], look)
    blur.set(
        xlabel="height in the picture; 1: corner", ylabel="RMS spot radius, pixels", ylim=(0, None)
    )
    mtf.set(xlabel="cycles per pixel", ylabel="MTF, lens and pixel, all colours", ylim=(0, 1))
    mtf.set_title("on the axis; broken lines: in the corner", fontsize=9)
    label.set(xticks=range(len(rows)), ylabel="balanced accuracy, 95 %")
    label.set_xticklabels([name.replace(" ", "\n", 1) for name in rows], fontsize=8)
    below.legend(*mtf.get_legend_handles_labels(), loc="outside lower center", ncols=len(rows))
    for axis in (blur, mtf, label):
        open_axis(axis)
    return figure


def draw_spots(axis: Axes, element: optics.CompoundPupil, pitch: float) -> None:
    """Spot diagrams on the axis, between and in the corner, in pixels."""
    fields = element.fields[[0, len(element.fields) // 2, -1]]
    with torch.no_grad():
        spots = optics.lens_spots(element.lens(), fields=fields, wavelengths=LIGHT)
    points = (spots.points - spots.points.mean((1, 2), keepdim=True)) / pitch
    for place, bands in zip((0, 8, 16), points.numpy(), strict=True):
        for colour, band in zip(("#d62728", "#2ca02c", "#1f77b4"), bands, strict=True):
            axis.plot(place + band[:, 0], band[:, 1], ".", color=colour, ms=1.5)


if __name__ == "__main__":
    with without_traceback():
        main(tyro.cli(Options))
