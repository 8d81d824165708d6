"""Spool to AWS IoT Core, through Greengrass IPC, on a thread of its own: publishing never blocks inspection.

A success of PublishToIoTCore means that the nucleus took the message, not that the cloud has it.
"""

from __future__ import annotations

import logging
import threading
from typing import Callable, Optional, Protocol

from edge_agent.backoff import Backoff
from edge_agent.clock import Clock
from edge_agent.errors import IpcError, IpcInvalidError, IpcUnavailableError
from edge_agent.outage import Outage
from edge_agent.spool import MemorySpool, Receipt

_log = logging.getLogger(__name__)

_LOOK_S = 0.2


class IotCore(Protocol):
    """What publishes: edge_agent.greengrass.ipc.IpcClient."""

    def publish_to_iot_core(self, topic: str, payload: bytes, *, qos: int) -> None:
        """Raises IpcError."""

    def close(self) -> None:
        """Any number of times."""


class Publisher:
    """Publishes in order, one at a time, and tries again for ever with jittered back-off."""

    def __init__(self, spool: MemorySpool, connect: Callable[[], IotCore], topic: str, qos: int, clock: Clock) -> None:
        self._spool = spool
        self._connect = connect
        self._topic = topic
        self._qos = qos
        self._clock = clock
        self._client: Optional[IotCore] = None
        self._stop = threading.Event()
        self._faulty = threading.Event()
        self._backoff = Backoff()
        self._outage = Outage(_log, f"publishing to {topic}", topic=topic)
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
            while not self._stop.is_set():
                receipt = self._spool.take(_LOOK_S)
                if receipt is not None:
                    self._deliver(receipt)
            self._disconnect()
        except Exception:  # noqa: BLE001 - a publisher that died unseen would lose every inspection from then on
            _log.exception("publishing to %s: stopped by an internal error", self._topic, extra={"topic": self._topic})
            self._faulty.set()

    def _deliver(self, receipt: Receipt) -> None:
        while True:
            try:
                self._publish(receipt.entry.body)
            except IpcInvalidError as error:
                receipt.expire("refused")
                _log.error("publishing to %s: inspection lost: %s", self._topic, error, extra={"topic": self._topic})
                return
            except IpcError as error:
                if isinstance(error, IpcUnavailableError):
                    self._disconnect()
                self._outage.report(error)
                if self._clock.wait(self._stop, self._backoff.next()):
                    receipt.keep()
                    return
            else:
                receipt.delivered()
                self._outage.over()
                self._backoff.reset()
                return

    def _publish(self, body: bytes) -> None:
        if self._client is None:
            self._client = self._connect()
        self._client.publish_to_iot_core(self._topic, body, qos=self._qos)

    def _disconnect(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
