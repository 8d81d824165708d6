"""AWS's control plane for deployments on the loopback interface: what greengrassv2 and IoT answer, with state.

Every request and answer is held against botocore's service models, so that the client and this endpoint cannot agree on
something that AWS does not know.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple
from urllib.parse import parse_qs, unquote, urlsplit

import botocore.session
from botocore.validate import ParamValidator

ACCOUNT = "arn:aws:iot:eu-central-1:123456789012"

Route = Tuple[str, str, str, Callable[..., Any]]


class RefusalError(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(status, code, message)


class Cloud:
    """What the account holds; tests put things in and read requests.

    Attributes:
        groups: core devices by thing group.
        things: names.
        deployments: as GetDeployment answers them, the oldest first.
        executions: {device: entry of ListEffectiveDeployments but for its deployment}.
        jobs: {job: {thing: status}}.
        requests: (operation, parameters) in their order.
        on_request: called with the operation's name before it is answered; may change state or raise RefusalError.
    """

    def __init__(self) -> None:
        self.groups: Dict[str, List[str]] = {}
        self.things: List[str] = []
        self.deployments: List[Dict[str, Any]] = []
        self.executions: Dict[str, Dict[str, Any]] = {}
        self.jobs: Dict[str, Dict[str, str]] = {}
        self.requests: List[Tuple[str, Dict[str, Any]]] = []
        self.on_request: Callable[[str], None] = lambda _operation: None

    def asked(self, operation: str) -> List[Dict[str, Any]]:
        return [parameters for name, parameters in self.requests if name == operation]

    # -- operations, named as in the models

    def describe_thing(self, thingName: str) -> Dict[str, Any]:  # noqa: N803 - the service's names, here and below
        if thingName not in self.things:
            raise RefusalError(404, "ResourceNotFoundException", f"Thing {thingName} cannot be found.")
        return {"thingName": thingName, "thingArn": f"{ACCOUNT}:thing/{thingName}"}

    def describe_thing_group(self, thingGroupName: str) -> Dict[str, Any]:  # noqa: N803
        if thingGroupName not in self.groups:
            raise RefusalError(404, "ResourceNotFoundException", f"Thing group {thingGroupName} cannot be found.")
        return {"thingGroupName": thingGroupName, "thingGroupArn": f"{ACCOUNT}:thinggroup/{thingGroupName}"}

    def list_deployments(self, targetArn: str, historyFilter: str) -> Dict[str, Any]:  # noqa: N803
        assert historyFilter == "LATEST_ONLY"
        found = [entry for entry in self.deployments if entry["targetArn"] == targetArn][-1:]
        keys = ("targetArn", "revisionId", "deploymentId", "deploymentStatus", "isLatestForTarget")
        return {"deployments": [{key: entry[key] for key in keys} for entry in found]}

    def get_deployment(self, deploymentId: str) -> Dict[str, Any]:  # noqa: N803
        return next(entry for entry in self.deployments if entry["deploymentId"] == deploymentId)

    def create_deployment(self, targetArn: str, clientToken: str, **members: Any) -> Dict[str, Any]:  # noqa: N803
        assert clientToken
        number = len(self.deployments) + 1
        job = f"job-{number}"
        is_group = ":thinggroup/" in targetArn
        self.deployments.append(
            {
                **members,
                "targetArn": targetArn,
                "deploymentId": f"deployment-{number}",
                "revisionId": str(number),
                "deploymentStatus": "ACTIVE",
                "isLatestForTarget": True,
                **({"iotJobId": job} if is_group else {}),
            }
        )
        if is_group:
            self.jobs.setdefault(job, {})
        return {"deploymentId": f"deployment-{number}", **({"iotJobId": job} if is_group else {})}

    def list_core_devices(self, thingGroupArn: str, nextToken: str = "0") -> Dict[str, Any]:  # noqa: N803
        devices = [
            {"coreDeviceThingName": name, "status": "HEALTHY"}
            for name in self.groups[thingGroupArn.rsplit("/", maxsplit=1)[-1]]
        ]
        return _page("coreDevices", devices, nextToken)

    def list_job_executions_for_job(self, jobId: str, nextToken: str = "0") -> Dict[str, Any]:  # noqa: N803
        entries = [
            {"thingArn": f"{ACCOUNT}:thing/{name}", "jobExecutionSummary": {"status": status}}
            for name, status in self.jobs[jobId].items()
        ]
        return _page("executionSummaries", entries, nextToken)

    def list_effective_deployments(self, coreDeviceThingName: str, nextToken: str = "0") -> Dict[str, Any]:  # noqa: N803
        other = _effective("another", {"coreDeviceExecutionStatus": "SUCCEEDED"})
        entry = self.executions.get(coreDeviceThingName)
        latest = [] if entry is None else [_effective(self.deployments[-1]["deploymentId"], entry)]
        return _page("effectiveDeployments", [other, *latest], nextToken)

    def get_core_device(self, coreDeviceThingName: str) -> Dict[str, Any]:  # noqa: N803
        if coreDeviceThingName not in [name for names in [self.things, *self.groups.values()] for name in names]:
            raise RefusalError(404, "ResourceNotFoundException", f"Core device {coreDeviceThingName} does not exist.")
        return {
            "coreDeviceThingName": coreDeviceThingName,
            "status": "UNHEALTHY",
            "lastStatusUpdateTimestamp": 1767225600,
        }


def _page(member: str, entries: List[Any], token: str) -> Dict[str, Any]:
    """One entry a page: a caller that does not turn pages is found out."""
    here = int(token)
    page = {member: entries[here : here + 1]}
    return {**page, "nextToken": str(here + 1)} if here + 1 < len(entries) else page


def _effective(deployment: str, entry: Dict[str, Any]) -> Dict[str, Any]:
    return {
        "deploymentId": deployment,
        "deploymentName": "any",
        "targetArn": f"{ACCOUNT}:thing/any",
        "creationTimestamp": 1767225600,
        "modifiedTimestamp": 1767225600,
        **entry,
    }


_OPERATIONS = {
    "greengrassv2": (
        "ListDeployments",
        "GetDeployment",
        "CreateDeployment",
        "ListCoreDevices",
        "ListEffectiveDeployments",
        "GetCoreDevice",
    ),
    "iot": ("DescribeThing", "DescribeThingGroup", "ListJobExecutionsForJob"),
}


@functools.lru_cache(maxsize=None)
def _service(name: str) -> Any:
    return botocore.session.Session().get_service_model(name)


class _Model:
    """An operation of botocore's service model: its place, and its forms."""

    def __init__(self, service: str, operation: str) -> None:
        self._model = _service(service).operation_model(operation)
        self.name = re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower()
        self.method = self._model.http["method"]
        place = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", self._model.http["requestUri"])
        self.pattern = re.compile(place + "$")

    def parameters(self, path: Any, query: Dict[str, List[str]], body: bytes) -> Dict[str, Any]:
        members = {name: unquote(value) for name, value in path.groupdict().items()}
        members.update({name: values[0] for name, values in query.items()})
        members.update(json.loads(body) if body else {})
        self._check(members, self._model.input_shape)
        return members

    def answer(self, members: Dict[str, Any]) -> bytes:
        self._check(members, self._model.output_shape)
        return json.dumps(members).encode()

    def _check(self, members: Dict[str, Any], shape: Any) -> None:
        unknown = set(members) - set(shape.members)
        assert not unknown, f"{self.name}: {unknown}"
        report = ParamValidator().validate(members, shape)
        assert not report.has_errors(), f"{self.name}: {report.generate_report()}"


