import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import joint
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


# A module of the library for programs whose processes are spawned, each of which reads this again:
# without the packages that it lies in, as nothing of what they load for seconds is used.
_ALONE = f"""
import os, signal, sys, time, types
for name in ("joint", "joint.run", "joint.study"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [os.path.join({str(Path(joint.__file__).parent)!r},
                                               *name.split(".")[1:])]
from joint.run.stop import graceful_stop
from joint.study.process_pool import ProcessEach, WorkerLost
"""


def _spawning(folder, code, *arguments):
    """A program in a process of its own, which may spawn others."""
    script = folder / "program.py"
    script.write_text(_ALONE + code)
    return subprocess.Popen(
        [sys.executable, script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


_KILLED = """
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
    killed = _spawning(tmp_path, _KILLED)
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


_INTERRUPTED = """
if sys.argv[1] == "imports" and __name__ != "__main__":
    os.kill(os.getpid(), signal.SIGINT)

def interrupted():
    raise KeyboardInterrupt

if __name__ == "__main__":
    pool = ProcessEach()
    future = pool.submit(interrupted if sys.argv[1] == "works" else os.getpid)
    try:
        future.result(timeout=300)
    except WorkerLost:
        print("lost", signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()))
    pool.shutdown()
"""


@pytest.mark.parametrize("when", ["imports", "works"])
def test_an_interrupt_of_a_process_leaves_no_traceback(tmp_path, when):
    told, _ = _spawning(tmp_path, _INTERRUPTED, when).communicate(timeout=300)
    assert told == "lost False\n"  # and here Ctrl-C is heard as before
