import csv
import json
import re

import numpy as np
import pytest
import torch
from commands import MISTAKE, OPTION, TINY, run
from PIL import Image

import compress
import joint
from joint.analysis import rate_curves
from joint.cli import main
from joint.command import rate
from joint.picture.file import read_picture


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "scenes"
    root.mkdir()
    for seed in range(7):
        rng = np.random.default_rng(seed)
        noise = rng.integers(0, 40 + 10 * seed, (40, 32, 3))
        values = (np.indices(noise.shape).sum(0) * 2 + noise).astype(np.uint8)
        Image.fromarray(values).save(root / f"{seed}.png")
    return root


def _told(capsys, *arguments):
    status, out, err = run(capsys, "rate", *arguments, "--json")
    assert (status, err) == (0, "")
    return json.loads(out)


def test_curves_of_standard_codecs_and_a_run(folder, coder, tmp_path, capsys):
    table, drawn = tmp_path / "c.csv", tmp_path / "c.png"
    codecs = ("jpeg:quality=5,20,50,80,95", "webp", f"{coder}:quality=0,1,2", "png")
    told = _told(capsys, folder, "--codec", *codecs, "--csv", table, "--figure", drawn)
    pictures = torch.cat([read_picture(path) for path in sorted(folder.iterdir())])
    pooled = compress.rate_curve(
        "jpeg", map(compress.JPEG, (5, 20, 50, 80, 95)), pictures,
        metric=lambda a, b: (a - b).square().flatten(1).mean(1),
    )  # fmt: skip
    jpeg, webp, own, png = told["curves"]
    assert [each["name"] for each in told["curves"]] == ["jpeg", "webp", str(coder), "png"]
    assert [point["bpp"] for point in jpeg["points"]] == pytest.approx(pooled.rate)
    psnr = [-10 * np.log10(mse) for mse in pooled.quality]
    assert [point["psnr"] for point in jpeg["points"]] == pytest.approx(psnr, abs=1e-3)
    assert [point["value"] for point in own["points"]] == [0, 1, 2]
    assert png["points"][0]["psnr"] is None
    first, second = told["differences"]
    assert (first["codec"], first["anchor"]) == ("webp", "jpeg")
    expected = compress.bd_rate(
        *zip(*((p["bpp"], p["psnr"]) for p in jpeg["points"]), strict=True),
        *zip(*((p["bpp"], p["psnr"]) for p in webp["points"]), strict=True),
        minimum_overlap=0.3,
    )
    assert first["bd_rate"] == pytest.approx(expected)
    assert first["bd_rate_p"] <= 0.05
    assert {"rate", "accuracy", "family"}.isdisjoint(first)
    low, high = first["bd_rate_interval"]
    assert low < expected < high
    assert second["bd_rate"] is None  # of three points
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5 + len(webp["points"]) + 3 + 1
    assert float(rows[5]["bd_rate_low"]) == low
    assert (rows[0]["codec"], rows[0]["setting"], rows[0]["value"]) == ("jpeg", "quality", "5")
    assert (rows[0]["bd_rate"], rows[-1]["psnr"]) == ("", "")
    with Image.open(drawn) as picture:
        assert picture.size[0] > 500
    status, out, err = run(capsys, "rate", folder, "--codec", *codecs[:2])
    assert (status, err) == (0, "")
    assert "  webp against jpeg: " in out
    assert _told(capsys, folder, "--codec", "png", "--limit", "3")["pictures"] == 3


def test_pictures_that_cannot_be_used_are_named_and_are_the_status(folder, capsys):
    (folder / "bad.png").write_text("words")
    status, out, err = run(capsys, "rate", folder, "--codec", "jpeg", "--image-size", "16")
    assert status == MISTAKE
    assert out.startswith("7 pictures, 1792 pixels")
    assert err.startswith("lens2label: 1 of 8 files could not be used:\n")
    assert "bad.png is not a picture that can be read" in err


def test_pictures_that_are_too_small_for_the_metric_or_the_square_are_left_out(folder, capsys):
    Image.new("RGB", (40, 10)).save(folder / "small.png")
    for asked, said in (
        (("--metric", "ssim"), "small.png has 10x40 pixels, but at least 11x11 are needed"),
        (("--image-size", "16"), "small.png has 10x40 pixels, and is not enlarged to a square"),
    ):
        status, out, err = run(capsys, "rate", folder, "--codec", "jpeg:quality=50", *asked)
        assert status == MISTAKE
        assert out.startswith("7 pictures")
        assert said in err
    status, out, err = run(capsys, "rate", folder, "--codec", "jpeg:quality=50")
    assert (status, err) == (0, "")
    assert "SSIM, MS-SSIM: none, as a picture is smaller than 11x11" in out


