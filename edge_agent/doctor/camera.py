"""Cameras: those of the configuration opened for one frame, or else what is attached."""

from __future__ import annotations

from typing import Iterator, Mapping

from edge_agent.cameras import CameraSettings, FolderSettings, make_camera
from edge_agent.cameras.attached import attached, kinds
from edge_agent.cameras.look import look
from edge_agent.clock import Clock
from edge_agent.doctor.finding import OK, SKIPPED, WARNING, Finding, broken
from edge_agent.errors import EdgeAgentError, EndOfInputError

_IT = "its camera"


def check_lanes(
    lanes: Mapping[str, CameraSettings], clock: Clock, *, busy: bool, timeout_s: float
) -> Iterator[Finding]:
    """Args:
    lanes: camera by lane.
    clock: time.
    busy: an inspector runs, which has them open.
    timeout_s: seconds that a first frame may take.
    """
    for name, settings in lanes.items():
        if busy:
            yield Finding(SKIPPED, f"{name}: an inspector runs and has it", "Stop it to have its camera looked at.")
            continue
        try:
            seen = look(make_camera(settings, clock), _IT, clock, frames=1, within_s=timeout_s, first_s=timeout_s)
        except EdgeAgentError as error:
            finding = broken(error, "edge-agent cameras probe --config looks longer.")
            # A folder that is empty now is as it should be; a folder that is gone is the camera's own error.
            idle = isinstance(error, EndOfInputError) or (isinstance(settings, FolderSettings) and error.subject == _IT)
            yield finding._replace(status=WARNING if idle else finding.status, text=f"{name}: {finding.text}")
        else:
            height, width = seen.last.pixels.shape[:2]
            yield Finding(OK, f"{name}: {width} x {height}")


def check_attached() -> Iterator[Finding]:
    found = attached()
    missing = [str(error) for error in kinds().values() if error is not None]
    if found:
        yield Finding(OK, ", ".join(f"{camera.target} ({camera.kind}, {camera.name})" for camera in found))
    else:
        yield Finding(
            WARNING,
            "no camera answers on the networks and the USB of this machine, and there is no /dev/video*",
            "Look at cables and power; --config names cameras by address.",
        )
    for text in missing:
        yield Finding(SKIPPED, text)
