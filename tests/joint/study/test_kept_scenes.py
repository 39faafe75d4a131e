import joint
from joint.study import kept_scenes


def test_only_the_last_scenes_are_kept(monkeypatch):
    monkeypatch.setattr(kept_scenes, "build_data", lambda config: [config.seed])
    scenes = kept_scenes.KeptScenes()
    first, *_, last = (joint.PhantomConfig(count=9, seed=seed) for seed in range(3))
    kept = scenes(last)
    for seed in (0, 2, 1, 2):
        scenes(joint.PhantomConfig(count=9, seed=seed))
    assert scenes(last) is kept
    assert len(scenes._kept) == 2
    assert first.model_dump_json() not in scenes._kept


def test_scenes_of_another_configuration_are_others(monkeypatch):
    monkeypatch.setattr(kept_scenes, "build_data", lambda config: [config])
    scenes = kept_scenes.KeptScenes()
    base = joint.PhantomConfig(count=9, seed=1)
    for other in ({"count": 10}, {"image_size": 32}, {"balance": 0}):
        changed = joint.PhantomConfig(**{"count": 9, "seed": 1, **other})
        assert scenes(base) == [base]
        assert scenes(changed) == [changed]
    assert scenes(base) is scenes(joint.PhantomConfig(count=9, seed=1))
