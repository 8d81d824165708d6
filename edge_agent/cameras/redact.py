"""Addresses and foreign messages without the secrets in them, for errors, logs and inspections."""

from __future__ import annotations

import re

# Everything up to the last @: a password may hold what it should not, and a little too much hidden does no harm.
_USER = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)[^\s'\"]*@")
_QUERY = re.compile(r"(?P<before>[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"?#]*)[?#][^\s'\"]*")


def redacted(text: str) -> str:
    """The text with every address in it shortened to scheme, host, port and path.

    Users and passwords go, and so do queries: cameras take passwords and tokens there under many names.
    """
    return _QUERY.sub(r"\g<before>?...", _USER.sub(r"\g<scheme>", text))
