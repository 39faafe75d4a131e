"""Lenses of several surfaces as configurations: numbers that are kept, and the camera of them."""

import math

import pytest
import torch
from pydantic import ValidationError

import joint
import optics
from joint.command.train import read_train_options
from joint.config.compound import CompoundConfig, SurfaceConfig, build_compound, optics_of
from joint.run.complete import complete_run
from joint.study import Axis, Study

mm = 1e-3
_SINGLET = [
    {"thickness": 0.1 * mm, "semi_diameter": 0.15 * mm, "stop": True},
    {"radius": 1.25 * mm, "thickness": 0.3 * mm, "material": "n_bk7"},
    {"radius": -0.9 * mm, "thickness": 0.9 * mm},
]
_SMALL = {
    "places": (2, 2), "rank": 2, "psf_size": 5, "pupil_size": 16, "oversample": 3,
}  # fmt: skip


def _config(**options):
    return CompoundConfig(**{"surfaces": _SINGLET} | _SMALL | options)


def _prescription(tmp_path, *, glass="N-BK7 0 0 1.5168 64.17", distance="INFINITY"):
    """A plano-convex lens of 10 mm in front of which its stop is."""
    lines = f"""
        MODE SEQ\nUNIT MM X W X CM MR CPMM\nENPD 2.0\nFTYP 0 0 1 1 0 0 0\nXFLN 0\nYFLN 5
        WAVM 1 0.55 1\nPWAV 1
        SURF 0\nTYPE STANDARD\nCURV 0.0\nDISZ {distance}
        SURF 1\nSTOP\nTYPE STANDARD\nCURV 0.0\nDISZ 1.0\nDIAM 1.0 0 0 0 1
        SURF 2\nTYPE EVENASPH\nCURV 0.1925\nPARM 2 1e-4\nGLAS {glass}\nDISZ 2.0\nDIAM 2.0 1 0 0 1
        SURF 3\nTYPE STANDARD\nCURV 0.0\nDISZ 8.7\nDIAM 0 0 0 0 1
        SURF 4\nTYPE STANDARD\nCURV 0\nDISZ 0
    """
    path = tmp_path / "lens.zmx"
    path.write_text("\n".join(line.strip() for line in lines.splitlines()))
    return path


# ------------------------------------------------------------------------------------ the camera


def test_the_camera_is_that_of_the_same_surfaces():
    given = {"wavelengths": (450e-9, 550e-9, 650e-9), "pixel_pitch": 3e-6}
    config = _config(trained=("curvature", "thickness"), **given)
    found = joint.build_front_end(config, (9, 12), 3)
    surfaces = [
        optics.Surface(0.0, 0.1 * mm, semi_diameter=0.15 * mm, stop=True),
        optics.Surface(1 / (1.25 * mm), 0.3 * mm, "n_bk7"),
        optics.Surface(-1 / (0.9 * mm), 0.9 * mm),
    ]
    lens = optics.CompoundLens(surfaces, trained=("curvature", "thickness"), wavelength=550e-9)
    wanted = optics.compound_imaging(lens, picture=(9, 12), **_SMALL, **given)
    assert repr(found) == repr(wanted)
    scene = torch.rand(2, 3, 9, 12)
    assert torch.equal(found(scene), wanted(scene))
    assert [name for name, _ in found.named_parameters()] == [
        name for name, _ in wanted.named_parameters()
    ]


def test_by_default_it_is_a_triplet_that_sees_18_degrees():
    camera = build_compound(CompoundConfig(places=(2, 2), pupil_size=50), (128, 128), 3)
    lens = camera.pupil.elements[0].lens
    assert lens.focal_length == pytest.approx(1 * mm, rel=1e-3)
    assert lens.f_number == pytest.approx(5, rel=2e-3)
    corner = math.degrees(float(camera.pupil.elements[0].fields.abs().max()))
    assert corner == pytest.approx(17.7, abs=0.3)
    performance = optics.lens_performance(camera, picture=128)
    assert performance.strehl.min() > 0.8


