import pytest
from pydantic import ValidationError

from joint.settings import ConfigError
from joint.study import Axis, Study
from joint.study.derived import cost, derive

LIGHT = Axis(path="system.sensor.photons", values=(50, 300, 2000))
CAMERA = Axis(path="system.front_end", values=({"kind": "none"}, {"kind": "kernel"}))


def test_a_formula_without_a_value_names_its_field():
    derived = {"system.sensor.photons": "1 / light", "objective.rate": "light**2 / 3"}
    assert derive(derived, {"light": 2}) == {
        "system.sensor.photons": 0.5,
        "objective.rate": 1.33333,
    }
    message = r"system.sensor.photons cannot be derived: .* no finite value at light=0"
    with pytest.raises(ConfigError, match=message):
        derive(derived, {"light": 0})


@pytest.mark.parametrize(
    ("axes", "derived", "message"),
    [
        ({"light": LIGHT}, {"system.sensor.photons": "light"}, "the axis light sets it too"),
        ({"a": Axis(values=(1, 2))}, {}, "the axis a sets nothing: give it the path of a field"),
        ({"a": Axis(low=1, high=2)}, {}, "the axis a sets nothing"),
        ({"light": LIGHT}, {"objective.rates": "light"}, "did you mean 'objective.rate'"),
        ({"light": LIGHT}, {"objective.rate": "ligth"}, "did you mean 'light'"),
        ({"light": LIGHT}, {"objective.rate": "3"}, "is the same in all designs: set it in the"),
        ({"light": LIGHT}, {"objective.rate": "light +"}, r"cannot read the formula 'light \+'"),
        ({"light": LIGHT}, {"system.seed": "light"}, "system.seed is set by the seeds"),
        ({"camera": CAMERA}, {"objective.rate": "camera"}, "camera, whose levels are not numbers"),
        ({"light": LIGHT}, {"objective": {"rate": "light"}}, "write the whole path in quotes"),
    ],
)
def test_what_cannot_be_derived_is_refused(axes, derived, message):
    with pytest.raises(ValidationError, match=message):
        Study(axes=axes, derived=derived)


def test_a_cost_is_of_choices_and_of_what_was_measured():
    design = {"light": 300, "camera": "lens"}
    measured = {"bits": 2000.0, "macs": None}
    assert cost("light + bits / 2e3", design, measured) == 301
    assert cost("2 * light", design, {}) == 600  # known before the run
    assert cost("macs", design, measured) is None
    assert cost("pixels", design, measured) is None
    assert cost("1 / (light - 300)", design, measured) is None


@pytest.mark.parametrize(
    ("axes", "costs", "message"),
    [
        ({"light": LIGHT}, {"a b": "light"}, "a cost is named by one word, not 'a b'"),
        ({"light": LIGHT}, {"bits": "2 * bits"}, "bits is measured: call the cost '2 \\* bits' by"),
        ({"light": LIGHT}, {"accuracy": "light"}, "accuracy is measured"),
        ({"bits": LIGHT}, {"file": "bits / 8"}, "reads bits, which is measured and is an axis"),
        ({"light": LIGHT}, {"bpp": "2 * bpp"}, "bpp is measured: call the cost '2 \\* bpp' by"),
        ({"bpp": LIGHT}, {"sent": "2 * bpp"}, "reads bpp, which is measured and is an axis"),
        ({"light": LIGHT}, {"sent": "psnr"}, "cost sent reads psnr, which is not an axis"),
        ({"light": LIGHT}, {"lamp": "ligth"}, "cost lamp reads ligth, which is not an axis; did"),
        ({"camera": CAMERA}, {"lamp": "camera"}, "axis camera, whose levels are not numbers"),
        (
            {"light": LIGHT},
            {"light": "2 * light"},
            r"light is an axis: call the cost '2 \* light' by",
        ),
        ({"light": LIGHT}, {"lamp": "light light"}, "cannot read the formula"),
    ],
)
def test_what_is_no_cost_is_refused(axes, costs, message):
    with pytest.raises(ValidationError, match=message):
        Study(axes=axes, costs=costs)


def test_a_measured_cost_may_stand_among_the_others():
    costs = {"bits": "bits", "bpp": "bpp", "lamp": "light"}
    assert Study(axes={"light": LIGHT}, costs=costs).costs == costs
    costs = {"light": "light"}  # an axis is a cost by itself
    assert Study(axes={"light": LIGHT}, costs=costs).costs == costs


def test_a_whole_number_is_kept_and_a_power_is_rounded():
    """A power differs in its last bits between machines, and may be whole on one of them alone."""
    formulas = {"a": "n", "b": "n / 3", "c": "n**1", "d": "2 * round(n / 3)"}
    found = derive(formulas, {"n": 1234567})
    assert found == {"a": 1234567, "b": 411522, "c": 1234570, "d": 823044}
