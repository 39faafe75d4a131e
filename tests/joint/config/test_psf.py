import warnings

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from pydantic import ValidationError
from scipy import ndimage

import joint
import optics
from joint.command.train import read_train_options
from joint.config.psf import PSFConfig, build_psf, read_psf
from joint.study import Axis, Study


@pytest.fixture(scope="module")
def lens():
    """PSFs of three colours, which lose some light."""
    config = joint.LensConfig(psf_size=45, coma=0.1)
    return joint.build_front_end(config, (32, 32), 3).psf().double()


@pytest.fixture
def file(lens, tmp_path):
    np.save(tmp_path / "lens.npy", lens.numpy())
    return tmp_path / "lens.npy"


def _gaussian(size=65, deviation=1.5, at=(32, 32)):
    dot = np.zeros((size, size))
    dot[at] = 1
    return ndimage.gaussian_filter(dot, deviation, truncate=12)


# ---------------------------------------------------------------------------------------- a PSF


def test_a_psf_is_taken_as_it_is(file, lens):
    camera = build_psf(PSFConfig(file=file, psf_size=45), 3)
    assert isinstance(camera, optics.IncoherentImaging)
    torch.testing.assert_close(camera.psf(), lens.float())
    assert float(camera.throughput()) == pytest.approx(float(lens.sum() / 3), abs=1e-6)
    assert 0.98 < float(camera.throughput()) < 1  # never made one
    assert not list(camera.parameters())
    scene = torch.rand(2, 3, 24, 24)
    expected = optics.convolve(scene, lens.float(), boundary="replicate")
    torch.testing.assert_close(camera(scene), expected)


def test_one_psf_is_that_of_every_channel(lens, tmp_path):
    np.save(tmp_path / "green.npy", lens[1].numpy())
    config = PSFConfig(file=tmp_path / "green.npy", psf_size=45)
    for channels in (1, 3, 5):
        psf = read_psf(config, channels)
        assert torch.equal(psf, lens[1].expand(channels, 45, 45))


def test_light_beyond_the_window_is_lost_and_a_small_psf_lies_in_the_dark(file, lens):
    cut = read_psf(PSFConfig(file=file, psf_size=15), 3)
    assert torch.equal(cut, lens[:, 15:30, 15:30])
    wide = read_psf(PSFConfig(file=file, psf_size=55), 3)
    assert torch.equal(wide[:, 5:50, 5:50], lens)
    assert wide.count_nonzero() == lens.count_nonzero()


