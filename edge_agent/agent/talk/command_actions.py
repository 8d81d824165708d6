"""What each command does."""

from __future__ import annotations

import logging
import threading
from typing import Any, Callable, Dict, List, Optional, Type

from edge_agent.agent.inspector import Inspector
from edge_agent.agent.talk import commands as c
from edge_agent.agent.talk.picture import small_jpeg
from edge_agent.agent.talk.status import MAX_DOCUMENT_BYTES, Status, fit
from edge_agent.agent.talk.updates import UpdateHold
from edge_agent.clock import Clock
from edge_agent.detector import EdgeAgentClient
from edge_agent.detector.starting import ensure_running, ensure_stopped
from edge_agent.errors import ConfigError, DetectorTimeoutError
from edge_agent.triggers import Trigger

_log = logging.getLogger(__name__)

_CALL_S = 10.0
_START_S = 30.0
_STOP_S = 30.0

# A paused lane is at rest when nothing was in flight for the second of these: longer than its camera's one look.
_REST_WITHIN_S = 15.0
_REST_S = 0.5
_LOOK_S = 0.05

# Of a reply, beside the picture.
_ROOM_S = 900


class Actions:
    """Performs commands on the inspector. Safe to use from any thread.

    Args:
        inspector: what is commanded.
        status: tells how it is.
        hold: of updates.
        clock: time.
        stop: ends waits.
    """

    def __init__(
        self, inspector: Inspector, status: Status, hold: UpdateHold, clock: Clock, stop: threading.Event
    ) -> None:
        self._inspector = inspector
        self._status = status
        self._hold = hold
        self._clock = clock
        self._stop = stop
        self._by_kind: Dict[Type[c.Command], Callable[[Any, int], Dict[str, Any]]] = {
            c.TriggerCommand: self._trigger,
            c.PauseCommand: self._pause,
            c.ResumeCommand: self._resume,
            c.StatusCommand: self._tell,
            c.SnapshotCommand: self._snapshot,
            c.RecordCommand: self._record,
            c.StartModelCommand: self._start_model,
            c.StopModelCommand: self._stop_model,
            c.SwitchModelCommand: self._switch_model,
            c.SetThresholdCommand: self._set_threshold,
            c.SetLogLevelCommand: self._set_log_level,
            c.HoldUpdatesCommand: self._hold_updates,
            c.ReleaseUpdatesCommand: self._release_updates,
        }

    def perform(self, command: c.AnyCommand, received_ns: int) -> Dict[str, Any]:
        """The result of a command.

        Raises:
            CommandError, EdgeAgentError: it was not done.
        """
        if self._stop.is_set():
            raise c.CommandError("refused", "the inspector is stopping")
        return self._by_kind[type(command)](command, received_ns)

    def _trigger(self, command: c.TriggerCommand, received_ns: int) -> Dict[str, Any]:
        trigger = Trigger("command", received_ns, command.trigger_id or command.id)
        lane = self._lane(command.lane)
        if not lane.trigger(trigger):
            raise c.CommandError("missed", f"lane {command.lane} cannot take a part now; the trigger is missed")
        return {"lane": command.lane, "trigger_id": trigger.id}

    def _pause(self, command: c.PauseCommand, _received_ns: int) -> Dict[str, Any]:
        names = self._names(command.lane)
        for name in names:
            self._lane(name).pause()
        return {"paused": names}

    def _resume(self, command: c.ResumeCommand, _received_ns: int) -> Dict[str, Any]:
        names = self._names(command.lane)
        for name in names:
            self._lane(name).resume()
        return {"resumed": names}

    def _tell(self, command: c.StatusCommand, _received_ns: int) -> Dict[str, Any]:
        document = self._status.document()
        if command.lane is not None:
            self._lane(command.lane)
            document["lanes"] = {command.lane: document["lanes"][command.lane]}
        return fit(document, MAX_DOCUMENT_BYTES - _ROOM_S)

    def _snapshot(self, command: c.SnapshotCommand, _received_ns: int) -> Dict[str, Any]:
        snapshot = self._lane(command.lane).snapshot(command.within_s)
        if snapshot is None:
            raise c.CommandError("timeout", f"lane {command.lane} inspected nothing within {command.within_s:g} s")
        inspection = snapshot.inspection or {}
        verdict = {
            key: inspection[key]
            for key in ("id", "sequence", "captured_at", "model", "is_anomalous", "confidence", "trigger_id")
            if key in inspection
        }
        image = small_jpeg(snapshot.pixels, MAX_DOCUMENT_BYTES - _ROOM_S - len(str(verdict)))
        return {"lane": command.lane, "inspection": verdict or None, "image": image}

    def _record(self, command: c.RecordCommand, _received_ns: int) -> Dict[str, Any]:
        self._lane(command.lane)
        try:
            asked = self._inspector.record(command.lane, command.frames, command.label)
        except ConfigError as error:
            raise c.CommandError("refused", str(error)) from error
        return {"lane": command.lane, "asked_for": asked}

    def _start_model(self, command: c.StartModelCommand, _received_ns: int) -> Dict[str, Any]:
        client = self._client()
        try:
            state = ensure_running(
                client, command.model, timeout_s=_START_S, clock=self._clock, stop=self._stop, start_again=False
            )
        finally:
            client.close()
        lanes = self._inspector.lanes()
        paused = [name for name in self._users(command.model) if name in lanes and lanes[name].paused()]
        return {"model": command.model, "state": state.status, "paused_lanes": paused}

    def _stop_model(self, command: c.StopModelCommand, _received_ns: int) -> Dict[str, Any]:
        """Pause who would start it again, let them finish, stop it; where that fails, nobody stays paused for it."""
        client = self._client()
        newly: List[str] = []
        try:
            client.describe(command.model)  # an unknown one pauses nobody
            for name in self._users(command.model):
                lane = self._lane(name)
                if not lane.paused():
                    lane.pause()
                    newly.append(name)
            self._wait_for_rest(self._users(command.model))
            state = ensure_stopped(client, command.model, timeout_s=_STOP_S, clock=self._clock)
        except BaseException:
            self._resume_again(newly)
            raise
        finally:
            client.close()
        return {"model": command.model, "state": state.status, "paused_lanes": self._users(command.model)}

    def _switch_model(self, command: c.SwitchModelCommand, _received_ns: int) -> Dict[str, Any]:
        before = self._settings(command.lane).model
        self._inspector.switch_model(command.lane, command.model)
        return {"lane": command.lane, "model": command.model, "before": before}

    def _set_threshold(self, command: c.SetThresholdCommand, _received_ns: int) -> Dict[str, Any]:
        before = self._settings(command.lane).threshold
        self._inspector.set_threshold(command.lane, command.threshold)
        return {"lane": command.lane, "threshold": command.threshold, "before": before}

    def _set_log_level(self, command: c.SetLogLevelCommand, _received_ns: int) -> Dict[str, Any]:
        root = logging.getLogger()
        before = logging.getLevelName(root.level).lower()
        root.setLevel(command.level.upper())
        return {"level": command.level, "before": before}

    def _hold_updates(self, command: c.HoldUpdatesCommand, _received_ns: int) -> Dict[str, Any]:
        self._hold.hold(command.for_s)
        return {"held_for_s": command.for_s}

    def _release_updates(self, _command: c.ReleaseUpdatesCommand, _received_ns: int) -> Dict[str, Any]:
        self._hold.release()
        return {}

    def _lane(self, name: str) -> Any:
        try:
            return self._inspector.lane(name)
        except ConfigError as error:
            raise c.CommandError("not_found", str(error)) from error

    def _settings(self, name: str) -> Any:
        self._lane(name)
        return self._inspector.settings.lanes[name]

    def _names(self, lane: Optional[str]) -> List[str]:
        if lane is None:
            return list(self._inspector.lanes())
        self._lane(lane)
        return [lane]

    def _users(self, model: str) -> List[str]:
        return [name for name, lane in self._inspector.settings.lanes.items() if lane.model == model]

    def _client(self) -> EdgeAgentClient:
        return EdgeAgentClient(self._inspector.settings.edge_agent_socket, deadline_s=_CALL_S)

    def _resume_again(self, names: List[str]) -> None:
        lanes = self._inspector.lanes()
        for name in names:
            if name in lanes:
                lanes[name].resume()

    def _wait_for_rest(self, names: List[str]) -> None:
        started_ns = quiet_ns = self._clock.monotonic_ns()
        while True:
            now_ns = self._clock.monotonic_ns()
            books = self._inspector.accounting()
            if any(books[name].in_flight for name in names if name in books):
                quiet_ns = now_ns
            if now_ns - quiet_ns > _REST_S * 1e9:
                return
            if now_ns - started_ns > _REST_WITHIN_S * 1e9:
                raise DetectorTimeoutError(", ".join(names), f"still inspect a part after {_REST_WITHIN_S:g} s")
            if self._clock.wait(self._stop, _LOOK_S):
                raise c.CommandError("refused", "the inspector is stopping")
