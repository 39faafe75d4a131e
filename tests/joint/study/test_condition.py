import csv
import io
import itertools
import json
import math
from dataclasses import replace

import pytest

from joint.settings import ConfigError
from joint.study import (
    Axis,
    Comparison,
    LatinHypercube,
    Listed,
    Plan,
    Random,
    Sobol,
    Study,
    StudyError,
    confirm,
    create_study,
    load_study,
    open_study,
    report,
    rows,
    study_html,
    to_csv,
)
from joint.study.condition import axes_of, combinations, condition_words
from joint.study.page.charts import parallel_figure
from joint.study.search import Trial, ask
from joint.study.store import add_design

CODECS = ({"kind": "none"}, {"kind": "jpeg"}, {"kind": "webp"}, {"kind": "kmeans"})
CODEC = Axis(path="system.codec", values=CODECS)
QUALITY = Axis(path="system.codec.quality", values=(20, 60), when={"codec": ("jpeg", "webp")})
LIGHT = Axis(path="system.sensor.photons", values=(50, 500))
AXES = {"codec": CODEC, "quality": QUALITY, "light": LIGHT}
LEARNED = {"codec": "jpeg", "quality": 20, "light": 50}


def _study(**changes):
    return Study(**{"axes": AXES, "plan": Plan(), **changes})


def _by_hand():
    """All combinations, without the level of an axis where its condition does not hold."""
    found = []
    product = itertools.product(("none", "jpeg", "webp", "kmeans"), (20, 60), (50, 500))
    for codec, quality, light in product:
        design = {"codec": codec, "light": light}
        if codec in ("jpeg", "webp"):
            design["quality"] = quality
        if design not in found:
            found.append(design)
    return found


def test_a_grid_has_each_design_once_and_no_level_where_the_axis_is_absent():
    designs = _study().designs()
    assert [*designs] == _by_hand()
    assert len(designs) == 2 * (1 + 2 + 2 + 1)
    assert [*designs[2]] == ["codec", "quality", "light"]  # as the axes stand
    assert json.dumps(designs[0]) == '{"codec": "none", "light": 50}'


def test_an_axis_may_stand_before_the_one_that_it_depends_on():
    turned = _study(axes={name: AXES[name] for name in ("quality", "light", "codec")})
    assert sorted(map(sorted, (d.items() for d in turned.designs())), key=str) == sorted(
        map(sorted, (d.items() for d in _by_hand())), key=str
    )


def test_a_run_has_the_field_of_the_base_where_the_axis_is_absent():
    study = _study()
    assert study.config(LEARNED, 0).system.codec.quality == 20
    assert study.config({"codec": "kmeans", "light": 50}, 0).system.codec.kind == "kmeans"
    for wrong in (
        {"codec": "jpeg", "light": 50},
        {"codec": "none", "quality": 20, "light": 50},
        {**LEARNED, "other": 1},
    ):
        with pytest.raises(ConfigError, match="a design with these levels has the axes codec"):
            study.config(wrong, 0)


@pytest.mark.parametrize("sampler", [Random(count=60, seed=1), Sobol(count=64, seed=1)])
def test_draws_leave_out_what_is_absent(sampler):
    fine = Axis(path="system.codec.quality", low=1, high=100, when={"codec": "jpeg"}, integer=True)
    light = Axis(path="system.sensor.photons", low=10, high=1e4, scale="log")
    designs = _study(axes={"codec": CODEC, "quality": fine, "light": light}, sampler=sampler)
    found = designs.designs()
    assert len(found) == sampler.count
    assert all(("quality" in d) == (d["codec"] == "jpeg") for d in found)
    assert 0.1 < sum("quality" in d for d in found) / len(found) < 0.4  # a quarter is jpeg


def test_a_latin_hypercube_leaves_out_what_is_absent():
    light = Axis(path="system.sensor.photons", low=10, high=1e4, scale="log")
    found = _study(axes={**AXES, "light": light}, sampler=LatinHypercube(count=16)).designs()
    assert all(("quality" in d) == (d["codec"] in ("jpeg", "webp")) for d in found)
    assert sum("quality" in d for d in found) == 8


def test_listed_designs_choose_on_what_they_have():
    bare = {"codec": "none", "light": 50}
    assert _study(sampler=Listed(chosen=(LEARNED, bare))).designs() == (LEARNED, bare)
    for wrong in ({**bare, "quality": 20}, {"codec": "jpeg", "light": 50}):
        with pytest.raises(ValueError, match="the axes that it has are codec, "):
            _study(sampler=Listed(chosen=(wrong,))).designs()


