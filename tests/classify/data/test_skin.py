import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.color import rgb2xyz

import classify
from classify.data.skin import WAVELENGTHS, srgb_codes

BANDS = tuple(1e-9 * nm for nm in range(400, 1001, 25))


@settings(deadline=None, max_examples=50)
@given(
    st.floats(0, 0.6), st.floats(0, 0.6), st.floats(0, 0.5), st.floats(0, 1),
    st.floats(1e-3, 0.2), st.floats(0, 1),
)  # fmt: skip
def test_reflectance_is_physical_at_every_band(melanin, dermal, blood, keratin, more, oxygen):
    def light(m, d, b, k):
        return classify.skin_reflectance(m, d, b, k, wavelengths=BANDS, saturation=oxygen)

    base = light(melanin, dermal, blood, keratin)
    assert base.dtype == torch.float64
    assert (base >= 0).all()
    assert (base <= 1).all()
    for darker in (
        light(melanin + more, dermal, blood, keratin),
        light(melanin, dermal + more, blood, keratin),
        light(melanin, dermal, blood + more, keratin),
    ):
        assert (darker <= base + 1e-12).all()


def test_it_is_the_formula_that_it_says():
    m, d, b, nm = 0.03, 0.01, 0.008, 663.0
    mel, base = 6.6e11 * nm**-3.33, 0.244 + 85.3 * np.exp(-(nm - 154) / 66.2)
    s = 45.3 * (nm / 500) ** -1.292
    # 663 nm: between two rows of the table of haemoglobin.
    haem = np.log(10) * 150 / 64500 * np.exp(np.interp(663, (660, 678), np.log((320, 279))))
    a = base + b * haem + d * mel
    t = 1 - np.exp(-0.35 * 0.012 * s)
    below = 0.55 * t + (1 - t) * np.exp(-7 / np.sqrt(3 * (1 + s / a)))
    expected = np.exp(-2 * 1.9 * 0.006 * m * mel) * below
    found = classify.skin_reflectance(m, d, b, 0.0, wavelengths=[nm * 1e-9])
    assert float(found[0]) == pytest.approx(expected, rel=1e-9)


def test_it_is_continuous_in_wavelength():
    fine = np.arange(400, 1000.01, 0.25) * 1e-9
    for saturation in (0.0, 1.0):
        light = classify.skin_reflectance(
            0.03, 0.0, 0.05, 0.1, wavelengths=list(fine), saturation=saturation
        )
        assert light.diff().abs().max() < 0.006
        coarse = classify.skin_reflectance(
            0.03, 0.0, 0.05, 0.1, wavelengths=list(fine[::2]), saturation=saturation
        )
        assert coarse.diff().abs().max() > 1.5 * light.diff().abs().max()


def test_skin_shows_the_bands_of_oxygenated_blood():
    bands = [nm * 1e-9 for nm in (520, 542, 558, 577, 600, 660)]
    light = classify.skin_reflectance(0.02, 0.0, 0.02, 0.0, wavelengths=bands)
    assert light[1] < light[0]
    assert light[1] < light[2]
    assert light[3] < light[2]  # two troughs: 542 and 577 nm
    assert light[4] > light[2]
    assert light[5] > light[4]
    reduced = classify.skin_reflectance(
        0.02, 0.0, 0.02, 0.0, wavelengths=bands, saturation=0.0
    )  # fmt: skip
    assert reduced[2] < reduced[1]  # one trough, at 556 nm
    assert reduced[5] < light[5]


def test_melanin_deep_in_the_skin_is_bluer():
    shallow = classify.skin_reflectance(0.12, 0.0, 0.01, 0.0)
    deep = classify.skin_reflectance(0.02, 0.05, 0.01, 0.0)
    assert deep[2] / deep[0] > 2 * shallow[2] / shallow[0]


def test_arrays_and_tensors_broadcast_and_keep_their_type():
    melanin = np.linspace(0, 0.1, 5, dtype=np.float32)[:, None]
    light = classify.skin_reflectance(melanin, 0.0, torch.full((1, 3), 0.01), 0.0)
    assert light.shape == (3, 5, 3)
    assert light.dtype == torch.float32


def test_gradients_are_right():
    start = [torch.tensor([v], dtype=torch.float64, requires_grad=True) for v in (0.03, 0.01, 0.02)]
    assert torch.autograd.gradcheck(lambda m, d, b: classify.skin_reflectance(m, d, b, 0.1), start)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"wavelengths": (550,)}, "holds 550.0; give .* in metres and not in nanometres"),
        ({"wavelengths": (399e-9,)}, "each of 400e-9 to 1000e-9"),
        ({"wavelengths": ()}, "holds nothing; give at least one"),
        ({"wavelengths": 550e-9}, "must be a sequence of metres"),
        ({"wavelengths": "red"}, "wavelengths='red' must be a sequence of metres"),
        ({"wavelengths": (float("nan"),)}, "each of 400e-9 to 1000e-9"),
        ({"saturation": 1.2}, "saturation=1.2 is out of range; give 0 to 1"),
        ({"melanin": -0.1}, "melanin holds values out of range; give finite volume fractions"),
        ({"dermal": float("inf")}, "dermal holds values out of range"),
        ({"blood": torch.tensor([0.1, float("nan")])}, "blood holds values out of range"),
        ({"keratin": 1.1}, "keratin holds values out of range; give 0 to 1"),
    ],
)
def test_bad_input_is_refused(options, message):
    good = {"melanin": 0.1, "dermal": 0.0, "blood": 0.0, "keratin": 0.0}
    with pytest.raises(ValueError, match=message):
        classify.skin_reflectance(**{**good, **options})


def test_codes_are_srgb():
    light = torch.linspace(0, 1, 200)
    grey = np.repeat(srgb_codes(light).numpy()[:, None], 3, 1)[None] / 255.0
    # For greys Y of XYZ is the linear value; a code is 1/255 wide.
    assert np.abs(rgb2xyz(grey)[0, :, 1] - light.numpy()).max() < 0.005
    assert srgb_codes(torch.tensor([-1.0, 2.0])).tolist() == [0, 255]
    assert tuple(sorted(WAVELENGTHS, reverse=True)) == WAVELENGTHS
