"""A state directory with all that works on it."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from edge_agent.clock import SystemClock
from edge_agent.errors import ConfigError, PackagingError
from edge_agent.packaging.jobs.api import LocalService
from edge_agent.packaging.jobs.buckets import S3, directory_of
from edge_agent.packaging.jobs.component import AGENTS, AWS
from edge_agent.packaging.jobs.job import Settings
from edge_agent.packaging.jobs.locks import JobLocks
from edge_agent.packaging.jobs.registry import ModelRegistry
from edge_agent.packaging.jobs.signing import SigningKey
from edge_agent.packaging.jobs.store import JobStore
from edge_agent.packaging.jobs.worker import Worker
from edge_agent.packaging.optimize.wanted import CHOICES

_PAUSE_S = 0.5
_log = logging.getLogger(__name__)


class PackagingState:
    """Opens the store, the locks and the registry together.

    Args:
        directory: of the state; made where there is none.
        settings: what new jobs are given.

    Attributes:
        directory: absolute.
        service: the three operations.

    Raises:
        ConfigError: settings that cannot be.
        MissingExtraError: what signs packages is not installed.
        PackagingError: the state cannot be used.
    """

    def __init__(self, directory: Path, settings: Settings) -> None:
        checked = _checked(settings)
        self.directory = directory.resolve()
        self._store = JobStore(self.directory)
        models = ModelRegistry(Path(checked.registry))
        self.service = LocalService(self._store, JobLocks(self.directory), models, checked)

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


def _checked(settings: Settings) -> Settings:
    """With absolute paths: another process may do the job."""
    if settings.buckets != S3:
        directory_of(settings.buckets)
    for name, value, known in (("agent", settings.agent, AGENTS), ("optimize", settings.optimize, CHOICES)):
        if value not in known:
            raise ConfigError(f"{name} {value}", f"is none of {', '.join(known)}")
    if settings.register and settings.buckets != S3:
        raise ConfigError(
            f"buckets {settings.buckets}",
            "is nowhere that Greengrass could register a component from",
            "Leave out --register, or take s3.",
        )
    sign_with = settings.sign_with
    if sign_with is not None:
        if settings.agent == AWS:
            raise ConfigError(
                "agent aws", "gets manifests as they were, which are not signed", "Leave out --sign-with."
            )
        SigningKey(Path(sign_with))
        sign_with = str(Path(sign_with).resolve())
    return settings._replace(registry=str(Path(settings.registry).resolve()), sign_with=sign_with)
