import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pages import RESAMPLES, Page, train
from PIL import Image

import classify
import compress
import joint
from joint.analysis import (
    Contrast,
    accuracy_losses,
    contrast_by_class,
    measure_contrast,
    rate_map,
)
from joint.cli import main
from joint.report import report_html
from joint.report.page import (
    with_interval,
)
from joint.report.scenes import Measuring, Scenes
from joint.report.shown import contrast_of_classes, element, rate
from joint.saved.folder import read_result


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
def test_of_several_qualities_the_rate_says_which(levels, quality, told, undrawn):
    scenes = classify.LesionPhantom(12, 32, seed=1)
    system = joint.ImagingSystem(codec=compress.FactorizedCodec(levels=levels)).eval()
    system.codec.quality = quality
    run = SimpleNamespace(test={"bpp": 1.0})
    found = rate(run, Scenes(system, scenes, scenes), Measuring(resamples=RESAMPLES))
    text = str(next(found))
    assert ("level of the codec" in text) == (told is not None)
    assert f"<td>{told}</td>" in text or told is None


def test_the_analyses_are_those_of_the_library(whole, parsed):
    _, system, parts = joint.load_run(whole)
    rates = rate_map(system, parts.test, resamples=RESAMPLES)
    (shown,) = [rows for rows in parsed.tables if "lesion, bits/pixel" in rows[0]]
    assert [row[0] for row in shown[1:]] == [row.name for row in rates.rows if row.pictures]
    for region, bpp, density in zip(
        rates.rows[0].regions, shown[1][2:5], shown[1][5:], strict=True
    ):
        assert bpp == f"{region.bpp:.3f}"
        assert density == with_interval(region.density, region.interval, ".2f")
    assert f"Another {rates.side_bits:,.0f} bits per picture, such as a header" in "".join(
        parsed.text
    )

    found = measure_contrast(parts.test, system=system, plane="handed")
    assert isinstance(found, Contrast)
    expected = contrast_by_class(
        found.gcnr.numpy(),
        parts.test.targets.numpy(),
        classes=parts.test.classes,
        groups=parts.test.groups,
        resamples=RESAMPLES,
    )
    gcnr, _ = [rows for rows in parsed.tables if rows[0][-1] == "handed"]
    assert gcnr[0] == ["class", "pictures", "scene", "irradiance", "measurement", "handed"]
    for row, cells in zip(expected.classes, gcnr[1:], strict=True):
        assert (cells[0], cells[-1]) == (row.name, with_interval(row.median, row.interval))

    lost = accuracy_losses(system, parts.test, resamples=RESAMPLES)
    (ladder,) = [rows for rows in parsed.tables if rows[0][0] == "becomes real"]
    assert [row[0] for row in ladder[2:-1]] == [s.stage.replace("_", " ") for s in lost.ladder[1:]]
    assert ladder[-1][3] == with_interval(*lost.lost.accuracy, "+.3f")
    assert ladder[-2][1].partition(" ")[0] == f"{read_result(whole)['test']['accuracy']:.3f}"


def test_the_contrast_of_classes_is_that_of_the_restored_picture(undrawn):
    class Negative(torch.nn.Module):
        def forward(self, image):
            return 1 - image

    scenes = classify.LesionPhantom(40, 32, seed=1, balance=0.0)
    system = joint.ImagingSystem(restoration=Negative()).eval()
    how = Measuring(resamples=RESAMPLES)
    found = contrast_of_classes(SimpleNamespace(), Scenes(system, scenes, scenes), how)
    expected = contrast_by_class(
        measure_contrast(scenes, system=system, plane="measurement").weber.numpy(),
        scenes.targets.numpy(),
        classes=scenes.classes,
        measure="weber",
        groups=scenes.groups,
        resamples=RESAMPLES,
    )
    text = "".join(map(str, found))
    for row in expected.classes:
        assert with_interval(row.median, row.interval) in text


@pytest.mark.filterwarnings(
    "ignore:This PSF is not that of the manufactured element"
)  # of the training too
def test_an_element_that_is_cut_off_is_spoken_of(tmp_path, undrawn):
    options = [
        *("--front-end", "lens", "--codec", "none", "--classifier", "none"),
        *("--objective.task", 0, "--objective.restoration", 1, "--training.monitor", "psnr_scene"),
        *("--system.front-end.element", "cubic", "--system.front-end.restoration", 0.05),
    ]
    narrow = train(tmp_path / "narrow", *options, "--system.front-end.strength", 6)
    read = Page(report_html([narrow], quick=True, resamples=RESAMPLES))
    shown = [image["alt"] for image in read.images]
    assert "Contrast of the lens at the sensor and through focus" in shown
    said = "".join(read.text)
    assert "With several places or wavelengths, also the best focus of each." in said
    assert "the sensor's picture, restored (measurement), and what" in said
    assert "the MTF shown is that before deblurring" in said
    assert "% of the light falls outside of the window of 31 x 31 pixels" in said
    assert "where a pupil of 96 x 96 samples is too coarse" in said
    wide = train(tmp_path / "wide", *options, "--system.front-end.strength", 1)
    said = "".join(Page(report_html([wide], quick=True, resamples=RESAMPLES)).text)
    assert "of the window of" not in said


@pytest.mark.filterwarnings("error")
def test_light_that_is_lost_at_a_working_distance_is_told_by_the_page_alone(undrawn):
    config = joint.LensConfig(focus=0.3, working_distances=(0.12, 0.3))
    scenes = classify.LesionPhantom(4, 32, progress=False)
    system = joint.ImagingSystem(front_end=joint.build_front_end(config, (32, 32), 3)).eval()
    found = element(SimpleNamespace(), Scenes(system, scenes, scenes), Measuring())
    page = Page("".join(map(str, found)))
    assert "% of the light falls outside of the window of 31 x 31" in "".join(page.text)
    with pytest.warns(UserWarning, match=r"At 0\.12 m this PSF"):
        near = joint.evaluate(system, scenes, distance=0.12)
    assert page.rows()["0.12"] == ["-", f"{near.psnr_scene:.2f}"]


def test_without_a_codec_the_fidelity_to_the_scene_is_told():
    run = SimpleNamespace(test={"psnr_scene": 23.456})
    page = Page("".join(rate(run, "gone", Measuring(True, 1, 10, 1, "cpu"))))
    assert page.rows()["PSNR against the scene"] == ["23.46", "dB"]
    assert "so there is no rate" in "".join(page.text)


def test_without_masks_there_is_no_region(tmp_path, undrawn):
    generator = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for k in range(20):
            pixels = generator.integers(0, 255, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pets" / name / f"{k}.png")
    run = ["train", "--output", tmp_path / "run", "--quiet", "--data", tmp_path / "pets"]
    tiny = ["--data.image-size", "32", "--training.epochs", "1", "--codec", "jpeg"]
    assert main([str(word) for word in (*run, *tiny)]) == 0
    said = "".join(Page(report_html([tmp_path / "run"], quick=True, pictures=2, resamples=9)).text)
    assert "The data set has no lesion masks." in said
    assert re.search(r"No rate by region: none of the \d+ pictures has a mask", said)
