import csv
import json
import typing

import pytest
from PIL import Image

import joint
from joint.settings import NoneConfig
from joint.study import Tally, load_study, work

# The small sizes have two seeds, which can show nothing: it is said, and tested below once.
pytestmark = pytest.mark.filterwarnings("ignore:2 paired seeds cannot:UserWarning")


@pytest.fixture
def runner(load, monkeypatch):
    module = load("runner")
    # A process for each worker takes seconds to start; tests/joint/study/test_work.py tries them.
    monkeypatch.setattr(module, "run_study", lambda folder, *, device, **_: work(folder))
    return module


@pytest.mark.filterwarnings("ignore:.*straight-through.*:UserWarning")
@pytest.mark.parametrize("name", ["edge_filter", "imbalance", "converter_gradient"])
def test_a_study_runs_small_and_says_what_it_came_to(runner, name, tmp_path, capsys):
    ledger = runner.main(runner.Options(name, small=True, output=tmp_path))
    total = len(ledger.designs) * 2
    assert ledger.tally() == Tally(pending=0, running=0, done=total, failed=0)
    printed = capsys.readouterr().out
    assert f"study {ledger.study.name!r}: {ledger.study.question}" in printed
    assert "nothing can be shown. Use at least" in printed  # two seeds
    found = tmp_path / f"{name}_small" / "found"
    assert (found / "report.txt").read_text() in printed
    report = json.loads((found / "report.json").read_text())
    assert len(report["planned"]) == len(ledger.pairs())
    with (found / "rows.csv").open() as file:
        assert len(list(csv.DictReader(file))) == total
    with Image.open(found / "designs.png") as figure:
        assert figure.size[0] > 500
    assert (found / "study.html").read_text().startswith("<!doctype html>")


def test_without_workers_it_only_judges(runner, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(runner, "run_study", None)
    options = runner.Options("imbalance", small=True, output=tmp_path, workers=0)
    with pytest.warns(UserWarning, match="2 paired seeds cannot give a p below 0.5"):
        ledger = runner.main(options)
    assert ledger.tally().pending == 4
    assert "4 runs: 0 done, 0 failed, 0 running, 4 to go" in capsys.readouterr().out


@pytest.mark.parametrize("size", ["small", "middle", "full"])
def test_every_design_of_every_size_is_a_configuration(runner, size, tmp_path):
    for name in typing.get_args(runner.Name):
        study = runner.sized(name, size, data=tmp_path if size == "full" else None)
        designs = study.designs()
        for design in designs:
            config = study.config(design, study.seeds[0])
            assert (config.data.kind == "ham10000") == (size == "full")
        pairs = study.pairs(designs)
        # What is planned can be shown; but for the small size, which is not there to show anything.
        assert pairs or (name, size) == ("tolerance", "small")
        assert (study.doubt(len(pairs)) is None) == (size != "small" or not pairs)


def test_the_full_sizes_leave_nothing_out(runner, tmp_path):
    for name in typing.get_args(runner.Name):
        written = load_study(runner.HERE / f"{name}.toml")
        full = runner.sized(name, "full", data=tmp_path)
        assert full.axes == written.axes
        assert full.plan == written.plan
        assert full.designs() == written.designs()
        assert full.base.data.image_size == 64
    edge = runner.sized("edge_filter", "full", data=tmp_path)
    assert len(edge.axes["camera"].levels()) == 8
    assert {"50 shared", "300 shared", "3000 shared", "noiseless"} < set(
        edge.axes["light"].levels()
    )


def test_a_comparison_goes_with_its_level(runner, monkeypatch, tmp_path):
    sizes = '[imbalance.middle]\nwithout = {method = ["weights"], backbone = ["resnet_s"]}\n'
    for name in ("imbalance.toml", "sizes.toml"):
        text = sizes if name == "sizes.toml" else (runner.HERE / name).read_text()
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(runner, "HERE", tmp_path)
    study = runner.sized("imbalance", "middle")
    assert [c.first for c in study.plan.comparisons] == [
        {"method": "balanced_softmax", "backbone": "mobilenet_v3_small"},
        {"method": "ldam_drw", "backbone": "mobilenet_v3_small"},
    ]
    (tmp_path / "sizes.toml").write_text('[imbalance.middle]\nwithout = {methods = ["weights"]}\n')
    with pytest.raises(ValueError, match="leaves out levels of 'methods', which is no axis of imb"):
        runner.sized("imbalance", "middle")


def test_sizes_that_do_not_fit_are_refused(runner, tmp_path):
    with pytest.raises(ValueError, match="the full study runs on HAM10000: say where it is"):
        runner.sized("imbalance", "full")
    with pytest.raises(ValueError, match="--small and --full exclude each other"):
        runner.main(runner.Options("imbalance", small=True, full=tmp_path, output=tmp_path))


def test_light_is_counted_and_not_counted_as_the_edge_study_says(runner, tmp_path):
    study = runner.sized("edge_filter", "full", data=tmp_path)
    photons = {}
    for design in study.designs():
        system = study.config(design, 0).system
        if isinstance(system.sensor, NoneConfig):
            assert design["light"] == "noiseless"
            continue
        photons[design["light"]] = system.sensor.photons
        # Four read noises, so that noise about zero is not cut.
        top = 2**system.sensor.bit_depth - 1
        electrons = system.sensor.photons * system.sensor.quantum_efficiency
        gain = electrons / (top - system.sensor.black_level)
        assert system.sensor.black_level == pytest.approx(
            4 * system.sensor.read_noise / gain, abs=0.6
        )
        if design["light"].endswith("each"):
            front = joint.build_system(system, image_size=(16, 16), channels=3, classes=7).front_end
            assert front.exposures == 2
    for level in (50, 300, 3000):
        assert photons[f"{level} shared"] == level
        assert photons[f"{level} each"] == 2 * level


def test_only_trained_cameras_learn(runner, tmp_path):
    study = runner.sized("edge_filter", "full", data=tmp_path)
    for design in study.designs():
        stages = study.config(design, 0).training.stages
        assert ("front_end" in stages) == (design["camera"] in ("trained", "unsharp", "single"))