class _Handler(BaseHTTPRequestHandler):
    cloud: Cloud
    models: List[_Model]
    faults: List[str]

    def do_GET(self) -> None:
        self._serve(b"")

    def do_POST(self) -> None:
        self._serve(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def _serve(self, body: bytes) -> None:
        try:
            self._reply(200, self._answer(body))
        except RefusalError as refusal:
            status, code, message = refusal.args
            self._reply(status, json.dumps({"message": message}).encode(), code)
        except Exception as error:  # noqa: BLE001 - the test must hear of it
            self.faults.append(repr(error))
            self._reply(400, json.dumps({"message": repr(error)}).encode(), "ValidationException")

    def _answer(self, body: bytes) -> bytes:
        parts = urlsplit(self.path)
        for model in self.models:
            match = model.pattern.match(parts.path)
            if match and model.method == self.command:
                parameters = model.parameters(match, parse_qs(parts.query), body)
                self.cloud.requests.append((model.name, parameters))
                self.cloud.on_request(model.name)
                return model.answer(getattr(self.cloud, model.name)(**parameters))
        raise AssertionError(f"no operation at {self.command} {self.path}")

    def _reply(self, status: int, body: bytes, code: Optional[str] = None) -> None:
        self.send_response(status)
        if code:
            self.send_header("x-amzn-ErrorType", code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        pass


@contextlib.contextmanager
def serve_cloud(monkeypatch: Any) -> Iterator[Cloud]:
    """A `Cloud` that boto3 in this process talks to; at its end, no request or answer may have been of a wrong form."""
    cloud = Cloud()
    models = [_Model(service, name) for service, names in _OPERATIONS.items() for name in names]
    handler = type("Handler", (_Handler,), {"cloud": cloud, "models": models, "faults": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        for service in ("GREENGRASSV2", "IOT"):
            monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield cloud
        finally:
            server.shutdown()
            thread.join()
    assert handler.faults == []  # type: ignore[attr-defined]
