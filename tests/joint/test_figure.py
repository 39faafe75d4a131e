import dataclasses
import itertools
import math
from dataclasses import replace

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from skimage.color import deltaE_ciede2000, rgb2lab
from toys import report_of_four

import classify
import compress
import joint
import optics
from joint.analysis import (
    AccuracyCurve,
    AccuracyPoint,
    RateCurves,
    confusion_against_contrast,
    contrast_by_class,
    optimal_image,
    recall_against_contrast,
    reliance,
)
from joint.analysis.kept import kept
from joint.analysis.scores import Score, Scores
from joint.analysis.tolerancing.robustness import Curve, Point, Robustness
from joint.figure import (
    confused_pairs_figure,
    contrast_figure,
    draw_confusion,
    handed_figure,
    kept_figure,
    operating_figure,
    optimal_figure,
    points_figure,
    rate_figure,
    reliance_figure,
    report_figure,
    robustness_figure,
    roc_figure,
    save_figure,
    sweep_figure,
    system_figure,
)
from joint.panel.look import COLOURS, RIGHT, WRONG, blank_figure
from joint.study import RateAccuracy


class _Grey(torch.nn.Module):
    def forward(self, image):
        return image[:, :3].mean((-2, -1))


class _Strips(torch.nn.Module):
    """The class is the brightest of seven parts of the height."""

    def forward(self, image):
        return torch.nn.functional.adaptive_avg_pool2d(image, (7, 1)).mean(1).flatten(1)


class _First(torch.nn.Module):
    """Seven of the values as logits."""

    def forward(self, flat):
        return flat[:, :7]


@pytest.mark.parametrize(
    ("front_end", "channels"),
    [
        (lambda: optics.LearnedKernel("log"), 3),
        (lambda: optics.LearnedKernel("sobel", mix_channels=True), 6),
        (lambda: optics.LearnedKernel("gaussian", signed=False), 3),
        (lambda: optics.FourierFilter(16, "spiral"), 3),
        (
            lambda: joint.build_front_end(
                joint.LensConfig(element="cubic", strength=1), (16, 16), 3
            ),
            3,
        ),
        (lambda: optics.CodedExposure("fluttered", 2.0), 3),
        (lambda: None, 3),
    ],
)
def test_every_front_end_can_be_drawn(front_end, channels, lesions, tmp_path):
    system = joint.ImagingSystem(
        front_end=front_end(),
        sensor=optics.Sensor(),
        codec=compress.FactorizedCodec(channels=channels),
        classifier=_Grey(),
    )
    figure = system_figure(system, lesions, joint.evaluate(system, lesions), title="a run")
    save_figure(figure, tmp_path / "figure.png")
    picture = np.asarray(Image.open(tmp_path / "figure.png").convert("L"))
    assert picture.shape[1] > 1000
    assert picture.std() > 20
    assert [path.name for path in tmp_path.iterdir()] == ["figure.png"]


def _plain():
    figure = blank_figure(3, 2)
    figure.subplots().plot([0, 1], label="rate")
    figure.axes[0].set_title("Bits of codec")
    return figure


@pytest.mark.parametrize(
    ("suffix", "begins"), [("pdf", b"%PDF-"), ("svg", b"<?xml"), ("SVG", b"<?")]
)
def test_a_figure_is_what_its_name_says(tmp_path, suffix, begins):
    files = [tmp_path / f"{name}.{suffix}" for name in "ab"]
    for file in files:
        save_figure(_plain(), file)
    first, second = (file.read_bytes() for file in files)
    assert first == second
    assert first.startswith(begins)
    # Of lines, not of pixels; a PDF embeds fonts as TrueType.
    assert b"/Subtype /Image" not in first
    assert b"<image" not in first
    assert (b"/Type /Font" in first and b"/FontFile2" in first) == (suffix == "pdf")
    assert (b"<path" in first) == (suffix != "pdf")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.jpg", {}, r"written to \.png, \.pdf, \.svg, not to 'a\.jpg'"),
        ("a", {}, "not to 'a'"),
        ("a.pdf", {"colours": 16}, r"colours apply to a \.png only, not to 'a\.pdf'"),
    ],
)
def test_a_figure_is_no_other_file(tmp_path, name, options, message):
    with pytest.raises(ValueError, match=message):
        save_figure(_plain(), tmp_path / name, **options)
    assert not [*tmp_path.iterdir()]


def test_what_is_said_under_a_picture_is_what_was_counted():
    scenes = classify.LesionPhantom(40, 16)
    # So dark that the noise decides, and pictures of one seed are seldom taken for the same twice.
    system = joint.ImagingSystem(sensor=optics.Sensor(1.0, read_noise=3), classifier=_Strips())
    said = []
    for seed in (0, 5):
        judged = joint.evaluate(system, scenes, seed=seed)
        guesses = judged.logits.argmax(1)
        firsts = {
            int(k): int((scenes.targets == k).nonzero()[0, 0]) for k in scenes.targets.unique()
        }
        expected = {scenes.classes[k]: scenes.classes[guesses[n]] for k, n in firsts.items()}
        figure = system_figure(system, scenes, judged, rows=7, seed=seed)
        handed = handed_figure({"own": system}, scenes, seed=seed)
        for drawn in (figure, handed):
            under, name = {}, ""
            for axis in drawn.axes:
                name = axis.get_ylabel() if axis.get_ylabel() in scenes.classes else name
                if axis.get_xlabel().startswith("says "):
                    under[name] = axis.get_xlabel().removeprefix("says ")
            assert under == expected
        said.append(expected)
    assert said[0] != said[1]


