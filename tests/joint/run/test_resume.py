from pathlib import Path

import pytest
from phantom_runs import CODEC, QUICK, config_of

import joint
from joint.run.complete import complete_run
from joint.run.resume import Asked, decide, is_begun, lengthened, open_settings, places
from joint.saved.folder import BEST_FILE, CHECKPOINT_FILE, CONFIG_FILE, RESULT_FILE, RunFolder

_MEANT = config_of(2, **CODEC)
_OTHER = _MEANT.model_copy(update={"split": joint.SplitConfig(seed=3)})
_NOTHING, _ALL = {}, None  # given of the configuration


def _folder(path, *names, config=_MEANT):
    """A run folder with files of these names."""
    path.mkdir(exist_ok=True)
    for name in names:
        (path / name).touch()
    if CONFIG_FILE in names:
        joint.save_config(config, path)
    return RunFolder(path)


def _asked(config, given, *, resume=True):
    return Asked(config, resume=resume, given=given)


@pytest.mark.parametrize("given", [_NOTHING, _ALL])
@pytest.mark.parametrize(
    ("files", "action"),
    [
        ([CONFIG_FILE], "begin"),
        ([CONFIG_FILE, CHECKPOINT_FILE], "resume"),
        ([CONFIG_FILE, CHECKPOINT_FILE, BEST_FILE], "resume"),
        ([CONFIG_FILE, CHECKPOINT_FILE, BEST_FILE, RESULT_FILE], "keep"),
        ([CONFIG_FILE, BEST_FILE, RESULT_FILE], "keep"),  # as one that was copied without
    ],
)
def test_the_files_of_a_folder_say_what_to_do(tmp_path, files, action, given):
    folder = _folder(tmp_path / "run", *files)
    config = joint.RunConfig() if given == _NOTHING else _MEANT
    decision = decide(folder, _asked(config, given))
    assert (decision.action, decision.config) == (action, _MEANT)
    # All that is given of a run that was not saved is what it is, whatever was meant before.
    assert decision.noted == (None if (action, given) == ("begin", _ALL) else _MEANT)
    assert is_begun(folder) == (action != "begin")
    assert {path.name for path in folder.path.iterdir()} == {*files}


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_begins_where_there_is_none(tmp_path, resume):
    nowhere = RunFolder(tmp_path / "nowhere")
    decision = decide(nowhere, _asked(_MEANT, _ALL, resume=resume))
    assert (decision.action, decision.config, decision.noted) == ("begin", _MEANT, None)
    # What was meant by one that was killed counts for one that is resumed alone.
    killed = _folder(tmp_path / "killed", CONFIG_FILE)
    decision = decide(killed, _asked(_OTHER, _NOTHING, resume=resume))
    assert decision.action == "begin"
    assert decision.config == (_MEANT if resume else _OTHER)
    assert not nowhere.path.exists()


def test_a_run_that_was_not_saved_is_begun_as_long_as_it_is_asked_for(tmp_path):
    folder = _folder(tmp_path / "run", CONFIG_FILE)
    asked = _asked(lengthened(joint.RunConfig(), 1), {"training.epochs": ["--training.epochs=1"]})
    decision = decide(folder, asked)
    assert (decision.action, decision.noted) == ("begin", _MEANT)
    assert decision.config == lengthened(_MEANT, 1)


@pytest.mark.parametrize(
    ("files", "asked", "kind", "said"),
    [
        ([], _asked(_MEANT, _NOTHING), joint.ConfigError, "holds no run that could be continued"),
        (
            [BEST_FILE],
            _asked(_MEANT, _ALL),
            joint.ConfigError,
            "has best.safetensors of a run, but",
        ),
        (
            [CONFIG_FILE, CHECKPOINT_FILE],
            _asked(_MEANT, _ALL, resume=False),
            joint.CheckpointError,
            "already holds a run: resume it",
        ),
        (
            [CONFIG_FILE, RESULT_FILE],
            _asked(_MEANT, _NOTHING, resume=False),
            joint.CheckpointError,
            "already holds a run: resume it",
        ),
        (
            [CONFIG_FILE, CHECKPOINT_FILE],
            _asked(_OTHER, _ALL),
            joint.ConfigError,
            "holds a run of another configuration",
        ),
        (
            [CONFIG_FILE, CHECKPOINT_FILE, RESULT_FILE],
            _asked(lengthened(_MEANT, 1), {"training.epochs": ["--training.epochs", "1"]}),
            joint.ConfigError,
            "holds a run of another configuration",
        ),
        (
            [CONFIG_FILE, RESULT_FILE],
            _asked(lengthened(_MEANT, 3), _ALL),
            joint.ConfigError,
            "no longer has its checkpoint with the moments of the optimiser",
        ),
        (
            [CHECKPOINT_FILE],
            _asked(_MEANT, _NOTHING),
            joint.ConfigError,
            "has no config.json: it was written by",
        ),
    ],
)
def test_a_refusal_says_why(tmp_path, files, asked, kind, said):
    folder = _folder(tmp_path / "run", *files)
    with pytest.raises(kind, match=said):
        decide(folder, asked)


