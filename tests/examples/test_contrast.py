import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest
from contrast_study import claims
from contrast_study.claims import CLAIMS, FACTORS, KINDS, measure, width
from contrast_study.runs import Options, train
from PIL import Image

import joint
from joint.run.complete import complete_run

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "contrast.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("contrast", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tiny(example, tmp_path_factory):
    """Options, numbers and what was printed of a small run."""
    options = Options(
        limit=70, image_size=32, epochs=1, codec_epochs=1, joint_epochs=1, codec=("6X",),
        view=("whole", "boundary only"), resamples=10, steps=2,
        output=tmp_path_factory.mktemp("contrast"),
    )  # fmt: skip
    return options, example.main(options)


def test_each_claim_has_its_numbers(tiny):
    options, numbers = tiny
    told = json.loads((options.output / "contrast.json").read_text())
    assert list(CLAIMS) == [name for name in told if name in CLAIMS]
    critical, faint, alike, boundaries, width = (told[claim] for claim in CLAIMS)
    kinds = set(KINDS)
    for who in ("classifier", "joint 6X-0"):
        assert set(critical["effects"][who]) == kinds
        assert len(critical["sweeps"][who.removesuffix("-0")]["recall"]) == len(FACTORS)
    assert set(faint["by class"]) == kinds
    assert len(faint["recall"]) == 7
    ranks = [pair["rank"] for pair in alike["classifier"]["gcnr"]["pairs"]]
    assert ranks == list(range(1, 22))
    assert set(boundaries["maps"]) == {"JPEG 50", "6X, alone", "6X, joint"}
    trained = {"whole, trained further", "altered, trained with"}
    assert set(boundaries["boundary only"]) == {"pictures", "whole", "altered", *trained}
    assert set(boundaries["lesion only"]) == {
        "pictures",
        "whole",
        "altered",
    }  # it was not asked for
    assert set(width["rows"]) == {"6X-0, frozen", "6X-0, joint"}
    for row in width["rows"].values():
        assert row["bpp_bytes"] == pytest.approx(row["bpp"], rel=0.15)
    assert told["pictures"] == numbers["pictures"] == 14


def test_numbers_are_those_of_the_runs(tiny):
    options, numbers = tiny
    saved = joint.load_predictions(options.output / "joint-6X-0")
    right = float((saved.logits.argmax(1) == saved.labels).mean())
    row = numbers["the size of the latent does not decide"]["rows"]["6X-0, joint"]
    assert row["report"]["accuracy"] == pytest.approx(right)
    assert [run.state for run in joint.list_runs(options.output)] == ["done"] * 3


def test_figures_are_drawn(tiny):
    options, _ = tiny
    names = {path.name for path in options.output.glob("*.png")}
    figures = {
        "recall",
        "rate",
        "pairs_gcnr",
        "pairs_delta_e",
        "kept_6X",
        "handed_6X",
        "optimal_6X",
    }
    assert names == {f"{figure}.png" for figure in figures}
    for name in names:
        with Image.open(options.output / name) as figure:
            assert figure.size[0] > 500
            assert np.asarray(figure.convert("L")).std() > 10


def test_what_is_there_is_taken_up(tiny, capsys):
    options, numbers = tiny
    study = train(options)
    assert "epoch" not in capsys.readouterr().out
    again = width(measure(study, options))
    assert again["rows"] == numbers["the size of the latent does not decide"]["rows"]


def test_it_takes_runs_as_the_quickstart_leaves_them(example, tmp_path, capsys, monkeypatch):
    made = []  # figures are drawn above
    monkeypatch.setattr(claims, "save_figure", lambda _, path, **__: made.append(path.name))
    none = joint.NoneConfig()
    rest = {
        "data": joint.PhantomConfig(count=70, image_size=16),
        "training": joint.Training(epochs=1),
    }
    bare = joint.SystemConfig(front_end=none, sensor=none, codec=none)
    alone = joint.RunConfig(system=bare, objective=joint.Objective(), **rest)
    codec = bare.model_copy(update={"codec": joint.FactorizedConfig(), "classifier": none})
    by_itself = joint.RunConfig(
        system=codec, objective=joint.Objective.rate_distortion(0.01), **rest
    )
    parts = joint.build_split(alone, joint.build_data(alone.data))
    for name, config in (
        ("classifier", alone),
        ("codec", by_itself),
        ("joint", joint.RunConfig(**rest)),
    ):
        complete_run(config, parts, tmp_path / name, resamples=10, progress=False)
    options = Options(run=tmp_path, resamples=10, steps=2, output=tmp_path / "out")
    numbers = example.main(options)
    assert set(numbers["the size of the latent does not decide"]["rows"]) == {
        "factorized-0, frozen", "factorized-0, joint",
    }  # fmt: skip
    assert "optimal_factorized.png" in made
    assert "nan" not in capsys.readouterr().out


