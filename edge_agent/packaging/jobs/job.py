"""A packaging job, and what the operations answer about it (contract section 4.2)."""

from __future__ import annotations

import datetime as dt
from typing import Any, Dict, NamedTuple, Optional

from edge_agent.packaging.optimize.wanted import NONE

CREATED, RUNNING, SUCCEEDED, FAILED = "CREATED", "RUNNING", "SUCCEEDED", "FAILED"

#: The service's word for what it makes.
METHOD = "GREENGRASS"

#: `ResourceType` of the service's errors.
PROJECT, MODEL, MODEL_PACKAGE_JOB = "PROJECT", "MODEL", "MODEL_PACKAGE_JOB"


class Settings(NamedTuple):
    """What a job needs beside its request; kept with it, so that any process can take it up.

    Attributes:
        registry: directory of the model registry.
        buckets: `s3`, or the `file://` URL of a directory whose sub-directories are the buckets.
        agent: whom the component depends on: a key of component.AGENTS.
        optimize: one of optimize.wanted.CHOICES.
        sign_with: file of the private key; None for unsigned packages.
        register: whether the component is registered with Greengrass.

    Jobs kept by versions that could not do the latter do without: so the defaults.
    """

    registry: str
    buckets: str
    agent: str
    optimize: str = NONE
    sign_with: Optional[str] = None
    register: bool = False


class Job(NamedTuple):
    """A job as it is kept. Times are seconds since 1970; `number` orders jobs by their creation.

    `configuration` is the request's member, ComponentVersion filled in. `output` is what SUCCEEDED brings: the
    service's member Greengrass of ModelPackagingOutputDetails.
    """

    number: int
    project: str
    name: str
    model_version: str
    configuration: Dict[str, Any]
    description: Optional[str]
    settings: Settings
    status: str
    message: str
    created: float
    updated: float
    attempts: int
    output: Optional[Dict[str, Any]]

    @property
    def is_over(self) -> bool:
        return self.status in (SUCCEEDED, FAILED)

    @property
    def greengrass(self) -> Dict[str, Any]:
        """The request's Configuration.Greengrass."""
        members: Dict[str, Any] = self.configuration["Greengrass"]
        return members


def metadata(job: Job) -> Dict[str, Any]:
    """An entry of ListModelPackagingJobs. Timestamps are datetimes in UTC."""
    members = {
        "JobName": job.name,
        "ProjectName": job.project,
        "ModelVersion": job.model_version,
        "ModelPackagingJobDescription": job.description,
        "ModelPackagingMethod": METHOD,
        "Status": job.status,
        "StatusMessage": job.message or None,
        "CreationTimestamp": _time(job.created),
        "LastUpdatedTimestamp": _time(job.updated),
    }
    return {name: value for name, value in members.items() if value is not None}


def description(job: Job) -> Dict[str, Any]:
    """The ModelPackagingDescription of DescribeModelPackagingJob."""
    members = {**metadata(job), "ModelPackagingConfiguration": job.configuration}
    if job.output is not None:
        members["ModelPackagingOutputDetails"] = {"Greengrass": job.output}
    return members


def _time(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.timezone.utc)
