import errno
import importlib
import json
import os
import signal
import subprocess
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import classify
import joint
from joint.saved.folder import CHECKPOINT_FILE, RESULT_FILE, RunFolder, lock_run, read_history
from joint.study import (
    Axis,
    Plan,
    Requirements,
    StudyError,
    WorkerLost,
    create_study,
    open_study,
    progress,
    run_study,
    scenes,
    work,
)
from joint.study.attempt import begin
from joint.study.ledger import ATTEMPTS_FILE, read_failure
from joint.study.scenes import KeptScenes

# The package has a function of that name.
worker = importlib.import_module("joint.study.work")
_EPOCHS = 5


def _small(study, folder, base, *, photons=(50, 5000), seeds=(0, 1)):
    axes = {"light": Axis(path="system.sensor.photons", values=photons)}
    return create_study(study(base=base, axes=axes, plan=Plan(), seeds=seeds), folder)


def _starts(ledger):
    """Times that each run was started."""
    paths = [ledger.path(run) / ATTEMPTS_FILE for run in ledger.runs]
    return [len(path.read_text().splitlines()) if path.exists() else 0 for path in paths]


def _wait_for(condition, seconds=300):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)
    return found


def _state(pid):
    """A letter, as of a process that is nobody's child here."""
    told = Path(f"/proc/{pid}/stat")
    if told.exists():
        return told.read_text().rpartition(")")[2].strip()
    asked = ["ps", "-o", "stat=", "-p", str(pid)]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout


def _frozen(ledger, worked_on, pid):
    """Stop a process; leave it so when it is halfway: it is still there when it is killed."""
    os.kill(pid, signal.SIGSTOP)
    _wait_for(lambda: _state(pid).startswith("T"))
    for run, worker_pid in worked_on(ledger).items():
        # In the middle: it has ended an epoch, and not the last.
        if worker_pid == pid and 1 <= len(read_history(ledger.path(run))) < _EPOCHS:
            return run
    os.kill(pid, signal.SIGCONT)
    return None


def test_a_worker_does_everything_and_nothing_twice(small_study, small_base, tmp_path):
    ledger = _small(small_study, tmp_path, small_base())
    threads = torch.get_num_threads()
    assert work(tmp_path) == (4, 0, False)
    assert torch.get_num_threads() == threads
    assert ledger.tally() == (0, 0, 4, 0)
    assert _starts(ledger) == [1] * 4
    assert work(tmp_path) == (0, 0, False)
    assert _starts(ledger) == [1] * 4
    # Pairs share what is random; designs and seeds differ.
    losses = [ledger.result(run)["test"]["loss"] for run in ledger.runs]
    assert len(set(losses)) == 4


def test_a_run_that_somebody_else_ended_meanwhile_is_passed(ledger, pretend):
    done, failed = ledger.runs[:2]
    pretend(ledger, done, 0.9)
    ledger.path(failed).mkdir(parents=True)
    RunFolder(ledger.path(failed)).fail(RuntimeError("no"))
    for run in (done, failed):
        found = worker._attempt(ledger, run, KeptScenes(), torch.device("cpu"), lambda: False)
        assert found == "passed"
    assert sum(_starts(ledger)) == 0


def test_scenes_are_built_once(small_study, small_base, tmp_path, monkeypatch):
    built = []
    monkeypatch.setattr(
        scenes, "build_data", lambda config: built.append(config) or joint.build_data(config)
    )
    _small(small_study, tmp_path, small_base(), seeds=(0,))
    work(tmp_path)
    assert len(built) == 1


def test_a_run_that_fails_is_recorded_and_the_study_goes_on(small_study, small_base, tmp_path):
    axes = {"binning": Axis(path="system.sensor.binning", values=(3, 1))}  # 3 does not divide 16
    study = small_study(base=small_base(), axes=axes, plan=Plan(), seeds=(0,))
    ledger = create_study(study, tmp_path)
    assert work(tmp_path) == (1, 1, False)
    assert ledger.states() == ("failed", "done")
    found = read_failure(ledger.path(ledger.runs[0]))
    assert found["error"] == "ValueError"
    assert "sensor.binning=3 does not divide" in found["message"]
    assert "build_system" in found["traceback"]
    # It is not tried again before somebody says so.
    assert work(tmp_path) == (0, 0, False)
    ledger.reset_failed()
    assert work(tmp_path) == (0, 1, False)


