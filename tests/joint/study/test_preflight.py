import math
import re
from contextlib import nullcontext
from pathlib import Path

import pytest
from scipy import special

import joint
from joint.config.lens import build_lens
from joint.settings import ConfigError
from joint.study import (
    NSGA2,
    TPE,
    Axis,
    Comparison,
    Listed,
    Plan,
    Random,
    Sobol,
    create_study,
    preflight,
)


def _pair(name, first, second):
    return Plan(comparisons=(Comparison(first={name: first}, second={name: second}),))


def _codecs(*kinds):
    return {"codec": Axis(path="system.codec", values=tuple({"kind": kind} for kind in kinds))}


def _base(small_base, objective, **system):
    base = small_base()
    changed = base.system.model_copy(update=system)
    return base.model_copy(update={"objective": objective, "system": changed})


@pytest.mark.parametrize(
    ("objective", "kinds", "message"),
    [
        ({"rate": 0.1}, ("factorized", "none"), r"codec=none .*rate=0.1 needs a codec, and there"),
        ({"distortion": 10.0}, ("none",), r"codec=none cannot .*distortion=10 needs a codec"),
        ({"rate": 0.1}, ("png", "factorized"), "codec=png .*rate=0.1 would have no effect"),
    ],
)
def test_what_an_objective_weighs_is_there(
    small_base, small_study, tmp_path, objective, kinds, message
):
    base = _base(small_base, joint.Objective(**objective), front_end=joint.KernelConfig())
    study = small_study(base=base, axes=_codecs(*kinds), plan=Plan())
    with pytest.raises(ConfigError, match=message):
        create_study(study, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("weighed", ["task", "distillation"])
def test_what_weighs_labels_needs_a_classifier(small_base, small_study, tmp_path, weighed):
    objective = joint.Objective(**{"task": 0.0, "distortion": 1.0, weighed: 0.5})
    base = _base(small_base, objective, classifier=joint.NoneConfig())
    base = base.model_copy(update={"teacher": Path("a_run")})
    study = small_study(base=base, axes=_codecs("factorized"), plan=Plan(metric="psnr"))
    with pytest.raises(ConfigError, match=f"{weighed}=0.5 needs a classifier, and there"):
        create_study(study, tmp_path)


@pytest.mark.parametrize("kind", ["none", "kernel"])
def test_what_weighs_a_penalty_needs_a_front_end_that_has_one(
    small_base, small_study, tmp_path, kind
):
    cameras = Axis(path="system.front_end", values=({"kind": "compound"}, {"kind": kind}))
    base = _base(small_base, joint.Objective(penalty=0.1), codec=joint.NoneConfig())
    study = small_study(base=base, axes={"camera": cameras}, plan=Plan())
    message = rf"camera={kind} .*penalty=0.1 needs a front end with a penalty, and '{kind}' has non"
    with pytest.raises(ConfigError, match=message):
        create_study(study, tmp_path)


@pytest.mark.parametrize(
    ("training", "refused"),
    [({"stages": ("classifier",)}, True), ({"plan": "frozen", "epochs": 2}, False)],
)
@pytest.mark.filterwarnings("ignore:.* do not train the classifier .* weights are random")
def test_what_weighs_a_penalty_needs_a_front_end_that_learns(
    small_base, small_study, tmp_path, training, refused
):
    base = _base(
        small_base, joint.Objective(penalty=0.1), codec=joint.NoneConfig(),
        front_end=joint.CustomConfig(class_path="optics.LearnedKernel", init_args={}),
    )  # fmt: skip
    training = base.training.model_copy(update=training)
    study = small_study(
        base=base.model_copy(update={"training": training}),
        axes={"rate": Axis(path="training.learning_rate", values=(1e-3, 2e-3))}, plan=Plan(),
    )  # fmt: skip
    message = r"penalty=0.1 would have no effect, as training.stages and .* never train the front"
    with pytest.raises(ConfigError, match=message) if refused else nullcontext():
        create_study(study, tmp_path)


def test_a_rate_may_stand_where_no_camera_learns_it(small_base, small_study, tmp_path):
    """As in a run: the classifier alone learns, of files whose bits are what they are."""
    base = _base(small_base, joint.Objective(rate=0.1))
    assert create_study(small_study(base=base, axes=_codecs("png"), plan=Plan()), tmp_path)


def test_what_a_class_of_ones_own_learns_the_run_alone_can_tell(small_base, small_study, tmp_path):
    own = joint.CustomConfig(class_path="optics.LearnedKernel", init_args={})
    base = _base(small_base, joint.Objective(rate=0.1), front_end=own)
    assert create_study(small_study(base=base, axes=_codecs("png"), plan=Plan()), tmp_path)


@pytest.mark.parametrize(
    ("plan", "epochs", "moves"),
    [
        ({"plan": "alternating", "turn_epochs": 2}, 3, True),
        ({"plan": "alternating", "turn_epochs": 2}, 2, False),
        ({"stages": ("classifier",)}, 3, False),
    ],
)
# In two epochs the camera alone has a turn.
@pytest.mark.filterwarnings("ignore:.* do not train the classifier .* weights are random")
def test_a_rate_is_refused_where_what_it_would_move_has_a_turn(
    small_base, small_study, tmp_path, plan, epochs, moves
):
    """A network before the codec learns in the second turn, if there is one."""
    base = _base(small_base, joint.Objective(rate=0.1), restoration=joint.UNetConfig(width=4))
    training = base.training.model_copy(update={"epochs": epochs, **plan})
    base = base.model_copy(update={"training": training})
    study = small_study(base=base, axes=_codecs("png"), plan=Plan())
    refused = pytest.raises(ConfigError, match=r"objective.rate=0.1 would have no effect")
    with refused if moves else nullcontext():
        create_study(study, tmp_path)


def test_cameras_of_one_study_are_looked_at_each(small_base, small_study, tmp_path):
    base = _base(small_base, joint.Objective(rate=0.1), codec=joint.PNGConfig())
    cameras = Axis(path="system.front_end", values=({"kind": "none"}, {"kind": "kernel"}))
    study = small_study(base=base, axes={"camera": cameras}, plan=Plan())
    with pytest.raises(ConfigError, match=r"camera=kernel .*rate=0.1 would have no effect"):
        create_study(study, tmp_path)


def test_plans_of_one_study_are_looked_at_each(small_base, small_study, tmp_path):
    base = _base(
        small_base, joint.Objective(rate=0.1), codec=joint.PNGConfig(),
        front_end=joint.KernelConfig(),
    )  # fmt: skip
    stages = (("classifier",), ("front_end", "classifier"))
    axes = {"who": Axis(path="training.stages", values=stages, labels=("one", "two"))}
    with pytest.raises(ConfigError, match=r"who=two .*rate=0.1 would have no effect"):
        create_study(small_study(base=base, axes=axes, plan=Plan()), tmp_path)


@pytest.mark.parametrize(
    ("data", "system"),
    [
        (
            {"kind": "table", "table": "a.csv", "image_size": 16, "channels": 1},
            {"front_end": joint.LensConfig(element="cubic", wavelengths=(550e-9,))},
        ),
        (
            {"kind": "phantom", "count": 60, "image_size": 20, "balance": 0},
            {"front_end": joint.KernelConfig(), "sensor": joint.SensorConfig(binning=5)},
        ),
    ],
)
def test_a_camera_is_looked_at_in_the_size_and_channels_of_its_scenes(
    small_base, small_study, tmp_path, data, system
):
    base = _base(small_base, joint.Objective(rate=0.1), **system)
    base = joint.RunConfig.model_validate({**base.model_dump(), "data": data})
    with pytest.raises(ConfigError, match=r"rate=0.1 would have no effect"):
        create_study(small_study(base=base, axes=_codecs("png"), plan=Plan()), tmp_path)


def test_a_random_classifier_that_is_frozen_is_told(small_base, small_study, tmp_path):
    axes = {"plan": Axis(path="training.plan", values=("joint", "frozen"))}

    def created(name, classifier):
        base = _base(
            small_base, joint.Objective(), classifier=classifier, front_end=joint.KernelConfig()
        )
        create_study(small_study(base=base, axes=axes, plan=Plan()), tmp_path / name)

    with pytest.warns(UserWarning, match=r"of 1 of 2 designs.* random \(the first: plan=frozen\)"):
        created("random", joint.ClassifierConfig())
    created("random", joint.ClassifierConfig())  # said when it was written
    created("trained", joint.ClassifierConfig(weights="there.safetensors"))
    created("own", joint.CustomConfig(class_path="elsewhere.Net"))  # which may bring its own


def test_a_field_may_differ_with_the_codec(small_base, small_study, tmp_path):
    axis = Axis(
        values=(
            {"system.codec": {"kind": "none"}, "objective.rate": 0},
            {"system.codec": {"kind": "factorized"}},
        ),
        labels=("none", "factorized"),
    )
    base = _base(small_base, joint.Objective(rate=0.1))
    assert create_study(small_study(base=base, axes={"codec": axis}, plan=Plan()), tmp_path)


def test_a_monitor_is_there(small_base, small_study, tmp_path):
    base = _base(small_base, joint.Objective(task=0, distortion=1), classifier=joint.NoneConfig())
    training = base.training.model_copy(update={"monitor": "auc"})
    base = base.model_copy(update={"training": training})
    study = small_study(base=base, axes=_codecs("factorized"), plan=Plan(metric="psnr"))
    with pytest.raises(ConfigError, match=r"training.monitor='auc' needs a classifier, and there"):
        create_study(study, tmp_path)


def test_a_system_takes_scenes_in_their_encoding(small_study, tmp_path):
    axis = Axis(path="system.encoding", values=("srgb", "linear"))
    study = small_study(axes={"light": axis}, plan=Plan())
    message = r"light=linear cannot .*data.encoding='srgb' needs .*, and system.encoding='linear'"
    with pytest.raises(ConfigError, match=message):
        create_study(study, tmp_path / "refused")


@pytest.mark.parametrize(
    ("path", "values", "message"),
    [
        ("data.count", (60, 120), r"differ in data.count \(60 and 120\): compare designs that"),
        ("data.seed", (0, 1), "data.seed"),
        ("data.balance", (0, 1), "data.balance"),
        ("split.seed", (0, 1), r"split.seed \(0 and 1\)"),
        ("split.folds", (None, 5), r"differ in split.folds \(None and 5\): compare"),
    ],
)
def test_a_pair_is_tested_on_the_same_pictures(small_study, tmp_path, path, values, message):
    axes = {"a": Axis(path=path, values=values)}
    study = small_study(axes=axes, plan=_pair("a", *values))
    with pytest.raises(ConfigError, match=rf"a=.* against a=.*, which are tested on .*{message}"):
        create_study(study, tmp_path)
    assert not list(tmp_path.iterdir())
    assert create_study(small_study(axes=axes, plan=Plan()), tmp_path)  # to look at is allowed


def test_a_pair_has_one_limit_and_one_fold(small_base, small_study, tmp_path):
    table = joint.ImageTableConfig(table="a.csv", image_size=16)
    base = small_base().model_copy(update={"data": table, "split": joint.SplitConfig(folds=5)})
    for path, values in (("data.limit", (50, 60)), ("split.fold", (0, 1))):
        axes = {"a": Axis(path=path, values=values)}
        study = small_study(base=base, axes=axes, plan=_pair("a", *values))
        with pytest.raises(ConfigError, match=rf"differ in {path} \({values[0]} and {values[1]}\)"):
            create_study(study, tmp_path)


def test_by_hash_a_test_part_is_that_of_its_own_share(small_base, small_study, tmp_path):
    split = joint.SplitConfig(method="hash")
    base = small_base().model_copy(update={"split": split})
    shares = [[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.6, 0.2, 0.2]]
    axes = {"a": Axis(path="split.fractions", values=tuple(shares), labels=("x", "y", "z"))}
    assert create_study(small_study(base=base, axes=axes, plan=_pair("a", "x", "y")), tmp_path)
    with pytest.raises(ConfigError, match=r"differ in split.fractions"):
        create_study(small_study(base=base, axes=axes, plan=_pair("a", "x", "z")), tmp_path / "b")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"size": 3}, r"front_end=.* unexpected keyword argument 'size'; set front_end.init_args"),
     ({"kernel_size": 3}, None)],
)  # fmt: skip
def test_a_class_takes_its_arguments(small_study, tmp_path, arguments, message):
    own = {"kind": "custom", "class_path": "optics.LearnedKernel", "init_args": arguments}
    axes = {"front_end": Axis(path="system.front_end", values=(own,), labels=("own",))}
    study = small_study(axes=axes, plan=Plan())
    if message is None:
        assert create_study(study, tmp_path)
        return
    with pytest.raises(ConfigError, match=message):
        create_study(study, tmp_path)


