import json

import pytest
from pydantic import ValidationError

from joint.config.faults import fault_line
from joint.config.run import LensConfig, RunConfig, SystemConfig
from joint.settings import ConfigError
from joint.study import (
    Axis,
    Comparison,
    LatinHypercube,
    Listed,
    Plan,
    Random,
    Sobol,
    Study,
    load_study,
)

LIGHT = Axis(path="system.sensor.photons", values=(50, 300, 2000))
CAMERA = Axis(path="system.front_end", values=({"kind": "none"}, {"kind": "kernel"}))


def _bent(number):
    """An axis of the first surface of a lens, by its radius or its curvature."""
    return Axis(path=f"system.front_end.surfaces.0.{number}", values=(20.0, 30.0))


def test_a_run_is_the_base_with_the_choices_and_the_seed():
    size = Axis(path="system.front_end.kernel_size", values=(3, 5))
    study = Study(axes={"size": size, "camera": Axis(path="system.front_end", values=(
        {"kind": "kernel", "signed": False},)), "light": LIGHT})  # fmt: skip
    (label,) = study.axes["camera"].levels()
    config = study.config({"camera": label, "size": 5, "light": 300}, 7)
    assert config.system.front_end.kind == "kernel"
    assert config.system.front_end.signed is False
    assert config.system.front_end.kernel_size == 5  # inside of what another axis chose
    assert config.system.sensor.photons == 300
    assert (config.system.seed, config.training.seed) == (7, 7)
    # All else is the base, the split among it: pairs see the same pictures.
    base = RunConfig()
    assert config.split == base.split
    assert config.data == base.data
    other = study.config({"camera": label, "size": 5, "light": 50}, 7)
    assert other.system.sensor.model_copy(update={"photons": 300.0}) == config.system.sensor


def test_fields_that_belong_together_are_one_axis():
    coder = Axis(
        values=(
            {"system.codec": {"kind": "jpeg"}, "objective.rate": 0},
            {"system.codec": {"kind": "factorized"}, "objective.rate": 0.5},
        ),
        labels=("jpeg", "learned"),
    )
    study = Study(axes={"coder": coder})
    rates = [study.config(design, 0).objective.rate for design in study.designs()]
    assert rates == [0, 0.5]


def test_designs_meet_the_constraints():
    study = Study(axes={"camera": CAMERA, "light": LIGHT}, constraints=(
        "camera != kernel or light >= 300", "light < 2000"))  # fmt: skip
    assert study.designs() == (
        {"camera": "none", "light": 50},
        {"camera": "none", "light": 300},
        {"camera": "kernel", "light": 300},
    )


STOP = Axis(path="system.front_end.f_number", values=(8, 16))
PITCH = Axis(path="system.front_end.pixel_pitch", values=(1.75e-6, 3.5e-6))
EXPOSURE = "light * (pitch / 3.5e-6)**2 * (8 / stop)**2"


def _exposed(**changes):
    """Cameras in the same light: photons at 3.5 um and f/8, and those of other pixels and stops."""
    settings = {
        "base": RunConfig(system=SystemConfig(front_end=LensConfig())),
        "axes": {"stop": STOP, "pitch": PITCH, "light": Axis(low=100, high=1e4, points=2)},
        "derived": {"system.sensor.photons": EXPOSURE},
    }
    return Study(**{**settings, **changes})


def test_a_field_may_follow_from_several_axes():
    study = _exposed(constraints=("pitch <= 463e-9 * stop", "light - 1000 * stop <= 0"))
    photons = {
        (d["stop"], d["pitch"], d["light"]): study.config(d, 0).system.sensor.photons
        for d in study.designs()
    }
    # Half the pixel or half the aperture: a quarter of the light.
    assert photons == {
        (8, 3.5e-6, 100): 100,
        (8, 1.75e-6, 100): 25,
        (16, 3.5e-6, 100): 25,
        (16, 1.75e-6, 100): 6.25,
        (16, 3.5e-6, 1e4): 2500,
        (16, 1.75e-6, 1e4): 625,
    }
    assert study.sets("stop") == {"system.front_end.f_number", "system.sensor.photons"}
    assert study.sets("light") == {"system.sensor.photons"}
    assert Study.model_validate_json(study.model_dump_json()) == study


