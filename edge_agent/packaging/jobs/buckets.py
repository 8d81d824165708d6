"""Where a component's files go: S3, or a directory whose sub-directories stand for the buckets."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from edge_agent.errors import ConfigError, PackageError
from edge_agent.packaging.jobs import boto

S3 = "s3"
_DOTS = ("", ".", "..")


class Buckets(Protocol):
    def put(self, source: Path, bucket: str, key: str) -> str:
        """Copy a file there, whole or not at all; gives where it lies, for people.

        Raises:
            EdgeAgentError: the place does not take it.
        """

    def exists(self, bucket: str, key: str) -> bool:
        """Whether something is there. Where nobody may ask: no."""


def open_buckets(url: str) -> Buckets:
    """The buckets that `--buckets` names.

    Raises:
        ConfigError: neither `s3` nor the `file://` URL of an absolute path.
        MissingExtraError: boto3 is not installed.
    """
    if url == S3:
        return S3Buckets()
    return FileBuckets(directory_of(url))


def directory_of(url: str) -> Path:
    """The directory of a `file://` URL; raises ConfigError for any other."""
    parts = urlsplit(url)
    path = Path(unquote(parts.path))
    if parts.scheme != "file" or parts.netloc or not path.is_absolute() or parts.query or parts.fragment:
        raise ConfigError(f"buckets {url}", "is neither 's3' nor of the form file:///DIRECTORY")
    return path


class FileBuckets:
    """DIRECTORY/BUCKET/KEY.

    Args:
        directory: made where there is none.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def put(self, source: Path, bucket: str, key: str) -> str:
        target = self._place(bucket, key)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(prefix=".", dir=str(target.parent))
            try:
                with os.fdopen(descriptor, "wb") as draft, source.open("rb") as file:
                    shutil.copyfileobj(file, draft)
                    draft.flush()
                    os.fsync(draft.fileno())
                draft_path = Path(name)
                draft_path.chmod(0o644)  # nucleus lite copies files with their mode, for its component's user to read
                draft_path.replace(target)
            except BaseException:
                Path(name).unlink()
                raise
        except OSError as error:
            raise PackageError(str(target), f"cannot be written ({error.strerror})") from error
        return str(target)

    def exists(self, bucket: str, key: str) -> bool:
        return self._place(bucket, key).exists()

    def _place(self, bucket: str, key: str) -> Path:
        """Raises PackageError for names that are good in S3, but lead elsewhere in a directory."""
        parts = [bucket, *key.split("/")]
        if any(part in _DOTS for part in parts):
            raise PackageError(
                f"{bucket}/{key}", "holds an empty part, '.' or '..', which a directory takes otherwise than S3"
            )
        return self._directory.joinpath(*parts)


class S3Buckets:
    """Through boto3, with the credentials, Region and endpoint that it finds in the environment."""

    def __init__(self) -> None:
        self._client = boto.client("s3")

    def put(self, source: Path, bucket: str, key: str) -> str:
        place = f"s3://{bucket}/{key}"
        boto.call(place, self._client.upload_file, str(source), bucket, key)
        return place

    def exists(self, bucket: str, key: str) -> bool:  # noqa: ARG002 - the interface
        # The service's caller rights have s3:PutObject but no right to look; versions are kept apart by the job store.
        return False