def test_conditions_follow_from_each_other():
    axes = {
        "codec": CODEC,
        "quality": QUALITY,
        "noise": Axis(path="system.sensor.read_noise", values=(1, 2), when={"quality": 60}),
    }
    designs = [*combinations(axes, {name: axis.levels() for name, axis in axes.items()})]
    assert [d for d in designs if "noise" in d] == [
        {"codec": codec, "quality": 60, "noise": noise}
        for codec in ("jpeg", "webp")
        for noise in (1, 2)
    ]
    assert len(designs) == 2 + 2 * (1 + 2)
    # A level of an axis that is absent itself decides nothing.
    assert axes_of({"codec": "none", "quality": 60, "noise": 1}, axes) == ("codec",)


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ({"codek": "jpeg"}, "names 'codek', which is not an axis; did you mean 'codec'"),
        ({"system.codec.kind": "jpeg"}, "which is not an axis; did you mean 'codec'"),
        ({"codec": "jpg"}, "the condition of the axis quality, codec: there is no level 'jpg'"),
        ({"codec": ()}, "allows no level of codec"),
        ({"light": 100}, "light, a range that hardly ever equals one number"),
        ({"depth": 2.5}, r"depth: 2\.5 is not a whole number"),
        ({"depth": 20}, "depth: 20 is not in the range 1 to 12"),
        ({"quality": 20}, "depend on each other in a circle: quality on quality"),
        ({"other": 1}, "depend on each other in a circle: quality on other on quality"),
        ({"codec": "none", "fine": 1}, "no design has the axis quality: .* no level of codec"),
    ],
)
def test_conditions_that_cannot_be_are_refused(when, message):
    axes = {
        "codec": CODEC,
        "quality": QUALITY.model_copy(update={"when": when}),
        "light": Axis(path="system.sensor.photons", low=10, high=100),
        "depth": Axis(path="system.sensor.bit_depth", low=1, high=12, integer=True),
    }
    if "other" in when:
        axes["other"] = Axis(path="objective.rate", values=(1, 2), when={"quality": 20})
    if "fine" in when:
        axes["fine"] = Axis(path="objective.rate", values=(1, 2), when={"codec": "jpeg"})
    with pytest.raises(ValueError, match=message):
        _study(axes=axes)


def test_a_condition_that_the_constraints_leave_no_design_is_refused():
    never = ("codec != jpeg", "codec != webp")
    with pytest.raises(ValueError, match="no design has the axis quality: the constraints"):
        _study(constraints=never).designs()
    _study(constraints=never, sampler=Random(count=2)).designs()  # where chance may be why


def test_constraints_say_nothing_of_designs_without_the_axis():
    study = _study(constraints=("quality <= 40 or light >= 100", "quality != light"))
    assert [d for d in _by_hand() if d not in study.designs()] == [
        {"codec": codec, "light": 50, "quality": 60} for codec in ("jpeg", "webp")
    ]
    costly = _study(costs={"time": "2 * quality"}, constraints=("time <= 60",))
    assert [d for d in _by_hand() if d not in costly.designs()] == [
        d for d in _by_hand() if d.get("quality") == 60
    ]
    other = Axis(path="objective.rate", values=(20, 60))
    named = _study(axes={**AXES, "rate": other}, constraints=("rate == quality",)).designs()
    assert len(named) == 2 * (2 * 2 + 2 * 2)  # of quality and rate that are equal, or rate alone


def test_formulas_are_of_designs_that_have_their_axes():
    study = _study(
        axes={
            "codec": CODEC,
            "light": Axis(values=(50, 500)),
            "scale": Axis(values=(2, 3), when={"codec": "jpeg"}),
        },
        derived={"system.sensor.photons": "light", "system.sensor.read_noise": "light * scale"},
    )
    noise = {
        (d["codec"], d["light"], d.get("scale")): study.config(d, 0).system.sensor.read_noise
        for d in study.designs()
    }
    base = study.base.system.sensor.read_noise
    assert noise["jpeg", 50, 3] == 150
    assert noise["none", 50, None] == base


def test_two_axes_may_set_one_field_where_no_design_has_both():
    jpeg = Axis(path="system.codec.quality", values=(20, 60), when={"codec": "jpeg"})
    webp = Axis(path="system.codec.quality", values=(5, 10, 15), when={"codec": "webp"})
    study = _study(axes={"codec": CODEC, "jpeg_quality": jpeg, "webp_quality": webp})
    found = [study.config(d, 0).system.codec for d in study.designs()]
    assert [c.quality for c in found if c.kind in ("jpeg", "webp")] == [20, 60, 5, 10, 15]
    both = webp.model_copy(update={"when": {"codec": ("jpeg", "webp")}})
    with pytest.raises(ValueError, match=r"two axes set system\.codec\.quality"):
        _study(axes={"codec": CODEC, "jpeg_quality": jpeg, "webp_quality": both})


