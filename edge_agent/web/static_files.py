"""Files of a package that are served as they are."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import Mapping

from edge_agent.web.messages import Answer

_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
}


class StaticFiles:
    """Only those that are named here can be asked for.

    Args:
        folder: where they are.
        names: by path of the request; HTML, JavaScript or CSS by their endings.
    """

    def __init__(self, folder: Path, names: Mapping[str, str]) -> None:
        self._files = {path: folder / name for path, name in names.items()}

    def __contains__(self, path: str) -> bool:
        return path in self._files

    def answer(self, path: str) -> Answer:
        file = self._files[path]
        return Answer(HTTPStatus.OK, _KINDS[file.suffix], file.read_bytes())
