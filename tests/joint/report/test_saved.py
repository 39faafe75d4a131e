import json
import shutil

import pytest
from pages import Page

import joint
from joint.report import report_html, write_report


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "result.json").unlink(), r"not done \(interrupted\): finish it with lens2"),
        (lambda f: (f / "config.json").unlink(), "has no config.json: it was written by joint.fit"),
        (lambda f: (f / "result.json").write_text("{"), "result.json is damaged"),
        (lambda f: (f / "result.json").write_text("{}"), "damaged: it has no numbers of a test"),
        (lambda f: (f / "predictions.safetensors").write_bytes(b"x"), "predictions.safetensors"),
        (lambda f: (f / "predictions.safetensors").unlink(), "there are no predictions in"),
        (lambda f: (f / "best.safetensors").write_bytes(b"x" * 99), "best.safetensors"),
        (lambda f: (f / "best.safetensors").unlink(), "best.safetensors"),
        (lambda f: (f / "history.jsonl").write_text("{\n{}\n"), "line 1 of .*history.jsonl"),
        (lambda f: (f / "history.jsonl").write_text("{}\n"), "line 1 of .*damaged: no epoch"),
        (lambda f: (f / "environment.json").write_text("{"), "environment.json is damaged"),
        (lambda f: (f / "environment.json").write_text("3"), "it is not a list of environments"),
        (lambda f: _other_accuracy(f), "they belong to different runs"),
    ],
)
def test_a_run_that_is_not_whole_is_refused_by_name(damage, message, whole, tmp_path):
    folder = tmp_path / "damaged"
    shutil.copytree(whole, folder)
    damage(folder)
    with pytest.raises((joint.CheckpointError, joint.ConfigError), match=message) as caught:
        write_report([whole, folder], tmp_path / "page.html", quick=True)
    assert "damaged" in str(caught.value)
    assert str(whole) not in str(caught.value)
    assert not (tmp_path / "page.html").exists()


def _other_accuracy(folder):
    result = json.loads((folder / "result.json").read_text())
    result["test"]["accuracy"] += 0.1
    (folder / "result.json").write_text(json.dumps(result))


def test_a_missing_environment_or_history_is_said(whole, tmp_path, undrawn):
    folder = tmp_path / "bare"
    shutil.copytree(whole, folder)
    (folder / "environment.json").unlink()
    (folder / "history.jsonl").unlink()
    said = "".join(Page(report_html([folder], quick=True, pictures=2, resamples=9)).text)
    assert "It is not known where the run was computed: environment.json is missing." in said
    assert "history.jsonl is missing or empty." in said
