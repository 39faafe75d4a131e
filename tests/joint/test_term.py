import json
import sys

import numpy as np
import pytest
import torch
from small import Head, _fit, _settings, full_system

import joint
import joint.study
import optics
from joint.cli import main
from joint.command.train import read_train_options
from joint.report.words import configuration_words
from joint.run.complete import complete_run

_MODULE = '''
import torch
import joint

@joint.loss_term
def dullness(output, labels, *, floor=0.5):
    """How far the contrast of each picture stays below a floor."""
    return (floor - output.handed.std((-2, -1)).mean(1)).relu()

@joint.loss_term
def brightness(output, labels):
    return output.handed.mean()

@joint.loss_term
def surprise(output, labels):
    return torch.nn.functional.cross_entropy(output.logits, labels, reduction="none")

@joint.loss_term
def spread(output, labels):
    return output.handed.std((-2, -1))

@joint.loss_term
def wrong(output, labels):
    return output.logits.argmax(1) != labels

@joint.loss_term
def word(output, labels):
    return 0.5

def unmarked(output, labels):
    raise AssertionError("what is not marked is not called")
'''


@pytest.fixture(autouse=True)
def own(tmp_path, monkeypatch):
    (tmp_path / "own_terms.py").write_text(_MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("own_terms", None)


def _term(name, **given):
    return joint.Term(function=f"own_terms.{name}", **given)


def _passed(front=None):
    scene = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    system = joint.ImagingSystem(front_end=front, encoding="linear")
    return system(scene), torch.tensor([0, 1, 2, 0])


def test_terms_add_their_weighted_means_to_the_loss():
    output, labels = _passed(optics.LearnedKernel("identity", 3))
    objective = joint.Objective(
        task=0,
        terms={
            "dull": _term("dullness", weight=0.3, args={"floor": 0.9}),
            "bright": _term("brightness", weight=2),
        },
    )
    losses = objective(output, labels)
    contrast = output.handed.flatten(2).std(2).mean(1)
    expected = {"dull": (0.9 - contrast).mean(), "bright": output.handed.mean()}
    assert expected["dull"] > 0
    for name, value in expected.items():
        torch.testing.assert_close(losses.named()[name], value)
    torch.testing.assert_close(losses.total, 0.3 * expected["dull"] + 2 * expected["bright"])
    assert objective.weights == {
        **dict.fromkeys(
            ("task", "rate", "distortion", "restoration", "distillation", "penalty"), 0.0
        ),
        "dull": 0.3,
        "bright": 2.0,
    }


def test_a_term_without_a_weight_is_measured_and_teaches_nothing():
    output, labels = _passed(optics.LearnedKernel("identity", 3))
    losses = joint.Objective(task=0, terms={"bright": _term("brightness", weight=0)})(
        output, labels
    )
    torch.testing.assert_close(losses.own["bright"], output.handed.mean())
    assert losses.total == 0
    assert not losses.total.requires_grad
    assert not losses.own["bright"].requires_grad


@pytest.mark.parametrize("micro_batches", [1, 3])
def test_a_training_by_the_library_s_term_written_anew_is_the_same(lesions, others, micro_batches):
    own = joint.Objective(task=0, terms={"surprise": _term("surprise")})
    plain = joint.Objective(task=1, label_smoothing=0)
    found = []
    for objective, monitor in ((own, "loss_surprise"), (plain, "loss_task")):
        system = full_system()
        config = _settings(epochs=2, monitor=monitor, micro_batches=micro_batches)
        history = _fit(system, lesions, others, objective=objective, config=config)
        found.append((system, history))
    (ours, told), (theirs, known) = found
    for name, tensor in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], tensor, msg=name)
    assert told.best_epoch == known.best_epoch
    for one, other in zip(told.epochs, known.epochs, strict=True):
        assert one.train["surprise"] == pytest.approx(other.train["task"], rel=1e-5)
        for number in ("loss_surprise", "loss_task", "loss"):
            assert one.validation[number] == pytest.approx(other.validation["loss_task"], rel=1e-5)
    measured = joint.evaluate(theirs, others, objective=own).scalars()
    assert measured["loss_surprise"] == pytest.approx(measured["loss_task"], rel=1e-5)


def test_systems_together_have_terms_of_their_own(lesions, others):
    def systems():
        found = [full_system(seed) for seed in (0, 1)]
        for system in found:
            system.classifier.net[7] = torch.nn.Identity()  # dropout is not stacked
        return found

    base = joint.Objective(rate=0.1, distortion=1.0)
    objectives = [
        base.model_copy(update={"terms": {"dull": _term("dullness", weight=weight)}})
        for weight in (0.0, 3.0)
    ]
    config = _settings(epochs=1)
    together = joint.fit_ensemble(
        systems(), lesions, others, objective=objectives, config=config, progress=False
    )
    for system, objective, found in zip(systems(), objectives, together, strict=True):
        alone = _fit(system, lesions, others, objective=objective, config=config)
        assert found.epochs[0].train == pytest.approx(alone.epochs[0].train, rel=1e-3)


