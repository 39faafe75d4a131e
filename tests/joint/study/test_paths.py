import pytest

from joint.config.front_ends import LensConfig
from joint.config.run import RunConfig, SystemConfig
from joint.settings import ConfigError
from joint.study import Axis, Study, known_paths
from joint.study.paths import check_path, set_path


def test_every_field_of_every_kind_has_a_path():
    paths = known_paths()
    assert {"system.sensor.photons", "system.front_end", "objective.rate", "training.plan"} <= {
        *paths
    }
    # Of stages that are not those of the default configuration, too.
    assert {"system.front_end.stop_radius", "system.codec.quality", "data.root"} <= {*paths}
    assert len(paths) == len(set(paths))
    for path in paths:
        check_path(path)


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("system.sensor.photon", "did you mean 'system.sensor.photons'"),
        ("photons", "did you mean 'system.sensor.photons'"),
        ("sensor.fotons", "did you mean 'system.sensor.photons'"),
        ("training.epoch", "did you mean 'training.epochs'"),
        ("system.frontend.kernel_size", "did you mean 'system.front_end.kernel_size'"),
    ],
)
def test_an_unknown_field_names_the_nearest(path, hint):
    with pytest.raises(ValueError, match=hint):
        check_path(path)


def test_a_field_unlike_any_has_no_hint():
    with pytest.raises(ValueError, match=r"no field of a run is called 'qqq'$"):
        check_path("qqq")


def test_keys_of_a_dictionary_are_left_to_its_own_check():
    check_path("training.learning_rates.codec")
    check_path("objective.terms.mine.weight")
    check_path("objective.terms.mine.args.scale")
    with pytest.raises(ValueError, match=r"'objective\.terms\.mine\.wait'; did you mean .*\*\.wei"):
        check_path("objective.terms.mine.wait")
    with pytest.raises(ValueError, match="no field of a run"):
        check_path("training.epochs.codec")


def test_items_of_a_list_are_set_by_their_number():
    check_path("system.front_end.surfaces.2.curvature")
    content = {"a": [{"b": 1}, {"b": 2}], "c": [1.0, 2.0]}
    set_path(content, "a.1.b", 3)
    set_path(content, "a.0", {"b": 0})
    set_path(content, "c.1", 5.0)
    assert content == {"a": [{"b": 0}, {"b": 3}], "c": [1.0, 5.0]}
    for path, number in (("a.2.b", "2"), ("a.-1.b", "-1"), ("a.b", "b")):
        said = f"a has 2 items, by their numbers from 0, and no {number}"
        with pytest.raises(ConfigError, match=said):
            set_path(content, path, 1)


def test_setting_keeps_the_rest():
    content = {"a": {"b": 1, "c": 2}, "d": "word"}
    set_path(content, "a.b", [3])
    assert content == {"a": {"b": [3], "c": 2}, "d": "word"}
    with pytest.raises(ConfigError, match="d is 'word' and has no e: set it as a whole"):
        set_path(content, "d.e", 1)


def test_settings_that_are_not_written_are_made():
    content = {"a": {}}
    set_path(content, "a.b.4", 0.1)
    set_path(content, "a.b.6", 0.2)
    assert content == {"a": {"b": {"4": 0.1, "6": 0.2}}}
    with pytest.raises(ConfigError, match=r"a\.b\.4 is 0\.1 and has no c: set it as a whole"):
        set_path(content, "a.b.4.c", 1)


@pytest.mark.parametrize(
    ("lens", "zernike"),
    [
        (LensConfig(), {4: 0.1}),  # whose zernike is not written, as it is the default
        (LensConfig(zernike={4: 0.3, 9: 0.2}), {4: 0.1, 9: 0.2}),
    ],
)
def test_an_axis_is_one_term_of_the_wavefront(lens, zernike):
    base = RunConfig(system=SystemConfig(front_end=lens))
    axis = Axis(path="system.front_end.zernike.4", values=(0.1, 0.2))
    study = Study(base=base, axes={"defocus": axis})
    config = study.config({"defocus": 0.1}, 0)
    assert config.system.front_end == lens.model_copy(update={"zernike": zernike})
    with pytest.raises(ConfigError, match=r"front_end\.kernel\.zernike: no such key"):
        Study(base=RunConfig(), axes={"defocus": axis}).config({"defocus": 0.1}, 0)
