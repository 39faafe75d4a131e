"""Lenses as OpticStudio saves them."""

import math

import lenses
import pytest

import optics

_GLASSES = {"SK16": 1.6226085614386923, "F2": 1.6236551229276037}


def _file(
    tmp_path, *, encoding="utf-16", changes=(), fields="0 0 3 3 0 0 0", aperture="ENPD 1.0E+1"
):
    """The triplet of the tests."""
    lines = [
        "VERS 140124 258 36214",
        "MODE SEQ",
        "NAME Cooke 40 degree field",
        "UNIT MM X W X CM MR CPMM",
        aperture,
        "GCAT SCHOTT",
        f"FTYP {fields}",
        "XFLN 0 0 0 0 0 0 0 0 0 0 0 0",
        "YFLN 0 14 20 0 0 0 0 0 0 0 0 0",
        "WAVM 1 0.48 1",
        "WAVM 2 0.55 1",
        "WAVM 3 0.65 1",
        "WAVM 4 0.55 1",
        "PWAV 2",
        "SURF 0",
        "  TYPE STANDARD",
        "  CURV 0.0 0 0 0 0",
        "  DISZ INFINITY",
        "  DIAM 0 0 0 0 1",
    ]
    glasses = ["SK16", None, "F2", None, "SK16", None]
    for number, (surface, glass) in enumerate(zip(lenses.cooke(), glasses, strict=True), 1):
        lines += [
            f"SURF {number}",
            *(["  STOP"] if surface.stop else []),
            "  TYPE STANDARD",
            f"  CURV {surface.curvature * 1e-3!r} 0 0 0 0",
            "  COAT AR",
            *([f"  GLAS {glass} 0 0 1.5 40 0 0 0 0 0 0"] if glass else []),
            f"  DISZ {surface.thickness * 1e3!r}",
            f"  DIAM 9.0 {number % 2} 0 0 1",
        ]
    lines += ["SURF 7", "  TYPE STANDARD", "  CURV 0", "  DISZ 0", "  DIAM 18 0 0 0 1"]
    text = "\n".join(lines)
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path = tmp_path / "lens.zmx"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8", "utf-8-sig", "latin-1"])
def test_a_lens_comes_back_from_its_file(tmp_path, encoding):
    path = _file(tmp_path, encoding=encoding, changes=[("COAT AR", "COMM 20 °")])
    found = optics.import_prescription(path, glasses=_GLASSES)
    assert found.name == "Cooke 40 degree field"
    assert found.wavelengths == pytest.approx((480e-9, 550e-9, 650e-9))
    assert found.primary == 1
    assert found.fields == pytest.approx([math.radians(angle) for angle in (0, 14, 20)])
    assert found.object_distance == math.inf
    for number, (surface, wanted) in enumerate(zip(found.surfaces, lenses.cooke(), strict=True), 1):
        assert surface.curvature == pytest.approx(wanted.curvature, rel=1e-14)
        assert surface.thickness == pytest.approx(wanted.thickness, rel=1e-14)
        assert surface.material == wanted.material
        if surface.stop:
            assert surface.semi_diameter == pytest.approx(wanted.semi_diameter, rel=1e-12)
        else:
            assert surface.semi_diameter == pytest.approx(9e-3 * (1.0 if number % 2 else 1.01))
    focal = optics.first_order(found.surfaces, wavelength=550e-9).focal_length
    assert float(focal) == pytest.approx(49.999783071431914e-3, rel=1e-12)


def test_aspheres_glasses_apertures_and_fields_of_other_kinds(tmp_path):
    path = _file(
        tmp_path,
        aperture="FNUM 8 0",
        fields="1 0 2 2",
        changes=[
            ("DISZ INFINITY", "DISZ 400"),
            ("UNIT MM", "UNIT CM"),
            ("STANDARD\n  CURV 0.0454", "EVENASPH\n  PARM 3 2.0\n  CONI -1.5\n  CURV 0.0454"),
            ("SK16 0 0 1.5 40", "SK16 0 0 1.62 60.3"),
            ("GLAS F2 0 0 1.5 40", "GLAS N-BK7 0 0 1.5 40"),
            ("DIAM 9.0 1", "DIAM 0 0"),
            ("DISZ 6.00", "FLAP 0 3 0\n  DISZ 6.00"),
        ],
    )  # fmt: skip
    found = optics.import_prescription(path, glasses=_GLASSES)
    first = found.surfaces[0]
    assert first.aspheric == pytest.approx((0.0, 2.0 * 1e10))
    assert first.conic == -1.5
    assert first.material == 1.6226085614386923  # what is given comes first
    assert first.semi_diameter == math.inf
    assert found.surfaces[1].semi_diameter == pytest.approx(0.03)
    assert found.surfaces[2].material == "n_bk7"
    assert found.object_distance == 4.0
    assert found.fields == pytest.approx((0.0, 0.14))
    assert found.wavelengths == pytest.approx((480e-9, 550e-9))
    # OpticStudio's f-number of the image space is that of an object at infinity.
    number = optics.first_order(found.surfaces, wavelength=550e-9).f_number
    assert float(number) == pytest.approx(8.0)


