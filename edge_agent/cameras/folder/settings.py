"""What can be set of a folder. docs/cameras.md explains it."""

from __future__ import annotations

import os
from typing import Literal

from edge_agent.config import Settings


class FolderSettings(Settings, frozen=True, tag_field="type", tag="folder"):
    """A directory of images.

    Attributes:
        path: the directory.
        watch: go on and take new files as they come; false: end after the files that are there.
        poll_s: seconds between two looks at the directory; a large one is looked at less often.
        settle_s: a new file is taken when its size and time have not changed for so long; 0 where files are moved in
            whole.
        torn_s: a file that cannot be read to its end is tried again when it has not changed for so long, and counts as
            failed only then.
        done: what becomes of a file when its frame has a verdict or was given up: `keep`, `move` or `delete`.
        move_to: where `done: move` puts them; a directory on the same file system is quicker and safer.
        remember: a file in which kept files are noted, so that a restart does not inspect them again; empty: it does.
    """

    path: str
    watch: bool = True
    poll_s: float = 0.2
    settle_s: float = 0.5
    torn_s: float = 5.0
    done: Literal["keep", "move", "delete"] = "keep"
    move_to: str = ""
    remember: str = ""

    def __post_init__(self) -> None:
        if not self.path:
            raise ValueError("`path` is empty")
        if self.poll_s <= 0 or self.settle_s < 0 or self.torn_s < 0:
            raise ValueError("`poll_s` must be above 0, `settle_s` and `torn_s` not below it")
        if (self.done == "move") != bool(self.move_to):
            raise ValueError("`move_to` is needed for `done: move`, and has no place without it")
        if self.move_to and os.path.realpath(self.move_to) == os.path.realpath(self.path):
            raise ValueError("`move_to` must be another directory than `path`")
