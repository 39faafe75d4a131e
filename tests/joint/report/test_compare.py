import dataclasses

import numpy as np
import pytest
from pages import RESAMPLES, Page, predictions_of, train

import classify
import joint
from joint.report import report_html
from joint.report.compare import (
    PAIRED,
    common_pictures,
    compare_runs,
    comparison,
    verdict,
)
from joint.report.page import (
    MISSING,
    page,
    with_interval,
)
from joint.report.saved import read_runs
from joint.saved.folder import read_result
from joint.saved.predictions import load_predictions


def test_the_runs_are_ranked_class_by_class(whole, undrawn):
    (run,) = read_runs([whole], resamples=5)
    said = run.predictions
    fewer = predictions_of(said.logits[:, :2], np.minimum(said.labels, 1), said.classes[:2])
    report = classify.report(fewer.logits, fewer.labels, classes=fewer.classes)
    other = dataclasses.replace(run, name="other", predictions=fewer, report=report)
    mute = dataclasses.replace(run, name="mute", predictions=None, report=None)
    read = Page(page("page", *comparison([run, other, mute], pixels={}, resamples=5)))
    (rows,) = [rows for rows in read.tables if rows[0][0] == "AUC of each class"]
    assert rows[0][1:] == [run.name, "other"]
    assert [row[0] for row in rows[1:]] == list(said.classes)
    for name, cell, second in rows[1:]:
        number = f"auc.{name}"
        assert cell == with_interval(run.report.number(number), run.report.interval(number))
        known = name in fewer.classes
        assert second == (f"{report.number(number):.3f}" if known else MISSING)
    assert [image["alt"] for image in read.images] == ["ROC curves of the runs, class by class"]


def test_runs_are_compared_on_their_common_pictures(whole, lens, undrawn):
    read = Page(report_html([whole, lens], quick=True, pictures=2, resamples=RESAMPLES))
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
            resamples=RESAMPLES,
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
    assert "Bits/pixel of these runs cannot be compared" not in "".join(read.text)


def test_bits_of_other_pixels_are_compared_by_the_picture(whole, undrawn):
    """A packed mosaic has a quarter of the pixels."""
    (run,) = read_runs([whole])
    test = {**run.test, "bpp": 2.0, "bpp_bytes": 2.125}
    packed = dataclasses.replace(run, name="packed", result={**run.result, "test": test})
    pixels = {"whole": 1024, "packed": 256}
    read = Page(page("page", *comparison([run, packed], pixels=pixels, resamples=RESAMPLES)))
    rows = read.rows()
    assert rows["rate, bits/pixel"][1] == "2.000"
    assert rows["rate, bits/picture"] == [f"{1024 * run.test['bpp']:,.0f}", "512"]
    assert rows["files, bytes/picture"] == [f"{1024 * run.test['bpp_bytes'] / 8:,.0f}", "68"]
    said = "".join(read.text)
    assert "Bits/pixel of these runs cannot be compared: " in said
    assert "a picture has 1,024 of whole, 256 of packed." in said
    known = {"packed": 256}  # as where the scenes of the other are gone
    page_of = page("page", *comparison([run, packed], pixels=known, resamples=RESAMPLES))
    assert Page(page_of).rows()["rate, bits/picture"] == [MISSING, "512"]


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
            "their classes differ: akiec",
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


def test_runs_with_other_sensors_say_so(whole, undrawn):
    (run,) = read_runs([whole])
    sensor = run.config.system.sensor.model_copy(update={"photons": 50.0, "black_level": 4.0})
    system = run.config.system.model_copy(update={"sensor": sensor})
    dim = dataclasses.replace(
        run, name="dim", config=run.config.model_copy(update={"system": system})
    )
    said = "".join(map(str, comparison([run, dim], pixels={}, resamples=RESAMPLES)))
    photons = run.config.system.sensor.photons
    assert f"whole are each evaluated with their own sensor: photons 50.0 and {photons}; " in said
    assert "black level 4.0 and 0" in said
    assert "own sensor" not in "".join(
        map(str, comparison([run, run], pixels={}, resamples=RESAMPLES))
    )


def _on(run, name, digest=None, **settings):
    """The same run, as if its scenes had been others."""
    data = run.config.data.model_copy(update=settings)
    result = run.result if digest is None else {**run.result, "scenes": {"test": digest}}
    config = run.config.model_copy(update={"data": data})
    return dataclasses.replace(run, name=name, config=config, result=result)


def test_runs_on_other_scenes_say_so(whole, undrawn):
    """Their pictures have the same names, labels and lesions."""
    (run,) = read_runs([whole])

    def said(*runs):
        return "".join(map(str, comparison(runs, pixels={}, resamples=RESAMPLES)))

    dark = said(run, _on(run, "dark", "another", skin="dark", blur=1e-4))
    assert "whole are each evaluated on their own scenes: skin dark and light; blur" in dark
    assert "dark − whole" in dark  # two sizes may be compared, say
    files = said(run, _on(run, "files", "another"))
    assert "each evaluated on their own scenes: their files have different contents. Their" in files
    # Equal pictures, whatever made them.
    for alike in (run, _on(run, "told", difficulty=0.1)):
        assert "on their own scenes" not in said(run, alike)
    # How many there are, or what else is known of them, changes no picture of a name; but digests
    # are of whole data sets.
    assert "on their own scenes" not in said(run, _on(run, "fewer", "another", count=40))
    tables = [
        dataclasses.replace(
            _on(run, "table", digest),
            config=run.config.model_copy(
                update={"data": joint.ImageTableConfig(table="labels.csv", label=label)}
            ),
        )
        for digest, label in (("a", "first"), ("b", "second"), ("c", "second"))
    ]
    assert "on their own scenes" not in said(*tables[:2])
    assert "their files have different contents" in said(*tables[1:])
    nothing = dataclasses.replace(run, result={**run.result, "scenes": None})
    assert "on their own scenes" not in said(run, nothing)
    # Older runs kept no digest, and where their files lay is not what they are.
    older = dataclasses.replace(run, result={"test": run.test})
    assert "own scenes: difficulty 0.1 and 0.5." in said(older, _on(older, "hard", difficulty=0.1))
    assert "on their own scenes" not in said(older, older)
    folders = [
        dataclasses.replace(
            older, config=run.config.model_copy(update={"data": joint.HAM10000Config(**settings)})
        )
        for settings in ({"root": "a"}, {"root": "b", "limit": 5}, {"root": "b", "image_size": 64})
    ]
    assert "on their own scenes" not in said(*folders[:2])
    assert "own scenes: image size 64 and 128." in said(folders[0], folders[2])


def test_runs_that_cannot_be_paired_are_still_shown(whole, tmp_path, undrawn):
    other = train(tmp_path / "whole", "--codec", "jpeg", "--data.seed", "5")
    read = Page(report_html([whole, other], quick=True, pictures=2, resamples=RESAMPLES))
    said = "".join(read.text)
    assert "cannot be compared in pairs: their test parts have no picture in common." in said
    assert "better" not in said
    # Two folders of one name are told apart by their paths.
    assert {str(whole), str(other)} <= set(read.headings)