# ------------------------------------------------------------------------------------- the page


def _number(value, form):
    return "-" if value is None else f"{value:{form}}"


def _less(one, other):
    return None if None in (one, other) else one - other


def _with(value, interval, form):
    low, high = interval
    if value is None or low is None:
        return _number(value, form)
    return f"{value:{form}} [{low:{form}}, {high:{form}}]"


def _table(head, rows):
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def page_tables(numbers):
    """The tables of the page, by what they show, from the numbers of the example."""
    critical, faint, alike, boundaries, width = (
        numbers[claim]
        for claim in (
            "contrast is critical",
            "DF, BCC and AK are faint, and confused for it",
            "BKL and MEL are alike in contrast, and confused for it",
            "boundaries are enough",
            "the size of the latent does not decide",
        )
    )
    kinds = {"gcnr": "gCNR", "delta_e": "ΔE"}
    slopes = [
        (who, kinds[kind], *(_with(*each[part].values(), "+.2f") for part in parts))
        for parts in [("ignoring_class", "within_class")]
        for who, both in critical["effects"].items()
        for kind, each in both.items()
    ]
    strata = critical["strata"]["classifier"]
    thirds = [
        (
            name,
            *(_number(share, ".2f") for share in row),
            _with(_less(row[-1], row[0]), interval, "+.2f"),
        )
        for name, row, interval in zip(
            [*strata["classes"], "matched"],
            [*strata["accuracy"], strata["matched"]],
            [*strata["class_intervals"], strata["interval"]],
            strict=True,
        )
    ]
    sweeps = [
        (
            who,
            f"{factor:g}",
            f"{sweep['gcnr'][k]:.2f}",
            _with(sweep["balanced_accuracy"][k], sweep["balanced_intervals"][k], ".2f"),
            *(_number(share, ".2f") for share in sweep["recall"][k]),
        )
        for who, sweep in critical["sweeps"].items()
        for k, factor in enumerate(sweep["factors"])
    ]
    handed = [
        (name, f"{e['before']:.3f}", f"{e['after']:.3f}", _with(e["change"], e["interval"], "+.3f"))
        for name, e in critical["handed"].items()
    ]
    altered = [
        (
            name,
            label,
            _with(*each["scores"]["balanced_accuracy"].values(), ".3f"),
            _with(*each["difference"]["balanced_accuracy"].values(), "+.3f"),
            _with(*each["difference"]["accuracy"].values(), "+.3f"),
        )
        for name, found in (
            ("equal contrast", critical["equal contrast"]),
            ("boundary only", boundaries["boundary only"]),
            ("lesion only", boundaries["lesion only"]),
        )
        for label, each in found.items()
        if label.startswith("altered")
    ]
    tables = [faint["by class"][kind]["classes"] for kind in kinds]
    classes = [
        (
            one["name"],
            f"{one['pictures']}",
            _with(one["median"], one["interval"], ".2f"),
            _with(other["median"], other["interval"], ".1f"),
            _with(*faint["recall"][one["name"]].values(), ".2f"),
        )
        for one, other in zip(*tables, strict=True)
    ]
    ranks = [(name, _number(value, "+.2f")) for name, value in faint["spearman of recall"].items()]
    pairs = []
    for who, both in alike.items():
        for kind, found in both.items():
            pair = next(p for p in found["pairs"] if {p["first"], p["second"]} == {"bkl", "mel"})
            confused = sorted(found["pairs"], key=lambda p: -p["confusion"])
            pairs.append(
                (
                    who,
                    kinds[kind],
                    _with(pair["rank"], pair["rank_interval"], ".0f"),
                    _with(pair["confusion"], pair["confusion_interval"], ".3f"),
                    f"{1 + confused.index(pair)}",
                    _with(found["spearman"], found["interval"], "+.2f"),
                )
            )
    density = [
        (name, *(_with(r["density"], r["interval"], ".2f") for r in each["rows"][0]["regions"]))
        for name, each in boundaries["maps"].items()
    ]
    moved = [
        (
            name,
            *(
                _with(r["change"], r["interval"], "+.3f")
                for r in each["rows"]
                if r["name"] == "all"
            ),
        )
        for name, each in boundaries["changes"].items()
    ]
    widths = [
        (
            name,
            f"{row['bpp']:.2f}",
            f"{row['psnr']:.1f}",
            _with(row["report"]["accuracy"], row["report"]["intervals"]["accuracy"], ".3f"),
            _with(
                row["report"]["balanced_accuracy"],
                row["report"]["intervals"]["balanced_accuracy"],
                ".3f",
            ),
        )
        for name, row in width["rows"].items()
    ]
    differences = [
        (
            name,
            *(_with(*scores[kind].values(), "+.3f") for kind in ("accuracy", "balanced_accuracy")),
        )
        for name, scores in width["differences"].items()
    ]
    shown = [
        (name, system) for name, found in numbers["kept"].items() for system in found["systems"]
    ]
    power, coherence = (
        [
            (name, system["name"], *(f"{ring[what]:.2f}" for ring in system["annuli"]))
            for name, system in shown
        ]
        for what in ("power", "coherence")
    )
    apart = [
        (name, system["name"], *(f"{d['rms']:.1f}" for d in system["differences"]))
        for name, system in shown
    ]
    accuracies = ("accuracy", "balanced accuracy")
    rings = [f"{(ring['low'] + ring['high']) / 2:.2f}" for ring in shown[0][1]["annuli"]]
    names = [row["name"] for row in tables[0]]
    regions = ("lesion", "boundary", "background")
    return {
        "slopes": _table(("judged by", "contrast", "ignoring class", "within class"), slopes),
        "thirds": _table(("class", "lowest", "middle", "highest", "highest - lowest"), thirds),
        "sweeps": _table(("system", "factor", "gCNR", "balanced accuracy", *names), sweeps),
        "handed": _table(("codec, measure", "alone", "joint", "change"), handed),
        "altered": _table(
            ("pictures", "classifier", "balanced accuracy", "against whole", "accuracy, likewise"),
            altered,
        ),
        "classes": _table(("class", "pictures", "gCNR", "ΔE", "recall"), classes),
        "ranks": _table(("recall of a class against its", "Spearman, 7 classes"), ranks),
        "pairs": _table(
            (
                "judged by", "contrast", "bkl-mel: place of 21 by nearness", "confused",
                "place by confusion", "Spearman, all pairs",
            ),
            pairs,
        ),
        "density": _table(("codec", *regions), density),
        "moved": _table(("codec", *regions), moved),
        "widths": _table(("codec", "bit/pixel", "PSNR, dB", *accuracies), widths),
        "differences": _table(("widths", *accuracies), differences),
        "power": _table(("codec", "power at", *rings), power),
        "coherence": _table(("codec", "coherence at", *rings), coherence),
        "apart": _table(("codec", "RMS in the", "picture", *regions), apart),
    }  # fmt: skip