def test_only_the_figures_need_matplotlib(fresh):
    code = (
        "import sys, joint; sys.exit('matplotlib' in sys.modules or 'torchvision' in sys.modules)"
    )
    assert fresh.run(code).returncode == 0


def test_a_report_is_drawn_with_its_counts_and_its_confidence(tmp_path):
    report = report_of_four()
    figure = report_figure(report, title="phantom")
    confusion, reliability, bar = figure.axes
    written = [int(text.get_text()) for text in confusion.texts]
    assert written == report.confusion.ravel().tolist() == [1, 0, 0, 1, 2, 0, 0, 0, 0]
    assert [tick.get_text() for tick in confusion.get_yticklabels()] == ["mel", "nv", "df"]
    assert confusion.get_title() == "accuracy 0.750, balanced 0.833"
    assert reliability.get_title() == f"calibration error {report.ece:.3f}"
    assert bar.get_ylabel() == "share of the true class"
    save_figure(figure, tmp_path / "report.png")
    assert np.asarray(Image.open(tmp_path / "report.png").convert("L")).std() > 20


def test_the_confidence_is_not_lost_beside_the_matrix_of_many_classes():
    scores = np.eye(30)
    report = classify.report(scores, np.arange(30), classes=[f"class {k}" for k in range(30)])
    figure = report_figure(report)
    figure.canvas.draw()
    confusion, reliability, _ = (axis.get_window_extent().width for axis in figure.axes)
    assert 0.4 * confusion < reliability < confusion


