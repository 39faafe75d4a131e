import json
from dataclasses import asdict

import pytest

import joint
from joint.saved.environment import environment
from joint.saved.folder import ENVIRONMENT_FILE, RESULT_FILE
from joint.study import (
    Axis,
    Plan,
    Study,
    create_study,
    environment_differences,
    report,
    select_designs,
    study_html,
)
from joint.study.provenance import changed_inputs

HERE = asdict(environment())


def _made(ledger, where):
    """Write where each run was made."""
    for run in ledger.runs:
        path = ledger.path(run) / ENVIRONMENT_FILE
        path.write_text(json.dumps([HERE | each for each in where(run)]))


def test_runs_of_one_kind_do_not_differ(finished):
    assert environment_differences(finished) == ()
    # The threads, the version of Python and the kernel change no more than the order of a sum.
    _made(finished, lambda run: [{"threads": 1 + run.design, "platform": str(run.seed)}])
    assert environment_differences(finished) == ()
    assert "warning" not in str(report(finished))


def test_versions_that_differ_between_designs_are_told(finished, undrawn):
    _made(finished, lambda run: [{"pytorch": "2.11" if run.design < 1 or run.seed < 2 else "2.12"}])
    (found,) = environment_differences(finished)
    assert found.name == "pytorch"
    assert found.runs == {"2.12": 18, "2.11": 14}
    assert found.seeds == (2, 3, 4, 5, 6, 7)
    line = "runs were made with different pytorch: 2.12 (18 runs), 2.11 (14 runs); designs differ"
    text = str(report(finished))
    assert f"  warning: {line} in it within seeds 2, 3, 4, 5, 6, 7" in text
    assert text.index("warning") < text.index("planned before")
    assert f"Warning: {line}" in study_html(finished, elements=False)
    content = json.loads(report(finished).to_json())
    assert content["environments"][0]["runs"] == {"2.12": 18, "2.11": 14}


def test_a_run_that_is_not_done_has_no_say(finished):
    _made(finished, lambda run: [{"pytorch": "2.12" if run == finished.runs[3] else "2.11"}])
    assert len(environment_differences(finished)) == 1
    (finished.path(finished.runs[3]) / RESULT_FILE).unlink()
    assert environment_differences(finished) == ()


def test_a_version_for_each_seed_leaves_the_pairs_alike(finished):
    _made(finished, lambda run: [{"lens2label": "1" if run.seed < 4 else "2", "commit": None}])
    (found,) = environment_differences(finished)
    assert (found.name, found.seeds) == ("lens2label", ())
    assert str(found).endswith("each seed has one of them, so pairs share it")


def test_a_run_that_went_on_elsewhere_is_one_of_its_own(finished):
    moved = finished.runs[5]
    _made(
        finished,
        lambda run: [
            {"device": "cpu"},
            *([{"device": "cuda"}, {"device": "cuda"}] * (run == moved)),
        ],
    )
    (found,) = environment_differences(finished)
    assert found.runs == {"cpu": 31, "cpu then cuda": 1}
    assert str(found).endswith(f"designs differ in it within seed {moved.seed}")


@pytest.mark.parametrize("text", ["{", "{}", "[1]", "[]"])
def test_a_record_that_is_gone_or_damaged_is_left_out(finished, text):
    _made(finished, lambda run: [{"pytorch": "2.11"}])
    (finished.path(finished.runs[0]) / ENVIRONMENT_FILE).unlink()
    (finished.path(finished.runs[1]) / ENVIRONMENT_FILE).write_text(text)
    assert environment_differences(finished) == ()


def _seen(ledger, scenes):
    """Write of which scenes each run was made."""
    for run in ledger.runs:
        path = ledger.path(run) / RESULT_FILE
        path.write_text(json.dumps(json.loads(path.read_text()) | {"scenes": scenes(run)}))


