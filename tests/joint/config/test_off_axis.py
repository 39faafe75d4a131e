import math
import warnings

import pytest
import torch
from pydantic import ValidationError

import classify
import joint
import optics
from joint.analysis import sensitivity
from joint.command.train import read_train_options
from joint.config.off_axis import OffAxisConfig, off_axis_coefficients
from joint.run.complete import complete_run
from joint.study import Axis, Study

_WAVE = 545e-9  # the middle one of a colour camera's bands
_EXACT = {"places": (3, 3), "rank": 9}


def _build(size=(32, 32), channels=3, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return joint.build_front_end(joint.LensConfig(**options), size, channels)


def _scene():
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_as_it_is_a_lens_is_the_same_everywhere():
    assert isinstance(_build(off_axis={"places": (5, 5)}), optics.IncoherentImaging)


def test_hardly_any_is_the_picture_of_none():
    options = {"element": "phase", "strength": 0.2, "distortion": -0.1, "half_field": 0.4}
    plain, varying = _build(**options), _build(**options, off_axis={"coma": 1e-6, **_EXACT})
    assert isinstance(varying, optics.VaryingImaging)
    torch.testing.assert_close(varying(_scene()), plain(_scene()), rtol=0, atol=2e-6)
    torch.testing.assert_close(varying.throughput(), plain.throughput(), rtol=0, atol=2e-6)


@pytest.mark.parametrize("waves", [0.25, 0.5, -0.5])
def test_field_curvature_lowers_the_peak_as_in_the_closed_form(waves):
    sharp = _build(psf_size=63).psf()[1, 31, 31]
    lens = _build(psf_size=63, off_axis={"field_curvature": waves, **_EXACT})
    # Strehl ratio of defocus: sinc^2 of the path at the rim, which grows with the height's square.
    for place, square in (((0, 0), 1.0), ((0, 1), 0.5), ((1, 2), 0.5), ((2, 2), 1.0)):
        path = math.pi * waves * square
        peak = float(lens.psf()[*place, 1, 31, 31] / sharp)
        assert peak == pytest.approx((math.sin(path) / path) ** 2, abs=1e-3)
    assert float(lens.psf()[1, 1, 1, 31, 31]) == pytest.approx(float(sharp), rel=1e-5)


def test_astigmatism_in_its_best_focus_lowers_the_peak_as_marechal_says():
    grid = {"pupil_size": 160, "psf_size": 15, "pixel_pitch": 0.2e-6}
    sharp = _build(**grid).psf()[1, 7, 7]
    lens = _build(**grid, off_axis={"astigmatism": 0.2, "field_curvature": -0.1, **_EXACT})
    # W222 (h . r)^2 - W222 h^2 r^2 / 2 is astigmatism alone, W222 h^2 / sqrt 24 waves RMS.
    for place, square in (((0, 0), 1.0), ((0, 1), 0.5), ((1, 0), 0.5)):
        strehl = math.exp(-((2 * math.pi * 0.2 * square) ** 2) / 24)
        assert float(lens.psf()[*place, 1, 7, 7] / sharp) == pytest.approx(strehl, abs=2e-3)


@pytest.mark.parametrize("along", ["x", "y"])
def test_a_lens_of_revolution_that_is_turned_is_the_same_lens(along):
    # The PSF of a place a quarter of a turn on is the PSF of the place, turned by as much; that of
    # the opposite place is turned by half, and places on one height differ by nothing else.
    table = {"heights": (0.0, 1.0, 2.0), "indices": (7, 9), "along": along}
    table["table"] = (0.0, 0.0, 0.02, 0.05, 0.09, -0.06)
    seidel = {"coma": 0.4, "astigmatism": -0.3, "field_curvature": 0.2}
    psf = _build(off_axis={**seidel, **table, "places": (5, 5), "rank": 25}).psf()
    assert float((psf[0, 0] - psf[0, 4]).abs().max() / psf.max()) > 0.1
    turned = torch.rot90(torch.rot90(psf, 1, (0, 1)), 1, (3, 4))
    torch.testing.assert_close(turned, psf, rtol=0, atol=1e-6)
    # Behind an element that is not of revolution this is not so.
    cubic = _build(element="cubic", strength=1.0, off_axis={**seidel, "places": (5, 5)}).psf()
    turned = torch.rot90(torch.rot90(cubic, 1, (0, 1)), 1, (3, 4))
    assert float((turned - cubic).detach().abs().max() / cubic.detach().max()) > 0.1


@pytest.mark.parametrize(
    ("term", "noll", "rest"),
    [
        ("coma", {8: 1 / math.sqrt(72), 2: -1 / 6}, 0.0),
        ("astigmatism", {6: 1 / math.sqrt(24)}, 0.5),
        ("field_curvature", {4: 1 / math.sqrt(12)}, 0.0),
        ("field_curvature", {}, 1.0),
    ],
)
def test_waves_at_the_rim_are_the_waves_rms_and_the_defocus_that_are_said(term, noll, rest):
    # On the right border, 1 / sqrt 2 of the way to a corner; a defocus has the other sign.
    waves = 0.6 * (1 / math.sqrt(2)) ** (1 if term == "coma" else 2)
    plain = _build(zernike={j: waves * a for j, a in noll.items()}, defocus=-rest * waves)
    found = _build(off_axis={term: 0.6, **_EXACT}).psf()[1, 2]
    torch.testing.assert_close(found, plain.psf(), rtol=0, atol=2e-5)
    assert float((_build().psf() - plain.psf()).abs().max()) > 1e-2


@pytest.mark.parametrize("obscuration", [0.0, 0.5])
def test_coma_leaves_the_mean_of_the_light_in_its_place(obscuration):
    # In a window that the tails leave, so that the mean is off by what they miss of it: of Seidel's
    # own it would be 2 W N = 2.0 pixels from here in a corner, and a quarter more with the stop.
    lens = _build(psf_size=91, obscuration=obscuration, off_axis={"coma": 0.8, **_EXACT})
    steps = torch.arange(91.0) - 45
    psf = lens.psf()[..., 1, :, :]
    light = psf.sum((-2, -1))
    for lines in (psf.sum(-1), psf.sum(-2)):
        assert float((lines @ steps / light).abs().max()) < 0.2
    # The tails point away from the axis: far from it on their side there is more light.
    side = psf[1, 2].sum(0)
    assert float(side[48:].sum()) > 1.2 * float(side[:43].sum())


@pytest.mark.parametrize("obscuration", [0.0, 0.5])
def test_an_even_scene_is_as_bright_with_coma_as_the_throughput_says(obscuration):
    even = torch.ones(1, 3, 64, 64)
    options = {"pupil_size": 64, "obscuration": obscuration}
    plain = _build((64, 64), **options)
    for coma in (-1.0, 1.0):
        off_axis = {"coma": coma, "places": (5, 5), "rank": 25}
        lens = _build((64, 64), off_axis=off_axis, **options)
        assert float(lens.throughput()) == pytest.approx(float(plain.throughput()), abs=0.01)
        assert float(lens(even).mean()) == pytest.approx(float(lens.throughput()), abs=0.01)


@pytest.mark.parametrize(("along", "tilt", "term"), [("y", 3, 7), ("x", 2, 8)])
def test_a_table_of_coma_is_seidels(along, tilt, term):
    # W131 r^3 cos is W131 (sqrt 72)^-1 of Noll's 7 or 8, and W131 / 3 of tilt, from which the tilt
    # of W131 / 2 is taken that moves it back.
    config = OffAxisConfig(
        heights=(0, 2e-3),
        indices=(term, tilt),
        table=(0, 0, 0.5 / math.sqrt(72), -0.5 / 6),
        along=along,
        places=(3, 4),
        rank=1,
    )
    table = off_axis_coefficients(config, (24, 40), wavelength=_WAVE)
    seidel = off_axis_coefficients(
        OffAxisConfig(coma=0.5, places=(3, 4), rank=1), (24, 40), wavelength=_WAVE
    )
    assert table.indices == seidel.indices == tuple(range(1, 12))
    assert table.coefficients.shape == (3, 4, 1, 11)
    torch.testing.assert_close(table.coefficients, seidel.coefficients, rtol=1e-5, atol=1e-14)


def test_a_table_of_one_term_of_a_pair_is_turned_into_both_and_added():
    config = OffAxisConfig(
        heights=(0, 1), indices=(14, 4), table=(0, 0, 0.2, 0.1), field_curvature=0.3
    )
    found = off_axis_coefficients(config, (32, 32), wavelength=_WAVE)
    assert found.indices == (*range(1, 12), 14, 15)
    waves = found.coefficients[:, :, 0] / _WAVE
    # Fourfold: it comes back after a quarter of a turn, and is inverted after half of that.
    assert float(waves[3, -1, -2]) == pytest.approx(0.2 / math.sqrt(2), rel=1e-5)
    assert float(waves[0, 0, -2]) == pytest.approx(-0.2, rel=1e-5)
    assert float(waves[0, 0, -1]) == pytest.approx(0, abs=1e-6)
    # Between the axis and a diagonal, an eighth of a turn of it: both of the pair.
    angle = 4 * (math.atan2(3, 1) - math.pi / 2)
    height = 0.2 * math.hypot(1, 3) / math.hypot(3, 3)
    both = [height * math.cos(angle), height * math.sin(angle)]
    assert waves[6, 4, -2:].tolist() == pytest.approx(both, rel=1e-5)
    assert float(waves[0, 0, 3]) == pytest.approx(0.1 + 0.3 / math.sqrt(12), rel=1e-5)


def test_a_mount_cuts_off_the_light_that_is_said_and_nothing_in_the_middle():
    built = _build(off_axis={"vignetting": 0.4, **_EXACT})
    assert isinstance(built, optics.VaryingImaging)
    plain = _build()
    light = built.psf().sum((-2, -1)) / plain.psf().sum((-2, -1))
    torch.testing.assert_close(light[1, 1], torch.ones(3), atol=1e-3, rtol=0)
    assert float(light[0, 0, 1]) == pytest.approx(0.6, abs=0.01)
    assert float(light[0, 2, 1]) == pytest.approx(float(light[0, 0, 1]), abs=1e-3)
    both = _build(off_axis={"vignetting": 0.4, "coma": 0.3, **_EXACT})
    torch.testing.assert_close(
        both.psf().sum((-2, -1)), built.psf().sum((-2, -1)), atol=0.02, rtol=0
    )
    assert not torch.allclose(both.psf()[0, 0], built.psf()[0, 0], atol=1e-3)


def test_filters_see_the_bands_behind_the_blur():
    colour = {"filters": "fixed", "channels": 2}
    plain, mixed = (
        _build(off_axis={"astigmatism": 0.3, **_EXACT}, **options)
        for options in ({}, {"colour": colour})
    )
    assert (mixed.in_channels, mixed.out_channels) == (3, 2)
    expected = torch.einsum("cl,blyx->bcyx", mixed.colour.matrix, plain(_scene()))
    torch.testing.assert_close(mixed(_scene()), expected)


def test_few_places_are_exact_at_the_rank_that_is_the_default():
    few = {"coma": 0.5, "places": (3, 3)}
    own, exact = (_build(off_axis=given) for given in (few, {**few, "rank": 9}))
    assert own.rank == 9
    assert torch.equal(own.psf(), exact.psf())
    assert float(own.error_bound()) < 1e-5


def test_a_rank_that_leaves_much_out_is_told_of():
    off_axis = {"coma": 1.0, "places": (5, 5), "rank": 3}
    with pytest.warns(
        UserWarning, match=r"rank=3 of the front end puts up to \S+ of the light .* up to 25"
    ):
        lens = _build(off_axis=off_axis)
    assert float(lens.error_bound()) > 0.1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _build(off_axis={**off_axis, "rank": 25})


def test_it_is_swept_by_a_study_chosen_on_the_command_line_and_comes_back_from_json():
    flags = [
        "--system.front-end.off-axis.coma",
        "0.3",
        "--system.front-end.off-axis.places",
        "3",
        "5",
    ]
    table = ["--system.front-end.off-axis.heights", "0", "1", "--system.front-end.off-axis.indices"]
    table += ["4", "--system.front-end.off-axis.table", "0", "0.1"]
    rank = ["--system.front-end.off-axis.rank", "15"]
    options = read_train_options(["--output", "x", "--front-end", "lens", *flags, *table, *rank])
    chosen = options.run.system.front_end
    off_axis = OffAxisConfig(
        coma=0.3, heights=(0, 1), indices=(4,), table=(0, 0.1), places=(3, 5), rank=15
    )
    assert chosen == joint.LensConfig(off_axis=off_axis)
    assert joint.LensConfig.model_validate_json(chosen.model_dump_json()) == chosen
    study = Study(
        base=joint.RunConfig(system=joint.SystemConfig(front_end=joint.LensConfig())),
        axes={"coma": Axis(path="system.front_end.off_axis.coma", values=(0.0, 0.2))},
    )
    swept = [study.config(d, 0).system.front_end.off_axis for d in study.designs()]
    assert swept == [OffAxisConfig(), OffAxisConfig(coma=0.2)]


def test_what_is_sharp_in_the_corner_lies_elsewhere_than_what_is_sharp_in_the_middle():
    # The defocus of a nearer scene at the rim, D^2 / 8 (1 / d - 1 / focus), is half a wave, and in
    # the corner the field's curvature takes it away; half of it half way in squares.
    focus, waves = 2.0, 0.5
    near = 1 / (8 * waves * _WAVE / (20e-3 / 8) ** 2 + 1 / focus)
    options = {"focus": focus, "psf_size": 63, "pupil_size": 128}
    off_axis = {"field_curvature": -waves, **_EXACT}
    lens = _build(off_axis=off_axis, working_distances=(focus, near, math.inf), **options)
    sharp = float(_build(**options).psf()[1, 31, 31])
    peaks = lens.psf(distance=lens.working_distances)[:2, :, :, 1, 31, 31] / sharp
    path = math.pi * waves * torch.tensor([[1, 0.5, 1], [0.5, 0, 0.5], [1, 0.5, 1]])
    expected = torch.stack([torch.sinc(p / math.pi) ** 2 for p in (path, math.pi * waves - path)])
    torch.testing.assert_close(peaks, expected, rtol=0, atol=2e-3)
    assert lens.draws


@pytest.mark.parametrize("distances", [(), (0.7, 0.9)])
def test_an_element_is_learned_and_its_run_comes_back(tmp_path, distances):
    front_end = joint.LensConfig(
        element="phase",
        strength=0.1,
        pupil_size=64,
        psf_size=31,
        off_axis={"coma": 0.2, **_EXACT},
        focus=0.8 if distances else None,
        working_distances=distances,
    )
    config = joint.RunConfig(
        data=joint.PhantomConfig(count=60, image_size=16),
        system=joint.SystemConfig(front_end=front_end, codec=joint.NoneConfig()),
        objective=joint.Objective(),
        training=joint.Training(epochs=1, batch_size=16),
    )
    parts = joint.build_split(config, joint.build_data(config.data))
    begun = joint.build_system(config.system, image_size=(16, 16), channels=3, classes=7)
    system = complete_run(config, parts, tmp_path / "run", resamples=0, progress=False)
    start, phase = (s.front_end.pupil.elements[0].phase for s in (begun, system))
    assert float((phase - start).detach().abs().max()) > 1e-4
    loaded, rebuilt, again = joint.load_run(tmp_path / "run")
    assert loaded == config
    expected = joint.evaluate(system, parts.test)
    assert (joint.evaluate(rebuilt, again.test).logits == expected.logits).all()
    if not distances:
        return
    # All scenes at one distance are those of a lens that is as far away from all.
    elsewhere = joint.evaluate(rebuilt, again.test, distance=0.8)
    one = front_end.model_copy(update={"working_distances": (0.8,)})
    lens = joint.build_front_end(one, (16, 16), 3)
    lens.load_state_dict(rebuilt.front_end.state_dict())
    alone = joint.evaluate(rebuilt.replace(front_end=lens), again.test)
    assert elsewhere.point.distance == 0.8
    assert elsewhere.psnr_scene == pytest.approx(alone.psnr_scene, abs=1e-4)
    assert abs(elsewhere.psnr_scene - expected.psnr_scene) > 0.01


def test_devices_see_each_picture_where_the_design_sees_it():
    lens = _build(
        element="cubic", strength=0.5, pupil_size=48, psf_size=31, focus=0.5,
        off_axis={"coma": 0.2, **_EXACT}, working_distances=(0.45, 0.6),
    )  # fmt: skip
    system = joint.ImagingSystem(front_end=lens, sensor=optics.Sensor(2000))
    scenes = classify.LesionPhantom(6, 32, progress=False)
    table = sensitivity(system, scenes, {"defocus": 0.5, "rotation": 90.0, "shift": 1.0})
    assert all(max(row.change_low, row.change_high, key=abs) < 0 for row in table.rows)
    sheet = joint.data_sheet(system, image_size=32)
    assert [float(distance) for distance in sheet.lens.distance] == [0.45, 0.6]
    assert "450 mm    1.00" in str(sheet)
    assert sheet.throughput == pytest.approx(float(lens.throughput().detach()))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"places": (1, 3), "rank": 1}, r"two or more rows and columns, not \(1, 3\)"),
        ({"heights": (0, 1)}, "0 values, but 2 heights with 0 indices need 0: give heights, ind"),
        ({"heights": (0, 1), "indices": (4,), "table": (1,)}, "1 values, .* with 1 indices need 2"),
        (
            {"heights": (0,), "indices": (4,), "table": (1,)},
            r"increasing from 0, the axis, not \(0",
        ),
        ({"heights": (0.1, 1), "indices": (4,), "table": (1, 1)}, "increasing from 0, the axis"),
        ({"heights": (0, 0), "indices": (4,), "table": (1, 1)}, "increasing from 0, the axis"),
        ({"heights": (0, 1), "indices": (0,), "table": (1, 1)}, r"from 1, not \(0,\)"),
        (
            {"heights": (0, 1), "indices": (4, 4), "table": (1,) * 4},
            "different Noll indices, from 1",
        ),
    ],
)
def test_what_is_no_field_of_a_lens_is_refused(options, said):
    with pytest.raises(ValidationError, match=said):
        OffAxisConfig(**options)


def test_what_takes_one_psf_for_all_places_is_refused():
    assert joint.LensConfig(off_axis={"places": (3, 3), "rank": 3}, restoration=0.1)
    with pytest.raises(ValidationError, match="its own PSF, but restoration takes one for all"):
        joint.LensConfig(off_axis={"coma": 0.1}, restoration=0.1)
