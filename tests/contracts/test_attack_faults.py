"""A hundred kills at random moments: of training, of a cache, of a study, of a report.

The short versions are in tests/joint/test_faults.py and tests/joint/study. ``--run-slow`` runs
these, with so many kills of each as the environment variable ``KILLS`` says (25 by default).
"""

import contextlib
import os
import random
import shutil
import signal
import time

import pytest
import torch
import tqdm

import classify
import joint
import joint.study
from joint.cli import main
from joint.study import Axis, Plan, Study, create_study, work

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform"),
    pytest.mark.filterwarnings("ignore"),
]
KILLS = int(os.environ.get("KILLS", "25"))

_RUN = [
    "train", "--resume", "--quiet", "--data.count", "60", "--data.image-size", "16",
    "--front-end", "none", "--sensor", "none", "--codec", "none", "--training.epochs", "2",
    "--training.batch-size", "8", "--training.checkpoint-every", "1", "--output",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _no_monitor(monkeypatch):
    monkeypatch.setattr(tqdm.tqdm, "monitor_interval", 0)  # its lock would be copied by a fork


def _begun(job):
    """Fork a process that does a job, silently."""
    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 1), os.dup2(quiet, 2)
            torch.set_num_threads(1)
            status = int(job() or 0)
        finally:
            os._exit(status)
    return pid


def _ended(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _killed(job, longest, draw):
    """Begin a job and kill it within ``longest`` seconds; whether it was killed."""
    pid = _begun(job)
    time.sleep(draw.uniform(0, longest))
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    status = _ended(pid)
    assert status in (0, -signal.SIGKILL)
    return status != 0


def _seconds(job):
    begin = time.monotonic()
    assert _ended(_begun(job)) == 0
    return time.monotonic() - begin


def _until_killed_enough(job, reset, check):
    """Kill a job again and again, from its beginning once it is done; look at what it leaves."""
    draw, killed = random.Random(time.time_ns()), 0
    longest = _seconds(job)
    reset()
    while killed < KILLS:
        if _killed(job, longest, draw):
            killed += 1
            check()
        else:
            reset()
    assert _ended(_begun(job)) == 0


def test_training(tmp_path):
    whole, folder = tmp_path / "whole", tmp_path / "run"
    assert main([*_RUN, str(whole)]) == 0

    def check():
        assert not folder.exists() or joint.summarise_run(folder).state in ("interrupted", "done")
        for name in ("checkpoint", "best", "predictions"):
            if (folder / f"{name}.safetensors").exists():
                joint.load_checkpoint(folder / f"{name}.safetensors")

    _until_killed_enough(
        lambda: main([*_RUN, str(folder)]), lambda: shutil.rmtree(folder, True), check
    )
    for name in ("checkpoint.safetensors", "best.safetensors", "predictions.safetensors"):
        one, other = (joint.load_checkpoint(place / name)[0] for place in (folder, whole))
        assert all(torch.equal(one[key], other[key]) for key in other)
    assert sorted(os.listdir(folder)) == sorted(os.listdir(whole))


def test_building_a_cache(tmp_path):
    from PIL import Image

    generator = torch.Generator().manual_seed(0)
    for name in ("a", "b"):
        (tmp_path / "p" / name).mkdir(parents=True)
        for k in range(60):
            pixels = torch.randint(0, 256, (60, 60, 3), dtype=torch.uint8, generator=generator)
            Image.fromarray(pixels.numpy()).save(tmp_path / "p" / name / f"{k}.png")
    place = tmp_path / "p.cache"

    def load():
        return classify.ImageFolder(tmp_path / "p", image_size=32, progress=False, workers=2)

    def build():
        load()

    expected = load().fingerprint
    shutil.rmtree(place)

    def check():
        if place.exists() and [p for p in place.iterdir() if not p.name.startswith(".")]:
            assert load().fingerprint == expected  # what has the name of an entry is whole

    _until_killed_enough(build, lambda: shutil.rmtree(place, True), check)
    assert load().fingerprint == expected


def test_a_study(tmp_path):
    base = joint.RunConfig(
        data=joint.PhantomConfig(count=40, image_size=16, balance=0),
        system=joint.SystemConfig(front_end=joint.NoneConfig(), codec=joint.NoneConfig()),
        objective=joint.Objective(),
        training=joint.Training(epochs=1, monitor="loss", restore_best=False),
    )
    axis = Axis(path="system.sensor.photons", values=(50, 5000))
    study = Study(base=base, axes={"light": axis}, plan=Plan(), seeds=(0, 1))
    folder = tmp_path / "study"
    create_study(study, folder)

    def reset():
        shutil.rmtree(folder)
        create_study(study, folder)

    def check():
        ledger = joint.study.open_study(folder)
        assert "running" not in ledger.states()
        # A run that is killed three times from one point is given up: that is another test.
        for run in ledger.runs:
            (ledger.path(run) / "attempts.jsonl").unlink(missing_ok=True)

    def job():
        work(folder, wait_for_others=False)

    _until_killed_enough(job, reset, check)
    assert set(joint.study.open_study(folder).states()) == {"done"}


def test_writing_a_report(tmp_path):
    run, page = tmp_path / "run", tmp_path / "page.html"
    assert main([*_RUN, str(run)]) == 0
    before = {p.name: p.read_bytes() for p in run.iterdir()}

    def job():
        return main(["report", str(run), "--output", str(page)])

    assert _ended(_begun(job)) == 0
    whole = page.read_bytes()

    def check():
        assert not page.exists() or page.read_bytes().endswith(b"</html>\n")
        assert {p.name: p.read_bytes() for p in run.iterdir()} == before

    _until_killed_enough(job, lambda: page.unlink(missing_ok=True), check)
    assert len(page.read_bytes()) == len(whole)
