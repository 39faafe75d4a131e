"""Parts of the page that explain: whether contrast decides, what is kept, optimal images."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from classify import LesionDataset
from joint.analysis import (
    OptimalImage,
    contrast_dependence,
    information,
    kept,
    optimal_image,
    recall_against_contrast,
)
from joint.system import ImagingSystem

from .page import Html, note, number, picture, table, with_interval
from .saved import SavedRun
from .scenes import Measuring, NotHere, Scenes, judged, measured, needed

__all__ = ["contrast_decides", "informed", "kept_of_scenes", "optimal_images"]

_NAMES = {"gcnr": "gCNR", "delta_e": "ΔE", "weber": "Weber contrast"}
_FACTORS = (0.0, 0.5, 1.0, 1.5)
_STEPS = 40
_ROUGHNESS, _RATE, _LIGHT = 20.0, 1.0, 0.4


def contrast_decides(run: SavedRun, scenes: Scenes | str, how: Measuring) -> Iterator[Html]:
    """Contrast against being right, within class and by showing the same lesions at another."""
    judged(run)
    system, _, shown = needed(scenes)
    if not shown.has_mask.any():
        raise NotHere("The data set has no lesion masks.")
    masked = shown.subset(shown.has_mask)
    with measured():
        yield from _correctness(system, masked, how)
    if how.quick:
        return
    try:
        yield from _sweep(system, masked, how)
    except ValueError as error:
        yield note(f"Lesions cannot be shown at other contrasts: {error}")


def _correctness(system: ImagingSystem, masked: LesionDataset, how: Measuring) -> Iterator[Html]:
    from joint.figure import confused_pairs_figure  # noqa: PLC0415 - matplotlib

    found = contrast_dependence(
        system, masked, factors=(), batch_size=how.batch_size, resamples=how.resamples
    )
    effects = [each.effect for each in found.measures.values()]
    yield table(
        ("being right on", "ignoring class", "within class", "SD", "pictures", "without a value"),
        [
            (
                _NAMES[effect.measure],
                with_interval(*effect.ignoring_class, "+.3f"),
                with_interval(*effect.within_class, "+.3f"),
                number(effect.deviation, ".3g"),
                f"{effect.pictures}",
                f"{effect.undefined}",
            )
            for effect in effects
        ],
        caption="Change of the log-odds of a correct label per standard deviation (SD) of the "
        "scene's contrast. Contrast depends on the class: only the slope within class shows "
        "whether contrast decides",
    )
    if any(math.isnan(effect.within_class.slope) for effect in effects):
        silent = sorted({name for effect in effects for name in effect.silent})
        yield note(
            "No slope (–): the pictures are too few or too alike to fit one. Contrast separates "
            "right from wrong without an error, or no class has both"
            + (f"; all right or all wrong: {', '.join(silent)}." if silent else ".")
        )
    strata, pairs = found.measures["gcnr"].strata, found.measures["gcnr"].confusion
    thirds = ("lowest third", "middle third", "highest third")
    yield table(
        ("class", *thirds, "highest - lowest"),
        [
            (
                name,
                *(number(share, ".2f") for share in row),
                with_interval(float(row[-1] - row[0]), interval, "+.2f"),
            )
            for name, row, interval in (
                *zip(strata.classes, strata.accuracy, strata.class_intervals, strict=True),
                ("matched", strata.matched, strata.interval),
            )
        ],
        caption="Accuracy by gCNR within class; matched: mean of the classes",
    )
    if pairs is None:
        yield note("Pairs of classes are not compared: fewer than three classes have a contrast.")
        return
    yield picture(
        confused_pairs_figure(pairs),
        shows="Confusion of each pair of classes against their distance in contrast",
        caption="If classes were confused because their contrasts are alike, the points would "
        "fall from left to right. Bars: intervals over lesions; an arrow marks one that goes on "
        "beyond the axis.",
    )


def _sweep(system: ImagingSystem, masked: LesionDataset, how: Measuring) -> Iterator[Html]:
    from joint.figure import sweep_figure  # noqa: PLC0415 - matplotlib

    found = recall_against_contrast(
        system, masked, _FACTORS, batch_size=how.batch_size, resamples=how.resamples
    )
    yield picture(
        sweep_figure({"the same lesions at another contrast": found}),
        shows="Recall of each class against the contrast at which its lesions are shown",
        caption=f"{found.pictures} pictures; {found.left_out} left out, with no lesion that has "
        "skin around it. 1 is the picture as it is, at 0 the lesion has the colours of the skin; "
        "shade: interval of the balanced accuracy over lesions. The classifier was not trained on "
        "such pictures.",
    )


def kept_of_scenes(run: SavedRun, scenes: Scenes | str, how: Measuring) -> Iterator[Html]:
    """Which details of the scene reach the classifier, and in which regions."""
    from joint.figure import kept_figure  # noqa: PLC0415 - matplotlib

    system, _, shown = needed(scenes)
    if system.front_end is None and system.sensor is None and system.codec is None:
        raise NotHere("The classifier is given the scene itself.")
    with measured():
        found = kept({run.name: system}, shown, batch_size=how.batch_size, resamples=how.resamples)
    (each,) = found.systems
    yield picture(
        kept_figure(found),
        shows="Power and coherence of the classifier's input by spatial frequency; differences by "
        "region",
        caption="Power above 1 (dashed) is emphasised. Coherence is the share of the input's power "
        "that is the scene times one gain per frequency; the rest was added.",
    )
    yield table(
        ("cycles/pixel", "power, classifier input / scene", "coherence"),
        [
            (
                f"{annulus.low:.2f} to {annulus.high:.2f}",
                with_interval(annulus.power, annulus.power_interval),
                with_interval(annulus.coherence, annulus.coherence_interval),
            )
            for annulus in each.annuli
        ],
        caption=f"{found.pictures} test pictures, {100 * found.level:g} % intervals over lesions",
    )
    yield table(
        ("region", "RMS difference to the scene, codes of 8 bits"),
        [(d.region, with_interval(d.rms, d.interval, ".2f")) for d in each.differences],
    )


def optimal_images(run: SavedRun, scenes: Scenes | str, how: Measuring) -> Iterator[Html]:
    """Optimal image of each class for the whole system, within a budget of light and bits."""
    from joint.figure import optimal_figure  # noqa: PLC0415 - matplotlib

    judged(run)
    system, test, _ = needed(scenes)
    start = _grey(test).to(how.device)

    def climb(rate: float) -> dict[str, OptimalImage]:
        return {
            name: optimal_image(
                system, start, k, steps=_STEPS, roughness=_ROUGHNESS, rate=rate, light=_LIGHT
            )
            for k, name in enumerate(test.classes)
        }

    rate = 0.0 if system.codec is None else _RATE
    try:
        found = climb(rate)
    except ValueError:  # the bits of this codec have no gradient
        rate = 0.0
        found = climb(rate)
    bits = f" and {rate:g} a bit/pixel" if rate else ""
    yield picture(
        optimal_figure(found, test.classes, system=system),
        shows="The optimal image of each class, and what the classifier receives of it",
        caption=f"Started from grey with noise; {_STEPS} steps increase the logit of the class, "
        f"less {_ROUGHNESS:g} times the roughness{bits}; at most {_LIGHT:g} of the light. The "
        "better of two starts. After another training the images differ.",
    )


def _grey(test: LesionDataset) -> Tensor:
    """Two starts: grey with some noise."""
    generator = torch.Generator().manual_seed(0)
    shape = (2, test.channels, *test.image_size)
    return 0.45 + 0.1 * torch.rand(shape, generator=generator)


def informed(run: SavedRun, scenes: Scenes | str, how: Measuring) -> Iterator[Html]:
    """Information on the class at each plane, estimated without training the system."""
    system, _, shown = needed(scenes)
    with measured():
        found = information(system, shown, batch_size=how.batch_size, resamples=how.resamples)
    yield table(
        ("plane", "AUC of the observer", "usable information, bits/picture"),
        [
            (
                row.plane,
                with_interval(row.observer.auc, row.observer.interval),
                with_interval(row.usable.bits, row.usable.interval),
            )
            for row in found
        ],
        caption="A Hotelling observer and a linear probe of the same random features at each "
        f"plane, cross-fitted on {len(shown)} test pictures; 95 % intervals over lesions, too "
        "narrow where templates are fitted to few",
    )
