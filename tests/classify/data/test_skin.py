import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.color import rgb2xyz

import classify
from classify.data.skin import srgb_codes


@settings(deadline=None, max_examples=100)
@given(*[st.floats(0, 0.6)] * 2, st.floats(0, 0.5), st.floats(0, 1), st.floats(1e-3, 0.2))
def test_reflectance_is_physical(melanin, dermal, blood, keratin, more):
    def light(m, d, b, k):
        return classify.skin_reflectance(*(np.array([v]) for v in (m, d, b, k)))[:, 0]

    base = light(melanin, dermal, blood, keratin)
    assert (base >= 0).all()
    assert (base <= 1).all()
    assert (light(melanin + more, dermal, blood, keratin) <= base + 1e-12).all()
    assert (light(melanin, dermal + more, blood, keratin) <= base + 1e-12).all()
    assert light(melanin, dermal, blood + more, keratin)[1] <= base[1] + 1e-12


def test_melanin_deep_in_the_skin_is_bluer():
    flat = np.zeros(1)
    shallow = classify.skin_reflectance(flat + 0.12, flat, flat + 0.01, flat)[:, 0]
    deep = classify.skin_reflectance(flat + 0.02, flat + 0.05, flat + 0.01, flat)[:, 0]
    assert deep[2] / deep[0] > 2 * shallow[2] / shallow[0]


def test_codes_are_srgb():
    light = np.linspace(0, 1, 200)
    grey = np.repeat(srgb_codes(light)[:, None], 3, 1)[None] / 255.0
    # For greys Y of XYZ is the linear value; a code is 1/255 wide.
    assert np.abs(rgb2xyz(grey)[0, :, 1] - light).max() < 0.005
    assert (srgb_codes(np.array([-1.0, 2.0])) == [0, 255]).all()