def test_the_accuracy_of_a_run_behind_each_codec(trained, coder, tmp_path, capsys):
    table, drawn = tmp_path / "c.csv", tmp_path / "c.svg"
    codecs = ("jpeg:quality=20,50,90", "kmeans:colors=8,2", coder, f"{trained}:quality=30")
    given = ("--run", trained, "--codec", *codecs, "--resamples", "20")
    told = _told(capsys, *given, "--csv", table, "--figure", drawn)
    _, system, parts = joint.load_run(trained)

    def judged(codec):
        return joint.evaluate(system.replace(codec=codec), parts.test, count_bytes=True)

    wanted = rate_curves(
        {
            "jpeg": [judged(compress.JPEG(quality)) for quality in (20, 50, 90)],
            "kmeans": [judged(compress.KMeansCodec(colors)) for colors in (2, 8)],
        },
        uncoded=judged(None),
        resamples=20,
    ).to_dict()
    for one, other in zip(told["curves"], wanted["curves"], strict=False):
        assert [p["bpp"] for p in one["points"]] == [p["rate"] for p in other["points"]]
        assert [p["accuracy"] for p in one["points"]] == [p["accuracy"] for p in other["points"]]
    assert told["uncoded"]["accuracy"] == wanted["uncoded"]["accuracy"]
    assert told["uncoded"]["bpp"] is None
    settings = [each["setting"] for each in told["curves"]]
    assert settings == ["quality", "colors", "quality", "quality"]
    assert [p["value"] for p in told["curves"][1]["points"]] == [2, 8]  # by their rates
    first = told["differences"][0]
    assert (first["codec"], first["anchor"]) == ("kmeans", "jpeg")
    assert {"bd_rate", "bd_rate_interval", "bd_rate_p", "bd_quality", "verdict"} <= {*first}
    assert [len(each["points"]) for each in told["curves"]] == [3, 2, 5, 1]
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [*rows[0]][:4] == ["codec", "setting", "value", "bpp"]  # as of pictures
    assert [row["value"] for row in rows[3:5]] == ["2", "8"]
    assert "balanced_accuracy_low" in rows[0]
    lost = told["curves"][0]["points"][0]["against_uncoded"]
    assert float(rows[0]["against_uncoded"]) == pytest.approx(lost["difference"])
    assert float(rows[0]["against_uncoded_low"]) == pytest.approx(lost["interval"][0])
    assert drawn.read_text().count("<svg") == 1
    status, out, err = run(capsys, "rate", *given, "--metric", "accuracy")
    assert (status, err) == (0, "")
    assert out.startswith("accuracy against bits per pixel")
    assert re.search(r"\n    [0-9.]+ bpp, colors=8: 0\.", out)


def test_codecs_are_computed_where_the_run_is(trained, coder, capsys, monkeypatch):
    """A device that is not the CPU, without one: of tensors that have no numbers."""
    devices = set()

    def judged(system, **_):
        devices.update(each.device.type for each in (*system.parameters(), *system.buffers()))
        raise ValueError("that is all")

    monkeypatch.setattr(rate, "usable_device", torch.device)
    monkeypatch.setattr(rate, "evaluate", judged)
    given = ("rate", "--run", trained, "--codec", coder, "--device", "meta")
    status, _, err = run(capsys, *given)
    assert (status, "that is all" in err) == (MISTAKE, True)
    assert devices == {"meta"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name picture files, folders or zips before the options, or a run whose accuracy"),
        (["scenes", "--run", "edge"], "or a run whose accuracy is compared, --run runs/edge, not"),
        (["scenes", "--metric", "accuracy"], "--metric: curves are of what grows with the rate"),
        (["scenes", "--metric", "ms-ssim"], "did you mean 'ms_ssim'?"),
        (["--run", "edge", "--metric", "nll"], "--metric: curves are of what grows with the rate"),
        (
            ["--run", "edge", "--image-size", "9"],
            "--image-size is for pictures; a run uses its whole",
        ),
        (["--run", "edge", "--resamples", "0"], "--resamples must be at least 1, not 0"),
        (["scenes", "--image-size", "0"], "--image-size must be at least 1, not 0"),
        (["scenes", "--codec", "jpeg:quality=0"], "--codec jpeg:quality=0: quality: "),
        (["scenes", "--figure", "x.doc"], "--figure writes a .png, .pdf or .svg, not x.doc"),
        (["scenes", "--csv", "scenes"], "--csv: scenes is a folder, name a file in it"),
    ],
)
def test_options_that_contradict_are_refused(folder, arguments, said, capsys, monkeypatch):
    monkeypatch.chdir(folder.parent)
    status, out, err = run(capsys, "rate", *arguments)
    assert (status, out) == (OPTION, "")
    assert said in err


def test_what_cannot_be_compared_is_refused(folder, coder, trained, capsys, monkeypatch):
    monkeypatch.chdir(folder.parent)
    for arguments, said in (
        (["scenes", "--codec", "jpg"], "nor is it a standard codec, which are jpeg, webp"),
        (["scenes", "--codec", "jpeg", "jpeg:quality=3"], "several codecs are called jpeg"),
        (["gone", "--codec", "jpeg"], "there is no gone"),
        (["--run", "scenes"], "it is no run folder"),
        (["--run", coder, "--codec", "jpeg"], "has no classifier: compare codecs on pictures"),
        (["--run", trained, "--codec", "jpeg", "jpeg"], "several codecs are called jpeg"),
        (
            ["--run", trained, "--metric", "recall.x"],
            "metric 'recall.x' names none of the",
        ),
    ):
        status, out, err = run(capsys, "rate", *arguments)
        assert (status, out) == (MISTAKE, ""), arguments
        assert said in err


def test_the_help_has_examples(capsys):
    with pytest.raises(SystemExit):
        main(["rate", "--help"])
    out = capsys.readouterr().out
    assert "For example:" in out
    assert "lens2label rate pictures/ --codec jpeg webp avif runs/edge" in out


def test_codecs_are_made_for_what_the_camera_hands_on(tmp_path, capsys):
    """Filters make three channels of four bands: codecs are asked for three."""
    folder, bands = tmp_path / "run", ["450e-9", "520e-9", "600e-9", "650e-9"]
    camera = ["--front-end", "lens", "--system.front-end.colour.filters", "fixed"]
    camera += ["--system.front-end.wavelengths", *bands, "--data.wavelengths", *bands]
    given = ["train", "--output", folder, "--quiet", "--codec", "none", *camera, *TINY]
    assert main([str(argument) for argument in given]) == 0
    told = _told(capsys, "--run", folder, "--codec", "webp:quality=10,50", "kmeans:colors=2,4")
    assert [len(curve["points"]) for curve in told["curves"]] == [2, 2]
