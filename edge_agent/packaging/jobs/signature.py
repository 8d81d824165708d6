"""AWS Signature Version 4 of a request, checked: the secret itself never travels.

As AWS describes it for services other than S3: the path is encoded twice, and the body's hash is part of what is signed.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import re
from typing import List, Mapping, NamedTuple, Tuple
from urllib.parse import parse_qsl, quote

from edge_agent.errors import AccessDeniedError
from edge_agent.packaging.jobs.credentials import KeyPair

#: The service whose name the signature must carry; any Region will do.
SERVICE = "lookoutvision"
#: How far a client's clock may be off, as with AWS.
MAX_SKEW_S = 900

_ALGORITHM = "AWS4-HMAC-SHA256"
_AUTHORIZATION = re.compile(
    _ALGORITHM
    + r" Credential=(?P<key>[A-Za-z0-9]{1,128})/(?P<day>[0-9]{8})/(?P<region>[a-z0-9-]{1,64})/"
    + SERVICE
    + r"/aws4_request,\s*SignedHeaders=(?P<headers>[a-z0-9;-]{1,1024}),\s*Signature=(?P<signature>[0-9a-f]{64})"
)
_REMEDY = "Sign with the key pair in the server's credentials file (AWS_SHARED_CREDENTIALS_FILE)."


class SignedRequest(NamedTuple):
    """A request as it came. `headers` has lower-case names and one value each; `path` and `query` are not decoded."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


def check_signature(request: SignedRequest, pair: KeyPair, now: dt.datetime) -> None:
    """Raise where a request is not signed as it must be.

    Args:
        request: as it came.
        pair: what it must be signed with.
        now: in UTC.

    Raises:
        AccessDeniedError: not signed, with another key, too long ago, or for something else.
    """
    match = _AUTHORIZATION.fullmatch(request.headers.get("authorization", ""))
    if match is None:
        raise _denied("is not signed for lookoutvision by AWS Signature Version 4")
    signed = match.group("headers").split(";")
    # The host keeps a request for one server from being shown to another.
    if "host" not in signed or "x-amz-date" not in signed or len(set(signed)) != len(signed):
        raise _denied("does not sign its host and date")
    stamp = request.headers.get("x-amz-date", "")
    if not stamp.startswith(match.group("day")) or not _is_recent(stamp, now):
        raise _denied(f"was signed more than {MAX_SKEW_S // 60} minutes from now; one of the clocks is wrong")
    scope = f"{match.group('day')}/{match.group('region')}/{SERVICE}/aws4_request"
    text = "\n".join((_ALGORITHM, stamp, scope, _sha256(_canonical(request, signed).encode())))
    expected = hmac.new(_signing_key(pair, match), text.encode(), hashlib.sha256).hexdigest()
    # Both are compared always, so that the time taken says nothing of either.
    same_key = hmac.compare_digest(pair.access_key_id, match.group("key"))
    if not (hmac.compare_digest(expected, match.group("signature")) and same_key):
        raise _denied("is signed with another key")


def _denied(reason: str) -> AccessDeniedError:
    return AccessDeniedError("request", reason, _REMEDY)


def _is_recent(stamp: str, now: dt.datetime) -> bool:
    try:
        signed = dt.datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.timezone.utc)
    except ValueError:
        return False
    return abs((now - signed).total_seconds()) <= MAX_SKEW_S


def _canonical(request: SignedRequest, signed: List[str]) -> str:
    headers = "".join(f"{name}:{' '.join(request.headers.get(name, '').split())}\n" for name in signed)
    return "\n".join(
        (
            request.method,
            quote(request.path, safe="/~"),  # what came is encoded once already
            _canonical_query(request.query),
            headers,
            ";".join(signed),
            _sha256(request.body),
        )
    )


def _canonical_query(query: str) -> str:
    pairs: List[Tuple[str, str]] = [
        (quote(name, safe="~"), quote(value, safe="~")) for name, value in parse_qsl(query, keep_blank_values=True)
    ]
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def _signing_key(pair: KeyPair, match: "re.Match[str]") -> bytes:
    key = f"AWS4{pair.secret_access_key}".encode()
    for part in (match.group("day"), match.group("region"), SERVICE, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
