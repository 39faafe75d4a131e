"""The words of a configuration, on pages of reports and studies, tell every setting."""

from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Literal, Union, get_args, get_origin

import pytest

import joint
from joint.config.classifier import CLASSIFIER_KINDS
from joint.config.codecs import CODEC_KINDS
from joint.config.front_ends import FRONT_END_KINDS
from joint.config.restoration import RESTORATION_KINDS
from joint.config.scenes import DataConfig
from joint.config.sensor import SENSOR_KINDS
from joint.report.words import configuration_words
from joint.settings import Settings
from joint.train.augment import Augmentation

_KINDS = {
    "front_end": FRONT_END_KINDS,
    "sensor": SENSOR_KINDS,
    "restoration": RESTORATION_KINDS,
    "codec": CODEC_KINDS,
    "classifier": CLASSIFIER_KINDS,
}
# Other values of settings whose types do not show one.
_HARD = {
    "class_path": "own.Class",
    "fractions": (0.6, 0.2, 0.2),
    "glasses": {"SK16": (1.62, 60.3)},
    "init_args": {"size": 3},
    "learning_rates": {"codec": 1e-3},
    "monitor": "auc",
    "object_distance": 0.5,
    "name": "resnet18",
    "stages": ("codec",),
    "terms": {"own": joint.Term(function="own.term", weight=0)},
    "surfaces": joint.CompoundConfig().surfaces[:4],
    "zernike": {9: 0.1},
}


def _runs():
    """A run of each kind of each part."""
    default = joint.RunConfig()
    yield default
    yield joint.RunConfig(split={"folds": 5})
    yield joint.RunConfig(split={"column": "part"})
    yield joint.RunConfig(training={"augmentation": Augmentation()})
    yield joint.RunConfig(system={"front_end": joint.ShutterConfig(lens=joint.LensConfig())})
    term = joint.Term(function="own.term")
    yield joint.RunConfig(objective={"terms": {"own": term}})
    for kind in get_args(get_args(DataConfig)[0]):
        required = {name: "some" for name, f in kind.model_fields.items() if f.is_required()}
        yield joint.RunConfig(data=kind(**required))
    for stage, kinds in _KINDS.items():
        for kind in kinds.values():
            # Not validated: some kinds are of no use without more.
            system = default.system.model_copy(update={stage: kind()})
            yield default.model_copy(update={"system": system})


def _changes(settings):
    """Each setting by its path, and the settings with another value of it."""
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, Settings):
            for path, changed in _changes(value):
                yield f"{name}.{path}", settings.model_copy(update={name: changed})
        elif name != "kind":
            other = _HARD[name] if name in _HARD else _other(field.annotation, value)
            assert other != value, (type(settings), name)
            yield name, settings.model_copy(update={name: other})


def _other(annotation, value):
    """A value of a type, another than this one."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _other(inner[0], value)
    if origin is Literal:
        return next(choice for choice in inner if choice != value)
    if origin in (Union, UnionType):
        return _other(next(kind for kind in inner if kind is not NoneType), value)
    if origin is tuple:
        kinds = (inner[0], inner[0]) if inner[-1] is Ellipsis else inner
        return tuple(_other(kind, 1) for kind in kinds)
    if annotation is bool:
        return not value
    if annotation in (int, float):
        return (
            2 * value + 1 if isinstance(value, int | float) else 0.75 if annotation is float else 3
        )
    return annotation("else")  # a word, a path


def test_no_setting_that_changes_is_passed_over():
    for config in _runs():
        before = [*configuration_words(config)]
        same = {
            path for path, changed in _changes(config) if [*configuration_words(changed)] == before
        }
        assert not same


def test_files_of_one_name_are_told_by_their_folders():
    """The weights of one backbone, and its runs, are called alike everywhere."""

    def words(folder):
        system = {
            "front_end": joint.PSFConfig(file=f"/me/{folder}/psf.npy"),
            "classifier": {"weights": f"/me/{folder}/system.safetensors"},
        }
        config = joint.RunConfig(
            system=system,
            data={"kind": "table", "table": f"/me/{folder}/labels.csv"},
            objective={"distillation": 1},
            teacher=f"/me/{folder}/run",
        )
        return dict(configuration_words(config))

    one, other = words("a"), words("b")
    for name in ("scenes", "front end", "classifier", "teacher"):
        assert one[name] != other[name]
        assert one[name].replace("a/", "b/") == other[name]
        assert "me/" not in one[name]


def test_a_configuration_of_defaults_has_nothing_behind_its_words():
    """Tables stay short."""
    words = dict(configuration_words(joint.RunConfig()))
    assert words["split"].endswith("in one part, seed 0")
    assert words["front end"].endswith("training began from identity")
    assert words["sensor"].endswith("gaussian shot noise")
    assert words["classifier"].endswith("from random weights")
    assert words["training"].endswith("best epoch by balanced accuracy")


def test_a_setting_is_shown_shortly():
    told = joint.RunConfig(
        data={"kind": "phantom", "wavelengths": [4e-7 + 1e-8 * band for band in range(20)]},
        split={"method": "hash"},
        system={"front_end": {"kind": "kernel", "boundary": "circular"}, "encoding": "linear"},
        objective={"class_weight_power": 1, "deferred_from": 5, "distillation": 1},
        training={
            "stages": ["codec", "classifier"],
            "learning_rates": {"codec": 1e-4},
            "gradient_clip": None,
            "channels_last": False,
            "compile": True,
        },
        teacher="/me/runs/sharp",
    )
    words = dict(configuration_words(told))
    assert words["scenes"].endswith(
        ", wavelengths 20 values from 4e-07 to 5.9e-07, taken as linear light"
    )
    assert words["split"].endswith(", seed 0, method hash")
    assert words["front end"].endswith(", boundary circular")
    assert " + 1 × divergence from the teacher (nats), label smoothing" in words["objective"]
    assert words["objective"].endswith(", class weight power 1, deferred from 5")
    assert words["teacher"] == "runs/sharp"
    assert words["training"].endswith(
        ", stages codec / classifier, learning rates codec 0.0001, gradient clip none, "
        "no channels last, compile"
    )


@pytest.mark.parametrize(
    ("root", "told"),
    [
        ("/data/studies/derm/HAM10000.zip", "derm/HAM10000.zip"),
        *((f"/{folder}/somebody/HAM10000.zip", "HAM10000.zip") for folder in ("home", "Users")),
        (str(Path.home() / "HAM10000.zip"), "HAM10000.zip"),
        ("HAM10000.zip", "HAM10000.zip"),
    ],
)
def test_a_path_is_told_without_whose_it_is(root, told):
    config = joint.RunConfig(data=joint.HAM10000Config(root=root))
    words = dict(configuration_words(config))["scenes"]
    assert f" {told}," in f" {words},"
    assert "somebody" not in words