def test_a_run_that_diverges_is_an_outcome(small_study, small_base, tmp_path):
    rate = Axis(path="training.learning_rate", values=(1e30,))
    study = small_study(
        base=small_base(gradient_clip=None, schedule="constant", epochs=3),
        axes={"rate": rate}, plan=Plan(), seeds=(0,),
    )  # fmt: skip
    ledger = create_study(study, tmp_path)
    assert work(tmp_path) == (0, 1, False)
    assert read_failure(ledger.path(ledger.runs[0]))["error"] == "TrainingDiverged"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG, errno.ENOMEM, errno.ESTALE])
def test_a_full_disk_stops_the_worker(small_study, small_base, tmp_path, monkeypatch, number):
    ledger = _small(small_study, tmp_path, small_base(), photons=(50,), seeds=(0,))

    def full(*_, **__):
        raise joint.CheckpointError("cannot write") from OSError(number, "of the disk")

    monkeypatch.setattr(worker, "execute", full)
    for _ in range(4):  # as often as somebody starts one before there is room
        with pytest.raises(joint.CheckpointError, match="cannot write"):
            work(tmp_path)
    assert ledger.tally().failed == 0
    # It was told in words, and is not held against the run.
    monkeypatch.undo()
    assert work(tmp_path) == (1, 0, False)


def test_a_full_disk_holds_nothing_against_runs_together(
    small_study, small_base, tmp_path, monkeypatch
):
    ledger = _small(small_study, tmp_path, small_base())
    together = importlib.import_module("joint.study.together")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "of the disk")

    monkeypatch.setattr(together, "fit_ensemble", full)
    with pytest.raises(OSError, match="of the disk"):
        work(tmp_path, together=4)
    assert _starts(ledger) == [0, 0, 0, 0]


def test_a_class_of_the_requirements_that_is_not_there_stops_the_worker(
    small_study, small_base, tmp_path
):
    plan = Plan(requirements=Requirements(at_least={"recall.zzz": 0.5}))
    data = joint.ClassFolders(root=_pictures(tmp_path / "data", seed=0), image_size=16)
    base = small_base().model_copy(update={"data": data})
    create_study(small_study(base=base, plan=plan), tmp_path / "study")
    with pytest.raises(StudyError, match=r"the plan cannot be judged: .*zzz.*'recall.mel' or"):
        work(tmp_path / "study")


def test_scenes_that_cannot_be_read_stop_the_worker(small_study, small_base, tmp_path):
    missing = joint.ClassFolders(root=tmp_path / "missing")
    base = small_base().model_copy(update={"data": missing})
    ledger = _small(small_study, tmp_path / "study", base)
    with pytest.raises(OSError, match="missing"):
        work(tmp_path / "study")
    assert ledger.tally().pending == 4
    # So they do where designs differ in their scenes: it says nothing of a design.
    axes = {"root": Axis(path="data.root", values=(str(tmp_path / "missing"),))}
    other = create_study(
        small_study(base=base, axes=axes, plan=Plan(), seeds=(0,)), tmp_path / "other"
    )
    for _ in range(5):  # as often as somebody starts one where they are not mounted
        with pytest.raises(OSError, match="This worker cannot read the scenes"):
            work(tmp_path / "other")
    assert other.tally().failed == 0
    assert _starts(other) == [0]


def _pictures(folder, *, seed, count=10):
    """Class folders of noise."""
    noise = np.random.default_rng(seed)
    for name in ("mel", "nv"):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            codes = noise.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(codes).save(folder / name / f"{name}{number}.png")
    return folder


