"""The uploader: what waits in its queue goes to S3, on a thread of its own, the oldest first, tried for ever."""

from __future__ import annotations

import errno
import logging
import threading
from pathlib import Path
from typing import Any, Dict, Literal

from edge_agent.backoff import Backoff
from edge_agent.clock import Clock
from edge_agent.errors import EdgeAgentError, MissingExtraError, UploadError, UploadRefusedError
from edge_agent.greengrass.pace import Pace
from edge_agent.outage import Outage
from edge_agent.recorder.upload.books import UploadBooks
from edge_agent.recorder.upload.bucket import Bucket
from edge_agent.recorder.upload.objects import Object, line_in, objects_of
from edge_agent.recorder.upload.queue import UploadQueue, Waiting
from edge_agent.recorder.upload.settings import UploadSettings

_log = logging.getLogger(__name__)

#: working   what waits goes to S3; or nothing waits
#: waiting   S3 does not answer, or not now; it is tried again
#: trouble   S3 refuses, or there are no credentials: a person has to mend it; it is tried again, seldom
#: stopped   closed
#: faulty    stopped by a fault of ours
State = Literal["working", "waiting", "trouble", "stopped", "faulty"]

_AT_ONCE = 500
# News wake it; this is for a system that lost one, such as a directory that a person put back.
_LOOK_S = 60.0
_FIRST_S, _CAP_S = 1.0, 300.0
_REFUSED_FIRST_S, _REFUSED_CAP_S = 30.0, 900.0
_OBJECTS_PER_S = 1000.0


class Uploader:
    """One attempt at a time, one image after the other.

    Args:
        root: the recorder's directory.
        settings: of the upload.
        queue: where images wait.
        books: for what is sent, and what failed.
        clock: time.
    """

    def __init__(
        self, root: Path, settings: UploadSettings, queue: UploadQueue, books: UploadBooks, clock: Clock
    ) -> None:
        self._root = root
        self._settings = settings
        self._queue = queue
        self._books = books
        self._clock = clock
        self._bucket = Bucket(settings)
        rate = settings.bytes_per_s
        self._pace = Pace(_OBJECTS_PER_S, rate, clock) if rate else None
        self._stop = threading.Event()
        self._state: State = "working"
        self._outage = Outage(_log, "recorder: upload")
        self._backoff = Backoff(_FIRST_S, _CAP_S)
        self._refused_backoff = Backoff(_REFUSED_FIRST_S, _REFUSED_CAP_S)
        self._thread = threading.Thread(target=self._run, name="recorder-upload", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, timeout: float) -> None:
        """End within so many seconds; what waits, waits on disk. An object under way is sent again by the next run."""
        self._stop.set()
        self._queue.news.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def faulty(self) -> bool:
        """Whether a fault of ours stopped it; the log has the traceback."""
        return self._state == "faulty"

    def status(self) -> Dict[str, Any]:
        # The reason is there before the state, and stays a little longer.
        state = self._state
        return {"state": state, "trouble": self._outage.reason if state in ("waiting", "trouble") else None}

    # The thread.

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._queue.news.clear()
                if not self._round():
                    self._queue.news.wait(_LOOK_S)
            self._state = "stopped"
        except Exception:  # noqa: BLE001 - whatever it is, the lanes and the recorder go on
            _log.exception("recorder: upload stopped by an internal error")
            self._state = "faulty"
        finally:
            self._bucket.close()

    def _round(self) -> bool:
        """Bring up the oldest that wait; whether there were any, or might be."""
        try:
            batch = self._queue.first(_AT_ONCE)
        except OSError as error:
            self._failed(_disk_error(self._root, error))
            return True
        for waiting in batch:
            while not self._stop.is_set() and not self._try_to_upload(waiting):
                pass
        return bool(batch)

    def _try_to_upload(self, waiting: Waiting) -> bool:
        """Whether there is nothing more to do for it now: it is settled, or the uploader is told to stop."""
        try:
            is_in_s3 = self._upload(waiting)
        except (UploadError, MissingExtraError) as error:
            self._failed(error)
            return False
        except OSError as error:
            self._failed(_disk_error(self._root, error))
            return False
        if is_in_s3:
            self._state = "working"
            self._outage.over()
            self._backoff.reset()
            self._refused_backoff.reset()
        return True

    def _upload(self, waiting: Waiting) -> bool:
        """Send the objects of one image, or count why that cannot be; whether S3 has them all."""
        try:
            text = waiting.file.read_bytes()
            line = line_in(text, self._root, waiting)
            if line is not None:
                settings = self._settings
                for one in objects_of(self._root, waiting.reference, line, settings.bucket, settings.prefix):
                    if not self._send(one):
                        return False
                self._queue.uploaded(waiting, text)
                return True
            cause = "damaged"
        except FileNotFoundError:
            cause = "removed"
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            cause = "damaged"
        if cause == "damaged":
            _log.warning("recorder: upload: %s cannot be read and is left out", waiting.reference)
        self._queue.lost(waiting, cause)
        return False

    def _send(self, one: Object) -> bool:
        """Whether it was sent; not when the uploader is told to stop."""
        if self._clock.wait(self._stop, self._pace.seconds_left() if self._pace else 0.0):
            return False
        content = one.content if isinstance(one.content, bytes) else one.content.read_bytes()
        started_ns = self._clock.monotonic_ns()
        self._bucket.put(one.key, content, one.type)
        self._books.sent(len(content))
        if self._pace:
            self._pace.sent(len(content), started_ns)
        return True

    def _failed(self, error: EdgeAgentError) -> None:
        """Tell it, and wait as long as is right for it."""
        self._books.failed()
        self._outage.report(error)
        refused = isinstance(error, (UploadRefusedError, MissingExtraError))
        self._state = "trouble" if refused else "waiting"
        self._clock.wait(self._stop, (self._refused_backoff if refused else self._backoff).next())


def _disk_error(root: Path, error: OSError) -> UploadError:
    return UploadError(str(root), f"cannot be used ({error.strerror or error})")