def test_a_yes_or_no_of_each_picture_is_a_metric_and_no_lesson(lesions, others):
    system = joint.ImagingSystem(classifier=Head())
    measured = {"wrong": _term("wrong", weight=0)}
    config = _settings(epochs=1, monitor="loss_wrong")
    _fit(system, lesions, others, objective=joint.Objective(terms=measured), config=config)
    found = joint.evaluate(system, others, objective=joint.Objective(terms=measured))
    assert found.losses["wrong"] == pytest.approx(1 - found.report.accuracy)
    weighed = joint.Objective(terms={"wrong": _term("wrong", weight=2)})
    with pytest.raises(ValueError, match=r"objective\.terms\.wrong has weight 2 and no gradient"):
        _fit(system, lesions, others, objective=weighed, config=config)
    # One that learns in another turn is no idle one.
    camera = joint.ImagingSystem(front_end=optics.LearnedKernel("identity", 3), classifier=Head())
    dull = joint.Objective(terms={"dull": _term("dullness")})
    _fit(camera, lesions, others, objective=dull, config=_settings(epochs=1, plan="alternating"))


def test_a_function_stands_for_its_path():
    import own_terms

    term = joint.Term(function=own_terms.dullness, args={"floor": 0.25})
    assert term == _term("dullness", args={"floor": 0.25})
    assert hash(term) == hash(_term("dullness", args={"floor": 0.25}))
    with pytest.raises(ValueError, match=r"no path that a file could name: define .* at the top"):
        joint.Term(function=joint.loss_term(lambda output, labels: output.handed.mean()))
    own_terms.other = own_terms.spread
    own_terms.spread = own_terms.brightness
    with pytest.raises(ValueError, match=r"own_terms\.spread is another function"):
        joint.Term(function=own_terms.other)


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("unmarked", {}, r"terms\.x\.function='own_terms\.unmarked' is no term: write @joint\.los"),
        ("missing", {}, "'own_terms.missing' cannot be imported: .*has no attribute"),
        (
            "brightness",
            {"floor": 1},
            r"argument 'floor'; set objective\.terms\.x\.args .* has none",
        ),
        ("dullness", {"flor": 1}, r"does not take {'flor': 1}: .*from its parameters, floor"),
        ("spread", {}, r"a scalar or one number of each of the 4 pictures, not shape \[4, 3\]"),
        ("word", {}, "must return a tensor, .* not 0.5"),
    ],
)
def test_what_is_no_term_is_refused(name, args, message):
    objective = joint.Objective(task=0, terms={"x": _term(name, args=args)})
    with pytest.raises(ValueError, match=message):
        objective(*_passed())


def test_what_is_not_installed_here_may_be_where_it_is_trained(tmp_path):
    (tmp_path / "own_broken.py").write_text("raise RuntimeError('no such device')")
    for path in ("no_such.dullness", "own_broken.dullness"):
        joint.Term(function=path).check("x")
    for name in ("unmarked", "missing"):
        with pytest.raises(joint.ConfigError, match=name):
            _term(name).check("x")


@pytest.mark.parametrize("name", ["task", "total", "penalty", "rate_weight", "a b", "a.b", ""])
def test_a_term_has_a_name_of_its_own(name):
    with pytest.raises(ValueError, match="a term cannot be called"):
        joint.Objective(terms={name: _term("dullness")})


@pytest.mark.parametrize("path", ["dullness", "os:system", "a..b", "a.b()"])
def test_a_path_is_that_of_an_import(path):
    with pytest.raises(ValueError, match="function"):
        joint.Term(function=path)


def test_bits_may_be_bought_by_a_term_alone():
    for idle in ({"terms": {"x": _term("dullness", weight=0)}}, {"penalty": 1.0}):
        with pytest.raises(ValueError, match="no term needs the bits"):
            joint.Objective(task=0, rate=0.1, rate_target=1, **idle)
    joint.Objective(task=0, rate=0.1, rate_target=1, terms={"x": _term("dullness")})


@pytest.mark.parametrize("monitor", ["loss_missing", "loss_distillation", "loss_restoration"])
def test_a_monitor_that_no_validation_has_is_refused(lesions, others, monitor):
    system = joint.ImagingSystem(front_end=optics.LearnedKernel("identity", 3), classifier=Head())
    objective = joint.Objective(terms={"bright": _term("brightness")})
    with pytest.raises(ValueError, match=rf"{monitor}.* use one of loss_total, .*loss_bright"):
        _fit(system, lesions, others, objective=objective, config=_settings(monitor=monitor))
    with pytest.raises(ValueError, match=r"validation has no number 'los'; did you mean 'loss'\?"):
        _settings(monitor="los")


