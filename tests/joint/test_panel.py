import subprocess
import sys

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from scipy.stats import binomtest

import classify
import joint
import optics
from joint.panel import (
    as_codes,
    draw_filter,
    draw_light,
    draw_reliability,
    in_colours,
    plane_colours,
    sheet_of_places,
)


def _report():
    probabilities = np.array(
        [[0.85, 0.15, 0.0], [0.55, 0.3, 0.15], [0.2, 0.65, 0.15], [0.15, 0.85, 0.0]]
    )
    labels = np.array([0, 1, 1, 1])
    return classify.report(
        probabilities, labels, classes=("mel", "nv", "df"), kind="probabilities", bins=10
    )


def test_the_reliability_bars_are_the_bins_with_pictures():
    report = _report()
    axis = Figure().subplots()
    draw_reliability(axis, report.reliability)
    bars = sorted((bar.get_x(), bar.get_width(), bar.get_height()) for bar in axis.patches)
    np.testing.assert_allclose(bars, [(0.5, 0.1, 0), (0.6, 0.1, 1), (0.8, 0.1, 1)], atol=1e-12)
    points = axis.lines[0]
    np.testing.assert_allclose(points.get_xdata(), [0.55, 0.65, 0.85])
    np.testing.assert_allclose(points.get_ydata(), [0, 1, 1])
    fullest = max(axis.patches, key=lambda bar: bar.get_facecolor()[3])
    assert fullest.get_x() == pytest.approx(0.8)  # two of the four pictures


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_the_lines_of_the_reliability_bars_are_wilsons_intervals(level):
    report = _report()
    axis = Figure().subplots()
    draw_reliability(axis, report.reliability, level=level)
    (lines,) = axis.collections
    filled = report.reliability.count > 0
    at, count = report.reliability.confidence[filled], report.reliability.count[filled]
    right = np.rint(report.reliability.accuracy[filled] * count)
    for line, x, k, n in zip(lines.get_segments(), at, right, count, strict=True):
        low, high = binomtest(int(k), int(n)).proportion_ci(level, method="wilson")
        np.testing.assert_allclose(line, [(x, low), (x, high)], atol=1e-12)


def test_panels_need_no_matplotlib_before_something_is_drawn():
    code = "import sys, joint.panel; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def _camera(rows, columns, shape=(3, 7, 7)):
    """PSFs that tell their place by their light."""
    number = torch.arange(rows * columns).reshape(rows, columns) + 1.0
    psfs = torch.zeros(rows, columns, *shape)
    psfs[..., 3, 3] = 0.8 * (number / (rows * columns)).reshape(
        rows, columns, *[1] * (len(shape) - 2)
    )
    return optics.VaryingImaging(psfs, rank=1)


@pytest.mark.parametrize("shape", [(3, 7, 7), (7, 7)])
def test_psfs_that_change_lie_as_their_places_do(shape):
    front_end = _camera(5, 4, shape)
    figure = Figure()
    draw_filter(figure, front_end)
    assert (
        figure.get_suptitle() == "point-spread functions at 3 × 3 of 5 × 4 places, throughput 0.42"
    )
    panels = [axis for axis in figure.axes if axis.get_title()]
    assert [axis.get_title() for axis in panels] == ["red", "green", "blue"]
    for axis in panels:
        sheet = np.ma.filled(axis.images[0].get_array(), np.nan)
        assert sheet.shape == (3 * 7 + 2, 3 * 7 + 2)
        middles = sheet[3::8, 3::8]
        # The border, the middle and the other border, row by row; 4 columns have no middle.
        expected = np.array([[1, 3, 4], [9, 11, 12], [17, 19, 20]]) / 25
        np.testing.assert_allclose(middles, expected, rtol=1e-6)
        assert np.isnan(sheet[7::8]).all()
        assert np.isnan(sheet[:, 7::8]).all()
        assert np.isfinite(sheet).sum() == 9 * 49
    assert sheet_of_places(_camera(2, 1)).places == "2 × 1 places"
    assert sheet_of_places(_camera(1, 1)).places == "one place"