@pytest.mark.parametrize("formula", ["light / 0", "(0 - light) ** 0.5"])
def test_a_cost_has_a_value_somewhere(small_study, tmp_path, formula):
    with pytest.raises(ConfigError, match=r"the cost lamp = .* has a value in none of the 4"):
        create_study(small_study(costs={"lamp": formula}), tmp_path)
    # Of one design, it may have none.
    study = small_study(costs={"lamp": "1 / (light - 50)", "sent": "bits / 2"})
    assert create_study(study, tmp_path)


def test_numbers_that_are_one_level_are_one_in_a_ledger(small_study, tmp_path):
    light = Axis(path="system.sensor.photons", low=1, high=100)
    depth = Axis(path="system.sensor.bit_depth", values=(4, 8))
    chosen = ({"light": 10, "depth": 4}, {"light": 10.0, "depth": 8})
    study = small_study(axes={"light": light, "depth": depth}, sampler=Listed(chosen=chosen),
                        plan=Plan())  # fmt: skip
    assert {repr(d["light"]) for d in create_study(study, tmp_path).designs} == {"10.0"}


def _outside(pixels, f_number, pitch, wavelength):
    """Share of an Airy pattern beyond a circle of so many pixels in diameter (Rayleigh 1881)."""
    v = math.pi * pixels / 2 * pitch / (wavelength * f_number)
    return special.j0(v) ** 2 + special.j1(v) ** 2