def test_a_comparison_chooses_on_what_each_of_its_designs_has():
    first, second = {"codec": "jpeg", "quality": 60}, {"codec": "none"}
    study = _study(plan=Plan(comparisons=(Comparison(first=first, second=second),)))
    designs = study.designs()
    assert [(designs[p.first], designs[p.second]) for p in study.pairs(designs)] == [
        ({**first, "light": light}, {**second, "light": light}) for light in (50, 500)
    ]
    said = (
        "must choose on the same axes twice.* only one of them chooses on quality, .* say with when"
    )
    for one, other in ((first, {"codec": "webp"}), ({"codec": "webp"}, first)):
        open_ = Comparison(first=one, second=other)
        with pytest.raises(ValueError, match=said):
            _study(plan=Plan(comparisons=(open_,)))
    short = Comparison(first={"codec": "jpeg"}, second={"codec": "none"})
    study = _study(plan=Plan(comparisons=(short,)))
    with pytest.raises(ValueError, match="choose on quality too, which only one of the two has"):
        study.pairs(study.designs())


def test_conditions_come_back_from_json():
    again = Study.model_validate_json(_study().model_dump_json())
    assert again == _study()
    assert hash(again.axes["quality"]) == hash(QUALITY)


def test_a_condition_in_words():
    both = QUALITY.model_copy(update={"when": {"codec": ("jpeg", "webp"), "light": 50}})
    assert condition_words(both) == "codec is jpeg or webp and light is 50"
    assert condition_words(LIGHT) == ""


# --------------------------------------------------------- from the folder to the page of a study


@pytest.fixture
def done(small_base, pretend, tmp_path):
    """A study of an axis that some designs have, done: on two seeds, better with more quality."""
    study = _study(base=small_base(), seeds=(0, 1), plan=Plan(resamples=100))
    ledger = create_study(study, tmp_path / "study")
    for run in ledger.runs:
        quality = ledger.designs[run.design].get("quality", 0)
        pretend(ledger, run, 0.5 + 0.006 * quality, bits=100.0 + quality)
    return ledger


def test_a_study_goes_on_with_the_axes_that_its_designs_have(done):
    again = open_study(done.folder)
    assert again.designs == done.designs == tuple(_by_hand())
    assert create_study(done.study, done.folder).runs == done.runs
    changed = {**AXES, "quality": QUALITY.model_copy(update={"when": {"codec": "jpeg"}})}
    with pytest.raises(StudyError, match="quality"):
        create_study(done.study.model_copy(update={"axes": changed}), done.folder)


def test_tables_leave_the_cell_of_an_absent_axis_empty(done):
    table = [*csv.DictReader(io.StringIO(to_csv(rows(done))))]
    cells = {(row["axis.codec"], row["axis.quality"]) for row in table}
    assert cells == {("none", ""), ("kmeans", "")} | {
        (codec, quality) for codec in ("jpeg", "webp") for quality in ("20", "60")
    }
    by_design = [*csv.DictReader(io.StringIO(report(done).to_csv()))]
    assert {row["axis.quality"] for row in by_design} == {"", "20", "60"}
    assert "codec=none, light=50" in str(report(done))
    json.loads(report(done).to_json())


def test_the_page_says_where_an_axis_is(done, undrawn):
    page = study_html(done, elements=False)
    assert "quality, where codec is jpeg or webp" in page
    assert "8 of 12 designs have the axis quality" in page


def test_a_line_is_dotted_past_what_a_design_does_not_have(done):
    found = report(done)
    (axis,) = parallel_figure(found.designs, metric=found.metric).axes
    solid = [
        line for line in axis.lines if line.get_linestyle() == "-" and len(line.get_xdata()) > 2
    ]
    dotted = [line for line in axis.lines if line.get_linestyle() == ":"]
    assert len(solid) == 12
    for line, design in zip(reversed(solid), found.designs, strict=True):
        place = line.get_ydata()[1]
        quality = design.levels.get("quality")
        assert math.isnan(place) if quality is None else place == (quality - 20) / 40
    assert [[*line.get_xdata()] for line in dotted] == [[0, 2]] * 4
    # Words are no places either.
    named = QUALITY.model_copy(update={"labels": ("low", "high")})
    words = [
        replace(
            d,
            levels={n: named.labels[v > 20] if n == "quality" else v for n, v in d.levels.items()},
        )
        for d in found.designs
    ]
    (axis,) = parallel_figure(words, metric=found.metric).axes
    assert not any("Absent" in text.get_text() for text in axis.texts)
    assert len([line for line in axis.lines if line.get_linestyle() == ":"]) == 4


