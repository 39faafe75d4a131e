import json
import re

import numpy as np
import pytest
import torch

import joint
from joint.command.train import read_train_options
from joint.config.classifier import CLASSIFIER_KINDS
from joint.config.codecs import CODEC_KINDS
from joint.config.front_ends import FRONT_END_KINDS
from joint.config.restoration import RESTORATION_KINDS
from joint.config.run import rests_untrained
from joint.config.sensor import SENSOR_KINDS
from joint.settings import Settings
from joint.study import Axis, Study


def test_round_trip_and_digest(tmp_path):
    config = joint.RunConfig(
        data=joint.PhantomConfig(count=30),
        system=joint.SystemConfig(
            front_end=joint.FourierConfig(start="spiral"), codec=joint.JPEGConfig(quality=40)
        ),
        training=joint.Training(learning_rates={"codec": 1e-4}),
    )
    joint.save_config(config, tmp_path)
    again = joint.load_config(tmp_path)
    assert again == config
    assert again.digest() == config.digest()
    assert again.digest() != joint.RunConfig().digest()
    assert len(config.digest()) == 12
    assert joint.load_config(tmp_path / "config.json") == config


def _faults(tmp_path, **content):
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(joint.ConfigError) as caught:
        joint.load_config(tmp_path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "kind"), [(3, TypeError), (None, TypeError), ([], TypeError), ("", ValueError)]
)
def test_what_is_no_path_to_a_configuration_is_named(wrong, kind):
    with pytest.raises(kind, match=r"^path (must be a path, a str or a Path, not|is empty: name)"):
        joint.load_config(wrong)


def test_unknown_keys_name_their_place_and_the_nearest_key(tmp_path):
    text = _faults(
        tmp_path,
        sytem={},
        training={"learning_rte": 1},
        system={"front_end": {"kind": "kernel", "kernel_sise": 3}},
        data={"kind": "ham10000", "root": "x", "image_sze": 64},
    )
    assert "sytem: no such key; did you mean 'system'?" in text
    assert "training.learning_rte: no such key; did you mean 'learning_rate'?" in text
    assert "did you mean 'kernel_size'?" in text
    assert "did you mean 'image_size'?" in text


def test_a_table_without_a_kind_is_of_the_default_one(tmp_path):
    (tmp_path / "run.toml").write_text("[data]\ncount = 60\n[system.sensor]\nphotons = 300\n")
    config = joint.load_config(tmp_path / "run.toml")
    assert config == joint.RunConfig(
        data=joint.PhantomConfig(count=60),
        system=joint.SystemConfig(sensor=joint.SensorConfig(photons=300)),
    )
    # A key that the default has not: not a guess.
    assert "(kind: table)" in _faults(tmp_path, data={"table": "labels.csv"})


def test_bad_values_name_what_is_allowed(tmp_path):
    text = _faults(
        tmp_path,
        training={"epochs": 0, "monitor": "f1"},
        system={"codec": {"kind": "h264"}, "sensor": {"kind": "sensor", "bit_depth": 99}},
    )
    assert "training.epochs: must be greater than or equal to 1, not 0" in text
    assert (
        "training.monitor: validation has no number 'f1'; did you mean 'macro_f1'? (a term" in text
    )
    assert "system.codec: there is no kind 'h264'; choose from autoencoder, factorized, " in text
    assert "less than or equal to 16, not 99" in text


