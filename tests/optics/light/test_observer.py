import numpy as np
import pytest
import torch
from scipy.constants import nano
from skimage.color import xyz2rgb

import optics
from optics.light.observer import D65, XYZ_OF_SRGB

_NM = torch.arange(380, 785, 5, dtype=torch.float64)
_BANDS = _NM * nano


def _chromaticity(lamp):
    seen = (optics.colour_matching(_BANDS) * lamp).sum(1)
    return (seen[:2] / seen.sum()).tolist()


def test_sums_and_samples_of_the_observer_are_those_published():
    x, y, z = optics.colour_matching(_BANDS)
    # Wyszecki and Stiles, Color Science, table I(3.3.1), every 5 nm: its rows have four decimals,
    # and the sums of 81 of them vary by some 3e-4.
    for function, total in (x, 21.3714), (y, 21.3711), (z, 21.3715):
        assert float(function.sum()) == pytest.approx(total, abs=3e-4)
    for nm, row in (
        (445, (0.3481, 0.0298, 1.7826)),
        (500, (0.0049, 0.3230, 0.2720)),
        (555, (0.5121, 1.0000, 0.0057)),
        (600, (1.0622, 0.6310, 0.0008)),
    ):
        assert optics.colour_matching(nm * nano).tolist() == pytest.approx(row, abs=6e-5)
    assert torch.equal(y, optics.luminous_efficiency(_BANDS))
    assert not optics.colour_matching(torch.tensor([370e-9, 790e-9])).any()


@pytest.mark.parametrize(
    ("lamp", "white"),
    [
        (torch.ones_like(_BANDS), (1 / 3, 1 / 3)),
        (optics.daylight(_BANDS), (0.31270, 0.32900)),  # D65, CIE 15:2004
        (optics.daylight(_BANDS, temperature=5002.78), (0.34567, 0.35850)),  # D50
        (optics.blackbody(_BANDS, temperature=2856), (0.44757, 0.40745)),  # A
    ],
)
def test_white_points_of_lamps_are_those_published(lamp, white):
    assert _chromaticity(lamp) == pytest.approx(white, abs=5e-5)


def test_daylight_is_the_table_of_d65():
    # CIE 15:2004, table T.1.
    nm = torch.tensor([300, 380, 460, 500, 560, 600, 700, 780, 830], dtype=torch.float64)
    table = (0.034, 49.9755, 117.812, 109.354, 100.0, 90.0062, 71.6091, 63.3828, 60.3125)
    assert optics.daylight(nm * nano).tolist() == pytest.approx(table, abs=2e-3)
    assert optics.daylight(torch.tensor([550e-9])).dtype == torch.float32
    # Above 7000 K: D75, and the bluest (CIE 15:2004; weights of three decimals).
    for temperature, white in (7504, (0.29902, 0.31485)), (25000, (0.2499, 0.2548)):
        found = _chromaticity(optics.daylight(_BANDS, temperature=temperature))
        assert found == pytest.approx(white, abs=1e-4)


def test_the_adaptation_is_that_of_bradford():
    # From A to D65, with the white points of ASTM E308 (B. Lindbloom, chromatic adaptation).
    known = np.array(
        [
            (0.8446965, -0.1179225, 0.3948108),
            (-0.1366303, 1.1041226, 0.1291718),
            (0.0798489, -0.1348999, 3.1924009),
        ]
    )
    lamp = optics.blackbody(_BANDS, temperature=2856)
    seen = optics.colour_matching(_BANDS) * lamp
    xyz = (seen / seen[1].sum()).numpy()
    # Each band is a reflectance, so that all of the matrix is compared.
    ours = optics.observer_colours(torch.eye(len(_BANDS)).double(), _BANDS, lamp=lamp)
    back = np.array(XYZ_OF_SRGB) @ ours.numpy().T
    # The white of 2856 K has Z = 0.3560 by the constants of today, and 0.35585 in ASTM E308.
    assert np.abs(back - known @ xyz).max() < 5e-4 * np.abs(back).max()


