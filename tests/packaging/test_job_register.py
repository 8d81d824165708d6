"""Registering a component: what goes to Greengrass, held against botocore's service model, at a loopback endpoint."""

from __future__ import annotations

import base64
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple
from urllib.parse import unquote

import boto3
import botocore.session
import pytest
from botocore.validate import ParamValidator
from support.clocks import Steps
from support.packaging import PROJECT, make_registry, open_state, start_request

from edge_agent.errors import ConfigError, EdgeAgentError, MissingExtraError
from edge_agent.packaging.jobs.buckets import S3Buckets
from edge_agent.packaging.jobs.job import Job, Settings
from edge_agent.packaging.jobs.local import LocalEngine
from edge_agent.packaging.jobs.register import Registrar
from edge_agent.packaging.jobs.registry import ModelRegistry
from edge_agent.packaging.jobs.state import PackagingState
from edge_agent.packaging.jobs.store import JobStore
from edge_agent.packaging.portable import check_recipe

pytestmark = pytest.mark.filterwarnings("ignore:Boto3 will no longer support Python")

_ARN = "arn:aws:greengrass:eu-central-1:123456789012:components:com.example.Bolts:versions:1.0.0"
_CALLER = (
    '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>'
    "<Arn>arn:aws:iam::123456789012:user/publisher</Arn><UserId>U</UserId><Account>123456789012</Account>"
    "</GetCallerIdentityResult></GetCallerIdentityResponse>"
)


class Cloud:
    """What S3, STS and Greengrass keep and answer.

    Attributes:
        created: requests of CreateComponentVersion, as the service model has them.
        stored: paths that were put into S3, in order.
        states: what DescribeComponent answers, one after the other; the last one for ever. None: not there.
        refusal: (status, code) that CreateComponentVersion is refused with.
    """

    def __init__(self) -> None:
        self.created: List[Dict[str, Any]] = []
        self.stored: List[str] = []
        self.states: List[Any] = [None, "REQUESTED", "DEPLOYABLE"]
        self.refusal: Tuple[int, str] = (0, "")
        self.model = botocore.session.Session().get_service_model("greengrassv2")

    def create(self, body: bytes) -> Tuple[int, Dict[str, Any]]:
        request = json.loads(body)
        request["inlineRecipe"] = base64.b64decode(request["inlineRecipe"])
        report = ParamValidator().validate(request, self.model.operation_model("CreateComponentVersion").input_shape)
        assert not report.has_errors(), report.generate_report()
        self.created.append(request)
        if self.refusal[0]:
            return self.refusal[0], {"message": "said Greengrass"}
        recipe = json.loads(request["inlineRecipe"])
        names = {"componentName": recipe["ComponentName"], "componentVersion": recipe["ComponentVersion"]}
        return 201, {"arn": _ARN, **names, "creationTimestamp": 1, "status": {"componentState": "REQUESTED"}}

    def describe(self, arn: str) -> Tuple[int, Dict[str, Any]]:
        assert arn == _ARN
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if state is None:
            return 404, {"message": "no such component", "resourceId": arn, "resourceType": "component"}
        status = {"componentState": state, "message": "about it", "errors": {"ARTIFACT": "no access"}}
        return 200, {"arn": arn, "status": status}


class _Endpoint(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # 1.0 has no "100 Continue", for which botocore waits a second
    cloud: Cloud

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.cloud.stored.append(self.path)
        self._answer(200, b"", ETag='"x"')

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/":
            assert b"Action=GetCallerIdentity" in body
            self._answer(200, _CALLER.encode())
            return
        assert self.path == "/greengrass/v2/createComponentVersion"
        self._answer_json(*self.cloud.create(body))

    def do_GET(self) -> None:
        start, _, arn = self.path.partition("/components/")
        assert start == "/greengrass/v2"
        assert arn.endswith("/metadata")
        self._answer_json(*self.cloud.describe(unquote(arn[: -len("/metadata")])))

    def _answer_json(self, status: int, document: Dict[str, Any]) -> None:
        codes = {404: "ResourceNotFoundException", self.cloud.refusal[0]: self.cloud.refusal[1]}
        self._answer(status, json.dumps(document).encode(), **{"x-amzn-ErrorType": codes.get(status, "")})

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Cloud]:
    here = Cloud()
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Endpoint", (_Endpoint,), {"cloud": here})) as server:
        for service in ("S3", "STS", "GREENGRASSV2"):
            monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", f"http://127.0.0.1:{server.server_port}")
        settings = {
            "AWS_ACCESS_KEY_ID": "AKIDTEST",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "eu-central-1",
            "AWS_CONFIG_FILE": str(tmp_path / "none"),
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_MAX_ATTEMPTS": "1",
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
        }
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield here
        finally:
            server.shutdown()
            thread.join()