def test_scenes_may_lie_elsewhere_now(small_study, small_base, tmp_path, monkeypatch):
    """The study and the names of its runs stay; what is there must hold the same."""
    was = _pictures(tmp_path / "was", seed=0)
    base = small_base().model_copy(update={"data": joint.ClassFolders(root=was, image_size=16)})
    folder = tmp_path / "study"
    ledger = _small(small_study, folder, base, photons=(50,))
    other, now = _pictures(tmp_path / "other", seed=1), was.rename(tmp_path / "now")
    few = _pictures(tmp_path / "few", seed=1, count=1)  # which no split divides
    seen = []

    def execute(config, folder, dataset, *, device, stop):
        seen.append(config.data.root)
        parts = joint.build_split(config, dataset).parts
        scenes = {name: part.fingerprint for name, part in parts.items()}
        folder.finish({"digest": config.digest(), "scenes": scenes, "test": {}})
        return True

    def train_together(ledger, runs, load, *, device, stop):
        load(base.data)

    monkeypatch.setattr(worker, "execute", execute)
    monkeypatch.setattr(worker, "train_together", train_together)
    with pytest.raises(OSError, match="was"):
        work(folder)
    assert work(folder, data={"root": now}) == (2, 0, False)
    assert seen == [was, was]
    # The same names with other pictures in them are not the same: beside a run that is done, ...
    first, second = (RunFolder(ledger.path(run)) for run in ledger.runs)
    (second.path / RESULT_FILE).unlink()
    with pytest.raises(
        OSError, match=rf"scenes given for the study differ from those of the run in .*{first}"
    ):
        work(folder, data={"root": other})
    with pytest.raises(
        OSError, match=rf"scenes given for the study differ from those of the run in .*{first}"
    ):
        work(folder, data={"root": few})
    # ... for one that has begun, and before several are trained at once.
    (first.path / RESULT_FILE).unlink()
    second.save_checkpoint({"x": torch.zeros(1)}, {"identity": {"train": "of the first"}})
    split, divided = scenes.build_split, []
    monkeypatch.setattr(
        scenes, "build_split", lambda config, data: divided.append(data) or split(config, data)
    )
    with pytest.raises(
        OSError, match=rf"the scenes given .* differ from those of the run in .*{second}"
    ):
        work(folder, data={"root": other}, together=2)
    assert len(divided) == 1
    assert ledger.tally().pending == 2
    assert not list(folder.rglob("failure.json"))


def test_where_the_scenes_lie_is_told_to_each_worker_as_it_was_given(
    small_study, small_base, tmp_path, monkeypatch
):
    """Where a link leads on this machine says nothing of others."""
    monkeypatch.chdir(tmp_path)
    for name in ("pictures", "study"):
        (tmp_path / f"{name} here").mkdir()
        (tmp_path / name).symlink_to(tmp_path / f"{name} here")
    base = small_base().model_copy(update={"data": joint.ClassFolders(root="was")})
    _small(small_study, tmp_path / "study", base)
    told = []

    def work(folder, **given):
        told.append((folder, given["data"]))
        return worker.Worked(0, 0, False)

    monkeypatch.setattr(worker, "work", work)
    with ThreadPoolExecutor(1) as pool:
        run_study("study", data={"root": "pictures"}, executor=pool, progress=False, poll=0.01)
    assert told == [(str(tmp_path / "study"), {"root": str(tmp_path / "pictures")})]


