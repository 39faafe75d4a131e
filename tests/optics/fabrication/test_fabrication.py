import copy
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from optics import AmplitudeMask, HeightMap, Pupil, refractive_index
from optics.fabrication.fabrication import (
    Relief,
    export_height_map,
    import_height_map,
    relief_element,
    relief_report,
)

SPACING, WAVELENGTH = 20e-6, 550e-9
GLASS = {"spacing": SPACING, "material": "fused_silica", "design_wavelength": WAVELENGTH}
MADE = {"spacing": SPACING, "material": "fused_silica"}


def random_height(rows=24, columns=24, depth=1.1e-6):
    source = torch.Generator().manual_seed(7)
    return depth * torch.rand(rows, columns, dtype=torch.float64, generator=source)


def psf(element):
    pupil = Pupil(
        [element],
        wavelengths=(480e-9, WAVELENGTH, 640e-9),
        focal_length=0.05,
        pixel_pitch=8e-6,
        psf_size=32,
        aperture=torch.ones(element.size, dtype=torch.float64),
    ).double()
    return pupil().detach()


def test_quantities_of_numpy_are_numbers(tmp_path):
    given = {"spacing": np.float32(2**-16), "material": np.float32(1.5), "levels": np.int64(4)}
    export_height_map(
        random_height(), tmp_path / "doe", design_wavelength=torch.tensor(WAVELENGTH), **given
    )
    relief = import_height_map(tmp_path / "doe.tif")
    assert (relief.spacing, relief.material, relief.levels) == (2**-16, 1.5, 4)


@pytest.mark.parametrize("ending", [".tif", ".csv"])
@pytest.mark.parametrize("levels", [None, 4])
def test_the_file_makes_the_psf_of_the_trained_element(tmp_path, ending, levels):
    trained = HeightMap(random_height(), **GLASS, levels=levels).double()
    trained.raw.data += 0.3 * torch.randn(24, 24, generator=torch.Generator().manual_seed(1))
    paths = export_height_map(trained, tmp_path / "doe")
    assert paths == (tmp_path / "doe.tif", tmp_path / "doe.csv")
    relief = import_height_map(tmp_path / f"doe{ending}")
    assert relief.height.dtype == torch.float64
    assert (relief.spacing, relief.material) == (SPACING, "fused_silica")
    assert (relief.design_wavelength, relief.levels) == (WAVELENGTH, levels)
    height = trained.height.detach()
    half_a_code = float(height.max() - height.min()) / 65535 / 2
    allowed = half_a_code * (1 + 1e-9) if ending == ".tif" else 1e-15
    assert float((relief.height - height).abs().max()) <= allowed
    if levels:
        assert relief.height.unique().numel() == levels
    # A phase error e in each sample changes the amplitude by at most e, and the irradiance by at
    # most 2 e relative to the brightest an open pupil makes.
    error = 2 * np.pi * 0.5 * allowed / 480e-9
    flat = psf(Relief(torch.zeros_like(height), spacing=SPACING, material="fused_silica"))
    found, expected = psf(relief_element(relief).double()), psf(trained)
    exact = Relief(relief.height, spacing=relief.spacing, material=relief.material)
    found = psf(exact)
    assert float((found - expected).abs().max()) <= 2 * error * float(flat.max()) + 1e-14
    single = psf(relief_element(relief))
    assert torch.allclose(single, expected, atol=1e-5 * float(flat.max()), rtol=0)


@settings(deadline=None, max_examples=25)
@given(
    rows=st.integers(1, 9),
    columns=st.integers(1, 9),
    depth=st.floats(1e-9, 1e-3),
    offset=st.floats(-1e-4, 1e-4),
    index=st.floats(1.01, 4),
)
def test_any_relief_comes_back(tmp_path_factory, rows, columns, depth, offset, index):
    height = random_height(rows, columns, depth) + offset
    path = tmp_path_factory.mktemp("relief") / "a.b"
    files = export_height_map(height, path, spacing=2e-3, material=index, design_wavelength=5e-7)
    assert [file.name for file in files] == ["a.b.tif", "a.b.csv"]
    half_a_code = float(height.max() - height.min()) / 65535 / 2
    for file, allowed in zip(files, (half_a_code + 1e-18, 1e-12), strict=True):
        relief = import_height_map(file)
        assert relief.height.shape == height.shape
        assert float((relief.height - height).abs().max()) <= allowed
        assert relief.material == index


