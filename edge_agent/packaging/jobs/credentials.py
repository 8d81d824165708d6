"""The key pair that clients of `packaging serve` sign with, in the form of an AWS credentials file."""

from __future__ import annotations

import configparser
import contextlib
import os
import secrets
import string
from pathlib import Path
from typing import NamedTuple

from edge_agent.errors import PackagingError

_FILE = "credentials"
_PROFILE = "default"
_ID_CHARACTERS = string.ascii_uppercase + string.digits


class KeyPair(NamedTuple):
    access_key_id: str
    secret_access_key: str

    def __repr__(self) -> str:  # it may come into a log with what holds it
        return f"KeyPair({self.access_key_id!r})"


def credentials_file(directory: Path) -> Path:
    """Of a state directory: for AWS_SHARED_CREDENTIALS_FILE."""
    return directory / _FILE


def load_key_pair(directory: Path) -> KeyPair:
    """The pair of a state directory; made, for this user's eyes alone, where there is none.

    Raises:
        PackagingError: the file cannot be read or written, others may read it, or it is none of the form.
    """
    file = credentials_file(directory)
    try:
        with contextlib.suppress(FileExistsError):
            _create(file)
        if file.stat().st_mode & 0o077:
            raise PackagingError(str(file), "may be read by others", f"chmod 600 {file}")
        parser = configparser.ConfigParser(interpolation=None)
        parser.read_string(file.read_text(encoding="ascii"))
        profile = parser[_PROFILE]
        return KeyPair(profile["aws_access_key_id"], profile["aws_secret_access_key"])
    except OSError as error:
        raise PackagingError(str(file), f"cannot be used ({error.strerror})") from error
    except (configparser.Error, KeyError, ValueError) as error:
        raise PackagingError(str(file), "is no AWS credentials file", "Remove it; a new one is made.") from error


def _create(file: Path) -> None:
    """Whole or not at all, and never over another process's."""
    key_id = "AKID" + "".join(secrets.choice(_ID_CHARACTERS) for _ in range(16))
    draft = file.with_name(f".{_FILE}-{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            secret = secrets.token_urlsafe(30)
            stream.write(f"[{_PROFILE}]\naws_access_key_id = {key_id}\naws_secret_access_key = {secret}\n")
        os.link(draft, file)
    finally:
        draft.unlink()
