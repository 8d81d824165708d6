"""The service's REST-JSON protocol: from method, path, headers and body to an operation, and its answer as JSON.

Paths, header and query names are those of the service model 2020-11-20.
"""

from __future__ import annotations

import datetime as dt
import logging
import re
from typing import Any, Dict, Mapping, NamedTuple, Optional
from urllib.parse import parse_qs, unquote

import msgspec

from edge_agent.errors import (
    ConflictError,
    PackagingError,
    ResourceNotFoundError,
    ServiceQuotaExceededError,
    ThrottlingError,
    ValidationError,
)
from edge_agent.packaging.jobs.job import MODEL_PACKAGE_JOB
from edge_agent.packaging.jobs.service import PackagingService

CLIENT_TOKEN = "x-amzn-client-token"  # noqa: S105 - the name of a header
ERROR_TYPE = "x-amzn-ErrorType"
RETRY_SECONDS = 1

_JOBS = re.compile(r"/2020-11-20/projects/(?P<project>[^/]*)/modelpackagingjobs(?:/(?P<job>[^/]*))?")
_WITH_RESOURCE = (ConflictError, ResourceNotFoundError, ServiceQuotaExceededError)
_log = logging.getLogger(__name__)


class Response(NamedTuple):
    status: int
    headers: Dict[str, str]
    body: bytes


def answer(
    service: PackagingService, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes
) -> Response:
    """What an operation says to a request that may ask.

    Args:
        service: that knows.
        method: as it came.
        path: as it came, not decoded.
        query: what follows the `?`, not decoded.
        headers: by their names in lower case.
        body: all of it.
    """
    try:
        return _json(200, _call(service, method, path, query, headers, body))
    except PackagingError as error:
        return error_response(error)
    except Exception:  # noqa: BLE001 - a fault of ours must not end the connection without a word
        _log.exception("%s %s: a fault of ours", method, path)
        return error_response(PackagingError("request", "met a fault of the server, whose log says more"))


def error_response(error: PackagingError) -> Response:
    """The error as botocore reads it: its type in a header, its members as JSON."""
    members = {"Message": error.message}
    headers = {ERROR_TYPE: error.code}
    if isinstance(error, _WITH_RESOURCE) and error.resource is not None:
        members["ResourceType"], members["ResourceId"] = error.resource
    if isinstance(error, ServiceQuotaExceededError):
        members.update(QuotaCode="UnfinishedModelPackagingJobs", ServiceCode="lookoutvision")
    if isinstance(error, ThrottlingError):
        headers["Retry-After"] = str(RETRY_SECONDS)
    response = _json(error.status, members)
    return response._replace(headers={**response.headers, **headers})


def _call(
    service: PackagingService, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes
) -> Dict[str, Any]:
    match = _JOBS.fullmatch(path)
    if match is None:
        raise _unknown(method, path)
    names = {"ProjectName": unquote(match.group("project"))}
    job: Optional[str] = match.group("job")
    if method == "GET" and job is not None:
        return service.describe({**names, "JobName": unquote(job)})
    if method == "GET":
        return service.list({**names, **_list_members(query)})
    if method == "POST" and job is None:
        token = headers.get(CLIENT_TOKEN)
        return service.start({**_read_body(body), **names, **({} if token is None else {"ClientToken": token})})
    raise _unknown(method, path)


def _unknown(method: str, path: str) -> PackagingError:
    return ResourceNotFoundError(
        f"{method} {path[:200]}",
        "is no operation of packaging jobs, and nothing else of the service is served here",
        resource=(MODEL_PACKAGE_JOB, path[:200]),
    )


def _list_members(query: str) -> Dict[str, Any]:
    try:
        values = parse_qs(query, keep_blank_values=True, max_num_fields=10)
    except ValueError as error:
        raise ValidationError("query", "has too many fields") from error
    members: Dict[str, Any] = {}
    if "nextToken" in values:
        members["NextToken"] = values["nextToken"][0]
    if "maxResults" in values:
        text = values["maxResults"][0]
        members["MaxResults"] = int(text) if re.fullmatch(r"-?[0-9]{1,9}", text) else text
    return members


def _read_body(body: bytes) -> Dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=Dict[str, Any])
    except msgspec.ValidationError as error:
        raise ValidationError("body", "is no JSON structure") from error
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ValidationError("body", f"is not JSON ({error})") from error


def _json(status: int, members: Dict[str, Any]) -> Response:
    return Response(status, {"Content-Type": "application/json"}, msgspec.json.encode(_timestamps(members)))


def _timestamps(value: Any) -> Any:
    """Times in JSON are seconds since 1970 in this protocol."""
    if isinstance(value, dict):
        return {key: _timestamps(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_timestamps(entry) for entry in value]
    return value.timestamp() if isinstance(value, dt.datetime) else value
