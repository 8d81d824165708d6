"""The three operations, answered from the store."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import uuid
from typing import Any, Dict, Optional

from edge_agent.errors import ResourceNotFoundError, ValidationError
from edge_agent.packaging.jobs.job import MODEL_PACKAGE_JOB, PROJECT, Job, Settings, description, metadata
from edge_agent.packaging.jobs.locks import JobLocks
from edge_agent.packaging.jobs.registry import ModelRegistry
from edge_agent.packaging.jobs.request import DESCRIBE, LIST, MAX_RESULTS, StartRequest, check, check_start
from edge_agent.packaging.jobs.store import JobStore, NewJob
from edge_agent.packaging.jobs.worker import recover

_PAGE = re.compile(rb"before:([0-9]{1,18})")


class LocalService:
    """Starting a job only writes it down: a `Worker` does it.

    Args:
        store: of the jobs.
        locks: of the same state directory.
        registry: of the models.
        settings: what new jobs are given.
    """

    def __init__(self, store: JobStore, locks: JobLocks, registry: ModelRegistry, settings: Settings) -> None:
        self._store = store
        self._locks = locks
        self._registry = registry
        self._settings = settings

    def start(self, request: Any) -> Dict[str, Any]:
        return {"JobName": self.create(request).name}

    def create(self, request: Any) -> Job:
        """What `start` does, with the job as it is kept.

        Raises:
            ValidationError, ResourceNotFoundError, ConflictError, ServiceQuotaExceededError: as the service did.
            PackagingError: the state cannot be read or written.
        """
        checked = check_start(request)
        digest = _digest(checked)
        known = self._store.find_token(checked.token, digest) if checked.token else None
        if known is not None:
            return known
        version = self._registry.find(checked.project, checked.model_version).version
        greengrass = {"ComponentVersion": f"{version}.0.0", **checked.configuration["Greengrass"]}
        return self._store.add(
            NewJob(
                checked.project,
                checked.job or str(uuid.uuid4()),
                version,
                {"Greengrass": greengrass},
                checked.description,
                self._settings,
                checked.token,
                digest,
            )
        )

    def describe(self, request: Any) -> Dict[str, Any]:
        checked = check(DESCRIBE, request)
        self._find_project(checked["ProjectName"])
        job = self._store.find(checked["ProjectName"], checked["JobName"])
        if job is None:
            raise ResourceNotFoundError(
                f"JobName {checked['JobName']}",
                f"is no packaging job of project {checked['ProjectName']}",
                resource=(MODEL_PACKAGE_JOB, checked["JobName"]),
            )
        return {"ModelPackagingDescription": description(job)}

    def list(self, request: Any) -> Dict[str, Any]:
        checked = check(LIST, request)
        before = _read_page(checked.get("NextToken"))
        self._find_project(checked["ProjectName"])
        limit = checked.get("MaxResults", MAX_RESULTS)
        jobs = self._store.page(checked["ProjectName"], before, limit + 1)
        answer: Dict[str, Any] = {"ModelPackagingJobs": [metadata(job) for job in jobs[:limit]]}
        if len(jobs) > limit:
            answer["NextToken"] = base64.b64encode(b"before:%d" % jobs[limit - 1].number).decode()
        return answer

    def _find_project(self, project: str) -> None:
        recover(self._store, self._locks)
        if not self._store.page(project, None, 1) and not self._registry.has_project(project):
            raise ResourceNotFoundError(
                f"ProjectName {project}",
                f"has no packaging job, and is no directory in the model registry {self._registry.directory}",
                resource=(PROJECT, project),
            )


def _digest(request: StartRequest) -> str:
    """Of what makes two requests the same: everything but the token."""
    return hashlib.sha256(json.dumps(request._replace(token=None), sort_keys=True).encode()).hexdigest()


def _read_page(token: Optional[str]) -> Optional[int]:
    """The number of the job that the page before ended with."""
    if not token:
        return None
    try:
        match = _PAGE.fullmatch(base64.b64decode(token, validate=True))
    except (binascii.Error, ValueError):
        match = None
    if match is None:
        raise ValidationError("NextToken", "is none that a list of ours ended with", "Leave it out to begin anew.")
    return int(match.group(1))