def _config(weight=0.5, **objective):
    terms = {"surprise": {"function": "own_terms.surprise", "weight": weight}}
    return joint.RunConfig(
        data={"kind": "phantom", "count": 40, "image_size": 16},
        system={
            "front_end": {"kind": "kernel", "kernel_size": 3},
            "codec": {"kind": "none"},
            "classifier": {"kind": "classifier", "name": "resnet_s"},
        },
        objective={"task": 0, "rate": 0, "distortion": 0, "terms": terms, **objective},
        training={"epochs": 1, "batch_size": 10, "monitor": "loss_surprise"},
    )


def test_a_run_folder_brings_its_terms_back(tmp_path, capsys):
    config = _config()
    assert config != _config(weight=0.25)
    assert joint.RunConfig.model_validate_json(config.model_dump_json()) == config
    parts = joint.build_split(config, joint.build_data(config.data))
    complete_run(config, parts, tmp_path / "run", resamples=0, progress=False)
    loaded, _, _ = joint.load_run(tmp_path / "run")
    assert loaded.objective == config.objective
    tested = json.loads((tmp_path / "run" / "result.json").read_text())["test"]
    assert tested["loss"] == pytest.approx(0.5 * tested["loss_surprise"])
    asked = ["evaluate", str(tmp_path / "run"), "--photons", "50", "5000", "--resamples", "0"]
    assert main(asked) == 0
    heads, *lines = capsys.readouterr().out.split("\n\n")[-1].splitlines()
    assert heads.split()[-2:] == ["loss", "surprise"]
    at = joint.evaluate(
        joint.load_run(tmp_path / "run")[1], parts.test, objective=config.objective, photons=5000
    )
    assert float(lines[1].split()[-1]) == pytest.approx(at.losses["surprise"], rel=1e-3)
    words = dict(configuration_words(config))
    assert words["objective"].startswith("0.5 × surprise (own_terms.surprise), ")


def test_terms_of_a_file_have_options(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(
        "[objective.terms.dull]\nfunction = 'own_terms.dullness'\nargs = {floor = 0.25}\n"
    )
    given = ["--output", "run", "--config", str(path)]
    (term,) = read_train_options(given).run.objective.terms.values()
    assert term == _term("dullness", args={"floor": 0.25})
    changed = read_train_options([*given, "--objective.terms.dull.weight", "0.5"])
    (term,) = changed.run.objective.terms.values()
    assert term == _term("dullness", weight=0.5, args={"floor": 0.25})


@pytest.mark.filterwarnings("ignore:2 paired seeds cannot")
def test_a_study_is_judged_by_a_term(tmp_path):
    axes = {"weight": {"path": "objective.terms.surprise.weight", "values": [0.01, 5.0]}}
    comparison = {"first": {"weight": 5.0}, "second": {"weight": 0.01}}
    plan = {"metric": "loss_surprise", "comparisons": [comparison]}
    study = joint.study.Study(base=_config(), axes=axes, seeds=[0, 1], plan=plan)
    ledger = joint.study.create_study(study, tmp_path / "study")
    joint.study.work(tmp_path / "study")
    found = joint.study.report(ledger)
    measured = np.empty((2, 2))
    for run in ledger.runs:
        measured[run.design, run.seed] = ledger.result(run)["test"]["loss_surprise"]
    (planned,) = found.planned
    assert planned.difference == pytest.approx((measured[1] - measured[0]).mean())
    assert found.designs[0].number == int(measured.mean(1).argmin())
    with pytest.raises(ValueError, match=r"has no loss_dull: its objective has no such term"):
        joint.study.report(ledger, metric="loss_dull")

    def other(**changes):
        again = joint.study.Study(base=_config(), axes=axes, seeds=[0, 1], plan=plan)
        folder = tmp_path / str(len([*tmp_path.iterdir()]))
        return joint.study.create_study(again.model_copy(update=changes), folder)

    with pytest.raises(joint.ConfigError, match=r"the design weight=0\.01 has no loss_dull: give"):
        other(plan=study.plan.model_copy(update={"metric": "loss_dull"}))
    other(plan=study.plan.model_copy(update={"metric": "loss_total"}))
    wrong = {"surprise": {"function": "own_terms.surprise", "args": {"floor": 1}}}
    with pytest.raises(
        joint.ConfigError, match=r"weight=0\.01.*does not take {'floor': 1.*has none"
    ):
        other(base=_config(terms=wrong))