@pytest.mark.parametrize("shape", [(6, 9), (7, 4), (1, 1), (40, 33)])
def test_the_axis_is_where_convolutions_have_it(shape, tmp_path):
    point = np.zeros(shape)
    point[shape[0] // 2, shape[1] // 2] = 1
    np.save(tmp_path / "point.npy", point)
    psf = read_psf(PSFConfig(file=tmp_path / "point.npy", psf_size=11), 2)
    assert psf[:, 5, 5].tolist() == [1, 1] == psf.sum((1, 2)).tolist()


def test_a_psf_of_another_scale_is_given_its_light(file, lens, tmp_path):
    np.save(tmp_path / "bright.npy", (1e4 * lens / lens.amax()).numpy())
    config = PSFConfig(file=tmp_path / "bright.npy", psf_size=45)
    with pytest.raises(joint.ConfigError, match=r"at most 1, but this one to .*give front_end.thr"):
        read_psf(config, 3)
    for given, expected in ((0.8, [0.8] * 3), ((0.9, 0.7, 0.5), [0.9, 0.7, 0.5])):
        psf = read_psf(config.model_copy(update={"throughput": given}), 3)
        assert psf.sum((1, 2)).tolist() == pytest.approx(expected)
    cut = config.model_copy(update={"throughput": 0.8, "psf_size": 15})
    lost = lens[:, 15:30, 15:30].sum((1, 2)) / lens.sum((1, 2))
    torch.testing.assert_close(read_psf(cut, 3).sum((1, 2)), 0.8 * lost)


def test_fine_samples_are_added_up_on_the_pixels(tmp_path):
    fine = np.random.default_rng(0).random((3, 27, 39))
    fine /= 1.25 * fine.sum((1, 2), keepdims=True)
    np.save(tmp_path / "fine.npy", fine)
    config = PSFConfig(file=tmp_path / "fine.npy", spacing=1e-6, pixel_pitch=3e-6, psf_size=13)
    psf = read_psf(config, 3).numpy()
    blocks = fine.reshape(3, 9, 3, 13, 3).sum((2, 4))
    np.testing.assert_allclose(psf[:, 2:11], blocks, rtol=0, atol=1e-15)
    # A border that is no multiple of a pixel is not cut off and made up for within.
    np.save(tmp_path / "flat.npy", np.full((28, 28), 0.8 / 28**2))
    flat = read_psf(config.model_copy(update={"file": tmp_path / "flat.npy"}), 1)
    assert float(flat[0, 6, 6]) == pytest.approx(9 * 0.8 / 28**2, rel=1e-12)
    # Pixels that cut samples in two, and a border between two pixels, lose none of the light.
    for pitch in (1e-6, 2e-6, 2.7e-6, 4e-6):
        other = config.model_copy(update={"pixel_pitch": pitch, "psf_size": 51})
        assert read_psf(other, 3).sum((1, 2)).tolist() == pytest.approx([0.8] * 3, abs=1e-12)


@pytest.mark.parametrize(("pixel", "oversample"), [("area", 3), ("centre", 1)])
def test_pixels_have_what_those_of_a_lens_have(pixel, oversample, tmp_path):
    geometry = {"pupil_size": 200, "coma": 0.1}
    pitch = joint.LensConfig().pixel_pitch
    fine = joint.LensConfig(**geometry, psf_size=183, pixel_pitch=pitch / 3)
    coarse = joint.LensConfig(**geometry, psf_size=31, oversample=oversample)
    fine, coarse = (joint.build_front_end(c, (32, 32), 3).psf() for c in (fine, coarse))
    np.save(tmp_path / "fine.npy", fine.numpy())
    config = PSFConfig(
        file=tmp_path / "fine.npy", spacing=pitch / 3, pixel_pitch=pitch, pixel=pixel
    )
    difference = (read_psf(config, 3) - coarse).abs()
    assert float(difference.max()) < 1e-3 * float(coarse.max())


def test_a_fixed_psf_may_be_undone(file, lens):
    camera = build_psf(PSFConfig(file=file, psf_size=45, restoration=0.05), 3)
    raw = torch.rand(1, 3, 32, 32)
    expected = optics.wiener(raw, lens.float(), noise_to_signal=0.05)
    torch.testing.assert_close(camera.combine(raw), expected)
    with pytest.raises(ValidationError, match=r"undoes the blur on single pixels.*binning=2 sums"):
        joint.SystemConfig(
            front_end=PSFConfig(file=file, restoration=0.05),
            sensor=joint.SensorConfig(binning=2),
        )


# ------------------------------------------------------------------------------------ a picture


def _saved(picture, path):
    """Codes or numbers ``[H, W]`` or ``[3, H, W]`` as another program would write them."""
    if path.suffix == ".npy":
        np.save(path, picture)
    elif path.suffix == ".tif":
        rgb = picture.ndim == 3 and picture.dtype != np.float32
        kind = "rgb" if rgb else "minisblack"
        tifffile.imwrite(path, np.moveaxis(picture, 0, 2) if rgb else picture, photometric=kind)
    else:
        Image.fromarray(np.moveaxis(picture, 0, 2) if picture.ndim == 3 else picture).save(path)
    return path


@pytest.mark.parametrize(
    ("name", "kind", "channels"),
    [
        ("grey.png", np.uint8, 1),
        ("colour.png", np.uint8, 3),
        ("deep.png", np.uint16, 1),
        ("deep.tif", np.uint16, 1),
        ("colour.tif", np.uint16, 3),
        ("float.tif", np.float32, 1),
        ("pages.tif", np.float32, 3),
        ("codes.npy", np.uint16, 3),
        ("float.npy", np.float64, 1),
    ],
)
def test_a_picture_of_a_point_is_measured_with_all_its_bits(name, kind, channels, tmp_path):
    # Off the axis, each colour of another width, on a pedestal.
    spots = np.stack([_gaussian(65, 1.5 + 0.4 * c, (34, 29)) for c in range(channels)])
    full = 200 if kind == np.uint8 else 50000
    picture = (10 + full * spots / spots.max()).astype(kind)
    path = _saved(picture[0] if channels == 1 else picture, tmp_path / name)
    config = PSFConfig(file=path, content="picture", throughput=0.9, psf_size=21)
    psf = read_psf(config, 3)
    expected = optics.measured_psf(picture.astype(np.float64), size=21, throughput=0.9)
    torch.testing.assert_close(psf, expected.expand(3, 21, 21))
    assert psf.sum((1, 2)).tolist() == pytest.approx([0.9] * 3)
    truth = _gaussian(21, 1.5, (10, 10))
    np.testing.assert_allclose(psf[0], 0.9 * truth / truth.sum(), rtol=0, atol=2e-3)


def test_a_picture_whose_zero_is_white_is_no_negative(tmp_path):
    spot = np.round(40_000 * _gaussian(31, 2.0, (15, 15)) / _gaussian(31, 2.0, (15, 15)).max())
    spot = spot.astype(np.uint16)
    plain = _saved(spot, tmp_path / "plain.tif")
    tifffile.imwrite(tmp_path / "white.tif", 65535 - spot, photometric="miniswhite")
    one, other = (
        read_psf(PSFConfig(file=path, content="picture", throughput=0.9, psf_size=15), 1)
        for path in (plain, tmp_path / "white.tif")
    )
    torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_a_picture_is_measured_as_its_settings_say(tmp_path):
    noise = np.random.default_rng(0).normal(0, 1, (2, 91, 91))
    spots = np.stack([_gaussian(91, 6, (45, 42)), _gaussian(91, 6, (45, 48))])
    picture = 100 + 1000 * spots / spots.max() + noise
    path = _saved(picture, tmp_path / "bench.npy")
    for given, expected in (
        ({"centre": "each"}, {"centre": "each"}),
        ({"centre": "kept", "background": 99.0, "noise": 2.0},) * 2,
        (
            {"spacing": 1e-6, "pixel_pitch": 3e-6, "pixel": "centre"},
            {"picture_pitch": 1e-6, "pixel_pitch": 3e-6, "pixel": "centre"},
        ),
    ):
        config = PSFConfig(
            file=path, content="picture", throughput=(0.5, 0.6), psf_size=25, **given
        )
        measured = optics.measured_psf(picture, size=25, **expected)
        shares = torch.tensor([0.5, 0.6], dtype=torch.float64)[:, None, None]
        torch.testing.assert_close(read_psf(config, 2), shares * measured)


# ------------------------------------------------------------------------------------- training


def test_a_trained_psf_begins_with_that_of_the_file(file, lens):
    kernel = build_psf(PSFConfig(file=file, psf_size=45, trained=True), 3)
    assert isinstance(kernel, optics.LearnedKernel)
    assert kernel.exposures == 1
    start = kernel.response[0, :, 0].detach().double()
    # No veil in the dark of a window of 2025 taps.
    assert float((start - lens).abs().sum((1, 2)).max()) < 3e-4
    audit = optics.audit_gradients(kernel, torch.rand(1, 3, 12, 12))
    assert len(audit.entries) == 2
    with torch.no_grad():
        kernel.raw += 1
    assert float(kernel.throughput().detach()) == pytest.approx(1.0, abs=1e-6)


def test_a_dark_tap_learns_to_let_light_through(tmp_path):
    point = np.zeros((9, 9))
    point[4, 4] = 0.9
    np.save(tmp_path / "point.npy", point)
    kernel = build_psf(PSFConfig(file=tmp_path / "point.npy", psf_size=9, trained=True), 1)
    optimiser = torch.optim.Adam(kernel.parameters(), lr=0.01)
    for _ in range(60):
        optimiser.zero_grad()
        (-kernel.response[0, 0, 0, 2, 2]).backward()
        optimiser.step()
    assert float(kernel.response[0, 0, 0, 2, 2].detach()) > 0.05


def test_without_a_file_there_is_a_point_from_which_to_learn():
    scene = torch.rand(1, 3, 16, 16)
    point = build_psf(PSFConfig(throughput=(0.5, 0.6, 0.7)), 3)
    torch.testing.assert_close(point(scene), scene * torch.tensor([0.5, 0.6, 0.7])[:, None, None])
    trained = joint.SystemConfig(front_end={"kind": "psf", "trained": True, "psf_size": 9})
    kernel = joint.build_front_end(trained.front_end, (16, 16), 3)
    torch.testing.assert_close(kernel(scene), scene, rtol=0, atol=1e-4)
    with pytest.raises(ValidationError, match="without a file is a point, which blurs nothing"):
        joint.SystemConfig(front_end={"kind": "psf"})


# ---------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"file": "lens.zmx"}, r"lens\.zmx must end in \.npy, \.tif, \.tiff, \.png"),
        ({"throughput": 1.2}, r"throughput is a share of the light, above 0 to 1, not 1\.2"),
        ({"throughput": (0.5, 0.0)}, "above 0 to 1, not 0"),
        ({"psf_size": 8}, "psf_size must be odd, so that a pixel is in the middle, not 8"),
        ({"spacing": 1e-6}, "give both spacing, of the file's samples, and pixel_pitch"),
        ({"spacing": 2e-6, "pixel_pitch": 1e-6}, r"pixel_pitch=1e-06 m is finer than spacing=2e-0"),
        ({"noise": 1.0}, "centre, background and noise are for content='picture'"),
        ({"content": "picture", "file": "a.png"}, "does not show how much light .*throughput"),
        (
            {"trained": True, "restoration": 0.1},
            "blur of a fixed PSF: set either restoration or trained",
        ),
        ({"noise": -1.0}, "greater than or equal to 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValidationError, match=message):
        PSFConfig(**options)


def test_micrometres_are_refused_where_a_run_begins(file):
    config = joint.SystemConfig(
        front_end=joint.PSFConfig(file=file, spacing=0.86, pixel_pitch=3.45, psf_size=45)
    )
    with pytest.raises(joint.ConfigError, match=r"3\.45 m is wider .*; 3\.45 micrometres are 3"):
        read_psf(config.front_end, 3)
    # A run that began so has its PSF in its weights, and is built without the file to load them.
    begun = config.without_files().front_end
    assert begun.pixel_pitch == 3.45
    assert build_psf(begun, 3).psf().shape == (3, 45, 45)


def test_shares_that_are_not_those_of_the_channels_are_refused():
    with pytest.raises(joint.ConfigError, match="throughput names 2 shares, but the scenes have 3"):
        read_psf(PSFConfig(throughput=(0.5, 0.6)), 3)


def _cut(path):
    path.write_bytes(path.read_bytes()[:-200])


def _write(path, content):
    """One bad file."""
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, np.ndarray) and path.suffix == ".npy":
        np.save(path, content)
    elif isinstance(content, list):
        tifffile.imwrite(path, content[0])
        for page in content[1:]:
            tifffile.imwrite(path, page, append=True)
    elif content is not None:
        Image.fromarray(content).save(path)


_FLAT = np.full((8, 8), 1 / 64)
_CODES = np.arange(64, dtype=np.uint8).reshape(8, 8)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.npy", None, "No such file"),
        ("gone.png", None, "No such file"),
        ("text.npy", b"no array", "the magic string is not correct"),
        ("text.png", b"no picture", "cannot identify image file"),
        ("objects.npy", np.array([[{}]], dtype=object), "Python objects in dtype"),
        ("complex.npy", _FLAT + 1j, r"must be real \[H, W\] or \[C, H, W\], not complex128"),
        ("four.npy", _FLAT[None, None], r"not float64 \(1, 1, 8, 8\)"),
        ("none.npy", np.zeros((0, 8)), r"not float64 \(0, 8\)"),
        ("nan.npy", np.where(_FLAT > 0, np.nan, 0), "must be finite"),
        (
            "negative.npy",
            _FLAT - 0.01 * np.eye(8)[::-1] - 0.01,
            "its least value .*content='picture'",
        ),
        ("above.npy", 1.00003 * _FLAT, r"but this one to 1\.00003: give front_end\.throughput"),
        ("bright.npy", 2 * _FLAT, "at most 1, but this one to 2: give front_end.throughput"),
        ("last.npy", np.stack([_FLAT] * 3, 2), r"it has 8 channels.*moveaxis\(psf, -1, 0\)"),
        (
            "two.npy",
            np.stack([_FLAT] * 2),
            r"it has 2 channels, \(2, 8, 8\), and the scenes have 3",
        ),
        (
            "codes.png",
            _CODES,
            "this one to 2016: whole numbers are those of a picture of a point source, for which "
            r"give front_end\.content='picture' and .*give front_end\.throughput",
        ),
        ("opaque.png", np.dstack([_CODES] * 4), "grey or RGB, without opacity, not RGBA"),
        ("pages.tif", [_CODES, _CODES[:4]], "its pages, which are the channels, must be grey and"),
        ("colours.tif", [np.dstack([_CODES] * 3)] * 2, "its pages, which are the channels"),
    ],
)
def test_a_bad_file_is_named(name, content, message, tmp_path):
    _write(tmp_path / name, content)
    with pytest.raises(joint.ConfigError, match=rf"front_end\.file .*{name}: .*{message}"):
        read_psf(PSFConfig(file=tmp_path / name), 3)


