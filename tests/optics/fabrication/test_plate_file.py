import json
import math
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

import optics
from optics import AmplitudeMask, FourierFilter, PhaseMask, export_plate, import_plate

SPACING, WAVELENGTH = 20e-6, 550e-9
HALF = {"transmittance": 0.5 / 65535, "phase": math.pi / 65536}


def field(rows=9, columns=7, seed=3):
    source = torch.Generator().manual_seed(seed)
    modulus = torch.rand(rows, columns, dtype=torch.float64, generator=source).sqrt()
    phase = 2 * math.pi * torch.rand(rows, columns, dtype=torch.float64, generator=source)
    made = torch.polar(modulus, phase)
    made[0, 0], made[0, 1] = 0, 1
    return made


def between(one, other):
    """Of phases, the nearer way round."""
    return (one / other).angle().abs()


def test_a_path_that_was_returned_names_its_plate(tmp_path):
    files = export_plate(field(), tmp_path / "a", spacing=SPACING)
    for file in files:
        expected = import_plate(tmp_path / f"a{file.suffix}").transmission
        assert torch.equal(import_plate(file).transmission, expected)
    # One that was named so comes first.
    export_plate(field(seed=4), files.phase_tiff, spacing=SPACING)
    found = import_plate(tmp_path / "a_phase").transmission
    torch.testing.assert_close(found, field(seed=4), rtol=0, atol=1e-6)


@settings(deadline=None, max_examples=25)
@given(rows=st.integers(1, 9), columns=st.integers(2, 9), seed=st.integers(0, 2**31))
def test_any_plate_comes_back(tmp_path_factory, rows, columns, seed):
    plate, path = field(rows, columns, seed), tmp_path_factory.mktemp("plate") / "a.b"
    files = export_plate(plate, path, spacing=SPACING, wavelength=WAVELENGTH)
    names = ["a.b_transmittance.tif", "a.b_transmittance.csv", "a.b_phase.tif", "a.b_phase.csv"]
    assert [file.name for file in files] == names
    for ending, codes in ((".tif", 1), (".csv", 1e-7), ("", 1e-7)):
        found = import_plate(f"{path}{ending}")
        assert found.transmission.dtype == torch.complex128
        assert (found.spacing, found.wavelength) == (SPACING, pytest.approx(WAVELENGTH, rel=1e-12))
        change = found.transmission.abs().square() - plate.abs().square()
        assert float(change.abs().max()) <= HALF["transmittance"] * codes * (1 + 1e-9)
        # Where a code of transmittance is nothing, there is no phase.
        lit = found.transmission.abs() > 0
        turned = between(found.transmission[lit], plate[lit])
        assert float(turned.max()) <= HALF["phase"] * codes * (1 + 1e-6)


def test_what_others_see_in_the_files(tmp_path):
    # +y is down and +x to the right.
    plate = torch.ones(3, 5, dtype=torch.complex128)
    plate[2, 1] = 0.5j
    plate[0, 4] = -1
    plate[1, 0] = torch.polar(torch.tensor(1.0), torch.tensor(-1e-6))
    files = export_plate(plate, tmp_path / "mask.tif", spacing=2e-6, wavelength=WAVELENGTH)
    codes = {}
    for name in ("transmittance", "phase"):
        with Image.open(getattr(files, f"{name}_tiff")) as image:
            assert (image.size, image.mode) == ((5, 3), "I;16")
            assert float(image.tag_v2[282]) == float(image.tag_v2[283]) == pytest.approx(5000)
            metadata = json.loads(image.tag_v2[270])
            codes[name] = np.asarray(image)
        assert metadata["quantity"] == name
        assert (metadata["version"], metadata["pitch_um"]) == (1, 2)
        assert metadata["orientation"].startswith("row 0 is the least y")
        text = getattr(files, f"{name}_table").read_text()
        assert "# pitch_um: 2.0\n" in text
        assert '# units: "' in text
    assert codes["transmittance"][0, 0] == 65535
    assert codes["transmittance"][2, 1] == pytest.approx(65535 / 4, abs=0.5)
    assert (codes["phase"][2, 1], codes["phase"][0, 4], codes["phase"][0, 0]) == (16384, 32768, 0)
    # Just below a whole turn is nearer to none than to the highest code.
    assert codes["phase"][1, 0] == 0
    table = np.loadtxt(files.transmittance_table, delimiter=",")
    assert table.shape == (3, 5)
    assert table[2, 1] == pytest.approx(0.25)
    table = np.loadtxt(files.phase_table, delimiter=",")
    assert table[2, 1] == pytest.approx(math.pi / 2)
    assert table[1, 0] == pytest.approx(2 * math.pi - 1e-6)


