import dataclasses
import re
import warnings

import pytest
import torch
from phantom_runs import CLASSIFIER, CODEC, QUICK, config_of, renamed

import joint
import joint.run.complete
from classify import LesionDataset
from joint.run.complete import complete_run
from joint.run.start import speak_of_classifier, trained_stages


def test_stages_that_begin_with_other_classes_are_told(teacher, parts):
    place = teacher[1]
    trained_stages(place, parts)
    turned = dataclasses.replace(parts, train=renamed(parts.train, parts.train.classes[::-1]))
    with pytest.warns(UserWarning, match=r"these scores for vasc, nv, .* of other classes"):
        trained_stages(place, turned)


def test_the_stages_of_a_run_are_those_that_it_was_tested_with(codec, parts):
    system, folder = codec
    stages = trained_stages(folder, parts)
    assert [*stages] == ["codec"]
    assert stages["codec"] is not system.codec
    for name, weight in stages["codec"].state_dict().items():
        assert torch.equal(weight, system.codec.state_dict()[name]), name


def test_a_start_that_is_not_there_or_does_not_fit_is_refused(codec, parts, tmp_path):
    _, folder = codec
    with pytest.raises(joint.ConfigError, match="has no classifier to start with; it has codec"):
        trained_stages(folder, parts, ["classifier"])
    with pytest.raises(joint.ConfigError, match="cannot read"):
        trained_stages(tmp_path, parts)
    joint.save_config(config_of(**CODEC), tmp_path)
    with pytest.raises(joint.CheckpointError, match="holds no trained weights yet"):
        trained_stages(tmp_path, parts)


def test_a_start_of_other_settings_is_told_once(parts, tmp_path):
    base = {"sensor": joint.SensorConfig(photons=500), **CLASSIFIER}
    fine = config_of(codec=joint.JPEGConfig(quality=90), **base)
    complete_run(fine, parts, tmp_path / "fine", **QUICK)
    start = trained_stages(tmp_path / "fine", parts, ["sensor", "classifier"])
    dim = {**base, "sensor": joint.SensorConfig(photons=50)}
    # Fewer photons, and another codec beside the stages that it begins with: as was asked for.
    complete_run(
        config_of(codec=joint.JPEGConfig(), **dim), parts, tmp_path / "dim", start=start, **QUICK
    )
    other = start["classifier"]
    other.net.relu = torch.nn.GELU()
    with pytest.warns(UserWarning, match=r"the classifier begins .*: net\.relu: GELU there"):
        complete_run(fine, parts, tmp_path / "other", start={"classifier": other}, **QUICK)
    complete_run(fine, parts, tmp_path / "other", start={"classifier": other}, **QUICK)


def test_for_other_classes_the_last_layer_begins_anew(parts, tmp_path):
    folder = tmp_path / "run"
    system = complete_run(
        config_of(**CODEC, **CLASSIFIER), parts, folder, resamples=0, progress=False
    )
    names = tuple("abcd")
    two = LesionDataset(
        images=parts.train.gather(range(4)).images,
        labels=[0, 1, 0, 1],
        groups=names,
        identifiers=names,
        classes=("benign", "malignant"),
    )
    grades = dataclasses.replace(parts, train=two)
    with pytest.warns(UserWarning, match=r"last layer of .*run is for 7 classes, and .* for 2"):
        started = trained_stages(folder, grades)
    for name, weight in started["classifier"].state_dict().items():
        if name.startswith("head."):
            assert len(weight) == 2
        else:
            assert torch.equal(weight, system.classifier.state_dict()[name]), name
    assert [*trained_stages(folder, grades, ["codec"])] == ["codec"]  # and nothing to warn of


def test_a_random_classifier_that_is_frozen_is_told(codec, teacher, parts, tmp_path):
    training = joint.Training(epochs=1, plan="frozen")
    config = config_of(**CODEC, **CLASSIFIER).model_copy(update={"training": training})
    told = pytest.warns(UserWarning, match=r"^nothing of the classifier learns .* it is random:")
    with told:
        complete_run(config, parts, tmp_path / "random", **QUICK)
    judge = {"classifier": teacher[0].classifier}
    complete_run(config, parts, tmp_path / "started", start=judge, **QUICK)  # no word
    weights = joint.ClassifierConfig(weights=teacher[1] / "best.safetensors")
    named = config_of(**CODEC, classifier=weights).model_copy(update={"training": training})
    complete_run(named, parts, tmp_path / "named", **QUICK)
    complete_run(config, parts, tmp_path / "random", **QUICK)  # said when it began