def _raw(pedestal, *, noise, size=65):
    """Codes of 10 bits of a point, on a pedestal."""
    spot = _gaussian(size, at=(size // 2, size // 2))
    grain = noise * np.random.default_rng(0).standard_normal(spot.shape)
    return np.round(900 * spot / spot.max() + pedestal + grain).clip(0, 1023).astype(np.uint16)


@pytest.mark.parametrize("codes", [_raw(64, noise=2), _raw(64, noise=6), _raw(16, noise=2)])
def test_a_raw_picture_that_is_taken_for_a_psf_is_warned_of(codes, tmp_path):
    np.save(tmp_path / "bench.npy", codes)
    raw = PSFConfig(file=tmp_path / "bench.npy", throughput=1.0)
    with pytest.warns(UserWarning, match=r"as a background that holds .*content='picture'"):
        pedestal = read_psf(raw, 1)
    assert float(pedestal.sum()) < 0.5  # the rest is a veil, and outside of the window
    psf = read_psf(raw.model_copy(update={"content": "picture"}), 1)
    assert float(psf.sum()) == pytest.approx(1)
    truth = _gaussian()[17:48, 17:48]
    np.testing.assert_allclose(psf[0], truth, rtol=0, atol=2e-3)


_RADIUS = np.hypot(*np.mgrid[-15:16, -15:16])
_BINOMIAL = np.outer([1, 2, 1], [1, 2, 1])


@pytest.mark.parametrize(
    "psf",
    [
        _gaussian(31, 8.0, at=(15, 15)),
        1 / np.maximum(_RADIUS, 1) ** 2,  # scattered light, as of rough mirrors
        _BINOMIAL,
        np.ones((3, 3)),
        np.ones((1, 9)),
        ndimage.gaussian_filter(np.random.default_rng(0).random((31, 31)), 1) ** 4,  # a diffuser's
    ],
)
def test_a_psf_that_reaches_its_border_is_taken_as_it_is(psf, tmp_path):
    np.save(tmp_path / "psf.npy", psf / psf.sum())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert float(read_psf(PSFConfig(file=tmp_path / "psf.npy"), 1).sum()) == pytest.approx(1)


@pytest.mark.parametrize("name", ["cut.npy", "cut.png", "cut.tif"])
def test_a_file_that_was_cut_off_is_named(name, tmp_path):
    _write(tmp_path / name, np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8))
    _cut(tmp_path / name)
    with pytest.raises(joint.ConfigError, match=rf"front_end\.file .*{name}: "):
        read_psf(PSFConfig(file=tmp_path / name, throughput=1.0), 3)


def test_what_is_no_picture_of_a_point_is_named(tmp_path):
    np.save(tmp_path / "dark.npy", np.stack([_FLAT, 0 * _FLAT, _FLAT]))
    options = {"throughput": 0.9, "psf_size": 5, "file": tmp_path / "dark.npy"}
    with pytest.raises(joint.ConfigError, match=r"dark\.npy: a channel has no light"):
        read_psf(PSFConfig(**options), 3)
    with pytest.raises(joint.ConfigError, match=r"dark\.npy: picture has no light above its back"):
        read_psf(PSFConfig(**options, content="picture"), 3)
    with pytest.raises(joint.ConfigError, match=r"dark\.npy: channel 1 has no light in the window"):
        read_psf(PSFConfig(file=tmp_path / "dark.npy", psf_size=5), 3)
    beside = np.zeros((31, 31))
    beside[15, 3] = 1
    np.save(tmp_path / "beside.npy", beside)
    for more in ({}, {"throughput": 0.5}):
        config = PSFConfig(file=tmp_path / "beside.npy", psf_size=23, **more)
        with pytest.raises(joint.ConfigError, match=r"psf_size=23 pixels .* or a larger psf_size"):
            read_psf(config, 3)
    np.save(tmp_path / "small.npy", _gaussian(21, 1.5, (10, 10)))
    small = options | {"file": tmp_path / "small.npy", "content": "picture", "psf_size": 31}
    with pytest.raises(joint.ConfigError, match=r"small\.npy: size must be at most the picture's"):
        read_psf(PSFConfig(**small), 3)


# ------------------------------------------------------------------- files, command line, studies


def test_a_configuration_comes_back_from_json(file):
    picture = PSFConfig(
        file=file, content="picture", throughput=(0.9, 0.8, 0.7), spacing=1e-6, pixel_pitch=2e-6,
        pixel="centre", centre="each", background=1.0, noise=0.5, psf_size=9, trained=True,
        boundary="zero",
    )  # fmt: skip
    for config in (picture, PSFConfig(file=file, restoration=0.1), PSFConfig(file=file)):
        run = joint.RunConfig(system=joint.SystemConfig(front_end=config))
        again = joint.RunConfig.model_validate_json(run.canonical())
        assert again == run
        assert again.digest() == run.digest()


def test_the_command_line_has_its_options(file, tmp_path, capsys):
    run = joint.RunConfig(system=joint.SystemConfig(front_end=PSFConfig(file=file)))
    joint.save_config(run, tmp_path / "run")
    given = ["--output", "x", "--config", str(tmp_path / "run")]
    front_end = "--system.front-end"
    changed = read_train_options(
        [*given, f"{front_end}.throughput", "0.9", f"{front_end}.trained", f"{front_end}.psf-size",
         "15"]
    ).run.system.front_end  # fmt: skip
    assert changed == PSFConfig(file=file, throughput=0.9, trained=True, psf_size=15)
    shares = read_train_options([*given, f"{front_end}.throughput", "0.9", "0.8", "0.7"])
    assert shares.run.system.front_end.throughput == (0.9, 0.8, 0.7)
    with pytest.raises(SystemExit):
        read_train_options([*given, "--help"])
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert f"{front_end}.content {{psf,picture}}" in shown
    assert "such as the codes of a camera, whose background and noise are removed" in shown


def test_a_study_compares_devices_with_their_design(file, tmp_path, lens):
    np.save(tmp_path / "made.npy", (0.9 * lens.roll(1, 2)).numpy())
    study = Study(
        base=joint.RunConfig(system=joint.SystemConfig(front_end=PSFConfig(file=file))),
        axes={
            "device": Axis(
                path="system.front_end.file",
                values=(str(file), str(tmp_path / "made.npy")),
                labels=("design", "made"),
            ),
            "light": Axis(path="system.front_end.throughput", values=(0.5, 0.9)),
        },
    )
    designs = study.designs()
    configs = [study.config(design, 0) for design in designs]
    assert len({config.digest() for config in configs}) == 4
    for design, config in zip(designs, configs, strict=True):
        psf = read_psf(config.system.front_end, 3)
        assert float(psf.sum((1, 2)).max()) <= design["light"] + 1e-9
        peak = int(psf[1].argmax()) - int(read_psf(PSFConfig(file=file), 3)[1].argmax())
        assert peak == (design["device"] == "made")  # a column further
    with pytest.raises(ValueError, match="no field of a run is called"):
        Study(axes={"light": Axis(path="system.front_end.thruput", values=(0.5, 0.9))})


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path):
    Image.new("L", (2048, 1025)).save(tmp_path / "point.png")
    config = PSFConfig(file=tmp_path / "point.png", content="picture", throughput=0.9)
    with pytest.raises(ValueError, match=r"up to 2097152 pixels.* and this one 2099200 or more"):
        read_psf(config, 3)