def test_elements_and_filters_are_written_as_they_pass_light(tmp_path):
    share = torch.rand(6, 5, generator=torch.Generator().manual_seed(0))
    grey = AmplitudeMask(share, spacing=SPACING, trainable=False)
    export_plate(grey, tmp_path / "grey")
    found = import_plate(tmp_path / "grey")
    torch.testing.assert_close(found.transmission.abs().square().float(), share)
    assert (found.spacing, found.wavelength) == (SPACING, None)
    assert (found.transmission.imag == 0).all()
    # Back as an element of the same light.
    back = AmplitudeMask(found.transmission.abs().square(), spacing=SPACING, trainable=False)
    torch.testing.assert_close(back.transmittance.float(), share)

    phase = nn.Parameter(7 * share - 3)
    for mask, wavelength in (
        (PhaseMask(phase, spacing=SPACING), None),
        (PhaseMask(phase, spacing=SPACING, design_wavelength=WAVELENGTH), WAVELENGTH),
    ):
        export_plate(mask, tmp_path / "phase", overwrite=True)
        found = import_plate(tmp_path / "phase.csv")
        expected = torch.polar(torch.ones(6, 5), phase.detach()).to(torch.complex128)
        torch.testing.assert_close(found.transmission, expected, rtol=0, atol=1e-6)
        assert found.wavelength == (wavelength and pytest.approx(wavelength))

    lens = optics.Lens((6, 5), spacing=SPACING, focal_length=0.05)
    export_plate(lens, tmp_path / "lens", wavelength=480e-9)
    found = import_plate(tmp_path / "lens")
    expected = lens.transmission(torch.tensor([480e-9], dtype=torch.float64))[0]
    torch.testing.assert_close(found.transmission.to(torch.complex64), expected)
    assert found.wavelength == pytest.approx(480e-9)
    with pytest.raises(ValueError, match=r"wavelength, in metres, is needed: .* of Lens depends"):
        export_plate(lens, tmp_path / "other")

    spiral = FourierFilter(8, "spiral", margin=0)
    export_plate(spiral, tmp_path / "spiral", spacing=SPACING)
    found = import_plate(tmp_path / "spiral.csv")
    passed = spiral.transmission.detach().to(torch.complex128)
    torch.testing.assert_close(found.transmission, passed, rtol=0, atol=1e-6)

    export_plate(torch.tensor([[0.5, -0.5]]), tmp_path / "real", spacing=SPACING)
    assert import_plate(tmp_path / "real").transmission[0, 1].real == pytest.approx(-0.5)


@pytest.mark.parametrize(
    ("plate", "quantities", "error", "text"),
    [
        (torch.full((2, 2), 1.2), {}, ValueError, r"passive: \|t\| must be at most 1, not 1\.2"),
        (torch.full((2, 2), 0.9 + 0.9j), {}, ValueError, "a plate is passive"),
        (torch.tensor([[0.0, 0.5], [1.1, 1.0]]), {}, ValueError, r"at most 1, not 1\.1"),
        (torch.full((2, 2), torch.nan), {}, ValueError, "plate must be finite"),
        (torch.ones(3, 2, 2), {}, ValueError, r"\[H, W\], one at a time, not \(3, 2, 2\)"),
        (torch.ones(2), {}, ValueError, r"plate must be complex or real .* \[H, W\]"),
        (torch.ones(2, 2), {"spacing": None}, ValueError, "spacing, metres, is needed"),
        (torch.ones(2, 2), {"spacing": -1.0}, ValueError, "spacing must be positive"),
        (torch.ones(2, 2), {"wavelength": 0.0}, ValueError, "wavelength must be positive"),
        (torch.ones(2, 2), {"wavelength": 550}, ValueError, "wavelength must be in metres, 1e-9"),
        (PhaseMask(torch.ones(2, 2), spacing=1e-6), {}, ValueError, "brings its own spacing"),
        ([[1.0]], {}, TypeError, "a Tensor .*, an Element or a FourierFilter, not list"),
        (nn.Linear(1, 1), {}, TypeError, "FourierFilter, not Linear"),
        (
            FourierFilter((8, 12), "spiral", margin=0),
            {"spacing": 1e-6},
            ValueError,
            "8 x 12 samples has another sampling interval along y than along x",
        ),
    ],
)
def test_what_is_no_plate_is_refused(tmp_path, plate, quantities, error, text):
    with pytest.raises(error, match=text):
        export_plate(plate, tmp_path / "a", **({"spacing": SPACING} | quantities))
    assert list(tmp_path.iterdir()) == []


