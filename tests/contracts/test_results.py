"""What a page of results says is what the committed files say."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import optics

DOCS = Path(__file__).parents[2] / "docs"
STUDIES = sorted((DOCS / "results" / "studies").iterdir())


@pytest.mark.parametrize("folder", STUDIES, ids=lambda folder: folder.name)
def test_the_page_of_studies_has_the_numbers_of_their_reports(folder):
    page = (DOCS / "studies.md").read_text().replace("*", "")
    report = json.loads((folder / "report.json").read_text())
    assert report["planned"]
    for contrast in report["planned"]:
        low, high = contrast["interval"]
        shown = f"{contrast['difference']:+.3f} [{low:+.3f}, {high:+.3f}]"
        rows = [line for line in page.splitlines() if line.startswith("|") and shown in line]
        assert rows, f"{contrast['name']}: {shown} is not in a table of the page"
        p = f"{contrast['adjusted_p']:.3f}".removesuffix(".000")
        told = [row for row in rows if contrast["verdict"] in row and f" {p} " in row]
        assert told, (contrast["name"], p, rows)
    for link in ("report.txt", "rows.csv"):
        assert f"results/studies/{folder.name}/{link}" in page


@pytest.mark.parametrize(
    ("study", "named"),
    [
        (
            "edge_filter_ham10000",
            {
                "no filter": "none",
                "trained, from a Laplacian of a Gaussian": "trained",
                "fixed Laplacian": "laplacian",
            },
        ),
        (
            "unsharp_ham10000",
            {"without a filter": "none", "trained, from an unsharp mask": "trained"},
        ),
    ],
)
def test_the_pages_have_the_comparison_on_real_lesions(study, named):
    found = DOCS / "results" / "studies" / study
    (gap,) = json.loads((found / "report.json").read_text())["planned"]
    low, high = gap["interval"]
    shown = f"balanced accuracy {gap['difference']:+.3f} [{low:+.3f}, {high:+.3f}]."
    assert shown in " ".join((DOCS / "seed.md").read_text().split())
    rows = _rows(study)
    page = (DOCS / "studies.md").read_text()
    for name, camera in named.items():
        own = [row for row in rows if row["axis.camera"] == camera]
        assert len(own) == 6
        balanced, *others = (
            f"{np.mean([float(row[metric]) for row in own]):.3f}"
            for metric in ("balanced_accuracy", "accuracy", "auc")
        )
        cells = _cells(page[page.index("### On HAM10000") :], name)
        assert [cells[0].split()[0], *cells[1:]] == [balanced, *others]


def test_the_page_has_the_light_of_the_filters_that_began_as_an_unsharp_mask():
    # The positive exposure passes all of its light, so that the rest is that of the negative one.
    light = [
        2 * float(row["throughput"]) - 1
        for row in _rows("unsharp_ham10000")
        if row["axis.camera"] == "trained"
    ]
    began = optics.LearnedKernel("unsharp", 7).kernels[0, 1].detach().sum((-2, -1)).mean()
    page = " ".join((DOCS / "studies.md").read_text().split())
    assert len(light) == 6
    assert (
        f"begins with {float(began):.3f} of the light that it could pass, and ends with "
        f"{min(light):.3f} to {max(light):.3f} in all six runs"
    ) in page


def test_the_page_has_the_scores_and_the_codes_of_the_shutters():
    page = (DOCS / "studies.md").read_text()
    page = page[page.index("## A shorter exposure") :].replace("*", "")
    rows = _rows("shutter")
    shutters = ("open", "half", "quarter", "eighth", "fluttered", "learned")
    codes = json.loads((DOCS / "results" / "studies" / "shutter" / "codes.json").read_text())
    for light, found in codes.items():
        scores = [
            np.mean([float(r["balanced_accuracy"]) for r in rows if _is(r, light, name)])
            for name in shutters
        ]
        assert _cells(page, light) == [f"{score:.3f}" for score in scores]
        learned = np.array(list(found.values()))
        # The codes are those of the runs.
        light_of = {r["seed"]: float(r["throughput"]) for r in rows if _is(r, light, "learned")}
        np.testing.assert_allclose(
            learned.mean(1), [light_of[seed] for seed in found], rtol=0, atol=1e-4
        )
        pairs = (learned + learned[:, ::-1]).mean(0)[:8] / 2
        shares = f"{learned.mean(1).min():.2f} to {learned.mean(1).max():.2f}"
        assert _cells(page, f"learned at {light}") == [*(f"{p:.2f}" for p in pairs), shares]
        # "It closes at both ends, in each of the sixteen runs."
        assert len(learned) == 8
        assert (learned[:, [0, -1]].max(1) < learned[:, 4:12].min(1)).all()


def _is(row, light, shutter):
    return (row["axis.light"], row["axis.shutter"]) == (light, shutter)


def test_the_page_has_the_scores_with_and_without_a_restoration():
    page = (DOCS / "studies.md").read_text()
    page = page[page.index("## A network that restores") :]
    before, rows = _rows("restoration_ham10000"), _rows("scene_ham10000")
    named = {
        "no restoration": "none",
        "a U-Net": "labels",
        "a U-Net, for labels and scene": "labels and scene",
    }
    # "Whose runs it shares."
    assert {row["digest"] for row in before} < {row["digest"] for row in rows}
    for name, level in named.items():
        own = [row for row in rows if row["axis.restoration"] == level]
        assert len(own) == 6
        mean = _means(own, "balanced_accuracy", "accuracy", "auc", "psnr_scene", "macs")
        balanced, accuracy, auc, psnr, macs = _cells(page, name)
        assert balanced.split()[0] == f"{mean['balanced_accuracy']:.3f}"
        assert [accuracy, auc] == [f"{mean[metric]:.3f}" for metric in ("accuracy", "auc")]
        assert [psnr, macs] == [f"{mean['psnr_scene']:.1f}", f"{mean['macs'] / 1e6:.1f} M"]


def test_the_page_has_the_scores_of_full_and_of_binned_pixels():
    page = (DOCS / "studies.md").read_text()
    rows = _rows("binning_ham10000")
    gain = []
    for name, level in {"64 x 64 pixels": "full", "32 x 32, each of four": "binned"}.items():
        own = [row for row in rows if row["axis.pixels"] == level]
        assert len(own) == 6
        mean = _means(own, "balanced_accuracy", "accuracy", "auc", "bits", "macs")
        balanced, accuracy, auc, bits, macs = _cells(page, name)
        assert balanced.split()[0] == f"{mean['balanced_accuracy']:.3f}"
        assert [accuracy, auc] == [f"{mean[metric]:.3f}" for metric in ("accuracy", "auc")]
        assert bits == f"{mean['bits']:,.0f}".replace(",", " ")
        assert macs == f"{mean['macs'] / 1e6:.1f} M"
        own.sort(key=lambda row: int(row["seed"]))
        gain.append([float(row["balanced_accuracy"]) for row in own])
    assert all(np.subtract(gain[1], gain[0]) > 0)  # "all six seeds"


def test_the_page_has_the_scores_of_cameras_trained_in_other_light():
    page = (DOCS / "studies.md").read_text()
    page = page[page.index("## Trained in one light") :]
    found = json.loads((DOCS / "results" / "light_range.json").read_text())
    named = {design["number"]: design["levels"]["trained"] for design in found["designs"]}
    assert [place["point"]["photons"] for place in found["places"]] == [30, 100, 300, 1000, 3000]
    for number, name in named.items():
        cells = _cells(page, name)
        for place, cell in zip(found["places"], cells, strict=True):
            own = place["designs"][number]
            low, high = own["interval"]
            assert cell == f"{own['mean']:.3f} [{low:.3f}, {high:.3f}]"
    said = ("range minus 300, at 30 photons", "range minus 300, at 300 photons")
    for name, one in zip((*said, "range minus 30, at 30 photons"), found["planned"], strict=True):
        low, high = one["interval"]
        difference = f"{one['difference']:+.3f} [{low:+.3f}, {high:+.3f}]"
        assert _cells(page, name) == [difference, f"{one['adjusted_p']:.3f}", one["verdict"]]
        assert one["verdict"] == "not shown"
    # "What was trained at 30 loses 0.08 to 0.09 in any other light."
    losses = [place["comparisons"][1]["difference"] for place in found["places"][1:]]
    assert all(0.075 <= loss < 0.095 for loss in losses)


def _rows(study):
    text = (DOCS / "results" / "studies" / study / "rows.csv").read_text()
    return list(csv.DictReader(text.splitlines()))


def _means(rows, *metrics):
    return {metric: np.mean([float(row[metric]) for row in rows]) for metric in metrics}


def _cells(page, start):
    (row,) = (line for line in page.splitlines() if line.startswith(f"| {start} |"))
    return [cell.strip() for cell in row.strip("|").split("|")][1:]


def _with_interval(found, form=".3f"):
    """A number of a file as a page prints it: ``value [low, high]``."""
    numbers = (f"{each:{form}}" for each in (found["value"], *found["interval"]))
    return "{} [{}, {}]".format(*numbers).replace("-", "−")


def test_the_page_of_classifiers_has_the_numbers_of_its_runs():
    page = (DOCS / "classifiers.md").read_text()
    found = json.loads((DOCS / "results" / "classifier" / "gpu.json").read_text())
    methods = {
        "none": "none",
        "weights": "weights 1/n",
        "sqrt_weights": "weights 1/√n",
        "effective": "effective number, β = 0.999",
        "focal": "focal, γ = 2",
        "balanced_softmax": "balanced softmax",
        "logit_adjusted": "logit adjustment, 0.5",
        "balanced_sampler": "balanced sampler (CPU)",
        "sqrt_sampler": "square-root sampler (CPU)",
    }
    table = found["table"]
    assert methods.keys() == {run["method"] for run in table["runs"]}
    for method, label in methods.items():
        runs = [run for run in table["runs"] if run["method"] == method]
        assert [run["seed"] for run in runs] == [0, 1, 2]
        wanted = []
        for part, names in (
            ("plain", ("accuracy", "balanced_accuracy", "macro_f1", "auc")),
            ("adjusted", ("accuracy", "balanced_accuracy")),
        ):
            values = [[run[part][name] for run in runs] for name in names]
            wanted += [f"{np.mean(each):.3f} ± {np.std(each, ddof=1):.3f}" for each in values]
        wanted.insert(4, f"{np.mean([run['tau'] for run in runs]):.2f}")
        gap = table["against_none"][method]
        assert _cells(page, label) == [*wanted, gap.replace("-0", "−0")]
    first = next(r for r in table["runs"] if (r["method"], r["seed"]) == ("none", 0))
    alone = {
        "ldam_drw": "LDAM, deferred weights",
        "mixup": "mixup",
        "cutmix": "CutMix",
    }
    told = [(alone[r["method"]], r, r["against_none"]) for r in table["one_split"]["runs"]]
    assert len(told) == len(alone)
    for label, run, gap in [("none, first split", first, "-"), *told]:
        names = ("accuracy", "balanced_accuracy", "macro_f1", "auc")
        wanted = [f"{run['plain'][name]:.3f}" for name in names] + [f"{run['tau']:.2f}"]
        wanted += [f"{run['adjusted'][name]:.3f}" for name in names[:2]]
        assert _cells(page, label) == [*wanted, gap.replace("-0", "−0")]
    phantoms = found["phantoms"]
    names = ("accuracy", "balanced_accuracy", "macro_f1", "auc")
    labels = ("random weights", "a training on phantoms", "phantoms, rate 5e-4")
    for label, run in zip(labels, (first, *phantoms["runs"]), strict=True):
        wanted = [f"{run['plain'][name]:.3f}" for name in names] + [f"{run['tau']:.2f}"]
        wanted += [f"{run['adjusted'][name]:.3f}" for name in names[:2]]
        assert _cells(page, label) == wanted
    gaps = [phantoms["less_none"]["plain"][name] for name in names]
    gaps += [phantoms["less_none"]["adjusted"][name] for name in names[:2]]
    told = [_with_interval(gap, "+.3f") for gap in gaps]
    assert _cells(page, "difference") == [*told[:4], "", *told[4:]]
    order = ("accuracy", "macro_f1", "auc", "balanced_accuracy")
    for part, run in phantoms["recipe"]["mean of the three nets"].items():
        if part != "recall":
            wanted = [_with_interval(run[name]) for name in order]
            assert _cells(page, f"phantoms, one vote of three nets, {part}") == wanted
    for part in ("as trained", "weights of power 0.25", "re-weighted"):
        runs = [run for run in phantoms["recipe"]["runs"] if part in run]
        for run in runs:
            wanted = [_with_interval(run[part][name]) for name in order]
            assert _cells(page, f"phantoms, seed {run['seed']}, {part}") == wanted
        means = [np.mean([run[part][name]["value"] for run in runs]) for name in order]
        if len(runs) > 1:
            assert _cells(page, f"phantoms, mean, {part}") == [f"{mean:.3f}" for mean in means]
    floor = phantoms["recipe"]["floor"]
    for run in floor["runs"]:
        if run["net"] != "weights of power 0.25":
            wanted = [_with_interval(run[name]) for name in order]
            wanted.append(f"{run['tau']:.2f}".replace("-", "−"))
            assert _cells(page, f"one point, seed {run['seed']}, {run['net']}") == wanted
    for points in (0.5, 1.0, 1.5, 2.0):
        means = [mean for mean in floor["means"] if mean["points"] == points]
        assert _cells(page, f"{points}") == [
            f"{mean['accuracy']:.3f}, {mean['balanced_accuracy']:.3f}" for mean in means
        ]
    for mean in (mean for mean in floor["means"] if mean["points"] == 1.0):
        runs = [run for run in floor["runs"] if run["net"] == mean["net"]]
        for name in order:
            values = [run[name]["value"] for run in runs]
            assert mean[name] == pytest.approx(np.mean(values), abs=1e-4)
        told = [f"{mean[name]:.3f}" for name in order]
        assert _cells(page, f"one point, mean, {mean['net']}") == [*told, ""]
    imagenet = found["imagenet"]
    for run in imagenet["runs"]:
        wanted = [_with_interval(run[name]) for name in order]
        assert _cells(page, f"ImageNet, {run['net']}") == [*wanted, f"{run['tau']:.2f}"]
    less = imagenet["less_phantoms"]
    wanted = [_with_interval(less[name], "+.3f") if name in less else "" for name in order]
    assert _cells(page, "less phantoms, seed 0, as trained") == [*wanted, ""]
    votes = found["votes"]
    for run in votes["runs"]:
        wanted = [_with_interval(run[name]) for name in order]
        who = [run["net"], *([] if run["seed"] is None else [f"seed {run['seed']}"]), run["how"]]
        assert _cells(page, ", ".join(who)) == [*wanted, f"{run['tau']:.2f}"]
    for mean in votes["means"]:
        own = [r for r in votes["runs"] if (r["net"], r["how"]) == (mean["net"], mean["how"])]
        for name in order:
            assert mean[name] == pytest.approx(np.mean([r[name]["value"] for r in own]), abs=1e-4)
        told = [f"{mean[name]:.3f}" for name in order]
        assert _cells(page, f"{mean['net']}, mean, {mean['how']}") == [*told, ""]
    (pair,) = (m for m in votes["means"] if (m["net"], m["how"]) == ("two nets", "one point"))
    said = f"accuracy {pair['accuracy']:.3f}, macro F1 {pair['macro_f1']:.3f}, balanced accuracy "
    said += f"{pair['balanced_accuracy']:.3f}"
    assert said in " ".join((DOCS / "seed.md").read_text().split())
    for gap in votes["less_phantoms"]:
        told = [gap[name] for name in ("accuracy", "auc", "balanced_accuracy")]
        shown = [_with_interval(each, "+.3f") for each in told]
        assert _cells(page, f"two nets less phantoms, seed {gap['seed']}") == shown
    for run in found["recipe"]["runs"]:
        order = [("plain", name) for name in ("accuracy", "macro_f1", "auc", "balanced_accuracy")]
        shown = [*order, ("adjusted", "balanced_accuracy")]
        wanted = [_with_interval(run[part][name]) for part, name in shown]
        wanted.insert(4, f"{run['tau']:.2f}")
        assert _cells(page, f"seed {run['seed']}") == wanted
    names = ("accuracy", "macro_f1", "auc", "balanced_accuracy")
    recipe = found["recipe"]
    for runs, part, label in (
        (recipe["views"]["runs"], "plain", "as trained"),
        (recipe["reweighted"]["runs"], "eight views", "re-weighted"),
    ):
        assert [run["seed"] for run in runs] == [0, 1, 2]
        for run in runs:
            wanted = [_with_interval(run[part][name]) for name in names]
            assert _cells(page, f"seed {run['seed']}, {label}") == wanted
        means = [np.mean([run[part][name]["value"] for run in runs]) for name in names]
        assert _cells(page, f"mean, {label}") == [f"{mean:.3f}" for mean in means]
    balanced = [run["adjusted"]["balanced_accuracy"]["value"] for run in recipe["views"]["runs"]]
    assert ", ".join(f"{value:.3f}" for value in balanced) in page


def test_the_page_of_classifiers_has_the_numbers_of_methods_and_backbones():
    page = (DOCS / "classifiers.md").read_text()
    runs = json.loads((DOCS / "results" / "classifier" / "backbones.json").read_text())["runs"]
    remedies = {
        "none": "none",
        "sqrt_weights": "weights 1/√n",
        "sqrt_sampler": "square-root sampler",
        "balanced_softmax": "balanced softmax",
    }
    assert len(runs) == 3 * len(remedies)
    for run in runs:
        names = ("accuracy", "balanced_accuracy", "macro_f1", "auc")
        wanted = [f"{run['plain'][name]['value']:.3f}" for name in names] + [f"{run['tau']:.2f}"]
        wanted += [f"{run['adjusted'][name]['value']:.3f}" for name in names[:2]]
        gap = run["against_none"].replace("-0", "−0")
        assert _cells(page, f"`{run['backbone']}`, {remedies[run['method']]}") == [*wanted, gap]


def test_the_page_of_mosaics_has_the_numbers_of_its_measurement():
    page = (DOCS / "howto" / "raw.md").read_text()
    cost = page[page.index("## Cost") : page.index("## Labels on HAM10000")]
    seconds = json.loads((DOCS / "results" / "raw.json").read_text())["step"]["seconds"]
    for name, measured in seconds.items():
        assert _cells(cost, f"`{name}`") == [f"{each:.3f}" for each in measured]


def test_the_page_of_raw_mosaics_has_the_labels_of_its_runs():
    page = (DOCS / "howto" / "raw.md").read_text()
    labels = page[page.index("## Labels on HAM10000") :]
    arms = json.loads((DOCS / "results" / "raw.json").read_text())["labels"]["arms"]
    for name, arm in arms.items():
        wanted = []
        for metric in ("accuracy", "balanced_accuracy"):
            each = arm[metric]
            wanted.append(f"{np.mean(each):.3f} ({min(each):.3f} to {max(each):.3f})")
            if name == "bilinear":
                wanted.append("-")
                continue
            gap, low, high, _ = arm[f"{metric}_less_bilinear"]
            against = np.mean(each) - np.mean(arms["bilinear"][metric])
            assert gap == pytest.approx(against, abs=0.005)  # a mean over all test images
            assert low < 0 < high
            wanted.append(f"{gap:+.3f} [{low:+.3f}, {high:+.3f}]".replace("-", "−"))
        assert _cells(labels, f"`{name}`") == wanted


def test_the_page_of_restoration_has_the_numbers_of_its_runs():
    page = (DOCS / "howto" / "restoration.md").read_text()
    runs = json.loads((DOCS / "results" / "restoration.json").read_text())["runs"]
    for name in {run["restoration"] for run in runs}:
        wanted = []
        for photons in (100, 10_000):
            own = [r["psnr"] for r in runs if (r["restoration"], r["photons"]) == (name, photons)]
            spread = f" ({min(own):.1f} to {max(own):.1f})" if len(own) > 1 else ""
            wanted.append(f"{np.mean(own):.1f}{spread}")
        assert _cells(page, name) == wanted


def test_the_page_of_distillation_has_the_numbers_of_its_runs():
    page = (DOCS / "howto" / "distillation.md").read_text()
    found = json.loads((DOCS / "results" / "distillation.json").read_text())
    names = {
        "accuracy": "accuracy",
        "balanced_accuracy": "balanced accuracy",
        "auc": "AUC",
        "nll": "NLL, nats",
    }
    gaps = {
        f"{label}, seed {run['seed']}": run[name]
        for run in found["runs"]
        for name, label in names.items()
    }
    for name, gap in found["mean"].items():
        gaps[f"{names[name]}, mean"] = gap
        each = [run[name]["difference"] for run in found["runs"]]
        assert gap["difference"] == pytest.approx(np.mean(each), abs=2e-4)
    for row, gap in gaps.items():
        low, high = gap["interval"]
        assert gap["difference"] == pytest.approx(gap["taught"] - gap["plain"], abs=2e-4)
        told = f"{gap['difference']:+.3f} [{low:+.3f}, {high:+.3f}]".replace("-", "−")
        wanted = [f"{gap['plain']:.3f}", f"{gap['taught']:.3f}", told, f"{gap['p']:.3f}"]
        assert _cells(page, row) == wanted
    rows = [line for line in page.splitlines() if line.startswith("|") and " [" in line]
    assert len(rows) == len(gaps)
    teacher = found["teacher"]
    told = [f"{teacher[name]:.3f}" for name in ("accuracy", "balanced_accuracy", "auc")]
    page = " ".join(page.split())
    assert "an accuracy of {}, a balanced accuracy of {} and an AUC of {}.".format(*told) in page
    tested = found["pictures"]
    assert f"{tested['test']} test images of {tested['lesions']} lesions" in page


def test_the_page_of_reliance_has_the_numbers_of_its_run():
    page = (DOCS / "howto" / "classifier.md").read_text()
    found = json.loads((DOCS / "results" / "reliance.json").read_text())
    names = ("accuracy", "balanced_accuracy", "auc")
    rows = 0
    words = {"stop": "without", "pass": "alone", "below": "all of", "codes": "codes without"}
    for kind, word in words.items():
        rings = found[kind]["rings"][1:5] if kind == "below" else found[kind]["rings"]
        rows += len(rings)
        for ring in rings:
            told = [_with_interval(ring["change"][name], "+.3f") for name in names]
            wanted = [f"{100 * ring['power']:.1f} %", *told, f"{100 * ring['flipped']:.1f} %"]
            assert _cells(page, f"{word} {ring['low']:.4f} to {ring['high']:.4f}") == wanted
            for name in names:
                change = ring["scores"][name]["value"] - found[kind]["scores"][name]["value"]
                assert ring["change"][name]["value"] == pytest.approx(change, abs=2e-5)
    starts = tuple(f"| {word} 0" for word in words.values())
    assert sum(line.startswith(starts) for line in page.splitlines()) == rows
    page = " ".join(page.split())
    values = [found["stop"]["scores"][name]["value"] for name in names]
    assert (
        "an accuracy of {:.3f}, a balanced accuracy of {:.3f} and an AUC of {:.3f}.".format(*values)
        in page
    )
    assert f"{found['pictures']} test images of {found['lesions']} lesions" in page
    again = max(ring["left_in_codes"] for ring in found["stop"]["rings"] if ring["low"] < 0.5)
    assert f"up to {100 * again:.0f} % of the power taken out of the light is in the" in page
    for kind, told in (("stop", "{} when it is taken out of the light"), ("codes", "{} out of")):
        (ring,) = (ring for ring in found[kind]["rings"] if ring["high"] == 0.0625)
        assert told.format(_with_interval(ring["change"]["accuracy"], "+.3f")) in page


@pytest.mark.parametrize(
    ("file", "targets", "title"),
    [
        ("equal_rate.json", (0.4, 0.8), "{}, {}, seed {}"),
        ("equal_rate_ham10000.json", (0.35,), "{}, {}"),
    ],
)
def test_the_page_of_equal_rates_has_the_numbers_of_its_runs(file, targets, title):
    page = (DOCS / "howto" / "equal_rate.md").read_text()
    found = {
        (run["codec"], run["camera"], run["seed"], run["kind"], run["target"]): run
        for run in json.loads((DOCS / "results" / file).read_text())["runs"]
    }
    least = targets[0]
    columns = [
        ("default weight", None, "bpp"), *(("target", each, "bpp") for each in targets),
        ("held weight", least, "bpp"), ("target", least, "psnr"), ("held weight", least, "psnr"),
        ("target", least, "task"), ("held weight", least, "task"),
    ]  # fmt: skip
    for design in {key[:3] for key in found}:
        wanted = []
        for kind, target, name in columns:
            run = found[(*design, kind, target)]
            digits = 2 if name == "psnr" else 3
            wanted.append(f"{run[name]:.{digits}f}")
        assert _cells(page, title.format(*design)) == wanted
    for run in found.values():
        assert run["bpp_bytes"] == pytest.approx(run["bpp"], rel=0.01)
    near = [run["bpp"] / least - 1 for run in found.values() if _aimed(run, least)]
    assert max(map(abs, near)) < 0.02
    if 0.8 in targets:
        far = [run["bpp"] / 0.8 - 1 for run in found.values() if _aimed(run, 0.8)]
        assert (min(far), max(far)) == pytest.approx((-0.14, -0.07), abs=5e-3)


def test_a_longer_training_holds_the_higher_rate_too():
    page = (DOCS / "howto" / "equal_rate.md").read_text()
    runs = json.loads((DOCS / "results" / "equal_rate_90.json").read_text())["runs"]
    for design in {(run["codec"], run["camera"]) for run in runs}:
        own = [run for run in runs if (run["codec"], run["camera"]) == design]
        rates = {run["target"]: run["bpp"] for run in own if run["kind"] != "held weight"}
        wanted = [f"{rates[target]:.3f}" for target in (None, 0.4, 0.8)]
        assert _cells(page, "{}, {}, 90".format(*design)) == wanted
        assert abs(rates[0.4] / 0.4 - 1) < 0.01
        assert -0.024 < rates[0.8] / 0.8 - 1 < 0.01


def _aimed(run, target):
    return (run["kind"], run["target"]) == ("target", target)


def _of_six(values, intervals=None):
    """Cells of a row of the page on contrast: the mean, the range, intervals without 0."""
    cells = [f"{np.mean(values):+.2f}", f"{min(values):+.2f} to {max(values):+.2f}"]
    without = [low > 0 or high < 0 for low, high in intervals if low is not None]
    return [*cells, f"{sum(without)} of 6"]


def test_the_page_on_contrast_has_the_numbers_of_six_seeds():
    runs = json.loads((DOCS / "results" / "contrast" / "ham10000_seeds.json").read_text())
    page = (DOCS / "contrast.md").read_text()
    page = page[page.index("### Other seeds") : page.index("## DF, BCC and AK")]
    assert len({run["run"] for run in runs}) == 6

    def of(measure, part):
        return [run["measures"][measure][part] for run in runs]

    for measure, name in (("gcnr", "gCNR"), ("delta_e", "ΔE")):
        for kind in ("ignoring class", "within class"):
            slopes = [effect[kind.replace(" ", "_")] for effect in of(measure, "effect")]
            assert _cells(page, f"slope of log-odds on {name}, {kind}") == _of_six(
                [each["slope"] for each in slopes], [each["interval"] for each in slopes]
            )
    matched = {
        "accuracy, highest third of gCNR less lowest, matched": "gcnr",
        "the same of ΔE": "delta_e",
    }
    for row, measure in matched.items():
        strata = of(measure, "strata")
        assert _cells(page, row) == _of_six(
            [each["difference"] for each in strata], [each["interval"] for each in strata]
        )
    alone = (
        *(("gCNR", "gcnr", *each) for each in (("nevi", "nv"), ("BKL", "bkl"), ("AK", "akiec"))),
        *(("ΔE", "delta_e", *each) for each in (("BKL", "bkl"), ("AK", "akiec"))),
        ("ΔE", "delta_e", "melanomas", "mel"),
    )
    for contrast, measure, name, label in alone:
        strata = of(measure, "strata")
        k = strata[0]["classes"].index(label)
        assert _cells(page, f"the same of {contrast}, {name} alone") == _of_six(
            [each["accuracy"][k][-1] - each["accuracy"][k][0] for each in strata],
            [each["class_intervals"][k] for each in strata],
        )
    ranks = {
        "rank correlation of distance in gCNR and confusion, all pairs": "gcnr",
        "rank correlation of distance in ΔE and confusion, all pairs": "delta_e",
    }
    for row, measure in ranks.items():
        pairs = of(measure, "confusion")
        assert _cells(page, row) == _of_six(
            [each["spearman"] for each in pairs], [each["interval"] for each in pairs]
        )
    sweeps = [run["sweep"] for run in runs]
    for k, factor in enumerate(sweeps[0]["factors"]):
        shown = [np.array([[s["balanced_accuracy"][k], *s["recall"][k]] for s in sweeps])]
        cells = [f"{v.mean():.2f} ({v.min():.2f}, {v.max():.2f})" for v in shown[0].T]
        assert _cells(page, f"{factor:g}") == cells
    # "No seed gains balanced accuracy from another contrast than the pictures' own."
    assert {int(np.argmax(s["balanced_accuracy"])) for s in sweeps} == {4}


def test_the_page_on_contrast_has_the_numbers_of_six_seeds_of_codecs():
    found = json.loads((DOCS / "results" / "contrast" / "ham10000_codecs.json").read_text())
    page = (DOCS / "contrast.md").read_text()
    page = page[page.index("### Six seeds of the codecs") :]
    names, scores = ("6X", "3X", "1.5X"), ("accuracy", "balanced_accuracy")

    def over(values, form):
        return f"{np.mean(values):{form}} ({min(values):{form}} to {max(values):{form}})"

    rows = {
        (name, kind): [found["rows"][f"{name}-{seed}, {kind}"] for seed in range(6)]
        for name in names
        for kind in ("frozen", "joint")
    }
    forms = {"bpp": ".2f", "psnr": ".1f"} | dict.fromkeys(scores, ".3f")
    for (name, kind), six in rows.items():
        wanted = [over([row[key] for row in six], form) for key, form in forms.items()]
        assert _cells(page, f"{name}, {kind}, six") == wanted
    for pair, each in found["differences"].items():
        ends = [(each[key]["value"], *each[key]["interval"]) for key in scores]
        wanted = ["{:+.3f} [{:+.3f}, {:+.3f}]".format(*numbers) for numbers in ends]
        assert _cells(page, f"{pair}, six") == wanted
        assert max(abs(end) for _, *both in ends for end in both) < 0.0105  # "one hundredth"
    for name in names:
        both = list(zip(rows[name, "joint"], rows[name, "frozen"], strict=True))
        wanted = [over([a[key] - b[key] for a, b in both], "+.3f") for key in scores]
        assert _cells(page, f"{name}, joint - frozen") == wanted
        assert min(b["psnr"] - a["psnr"] for a, b in both) > 10
        handed = {
            measure: [found["handed"][f"{name}-{seed}, {measure}"] for seed in range(6)]
            for measure in ("gcnr", "delta_e", "edge")
        }
        forms_of = {"gcnr": "+.3f", "delta_e": "+.2f", "edge": "+.2f"}
        wanted = [over([e["change"] for e in handed[m]], form) for m, form in forms_of.items()]
        assert _cells(page, f"{name}, by joint training") == wanted
        assert all(each["interval"][1] < 0 for m in ("gcnr", "delta_e") for each in handed[m])
        assert all(each["interval"][0] > 0 for each in handed["edge"])
    joint = [each for who, each in found["effects"].items() if who.startswith("joint ")]
    assert len(joint) == 18
    assert all(each["gcnr"]["ignoring_class"]["interval"][0] > 0 for each in joint)
    within = [each["gcnr"]["within_class"]["interval"] for each in joint]
    assert (sum(low > 0 for low, _ in within), sum(high < 0 for _, high in within)) == (1, 0)
    slopes = [each["delta_e"]["within_class"] for each in joint]
    assert all(each["slope"] < 0 for each in slopes)
    assert sum(each["interval"][1] < 0 for each in slopes) == 14