@pytest.mark.parametrize(
    ("fractions", "message"),
    [
        ([0.9, 0.9, 0.9], r"fractions must sum to 1, but \(0.9, 0.9, 0.9\) sum to 2.7"),
        ([1.2, 0.1, -0.3], "fractions must be positive"),
    ],
)
def test_shares_that_are_none_are_no_configuration(tmp_path, fractions, message):
    text = _faults(tmp_path, split={"fractions": fractions})
    assert re.search(rf"split: .*{message}", text)
    joint.SplitConfig(fractions=fractions, folds=4)  # of no account there


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(joint.ConfigError, match=r"cannot read .*nothing\.json: No such file"):
        joint.load_config(tmp_path / "nothing.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(joint.ConfigError, match=r"broken\.json is not a valid configuration"):
        joint.load_config(tmp_path / "broken.json")


def test_a_file_of_another_format_is_told_which_are_read(tmp_path):
    (tmp_path / "c.yaml").write_text("training:\n  epochs: 3\n")
    formats = r"Invalid JSON: .* \(a \.toml is read as TOML, any other file as JSON\)$"
    with pytest.raises(joint.ConfigError, match=formats):
        joint.load_config(tmp_path / "c.yaml")


def test_a_key_that_only_another_version_knows_is_told_from_a_typed_one(tmp_path):
    text = _faults(tmp_path, training={"epochz": 3})
    assert "training.epochz: no such key; did you mean 'epochs'?" in text
    assert "another version" not in text
    (tmp_path / "environment.json").write_text("{}")
    (tmp_path / "config.json").write_text('{"training": {"epochz": 3}}')
    with pytest.raises(joint.ConfigError) as caught:
        joint.load_config(tmp_path)
    *_, key, version = str(caught.value).splitlines()
    assert key == "  training.epochz: no such key; did you mean 'epochs'?"
    assert version.startswith("  another version of lens2label may have written this run, with")
    assert "environment.json beside it names its version" in version
    (tmp_path / "config.json").write_text('{"training": {"epochs": -3}}')
    with pytest.raises(joint.ConfigError) as caught:  # a value, and not a key
        joint.load_config(tmp_path)
    assert "another version" not in str(caught.value)


def test_a_file_that_is_no_json_is_not_shown(tmp_path):
    (tmp_path / "best.safetensors").write_bytes(bytes(range(256)) * 4000)
    with pytest.raises(joint.ConfigError, match="the file: Invalid JSON: expected value") as caught:
        joint.load_config(tmp_path / "best.safetensors")
    assert len(str(caught.value)) < 300


def test_configurations_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        joint.RunConfig().training.epochs = 3
    for rates in (
        joint.Training().learning_rates,
        joint.Training(learning_rates={}).learning_rates,
    ):
        with pytest.raises(TypeError, match="these settings do not change"):
            rates["codec"] = 1.0


def test_equal_configurations_have_equal_hashes(tmp_path):
    rates = [{"codec": 1e-4, "sensor": 1.0}, {"sensor": 1, "codec": 1e-4}]
    one, other = (joint.RunConfig(training=joint.Training(learning_rates=given)) for given in rates)
    joint.save_config(one, tmp_path)
    assert len({one, other, joint.load_config(tmp_path), joint.RunConfig()}) == 2
    assert hash(joint.Training()) == hash(joint.Training(learning_rates={}))


def test_configurations_are_equal_where_their_digests_are():
    # To Python, 1 == 1.0 == True, of one hash.
    judges = [joint.CustomConfig(class_path="a.B", init_args={"x": x}) for x in (1, 1.0, True, 1)]
    runs = [joint.RunConfig(system=joint.SystemConfig(classifier=judge)) for judge in judges]
    assert len(set(runs)) == len({run.digest() for run in runs}) == 3
    assert runs[0] == runs[3]
    assert runs[0] != runs[2]
    assert joint.RunConfig() != joint.RunConfig().canonical()


def test_a_zero_has_no_sign():
    one, other = (
        joint.RunConfig(
            system=joint.SystemConfig(front_end=joint.LensConfig(defocus=zero, zernike={4: zero})),
            training=joint.Training(weight_decay=zero),
        )
        for zero in (0.0, -0.0)
    )
    assert one == other
    assert one.digest() == other.digest()


def test_the_seed_of_a_system_is_one_that_torch_takes(tmp_path):
    for seed in (-(2**63), 2**64 - 1):
        assert joint.SystemConfig(seed=seed).seed == seed
        torch.Generator().manual_seed(seed)
    assert "less than 18446744073709551616" in _faults(tmp_path, system={"seed": 2**64})
    assert "system.seed: must be greater" in _faults(tmp_path, system={"seed": -(2**63) - 1})


def test_rates_of_stages_are_written_in_order_of_their_names():
    """Run folders are found by digests of this text."""
    training = joint.Training(learning_rates={"sensor": 1, "codec": 1e-4})
    text = joint.RunConfig(training=training).canonical()
    assert '"learning_rates": {"codec": 0.0001, "sensor": 1.0}' in text
    assert '"learning_rates": {}' in joint.RunConfig().canonical()
    assert type(training.model_dump()["learning_rates"]) is dict


def test_the_file_of_a_run_holds_each_setting():
    """Also at its default, so that a later version with another default reads the same run."""

    def check(settings, written):
        assert written.keys() == type(settings).model_fields.keys()
        for name, value in settings:
            if isinstance(value, Settings):
                check(value, written[name])

    config = joint.RunConfig()
    written = json.loads(config.canonical())
    for section in ("data", "split", "system", "training"):
        check(getattr(config, section), written[section])


def test_another_teacher_is_another_run(tmp_path):
    objective = joint.Objective(distillation=1, distillation_temperature=2)
    runs = [joint.RunConfig(objective=objective, teacher=name) for name in ("a", "b")]
    runs.append(joint.RunConfig(objective=joint.Objective(distillation=1), teacher="a"))
    assert len({run.digest() for run in runs}) == 3
    joint.save_config(runs[0], tmp_path)
    assert joint.load_config(tmp_path) == runs[0]


def test_a_teacher_that_is_missing_is_no_configuration(tmp_path):
    text = _faults(tmp_path, objective={"distillation": 0.5})
    assert "objective.distillation=0.5 needs a teacher: give teacher" in text
    assert "--teacher RUN" in text
    joint.RunConfig(teacher="a")  # which rests, as a weight of 0 in a sweep


def test_what_is_said_of_the_codes_of_scenes_makes_another_run():
    for config, said in (
        (joint.ClassFolders(root="x"), {"encoding": "linear"}),
        (joint.MedMNISTConfig(path="x"), {"encoding": "linear"}),
        (joint.PhantomConfig(), {"encoding": "linear"}),
        (joint.ImageTableConfig(table="x"), {"channels": 1}),
    ):
        other = joint.RunConfig(data=config.model_copy(update=said))
        assert joint.RunConfig(data=config).digest() != other.digest()


def test_what_lies_at_a_path_is_recognised(tmp_path):
    assert joint.data_config("phantom").kind == "phantom"
    with pytest.raises(joint.ConfigError, match=r"nothing at .*missing; give a folder, a zip, or"):
        joint.data_config(tmp_path / "missing")
    (tmp_path / "file.npz").touch()
    assert joint.data_config(tmp_path / "file.npz").kind == "medmnist"
    np.savez(tmp_path / "mnist.npz", train_images=np.zeros((1, 2, 2), np.uint8))
    assert joint.data_config(tmp_path / "mnist.npz").kind == "medmnist"
    np.savez(tmp_path / "scenes.npz", images=np.zeros((1, 1, 2, 2), np.uint8))
    assert joint.data_config(tmp_path / "scenes.npz").kind == "file"
    assert joint.data_config(tmp_path / "scenes.npz", image_size=32).image_size is None
    (tmp_path / "set.zip").touch()
    (tmp_path / "cross_lesion_duplicates.csv").touch()
    archive = joint.data_config(tmp_path / "set.zip", image_size=32)
    assert archive.kind == "ham10000"
    assert archive.duplicates == tmp_path / "cross_lesion_duplicates.csv"
    assert archive.image_size == 32
    folders = tmp_path / "folders"
    for name in ("cat", "dog"):
        (folders / name).mkdir(parents=True)
    assert joint.data_config(folders).kind == "folders"
    kaggle = tmp_path / "kaggle"
    (kaggle / "HAM10000_images_part_1").mkdir(parents=True)
    assert joint.data_config(kaggle).kind == "ham10000"


def test_binned_pixels_are_not_restored():
    lens = joint.LensConfig(restoration=0.05)
    with pytest.raises(ValueError, match="binning=2 sums them: set one of the two"):
        joint.SystemConfig(front_end=lens, sensor=joint.SensorConfig(binning=2))
    joint.SystemConfig(front_end=lens, sensor=joint.SensorConfig())
    joint.SystemConfig(sensor=joint.SensorConfig(binning=2))


def test_a_mosaic_is_not_restored_and_needs_colour_filters():
    for name in ("packed", "none"):
        mosaic = joint.SensorConfig(cfa="rggb", demosaicing=name)
        assert mosaic.hands_on_mosaic
        with pytest.raises(ValueError, match=rf"'{name}' gives the mosaic: set sensor"):
            joint.SystemConfig(front_end=joint.LensConfig(restoration=0.05), sensor=mosaic)
        with pytest.raises(ValueError, match=r"there is none: give cfa, such as 'rggb'"):
            joint.SensorConfig(demosaicing=name)
    interpolated = joint.SensorConfig(cfa="rggb", demosaicing="malvar")
    joint.SystemConfig(front_end=joint.LensConfig(restoration=0.05), sensor=interpolated)


def test_an_option_of_a_view_is_named_by_its_key(tmp_path):
    path = tmp_path / "run.json"
    path.write_text('{"training": {"augmentation": {"flipp": true}}}')
    with pytest.raises(joint.ConfigError, match=r"\n  training\.augmentation\.flipp: no such key"):
        joint.load_config(path)


def _as_mapping(content, _):
    return joint.RunConfig.model_validate(content)


def _as_json(content, folder):
    (folder / "run.json").write_text(json.dumps(content))
    return joint.load_config(folder / "run.json")


def _as_toml(content, folder):
    (section, keys), *_ = content.items()
    lines = [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]
    (folder / "run.toml").write_text("\n".join(lines))
    return joint.load_config(folder / "run.toml")


def _on_the_command_line(content, _):
    (section, keys), *_ = content.items()
    words = [(f"--{section}.{key.replace('_', '-')}", str(value)) for key, value in keys.items()]
    return read_train_options([word for pair in words for word in pair]).run


def _as_base(content, _):
    light = Axis(path="system.sensor.photons", values=(50, 300))
    return Study(base=content, axes={"light": light}).base


def _on_an_axis(content, _):
    study = Study(axes={"what": Axis(values=(content,), labels=("it",))})
    return study.config({"what": "it"}, 0)


@pytest.mark.parametrize(
    "given", [_as_mapping, _as_json, _as_toml, _on_the_command_line, _as_base, _on_an_axis]
)
@pytest.mark.parametrize(
    ("section", "keys"),
    [
        ("objective", {"label_smoothing": 0.0}),
        ("objective", {"rate": 0.3}),
        ("training", {"epochs": 1}),
        ("split", {"by": "image"}),
    ],
)
def test_what_a_table_leaves_out_is_as_by_default(tmp_path, given, section, keys):
    default = joint.RunConfig()
    changed = getattr(default, section).model_copy(update=keys)
    assert given({section: keys}, tmp_path) == default.model_copy(update={section: changed})


def test_settings_in_python_stay_what_they_are():
    config = joint.RunConfig(objective=joint.Objective(label_smoothing=0), training={"epochs": 2})
    assert config.objective == joint.Objective(label_smoothing=0, rate=0, distortion=0)
    assert config.training == joint.Training(epochs=2, monitor="balanced_accuracy")


def test_a_stored_run_takes_nothing_from_the_defaults():
    """Each key that a run has its own default of is in the file, whatever its value."""
    plain = joint.RunConfig(objective=joint.Objective(), training=joint.Training())
    stored = plain.model_dump(mode="json")
    for name, field in joint.RunConfig.model_fields.items():
        if isinstance(field.default, Settings):
            assert field.default.model_fields_set <= stored[name].keys()
    assert joint.RunConfig.model_validate(stored).digest() == plain.digest()


def test_a_file_that_is_toml_is_read(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text('[system.sensor]\nkind = "sensor"\nbit_depth = "null"\n')
    assert joint.load_config(path).system.sensor == joint.SensorConfig(bit_depth=None)
    path.write_text("[training]\nepoch = 3\n")
    with pytest.raises(joint.ConfigError, match=r"training\.epoch: no such key; did you"):
        joint.load_config(path)
    path.write_text("[training\n")
    with pytest.raises(joint.ConfigError, match=r"run\.toml is not TOML: Expected"):
        joint.load_config(path)


class _Smooth(joint.Objective):
    smooth: float = 5.0


class _Other(joint.SensorConfig):
    pass


class _Patient(joint.Training):
    pass


class _ByHand(joint.SplitConfig):
    pass


class _Filters(joint.ColourConfig):
    pass


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"objective": _Smooth()},
            "objective is of the class .*_Smooth, .* as Objective: .*joint.fi",
        ),
        ({"training": _Patient()}, "training is .*_Patient, .* as Training: "),
        ({"split": _ByHand()}, "split is .*_ByHand, .* as SplitConfig: "),
        (
            {"system": joint.SystemConfig(sensor=_Other())},
            r"system.sensor is .*_Other, .* as SensorConfig: ",
        ),
        (
            {"system": joint.SystemConfig(front_end=joint.LensConfig(colour=_Filters()))},
            r"system.front_end.colour is .*_Filters, .* as ColourConfig: ",
        ),
    ],
)
def test_a_class_of_ones_own_is_no_section_of_a_configuration(given, message):
    """Its file would name another class, and lose what it adds."""
    with pytest.raises(ValueError, match=message):
        joint.RunConfig(**given)