def _places(tmp_path, *shape):
    psfs = np.random.default_rng(5).random((2, 3, *shape))
    np.save(tmp_path / "places.npy", psfs / (1.25 * psfs.sum((-2, -1)).max()))
    return PSFConfig(file=tmp_path / "places.npy", places=(2, 3), psf_size=9)


@pytest.mark.parametrize("shape", [(9, 9), (3, 9, 9), (3, 7, 11)])
def test_psfs_of_several_places_are_those_of_the_file(shape, tmp_path):
    config = _places(tmp_path, *shape)
    camera = build_psf(config, 3)
    assert isinstance(camera, optics.VaryingImaging)
    assert (camera.places, camera.rank) == ((2, 3), 6)
    given = np.load(config.file)
    for row, column in np.ndindex(2, 3):
        np.save(tmp_path / "one.npy", given[row, column])
        alone = read_psf(PSFConfig(file=tmp_path / "one.npy", psf_size=9), 3)
        torch.testing.assert_close(camera.psf()[row, column].double(), alone, rtol=0, atol=1e-7)
    bare = build_psf(config.model_copy(update={"file": None}), 3)
    assert bare.load_state_dict(camera.state_dict())


def test_throughput_scales_each_place_and_without_it_a_dark_corner_stays_dark(tmp_path):
    config = _places(tmp_path, 9, 9)
    light = np.load(config.file).sum((-2, -1))
    own = read_psf(config, 3).sum((-2, -1))
    np.testing.assert_allclose(own, np.broadcast_to(light[..., None], (2, 3, 3)), rtol=1e-6)
    scaled = read_psf(config.model_copy(update={"throughput": (0.5, 0.6, 0.7)}), 3).sum((-2, -1))
    np.testing.assert_allclose(scaled, np.broadcast_to([0.5, 0.6, 0.7], (2, 3, 3)), rtol=1e-6)


