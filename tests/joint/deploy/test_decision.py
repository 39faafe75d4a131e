import json
import warnings

import numpy as np
import phantom_runs
import pytest
import torch
from scipy.special import softmax

import classify
import joint
from joint.deploy.decision import load_rule, place, ruled, save_rule, tell_elsewhere
from joint.judge.point import operating

CLASSES = ("mel", "nv")


def test_a_rule_is_read_as_it_was_written(tmp_path):
    rule = classify.DecisionRule(CLASSES, 1 / 3, (0.1, -0.1), fitted={"part": "validation"})
    save_rule(tmp_path / "new" / "rule.json", rule)
    assert load_rule(tmp_path / "new" / "rule.json") == rule


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no JSON", "Expecting value"),
        ("[1]", "it must be an object, not list"),
        ('{"classes": ["a", "b"]}', "missing are temperature, offset, referral, fitted"),
        ({"temperature": "warm"}, "temperature must be a number, not str"),
        ({"classes": 3.5}, "classes must be names"),
        ({"referral": 3}, "a referral must be a mapping, not int"),
        ({"fitted": None}, "fitted must be a mapping, not NoneType"),
    ],
)
def test_a_file_that_holds_no_rule_is_refused(tmp_path, content, message):
    path = tmp_path / "rule.json"
    if isinstance(content, dict):
        content = json.dumps(classify.DecisionRule(CLASSES).to_dict() | content)
    path.write_text(content)
    with pytest.raises(joint.ConfigError, match=f"from .*rule.json: .*{message}.*--save-rule"):
        load_rule(path)
    with pytest.raises(joint.ConfigError, match=r"from .*none.json: .*No such file.*--save-rule"):
        load_rule(tmp_path / "none.json")


def test_another_place_is_told():
    config = phantom_runs.config_of(**phantom_runs.CLASSIFIER)
    here = place(config, joint.OperatingPoint(photons=50.0, distance=np.inf), "mirror")
    json.dumps(here, allow_nan=False)
    assert (here["photons"], here["quality"], here["distance"]) == (50, None, "inf")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tell_elsewhere(classify.DecisionRule(CLASSES, fitted=here | {"part": "validation"}), here)
        tell_elsewhere(classify.DecisionRule(CLASSES), here)  # which says nothing
        elsewhere = here | {"photons": 60.0}
        tell_elsewhere(classify.DecisionRule(CLASSES, fitted=elsewhere), {"views": "mirror"})
    for other, message in (
        (place(config, joint.OperatingPoint(), "mirror"), r"\(photons as built, not 50.0; dist"),
        (here | {"views": "flips"}, r"\(views flips, not mirror\)"),
        (here | {"run": "x"}, f"run x, not {config.digest()}"),
    ):
        with pytest.warns(UserWarning, match=message):
            tell_elsewhere(classify.DecisionRule(CLASSES, fitted=other), here)


def test_a_point_is_told_by_its_numbers_whether_they_were_asked_for_or_built():
    config = phantom_runs.config_of(
        front_end=joint.ShutterConfig(
            lens=joint.LensConfig(focus=0.3, pupil_size=32, psf_size=15), slots=4, motion=1.5
        ),
        sensor=joint.SensorConfig(photons=800.0, shot_noise="none", read_noise=0),
        codec=joint.FactorizedConfig(levels=4),
    )
    here = place(config, joint.OperatingPoint(), "identity")
    asked = {"photons": 800, "quality": 1.5, "distance": 0.3, "motion": 1.5}
    assert {name: here[name] for name in asked} == asked
    assert place(config, joint.OperatingPoint(**asked), "identity") == here
    assert place(config, joint.OperatingPoint(photons=50), "identity") == here | {"photons": 50}
    # They are the point that the system works at by itself.
    system = joint.build_system(config.system, image_size=(16, 16), channels=3, classes=7).eval()
    scenes = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    found = []
    for point in (joint.OperatingPoint(), joint.OperatingPoint(**asked)):
        with torch.no_grad(), operating(system, point):
            found.append(system(scenes, generator=torch.Generator().manual_seed(1)).handed)
    torch.testing.assert_close(*found, rtol=0, atol=1e-5)


def test_what_is_drawn_for_each_picture_is_no_number_as_built():
    config = phantom_runs.config_of(
        front_end=joint.LensConfig(working_distances=(0.3, 0.4)),
        sensor=joint.SensorConfig(photon_range=(100.0, 20_000.0)),
    )
    here = place(config, joint.OperatingPoint(), "identity")
    assert (here["photons"], here["distance"], here["motion"]) == (None, None, None)
    config = phantom_runs.config_of(codec=joint.JPEGConfig(quality=60))
    here = place(config, joint.OperatingPoint(), "identity")
    assert (here["quality"], here["photons"]) == (60, None)
    config = phantom_runs.config_of(front_end=joint.LensConfig())
    assert place(config, joint.OperatingPoint(), "identity")["distance"] == "inf"


def test_a_pass_by_a_rule_has_its_scores_and_their_report():
    config = phantom_runs.config_of(**phantom_runs.CLASSIFIER)
    system = joint.build_system(config.system, image_size=(16, 16), channels=3, classes=7)
    scenes = classify.LesionPhantom(30, 16, progress=False)
    result = joint.evaluate(system, scenes)
    rule = classify.DecisionRule(scenes.classes, 0.5, np.arange(7.0))
    found = ruled(result, rule, resamples=5)
    wanted = softmax(result.logits.astype(float) / 0.5 + np.arange(7), 1)
    np.testing.assert_allclose(softmax(found.logits, 1), wanted, rtol=1e-4)
    assert found.report.accuracy == (wanted.argmax(1) == result.labels).mean()
    assert found.report.intervals
    assert found.losses == result.losses