def test_every_class_of_a_section_comes_back():
    for kinds, name in (
        (FRONT_END_KINDS, "front_end"), (SENSOR_KINDS, "sensor"), (CODEC_KINDS, "codec"),
        (RESTORATION_KINDS, "restoration"), (CLASSIFIER_KINDS, "classifier"),
    ):  # fmt: skip
        for kind in kinds.values():
            if kind is not joint.PSFConfig:  # which needs a file
                joint.RunConfig(system=joint.SystemConfig(**{name: kind()}))


@pytest.mark.parametrize(
    ("training", "rests"),
    [
        ({}, False),
        ({"plan": "frozen"}, True),
        ({"stages": ("front_end", "sensor", "codec")}, True),
        ({"stages": ("classifier",)}, False),
        ({"plan": "alternating", "epochs": 4, "turn_epochs": 4}, True),
        ({"plan": "alternating", "epochs": 5, "turn_epochs": 4}, False),
        ({"plan": "alternating", "epochs": 9, "stages": ("front_end", "codec")}, True),
    ],
)
def test_a_random_classifier_that_learns_in_no_epoch_is_known(training, rests):
    given = joint.Training(**training)
    config = joint.RunConfig(training=given)
    learns = any("classifier" in given.learning(epoch) for epoch in range(given.epochs))
    assert rests_untrained(config) == rests == (not learns)
    public = joint.RunConfig.model_validate(
        {**dict(config), "system": {"classifier": {"weights": "public.pth"}}}
    )
    assert rests_untrained(public, head_loaded=False) == rests
    # Of a trained one it is what is wanted, and where no label counts there is no harm.
    for change in (
        {"system": {"classifier": {"weights": "best.safetensors"}}},
        {"objective": {"task": 0}},
    ):
        assert not rests_untrained(joint.RunConfig.model_validate({**dict(config), **change}))
