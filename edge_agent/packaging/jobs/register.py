"""Registers a component with AWS IoT Greengrass: CreateComponentVersion, and then DescribeComponent until it is there.

Rights of the caller: greengrass:CreateComponentVersion, greengrass:DescribeComponent, and greengrass:TagResource where
there are tags (contract section 4.1).
"""

from __future__ import annotations

from typing import Any, Dict, Optional

from edge_agent.clock import Clock, SystemClock
from edge_agent.errors import EdgeAgentError
from edge_agent.packaging.jobs import boto
from edge_agent.packaging.jobs.component import ComponentVersion

_DEPLOYABLE, _FAILED = "DEPLOYABLE", "FAILED"
_READY_S = 120.0
_POLL_S = 2.0
_NS_PER_S = 1e9


class Registrar:
    """Of the account and Region that boto3 finds in the environment.

    Args:
        clock: for how long to wait until a component is there.

    Raises:
        MissingExtraError: boto3 is not installed.
        EdgeAgentError: from each method, too, where AWS refuses or does not answer.
    """

    def __init__(self, clock: Optional[Clock] = None) -> None:
        self._client = boto.client("greengrassv2")
        self._clock = clock or SystemClock()

    def find(self, component: ComponentVersion) -> Optional[str]:
        """The ARN of a version that is registered already, or None."""
        who = boto.call("AWS account", boto.client("sts").get_caller_identity)
        partition = who["Arn"].split(":")[1]
        arn = (
            f"arn:{partition}:greengrass:{self._client.meta.region_name}:{who['Account']}"
            f":components:{component.name}:versions:{component.version}"
        )
        try:
            self._describe(arn)
        except EdgeAgentError as error:
            if boto.code_of(error) == "ResourceNotFoundException":
                return None
            raise
        return arn

    def register(self, component: ComponentVersion, recipe: bytes, tags: Dict[str, str], token: str) -> str:
        """Gives the ARN of a version that can be deployed.

        Args:
            component: what the recipe is of, for errors.
            recipe: JSON; its artifacts are in S3 already.
            tags: of the component.
            token: the same for the same request: then it is made once.
        """
        members: Dict[str, Any] = {"inlineRecipe": recipe, "clientToken": token}
        if tags:
            members["tags"] = tags
        answer = boto.call(_subject(component), self._client.create_component_version, **members)
        arn = str(answer["arn"])
        self.wait(arn)
        return arn

    def wait(self, arn: str) -> None:
        """Until the version can be deployed.

        Raises:
            EdgeAgentError: it FAILED, or nothing came of it in two minutes.
        """
        began = self._clock.monotonic_ns()
        while True:
            status = self._describe(arn)["status"]
            state = status.get("componentState")
            if state == _DEPLOYABLE:
                return
            if state == _FAILED:
                errors = "; ".join(f"{name}: {said}" for name, said in sorted(status.get("errors", {}).items()))
                reason = " ".join(filter(None, [status.get("message", ""), errors]))
                raise EdgeAgentError(arn, f"is FAILED ({reason})", "Delete it: a version is made once.")
            if self._clock.monotonic_ns() - began > _READY_S * _NS_PER_S:
                raise EdgeAgentError(arn, f"is registered, but still {state} after {_READY_S:g} seconds")
            self._clock.sleep(_POLL_S)

    def _describe(self, arn: str) -> Any:
        return boto.call(arn, self._client.describe_component, arn=arn)


def _subject(component: ComponentVersion) -> str:
    return f"component {component.name} {component.version}"
