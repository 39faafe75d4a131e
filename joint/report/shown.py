"""Parts of the page that show what the system does to pictures."""

from collections.abc import Iterator, Mapping, Sequence

import optics
from joint.analysis import (
    PLANES,
    REGIONS,
    ContrastByClass,
    Measure,
    Plane,
    RateMap,
    contrast_by_class,
    measure_contrast,
    rate_map,
)
from joint.deploy.data_sheet import data_sheet
from joint.judge.evaluate import evaluate
from joint.judge.light_cut import what_is_cut
from joint.judge.point import OperatingPoint, operating, told_quality
from joint.panel.dodged import Spread, dodged_figure
from joint.system import ImagingSystem
from optics.imaging.shutter import behind_shutter

from .draw import element_figures, light_figure
from .page import Html, details, note, number, picture, table, with_interval
from .saved import SavedRun
from .scenes import Measuring, NotHere, Scenes, coded_pixels, measured, needed

__all__ = ["camera", "contrast_of_classes", "element", "light", "rate"]


def light(run: SavedRun, scenes: Scenes | str, how: Measuring) -> Iterator[Html]:
    """Pictures at each plane of the system."""
    system, test, _ = needed(scenes)
    yield picture(
        light_figure(system, test),
        shows="Pictures of each class at each plane of the system",
        caption="The first test picture of each class: the scene, the light on the sensor (below "
        "called irradiance), the sensor's picture"
        f"{', restored' if _restores(system) else ''} (measurement), and what the classifier "
        "receives (handed).",
    )


def camera(run: SavedRun, scenes: Scenes | str, how: Measuring) -> Iterator[Html]:
    """Lens and sensor in the numbers of their data sheets."""
    system, test, _ = needed(scenes)
    if system.front_end is None and system.sensor is None:
        raise NotHere("The system has no camera: codec and classifier are given the scene.")
    sheet = data_sheet(system, image_size=test.image_size, channels=test.channels)
    if sheet.lens is not None:
        from joint.figure.lens import lens_figure  # noqa: PLC0415 - pages are made without it

        front = behind_shutter(system.front_end)
        assert front is not None
        yield picture(
            lens_figure(front, focus=sheet.through_focus, picture=test.image_size),
            shows="Contrast of the lens at the sensor and through focus",
            caption="Remaining contrast after lens and pixel, at the sensor and through focus: "
            "tangential (solid) and sagittal (broken). With several places or wavelengths, also "
            "the best focus of each.",
        )
    yield details("Data sheet of lens and sensor, as lens2label describe prints it", str(sheet))


def element(run: SavedRun, scenes: Scenes | str, how: Measuring) -> Iterator[Html]:
    """The front end and its transfer function."""
    system = needed(scenes).system
    if system.front_end is None:
        raise NotHere("The system has no front end: the sensor sees the scene.")
    for figure, shows, caption in element_figures(system.front_end):
        yield picture(figure, shows=shows, caption=caption)
    if _restores(system):
        yield note("The camera deblurs after the sensor; the MTF shown is that before deblurring.")
    cut = what_is_cut(behind_shutter(system.front_end))
    if cut is not None:
        yield note(cut)
    if not how.quick:
        yield from _elsewhere(needed(scenes), how)


def _elsewhere(scenes: Scenes, how: Measuring) -> Iterator[Html]:
    """Labels and fidelity at each working distance, or for less and more motion."""
    front = scenes.system.front_end
    distances = getattr(behind_shutter(front), "working_distances", None)
    if distances is not None:
        yield _at_points(
            scenes,
            how,
            [OperatingPoint(distance=distance) for distance in distances.tolist()],
            head="all scenes at, m",
            caption="as the camera sees them at each working distance",
        )
    if isinstance(front, optics.CodedExposure) and front.motion:
        yield _at_points(
            scenes,
            how,
            [OperatingPoint(motion=share * front.motion) for share in (0, 0.5, 1, 2)],
            head="motion, pixels RMS",
            caption=f"where scenes move by less or more than {front.motion:g} pixels RMS",
        )


def _at_points(
    scenes: Scenes, how: Measuring, points: Sequence[OperatingPoint], *, head: str, caption: str
) -> Html:
    """Labels and fidelity at points that differ in one number."""
    system, _, shown = scenes
    rows = []
    for point in points:
        # Set around the call: given as an argument, it would warn, and the page has a note instead.
        with operating(system, point):
            found = evaluate(system, shown, batch_size=how.batch_size, resamples=how.resamples)
        judged = "-"
        if found.report is not None:
            interval = found.report.intervals.get("balanced_accuracy")
            judged = with_interval(found.report.balanced_accuracy, interval)
        (value,) = point.asked().values()
        rows.append((f"{value:.3g}", judged, number(found.psnr_scene, ".2f")))
    return table(
        (head, "balanced accuracy", "PSNR against the scene, dB"),
        rows,
        caption=f"{len(shown)} test pictures, {caption}.",
    )


def _restores(system: ImagingSystem) -> bool:
    return getattr(behind_shutter(system.front_end), "restoration", None) is not None


