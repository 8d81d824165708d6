"""AWS's side of a deployment: greengrassv2 and IoT through boto3, with the credentials and Region of the environment."""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional

from edge_agent.errors import DeploymentError, DeploymentUnavailableError, MissingExtraError

_RIGHTS = "`edge-agent deploy iam --role deployer` prints the rights that this takes."
_ENVIRONMENT = "Check the credentials and AWS_DEFAULT_REGION."

# What passes by itself: the deployment goes on meanwhile.
_PASSING = ("ThrottlingException", "InternalServerException", "InternalFailureException", "ServiceUnavailableException")


class Target(NamedTuple):
    """A thing, or a group of them. `is_group` says which."""

    name: str
    arn: str
    is_group: bool

    def __str__(self) -> str:
        return f"thing group {self.name}" if self.is_group else f"thing {self.name}"


class Created(NamedTuple):
    """A deployment on its way; `job` is the IoT job that carries it to a group, None where there is none."""

    deployment: str
    job: Optional[str]


class Execution(NamedTuple):
    """How a deployment stands on one device, and why, as the device told it."""

    status: str
    reason: str


class Cloud:
    """The operations that a deployment needs.

    Every method raises:
        DeploymentUnavailableError: no answer, or one to try again later.
        DeploymentError: a refusal, with the service's words.

    Raises:
        MissingExtraError: boto3 is not installed.
        DeploymentError: no Region.
    """

    def __init__(self) -> None:
        try:
            import boto3
        except ImportError as error:
            raise MissingExtraError("boto3", "aws") from error
        from botocore.exceptions import BotoCoreError

        try:
            self._greengrass: Any = boto3.client("greengrassv2")
            self._iot: Any = boto3.client("iot")
        except (BotoCoreError, ValueError) as error:
            raise DeploymentError("AWS", _one_line(error), _ENVIRONMENT) from error

    def thing(self, name: str) -> Target:
        found = _ask(f"thing {name}", self._iot.describe_thing, thingName=name)
        return Target(name, found["thingArn"], is_group=False)

    def thing_group(self, name: str) -> Target:
        found = _ask(f"thing group {name}", self._iot.describe_thing_group, thingGroupName=name)
        return Target(name, found["thingGroupArn"], is_group=True)

    def latest(self, target: Target) -> Optional[Dict[str, Any]]:
        """What GetDeployment says of the target's latest revision; None where it never had one."""
        listed = _ask(str(target), self._greengrass.list_deployments, targetArn=target.arn, historyFilter="LATEST_ONLY")
        deployments = listed.get("deployments", [])
        return self.deployment(deployments[0]["deploymentId"]) if deployments else None

    def deployment(self, deployment: str) -> Dict[str, Any]:
        return _ask(f"deployment {deployment}", self._greengrass.get_deployment, deploymentId=deployment)

    def create(self, target: Target, request: Mapping[str, Any]) -> Created:
        """Deploy. botocore adds a client token, so that its own repetitions make one deployment."""
        answer = _ask(str(target), self._greengrass.create_deployment, targetArn=target.arn, **request)
        return Created(answer["deploymentId"], answer.get("iotJobId"))

    def core_devices(self, target: Target) -> List[str]:
        """Greengrass core devices of the target; other things of a group take no deployments."""
        if not target.is_group:
            return [target.name]
        pages = _pages(str(target), self._greengrass.list_core_devices, thingGroupArn=target.arn)
        return sorted(device["coreDeviceThingName"] for page in pages for device in page["coreDevices"])

    def job_states(self, job: str) -> Dict[str, str]:
        """Status of each thing's execution, by the thing's name."""
        states = {}
        for page in _pages(f"IoT job {job}", self._iot.list_job_executions_for_job, jobId=job):
            for entry in page["executionSummaries"]:
                states[entry["thingArn"].split(":thing/", 1)[-1]] = entry["jobExecutionSummary"]["status"]
        return states

    def execution(self, device: str, deployment: str) -> Optional[Execution]:
        """How the device says that the deployment stands; None where it has said nothing."""
        pages = _pages(f"core device {device}", self._greengrass.list_effective_deployments, coreDeviceThingName=device)
        for page in pages:
            for entry in page["effectiveDeployments"]:
                if entry["deploymentId"] == deployment:
                    stack = entry.get("statusDetails", {}).get("errorStack", [])
                    reason = entry.get("reason", "")
                    return Execution(entry["coreDeviceExecutionStatus"], " ".join([reason, *_codes(stack)]).strip())
        return None

    def last_word(self, device: str) -> str:
        """What AWS heard of a core device last, for people."""
        found = _ask(f"core device {device}", self._greengrass.get_core_device, coreDeviceThingName=device)
        heard = found.get("lastStatusUpdateTimestamp")
        return f"{found.get('status', 'no status')}, last heard of {heard.isoformat() if heard else 'never'}"


def _codes(stack: List[str]) -> List[str]:
    return [f"({', '.join(stack)})"] if stack else []


def _pages(subject: str, operation: Callable[..., Dict[str, Any]], **request: Any) -> Iterator[Dict[str, Any]]:
    while True:
        page = _ask(subject, operation, **request)
        yield page
        if not page.get("nextToken"):
            return
        request["nextToken"] = page["nextToken"]


def _ask(subject: str, operation: Callable[..., Dict[str, Any]], **request: Any) -> Dict[str, Any]:
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, ParamValidationError

    try:
        answer = operation(**request)
    except ClientError as error:
        said = error.response.get("Error", {})
        code, message = said.get("Code", "no code"), said.get("Message") or "no reason given"
        if code in _PASSING:
            raise DeploymentUnavailableError(subject, f"{message} [{code}]") from error
        refused = code.startswith(("AccessDenied", "Unauthorized"))
        raise DeploymentError(subject, f"{message} [{code}]", _RIGHTS if refused else "") from error
    except (ParamValidationError, NoCredentialsError) as error:
        raise DeploymentError(subject, _one_line(error), _ENVIRONMENT) from error
    except BotoCoreError as error:
        raise DeploymentUnavailableError(subject, _one_line(error), _ENVIRONMENT) from error
    return {name: value for name, value in answer.items() if name != "ResponseMetadata"}


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
