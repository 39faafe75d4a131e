import base64
import dataclasses
import io
import json
import re
import shutil
import subprocess
from html import unescape
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from sklearn.dummy import DummyClassifier
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    cohen_kappa_score,
    matthews_corrcoef,
)

import classify
import compress
import joint
import optics
from joint.analysis import (
    Contrast,
    attribute,
    contrast_by_class,
    correctness_against_contrast,
    information,
    kept,
    measure_contrast,
    rate_map,
)
from joint.cli import main
from joint.panel.look import COLOURS, blank_figure
from joint.report import figures_in, report_html, write_report
from joint.report.accuracy import small_sweeps
from joint.report.compare import (
    PAIRED,
    common_pictures,
    compare_runs,
    comparison,
    verdict,
)
from joint.report.draw import element_figures, history_figure
from joint.report.page import (
    MISSING,
    number,
    page,
    paragraph,
    picture,
    section,
    table,
    with_interval,
)
from joint.report.ranked import confident_errors, curves_of, errors, thresholds
from joint.report.recorded import by_chance, classification
from joint.report.saved import read_runs
from joint.report.scenes import Measuring, NotHere, Scenes, coded_pixels
from joint.report.sections import SECTIONS
from joint.report.shown import contrast_of_classes, element, rate
from joint.report.why import contrast_decides
from joint.report.words import configuration_words
from joint.saved.folder import read_result
from joint.saved.predictions import Predictions, load_predictions

_TINY = ["--data.count", "140", "--data.image-size", "32", "--training.epochs", "1"]
_RESAMPLES = 30
_VOID = {"meta", "img", "br", "hr", "link", "input"}


