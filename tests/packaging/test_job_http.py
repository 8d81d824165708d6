"""The service's API over HTTP, asked by unmodified boto3; and what only another client would send."""

from __future__ import annotations

import contextlib
import datetime as dt
import http.client
import json
import re
import socket
import threading
import unicodedata
from pathlib import Path
from typing import Any, Dict, Iterator, Optional, Tuple
from urllib.parse import urlsplit

import boto3
import botocore.session
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.packaging import PROJECT, make_registry, open_state, start_request

from edge_agent.errors import ConfigError
from edge_agent.packaging.jobs.credentials import KeyPair, load_key_pair
from edge_agent.packaging.jobs.http import MAX_BODY_BYTES, PackagingServer
from edge_agent.packaging.jobs.state import PackagingState
from edge_agent.packaging.jobs.store import MAX_UNFINISHED

pytestmark = pytest.mark.filterwarnings("ignore:Boto3 will no longer support Python")

JOBS = f"/2020-11-20/projects/{PROJECT}/modelpackagingjobs"


class Served:
    """`packaging serve` in this process, without its worker: jobs stay CREATED."""

    session = boto3.session.Session()  # one, so that the service model is read once

    def __init__(self, place: PackagingState, **limits: Any) -> None:
        self.place = place
        self.pair = load_key_pair(place.directory)
        self.server = PackagingServer(place.service, self.pair, **limits)
        self.url = self.server.url

    def client(self, key: str = "", region: str = "eu-central-1") -> Any:
        return self.session.client(
            "lookoutvision",
            region_name=region,
            endpoint_url=self.url,
            aws_access_key_id=self.pair.access_key_id,
            aws_secret_access_key=key or self.pair.secret_access_key,
            config=Config(retries={"total_max_attempts": 1}),
        )

    def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        headers: Optional[Dict[str, str]] = None,
        late: float = 0.0,
    ) -> Tuple[int, Dict[str, str], Any]:
        """A signed request, with whatever body and headers; `late` seconds after it was signed."""
        request = AWSRequest(method, self.url + path, data=body, headers={})
        auth = SigV4Auth(Credentials(*self.pair), "lookoutvision", "us-east-1")
        auth.add_auth(request)
        if late:
            stamp = dt.datetime.now(dt.timezone.utc) - dt.timedelta(seconds=late)
            request = AWSRequest(method, self.url + path, data=body, headers={})
            request.context["timestamp"] = stamp.strftime("%Y%m%dT%H%M%SZ")
            request.headers["X-Amz-Date"] = request.context["timestamp"]
            signature = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
            auth._inject_signature_to_request(request, signature)
        signed = dict(request.headers.items())
        return self.send(method, path, body, {**signed, **(headers or {})})

    def send(self, method: str, path: str, body: bytes, headers: Dict[str, str]) -> Tuple[int, Dict[str, str], Any]:
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=20)
        with contextlib.closing(connection):
            connection.request(method, path, body=body, headers=headers)
            response = connection.getresponse()
            text = response.read()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, json.loads(text)


