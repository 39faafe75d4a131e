import base64
import dataclasses
import io
import shutil
import subprocess

import numpy as np
import pytest
from pages import RESAMPLES, Grey, Page, scenes_of_test
from PIL import Image

import joint
from joint.report import report_html, write_report
from joint.saved.folder import read_result
from joint.saved.predictions import load_predictions


def test_the_page_is_whole_in_itself(text, parsed):
    assert text.startswith("<!doctype html>")
    assert not {"script", "link", "iframe", "object", "svg"} & parsed.tags
    assert "://" not in text
    assert "@import" not in text
    assert "url(" not in text
    for tag, name, value in parsed.attributes:
        assert not name.startswith("on"), (tag, name)
        if name in ("src", "href"):
            assert value.startswith(("data:image/png;base64,", "#")), value
    policy = [value for tag, name, value in parsed.attributes if (tag, name) == ("meta", "content")]
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in policy
    assert "prefers-color-scheme: dark" in text


def test_every_picture_can_be_decoded_and_is_named(parsed):
    assert len(parsed.images) >= 13
    for image in parsed.images:
        content = base64.b64decode(image["src"].partition(",")[2], validate=True)
        decoded = Image.open(io.BytesIO(content))
        decoded.load()
        shown = (int(image["width"]), int(image["height"]))
        # Three of its pixels to two of the page's.
        assert np.allclose(np.array(decoded.size) / 1.5, shown, atol=0.5)
        assert image["alt"]
        assert int(image["width"]) < 1250


def test_equal_runs_make_equal_pages(whole, text, whole_page):
    assert whole_page(whole) == text


def test_a_class_may_be_called_anything(tmp_path, whole):
    names = ["<script>", "$x^{$", "a&b", "_$_", "é ü", "mel", "50 % \\frac"]
    folder = tmp_path / "<b>run & $x^{"
    shutil.copytree(whole, folder)
    saved = load_predictions(folder)
    held = joint.RunFolder(folder)
    # Only what is saved is called otherwise: the scenes of the run do not have these names.
    evaluation = joint.evaluate(joint.ImagingSystem(classifier=Grey()), scenes_of_test(whole))
    evaluation = dataclasses.replace(evaluation, logits=saved.logits, labels=saved.labels)
    held.save_predictions(evaluation, names)
    read = Page(report_html([folder], resamples=RESAMPLES, quick=True))
    assert read.headings[0] == "lens2label: <b>run & $x^{"
    assert set(names) <= set(read.rows())
    assert not {"script", "b"} & read.tags


def test_a_quick_report_and_a_smaller_sample_say_what_they_are(whole, capsys, undrawn):
    read = Page(report_html([whole], quick=True, pictures=9, resamples=RESAMPLES))
    assert capsys.readouterr() == ("", "")
    said = "".join(read.text)
    assert said.count("It leaves out: optimal images, information about the class, where accu") == 1
    assert "Robustness" not in said
    assert "Rate by region of 9 pictures" in said
    assert "medians of 9 pictures" in said
    # The predictions are those of all of the test part.
    count = read_result(whole)["test"]["count"]
    assert read.rows()["test part"] == [f"{count} pictures"]


def test_a_report_of_several_runs_tells_of_every_step(whole, lens, capsys, undrawn):
    how = {"quick": True, "pictures": 2, "resamples": RESAMPLES}
    report_html([whole, lens], progress=True, **how)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert [line.split(":")[0] for line in lines] == [f"report {n}/30" for n in range(1, 31)]
    assert lines[1] == f"report 2/30: {whole.name}: the scenes"
    assert lines[-2] == f"report 29/30: {lens.name}: What a picture costs"
    assert lines[-1] == "report 30/30: the comparison of the runs"


def test_what_cannot_be_done_is_refused_at_once(whole, tmp_path):
    for arguments, message in (
        ({"pictures": 0}, "pictures must be at least 1, not 0"),
        ({"resamples": 0}, "resamples must be at least 1, not 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, not 0"),
        ({"device": "abacus"}, "device 'abacus' is unknown"),
    ):
        with pytest.raises(ValueError, match=message):
            report_html([whole], **arguments)
    with pytest.raises(ValueError, match="at least one run folder"):
        report_html([])
    with pytest.raises(ValueError, match="is given twice"):
        report_html([whole, whole / ".." / whole.name])
    with pytest.raises(ValueError, match=r"is a folder: give the name of a file, such as .*html"):
        write_report([whole], tmp_path)


def test_a_page_that_cannot_be_written_is_refused_before_it_is_made(whole, tmp_path, monkeypatch):
    monkeypatch.setattr("joint.report.write.report_html", None)
    (tmp_path / "file").touch()
    with pytest.raises(
        joint.CheckpointError, match=r"page\.html: Not a directory. Choose another fo"
    ):
        write_report([whole], tmp_path / "file" / "page.html")
    assert [*tmp_path.iterdir()] == [tmp_path / "file"]


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not on the PATH")
def test_a_browser_draws_it(text, tmp_path):
    (tmp_path / "page.html").write_text(text)
    shots = []
    for scheme in (1, 0):  # light, dark
        shot = tmp_path / f"{scheme}.png"
        command = [
            "chromium",
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--window-size=1000,900",
        ]
        command += [f"--blink-settings=preferredColorScheme={scheme}", f"--screenshot={shot}"]
        command += [f"--user-data-dir={tmp_path / 'profile'}", (tmp_path / "page.html").as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=600)
        shots.append(np.asarray(Image.open(shot).convert("L"), float))
    light, dark = shots
    assert light.mean() > 200 > 100 > dark.mean()
    # Something is written, and the same in both.
    assert light.std() > 10
    assert dark.std() > 10