def test_a_derived_field_may_be_a_whole_number_and_is_rounded():
    window = {"system.front_end.psf_size": "2 * ceil(stop) + 1", "objective.rate": "stop / 3"}
    study = _exposed(axes={"stop": STOP}, derived=window)
    config = study.config({"stop": 8}, 0)
    assert config.system.front_end.psf_size == 17
    assert config.objective.rate == 2.66667  # the name of a run must not hang on the last bits
    # Inside of what an axis chooses as a whole.
    lens = Axis(path="system.front_end", values=({"kind": "lens"}, {"kind": "lens", "defocus": 1}))
    width = Axis(values=(15, 31))
    inside = {"system.front_end.psf_size": "width"}
    study = _exposed(axes={"lens": lens, "width": width}, derived=inside)
    sizes = [study.config(design, 0).system.front_end.psf_size for design in study.designs()]
    assert sizes == [15, 31, 15, 31]


@pytest.mark.parametrize("sampler", [Random, Sobol])
def test_sampled_designs_are_as_many_as_wanted(sampler):
    rate = Axis(path="objective.rate", low=0.01, high=1, scale="log")
    axes = {"camera": CAMERA, "rate": rate}
    study = Study(axes=axes, sampler=sampler(count=20), constraints=("rate < 0.2",))
    designs = study.designs()
    assert len(designs) == 20
    assert len({json.dumps(design) for design in designs}) == 20
    assert all(0.01 <= design["rate"] < 0.2 for design in designs)
    assert designs == study.designs()


def test_a_latin_hypercube_is_whole_or_refused():
    rate = Axis(path="objective.rate", low=0.01, high=1, scale="log")
    axes = {"camera": CAMERA, "rate": rate}
    sampler = LatinHypercube(count=20)
    whole = Study(axes=axes, sampler=sampler, constraints=("rate <= 1",)).designs()
    assert list(whole) == list(sampler.designs(axes))
    # Exactly a quarter of the strata of the rate lie above 10**-0.5.
    with pytest.raises(ValueError, match="of the 20 points of the Latin hypercube, only 15 are di"):
        Study(axes=axes, sampler=sampler, constraints=("rate < 0.316227",)).designs()
    with pytest.raises(ValueError, match=r"only 3 are different .* or take a grid"):
        Study(axes={"light": LIGHT}, sampler=LatinHypercube(count=6)).designs()
    with pytest.raises(ValidationError, match=r"sampler\.latin_hypercube\.seed"):
        Study.model_validate(
            {"axes": axes, "sampler": {"kind": "latin_hypercube", "count": 2, "seed": -1}}
        )


def test_constraints_that_leave_nothing_are_refused():
    with pytest.raises(ValueError, match="exclude all of the 3 designs tried: light > 9999"):
        Study(axes={"light": LIGHT}, constraints=("light > 9999",)).designs()
    with pytest.raises(ValueError, match="exclude all of the 1200 designs tried"):
        Study(
            axes={"light": LIGHT}, constraints=("light > 9999",), sampler=Random(count=2)
        ).designs()
    with pytest.raises(ValueError, match="5 designs are wanted, and 1500 draws gave only 3"):
        Study(axes={"light": LIGHT}, sampler=Random(count=5)).designs()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"axes": {}}, "at least 1 item"),
        ({"axes": {"a b": LIGHT}}, "an axis is named by one word, not 'a b'"),
        ({"axes": {"a": Axis(path="system.photons", values=(1,))}}, "'system.sensor.photons'"),
        ({"axes": {"a": LIGHT, "b": LIGHT}}, "two axes set system.sensor.photons; make them one"),
        (
            {"axes": {"r": _bent("radius"), "c": _bent("curvature")}},
            r"surfaces\.0\.curvature, to which a radius is converted; make them one",
        ),
        ({"axes": {"a": LIGHT}, "seeds": ()}, "at least 1 item"),
        ({"axes": {"a": LIGHT}, "seeds": (3, -1)}, r"from 0 to 2\*\*63 - 1, not -1"),
        ({"axes": {"a": LIGHT}, "seeds": (2**63,)}, "not 9223372036854775808"),
        ({"axes": {"a": LIGHT}, "seeds": (1, 1)}, r"the seeds must differ: \[1, 1\]"),
        ({"axes": {"light": LIGHT}, "constraints": ("ligth < 3",)}, "did you mean 'light'"),
        ({"axes": {"light": LIGHT}, "constraints": ("light",)}, "cannot read the constraint"),
        ({"axes": {"camera": CAMERA}, "constraints": ("camera == kernal",)}, "'kernel'"),
        ({"axes": {"light": LIGHT}, "plan": Plan(comparisons=(
            Comparison(first={"camera": 1}, second={"camera": 2}),))}, "no axis 'camera'"),
        ({"axes": {"light": LIGHT}, "plan": Plan(comparisons=(
            Comparison(first={"light": 50}, second={"light": 51}),))}, "no level 51"),
    ],
)  # fmt: skip
def test_what_is_no_study_is_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        Study(**settings)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({}, {}, "must choose on the same axes twice"),
        ({"a": 1}, {"b": 1}, "must choose on the same axes twice"),
        ({"a": 1}, {"a": 1}, "needs two different designs"),
    ],
)
def test_a_comparison_has_two_sides(first, second, message):
    with pytest.raises(ValidationError, match=message):
        Comparison(first=first, second=second)


