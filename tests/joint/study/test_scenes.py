import pytest

import joint
import joint.study.scenes as module
from joint.study import Axis, Plan, StudyError, create_study, run_study, work
from joint.study.scenes import KeptScenes


def test_only_the_last_scenes_are_kept(monkeypatch):
    monkeypatch.setattr(module, "build_data", lambda config: [config.seed])
    scenes = KeptScenes()
    first, *_, last = (joint.PhantomConfig(count=9, seed=seed) for seed in range(3))
    kept = scenes(last)
    for seed in (0, 2, 1, 2):
        scenes(joint.PhantomConfig(count=9, seed=seed))
    assert scenes(last) is kept
    assert len(scenes._kept) == 2
    assert first.model_dump_json() not in scenes._kept


def test_scenes_of_another_configuration_are_others(monkeypatch):
    monkeypatch.setattr(module, "build_data", lambda config: [config])
    scenes = KeptScenes()
    base = joint.PhantomConfig(count=9, seed=1)
    for other in ({"count": 10}, {"image_size": 32}, {"balance": 0}):
        changed = joint.PhantomConfig(**{"count": 9, "seed": 1, **other})
        assert scenes(base) == [base]
        assert scenes(changed) == [changed]
    assert scenes(base) is scenes(joint.PhantomConfig(count=9, seed=1))


def test_only_what_a_study_has_may_lie_elsewhere(small_study, small_base, tmp_path):
    create_study(small_study(base=small_base()), tmp_path / "phantom")
    with pytest.raises(StudyError, match=r"\(phantom\) have no files at all, and no data.root"):
        run_study(tmp_path / "phantom", data={"root": "elsewhere"})
    base = small_base().model_copy(update={"data": joint.ClassFolders(root=tmp_path / "one")})
    axes = {"root": Axis(path="data.root", values=("one", "two"))}
    study = small_study(base=base, axes=axes, plan=Plan(), seeds=(0,))
    create_study(study, tmp_path / "several")
    with pytest.raises(StudyError, match=r"differ in data.root, so one path cannot replace"):
        work(tmp_path / "several", data={"root": "elsewhere"})
