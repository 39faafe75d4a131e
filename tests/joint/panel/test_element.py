import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

import joint
import optics
from joint.panel.element import draw_filter, sheet_of_places


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
    # numpy's modulus and torch's, each within a rounding.
    np.testing.assert_allclose(modulus.images[0].get_array(), field.abs(), rtol=2 * 2**-23)
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
    titles = [axis.get_title() for axis in figure.axes if axis.get_title()]
    assert titles == ["460 nm", "530 nm", "640 nm"]
    assert sum(len(axis.images) for axis in figure.axes) == 6


def test_beside_the_psfs_of_a_mask_lies_its_phase():
    pupil = optics.Pupil(
        [optics.PhaseMask(torch.full((24, 32), 0.7), spacing=1e-4)], spacing=1e-4,
        wavelengths=(460e-9, 530e-9, 640e-9), focal_length=0.02, pixel_pitch=2.6e-6, psf_size=15,
    )  # fmt: skip
    camera = optics.IncoherentImaging(pupil)
    figure = Figure()
    draw_filter(figure, camera)
    titles = [axis.get_title() for axis in figure.axes if axis.get_title()]
    assert titles == ["phase, 530 nm", "460 nm", "530 nm", "640 nm"]
    (drawn,) = figure.axes[0].images
    field = pupil.field().detach()[1]
    expected = np.where(field == 0, np.nan, field.angle())
    np.testing.assert_allclose(np.ma.filled(drawn.get_array(), np.nan), expected, atol=1e-6)
    np.testing.assert_allclose(drawn.get_extent(), (-1.6, 1.6, 1.2, -1.2))
    # A plain stop has none to show.
    figure = Figure()
    aperture = optics.circular_aperture((32, 32), diameter=2e-3, spacing=1e-4)
    plain = optics.Pupil(
        [], size=(32, 32), aperture=aperture, spacing=1e-4,
        wavelengths=(530e-9,), focal_length=0.02, pixel_pitch=2.6e-6, psf_size=15,
    )  # fmt: skip
    draw_filter(figure, optics.IncoherentImaging(plain))
    assert not [axis for axis in figure.axes if "phase" in axis.get_title()]


class _Blur(optics.FrontEnd):
    """A front end of another's library."""

    in_channels = out_channels = exposures = 1

    def forward(self, scene):
        return scene

    def combine(self, raw):
        return raw

    def throughput(self):
        return torch.tensor(0.5)


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
