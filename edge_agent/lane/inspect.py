"""The lane's second thread: frame to verdict to spool. It owns retry: a frame is lost only for a counted cause."""

from __future__ import annotations

import logging
import re
import threading
import uuid
from dataclasses import dataclass
from typing import Dict, Optional, Type

from edge_agent.backoff import Backoff
from edge_agent.clock import Clock
from edge_agent.detector import Detection, ModelSession
from edge_agent.errors import (
    DetectorError,
    DetectorTimeoutError,
    EdgeAgentError,
    ModelFailedError,
    ModelNotFoundError,
    ModelNotRunningError,
    RequestRefusedError,
    ServerBusyError,
    ServerFaultError,
    ServerUnavailableError,
    SharedMemoryError,
)
from edge_agent.frame import Frame
from edge_agent.inspection import Inspection, Timings
from edge_agent.lane.buffer import FrameBuffer
from edge_agent.lane.observations import LaneObservations
from edge_agent.lane.onlookers import Onlookers
from edge_agent.lane.parts import Parts
from edge_agent.lane.tap import Tap
from edge_agent.lane.threshold import judge
from edge_agent.metrics import Accounting
from edge_agent.outage import Outage
from edge_agent.spool import Entry, Spool

_log = logging.getLogger(__name__)

_LOOK_S = 0.2
_TIMEOUTS_PER_FRAME = 3

# Nothing is wrong with the frame: it waits until the agent can take it.
_PASSING = (ServerUnavailableError, ServerBusyError, ModelNotRunningError, ModelNotFoundError, ModelFailedError)

_CAUSES: Dict[Type[EdgeAgentError], str] = {
    SharedMemoryError: "shared_memory",
    RequestRefusedError: "refused",
    DetectorTimeoutError: "timeout",
    ServerFaultError: "server_fault",
}

# The last part of a model's ARN is its version: arn:aws:lookoutvision:REGION:ACCOUNT:model/PROJECT/VERSION
_ARN_VERSION = re.compile(r":model/[^/]+/(?P<version>[^/]+)$")


@dataclass(frozen=True)
class Identity:
    """What every inspection of a lane says about where it came from."""

    thing: str
    run: str
    camera: str
    model: str


class _StoppedError(Exception):
    """The lane was stopped while a frame waited for the agent."""


class InspectLoop:
    def __init__(
        self,
        identity: Identity,
        session: ModelSession,
        frames: FrameBuffer,
        spool: Spool,
        accounting: Accounting,
        clock: Clock,
        stop: threading.Event,
        tap: Tap,
        parts: Parts,
        observations: LaneObservations,
        onlookers: Onlookers,
    ) -> None:
        self._identity = identity
        self._session = session
        self._frames = frames
        self._spool = spool
        self._accounting = accounting
        self._clock = clock
        self._stop = stop
        self._tap = tap
        self._parts = parts
        self._observations = observations
        self._onlookers = onlookers
        # Both may change while the lane runs; one assignment each.
        self.threshold: Optional[float] = None
        self.decide_by_ms = 0.0
        #: Of the newest inspection; None before the first, or where the Edge Agent does not tell.
        self.model_version: Optional[str] = None
        self._outage = Outage(_log, f"lane {identity.camera}: model", lane=identity.camera)

    def model_trouble(self) -> Optional[str]:
        """Why the model does not answer now; None while it does, and before the first frame."""
        return self._outage.reason

    def run(self) -> None:
        try:
            while not self._frames.ended():
                frame = self._frames.get(_LOOK_S)
                if frame is not None:
                    self._settle(frame)
                elif self._stop.is_set():
                    return
        finally:
            self._session.close()

    def _settle(self, frame: Frame) -> None:
        """Bring the frame to exactly one counted place and give its slot back."""
        taken_ns = self._clock.monotonic_ns()
        inspection: Optional[Inspection] = None
        try:
            detection = judge(self._decide(frame), self.threshold)
        except _StoppedError:
            self._accounting.drop("stopped")
        except (DetectorError, SharedMemoryError) as error:
            cause = _CAUSES.get(type(error), "server_fault")
            self._accounting.fail(cause)
            self._parts.lost(frame, cause)
            frame.settled()
            fields = {"lane": frame.camera, "sequence": frame.sequence, "cause": cause}
            _log.warning("lane %s: frame %d lost: %s", frame.camera, frame.sequence, error, extra=fields)
        except Exception:
            self._accounting.fail("internal")
            raise
        else:
            inspection = self._inspection(frame, detection, taken_ns)
            # First of all: a gate behind the camera waits for nothing else.
            self._parts.decided(frame, inspection)
            self._accounting.inspect()
            self._observations.note(inspection)
            # What the inspection was made from is kept until the disk has it.
            body = inspection.to_json()
            self._spool.put(Entry(frame.camera, frame.sequence, inspection.is_anomalous, body, safe=frame.settled))
            self._onlookers.look(frame, inspection, lambda: self._session.mask_pixels(detection))
        finally:
            if 0 < self.decide_by_ms < (self._clock.monotonic_ns() - frame.captured_ns) / 1e6:
                self._accounting.be_late()
            self._tap.give(frame, inspection)
            frame.release()

    def _decide(self, frame: Frame) -> Detection:
        backoff = Backoff(first=0.1, cap=2.0)
        timeouts = 0
        while True:
            try:
                self._session.ensure_running(self._stop)
                detection = self._session.detect(frame.pixels, frame.placement)
            except DetectorTimeoutError as error:
                self._session.forget_mask()
                self._session.forget_state()
                timeouts += 1
                if timeouts == _TIMEOUTS_PER_FRAME:
                    raise
                self._outage.report(error)
            except _PASSING as error:
                if not isinstance(error, ServerBusyError):
                    self._session.forget_state()
                self._outage.report(error)
                if isinstance(error, ModelFailedError):
                    # Loading a broken model again and again costs the other models their share of the machine.
                    self._wait(10 * backoff.next())
            else:
                self._outage.over()
                return detection
            self._wait(backoff.next())

    def _wait(self, seconds: float) -> None:
        if self._clock.wait(self._stop, seconds):
            raise _StoppedError

    def _inspection(self, frame: Frame, detection: Detection, taken_ns: int) -> Inspection:
        decided_ns = self._clock.monotonic_ns()
        self.model_version = detection.model_version or self._arn_version()
        return Inspection(
            id=uuid.uuid4().hex,
            run=self._identity.run,
            thing=self._identity.thing,
            camera=frame.camera,
            sequence=frame.sequence,
            captured_at_ns=frame.captured_at_ns,
            model_component=self._identity.model,
            model_version=self.model_version,
            is_anomalous=detection.is_anomalous,
            confidence=detection.confidence,
            anomalies=detection.anomalies,
            timings=Timings(
                decode=(frame.decoded_ns - frame.captured_ns) / 1e6,
                wait=(taken_ns - frame.decoded_ns) / 1e6,
                detect=(decided_ns - taken_ns) / 1e6,
                total=(decided_ns - frame.captured_ns) / 1e6,
            ),
            image_width=frame.width,
            image_height=frame.height,
            source=frame.source,
            trigger_id=frame.trigger_id,
        )

    def _arn_version(self) -> Optional[str]:
        match = _ARN_VERSION.search(self._session.arn)
        return match.group("version") if match else None
