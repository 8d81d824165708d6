from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
from support import gige
from support.cameras.pattern import HEIGHT, NUMBERS, WIDTH, number_in, picture
from support.cameras.rig import Rig

from edge_agent.frame import Pixels
from edge_agent.gige_simulator import SimulatedCamera

_PACKETS: Dict[str, Any] = {"packet_size": 1400}


class GenicamRig(Rig):
    """Our simulated camera, in free run."""

    name = "genicam"
    can_be_silent = True

    @classmethod
    def missing(cls) -> str:
        return gige.missing_aravis()

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._address = gige.free_address()
        self._camera: Optional[SimulatedCamera] = None

    def settings(self) -> Dict[str, Any]:
        return {
            "type": "genicam",
            "device": self._address,
            "pixel_format": "RGB8",
            "network": _PACKETS,
        }

    def start(self) -> None:
        pictures = [picture(number) for number in range(NUMBERS)]
        self._camera = gige.simulated(pictures, address=self._address, width=WIDTH, height=HEIGHT)

    def stop(self) -> None:
        if self._camera is not None:
            self._camera.stop()

    def silence(self) -> None:
        assert self._camera is not None
        self._camera.set_silent(True)

    def bad_settings(self) -> List[Tuple[Dict[str, Any], str]]:
        return [
            ({"buffers": 1}, "buffers"),
            ({"region": {"width": 63, "height": 64}}, "width"),
            ({"region": {"width": 64, "height": 64, "x": -1}}, "x"),
            ({"frame_rate": 5, "trigger": {"mode": "line"}}, "frame_rate"),
            ({"trigger": {"mode": "radio"}}, "radio"),
            ({"trigger": {"mode": "line", "source": ""}}, "source"),
            ({"trigger": {"mode": "line", "delay_us": -1}}, "delay_us"),
            ({"trigger": {"mode": "software", "timeout_s": 0}}, "timeout_s"),
            ({"network": {"packet_size": 100}}, "packet_size"),
            ({"network": {"packet_delay_ns": -1}}, "packet_delay_ns"),
            ({"network": {"frame_retention_ms": 0}}, "frame_retention_ms"),
        ]

    def check(self, pixels: Pixels) -> int:
        return number_in(pixels, 0)

    def shape(self) -> Tuple[int, int]:
        return HEIGHT, WIDTH


class AravisFakeRig(Rig):
    """The fake camera of Aravis: its image is a ramp, one value further from image to image."""

    name = "genicam, Aravis' fake"

    @classmethod
    def missing(cls) -> str:
        return gige.missing_fake()

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._camera = gige.FakeCamera()

    def settings(self) -> Dict[str, Any]:
        return {
            "type": "genicam",
            "device": gige.FAKE_ADDRESS,
            "pixel_format": "Mono8",
            "region": {"width": 512, "height": 256},
            "network": _PACKETS,
        }

    def start(self) -> None:
        self._camera.start()

    def stop(self) -> None:
        self._camera.stop()

    def bad_settings(self) -> List[Tuple[Dict[str, Any], str]]:
        return []

    def check(self, pixels: Pixels) -> int:
        number = int(pixels[0, 0, 0])
        rows, columns = np.mgrid[:256, :512]
        ramp = ((rows + columns + number) % 255).astype(np.uint8)
        np.testing.assert_array_equal(pixels, np.repeat(ramp[:, :, None], 3, axis=2))
        return number

    def shape(self) -> Tuple[int, int]:
        return 256, 512
