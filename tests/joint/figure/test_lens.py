import math

import numpy as np
import pytest
import torch

import optics
from joint.figure import lens_figure, save_figure

SAMPLES, SPACING, DIAMETER, WAVE = 32, 1.1e-4, 3.3e-3, 550e-9


def _pupil(*elements, wavelengths=(WAVE,), focus=0.4):
    return optics.Pupil(
        elements,
        size=SAMPLES,
        spacing=SPACING,
        aperture=optics.circular_aperture(SAMPLES, diameter=DIAMETER, spacing=SPACING),
        wavelengths=wavelengths,
        focal_length=0.01,
        pixel_pitch=3e-6,
        psf_size=9,
        oversample=3,
        focus=focus,
    )


def _aberrated(**terms):
    coefficients = optics.seidel_coefficients(3, size=(30, 40), **terms)
    return optics.Aberration(SAMPLES, spacing=SPACING, diameter=DIAMETER, coefficients=coefficients)


def _data(line, axis):
    return np.asarray(line.get_xdata() if axis == "x" else line.get_ydata()).tolist()


def _names(axis):
    return [text.get_text() for text in axis.get_legend().get_texts()]


def test_a_lens_that_is_the_same_everywhere(tmp_path):
    pupil = _pupil()
    figure = lens_figure(pupil, title="a lens")
    sensor, focus = figure.axes
    assert figure.get_suptitle() == "a lens"
    assert _names(sensor) == ["tangential", "sagittal"]
    assert _names(focus) == ["550 nm"]
    cycles, contrast = _data(sensor.lines[0], "x"), _data(sensor.lines[0], "y")
    expected = pupil.mtf(torch.tensor(cycles) / 3e-6, angle=math.pi / 2)[0]
    assert contrast == pytest.approx(expected.tolist(), abs=1e-6)
    found = optics.through_focus(pupil)
    position, contrast = _data(focus.lines[1], "x"), _data(focus.lines[1], "y")
    assert position == pytest.approx((1e6 * found.position).tolist())
    assert contrast == pytest.approx(found.contrast[0, :, 0, 1].tolist())
    save_figure(figure, tmp_path / "lens.pdf")
    assert (tmp_path / "lens.pdf").stat().st_size > 1000


def test_colours_are_drawn_with_their_sum_and_their_foci():
    colour = optics.Aberration(
        SAMPLES,
        spacing=SPACING,
        diameter=DIAMETER,
        coefficients=torch.tensor([[0.1], [-0.1]]) * WAVE,
        indices=[4],
    )
    pupil = _pupil(colour, wavelengths=(620e-9, 460e-9))
    _, focus, foci = lens_figure(pupil, weights=[1, 3]).axes
    assert _names(focus) == ["all", "620 nm", "460 nm"]
    found = optics.through_focus(pupil, weights=[1, 3])
    assert _data(focus.lines[0], "y") == pytest.approx(found.polychromatic[:, 0, 0].tolist())
    tangential = foci.lines[0]
    assert _data(tangential, "x") == pytest.approx((1e6 * found.best_focus[:, 0, 0]).tolist())
    assert _data(tangential, "y") == pytest.approx([620, 460])


def test_the_field_is_drawn_at_three_places_and_its_curvature_at_all():
    pupil = _pupil(_aberrated(field_curvature=-WAVE, astigmatism=WAVE))
    _, focus, foci = lens_figure(pupil, picture=(30, 40)).axes
    assert _names(focus) == ["height 0.00", "height 0.80", "height 1.00"]
    assert _names(foci) == ["tangential", "sagittal"]
    found = optics.through_focus(pupil, picture=(30, 40)).polychromatic_focus
    for line, both in zip(foci.lines, found[:, :, 0].flatten(0, 1).T, strict=False):
        assert _data(line, "x") == pytest.approx((1e6 * both).tolist())
    with pytest.warns(UserWarning, match="taken as square") as told:
        lens_figure(pupil)
    assert [each.filename for each in told] == [__file__]


def test_distances_of_the_scene_have_a_curve_each():
    front = optics.IncoherentImaging(_pupil(), working_distances=(0.39, 0.41))
    _, focus = lens_figure(front).axes
    assert _names(focus) == ["390 mm", "410 mm"]
    colours = _pupil(_aberrated(field_curvature=-WAVE), wavelengths=(620e-9, 460e-9))
    panels = lens_figure(colours, distance=[0.39, 0.4, 0.41], picture=(30, 40)).axes
    assert [axis.get_title() for axis in panels] == [
        "at the sensor\nall wavelengths, scene at 400 mm",
        "at 0.25 cycles/pixel\nall wavelengths, scene at 400 mm",
        "field curvature\nall wavelengths, scene at 400 mm",
        "axial colour\nheight 0.00, scene at 400 mm",
    ]
    in_focus = lens_figure(colours, distance=[0.4], picture=(30, 40)).axes
    for one, several in zip(in_focus[0].lines, panels[0].lines, strict=True):
        assert _data(one, "y") == pytest.approx(_data(several, "y"))


def test_many_distances_leave_their_curves_free():
    pupil = _pupil(wavelengths=(620e-9, 460e-9))
    figure = lens_figure(pupil, distance=torch.linspace(0.38, 0.42, 11).tolist())
    figure.draw_without_rendering()
    _, focus, foci = figure.axes
    assert focus.get_title() == "at 0.25 cycles/pixel\nall wavelengths"
    assert foci.get_title() == "axial colour\nscene at 400 mm"
    legend, beside = focus.get_legend(), foci.get_tightbbox()
    assert legend is not None
    assert beside is not None
    legend = legend.get_window_extent()
    assert focus.get_window_extent().x1 <= legend.x0
    assert legend.x1 <= beside.x0
    assert figure.bbox.y0 <= legend.y0


def test_a_focus_that_is_known_is_not_computed_again(monkeypatch):
    front = _pupil(_aberrated(field_curvature=-WAVE), wavelengths=(620e-9, 460e-9))
    weights, distance = [1.0, 3.0], [0.39, 0.41]
    whole = lens_figure(front, distance=distance, picture=(30, 40), weights=weights)
    known = optics.through_focus(front, distance=distance, picture=(30, 40), weights=weights)
    monkeypatch.setattr("joint.figure.lens.quarter_cycle", lambda pupil: 0.0)  # no other is drawn
    again = lens_figure(front, focus=known, picture=(30, 40))
    for one, other in zip(whole.axes, again.axes, strict=True):
        assert one.get_title() == other.get_title()
        for line, same in zip(one.lines, other.lines, strict=True):
            np.testing.assert_array_equal(line.get_xydata(), same.get_xydata())
    several = optics.through_focus(front, picture=(30, 40), frequency=[4e4, 8e4], distance=distance)
    right = lens_figure(front, focus=several, picture=(30, 40)).axes[1]
    assert right.get_title().startswith("at 0.12 cycles/pixel")
    curve = several.polychromatic[1, 1, 1, :, 0, 0]
    assert _data(right.lines[0], "y") == pytest.approx(curve.tolist())
    with pytest.raises(ValueError, match="a focus has its own distances and weights"):
        lens_figure(front, focus=known, weights=weights)


def test_what_is_no_lens_is_refused():
    with pytest.raises(ValueError, match="contains 0"):
        lens_figure(optics.LearnedKernel("identity", 3))