def test_a_model_glass_and_one_with_its_numbers_need_no_catalogue(tmp_path):
    changes = [
        ("GLAS SK16 0 0 1.5 40", "GLAS ___BLANK 1 0 1.5 40"),
        ("GLAS F2 0 0 1.5 40", "GLAS NAME 0 0 1.62004 36.37"),
        ("GLAS SK16 0 0 1.5 40", "GLAS SK16 0 0 1.62041 60.32"),
    ]
    found = optics.import_prescription(_file(tmp_path, changes=changes))
    materials = [surface.material for surface in found.surfaces[::2]]
    assert materials == [(1.5, 40.0), (1.62004, 36.37), (1.62041, 60.32)]


def test_a_float_by_the_stop_and_fields_by_the_paraxial_image(tmp_path):
    path = _file(
        tmp_path, aperture="FLOA 0", fields="2 0 3 3", changes=[("DIAM 9.0 0", "DIAM 4 1")]
    )
    found = optics.import_prescription(path, glasses=_GLASSES)
    assert found.surfaces[3].semi_diameter == pytest.approx(9e-3)  # a stop is not widened
    assert math.tan(found.fields[1]) == pytest.approx(14 / 49.999783071431914)


def test_fields_of_older_files(tmp_path):
    path = _file(tmp_path, changes=[("XFLN", "XFLD"), ("YFLN", "YFLD")])
    found = optics.import_prescription(path, glasses=_GLASSES)
    assert found.fields == pytest.approx([math.radians(angle) for angle in (0, 14, 20)])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ([("TYPE STANDARD\n  CURV 0.0454", "TYPE COORDBRK\n  CURV 0.0454")], "a coordinate break"),
        ([("TYPE STANDARD\n  CURV 0.0454", "TYPE BINARY_2\n  CURV 0.0454")], "such a surface"),
        ([("GLAS SK16", "GLAS MIRROR")], "a mirror"),
        ([("GLAS SK16 0 0 1.5 40", "GLAS LAK9 0 0 1.5 40")], "give glasses={'LAK9': (n_d, V_d)}"),
        ([("GLAS SK16 0 0 1.5 40 0 0 0 0 0 0", "GLAS LAK9")], "glass without its n_d and V_d"),
        (
            [("TYPE STANDARD\n  CURV 0.0454", "TYPE EVENASPH\n  PARM 1 0.1\n  CURV 0.0454")],
            "a term r^2",
        ),
        ([("COAT AR", "SQAP 1 1")], "a rectangular aperture"),
        ([("COAT AR", "CLAP 1 2 0")], "with a hole in its middle"),
        ([("MODE SEQ", "MODE NSC")], "not sequential"),
        ([("UNIT MM", "UNIT FT")], "another unit than MM"),
        ([("FTYP 0 0", "FTYP 3 0")], "real image heights"),
        ([("COAT AR", "OBDC 1 2")], "an aperture beside the axis"),
        ([("FTYP 0 0", "FTYP 0 1")], "a telecentric object space"),
        ([("ENPD 1.0E+1", "AFOC 1")], "an afocal image space"),
        ([("ENPD 1.0E+1", "FNUM 5 1")], "another f-number than that of the image space"),
        ([("DISZ INFINITY", "DISZ 9\n  GLAS F2")], "an object in glass"),
        ([("ENPD 1.0E+1", "OBNA 0.1")], "numerical aperture"),
        ([("DISZ 6.00", "DISZ x6.00")], "without a number there"),
        ([("ENPD 1.0E+1", "ENPD inf")], "not finite"),
    ],
)  # fmt: skip
def test_what_is_not_known_is_refused_with_its_line(tmp_path, changes, told):
    path = _file(tmp_path, changes=changes)
    with pytest.raises(ValueError) as found:  # noqa: PT011 - its words are looked at
        optics.import_prescription(path, glasses=_GLASSES)
    assert told in str(found.value)
    assert f"{path}, line " in str(found.value)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ([("UNIT MM", "UNTI MM")], "it lacks UNIT"),
        ([("ENPD", "ENDP")], "it lacks ENPD, FNUM or FLOA"),
        ([("  STOP\n", "")], "it lacks STOP"),
        ([("FTYP 0 0", "FYTP 0 0")], "it lacks FTYP"),
        ([("PWAV 2", "PWAV 9")], "PWAV is 9, of 3 wavelengths"),
        ([("FTYP 0 0", "FTYP 1 0")], "heights of an object at infinity"),
    ],
)
def test_what_is_missing_is_told(tmp_path, changes, told):
    with pytest.raises(ValueError) as found:  # noqa: PT011 - its words are looked at
        optics.import_prescription(_file(tmp_path, changes=changes), glasses=_GLASSES)
    assert told in str(found.value)


def test_another_file_is_no_lens(tmp_path):
    path = tmp_path / "x.zmx"
    path.write_bytes(b"\x89PNG\r\n\xff\xfe\x00")
    with pytest.raises(ValueError, match="no sequential lens of Zemax"):
        optics.import_prescription(path)
    with pytest.raises(FileNotFoundError):
        optics.import_prescription(tmp_path / "none.zmx")


def test_what_was_read_is_traced(tmp_path):
    found = optics.import_prescription(_file(tmp_path), glasses=_GLASSES)
    waves = optics.lens_wavefronts(
        found.surfaces, fields=found.fields, wavelengths=found.wavelengths
    )
    assert waves.coefficients.shape == (3, 3, 45)
    assert float(waves.lit[:2].min()) == pytest.approx(1.0)
    assert 0.98 < float(waves.lit[2].max()) < 1  # the rims of 9 mm are narrow at 20 degrees