def test_heights_in_micrometres_span_more_than_the_relief_is_wide(tmp_path):
    # A blaze of half a micrometre on 8 x 16 samples of 1 um, and its heights as they were meant.
    blaze = torch.linspace(0, 0.5, 16).repeat(8, 1)
    message = "height must span less than .* spans 0.5, and 16 samples 1e-06 apart are 1.6e-05"
    with pytest.raises(ValueError, match=message):
        Relief(blaze, spacing=1e-6, material=1.5)
    made = {"spacing": 1e-6, "material": 1.5, "design_wavelength": WAVELENGTH}
    with pytest.raises(ValueError, match=message):
        export_height_map(blaze, tmp_path / "blaze", **made)
    assert not list(tmp_path.iterdir())
    # Nearly as deep as it is wide, on a plate of any thickness.
    Relief(1.0 + blaze.double() * 3.1e-5, spacing=1e-6, material=1.5)
    export_height_map(blaze * 1e-6, tmp_path / "blaze", **made)


def test_what_others_see_in_the_files(tmp_path):
    # +y is down and +x to the right; the highest point lies at row 2, column 1.
    height = torch.zeros(3, 5)
    height[2, 1] = 1.5e-6
    height[0, 4] = 0.75e-6
    tif, csv = export_height_map(
        height, tmp_path / "mask.tif", spacing=2e-6, material=1.5, design_wavelength=WAVELENGTH
    )
    with Image.open(tif) as image:
        assert image.size == (5, 3)
        assert image.mode == "I;16"
        codes = np.asarray(image)
        assert (codes[2, 1], codes[0, 0]) == (65535, 0)
        assert abs(int(codes[0, 4]) - 32767.5) <= 0.5
        assert float(image.tag_v2[282]) == float(image.tag_v2[283]) == pytest.approx(5000)
        assert image.tag_v2[296] == 3  # pixels/cm
        metadata = json.loads(image.tag_v2[270])
    assert metadata["version"] == 1
    assert metadata["code_height_m"] == pytest.approx(1.5e-6 / 65535, rel=1e-6)
    assert metadata["offset_m"] == 0
    assert metadata["spacing_m"] == 2e-6
    assert metadata["orientation"].startswith("row 0 is the least y")
    table = np.loadtxt(csv, delimiter=",")  # numpy skips the lines with a #
    assert table.shape == (3, 5)
    assert table[2, 1] == pytest.approx(1.5, rel=1e-6)
    assert table[0, 4] == pytest.approx(0.75, rel=1e-6)
    assert '# units: "micrometres"' in csv.read_text()


def test_a_flat_relief_comes_back(tmp_path):
    for file in export_height_map(torch.full((2, 3), 3e-7).double(), tmp_path / "f", **GLASS):
        assert torch.allclose(import_height_map(file).height, torch.tensor(3e-7).double())