def rate(run: SavedRun, scenes: Scenes | str, how: Measuring) -> Iterator[Html]:
    """Bits, fidelity, and where in the picture the bits go."""
    test = run.test
    scene = ("PSNR against the scene", number(test.get("psnr_scene"), ".2f"), "dB")
    head = ("test part, mean", "value", "unit")
    if test.get("bpp") is None:
        if test.get("psnr_scene") is not None:
            yield table(head, [scene])
        yield note("The system has no codec, so there is no rate.")
        return
    rows = [
        ("rate", number(test.get("bpp")), f"bits/pixel ({test.get('rate')})"),
        ("files", number(test.get("bpp_bytes")), "bits/pixel (counted bytes)"),
    ]
    if not isinstance(scenes, str):
        pixels = coded_pixels(scenes)
        size = None if test.get("bpp_bytes") is None else test["bpp_bytes"] * pixels / 8
        rows.append(("a picture's file", number(size, ",.0f"), "bytes/picture"))
        quality = told_quality(scenes.system.codec)
        if quality is not None:
            rows.insert(0, ("quality", quality, "level of the codec"))
    rows += [
        ("PSNR against the codec's input", number(test.get("psnr"), ".2f"), "dB"),
        ("SSIM against the codec's input", number(test.get("ssim")), "fraction"),
        scene,
    ]
    yield table(head, rows)
    try:
        system, _, shown = needed(scenes)
        found = rate_map(system, shown, batch_size=how.batch_size, resamples=how.resamples)
    except (NotHere, ValueError) as error:
        yield note(f"No rate by region: {error}")
        return
    yield from _regions(found)


def _regions(found: RateMap) -> Iterator[Html]:
    rows = [row for row in found.rows if row.pictures]
    yield table(
        (
            "class",
            "pictures",
            *(f"{region}, bits/pixel" for region in REGIONS),
            *(f"{region}, density" for region in REGIONS),
        ),
        [
            (
                row.name,
                f"{row.pictures}",
                *(number(region.bpp) for region in row.regions),
                *(with_interval(region.density, region.interval, ".2f") for region in row.regions),
            )
            for row in rows
        ],
        caption=f"Rate by region of {len(found.labels)} pictures with a boundary, which reaches "
        f"{found.band:g} pixels to either side. Density is the share of the bits over the share of "
        f"the area, with {100 * found.level:g} % intervals over lesions. Another "
        f"{found.side_bits:,.0f} bits per picture, such as a header, belong to no region and "
        "count in no share",
    )
    yield picture(
        dodged_figure(
            [row.name for row in rows],
            {
                name: Spread(
                    [row.regions[k].density for row in rows],
                    [row.regions[k].interval for row in rows],
                )
                for k, name in enumerate(REGIONS)
            },
            quantity="density of bits",
            even=1.0,
        ),
        shows="Density of bits by class and region",
        caption="1 (dashed): a codec that spreads its bits evenly.",
    )


_CONTRASTS: dict[Measure, str] = {
    "gcnr": "gCNR, 0 (lesion and skin overlap) to 1 (they do not)",
    "weber": "Weber contrast, of luminance, negative for a dark lesion",
}


def contrast_of_classes(run: SavedRun, scenes: Scenes | str, how: Measuring) -> Iterator[Html]:
    """Contrast of the lesions of each class at each plane."""
    system, _, shown = needed(scenes)
    if not shown.has_mask.any():
        raise NotHere("The data set has no lesion masks.")
    masked = shown.subset(shown.has_mask)
    camera = system.replace(classifier=None)
    planes: list[Plane] = [
        plane
        for plane in PLANES
        if (plane != "irradiance" or camera.front_end is not None or camera.sensor is not None)
        and (plane != "handed" or camera.codec is not None)
    ]
    with measured():
        contrasts = {
            plane: measure_contrast(masked, system=camera, plane=plane, batch_size=how.batch_size)
            for plane in planes
        }
    for measure, words in _CONTRASTS.items():
        try:
            found = {
                plane: contrast_by_class(
                    getattr(each, measure).cpu().numpy(),
                    masked.targets.numpy(),
                    classes=masked.classes,
                    measure=measure,
                    groups=masked.groups,
                    resamples=how.resamples,
                )
                for plane, each in contrasts.items()
            }
            yield from _contrast(found, words)
        except ValueError as error:
            yield note(f"No {measure}: {error}")


def _contrast(found: Mapping[str, ContrastByClass], words: str) -> Iterator[Html]:
    from joint.figure import contrast_figure  # noqa: PLC0415 - matplotlib

    scene = found["scene"]
    there = [k for k, row in enumerate(scene.classes) if row.pictures]
    yield table(
        ("class", "pictures", *found),
        [
            (
                scene.classes[k].name,
                f"{scene.classes[k].pictures}",
                *(
                    with_interval(each.classes[k].median, each.classes[k].interval)
                    for each in found.values()
                ),
            )
            for k in there
        ],
        caption=f"{words}: medians of {sum(row.pictures for row in scene.classes)} pictures, "
        f"{100 * scene.level:g} % intervals over {scene.unit}",
    )
    yield picture(
        contrast_figure(found),
        shows=f"{words.partition(',')[0]} by class at each plane",
    )
