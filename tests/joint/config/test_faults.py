import pytest
from pydantic import ValidationError

from joint import RunConfig
from joint.config.faults import fault_line, models_in, option_line
from joint.settings import nearest


def _faults(content):
    with pytest.raises(ValidationError) as caught:
        RunConfig.model_validate(content)
    return caught.value.errors()


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (
            {"system": {"sensor": {"kind": "sensor", "photons": -3}}},
            "system.sensor.photons: must be greater than 0, not -3",
        ),
        (
            {"system": {"sensor": {"kind": "sensor", "photon": 3}}},
            "system.sensor.photon: no such key; did you mean 'photons'?",
        ),
        ({"training": {"epochs": "many"}}, "training.epochs: must be a whole number, not 'many'"),
        ({"training": {"epochs": 0.5}}, "training.epochs: must be a whole number, not 0.5"),
        (
            {"system": {"codec": {"kind": "jpg"}}},
            "system.codec: there is no kind 'jpg'; did you mean 'jpeg'?",
        ),
        (
            {"split": {"by": "patient"}},
            "split.by: must be 'lesion' or 'image', not 'patient'",
        ),
        (
            {"split": {"column": "part", "folds": 4}},
            "split: column='part' and folds=4 both divide the pictures: give one of the two",
        ),
        (
            {"system": {"front_end": {"f_number": 8}}},
            "system.front_end: give its kind, which {'f_number': 8} does not "
            "(kind: lens, compound)",
        ),
        (
            {"data": "endo"},
            "data: must be a table of keys (kind: phantom, ham10000, isic, folders, table, "
            "medmnist, file), not 'endo'",
        ),
        ({"training": 3}, "training: must be a table of keys, not 3"),
        (
            {"data": {"count": 10**400}},
            "data.count: must be less than or equal to 1000000000, "
            "not 100000000000... (401 digits)",
        ),
        (
            {"split": {"fold": 1}},
            "split: fold=1 does not exist: there are no folds, counted from 0",
        ),
    ],
)
def test_a_fault_of_a_file_is_told_by_its_key(content, line):
    assert [fault_line(fault, RunConfig) for fault in _faults(content)] == [line]


@pytest.mark.parametrize("above", [(), ("lens",)])
def test_a_lens_is_told_where_it_is(above):
    # The kind is called lens, and so is the field of a shutter that has one behind it.
    lens = {"kind": "lens", "pixel_pitch": 1e-3}
    (fault,) = _faults(
        {"system": {"front_end": {"kind": "shutter", "lens": lens} if above else lens}}
    )
    place = ".".join(("system.front_end", *above))
    assert fault_line(fault, RunConfig).startswith(f"{place}: pixel_pitch=0.001 m is wider than")
    told = option_line(fault, RunConfig, ["--quiet"])
    assert told.startswith(f"--{place.replace('_', '-')}.pixel-pitch 0.001 m is wider than")


def test_a_key_that_a_chosen_kind_lacks_is_told_with_the_kind():
    (fault,) = _faults({"system": {"front_end": {"kind": "kernel", "zernike": {}}}})
    assert (
        fault_line(fault, RunConfig, kinds=True) == "system.front_end.kernel.zernike: no such key"
    )


@pytest.mark.parametrize(
    "typed", ["--system.sensor.bit-depth=020", "--system.sensor.bit_depth 020"]
)
def test_what_was_given_is_told_as_it_was_typed(typed):
    (fault,) = _faults({"system": {"sensor": {"kind": "sensor", "bit_depth": 20}}})
    assert option_line(fault, RunConfig, ["--output", "x", *typed.split()]) == (
        "--system.sensor.bit-depth must be less than or equal to 16, not 020"
    )


def test_where_no_field_is_named_the_options_that_were_typed_are():
    content = {"front_end": {"kind": "psf", "content": "picture", "file": "psf.npy"}}
    (fault,) = _faults({"system": content})
    given = ["--front-end", "psf", "--system.front-end.content", "picture", "--quiet"]
    assert option_line(fault, RunConfig, given).startswith(
        "--front-end psf --system.front-end.content picture: a picture does not show"
    )


def test_models_are_found_in_unions():
    assert models_in(RunConfig | None) == [RunConfig]


def test_faults_are_lines():
    fault = {"type": "extra_forbidden", "loc": ("system", "sensor", "sensor", "photon"), "msg": ""}
    assert fault_line(fault, RunConfig, kinds=True) == (
        "system.sensor.sensor.photon: no such key; did you mean 'photons'?"
    )
    wrong = {"type": "value_error", "loc": ("a",), "msg": "Value error, it is wrong"}
    assert fault_line(wrong, RunConfig) == "a: it is wrong"
    plain = {"type": "less_than", "loc": (), "msg": "should be less", "input": 3}
    assert fault_line(plain, RunConfig, whole="the study") == "the study: should be less, not 3"


def test_nearest_or_all():
    assert nearest("lends", ["lens", "none"]) == "; did you mean 'lens'?"
    assert nearest("301", [50, 300]) == "; did you mean 300?"  # a level that quotes would change
    assert nearest("x", ["lens", "none"]) == "; choose from lens, none"
    assert nearest("x", ["lens", "none"], always=False) == ""