def test_f_number_and_focus_are_set_by_stop_and_last_thickness():
    config = _config(f_number=8.0, focus=0.2)
    lens = optics_of(config, 550e-9)
    with torch.no_grad():
        surfaces, as_given = lens.surfaces, optics_of(_config(), 550e-9).surfaces
        first = optics.first_order(surfaces, wavelength=550e-9)
        near = optics.first_order(surfaces, wavelength=550e-9, object_distance=0.2)
    assert float(first.f_number) == pytest.approx(8.0, rel=1e-9)
    assert float(first.focal_length / first.entrance_diameter) == pytest.approx(8.0, rel=1e-9)
    assert float(surfaces[-1].thickness) == pytest.approx(float(near.image_distance), rel=1e-9)
    assert float(as_given[-1].thickness) == pytest.approx(0.9 * mm, rel=1e-9)
    assert optics_of(_config(object_distance=0.2), 550e-9).object_distance == 0.2


def test_a_spectral_response_makes_one_channel_of_several_wavelengths():
    config = _config(wavelengths=(450e-9, 550e-9, 650e-9), spectral_response=(1, 2, 1))
    camera = build_compound(config, (9, 9), 1)
    assert camera.in_channels == 1
    torch.testing.assert_close(camera.spectral_response, torch.tensor([[0.25, 0.5, 0.25]]))
    with pytest.raises(joint.ConfigError, match="spectral_response has 1 channels, 3 wavelength"):
        build_compound(config, (9, 9), 3)
    with pytest.raises(ValidationError, match="spectral_response has 3 values, and wavelengths 0"):
        _config(spectral_response=(1, 2, 1))


def test_a_surface_that_is_not_trained_stays():
    free = [surface | {"trained": number != 1} for number, surface in enumerate(_SINGLET)]
    assert optics_of(_config(surfaces=free), 550e-9).trained == {"curvature": (2,)}
    assert not [*optics_of(_config(trained=()), 550e-9).parameters()]
    fixed = [surface | {"trained": False} for surface in _SINGLET]
    with pytest.raises(
        ValidationError, match="trained has 'curvature', and all surfaces that have"
    ):
        _config(surfaces=fixed)


def test_it_may_be_behind_a_shutter():
    config = joint.ShutterConfig(slots=4, lens=_config())
    front = joint.build_front_end(config, (9, 9), 3)
    assert isinstance(front.lens, optics.VaryingImaging)
    assert front(torch.rand(1, 3, 9, 9), generator=torch.Generator()).shape == (1, 3, 9, 9)


def test_its_penalty_asks_for_its_own_least_thicknesses():
    least = {"centre": 0.4 * mm, "edge": 0.2 * mm, "air": 0.15 * mm}
    camera = build_compound(_config(**least), (9, 9), 3)
    lens = camera.pupil.elements[0].lens
    assert camera.penalty() == optics.lens_penalty(lens(), **least) > 0
    assert optics_of(_config(), 550e-9).penalty() == optics.lens_penalty(lens())
    assert repr(_config()) != repr(_config(**least))
    plain = {"centre": 1e-3, "edge": 1e-3, "air": 1e-4}
    assert _config(**plain).model_dump_json() == _config().model_dump_json()


# --------------------------------------------------------------------------- numbers that are kept


def test_surfaces_are_plain_numbers_in_json():
    config = joint.RunConfig(system={"front_end": _config(focus=math.inf, object_distance=0.5)})
    again = joint.RunConfig.model_validate_json(config.canonical())
    assert again == config
    assert again.digest() == config.digest()
    written = config.model_dump(mode="json")["system"]["front_end"]
    assert written["surfaces"][1]["curvature"] == 800.0
    assert written["surfaces"][1]["radius"] is None
    assert written["focus"] == "inf"
    # One lens, one digest, however its surface is written.
    bent = [*_SINGLET[:1], {**_SINGLET[1], "radius": None, "curvature": 800.0}, *_SINGLET[2:]]
    assert _config(surfaces=bent) == _config()
    assert SurfaceConfig(radius="inf") == SurfaceConfig(radius=math.inf) == SurfaceConfig()
    assert CompoundConfig(surfaces=[s.surface for s in _config().surfaces], **_SMALL) == _config()


def test_a_prescription_is_read_once_and_kept_as_numbers(tmp_path):
    path = _prescription(tmp_path)
    wanted = optics.import_prescription(path).surfaces
    config = CompoundConfig(prescription=path)
    path.unlink()
    assert config.prescription is None
    assert tuple(each.surface for each in config.surfaces) == wanted
    assert wanted[1].aspheric == (pytest.approx(1e-4 / mm**3),)
    assert CompoundConfig.model_validate_json(config.model_dump_json()) == config
    assert math.isinf(config.object_distance)


