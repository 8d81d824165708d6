"""New files that are not taken yet: a writer may still be at them."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional

from edge_agent.cameras.folder.listing import State

# Files that are looked at in one go: on a slow mount each takes a millisecond.
_PIECE = 100


class Candidate(NamedTuple):
    """A file, and the monotonic time in nanoseconds since when it has been in this state. They sort oldest first."""

    modified_ns: int
    name: str
    state: State
    since_ns: int


def state_of(path: Path) -> Optional[State]:
    """The state of a file; None when it is gone."""
    try:
        status = path.stat()
    except OSError:
        return None
    return State(status.st_mtime_ns, status.st_size)


class Settling:
    """Each file is looked at when its time has come; one that has changed until then waits as long again."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files: Dict[str, Candidate] = {}
        self._due_ns: Dict[str, int] = {}
        self._next_ns: Optional[int] = None

    def __len__(self) -> int:
        return len(self._files)

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def add(self, candidate: Candidate, due_ns: int) -> None:
        self._files[candidate.name] = candidate
        self._due_ns[candidate.name] = due_ns
        self._next_ns = due_ns if self._next_ns is None else min(due_ns, self._next_ns)

    def take_settled(self, now_ns: int) -> List[Candidate]:
        """Some of those that are due and unchanged, oldest first; they wait no longer."""
        if self._next_ns is None or now_ns < self._next_ns:
            return []
        settled: List[Candidate] = []
        due = (name for name, due_ns in self._due_ns.items() if due_ns <= now_ns)
        for name in list(itertools.islice(due, _PIECE)):
            candidate, due_ns = self._files.pop(name), self._due_ns.pop(name)
            state = state_of(self._directory / name)
            if state == candidate.state:
                settled.append(candidate)
            elif state is not None:
                again = Candidate(state.modified_ns, name, state, now_ns)
                self.add(again, now_ns + due_ns - candidate.since_ns)
        self._next_ns = min(self._due_ns.values(), default=None)
        return sorted(settled)
