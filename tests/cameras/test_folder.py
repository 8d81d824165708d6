"""Folders: what goes beyond the contract of all cameras."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path
from typing import Any, Callable, List

import numpy as np
import pytest
from PIL import Image
from support.cameras.driving import capture, capture_all, reserve
from support.clocks import Steps

from edge_agent.cameras import Captured, FolderCamera, FolderSettings
from edge_agent.cameras.folder.listing import Listing
from edge_agent.clock import SystemClock
from edge_agent.errors import CameraError, CameraNotConnectedError, EndOfInputError, ImageError


def _write(path: Path, grey: int, modified: float) -> None:
    Image.new("RGB", (64, 64), (grey, grey, grey)).save(path)
    os.utime(path, (modified, modified))


def _camera(directory: Path, clock: Any = None, **settings: Any) -> FolderCamera:
    camera = FolderCamera(FolderSettings(path=str(directory), **settings), clock or SystemClock())
    camera.open()
    return camera


def _sources(camera: FolderCamera, count: int) -> List[str]:
    return [capture(camera).source for _ in range(count)]


def _is_quiet(camera: FolderCamera) -> bool:
    return camera.capture(reserve, timeout=0.05) is None


@pytest.fixture
def images(tmp_path: Path) -> Path:
    directory = tmp_path / "images"
    directory.mkdir()
    return directory


def test_files_come_oldest_first_and_then_the_end(images: Path) -> None:
    for name, modified in (("c.png", 10), ("a.png", 30), ("b.JPG", 20), ("b2.png", 20)):
        _write(images / name, 1, modified)
    (images / "notes.txt").write_text("no image")
    (images / ".hidden.png").write_text("half written")
    (images / "directory.png").mkdir()
    camera = _camera(images, watch=False)
    assert _sources(camera, 4) == ["c.png", "b.JPG", "b2.png", "a.png"]
    with pytest.raises(EndOfInputError):
        camera.capture(reserve, timeout=1)


def test_a_bad_file_costs_one_error_and_the_next_one_comes(images: Path) -> None:
    (images / "a.png").write_bytes(b"torn")
    os.utime(images / "a.png", (1, 1))
    _write(images / "b.png", 1, 2)
    camera = _camera(images, watch=False)
    with pytest.raises(ImageError, match=r"a\.png"):
        camera.capture(reserve, timeout=1)
    assert _sources(camera, 1) == ["b.png"]


def test_watching_takes_new_files_once_and_again_when_written_anew(images: Path) -> None:
    camera = _camera(images, poll_s=0.01, settle_s=0.0)
    assert _is_quiet(camera)
    _write(images / "a.png", 1, 100)
    assert _sources(camera, 1) == ["a.png"]
    assert _is_quiet(camera)
    # In place, which a directory's own time does not tell.
    _write(images / "a.png", 2, 200)
    assert _sources(camera, 1) == ["a.png"]
    assert _is_quiet(camera)


def test_a_file_that_still_grows_waits(images: Path, tmp_path: Path) -> None:
    _write(tmp_path / "whole.png", 1, 100)
    content = (tmp_path / "whole.png").read_bytes()
    camera = _camera(images, poll_s=0.01, settle_s=0.4)
    growing = images / "growing.png"
    for end in range(10, len(content) + 40, 40):
        growing.write_bytes(content[:end])
        assert _is_quiet(camera)
    assert _sources(camera, 1) == ["growing.png"]


def test_a_writer_that_rests_costs_no_frame(images: Path, tmp_path: Path) -> None:
    """The half that is there has settled, and is no image: it is looked at again before it counts as failed."""
    _write(tmp_path / "whole.png", 7, 100)
    content = (tmp_path / "whole.png").read_bytes()
    (images / "slow.png").write_bytes(content[: len(content) // 2])
    camera = _camera(images, poll_s=0.01, settle_s=0.0, torn_s=1.0)
    assert _is_quiet(camera)
    (images / "slow.png").write_bytes(content)
    captured = capture(camera)
    assert (captured.pixels == 7).all()


def test_what_stays_torn_is_an_error_once_and_stays_where_it_is(images: Path) -> None:
    (images / "torn.png").write_bytes(b"torn")
    camera = _camera(images, poll_s=0.01, settle_s=0.0, torn_s=0.2, done="delete")
    assert _is_quiet(camera)
    with pytest.raises(ImageError, match=r"torn\.png"):
        capture(camera)
    assert _is_quiet(camera)
    assert (images / "torn.png").exists()


def test_a_file_that_goes_before_it_is_taken_is_no_error(images: Path) -> None:
    for name, modified in (("a.png", 1), ("b.png", 2), ("c.png", 3)):
        _write(images / name, 1, modified)
    camera = _camera(images, watch=False)
    assert _sources(camera, 1) == ["a.png"]
    (images / "b.png").unlink()
    assert _sources(camera, 1) == ["c.png"]


def test_a_missing_directory_is_not_connected_and_comes_back(images: Path) -> None:
    images.rmdir()
    with pytest.raises(CameraNotConnectedError, match="No such file"):
        _camera(images)
    images.mkdir()
    camera = _camera(images, settle_s=0.0)
    images.rmdir()
    with pytest.raises(CameraNotConnectedError):
        capture(camera)
    images.mkdir()
    _write(images / "a.png", 1, 1)
    camera.open()
    assert _sources(camera, 1) == ["a.png"]


def test_a_mount_that_goes_and_returns_is_noticed_and_its_files_do_not_count_twice(
    images: Path, tmp_path: Path
) -> None:
    """Without root a rename stands for the mount: another directory is in the place of the first."""
    _write(images / "a.png", 1, 1)
    camera = _camera(images, poll_s=0.01, settle_s=0.0)
    assert _sources(camera, 1) == ["a.png"]
    images.rename(tmp_path / "mounted")
    images.mkdir()
    with pytest.raises(CameraNotConnectedError, match="mount"):
        capture(camera)
    camera.open()
    assert _is_quiet(camera)
    images.rmdir()
    (tmp_path / "mounted").rename(images)
    with pytest.raises(CameraNotConnectedError, match="mount"):
        capture(camera)
    camera.open()
    assert _is_quiet(camera)
    _write(images / "b.png", 1, 2)
    assert _sources(camera, 1) == ["b.png"]


def _settle(captured: Captured) -> None:
    """As another thread does it; waits for what that has begun."""
    thread = threading.Thread(target=captured.settled)
    thread.start()
    thread.join()
    for helper in threading.enumerate():
        if helper.name == "folder-done":
            helper.join()


@pytest.mark.parametrize("done", ["delete", "move"])
def test_a_file_goes_when_its_frame_is_settled_and_not_before(images: Path, tmp_path: Path, done: str) -> None:
    (tmp_path / "done").mkdir()
    for number in range(3):
        _write(images / f"{number}.png", number, number)
    move_to = str(tmp_path / "done") if done == "move" else ""
    camera = _camera(images, watch=False, done=done, move_to=move_to)
    frames = [capture(camera) for _ in range(3)]
    assert len(list(images.iterdir())) == 3
    _settle(frames[0])
    _settle(frames[2])
    with pytest.raises(EndOfInputError):
        camera.capture(reserve, 1)
    assert [path.name for path in images.iterdir()] == ["1.png"]
    camera.close()
    # The last frames of a lane are settled after its camera was closed.
    _settle(frames[1])
    assert list(images.iterdir()) == []
    assert len(list((tmp_path / "done").iterdir())) == (3 if done == "move" else 0)


def test_what_was_written_anew_meanwhile_is_not_deleted_but_inspected(images: Path) -> None:
    _write(images / "a.png", 1, 1)
    camera = _camera(images, poll_s=0.01, settle_s=0.0, done="delete")
    first = capture(camera)
    _write(images / "a.png", 2, 2)
    _settle(first)
    second = capture(camera)
    assert (second.pixels == 2).all()
    _settle(second)
    assert _is_quiet(camera)
    assert not (images / "a.png").exists()


def test_moving_overwrites_nothing(images: Path, tmp_path: Path) -> None:
    (tmp_path / "done").mkdir()
    camera = _camera(images, poll_s=0.01, settle_s=0.0, done="move", move_to=str(tmp_path / "done"))
    for number in range(3):
        _write(images / "a.png", number, number + 1)
        _settle(capture(camera))
        assert _is_quiet(camera)
    greys = [int(np.asarray(Image.open(path)).max()) for path in (tmp_path / "done").iterdir()]
    assert sorted(greys) == [0, 1, 2]


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs a second file system")
def test_moving_to_another_file_system_leaves_no_half_files(images: Path) -> None:
    target = Path("/dev/shm") / f"edge-agent-test-{os.getpid()}"
    target.mkdir()
    try:
        _write(images / "a.png", 5, 1)
        camera = _camera(images, watch=False, done="move", move_to=str(target))
        _settle(capture(camera))
        camera.close()
        assert [path.name for path in target.iterdir()] == ["a.png"]
        assert (np.asarray(Image.open(target / "a.png")) == 5).all()
        assert list(images.iterdir()) == []
    finally:
        shutil.rmtree(target)


def test_a_place_that_cannot_be_written_is_an_error_at_once(images: Path, tmp_path: Path) -> None:
    with pytest.raises(CameraError, match="no directory that can be written"):
        _camera(images, done="move", move_to=str(tmp_path / "absent"))
    with pytest.raises(CameraError, match="cannot be used to remember"):
        _camera(images, remember=str(tmp_path / "absent" / "remembered"))


def test_a_file_that_cannot_be_deleted_is_logged_once_and_inspecting_goes_on(
    images: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    for number in range(3):
        _write(images / f"{number}.png", number, number)
    camera = _camera(images, watch=False, done="delete")
    monkeypatch.setattr(Path, "unlink", refuse)
    for captured in capture_all(camera).frames:
        _settle(captured)
    camera.close()
    assert len(list(images.iterdir())) == 3
    assert len([record for record in caplog.records if "cannot be deleted" in record.message]) == 1


def test_kept_files_are_remembered_over_a_restart(images: Path, tmp_path: Path) -> None:
    remember = str(tmp_path / "remembered")
    names = ["a.png", "b.png", "uml\u00e4ut \n.png", os.fsdecode(b"\xff.png")]
    for number, name in enumerate(names):
        _write(images / name, 1, number)
    first = _camera(images, watch=False, remember=remember)
    frames = capture_all(first).frames
    assert [frame.source for frame in frames] == names
    for captured in frames[:3]:
        _settle(captured)
    first.close()
    with Path(remember).open("a") as file:
        file.write('\n["torn')  # by a power cut
    second = _camera(images, watch=False, remember=remember)
    (last,) = capture_all(second).frames
    assert last.source == names[3]
    second.close()
    _settle(last)
    _write(images / "a.png", 2, 50)
    assert _sources(_camera(images, watch=False, remember=remember), 1) == ["a.png"]
    assert _sources(_camera(images, watch=False), 4)[:2] == ["b.png", "uml\u00e4ut \n.png"]


def test_what_is_remembered_does_not_grow_for_ever(images: Path, tmp_path: Path) -> None:
    remember = tmp_path / "remembered"
    remember.write_text("".join(f'["{number}.png", 1]\n' for number in range(3000)))
    _write(images / "a.png", 1, 1)
    camera = _camera(images, watch=False, remember=str(remember))
    capture(camera).settled()
    camera.close()
    assert [line for line in remember.read_text().splitlines() if line][-1].startswith('["a.png", ')
    assert len(remember.read_text().splitlines()) < 10


def test_settings_that_do_not_fit_together() -> None:
    for settings in (
        {"done": "move"},
        {"move_to": "/done"},
        {"done": "move", "move_to": "/images/../images"},
        {"torn_s": -1},
    ):
        with pytest.raises(ValueError, match="`"):
            FolderSettings(path="/images", **settings)  # type: ignore[arg-type]


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> List[int]:
    counted: List[int] = []
    original: Callable[..., None] = Listing.__init__

    def count(self: Listing, *arguments: Any) -> None:
        counted.append(1)
        original(self, *arguments)

    monkeypatch.setattr(Listing, "__init__", count)
    return counted


def test_a_directory_in_which_nothing_happens_is_seldom_looked_through(images: Path, looks: List[int]) -> None:
    _write(images / "a.png", 1, 1)
    camera = _camera(images, clock=Steps(), poll_s=0.2, settle_s=0.0)
    assert _sources(camera, 1) == ["a.png"]
    before = len(looks)
    for _ in range(50):
        assert camera.capture(reserve, 0.2) is None
    # 10 s: one look a second, not one for each of 50 polls.
    assert 8 <= len(looks) - before <= 12
    _write(images / "b.png", 1, 2)
    assert camera.capture(reserve, 0.25) is not None


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
        assert camera.capture(reserve, timeout=0.05) is None
    assert camera.capture(reserve, timeout=0.05) is None
