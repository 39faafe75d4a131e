import os
import signal
import threading

import pytest

from joint.run.stop import graceful_stop


def _handlers():
    return [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_a_request_and_the_handlers_come_back(number):
    before = _handlers()
    with graceful_stop() as stop:
        assert not stop()
        assert stop.reason is None
        assert all(a != b for a, b in zip(before, _handlers(), strict=True))
        signal.raise_signal(number)
        assert stop()
        assert stop.reason == number.name
    assert _handlers() == before


def test_a_second_interrupt_is_one():
    before = _handlers()
    with graceful_stop() as stop:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(number)
        assert stop.reason == "SIGTERM"
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert _handlers() == before


def test_the_notice_is_given_once(capfd):
    with graceful_stop(notice="saving") as stop:
        stop.request("the time is up")
        signal.raise_signal(signal.SIGTERM)
    assert capfd.readouterr().err == ""
    with graceful_stop(notice="saving") as stop:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
    assert capfd.readouterr().err == "saving\n"


def test_what_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as the shell does for `command &`
    try:
        with graceful_stop() as stop:
            signal.raise_signal(signal.SIGINT)
            assert not stop()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_changes_no_handler_but_may_ask():
    before, seen = _handlers(), []

    def work():
        with graceful_stop() as stop:
            seen.extend(_handlers())
            stop.request()
            seen.append((stop(), stop.reason))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [*before, (True, "request")]


def test_a_signal_from_outside_ends_a_loop(fresh_joint):
    code = (
        "from joint.run.stop import graceful_stop\n"
        "import time\n"
        "with graceful_stop() as stop:\n"
        "    print('ready', flush=True)\n"
        "    while not stop():\n"
        "        time.sleep(0.01)\n"
        "print('saved', stop.reason)\n"
    )
    with fresh_joint.start(code) as process:
        assert process.stdout.readline() == "ready\n"
        os.kill(process.pid, signal.SIGTERM)
        assert process.stdout.read() == "saved SIGTERM\n"
    assert process.returncode == 0
