"""The search for new files: which one is next, at a bounded cost however many there are."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path
from typing import Deque, Dict, Optional, Tuple

from edge_agent.cameras.folder.listing import Listing
from edge_agent.cameras.folder.settings import FolderSettings
from edge_agent.cameras.folder.settling import Candidate, Settling, state_of
from edge_agent.clock import Clock
from edge_agent.errors import CameraNotConnectedError, EndOfInputError

# New files that are known at once. Where there are more, the oldest come first and the others are found later.
_LIMIT = 10_000

# After a look that took its time, it pauses for so many times as long: looking takes at most 1/5 of the time while the
# directory changes, and 1/50 when it does not say so (files written anew in place, file systems that never say it).
_PAUSE_IF_CHANGED = 4
_PAUSE = 50
_POLLS = 5


class Search:
    """Used by one thread.

    Attributes:
        seen: by name, the key of the state in which a file was taken last.
    """

    def __init__(self, settings: FolderSettings, clock: Clock) -> None:
        self.seen: Dict[str, int] = {}
        self._settings = settings
        self._clock = clock
        self._directory = Path(settings.path)
        self._poll_ns = int(settings.poll_s * 1e9)
        self._settle_ns = int(settings.settle_s * 1e9) if settings.watch else 0
        self._settling = Settling(self._directory)
        self._ready: Deque[Candidate] = deque()
        self._listing: Optional[Listing] = None
        # Of the last look: when it ended, how long it took, whether there is more than it kept, the directory's time.
        self._looked_ns: Optional[int] = None
        self._cost_ns = 0
        self._more = False
        self._changed_ns = 0
        # Which directory it is: another one in its place is a mount that came or went.
        self._identity: Optional[Tuple[int, int]] = None

    @property
    def has_looked(self) -> bool:
        """Whether a whole look was had since it was opened."""
        return self._looked_ns is not None

    def open(self) -> None:
        """Begin anew; files that were taken stay taken.

        Raises:
            CameraNotConnectedError: there is no such directory.
        """
        self._ready.clear()
        self._settling = Settling(self._directory)
        self._listing = self._looked_ns = None
        self._identity = None
        status = self._status()
        self._identity = (status.st_dev, status.st_ino)

    def next(self, deadline_ns: int) -> Optional[Candidate]:
        """The next file, taken now; None when there is none until then.

        Raises:
            CameraNotConnectedError: the directory is gone, or another one.
            EndOfInputError: there are no more, and new ones are not waited for.
        """
        while True:
            candidate = self._take()
            if candidate is not None:
                return candidate
            now_ns = self._clock.monotonic_ns()
            self._ready.extend(self._settling.take_settled(now_ns))
            if self._ready:
                continue
            if self._listing is not None or self._look_is_due(now_ns):
                if self._look(deadline_ns):
                    continue
            elif not self._settings.watch:
                raise EndOfInputError(str(self._directory), "has no more images")
            left_ns = deadline_ns - self._clock.monotonic_ns()
            if left_ns <= 0:
                return None
            self._clock.sleep(min(left_ns, self._poll_ns) / 1e9)

    def try_again(self, candidate: Candidate, due_ns: int) -> bool:
        """Have a file that was taken wait until then; false where too many wait already."""
        if len(self._settling) >= _LIMIT:
            return False
        self.forget(candidate.name)
        self._settling.add(candidate, due_ns)
        return True

    def forget(self, name: str) -> None:
        """The file was not taken."""
        self.seen.pop(name, None)

    def _take(self) -> Optional[Candidate]:
        """The first ready file that is still there as it was."""
        while self._ready:
            candidate = self._ready.popleft()
            state = state_of(self._directory / candidate.name)
            if state == candidate.state:
                self.seen[candidate.name] = state.key
                return candidate
            if state is None:
                self._status()  # Gone with its directory?
            else:
                now_ns = self._clock.monotonic_ns()
                self._settling.add(
                    Candidate(state.modified_ns, candidate.name, state, now_ns), now_ns + self._settle_ns
                )
        return None

    def _look_is_due(self, now_ns: int) -> bool:
        if self._looked_ns is None or (self._more and not self._settling):
            return True
        waited_ns = now_ns - self._looked_ns
        if not self._settings.watch or waited_ns < max(self._poll_ns, _PAUSE_IF_CHANGED * self._cost_ns):
            return False
        changed = self._status().st_mtime_ns != self._changed_ns
        return changed or waited_ns >= max(_POLLS * self._poll_ns, _PAUSE * self._cost_ns)

    def _look(self, deadline_ns: int) -> bool:
        """Go on with a look, or begin one; true when it is done."""
        if self._listing is None:
            self._changed_ns = self._status().st_mtime_ns
            self._listing = Listing(self._directory, self.seen, _LIMIT, self._clock)
        if not self._listing.advance(deadline_ns):
            return False
        listing, self._listing = self._listing, None
        now_ns = self._clock.monotonic_ns()
        self._looked_ns, self._cost_ns, self._more = now_ns, listing.cost_ns, listing.more
        if listing.still or listing.new:
            # A directory without any image may be the place of a mount that has gone: what is known stays known.
            self.seen = listing.still
        for found in listing.new:
            candidate = Candidate(found.modified_ns, found.name, found.state, now_ns)
            if found.name in self._settling:
                continue
            if self._settle_ns == 0:
                self._ready.append(candidate)
            else:
                self._settling.add(candidate, now_ns + self._settle_ns)
        return True

    def _status(self) -> os.stat_result:
        """Of the directory."""
        try:
            status = self._directory.stat()
        except OSError as error:
            raise self._gone(f"is not there ({error.strerror})") from error
        if self._identity not in (None, (status.st_dev, status.st_ino)):
            raise self._gone("is another directory than before: a mount came or went")
        return status

    def _gone(self, reason: str) -> CameraNotConnectedError:
        return CameraNotConnectedError(str(self._directory), reason, "Create or mount it, or correct `path`.")
