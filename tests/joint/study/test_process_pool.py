import os
import time

import pytest

from joint.study import ProcessEach, WorkerLost


def _die(number):
    os.kill(os.getpid(), number)


def _fail(text):
    raise ValueError(text)


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