def _state(directory: Path) -> PackagingState:
    return PackagingState(directory / "state", Settings(str(directory / "registry"), "s3", "open", register=True))


def _job(directory: Path, **greengrass: Any) -> Job:
    make_registry(directory / "registry")
    return _state(directory).service.create(start_request(**greengrass))


def _run(directory: Path, job: Job) -> Any:
    engine = LocalEngine(S3Buckets(), registrar=Registrar(Steps()))
    return engine.run(job, ModelRegistry(directory / "registry").find(PROJECT, "1"))


def test_the_recipe_goes_to_greengrass_with_its_tags_after_the_files_are_in_s3(cloud: Cloud, tmp_path: Path) -> None:
    job = _job(tmp_path, Tags=[{"Key": "line", "Value": "3"}])
    made = _run(tmp_path, job)
    assert made.arn == _ARN
    (request,) = cloud.created
    recipe = json.loads(request["inlineRecipe"])
    check_recipe(recipe, "recipe")
    artifact, recipe_key = cloud.stored
    assert recipe["Manifests"][0]["Artifacts"][0]["Uri"] == f"s3:/{artifact}"
    assert recipe_key.endswith("/recipes/com.example.Bolts-1.0.0.json")
    assert request["tags"] == {"line": "3"}
    assert cloud.states == ["DEPLOYABLE"]  # it was waited for


def test_a_job_of_a_process_of_its_own_registers_and_says_the_arn(cloud: Cloud, tmp_path: Path) -> None:
    cloud.states = [None, "DEPLOYABLE"]
    job = _job(tmp_path)
    place = _state(tmp_path)
    place.worker(threading.Event()).wait_for(job.number)
    found = JobStore(tmp_path / "state").get(job.number)
    assert found.output is not None, found.message
    assert found.output["ComponentVersionArn"] == _ARN


def test_each_attempt_of_a_job_has_the_same_token_and_other_jobs_have_others(cloud: Cloud, tmp_path: Path) -> None:
    tokens = []
    for name, attempts in (("a", 1), ("a", 2), ("b", 1)):
        cloud.states = [None, "DEPLOYABLE"]
        if not (tmp_path / name).exists():
            job = _job(tmp_path / name)
        _run(tmp_path / name, job._replace(attempts=attempts))
        tokens.append(cloud.created[-1]["clientToken"])
    assert tokens[0] == tokens[1] != tokens[2]


def test_nothing_is_put_over_the_files_of_a_version_that_is_registered(cloud: Cloud, tmp_path: Path) -> None:
    cloud.states = ["DEPLOYABLE"]
    job = _job(tmp_path)
    with pytest.raises(EdgeAgentError, match=r"versions:1.0.0: is registered already. A version cannot be made twice"):
        _run(tmp_path, job)
    assert (cloud.stored, cloud.created) == ([], [])
    made = _run(tmp_path, job._replace(attempts=2))  # what the first one, which died, has registered
    assert (made.arn, cloud.stored, cloud.created) == (_ARN, [], [])


@pytest.mark.parametrize(
    ("states", "said"),
    [
        ([None, "REQUESTED", "FAILED"], r"is FAILED \(about it ARTIFACT: no access\). Delete it"),
        ([None, "INITIATED"], "is registered, but still INITIATED after 120 seconds"),
    ],
)
def test_a_component_that_cannot_be_deployed_fails_the_job(
    states: List[Any], said: str, cloud: Cloud, tmp_path: Path
) -> None:
    cloud.states = states
    with pytest.raises(EdgeAgentError, match=said):
        _run(tmp_path, _job(tmp_path))


@pytest.mark.parametrize(
    ("status", "code"),
    [(403, "AccessDeniedException"), (409, "ConflictException"), (402, "ServiceQuotaExceededException")],
)
def test_what_greengrass_refuses_fails_the_job_with_its_reason(
    status: int, code: str, cloud: Cloud, tmp_path: Path
) -> None:
    cloud.refusal = (status, code)
    with pytest.raises(
        EdgeAgentError, match=rf"component com.example.Bolts 1.0.0: AWS did not take it \(.*{code}.*said"
    ):
        _run(tmp_path, _job(tmp_path))


def test_an_endpoint_that_is_gone_is_one_clear_error(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:9")
    with pytest.raises(EdgeAgentError, match=r"AWS account: AWS did not take it .*Could not connect"):
        _run(tmp_path, _job(tmp_path))
    assert cloud.stored == []


def test_a_component_in_a_directory_is_none_that_can_be_registered(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is nowhere that Greengrass could register a component from"):
        open_state(tmp_path, register=True)


def test_without_boto3_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(MissingExtraError, match=r"edge-agent\[aws\]"):
        Registrar()
