"""Where the files of a manifest lie: beside it, in a directory that stands for a place in S3, or in S3 itself."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any, Optional, Sequence, Tuple

from edge_agent.errors import MissingExtraError, TrainingError

#: A prefix of references, and the directory that has what is below it.
Mapping = Tuple[str, Path]

_S3 = "s3://"
_DOTS = ("", ".", "..")

# No picture that an Edge Agent takes (4096 by 4096 pixels) has more bytes than this, whatever its format.
_MAX_BYTES = 256 * 1024 * 1024
_CHUNK = 1024 * 1024


class Locations:
    """Finds the files that a manifest refers to.

    Args:
        folder: of the manifest; relative references begin there.
        mapped: prefixes that stand for directories; of several that fit, the longest counts.
        cache: where objects of S3 are kept; None: they are not fetched.
    """

    def __init__(self, folder: Path, mapped: Sequence[Mapping] = (), cache: Optional[Path] = None) -> None:
        self.folder = folder
        self._mapped = sorted(
            ((prefix.rstrip("/") + "/", directory) for prefix, directory in mapped),
            key=lambda entry: len(entry[0]),
            reverse=True,
        )
        self._bucket = None if cache is None else _S3Cache(cache)

    def file(self, reference: str) -> Path:
        """The file that a reference means; it is there.

        Raises:
            TrainingError: there is none, or it cannot be fetched; the subject is the reference.
            MissingExtraError: it lies in S3 and boto3 is not installed.
        """
        for prefix, directory in self._mapped:
            if reference.startswith(prefix):
                return _existing(_below(directory, reference[len(prefix) :], reference), reference)
        if reference.lower().startswith(_S3):
            if self._bucket is None:
                raise TrainingError(reference, "lies in S3", "Name a directory that has it: --source-ref-prefix.")
            return self._bucket.fetch(reference)
        if "://" in reference:
            raise TrainingError(
                reference,
                "is neither a path nor a place in S3",
                "Name a directory that has what is below it: --source-ref-prefix.",
            )
        return _existing(self.folder / reference, reference)


class _S3Cache:
    """Objects of S3 by boto3, kept in DIRECTORY/BUCKET/KEY; one that has not changed is not fetched again."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._client: Any = None

    def fetch(self, reference: str) -> Path:
        bucket, _, key = reference[len(_S3) :].partition("/")
        target = _below(self._directory, f"{bucket}/{key}", reference)
        tag_file = target.with_name(f".{target.name}.etag")
        try:
            known = tag_file.read_text(encoding="ascii") if target.is_file() and tag_file.is_file() else None
            reply = self._get(reference, bucket, key, known)
            if reply is None:
                return target
            target.parent.mkdir(parents=True, exist_ok=True)
            # Without its tag, what is there counts as nothing until the new one is whole.
            if tag_file.exists():
                tag_file.unlink()
            _write(target, reference, reply["Body"])
            tag_file.write_text(reply["ETag"], encoding="ascii")
        except OSError as error:
            raise TrainingError(reference, f"cannot be kept as {target} ({error.strerror})") from error
        return target

    def _get(self, reference: str, bucket: str, key: str, known: Optional[str]) -> Any:
        """GetObject's answer; None for an object that is as it was."""
        try:
            import boto3
            from boto3.exceptions import Boto3Error
            from botocore.exceptions import BotoCoreError, ClientError
        except ImportError as error:
            raise MissingExtraError("boto3", "aws") from error
        try:
            self._client = self._client or boto3.client("s3")
            condition = {"IfNoneMatch": known} if known else {}
            return self._client.get_object(Bucket=bucket, Key=key, **condition)
        except (Boto3Error, BotoCoreError, ClientError, ValueError) as error:
            if isinstance(error, ClientError) and error.response["ResponseMetadata"].get("HTTPStatusCode") == 304:
                return None
            raise TrainingError(
                reference,
                f"was not given by S3 ({' '.join(str(error).split())})",
                "Check credentials, Region and rights, or name a directory that has it: --source-ref-prefix.",
            ) from error


def _write(target: Path, reference: str, body: Any) -> None:
    """The whole object, or nothing."""
    from botocore.exceptions import BotoCoreError

    descriptor, name = tempfile.mkstemp(prefix=".", dir=str(target.parent))
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            size = 0
            for chunk in body.iter_chunks(_CHUNK):
                size += len(chunk)
                if size > _MAX_BYTES:
                    raise TrainingError(reference, f"has more than {_MAX_BYTES} bytes")
                file.write(chunk)
        draft.replace(target)
    except BotoCoreError as error:
        raise TrainingError(reference, f"was not given whole by S3 ({error})", "Try again.") from error
    finally:
        if draft.exists():
            draft.unlink()


def _below(directory: Path, rest: str, reference: str) -> Path:
    parts = rest.split("/")
    if any(part in _DOTS or "\0" in part for part in parts):
        raise TrainingError(reference, "holds an empty part, '.' or '..', which leads elsewhere in a directory")
    return directory.joinpath(*parts)


def _existing(path: Path, reference: str) -> Path:
    try:
        found = path.is_file()
    except OSError as error:
        raise TrainingError(reference, f"cannot be looked for: {path} ({error.strerror})") from error
    if not found:
        raise TrainingError(reference, f"is not a file: {path}")
    return path
