"""Every figure of the inspector; docs/inspector-figures.md explains them, and a test holds the page to this."""

from __future__ import annotations

from typing import Dict, Literal

from edge_agent.figures import Definition, Unit

_PREFIX = "edge_agent_inspector_"


def _define(
    kind: Literal["counter", "gauge", "histogram"], name: str, words: str, *labels: str, unit: Unit = "count"
) -> Definition:
    return Definition(_PREFIX + name, kind, unit, labels, words)


INFO = _define("gauge", "info", "1; the package's version, and the thing.", "version", "thing", unit="state")

FRAMES_CAPTURED = _define("counter", "frames_captured", "Frames captured.", "lane")
FRAMES_IN_FLIGHT = _define("gauge", "frames_in_flight", "Frames captured and undecided.", "lane")
FRAMES_INSPECTED = _define("counter", "frames_inspected", "Frames that got a verdict.", "lane")
FRAMES_DROPPED = _define("counter", "frames_dropped", "Frames dropped.", "lane", "cause")
FRAMES_FAILED = _define("counter", "frames_failed", "Frames without a verdict.", "lane", "cause")
FRAMES_LATE = _define("counter", "frames_late", "Frames not decided by the lane's decide_by_ms.", "lane")
INSPECTIONS_CARRIED = _define("counter", "inspections_carried", "Inspections of earlier runs that waited.", "lane")
INSPECTIONS_DELIVERED = _define("counter", "inspections_delivered", "Inspections that the nucleus took.", "lane")
INSPECTIONS_SPOOLED = _define("gauge", "inspections_spooled", "Inspections that wait for delivery.", "lane")
INSPECTIONS_EXPIRED = _define("counter", "inspections_expired", "Inspections given up.", "lane", "cause")

VERDICTS = _define("counter", "verdicts", "Inspections by verdict.", "lane", "verdict")
ANOMALIES = _define("counter", "anomalies", "Parts in which a class was found.", "lane", "class")
STAGES = _define("histogram", "stage_seconds", "From capture to verdict.", "lane", "stage", unit="seconds")

LANE_STATE = _define("gauge", "lane_state", "1 for the state of the lane.", "lane", "state", unit="state")
CAMERA_STATE = _define("gauge", "camera_state", "1 for the state of the camera.", "lane", "state", unit="state")
CAMERA_FROZEN = _define("counter", "camera_frozen", "Times that the camera's picture froze.", "lane")
CAMERA_TRANSPORT = _define("counter", "camera_transport", "What the camera's transport counts.", "lane", "event")
MODEL_INFO = _define("gauge", "model_info", "1; the lane's model.", "lane", "model", "version", unit="state")
MODEL_ANSWERS = _define("gauge", "model_answers", "0 while the lane waits for its model.", "lane", unit="state")
BUFFER_LENGTH = _define("gauge", "buffer_length", "Frames that wait for the model.", "lane")
TRIGGERS_RECEIVED = _define("counter", "triggers_received", "Triggers of the lane.", "lane")
TRIGGERS_TAKEN = _define("counter", "triggers_taken", "Triggers that got their image.", "lane")
TRIGGERS_MISSED = _define("counter", "triggers_missed", "Triggers without an image.", "lane", "cause")

SPOOL_INSPECTIONS = _define("gauge", "spool_inspections", "Inspections that wait, by where.", "place")
SPOOL_BYTES = _define("gauge", "spool_bytes", "Size of the spool's file in use.", unit="bytes")
SPOOL_OLDEST = _define("gauge", "spool_oldest_seconds", "Age of the oldest inspection on disk.", unit="seconds")
SPOOL_TROUBLE = _define("gauge", "spool_trouble", "1 while the disk takes nothing.", unit="state")
SPOOL_RECOVERIES = _define("counter", "spool_recoveries", "Spool files that were damaged and recovered.")

OUTPUT_STATE = _define("gauge", "output_state", "1 for the state of the output.", "output", "state", unit="state")
OUTPUT_OFFERED = _define("counter", "output_offered", "Parts offered to the output.", "output")
OUTPUT_APPLIED = _define("counter", "output_applied", "Actions done.", "output")
OUTPUT_SKIPPED = _define("counter", "output_skipped", "Parts that do not meet the output's rule.", "output")
OUTPUT_DROPPED = _define("counter", "output_dropped", "Actions that were not tried.", "output", "cause")
OUTPUT_FAILED = _define("counter", "output_failed", "Actions that failed.", "output", "cause")
OUTPUT_UNDECIDED = _define("counter", "output_undecided", "Parts offered without a verdict.", "output", "cause")
OUTPUT_WAITING = _define("gauge", "output_waiting", "Actions that wait.", "output")
OUTPUT_BREAKER = _define("counter", "output_breaker_opened", "Times that the output was left alone.", "output")

RECORDER_STATE = _define("gauge", "recorder_state", "1 for the state of the recorder.", "state", unit="state")
RECORDER_OFFERED = _define("counter", "recorder_offered", "Inspections offered to the recorder.", "lane")
RECORDER_RECORDED = _define("counter", "recorder_recorded", "Images recorded.", "lane")
RECORDER_SKIPPED = _define("counter", "recorder_skipped", "Inspections whose image nobody wants.", "lane")
RECORDER_DROPPED = _define("counter", "recorder_dropped", "Images wanted and not recorded.", "lane", "cause")
RECORDER_WAITING = _define("gauge", "recorder_waiting", "Images that wait to be written.", "lane")
RECORDER_FOUND = _define("counter", "recorder_found", "Images that were there at the recorder's start.", "lane")
RECORDER_KEPT = _define("gauge", "recorder_kept", "Images on disk.", "lane")
RECORDER_REMOVED = _define("counter", "recorder_removed", "Images taken away.", "lane", "cause")
RECORDER_REVIEWED = _define("counter", "recorder_reviewed", "Reviews of images.", "lane", "review")
RECORDER_BYTES = _define("gauge", "recorder_bytes", "Size of images, masks and sidecars.", unit="bytes")
RECORDER_FREE = _define("gauge", "recorder_free_bytes", "Free on the recorder's disk.", unit="bytes")
UPLOAD_STATE = _define("gauge", "recorder_upload_state", "1 for the state of the upload.", "state", unit="state")
UPLOAD_FOUND = _define("counter", "recorder_upload_found", "Images that waited at the recorder's start.", "lane")
UPLOAD_WANTED = _define("counter", "recorder_upload_wanted", "Images recorded and to be uploaded.", "lane")
UPLOAD_UPLOADED = _define("counter", "recorder_upload_uploaded", "Images in S3.", "lane")
UPLOAD_WAITING = _define("gauge", "recorder_upload_waiting", "Images that wait for their upload.", "lane")
UPLOAD_LOST = _define("counter", "recorder_upload_lost", "Images that will not be uploaded.", "lane", "cause")
UPLOAD_FAILED = _define("counter", "recorder_upload_failed", "Attempts that failed.")
UPLOAD_BYTES = _define("counter", "recorder_upload_bytes", "Size of what was put into S3.", unit="bytes")

DELIVERY_STATE = _define("gauge", "delivery_state", "1 for the state of delivery.", "state", unit="state")
TRIGGER_MESSAGES = _define("counter", "trigger_messages", "Messages and calls that are triggers.", "outcome")
COMMANDS = _define("counter", "commands", "Commands.", "outcome")
UNSENT = _define("counter", "unsent", "Messages beside inspections that were given up.", "message")

#: By name.
CATALOGUE: Dict[str, Definition] = {
    made.name: made for made in tuple(globals().values()) if isinstance(made, Definition)
}