@contextlib.contextmanager
def serving(place: PackagingState, **limits: Any) -> Iterator[Served]:
    served = Served(place, **limits)
    thread = threading.Thread(target=served.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield served
    finally:
        served.server.shutdown()
        thread.join()
        served.server.server_close()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("packaging")
    make_registry(place / "registry")
    return place


@pytest.fixture(scope="module")
def served(directory: Path) -> Iterator[Served]:
    with serving(open_state(directory)) as here:
        yield here


def test_boto3_starts_describes_and_lists_a_job(tmp_path: Path) -> None:
    make_registry(tmp_path / "registry")
    place = open_state(tmp_path)
    with serving(place) as here:
        client = here.client()
        request = {**start_request(Tags=[{"Key": "Straße", "Value": "a=b"}]), "Description": "d", "JobName": "a-job"}
        assert client.start_model_packaging_job(**request)["JobName"] == "a-job"
        place.worker(threading.Event()).work()
        asked = {"ProjectName": PROJECT, "JobName": "a-job"}
        details = client.describe_model_packaging_job(**asked)["ModelPackagingDescription"]
        assert details["Status"] == "SUCCEEDED"
        assert isinstance(details["CreationTimestamp"], dt.datetime)
        assert details["ModelPackagingOutputDetails"]["Greengrass"]["ComponentVersion"] == "1.0.0"
        assert details["ModelPackagingConfiguration"]["Greengrass"]["Tags"] == [{"Key": "Straße", "Value": "a=b"}]
        for number in range(3):
            client.start_model_packaging_job(**start_request(ComponentVersion=f"2.0.{number}"))
        pages = client.get_paginator("list_model_packaging_jobs").paginate(
            ProjectName=PROJECT, PaginationConfig={"PageSize": 3}
        )
        listed = [entry for page in pages for entry in page["ModelPackagingJobs"]]
        assert [entry["Status"] for entry in listed] == ["CREATED"] * 3 + ["SUCCEEDED"]
        assert "ModelPackagingConfiguration" not in listed[-1]


def test_a_token_that_boto3_repeats_starts_one_job(served: Served) -> None:
    request = {**start_request(ComponentVersion="3.0.0"), "ClientToken": "a-token"}
    client = served.client()
    names = {client.start_model_packaging_job(**request)["JobName"] for _ in range(2)}
    assert len(names) == 1
    with pytest.raises(client.exceptions.ConflictException) as caught:
        client.start_model_packaging_job(**{**request, "JobName": "another"})
    assert caught.value.response["ResourceType"] == "MODEL_PACKAGE_JOB"
    assert caught.value.response["ResourceId"] == names.pop()


def test_refusals_are_botocore_s_typed_exceptions(served: Served) -> None:
    client = served.client()
    with pytest.raises(client.exceptions.ValidationException, match="ComponentName: is 'a b'"):
        client.start_model_packaging_job(**start_request(ComponentName="a b"))
    with pytest.raises(client.exceptions.ResourceNotFoundException) as caught:
        client.start_model_packaging_job(**{**start_request(), "ModelVersion": "7"})
    assert caught.value.response["ResourceType"] == "MODEL"
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.describe_model_packaging_job(ProjectName=PROJECT, JobName="none")
    with pytest.raises(client.exceptions.ValidationException, match="MaxResults: is 101"):
        client.list_model_packaging_jobs(ProjectName=PROJECT, MaxResults=101)
    stranger = served.client(key="guessed")
    with pytest.raises(stranger.exceptions.AccessDeniedException, match="is signed with another key"):
        stranger.list_model_packaging_jobs(ProjectName=PROJECT)


def test_a_quota_that_is_used_up_is_a_typed_exception(tmp_path: Path) -> None:
    make_registry(tmp_path / "registry")
    place = open_state(tmp_path)
    for number in range(MAX_UNFINISHED):
        place.service.start(start_request(ComponentVersion=f"1.0.{number}"))
    with serving(place) as here:
        client = here.client()
        with pytest.raises(client.exceptions.ServiceQuotaExceededException) as caught:
            client.start_model_packaging_job(**start_request(ComponentVersion="2.0.0"))
    assert caught.value.response["QuotaCode"] == "UnfinishedModelPackagingJobs"
    assert caught.value.response["ServiceCode"] == "lookoutvision"


def test_too_many_connections_are_a_typed_exception(directory: Path) -> None:
    with serving(open_state(directory), max_connections=1, request_seconds=30) as here:
        client = here.client()
        with socket.create_connection(here.server.server_address[:2]):
            with pytest.raises(client.exceptions.ThrottlingException) as caught:
                client.list_model_packaging_jobs(ProjectName=PROJECT)  # the one above is taken up first
            assert caught.value.response["ResponseMetadata"]["HTTPHeaders"]["retry-after"] == "1"
        for _ in range(100):
            with contextlib.suppress(client.exceptions.ThrottlingException):
                assert (
                    client.list_model_packaging_jobs(ProjectName=PROJECT)["ResponseMetadata"]["HTTPStatusCode"] == 200
                )
                return
        pytest.fail("the slot was never given back")


def test_state_that_breaks_meanwhile_is_a_typed_exception(tmp_path: Path) -> None:
    make_registry(tmp_path / "registry")
    with serving(open_state(tmp_path)) as here:
        client = here.client()
        (tmp_path / "state" / "jobs.sqlite3").write_bytes(b"no database at all" * 1000)
        with pytest.raises(client.exceptions.InternalServerException, match="file is not a database"):
            client.list_model_packaging_jobs(ProjectName=PROJECT)


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({}, "is not signed"),
        ({"Authorization": "Bearer secret"}, "is not signed"),
        (
            {
                "Authorization": "AWS4-HMAC-SHA256 Credential=A/20200101/r/s3/aws4_request, SignedHeaders=host, Signature=0"
            },
            "is not signed for lookoutvision",
        ),
    ],
)
def test_without_a_signature_nobody_learns_anything(headers: Dict[str, str], said: str, served: Served) -> None:
    for path in (JOBS, "/2020-11-20/projects/none/modelpackagingjobs", "/"):
        status, answered, body = served.send("GET", path, b"", headers)
        assert (status, answered["x-amzn-errortype"]) == (403, "AccessDeniedException")
        assert said in body["Message"]