def test_weights_that_are_not_here_stop_the_worker(small_study, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    classifier = joint.ClassifierConfig(name="resnet_s")
    torch.save(classify.backbone("resnet_s", classes=7).state_dict(), "w.pt")
    base = joint.RunConfig(
        data=joint.PhantomConfig(count=60, image_size=16, balance=0),
        system=joint.SystemConfig(
            front_end=joint.NoneConfig(),
            codec=joint.NoneConfig(),
            classifier=classifier.model_copy(update={"weights": Path("w.pt")}),
        ),
        objective=joint.Objective(),
        training=joint.Training(epochs=1, augmentation="none", monitor="loss"),
    )
    ledger = _small(small_study, tmp_path / "study", base)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for _ in range(4):
        with pytest.raises(OSError, match=r"w.pt is not there. This worker cannot read a file"):
            work(ledger.folder.resolve())
    with pytest.raises(OSError, match=r"w.pt is not there"):
        work(ledger.folder.resolve(), together=4)
    assert ledger.tally().failed == 0
    assert _starts(ledger) == [0, 0, 0, 0]


def test_a_worker_that_is_asked_leaves(small_study, small_base, tmp_path):
    ledger = _small(small_study, tmp_path, small_base(epochs=2), seeds=(0,))
    asked = iter([False] * 4)
    assert work(tmp_path, stop=lambda: next(asked, True)) == (0, 0, True)
    assert ledger.tally() == (2, 0, 0, 0)
    assert (ledger.path(ledger.runs[0]) / CHECKPOINT_FILE).exists()
    assert work(tmp_path, stop=lambda: True) == (0, 0, True)
    assert work(tmp_path) == (2, 0, False)
    assert _starts(ledger) == [2, 1]


def test_a_run_that_takes_its_workers_with_it_is_given_up(small_study, small_base, tmp_path):
    ledger = _small(small_study, tmp_path, small_base(), photons=(50,), seeds=(0,))
    path = ledger.path(ledger.runs[0])
    path.mkdir(parents=True)
    start = json.dumps({"reached": None, "pid": 7, "host": "there"}) + "\n"
    (path / ATTEMPTS_FILE).write_text(start * 2 + '{"reached": nu')  # the last one is torn
    with lock_run(path) as folder:
        begin(folder)  # only two are known to have ended at this point
    (path / ATTEMPTS_FILE).write_text(start * 3)
    assert work(tmp_path) == (0, 1, False)
    found = read_failure(path)
    assert "3 starts from the same point ended without a message" in found["message"]
    assert "process 7 on there" in found["message"]
    ledger.reset_failed()
    assert work(tmp_path) == (1, 0, False)


def test_what_others_do_is_waited_for(small_study, small_base, tmp_path):
    ledger = _small(small_study, tmp_path, small_base(), photons=(50,))
    with lock_run(ledger.path(ledger.runs[0])), ThreadPoolExecutor(1) as other:
        assert work(tmp_path, wait_for_others=False) == (1, 0, False)
        waiting = other.submit(work, tmp_path, poll=0.05)
        time.sleep(0.2)
        assert not waiting.done()
        (ledger.path(ledger.runs[0]) / "result.json").write_text("{}")
        assert waiting.result(timeout=300) == (0, 0, False)


def test_there_must_be_a_study(tmp_path):
    with pytest.raises(StudyError, match="there is no study in"):
        work(tmp_path)
    with pytest.raises(StudyError, match="there is no study in"):
        run_study(tmp_path)


def test_workers_are_counted_from_one(ledger):
    for workers, threads in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match="at least one worker and thread"):
            run_study(ledger.folder, workers=workers, threads=threads)
    for call in (work, run_study):
        with pytest.raises(ValueError, match="one run at once, or more, not 0"):
            call(ledger.folder, together=0)


# ---------------------------------------------------------------------------- several processes


def _work_alone(folder):
    torch.set_num_threads(1)
    work(folder, poll=0.1)


def _stay():
    """Let this process stay in its first run: whoever looks late finds it there all the same."""
    append = RunFolder.append_history

    def waits(folder, record):
        if record["epoch"] == _EPOCHS - 1:
            RunFolder.append_history = append
            time.sleep(600)  # it is killed
        append(folder, record)

    RunFolder.append_history = waits


def _stay_alone(folder):
    _stay()
    _work_alone(folder)


def _stay_for_a_study(*arguments):
    _stay()
    return worker._worker(*arguments)