def test_existing_files_are_kept(tmp_path):
    (tmp_path / "a_phase.csv").write_text("mine")
    with pytest.raises(FileExistsError, match=r"a_phase\.csv exists; .*overwrite=True"):
        export_plate(field(), tmp_path / "a", spacing=SPACING)
    assert [p.name for p in tmp_path.iterdir()] == ["a_phase.csv"]
    export_plate(field(), tmp_path / "a", spacing=SPACING, overwrite=True)
    assert len(list(tmp_path.iterdir())) == 4


def changed(name, change):
    def spoil(folder):
        path = folder / f"a_{name}"
        if path.suffix == ".csv":
            path.write_text(change(path.read_text()))
        else:
            change(path)
        return path

    return spoil


def line(key, value):
    def change(text):
        lines = text.splitlines()
        return "\n".join(f"# {key}: {value}" if at.startswith(f"# {key}:") else at for at in lines)

    return change


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (changed("phase.csv", lambda t: ""), "does not name the format"),
        (changed("phase.csv", line("version", 2)), "version must be 1, not 2"),
        (changed("phase.csv", line("quantity", '"x"')), "quantity must be phase, not 'x'"),
        (changed("phase.csv", line("units", '"turns"')), "units must be radians, not 'turns'"),
        (changed("phase.csv", line("size", "[2, 2]")), "but its metadata says"),
        (changed("phase.csv", line("pitch_um", "0")), "pitch must be positive, in micrometres"),
        (changed("phase.csv", line("pitch_um", "3.5")), "they are not of one plate"),
        (changed("phase.csv", line("wavelength_um", '"red"')), "wavelength must be positive"),
        (changed("phase.csv", lambda t: t.rsplit(",", 1)[0] + ",nan"), "NaN or infinite"),
        (changed("transmittance.csv", lambda t: t.rsplit(",", 1)[0] + ",1.1"), r"outside of 0"),
        (changed("transmittance.tif", lambda f: f.write_bytes(b"hello")), "it is not a TIFF"),
        (
            changed("phase.tif", lambda f: shutil.copy(f.parent / "a_transmittance.tif", f)),
            "quantity must be phase, not 'transmittance'",
        ),
        (
            changed("phase.tif", lambda f: optics.export_height_map(
                1e-6 * torch.rand(9, 7), f, spacing=SPACING, material=1.5,
                design_wavelength=WAVELENGTH,
                overwrite=True)),
            "does not name the format 'lens2label plate'",
        ),
    ],
)  # fmt: skip
def test_damaged_files_are_named(tmp_path, spoil, text):
    export_plate(field(), tmp_path / "a", spacing=SPACING, wavelength=WAVELENGTH)
    path = spoil(tmp_path)
    with pytest.raises(ValueError, match=text) as caught:
        import_plate(tmp_path / f"a{path.suffix}")
    assert str(path) in str(caught.value)
    with pytest.raises(FileNotFoundError):
        import_plate(tmp_path / "b.tif")


@pytest.mark.parametrize("given", [np.float32, torch.tensor])
def test_lengths_are_numbers_of_numpy_or_torch_too(tmp_path, given):
    lengths = {"spacing": given(SPACING), "wavelength": given(WAVELENGTH)}
    export_plate(field(), tmp_path / "a", **lengths)
    found = import_plate(tmp_path / "a")
    assert found.spacing == pytest.approx(SPACING)
    assert found.wavelength == pytest.approx(WAVELENGTH)
    with pytest.raises(TypeError, match="spacing is not learned here"):
        export_plate(field(), tmp_path / "b", spacing=nn.Parameter(torch.tensor(SPACING)))


@pytest.mark.parametrize("spacing", [4.29e-6, 2.5e-3 / 63, 1.3e-7])
def test_a_plate_that_was_read_fits_the_pupil_that_it_came_from(tmp_path, spacing):
    mask = AmplitudeMask(torch.rand(16, 16), spacing=spacing, trainable=False)
    export_plate(mask, tmp_path / "a", wavelength=WAVELENGTH)
    read = import_plate(tmp_path / "a")
    again = PhaseMask(read.transmission.angle(), spacing=read.spacing)
    options = {"wavelengths": (550e-9,), "focal_length": 100 * spacing, "psf_size": 5}
    options["pixel_pitch"] = 550e-9 * 100 / 16 / 2  # Q is 2
    pupil = optics.Pupil([mask, again], **options)
    assert pupil.spacing == spacing
    far = PhaseMask(torch.zeros(16, 16), spacing=spacing * (1 + 1e-6))
    with pytest.raises(ValueError, match="all elements must share one grid"):
        optics.Pupil([mask, far], **options)
