"""When reviews come into the manifests: a second after the first, in a thread of its own where that takes long."""

from __future__ import annotations

import logging
import threading
from functools import partial
from typing import Callable, Iterable, List, Optional, Tuple

from edge_agent.clock import Clock
from edge_agent.errors import RecorderError
from edge_agent.outage import Outage
from edge_agent.recorder.errands import Errands
from edge_agent.recorder.journal import Fold, ReviewJournal

_log = logging.getLogger(__name__)

_AFTER_S = 1.0

# A large manifest is written less often: for so many times as long as it took, it rests.
_REST = 20

# The recorder may be writing images meanwhile.
_FINISH_S = 60.0


class Folding:
    """Used by the recorder's thread, but for what its own thread does.

    Args:
        journals: those that are in use.
        errands: of the recorder's thread.
        clock: time.
    """

    def __init__(self, journals: Callable[[], Iterable[ReviewJournal]], errands: Errands, clock: Clock) -> None:
        self._journals = journals
        self._errands = errands
        self._clock = clock
        self._due_ns: Optional[int] = None
        self._rest_ns = 0
        self._closed = threading.Event()
        self._thread: Optional[threading.Thread] = None
        self._outage = Outage(_log, "recorder: reviews")

    def pause_s(self) -> Optional[float]:
        """How long until it is to be looked after; None: there is nothing to do."""
        if not any(journal.pending for journal in self._journals()):
            self._due_ns = None
            return None
        now_ns = self._clock.monotonic_ns()
        if self._due_ns is None:
            self._due_ns = now_ns + max(round(_AFTER_S * 1e9), self._rest_ns)
        if self._is_at_work():
            return _AFTER_S
        return max(0.0, (self._due_ns - now_ns) / 1e9)

    def look(self) -> None:
        """Begin, where it is time to."""
        if self._is_at_work() or self.pause_s() != 0:
            return
        self._due_ns = None
        folds = [(journal, journal.begin()) for journal in self._journals() if journal.pending]
        self._thread = threading.Thread(target=self._fold, args=(folds,), name="recorder-reviews", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """After the errands are refused: nothing is written any more when this returns."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()

    def _is_at_work(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _fold(self, folds: List[Tuple[ReviewJournal, Fold]]) -> None:
        began_ns = self._clock.monotonic_ns()
        try:
            for journal, fold in folds:
                if self._closed.is_set():
                    return
                self._errands.ask(partial(journal.finish, fold, journal.draft(fold)), _FINISH_S)
        except (OSError, RecorderError) as error:
            # They stay in the journal.
            if not self._closed.is_set():
                self._outage.report(error)
        else:
            self._outage.over()
        self._rest_ns = _REST * (self._clock.monotonic_ns() - began_ns)