def test_a_find_without_an_axis_is_confirmed_against_one_that_has_it(done, tmp_path):
    made = confirm(done, tmp_path / "fresh", design=0, baseline=2)
    assert made.designs == (done.designs[0], done.designs[2])
    assert len(made.pairs()) == 1


# ----------------------------------------------------------------------------------- of searches


def _curve(design):
    """Best at a quality of 80, which jpeg alone has; at 1 it is as good as other codecs."""
    if design["codec"] != "jpeg":
        return 0.376
    return 1 - 0.0001 * (design["quality"] - 80) ** 2


@pytest.mark.parametrize("sampler", ["tpe", "gp", "nsga2"])
def test_a_search_learns_an_axis_from_the_designs_that_have_it(sampler):
    pytest.importorskip("optuna")
    fine = Axis(path="system.codec.quality", low=1, high=100, when={"codec": "jpeg"}, integer=True)
    first = {"population": 6} if sampler == "nsga2" else {"startup": 6, "batch": 1}
    study = _study(
        axes={
            "codec": CODEC,
            "quality": fine,
            "light": Axis(path="system.sensor.photons", low=10, high=100),
        },
        sampler={
            "kind": sampler,
            "count": 30,
            "seed": 1,
            "objectives": {"accuracy": "up"},
            **first,
        },
        seeds=(0,),
    )
    known = [
        Trial(design, study.config(design, 0).digest(), (_curve(design),))
        for design in study.designs()
    ]
    while len(known) < 24:
        design = ask(study, known).design
        assert ("quality" in design) == (design["codec"] == "jpeg")
        known.append(Trial(design, study.config(design, 0).digest(), (_curve(design),)))
    late = [one.design for one in known[12:]]
    qualities = [design["quality"] for design in late if "quality" in design]
    # By chance a quarter of the 12 has it, and it is 33 from the best on average.
    if sampler == "nsga2":  # of which these are two generations: it has hardly begun to learn
        assert qualities
        return
    assert len(qualities) >= 5
    assert sum(abs(q - 80) for q in qualities) / len(qualities) < 16


def test_a_design_of_a_search_without_an_axis_is_read_again(small_base, tmp_path):
    search = {"kind": "tpe", "count": 8, "startup": 4, "objectives": {"accuracy": "up"}}
    study = _study(base=small_base(), sampler=search, seeds=(0,))
    ledger = create_study(study, tmp_path)
    first = {json.dumps(design) for design in ledger.designs}
    added = next(d for d in _by_hand() if json.dumps(d) not in first and "quality" not in d)
    add_design(ledger, added)
    assert open_study(tmp_path).designs[-1] == added
    (written,) = (tmp_path / "designs").iterdir()
    written.write_text(written.read_text().replace('"codec"', '"quality": 20, "codec"'))
    with pytest.raises(StudyError, match="it has levels on other axes than the study"):
        open_study(tmp_path)


def test_toml_has_null_in_conditions(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(
        '[axes.bits]\npath = "system.sensor.bit_depth"\nvalues = ["null", 8]\n'
        '[axes.noise]\npath = "system.sensor.read_noise"\nvalues = [1, 2]\n'
        'when = { bits = ["null"] }\n'
    )
    assert load_study(path).designs() == (
        {"bits": None, "noise": 1}, {"bits": None, "noise": 2}, {"bits": 8},
    )  # fmt: skip


def test_a_whole_range_that_is_too_long_to_list_is_not_listed():
    study = _study(
        axes={"count": Axis(path="data.count", low=1, high=1e15, integer=True)},
        sampler={"kind": "tpe", "count": 3, "startup": 2},
        seeds=(0,),
    )
    assert study.every() is None
    assert len(study.designs()) == 2


def test_a_condition_that_is_written_as_a_constraint_is_refused():
    with pytest.raises(ValueError, match=r"when names other axes .* such as \{codec = \"jpeg\"\}"):
        Axis(path="system.codec.quality", values=(20, 60), when="codec == jpeg")


def test_an_axis_of_some_kinds_alone_asks_for_its_condition():
    study = _study(axes={**AXES, "quality": QUALITY.model_copy(update={"when": {}})})
    with pytest.raises(ConfigError, match=r"quality: no such key\nSay with when which designs"):
        study.config({"codec": "none", "quality": 20, "light": 50}, 0)
