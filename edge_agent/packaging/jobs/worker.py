"""Gets jobs done, one at a time, each in a process of its own; any number of workers may share a state directory.

The child holds the job's lock, so that it may end its job also where its worker died. A job that is RUNNING without
anyone holding its lock has lost both: it is taken up again, up to three times.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Optional

from edge_agent.clock import Clock, SystemClock
from edge_agent.errors import PackagingError
from edge_agent.packaging.jobs.job import CREATED, RUNNING
from edge_agent.packaging.jobs.locks import JobLocks
from edge_agent.packaging.jobs.store import JobStore

#: A job that takes longer is ended: TensorRT alone may take a quarter of an hour.
JOB_SECONDS = 3600.0

# With the search path of this process: `-m` would look into the working directory, which may be anybody's, first.
_BOOT = (
    "import sys; sys.path[:] = sys.argv.pop(1).split('\\x1f'); "
    "from edge_agent.packaging.jobs.child import main; sys.exit(main())"
)
_POLL_S = 0.1
_TERM_S = 5.0
_NS_PER_S = 1e9


def recover(store: JobStore, locks: JobLocks) -> None:
    """Find the jobs that are RUNNING though their process is dead, and put them back among the CREATED."""
    for job in store.unfinished(RUNNING):
        with locks.try_lock(job.number) as lock:
            if lock is not None:
                store.give_up(job.number)


class Worker:
    """Does the jobs of a state directory.

    Args:
        directory: of the state.
        store: in that directory.
        stop: set to end the job at hand, which goes back among the CREATED, and to begin no other.
    """

    def __init__(
        self,
        directory: Path,
        store: JobStore,
        stop: threading.Event,
        *,
        clock: Optional[Clock] = None,
        job_seconds: float = JOB_SECONDS,
    ) -> None:
        self._directory = directory
        self._store = store
        self._locks = JobLocks(directory)
        self._stop = stop
        self._clock = clock or SystemClock()
        self._job_seconds = job_seconds

    def work(self) -> None:
        """Do every job that waits, the oldest first, until none is left that nobody else has begun."""
        recover(self._store, self._locks)
        for job in self._store.unfinished(CREATED):
            if self._stop.is_set():
                return
            self._do(job.number)

    def wait_for(self, number: int) -> None:
        """Work until job `number` is over, by this worker or another."""
        while not self._store.get(number).is_over and not self._stop.is_set():
            self.work()
            self._clock.wait(self._stop, _POLL_S)

    def _do(self, number: int) -> None:
        with self._locks.try_lock(number) as lock:
            if lock is None or not self._store.begin(number):
                return
            try:
                fault = self._run_child(number, lock)
            except BaseException:
                self._store.release(number, "Interrupted; it waits to be begun again.")
                raise
            if fault:
                self._store.fail(number, fault)
            if self._store.get(number).is_over:
                self._locks.forget(number)

    def _run_child(self, number: int, lock: int) -> str:
        """Why the job's process did not end by itself; nothing where it did."""
        log = self._directory / "logs" / f"{number}.log"
        try:
            log.parent.mkdir(mode=0o700, exist_ok=True)
            with log.open("wb") as output:
                child = subprocess.Popen(
                    [sys.executable, "-c", _BOOT, "\x1f".join(sys.path), str(self._directory), str(number)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    pass_fds=(lock,),
                    start_new_session=True,  # a Ctrl-C is for the worker, which decides what becomes of the job
                )
        except OSError as error:
            raise PackagingError("packaging job", f"cannot begin ({error})") from error
        try:
            fault = self._watch(child, number)
        finally:
            _end(child)
        if not fault and child.returncode == 0:
            with contextlib.suppress(OSError):
                if log.stat().st_size == 0:
                    log.unlink()
        return fault or _reason(child.returncode, log)

    def _watch(self, child: "subprocess.Popen[bytes]", number: int) -> str:
        began = self._clock.monotonic_ns()
        while child.poll() is None:
            if self._clock.wait(self._stop, _POLL_S):
                _end(child)
                self._store.release(number, "Interrupted; it waits to be begun again.")
                return ""
            if self._clock.monotonic_ns() - began > self._job_seconds * _NS_PER_S:
                return f"It took more than {self._job_seconds:g} seconds and was ended."
        return ""


def _end(child: "subprocess.Popen[bytes]") -> None:
    if child.poll() is not None:
        return
    child.terminate()
    try:
        child.wait(_TERM_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _reason(code: int, log: Path) -> str:
    if code == 0:
        return ""
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"Its process was ended by {signal.Signals(-code).name}. See {log}."
    return f"Its process ended with status {code}. See {log}."
