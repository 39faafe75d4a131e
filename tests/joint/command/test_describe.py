import json
import shutil

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