def test_designs_whose_window_cuts_their_light_are_told(small_base, small_study, tmp_path):
    """Of a user who compared stops: one window took 2 % from one and 14 % from the other."""
    lens = joint.LensConfig(pixel_pitch=1.75e-6, psf_size=15)
    base = _base(small_base, joint.Objective(), front_end=lens)
    axes = {
        "stop": Axis(path="system.front_end.f_number", values=(4, 8, 16)),
        "light": Axis(path="system.sensor.photons", values=(50, 5000)),
    }
    with pytest.warns(UserWarning, match="lose more than 5 %") as told:
        create_study(small_study(base=base, axes=axes, plan=Plan()), tmp_path / "one")
    (text,) = (str(each.message) for each in told)
    assert text.startswith("4 of 6 designs lose more than 5 % of the light outside the window")
    assert "(stop=16, light=50). It is missing" in text
    share = float(re.search(r"the most ([\d.]+) %", text)[1]) / 100
    # A square window holds the circle that it touches, and lies within the one through its
    # corners; the longest wavelength of the default bands loses the most.
    red = max(build_lens(lens, (16, 16), 3).pupil.wavelengths)
    assert _outside(15 * math.sqrt(2), 16, 1.75e-6, red) < share < _outside(15, 16, 1.75e-6, red)
    # Behind a shutter as well; and where the window follows the spot, all lose as little.
    shutter = joint.ShutterConfig(lens=lens)
    base = _base(small_base, joint.Objective(), front_end=shutter)
    behind = {"stop": Axis(path="system.front_end.lens.f_number", values=(4, 16))}
    with pytest.warns(UserWarning, match=r"^1 of 2 designs .*\(stop=16\)"):
        create_study(small_study(base=base, axes=behind, plan=Plan()), tmp_path / "two")
    base = _base(small_base, joint.Objective(), front_end=lens)
    window = {"system.front_end.psf_size": "2 * ceil(3e-6 * stop / 1.75e-6) + 1"}
    study = small_study(base=base, axes=axes, plan=Plan(), derived=window)
    create_study(study, tmp_path / "three")


