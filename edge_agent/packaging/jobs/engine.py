"""What gets a job done: takes the checked request and a model version, gives a component."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from edge_agent.packaging.jobs.job import Job
from edge_agent.packaging.jobs.registry import ModelVersion


class Made(NamedTuple):
    """A component that is where the request wanted it.

    Attributes:
        name, version: of the component.
        arn: of the component version.
        message: for StatusMessage: where things lie and what could not be tried here. Empty for nothing to say.
    """

    name: str
    version: str
    arn: str
    message: str = ""


class Engine(Protocol):
    def run(self, job: Job, model: ModelVersion) -> Made:
        """Do the job. It may have been begun before by a process that died: `job.attempts` counts.

        Raises:
            EdgeAgentError: why it cannot be done; its text becomes the StatusMessage of a FAILED job.
        """