def test_a_signature_is_for_its_time_path_and_body(served: Served) -> None:
    assert served.ask("GET", JOBS)[0] == 200
    assert served.ask("GET", JOBS, late=800)[0] == 200
    assert served.ask("GET", JOBS, late=1000)[0] == 403
    assert served.ask("GET", JOBS, late=-1000)[0] == 403
    request = AWSRequest("GET", served.url + JOBS, data=b"", headers={})
    SigV4Auth(Credentials(*served.pair), "lookoutvision", "us-east-1").add_auth(request)
    signed = dict(request.headers.items())
    assert served.send("GET", JOBS, b"", signed)[0] == 200
    for method, path, body in (("GET", f"{JOBS}/x", b""), ("GET", f"{JOBS}?maxResults=1", b""), ("POST", JOBS, b"{}")):
        assert served.send(method, path, body, signed)[0] == 403
    other = AWSRequest("GET", served.url + JOBS, data=b"", headers={})
    SigV4Auth(Credentials(*served.pair), "s3", "us-east-1").add_auth(other)
    assert served.send("GET", JOBS, b"", dict(other.headers.items()))[0] == 403


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", JOBS, b"", 400, "ValidationException"),
        ("POST", JOBS, b"[]", 400, "ValidationException"),
        ("POST", JOBS, b"{" * 100000, 400, "ValidationException"),
        ("POST", JOBS, b'{"a":' * 100000, 400, "ValidationException"),
        ("POST", JOBS, b'{"ModelVersion": "\xff"}', 400, "ValidationException"),
        ("POST", JOBS, b'{"Description": "\\ud800"}', 400, "ValidationException"),
        ("POST", JOBS, b" " * (MAX_BODY_BYTES + 1), 400, "ValidationException"),
        ("GET", f"{JOBS}?maxResults=many", b"", 400, "ValidationException"),
        ("GET", f"{JOBS}?maxResults=0", b"", 400, "ValidationException"),
        ("GET", f"{JOBS}?nextToken=%00", b"", 400, "ValidationException"),
        ("GET", "/2020-11-20/projects/..%2F..%2Fetc/modelpackagingjobs", b"", 400, "ValidationException"),
        ("GET", f"{JOBS}/a%2Fb", b"", 400, "ValidationException"),
        ("GET", "/2020-11-20/projects/bolts/models", b"", 404, "ResourceNotFoundException"),
        ("POST", f"{JOBS}/x", b"{}", 404, "ResourceNotFoundException"),
        ("DELETE", JOBS, b"", 501, "ValidationException"),
    ],
)
def test_what_boto3_would_not_send_is_refused_in_the_same_form(
    method: str, path: str, body: bytes, status: int, code: str, served: Served
) -> None:
    found, headers, document = served.ask(method, path, body)
    assert (found, headers["x-amzn-errortype"]) == (status, code)
    assert document["Message"]
    assert "Traceback" not in document["Message"]


def test_a_body_of_a_length_that_nobody_knows_is_refused(served: Served) -> None:
    assert served.ask("POST", JOBS, b"{}", headers={"Transfer-Encoding": "chunked"})[0] == 400
    assert served.ask("POST", JOBS, b"{}", headers={"Content-Length": "-1"})[0] == 400