class _Page(HTMLParser):
    """Reads a page, and refuses one that is not well formed."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.images, self.tables, self.headings, self.text = [], [], [], [], []
        self.tags, self.attributes, self.links, self.anchors = set(), [], [], set()
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        given = dict(attrs)
        assert len(given) == len(attrs)
        if "id" in given:
            assert given["id"] not in self.anchors
            self.anchors.add(given["id"])
        if tag == "img":
            self.images.append(given)
        if tag == "a":
            self.links.append(given["href"])
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data
        if self.open and self.open[-1] in ("h1", "h2", "h3"):
            self.headings.append(data)

    def rows(self):
        """Cells by the first of their row, of all tables; the first of a name."""
        found = {}
        for row in [row for rows in self.tables for row in rows]:
            found.setdefault(row[0], row[1:])
        return found


def _train(folder, *arguments):
    command = ["train", "--output", str(folder), "--quiet", *_TINY, *arguments]
    assert main([str(argument) for argument in command]) == 0
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """All four stages."""
    folder = tmp_path_factory.mktemp("whole") / "whole"
    return _train(folder, "--codec", "jpeg")


@pytest.fixture(scope="module")
def lens(tmp_path_factory):
    """Another, on the same test part."""
    folder = tmp_path_factory.mktemp("lens") / "lens"
    element = ["--front-end", "lens", "--system.front-end.element", "phase"]
    return _train(folder, "--codec", "webp", *element)


@pytest.fixture(scope="module")
def text(whole):
    return report_html([whole], resamples=_RESAMPLES)


@pytest.fixture
def undrawn(monkeypatch):
    """A blank picture for each figure, which is built all the same: for who reads words alone.

    Two thirds of the time of a report are the letters and lines of its figures.
    """
    content = io.BytesIO()
    Image.new("L", (3, 3)).save(content, "PNG")
    monkeypatch.setattr(
        Figure, "savefig", lambda _, file, **options: file.write(content.getvalue())
    )


@pytest.fixture(scope="module")
def parsed(text):
    return _Page(text)


def _test_part(folder):
    return joint.load_run(folder)[2].test


# ------------------------------------------------------------------------------------- the page


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


def test_equal_runs_make_equal_pages(whole, text):
    assert report_html([whole], resamples=_RESAMPLES) == text


def test_the_figures_of_a_page_are_files_too(whole, tmp_path, undrawn):
    def page():
        return report_html([whole], quick=True, resamples=_RESAMPLES)

    plain = page()
    with figures_in(tmp_path / "new" / "plots", ending="png"):
        assert page() == plain
    shown = re.findall(r'<img [^>]*alt="([^"]*)"', plain)
    files = sorted((tmp_path / "new" / "plots").iterdir())
    assert len(shown) == len(files) > 3
    for place, (shows, file) in enumerate(zip(shown, files, strict=True), 1):
        count, _, words = file.stem.partition("-")
        assert int(count) == place
        assert file.suffix == ".png"
        assert "-".join(re.findall("[a-z0-9]+", unescape(shows).lower())).startswith(words)
    assert page() == plain
    assert len([*(tmp_path / "new" / "plots").iterdir()]) == len(files)  # none after the block


@pytest.mark.parametrize(
    ("ending", "head"), [("pdf", b"%PDF-"), ("svg", b"<?xml"), ("png", b"\x89PNG")]
)
def test_a_figure_is_of_the_kind_that_was_asked_for(tmp_path, ending, head):
    figure = blank_figure(2, 2)
    figure.subplots().plot([0, 1], [0, 1])
    with figures_in(tmp_path, ending=ending):
        picture(figure, shows="A line: 0 to 1 (m/s), " + "very " * 20)
    (file,) = tmp_path.iterdir()
    assert file.name == f"01-a-line-0-to-1-m-s{'-very' * 8}.{ending}"
    assert file.read_bytes().startswith(head)


def test_figures_go_into_a_folder_and_are_of_a_known_kind(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a file: name a folder"), figures_in(tmp_path / "file"):
        pass
    with pytest.raises(ValueError, match="as pdf, svg or png"), figures_in(tmp_path, ending="eps"):
        pass


def test_all_parts_are_there_in_their_order(parsed):
    assert parsed.headings == ["lens2label: whole", *SECTIONS]


@pytest.mark.parametrize(
    "hostile", ["<script>alert(1)</script>", '"><img src=x onerror=y>', "&lt;"]
)
def test_what_comes_from_a_run_stays_text(hostile):
    built = page(
        hostile,
        section(hostile, paragraph(hostile), anchor=hostile),
        table([hostile], [[hostile]], caption=hostile),
        picture(history_figure(_HISTORY, best=0, monitor="loss"), shows=hostile, caption=hostile),
    )
    read = _Page(built)
    assert "script" not in read.tags
    assert [image["alt"] for image in read.images] == [hostile]
    assert read.headings == [hostile, hostile]
    assert read.tables == [[[hostile], [hostile]]]
    assert read.anchors == {hostile}


def test_a_class_may_be_called_anything(tmp_path, whole):
    names = ["<script>", "$x^{$", "a&b", "_$_", "é ü", "mel", "50 % \\frac"]
    folder = tmp_path / "<b>run & $x^{"
    shutil.copytree(whole, folder)
    saved = load_predictions(folder)
    held = joint.RunFolder(folder)
    # Only what is saved is called otherwise: the scenes of the run do not have these names.
    evaluation = joint.evaluate(joint.ImagingSystem(classifier=_Grey()), _test_part(whole))
    evaluation = dataclasses.replace(evaluation, logits=saved.logits, labels=saved.labels)
    held.save_predictions(evaluation, names)
    read = _Page(report_html([folder], resamples=_RESAMPLES, quick=True))
    assert read.headings[0] == "lens2label: <b>run & $x^{"
    assert set(names) <= set(read.rows())
    assert not {"script", "b"} & read.tags


class _Grey(torch.nn.Module):
    def forward(self, image):
        return image[:, :1].mean((-2, -1)) * torch.ones(7)


# ---------------------------------------------------------------------------------- the numbers


def test_the_classification_is_that_of_the_predictions(whole, parsed):
    saved = load_predictions(whole)
    expected = classify.report(
        saved.logits,
        saved.labels,
        classes=saved.classes,
        groups=saved.groups,
        resamples=_RESAMPLES,
    )
    rows = parsed.rows()
    for name, label in (
        ("accuracy", "accuracy"),
        ("balanced_accuracy", "balanced accuracy"),
        ("macro_f1", "macro F1"),
        ("mcc", "Matthews correlation (MCC)"),
        ("cohen_kappa", "Cohen's kappa"),
        ("auc", "AUC"),
        ("nll", "negative log-likelihood"),
        ("brier", "Brier score"),
    ):
        low, high = expected.intervals[name]
        assert rows[label][0] == f"{getattr(expected, name):.3f} [{low:.3f}, {high:.3f}]"
    assert rows["calibration error"][0] == f"{expected.ece:.3f}"
    for k, name in enumerate(expected.classes):
        assert rows[name][:2] == [str(expected.support[k]), str(expected.units[k])]
        assert rows[name][2].startswith(f"{expected.recall[k]:.2f}")
        assert rows[name][6].startswith(f"{expected.class_auc[k]:.2f}")
    assert rows["class"][:2] == ["pictures", "lesions"]


@pytest.mark.parametrize("groups", [None, [f"lesion {i // 2}" for i in range(60)]])
@pytest.mark.parametrize("resamples", [0, _RESAMPLES])
def test_the_page_warns_of_classes_as_the_text_does(monkeypatch, groups, resamples):
    """Nine of 2 lesions each, more than are named, and one that is predicted but not there."""
    labels = np.concatenate([np.repeat(0, 24), np.repeat(np.arange(1, 10), 4)])
    logits = np.eye(11)[np.where(np.arange(60) % 7, labels, 10)]
    expected = classify.report(logits, labels, groups=groups, resamples=resamples)
    monkeypatch.setattr("joint.report.recorded.judged", lambda run: expected)
    read = _Page(page("page", *classification(None, "", None)))
    said = "".join(read.text)
    notes = [line for line in str(expected).splitlines() if line.startswith(("fewer", "no pict"))]
    # Of the twelve lesions of the first class the rankings alone are told too narrowly, and there
    # are only 18 others.
    few = bool(resamples) * (1 if groups is None else 3)
    assert len(notes) == 1 + few
    for line in notes:
        assert f"{line[0].upper()}{line[1:]}." in said
    assert said.count("Fewer than") == few
    units = ["lesions"] if groups else []
    assert read.rows()["class"][: 1 + len(units)] == ["pictures", *units]
    assert read.rows()["1"][: 1 + len(units)] == ["4", *(["2"] if groups else [])]
    # What is not there has nothing to find, and what was taken for it was wrong.
    recall, precision, f1 = read.rows()["10"][1 + len(units) :][:3]
    assert recall == f1 == MISSING
    assert precision.startswith("0.00")


def test_what_chance_gives_is_said_once(whole, parsed):
    labels = load_predictions(whole).labels
    classes = load_predictions(whole).classes
    dummy = DummyClassifier(strategy="most_frequent").fit(labels[:, None], labels)
    always = dummy.predict(labels[:, None])
    said = "".join(parsed.text)
    assert said.count("By chance") == 1
    assert (
        f"By chance: who always says {classes[always[0]]}, the commonest class of the test part, "
        f"has an accuracy of {accuracy_score(labels, always):.3f}, a balanced accuracy of "
        f"1/{len(set(labels.tolist()))} = {balanced_accuracy_score(labels, always):.3f}, and an "
        "MCC and a kappa of 0;"
    ) in said
    assert matthews_corrcoef(labels, always) == cohen_kappa_score(labels, always) == 0


def test_classes_that_are_not_there_have_no_share_in_chance():
    labels = np.repeat([0, 2, 3], [2, 5, 1])
    (said,) = by_chance("abcd", np.bincount(labels).tolist())
    always = np.full(8, 2)
    assert "always says c, " in said
    assert f"an accuracy of {accuracy_score(labels, always):.3f}, " in said
    assert f"of 1/3 = {balanced_accuracy_score(labels, always):.3f}, " in said
    assert [*by_chance("ab", [0, 4])] == []  # nothing to tell apart


def _said(logits, labels, classes=("mel", "nv", "df")):
    logits = np.asarray(logits, np.float32)
    names = tuple(f"picture {n}" for n in range(len(labels)))
    return Predictions(classes, names, names, np.asarray(labels), logits)


def test_the_surest_errors_come_first():
    """Of probabilities that are all 1 too, and of equal ones in the order of the pictures."""
    logits = [[40, 0, 0], [0, 60, 0], [50, 0, 0], [0, 0, 1], [0, 0, 1], [9, 0, 0]]
    found = confident_errors(_said(logits, [1, 0, 2, 0, 1, 0]))  # the last is right
    assert [each.row for each in found] == [1, 2, 0, 3, 4]
    assert [(each.truth, each.predicted) for each in found[:2]] == [("mel", "nv"), ("df", "mel")]
    assert [each.probability for each in found[:3]] == [1, 1, 1]
    assert found[3].probability == pytest.approx(np.e / (2 + np.e))
    assert found[3].of_truth == pytest.approx(1 / (2 + np.e))


def test_the_surest_errors_are_told_and_shown(whole):
    (run,) = read_runs([whole], resamples=5)
    test = _test_part(whole)
    scenes = Scenes(joint.load_run(whole)[1], test, test)
    said = run.predictions
    shares = torch.from_numpy(said.logits).double().softmax(1).numpy()
    wrong = np.flatnonzero(shares.argmax(1) != said.labels)
    expected = wrong[np.argsort(-shares[wrong].max(1))][:8]
    read = _Page(page("page", *errors(run, scenes, Measuring())))
    (rows,) = read.tables
    assert [row[1] for row in rows[1:]] == [said.identifiers[row] for row in expected]
    for row, cells in zip(expected, rows[1:], strict=True):
        truth, guess = said.labels[row], shares[row].argmax()
        assert cells[3:5] == [said.classes[truth], said.classes[guess]]
        assert float(cells[5]) == pytest.approx(shares[row, guess], abs=6e-4)
        assert float(cells[6]) == pytest.approx(shares[row, truth], rel=0.01)
    assert f"Of {len(wrong)} wrong among {len(said.labels)} test pictures" in "".join(read.text)
    assert [image["alt"] for image in read.images] == ["The most confident errors"]
    # Without the scenes, or another data set in their place, the table stands alone.
    for other, why in (
        ("The scenes are not at hand: gone", "gone"),
        (Scenes(scenes.system, test.subset([0]), test), "has no "),
    ):
        alone = _Page(page("page", *errors(run, other, Measuring())))
        assert alone.tables == [rows]
        assert not alone.images
        assert why in "".join(alone.text)


def test_the_picture_of_an_error_is_what_was_judged(whole, monkeypatch):
    """The scene of that name above, with the noise of its name below."""
    drawn = []
    monkeypatch.setattr("joint.report.ranked.draw_picture", lambda axis, shown: drawn.append(shown))
    (run,) = read_runs([whole], resamples=5)
    _, system, parts = joint.load_run(whole)
    [*errors(run, Scenes(system, parts.test, parts.test), Measuring())]
    for place, error in enumerate(confident_errors(run.predictions)[:8]):
        scene, handed = drawn[2 * place : 2 * place + 2]
        same = parts.test[error.row].image / 255
        torch.testing.assert_close(scene, same, atol=1e-6, rtol=0)
        with torch.no_grad():
            logits = system.classifier.eval()(handed[None])[0]
        expected = torch.from_numpy(run.predictions.logits[error.row])
        torch.testing.assert_close(logits, expected, atol=1e-3, rtol=1e-3)


def test_a_run_without_errors_or_classifier_says_so():
    run = SimpleNamespace(predictions=_said(np.eye(3), [0, 1, 2]), report=None)
    with pytest.raises(NotHere, match="No test picture is classified wrongly"):
        [*errors(run, "", Measuring())]
    run.predictions = None
    for part in (errors, thresholds):
        with pytest.raises(NotHere, match="The system has no classifier"):
            [*part(run, "", Measuring())]
    assert curves_of(run) == {}


def test_the_runs_are_ranked_class_by_class(whole):
    (run,) = read_runs([whole], resamples=5)
    said = run.predictions
    fewer = _said(said.logits[:, :2], np.minimum(said.labels, 1), said.classes[:2])
    report = classify.report(fewer.logits, fewer.labels, classes=fewer.classes)
    other = dataclasses.replace(run, name="other", predictions=fewer, report=report)
    mute = dataclasses.replace(run, name="mute", predictions=None, report=None)
    read = _Page(page("page", *comparison([run, other, mute], pixels={}, resamples=5)))
    (rows,) = [rows for rows in read.tables if rows[0][0] == "AUC of each class"]
    assert rows[0][1:] == [run.name, "other"]
    assert [row[0] for row in rows[1:]] == list(said.classes)
    for name, cell, second in rows[1:]:
        number = f"auc.{name}"
        assert cell == with_interval(run.report.number(number), run.report.interval(number))
        known = name in fewer.classes
        assert second == (f"{report.number(number):.3f}" if known else MISSING)
    assert [image["alt"] for image in read.images] == ["ROC curves of the runs, class by class"]


def test_rate_and_fidelity_are_those_of_the_result(whole, parsed):
    test, rows = read_result(whole)["test"], parsed.rows()
    assert rows["rate"] == [f"{test['bpp']:.3f}", "bits/pixel (bytes)"]
    assert rows["files"][0] == f"{test['bpp_bytes']:.3f}"
    assert rows["a picture's file"] == [f"{test['bpp_bytes'] * 32 * 32 / 8:,.0f}", "bytes/picture"]
    assert rows["PSNR against the codec's input"] == [f"{test['psnr']:.2f}", "dB"]
    assert rows["SSIM against the codec's input"] == [f"{test['ssim']:.3f}", "fraction"]
    assert rows["PSNR against the scene"] == [f"{test['psnr_scene']:.2f}", "dB"]
    assert "quality" not in rows  # JPEG says its own among the settings


@pytest.mark.parametrize(
    ("levels", "quality", "told"),
    [(4, None, "1.5 of 0 to 3 (the middle)"), (3, 0.25, "0.25 of 0 to 2"), (1, None, None)],
)
def test_of_several_qualities_the_rate_says_which(levels, quality, told):
    scenes = classify.LesionPhantom(12, 32, seed=1)
    system = joint.ImagingSystem(codec=compress.FactorizedCodec(levels=levels)).eval()
    system.codec.quality = quality
    run = SimpleNamespace(test={"bpp": 1.0})
    found = rate(run, Scenes(system, scenes, scenes), Measuring(resamples=_RESAMPLES))
    text = str(next(found))
    assert ("level of the codec" in text) == (told is not None)
    assert f"<td>{told}</td>" in text or told is None


def test_the_analyses_are_those_of_the_library(whole, parsed):
    _, system, parts = joint.load_run(whole)
    rates = rate_map(system, parts.test, resamples=_RESAMPLES)
    (shown,) = [rows for rows in parsed.tables if "lesion, bits/pixel" in rows[0]]
    assert [row[0] for row in shown[1:]] == [row.name for row in rates.rows if row.pictures]
    for region, bpp, density in zip(
        rates.rows[0].regions, shown[1][2:5], shown[1][5:], strict=True
    ):
        assert bpp == f"{region.bpp:.3f}"
        assert density == with_interval(region.density, region.interval, ".2f")
    assert f"Another {rates.side_bits:,.0f} bits of a picture, such as a header" in "".join(
        parsed.text
    )

    found = measure_contrast(parts.test, system=system, plane="handed")
    assert isinstance(found, Contrast)
    expected = contrast_by_class(
        found.gcnr.numpy(),
        parts.test.targets.numpy(),
        classes=parts.test.classes,
        groups=parts.test.groups,
        resamples=_RESAMPLES,
    )
    gcnr, _ = [rows for rows in parsed.tables if rows[0][-1] == "handed"]
    assert gcnr[0] == ["class", "pictures", "scene", "irradiance", "measurement", "handed"]
    for row, cells in zip(expected.classes, gcnr[1:], strict=True):
        assert (cells[0], cells[-1]) == (row.name, with_interval(row.median, row.interval))

    lost = attribute(system, parts.test, resamples=_RESAMPLES)
    (ladder,) = [rows for rows in parsed.tables if rows[0][0] == "becomes real"]
    assert [row[0] for row in ladder[2:-1]] == [s.stage.replace("_", " ") for s in lost.ladder[1:]]
    assert ladder[-1][3] == with_interval(*lost.lost.accuracy, "+.3f")
    assert ladder[-2][1].partition(" ")[0] == f"{read_result(whole)['test']['accuracy']:.3f}"


def test_the_contrast_of_classes_is_that_of_the_restored_picture():
    class Negative(torch.nn.Module):
        def forward(self, image):
            return 1 - image

    scenes = classify.LesionPhantom(40, 32, seed=1, balance=0.0)
    system = joint.ImagingSystem(restoration=Negative()).eval()
    how = Measuring(resamples=_RESAMPLES)
    found = contrast_of_classes(SimpleNamespace(), Scenes(system, scenes, scenes), how)
    expected = contrast_by_class(
        measure_contrast(scenes, system=system, plane="measurement").weber.numpy(),
        scenes.targets.numpy(),
        classes=scenes.classes,
        measure="weber",
        groups=scenes.groups,
        resamples=_RESAMPLES,
    )
    text = "".join(map(str, found))
    for row in expected.classes:
        assert with_interval(row.median, row.interval) in text


def test_the_reasons_are_those_of_the_library(whole, parsed):
    _, system, parts = joint.load_run(whole)
    test = parts.test
    labels = test.targets.numpy()
    right = joint.evaluate(system, test).logits.argmax(1) == labels
    effect = correctness_against_contrast(
        measure_contrast(test).delta_e.numpy(),
        labels,
        right,
        classes=test.classes,
        groups=test.groups,
        resamples=_RESAMPLES,
    )
    (slopes,) = [rows for rows in parsed.tables if rows[0][0] == "being right on"]
    assert [row[0] for row in slopes[1:]] == ["gCNR", "ΔE"]
    assert slopes[2][1] == with_interval(*effect.ignoring_class, "+.3f")
    assert slopes[2][2] == with_interval(*effect.within_class, "+.3f")
    (strata,) = [rows for rows in parsed.tables if "highest - lowest" in rows[0]]
    assert [row[0] for row in strata[1:]] == [*test.classes, "matched"]

    (rings,) = [rows for rows in parsed.tables if "power, handed / scene" in rows[0]]
    found = kept({"whole": system}, test, resamples=_RESAMPLES).systems[0]
    for row, annulus in zip(rings[1:], found.annuli, strict=True):
        assert row[1] == with_interval(annulus.power, annulus.power_interval)
    (planes,) = [rows for rows in parsed.tables if rows[0][0] == "plane"]
    assert [row[0] for row in planes[1:]] == ["scene", "measurement", "handed"]
    first = information(system, test, planes=("scene",), resamples=_RESAMPLES)[0]
    assert planes[1][1] == with_interval(first.observer.auc, first.observer.interval)
    assert "The optimal image of each class" in str([image["alt"] for image in parsed.images])


def test_scenes_of_a_linear_system_are_measured_as_light():
    scenes = classify.LesionPhantom(60, 32, seed=1, balance=1.0, encoding="linear")
    torch.manual_seed(0)
    classifier = classify.backbone("resnet_s", 7, image_size=32)
    system = joint.ImagingSystem(classifier=classifier, encoding="linear").eval()
    found = contrast_decides(
        SimpleNamespace(report=True),
        Scenes(system, scenes, scenes),
        Measuring(quick=True, resamples=_RESAMPLES),
    )
    effect = correctness_against_contrast(
        measure_contrast(scenes, system=joint.ImagingSystem(encoding="linear")).delta_e.numpy(),
        scenes.labels.numpy(),
        joint.evaluate(system, scenes).logits.argmax(1) == scenes.labels.numpy(),
        classes=scenes.classes,
        groups=scenes.groups,
        resamples=_RESAMPLES,
    )
    assert with_interval(*effect.within_class, "+.3f") in "".join(map(str, found))


def test_whether_the_contrast_of_grey_scenes_decides_is_asked_without_colours():
    scenes = classify.LesionPhantom(60, 32, seed=1, balance=1.0, wavelengths=(550e-9,))
    torch.manual_seed(0)
    classifier = classify.backbone("resnet_s", 7, image_size=32, in_channels=1)
    system = joint.ImagingSystem(classifier=classifier).eval()
    how = Measuring(quick=False, resamples=_RESAMPLES)
    found = contrast_decides(SimpleNamespace(report=True), Scenes(system, scenes, scenes), how)
    said = "".join(map(str, found))
    effect = correctness_against_contrast(
        measure_contrast(scenes).weber.numpy(),
        scenes.labels.numpy(),
        joint.evaluate(system, scenes).logits.argmax(1) == scenes.labels.numpy(),
        classes=scenes.classes,
        groups=scenes.groups,
        resamples=_RESAMPLES,
    )
    assert "Weber contrast" in said
    assert with_interval(*effect.within_class, "+.3f") in said
    assert "ΔE" not in said
    assert "Recall of each class against the contrast at which its lesions are shown" in said


def test_the_run_is_described(whole, parsed):
    rows = parsed.rows()
    assert rows["scenes"][0].startswith("140 procedural lesions of 32 × 32 pixels")
    assert rows["codec"] == ["jpeg, quality 75, subsampling 4:2:0"]
    assert rows["came to"] == ["1 epochs, the best is 1"]
    (recorded,) = json.loads((whole / "environment.json").read_text())
    assert rows["threads"] == [str(recorded["threads"])]
    assert rows["commit"] == [recorded["commit"] or number(None)]
    assert rows["deterministic"] == ["no"]


@pytest.mark.filterwarnings("ignore:This PSF is not that of the element")  # of the training too
def test_an_element_that_is_cut_off_is_spoken_of(tmp_path, undrawn):
    options = [
        *("--front-end", "lens", "--codec", "none", "--classifier", "none"),
        *("--objective.task", 0, "--objective.restoration", 1, "--training.monitor", "psnr_scene"),
        *("--system.front-end.element", "cubic", "--system.front-end.restoration", 0.05),
    ]
    narrow = _train(tmp_path / "narrow", *options, "--system.front-end.strength", 6)
    read = _Page(report_html([narrow], quick=True, resamples=_RESAMPLES))
    shown = [image["alt"] for image in read.images]
    assert "Contrast of the lens at the sensor and through focus" in shown
    said = "".join(read.text)
    assert "With several places or wavelengths, also the best focus of each." in said
    assert "the picture that the sensor gives, restored, and what" in said
    assert "what is left is not in the MTF" in said
    assert "% of the light falls outside of the window of 31 x 31 pixels" in said
    assert "where a pupil of 96 x 96 samples is too coarse" in said
    wide = _train(tmp_path / "wide", *options, "--system.front-end.strength", 1)
    said = "".join(_Page(report_html([wide], quick=True, resamples=_RESAMPLES)).text)
    assert "of the window of" not in said


@pytest.mark.filterwarnings("error")
def test_light_that_is_lost_at_a_working_distance_is_told_by_the_page_alone(undrawn):
    config = joint.LensConfig(focus=0.3, working_distances=(0.12, 0.3))
    scenes = classify.LesionPhantom(4, 32, progress=False)
    system = joint.ImagingSystem(front_end=joint.build_front_end(config, (32, 32), 3)).eval()
    found = element(SimpleNamespace(), Scenes(system, scenes, scenes), Measuring())
    page = _Page("".join(map(str, found)))
    assert "% of the light falls outside of the window of 31 x 31" in "".join(page.text)
    with pytest.warns(UserWarning, match=r"At 0\.12 m this PSF"):
        near = joint.evaluate(system, scenes, distance=0.12)
    assert page.rows()["0.12"] == ["-", f"{near.psnr_scene:.2f}"]


def test_a_quick_report_and_a_smaller_sample_say_what_they_are(whole, undrawn):
    read = _Page(report_html([whole], quick=True, pictures=9, resamples=_RESAMPLES))
    said = "".join(read.text)
    assert said.count("Left out: optimal images, information about the class, where accura") == 1
    assert "Robustness" not in said
    assert "Rate by region of 9 pictures" in said
    assert "medians of 9 pictures" in said
    # The predictions are those of all of the test part.
    count = read_result(whole)["test"]["count"]
    assert read.rows()["test part"] == [f"{count} pictures"]


def test_a_report_of_several_runs_tells_of_every_step(whole, lens, capsys, undrawn):
    how = {"quick": True, "pictures": 2, "resamples": _RESAMPLES}
    report_html([whole, lens], progress=True, **how)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert [line.split(":")[0] for line in lines] == [f"report {n}/30" for n in range(1, 31)]
    assert lines[1] == f"report 2/30: {whole.name}: the scenes"
    assert lines[-2] == f"report 29/30: {lens.name}: What a picture costs"
    assert lines[-1] == "report 30/30: the comparison of the runs"
    report_html([whole], **how)
    assert capsys.readouterr() == ("", "")


# -------------------------------------------------------------------------------- missing stages


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        (
            ["front_end", "sensor", "codec"],
            [
                "The system has no front end: the sensor sees the scene.",
                "The system has no codec, and without one there are no bits.",
                "There is no stage before the classifier that could lose anything.",
            ],
        ),
        (["classifier"], ["The system has no classifier."]),
    ],
)
def test_a_part_that_does_not_apply_says_why(stages, said, tmp_path):
    options = [word for stage in stages for word in (f"--{stage.replace('_', '-')}", "none")]
    codec = [] if "codec" in stages else ["--codec", "png"]
    folder = _train(tmp_path / "run", *codec, *options)
    read = _Page(report_html([folder], resamples=_RESAMPLES))
    assert read.headings[1:] == [*SECTIONS]
    for line in said:
        assert line in "".join(read.text)
    if "classifier" in stages:
        assert "No rate by region: PNG" in "".join(read.text)
    kept = read_result(folder)["test"]["psnr_scene"]
    shown = read.rows().get("PSNR against the scene")
    assert shown == (None if kept is None else [f"{kept:.2f}", "dB"])


def test_without_a_codec_the_fidelity_to_the_scene_is_told():
    run = SimpleNamespace(test={"psnr_scene": 23.456})
    page = _Page("".join(rate(run, "gone", Measuring(True, 1, 10, 1, "cpu"))))
    assert page.rows()["PSNR against the scene"] == ["23.46", "dB"]
    assert "without one there are no bits" in "".join(page.text)


def test_scenes_that_are_gone_leave_what_the_folder_says(whole, tmp_path):
    folder = tmp_path / "copied"
    shutil.copytree(whole, folder)
    config = json.loads((folder / "config.json").read_text())
    config["data"] = {"kind": "ham10000", "root": str(tmp_path / "person" / "gone.zip")}
    (folder / "config.json").write_text(json.dumps(config))
    text = report_html([folder], resamples=_RESAMPLES)
    assert text.count("The scenes are not at hand: ") == len(SECTIONS) - 4
    assert "balanced accuracy" in _Page(text).rows()
    # Folders may name persons: the configuration names the file alone.
    read = _Page(text)
    assert '"root": "gone.zip"' in "".join(read.text)


def test_without_masks_there_is_no_region(tmp_path):
    generator = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for k in range(20):
            pixels = generator.integers(0, 255, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pets" / name / f"{k}.png")
    run = ["train", "--output", tmp_path / "run", "--quiet", "--data", tmp_path / "pets"]
    tiny = ["--data.image-size", "32", "--training.epochs", "1", "--codec", "jpeg"]
    assert main([str(word) for word in (*run, *tiny)]) == 0
    said = "".join(_Page(report_html([tmp_path / "run"], quick=True, resamples=9)).text)
    assert "The data set has no lesion masks." in said
    assert re.search(r"No rate by region: none of the \d+ pictures has a mask", said)


# ----------------------------------------------------------------------------------- comparisons


def test_runs_are_compared_on_their_common_pictures(whole, lens, undrawn):
    read = _Page(report_html([whole, lens], quick=True, resamples=_RESAMPLES))
    assert read.headings[:3] == ["lens2label: 2 runs side by side", "Comparison", "whole"]
    assert {link.removeprefix("#") for link in read.links} == read.anchors
    first, second = load_predictions(lens), load_predictions(whole)
    assert first.identifiers == second.identifiers
    (rows,) = [rows for rows in read.tables if rows[0][0] == "runs"]
    names = {"negative log-likelihood, nats": "nll", "AUC": "auc", "macro F1": "macro_f1"}
    assert len(rows) == 6
    holms = classify.comparison.holm([float(row[4]) for row in rows[1:]])
    for (pair, metric, count, difference, p, of_all, shown), adjusted in zip(
        rows[1:], holms, strict=True
    ):
        expected = classify.bootstrap_difference(
            first.logits,
            second.logits,
            labels=first.labels,
            groups=first.groups,
            metric=names.get(metric, metric.replace(" ", "_")),
            resamples=_RESAMPLES,
        )
        assert (pair, count) == ("lens − whole", str(len(first.labels)))
        assert difference == with_interval(expected.difference, expected.interval, "+.3f")
        assert p == f"{expected.p:.3g}"
        assert float(of_all) == pytest.approx(adjusted, rel=0.01)
        assert ("better" in shown) == (adjusted <= 0.05)
    (single,) = [rows for rows in read.tables if rows[0][0] == "test part of each run"]
    results = [read_result(run)["test"] for run in (whole, lens)]
    assert [
        "PSNR against the codec's input, dB",
        *(f"{test['psnr']:.2f}" for test in results),
    ] in single
    assert ["rate, bits/picture", *(f"{32 * 32 * test['bpp']:,.0f}" for test in results)] in single
    files = [f"{32 * 32 * test['bpp_bytes'] / 8:,.0f}" for test in results]
    assert ["files, bytes/picture", *files] in single
    assert "Bits/pixel are not to be compared" not in "".join(read.text)


def test_bits_of_other_pixels_are_compared_by_the_picture(whole):
    """A packed mosaic has a quarter of the pixels."""
    (run,) = read_runs([whole])
    test = {**run.test, "bpp": 2.0, "bpp_bytes": 2.125}
    packed = dataclasses.replace(run, name="packed", result={**run.result, "test": test})
    pixels = {"whole": 1024, "packed": 256}
    read = _Page(page("page", *comparison([run, packed], pixels=pixels, resamples=_RESAMPLES)))
    rows = read.rows()
    assert rows["rate, bits/pixel"][1] == "2.000"
    assert rows["rate, bits/picture"] == [f"{1024 * run.test['bpp']:,.0f}", "512"]
    assert rows["files, bytes/picture"] == [f"{1024 * run.test['bpp_bytes'] / 8:,.0f}", "68"]
    said = "".join(read.text)
    assert "Bits/pixel are not to be compared: " in said
    assert "a picture has 1,024 of whole, 256 of packed." in said
    known = {"packed": 256}  # as where the scenes of the other are gone
    page_of = page("page", *comparison([run, packed], pixels=known, resamples=_RESAMPLES))
    assert _Page(page_of).rows()["rate, bits/picture"] == [MISSING, "512"]


class _Twice(torch.nn.Module):
    """A restoration that says nothing of the size of what it makes."""

    def forward(self, picture):
        return picture.repeat_interleave(2, -1).repeat_interleave(2, -2)


@pytest.mark.parametrize(
    ("stages", "pixels"),
    [
        ({}, 24 * 24),
        ({"sensor": optics.Sensor(cfa="rggb", demosaicing="packed")}, 12 * 12),
        ({"sensor": optics.Sensor(binning=3)}, 8 * 8),
        ({"restoration": _Twice()}, 48 * 48),
    ],
)
def test_the_pixels_of_the_codec_are_counted(stages, pixels):
    scenes = classify.LesionPhantom(2, 24, seed=1)
    system = joint.ImagingSystem(**stages, classifier=_Grey())
    assert coded_pixels(Scenes(system, scenes, scenes)) == pixels


@pytest.mark.parametrize(
    ("metric", "interval", "expected"),
    [
        ("accuracy", (0.01, 0.2), "a is better"),
        ("accuracy", (-0.2, -0.01), "b is better"),
        ("accuracy", (-0.01, 0.2), "not shown to differ"),
        ("accuracy", (0.0, 0.2), "not shown to differ"),
        ("accuracy", (-0.2, 0.0), "not shown to differ"),
        ("accuracy", (float("nan"), float("nan")), "not shown to differ"),
        ("nll", (0.01, 0.2), "b is better"),
        ("brier", (-0.2, -0.01), "a is better"),
    ],
)
def test_better_is_what_an_interval_without_zero_says(metric, interval, expected):
    difference = classify.Difference(
        metric=metric, first=0.0, second=0.0, difference=0.0, interval=classify.Interval(*interval),
        level=0.95, p=0.5, resamples=10, count=10, unit="lesions",
    )  # fmt: skip
    assert verdict(difference, "a", "b") == expected
    assert verdict(difference, "a", "b", adjusted_p=0.05) == expected
    among = verdict(difference, "a", "b", adjusted_p=0.051)
    assert among.startswith("not shown to differ")


def test_only_equal_pictures_are_paired(whole):
    saved = load_predictions(whole)
    turned = dataclasses.replace(
        saved,
        identifiers=(*saved.identifiers[:0:-1], "another"),
        groups=(*saved.groups[:0:-1], "another"),
        labels=np.append(saved.labels[:0:-1], 0),
        logits=np.append(saved.logits[:0:-1], saved.logits[:1], 0),
    )
    rows = common_pictures(saved, turned)
    assert rows.first == [*range(1, len(saved.labels))]
    assert [turned.identifiers[k] for k in rows.second] == [*saved.identifiers[1:]]
    # The same scores of the same pictures, in another order: nothing differs.
    count, compared = compare_runs(saved, turned, resamples=9)
    assert (count, [each.metric for each in compared]) == (len(rows.first), [*PAIRED])
    assert {each.found.difference for each in compared if each.found} == {0.0}
    changed = [
        (
            dataclasses.replace(saved, classes=("x", *saved.classes[1:])),
            "other classes apart: akiec",
        ),
        (
            dataclasses.replace(saved, identifiers=("n",) * len(saved.groups)),
            "no picture in common",
        ),
        (dataclasses.replace(saved, labels=(saved.labels + 1) % 7), "disagree on the label or the"),
        (dataclasses.replace(saved, groups=("l",) * len(saved.groups)), "disagree on the label or"),
    ]
    for other, message in changed:
        with pytest.raises(ValueError, match=message):
            common_pictures(saved, other)


def test_runs_with_other_sensors_say_so(whole):
    (run,) = read_runs([whole])
    sensor = run.config.system.sensor.model_copy(update={"photons": 50.0, "black_level": 4.0})
    system = run.config.system.model_copy(update={"sensor": sensor})
    dim = dataclasses.replace(
        run, name="dim", config=run.config.model_copy(update={"system": system})
    )
    said = "".join(map(str, comparison([run, dim], pixels={}, resamples=_RESAMPLES)))
    photons = run.config.system.sensor.photons
    assert f"dim and whole are judged each by its own sensor: photons 50.0 and {photons}; " in said
    assert "black level 4.0 and 0" in said
    assert "own sensor" not in "".join(
        map(str, comparison([run, run], pixels={}, resamples=_RESAMPLES))
    )


def _on(run, name, digest=None, **settings):
    """The same run, as if its scenes had been others."""
    data = run.config.data.model_copy(update=settings)
    result = run.result if digest is None else {**run.result, "scenes": {"test": digest}}
    config = run.config.model_copy(update={"data": data})
    return dataclasses.replace(run, name=name, config=config, result=result)


def test_runs_on_other_scenes_say_so(whole):
    """Their pictures have the same names, labels and lesions."""
    (run,) = read_runs([whole])

    def said(*runs):
        return "".join(map(str, comparison(runs, pixels={}, resamples=_RESAMPLES)))

    dark = said(run, _on(run, "dark", "another", skin="dark", blur=1e-4))
    assert "dark and whole are judged each on scenes of its own: skin dark and light; blur" in dark
    assert "dark − whole" in dark  # two sizes may be compared, say
    files = said(run, _on(run, "files", "another"))
    assert "judged each on scenes of its own: what their files hold. Their data sets are" in files
    # Equal pictures, whatever made them.
    for alike in (run, _on(run, "told", difficulty=0.1)):
        assert "scenes of its own" not in said(run, alike)
    # How many there are, or what else is known of them, changes no picture of a name; but digests
    # are of whole data sets.
    assert "scenes of its own" not in said(run, _on(run, "fewer", "another", count=40))
    tables = [
        dataclasses.replace(
            _on(run, "table", digest),
            config=run.config.model_copy(
                update={"data": joint.ImageTableConfig(table="labels.csv", label=label)}
            ),
        )
        for digest, label in (("a", "first"), ("b", "second"), ("c", "second"))
    ]
    assert "scenes of its own" not in said(*tables[:2])
    assert "what their files hold" in said(*tables[1:])
    nothing = dataclasses.replace(run, result={**run.result, "scenes": None})
    assert "scenes of its own" not in said(run, nothing)
    # Older runs kept no digest, and where their files lay is not what they are.
    older = dataclasses.replace(run, result={"test": run.test})
    assert "own: difficulty 0.1 and 0.5." in said(older, _on(older, "hard", difficulty=0.1))
    assert "scenes of its own" not in said(older, older)
    folders = [
        dataclasses.replace(
            older, config=run.config.model_copy(update={"data": joint.HAM10000Config(**settings)})
        )
        for settings in ({"root": "a"}, {"root": "b", "limit": 5}, {"root": "b", "image_size": 64})
    ]
    assert "scenes of its own" not in said(*folders[:2])
    assert "own: image size 64 and 128." in said(folders[0], folders[2])


def test_runs_that_cannot_be_paired_are_still_shown(whole, tmp_path, undrawn):
    other = _train(tmp_path / "whole", "--codec", "jpeg", "--data.seed", "5")
    read = _Page(report_html([whole, other], quick=True, resamples=_RESAMPLES))
    said = "".join(read.text)
    assert "cannot be compared in pairs: their test parts have no picture in common." in said
    assert "better" not in said
    # Two folders of one name are told apart by their paths.
    assert {str(whole), str(other)} <= set(read.headings)


# ---------------------------------------------------------------------------------------- refusals


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
        (lambda f: (f / "environment.json").write_text("3"), "it is no list of environments"),
        (lambda f: _other_accuracy(f), "they are not of one run"),
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


def test_a_missing_environment_or_history_is_said(whole, tmp_path, undrawn):
    folder = tmp_path / "bare"
    shutil.copytree(whole, folder)
    (folder / "environment.json").unlink()
    (folder / "history.jsonl").unlink()
    said = "".join(_Page(report_html([folder], quick=True, resamples=9)).text)
    assert "Nothing says where it ran: environment.json is missing." in said
    assert "history.jsonl is missing or empty." in said


# ----------------------------------------------------------------------------- figures and words

_HISTORY = [
    {"epoch": 0, "train": {"total": 2.0}, "validation": {"loss_total": 3.0, "bpp": None}},
    {"epoch": 1, "train": {"total": 1.0}, "validation": {"loss_total": 2.5, "auc": 0.7},
     "gradient_norms": {"codec": 0.5, "classifier": None}},
]  # fmt: skip


def test_the_curves_are_the_lines_of_the_history():
    figure = history_figure(_HISTORY, best=1, monitor="auc")
    loss, judged, norms = [axis for axis in figure.axes if axis.axison]
    training, validation, best = loss.get_lines()
    assert training.get_xydata().tolist() == [[1, 2.0], [2, 1.0]]
    assert validation.get_xydata().tolist() == [[1, 3.0], [2, 2.5]]
    assert best.get_xdata()[0] == 2
    assert judged.get_lines()[0].get_label() == "auc"
    assert [line.get_label() for line in norms.get_lines()] == ["codec", "best epoch"]
    assert norms.get_yscale() == "linear"


def test_every_stage_has_its_line_and_no_legend_lies_on_lines():
    stages = [f"stage_{n}" for n in range(9)]
    history = [
        {**record, "gradient_norms": {name: n + 1.0 for n, name in enumerate(stages)}}
        for record in _HISTORY
    ]
    figure = history_figure(history, best=None, monitor="auc")
    figure.canvas.draw()
    norms = figure.axes[2]
    assert [line.get_label() for line in norms.get_lines()] == [f"stage {n}" for n in range(9)]
    assert len({line.get_color() for line in norms.get_lines()}) == 9
    for axis in figure.axes[:3]:
        box = axis.get_legend().get_window_extent()
        assert box.y0 >= axis.get_window_extent().y1
        assert box.y1 <= figure.bbox.y1


def test_norms_over_more_than_a_decade_have_a_logarithmic_axis():
    history = [
        {**record, "gradient_norms": {"codec": norm, "classifier": 0.0}}
        for record, norm in zip(_HISTORY, (0.02, 0.5), strict=True)
    ]
    norms = history_figure(history, best=1, monitor="auc").axes[2]
    assert norms.get_yscale() == "log"


def test_a_run_of_one_epoch_has_one_tick():
    figure = history_figure(_HISTORY[:1], best=0, monitor="loss")
    for axis in figure.axes:
        low, high = axis.get_xlim()
        assert [tick for tick in axis.get_xticks() if low <= tick <= high] == [1]


def _curves(front_end):
    _, (figure, *_) = element_figures(front_end)
    (axis,) = figure.axes
    return axis


def _diffraction(nu, cutoff):
    """MTF of a circular pupil: Goodman, Introduction to Fourier Optics, eq. 6-31."""
    nu = np.clip(nu / cutoff, 0, 1)
    return 2 / np.pi * (np.arccos(nu) - nu * np.sqrt(1 - nu**2))


def test_the_transfer_of_a_lens_is_its_mtf():
    pupil = optics.Pupil(
        [], wavelengths=[500e-9], focal_length=20e-3, pixel_pitch=1.5e-6, psf_size=101, size=128,
        spacing=2.5e-3 / 127,
    )  # fmt: skip
    axis = _curves(optics.IncoherentImaging(pupil))
    cutoff = 2.5e-3 / (500e-9 * 20e-3) * 1.5e-6
    assert axis.get_ylabel() == "MTF"
    for line in axis.get_lines():
        nu, found = line.get_xydata().T
        assert np.abs(found - _diffraction(nu, cutoff)).max() < 0.01  # 128 samples across


def test_the_transfer_of_a_lens_beyond_the_pixels_is_not_folded():
    """Of an engineer's f/2 on 7.2 um, whose folded PSF had 0.92 at Nyquist for 0.56."""
    config = joint.LensConfig(f_number=2, pixel_pitch=7.2e-6, oversample=9, psf_size=11)
    lens = joint.build_front_end(config, (16, 16), 1)
    axis = _curves(lens)
    nu, found = axis.get_lines()[0].get_xydata().T
    expected = _diffraction(nu, 7.2e-6 / (540e-9 * 2)) * np.sinc(nu)
    assert nu[-1] == 0.5
    assert np.abs(found - expected).max() < 0.01  # of 96 samples across
    _, (*_, said) = element_figures(lens)
    assert "with the area of the pixels (oversample=9)" in said