def test_a_prescription_brings_its_distance_and_takes_glasses_by_name(tmp_path):
    path = _prescription(tmp_path, glass="ODD 0 0 1.5 40", distance="300")
    with pytest.raises(ValidationError, match=r"line \d+: 'GLAS ODD .* glasses=\{'ODD': "):
        CompoundConfig(prescription=path)
    config = CompoundConfig(prescription=path, glasses={"ODD": [1.6, 50.0]})
    assert config.surfaces[1].material == (1.6, 50.0)
    assert config.object_distance == pytest.approx(0.3)
    assert not config.glasses
    with pytest.raises(ValidationError, match=r"prescription .*none\.zmx: No such file"):
        CompoundConfig(prescription=tmp_path / "none.zmx")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"surfaces": []}, "surfaces\n.*at least 1"),
        ({"surfaces": _SINGLET[1:]}, "one of the surfaces must be the stop"),
        ({"surfaces": [{"radius": 0}]}, "be a number of metres except 0, or inf, not 0"),
        ({"surfaces": [{"radius": "flat"}]}, "radius must be a number .* not 'flat'"),
        ({"surfaces": [{"material": "n_bk8"}]}, "n_bk8"),
        ({"surfaces": [{"semi_diameter": 0}]}, r"surfaces\.0\.semi_diameter\n.*greater than 0"),
        ({"surfaces": [{"curvature": 1e6, "stop": True}]}, "must be 1/metres, not 1e.06"),
        ({"trained": ("curvature", "curvature")}, "trained must name each kind of number once"),
        ({"trained": ("conic", "aspheric")}, r"aspheric can be trained of the surfaces \[\]"),
        ({"focus": 1e-4}, "focus=0.0001 m has no real image .* focal length of 0.00"),
        ({"object_distance": -1.0}, "in front of the first surface, above 0, not -1"),
        ({"edge": 0.0}, r"edge\n.*greater than 0"),
        ({"places": (1, 3)}, "two or more rows and columns, not"),
        ({"glasses": {"A": (1.5, 60.0)}}, "glasses are for a prescription, but there is none"),
        ({"colour": {"filters": "learned"}, "wavelengths": (5e-7,), "spectral_response": (1.0,)},
         "set one of the two"),
    ],
)  # fmt: skip
def test_what_makes_no_lens_is_refused(options, message):
    with pytest.raises(ValidationError, match=message):
        _config(**options)


def test_an_error_of_an_index_is_not_dropped():
    melt = optics.Surface(0.0, 1e-3, "n_bk7", index_error=1e-3)
    with pytest.raises(ValidationError, match=r"index_error of a surface is not kept.* not 0\.001"):
        _config(surfaces=[melt])


def test_scenes_that_the_lens_does_not_see_are_refused_before_a_run():
    with pytest.raises(ValueError, match="fewer pixels, a smaller pixel_pitch, or wider rims"):
        build_compound(_config(), (999, 999), 3)
    with pytest.raises(
        joint.ConfigError, match=r"psf_size=99 is too large .* pupil_size to \d\d\d"
    ):
        build_compound(_config(psf_size=99), (9, 9), 3)
    with pytest.raises(ValueError, match="give oversample=7, or more"):
        build_compound(_config(pixel_pitch=9e-6, oversample=1, pupil_size=32), (9, 9), 3)
    with pytest.raises(joint.ConfigError, match="names 2 bands, but the scenes have 3"):
        build_compound(_config(wavelengths=(5e-7, 6e-7)), (9, 9), 3)


# --------------------------------------------------------------------------- runs and studies


def test_it_is_chosen_on_the_command_line(tmp_path):
    path = _prescription(tmp_path)
    words = ["--front-end", "compound", "--system.front-end.prescription", str(path)]
    words += ["--system.front-end.f-number", "8", "--system.front-end.trained", "thickness"]
    found = read_train_options(words).run.system.front_end
    assert found == CompoundConfig(prescription=path, f_number=8.0, trained=("thickness",))
    words = ["--front-end", "compound", "--system.front-end.surfaces.2.radius", "-5e-4"]
    bent = read_train_options(words).run.system.front_end
    assert bent.surfaces[2].curvature == -2000.0
    words += ["--objective.penalty", "0.01", "--system.front-end.edge", "2e-5"]
    weighed = read_train_options(words).run
    assert weighed.objective.penalty == 0.01
    assert weighed.system.front_end.edge == 2e-5
    with pytest.raises(joint.ConfigError, match=r"--system.front-end.prescription.*No such file"):
        read_train_options([*words, "--system.front-end.prescription", "none.zmx"])


