import re

import pytest
from studies import validated

import joint
from joint.study import Axis, Plan, create_study, winner, work
from joint.study.validation import on_validation


@pytest.fixture
def planless(small_study, tmp_path):
    """Write a study without comparisons."""

    def write(**changes):
        settings = {"plan": Plan(), "seeds": (0,), **changes}
        return create_study(small_study(**settings), tmp_path / "study")

    return write


@pytest.mark.parametrize(("restores", "expected"), [(True, 0.9), (False, 0.7)])
@pytest.mark.parametrize("by", ["base", "axis"])
def test_numbers_are_those_of_the_weights_that_were_kept(
    planless, small_base, by, restores, expected
):
    if by == "base":
        ledger = planless(base=small_base(restore_best=restores))
    else:
        last = Axis(path="training.restore_best", values=(restores,))
        ledger = planless(axes={"last": last})
    run = ledger.runs[0]
    validated(ledger, run, {"accuracy": 0.9}, {"accuracy": 0.7})
    assert on_validation(ledger, run, "accuracy") == expected


@pytest.mark.parametrize("test", [{"bpp": 2}, {"bpp": 5, "bpp_bytes": 2}])
def test_bits_of_the_validation_part_are_at_its_own_rate(planless, test):
    ledger = planless()
    run = ledger.runs[0]
    validated(ledger, run, {"bpp": 1}, costs={"bits": 100}, test=test)
    # 100 bits at 2 bits/pixel are of 50 pixels.
    assert on_validation(ledger, run, "bits") == 50


@pytest.mark.parametrize(("name", "text", "expected"), [("bpp", "bpp", 1), ("sent", "3 * bpp", 3)])
def test_a_cost_of_the_rate_is_of_the_validation_part(planless, name, text, expected):
    ledger = planless(costs={name: text})
    run = ledger.runs[0]
    validated(ledger, run, {"bpp": 1}, costs={"bits": 100}, test={"bpp": 2})
    assert on_validation(ledger, run, name) == expected


def test_a_history_that_is_gone_says_what_to_do(small_study, tmp_path, cheap):
    cheap(lambda config: {"balanced_accuracy": 0.5})
    ledger = create_study(small_study(plan=Plan(), seeds=(0,)), tmp_path)
    work(tmp_path)
    (ledger.path(ledger.runs[0]) / "history.jsonl").unlink()
    with pytest.raises(joint.CheckpointError, match=r"has 0 epochs.* or remove its result.json"):
        on_validation(ledger, ledger.runs[0], "balanced_accuracy")


def test_a_damaged_line_names_the_check_of_the_study(small_study, tmp_path, cheap):
    cheap(lambda config: {"balanced_accuracy": 0.5})
    ledger = create_study(small_study(plan=Plan(), seeds=(0,)), tmp_path)
    work(tmp_path)
    path = ledger.path(ledger.runs[0]) / "history.jsonl"
    path.write_text("{\n" + path.read_text())
    message = re.escape(f"lens2label study check {tmp_path}")
    with pytest.raises(joint.CheckpointError, match=rf"line 1 of .* damaged.* {message}"):
        winner(ledger)


@pytest.mark.parametrize("line", ['{"epoch": 0}', '{"epoch": 0, "validation": null}'])
def test_a_history_without_a_validation_part_says_what_to_do(small_study, tmp_path, cheap, line):
    cheap(lambda config: {"balanced_accuracy": 0.5})
    ledger = create_study(small_study(plan=Plan(), seeds=(0,)), tmp_path)
    work(tmp_path)
    (ledger.path(ledger.runs[0]) / "history.jsonl").write_text(line + "\n")
    with pytest.raises(joint.CheckpointError, match=r"epoch 0 .* no validation part.* result.json"):
        winner(ledger)
