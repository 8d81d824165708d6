"""Spool to AWS IoT Core, through Greengrass IPC, on a thread of its own: publishing never blocks inspection.

A success of PublishToIoTCore means that the nucleus took the message, not that the cloud has it.
"""

from __future__ import annotations

import logging
import threading
from typing import Callable, Literal, Optional, Protocol

from edge_agent.backoff import Backoff
from edge_agent.clock import Clock
from edge_agent.config import Settings
from edge_agent.errors import IpcError, IpcUnavailableError
from edge_agent.greengrass.pace import MessageSize, Pace
from edge_agent.inspection import BATCH_BYTES, MAX_MESSAGE_BYTES, to_message
from edge_agent.outage import Outage
from edge_agent.spool import Receipt, Spool

_log = logging.getLogger(__name__)

_LOOK_S = 0.2

# The classic nucleus: what it publishes itself, and its largest message.
_MAX_MESSAGES_PER_S, _MAX_BYTES_PER_S, _MAX_MESSAGE_BYTES = 100, 512_000, 131_072
# MQTT's part of a message beside topic and payload, as nucleus lite counts it.
_PACKET_BYTES = 8


class PublishSettings(Settings, frozen=True):
    """Where inspections go. The defaults are safe on both nuclei.

    Attributes:
        topic: of AWS IoT Core; `{thing}` stands for the thing's name.
        qos: 0 or 1.
        message_bytes: the largest message. Nucleus lite takes 7,000 (its limit depends on the topic), the classic
            nucleus 131,072; beyond 16,384 nothing is gained.
        batch: the most inspections in one message; 1: each in its own.
        messages_per_s: at most. The classic nucleus takes 100; nucleus lite has 10 under way at most, of all components.
        bytes_per_s: at most. The classic nucleus takes 512,000; nucleus lite has 15,000 bytes under way at most.
    """

    topic: str = "edge-agent/{thing}/inspections"
    qos: Literal[0, 1] = 1
    message_bytes: int = MAX_MESSAGE_BYTES
    batch: int = 100
    messages_per_s: float = 20.0
    bytes_per_s: float = 64_000.0

    def __post_init__(self) -> None:
        if not MAX_MESSAGE_BYTES <= self.message_bytes <= _MAX_MESSAGE_BYTES:
            raise ValueError(f"`message_bytes` must be from {MAX_MESSAGE_BYTES} to {_MAX_MESSAGE_BYTES}")
        if self.batch < 1:
            raise ValueError("`batch` must be at least 1")
        if not 0 < self.messages_per_s <= _MAX_MESSAGES_PER_S:
            raise ValueError(f"`messages_per_s` must be above 0 and at most {_MAX_MESSAGES_PER_S}")
        if not 0 < self.bytes_per_s <= _MAX_BYTES_PER_S:
            raise ValueError(f"`bytes_per_s` must be above 0 and at most {_MAX_BYTES_PER_S}")


class IotCore(Protocol):
    """What publishes: edge_agent.greengrass.ipc.IpcClient. Each call is bounded in time."""

    def publish_to_iot_core(self, topic: str, payload: bytes, *, qos: int) -> None:
        """Raises IpcError."""

    def close(self) -> None:
        """Any number of times."""


class Publisher:
    """Publishes in order, one message at a time, and tries again for ever with jittered back-off.

    No answer of the nucleus makes it give an inspection up: what it calls invalid today is a topic, a policy or a
    version that a deployment puts right.

    Args:
        spool: where inspections wait.
        connect: gives a connection; called again after one was lost.
        settings: with the thing's name in the topic.
        clock: time.
    """

    def __init__(self, spool: Spool, connect: Callable[[], IotCore], settings: PublishSettings, clock: Clock) -> None:
        self._spool = spool
        self._connect = connect
        self._settings = settings
        self._clock = clock
        self._client: Optional[IotCore] = None
        self._stop = threading.Event()
        self._faulty = threading.Event()
        self._pace = Pace(settings.messages_per_s, settings.bytes_per_s, clock)
        self._size = MessageSize(settings.message_bytes)
        self._backoff = Backoff()
        self._outage = Outage(_log, f"publishing to {settings.topic}", topic=settings.topic)
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def faulty(self) -> bool:
        """Whether a fault of ours stopped it; the log has the traceback."""
        return self._faulty.is_set()

    def close(self, timeout: float) -> None:
        """End after the message at hand; what is not delivered stays in the spool."""
        self._stop.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        try:
            while not self._clock.wait(self._stop, self._pace.seconds_left()):
                receipt = self._spool.take(self._size.now - BATCH_BYTES, self._settings.batch, _LOOK_S)
                if receipt is not None:
                    self._deliver(receipt)
            self._disconnect()
        except Exception:  # noqa: BLE001 - a publisher that died unseen would lose every inspection from then on
            topic = self._settings.topic
            _log.exception("publishing to %s: stopped by an internal error", topic, extra={"topic": topic})
            self._faulty.set()

    def _deliver(self, receipt: Receipt) -> None:
        message = to_message(receipt.bodies)
        began_ns = self._clock.monotonic_ns()
        try:
            self._publish(message)
        except IpcError as error:
            receipt.keep()
            self._size.failed(len(message))
            self._pace.refused()
            if isinstance(error, IpcUnavailableError):
                self._disconnect()
            self._outage.report(error)
            self._clock.wait(self._stop, self._backoff.next())
        except BaseException:
            receipt.keep()
            raise
        else:
            self._pace.sent(len(message) + len(self._settings.topic.encode()) + _PACKET_BYTES, began_ns)
            receipt.delivered()
            self._note_size(len(message))
            self._outage.over()
            self._backoff.reset()

    def _note_size(self, size: int) -> None:
        tried = not self._size.given_up
        self._size.sent(size)
        if tried and self._size.given_up:
            _log.warning("publish.message_bytes: the nucleus takes no such large messages; using %d", self._size.now)

    def _publish(self, message: bytes) -> None:
        if self._client is None:
            self._client = self._connect()
        self._client.publish_to_iot_core(self._settings.topic, message, qos=self._settings.qos)

    def _disconnect(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