def test_the_transfer_of_a_broad_channel_is_that_of_its_light():
    """Transfer functions add up as the light does: at their centres, an open lens turns none."""
    bands, share = (450e-9, 650e-9), (0.75, 0.25)
    config = joint.LensConfig(
        f_number=4, pixel_pitch=3.45e-6, oversample=3, psf_size=15,
        wavelengths=bands, spectral_response=(0.5 * share[0], 0.5 * share[1]),
    )  # fmt: skip
    axis = _curves(joint.build_front_end(config, (16, 16), 1))
    nu, found = axis.get_lines()[0].get_xydata().T
    each = [_diffraction(nu, 3.45e-6 / (band * 4)) for band in bands]
    expected = np.sinc(nu) * np.average(each, axis=0, weights=share)
    assert np.abs(found - expected).max() < 0.01  # of 96 samples across


def test_the_transfer_of_a_kernel_and_a_filter():
    axis = _curves(optics.LearnedKernel("identity"))
    kernel = optics.LearnedKernel("identity").response[0, 0, 0].detach().numpy()
    line = axis.get_lines()[0].get_xydata()
    assert line[0, 1] == pytest.approx(abs(kernel.sum()), abs=1e-5)
    middle = len(line) // 2
    phase = np.exp(-2j * np.pi * line[middle, 0] * np.arange(7))
    assert line[middle, 1] == pytest.approx(abs((kernel.sum(0) * phase).sum()), abs=1e-5)

    filter_ = optics.FourierFilter(16, "low_pass")
    axis = _curves(filter_)
    size = filter_.grid_size[0]
    transmission = filter_.transmission.detach().abs()[size // 2, size // 2 :]
    assert np.allclose(axis.get_lines()[0].get_ydata(), transmission)
    assert _curves(optics.FourierFilter(16, illumination="incoherent")).get_ylabel() == "MTF"


def test_a_lens_with_a_psf_a_place_is_drawn_with_its_middle_and_a_corner():
    generator = torch.Generator().manual_seed(0)
    psfs = torch.rand(4, 5, 3, 9, 9, generator=generator) / 81
    front_end = optics.VaryingImaging(psfs, rank=2)
    (sheets, _, said), (figure, _, of) = element_figures(front_end)
    assert "each channel at 3 × 3 of 4 × 5 places, as they lie from border to border" in said
    assert "of the middle channel, at the place nearest to the middle and in a corner" in of
    shown = [axis.images[0].get_array() for axis in sheets.axes[:-1]]
    assert len(shown) == 3
    np.testing.assert_allclose(shown[2][-9:, -9:], psfs[-1, -1, 2], rtol=1e-6)
    lines = {line.get_label(): line.get_xydata() for line in figure.axes[0].get_lines()}
    assert [*lines] == [f"{at}, along {axis}" for at in ("middle", "corner") for axis in "xy"]
    for at, psf in (("middle", psfs[2, 2, 1].numpy()), ("corner", psfs[-1, -1, 1].numpy())):
        for axis, along in (("x", 0), ("y", 1)):
            spread = psf.sum(along)  # a line-spread function
            frequency, values = lines[f"{at}, along {axis}"].T
            phases = np.exp(-2j * np.pi * frequency[:, None] * np.arange(9))
            np.testing.assert_allclose(values, abs(phases @ spread) / psf.sum(), atol=1e-5)
    _, (alone, *_) = element_figures(optics.VaryingImaging(psfs[:1, :1], rank=1))
    assert [line.get_label() for line in alone.axes[0].get_lines()] == ["along x", "along y"]


def test_a_lens_that_curves_its_field_is_drawn_unfolded_at_both_places():
    """In the middle it is the plain lens, and in a corner the lens out of focus."""
    config = joint.LensConfig(psf_size=15, oversample=3)
    off_axis = {"field_curvature": 0.5, "places": (5, 5), "rank": 25}
    curved = joint.LensConfig(psf_size=15, oversample=3, off_axis=off_axis)
    lines = _curves(joint.build_front_end(curved, (16, 16), 3)).get_lines()
    for (x, y), waves in ((lines[:2], 0.0), (lines[2:], -0.5)):
        at = config.model_copy(update={"defocus": waves})
        green = _curves(joint.build_front_end(at, (16, 16), 3)).get_lines()[2:4]
        for line, expected in zip((x, y), green, strict=True):
            # Zernike terms on one side, a parabola on the other.
            np.testing.assert_allclose(line.get_ydata(), expected.get_ydata(), atol=1e-4)


def test_a_psf_of_a_file_has_no_pupil_to_speak_of():
    camera = joint.build_front_end(joint.PSFConfig(throughput=0.5), (16, 16), 3)
    (figure, _, caption), _ = element_figures(camera)
    assert caption.startswith("Point-spread function of each channel; shades")
    assert figure.get_suptitle() == "PSF, throughput 0.50"
    assert len(figure.axes) == 4  # a colour bar of all three


_RED, _GREEN, _BLUE = COLOURS[1], COLOURS[2], COLOURS[0]


@pytest.mark.parametrize(
    ("nanometres", "names", "colours"),
    [
        (None, ["red", "green", "blue"], [_RED, _GREEN, _BLUE]),
        ((610, 550, 460), ["red", "green", "blue"], [_RED, _GREEN, _BLUE]),
        ((450, 550, 650), ["450 nm", "550 nm", "650 nm"], [_BLUE, _GREEN, _RED]),
        ((550, 450, 650), ["550 nm", "450 nm", "650 nm"], [_GREEN, _BLUE, _RED]),
        ((900, 850, 800), ["900 nm", "850 nm", "800 nm"], [_RED, _GREEN, _BLUE]),
    ],
)
def test_three_bands_are_colours_where_they_are_those_of_a_camera(nanometres, names, colours):
    waves = nanometres and tuple(1e-9 * each for each in nanometres)
    lens = joint.build_front_end(joint.LensConfig(wavelengths=waves, psf_size=9), (16, 16), 3)
    (spots, *_), (curves, *_) = element_figures(lens)
    assert [axis.get_title() for axis in spots.axes[1:4]] == [f"PSF, {name}" for name in names]
    lines = curves.axes[0].get_lines()[::2]
    assert [line.get_label() for line in lines] == [f"{name}, along x" for name in names]
    assert [line.get_color() for line in lines] == colours


@pytest.mark.parametrize(
    ("kernel", "first", "last", "count"),
    [
        ({"start": "log", "channels": 1}, "", "", 1),
        ({"start": "log"}, "red", "blue", 3),
        ({"start": "sobel", "channels": 1}, "filter 0", "filter 1", 2),
        ({"start": "sobel", "channels": 4}, "filter 0, 0", "filter 1, 3", 8),
        ({"start": "gabor"}, "filter 0, red", "filter 3, blue", 12),
        ({"start": "sobel", "mix_channels": True}, "filter 0, red to red", "filter 1, blue to red",
         12),
    ],
)  # fmt: skip
def test_every_kernel_that_is_shown_is_named_alike(kernel, first, last, count):
    front_end = optics.LearnedKernel(**kernel)
    (kernels, *_), (curves, *_) = element_figures(front_end)
    titles = [axis.get_title().replace("\n", ", ") for axis in kernels.axes if axis.images]
    assert (titles[0], titles[-1], len(titles)) == (first, last, count)
    lines = curves.axes[0].get_lines()[::2]
    assert [line.get_label() for line in lines] == [
        f"{t}, along x" if t else "along x" for t in titles
    ]
    assert len({line.get_color() for line in lines}) == count
    every = front_end.response.shape[:3].numel()
    said = f"({count} of {every} shown)"
    assert (said in kernels.get_suptitle()) == (every > count)
    # What is drawn under a name is what the element does.
    drawn = kernels.axes[count - 1].images[0].get_array()
    np.testing.assert_array_equal(drawn, front_end.response.flatten(0, 2)[count - 1].detach())


def test_point_spread_functions_of_a_row_have_one_scale_and_say_it():
    config = joint.LensConfig(focus=0.3, working_distances=(0.28, 0.3, 0.4))
    lens = joint.build_front_end(config, (16, 16), 3)
    spots, depths, _ = (figure for figure, *_ in element_figures(lens))
    for figure, psf in (
        (spots, lens.psf()),
        (depths, lens.psf(distance=lens.working_distances)[:, 1]),
    ):
        shown = [axis for axis in figure.axes if axis.get_title().startswith("PSF")]
        assert len(shown) == 3
        assert figure.axes[-1].get_ylabel() == "fraction of the light"
        for axis in shown:
            assert axis.images[0].get_clim() == (0, pytest.approx(float(psf.max())))


def test_a_lens_that_varies_with_place_and_distance_is_drawn_at_both():
    config = joint.LensConfig(
        focus=0.3,
        working_distances=(0.28, 0.4),
        off_axis={"field_curvature": 0.5, "places": (3, 3), "rank": 9},
    )
    lens = joint.build_front_end(config, (16, 16), 3)
    (_, _, said), (depths, of, _), _ = element_figures(lens)
    assert "of each channel in focus at 3 × 3 places" in said
    assert of == "Point-spread functions at the working distances"
    shown = [axis for axis in depths.axes if axis.get_title().startswith("PSF, 0.")]
    for axis, distance in zip(shown, (0.28, 0.4), strict=True):
        middle = lens.psf(distance=distance).detach()[1, 1, 1].numpy()
        sheet = np.asarray(axis.images[0].get_array())
        side, gap = len(middle), (len(sheet) - 3 * len(middle)) // 2
        inside = slice(side + gap, 2 * side + gap)
        np.testing.assert_allclose(sheet[inside, inside], middle.clip(0), rtol=1e-5, atol=1e-9)


def test_figures_of_one_element_show_different_things():
    config = joint.LensConfig(working_distances=(0.28, 0.4))
    shutter = optics.CodedExposure(lens=joint.build_front_end(config, (16, 16), 3))
    for front_end in (optics.LearnedKernel("log"), shutter.lens, shutter):
        shown = [shows for _, shows, _ in element_figures(front_end)]
        assert len(set(shown)) == len(shown) > 1


@pytest.mark.parametrize(
    ("light", "levels"),
    [
        ({"photons": 320.0}, (20.0, 80.0, 320.0)),
        ({"photons": 300.0, "photon_range": (30.0, 3000.0)}, (30.0, 2970 / np.log(100), 3000.0)),
    ],
)
def test_light_is_swept_around_that_of_the_camera(light, levels):
    sensor = optics.Sensor(**light)
    system = joint.ImagingSystem(sensor=sensor)
    found = small_sweeps(system, 3)["photons"]
    assert found == pytest.approx(levels)
    assert sensor.mean_photons in found


def test_an_element_that_is_not_known_is_not_drawn():
    pupil = optics.Pupil(
        [], wavelengths=[500e-9], focal_length=20e-3, pixel_pitch=1.5e-6, psf_size=31, size=32,
        spacing=2.5e-3 / 31,
    )  # fmt: skip
    assert [*element_figures(optics.CoherentImaging(pupil))] == []


@pytest.mark.parametrize(
    ("system", "part", "words"),
    [
        (
            {"front_end": joint.KernelConfig(signed=False)},
            "front end",
            "7 × 7 pixels, one exposure;",
        ),
        (
            {"front_end": joint.FourierConfig(start="spiral")},
            "front end",
            "coherent light; training",
        ),
        (
            {"front_end": joint.LensConfig(defocus=0.5)},
            "front end",
            "20 mm at f/8, pixels of 3.5 µm, no element in the pupil, 0.5 waves of defocus "
            "at the rim",
        ),
        (
            {"front_end": joint.LensConfig(obscuration=0.35)},
            "front end",
            "20 mm at f/8, a central stop of 35 % of its diameter, pixels of 3.5 µm",
        ),
        (
            {"front_end": joint.LensConfig(element="cubic", strength=2, restoration=0.05)},
            "front end",
            "cubic element in the pupil (strength 2 waves before training), 0 waves of defocus "
            "at the rim, its blur undone after the sensor (noise to signal 0.05 before training)",
        ),
        (
            {
                "front_end": joint.LensConfig(
                    defocus=-0.3, astigmatism=0.1, coma=-0.07, spherical=0.05, zernike={9: 0.02}
                )
            },
            "front end",
            "-0.3 waves of defocus at the rim, 0.1 waves RMS of astigmatism (Noll 6), -0.07 waves "
            "RMS of coma (Noll 8), 0.05 waves RMS of spherical aberration (Noll 11), 0.02 waves "
            "RMS of Zernike's polynomial (Noll 9)",
        ),
        (
            {
                "front_end": joint.LensConfig(
                    off_axis={
                        "coma": 0.3,
                        "field_curvature": -0.2,
                        "heights": (0, 1),
                        "indices": (4,),
                        "table": (0.0, 0.1),
                    }
                )
            },
            "front end",
            "at the rim, 0.3 waves of coma (W131) at the rim for the corners, -0.2 waves of field "
            "curvature (W220) at the rim for the corners, a wavefront (Noll 4) by a table of 2 h",
        ),
        (
            {
                "front_end": joint.LensConfig(
                    distortion=-0.2, lateral_colour=0.01, axial_colour=0.016, half_field=0.7
                )
            },
            "front end",
            "distortion of -20 % in the corners, +1 % of lateral colour, +1.6 % of axial colour, "
            "corners 0.7 radians off",
        ),
        ({"front_end": joint.LensConfig(singlet="f2")}, "front end", "a singlet of f2"),
        (
            {
                "front_end": joint.LensConfig(
                    colour={"filters": "learned", "lamps": "fixed", "patterns": 2}
                )
            },
            "front end",
            "learned colour filters of 3 channels, fixed light of a lamp for each band, 2 expos",
        ),
        (
            {"front_end": joint.PSFConfig(file="a/lens.npy", throughput=(0.9, 0.8, 1.0))},
            "front end",
            "fixed PSF of a/lens.npy, window 31 × 31 pixels, throughput 0.9 / 0.8 / 1",
        ),
        (
            {
                "front_end": joint.PSFConfig(
                    file="a/spot.png",
                    content="picture",
                    throughput=0.9,
                    spacing=1e-6,
                    pixel_pitch=3e-6,
                    psf_size=9,
                    restoration=0.01,
                )
            },
            "front end",
            "fixed PSF of the picture a/spot.png of a point source, window 9 × 9 pixels, "
            "throughput 0.9, samples of 1 µm on pixels of 3 µm, its blur undone after the sensor",
        ),
        (
            {"front_end": joint.PSFConfig(trained=True)},
            "front end",
            "learned PSF, which began from a point, window 31 × 31 pixels",
        ),
        ({"front_end": joint.NoneConfig()}, "front end", "none: the sensor sees the scene"),
        ({"sensor": joint.SensorConfig(cfa="rggb")}, "sensor", "rggb mosaic, bilinear demosaicing"),
        (
            {"sensor": joint.SensorConfig(cfa="rggb", demosaicing="packed")},
            "sensor",
            "rggb mosaic, not demosaiced: its phases are channels at half the height",
        ),
        ({"sensor": joint.SensorConfig(bit_depth=None)}, "sensor", "not rounded"),
        (
            {
                "sensor": joint.SensorConfig(
                    photons=300, photon_range=(30, 3000), automatic_gain=False
                )
            },
            "sensor",
            "30 to 3,000 photons/pixel at full scale, drawn for each picture, with the gain made "
            "for 300, quantum efficiency 0.6, read noise 2 electrons RMS, 10 bits, gaussian shot "
            "noise, a gain that does not follow the light",
        ),
        (
            {
                "sensor": joint.SensorConfig(
                    full_well=12000,
                    gain=7.5,
                    black_level=16,
                    prnu=0.01,
                    dsnu=2.5,
                    dark_current=5,
                    exposure_time=0.2,
                )
            },
            "sensor",
            "gaussian shot noise, gain 7.5 electrons/DN, black level 16 DN, full well 12,000 "
            "electrons, dark current 5 electrons/s over 0.2 s, PRNU 1 % RMS, DSNU 2.5 electrons "
            "RMS",
        ),
        ({"sensor": joint.SensorConfig(trainable_gain=True)}, "sensor", "noise, learned gain"),
        (
            {"front_end": joint.LensConfig(off_axis={"vignetting": 0.4})},
            "front end",
            "rim, a mount that cuts off 40 % of the pupil for the corners",
        ),
        (
            {"sensor": joint.SensorConfig(trainable_gain=True, gain=3)},
            "sensor",
            "learned gain (3 electrons/DN before training)",
        ),
        ({"sensor": joint.NoneConfig()}, "sensor", "none: light is read without noise"),
        ({"codec": joint.JPEGConfig(quality=7)}, "codec", "jpeg, quality 7, subsampling 4:2:0"),
        ({"codec": joint.NoneConfig()}, "codec", "none: the classifier sees the measurement"),
        (
            {"classifier": joint.ClassifierConfig(dropout=0.2)},
            "classifier",
            "dropout 0.2, from random",
        ),
        ({"classifier": joint.NoneConfig()}, "classifier", "none: the system ends with a picture"),
    ],
)
def test_a_configuration_is_said_in_words(system, part, words):
    config = joint.RunConfig(system=joint.SystemConfig(**system))
    assert words in dict(configuration_words(config))[part]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, False),
        ({"bit_depth": 8}, False),
        ({"bit_depth": 16}, True),
        ({"white_level": 4095}, True),  # of 12 bits, that are reduced to 8
    ],
)
def test_codes_of_8_bits_have_no_white_level(settings, said):
    config = joint.RunConfig(data=joint.ImageTableConfig(table="labels.csv", **settings))
    scenes = dict(configuration_words(config))["scenes"]
    assert scenes.startswith("table, table labels.csv, ")
    assert ("white level" in scenes) == said


def test_numbers_that_do_not_exist_are_dashes():
    nan = float("nan")
    assert (number(None), number(nan), number(0.5)) == ("–", "–", "0.500")
    assert with_interval(0.5, (nan, nan)) == with_interval(0.5, None) == "0.500"
    assert with_interval(0.5, (0.25, 0.75), "+.2f") == "+0.50 [+0.25, +0.75]"


# ------------------------------------------------------------------------------------ a browser


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


def test_a_camera_of_one_broad_channel_has_a_report(tmp_path, undrawn):
    options = [
        *("--front-end", "lens", "--codec", "none", "--data.wavelengths", "550e-9"),
        *("--system.front-end.wavelengths", "450e-9", "500e-9", "550e-9", "600e-9", "650e-9"),
        *("--system.front-end.spectral-response", "1", "2", "3", "2", "1"),
    ]
    run = _train(tmp_path / "run", *options)
    said = "".join(_Page(report_html([run], quick=True, resamples=_RESAMPLES)).text)
    assert "each channel sees several wavelengths, of 450, 500, 550, 600, 650 nm" in said
