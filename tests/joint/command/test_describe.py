import importlib
import json
import shutil

import numpy as np
import pytest
from commands import OPTION, run

import joint

LENS = ("--front-end", "lens", "--data.image-size", "32")


def test_a_camera_of_options_is_that_of_its_configuration(capsys):
    options = (*LENS, "--system.sensor.photons", "500", "--json")
    status, printed, _ = run(capsys, "describe", *options)
    assert status == 0
    system = joint.SystemConfig(
        front_end=joint.LensConfig(), sensor=joint.SensorConfig(photons=500)
    )
    built = joint.build_system(system, image_size=32, channels=3, classes=7)
    expected = joint.data_sheet(built, image_size=32).to_dict()
    assert json.loads(printed) == json.loads(json.dumps(expected))


def test_it_is_printed_for_people(capsys):
    status, text, _ = run(capsys, "describe", *LENS, "--system.front-end.focus", "0.5")
    assert status == 0
    assert "20 mm, f/8; focused at 500 mm" in text
    assert "dynamic range" in text


def test_a_traced_lens_is_described(capsys):
    small = ("--data.image-size", "16", "--system.front-end.places", "2", "2")
    status, text, _ = run(capsys, "describe", "--front-end", "compound", *small)
    assert status == 0
    assert "traced 6 surfaces, 1.204 mm to the image: 1 mm, f/5" in text
    status, _, told = run(
        capsys, "describe", "--front-end", "compound", "--system.front-end.prescription", "no.zmx"
    )
    assert status == OPTION
    assert "prescription no.zmx: No such file" in told


def test_a_kind_that_needs_an_option_is_described_with_it(capsys, tmp_path):
    np.save(tmp_path / "psf.npy", np.full((5, 5), 0.04))
    file = ("--system.front-end.file", tmp_path / "psf.npy")
    status, text, _ = run(capsys, "describe", "--front-end", "psf", *file)
    assert status == 0
    assert "MTF    of the fixed PSF, at cycles/pixel" in text
    status, _, told = run(capsys, "describe", "--front-end", "psf")
    assert status == OPTION
    assert "--front-end psf without a file is a point" in told
    assert "give --system.front-end.file" in told
    with pytest.raises(SystemExit) as stopped:
        run(capsys, "describe", "--front-end", "psf", "--help")
    assert stopped.value.code == 0
    assert "--system.front-end.file" in capsys.readouterr().out


def test_a_run_is_described_as_it_was_trained_without_its_scenes(trained, capsys, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    status, printed, _ = run(capsys, "describe", folder, "--json")
    assert status == 0
    _, system, parts = joint.load_run(trained)
    test = parts.test
    expected = joint.data_sheet(system, image_size=test.image_size, channels=test.channels)
    assert json.loads(printed) == json.loads(json.dumps(expected.to_dict()))
    # Its settings may be changed; then it is another camera, which is not trained.
    other = ("--config", folder, "--system.sensor.photons", 77)
    status, printed, _ = run(capsys, "describe", *other)
    assert status == 0
    assert "photons=77/pixel" in printed


def test_a_run_with_other_settings_is_refused(trained, capsys):
    status, _, told = run(capsys, "describe", trained, "--system.sensor.photons", 77)
    assert status == OPTION
    assert f"give --config {trained} instead" in told


def test_the_lens_is_drawn_of_the_data_sheet(capsys, tmp_path, monkeypatch):
    module = importlib.import_module("optics.performance.through_focus")
    foci, searched = module._foci, []
    monkeypatch.setattr(module, "_foci", lambda found: searched.append(found) or foci(found))
    file = tmp_path / "lens.svg"
    status, printed, _ = run(capsys, "describe", *LENS, "--figure", file)
    assert status == 0
    assert printed.endswith(f"wrote {file}\n")
    assert "best focus, um" in file.read_text()
    assert len(searched) == 1  # and not for the figure again
    again = tmp_path / "again.svg"
    status, printed, _ = run(capsys, "describe", *LENS, "--figure", again, "--json")
    assert status == 0
    assert "through_focus" in json.loads(printed)
    assert again.read_bytes() == file.read_bytes()


def test_what_cannot_be_drawn_is_refused(capsys, tmp_path):
    status, _, told = run(capsys, "describe", *LENS, "--figure", tmp_path / "lens.txt")
    assert status == OPTION
    assert "--figure writes a .png, .pdf or .svg" in told
    none = tmp_path / "lens.png"
    status, printed, told = run(capsys, "describe", "--front-end", "none", "--figure", none)
    assert status == 1
    assert "--figure draws a front end with one pupil, and this has none or several" in told
    assert not printed
    assert not none.exists()
