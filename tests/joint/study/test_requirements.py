import pytest
from pydantic import ValidationError

from joint.parse import parse_toml
from joint.study import Plan, Requirements, Study, create_study
from joint.study.sampler import TPE


def test_the_classes_of_toml_are_names_with_a_point():
    content = parse_toml(b"at_least = {recall.mel = 0.8, precision.mel = 0.5, accuracy = 0.7}")
    wanted = Requirements.model_validate(content)
    assert wanted.at_least == {"recall.mel": 0.8, "precision.mel": 0.5, "accuracy": 0.7}
    assert wanted == Requirements(
        at_least={"recall.mel": 0.8, "precision.mel": 0.5, "accuracy": 0.7}
    )
    assert wanted.metrics() == ("recall.mel", "precision.mel", "accuracy")


def test_none_is_false_and_some_come_back_from_json():
    assert not Requirements()
    assert Requirements(within=0.1)
    plan = Plan(requirements=Requirements(at_most={"bits": 400}, within=0.02))
    assert Plan.model_validate_json(plan.model_dump_json()) == plan
    assert [*plan.requirements.told("auc")] == ["bits <= 400", "within 0.02 of the best auc"]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"at_least": {"bit": 1}}, "'bit' is neither a metric of a study nor one of its costs"),
        ({"at_most": {"recal.mel": 1}}, "'recal.mel' is neither a metric"),
        ({"within": -1}, "greater than 0"),
        ({"at_least": {"accuracy": "much"}}, "valid number"),
    ],
)
def test_what_no_study_has_is_refused(small_study, asked, told):
    study = small_study().model_dump(mode="json")
    study["plan"]["requirements"] = asked
    with pytest.raises(ValidationError, match=told):
        Study.model_validate(study)


def test_costs_of_the_study_are_known(small_study):
    wanted = Requirements(at_most={"lamp": 3})
    study = small_study(costs={"lamp": "2 * light"}, plan=Plan(requirements=wanted))
    assert study.cost_names == ("lamp",)
    with pytest.raises(ValidationError, match="'bits' is neither a metric of a study nor one"):
        small_study(costs={"lamp": "2 * light"}, plan=Plan(requirements={"at_most": {"bits": 1}}))


def test_a_search_cannot_plan_them(small_study):
    with pytest.raises(ValidationError, match="a search cannot plan requirements"):
        small_study(
            sampler=TPE(count=8), plan=Plan(requirements=Requirements(at_least={"accuracy": 0.5}))
        )


def test_what_no_design_measures_is_refused_before_the_first_run(small_study, tmp_path):
    plan = Plan(requirements=Requirements(at_most={"bpp": 0.5}))
    with pytest.raises(ValueError, match="no design has bpp, as none has a codec"):
        create_study(small_study(plan=plan), tmp_path / "study")
