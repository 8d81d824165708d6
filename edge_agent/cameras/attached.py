"""What is there: cameras that answer or that the kernel knows, and the kinds of camera that this installation can open."""

from __future__ import annotations

import importlib.util
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, get_args

from edge_agent.cameras.genicam import discover
from edge_agent.cameras.genicam.aravis import aravis
from edge_agent.cameras.gstreamer.library import gstreamer
from edge_agent.cameras.kinds import CameraSettings
from edge_agent.errors import CameraError, EdgeAgentError, MissingExtraError

_VIDEO_DEVICES = Path("/sys/class/video4linux")


@dataclass(frozen=True)
class Attached:
    """One camera.

    Attributes:
        kind: the `type` of its settings.
        target: the word that `edge-agent cameras probe` takes for it.
        name: what it calls itself.
        address: where it is.
        details: what else is known of it.
    """

    kind: str
    target: str
    name: str
    address: str
    details: Mapping[str, str]

    def as_dict(self) -> Dict[str, Any]:
        return asdict(self)


def attached() -> List[Attached]:
    """GenICam cameras that answer, and video devices of the kernel; takes about a second."""
    return [*_genicam(), *_video_devices()]


def kinds() -> Dict[str, Optional[EdgeAgentError]]:
    """Every kind of camera, and what is missing to open one; None where nothing is."""
    tags = sorted(str(settings.__struct_config__.tag) for settings in get_args(CameraSettings))
    return {tag: _NEEDS.get(tag, lambda: None)() for tag in tags}


def _genicam() -> List[Attached]:
    try:
        found = discover()
    except CameraError:
        return []
    serials = [camera.serial for camera in found]
    return [
        Attached(
            kind="genicam",
            target=camera.serial if serials.count(camera.serial) == 1 and camera.serial else camera.address,
            name=f"{camera.vendor} {camera.model}",
            address=camera.address,
            details={"id": camera.id, "serial": camera.serial, "mac": camera.physical_id, "protocol": camera.protocol},
        )
        for camera in found
    ]


def _video_devices() -> List[Attached]:
    # A device has several nodes; those with an index above 0 carry no pictures, but what belongs to them.
    return [
        Attached("v4l2", f"/dev/{node.name}", _line(node / "name"), f"/dev/{node.name}", {})
        for node in sorted(_VIDEO_DEVICES.glob("video*"), key=lambda node: (len(node.name), node.name))
        if _line(node / "index") in ("", "0")
    ]


def _line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _needs(module: str, package: str, extra: str) -> Callable[[], Optional[EdgeAgentError]]:
    return lambda: None if importlib.util.find_spec(module) else MissingExtraError(package, extra)


def _loads(library: Callable[[], object]) -> Optional[EdgeAgentError]:
    try:
        library()
    except CameraError as error:
        return error
    return None


def _genicam_needs() -> Optional[EdgeAgentError]:
    return _loads(aravis) or _needs("cv2", "opencv-python-headless", "genicam")()


_NEEDS: Dict[str, Callable[[], Optional[EdgeAgentError]]] = {
    "genicam": _genicam_needs,
    "gstreamer": lambda: _loads(gstreamer),
    "v4l2": _needs("cv2", "opencv-python-headless", "v4l2"),
    "video": _needs("av", "av", "video"),
}
