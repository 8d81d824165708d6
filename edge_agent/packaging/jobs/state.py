"""A state directory with all that works on it."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from edge_agent.clock import SystemClock
from edge_agent.errors import ConfigError, PackagingError
from edge_agent.packaging.jobs.api import LocalService
from edge_agent.packaging.jobs.buckets import S3, directory_of
from edge_agent.packaging.jobs.component import AGENTS
from edge_agent.packaging.jobs.job import Settings
from edge_agent.packaging.jobs.locks import JobLocks
from edge_agent.packaging.jobs.registry import ModelRegistry
from edge_agent.packaging.jobs.store import JobStore
from edge_agent.packaging.jobs.worker import Worker
from edge_agent.packaging.optimize.wanted import CHOICES, NONE

_PAUSE_S = 0.5
_log = logging.getLogger(__name__)


class PackagingState:
    """Opens the store, the locks and the registry together.

    Args:
        directory: of the state; made where there is none.
        registry: of the models.
        buckets: `s3`, or `file:///DIRECTORY`.
        agent: a key of component.AGENTS.
        optimize: one of optimize.wanted.CHOICES.

    Attributes:
        directory: absolute.
        service: the three operations.

    Raises:
        ConfigError: buckets or agent that cannot be.
        PackagingError: the state cannot be used.
    """

    def __init__(self, directory: Path, registry: Path, buckets: str, agent: str, optimize: str = NONE) -> None:
        if buckets != S3:
            directory_of(buckets)
        for name, value, known in (("agent", agent, AGENTS), ("optimize", optimize, CHOICES)):
            if value not in known:
                raise ConfigError(f"{name} {value}", f"is none of {', '.join(known)}")
        self.directory = directory.resolve()
        self._store = JobStore(self.directory)
        models = registry.resolve()
        settings = Settings(str(models), buckets, agent, optimize)
        self.service = LocalService(self._store, JobLocks(self.directory), ModelRegistry(models), settings)

    def worker(self, stop: threading.Event) -> Worker:
        return Worker(self.directory, self._store, stop)

    def work_until(self, stop: threading.Event) -> None:
        """Do the jobs that wait and those that come, until `stop` is set."""
        worker, clock = self.worker(stop), SystemClock()
        troubled = False
        while not stop.is_set():
            try:
                worker.work()
                troubled = False
            except PackagingError as error:
                if not troubled:  # once, not twice a second
                    _log.error("no job is begun: %s", error)
                troubled = True
            clock.wait(stop, _PAUSE_S)
