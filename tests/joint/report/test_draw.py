import numpy as np
import pytest
import torch
from pages import HISTORY

import joint
import optics
from joint.panel.look import COLOURS
from joint.report.draw import element_figures, history_figure


def test_the_curves_are_the_lines_of_the_history():
    figure = history_figure(HISTORY, best=1, monitor="auc")
    loss, judged, norms = [axis for axis in figure.axes if axis.axison]
    training, validation, best = loss.get_lines()
    assert training.get_xydata().tolist() == [[1, 2.0], [2, 1.0]]
    assert validation.get_xydata().tolist() == [[1, 3.0], [2, 2.5]]
    assert best.get_xdata()[0] == 2
    assert judged.get_lines()[0].get_label() == "auc"
    assert [line.get_label() for line in norms.get_lines()] == ["codec", "best epoch"]
    assert norms.get_yscale() == "linear"


def test_every_stage_has_its_line_and_no_legend_lies_on_lines():
    stages = [f"stage_{n}" for n in range(9)]
    history = [
        {**record, "gradient_norms": {name: n + 1.0 for n, name in enumerate(stages)}}
        for record in HISTORY
    ]
    figure = history_figure(history, best=None, monitor="auc")
    figure.canvas.draw()
    norms = figure.axes[2]
    assert [line.get_label() for line in norms.get_lines()] == [f"stage {n}" for n in range(9)]
    assert len({line.get_color() for line in norms.get_lines()}) == 9
    for axis in figure.axes[:3]:
        box = axis.get_legend().get_window_extent()
        assert box.y0 >= axis.get_window_extent().y1
        assert box.y1 <= figure.bbox.y1


def test_norms_over_more_than_a_decade_have_a_logarithmic_axis():
    history = [
        {**record, "gradient_norms": {"codec": norm, "classifier": 0.0}}
        for record, norm in zip(HISTORY, (0.02, 0.5), strict=True)
    ]
    norms = history_figure(history, best=1, monitor="auc").axes[2]
    assert norms.get_yscale() == "log"


def test_a_run_of_one_epoch_has_one_tick():
    figure = history_figure(HISTORY[:1], best=0, monitor="loss")
    for axis in figure.axes:
        low, high = axis.get_xlim()
        assert [tick for tick in axis.get_xticks() if low <= tick <= high] == [1]


def _curves(front_end):
    _, (figure, *_) = element_figures(front_end)
    (axis,) = figure.axes
    return axis


def _diffraction(nu, cutoff):
    """MTF of a circular pupil: Goodman, Introduction to Fourier Optics, eq. 6-31."""
    nu = np.clip(nu / cutoff, 0, 1)
    return 2 / np.pi * (np.arccos(nu) - nu * np.sqrt(1 - nu**2))


def test_the_transfer_of_a_lens_is_its_mtf():
    pupil = optics.Pupil(
        [], wavelengths=[500e-9], focal_length=20e-3, pixel_pitch=1.5e-6, psf_size=101, size=128,
        spacing=2.5e-3 / 127,
    )  # fmt: skip
    axis = _curves(optics.IncoherentImaging(pupil))
    cutoff = 2.5e-3 / (500e-9 * 20e-3) * 1.5e-6
    assert axis.get_ylabel() == "MTF"
    for line in axis.get_lines():
        nu, found = line.get_xydata().T
        assert np.abs(found - _diffraction(nu, cutoff)).max() < 0.01  # 128 samples across


def test_the_transfer_of_a_lens_beyond_the_pixels_is_not_folded():
    """Of an engineer's f/2 on 7.2 um, whose folded PSF had 0.92 at Nyquist for 0.56."""
    config = joint.LensConfig(f_number=2, pixel_pitch=7.2e-6, oversample=9, psf_size=11)
    lens = joint.build_front_end(config, (16, 16), 1)
    axis = _curves(lens)
    nu, found = axis.get_lines()[0].get_xydata().T
    expected = _diffraction(nu, 7.2e-6 / (540e-9 * 2)) * np.sinc(nu)
    assert nu[-1] == 0.5
    assert np.abs(found - expected).max() < 0.01  # of 96 samples across
    _, (*_, said) = element_figures(lens)
    assert "with the area of the pixels (oversample=9)" in said


def test_the_transfer_of_a_broad_channel_is_that_of_its_light():
    """Transfer functions add up as the light does: at their centres, an open lens turns none."""
    bands, share = (450e-9, 650e-9), (0.75, 0.25)
    config = joint.LensConfig(
        f_number=4, pixel_pitch=3.45e-6, oversample=3, psf_size=15,
        wavelengths=bands, spectral_response=(0.5 * share[0], 0.5 * share[1]),
    )  # fmt: skip
    axis = _curves(joint.build_front_end(config, (16, 16), 1))
    nu, found = axis.get_lines()[0].get_xydata().T
    each = [_diffraction(nu, 3.45e-6 / (band * 4)) for band in bands]
    expected = np.sinc(nu) * np.average(each, axis=0, weights=share)
    assert np.abs(found - expected).max() < 0.01  # of 96 samples across


