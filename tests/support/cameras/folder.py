from __future__ import annotations

import os
from typing import Any, Dict, List, Tuple

from PIL import Image
from support.cameras.pattern import HEIGHT, WIDTH, number_in, picture
from support.cameras.rig import Rig

from edge_agent.frame import Pixels


class FolderRig(Rig):
    """Files that are all there; the end comes after the last of them."""

    name = "folder"
    frames = 6

    def settings(self) -> Dict[str, Any]:
        return {"type": "folder", "path": str(self.directory / "images"), "watch": False}

    def start(self) -> None:
        images = self.directory / "images"
        images.mkdir()
        for number in range(6):
            path = images / f"{9 - number}.png"
            Image.fromarray(picture(number)).save(path)
            os.utime(path, (1000 + number, 1000 + number))

    def stop(self) -> None:
        for path in (self.directory / "images").glob("*"):
            path.unlink()
        if (self.directory / "images").is_dir():
            (self.directory / "images").rmdir()

    def bad_settings(self) -> List[Tuple[Dict[str, Any], str]]:
        return [({"path": ""}, "empty"), ({"poll_s": 0}, "poll_s"), ({"settle_s": -1}, "settle_s")]

    def check(self, pixels: Pixels) -> int:
        return number_in(pixels, 0)

    def shape(self) -> Tuple[int, int]:
        return HEIGHT, WIDTH


class WatchedFolderRig(FolderRig):
    """Files that are there, and then a directory in which nothing happens."""

    name = "folder, watched"
    frames = None
    can_be_silent = True

    def settings(self) -> Dict[str, Any]:
        return {"type": "folder", "path": str(self.directory / "images"), "poll_s": 0.01, "settle_s": 0}

    def silence(self) -> None:
        for path in (self.directory / "images").glob("*"):
            path.unlink()
