"""One bucket of S3 through boto3, with the credentials that boto3 finds, and with errors of ours.

On a Greengrass core device boto3 asks the token exchange service, and asks again before credentials expire.
"""

from __future__ import annotations

import logging
from typing import Any, Optional, Tuple, Type

from edge_agent import __version__
from edge_agent.errors import MissingExtraError, UploadError, UploadRefusedError
from edge_agent.recorder.upload.settings import UploadSettings

_CONNECT_S = 10.0
_MAX_REASON = 300

# Answers that pass by themselves, whatever their status; the first two with the next credentials.
_PASSING = ("ExpiredToken", "TokenRefreshRequired", "RequestTimeout", "RequestTimeTooSkewed", "SlowDown")

_RIGHTS = "Give the role s3:PutObject there: `edge-agent deploy iam --role device --upload-bucket BUCKET` prints it."
_CREDENTIALS = (
    "Have the component depend on aws.greengrass.TokenExchangeService, or give credentials as boto3 finds them."
)
_ROLE = "Check the device's role alias, and that it is online."
_REGION = "Set `recorder.upload.region` to that of the bucket."
_REMEDIES = {
    "AccessDenied": _RIGHTS,
    "AuthorizationHeaderMalformed": _REGION,
    "InvalidAccessKeyId": _CREDENTIALS,
    "InvalidToken": _CREDENTIALS,
    "NoSuchBucket": "Correct `recorder.upload.bucket`, or make the bucket.",
    "PermanentRedirect": _REGION,
    "RequestTimeTooSkewed": "Set the clock of the device.",
    "SignatureDoesNotMatch": _CREDENTIALS,
}


class Bucket:
    """Used by one thread.

    Args:
        settings: which, and how patiently.
    """

    def __init__(self, settings: UploadSettings) -> None:
        self._settings = settings
        self._client: Any = None

    def put(self, key: str, body: bytes, content_type: str) -> None:
        """Have an object there, whole or not at all; one that is there already is replaced. One attempt.

        Raises:
            UploadError: not now.
            UploadRefusedError: not before a person mends it.
            MissingExtraError: boto3 is not installed.
        """
        try:
            if self._client is None:
                self._client = _client(self._settings)
            self._client.put_object(Bucket=self._settings.bucket, Key=key, Body=body, ContentType=content_type)
        except ImportError as error:
            raise MissingExtraError("boto3", "aws") from error
        except Exception as error:
            translated = _translated(error, f"s3://{self._settings.bucket}")
            if translated is None:
                raise
            if not isinstance(error, _network_errors()):
                # Whatever it was about, a new client looks for credentials and settings anew.
                self.close()
            raise translated from error

    def close(self) -> None:
        """Any number of times; the next `put` begins anew, with the credentials that there are then."""
        client, self._client = self._client, None
        if client is not None:
            client.close()


def _translated(error: Exception, place: str) -> Optional[UploadError]:
    """What boto3 raised, as an error of ours; None for a fault of ours."""
    from botocore import exceptions as boto

    translated: Optional[UploadError] = None
    if isinstance(error, boto.ClientError):
        translated = _refusal(error, place)
    elif isinstance(error, (boto.NoCredentialsError, boto.PartialCredentialsError)):
        translated = UploadRefusedError("AWS credentials", f"there are none ({_short(error)})", _CREDENTIALS)
    elif isinstance(error, (boto.CredentialRetrievalError, boto.MetadataRetrievalError)):
        translated = UploadError("AWS credentials", f"were not given ({_short(error)})", _ROLE)
    elif isinstance(error, _network_errors()):
        # Its text names the object, and would be another for each.
        translated = UploadError(place, f"does not answer ({type(error).__name__})")
    elif isinstance(error, boto.BotoCoreError):
        translated = UploadRefusedError(place, _short(error), "Check `recorder.upload` and the AWS_ variables.")
    elif isinstance(error, (ValueError, KeyError, OSError)):
        # What boto3 lets through of a source of credentials, an address or a file of settings that it cannot use.
        reason = f"boto3 cannot be set up ({type(error).__name__}: {_short(error)})"
        translated = UploadRefusedError(place, reason, _CREDENTIALS)
    return translated


def _refusal(error: Any, place: str) -> UploadError:
    """S3 answered, and not with a success."""
    said = error.response.get("Error", {})
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    code = str(said.get("Code", "no code"))
    reason = f"{_short(said.get('Message') or 'no reason given')} [{code}]"
    if code in _PASSING or status >= 500 or status == 429:
        return UploadError(place, reason, _REMEDIES.get(code, ""))
    return UploadRefusedError(place, reason, _REMEDIES.get(code, "Check `recorder.upload`."))


def _network_errors() -> Tuple[Type[Exception], ...]:
    from botocore.exceptions import ConnectionError as NoConnection
    from botocore.exceptions import HTTPClientError, IncompleteReadError

    return (NoConnection, HTTPClientError, IncompleteReadError)


def _client(settings: UploadSettings) -> Any:
    """A new session looks for credentials anew."""
    import boto3
    from botocore.config import Config

    # What goes wrong is raised, and told once by us. At lower levels botocore tells session tokens, too.
    logging.getLogger("botocore").setLevel(logging.CRITICAL)
    config = Config(
        connect_timeout=_CONNECT_S,
        read_timeout=settings.timeout_s,
        retries={"total_max_attempts": 1, "mode": "standard"},
        max_pool_connections=1,
        user_agent_extra=f"edge-agent/{__version__}",
    )
    return boto3.session.Session().client("s3", region_name=settings.region or None, config=config)


def _short(error: object) -> str:
    return " ".join(str(error).split())[:_MAX_REASON]
