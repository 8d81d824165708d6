"""boto3, with the credentials, Region and endpoints that it finds in the environment, and with errors of ours."""

from __future__ import annotations

from typing import Any

from edge_agent.errors import EdgeAgentError, MissingExtraError

_REMEDY = "Check credentials, Region and rights."


def client(service: str) -> Any:
    """Of a service by boto3's name.

    Raises:
        MissingExtraError: boto3 is not installed.
        EdgeAgentError: there is no Region.
    """
    try:
        import boto3
    except ImportError as error:
        raise MissingExtraError("boto3", "aws") from error
    return call(service, boto3.client, service)


def call(subject: str, operation: Any, *arguments: Any, **members: Any) -> Any:
    """What an operation of boto3 answers.

    Raises:
        EdgeAgentError: it was refused, or never arrived; the text has boto3's reason.
    """
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return operation(*arguments, **members)
    except (Boto3Error, BotoCoreError, ClientError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise EdgeAgentError(subject, f"AWS did not take it ({reason})", _REMEDY) from error


def code_of(error: EdgeAgentError) -> str:
    """What AWS calls an error of `call`; empty where AWS did not answer."""
    response = getattr(error.__cause__, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))
