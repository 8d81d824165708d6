"""What a recorder wrote, as a camera: the same frames in the same order, at their own distance in time or another.

The form it reads is on the page docs/cameras.md: image files, each with a sidecar of the same name that ends in .json
and holds its inspection, in a directory or named by the lines of a manifest.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Iterator, List, NamedTuple, Optional

from edge_agent.cameras.base import Captured, Reserve
from edge_agent.cameras.decode import SUFFIXES, decode_image
from edge_agent.cameras.pace import Pace
from edge_agent.clock import Clock
from edge_agent.config import Settings
from edge_agent.errors import CameraError, CameraNotConnectedError, EndOfInputError
from edge_agent.inspection import wall_ns_of

# A sidecar is an inspection: 7,000 bytes and a little, however it is set.
_MAX_SIDECAR = 1_000_000


class ReplaySettings(Settings, frozen=True, tag_field="type", tag="replay"):
    """A recording.

    Attributes:
        path: the directory, or a manifest in it.
        speed: 1: as it was recorded, 2: twice as fast, 0: as fast as the lane takes the frames.
        camera: the frames of this camera alone, where several were recorded in one place; empty: all.
    """

    path: str
    speed: float = 1.0
    camera: str = ""

    def __post_init__(self) -> None:
        if not self.path:
            raise ValueError("`path` is empty")
        if not 0 <= self.speed <= 1000:
            raise ValueError("`speed` must be 0 to 1000")


class _Recorded(NamedTuple):
    """An image of the recording, and what its sidecar says: camera, and wall clock of capture in nanoseconds.

    Paths are plain text here: recordings have 100,000 of them, and `Path` takes most of the time to sort them.
    """

    image: str
    camera: Optional[str] = None
    captured_at_ns: Optional[int] = None


class ReplayCamera:
    """Each opening begins anew. A frame that is asked for late moves the later ones, none is left out."""

    free_running = False

    def __init__(self, settings: ReplaySettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._root = Path(settings.path)
        self._recorded: Optional[Iterator[_Recorded]] = None
        # The next frame, not due yet.
        self._waiting: Optional[_Recorded] = None
        self._pace = Pace(clock)
        self._shown_ns: Optional[int] = None

    def open(self) -> None:
        self.close()
        if self._root.is_dir():
            recorded = _in_directory(self._root)
        elif self._root.is_file():
            recorded = _in_manifest(self._root)
        else:
            raise CameraNotConnectedError(str(self._root), "is not there", "Give a directory, or a manifest in one.")
        if self._settings.camera:
            recorded = (one for one in recorded if one.camera == self._settings.camera)
        self._recorded = recorded
        self._pace, self._shown_ns = Pace(self._clock), None

    def capture(self, reserve: Reserve, timeout: float) -> Optional[Captured]:
        if self._recorded is None:
            raise CameraNotConnectedError(str(self._root), "is not open")
        if self._waiting is None:
            self._waiting = next(self._recorded, None)
        if self._waiting is None:
            raise EndOfInputError(str(self._root), "has no more frames")
        if not self._is_due(self._waiting, timeout):
            return None
        image, self._waiting = self._waiting.image, None
        wall_ns, monotonic_ns = self._clock.wall_ns(), self._clock.monotonic_ns()
        return Captured(image, wall_ns, monotonic_ns, decode_image(Path(image), reserve))

    def close(self) -> None:
        self._recorded = self._waiting = None

    def _is_due(self, recorded: _Recorded, timeout: float) -> bool:
        if not self._settings.speed or recorded.captured_at_ns is None:
            return True
        since_ns = 0 if self._shown_ns is None else max(0, recorded.captured_at_ns - self._shown_ns)
        if not self._pace.wait(int(since_ns / self._settings.speed), timeout):
            return False
        self._shown_ns = recorded.captured_at_ns
        return True


def _in_directory(directory: Path) -> Iterator[_Recorded]:
    """By the time of capture, then by path; images without a readable sidecar come last."""
    found: List[_Recorded] = []
    for parent, _, names in os.walk(directory, onerror=_not_listed):
        images = (name for name in names if name.lower().endswith(SUFFIXES) and not name.startswith("."))
        found.extend(_with_sidecar(os.path.join(parent, name)) for name in images)  # noqa: PTH118 - see _Recorded
    found.sort(key=lambda one: (one.captured_at_ns is None, one.captured_at_ns or 0, one.image))
    return iter(found)


def _not_listed(error: OSError) -> None:
    raise CameraNotConnectedError(str(error.filename), f"cannot be listed ({error.strerror})") from error


def _in_manifest(manifest: Path) -> Iterator[_Recorded]:
    """In the manifest's order; the sidecars are read as their turn comes."""
    try:
        lines = manifest.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CameraError(str(manifest), f"cannot be read ({error})") from error
    images = [_image_of(manifest, number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    return map(_with_sidecar, images)


def _image_of(manifest: Path, number: int, line: str) -> str:
    """The image that a line of a SageMaker Ground Truth manifest names, which is beside the manifest."""
    place = f"{manifest}, line {number}"
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise CameraError(place, f"is not JSON ({error})") from error
    reference = entry.get("source-ref") if isinstance(entry, dict) else None
    if not isinstance(reference, str) or not reference:
        raise CameraError(place, "has no `source-ref`")
    if "://" in reference:
        remedy = "Download the images and write paths relative to the manifest's folder."
        raise CameraError(f"{place}: source-ref", f"is {reference!r}, which is not a local file", remedy)
    return str(manifest.parent / reference)


def _with_sidecar(image: str) -> _Recorded:
    try:
        with open(f"{os.path.splitext(image)[0]}.json", "rb") as sidecar:  # noqa: PTH122, PTH123 - see _Recorded
            inspection = json.loads(sidecar.read(_MAX_SIDECAR))
        return _Recorded(image, str(inspection["camera"]), wall_ns_of(inspection["captured_at"]))
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return _Recorded(image)
