"""A file with one JSON document a line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Literal, Optional

from edge_agent.clock import Clock
from edge_agent.config import Settings
from edge_agent.errors import OutputError
from edge_agent.outputs.base import Action, Output, OutputContext, SafeReason
from edge_agent.outputs.document import to_json

_MIN_BYTES = 65_536


class JsonlOutputSettings(Settings, frozen=True, tag_field="type", tag="jsonl"):
    """A file with one line for each part.

    Attributes:
        path: the file; full ones are `PATH.1` (the newest), `PATH.2` and so on.
        bytes: size from which the file is full, at least 65536.
        keep: full files that are kept, 1 to 1000; the oldest goes.
        sync: when the disk is told to have it for good: `always` (after each line), `interval` (at least every
            `interval_s`; a power cut may cost what came since) or `never` (when the system sees fit).
        interval_s: seconds, above 0, at most 3600.
    """

    path: str
    bytes: int = 100_000_000
    keep: int = 5
    sync: Literal["always", "interval", "never"] = "interval"
    interval_s: float = 1.0

    def __post_init__(self) -> None:
        if not Path(self.path).is_absolute():
            raise ValueError("`path` must be absolute, such as /var/lib/edge-agent/verdicts.jsonl")
        if self.bytes < _MIN_BYTES:
            raise ValueError(f"`bytes` must be at least {_MIN_BYTES}")
        if not 1 <= self.keep <= 1000:
            raise ValueError("`keep` must be 1 to 1000")
        if not 0 < self.interval_s <= 3600:
            raise ValueError("`interval_s` must be above 0 and at most 3600")


class JsonlOutput(Output):
    """Each line is whole: what a full disk or a kill left of one is cut off before the next is written."""

    def __init__(self, settings: JsonlOutputSettings, context: OutputContext) -> None:
        self._settings = settings
        self._path = Path(settings.path)
        self._thing = context.thing
        self._clock: Clock = context.clock
        self._file: Optional[IO[bytes]] = None
        self._size = 0
        self._sync_ns: Optional[int] = None

    def open(self) -> None:
        self.close()
        try:
            # For reading, too: the end of what an earlier run left is looked at.
            self._file = os.fdopen(
                os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640), "r+b", buffering=0
            )
            self._size = _whole_lines(self._file)
            self._file.truncate(self._size)
            self._file.seek(self._size)
        except OSError as error:
            raise self._error("cannot be opened", error) from error

    def apply(self, action: Action) -> None:
        line = to_json(action, self._thing) + b"\n"
        file = self._opened()
        try:
            if self._size and self._size + len(line) > self._settings.bytes:
                file = self._rotate()
            # The file may have been moved or removed under us: what goes on in it is not found by anybody.
            if os.fstat(file.fileno()).st_nlink == 0:
                raise OutputError(str(self._path), "was removed")
            self._write(file, line)
            if self._settings.sync == "always":
                os.fsync(file.fileno())
            elif self._settings.sync == "interval" and self._sync_ns is None:
                self._sync_ns = self._clock.monotonic_ns() + round(self._settings.interval_s * 1e9)
        except OSError as error:
            raise self._error("cannot be written", error) from error

    def safe(self, reason: SafeReason) -> None:
        """A file has no state to be in."""

    def due_ns(self) -> Optional[int]:
        return self._sync_ns

    def tick(self) -> None:
        self._sync_ns = None
        try:
            os.fsync(self._opened().fileno())
        except OSError as error:
            raise self._error("cannot be synced", error) from error

    def close(self) -> None:
        file, self._file, self._sync_ns = self._file, None, None
        if file is None:
            return
        try:
            if self._settings.sync != "never":
                os.fsync(file.fileno())
        except OSError:
            pass  # told by the write that it failed for, or the next one
        finally:
            file.close()

    def _opened(self) -> IO[bytes]:
        if self._file is None:
            raise OutputError(str(self._path), "is not open")
        return self._file

    def _write(self, file: IO[bytes], line: bytes) -> None:
        try:
            written = 0
            while written < len(line):
                written += file.write(line[written:])
        except OSError:
            file.truncate(self._size)
            file.seek(self._size)
            raise
        self._size += len(line)

    def _rotate(self) -> IO[bytes]:
        self.close()
        for number in range(self._settings.keep - 1, 0, -1):
            older = Path(f"{self._path}.{number}")
            if older.exists():
                older.replace(f"{self._path}.{number + 1}")
        self._path.replace(f"{self._path}.1")
        self.open()
        return self._opened()

    def _error(self, reason: str, error: OSError) -> OutputError:
        return OutputError(
            str(self._path), f"{reason} ({error.strerror})", "Look at the path, its rights and the disk."
        )


def _whole_lines(file: IO[bytes]) -> int:
    """Bytes up to the end of the last whole line."""
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - 65_536)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0
