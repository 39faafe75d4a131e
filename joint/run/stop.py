"""Stopping a run from outside, without losing a step: SIGTERM and Ctrl-C become a question.

Who sends a signal cannot know what the process is doing; the training loop asks after each step
whether it should go on, and saves if not.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import final

__all__ = ["StopRequest", "graceful_stop"]


@final
class StopRequest:
    """Whether somebody asked for the end; call it to know."""

    def __init__(self) -> None:
        self._reason: str | None = None

    def __call__(self) -> bool:
        """Whether to stop after this step."""
        return self._reason is not None

    @property
    def reason(self) -> str | None:
        """Name of the first signal, or what :meth:`request` was given."""
        return self._reason

    def request(self, reason: str = "request") -> None:
        """Ask for the end from inside the program, in any thread; ``reason`` is shown."""
        self._reason = self._reason or reason


@contextmanager
def graceful_stop(*, notice: str | None = None) -> Iterator[StopRequest]:
    """Turn SIGTERM, and the first SIGINT, into a request to stop after the current step.

    A second SIGINT raises KeyboardInterrupt at once. The handlers before are back afterwards.
    Signals that the process ignores (as those started with ``nohup`` or ``&`` may) stay ignored.
    Signals reach the main thread only: in another one this changes no handler, and only
    :meth:`StopRequest.request` asks.

    Parameters
    ----------
    notice : str, optional
        Written to the standard error when the first signal comes.

    Yields
    ------
    StopRequest
        For the ``stop`` argument of :func:`joint.fit`.

    Examples
    --------
    >>> with graceful_stop() as stop:
    ...     fit(system, train, validation, directory="run", stop=stop)
    """
    request = StopRequest()
    interrupts = 0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal interrupts
        interrupts += number == signal.SIGINT
        if interrupts > 1:
            raise KeyboardInterrupt
        if notice is not None and not request():
            os.write(2, f"{notice}\n".encode())  # print may be what was interrupted
        request.request(signal.Signals(number).name)

    before = {}
    try:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                # None: installed by something else than Python, and could not be put back.
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    before[number] = signal.signal(number, handle)
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
