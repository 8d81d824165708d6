"""Runs the commands of a page of the documentation in their order."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Dict, List, Mapping, Optional

from support.shell import CHECKOUT, Shell


class Walk:
    """A page, in a directory of its own; a context manager, since servers go on in the background.

    Args:
        page: name of the file in docs/.
        folder: the working directory; it stands for /tmp in the page, too.
        more: options for commands that would take minutes, by how these begin.
    """

    def __init__(self, page: str, folder: Path, more: Optional[Mapping[str, str]] = None) -> None:
        self.text = (CHECKOUT / "docs" / page).read_text()
        self.folder = folder
        self._more = more or {}
        self._shell = Shell(folder)

    @property
    def steps(self) -> List[str]:
        """Their numbers as the page has them."""
        return re.findall(r"^(\d+)\. ", self.text, re.MULTILINE)

    @property
    def commands(self) -> List[str]:
        """The indented lines, eight blanks deep or more, that no fence holds."""
        text = re.sub(r"```.*?```", "", self.text, flags=re.DOTALL)
        lines = [line.strip() for line in text.splitlines() if line.startswith(" " * 8)]
        return [line.replace("/tmp/", f"{self.folder}/").replace("python3", sys.executable) for line in lines]

    def blocks(self, kind: str) -> List[str]:
        found = re.findall(rf"```{kind}\n(.*?)```", self.text, re.DOTALL)
        return [block.replace("/tmp/", f"{self.folder}/") for block in found]

    def run(self) -> Dict[str, str]:
        """What the commands printed, by their first two words. Servers go on until the walk ends."""
        printed: Dict[str, str] = {}
        for command in self.commands:
            more = "".join(options for start, options in self._more.items() if command.startswith(start))
            printed[" ".join(command.split()[:2])] = self._shell.do(command + more)
        return printed

    def __enter__(self) -> Walk:  # noqa: PYI034 - typing.Self is newer than Python 3.8
        return self

    def __exit__(self, *error: object) -> None:
        self._shell.__exit__(*error)
