import json

import numpy as np
import pytest
import torch
from torch import nn

import classify
import joint
import optics
from joint import analysis
from joint.analysis import contrast_dependence


@pytest.fixture(scope="module")
def phantoms():
    return classify.LesionPhantom(90, 32, seed=3)


class _Darkness(nn.Module):
    """Which class a picture is taken for depends on how dark it is."""

    def forward(self, images):
        dark = 1 - images.mean((1, 2, 3))
        return -((dark[:, None] * 30 - 8 - torch.arange(7)) ** 2)


@pytest.fixture(scope="module")
def system():
    return joint.ImagingSystem(classifier=_Darkness())


def test_each_part_is_the_analysis_of_that_name(system, phantoms):
    found = contrast_dependence(
        system, phantoms, measures=("weber", "gcnr"), factors=(0.5, 1), resamples=50, level=0.9
    )
    assert list(found.measures) == ["weber", "gcnr"]
    assert (found.pictures, found.left_out, found.plane) == (90, 0, "scene")
    how = {"classes": phantoms.classes, "groups": phantoms.groups, "resamples": 50, "level": 0.9}
    logits = joint.evaluate(system, phantoms).logits
    guesses, labels = np.asarray(logits.argmax(1)), phantoms.labels.numpy()
    assert len(set(guesses)) > 2
    values = analysis.measure_contrast(phantoms)
    for measure, each in found.measures.items():
        x = getattr(values, measure).numpy()
        alone = (
            (each.by_class, analysis.contrast_by_class(x, labels, measure=measure, **how)),
            (
                each.effect,
                analysis.correctness_against_contrast(
                    x, labels, guesses == labels, measure=measure, **how
                ),
            ),
            (
                each.strata,
                analysis.matched_strata(x, labels, guesses == labels, measure=measure, **how),
            ),
            (
                each.confusion,
                analysis.confusion_against_contrast(x, labels, guesses, measure=measure, **how),
            ),
        )
        for part, expected in alone:
            assert part.to_dict() == expected.to_dict()
            assert str(part) in str(found)
    sweep = analysis.recall_against_contrast(system, phantoms, (0.5, 1), resamples=50, level=0.9)
    assert found.sweep.to_dict() == sweep.to_dict()
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["sweep"] == sweep.to_dict()


def test_contrast_is_measured_where_it_is_asked_for(phantoms):
    blur = optics.IncoherentImaging((torch.ones(1, 31, 31) / 31**2).expand(3, -1, -1))
    blurred = joint.ImagingSystem(front_end=blur, classifier=_Darkness())
    scene, light = (
        contrast_dependence(blurred, phantoms, plane=plane, factors=(), resamples=20)
        for plane in ("scene", "irradiance")
    )
    assert scene.sweep is None
    assert "balanced" not in str(scene)
    shown = [each.measures["delta_e"].by_class.classes for each in (scene, light)]
    assert all(after.median < 0.6 * before.median for before, after in zip(*shown, strict=True))
    assert light.measures["gcnr"].effect.to_dict() != scene.measures["gcnr"].effect.to_dict()


def test_without_three_classes_no_pairs_are_compared(system, phantoms):
    two = phantoms.subset((phantoms.labels < 2).nonzero().flatten())
    found = contrast_dependence(system, two, factors=(), resamples=20)
    assert all(each.confusion is None for each in found.measures.values())
    assert found.to_dict()["measures"]["gcnr"]["confusion"] is None


def test_pictures_without_a_mask_are_counted_and_left_out(system, phantoms):
    batch = phantoms.gather(range(len(phantoms)))
    masks = phantoms.gather_masks(range(len(phantoms)))
    some = torch.arange(len(phantoms)) % 3 > 0

    def made(known):
        return classify.LesionDataset(
            images=batch.images, labels=batch.labels, groups=phantoms.groups,
            identifiers=phantoms.identifiers, classes=phantoms.classes, masks=masks,
            has_mask=known,
        )  # fmt: skip

    found = contrast_dependence(system, made(some), factors=(0.5, 1), resamples=20)
    assert (found.pictures, found.left_out) == (60, 30)
    same = contrast_dependence(system, phantoms.subset(some), factors=(0.5, 1), resamples=20)
    assert found.to_dict() | {"left_out": 0} == same.to_dict()
    with pytest.raises(ValueError, match="none of the 90 pictures has a mask"):
        contrast_dependence(system, made(torch.zeros_like(some)))


def test_greys_have_luminances(phantoms):
    batch = phantoms.gather(range(len(phantoms)))
    grey = classify.LesionDataset(
        images=batch.images[:, :1], labels=batch.labels, groups=phantoms.groups,
        identifiers=phantoms.identifiers, classes=phantoms.classes,
        masks=phantoms.gather_masks(range(len(phantoms))),
    )  # fmt: skip
    found = contrast_dependence(
        joint.ImagingSystem(classifier=_Darkness()), grey, factors=(), resamples=20
    )
    assert list(found.measures) == ["gcnr", "weber"]


@pytest.mark.parametrize("measures", [(), ("psnr",), ("gcnr", "gcnr"), ("octants",)])
def test_unknown_and_repeated_measures_are_refused(system, phantoms, measures):
    with pytest.raises(ValueError, match="measures must be some of weber"):
        contrast_dependence(system, phantoms, measures=measures)


def test_a_system_without_a_classifier_is_refused(phantoms):
    with pytest.raises(ValueError, match="no classifier"):
        contrast_dependence(joint.ImagingSystem(), phantoms)


@pytest.mark.parametrize("factors", [(0.5,), (1.0, 0.5), (-1.0, 1.0), (0.5, float("nan"))])
def test_factors_are_looked_at_first(phantoms, factors):
    class Late(nn.Module):
        def forward(self, images):
            raise AssertionError("it was asked")

    with pytest.raises(ValueError, match="factors must be at least 2 of 0 or more and rise"):
        contrast_dependence(joint.ImagingSystem(classifier=Late()), phantoms, factors=factors)


def test_a_mosaic_has_luminances(phantoms):
    class Mean(nn.Module):
        def forward(self, images):
            return images.mean((2, 3)).repeat(1, 7)[:, :7]

    sensor = optics.Sensor(5000, cfa="rggb", demosaicing="none")
    raw = joint.ImagingSystem(sensor=sensor, classifier=Mean())
    how = {"factors": (), "resamples": 20}
    found = contrast_dependence(raw, phantoms, plane="measurement", **how)
    assert list(found.measures) == ["gcnr", "weber"]
    assert list(contrast_dependence(raw, phantoms, **how).measures) == ["gcnr", "delta_e"]


def test_ring_and_bins_are_those_of_the_single_analyses(system, phantoms):
    how = {"inner": 1.0, "outer": 4.0, "bins": 8}
    found = contrast_dependence(
        system, phantoms, measures=("gcnr",), factors=(0.5, 1), resamples=10, **how
    )
    values = analysis.measure_contrast(phantoms, **how).gcnr
    for k, row in enumerate(found.measures["gcnr"].by_class.classes):
        assert row.median == pytest.approx(float(values[phantoms.labels == k].quantile(0.5)))
    # The change stays within the ring, which begins nearer than the usual fading would end.
    sweep = analysis.recall_against_contrast(
        system, phantoms, (0.5, 1), feather=1.0, resamples=10, **how
    )
    assert str(found.sweep) == str(sweep)
    framed = analysis.scalable(phantoms, inner=1.0, outer=4.0)
    assert sweep.gcnr[1] == pytest.approx(float(values[framed].quantile(0.5)), abs=1e-3)