def test_a_slow_client_is_cut_off_and_the_others_go_on(directory: Path) -> None:
    with serving(open_state(directory), request_seconds=0.5) as here, socket.socket() as slow:
        slow.connect(here.server.server_address[:2])
        slow.sendall(b"GET / HTTP/1.1\r\n")
        slow.settimeout(20)
        assert here.ask("GET", JOBS)[0] == 200
        assert slow.recv(100) == b""


@pytest.mark.parametrize("host", ["192.168.0.1", "localhost", "::"])
def test_it_listens_on_the_loopback_alone(host: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no loopback address"):
        PackagingServer(open_state(tmp_path).service, KeyPair("a", "b"), host)


def test_the_key_pair_is_made_once_and_for_one_user(tmp_path: Path) -> None:
    pair = load_key_pair(tmp_path)
    assert load_key_pair(tmp_path) == pair
    assert pair.secret_access_key not in repr(pair)
    file = tmp_path / "credentials"
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o644)
    with pytest.raises(Exception, match="may be read by others"):
        load_key_pair(tmp_path)


# -- generated requests, judged by the service model

_TEXTS = st.one_of(
    st.text(max_size=12),
    st.from_regex(r"[a-zA-Z0-9._ -]{0,12}", fullmatch=True),
    st.sampled_from(
        ["", "a" * 65, "a" * 129, "a" * 257, "a" * 1025, "latest", "0", "1.0", "1.2.3\n", "LINUX", "../x", "é"]
    ),
)
_JUNK = st.one_of(st.integers(), st.booleans(), st.lists(st.none(), max_size=2), st.floats(allow_nan=False), _TEXTS)


def _paths(shape: Any, here: Tuple[str, ...] = ()) -> Iterator[Tuple[Tuple[str, ...], Any]]:
    for name, member in shape.members.items():
        if member.serialization.get("location") is None:
            yield (*here, name), member
            if member.type_name == "structure":
                yield from _paths(member, (*here, name))


_START = botocore.session.Session().get_service_model("lookoutvision").operation_model("StartModelPackagingJob")
_MEMBERS = list(_paths(_START.input_shape))


def _is_right(shape: Any, value: Any) -> bool:
    """Whether the service model allows the value."""
    if shape.type_name in ("structure", "list"):
        return shape.type_name == "list" and value == []  # no other generated value is one of these that is right
    if not isinstance(value, str):
        return False
    if getattr(shape, "enum", None):
        return value in shape.enum
    limits = shape.metadata
    pattern = limits.get("pattern", ".*").strip("^$")
    if "\\p" in pattern:
        return all(unicodedata.category(character)[0] in "LZN" or character in "_.:/=+-@" for character in value)
    in_length = limits.get("min", 0) <= len(value) <= limits.get("max", 10**9)
    return in_length and re.fullmatch(pattern.replace("9-_", r"9\-_"), value) is not None


@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(member=st.sampled_from(_MEMBERS), value=_JUNK, how=st.sampled_from(["put", "take", "add"]))
def test_500_generated_invalid_requests_get_the_documented_error(
    member: Tuple[Tuple[str, ...], Any], value: Any, how: str, served: Served
) -> None:
    path, shape = member
    request = start_request(ComponentVersion="9.9.9")
    del request["ProjectName"]
    parent = request
    for name in path[:-1]:
        parent = parent.setdefault(name, {})
    if how == "put":
        # The options have a form of their own inside; no text of these is JSON with a structure.
        while path[-1] != "CompilerOptions" and _is_right(shape, value):
            value = [value]
        parent[path[-1]] = value
    elif how == "take" and path[-1] in {"ModelVersion", "Configuration", "Greengrass", "S3OutputLocation", "Bucket"}:
        parent.pop(path[-1], None)
    else:
        parent[f"{path[-1]}?"] = value
    status, headers, body = served.ask("POST", JOBS, json.dumps(request).encode())
    assert (status, headers["x-amzn-errortype"]) == (400, "ValidationException"), request
    assert "Traceback" not in body["Message"]
