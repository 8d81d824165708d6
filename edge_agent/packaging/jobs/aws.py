"""The three operations, answered by the service itself through boto3, where that still knows it."""

from __future__ import annotations

from typing import Any, Callable, Dict, Type

from edge_agent.errors import (
    AccessDeniedError,
    ConflictError,
    MissingExtraError,
    PackagingError,
    ResourceNotFoundError,
    ServiceQuotaExceededError,
    ThrottlingError,
    ValidationError,
)

_SERVICE = "lookoutvision"
_ERRORS: Dict[str, Type[PackagingError]] = {
    kind.code: kind
    for kind in (
        AccessDeniedError,
        ConflictError,
        PackagingError,
        ResourceNotFoundError,
        ServiceQuotaExceededError,
        ThrottlingError,
        ValidationError,
    )
}


class AwsService:
    """Credentials, Region and endpoint are those that boto3 finds in the environment. What is asked for goes out
    unchanged, and the answer comes back unchanged.

    Raises:
        MissingExtraError: boto3 is not installed.
        PackagingError: boto3 no longer has the client, or has no Region.
    """

    def __init__(self) -> None:
        try:
            import boto3
        except ImportError as error:
            raise MissingExtraError("boto3", "aws") from error
        from botocore.exceptions import BotoCoreError, UnknownServiceError

        try:
            self._client = boto3.client(_SERVICE)
        except UnknownServiceError as error:
            raise PackagingError(
                f"boto3 {boto3.__version__}",
                f"no longer has the client {_SERVICE}: it ended with 1.40.60, and the service on 31 October 2025",
                "Use --engine local, or pip install boto3==1.40.60 where an endpoint still answers.",
            ) from error
        except BotoCoreError as error:
            raise PackagingError(_SERVICE, _one_line(error)) from error

    def start(self, request: Dict[str, Any]) -> Dict[str, Any]:
        return _ask(self._client.start_model_packaging_job, request)

    def describe(self, request: Dict[str, Any]) -> Dict[str, Any]:
        return _ask(self._client.describe_model_packaging_job, request)

    def list(self, request: Dict[str, Any]) -> Dict[str, Any]:
        return _ask(self._client.list_model_packaging_jobs, request)


def _ask(operation: Callable[..., Dict[str, Any]], request: Dict[str, Any]) -> Dict[str, Any]:
    from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

    try:
        answer = operation(**request)
    except ParamValidationError as error:
        raise ValidationError("request", _one_line(error)) from error
    except ClientError as error:
        said = error.response.get("Error", {})
        code, message = said.get("Code", "no code"), said.get("Message", "gave no reason")
        if code in _ERRORS:
            raise _ERRORS[code](_SERVICE, message) from error
        raise PackagingError(_SERVICE, f"{message} [{code}]") from error
    except BotoCoreError as error:
        raise PackagingError(_SERVICE, _one_line(error), "The service ended on 31 October 2025.") from error
    return {name: value for name, value in answer.items() if name != "ResponseMetadata"}


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
