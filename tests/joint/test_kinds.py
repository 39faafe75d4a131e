import numpy as np
import pytest
import torch
from torch import nn

import classify
import compress
import joint
import optics
from joint import analysis
from joint.kinds import check_batch_size, check_dataset, check_kinds, check_pictures, check_system


@pytest.fixture(scope="module")
def scenes():
    return classify.LesionPhantom(12, 16)


@pytest.fixture(scope="module")
def system():
    layers = nn.Conv2d(3, 7, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return joint.ImagingSystem(sensor=optics.Sensor(500), classifier=nn.Sequential(*layers))


LIMITS = {"photons": 1.0}
OF_A_SYSTEM_AND_SCENES = {
    "evaluate": joint.evaluate,
    "accuracy_losses": analysis.accuracy_losses,
    "contrast_dependence": analysis.contrast_dependence,
    "information": analysis.information,
    "kept": lambda system, dataset: analysis.kept({"one": system}, dataset),
    "system_costs": analysis.system_costs,
    "measure_contrast": lambda system, dataset: analysis.measure_contrast(dataset, system=system),
    "rate_map": analysis.rate_map,
    "recall_against_contrast": analysis.recall_against_contrast,
    "robustness": analysis.robustness,
    "screen": lambda system, dataset: analysis.screen({"one": system}, dataset),
    "sensitivity": lambda system, dataset: analysis.sensitivity(system, dataset, LIMITS),
    "sensor_information": analysis.sensor_information,
    "tolerance": lambda system, dataset: analysis.tolerance(system, dataset, LIMITS),
}


@pytest.mark.parametrize("name", list(OF_A_SYSTEM_AND_SCENES))
def test_what_is_no_system_or_no_data_set_is_named(name, system, scenes):
    function = OF_A_SYSTEM_AND_SCENES[name]
    for given in (system.classifier, 3, scenes):
        kind = type(given).__name__
        with pytest.raises(TypeError, match=rf"must be a joint\.ImagingSystem, not {kind}"):
            function(given, scenes)
    parts = classify.split(scenes)
    for given, remedy in (
        (parts, "not Split; give one of its parts, such as .test"),
        (torch.zeros(2, 3, 16, 16), r"not Tensor; pictures alone go .* as system\(scenes\)"),
        (
            torch.utils.data.TensorDataset(torch.zeros(2, 3, 16, 16)),
            "not TensorD.*; convert a torch data set with classify.from_torch",
        ),
        (system, "not ImagingSystem"),
    ):
        with pytest.raises(TypeError, match=f"dataset must be a classify.LesionDataset, {remedy}"):
            function(system, given)


@pytest.mark.parametrize("name", [n for n in OF_A_SYSTEM_AND_SCENES if n != "measure_contrast"])
def test_the_wrong_order_is_named(name, system, scenes):
    with pytest.raises(TypeError, match="the system comes first, the data set second: exchange"):
        OF_A_SYSTEM_AND_SCENES[name](scenes, system)


@pytest.mark.parametrize(
    ("module", "stage"),
    [
        (optics.LearnedKernel("identity", 3), "front_end"),
        (optics.Sensor(500), "sensor"),
        (compress.JPEG(50), "codec"),
        (nn.Flatten(), "classifier"),
    ],
)
def test_a_stage_alone_becomes_a_system_as_that_stage(module, stage):
    with pytest.raises(TypeError, match=rf"joint\.ImagingSystem\({stage}=\.\.\.\)"):
        check_system(module)


def test_a_wrapper_is_taken_for_what_it_holds(system, scenes):
    class Wrapper(nn.Module):
        encoding = "srgb"
        classifier = None

    check_kinds(Wrapper(), scenes)
    with pytest.raises(ValueError, match="has no classifier, so that there are no scores"):
        check_pictures(Wrapper(), torch.zeros(1, 3, 8, 8))
    assert check_pictures(system, torch.zeros(1, 3, 8, 8)) is system.classifier


def _told(dataset, classes):
    everything = dataset.gather(range(len(dataset)))
    return classify.LesionDataset(
        images=everything.images,
        labels=everything.labels % len(classes),
        groups=dataset.groups,
        identifiers=dataset.identifiers,
        classes=classes,
    )


JUDGED = ("evaluate", "measure_contrast", "recall_against_contrast", "system_costs", "tolerance")


@pytest.mark.parametrize("name", JUDGED)
def test_scores_of_other_classes_judge_nothing(name, system, scenes):
    """Every number of classes would be there, and every label another one."""
    knows = system.replace()
    knows.classes = scenes.classes
    turned = _told(scenes, scenes.classes[::-1])
    message = (
        "the scores of the system are of akiec, bcc, bkl, df, mel, nv, vasc, and the classes of "
        "the data set are vasc, nv, mel, df, bkl, bcc, akiec: load the data with all of these"
    )
    with pytest.raises(ValueError, match=message):
        OF_A_SYSTEM_AND_SCENES[name](knows, turned)


def test_who_knows_no_classes_takes_any_and_who_says_so_others(system, scenes):
    assert system.classes is None
    others = _told(scenes, tuple("gfedcba"))
    joint.evaluate(system, others)
    knows = system.replace()
    knows.classes = list(scenes.classes)
    joint.evaluate(knows, scenes)
    with pytest.raises(ValueError, match=r"mean the same, set system\.classes = dataset\.cl"):
        joint.evaluate(knows, others)
    knows.classes = others.classes
    joint.evaluate(knows, others)
    with pytest.raises(ValueError, match="choose scenes of the classes that it was trained for"):
        joint.evaluate(knows, _told(scenes, ("a", "q")))


def test_what_takes_one_of_them_names_the_other(system, scenes):
    images = torch.rand(2, 3, 16, 16)
    masks = torch.ones(2, 16, 16, dtype=torch.bool)
    for call, message in (
        (lambda: check_dataset(system), "not ImagingSystem"),
        (lambda: analysis.measure_contrast(system), "dataset must be a classify.LesionDataset"),
        (lambda: analysis.scalable(images), "dataset must be a classify.LesionDataset, not Tensor"),
        (lambda: analysis.altered(images, analysis.keep_region), "must be a classify.LesionDat"),
        (lambda: analysis.applicable(scenes), "system must be a joint.ImagingSystem"),
        (lambda: analysis.optimal_image(scenes, images, 0), "must be a joint.ImagingSystem, not L"),
        (lambda: analysis.optimal_image(system, scenes, 0), "start must be a Tensor, float scenes"),
        (lambda: analysis.kept(system, scenes), r"systems by their names, \{'sharp': system"),
        (lambda: analysis.screen(system, scenes), r"systems by their names, \{'sharp': system"),
        (lambda: analysis.contrast(scenes, masks), "pictures must be a Tensor, not LesionDataset"),
        (lambda: analysis.contrast(images.numpy(), masks), "pictures must be a Tensor, not ndarr"),
        (lambda: analysis.contrast(images, masks.numpy()), "masks must be a Tensor, not ndarray"),
        (lambda: analysis.skin_ring(masks.numpy()), "masks must be a Tensor, not ndarray"),
        (lambda: analysis.keep_region(scenes, masks, "lesion"), "pictures must be a Tensor"),
        (lambda: analysis.scale_contrast(scenes, masks, 1.0), "pictures must be a Tensor"),
        (lambda: analysis.equal_contrast(scenes, masks, 1.0), "pictures must be a Tensor"),
        (lambda: analysis.segment(scenes), "pictures must be a Tensor, floats .* not LesionDat"),
        (lambda: analysis.contrast_at(system, masks), r"not ImagingSystem, as system\(scenes\) g"),
        (lambda: analysis.contrast_at(masks, system(images)), r"not Tensor; contrast\(images, ma"),
    ):
        with pytest.raises(TypeError, match=message):
            call()


def test_a_batch_is_a_whole_number_of_pictures(system, scenes):
    check_batch_size(np.int64(3))
    for call in (
        lambda size: joint.evaluate(system, scenes, batch_size=size),
        lambda size: analysis.kept({"one": system}, scenes, batch_size=size),
        lambda size: analysis.recall_against_contrast(system, scenes, batch_size=size),
        lambda size: analysis.scalable(scenes, batch_size=size),
        lambda size: analysis.altered(scenes, lambda images, _: images, batch_size=size),
    ):
        with pytest.raises(ValueError, match="batch_size must be at least 1, not 0"):
            call(0)
        with pytest.raises(ValueError, match=r"batch_size must be a whole number, not 2\.5"):
            call(2.5)
