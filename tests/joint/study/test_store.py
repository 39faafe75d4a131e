import json
import os

import pytest

from joint.study import (
    TPE,
    Axis,
    Plan,
    Study,
    StudyError,
    create_study,
    open_study,
)
from joint.study.store import add_design


def test_the_study_is_written_before_any_run(ledger):
    assert [path.name for path in ledger.folder.iterdir()] == ["study.json"]
    again = open_study(ledger.folder)
    assert again.study == ledger.study
    assert again.runs == ledger.runs
    assert again.designs == ledger.designs


def test_a_plan_that_was_changed_by_hand_is_told(ledger):
    path = ledger.folder / "study.json"
    content = json.loads(path.read_text())
    content["study"]["plan"]["alpha"] = 0.2
    path.write_text(json.dumps(content))
    with pytest.warns(UserWarning, match="a study is fixed before its first run"):
        open_study(ledger.folder)
    del content["seal"]
    path.write_text(json.dumps(content))
    with pytest.raises(StudyError, match="is damaged: KeyError: 'seal'"):
        open_study(ledger.folder)


@pytest.mark.parametrize("links", [True, False])
def test_who_comes_second_replaces_nothing(small_study, tmp_path, monkeypatch, links):
    # The other one writes its study after this one has looked for it.
    here, there = small_study(), small_study(question="another")
    if not links:
        monkeypatch.setattr(os, "link", _no_links)
    designs = Study.designs

    def slow(study):
        found = designs(study)
        if study == here and not (tmp_path / "study.json").exists():
            create_study(there, tmp_path)
        return found

    monkeypatch.setattr(Study, "designs", slow)
    with pytest.raises(StudyError, match="holds another study: question was 'another' and is ''"):
        create_study(here, tmp_path)
    assert open_study(tmp_path).study == there
    assert [path.name for path in tmp_path.iterdir()] == ["study.json"]
    assert create_study(there, tmp_path).study == there


def _no_links(*_):
    raise PermissionError("no hard links")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no study in .*: lens2label study run writes one"),
        ("{", "study.json is damaged: JSONDecodeError"),
        ("[]", "is damaged: TypeError"),
        ('{"format": 2}', "has format 2, not 1"),
        ('{"format": 1, "study": {"axis": 1}}', "axis: no such key; did you mean 'axes'"),
        ('{"format": 1}', "is damaged: KeyError"),
        (
            '{"format": 1, "study": {"axes": {"a": {"path": "objective.rate", "values": [1, 2]}}},'
            ' "designs": [], "runs": [], "done_before": "1"}',
            "is damaged: ValueError: '1' runs were done before it was written",
        ),
    ],
)
def test_what_is_no_study_is_told(tmp_path, content, message):
    if content is not None:
        (tmp_path / "study.json").write_text(content)
    with pytest.raises(StudyError, match=message):
        open_study(tmp_path)


def test_a_file_is_told_from_the_folder_of_a_study(tmp_path):
    (tmp_path / "edge.toml").touch()
    message = (
        r"edge\.toml is a file, not the folder of a study: .* edge\.toml --output FOLDER trains"
    )
    with pytest.raises(StudyError, match=message.replace("* edge", "*edge")):
        open_study(tmp_path / "edge.toml")


@pytest.mark.parametrize("number", [99, -1, "0"])
def test_a_run_of_no_design_is_told(ledger, number):
    path = ledger.folder / "study.json"
    content = json.loads(path.read_text())
    content["runs"][0]["design"] = number
    path.write_text(json.dumps(content))
    with pytest.raises(StudyError, match=r"study.json is damaged: .* run 0 is of design .*, of 4"):
        open_study(ledger.folder)


def test_a_design_that_chooses_nothing_is_told(ledger):
    path = ledger.folder / "study.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"designs": [1, 2, 3, 4]}))
    with pytest.raises(StudyError, match=r"study.json is damaged: .* design 0 is 1, not a table"):
        open_study(ledger.folder)


def test_what_chance_chose_is_written_down(small_study, tmp_path):
    light = Axis(path="system.sensor.photons", low=10, high=1e4)
    study = small_study(axes={"light": light}, plan=Plan(), sampler=TPE(count=4, startup=2))
    ledger = create_study(study, tmp_path)
    ledger = add_design(ledger, {"light": 20.0}, by_chance=True)
    ledger = add_design(ledger, {"light": 30.0})
    assert len(ledger.designs) == 4
    assert open_study(tmp_path).by_chance() == (2,)
