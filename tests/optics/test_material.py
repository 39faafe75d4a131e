import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from optics import material

D_LINE = 587.5618e-9

# n_d and Abbe numbers as the makers and handbooks print them, to their last digit.
PUBLISHED = {
    "fused_silica": (1.45846, 67.82, 1e-5, 0.01),  # Malitson 1965, table I: 1.45846; 67.82
    "n_bk7": (1.5168, 64.17, 1e-5, 0.01),  # SCHOTT data sheet 517642.251
    "f2": (1.62004, 36.37, 1e-5, 0.01),  # SCHOTT data sheet 620364.360
    "n_sf11": (1.78472, 25.68, 1e-5, 0.01),  # SCHOTT data sheet 785257.322
    "calcium_fluoride": (1.43384, 95.0, 2e-5, 0.3),
    "sapphire": (1.7682, 72.2, 1e-4, 0.2),
    "magnesium_fluoride": (1.3777, 106.2, 1e-4, 0.5),
    # Handbook values; the index differs from maker to maker by 1e-3, and the one-term fits of the
    # last two are 7 % and 4 % too dispersive, as the docstring says.
    "pmma": (1.4914, 57.4, 1e-3, 1.0),
    "polycarbonate": (1.585, 29.9, 1e-3, 2.1),
    "polystyrene": (1.592, 30.9, 1e-3, 1.4),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_index_and_abbe_number(name):
    index, abbe, index_error, abbe_error = PUBLISHED[name]
    assert abs(material.refractive_index(name, D_LINE) - index) <= index_error
    assert abs(material.abbe_number(name) - abbe) <= abbe_error


@pytest.mark.parametrize(("nanometres", "index"), [(450, 1.4408), (550, 1.4324), (650, 1.4277)])
def test_pdms_has_its_dispersion(nanometres, index):
    assert abs(material.refractive_index("pdms", nanometres * 1e-9) - index) < 6e-5


@pytest.mark.parametrize(
    # Malitson 1965, table I: computed index of fused silica at mercury, helium and others' lines.
    ("micrometres", "index"),
    [(0.404656, 1.46962), (0.546074, 1.46008), (0.656272, 1.45637), (1.52952, 1.44427)],
)
def test_fused_silica_over_its_range(micrometres, index):
    assert abs(material.refractive_index("fused_silica", micrometres * 1e-6) - index) < 1e-5


@pytest.mark.parametrize("name", material.MATERIALS)
@given(part=st.floats(0, 1))
@settings(deadline=None, max_examples=25)
def test_normal_dispersion_and_gradient_in_the_visible(name, part):
    wavelength = (0.45 + 0.24 * part) * 1e-6
    tensor = torch.tensor(wavelength, dtype=torch.float64, requires_grad=True)
    index = material.refractive_index(name, tensor)
    assert 1.3 < float(index.detach()) < 1.9
    assert math.isclose(float(index.detach()), material.refractive_index(name, wavelength))
    (slope,) = torch.autograd.grad(index, tensor)
    step = 1e-11
    difference = material.refractive_index(name, wavelength + step)
    difference -= material.refractive_index(name, wavelength - step)
    assert slope < 0
    assert math.isclose(float(slope), difference / (2 * step), rel_tol=1e-5)


def test_types():
    assert isinstance(material.refractive_index("n_bk7", 5e-7), float)
    single = torch.tensor([4e-7, 7e-7], dtype=torch.float32)
    index = material.refractive_index("n_bk7", single)
    assert index.dtype == torch.float64
    assert index.shape == (2,)
    assert material.refractive_index("n_bk7", torch.zeros(0)).shape == (0,)
    edge = torch.tensor([0.35e-6, 0.7e-6], dtype=torch.float32)
    assert torch.isfinite(material.refractive_index("pdms", edge)).all()


def test_names():
    assert set(PUBLISHED) | {"pdms"} == set(material.MATERIALS)
    with pytest.raises(ValueError, match=r"material must be one of .*'N-BK7'; nearest: n_bk7"):
        material.refractive_index("N-BK7", 5e-7)
    with pytest.raises(ValueError, match=r"not 'unobtainium'$"):
        material.abbe_number("unobtainium")


def test_out_of_range():
    with pytest.raises(ValueError, match=r"between 350 and 700 nm .* for pdms, .* not 1000 nm"):
        material.refractive_index("pdms", 1e-6)
    with pytest.raises(ValueError, match=r"between 350 and 700 nm .* for pdms, .* not 340 nm"):
        material.refractive_index("pdms", 340e-9)
    with pytest.raises(ValueError, match=r"not 500 to 800 nm"):
        material.refractive_index("pdms", torch.tensor([5e-7, 8e-7], dtype=torch.float64))
    with pytest.raises(ValueError, match=r"wavelength must be positive and finite, in metres"):
        material.refractive_index("pdms", -5e-7)
    with pytest.raises(ValueError, match=r"between 300 and 2500 nm .* not 5e\+11 nm"):
        material.refractive_index("n_bk7", 500.0)


def test_compiles():
    compiled = torch.compile(material.refractive_index, backend="eager", fullgraph=True)
    wavelength = torch.tensor([5e-7, 6e-7])
    torch.testing.assert_close(
        compiled("pmma", wavelength), material.refractive_index("pmma", wavelength)
    )