def test_the_transfer_of_a_kernel_and_a_filter():
    axis = _curves(optics.LearnedKernel("identity"))
    kernel = optics.LearnedKernel("identity").response[0, 0, 0].detach().numpy()
    line = axis.get_lines()[0].get_xydata()
    assert line[0, 1] == pytest.approx(abs(kernel.sum()), abs=1e-5)
    middle = len(line) // 2
    phase = np.exp(-2j * np.pi * line[middle, 0] * np.arange(7))
    assert line[middle, 1] == pytest.approx(abs((kernel.sum(0) * phase).sum()), abs=1e-5)

    filter_ = optics.FourierFilter(16, "low_pass")
    axis = _curves(filter_)
    size = filter_.grid_size[0]
    transmission = filter_.transmission.detach().abs()[size // 2, size // 2 :]
    assert np.allclose(axis.get_lines()[0].get_ydata(), transmission)
    assert _curves(optics.FourierFilter(16, illumination="incoherent")).get_ylabel() == "MTF"


def test_a_lens_with_a_psf_a_place_is_drawn_with_its_middle_and_a_corner():
    generator = torch.Generator().manual_seed(0)
    psfs = torch.rand(4, 5, 3, 9, 9, generator=generator) / 81
    front_end = optics.VaryingImaging(psfs, rank=2)
    (sheets, _, said), (figure, _, of) = element_figures(front_end)
    assert "each channel at 3 × 3 of 4 × 5 places, arranged as in the picture from" in said
    assert "of the middle channel, at the place nearest to the middle and in a corner" in of
    shown = [axis.images[0].get_array() for axis in sheets.axes[:-1]]
    assert len(shown) == 3
    np.testing.assert_allclose(shown[2][-9:, -9:], psfs[-1, -1, 2], rtol=1e-6)
    lines = {line.get_label(): line.get_xydata() for line in figure.axes[0].get_lines()}
    assert [*lines] == [f"{at}, along {axis}" for at in ("middle", "corner") for axis in "xy"]
    for at, psf in (("middle", psfs[2, 2, 1].numpy()), ("corner", psfs[-1, -1, 1].numpy())):
        for axis, along in (("x", 0), ("y", 1)):
            spread = psf.sum(along)  # a line-spread function
            frequency, values = lines[f"{at}, along {axis}"].T
            phases = np.exp(-2j * np.pi * frequency[:, None] * np.arange(9))
            np.testing.assert_allclose(values, abs(phases @ spread) / psf.sum(), atol=1e-5)
    _, (alone, *_) = element_figures(optics.VaryingImaging(psfs[:1, :1], rank=1))
    assert [line.get_label() for line in alone.axes[0].get_lines()] == ["along x", "along y"]


def test_a_lens_that_curves_its_field_is_drawn_unfolded_at_both_places():
    """In the middle it is the plain lens, and in a corner the lens out of focus."""
    config = joint.LensConfig(psf_size=15, oversample=3)
    off_axis = {"field_curvature": 0.5, "places": (5, 5), "rank": 25}
    curved = joint.LensConfig(psf_size=15, oversample=3, off_axis=off_axis)
    lines = _curves(joint.build_front_end(curved, (16, 16), 3)).get_lines()
    for (x, y), waves in ((lines[:2], 0.0), (lines[2:], -0.5)):
        at = config.model_copy(update={"defocus": waves})
        green = _curves(joint.build_front_end(at, (16, 16), 3)).get_lines()[2:4]
        for line, expected in zip((x, y), green, strict=True):
            # Zernike terms on one side, a parabola on the other.
            np.testing.assert_allclose(line.get_ydata(), expected.get_ydata(), atol=1e-4)


def test_a_psf_of_a_file_has_no_pupil_to_speak_of():
    camera = joint.build_front_end(joint.PSFConfig(throughput=0.5), (16, 16), 3)
    (figure, _, caption), _ = element_figures(camera)
    assert caption.startswith("Point-spread function of each channel; shades")
    assert figure.get_suptitle() == "PSF, throughput 0.50"
    assert len(figure.axes) == 4  # a colour bar of all three


_RED, _GREEN, _BLUE = COLOURS[1], COLOURS[2], COLOURS[0]


@pytest.mark.parametrize(
    ("nanometres", "names", "colours"),
    [
        (None, ["red", "green", "blue"], [_RED, _GREEN, _BLUE]),
        ((610, 550, 460), ["red", "green", "blue"], [_RED, _GREEN, _BLUE]),
        ((450, 550, 650), ["450 nm", "550 nm", "650 nm"], [_BLUE, _GREEN, _RED]),
        ((550, 450, 650), ["550 nm", "450 nm", "650 nm"], [_GREEN, _BLUE, _RED]),
        ((900, 850, 800), ["900 nm", "850 nm", "800 nm"], [_RED, _GREEN, _BLUE]),
    ],
)
def test_three_bands_are_colours_where_they_are_those_of_a_camera(nanometres, names, colours):
    waves = nanometres and tuple(1e-9 * each for each in nanometres)
    lens = joint.build_front_end(joint.LensConfig(wavelengths=waves, psf_size=9), (16, 16), 3)
    (spots, *_), (curves, *_) = element_figures(lens)
    assert [axis.get_title() for axis in spots.axes[1:4]] == [f"PSF, {name}" for name in names]
    lines = curves.axes[0].get_lines()[::2]
    assert [line.get_label() for line in lines] == [f"{name}, along x" for name in names]
    assert [line.get_color() for line in lines] == colours


@pytest.mark.parametrize(
    ("kernel", "first", "last", "count"),
    [
        ({"start": "log", "channels": 1}, "", "", 1),
        ({"start": "log"}, "red", "blue", 3),
        ({"start": "sobel", "channels": 1}, "filter 0", "filter 1", 2),
        ({"start": "sobel", "channels": 4}, "filter 0, 0", "filter 1, 3", 8),
        ({"start": "gabor"}, "filter 0, red", "filter 3, blue", 12),
        ({"start": "sobel", "mix_channels": True}, "filter 0, red to red", "filter 1, blue to red",
         12),
    ],
)  # fmt: skip
def test_every_kernel_that_is_shown_is_named_alike(kernel, first, last, count):
    front_end = optics.LearnedKernel(**kernel)
    (kernels, *_), (curves, *_) = element_figures(front_end)
    titles = [axis.get_title().replace("\n", ", ") for axis in kernels.axes if axis.images]
    assert (titles[0], titles[-1], len(titles)) == (first, last, count)
    lines = curves.axes[0].get_lines()[::2]
    assert [line.get_label() for line in lines] == [
        f"{t}, along x" if t else "along x" for t in titles
    ]
    assert len({line.get_color() for line in lines}) == count
    every = front_end.response.shape[:3].numel()
    said = f"({count} of {every} shown)"
    assert (said in kernels.get_suptitle()) == (every > count)
    # What is drawn under a name is what the element does.
    drawn = kernels.axes[count - 1].images[0].get_array()
    np.testing.assert_array_equal(drawn, front_end.response.flatten(0, 2)[count - 1].detach())


def test_point_spread_functions_of_a_row_have_one_scale_and_say_it():
    config = joint.LensConfig(focus=0.3, working_distances=(0.28, 0.3, 0.4))
    lens = joint.build_front_end(config, (16, 16), 3)
    spots, depths, _ = (figure for figure, *_ in element_figures(lens))
    for figure, psf in (
        (spots, lens.psf()),
        (depths, lens.psf(distance=lens.working_distances)[:, 1]),
    ):
        shown = [axis for axis in figure.axes if axis.get_title().startswith("PSF")]
        assert len(shown) == 3
        assert figure.axes[-1].get_ylabel() == "fraction of the light"
        for axis in shown:
            assert axis.images[0].get_clim() == (0, pytest.approx(float(psf.max())))


def test_a_lens_that_varies_with_place_and_distance_is_drawn_at_both():
    config = joint.LensConfig(
        focus=0.3,
        working_distances=(0.28, 0.4),
        off_axis={"field_curvature": 0.5, "places": (3, 3), "rank": 9},
    )
    lens = joint.build_front_end(config, (16, 16), 3)
    (_, _, said), (depths, of, _), _ = element_figures(lens)
    assert "of each channel in focus at 3 × 3 places" in said
    assert of == "Point-spread functions at the working distances"
    shown = [axis for axis in depths.axes if axis.get_title().startswith("PSF, 0.")]
    for axis, distance in zip(shown, (0.28, 0.4), strict=True):
        middle = lens.psf(distance=distance).detach()[1, 1, 1].numpy()
        sheet = np.asarray(axis.images[0].get_array())
        side, gap = len(middle), (len(sheet) - 3 * len(middle)) // 2
        inside = slice(side + gap, 2 * side + gap)
        np.testing.assert_allclose(sheet[inside, inside], middle.clip(0), rtol=1e-5, atol=1e-9)


def test_figures_of_one_element_show_different_things():
    config = joint.LensConfig(working_distances=(0.28, 0.4))
    shutter = optics.CodedExposure(lens=joint.build_front_end(config, (16, 16), 3))
    for front_end in (optics.LearnedKernel("log"), shutter.lens, shutter):
        shown = [shows for _, shows, _ in element_figures(front_end)]
        assert len(set(shown)) == len(shown) > 1


def test_an_element_that_is_not_known_is_not_drawn():
    pupil = optics.Pupil(
        [], wavelengths=[500e-9], focal_length=20e-3, pixel_pitch=1.5e-6, psf_size=31, size=32,
        spacing=2.5e-3 / 31,
    )  # fmt: skip
    assert [*element_figures(optics.CoherentImaging(pupil))] == []