def test_existing_files_are_kept(tmp_path):
    (tmp_path / "a.csv").write_text("mine")
    with pytest.raises(FileExistsError, match=r"a\.csv exists; .*overwrite=True"):
        export_height_map(random_height(), tmp_path / "a", **GLASS)
    assert [p.name for p in tmp_path.iterdir()] == ["a.csv"]
    export_height_map(random_height(), tmp_path / "a", **GLASS, overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.csv", "a.tif"]


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def full(_):
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space left"):
        export_height_map(random_height(), tmp_path / "a", **GLASS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"height": torch.rand(3)}, r"height must be real floating point \[H, W\], in metres"),
        ({"height": torch.ones(3, 3, dtype=torch.complex64)}, "not torch.complex64"),
        ({"height": torch.full((2, 2), torch.nan)}, "height must be finite, in metres"),
        ({"spacing": None}, "spacing must be positive, in metres, not None"),
        ({"spacing": -1e-6}, "spacing must be positive, in metres, not -1e-06"),
        ({"design_wavelength": 0.0}, "design_wavelength must be positive, in metres, not 0.0"),
        ({"material": None}, "material must name a glass or be an index above 1, not None"),
        ({"material": 0.9}, "index above 1, not 0.9"),
        ({"material": "fused_silika"}, "fused_silica"),
        ({"design_wavelength": 550}, "design_wavelength must be in metres, 1e-9 to 1e-2, not 550"),
        ({"levels": 1}, "levels must be a whole number from 2 on, or none, not 1"),
    ],
)
def test_bad_quantities_are_refused(tmp_path, changes, text):
    quantities = {"height": random_height(), **GLASS, **changes}
    with pytest.raises(ValueError, match=text):
        export_height_map(quantities.pop("height"), tmp_path / "a", **quantities)
    assert list(tmp_path.iterdir()) == []


def test_an_element_brings_its_own_quantities(tmp_path):
    element = HeightMap(random_height(), **GLASS)
    with pytest.raises(ValueError, match="brings its own spacing, levels; leave them out"):
        export_height_map(element, tmp_path / "a", spacing=SPACING, levels=4)
    with pytest.raises(ValueError, match="brings its own spacing"):
        relief_report(element, spacing=SPACING)


def test_other_elements_are_written_as_plates(tmp_path):
    mask = AmplitudeMask(torch.rand(3, 3), spacing=SPACING)
    for refused in (lambda: export_height_map(mask, tmp_path / "a"), lambda: Relief(mask, **MADE)):
        with pytest.raises(
            TypeError, match=r"Tensor \[H, W\], metres, or a HeightMap, not Amplitude"
        ):
            refused()
    with pytest.raises(TypeError, match="not list; export_plate writes transmittance and phase"):
        relief_report([[1.0]], spacing=SPACING)
    assert list(tmp_path.iterdir()) == []


def spoil_csv(change):
    def spoil(folder):
        text = (folder / "a.csv").read_text()
        (folder / "a.csv").write_text(change(text))
        return folder / "a.csv"

    return spoil


def spoil_metadata(key, value):
    def change(text):
        return "\n".join(
            f"# {key}: {value}" if line.startswith(f"# {key}:") else line
            for line in text.splitlines()
        )

    return spoil_csv(change)


