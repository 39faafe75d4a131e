import json
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from joint.study import (
    Axis,
    Plan,
    RayEach,
    StudyError,
    WorkerLost,
    create_study,
    run_study,
    work,
)
from joint.study.ledger import ATTEMPTS_FILE

ray = pytest.importorskip("ray")
# With --dist loadgroup, the processes of a cluster start once for all of these.
pytestmark = pytest.mark.xdist_group("ray")


@pytest.fixture(scope="module")
def pool():
    # With one core a process that has loaded the library has the next call too.
    made = RayEach(machine_cpus=1)
    yield made
    made.shutdown(cancel_futures=True)
    assert not ray.is_initialized()


def _wait_for(condition):
    end = time.monotonic() + 300
    while not (found := condition()):
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)
    return found


def test_a_worker_on_a_cluster_that_is_killed_is_replaced(
    pool, small_study, small_base, worked_on, tmp_path, monkeypatch, capfd
):
    name, submit = tmp_path / "staying", pool.submit

    def staying(*arguments):
        """A worker that says who it is once it has begun a run, and stays in it: it is killed."""
        import importlib
        import os
        import time

        from joint.saved.checkpoint import write_atomically

        def stays(*_, **__):
            write_atomically(name, str(os.getpid()).encode())
            time.sleep(600)

        worker = importlib.import_module("joint.study.work")
        worker.execute = stays
        return worker._worker(*arguments)

    first = iter([staying])
    monkeypatch.setattr(pool, "submit", lambda fn, *args: submit(next(first, fn), *args))
    axes = {"light": Axis(path="system.sensor.photons", values=(50, 5000))}
    study = small_study(base=small_base(), axes=axes, plan=Plan(), seeds=(0, 1))
    ledger = create_study(study, tmp_path / "study")
    with ThreadPoolExecutor(1) as runner:
        running = runner.submit(run_study, ledger.folder, workers=1, executor=pool, poll=0.1)
        _wait_for(name.exists)
        pid = int(name.read_text())
        (run,) = [run for run, who in worked_on(ledger).items() if who == pid]
        assert pid != os.getpid()
        os.kill(pid, signal.SIGKILL)
        assert running.result(timeout=600) == (0, 0, 4, 0)
    starts = {r: (ledger.path(r) / ATTEMPTS_FILE).read_text().count("\n") for r in ledger.runs}
    assert starts == {r: 2 if r == run else 1 for r in ledger.runs}
    assert all(ledger.result(r)["epochs"] == 1 for r in ledger.runs)
    assert "4/4 runs ended" in capfd.readouterr().err


def test_a_worker_is_asked_to_leave_and_saves(pool, small_study, small_base, tmp_path):
    study = small_study(
        base=small_base(epochs=4000, batch_size=8), plan=Plan(), seeds=(0,),
        axes={"light": Axis(path="system.sensor.photons", values=(50,))},
    )  # fmt: skip
    ledger = create_study(study, tmp_path)
    own = RayEach(grace=20)  # the same cluster, which it leaves as it is
    future = own.submit(work, str(tmp_path), poll=0.1)
    history = ledger.path(ledger.runs[0]) / "history.jsonl"
    _wait_for(lambda: history.exists() and history.stat().st_size)
    own.shutdown(cancel_futures=True)
    try:
        assert future.result(timeout=300).stopped
    except WorkerLost:  # the interrupt was not heard: it was made to end
        assert not history.with_name("result.json").exists()
        _wait_for(lambda: ledger.tally().running == 0)  # Ray tells it before it is gone
    assert ledger.tally() == (1, 0, 0, 0)
    assert (ledger.path(ledger.runs[0]) / "checkpoint.safetensors").exists()
    assert ray.is_initialized()


def test_a_call_fails_or_is_lost(pool):
    failed, lost = pool.submit(json.loads, "{"), pool.submit(os._exit, 1)
    with pytest.raises(ValueError, match="property name"):
        failed.result(timeout=600)
    with pytest.raises(WorkerLost, match="Ray lost a worker: WorkerCrashedError"):
        lost.result(timeout=600)


def test_a_call_that_does_not_hear_is_made_to_end(pool, tmp_path):
    def deaf(path):
        import contextlib
        import time

        open(path, "x").close()
        while True:
            with contextlib.suppress(KeyboardInterrupt):
                time.sleep(0.1)

    own = RayEach(grace=1)
    future = own.submit(deaf, str(tmp_path / "begun"))
    _wait_for((tmp_path / "begun").exists)
    own.shutdown(cancel_futures=True)
    with pytest.raises(WorkerLost):
        future.result(timeout=300)


def test_a_cluster_must_have_what_a_run_holds(pool):
    with pytest.raises(ValueError, match=r"to hold 1 cores and 0\.125 GPUs, and the cluster has 1"):
        RayEach(gpus=0.125)
    for wrong in ({"gpus": 1.5}, {"gpus": -1}, {"cpus": -1}):
        with pytest.raises(ValueError, match="a share of a GPU below 1 or whole GPUs"):
            RayEach(**wrong)


def test_ray_may_be_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(StudyError, match=r"not installed: pip install 'lens2label\[ray\]'"):
        RayEach()
