"""Reviews of a lane that are on disk and not in its manifest yet: one small append each, however large the manifest is.

    <lane>.reviews      lines as they shall stand in <lane>.manifest; of several of one image the last counts

They are folded into the manifest a moment later, many at once; a kill before that leaves them to the next opening.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Collection, Dict, NamedTuple, Optional

from edge_agent.recorder.manifest import Manifest, RewriteDraft, manifest_of, reference_in, sync_directory


def journal_of(root: Path, lane: str) -> Manifest:
    """The file, which has a manifest's lines."""
    return Manifest(root / f"{lane}.reviews")


def pending_in(root: Path, lane: str) -> Dict[str, bytes]:
    """Lines that the journal on disk has, by their images; OSError where it cannot be read."""
    lines = ((reference_in(line), line) for line in journal_of(root, lane).lines())
    return {reference: line for reference, line in lines if reference is not None}


class Fold(NamedTuple):
    """Reviews that are to come into a manifest: lines by their images, and how often it had been written anew then."""

    edits: Dict[str, bytes]
    generation: int


class ReviewJournal:
    """Of one lane. Used by one thread at a time, but for `draft`. All methods raise OSError.

    Args:
        root: the recorder's directory.
        lane: by its name.
    """

    def __init__(self, root: Path, lane: str) -> None:
        self._file = journal_of(root, lane)
        self._manifest = manifest_of(root, lane)
        self._generation = 0
        self._file.mend()
        #: Lines that are not in the manifest yet, by their images.
        self.pending: Dict[str, bytes] = pending_in(root, lane)

    def line(self, reference: str, place: int) -> Optional[bytes]:
        """Of an image, with its last review; None where it is not listed. `place`: see Manifest."""
        line = self.pending.get(reference)
        return self._manifest.line(reference, place) if line is None else line

    def write(self, reference: str, line: bytes) -> None:
        """The image's line is another one from now on, also after a power cut."""
        is_new = not self._file.path.exists()
        self._file.append(line, durably=True)
        if is_new:
            sync_directory(self._file.path.parent)
        self.pending[reference] = line

    def drop(self, references: Collection[str]) -> None:
        """These images go; the reviews of others come into the manifest on the same way."""
        self._generation += 1
        edits: Dict[str, Optional[bytes]] = {**self.pending, **dict.fromkeys(references)}
        self._manifest.rewrite(edits)
        self._clear()

    def fold(self) -> None:
        """Bring everything into the manifest now."""
        if self.pending:
            self.drop(())

    def begin(self) -> Fold:
        """What is pending now. One fold at a time."""
        return Fold(dict(self.pending), self._generation)

    def draft(self, fold: Fold) -> Optional[RewriteDraft]:
        """The long part of a fold, on any thread."""
        return self._manifest.draft(fold.edits, "folded")

    def finish(self, fold: Fold, draft: Optional[RewriteDraft]) -> None:
        """The short part: what was appended and reviewed meanwhile stays."""
        if fold.generation != self._generation:
            return  # the manifest was written anew meanwhile, with all that was pending
        if draft is not None and not draft.finish():
            return  # a person has put another one there: the next fold takes that
        # Where a person took the manifest away, the reviews have nowhere to go.
        self.pending = {
            reference: line for reference, line in self.pending.items() if fold.edits.get(reference) is not line
        }
        if not self.pending:
            self._clear()

    def _clear(self) -> None:
        self.pending = {}
        with contextlib.suppress(FileNotFoundError):
            self._file.path.unlink()
