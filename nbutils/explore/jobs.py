"""Slow work beside the explorer: one worker thread, progress, cancel. Knows neither sessions nor widgets."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field


class Cancelled(Exception):
    """Raised inside a job that was cancelled, at the next place where it reports."""


PAUSE = 0.25
"""Seconds between two pieces of news of a job."""


@dataclass(eq=False)
class Job:
    """One piece of work. `work(job)` runs in the worker thread, reports, and returns nothing."""

    name: str
    work: Callable[[Job], None]
    done: Callable[[Job], None] = lambda job: None  # called in the worker thread when it ended, however it ended
    state: str = "waiting"  # waiting, running, done, cancelled, failed
    progress: str = ""
    error: Exception | None = None
    seconds: float = 0.0
    told: Callable[[Job], None] = lambda job: None  # called in the worker thread with news of its progress
    _said: float = 0.0
    _cancel: threading.Event = field(default_factory=threading.Event)

    def cancel(self) -> None:
        """Let the job end at its next report; a waiting one never starts."""
        self._cancel.set()

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked it to end."""
        return self._cancel.is_set()

    def report(self, progress: str = "") -> None:
        """Say how far the work is.

        Raises:
            Cancelled: when it was cancelled meanwhile.
        """
        self.progress, now = progress, time.monotonic()
        if self._cancel.is_set():
            raise Cancelled(self.name)
        if progress and now - self._said > PAUSE:
            self._said = now
            self.told(self)


class Jobs:
    """Runs jobs one after the other in a thread that lives only while there is work."""

    def __init__(self, changed: Callable[[Job | None], None] = lambda job: None) -> None:
        """`changed` is called in the worker thread when a job begins or reports, and with None when none is left."""
        self._queue: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread = threading.Thread()  # the last one; not started before the first job
        self._working = False  # it takes one more job before it ends; under the lock
        self._changed = changed
        self.running: Job | None = None

    def start(self, job: Job) -> Job:
        """Queue `job`; returns it."""
        job.told = self._changed
        with self._lock:
            self._queue.put(job)
            if not self._working or not self._thread.is_alive():
                self._working = True
                self._thread = threading.Thread(target=self._run, name="nbutils-explorer", daemon=True)
                self._thread.start()
        return job

    def cancel(self) -> None:
        """Cancel the running job and every waiting one."""
        with self._lock:
            while not self._queue.empty():
                waiting = self._queue.get()
                waiting.cancel()
                waiting.state = "cancelled"
            if self.running is not None:
                self.running.cancel()

    def wait(self, seconds: float = 60.0) -> bool:
        """Wait until nothing runs or waits, the last news is told and the thread is gone.

        Returns:
            False where that took longer.
        """
        until = time.monotonic() + seconds
        while True:
            with self._lock:
                thread = self._thread
            if thread.ident is not None:  # it was started
                thread.join(max(0.0, until - time.monotonic()))
            if thread.is_alive():
                return False
            if thread is self._thread:  # no other was started meanwhile
                return self._queue.empty()

    def _run(self) -> None:
        while True:
            with self._lock:
                job = self.running = None if self._queue.empty() else self._queue.get()
            if job is not None:
                self._one(job)
                continue
            self._changed(None)
            with self._lock:
                if self._queue.empty():  # none came while the news was told
                    self._working = False
                    return

    def _one(self, job: Job) -> None:
        began = time.perf_counter()
        job.state = "running"
        self._changed(job)
        try:
            job.report()
            job.work(job)
            job.state = "done"
        except Cancelled:
            job.state = "cancelled"
        except Exception as error:  # shown in the panel, whatever it is
            job.state, job.error = "failed", error
        job.seconds = time.perf_counter() - began
        job.done(job)