def test_the_metric_must_be_known():
    with pytest.raises(ValidationError, match="'balanced_acuracy'; did you mean 'balanced_accura"):
        Plan(metric="balanced_acuracy")


def test_a_design_that_is_no_configuration_is_named():
    size = Axis(path="system.front_end.kernel_size", values=(3, 4))
    study = Study(axes={"camera": CAMERA, "size": size})
    with pytest.raises(ConfigError, match=r"(?s)camera=none, size=3 .*kernel_size: no such key\n"):
        study.config({"camera": "none", "size": 3}, 0)
    with pytest.raises(ConfigError, match="kernel_size: kernel_size must be odd, not 4"):
        study.config({"camera": "kernel", "size": 4}, 0)


def _planned(**changes):
    comparison = Comparison(first={"camera": "kernel"}, second={"camera": "none"})
    settings = {"axes": {"camera": CAMERA, "light": LIGHT}, "plan": Plan(comparisons=(comparison,))}
    return Study(**{**settings, **changes})


def test_a_comparison_is_made_at_every_level_of_the_rest():
    study = _planned()
    designs = study.designs()
    pairs = study.pairs(designs)
    assert [pair.name for pair in pairs] == [
        f"camera=kernel against camera=none at light={light}" for light in (50, 300, 2000)
    ]
    for pair in pairs:
        assert designs[pair.first] == {**designs[pair.second], "camera": "kernel"}


def test_a_comparison_without_partners_is_refused():
    apart = ("camera == none or light == 50", "camera == kernel or light > 50")
    study = _planned(constraints=apart)
    with pytest.raises(ValueError, match="no two designs compare camera=kernel with camera=none"):
        study.pairs(study.designs())


def test_listed_designs_can_be_compared():
    chosen = ({"camera": "kernel", "light": 50}, {"camera": "none", "light": 50})
    study = _planned(sampler=Listed(chosen=chosen))
    (pair,) = study.pairs(study.designs())
    assert pair == ("camera=kernel against camera=none", 0, 1)


def test_a_number_is_one_level_however_it_is_written():
    light = Axis(path="system.sensor.photons", low=1, high=9)
    depth = Axis(path="system.sensor.bit_depth", values=(4, 8))
    chosen = ({"light": 2, "depth": 4}, {"light": 2.0, "depth": 8}, {"light": 2.0, "depth": 4})
    plan = Plan(comparisons=(Comparison(first={"depth": 8}, second={"depth": 4}),))
    study = Study(axes={"light": light, "depth": depth}, sampler=Listed(chosen=chosen), plan=plan)
    assert study.designs() == ({"light": 2, "depth": 4}, {"light": 2, "depth": 8})
    assert [(pair.first, pair.second) for pair in study.pairs(study.designs())] == [(1, 0)]