def test_a_report_with_intervals_says_the_recall_of_each_class():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 60)  # no picture of the third class
    scores = rng.normal(size=(60, 3)) + 2 * np.eye(3)[labels]
    report = classify.report(
        scores, labels, classes=("mel", "nv", "df"), groups=[str(n // 2) for n in range(60)],
        resamples=50, level=0.9,
    )  # fmt: skip
    confusion, reliability, bar = report_figure(report).axes
    told = [text.get_text() for text in confusion.texts[9:]]
    for k in range(2):
        low, high = report.class_intervals["recall"][k]
        assert told[k] == f"{report.recall[k]:.2f} [{low:.2f}, {high:.2f}]"
        assert confusion.texts[9 + k].get_position()[1] == k
    assert told[2:] == ["no interval", "recall,\n90 % intervals\nover lesions"]
    assert reliability.get_xlabel().endswith("lines: 90 % Wilson intervals")
    confusion.figure.canvas.draw()
    edge = bar.get_window_extent().x0  # the numbers do not run into the colour bar
    assert all(text.get_window_extent().x1 <= edge for text in confusion.texts)


def _ranked(count=60, classes=("_mel", "nv", "df"), shift=1.0, **asked):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, max(2, len(classes) - 1), count)  # no picture of the last class
    scores = rng.normal(size=(count, len(classes))) + shift * np.eye(len(classes))[labels]
    groups = [str(n // 2) for n in range(count)]
    curves = classify.operating_curves(scores, labels, classes=classes)
    return curves, classify.report(scores, labels, classes=classes, groups=groups, **asked)


def test_the_curves_of_each_class_have_the_areas_and_intervals_of_the_report():
    curves, report = _ranked(resamples=30, level=0.9)
    figure = operating_figure(curves, report=report)
    figure.canvas.draw()
    for axis, area, number in zip(
        figure.axes, ("AUC", "average precision"), ("auc", "average_precision"), strict=True
    ):
        legend = axis.get_legend()
        assert legend.get_title().get_text() == f"{area}\n90 % intervals"
        assert [text.get_text() for text in legend.get_texts()] == [
            *(
                f"{name} {report.number(f'{number}.{name}'):.2f} "
                f"{report.interval(f'{number}.{name}'):.2f}"
                for name in ("_mel", "nv")
            ),
            "df: no pictures",
        ]
        # Beside the curves, and inside of the figure.
        box, whole = legend.get_window_extent(), figure.bbox
        assert axis.get_window_extent().x1 <= box.x0 < box.x1 <= whole.x1
    first, second = figure.axes
    assert first.get_legend().get_window_extent().x1 < second.get_tightbbox().x0
    plain = operating_figure(curves).axes[0].get_legend()
    assert plain.get_title().get_text() == "AUC"
    assert plain.get_texts()[0].get_text() == f"_mel {report.number('auc._mel'):.2f}"


def test_of_many_classes_the_commonest_are_drawn():
    curves, _ = _ranked(400, [f"class {k}" for k in range(21)])
    most = sorted(curves, key=lambda name: -curves[name].pictures)[:7]
    chosen = [name for name in curves if name in most]
    legend = operating_figure(curves).axes[0].get_legend()
    assert legend.get_title().get_text() == "AUC\nthe 7 most frequent of 21 classes"
    assert [text.get_text().rpartition(" ")[0] for text in legend.get_texts()] == chosen
    assert len(roc_figure({"one": curves}).axes) == 12


def test_the_curves_of_systems_are_side_by_side_for_each_class():
    first, _ = _ranked()
    second, _ = _ranked(shift=2.0)
    figure = roc_figure({"_plain": first, "mask": {"nv": second["nv"]}})
    figure.canvas.draw()
    assert [axis.get_title() for axis in figure.axes] == ["_mel", "nv"]  # the third has none
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["_plain", "mask"]
    drawn = [[line for line in axis.lines[1:] if len(line.get_xdata())] for axis in figure.axes]
    assert list(map(len, drawn)) == [1, 2]
    np.testing.assert_array_equal(drawn[1][1].get_ydata(), second["nv"].recall)
    assert drawn[1][1].get_color() != drawn[1][0].get_color() == drawn[0][0].get_color()


def test_classes_that_only_a_later_system_has_are_drawn():
    first, _ = _ranked()
    second, _ = _ranked(shift=2.0)
    alone = {"nv": dataclasses.replace(second["nv"], auc=math.nan)}  # of a part of one class
    figure = roc_figure({"alone": alone, "other": {"more": second["_mel"], "nv": first["nv"]}})
    assert [axis.get_title() for axis in figure.axes] == ["more", "nv"]


def test_curves_that_cannot_be_drawn_are_refused():
    curves, report = _ranked()
    with pytest.raises(ValueError, match="give at least one curve"):
        operating_figure({})
    others, _ = _ranked(shift=2.0)
    fewer = {"nv": curves["nv"]}
    for wrong in (others, fewer):
        with pytest.raises(ValueError, match="not on the same scores: give both the same logits"):
            operating_figure(wrong, report=report)
    for wrong in ({}, {"one": {"df": curves["df"]}}):
        with pytest.raises(ValueError, match="there is no curve to draw"):
            roc_figure(wrong)


class _Darker(compress.Codec):
    """Takes a tenth off one channel."""

    def forward(self, image, *, generator=None):
        taken = torch.tensor([0.1, 0.0, 0.0])[:, None, None]
        bits = torch.ones_like(image[:, :1])
        return compress.Coded(image - taken, None, bits, 0 * bits.sum((1, 2, 3)), "rounded")

    def compress(self, image):
        raise NotImplementedError

    def decompress(self, payloads):
        raise NotImplementedError


@pytest.fixture(scope="module")
def phantoms():
    return classify.LesionPhantom(14, 32, balance=0)


def _pixels(axis):
    return np.asarray(axis.get_images()[0].get_array())


def test_handed_pictures_stand_beside_the_scene_and_their_difference(phantoms, tmp_path):
    systems = {
        "before": joint.ImagingSystem(classifier=_Grey()),
        "after": joint.ImagingSystem(codec=_Darker(), classifier=_Grey()),
    }
    figure = handed_figure(systems, phantoms, title="what is handed", most=5)
    axes = np.array(figure.axes).reshape(5, 5)
    heads = [axis.get_title() for axis in axes[0]]
    assert heads[:3] == ["scene", "before", "after"]
    assert heads[4].startswith("after - scene, ")
    for k, row in enumerate(axes):
        assert row[0].get_ylabel() == phantoms.classes[k]
        first = int((phantoms.targets == k).nonzero()[0, 0])
        scene = phantoms.gather([first]).images[0].permute(1, 2, 0).numpy() / 255
        np.testing.assert_allclose(_pixels(row[0]), scene, atol=1e-6)
        np.testing.assert_allclose(_pixels(row[1]), scene, atol=1e-6)
        red = (scene[..., 0] - 0.1).clip(0)
        np.testing.assert_allclose(_pixels(row[2])[..., 0], red, atol=1e-6)
        np.testing.assert_allclose(_pixels(row[3]), 0.5, atol=1e-6)  # nothing differs
        np.testing.assert_allclose(_pixels(row[4])[..., 0], 0, atol=1e-4)  # all of the range
        np.testing.assert_allclose(_pixels(row[4])[..., 1:], 0.5, atol=1e-5)
        guess = scene.mean((0, 1)).argmax()
        assert row[1].get_xlabel() == f"says {phantoms.classes[guess]}"
        assert row[1].xaxis.label.get_color() == (RIGHT if guess == k else WRONG)
    save_figure(figure, tmp_path / "handed.png")
    with pytest.raises(ValueError, match="no system whose pictures"):
        handed_figure({}, phantoms)


def test_light_that_is_handed_on_is_encoded_for_the_eye():
    light = classify.LesionPhantom(14, 32, encoding="linear")
    figure = handed_figure({"same": joint.ImagingSystem(encoding="linear")}, light, most=1)
    scene, same, difference = figure.axes
    codes = light.gather([int((light.targets == 0).nonzero()[0, 0])]).images[0] / 255
    for axis in (scene, same):
        expected = optics.linear_to_srgb(codes).permute(1, 2, 0)
        np.testing.assert_allclose(_pixels(axis), expected, atol=1e-6)
    np.testing.assert_allclose(_pixels(difference), 0.5, atol=1e-6)
    raw = classify.LesionDataset(
        images=torch.zeros(2, 3, 16, 16, dtype=torch.uint16), labels=[0, 1], groups=[0, 1],
        identifiers=[0, 1], classes=("a", "b"), encoding="linear",
    )  # fmt: skip
    with pytest.raises(ValueError, match="the scenes are linear light"):
        handed_figure({"same": joint.ImagingSystem()}, raw)


@pytest.mark.parametrize("channels", [1, 2, 4, 6])
def test_handed_pictures_of_any_channels_are_drawn(channels):
    pictures = torch.randint(0, 256, (4, channels, 16, 16), generator=torch.Generator())
    scenes = classify.LesionDataset(
        images=pictures.to(torch.uint8), labels=[0, 1, 0, 1], groups=list("abcd"),
        identifiers=list("abcd"), classes=("a", "b"),
    )  # fmt: skip
    figure = handed_figure({"same": joint.ImagingSystem()}, scenes)
    for row in np.array(figure.axes).reshape(2, 3):
        np.testing.assert_allclose(_pixels(row[2]), 0.5, atol=1e-6)


def test_what_is_kept_is_drawn_as_measured(phantoms):
    found = kept(
        {"same": joint.ImagingSystem(), "darker": joint.ImagingSystem(codec=_Darker())},
        phantoms,
        resamples=20,
    )
    power, coherence, difference = kept_figure(found).axes
    for system, line, other in zip(found.systems, power.lines, coherence.lines, strict=False):
        assert line.get_label() == system.name
        np.testing.assert_allclose(line.get_ydata(), [a.power for a in system.annuli])
        np.testing.assert_allclose(other.get_ydata(), [a.coherence for a in system.annuli])
    heights = [bar.get_height() for bar in difference.patches]
    assert heights == [d.rms for system in found.systems for d in system.differences]
    assert heights[4:] == pytest.approx([25.5 / 3**0.5] * 4, rel=1e-4)


def test_what_rings_are_worth_is_drawn_as_measured(phantoms):
    system = joint.ImagingSystem(classifier=torch.nn.Sequential(torch.nn.Flatten(), _First()))
    rings = [(0, 0.1), (0.1, 0.5), (0.25, math.inf)]
    found = {
        name: reliance(system, phantoms, rings, kind=kind, resamples=20)
        for name, kind in (("out", "stop"), ("alone", "pass"))
    }
    change, power = reliance_figure(found, metric="accuracy", title="rings").axes
    spans = [line for line in change.lines if len(line.get_xdata()) == 2][:6]
    wanted = [ring for each in found.values() for ring in each.rings]
    for line, ring in zip(spans, wanted, strict=True):
        np.testing.assert_allclose(line.get_xdata(), [ring.low or 0.05, ring.high])
        np.testing.assert_allclose(line.get_ydata(), ring.change.accuracy.value)
    for shade, ring in zip(change.collections, wanted, strict=True):
        bottom, top = shade.get_datalim(change.transData).intervaly
        np.testing.assert_allclose([bottom, top], ring.change.accuracy.interval, atol=1e-9)
    heights = [shade.get_datalim(power.transData).y1 for shade in power.collections]
    np.testing.assert_allclose(heights, [100 * ring.power for ring in wanted[:3]])
    assert [text.get_text() for text in change.get_legend().get_texts()] == ["out", "alone"]
    assert [tick.get_text() for tick in power.get_xticklabels()][:2] == ["0", "0.1"]
    with pytest.raises(ValueError, match="one of accuracy, balanced_accuracy, auc, not 'f1'"):
        reliance_figure(found, metric="f1")


def test_optimal_images_are_the_best_of_their_starts():
    system = joint.ImagingSystem(codec=_Darker(), classifier=_Grey())
    start = torch.stack([torch.full((3, 16, 16), 0.2), torch.full((3, 16, 16), 0.6)])
    classes = ("red", "green", "blue")
    found = {
        name: optimal_image(system, start, k, steps=3, light=0.6) for k, name in enumerate(classes)
    }
    figure = optimal_figure(found, classes, title="best")
    scenes, handed = np.array(figure.axes).reshape(2, 3)
    for k, name in enumerate(classes):
        best = found[name].scenes[1].permute(1, 2, 0)  # the brighter start
        np.testing.assert_allclose(_pixels(scenes[k]), best, atol=1e-6)
        np.testing.assert_allclose(_pixels(handed[k])[..., 1:], best[..., 1:], atol=1e-6)
        assert scenes[k].get_title() == name
        guess = classes[int(found[name].logits[1].argmax())]
        assert handed[k].get_xlabel().startswith(f"says {guess}\n{name} 0.")
        assert scenes[k].get_xlabel() == f"light {float(found[name].light[1]):.2f}\n1.00 bit/px"


def test_optimal_light_is_drawn_as_a_screen_takes_it():
    system = joint.ImagingSystem(classifier=_Grey(), encoding="linear")
    start = torch.full((1, 3, 16, 16), 0.2)
    found = {"red": optimal_image(system, start, 0, steps=2, light=0.6)}
    figure = optimal_figure(found, ("red", "green", "blue"))
    for axis, light in zip(figure.axes, (found["red"].scenes, found["red"].handed), strict=True):
        expected = optics.linear_to_srgb(light[0]).permute(1, 2, 0)
        np.testing.assert_allclose(_pixels(axis), expected, atol=1e-6)


def test_recall_and_confusion_are_drawn_as_measured(phantoms):
    class Redness(torch.nn.Module):
        def forward(self, image):
            red = (image[:, 0] - image[:, 1]).mean((-2, -1))
            return -((red[:, None] - torch.linspace(0, 0.2, 7)) ** 2)

    system = joint.ImagingSystem(classifier=Redness())
    sweep = recall_against_contrast(system, phantoms, (0.5, 1.0), resamples=10)
    axis, other = sweep_figure({"one": sweep, "two": sweep}).axes
    assert (axis.get_title(), other.get_title()) == ("one", "two")
    for k, name in enumerate(phantoms.classes):
        assert axis.lines[k].get_label() == name
        np.testing.assert_allclose(axis.lines[k].get_ydata(), sweep.recall[:, k])
    np.testing.assert_allclose(axis.lines[7].get_ydata(), sweep.balanced_accuracy)

    values = np.random.default_rng(0).normal(size=14) + phantoms.targets.numpy()
    guesses = phantoms.targets.numpy()[::-1].copy()
    found = confusion_against_contrast(
        values, phantoms.targets.numpy(), guesses, classes=phantoms.classes, resamples=10,
        measure="gcnr",
    )  # fmt: skip
    axis = confused_pairs_figure(found, marked=("mel", "bkl")).axes[0]
    told = {text.get_text(): text for text in axis.texts}
    assert len(told) == 21
    for pair in found.pairs:
        text = told[f"{pair.first}-{pair.second}"]
        assert text.xy == (pair.distance, pair.confusion)
        strong = {pair.first, pair.second} == {"bkl", "mel"}
        assert text.get_color() == (WRONG if strong else COLOURS[0])
    assert axis.get_title().startswith(f"Spearman {found.spearman:+.2f} [")
    assert "; lines: 95 % intervals over pictures" in axis.get_title()
    assert axis.get_xlabel() == "Wasserstein distance of the two classes in gCNR"
    # As many labels as a real study has, many of them at one height.
    axis.figure.dpi = 110  # as it is saved
    axis.figure.canvas.draw()
    # Of the letters alone, without the line to a point that is far.
    boxes = [Text.get_window_extent(text) for text in axis.texts]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    edge = axis.get_window_extent()
    assert all(edge.x0 <= b.x0 and b.x1 <= edge.x1 for b in boxes)
    assert all(edge.y0 <= b.y0 and b.y1 <= edge.y1 for b in boxes)


def test_the_axis_of_confused_pairs_is_that_of_the_points_and_not_of_wide_intervals():
    rng = np.random.default_rng(0)
    found = confusion_against_contrast(
        rng.normal(size=60), *rng.integers(0, 3, (2, 60)), classes=("a", "b", "c"), resamples=10,
        measure="gcnr",
    )  # fmt: skip
    one, two, three = found.pairs
    pairs = (
        one._replace(distance=0.2, distance_interval=(0.1, 9.0)),
        two._replace(distance=0.3, distance_interval=(float("nan"), float("nan"))),
        three._replace(distance=0.4, distance_interval=(-3.0, 0.5)),
    )
    axis = confused_pairs_figure(replace(found, pairs=pairs)).axes[0]
    assert axis.get_title().endswith("intervals over pictures, arrows: beyond the axis")
    arrows = [(line.get_marker(), line.get_xdata()[0]) for line in axis.lines]
    arrows = [(marker, x) for marker, x in arrows if marker in "<>"]
    assert arrows == [(">", pytest.approx(0.6)), ("<", pytest.approx(0.0))]
    low, high = axis.get_xlim()
    assert -0.1 < low <= 0.0
    assert 0.6 <= high < 0.7
    # Of intervals that end within the range of the points beside them, none is cut.
    pairs = tuple(pair._replace(distance_interval=(0.1, 0.5)) for pair in pairs)
    axis = confused_pairs_figure(replace(found, pairs=pairs)).axes[0]
    assert axis.get_title().endswith("intervals over pictures")
    assert all(line.get_marker() == "o" for line in axis.lines)


def test_one_result_needs_no_name(phantoms):
    system = joint.ImagingSystem(classifier=torch.nn.Sequential(torch.nn.Flatten(), _First()))
    labels = np.arange(12) % 2
    single = {
        sweep_figure: recall_against_contrast(system, phantoms, (0.5, 1.0), resamples=10),
        contrast_figure: contrast_by_class(
            np.arange(12.0), labels, classes=("a", "b"), resamples=5
        ),
        reliance_figure: reliance(system, phantoms, [(0, 0.1), (0.1, 0.5)], resamples=10),
        robustness_figure: _swept(shift=[(0.0, 0.8), (1.0, 0.7)]),
    }
    for draw, found in single.items():
        one, named = draw(found), draw({"the system": found})
        for mine, theirs in zip(one.findobj(Text), named.findobj(Text), strict=True):
            assert mine.get_text() == theirs.get_text()
        for mine, theirs in zip(one.axes, named.axes, strict=True):
            for line, other in zip(mine.lines, theirs.lines, strict=True):
                np.testing.assert_array_equal(line.get_xydata(), other.get_xydata())
        kind = type(found).__name__
        for wrong in ({"a": system}, system, [found], {"a": 1.0}):
            with pytest.raises(TypeError, match=rf"results of {kind} by name, such as.*, not"):
                draw(wrong)
        with pytest.raises(ValueError, match="give at least one result"):
            draw({})


def test_contrast_is_drawn_as_measured_at_each_plane():
    rng, labels = np.random.default_rng(0), np.repeat([0, 2], 10)
    scene, sensor, other = (
        contrast_by_class(
            rng.normal(size=20), labels, classes=("a", "b", "c"), resamples=20, measure=measure
        )
        for measure in ("weber", "weber", "cnr")
    )
    axis = contrast_figure({"scene": scene, "sensor": sensor}, title="x").axes[0]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["scene", "sensor"]
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["a", "c"]  # b has no picture
    assert axis.get_ylabel() == "Weber contrast"
    for line, bars, found in zip(axis.lines, axis.collections, (scene, sensor), strict=True):
        rows = [found.classes[0], found.classes[2]]
        assert line.get_ydata().tolist() == [row.median for row in rows]
        ends = [tuple(part.vertices[:, 1]) for part in bars.get_paths()]
        assert ends == [tuple(row.interval) for row in rows]
    assert axis.lines[0].get_xdata() == pytest.approx([-0.15, 0.85])
    with pytest.raises(ValueError, match="one measure for the same classes, not weber of a, b, c,"):
        contrast_figure({"scene": scene, "sensor": other})
    with pytest.raises(ValueError, match="give at least one result"):
        contrast_figure({})


def test_the_name_of_a_class_is_no_formula(phantoms):
    name = "x$^$"  # which is none that matplotlib can read
    classes = (name, "b", "c")
    rng, shown = np.random.default_rng(0), phantoms.gather(range(14))
    masks = torch.stack([phantoms[n].mask for n in range(14)])
    scenes = classify.LesionDataset(
        images=shown.images, masks=masks, labels=[0, 1] * 7, groups=range(14),
        identifiers=range(14), classes=classes,
    )  # fmt: skip
    system = joint.ImagingSystem(classifier=_Grey())
    labels, guesses = rng.integers(0, 3, (2, 60))
    start = torch.full((1, 3, 16, 16), 0.2)
    drawn = [
        report_figure(classify.report(rng.normal(size=(60, 3)), labels, classes=classes)),
        operating_figure(
            classify.operating_curves(rng.normal(size=(60, 3)), labels, classes=classes)
        ),
        system_figure(system, scenes, joint.evaluate(system, scenes), title=name),
        handed_figure({name: system}, scenes),
        kept_figure(kept({name: system}, scenes, resamples=10)),
        optimal_figure({name: optimal_image(system, start, 0, steps=1)}, classes),
        contrast_figure(
            {name: contrast_by_class(rng.normal(size=60), labels, classes=classes, resamples=5)}
        ),
        sweep_figure({name: recall_against_contrast(system, scenes, (0.5, 1.0), resamples=10)}),
        confused_pairs_figure(
            confusion_against_contrast(
                rng.normal(size=60), labels, guesses, classes=classes, resamples=10, measure="cnr"
            )
        ),
        reliance_figure(
            {n: reliance(system, scenes, [(0, 0.1), (0.1, 0.5)], resamples=10) for n in (name, "b")}
        ),
    ]
    drawn[3].axes[0].set_ylim(0.5, 2)  # within a decade, which has labels between its ticks
    for figure in drawn:
        figure.canvas.draw()
        told = [text.get_text() for text in figure.findobj(Text)]
        assert any(name in text for text in told)
        assert not any("mathdefault" in text for text in told)  # a formula that nobody reads
    figure = blank_figure(4, 4)
    draw_confusion(figure.subplots(), np.eye(3), classes)
    figure.canvas.draw()
    assert matplotlib.rcParams["text.parse_math"]  # of other figures


def test_many_sweeps_stand_in_rows_of_three(phantoms):
    system = joint.ImagingSystem(classifier=torch.nn.Sequential(torch.nn.Flatten(), _First()))
    sweep = recall_against_contrast(system, phantoms, (0.5, 1.0), resamples=10)
    figure = sweep_figure({str(number): sweep for number in range(4)})
    assert [axis.get_title() for axis in figure.axes] == ["0", "1", "2", "3"]
    places = [axis.get_subplotspec() for axis in figure.axes]
    assert [(p.rowspan.start, p.colspan.start) for p in places] == [(0, 0), (0, 1), (0, 2), (1, 0)]
    named = [axis.get_ylabel() != "" for axis in figure.axes]
    assert named == [True, False, False, True]


def test_a_legend_of_many_lines_covers_none_and_each_has_its_own_colour(phantoms):
    system = joint.ImagingSystem(classifier=torch.nn.Sequential(torch.nn.Flatten(), _First()))
    sweep = recall_against_contrast(system, phantoms, (0.5, 1.0), resamples=10)
    figure = sweep_figure({"one": sweep, "two": sweep})
    figure.canvas.draw()
    (legend,) = figure.legends
    box, page = legend.get_window_extent(), figure.bbox
    assert not any(box.overlaps(axis.get_window_extent()) for axis in figure.axes)
    assert page.x0 <= box.x0
    assert box.x1 <= page.x1
    assert page.y0 <= box.y0
    assert box.y1 <= page.y1
    told = [text.get_text() for text in legend.get_texts()]
    assert told == [*phantoms.classes, "balanced accuracy", "its 95 % interval"]
    assert len({to_hex(line.get_color()) for line in figure.axes[0].lines[:8]}) == 8


def _swept(**curves):
    """Results of (levels, balanced accuracies) of each imperfection; accuracies are half."""

    def scores(value):
        return Scores(*(Score(v, classify.Interval(v - 0.1, v + 0.05)) for v in (value / 2, value)))

    made = tuple(
        Curve(
            name, "a unit", 0.5 if name == "defocus" else 400.0, 1,
            tuple(Point(at, scores(v), scores(0.0), v) for at, v in zip(*points, strict=True)),
        )
        for name, points in curves.items()
    )  # fmt: skip
    return Robustness(scores(0.8), made, (), 20, 0.95, 100)


def test_rates_are_drawn_as_measured_with_their_intervals():
    def point(rate, accuracy, interval=None):
        return AccuracyPoint(rate, accuracy, interval, joint.OperatingPoint())

    found = RateCurves(
        metric="balanced_accuracy",
        unit="lesions",
        level=0.9,
        curves=(
            AccuracyCurve(
                "$a$",
                (point(0.1, 0.5, classify.Interval(0.42, 0.56)), point(0.4, 0.7)),
                counted=True,
                falls=(),
            ),
            AccuracyCurve("b", (point(0.2, 0.6),), counted=False, falls=()),
        ),
        anchor="$a$",
        differences=(),
        uncoded=point(float("nan"), 0.8, classify.Interval(0.75, 0.86)),
    )
    (axis,) = rate_figure(found, title="bits").axes
    first = axis.containers[0]
    assert first[0].get_xydata().tolist() == [[0.1, 0.5], [0.4, 0.7]]
    (bars,) = first[2]
    assert bars.get_segments()[0][:, 1].tolist() == pytest.approx([0.42, 0.56])
    assert bars.get_segments()[1][:, 1].tolist() == [0.7, 0.7]
    (dashed,) = [line for line in axis.lines if line.get_linestyle() == "--"]
    assert [*dashed.get_ydata()] == [0.8, 0.8]
    told = [text.get_text() for text in axis.get_legend().get_texts()]
    assert sorted(told) == ["$a$", "b (estimated rates)", "without a codec"]
    assert axis.get_xscale() == "log"
    assert axis.get_ylabel() == "balanced accuracy\n(90 % intervals over lesions)"
    assert len(rate_figure(replace(found, uncoded=None)).axes[0].containers) == 2


def test_robustness_is_drawn_for_each_imperfection_and_system(tmp_path):
    found = {
        "wide $": _swept(defocus=((0.0, 1.0), (0.8, 0.5)), photons=((400, 40), (0.8, 0.6))),
        "other": _swept(photons=((40, 400), (0.5, 0.7))),
    }
    figure = robustness_figure(found, title="a study")
    defocus, photons = figure.axes
    assert [axis.get_title() for axis in figure.axes] == ["defocus", "photons"]
    assert [axis.get_xscale() for axis in figure.axes] == ["linear", "log"]
    assert defocus.get_xlabel() == "a unit"
    assert defocus.get_ylabel() == "balanced accuracy"
    line, nominal = defocus.lines
    np.testing.assert_allclose(line.get_xydata(), [(0, 0.8), (1, 0.5)])
    assert set(nominal.get_xdata()) == {0.5}
    (shade,) = defocus.collections
    corners = {tuple(np.round(p, 9)) for p in shade.get_paths()[0].vertices}
    assert corners == {(0, 0.7), (0, 0.85), (1, 0.4), (1, 0.55)}
    first, _, second, _ = photons.lines
    np.testing.assert_allclose(first.get_xydata(), [(40, 0.6), (400, 0.8)])  # by their level
    np.testing.assert_allclose(second.get_xydata(), [(40, 0.5), (400, 0.7)])
    assert first.get_color() == line.get_color() != second.get_color()
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["wide $", "other"]
    save_figure(figure, tmp_path / "figure.png")
    assert "100" in [text.get_text() for text in photons.get_xticklabels()]
    half = robustness_figure(found, metric="accuracy").axes[0].lines[0]
    np.testing.assert_allclose(half.get_ydata(), [0.4, 0.25])


def test_robustness_has_a_panel_for_each_imperfection_and_no_other():
    names = ("defocus", "photons", "tilt", "distance")
    figure = robustness_figure({"a": _swept(**dict.fromkeys(names, ((1, 2), (0.8, 0.5))))})
    titles = [axis.get_title() for axis in figure.axes if axis.axison]
    assert titles == [*names]
    left = [axis for axis in figure.axes if axis.get_ylabel()]
    assert [axis.get_title() for axis in left] == ["defocus", "distance"]
    half = robustness_figure({"a": _swept(defocus=((1, 2), (0.8, 0.5)))}, metric="accuracy")
    assert half.axes[0].get_ylabel() == "accuracy"


def test_levels_of_other_units_are_other_panels():
    first, other = (_swept(defocus=((1, 2), (0.8, 0.5))) for _ in range(2))
    (curve,) = other.curves
    other = replace(other, curves=(curve._replace(unit="another"),))
    figure = robustness_figure({"a": first, "b": other})
    assert [axis.get_xlabel() for axis in figure.axes if axis.axison] == ["a unit", "another"]
    assert [len(axis.lines) for axis in figure.axes if axis.axison] == [2, 2]


def test_points_are_drawn_with_their_intervals_against_the_light(tmp_path):
    scenes = classify.LesionPhantom(40, image_size=16)
    camera = joint.ImagingSystem(sensor=optics.Sensor(300), classifier=_Strips())
    lights = (1000, 30, 300)
    found = [joint.evaluate(camera, scenes, photons=n, resamples=50) for n in lights]
    figure = points_figure({"a $": found}, metric="auc", title="a camera")
    (axis,) = figure.axes
    assert axis.get_xscale() == "log"
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("light, photons/pixel", "auc")
    (line,) = axis.lines
    ordered = [found[1], found[2], found[0]]
    expected = [(n, each.report.auc) for n, each in zip((30, 300, 1000), ordered, strict=True)]
    np.testing.assert_allclose(line.get_xydata(), expected)
    corners = {tuple(np.round(p, 9)) for p in axis.collections[0].get_paths()[0].vertices}
    for (x, _), each in zip(expected, ordered, strict=True):
        assert {(x, round(end, 9)) for end in each.report.intervals["auc"]} <= corners
    assert axis.get_legend().get_title().get_text() == "shaded: interval"
    save_figure(figure, tmp_path / "points.svg")
    of_class = points_figure({"a": found}, metric=f"recall.{scenes.classes[1]}").axes[0]
    recalls = [each.report.recall[1] for each in ordered]
    np.testing.assert_allclose(of_class.lines[0].get_ydata(), recalls)
    assert of_class.collections
    plain = points_figure({"a": found}, metric="psnr_scene").axes[0]
    assert plain.get_ylabel() == "PSNR against the scene, dB"
    np.testing.assert_allclose(plain.lines[0].get_ydata(), [each.psnr_scene for each in ordered])
    assert plain.get_legend() is None


def _labels(values, name="photons"):
    """Labels of the axis where evaluations were made at ``values``, and their places."""
    scenes = classify.LesionPhantom(2, image_size=16)
    camera = joint.ImagingSystem(sensor=optics.Sensor(300))
    one = joint.evaluate(camera, scenes, photons=300)
    found = [replace(one, point=joint.OperatingPoint(**{name: value})) for value in values]
    (axis,) = points_figure({"a": found}, metric="psnr_scene").axes
    axis.figure.canvas.draw()
    shown = zip(axis.get_xticks(), axis.get_xticklabels(), strict=True)
    low, high = axis.get_xlim()
    assert not [x for x in axis.xaxis.get_minorticklocs() if low <= x <= high] or len(values) > 8
    return {x: text.get_text() for x, text in shown if low <= x <= high}


def test_the_few_values_that_were_asked_for_are_on_the_axis():
    assert _labels((0.12, 0.1, 0.11), "distance") == {0.1: "0.1", 0.11: "0.11", 0.12: "0.12"}
    assert _labels((0, 1.5, 4), "motion") == {0: "0", 1.5: "1.5", 4: "4"}
    # No label is written over another.
    assert _labels((100, 101, 1000)) == {100: "100", 101: "", 1000: "1000"}
    many = _labels(range(100, 1000, 100))
    assert 900 not in many
    assert many[100] == "100"


def test_points_that_differ_in_more_are_lines_of_their_own():
    scenes = classify.LesionPhantom(20, image_size=16)
    camera = joint.ImagingSystem(sensor=optics.Sensor(300), codec=compress.JPEG(50))
    found = [
        joint.evaluate(camera, scenes, photons=light, quality=quality)
        for light in (30, 300)
        for quality in (20, 80)
    ]
    (axis,) = points_figure({"a": found, "b": found[:1]}, metric="bpp").axes
    told = [line.get_label() for line in axis.lines]
    assert told == ["a, quality 20", "a, quality 80", "b"]
    np.testing.assert_allclose(
        axis.lines[1].get_xydata(), [(30, found[1].bpp), (300, found[3].bpp)]
    )
    (axis,) = points_figure({"a": found}, metric="psnr", along="bpp").axes
    assert axis.get_xlabel() == "rate, bits/pixel"
    assert [line.get_label() for line in axis.lines] == [
        "a, 30 photons/pixel", "a, 300 photons/pixel",
    ]  # fmt: skip
    np.testing.assert_allclose(
        axis.lines[0].get_xydata(), [(each.bpp, each.psnr) for each in found[:2]]
    )


@pytest.mark.parametrize("counted", [2, 1, 0])
def test_rates_are_of_files_where_all_of_a_line_were_counted(counted):
    """A codec may estimate far from its files: a line of both would bend for no reason."""
    scenes = classify.LesionPhantom(20, image_size=16)
    camera = joint.ImagingSystem(codec=compress.JPEG(50))
    found = [joint.evaluate(camera, scenes, quality=quality) for quality in (20, 80)]
    found = [
        replace(each, bpp_bytes=10 * each.bpp if number < counted else None)
        for number, each in enumerate(found)
    ]
    (axis,) = points_figure({"a": found}, metric="psnr", along="bpp").axes
    factor = 10 if counted == 2 else 1
    np.testing.assert_allclose(
        axis.lines[0].get_xydata(), [(factor * each.bpp, each.psnr) for each in found]
    )


def test_points_without_a_number_or_a_difference_are_refused():
    scenes = classify.LesionPhantom(20, image_size=16)
    camera = joint.ImagingSystem(sensor=optics.Sensor(300))
    found = [joint.evaluate(camera, scenes, photons=n) for n in (30, 300)]
    with pytest.raises(ValueError, match="none of 2 evaluations has both photons and auc"):
        points_figure({"a": found}, metric="auc")
    with pytest.raises(ValueError, match="1 evaluations are at one point"):
        points_figure({"a": found[:1]}, metric="psnr_scene")
    with pytest.raises(ValueError, match="along must be one of photons"):
        points_figure({"a": found}, metric="psnr_scene", along="light")
    with pytest.raises(TypeError, match=r"by the name of their system, \{'sharp': .* not list"):
        points_figure(found, metric="psnr_scene")  # pyright: ignore[reportArgumentType]


def test_robustness_without_a_curve_is_refused():
    for nothing in ({}, {"a": _swept()}):
        with pytest.raises(ValueError, match="there is no curve to draw"):
            robustness_figure(nothing)
    with pytest.raises(ValueError, match="metric must be one of accuracy, balanced_accuracy, not"):
        robustness_figure({"a": _swept(defocus=((0, 1), (0.8, 0.5)))}, metric="auc")


def test_a_figure_is_written_without_alpha(tmp_path):
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([0, 1], [0, 1])
    save_figure(figure, tmp_path / "figure.png")
    figure.savefig(tmp_path / "plain.png", dpi=110)
    with Image.open(tmp_path / "figure.png") as found, Image.open(tmp_path / "plain.png") as plain:
        assert (found.mode, found.size) == ("RGB", (220, 110))
        np.testing.assert_array_equal(found, plain.convert("RGB"))


def test_a_figure_of_a_palette_is_a_fraction_and_close(tmp_path):
    rng = np.random.default_rng(0)
    red = np.linspace(0.5, 0.8, 64)[:, None] + 0.02 * rng.normal(size=(64, 64))
    figure = Figure(figsize=(2, 2))
    figure.subplots().imshow(np.stack([red, 0.7 * red, 0.6 * red], -1).clip(0, 1))
    save_figure(figure, tmp_path / "all.png", dpi=80)
    for name in ("one.png", "two.png"):
        save_figure(figure, tmp_path / name, dpi=80, colours=64)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    with Image.open(tmp_path / "all.png") as every, Image.open(tmp_path / "one.png") as few:
        assert few.mode == "P"
        assert every.size == few.size == (160, 160)
        found = np.asarray(few.convert("RGB"))
        assert len(np.unique(found.reshape(-1, 3), axis=0)) <= 64
        apart = deltaE_ciede2000(rgb2lab(every), rgb2lab(found))
        assert apart.mean() < 1
        assert (found[0] == 255).all()  # paper stays white
    assert (tmp_path / "one.png").stat().st_size < 0.6 * (tmp_path / "all.png").stat().st_size


def test_the_curves_of_a_study_have_a_figure_of_their_own():
    study = RateAccuracy("accuracy", "seeds", (), None, ())
    with pytest.raises(
        TypeError, match=r"not a RateAccuracy; joint\.study\.page\.charts\.rate_acc"
    ):
        rate_figure(study)
