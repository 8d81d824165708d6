from __future__ import annotations

import os
from pathlib import Path
from typing import List

import numpy as np
import pytest
from PIL import Image

from edge_agent.cameras import FolderCamera, FolderSettings
from edge_agent.clock import SystemClock
from edge_agent.errors import CameraNotConnectedError, EndOfInputError, ImageError
from edge_agent.frame import Pixels


def _write(path: Path, grey: int, modified: float) -> None:
    Image.new("RGB", (64, 64), (grey, grey, grey)).save(path)
    os.utime(path, (modified, modified))


def _reserve(height: int, width: int) -> Pixels:
    return np.zeros((height, width, 3), np.uint8)


def _camera(directory: Path, **settings: object) -> FolderCamera:
    camera = FolderCamera(FolderSettings(path=str(directory), **settings), SystemClock())  # type: ignore[arg-type]
    camera.open()
    return camera


def _sources(camera: FolderCamera, count: int) -> List[str]:
    found = []
    for _ in range(count):
        captured = camera.capture(_reserve, timeout=5)
        assert captured is not None
        found.append(captured.source)
    return found


def test_files_come_oldest_first_and_then_the_end(tmp_path: Path) -> None:
    for name, modified in (("c.png", 10), ("a.png", 30), ("b.JPG", 20), ("b2.png", 20)):
        _write(tmp_path / name, 1, modified)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / ".hidden.png").write_text("half written")
    camera = _camera(tmp_path, watch=False)
    assert _sources(camera, 4) == ["c.png", "b.JPG", "b2.png", "a.png"]
    with pytest.raises(EndOfInputError):
        camera.capture(_reserve, timeout=1)
    camera.close()
    camera.close()


def test_pixels_and_clocks_are_the_files(tmp_path: Path) -> None:
    _write(tmp_path / "a.png", 77, 10)
    captured = _camera(tmp_path, watch=False).capture(_reserve, timeout=1)
    assert captured is not None
    assert (captured.pixels == 77).all()
    clock = SystemClock()
    assert 0 <= clock.wall_ns() - captured.captured_at_ns < 60e9
    assert 0 <= clock.monotonic_ns() - captured.captured_ns < 60e9


def test_a_bad_file_costs_one_error_and_the_next_one_comes(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"torn")
    os.utime(tmp_path / "a.png", (1, 1))
    _write(tmp_path / "b.png", 1, 2)
    camera = _camera(tmp_path, watch=False)
    with pytest.raises(ImageError, match=r"a\.png"):
        camera.capture(_reserve, timeout=1)
    assert _sources(camera, 1) == ["b.png"]


def test_watching_takes_new_files_once_and_again_when_written_anew(tmp_path: Path) -> None:
    camera = _camera(tmp_path, poll_s=0.01, settle_s=0.0)
    assert camera.capture(_reserve, timeout=0.03) is None
    _write(tmp_path / "a.png", 1, 100)
    assert _sources(camera, 1) == ["a.png"]
    assert camera.capture(_reserve, timeout=0.03) is None
    _write(tmp_path / "a.png", 2, 200)
    assert _sources(camera, 1) == ["a.png"]


def test_a_file_that_still_grows_waits(tmp_path: Path) -> None:
    _write(tmp_path / "whole.png", 1, 100)
    content = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "whole.png").unlink()
    camera = _camera(tmp_path, poll_s=0.01, settle_s=0.3)
    growing = tmp_path / "growing.png"
    for end in range(10, len(content) + 40, 40):
        growing.write_bytes(content[:end])
        assert camera.capture(_reserve, timeout=0.03) is None
    assert _sources(camera, 1) == ["growing.png"]


def test_a_missing_directory_is_not_connected_and_comes_back(tmp_path: Path) -> None:
    directory = tmp_path / "mount"
    with pytest.raises(CameraNotConnectedError, match="not a directory"):
        _camera(directory)
    directory.mkdir()
    camera = _camera(directory, settle_s=0.0)
    directory.rmdir()
    with pytest.raises(CameraNotConnectedError, match="is gone"):
        camera.capture(_reserve, timeout=1)
    camera.close()
    directory.mkdir()
    _write(directory / "a.png", 1, 1)
    camera.open()
    assert _sources(camera, 1) == ["a.png"]


def test_a_file_that_goes_during_the_look_has_no_other_taken_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        _write(tmp_path / f"{number}.png", 1, number)
    camera = _camera(tmp_path, settle_s=0)
    assert _sources(camera, 4) == ["0.png", "1.png", "2.png", "3.png"]
    scandir = os.scandir

    class Entries:
        """A listing that is older than the removal of one of its files."""

        def __init__(self, path: Path) -> None:
            self._entries = list(scandir(path))

        def __enter__(self) -> List["os.DirEntry[str]"]:
            (tmp_path / self._entries[0].name).unlink()
            return self._entries

        def __exit__(self, *_exception: object) -> None:
            pass

    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", Entries)
        assert camera.capture(_reserve, timeout=0.05) is None
    assert camera.capture(_reserve, timeout=0.05) is None
