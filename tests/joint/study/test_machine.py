import errno

import pytest

import joint
from joint.saved.folder import RunFolder
from joint.study.machine import NoInput, check_files, loaded, of_the_machine


@pytest.mark.parametrize(
    ("error", "blamed"),
    [
        (OSError(errno.ENOSPC, "full"), True),
        (OSError(errno.ENOMEM, "memory"), True),
        (FileNotFoundError(errno.ENOENT, "gone"), False),
        (NoInput("not here"), True),
        (ValueError("of the run"), False),
        (MemoryError(), False),
    ],
)
def test_whose_fault_it_is(error, blamed):
    assert of_the_machine(error) == blamed
    within = joint.CheckpointError("cannot write")
    within.__cause__ = error
    assert of_the_machine(within) == blamed


def test_files_that_a_run_begins_with(tmp_path):
    config = joint.RunConfig(
        system=joint.SystemConfig(
            front_end=joint.PSFConfig(file=tmp_path / "psf.npy"),
            classifier=joint.ClassifierConfig(weights=tmp_path / "w.pt"),
        ),
    )
    assert set(config.system.files()) == {tmp_path / "psf.npy", tmp_path / "w.pt"}
    folder = RunFolder(tmp_path / "run")
    (tmp_path / "psf.npy").touch()
    with pytest.raises(NoInput, match=r"w.pt is not there. This worker cannot read a file"):
        check_files(config, folder)
    (tmp_path / "w.pt").touch()
    check_files(config, folder)
    teacher = config.model_copy(update={"teacher": tmp_path / "teacher"})
    with pytest.raises(NoInput, match="teacher is not there"):
        check_files(teacher, folder)


def test_scenes_that_are_not_here_are_no_outcome():
    def missing(data):
        raise FileNotFoundError("no such folder")

    def wrong(data):
        raise ValueError("the limit is too small")

    with pytest.raises(NoInput, match="This worker cannot read the scenes"):
        loaded(missing, joint.PhantomConfig())
    with pytest.raises(ValueError, match="the limit is too small"):
        loaded(wrong, joint.PhantomConfig())
