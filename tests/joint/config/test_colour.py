import numpy as np
import pytest
import torch
from pydantic import ValidationError

import joint
from joint.config.colour import ColourConfig
from joint.run.complete import complete_run
from joint.study import Axis, Study

_BANDS = (430e-9, 480e-9, 530e-9, 580e-9, 630e-9)
_LENS = {"kind": "lens", "oversample": 3, "psf_size": 9, "pupil_size": 32}


def _run(colour, **options):
    data = {"kind": "phantom", "count": 12, "image_size": 16, "wavelengths": _BANDS}
    system = {"front_end": {**_LENS, "colour": colour}, "codec": {"kind": "none"}, **options}
    return joint.RunConfig(data=data, system=system)


def _build(colour, bands=5):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = joint.LensConfig(**_LENS, colour=colour, wavelengths=_BANDS[:bands])
        return joint.build_front_end(config, (16, 16), bands)


def test_as_it_is_each_band_is_a_channel():
    assert _build({}).colour is None
    assert _build({}).out_channels == 5


def test_filters_of_equal_width_divide_the_bands_and_all_the_light():
    matrix = _build({"filters": "fixed", "channels": 2}).colour.matrix.detach()
    # 2.5 of 5 bands each; half of the light goes to either filter, and a fifth lies in a band.
    expected = np.array([[1, 1, 0.5, 0, 0], [0, 0, 0.5, 1, 1]]) / 2 / 5
    np.testing.assert_allclose(matrix, expected, atol=2e-4)


def test_a_camera_is_red_green_and_blue_with_bells_of_90_nm():
    seen = _build({"filters": "fixed", "start": "camera"}).colour.filters.transmittance.detach()
    assert seen.argmax(1).tolist() == [4, 2, 1]
    apart = (630e-9 - 612e-9) / (90e-9 / np.sqrt(8 * np.log(2)))
    assert float(seen[0, 4]) == pytest.approx(np.exp(-(apart**2) / 2), rel=1e-3)


def test_given_filters_and_lamps_are_rows():
    filters = {"filters": "fixed", "channels": 1, "transmittance": (0.1, 0.2, 0.3, 0.4, 0.5)}
    lamps = {"lamps": "fixed", "patterns": 2, "weights": (1, 0, 0, 0, 1, 0, 2, 0, 0, 0)}
    matrix = _build({**filters, **lamps}).colour.matrix.detach()
    expected = np.array([[0.05, 0, 0, 0, 0.25], [0, 0.2, 0, 0, 0]]) / 2  # two share the time
    np.testing.assert_allclose(matrix, expected, atol=2e-4)


def test_fixed_and_learned_differ_in_what_learns_alone():
    fixed = _build({"filters": "fixed", "lamps": "fixed", "patterns": 2})
    learned = _build({"filters": "learned", "lamps": "learned", "patterns": 2})
    shapes = [{n: p.shape for n, p in f.state_dict().items()} for f in (fixed, learned)]
    assert shapes[0] == shapes[1]
    assert not any(p.requires_grad for p in fixed.colour.parameters())
    learned(torch.rand(2, 5, 16, 16)).square().sum().backward()
    assert all(float(p.grad.abs().sum()) > 0 for p in learned.colour.parameters())
    assert 0.049 < float(learned.colour.filters.transmittance.detach().min()) < 0.051


def test_a_lens_takes_the_bands_of_its_scenes():
    config = _run({"filters": "learned"})
    assert config.system.front_end.wavelengths == _BANDS
    again = joint.RunConfig.model_validate_json(config.model_dump_json())
    assert (again, again.digest()) == (config, config.digest())
    assert _run({}).system.front_end.wavelengths == _BANDS  # without colours, too
    data = {"kind": "phantom", "wavelengths": _BANDS}
    for colour in ({}, {"filters": "fixed"}):
        other = {**_LENS, "colour": colour, "wavelengths": (500e-9, 600e-9)}
        with pytest.raises(ValidationError, match="not those of the scenes, data"):
            joint.RunConfig(data=data, system={"front_end": other})
    # Of one channel or several, those within a channel are not those of the scenes.
    within = {**_LENS, "wavelengths": (500e-9, 600e-9), "spectral_response": (0.5, 0.5)}
    made = joint.RunConfig(data=data, system={"front_end": within}).system.front_end
    assert made.wavelengths == (500e-9, 600e-9)