def test_a_lens_that_no_run_could_build_is_refused(small_base, small_study, tmp_path):
    """All of its runs failed one by one; grey scenes see longer light, whose PSF repeats later."""
    lens = joint.LensConfig(pixel_pitch=7.2e-6, psf_size=15, oversample=9, pupil_size=110)
    axes = {"stop": Axis(path="system.front_end.f_number", values=(4, 2))}
    base = _base(small_base, joint.Objective(), front_end=lens)
    study = small_study(base=base, axes=axes, plan=Plan())
    with pytest.raises(
        ConfigError, match=r"design stop=2: .*psf_size=15.*set pupil_size to 118 or"
    ):
        create_study(study, tmp_path / "colours")
    data = {"table": "grey.csv", "image_size": 16}
    grey = base.model_copy(update={"data": joint.ImageTableConfig(channels=1, **data)})
    assert create_study(small_study(base=grey, axes=axes, plan=Plan()), tmp_path / "grey")
    # Only the file tells whether it is grey.
    told = base.model_copy(update={"data": joint.MedMNISTConfig(path="some.npz")})
    assert create_study(small_study(base=told, axes=axes, plan=Plan()), tmp_path / "told")


def test_a_traced_lens_is_looked_at_as_well(small_base, small_study, tmp_path):
    lens = joint.CompoundConfig(
        surfaces=[
            {"thickness": 0.1e-3, "stop": True},
            {"radius": 1e-3, "thickness": 0.3e-3, "material": 1.5},
            {"thickness": 1.8e-3},
        ],
        f_number=5,
        focus=float("inf"),
        places=(2, 2),
        psf_size=3,
    )
    base = _base(small_base, joint.Objective(), front_end=lens)
    axes = {"stop": Axis(path="system.front_end.f_number", values=(5, 16))}
    with pytest.warns(UserWarning, match=r"of 2 designs lose .*\(stop=16\)"):
        create_study(small_study(base=base, axes=axes, plan=Plan()), tmp_path / "cut")
    far = {"pitch": Axis(path="system.front_end.pixel_pitch", values=(3e-6, 9e-5))}
    study = small_study(base=base, axes=far, plan=Plan())
    with pytest.raises(ConfigError, match="design pitch=9e-05: "):
        create_study(study, tmp_path / "far")


