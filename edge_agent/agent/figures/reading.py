"""The figures out of the inspector's report, which `edge-agent run` prints: the same numbers, in another form."""

from __future__ import annotations

from typing import Any, Iterator, Mapping, Sequence, Tuple, get_args

from edge_agent import __version__
from edge_agent.agent.figures import catalogue as c
from edge_agent.figures import Definition, Figure
from edge_agent.lane import LaneState, Observed
from edge_agent.lane.watch import CameraState
from edge_agent.outputs.runner import State as OutputState
from edge_agent.recorder.upload.uploader import State as UploadState
from edge_agent.recorder.writer import State as RecorderState

#: Causes that are there from the start, at 0, so that a rate sees the first one, too. docs/architecture.md has them.
DROPPED = ("stopped", "replaced", "buffer_full")
FAILED = ("image", "refused", "timeout", "server_fault", "shared_memory", "internal")
EXPIRED = ("overflow", "disk_full", "disk_failed", "damaged", "lost_at_exit")
#: docs/triggers.md
MISSED = ("busy", "camera", "paused", "no_image", "stopped")
#: docs/outputs.md
OUTPUT_DROPPED = ("full", "late", "broken", "stopped")
OUTPUT_FAILED = ("not_connected", "timeout", "refused", "internal")
OUTPUT_UNDECIDED = ("late", "lost", "missed_trigger")
#: docs/recorder.md
RECORDER_DROPPED = ("full", "no_room", "disk_full", "disk_failed", "stopped", "internal")
RECORDER_REMOVED = ("bytes", "age", "disk", "left")
RECORDER_REVIEWED = ("right", "wrong", "undone")
UPLOAD_LOST = ("removed", "damaged", "left")
#: docs/operations.md
DELIVERY_STATES = ("off", "pending", "confirmed", "unconfirmed")

_LANE_STATES: Tuple[str, ...] = get_args(LaneState)
_CAMERA_STATES: Tuple[str, ...] = get_args(CameraState)
_RECORDER_STATES: Tuple[str, ...] = ("off", *get_args(RecorderState))
_UPLOAD_STATES: Tuple[str, ...] = ("off", *get_args(UploadState))
_OUTPUT_STATES: Tuple[str, ...] = get_args(OutputState)


def figures(report: Mapping[str, Any], observed: Mapping[str, Observed], thing: str) -> Iterator[Figure]:
    """Every figure of the catalogue that there is something of.

    Args:
        report: of the operation.
        observed: by lane, what its inspections said.
        thing: the thing's name.
    """
    yield _single(c.INFO, 1.0, __version__, thing)
    yield from _accounting(report["accounting"])
    yield from _observed(observed)
    yield from _lanes(report["lanes"])
    yield from _triggers({name: lane["triggers"] for name, lane in report["lanes"].items() if "triggers" in lane})
    yield from _spool(report["spool"])
    yield from _outputs(report["outputs"])
    yield from _recorder(report["recorder"])
    yield from _talk(report)


def _accounting(books: Mapping[str, Mapping[str, Any]]) -> Iterator[Figure]:
    plain = (
        (c.FRAMES_CAPTURED, "captured"),
        (c.FRAMES_IN_FLIGHT, "in_flight"),
        (c.FRAMES_INSPECTED, "inspected"),
        (c.FRAMES_LATE, "late"),
        (c.INSPECTIONS_CARRIED, "carried"),
        (c.INSPECTIONS_DELIVERED, "delivered"),
        (c.INSPECTIONS_SPOOLED, "spooled"),
    )
    for definition, key in plain:
        yield _by_name(definition, books, key)
    yield _by_cause(c.FRAMES_DROPPED, books, "dropped", DROPPED)
    yield _by_cause(c.FRAMES_FAILED, books, "failed", FAILED)
    yield _by_cause(c.INSPECTIONS_EXPIRED, books, "expired", EXPIRED)


def _observed(lanes: Mapping[str, Observed]) -> Iterator[Figure]:
    verdicts, anomalies, stages = Figure(c.VERDICTS), Figure(c.ANOMALIES), Figure(c.STAGES)
    for lane, observed in lanes.items():
        for verdict, count in observed.verdicts.items():
            verdicts.add(count, lane, verdict)
        for name, count in observed.classes.items():
            anomalies.add(count, lane, name)
        for stage, reading in observed.stages.items():
            stages.add(reading, lane, stage)
    yield from (verdicts, anomalies, stages)


def _lanes(lanes: Mapping[str, Mapping[str, Any]]) -> Iterator[Figure]:
    yield _states(c.LANE_STATE, lanes, "state", _LANE_STATES)
    yield _states(c.CAMERA_STATE, lanes, "camera", _CAMERA_STATES)
    yield _by_name(c.CAMERA_FROZEN, lanes, "stale_times")
    yield _by_name(c.BUFFER_LENGTH, lanes, "waiting")
    transport, model, answers = Figure(c.CAMERA_TRANSPORT), Figure(c.MODEL_INFO), Figure(c.MODEL_ANSWERS)
    for name, lane in lanes.items():
        for event, count in lane.get("transport", {}).items():
            transport.add(count, name, event)
        model.add(1.0, name, lane["model"], lane["model_version"] or "")
        answers.add(float(lane["model_trouble"] is None), name)
    yield from (transport, model, answers)


def _triggers(lanes: Mapping[str, Mapping[str, Any]]) -> Iterator[Figure]:
    yield _by_name(c.TRIGGERS_RECEIVED, lanes, "received")
    yield _by_name(c.TRIGGERS_TAKEN, lanes, "taken")
    yield _by_cause(c.TRIGGERS_MISSED, lanes, "missed", MISSED)


