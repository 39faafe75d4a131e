"""An executor that runs each worker in its own process on this machine."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from typing import Any, final

__all__ = ["ProcessEach", "WorkerLost"]


class WorkerLost(RuntimeError):
    """A process ended without an answer: it was killed, or it crashed."""


@final
class ProcessEach(Executor):
    """Executor with a new process for each call; a killed process does not affect others.

    ``ProcessPoolExecutor`` ends all of its processes when one is killed. When this process itself
    is killed, as the kernel of a notebook may be, the others receive SIGTERM.
    """

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._started: list[tuple[BaseProcess, threading.Thread]] = []
        self._open = True

    def submit(self, fn: Callable[..., Any], /, *args: object, **kwargs: object) -> Future[Any]:
        """Start a process that calls ``fn`` with ``args`` and ``kwargs``.

        Raises
        ------
        RuntimeError
            After :meth:`shutdown`.
        """
        if not self._open:
            raise RuntimeError("this executor was shut down: make another")
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        receiver, sender = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_answer, args=(sender, fn, args, kwargs))
        with _interrupts_wait():  # the process begins in the same way
            process.start()
        sender.close()  # the process has its own: its end is the end of the pipe
        thread = threading.Thread(target=_await, args=(process, receiver, future), daemon=True)
        thread.start()
        self._started.append((process, thread))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls, and ``wait`` for the processes.

        With ``cancel_futures``, the processes are asked to end first (SIGTERM).
        """
        self._open = False
        for process, _ in self._started:
            if cancel_futures and process.is_alive():
                process.terminate()
        for _, thread in self._started if wait else ():
            thread.join()


@contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Delay Ctrl-C: a process that is still importing would end with a traceback."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # started later, it would unblock the signals again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _answer(
    sender: Connection, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # here, if one waits
        answer = (True, fn(*args, **kwargs))
    except KeyboardInterrupt:  # Ctrl-C was pressed twice: no traceback is wanted
        return
    except Exception as error:
        answer = (False, _movable(error))
    try:
        sender.send(answer)
    except BrokenPipeError:  # nobody is waiting for it any more
        return
    except Exception as error:  # each type has its own way to refuse pickling
        sender.send((False, TypeError(f"the answer of {fn} cannot be sent: {error}")))


def _end_with_parent() -> None:
    """Ask this process to end, as a scheduler would, when the one that started it is gone."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _movable(error: Exception) -> Exception:
    """The error, or its text if another process could not rebuild it."""
    try:
        # As the pipe does; of a built-in function no method is made.
        ForkingPickler.loads(ForkingPickler.dumps(error))  # pyright: ignore[reportAttributeAccessIssue]
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _await(process: BaseProcess, receiver: Connection, future: Future[Any]) -> None:
    try:
        good, answer = receiver.recv()
    except EOFError:
        process.join()
        lost = WorkerLost(f"process {process.pid} ended with status {process.exitcode}")
        good, answer = False, lost
    except Exception as error:  # an answer that cannot be unpickled
        good, answer = False, error
    receiver.close()
    process.join()
    if good:
        future.set_result(answer)
    else:
        future.set_exception(answer)
