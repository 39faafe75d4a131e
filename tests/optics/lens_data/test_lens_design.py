"""Listings are written here as OpticStudio writes them.

Beside these tests, the listings of two telescopes that come with batoid 0.7.2 were read: centroids
of their Huygens PSFs are those that the listings state, to 1e-5 um, and from their wavefronts, with
sign and axes as here, PSFs correlate with theirs by 0.97 to 0.995, otherwise by 0.87 at most.
"""

import math
import re

import numpy as np
import pytest
import torch

import optics

WAVE, SPACING = 0.55e-6, 0.25e-6
TERMS = (0.0, 0.1, -0.2, 0.05, 0.02, -0.03, 0.08, 0.04, -0.01, 0.0, 0.06)  # waves


def _zernikes(
    terms, *, kind="Standard", field="0.0000, 1.7500 (deg)", rms=None, rays=None, unit="µm"
):
    if rms is None:
        rms = math.sqrt(sum(each**2 for each in terms[1:]))
    rays = rms if rays is None else rays
    lines = [
        f"Listing of Zernike {kind} Coefficient Data",
        "",
        "File : C:\\lens.zmx",
        "Title: A lens",
        "Date : 8/12/2019",
        "",
        f"Using Zernike {kind} polynomials.",
        "OPD referenced to chief ray.",
        "",
        "Surface                      :\tImage",
        f"Field                        :\t{field}",
        f"Wavelength                   :\t0.5500 {unit}",
        "Peak to Valley (to chief)    :\t    1.94926163 waves",
        "",
        "From integration of the rays:",
        f"RMS (to chief)               :\t{rays:14.8f} waves",
        "",
        "From integration of the fitted coefficients:",
        f"RMS (to chief)               :\t{rms:14.8f} waves",
        "",
        *(f"Z {j:3}\t{each:14.8f}\t:\t   4^(1/2) (p) * COS (A)" for j, each in enumerate(terms, 1)),
    ]
    return "\r\n".join(lines)


def _psf(values, *, kind="Huygens", middle=None, waves="0.5500 µm", field="0.0000, 1.7500 (deg)"):
    """``values`` have the axis at ``[h // 2, w // 2]`` and +y down."""
    high, wide = values.shape
    if middle is None:
        fft = f"row {high - high // 2}, column {wide // 2 + 1}"
        middle = fft if kind == "FFT" else f"{wide // 2 + 1}, {high // 2 + 1}"
    lines = [
        f"Listing of {kind} PSF Data",
        "",
        "File : C:\\lens.zmx",
        "",
        f"{waves} at {field}.",
        "Data spacing is 0.250 µm.",
        "Data area is 18.496 by 18.496 µm.",
        "Strehl ratio: 0.073",
        "Pupil grid size: 1024 by 1024",
        f"Image grid size: {wide} by {high}",
        f"Center point is: {middle}",
        "Centroid offset     :   1.61219282E-03,   1.61219282E-03 Millimeters",
        "",
        "Values are relative intensity.",
        "",
        *("  " + "\t  ".join(f"{each:.4E}" for each in row) for row in values[::-1]),
    ]
    return "\r\n".join(lines)


def _written(tmp_path, text, encoding="utf-16"):
    path = tmp_path / "listing.txt"
    path.write_bytes(text.encode(encoding))
    return path


def _pupil(indices, coefficients, size=63):
    element = optics.Aberration(
        128, spacing=1e-4, diameter=0.0128, coefficients=coefficients, indices=indices
    )
    return optics.Pupil(
        [element], wavelengths=(WAVE,), focal_length=0.0128 * 2, pixel_pitch=SPACING, psf_size=size
    )


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8", "utf-8-sig", "latin-1"])
def test_standard_coefficients_are_those_of_noll_with_the_other_sign(tmp_path, encoding):
    found = optics.import_zernikes(_written(tmp_path, _zernikes(TERMS), encoding))
    assert found.indices == tuple(range(1, 12))
    torch.testing.assert_close(
        found.coefficients, -WAVE * torch.tensor(TERMS, dtype=torch.float64), rtol=1e-6, atol=0
    )
    assert found.wavelength == pytest.approx(WAVE)
    assert (found.field, found.unit) == ((0.0, 1.75), "deg")


@pytest.mark.parametrize(
    ("written", "field", "unit"),
    [
        ("0.7500 (deg)", (0.0, 0.75), "deg"),
        ("-1.2000, 0.5000 (deg)", (-1.2, 0.5), "deg"),
        ("4.0000, 0.0000 mm", (4.0, 0.0), "mm"),
        ("0.0000, 1.0000E+01 (deg)", (0.0, 10.0), "deg"),
    ],
)
def test_a_field_of_one_number_lies_along_y(tmp_path, written, field, unit):
    found = optics.import_zernikes(_written(tmp_path, _zernikes(TERMS, field=written)))
    assert (found.field, found.unit) == (field, unit)