def _spool(spool: Mapping[str, Any]) -> Iterator[Figure]:
    waiting = Figure(c.SPOOL_INSPECTIONS)
    waiting.add(spool["on_disk"], "disk")
    waiting.add(spool["in_memory"], "memory")
    yield waiting
    yield _single(c.SPOOL_BYTES, spool["bytes"])
    yield _single(c.SPOOL_OLDEST, spool["oldest_s"] or 0.0)
    yield _single(c.SPOOL_TROUBLE, float(spool["trouble"] is not None))
    yield _single(c.SPOOL_RECOVERIES, spool["recovered_files"])


def _outputs(outputs: Mapping[str, Mapping[str, Any]]) -> Iterator[Figure]:
    yield _states(c.OUTPUT_STATE, outputs, "state", _OUTPUT_STATES)
    yield _by_name(c.OUTPUT_BREAKER, outputs, "breaker_opened")
    books = {name: output["counts"] for name, output in outputs.items()}
    plain = (
        (c.OUTPUT_OFFERED, "offered"),
        (c.OUTPUT_APPLIED, "applied"),
        (c.OUTPUT_SKIPPED, "skipped"),
        (c.OUTPUT_WAITING, "waiting"),
    )
    for definition, key in plain:
        yield _by_name(definition, books, key)
    yield _by_cause(c.OUTPUT_DROPPED, books, "dropped", OUTPUT_DROPPED)
    yield _by_cause(c.OUTPUT_FAILED, books, "failed", OUTPUT_FAILED)
    yield _by_cause(c.OUTPUT_UNDECIDED, books, "undecided", OUTPUT_UNDECIDED)


def _recorder(recorder: Mapping[str, Any]) -> Iterator[Figure]:
    yield _state(c.RECORDER_STATE, recorder["state"], _RECORDER_STATES)
    lanes = recorder["lanes"]
    plain = (
        (c.RECORDER_OFFERED, "offered"),
        (c.RECORDER_RECORDED, "recorded"),
        (c.RECORDER_SKIPPED, "skipped"),
        (c.RECORDER_WAITING, "waiting"),
        (c.RECORDER_FOUND, "found"),
        (c.RECORDER_KEPT, "kept"),
    )
    for definition, key in plain:
        yield _by_name(definition, lanes, key)
    yield _by_cause(c.RECORDER_DROPPED, lanes, "dropped", RECORDER_DROPPED)
    yield _by_cause(c.RECORDER_REMOVED, lanes, "removed", RECORDER_REMOVED)
    yield _by_cause(c.RECORDER_REVIEWED, lanes, "reviewed", RECORDER_REVIEWED)
    if recorder.get("free_bytes") is not None:
        yield _single(c.RECORDER_BYTES, recorder["bytes"])
        yield _single(c.RECORDER_FREE, recorder["free_bytes"])
    yield from _upload(recorder["upload"])


def _upload(upload: Mapping[str, Any]) -> Iterator[Figure]:
    yield _state(c.UPLOAD_STATE, upload["state"], _UPLOAD_STATES)
    lanes = upload["lanes"]
    plain = (
        (c.UPLOAD_FOUND, "found"),
        (c.UPLOAD_WANTED, "wanted"),
        (c.UPLOAD_UPLOADED, "uploaded"),
        (c.UPLOAD_WAITING, "waiting"),
    )
    for definition, key in plain:
        yield _by_name(definition, lanes, key)
    yield _by_cause(c.UPLOAD_LOST, lanes, "lost", UPLOAD_LOST)
    yield _single(c.UPLOAD_FAILED, upload["failed"])
    yield _single(c.UPLOAD_BYTES, upload["bytes"])


def _talk(report: Mapping[str, Any]) -> Iterator[Figure]:
    """Of the conversation with the nucleus, where there is one, and of calls."""
    state = Figure(c.DELIVERY_STATE)
    for name in DELIVERY_STATES if "delivery" in report else ():
        state.add(float(report["delivery"]["state"] == name), name)
    yield state
    for definition, key in ((c.TRIGGER_MESSAGES, "trigger_messages"), (c.COMMANDS, "commands"), (c.UNSENT, "unsent")):
        counted = Figure(definition)
        for label, count in report.get(key, {}).items():
            counted.add(count, label)
        yield counted


def _single(definition: Definition, value: float, *labels: str) -> Figure:
    figure = Figure(definition)
    figure.add(value, *labels)
    return figure


def _by_name(definition: Definition, parts: Mapping[str, Mapping[str, Any]], key: str) -> Figure:
    figure = Figure(definition)
    for name, part in parts.items():
        figure.add(part[key], name)
    return figure


def _state(definition: Definition, state: str, names: Sequence[str]) -> Figure:
    """1 for the state that it is in, 0 for each other one."""
    figure = Figure(definition)
    for name in names:
        figure.add(float(state == name), name)
    return figure


def _by_cause(
    definition: Definition, parts: Mapping[str, Mapping[str, Any]], key: str, known: Tuple[str, ...]
) -> Figure:
    figure = Figure(definition)
    for name, part in parts.items():
        for cause, count in {**dict.fromkeys(known, 0), **part[key]}.items():
            figure.add(count, name, cause)
    return figure


def _states(definition: Definition, parts: Mapping[str, Mapping[str, Any]], key: str, known: Tuple[str, ...]) -> Figure:
    figure = Figure(definition)
    for name, part in parts.items():
        for state in known:
            figure.add(float(part[key] == state), name, state)
    return figure
