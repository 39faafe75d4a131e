import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from joint.study import ProcessEach, WorkerLost


def _die(number):
    os.kill(os.getpid(), number)


def _fail(text):
    raise ValueError(text)


class _OfTwoWords(ValueError):
    """Pickles to one word, which does not make another of it."""

    def __init__(self, first, second):
        super().__init__(f"{first} {second}")


class _Held(ValueError):
    """Cannot be pickled at all."""

    def __init__(self):
        super().__init__("held")
        self.lock = threading.Lock()


def _refuse(kind):
    raise {"two": lambda: _OfTwoWords("no", "way"), "held": _Held}[kind]()


@pytest.mark.usefixtures("forked")
def test_answers_that_cannot_travel_are_told_in_words():
    pool = ProcessEach()
    two, held = pool.submit(_refuse, "two"), pool.submit(_refuse, "held")
    lock = pool.submit(threading.Lock)
    with pytest.raises(RuntimeError, match="_OfTwoWords: no way"):
        two.result(timeout=300)
    with pytest.raises(RuntimeError, match="_Held: held"):
        held.result(timeout=300)
    with pytest.raises(TypeError, match=r"the answer of .* cannot be sent: cannot pickle"):
        lock.result(timeout=300)
    pool.shutdown()
    with pytest.raises(RuntimeError, match="this executor was shut down: make another"):
        pool.submit(threading.Lock)


_KILLED = """
import time
from joint.run.stop import graceful_stop
from joint.study import ProcessEach

def stay():  # as a worker does, which saves and answers
    with graceful_stop() as asked:
        print("worker", flush=True)
        while not asked():
            time.sleep(0.05)

if __name__ == "__main__":
    pool = ProcessEach()
    pool.submit(stay)
    input()
"""


def test_processes_end_with_the_one_that_started_them(tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(_KILLED)
    killed = subprocess.Popen(
        [sys.executable, script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert killed.stdout.readline() == "worker\n"
    killed.kill()
    # The output is at its end only once the process that stays is gone too: without a traceback.
    told, _ = killed.communicate(timeout=300)
    assert killed.returncode == -9
    assert told == ""


@pytest.mark.usefixtures("forked")
def test_a_process_for_each_call():
    pool = ProcessEach()
    bad, lost = pool.submit(_fail, "no"), pool.submit(_die, 9)
    sleeping = pool.submit(time.sleep, 600)
    with pytest.raises(ValueError, match="no"):
        bad.result(timeout=300)
    with pytest.raises(WorkerLost, match=r"process \d+ ended with status -9"):
        lost.result(timeout=300)
    assert not sleeping.done()  # one that is lost takes no other with it
    pool.shutdown(cancel_futures=True)
    assert isinstance(sleeping.exception(timeout=0), WorkerLost)  # it has not slept its fill


def _interrupted():
    raise KeyboardInterrupt


def test_an_interrupt_while_a_process_begins_leaves_no_traceback(capfd):
    pool = ProcessEach()
    future = pool.submit(os.getpid)
    ((process, _),) = pool._started
    os.kill(process.pid, signal.SIGINT)  # it has not imported anything yet
    with pytest.raises(WorkerLost):
        future.result(timeout=300)
    pool.shutdown()
    assert "Traceback" not in capfd.readouterr().err
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_second_interrupt_leaves_no_traceback(capfd):
    pool = ProcessEach()
    with pytest.raises(WorkerLost):
        pool.submit(_interrupted).result(timeout=300)
    pool.shutdown()
    assert "Traceback" not in capfd.readouterr().err