@pytest.mark.parametrize("unit", ["µm", "\u03bcm", "um"])
def test_a_micrometre_has_several_spellings(tmp_path, unit):
    text = _zernikes(TERMS, unit=unit)
    assert optics.import_zernikes(_written(tmp_path, text)).wavelength == pytest.approx(WAVE)


def test_terms_of_a_pupil_that_is_dark_in_part_are_told(tmp_path):
    path = _written(tmp_path, _zernikes(TERMS, rays=0.1))
    with pytest.warns(UserWarning, match=r"rays have an RMS of 0\.1 waves.* give the Pupil an ape"):
        found = optics.import_zernikes(path)
    assert len(found.coefficients) == len(TERMS)


def test_terms_that_nothing_can_be_compared_with_are_told(tmp_path):
    path = _written(tmp_path, _zernikes(TERMS).replace("fitted coefficients", "fit"))
    with pytest.warns(UserWarning, match="states no RMS of the fitted coefficients") as told:
        found = optics.import_zernikes(path)
    assert told[0].filename == __file__
    assert len(found.coefficients) == len(TERMS)


def test_fringe_coefficients_make_the_same_wavefront(tmp_path):
    generator = np.random.default_rng(0)
    fringe = np.round(generator.normal(size=37) / 20, 8)  # as it is printed
    # A fringe polynomial is 1 at the rim: the unit of RMS times the square root of its weight.
    noll = [optics.fringe_to_noll(j) for j in range(1, 38)]
    orders = [optics.noll_to_nm(j) for j in noll]
    weights = [(n + 1) * (1 if m == 0 else 2) for n, m in orders]
    rms = math.sqrt(sum(c**2 / w for c, w in zip(fringe[1:], weights[1:], strict=True)))
    text = _zernikes(fringe, kind="Fringe", rms=rms)
    found = optics.import_zernikes(_written(tmp_path, text))
    basis = optics.zernike_basis(noll, 65, spacing=1 / 64, diameter=1.0, dtype=torch.float64)
    expected = sum(
        c * each / math.sqrt(w) for c, each, w in zip(fringe, basis, weights, strict=True)
    )
    own = optics.zernike_basis(found.indices, 65, spacing=1 / 64, diameter=1.0, dtype=torch.float64)
    made = torch.einsum("j,jyx->yx", found.coefficients, own)
    torch.testing.assert_close(made, -WAVE * torch.as_tensor(expected), rtol=0, atol=1e-8 * WAVE)


def test_wavefront_and_psf_of_one_lens_agree(tmp_path):
    """Coma and astigmatism across the diagonal: no flip and no sign leaves this as it is."""
    found = optics.import_zernikes(_written(tmp_path, _zernikes(TERMS)))
    made = _pupil(found.indices, found.coefficients.float())()[0].detach().double()
    # As the program has it: of W that is ahead, light at +x goes to -x.
    ahead = torch.tensor(TERMS) * WAVE
    basis = optics.zernike_basis(11, 128, spacing=1e-4, diameter=0.0128)
    wavefront = torch.einsum("j,jyx->yx", ahead, basis)
    inside = optics.circular_aperture(128, diameter=0.0127, spacing=1e-4)
    field = inside * torch.exp(-2j * math.pi * wavefront / WAVE)
    listed = optics.psf_from_pupil(
        field,
        wavelength=WAVE,
        focal_length=0.0256,
        pupil_spacing=1e-4,
        pixel_pitch=SPACING,
        size=64,
    )
    read = optics.import_psf(_written(tmp_path, _psf(listed.numpy())))
    assert read.psf.shape == (63, 63)
    assert read.spacing == pytest.approx(SPACING)
    assert read.psf.sum().item() == pytest.approx(1)
    made = made / made.sum()
    assert (made - read.psf).abs().sum() / 2 < 0.02
    for other in (made.flip(0), made.flip(1), made.flip(0, 1), made.mT):
        assert (other - read.psf).abs().sum() / 2 > 0.1


