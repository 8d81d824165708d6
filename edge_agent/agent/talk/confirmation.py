"""Delivery truth: a heartbeat goes to AWS IoT Core and comes back, or delivery is called unconfirmed.

A success of PublishToIoTCore says only that the nucleus took a message. A heartbeat is handed over behind the
inspections, on the same way and with QoS 1; when it is back, what was handed over before it counts as confirmed.
Limit: it proves the way and not each message. Nucleus lite loses what it had under way when its connection breaks.
"""

from __future__ import annotations

import json
import logging
import threading
import uuid
from collections import OrderedDict
from typing import Any, Callable, Dict, Optional, Tuple

from edge_agent.agent.talk.outbox import Outbox
from edge_agent.agent.talk_settings import ConfirmSettings
from edge_agent.clock import Clock
from edge_agent.errors import IpcError
from edge_agent.greengrass.session import NucleusSession

_log = logging.getLogger(__name__)

_SUBSCRIPTION = "echo of heartbeats"

# Heartbeats under way of which the counts are remembered.
_REMEMBER = 64

# While nothing comes back, heartbeats that the nucleus took fill its spool: fewer of them, then.
_SELDOM_S = 300.0

# A heartbeat on its way for so long gives reason to subscribe anew.
_LATE_PART = 0.5


class Confirmation:
    """`tick` is called about every second by one thread; the rest is safe to use from any.

    Args:
        session: where heartbeats come back.
        outbox: where they go.
        delivered: inspections handed over so far, by lane.
        clock: time.
    """

    def __init__(
        self, session: NucleusSession, outbox: Outbox, delivered: Callable[[], Dict[str, int]], clock: Clock
    ) -> None:
        self._session = session
        self._outbox = outbox
        self._delivered = delivered
        self._clock = clock
        self._settings = ConfirmSettings()
        self._lock = threading.Lock()
        self._run = uuid.uuid4().hex
        self._number = 0
        # By number: when it was made, and what was handed over before.
        self._under_way: OrderedDict[int, Tuple[int, Dict[str, int]]] = OrderedDict()
        self._confirmed: Dict[str, int] = {}
        self._waiting_since_ns: Optional[int] = None
        self._last_beat_ns: Optional[int] = None
        self._renewed_ns = 0
        self._taken_at_ns: Optional[int] = None
        self._beats = {"sent": 0, "refused": 0, "back": 0, "renewed": 0, "unconfirmed_times": 0}
        self._state = "off"

    def configure(self, settings: ConfirmSettings) -> None:
        """Also while it runs."""
        with self._lock:
            if settings == self._settings:
                return
            before, self._settings = self._settings, settings
            self._under_way.clear()
            self._waiting_since_ns = self._last_beat_ns = None
            self._state = "off" if settings.by == "none" else "pending"
        if before.by == "echo":
            self._session.unsubscribe(_SUBSCRIPTION)
        if settings.by == "echo":
            self._session.subscribe(
                _SUBSCRIPTION, lambda client: client.subscribe_to_iot_core(settings.topic, self._heard)
            )

    def tick(self) -> None:
        """Send a heartbeat where one is due, and judge the time since the oldest that is not back."""
        settings = self._settings
        if settings.by == "none":
            return
        now_ns = self._clock.monotonic_ns()
        with self._lock:
            waited_s = 0.0 if self._waiting_since_ns is None else (now_ns - self._waiting_since_ns) / 1e9
            tell = waited_s > settings.unconfirmed_after_s and self._state != "unconfirmed"
            if tell:
                self._state = "unconfirmed"
                self._beats["unconfirmed_times"] += 1
            late_s = settings.unconfirmed_after_s * _LATE_PART
            deaf = waited_s > late_s and now_ns - self._renewed_ns > late_s * 1e9
            if deaf:
                self._renewed_ns = now_ns
                self._beats["renewed"] += 1
            due = self._last_beat_ns is None or now_ns - self._last_beat_ns >= self._gap_s(waited_s) * 1e9
        if tell:
            _log.error(
                "delivery unconfirmed: no heartbeat came back for %.0f s (confirm.topic %s)", waited_s, settings.topic
            )
        if deaf and self._session.connected():
            # Nobody tells when a subscription has gone deaf; a heartbeat sent on the old one would not be heard.
            self._session.renew(_SUBSCRIPTION)
        if due:
            self._beat(settings, now_ns)

    def status(self) -> Dict[str, Any]:
        """State, counts of heartbeats, and for each lane how many inspections are confirmed."""
        with self._lock:
            if self._settings.by == "none":
                return {"state": "off"}
            return {"state": self._state, "heartbeats": dict(self._beats), "confirmed": dict(self._confirmed)}

    def _gap_s(self, waited_s: float) -> float:
        """Seconds between heartbeats: as set while they come back, or are refused; longer and longer where they are
        taken and stay away.
        """
        every_s = self._settings.every_s
        if waited_s <= self._settings.unconfirmed_after_s or self._taken_at_ns is None:
            return every_s
        return min(_SELDOM_S, max(every_s, waited_s / 4))

    def _beat(self, settings: ConfirmSettings, now_ns: int) -> None:
        # Counted before it is handed over: what goes after it is not confirmed by it.
        handed_over = self._delivered()
        with self._lock:
            self._number += 1
            number = self._number
            self._under_way[number] = (now_ns, handed_over)
            while len(self._under_way) > _REMEMBER:
                self._under_way.popitem(last=False)
            self._last_beat_ns = now_ns
            if self._waiting_since_ns is None:
                self._waiting_since_ns = now_ns
        payload = json.dumps({"version": 1, "run": self._run, "heartbeat": number}).encode()

        def done(error: Optional[IpcError]) -> None:
            with self._lock:
                self._beats["sent" if error is None else "refused"] += 1
                self._taken_at_ns = now_ns if error is None else None
                if error is not None:
                    self._under_way.pop(number, None)

        self._outbox.put(
            "heartbeat",
            lambda client: client.publish_to_iot_core(settings.topic, payload, qos=1),
            size=len(payload),
            newest_only=True,
            done=done,
        )

    def _heard(self, _topic: str, payload: bytes) -> None:
        number = self._number_in(payload)
        with self._lock:
            if number is None or number not in self._under_way or self._settings.by == "none":
                return
            for older in [other for other in self._under_way if other <= number]:
                _made_ns, handed_over = self._under_way.pop(older)
                for lane, count in handed_over.items():
                    self._confirmed[lane] = max(self._confirmed.get(lane, 0), count)
            self._waiting_since_ns = min((made for made, _counts in self._under_way.values()), default=None)
            self._beats["back"] += 1
            was, self._state = self._state, "confirmed"
        if was == "unconfirmed":
            _log.warning("delivery is confirmed again: a heartbeat came back")

    def _number_in(self, payload: bytes) -> Optional[int]:
        try:
            document = json.loads(payload[:1024])
        except (ValueError, RecursionError):
            return None
        if not isinstance(document, dict) or document.get("run") != self._run:
            return None
        number = document.get("heartbeat")
        return number if isinstance(number, int) else None