def test_few_eigen_psfs_for_noise_are_told_of(tmp_path):
    config = _places(tmp_path, 9, 9).model_copy(update={"rank": 2})
    with pytest.warns(UserWarning, match=r"rank=2 of the front end puts up to .* up to 6"):
        assert build_psf(config, 3).rank == 2


def test_bands_of_a_psf_are_seen_through_filters(tmp_path):
    given = np.random.default_rng(6).random((4, 5, 5)) / 25
    np.save(tmp_path / "bands.npy", given)
    colour = {"filters": "fixed", "channels": 2}
    config = PSFConfig(file=tmp_path / "bands.npy", psf_size=5, colour=colour)
    camera, plain = build_psf(config, 4), build_psf(PSFConfig(file=config.file, psf_size=5), 4)
    scene = torch.rand(1, 4, 12, 12, generator=torch.Generator().manual_seed(1))
    # Half of four bands each, each a quarter of the light, of which a half goes to either filter.
    halves = plain(scene).unflatten(1, (2, 2)).sum(2) / 8
    torch.testing.assert_close(camera(scene), halves, rtol=1e-3, atol=1e-6)
    waves = {"colour": {"filters": "fixed", "start": "camera"}, "psf_size": 5}
    bands = (460e-9, 500e-9, 540e-9, 610e-9)
    seen = build_psf(PSFConfig(file=config.file, wavelengths=bands, **waves), 4).colour.matrix
    assert seen.argmax(1).tolist() == [3, 2, 0]
    with pytest.raises(joint.ConfigError, match=r"names 3 bands, but the scenes have 4"):
        build_psf(PSFConfig(file=config.file, wavelengths=bands[:3], **waves), 4)
    with pytest.raises(ValueError, match="depends on the wavelengths of the bands, metres"):
        PSFConfig(file=config.file, **waves)
    whole = config.model_copy(update={"colour": config.colour.model_copy(update={"share": 1})})
    system = joint.SystemConfig(front_end=whole, sensor={"cfa": "rggb", "kind": "sensor"})
    with pytest.raises(ValueError, match=r"cfa='rggb' needs pictures of 3 channels, not 2"):
        joint.build_system(system, image_size=(12, 12), channels=4, classes=2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"places": (0, 3)}, r"together two or more, not \(0, 3\)"),
        ({"places": (1, 1)}, r"together two or more, not \(1, 1\): leave them out"),
        ({"places": (2, 3), "rank": 7}, "rank=7 is more than .*, 2 x 3 places: give at most 6"),
        ({"rank": 2}, "rank is for PSFs of several places: give places"),
        ({"places": (2, 3), "trained": True}, "trained needs one PSF for the whole scene"),
        ({"places": (2, 3), "restoration": 0.1}, "restoration needs one PSF for the whole"),
        ({"colour": {"filters": "fixed"}, "trained": True}, "trained needs one PSF per channel"),
        (
            {"colour": {"filters": "fixed"}, "restoration": 0.1},
            "restoration needs one PSF per channel",
        ),
    ],
)
def test_places_and_colours_that_do_not_fit_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        PSFConfig(**options)


@pytest.mark.parametrize("places", [None, (3, 2)])
def test_a_file_of_other_places_is_refused(places, tmp_path):
    config = _places(tmp_path, 3, 9, 9).model_copy(update={"places": places})
    said = r"give front_end.places" if places is None else r"3 x 2 places must be \[3, 2, H, W\]"
    with pytest.raises(joint.ConfigError, match=said):
        read_psf(config, 3)