def test_files_that_were_replaced_between_runs_make_no_pairs(finished, undrawn):
    same = {"train": "a", "validation": "b", "test": "c"}
    _seen(finished, lambda run: same)
    assert changed_inputs(finished) == {}
    found = report(finished)
    assert {each.verdict for each in found.planned} == {"better"}
    assert found.other_pictures is None
    for part in same:
        _seen(finished, lambda run, part=part: same | {part: "z" if run.design > 1 else part})
        assert changed_inputs(finished) == dict.fromkeys(range(4), f"pictures of the {part} set")
    _seen(finished, lambda run: dict.fromkeys(same, str(run.design)))
    assert set(changed_inputs(finished).values()) == {
        "pictures of the test set"
    }  # what matters most
    found = report(finished)
    why = "not shown: pictures of the test set changed between runs of the same description"
    assert {each.verdict for each in found.planned} == {why}
    told = "runs of designs 0, 1, 2, 3 used other pictures, or started from other weights"
    assert f"  warning: {told} or another PSF, than others of the same" in str(found)
    assert f"Warning: {told}" in study_html(finished, elements=False)
    chosen = select_designs(finished, at_least={"accuracy": 0.1})
    assert told in str(chosen)
    assert {each.verdict for each in chosen.designs} == {"perhaps"}
    assert chosen.designs[0].held_back == why.removeprefix("not shown: ")
    assert json.loads(found.to_json())["changed"] == [0, 1, 2, 3]


def test_designs_of_other_data_have_other_pictures(small_study, tmp_path, pretend):
    study = small_study(
        axes={
            "light": Axis(path="system.sensor.photons", values=(50, 5000)),
            "size": Axis(path="data.image_size", values=(16, 24)),
        }
    )
    ledger = create_study(study, tmp_path / "study")
    for run in ledger.runs:
        pretend(ledger, run, 0.9)
    _seen(ledger, lambda run: {"train": str(ledger.designs[run.design]["size"])})
    assert changed_inputs(ledger) == {}
    # Runs of before it was said tell nothing.
    path = ledger.path(ledger.runs[0]) / RESULT_FILE
    content = json.loads(path.read_text())
    del content["scenes"]
    path.write_text(json.dumps(content))
    assert changed_inputs(ledger) == {}


def test_weights_and_a_psf_that_were_replaced_between_runs_make_no_pairs(finished):
    def began(digest):
        for run in finished.runs:
            path = finished.path(run) / RESULT_FILE
            files = {"files": {"w.safetensors": digest(run)}} if run.design > 1 else {}
            path.write_text(json.dumps(json.loads(path.read_text()) | files))

    began(lambda run: "a")
    assert changed_inputs(finished) == {}
    began(lambda run: "a" if run.seed < 3 else "b")
    assert changed_inputs(finished) == dict.fromkeys((2, 3), "the file w.safetensors")
    why = "not shown: the file w.safetensors changed between runs of the same description"
    found = report(finished)
    assert {each.verdict for each in found.planned} == {why}
    assert "runs of designs 2, 3 used other pictures, or started from" in str(found)


def test_designs_of_one_description_need_no_configuration(finished, monkeypatch):
    _seen(finished, lambda run: {"test": str(run.seed)})
    built = []
    monkeypatch.setattr(Study, "config", lambda self, *given: built.append(given))
    assert len(changed_inputs(finished)) == 4
    assert not built


def test_designs_that_this_version_refuses_do_not_end_a_report(
    small_study, tmp_path, pretend, monkeypatch
):
    axes = {"size": Axis(path="data.image_size", values=(16, 24))}
    ledger = create_study(small_study(axes=axes, plan=Plan()), tmp_path / "study")
    for run in ledger.runs:
        pretend(ledger, run, 0.9)
    _seen(ledger, lambda run: {"test": str(run.seed)})
    assert len(changed_inputs(ledger)) == 2

    def refused(self, design, seed):
        raise joint.ConfigError("of another version")

    monkeypatch.setattr(Study, "config", refused)
    assert changed_inputs(ledger) == {}
    assert len(report(ledger).designs) == 2
