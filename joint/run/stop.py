"""Stopping a run from outside, without losing a step: SIGTERM and Ctrl-C become requests.

A signal may come at any moment; the training loop asks after each step whether there was one, and
then saves and ends.
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
    """Request to stop a run; calling it returns whether there was one."""

    def __init__(self) -> None:
        self._reason: str | None = None

    def __call__(self) -> bool:
        """Whether to stop after this step."""
        return self._reason is not None

    @property
    def reason(self) -> str | None:
        """Name of the first signal, or the ``reason`` of :meth:`request`; None before."""
        return self._reason

    def request(self, reason: str = "request") -> None:
        """Request the stop from inside the program, in any thread; ``reason`` is shown."""
        self._reason = self._reason or reason


@contextmanager
def graceful_stop(*, notice: str | None = None) -> Iterator[StopRequest]:
    """Turn SIGTERM, and the first SIGINT, into a request to stop after the current step.

    A second SIGINT raises KeyboardInterrupt at once. The earlier handlers are restored afterwards.
    Signals that the process ignores (as those started with ``nohup`` or ``&`` may) stay ignored.
    Signals reach the main thread only: in another one this changes no handler, and only
    :meth:`StopRequest.request` has an effect.

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