@pytest.mark.parametrize("kind", ["FFT", "Huygens"])
@pytest.mark.parametrize("size", [(8, 8), (9, 9), (10, 14)])
def test_the_axis_comes_to_the_middle(tmp_path, kind, size):
    values = np.full(size, 1e-4)
    values[size[0] // 2, size[1] // 2] = 1
    values[size[0] // 2 + 1, size[1] // 2] = 0.5  # at +y, the next row
    read = optics.import_psf(_written(tmp_path, _psf(values, kind=kind)))
    high, wide = read.psf.shape
    assert high % 2 == wide % 2 == 1
    assert high >= size[0] - 1
    middle = read.psf[high // 2, wide // 2]
    assert middle == read.psf.max()
    assert (read.psf[high // 2 + 1, wide // 2] / middle).item() == pytest.approx(0.5)
    assert read.psf.sum().item() == pytest.approx(1)


@pytest.mark.parametrize(
    ("area", "spacing"),
    [("18.496 by 2.2518", 0.2502e-6), ("2.2518", 0.2502e-6), ("18.496 by 18.496", 0.25e-6)],
)
def test_the_spacing_has_the_digits_of_the_area_where_they_agree(tmp_path, area, spacing):
    text = _psf(np.ones((9, 9))).replace("18.496 by 18.496", area)
    assert optics.import_psf(_written(tmp_path, text)).spacing == pytest.approx(spacing)


def test_a_psf_of_several_wavelengths_names_the_ends(tmp_path):
    text = _psf(np.ones((9, 9)), waves="0.4600 to 0.6200 µm")
    read = optics.import_psf(_written(tmp_path, text))
    assert read.wavelengths == pytest.approx((460e-9, 620e-9))
    assert (read.field, read.unit) == ((0.0, 1.75), "deg")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (("Standard", "Annular"), "is no listing of Zernike Standard"),
        (("Wavelength ", "Wavelenth "), "does not tell its wavelength"),
        (("Field  ", "Feld  "), "does not tell its field"),
        (("1.7500 (deg)", "1.7500"), "does not tell its field"),
        (("0.5500 ", "0,5500 "), "wavelength, or as '0,5500 µm'"),
        (("0.5500 ", "0.5.500 "), "wavelength, or as '0.5.500 µm'"),
        (("0.5500 ", "0.0000 "), "its wavelength must be above 0 and finite, not 0 m"),
        (("0.5500 ", "1E400 "), "its wavelength must be above 0 and finite, not inf m"),
        (("0.0000, 1.7500", ".."), "does not tell its field"),
        (("Z   2", "Z   9"), "must be Z 1, Z 2"),
        (("Z   2", "Z   1"), "each once, not [1, 1, 3"),
        (("COS (A)", "COS (A)\r\nZ   1  0.0 : 1"), "each once, not [1, 1, 2"),
        (("0.10000000", "0,10000000"), "write decimals with a point"),
        (("0.10000000", "0.70000000"), "have an RMS of"),
        (("0.10000000", "nan"), "is not finite"),
    ],
)
def test_a_damaged_listing_of_coefficients_is_refused(tmp_path, changed, message):
    path = _written(tmp_path, _zernikes(TERMS).replace(*changed, 1))
    with pytest.raises(ValueError, match=re.escape(str(path))) as error:
        optics.import_zernikes(path)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (("Huygens PSF", "Spot Diagram"), "is no listing of FFT PSF or Huygens PSF Data"),
        (("Data spacing is", "Spacing"), "does not tell its data spacing"),
        (("µm at", "at"), "does not tell its wavelength and field"),
        (("Image grid size: 9 by 9", "Image grid size: 9 by 10"), "says that they are 10"),
        (("Image grid size: 9 by 9", "Image grid size: 9000 by 9"), "more than 8192"),
        (("Center point", "Centre"), "does not tell its center point"),
        (("Center point is: 5, 5", "Center point is: 12, 5"), "is not in the grid"),
        (("0.250 µm", "0.000 µm"), "its data spacing must be above 0 and finite, not 0 m"),
        (("0.250 µm", "0.2.50 µm"), "does not tell its data spacing"),
        (("0.5500 µm", "0.0000 µm"), "its wavelength must be above 0 and finite, not 0 m"),
        (("0.5500 µm", "0.5.5 µm"), "does not tell its wavelength"),
        (("1.0000E+00", "-1.0000E+00"), "save it linear"),
        (("1.0000E+00", "1.0000E+0O"), "is no number"),
    ],
)
def test_a_damaged_listing_of_a_psf_is_refused(tmp_path, changed, message):
    path = _written(tmp_path, _psf(np.ones((9, 9))).replace(*changed))
    with pytest.raises(ValueError, match=re.escape(str(path))) as error:
        optics.import_psf(path)
    assert message in str(error.value)


def test_a_psf_whose_light_is_away_from_its_axis_is_told_or_refused(tmp_path):
    values = np.zeros((9, 9))
    values[4, 4], values[8, 8] = 1, 0.25
    aside = {"middle": "5, 4"}  # three rows on either side of it
    with pytest.warns(UserWarning, match=r"the 7 by 9 samples .* lack 20\.0% of the light") as told:
        read = optics.import_psf(_written(tmp_path, _psf(values, **aside)))
    assert told[0].filename == __file__
    assert read.psf.shape == (7, 9)
    assert read.psf.sum().item() == pytest.approx(1)
    values[8, 8] = 0.01  # less than 1 % of all
    optics.import_psf(_written(tmp_path, _psf(values, **aside)))
    values[4, 4] = 0
    path = _written(tmp_path, _psf(values, **aside))
    with pytest.raises(ValueError, match=r"the 7 by 9 samples .* are dark") as error:
        optics.import_psf(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("read", [optics.import_psf, optics.import_zernikes])
@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"\xff\xfe\x00", b"\x89PNG\r\n", b"a,b\n1,2"]
)
def test_any_other_file_is_refused(tmp_path, read, content):
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is no listing of"):
        read(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        optics.import_psf(tmp_path / "none.txt")