def test_an_axis_is_a_number_of_a_surface():
    base = joint.RunConfig(system={"front_end": _config()})
    axes = {
        "bend": Axis(path="system.front_end.surfaces.2.curvature", values=(-1000.0, -1200.0)),
        "gap": Axis(path="system.front_end.surfaces.0.thickness", low=5e-5, high=2e-4),
    }
    study = Study(base=base, axes=axes)
    found = study.config({"bend": -1200.0, "gap": 1e-4}, 0).system.front_end
    assert [each.curvature for each in found.surfaces] == [0, 800.0, -1200.0]
    assert found.surfaces[0].thickness == 1e-4
    far = {"bend": Axis(path="system.front_end.surfaces.3.curvature", values=(1.0, 2.0))}
    with pytest.raises(ValueError, match="surfaces has 3 items, by their numbers from 0, and no 3"):
        Study(base=base, axes=far).config({"bend": 1.0}, 0)
    with pytest.raises(ValidationError, match=r"no field of a run .*surfaces\.\*\.curvature"):
        Study(base=base, axes={"b": Axis(path="system.front_end.curvature", values=(1.0, 2.0))})


def test_glass_that_starts_too_thin_ends_thick_enough():
    thin = [_SINGLET[0], _SINGLET[1] | {"thickness": 0.1 * mm}, *_SINGLET[2:]]
    least = {"centre": 0.2 * mm, "air": 0.05 * mm}
    front_end = _config(surfaces=thin, trained=("thickness",), rank=4, **least)
    scenes = joint.build_data(joint.PhantomConfig(count=24, image_size=16))
    head = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 256, 7))
    camera = joint.build_front_end(front_end, (16, 16), 3)
    start = float(camera.penalty().detach())
    assert start == pytest.approx(0.25, abs=0.01)  # half of the glass is missing
    history = joint.fit(
        joint.ImagingSystem(front_end=camera, classifier=head),
        scenes.subset(range(0, 24, 2)),
        scenes.subset(range(1, 24, 2)),
        objective=joint.Objective(penalty=2.0),
        config=joint.Training(
            epochs=5, batch_size=6, learning_rates={"front_end": 0.3}, restore_best=False
        ),
        progress=False,
    )
    assert float(camera.pupil.elements[0].lens()[1].thickness.detach()) > 0.19 * mm
    assert history.epochs[-1].validation["loss_penalty"] < 0.01 * start


def test_a_run_that_trains_curvatures_is_resumed_to_equal_bits_loaded_and_exported(tmp_path):
    none = joint.NoneConfig()
    config = joint.RunConfig(
        data=joint.PhantomConfig(count=70, image_size=16),
        split=joint.SplitConfig(fractions=(0.6, 0.2, 0.2)),
        system=joint.SystemConfig(front_end=_config(), sensor=none, codec=none),
        objective=joint.Objective(task=1.0),
        training=joint.Training(epochs=2, batch_size=32, learning_rates={"front_end": 0.05}),
    )
    parts = joint.build_split(config, joint.build_data(config.data))
    whole = complete_run(config, parts, tmp_path / "whole", resamples=0, progress=False)
    steps = iter(range(100))
    part = tmp_path / "part"
    quick = {"resamples": 0, "progress": False}
    complete_run(config, parts, part, stop=lambda: next(steps) == 1, **quick)
    resumed = complete_run(config, parts, part, **quick)
    for name, weight in resumed.state_dict().items():
        assert torch.equal(weight, whole.state_dict()[name])
    raw = whole.front_end.pupil.elements[0].lens.raw_curvature
    assert float(raw.detach().abs().max()) > 1e-3
    again, loaded, _ = joint.load_run(part)
    assert again == config
    scenes = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(loaded.eval()(scenes).logits, whole.eval()(scenes).logits)
    done = joint.export(loaded, scenes, tmp_path / "system.pt2", plane="measurement")
    assert done.difference < 1e-4
