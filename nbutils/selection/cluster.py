"""The funnel on Dask: the same steps on the same images, one task an image, spread over worker processes.

The only door to Dask. Workers get bytes, no paths: the ONNX file once, then the pixels of one image a task, so they
need no file system in common. They only compute; whoever reads the verdicts writes the ledger. A task whose worker
dies is run again by the scheduler on another one.
"""

from __future__ import annotations

import asyncio
import logging
import re
import signal
import tempfile
import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, cast

import dask
import torch
from distributed import Client, KilledWorker, LocalCluster, Worker, WorkerPlugin, as_completed, get_worker
from distributed.comm import connect

from ..core import NetworkError, Verdict, WorkbenchError, require
from ..networks import Network, open_network, read_bytes
from .funnel import Engine, Step

IN_FLIGHT = 3
"""Tasks sent for each worker thread: one computed, the others waiting there, so that no worker waits for the parent."""
_ENVIRONMENT = "distributed.nanny.pre-spawn-environ"
_ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Dask would also set MALLOC_TRIM_THRESHOLD_, which makes glibc give the memory of every tensor back to the system and
fetch it again: the funnel took twice as long."""
_ADDRESS = re.compile(r"(tcp|tls|ws|wss|ucx|inproc)://\S+")
_GREETING = 6.0  # seconds for something that listens to answer as Dask does
_TIMEOUT = 30  # seconds to reach a scheduler, and for its first worker to appear


class NetworkPlugin(WorkerPlugin):
    """Opens a network on a worker from its bytes, once, whenever a worker joins the cluster."""

    def __init__(self, network: Network) -> None:
        self.name = f"nbutils-{uuid.uuid4().hex}"
        self._file, self._data = f"{network.name}.onnx", read_bytes(network.path)
        self._sha256, self._device = network.card.sha256, network.device.type

    def setup(self, worker: Worker) -> None:
        """Called by Dask on the worker, before its first task.

        Raises:
            NetworkError: the worker sees other bytes than the parent analysed, or cannot open them.
        """
        torch.set_num_threads(1)  # workers share the machine
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / self._file
            path.write_bytes(self._data)
            self.network = open_network(path, device=self._device)
        found, hint = self.network.card.sha256, "the file was changed after it was opened; start again"
        require(found == self._sha256, f"SHA-256 of {self._file}", found, self._sha256, hint, error=NetworkError)


class _LeaveInterruptsToParent(WorkerPlugin):
    """Ctrl-C in a terminal reaches workers of the same machine too; the parent alone answers it, by closing them."""

    name = "nbutils-interrupts"

    def setup(self, worker: Worker) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _on_worker(plugin: str, step: Step, job: tuple[Any, ...]) -> Verdict:
    return step(cast(Any, get_worker().plugins[plugin]).network, *job)


@contextmanager
def dask_engine(workers: int | None = None, scheduler: str | None = None) -> Iterator[Engine]:
    """An engine for `run_funnel` on `workers` processes of this machine, or on the Dask cluster at `scheduler`.

    Verdicts come in the order in which they are settled. Leaving the context cancels what still runs and closes the
    processes that were started.

    Raises:
        ParameterError: neither or both are given, no scheduler answers there, or it has no worker.
    """
    require((workers is None) != (scheduler is None), "workers, scheduler", (workers, scheduler), "one of the two")
    if scheduler is None:
        ok = isinstance(workers, int) and not isinstance(workers, bool) and 1 <= workers <= 1024
        require(ok, "workers", workers, "a whole number of processes, 1 to 1024")
        with _processes(workers) as cluster, Client(cluster, set_as_default=False) as client:
            client.register_plugin(_LeaveInterruptsToParent())
            yield _Engine(client)
    else:
        with _connect(scheduler) as client:
            yield _Engine(client)


@contextmanager
def _processes(workers: int | None) -> Iterator[LocalCluster]:
    """Worker processes of one thread each, closed at the end whatever happens."""
    with dask.config.set({_ENVIRONMENT: dict.fromkeys(_ONE_THREAD, 1)}):
        cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            memory_limit=None,  # the bounds keep below `memory_gb` by themselves
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
        )
    try:
        yield cluster
    finally:
        # on a busy machine a worker needs more than Dask's four seconds to end; then it is killed, and Dask, whose time
        # is over, reports that it did not see it die. All verdicts are here by then
        with suppress(TimeoutError):
            cluster.close()


def _connect(scheduler: str) -> Client:
    hint = "start one with `dask scheduler` and workers with `dask worker ADDRESS --nthreads 1`"
    allowed = "the address of a Dask scheduler that runs, as tcp://host:8786"
    require(bool(_ADDRESS.fullmatch(scheduler)), "scheduler", scheduler, allowed, hint)
    try:
        asyncio.run(_greet(scheduler))
    except (OSError, ValueError, TypeError, TimeoutError) as error:
        reason = str(error).splitlines()[0] if str(error) else "no answer of a Dask scheduler"
        require(False, "scheduler", f"{scheduler} ({reason})", allowed, hint)
    try:
        client = Client(scheduler, timeout=_TIMEOUT, set_as_default=False)
    except (OSError, ValueError, TypeError):
        require(False, "scheduler", scheduler, allowed, hint)
    try:
        client.wait_for_workers(1, timeout=_TIMEOUT)
    except TimeoutError:
        client.close()
        require(False, "scheduler", f"{scheduler} without workers", allowed, hint)
    return client


async def _greet(scheduler: str) -> None:
    """Exchange greetings with whatever listens there, and leave: a client would wait for ever for other programs."""
    comm = await asyncio.wait_for(connect(scheduler, timeout=_GREETING), _GREETING + 1)
    comm.abort()


class _Engine:
    """Jobs as futures, a bounded number at a time."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def __call__(self, network: Network, step: Step, jobs: Iterable[tuple[Any, ...]]) -> Iterator[Verdict]:
        plugin = NetworkPlugin(network)
        self._client.register_plugin(plugin)
        waiting = iter(jobs)
        running = as_completed(loop=self._client.loop)
        try:
            with _interrupts() as came:
                self._fill(running, plugin.name, step, waiting)
                for future in running:
                    verdict = _result(future)
                    self._fill(running, plugin.name, step, waiting)
                    yield verdict
                    if came:
                        raise KeyboardInterrupt
        finally:
            self._client.cancel(list(running.futures), force=True)
            self._client.unregister_worker_plugin(plugin.name)

    def _fill(self, running: as_completed, plugin: str, step: Step, waiting: Iterator[tuple[Any, ...]]) -> None:
        """Send as many of the `waiting` jobs as the workers of this moment can take."""
        room = IN_FLIGHT * max(1, sum(self._client.nthreads().values())) - running.count()
        for job in islice(waiting, max(0, room)):
            running.add(self._client.submit(_on_worker, plugin, step, job, pure=False))


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """The interrupts that came in the block, as the numbers of their signals.

    Python drops the exception of a Ctrl-C that arrives while an object is finalised, and Dask finalises futures all
    the time.
    """
    came: list[int] = []
    answer = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(answer):
        yield came
        return

    def note(number: int, frame: Any) -> Any:
        came.append(number)
        return answer(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield came
    finally:
        signal.signal(signal.SIGINT, answer)


def _result(future: Any) -> Verdict:
    try:
        return future.result()
    except KilledWorker as error:
        raise WorkbenchError(
            f"one image killed {error.allowed_failures + 1} workers in turn ({error.task}), most likely for lack of "
            "memory. Use fewer workers; every image settled so far is in the ledger."
        ) from None