def test_the_channels_of_a_lens_are_those_of_its_scenes(small_base, small_study, tmp_path):
    """One lens behind which scenes have other channels is looked at for each of them."""
    lens = joint.LensConfig(
        pixel_pitch=7.2e-6, psf_size=15, oversample=9, f_number=2, pupil_size=110
    )
    base = _base(small_base, joint.Objective(), front_end=lens)
    data = joint.ImageTableConfig(table="some.csv", image_size=16)
    axes = {"channels": Axis(path="data.channels", values=(1, 3))}
    study = small_study(base=base.model_copy(update={"data": data}), axes=axes, plan=Plan())
    with pytest.raises(ConfigError, match=r"design channels=3: .*psf_size=15 is too large"):
        create_study(study, tmp_path)


def test_windows_of_many_lenses_are_not_looked_at(small_base, small_study, tmp_path, monkeypatch):
    """Equal ones are looked at once, however many designs have them."""
    lens = joint.LensConfig(psf_size=15)
    base = _base(small_base, joint.Objective(), front_end=lens)
    axes = {
        "stop": Axis(path="system.front_end.f_number", values=(8, 16, 11)),
        "light": Axis(path="system.sensor.photons", values=(50, 500, 5000)),
    }
    study, looked = small_study(base=base, axes=axes, plan=Plan()), []
    monkeypatch.setattr(
        preflight, "_lost", lambda lens, config: looked.append(lens.f_number) or 0.0
    )
    create_study(study, tmp_path / "few")
    assert looked == [8, 16, 11]
    monkeypatch.setattr(preflight, "_LENSES", 2)
    create_study(study, tmp_path / "many")
    assert looked == [8, 16, 11]


@pytest.mark.parametrize(
    ("high", "sampler", "count"),
    [
        (90, Random(count=60), "count"),
        (90, TPE(count=80, startup=60), "startup"),
        (90, NSGA2(count=80, population=60), "population"),
        (9000, Random(count=60), None),
    ],
)
def test_repeats_that_change_the_shares_are_told(
    small_base, small_study, tmp_path, high, sampler, count
):
    base = small_base().model_copy(update={"objective": joint.Objective(rate=0, distortion=0)})
    quality = Axis(
        path="system.codec.quality", low=20, high=90, integer=True, when={"codec": "jpeg"}
    )
    photons = Axis(
        path="system.sensor.photons",
        low=80,
        high=high,
        integer=True,
        when={"codec": ("png", "none")},
    )
    axes = {**_codecs("none", "jpeg", "png"), "quality": quality, "light": photons}
    study = small_study(base=base, axes=axes, plan=Plan(), sampler=sampler)
    shares = (
        rf"designs are drawn less often than others \(codec: .*jpeg \d\d.* make {count} smaller"
    )
    with pytest.warns(UserWarning, match=shares) if count else nullcontext():
        ledger = create_study(study, tmp_path)
    # Where no axis hangs on another, all designs are drawn alike all the same.
    assert len(ledger.designs) == 60
    bits = Axis(path="system.sensor.bit_depth", low=1, high=12, integer=True)
    create_study(
        small_study(axes={"bits": bits}, plan=Plan(), sampler=Sobol(count=11)), tmp_path / "alike"
    )