def test_a_folder_that_is_named_by_its_digest_is_not_extended(tmp_path):
    folder = _folder(tmp_path / _MEANT.digest(), CONFIG_FILE, CHECKPOINT_FILE)
    with pytest.raises(joint.ConfigError, match="is named by the digest of its configuration"):
        decide(folder, _asked(lengthened(_MEANT, 3), _ALL))


def test_what_fit_wrote_is_compared_by_fit(tmp_path):
    decision = decide(_folder(tmp_path, CHECKPOINT_FILE), _asked(_MEANT, _ALL))
    assert (decision.action, decision.config, decision.noted) == ("resume", _MEANT, _MEANT)


def test_scenes_and_teacher_may_be_elsewhere(tmp_path):
    was = joint.ImageTableConfig(table=Path("was.csv"), image_size=64)
    now = joint.ImageTableConfig(table=Path("now.csv"))
    noted = _MEANT.model_copy(update={"data": was, "teacher": Path("teacher")})
    folder = _folder(tmp_path / "run", CONFIG_FILE, CHECKPOINT_FILE, config=noted)
    words = {"data": ["--data", "now.csv"]}
    decision = decide(folder, _asked(joint.RunConfig(data=now), words))
    moved = was.model_copy(update={"table": Path("now.csv")})  # of the size that it was begun with
    assert decision.config == noted.model_copy(update={"data": moved})
    assert (decision.action, decision.noted) == ("resume", noted)
    objective = joint.Objective(distillation=1)
    taught = joint.RunConfig(teacher=Path("elsewhere"), objective=objective)
    decision = decide(folder, _asked(taught, {"teacher": ["--teacher", "elsewhere"]}))
    assert decision.config == noted.model_copy(update={"teacher": Path("elsewhere")})
    # All else may not be, and of one kind of scenes they are no other.
    with pytest.raises(joint.ConfigError, match="a run of another configuration"):
        decide(folder, _asked(noted.model_copy(update={"data": now}), _ALL))
    said = r"--data=phantom holds scenes of another kind than those of the run in .* \(table\)"
    with pytest.raises(joint.ConfigError, match=said):
        decide(folder, _asked(joint.RunConfig(), {"data": ["--data=phantom"]}))


def test_the_open_settings_are_those_that_are_recognised_by_content():
    everywhere = {"data", "teacher", "training.epochs"}
    assert open_settings(joint.PhantomConfig()) == everywhere
    table = joint.ImageTableConfig(table=Path("labels.csv"), root=Path("pictures"))
    assert places(table) == {"table": Path("labels.csv"), "root": Path("pictures")}
    assert open_settings(table) == everywhere | {"data.table", "data.root"}


def test_deciding_moves_no_damaged_checkpoint(parts, tmp_path):
    short = config_of(1, **CODEC)
    steady = joint.Training(epochs=1, batch_size=16, schedule="constant")
    short = short.model_copy(update={"training": steady})
    complete_run(short, parts, tmp_path, **QUICK)
    path = tmp_path / CHECKPOINT_FILE
    path.write_bytes(path.read_bytes()[:-9])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    # Before it is held, and so without a word.
    decision = decide(RunFolder(tmp_path), _asked(lengthened(short, 2), _ALL))
    assert (decision.action, decision.config) == ("extend", lengthened(short, 2))
    assert decision.noted == short
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