@pytest.mark.parametrize("constraints", [(), ("a < a",)])
def test_a_grid_without_an_end_is_told_before_it_fills_the_memory(constraints, monkeypatch):
    monkeypatch.setattr("joint.study.space._MANY", 30)
    monkeypatch.setattr("joint.study.space._GRID", 50)
    light = Axis(path="system.sensor.photons", values=tuple(range(1, 31)))
    noise = Axis(path="system.sensor.read_noise", values=(1, 2))
    assert len(Study(axes={"a": light}).designs()) == 30
    with pytest.raises(ValueError, match=r"more than (30 designs|50 combinations): give its axes"):
        Study(axes={"a": light, "b": noise}, constraints=constraints).designs()


def test_too_few_seeds_are_told():
    study = _planned(seeds=range(5))
    assert study.doubt(0) is None
    assert study.doubt(1) == (
        "5 paired seeds cannot give a p below 0.0625, and the smallest of 1 planned comparison "
        "must reach 0.05: nothing can be shown. Use at least 6 seeds"
    )
    assert "Use at least 7 seeds" in str(study.doubt(3))
    assert _planned(seeds=range(7)).doubt(3) is None


def test_a_study_comes_back_from_json():
    study = _planned(constraints=("light < 500",), sampler=Sobol(count=3))
    assert Study.model_validate_json(study.model_dump_json()) == study


TOML = """
name = "camera and light"
seeds = [0, 1, 2, 3, 4, 5]
constraints = ["camera == none or light >= 300"]

[base.training]
epochs = 3

[axes.camera]
path = "system.front_end"
values = [{kind = "none"}, {kind = "kernel", signed = false}]
labels = ["none", "kernel"]

[axes.light]
path = "system.sensor.photons"
values = [50, 300]

[sampler]
kind = "grid"

[plan]
metric = "accuracy"
comparisons = [{first = {camera = "kernel"}, second = {camera = "none"}}]
"""


def test_a_study_is_read_from_a_file(tmp_path):
    toml, as_json = tmp_path / "study.toml", tmp_path / "study.json"
    toml.write_text(TOML)
    study = load_study(toml)
    assert study.base.training.epochs == 3
    assert len(study.designs()) == 3
    as_json.write_text(study.model_dump_json())
    assert load_study(as_json) == study


def test_toml_has_a_word_for_null(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(
        """
        name = "null"
        constraints = ["restoration != null or readout == ten"]
        [base.system]
        front_end = {kind = "lens"}
        sensor = {kind = "sensor", bit_depth = "null"}
        [axes.restoration]
        path = "system.front_end.restoration"
        values = ["null", 0.05]
        [axes.readout]
        labels = ["null", "ten"]
        values = [{"system.sensor.gain" = "null"}, {"system.sensor.bit_depth" = 10}]
        [plan]
        comparisons = [{first = {restoration = 0.05}, second = {restoration = "null"}}]
        """
    )
    study = load_study(path)
    assert study.name == "null"
    assert study.axes["readout"].labels == ("null", "ten")
    assert study.designs() == (
        {"restoration": None, "readout": "ten"},
        {"restoration": 0.05, "readout": "null"},
        {"restoration": 0.05, "readout": "ten"},
    )
    first, second, _ = (study.config(design, 0).system for design in study.designs())
    assert (first.front_end.restoration, second.front_end.restoration) == (None, 0.05)
    assert (first.sensor.bit_depth, second.sensor.bit_depth) == (10, None)
    assert [pair[1:] for pair in study.pairs(study.designs())] == [(2, 0)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("epochs = 3", "epoch = 3"), "base.training.epoch: no such key; did you mean 'epochs'"),
        (("[sampler]", "[sampling]"), "sampling: no such key"),
        (("values = [50, 300]", "values = []"), "axes.light: the axis is empty"),
        (("seeds = [0", "seeds = [0.5"), "seeds.0: must be a whole number, not 0.5"),
        (("[axes.camera]", "[axes.camera"), "is not TOML"),
        (("[axes.", "[axis."), "axes: it is missing\n  axis: no such key; did you mean 'axes'"),
        (
            ('kind = "grid"', 'kind = "gird"'),
            "sampler: there is no kind 'gird'; did you mean 'grid'",
        ),
        (
            ('kind = "grid"', 'kind = "x"'),
            "no kind 'x'; choose from grid, random, sobol, latin_hypercube, l",
        ),
    ],
)
def test_a_wrong_file_is_told_with_its_place(tmp_path, change, message):
    path = tmp_path / "study.toml"
    path.write_text(TOML.replace(*change))
    with pytest.raises(ConfigError, match=message):
        load_study(path)


