"""What goes to AWS: the operations through boto3, and uploads to S3, held against botocore and a loopback endpoint."""

from __future__ import annotations

import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, Dict, Iterator

import boto3
import pytest
from botocore.exceptions import UnknownServiceError
from botocore.stub import Stubber
from support.packaging import PROJECT, make_registry, open_state, start_request

from edge_agent.errors import (
    AccessDeniedError,
    EdgeAgentError,
    MissingExtraError,
    PackagingError,
    ThrottlingError,
    ValidationError,
)
from edge_agent.packaging.jobs.aws import AwsService
from edge_agent.packaging.jobs.buckets import S3Buckets
from edge_agent.packaging.jobs.local import LocalEngine
from edge_agent.packaging.jobs.registry import ModelRegistry

pytestmark = pytest.mark.filterwarnings("ignore:Boto3 will no longer support Python")


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDTEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)


@pytest.fixture
def stubbed() -> Iterator[Any]:
    service = AwsService()
    with Stubber(service._client) as stubber:
        yield service, stubber


def test_a_request_goes_out_and_its_answer_comes_back_unchanged(stubbed: Any) -> None:
    service, stubber = stubbed
    request = {**start_request(TargetDevice="jetson_xavier", TargetPlatform=None), "ClientToken": "t"}
    stubber.add_response("start_model_packaging_job", {"JobName": "j"}, request)
    assert service.start(request) == {"JobName": "j"}
    asked = {"ProjectName": PROJECT, "JobName": "j"}
    details = {"ModelPackagingDescription": {"JobName": "j", "Status": "RUNNING"}}
    stubber.add_response("describe_model_packaging_job", details, asked)
    assert service.describe(asked) == details
    stubber.add_response("list_model_packaging_jobs", {"ModelPackagingJobs": []}, {"ProjectName": PROJECT})
    assert service.list({"ProjectName": PROJECT}) == {"ModelPackagingJobs": []}


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("AccessDeniedException", AccessDeniedError),
        ("ThrottlingException", ThrottlingError),
        ("ExpiredTokenException", PackagingError),
    ],
)
def test_its_errors_are_ours(code: str, kind: type, stubbed: Any) -> None:
    service, stubber = stubbed
    stubber.add_client_error("list_model_packaging_jobs", code, "said AWS")
    with pytest.raises(kind, match=rf"said AWS [\[(]{code}[\])]"):
        service.list({"ProjectName": PROJECT})


def test_what_boto3_itself_refuses_is_a_validation_error() -> None:
    with pytest.raises(ValidationError, match="Missing required parameter"):
        AwsService().describe({"ProjectName": PROJECT})


def test_an_endpoint_that_is_gone_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_LOOKOUTVISION", "http://127.0.0.1:9")
    with pytest.raises(PackagingError, match=r"Could not connect .*The service ended on 31 October 2025"):
        AwsService().list({"ProjectName": PROJECT})


def test_a_boto3_that_no_longer_knows_the_service_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def newer(service: str) -> None:  # as 1.40.61 and later answer
        raise UnknownServiceError(service_name=service, known_service_names="s3")

    monkeypatch.setattr(boto3, "client", newer)
    with pytest.raises(PackagingError, match=r"no longer has the client lookoutvision: it ended with 1.40.60"):
        AwsService()


def test_without_boto3_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    for kind in (AwsService, S3Buckets):
        with pytest.raises(MissingExtraError, match=r"edge-agent\[aws\]"):
            kind()


class _Bucket(BaseHTTPRequestHandler):
    """Takes PUT as S3 does."""

    stored: Dict[str, bytes]
    answer = 200

    def do_PUT(self) -> None:
        self.stored[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.answer)
        self.send_header("ETag", '"x"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A handler class whose `stored` has the bodies by path."""
    handler = type("Bucket", (_Bucket,), {"stored": {}})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")  # plain bodies
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield handler
        finally:
            server.shutdown()
            thread.join()


def test_a_job_uploads_artifact_and_recipe_below_the_prefix(s3: Any, tmp_path: Path) -> None:
    make_registry(tmp_path / "registry")
    job = open_state(tmp_path).service.create(start_request())
    made = LocalEngine(S3Buckets()).run(job, ModelRegistry(tmp_path / "registry").find(PROJECT, "1"))
    top = "/my-bucket/components"
    artifact = f"{top}/artifacts/com.example.Bolts/1.0.0/x86_64_greengrass_model_component.zip"
    assert list(s3.stored) == [artifact, f"{top}/recipes/com.example.Bolts-1.0.0.json"]
    assert s3.stored[artifact].startswith(b"PK")
    assert made.message == f"Written: s3:/{artifact} and s3:/{top}/recipes/com.example.Bolts-1.0.0.json."


def test_a_bucket_that_refuses_fails_the_job_with_its_reason(s3: Any, tmp_path: Path) -> None:
    make_registry(tmp_path / "registry")
    s3.answer = 403
    job = open_state(tmp_path).service.create(start_request())
    with pytest.raises(EdgeAgentError, match=r"s3://my-bucket/components/artifacts/.*: AWS did not take it .*403"):
        LocalEngine(S3Buckets()).run(job, ModelRegistry(tmp_path / "registry").find(PROJECT, "1"))
