"""Workers on a Ray cluster: any number of machines, and shares of a GPU.

Ray places the workers and notices when a machine is gone; it is used for nothing else. The state of
a run is in its folder, which all machines share, and :func:`run_study` starts a lost worker again:
Ray's own retries and restores are not used.
"""

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, final

from .ledger import StudyError
from .process_pool import WorkerLost

__all__ = ["RayEach"]


@final
class RayEach(Executor):
    """Executor that runs each call as a Ray task in its own process.

    Parameters
    ----------
    address : str, optional
        Address of a cluster, such as ``auto`` or ``ray://host:10001``; by default the cluster that
        this process is connected to, or a new one on this machine that ends with :meth:`shutdown`.
    cpus : float
        Cores that each call holds.
    gpus : float
        GPUs that each call holds: a share below 1, so that several fit on one, or a whole number.
    machine_cpus : int, optional
        Cores of a new cluster on this machine; by default all.
    grace : float
        Seconds that a call has to end when it is asked to. Then its process is killed, which loses
        at most one step of a run.

    Raises
    ------
    StudyError
        When Ray is not installed, or there is no cluster at the address.
    ValueError
        For resources that no call can hold.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        cpus: float = 1.0,
        gpus: float = 0.0,
        machine_cpus: int | None = None,
        grace: float = 60.0,
    ) -> None:
        if cpus < 0 or gpus < 0 or (gpus > 1 and gpus != int(gpus)):
            raise ValueError(
                f"a run holds a positive number of cores, and a share of a GPU below 1 or whole "
                f"GPUs, not {cpus:g} and {gpus:g}"
            )
        try:
            import ray  # here, so that other uses do not pay for it
            import ray.exceptions
        except ImportError as error:
            raise StudyError(
                "studies on a cluster need Ray, which is not installed: "
                "pip install 'lens2label[ray]'"
            ) from error
        self._ray, self._grace = ray, grace
        self._own = not ray.is_initialized()
        if self._own:
            _connect(ray, address, machine_cpus)
        self._tasks: list[tuple[Any, threading.Thread]] = []
        there = ray.cluster_resources()
        if address is None and (there.get("CPU", 0) < cpus or there.get("GPU", 0) < gpus):
            self.shutdown()
            raise ValueError(
                f"a run is to hold {cpus:g} cores and {gpus:g} GPUs, and the cluster has "
                f"{there.get('CPU', 0):g} and {there.get('GPU', 0):g}: ask for less"
            )
        # Lost calls are reported, not repeated: the caller knows what has been done.
        self._remote = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0)

    def submit(self, fn: Callable[..., Any], /, *args: object, **kwargs: object) -> Future[Any]:
        """Start a task that calls ``fn``.

        It begins once there is room for it. ``args`` and ``kwargs`` are those of ``fn``.
        """
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        task = self._remote(_called).remote(fn, args, kwargs)
        thread = threading.Thread(target=self._await, args=(task, future), daemon=True)
        thread.start()
        self._tasks.append((task, thread))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the pool; with ``wait``, after its tasks have ended.

        With ``cancel_futures``, the tasks are asked to end first (like Ctrl-C), and killed after
        the grace time.
        """
        if cancel_futures:
            self._cancel(force=False)
            end = time.monotonic() + self._grace
            for _, thread in self._tasks:
                thread.join(max(0.0, end - time.monotonic()) if wait else 0.0)
            if wait:
                # Ray's interrupt does not always arrive.
                self._cancel(force=True)
        for _, thread in self._tasks if wait else ():
            thread.join()
        if wait and self._own and self._ray.is_initialized():
            self._ray.shutdown()

    def _cancel(self, *, force: bool) -> None:
        for task, thread in self._tasks:
            if thread.is_alive():
                self._ray.cancel(task, force=force)

    def _await(self, task: Any, future: Future[Any]) -> None:  # noqa: ANN401
        try:
            answer = self._ray.get(task)
        except self._ray.exceptions.RayTaskError as error:
            future.set_exception(error.cause or error)
        except Exception as error:  # the process or its machine is gone, or the cluster
            first = str(error).strip().partition("\n")[0]
            future.set_exception(WorkerLost(f"Ray lost a worker: {type(error).__name__}: {first}"))
        else:
            future.set_result(answer)


def _called(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
    return fn(*args, **kwargs)


def _connect(ray: Any, address: str | None, machine_cpus: int | None) -> None:  # noqa: ANN401
    quiet = {"log_to_driver": False, "logging_level": "error"}
    # Ray sends usage statistics unless this is set.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        if address is None:
            ray.init(num_cpus=machine_cpus, include_dashboard=False, **quiet)
        else:
            ray.init(address=address, **quiet)
    except Exception as error:  # Ray raises many kinds, its own and bare ones
        where = "on this machine" if address is None else f"at {address}"
        raise StudyError(f"cannot reach a Ray cluster {where}: {error}") from error
