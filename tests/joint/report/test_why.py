from types import SimpleNamespace

import torch
from pages import RESAMPLES

import classify
import joint
from joint.analysis import (
    correctness_against_contrast,
    information,
    kept,
    measure_contrast,
)
from joint.report.page import (
    with_interval,
)
from joint.report.scenes import Measuring, Scenes
from joint.report.why import contrast_decides


def test_the_reasons_are_those_of_the_library(whole, parsed):
    _, system, parts = joint.load_run(whole)
    test = parts.test
    labels = test.targets.numpy()
    right = joint.evaluate(system, test).logits.argmax(1) == labels
    effect = correctness_against_contrast(
        measure_contrast(test).delta_e.numpy(),
        labels,
        right,
        classes=test.classes,
        groups=test.groups,
        resamples=RESAMPLES,
    )
    (slopes,) = [rows for rows in parsed.tables if rows[0][0] == "being right on"]
    assert [row[0] for row in slopes[1:]] == ["gCNR", "ΔE"]
    assert slopes[2][1] == with_interval(*effect.ignoring_class, "+.3f")
    assert slopes[2][2] == with_interval(*effect.within_class, "+.3f")
    (strata,) = [rows for rows in parsed.tables if "highest - lowest" in rows[0]]
    assert [row[0] for row in strata[1:]] == [*test.classes, "matched"]

    (rings,) = [rows for rows in parsed.tables if "power, classifier input / scene" in rows[0]]
    found = kept({"whole": system}, test, resamples=RESAMPLES).systems[0]
    for row, annulus in zip(rings[1:], found.annuli, strict=True):
        assert row[1] == with_interval(annulus.power, annulus.power_interval)
    (planes,) = [rows for rows in parsed.tables if rows[0][0] == "plane"]
    assert [row[0] for row in planes[1:]] == ["scene", "measurement", "handed"]
    first = information(system, test, planes=("scene",), resamples=RESAMPLES)[0]
    assert planes[1][1] == with_interval(first.observer.auc, first.observer.interval)
    assert "The optimal image of each class" in str([image["alt"] for image in parsed.images])


def test_scenes_of_a_linear_system_are_measured_as_light(undrawn):
    scenes = classify.LesionPhantom(60, 32, seed=1, balance=1.0, encoding="linear")
    torch.manual_seed(0)
    classifier = classify.backbone("resnet_s", 7, image_size=32)
    system = joint.ImagingSystem(classifier=classifier, encoding="linear").eval()
    found = contrast_decides(
        SimpleNamespace(report=True),
        Scenes(system, scenes, scenes),
        Measuring(quick=True, resamples=RESAMPLES),
    )
    effect = correctness_against_contrast(
        measure_contrast(scenes, system=joint.ImagingSystem(encoding="linear")).delta_e.numpy(),
        scenes.labels.numpy(),
        joint.evaluate(system, scenes).logits.argmax(1) == scenes.labels.numpy(),
        classes=scenes.classes,
        groups=scenes.groups,
        resamples=RESAMPLES,
    )
    assert with_interval(*effect.within_class, "+.3f") in "".join(map(str, found))


def test_a_slope_that_is_none_is_explained(undrawn):
    class _First(torch.nn.Module):
        def forward(self, image):
            return image.new_tensor([1.0, 0, 0, 0, 0, 0, 0]).expand(len(image), 7)

    scenes = classify.LesionPhantom(60, 32, seed=1, balance=1.0)
    system = joint.ImagingSystem(classifier=_First())  # each class is all right or all wrong
    found = "".join(map(str, contrast_decides(
        SimpleNamespace(report=True),
        Scenes(system, scenes, scenes),
        Measuring(quick=True, resamples=RESAMPLES),
    )))  # fmt: skip
    assert "No slope (–): the pictures are too few or too alike to fit one." in found
    there = [name for name, count in zip(scenes.classes, scenes.counts, strict=True) if count]
    assert f"all right or all wrong: {', '.join(there)}." in found


def test_whether_the_contrast_of_grey_scenes_decides_is_asked_without_colours(undrawn):
    scenes = classify.LesionPhantom(60, 32, seed=1, balance=1.0, wavelengths=(550e-9,))
    torch.manual_seed(0)
    classifier = classify.backbone("resnet_s", 7, image_size=32, in_channels=1)
    system = joint.ImagingSystem(classifier=classifier).eval()
    how = Measuring(quick=False, resamples=RESAMPLES)
    found = contrast_decides(SimpleNamespace(report=True), Scenes(system, scenes, scenes), how)
    said = "".join(map(str, found))
    effect = correctness_against_contrast(
        measure_contrast(scenes).weber.numpy(),
        scenes.labels.numpy(),
        joint.evaluate(system, scenes).logits.argmax(1) == scenes.labels.numpy(),
        classes=scenes.classes,
        groups=scenes.groups,
        resamples=RESAMPLES,
    )
    assert "Weber contrast" in said
    assert with_interval(*effect.within_class, "+.3f") in said
    assert "ΔE" not in said
    assert "Recall of each class against the contrast at which its lesions are shown" in said