def _numbers_of(name):
    return json.loads((ROOT / "docs" / "results" / "contrast" / f"{name}.json").read_text())


def test_the_page_has_the_tables_of_its_numbers():
    page = (ROOT / "docs" / "contrast.md").read_text()
    for name, table in page_tables(_numbers_of("ham10000")).items():
        assert table in page, name


def test_no_number_of_the_text_is_from_elsewhere():
    page = (ROOT / "docs" / "contrast.md").read_text()
    tables = "\n".join(line for line in page.splitlines() if line.startswith("|"))
    known = set(re.findall(r"\d+\.\d+", tables)) | {"1.5"}  # a width ratio
    whole = _numbers_of("ham10000")["contrast is critical"]["equal contrast"]["whole"]["scores"]
    for name in ("accuracy", "balanced_accuracy"):
        said = _with(*whole[name].values(), ".3f")
        assert said in page
        known |= set(re.findall(r"\d+\.\d+", said))
    code = re.sub(r"```.*?```", "", page, flags=re.DOTALL)
    prose = "\n".join(line for line in code.splitlines() if not line.startswith("|"))
    assert set(re.findall(r"\d+\.\d+", prose)) <= known


def test_only_numbers_and_curves_of_the_real_pictures_are_kept():
    folder = ROOT / "docs" / "results" / "contrast"
    curves = ("recall", "rate", "pairs_gcnr", "pairs_delta_e", "kept", "seeds")
    harmless = ("phantom_", *(f"ham10000_{curve}" for curve in curves))
    for path in folder.iterdir():
        assert path.suffix in (".json", ".png"), path
        assert path.name.startswith(harmless) or path.suffix == ".json", path