def test_some_bands_of_many_are_drawn_and_told_by_their_wavelengths():
    bands = tuple(np.linspace(450e-9, 750e-9, 16).tolist())
    config = joint.LensConfig(wavelengths=bands, colour={"filters": "fixed"})
    camera = joint.build_front_end(config, (16, 16), 16)
    figure = Figure()
    draw_filter(figure, camera)
    panels = [axis for axis in figure.axes if axis.get_title()]
    assert [axis.get_title() for axis in panels] == [
        f"{nanometres} nm" for nanometres in (450, 510, 570, 630, 690, 750)
    ]
    psf = camera.psf().detach().numpy()
    for axis, number in zip(panels, (0, 3, 6, 9, 12, 15), strict=True):
        np.testing.assert_array_equal(axis.images[0].get_array(), psf[number])
    # What arrives is what the filters leave of it, too.
    light = float(camera.throughput().detach())
    assert light < 0.5
    assert figure.get_suptitle() == f"point-spread functions, throughput {light:.2f}"


@pytest.mark.parametrize("encoding", ["srgb", "linear"])
def test_what_an_open_camera_passes_looks_like_the_scene(encoding):
    scene = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    front_end = optics.LearnedKernel("identity", 3, signed=False)
    output = joint.ImagingSystem(front_end=front_end, encoding=encoding)(scene)
    (whole,) = Figure().subfigures(1, 1, squeeze=False)[0]
    draw_light(whole, output, ["a"], "a", encoding=encoding)
    shown = [np.asarray(axis.images[0].get_array()) for axis in whole.axes]
    light = scene if encoding == "linear" else optics.srgb_to_linear(scene)
    codes = optics.linear_to_srgb(light)[0].permute(1, 2, 0).numpy()
    assert len(shown) == 4
    for picture in shown:
        np.testing.assert_allclose(picture, codes, atol=0.01)


def test_exposures_of_other_channels_than_the_scene_lie_side_by_side():
    # Five bands, of which two patterns of lamps and three filters make six channels.
    colour = optics.ColourChannels(
        5,
        lamps=optics.Illumination(5, patterns=2, start=torch.eye(5)[:2]),
        filters=optics.ColourFilters(torch.full((3, 5), 0.5)),
    )
    point = torch.zeros(5, 3, 3)
    point[:, 1, 1] = 1
    front_end = optics.IncoherentImaging(point, colour=colour)
    scene = torch.rand(1, 5, 8, 8, generator=torch.Generator().manual_seed(0))
    system = joint.ImagingSystem(front_end=front_end, encoding="linear")
    (whole,) = Figure().subfigures(1, 1, squeeze=False)[0]
    with torch.no_grad():
        output = system(scene)
        draw_light(whole, output, ["a"], "a", encoding="linear", exposures=system.exposures)
    assert whole.axes[1].get_title() == "after the optics (2 of 2 exposures)"
    shown = np.asarray(whole.axes[1].images[0].get_array())
    light = 0.5 * torch.cat([scene[0, 0], scene[0, 1]], -1)  # a lamp a pattern, and its filter
    expected = optics.linear_to_srgb(light)[..., None].expand(-1, -1, 3)
    np.testing.assert_allclose(shown, expected, atol=0.01)


def test_a_field_is_drawn_as_its_light():
    modulus = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    field = torch.polar(modulus, 3 * modulus)
    assert torch.allclose(as_codes(field, "linear"), optics.linear_to_srgb(modulus**2), atol=1e-6)


# ------------------------------------------------------------------ what is red, green and blue


def _numbered(channels):
    """Each channel of one value, its number."""
    return torch.arange(float(channels)).view(1, -1, 1, 1).expand(1, -1, 2, 3)


@pytest.mark.parametrize(
    ("channels", "red_green_blue"),
    [
        (1, [0]),
        (2, [0]),
        (3, [0, 1, 2]),
        (4, [3, 2, 0.5]),
        (6, [4.5, 2.5, 0.5]),
        (16, [13, 8, 2.5]),
    ],
)
def test_bands_are_shown_from_blue_to_red(channels, red_green_blue):
    shown = in_colours(_numbered(channels))
    assert shown.shape == (1, len(red_green_blue), 2, 3)
    assert shown[0, :, 0, 0].tolist() == red_green_blue


def test_bands_of_a_lens_lie_in_the_order_of_their_wavelengths():
    def shown(wavelengths, channels):
        lens = joint.LensConfig(wavelengths=wavelengths, oversample=3)
        front_end = joint.build_front_end(lens, (16, 16), channels)
        return plane_colours(joint.ImagingSystem(front_end=front_end))

    bands = shown((620e-9, 450e-9, 700e-9, 540e-9, 580e-9, 480e-9), 6)
    assert [sorted(each) for each in bands.scene] == [[0, 2], [3, 4], [1, 5]]
    assert bands.scene == bands.light == bands.picture
    assert shown((480e-9, 540e-9, 630e-9), 3).scene == ([2], [1], [0])
    assert shown(None, 3).scene == ([0], [1], [2])  # of a colour camera
    assert shown((550e-9,), 1).scene is None