def test_a_psf_with_colours_is_at_the_bands_of_its_scenes(tmp_path):
    np.save(tmp_path / "psf.npy", np.full((3, 3), 1 / 9))
    data = {"kind": "phantom", "wavelengths": _BANDS}
    psf = {"kind": "psf", "file": tmp_path / "psf.npy", "colour": {"filters": "fixed"}}
    for wavelengths in (None, _BANDS):
        given = {"front_end": {**psf, "wavelengths": wavelengths}}
        made = joint.RunConfig(data=data, system=given).system.front_end
        assert made.wavelengths == wavelengths  # it checks for itself whether it needs them
    other = {**psf, "wavelengths": tuple(band + 1e-9 for band in _BANDS)}
    with pytest.raises(ValidationError, match="not those of the scenes, data"):
        joint.RunConfig(data=data, system={"front_end": other})


def test_channels_of_camera_and_classifier_follow():
    colour = {"filters": "learned", "channels": 2, "lamps": "learned", "patterns": 2}
    config = _run(colour, codec={"kind": "kmeans"})
    data = joint.build_data(config.data)
    system = joint.build_system(config.system, image_size=(16, 16), channels=5, classes=7)
    scene = data.gather([0, 1]).images.float() / 255
    out = system(scene, generator=torch.Generator().manual_seed(0))
    assert out.irradiance.shape == out.measurement.shape == (2, 4, 16, 16)
    assert system.exposures == 2
    assert out.logits.shape == (2, 7)


def test_a_run_of_colour_is_trained_and_brought_back(tmp_path):
    config = _run({"filters": "learned", "channels": 4})
    training = {"epochs": 1, "batch_size": 4, "learning_rates": {"front_end": 0.1}}
    objective = {"task": 1.0, "rate": 0.0, "distortion": 0.0}
    config = joint.RunConfig.model_validate(
        {**config.model_dump(), "training": training, "objective": objective,
         "data": {**config.data.model_dump(), "count": 60}}
    )  # fmt: skip
    parts = joint.build_split(config, joint.build_data(config.data))
    start = joint.build_front_end(config.system.front_end, (16, 16), 5).colour.matrix
    system = complete_run(config, parts, tmp_path / "run", resamples=0, progress=False)
    found, loaded, _ = joint.load_run(tmp_path / "run")
    assert found == config
    learned = loaded.front_end.colour.matrix
    assert torch.equal(learned, system.front_end.colour.matrix)
    assert not torch.allclose(learned, start, atol=1e-4)


def test_a_mosaic_stands_behind_three_filters_with_all_of_the_light():
    sensor = {"kind": "sensor", "cfa": "rggb"}
    config = _run({"filters": "fixed", "share": 1}, sensor=sensor)
    system = joint.build_system(config.system, image_size=(16, 16), channels=5, classes=7)
    assert system.eval()(torch.rand(1, 5, 16, 16)).measurement.shape == (1, 3, 16, 16)
    with pytest.raises(ValidationError, match=r"set front_end\.colour\.share=1"):
        _run({"filters": "fixed"}, sensor=sensor)
    two = _run({"filters": "fixed", "channels": 2, "share": 1}, sensor=sensor)
    with pytest.raises(ValueError, match="needs pictures of 3 channels, not 2"):
        joint.build_system(two.system, image_size=(16, 16), channels=5, classes=7)


def test_a_study_compares_kinds_and_numbers_of_channels():
    study = Study(
        base=_run({"filters": "fixed"}),
        axes={
            "filters": Axis(path="system.front_end.colour.filters", values=("fixed", "learned")),
            "channels": Axis(path="system.front_end.colour.channels", values=(1, 2, 5)),
        },
    )
    made = [study.config(design, 0) for design in study.designs()]
    assert len({config.digest() for config in made}) == 6
    assert {config.system.front_end.colour.channels for config in made} == {1, 2, 5}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 4}, "are for filters='fixed' or 'learned', not 'none'"),
        ({"patterns": 2}, "patterns and weights are for lamps='fixed' or 'learned'"),
        ({"filters": "fixed", "start": "camera", "channels": 4}, "takes channels=3, not 4"),
        (
            {"filters": "fixed", "transmittance": (1, 0)},
            "2 values, which cannot be divided into rows for channels",
        ),
        ({"filters": "fixed", "transmittance": (1, 0, 2)}, r"transmittance is in 0\.\.1"),
        ({"lamps": "fixed", "weights": (1, -1)}, "weights must not be negative"),
        ({"lamps": "fixed", "patterns": 2, "weights": (1, 0)}, "each pattern needs light"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValidationError, match=message):
        ColourConfig(**options)


def test_what_does_not_fit_the_scenes_or_the_camera_is_refused():
    with pytest.raises(ValueError, match=r"colour.transmittance has 3 values, but 3 rows"):
        _build({"filters": "fixed", "transmittance": (1, 0, 0)})
    with pytest.raises(ValidationError, match="restoration undoes the blur of each channel"):
        joint.LensConfig(restoration=0.1, colour={"filters": "learned"})