@pytest.mark.parametrize("plan", ["frozen", "joint"])
def test_a_last_layer_that_is_not_loaded_is_told(codec, teacher, parts, tmp_path, plan):
    state = joint.load_checkpoint(teacher[1] / "best.safetensors")[0]
    layers = {k.removeprefix("classifier."): v for k, v in state.items()}
    layers = {k: v for k, v in layers.items() if k.startswith(("net.", "head."))}
    head = {key: value[:5].clone() for key, value in layers.items() if key.startswith("head.")}
    torch.save(layers | head, tmp_path / "five.pth")
    torch.save({k: v for k, v in layers.items() if k not in head}, tmp_path / "none.pth")
    for name, said in (
        ("five", r"^the last layer of .*five.pth is for 5 classes, and begins anew for 7$"),
        ("none", r"none.pth has no last layer, which begins anew$"),
    ):
        judge = joint.ClassifierConfig(weights=tmp_path / f"{name}.pth")
        training = joint.Training(epochs=1, plan=plan)
        config = config_of(**CODEC, classifier=judge).model_copy(update={"training": training})
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            complete_run(config, parts, tmp_path / name, **QUICK)
            complete_run(config, parts, tmp_path / name, **QUICK)  # said when it began
        first, *frozen = [str(each.message) for each in told]
        assert re.search(said, first)
        assert len(frozen) == (plan == "frozen")
        for words in frozen:
            assert re.match("nothing of the classifier learns .* its last layer is random: ", words)


def test_weights_of_a_run_for_other_classes_are_told(teacher, parts, tmp_path):
    """As those that `--start` copies: equally many scores are not the same ones."""
    turned = parts.train.classes[::-1]
    judge = joint.ClassifierConfig(weights=teacher[1] / "best.safetensors")
    config, system = config_of(classifier=judge), _built(judge)
    speak_of_classifier(config, system, parts, {})  # no word
    other = dataclasses.replace(parts, train=renamed(parts.train, turned))
    with pytest.warns(UserWarning, match=r"these scores for vasc, nv, .* of other classes"):
        speak_of_classifier(config, system, other, {})
    # A last layer that begins anew has no classes of before.
    system.classifier.head_left_out = "told above"
    with pytest.warns(UserWarning, match="told above"):
        speak_of_classifier(config, system, other, {})


def _built(judge):
    system = config_of(classifier=judge).system
    return joint.build_system(system, image_size=(16, 16), channels=3, classes=7)


def _other_parts(size=16, **split):
    """Scenes of the runs here, divided in another way."""
    config = config_of(**CODEC, **CLASSIFIER)
    data = config.data.model_copy(update={"image_size": size})
    split = config.split.model_copy(update=split)
    config = config.model_copy(update={"data": data, "split": split})
    return config, joint.build_split(config, joint.build_data(data))


@pytest.mark.parametrize("size", [16, 24])
def test_a_start_that_knows_the_test_part_is_told(teacher, parts, tmp_path, size):
    """Counted picture by picture here: those that were trained on, or whose lesion was."""
    config, other = _other_parts(size, seed=5)
    test, train = other.test, parts.train
    known = sum(
        any(name == n or lesion == g for n, g in zip(train.identifiers, train.groups, strict=True))
        for name, lesion in zip(test.identifiers, test.groups, strict=True)
    )
    assert 0 < known < len(test)
    said = f"was trained on {known} of the {len(test)} test pictures"
    with pytest.warns(UserWarning, match=said):
        trained_stages(teacher[1], other)
    judge = joint.ClassifierConfig(weights=teacher[1] / "best.safetensors")
    system = config.system.model_copy(update={"classifier": judge})
    config = config.model_copy(update={"system": system})
    with pytest.warns(UserWarning, match=said):
        complete_run(config, other, tmp_path / "run", resamples=0, progress=False)


def test_a_start_of_the_same_parts_or_of_unknown_scenes_is_not(teacher, parts):
    trained_stages(teacher[1], _other_parts(size=24)[1])  # the same, of another size
    trained_stages(
        teacher[1], dataclasses.replace(parts, test=renamed(parts.test, parts.test.classes))
    )
    config, _ = _other_parts(seed=5)
    data = config.data.model_copy(update={"seed": 3})  # other lesions of the same names
    trained_stages(teacher[1], joint.build_split(config, joint.build_data(data)))
