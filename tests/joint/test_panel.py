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
from joint.panel import as_codes, draw_filter, draw_light, draw_reliability, sheet_of_places


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
