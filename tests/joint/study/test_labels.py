import pytest

from joint.study import Axis, Plan, create_study, open_study
from joint.study.create import write_study

PHOTONS = "system.sensor.photons"
SENSORS = Axis(
    path="system.sensor",
    values=({"kind": "sensor", "bit_depth": 4, "photons": 50}, {"kind": "sensor", "bit_depth": 8}),
    labels=("coarse", "fine"),
)


@pytest.mark.parametrize(
    ("axes", "derived", "message"),
    [
        ({"light": Axis(path=PHOTONS, values=(5, 50))}, {}, f"two axes set {PHOTONS}; make them"),
        (
            {"light": Axis(values=({PHOTONS: 5}, {PHOTONS: 9}), labels=("a", "b"))},
            {},
            f"two axes set {PHOTONS}; make them",
        ),
        ({"lamp": Axis(values=(5, 50))}, {PHOTONS: "2 * lamp"}, f"{PHOTONS} is derived, and .*sen"),
        (
            {"how": Axis(path="training", values=({"epochs": 1, "seed": 7},), labels=("a",))},
            {},
            "axes.how: training.seed is set by the seeds of the study; list them there",
        ),
    ],
)
def test_nothing_else_sets_what_a_label_says(small_study, tmp_path, axes, derived, message):
    study = small_study(axes={"sensor": SENSORS, **axes}, derived=derived, plan=Plan())
    with pytest.raises(ValueError, match=message):
        create_study(study, tmp_path)
    # One that was written before is fixed, and opens.
    write_study(study, tmp_path)
    assert create_study(study, tmp_path).runs == open_study(tmp_path).runs


def test_what_a_label_leaves_open_may_be_set(small_study, tmp_path):
    light = Axis(path=PHOTONS, values=(5, 50), when={"sensor": "fine"})
    lamp = Axis(values=(1, 2), when={"sensor": "fine"})
    axes = {"sensor": SENSORS, "light": light}
    assert len(create_study(small_study(axes=axes, plan=Plan()), tmp_path / "axis").designs) == 3
    axes = {"sensor": SENSORS, "lamp": lamp}
    study = small_study(axes=axes, derived={PHOTONS: "lamp"}, plan=Plan())
    assert len(create_study(study, tmp_path / "derived").designs) == 3


@pytest.mark.parametrize("derived", [{}, {PHOTONS: "light"}])
def test_what_no_design_has_together_sets_nothing_twice(small_study, tmp_path, derived):
    """A third axis keeps both apart."""
    when = {"epochs": 2}
    axes = {
        "epochs": Axis(path="training.epochs", values=(1, 2)),
        "sensor": SENSORS.model_copy(update={"when": {"epochs": 1}}),
        "light": Axis(path=None if derived else PHOTONS, values=(5, 50), when=when),
    }
    ledger = create_study(small_study(axes=axes, derived=derived, plan=Plan()), tmp_path)
    photons = [ledger.config(run).system.sensor.photons for run in ledger.runs[:4]]
    assert photons[0] == 50
    assert photons[2:] == [5, 50]


def test_what_a_whole_table_drops_of_the_base_is_told(small_base, small_study, tmp_path):
    base = small_base()
    sensor = base.system.sensor.model_copy(update={"read_noise": 20.0})
    base = base.model_copy(update={"system": base.system.model_copy(update={"sensor": sensor})})
    axes = {"sensor": SENSORS}
    with pytest.warns(UserWarning, match=r"axis sensor .* sets for system.sensor.read_noise is at"):
        ledger = create_study(small_study(base=base, axes=axes, plan=Plan()), tmp_path / "told")
    assert ledger.config(ledger.runs[0]).system.sensor.read_noise != 20
    # Another kind has no such field; and what another axis sets is set.
    none = Axis(path="system.sensor", values=({"kind": "none"},))
    create_study(small_study(base=base, axes={"sensor": none}, plan=Plan()), tmp_path / "none")
    axes |= {"noise": Axis(path="system.sensor.read_noise", values=(1, 20))}
    create_study(small_study(base=base, axes=axes, plan=Plan()), tmp_path / "set")