def test_colours_under_d65_are_those_of_scikit_image():
    reflectance = torch.rand(
        7, len(_BANDS), generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    lamp = optics.daylight(_BANDS)
    seen = optics.colour_matching(_BANDS) * lamp
    xyz = reflectance @ (seen / seen[1].sum()).mT
    theirs = xyz2rgb(xyz.numpy())  # with its curve, and clipped
    ours = optics.linear_to_srgb(optics.observer_colours(reflectance, _BANDS, lamp=lamp))
    assert np.abs(ours.clamp(0, 1).numpy() - theirs).max() < 1e-3  # white is adapted to its digits
    assert tuple(torch.tensor(XYZ_OF_SRGB).sum(1).tolist()) == pytest.approx(D65, abs=1e-4)


@pytest.mark.parametrize("temperature", [2856, 6500, 20000])
def test_white_and_greys_are_neutral_under_any_lamp(temperature):
    lamp = optics.blackbody(_BANDS, temperature=temperature)
    greys = torch.tensor([1.0, 0.18], dtype=torch.float64)[:, None].expand(2, len(_BANDS))
    filters = torch.rand(4, len(_BANDS), generator=torch.Generator().manual_seed(1)).double()
    for colours in (
        optics.observer_colours(greys, _BANDS, lamp=3e5 * lamp),
        optics.camera_colours(greys, 1e-3 * filters, lamp=lamp),
    ):
        assert torch.allclose(colours, greys[:, :1].expand_as(colours), rtol=0, atol=1e-12)


def test_camera_colours_are_balanced_sums_over_the_bands():
    reflectance = torch.tensor([[[0.2, 0.8]], [[1.0, 0.0]]])
    sensitivity = torch.tensor([[1.0, 0.0], [1.0, 1.0], [3.0, 1.0]])
    colours = optics.camera_colours(reflectance, sensitivity, lamp=torch.tensor([1.0, 3.0]))
    expected = torch.tensor([[[0.2, 0.65, 0.5]], [[1.0, 0.25, 0.5]]])
    assert torch.allclose(colours, expected)
    assert colours.dtype == torch.float32
    half = optics.camera_colours(reflectance.half(), sensitivity.half(), lamp=torch.ones(2).half())
    assert half.dtype == torch.float32


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: optics.daylight([550e-9]), TypeError, "wavelength must be a Tensor"),
        (
            lambda: optics.daylight(torch.tensor([5e-7]), temperature=2856),
            ValueError,
            "within 4000 to 25000 K, for which the CIE defines daylight, not 2856.*blackbody",
        ),
        (lambda: optics.daylight(torch.tensor([9e-7])), ValueError, "only from 300 to 830 nm"),
        (lambda: optics.colour_matching(550.0), ValueError, "must be in metres"),
        (
            lambda: optics.observer_colours(torch.ones(2, 3), _BANDS, lamp=torch.ones(81)),
            ValueError,
            r"of the L bands of wavelength, \[81\], not \[2, 3\] and \[81\]",
        ),
        (
            lambda: optics.observer_colours(-torch.ones(81), _BANDS, lamp=torch.ones(81)),
            ValueError,
            "reflectance must be 0 or more",
        ),
        (
            lambda: optics.observer_colours(
                torch.ones(2), torch.tensor([8e-7, 9e-7]), lamp=torch.ones(2)
            ),
            ValueError,
            "lamp has no visible light",
        ),
        (
            lambda: optics.observer_colours(
                torch.ones(1), torch.tensor([589e-9]), lamp=torch.ones(1)
            ),
            ValueError,
            "or only that of a yellow line, which no eye adapts to as white",
        ),
        (
            lambda: optics.observer_colours(
                torch.ones(81).long(), _BANDS, lamp=torch.ones(81).long()
            ),
            ValueError,
            "must be real floating point, not torch.int64 and torch.int64",
        ),
        (
            lambda: optics.camera_colours(torch.ones(3), torch.ones(3), lamp=torch.ones(3)),
            ValueError,
            r"sensitivity must be \[C, L\], not \(3,\)",
        ),
        (
            lambda: optics.camera_colours(torch.ones(2), torch.eye(2), lamp=torch.tensor([1.0, 0])),
            ValueError,
            r"channels \[1\] of the sensitivity get no light of the lamp",
        ),
        (
            lambda: optics.camera_colours(
                torch.ones(2), torch.tensor([[1.0, float("nan")]]), lamp=torch.ones(2)
            ),
            ValueError,
            "sensitivity must be finite",
        ),
    ],
)
def test_spectra_that_are_none_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