def spoil_tiff(change):
    def spoil(folder):
        change(folder / "a.tif")
        return folder / "a.tif"

    return spoil


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (spoil_csv(lambda t: ""), "does not name the format"),
        (spoil_csv(lambda t: t[: len(t) // 2].rsplit("\n", 1)[0]), "but its metadata says"),
        (spoil_csv(lambda t: t.rstrip().rsplit(",", 1)[0]), r"line \d+ has 23 numbers, .* 24"),
        (spoil_csv(lambda t: t.replace("0.", "0;", 1) if "0." in t else t), "line"),
        (spoil_csv(lambda t: t.rstrip().rsplit(",", 1)[0] + ",nan"), "NaN or infinite"),
        (spoil_metadata("format", '"x"'), "does not name the format"),
        (spoil_metadata("version", 2), "version must be 1, not 2"),
        (spoil_metadata("units", '"nm"'), "units must be micrometres, not 'nm'"),
        (spoil_metadata("spacing_m", 0), "spacing must be positive, in metres, not 0"),
        (spoil_metadata("spacing_m", "{"), "line .* is not the JSON"),
        (spoil_metadata("material", "true"), "index above 1, not True"),
        (spoil_metadata("design_wavelength_m", "NaN"), "design_wavelength must be positive"),
        (spoil_metadata("levels", 2.5), "levels must be a whole number"),
        (spoil_tiff(lambda f: f.write_bytes(b"hello")), "it is not a TIFF"),
        (spoil_tiff(lambda f: f.write_bytes(f.read_bytes()[:600])), "TIFF"),
        (spoil_tiff(lambda f: Image.new("L", (4, 4)).save(f)), "16-bit greyscale, not of mode 'L'"),
        (
            spoil_tiff(lambda f: Image.new("I;16", (4, 4)).save(f)),
            "of heights alone give unit, spacing",
        ),
        (
            spoil_tiff(lambda f: Image.new("I;16", (4, 4)).save(f, description="x")),
            "of heights alone give unit, spacing, material, design_wavelength as well",
        ),
        (
            spoil_tiff(lambda f: Image.new("I;16", (4, 4)).save(f, description="[1]")),
            "does not name the format",
        ),
    ],
)
def test_damaged_files_are_named(tmp_path, spoil, text):
    export_height_map(random_height(), tmp_path / "a", **GLASS)
    path = spoil(tmp_path)
    with pytest.raises(ValueError, match=text) as caught:
        import_height_map(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("ending", [".tif", ".csv"])
def test_a_damaged_description_of_ours_is_no_file_of_heights_alone(tmp_path, ending):
    export_height_map(random_height(4, 4), tmp_path / "a", **GLASS)
    path = tmp_path / f"a{ending}"
    with pytest.raises(ValueError, match="it brings its own unit, spacing; leave them out"):
        import_height_map(path, unit=1e-6, spacing=SPACING)
    if ending == ".csv":
        path.write_text(path.read_text().replace('"micrometres"', '"micro'))
    else:
        with Image.open(path) as image:
            image.copy().save(path, description='{"format": "lens2label height m')
    with pytest.raises(ValueError, match="is not the JSON of its metadata"):
        import_height_map(path, unit=1e-6, **GLASS)


@pytest.mark.parametrize("kind", ["csv", "semicolons", "codes", "floats"])
def test_the_files_of_a_profilometer(tmp_path, kind):
    codes = np.array([[0, 10, 20], [40_000, 65_535, 7]], dtype=np.uint16)
    unit = 1e-11
    path = tmp_path / ("p.tif" if kind in ("codes", "floats") else "p.csv")
    if kind == "codes":
        Image.fromarray(codes).save(path, description="ImageJ=1.53t")
    elif kind == "floats":
        Image.fromarray(codes.astype(np.float32)).save(path)
    else:
        separator = "," if kind == "csv" else " ; "
        np.savetxt(path, codes, fmt="%.1f", delimiter=separator, header="z, made by hand")
    relief = import_height_map(path, unit=unit, **GLASS)
    np.testing.assert_allclose(relief.height.numpy(), codes * unit, rtol=1e-12)
    assert relief[1:] == (SPACING, "fused_silica", WAVELENGTH, None)
    assert relief_element(relief).spacing == SPACING
    for missing, text in (
        ({}, "of heights alone give unit, spacing, material, design_wavelength as well"),
        ({"unit": unit, "material": 1.5}, "give spacing, design_wavelength as well"),
        ({"unit": -1.0, **GLASS}, "unit must be positive, in metres, not -1"),
        ({"unit": unit, **GLASS, "spacing": 0.0}, "spacing must be positive, in metres"),
        ({"unit": unit, **GLASS, "design_wavelength": 550}, "must be in metres, 1e-9 to 1e-2"),
    ):
        with pytest.raises(ValueError, match=text) as caught:
            import_height_map(path, **missing)
        assert str(path) in str(caught.value)


def test_heights_that_are_missing_are_told(tmp_path):
    (tmp_path / "a.csv").write_text("1,nan\n2,3\n")
    with pytest.raises(ValueError, match="heights that are NaN or infinite"):
        import_height_map(tmp_path / "a.csv", unit=1e-6, **GLASS)
    (tmp_path / "b.csv").write_text("# nothing\n")
    with pytest.raises(ValueError, match="it holds no heights"):
        import_height_map(tmp_path / "b.csv", unit=1e-6, **GLASS)


def test_other_endings_and_missing_files(tmp_path):
    with pytest.raises(ValueError, match=r"a height map is a \.tif or a \.csv, not '\.png'"):
        import_height_map(tmp_path / "a.png")
    with pytest.raises(FileNotFoundError):
        import_height_map(tmp_path / "a.tif")
    with pytest.raises(
        ValueError, match=r"m\.png: a \.tif and a \.csv are written, no \.png; give"
    ):
        export_height_map(random_height(), tmp_path / "m.png", **GLASS)
    assert list(tmp_path.iterdir()) == []


def test_relief_is_the_glass_formula():
    height = random_height(6, 8)
    relief = Relief(height, spacing=SPACING, material="n_bk7")
    wavelengths = torch.tensor([480e-9, 640e-9], dtype=torch.float64)
    index = refractive_index("n_bk7", wavelengths).numpy()[:, None, None]
    phase = 2 * np.pi * (index - 1) * height.numpy() / wavelengths.numpy()[:, None, None]
    np.testing.assert_allclose(relief.transmission(wavelengths).numpy(), np.exp(1j * phase))
    assert not list(relief.parameters())
    assert "height" in relief.state_dict()
    assert "n_bk7" in repr(relief)
    # It is a copy of a trained height.
    start = nn.Parameter(height.clone())
    made = Relief(start, spacing=SPACING, material=1.5)
    start.data.zero_()
    assert torch.equal(made.height, height)


def test_report_of_a_drawn_relief():
    height = torch.zeros(9, 12)
    height[0:3, 0:4] = 2e-7
    height[5:7, 3:9] = 4e-7  # two samples in y, six in x
    report = relief_report(height, spacing=5e-6)
    assert report.lowest == 0
    assert report.highest == pytest.approx(4e-7)
    assert report.levels == 3
    assert report.smallest_feature == pytest.approx(10e-6)
    turned = relief_report(height.T.contiguous(), spacing=5e-6)
    assert turned == report
    assert relief_report(torch.zeros(4, 7), spacing=1e-6).smallest_feature == pytest.approx(4e-6)
    element = HeightMap(random_height(), **GLASS, levels=4)
    assert relief_report(element).levels == 4
    with pytest.raises(ValueError, match="spacing, metres, is needed"):
        relief_report(height)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_keeps_the_relief(dtype):
    relief = Relief(random_height().float(), **MADE)
    half = nn.Sequential(copy.deepcopy(relief)).to(dtype)[0]
    assert torch.equal(half.height, relief.height)
    lamp = torch.tensor([450e-9], dtype=torch.float64)
    torch.testing.assert_close(half.phase_shift(lamp), relief.phase_shift(lamp))
    assert half.double().height.dtype == torch.float64
    assert half.to("meta").height.device.type == "meta"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_relief_that_was_read_has_etch_errors_as_the_one_that_was_trained(tmp_path, dtype):
    trained = HeightMap(random_height(), **GLASS).to(dtype)
    read = import_height_map(export_height_map(trained, tmp_path / "doe")[1])
    relief = relief_element(read).to(dtype)
    lamp = torch.tensor([480e-9, 640e-9], dtype=torch.float64)
    plain = relief.phase_shift(lamp)
    for element in (trained, relief):
        element.draw_etch_error(3e-8, width=3 * SPACING, generator=torch.Generator().manual_seed(2))
    assert torch.equal(relief.etch_error, trained.etch_error)
    torch.testing.assert_close(relief.phase_shift(lamp), trained.phase_shift(lamp).detach())
    assert "etch_error" not in relief.state_dict()
    relief.draw_etch_error(0)
    assert torch.equal(relief.phase_shift(lamp), plain)