def test_channels_of_filters_are_shown_by_what_they_pass():
    # The first passes the longest waves, the second the shortest.
    passes = torch.tensor([[0.1, 0.1, 0.9], [0.9, 0.1, 0.1], [0.1, 0.9, 0.1]])
    colour = optics.ColourChannels(
        3, lamps=optics.Illumination(3, patterns=2), filters=optics.ColourFilters(passes)
    )
    lens = joint.build_front_end(
        joint.LensConfig(wavelengths=(450e-9, 550e-9, 650e-9), oversample=3), (16, 16), 3
    )
    camera = optics.IncoherentImaging(lens.pupil, colour=colour)
    found = plane_colours(joint.ImagingSystem(front_end=camera))
    assert found.scene == ([2], [1], [0])
    assert found.light == found.picture == ([0], [2], [1])


@pytest.mark.parametrize(
    ("pattern", "demosaicing", "picture"),
    [
        ("rggb", "packed", ([0], [1, 2], [3])),
        ("gbrg", "packed", ([2], [0, 3], [1])),
        ("rggb", "none", ((0,), (0,), (0,))),
        ("rggb", "malvar", None),
    ],
)
def test_phases_of_a_mosaic_have_the_colour_of_their_pixels(pattern, demosaicing, picture):
    sensor = optics.Sensor(cfa=pattern, demosaicing=demosaicing)
    assert plane_colours(joint.ImagingSystem(sensor=sensor)).picture == picture


def test_a_packed_mosaic_is_drawn_in_its_colours():
    colour = torch.tensor([0.9, 0.5, 0.1])
    scene = colour.view(1, 3, 1, 1).expand(1, 3, 8, 12)
    quiet = {"read_noise": 0.0, "shot_noise": "none", "bit_depth": None}
    for pattern in ("bggr", ("rrgg", "rrgg", "ggbb", "ggbb")):
        sensor = optics.Sensor(cfa=pattern, demosaicing="packed", **quiet)
        kernel = optics.LearnedKernel("identity", 3, signed=False)
        system = joint.ImagingSystem(front_end=kernel, sensor=sensor)
        (whole,) = Figure().subfigures(1, 1, squeeze=False)[0]
        with torch.no_grad():
            output = system(scene)
        draw_light(whole, output, ["a"], "a", colours=plane_colours(system))
        for axis in whole.axes:
            pixels = np.asarray(axis.images[0].get_array())
            np.testing.assert_allclose(pixels, np.broadcast_to(colour, pixels.shape), atol=0.01)


def test_the_first_filter_of_a_kernel_is_shown():
    kernel = optics.LearnedKernel("sobel", 3)
    assert plane_colours(joint.ImagingSystem(front_end=kernel)).picture == ((0,), (1,), (2,))
    many = optics.LearnedKernel("sobel", 3, channels=6)
    assert plane_colours(joint.ImagingSystem(front_end=many)).picture == ([4, 5], [2, 3], [0, 1])
    grey = optics.LearnedKernel("sobel", 3, channels=1)
    assert plane_colours(joint.ImagingSystem(front_end=grey)).picture == ((0,), (0,), (0,))
    one = optics.LearnedKernel("identity", 3)
    assert plane_colours(joint.ImagingSystem(front_end=one)).picture is None


def test_what_is_restored_is_drawn_beside_what_it_is_made_of():
    colour = torch.tensor([0.9, 0.5, 0.1])
    scene = colour.view(1, 3, 1, 1).expand(1, 3, 8, 12)
    quiet = {"read_noise": 0.0, "shot_noise": "none", "bit_depth": None}
    sensor = optics.Sensor(cfa="bggr", demosaicing="packed", **quiet)

    class Phases(torch.nn.Module):
        """Blue, green, green, red to red, green, blue of twice the size."""

        in_channels, out_channels = 4, 3

        def forward(self, picture):
            return picture[:, [3, 1, 0]].repeat_interleave(2, -1).repeat_interleave(2, -2)

    system = joint.ImagingSystem(sensor=sensor, restoration=Phases())
    (whole,) = Figure().subfigures(1, 1, squeeze=False)[0]
    with torch.no_grad():
        output = system(scene)
    draw_light(whole, output, ["a"], "a", colours=plane_colours(system))
    titles = [axis.get_title() for axis in whole.axes]
    assert titles[-3:] == ["after the sensor", "restored", "classifier sees"]
    shapes = [np.asarray(axis.images[0].get_array()).shape for axis in whole.axes]
    assert shapes[-3:] == [(4, 6, 3), (8, 12, 3), (8, 12, 3)]
    for axis in whole.axes:
        pixels = np.asarray(axis.images[0].get_array())
        np.testing.assert_allclose(pixels, np.broadcast_to(colour, pixels.shape), atol=0.01)