def test_files_that_are_none(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read .*missing.json: No such file"):
        load_study(tmp_path / "missing.json")
    wants = (
        r"Name a study file, a \.toml or \.json .* also takes the folder that an earlier one wrote"
    )
    with pytest.raises(ConfigError, match=wants):
        load_study(tmp_path / "missing.json")
    (tmp_path / "sizes.toml").write_text("[edge.small]\nseeds = [0]\n[rate]\n")
    with pytest.raises(
        ConfigError, match=r"sizes\.toml is no study file, .*axes.*: it has edge, rate$"
    ):
        load_study(tmp_path / "sizes.toml")
    (tmp_path / "a.json").write_bytes(b"\xff{")
    with pytest.raises(ConfigError, match="is not JSON"):
        load_study(tmp_path / "a.json")


def test_a_constraint_may_limit_a_cost_that_is_known_beforehand():
    axes = {
        "light": Axis(path="system.sensor.photons", values=(50, 300, 2000)),
        "depth": Axis(path="system.sensor.bit_depth", values=(4, 8)),
    }
    costs = {"lamp": "light * depth", "seconds": "bits / 2e6"}
    found = Study(axes=axes, costs=costs, constraints=("lamp / 2 <= 600 or depth == 8",)).designs()
    assert [(d["light"], d["depth"]) for d in found] == [
        (light, depth) for light in (50, 300, 2000) for depth in (4, 8) if light < 2000 or depth > 4
    ]
    with pytest.raises(ValidationError, match="cost seconds, which is known only after a run, as"):
        Study(axes=axes, costs=costs, constraints=("seconds < 1",))
    for equality in ("lamp == 3", "lamp != 3"):
        with pytest.raises(ValidationError, match=r"equality of the cost lamp, .* lamp <= 3"):
            Study(axes=axes, costs=costs, constraints=(equality,))
    with pytest.raises(ValidationError, match="no axis 'lamps'"):
        Study(axes=axes, costs=costs, constraints=("lamps < 1",))


def test_a_wrong_level_is_told_with_its_place():
    axes = {
        "light": Axis(path="system.sensor.photons", values=(50, 300)),
        "depth": Axis(path="system.sensor.bit_depth", values=(4, 8)),
    }
    with pytest.raises(ValidationError, match=r"the constraint 'depth != 5', depth: there is no"):
        Study(axes=axes, constraints=("depth != 5",))
    good, bad = (
        Comparison(first={"light": 300, "depth": d}, second={"light": 50, "depth": d})
        for d in (8, 9)
    )
    with pytest.raises(ValidationError, match=r"comparison 1 of the plan, depth: there is no lev"):
        Study(axes=axes, plan=Plan(comparisons=(good, bad)))


def test_one_seed_is_one_seed():
    axes = {"light": Axis(path="system.sensor.photons", values=(50, 300))}
    doubt = Study(axes=axes, seeds=(0,)).doubt(1)
    assert doubt.startswith("1 paired seed cannot give a p below 1, and")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ({"seeds": 6}, "seeds: give a list, such as [6]"),
        (
            {"sampler": {"count": 3}},
            "sampler: give its kind, which {'count': 3} does not (kind: random, sobol, "
            "latin_hypercube, tpe, gp, nsga2)",
        ),
    ],
)
def test_what_a_file_lacks_is_told_in_words_of_files(content, line):
    axes = {"light": {"path": "system.sensor.photons", "values": [50, 300]}}
    with pytest.raises(ValidationError) as caught:
        Study.model_validate({"axes": axes, **content})
    assert [fault_line(fault, Study) for fault in caught.value.errors()] == [line]


CODECS = {
    "codec": Axis(
        path="system.codec",
        values=({"kind": "none"}, {"kind": "jpeg"}, {"kind": "webp"}),
    ),
    "jpeg": Axis(path="system.codec.quality", values=(20, 80), when={"codec": "jpeg"}),
    "light": Axis(path="system.sensor.photons", values=(50, 1000)),
}


