import pytest

from classify.data.haemoglobin import molar_extinction


# Rows of S. Prahl's table that ours leaves out.
@pytest.mark.parametrize(
    ("wavelength", "oxygenated", "reduced"),
    [
        (426, 326032, 481840), (470, 33209, 16156), (500, 20933, 20862), (550, 43016, 53412),
        (560, 32613, 53788), (612, 1364, 8591), (650, 368, 3750), (700, 290, 1794),
        (850, 1058, 691), (940, 1214, 693),
    ],
)  # fmt: skip
def test_what_lies_between_is_within_the_stated_error(wavelength, oxygenated, reduced):
    found = molar_extinction(wavelength)
    assert found == pytest.approx((oxygenated, reduced), rel=0.022)


@pytest.mark.parametrize("isosbestic", [500, 529, 545, 570, 584, 797])
def test_both_absorb_alike_where_they_are_known_to(isosbestic):
    oxygenated, reduced = molar_extinction(isosbestic)
    assert oxygenated == pytest.approx(reduced, rel=0.06)
