import json

import pytest

from joint.cli import main

STUDY = """
name = "bits and light"
question = "Is it worth to read eight bits at 50 photons?"
seeds = [0, 1, 2, 3, 4, 5]
[base]
data = {kind = "phantom", count = 60, image_size = 16}
system = {front_end = {kind = "none"}, codec = {kind = "none"}}
objective = {task = 1.0}
training = {epochs = 1, monitor = "loss"}
[axes.bits]
path = "system.sensor.bit_depth"
values = [4, 8]
[plan]
comparisons = [{first = {bits = 8}, second = {bits = 4}}]
"""


@pytest.fixture
def study(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(STUDY)
    return path


def test_a_study_from_file_to_report(study, tmp_path, capsys):
    ledger = tmp_path / "ledger"
    assert main(["study", "run", str(study), "--output", str(ledger), "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    table = tmp_path / "rows.csv"
    assert main(["study", "list", str(ledger), "--json", "--csv", str(table)]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 12
    assert len(table.read_text().splitlines()) == 13
    assert main(["study", "report", str(ledger)]) == 0
    said = capsys.readouterr().out
    assert "planned" in said
    assert "bits" in said
    assert main(["study", "report", str(ledger), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)
    assert main(["study", "work", str(ledger)]) == 0
    assert capsys.readouterr().out == "0 done, 0 failed\n"  # nothing is left to do


def test_mistakes_are_told_in_a_line(study, tmp_path, capsys):
    assert main(["study", "--help"]) == 0
    assert "list" in capsys.readouterr().out
    assert main(["study", "rum"]) == 2
    assert "usage" in capsys.readouterr().err
    assert main(["study", "report", str(tmp_path)]) == 1
    assert "Traceback" not in capsys.readouterr().err
    study.write_text(STUDY.replace("bit_depth", "bit_dept"))
    assert main(["study", "run", str(study), "--output", str(tmp_path / "x")]) == 1
    assert "bit_depth" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