@pytest.mark.parametrize(
    ("constraint", "count"),
    [("codec != jpeg or light >= 300", 6), ("codec != jpeg", 4), ("codec == none", 2)],
)
def test_a_level_that_has_the_name_of_an_axis_is_a_level(constraint, count):
    axes = CODECS if "light" in constraint else {n: a for n, a in CODECS.items() if n != "jpeg"}
    found = Study(axes=axes, constraints=(constraint,)).designs()
    assert len(found) == count
    assert not any(design["codec"] == "jpeg" and design["light"] == 50 for design in found)
    # A cost has no say in it either, where its name is free.
    costs = {} if "jpeg" in axes else {"jpeg": "light * 2"}
    assert Study(axes=axes, costs=costs, constraints=(constraint,)).designs() == found


def test_a_level_that_must_be_chosen_is_no_axis_of_that_name():
    study = Study(axes=CODECS, constraints=("codec == jpeg or light < 300",))
    found = {(design["codec"], design["light"]) for design in study.designs()}
    assert found == {("none", 50), ("jpeg", 50), ("jpeg", 1000), ("webp", 50)}


def test_a_level_that_has_the_name_of_a_cost_is_a_level():
    lamps = Axis(path="system.codec", values=({"kind": "none"}, {"kind": "jpeg"}))
    axes = {"codec": lamps, "light": CODECS["light"]}
    costs = {"jpeg": "light * 2"}
    found = Study(axes=axes, costs=costs, constraints=("codec != jpeg or jpeg < 5",)).designs()
    assert [design["codec"] for design in found] == ["none", "none"]


def test_a_cost_without_a_value_counts_only_where_nothing_else_holds():
    noise = Axis(path="system.sensor.read_noise", values=(0, 1))
    settings = {"axes": {"m": noise}, "costs": {"inv": "1 / m"}}
    assert len(Study(**settings, constraints=("m < 0.1 or inv < 3",)).designs()) == 2
    with pytest.raises(ValueError, match="'1 / m' has no finite value at m=0"):
        Study(**settings, constraints=("inv < 3",)).designs()


def test_an_axis_that_formulas_read_otherwise_is_told():
    """Python reads the micro sign as a Greek mu, which looks alike."""
    pitch = Axis(path="system.sensor.read_noise", values=(1, 2))
    assert Study(axes={"pitch_\u00b5m": pitch})
    axes = {"pitch_\u00b5m": pitch, "x": Axis(path="objective.rate", values=(1, 2))}
    for settings in (
        {"constraints": ("pitch_\u00b5m <= x",)},
        {"costs": {"size": "pitch_\u00b5m * x"}},
    ):
        with pytest.raises(
            ValidationError, match=r"looks alike and is written pitch_\\u03bcm; call"
        ):
            Study(axes=axes, **settings)


def test_a_part_that_is_no_table_is_told():
    study = Study(axes={"system": Axis(path="system", values=("lens", "none"))})
    with pytest.raises(ConfigError, match="system=lens is not a valid configuration"):
        study.config({"system": "lens"}, 0)


def test_a_formula_without_a_value_counts_only_where_nothing_else_holds():
    axes = {"m": Axis(path="training.batch_size", values=(0, 1, 2)), "light": CODECS["light"]}
    for text in ("m < 1 or 1/m < 0.6", "1/m < 0.6 or m < 1"):
        assert {d["m"] for d in Study(axes=axes, constraints=(text,)).designs()} == {0, 2}
    with pytest.raises(ValueError, match="no finite value"):
        Study(axes=axes, constraints=("1/m < 0.6 or m > 5",)).designs()


@pytest.mark.parametrize(
    ("metric", "meant"),
    [("recal.mel", "recall.mel"), ("recall", "recall.CLASS"), ("acuracy", "accuracy")],
)
def test_a_metric_that_is_meant_is_named(metric, meant):
    told = f"there is no metric '{metric}'; did you mean '{meant}'"
    with pytest.raises(ValidationError, match=told):
        Plan(metric=metric)


def test_parts_in_which_designs_differ_are_known():
    axes = {
        "light": Axis(path="system.sensor.photons", values=(50, 500)),
        "depth": Axis(values=(16, 24)),
    }
    study = Study(axes=axes, derived={"data.image_size": "depth"})
    assert study.varies("data")  # by what is derived
    assert study.varies("split", "system")
    assert not study.varies("split")
