"""Inspections for the benchmarks of what comes after a verdict: as large and as published as a lane makes them."""

from __future__ import annotations

import time
import uuid

from edge_agent import sample
from edge_agent.inspection import Anomaly, Inspection, Timings
from edge_agent.spool import Entry, Spool

_RUN = uuid.uuid4().hex
_ANOMALIES = (Anomaly("background", 0.987123, "#FFFFFF"), Anomaly("scratch", 0.012877, "#23A436"))


def make_entry(spool: Spool, camera: str) -> Entry:
    """An inspection of the next frame of a camera, counted in its lane's books."""
    accounting = spool.accounting(camera)
    accounting.capture()
    accounting.inspect()
    sequence = spool.next_sequence(camera)
    return Entry(camera, sequence, anomalous=True, body=make_inspection(camera, sequence).to_json())


def make_inspection(camera: str, sequence: int) -> Inspection:
    """Of a scratched part."""
    return Inspection(
        id=uuid.uuid4().hex,
        run=_RUN,
        thing="benchmark",
        camera=camera,
        sequence=sequence,
        captured_at_ns=time.time_ns(),
        model_component=sample.MODEL_NAME,
        model_version="1.0.0",
        is_anomalous=True,
        confidence=0.973123,
        anomalies=_ANOMALIES,
        timings=Timings(decode=6.123, wait=0.123, detect=14.123, total=20.369),
        image_width=640,
        image_height=480,
        source=f"part-{sequence:06d}.png",
    )