def test_bands_that_are_restored_are_shown_as_those_of_the_scene():
    colour = joint.ColourConfig(filters="fixed", channels=3)
    waves = (650e-9, 450e-9, 500e-9, 550e-9, 600e-9)
    system = joint.build_system(
        joint.SystemConfig(
            front_end=joint.LensConfig(colour=colour, wavelengths=waves),
            codec=joint.NoneConfig(),
            restoration=joint.UNetConfig(width=2),
        ),
        image_size=(32, 32),
        channels=5,
        classes=2,
    )
    found = plane_colours(system)
    assert found.picture == found.scene != found.developed
    system.restoration = optics.RestorationUNet(3, width=2)
    assert plane_colours(system).picture is None


class _Blur(optics.FrontEnd):
    """A front end of another's library."""

    in_channels = out_channels = exposures = 1

    def forward(self, scene):
        return scene

    def combine(self, raw):
        return raw

    def throughput(self):
        return torch.tensor(0.5)


def test_the_pupil_of_coherent_light_is_drawn():
    size, spacing = 32, 1e-4
    aperture = optics.circular_aperture((size, size), diameter=2e-3, spacing=spacing)
    element = optics.PhaseMask(torch.full((size, size), 0.7), spacing=spacing)
    pupil = optics.Pupil(
        [element], wavelengths=(530e-9,), aperture=aperture,
        focal_length=0.02, pixel_pitch=2.6e-6, psf_size=15,
    )  # fmt: skip
    front_end = optics.CoherentImaging(pupil)
    figure = Figure()
    draw_filter(figure, front_end)
    light = float(front_end.throughput().detach())
    assert figure.get_suptitle() == f"pupil in coherent light, throughput {light:.2f}"
    modulus, phase, *_ = figure.axes
    field = pupil.field().detach()[0]
    np.testing.assert_array_equal(modulus.images[0].get_array(), field.abs())
    drawn = np.ma.filled(phase.images[0].get_array(), np.nan)
    assert (np.isnan(drawn) == (field == 0).numpy()).all()
    np.testing.assert_allclose(drawn[np.isfinite(drawn)], 0.7, atol=1e-4)
    np.testing.assert_allclose(modulus.images[0].get_extent(), (-1.6, 1.6, 1.6, -1.6))
    colours = optics.Pupil(
        [element], wavelengths=(460e-9, 530e-9, 640e-9),
        focal_length=0.02, pixel_pitch=2.6e-6, psf_size=15,
    )  # fmt: skip
    figure = Figure()
    draw_filter(figure, optics.CoherentImaging(colours))
    assert [a.get_title() for a in figure.axes if a.get_title()] == ["red", "green", "blue"]
    assert sum(len(axis.images) for axis in figure.axes) == 6


@pytest.mark.parametrize(("shape", "names"), [((5, 7), []), ((3, 5, 7), ["red", "green", "blue"])])
def test_the_psf_of_a_front_end_of_ones_own_is_drawn(shape, names):
    class Own(_Blur):
        def psf(self):
            return torch.arange(float(np.prod(shape))).reshape(shape)

    figure = Figure()
    draw_filter(figure, Own())
    assert figure.get_suptitle() == "point-spread functions, throughput 0.50"
    assert [axis.get_title() for axis in figure.axes if axis.get_title()] == names
    shown = [axis.images[0].get_array() for axis in figure.axes if len(axis.images)]
    np.testing.assert_array_equal(np.stack(shown), Own().psf().reshape(-1, 5, 7))


@pytest.mark.parametrize("psf", [None, lambda self, place: torch.ones(3, 3), lambda self: 1.0])
def test_a_front_end_without_a_drawing_is_named(psf):
    Own = type("Own", (_Blur,), {} if psf is None else {"psf": psf})
    figure = Figure()
    draw_filter(figure, Own())
    (text,) = figure.texts
    assert text.get_text().startswith("Own has no drawing")
    assert not figure.axes