@pytest.mark.parametrize(("runs", "number"), [(4, 3), pytest.param(60, 6, marks=pytest.mark.slow)])
def test_two_workers_are_killed_and_nothing_is_lost(
    forked, small_study, small_base, worked_on, tmp_path, runs, number
):
    base = small_base(epochs=_EPOCHS, batch_size=16)
    ledger = _small(small_study, tmp_path / "study", base, seeds=range(runs // 2))
    targets = [_stay_alone] * 2 + [_work_alone] * (number - 2)
    workers = [forked.Process(target=target, args=(ledger.folder,)) for target in targets]
    for process in workers[:2]:
        process.start()
    _wait_for(lambda: len(worked_on(ledger)) == 2)  # the others leave them something to do
    for process in workers[2:]:
        process.start()
    interrupted = []
    for process in workers[:2]:
        interrupted.append(_wait_for(partial(_frozen, ledger, worked_on, process.pid), 600))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    for process in workers[2:]:
        process.join(timeout=1800)
        assert process.exitcode == 0
    assert ledger.tally() == (0, 0, runs, 0)
    starts = dict(zip(ledger.runs, _starts(ledger), strict=True))
    assert starts == {run: 2 if run in interrupted else 1 for run in ledger.runs}
    # The run was continued, not begun again: the result is that of an uninterrupted one.
    run = interrupted[0]
    assert ledger.config(run).training.epochs == len(read_history(ledger.path(run)))
    alone = _small(small_study, tmp_path / "alone", base, seeds=(run.seed,))
    twin = next(r for r in alone.runs if r.digest == run.digest)
    for other in alone.runs:
        if other != twin:
            alone.path(other).mkdir(parents=True)
            (alone.path(other) / "result.json").write_text("{}")
    work(alone.folder)
    assert alone.result(twin) == ledger.result(run)


def test_clocks_that_differ_change_nothing(ledger, pretend):
    # Files of workers whose clocks are years apart, in the past and in the future.
    done, failed, open_run, held = ledger.runs[:4]
    pretend(ledger, done, 0.9)
    for run in (failed, open_run):
        ledger.path(run).mkdir(parents=True)
    RunFolder(ledger.path(failed)).fail(RuntimeError("no"))
    start = {"reached": None, "pid": 7, "host": "there"}
    (ledger.path(open_run) / ATTEMPTS_FILE).write_text(json.dumps(start) + "\n")
    with lock_run(ledger.path(held)):
        for years in (-30, 30):
            for number, path in enumerate(ledger.folder.rglob("*")):
                shifted = time.time() + (-1) ** number * years * 3.2e7
                os.utime(path, (shifted, shifted))
            assert ledger.states()[:5] == ("done", "failed", "pending", "running", "pending")
            assert ledger.tally() == (29, 1, 1, 1)
            assert progress(ledger).seconds_left is None or progress(ledger).seconds_left >= 0
    with lock_run(ledger.path(open_run)) as folder:
        begin(folder)  # it is taken up, as one of the same clock would be
    assert len((ledger.path(open_run) / ATTEMPTS_FILE).read_text().splitlines()) == 2


@pytest.fixture(scope="module")
def alone(small_study, small_base, tmp_path_factory):
    """Two runs of two epochs, of one worker; no test changes them."""
    ledger = _small(small_study, tmp_path_factory.mktemp("alone"), small_base(epochs=2), seeds=(0,))
    work(ledger.folder)
    return open_study(ledger.folder)


@pytest.mark.parametrize("hours", [-9, 9])
def test_a_worker_whose_clock_is_hours_off_works_with_the_others(
    alone, small_study, small_base, tmp_path, monkeypatch, hours
):
    base, clock, clock_ns = small_base(epochs=2), time.time, time.time_ns
    ledger = _small(small_study, tmp_path / "shared", base, seeds=(0,))
    stopped, held = ledger.runs
    # Another one stops in the middle of a run, and a third one is in the middle of the other.
    work(ledger.folder, stop=lambda: bool(read_history(ledger.path(stopped))))
    assert ledger.tally() == (2, 0, 0, 0)
    with lock_run(ledger.path(held)) as folder:
        begin(folder)
        for path in ledger.folder.rglob("*"):
            os.utime(path, ns=(path.stat().st_mtime_ns + hours * 3600 * 10**9,) * 2)
        monkeypatch.setattr(time, "time", lambda: clock() - hours * 3600)
        monkeypatch.setattr(time, "time_ns", lambda: clock_ns() - hours * 3600 * 10**9)
        assert work(ledger.folder, wait_for_others=False) == (1, 0, False)
        assert ledger.tally() == (0, 1, 1, 0)
    assert work(ledger.folder) == (1, 0, False)
    assert _starts(ledger) == [2, 2]
    for run in ledger.runs:
        assert ledger.result(run) == alone.result(run)


@pytest.mark.usefixtures("forked")
def test_a_study_keeps_its_number_of_workers(
    small_study, small_base, worked_on, tmp_path, monkeypatch, capfd
):
    ledger = _small(small_study, tmp_path, small_base(epochs=_EPOCHS), seeds=(0,))
    with ThreadPoolExecutor(1) as runner:
        with monkeypatch.context() as patched:
            patched.setattr(worker, "_worker", _stay_for_a_study)
            study = runner.submit(run_study, tmp_path, workers=1, poll=0.1)
            ((run, pid),) = _wait_for(lambda: worked_on(ledger)).items()
        assert pid != os.getpid()
        os.kill(pid, signal.SIGKILL)  # the only one; the next one does not stay
        assert study.result(timeout=600) == (0, 0, 2, 0)
    assert _starts(ledger) == [2 if each == run else 1 for each in ledger.runs]
    assert "2/2 runs ended (0 failed), 0 running, 0 to go" in capfd.readouterr().err


def test_any_executor_starts_workers(small_study, small_base, tmp_path, capfd):
    ledger = _small(small_study, tmp_path, small_base(), seeds=(0,))
    with ThreadPoolExecutor(2) as pool:
        tally = run_study(
            tmp_path, workers=2, threads=torch.get_num_threads(), executor=pool, progress=False,
            poll=0.1,
        )  # fmt: skip
        assert tally == (0, 0, 2, 0)
        assert pool.submit(abs, -1).result() == 1  # it is left open
    assert ledger.tally().done == 2
    assert capfd.readouterr().err == ""


def test_workers_that_are_lost_again_and_again_end_the_study(ledger, monkeypatch):
    class Losing(ThreadPoolExecutor):
        calls = 0

        def submit(self, fn, /, *args, **kwargs):
            Losing.calls += 1
            return super().submit(_lose)

    def _lose():
        raise WorkerLost("gone")

    with Losing(1) as pool, pytest.raises(WorkerLost, match="gone"):
        run_study(ledger.folder, workers=1, executor=pool, progress=False, poll=0.01)
    assert Losing.calls == 5


@pytest.mark.filterwarnings("ignore:.*was changed after it was written")
def test_a_worker_that_cannot_go_on_ends_the_study(ledger):
    path = ledger.folder / "study.json"
    content = json.loads(path.read_text())
    content["runs"][0]["digest"] = "0" * 12
    path.write_text(json.dumps(content))
    with ThreadPoolExecutor(1) as pool, pytest.raises(StudyError, match="another version"):
        run_study(ledger.folder, executor=pool, progress=False, poll=0.01)
    assert open_study(Path(ledger.folder)).tally().failed == 0


@pytest.mark.parametrize("warn", [True, False])
def test_a_worker_warns_where_it_is_let(warn, monkeypatch, capsys):
    def warns(folder, **_):
        warnings.warn(f"of {folder}", stacklevel=1)
        return worker.Worked(0, 0, stopped=False)

    monkeypatch.setattr(worker, "work", warns)
    threads = torch.get_num_threads()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        worker._worker("a study", "cpu", threads, 1, 0.1, warn, {})
    assert capsys.readouterr().err == "lens2label: warning: of a study\n" * warn


@pytest.mark.parametrize("how", ["moved", "deleted"])
def test_a_study_that_is_gone_ends_its_workers(small_study, small_base, tmp_path, cheap, how):
    """Else they would make a second one where it was, without its file, and runs that failed."""
    ledger = _small(small_study, tmp_path / "study", small_base())
    elsewhere = tmp_path / "moved"

    def formula(_):
        if how == "moved":
            ledger.folder.rename(elsewhere)
            raise RuntimeError("cannot write")  # as of a file that was there before
        (ledger.folder / "study.json").unlink()
        return {"loss": 1.0}

    cheap(formula)
    with pytest.raises(
        StudyError, match=r"no longer in .*study: it was moved or deleted while a w"
    ):
        work(ledger.folder)
    assert not list(tmp_path.rglob("failure.json"))
    assert len(list(tmp_path.rglob("result.json"))) == (how == "deleted")
    if how == "moved":
        assert open_study(elsewhere).tally() == (4, 0, 0, 0)


@pytest.mark.parametrize("shown", [True, False])
def test_who_stops_a_study_is_told_that_it_saves(finished, monkeypatch, shown):
    notices = []
    stop = worker.graceful_stop
    monkeypatch.setattr(
        worker, "graceful_stop", lambda notice=None: notices.append(notice) or stop(notice=notice)
    )
    run_study(finished.folder, progress=shown)
    words = "the workers finish their steps and save; Ctrl-C again leaves at once"
    assert notices == [words if shown else None]


def test_a_worker_warns_in_the_words_of_the_command_line(monkeypatch, capsys):
    def speaks(*_, **__):
        warnings.simplefilter("always")
        warnings.warn("4 runs are trained one by one", stacklevel=1)

    monkeypatch.setattr(worker, "work", speaks)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    shown = warnings.showwarning
    worker._worker("here", "cpu", 1, 1, 1.0, True, {})
    assert capsys.readouterr().err == "lens2label: warning: 4 runs are trained one by one\n"
    assert warnings.showwarning is shown


def test_a_warning_says_of_which_run_it_is(small_study, small_base, tmp_path, cheap):
    """Of a study with many runs, one that missed its rate could not be told from the others."""
    ledger = _small(small_study, tmp_path, small_base(), seeds=(0, 3))

    def formula(config):
        if config.system.sensor.photons == 50:
            warnings.warn("the rate was to end at 1 bits/pixel", stacklevel=1)
        return {"loss": 1.0}

    cheap(formula)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        work(ledger.folder)
        warnings.warn("of no run", stacklevel=1)
    assert [(each.category, str(each.message)) for each in told] == [
        (UserWarning, "design 0 (light=50), seed 0: the rate was to end at 1 bits/pixel"),
        (UserWarning, "design 0 (light=50), seed 3: the rate was to end at 1 bits/pixel"),
        (UserWarning, "of no run"),
    ]


def test_a_warning_of_several_runs_at_once_names_them_all(
    small_study, small_base, tmp_path, cheap, monkeypatch
):
    ledger = _small(small_study, tmp_path, small_base(), seeds=(0,))
    cheap(lambda config: {"loss": 1.0})
    monkeypatch.setattr(
        worker, "train_together", lambda *_, **__: warnings.warn("too few photons", stacklevel=1)
    )
    which = r"design 0 \(light=50\), seed 0; design 1 \(light=5000\), seed 0"
    with pytest.warns(UserWarning, match=f"^{which}: too few photons$"):
        work(ledger.folder, together=2)


def test_a_run_that_is_done_says_how_long_it_took(small_study, small_base, tmp_path, cheap):
    ledger = _small(small_study, tmp_path, small_base(), seeds=(0,))
    cheap(lambda config: {"loss": 1.0}, seconds=0.05)
    before = time.monotonic()
    work(ledger.folder)
    most = time.monotonic() - before
    took = [
        json.loads((ledger.path(run) / ATTEMPTS_FILE).read_text())["seconds"] for run in ledger.runs
    ]
    assert min(took) >= 0.05
    assert sum(took) <= most


def test_a_class_that_the_scenes_lack_is_told_before_a_run(small_study, small_base, tmp_path):
    data = joint.ClassFolders(root=_pictures(tmp_path / "data", seed=0), image_size=16)
    base = small_base().model_copy(update={"data": data})
    study = small_study(base=base, plan=Plan(metric="recall.polyp", resamples=100))
    create_study(study, tmp_path / "study")
    with pytest.raises(StudyError, match=r"cannot be judged: metric 'recall.polyp' names none of "):
        work(tmp_path / "study")
    assert open_study(tmp_path / "study").tally().pending == len(study.seeds) * 4
    # Where the designs differ in their scenes, once those of the first are there.
    axes = {"data": Axis(path="data.geometry", values=("crop", "squeeze"))}
    create_study(study.model_copy(update={"axes": axes}), tmp_path / "other")
    with pytest.raises(StudyError, match=r"cannot be judged: metric 'recall.polyp'"):
        work(tmp_path / "other")
    assert open_study(tmp_path / "other").tally().finished == 0
