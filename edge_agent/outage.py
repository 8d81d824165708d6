"""One log line when something goes and one when it is back, however often it is tried in between."""

from __future__ import annotations

import logging
from typing import Optional


class Outage:
    """Of one thing.

    Args:
        log: where the lines go.
        subject: what they begin with.
        changes: level of the line when it goes on failing for another reason than before.
        fields: of these lines, for collectors of structured logs.
    """

    def __init__(self, log: logging.Logger, subject: str, *, changes: int = logging.WARNING, **fields: str) -> None:
        self._log = log
        self._subject = subject
        self._changes = changes
        self._fields = fields
        self._reason: Optional[str] = None

    @property
    def reason(self) -> Optional[str]:
        """Why it does not work now; None while it does, or nobody has tried."""
        return self._reason

    def report(self, error: Exception) -> None:
        """It failed; logged when it failed for another reason, or not at all, before."""
        reason = str(error)
        if reason != self._reason:
            level = logging.WARNING if self._reason is None else self._changes
            self._reason = reason
            self._log.log(level, "%s: waiting: %s", self._subject, reason, extra=self._fields)

    def over(self) -> None:
        """It works; logged when it did not before."""
        if self._reason is not None:
            self._reason = None
            self._log.warning("%s: works again", self._subject, extra=self._fields)
