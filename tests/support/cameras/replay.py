from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List, Tuple

from PIL import Image
from support.cameras.pattern import HEIGHT, WIDTH, number_in, picture
from support.cameras.rig import Rig

from edge_agent.frame import Pixels
from edge_agent.inspection import Inspection, Timings

#: Wall clock of the first recorded frame, nanoseconds.
START_NS = 1_767_225_599_000_000_000


def record(image: Path, number: int, captured_at_ns: int, camera: str = "line-1") -> None:
    """An image with its sidecar, as a recorder writes them."""
    image.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(number)).save(image)
    inspection = Inspection(
        id="0" * 32,
        run="1" * 32,
        thing="press-7",
        camera=camera,
        sequence=number + 1,
        captured_at_ns=captured_at_ns,
        model_component="com.example.Model",
        model_version="1.0.0",
        is_anomalous=False,
        confidence=0.9,
        anomalies=(),
        timings=Timings(1.0, 0.1, 2.0, 3.1),
        image_width=WIDTH,
        image_height=HEIGHT,
        source=image.name,
    )
    image.with_suffix(".json").write_bytes(inspection.to_json())


class ReplayRig(Rig):
    """A directory whose names are in another order than its times."""

    name = "replay"
    frames = 6

    def settings(self) -> Dict[str, Any]:
        return {"type": "replay", "path": str(self.directory / "recorded"), "speed": 0}

    def start(self) -> None:
        for number in range(6):
            image = self.directory / "recorded" / f"part-{9 - number}.png"
            record(image, number, START_NS + number * 50_000_000)

    def stop(self) -> None:
        for path in (self.directory / "recorded").glob("*"):
            path.unlink()
        if (self.directory / "recorded").is_dir():
            (self.directory / "recorded").rmdir()

    def bad_settings(self) -> List[Tuple[Dict[str, Any], str]]:
        return [({"path": ""}, "empty"), ({"speed": -1}, "speed")]

    def check(self, pixels: Pixels) -> int:
        return number_in(pixels, 0)

    def shape(self) -> Tuple[int, int]:
        return HEIGHT, WIDTH


class ManifestRig(ReplayRig):
    """A manifest, whose order counts."""

    name = "replay of a manifest"

    def settings(self) -> Dict[str, Any]:
        return {**super().settings(), "path": str(self.directory / "recorded" / "recorded.manifest")}

    def start(self) -> None:
        super().start()
        lines = [json.dumps({"source-ref": f"part-{9 - number}.png"}) for number in range(6)]
        (self.directory / "recorded" / "recorded.manifest").write_text("\n".join(lines) + "\n")
