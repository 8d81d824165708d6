"""The bridge to a real MQTT broker (paho-mqtt). One client object is one session; nothing is sent twice here: what to
send again after a reconnect is the nucleus's decision, and the two nuclei decide differently.
"""

from __future__ import annotations

import contextlib
import threading
import uuid
from typing import Any, Callable, Dict, Optional

from edge_agent.errors import MissingExtraError

_RETRY_SECONDS = 0.5
_KEEP_ALIVE_SECONDS = 30


class BrokerBridge:
    """Keeps a session with the broker and tries again for as long as it runs.

    Args:
        host: the broker's host.
        port: its port, without TLS.
        call: runs a function on the event loop; the callbacks below are called through it.
        on_message: a message of a subscription: topic, payload.
        on_acknowledged: the broker has taken a QoS 1 message: the number given to `publish`.
        on_connected: a session began.
        on_lost: a session ended.

    Raises:
        MissingExtraError: paho-mqtt is not installed.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        call: Callable[..., None],
        on_message: Callable[[str, bytes], Any],
        on_acknowledged: Callable[[int], Any],
        on_connected: Callable[[], Any],
        on_lost: Callable[[], Any],
    ) -> None:
        try:
            from paho.mqtt import client as mqtt
        except ImportError as error:
            raise MissingExtraError("paho-mqtt", "broker") from error
        self._mqtt = mqtt
        self._address = (host, port)
        self._call = call
        self._on_message = on_message
        self._on_acknowledged = on_acknowledged
        self._on_connected = on_connected
        self._on_lost = on_lost
        self._client: Optional[Any] = None
        self._numbers: Dict[int, int] = {}
        self._stopping = threading.Event()
        self._allowed = threading.Event()
        self._allowed.set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="nucleus-broker", daemon=True)

    @property
    def connected(self) -> bool:
        """True between the broker's welcome and the end of the session."""
        return self._client is not None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._allowed.set()
        self._over.set()
        self._thread.join(timeout=10.0)

    def pause(self) -> None:
        """End the session and stay away until `resume`."""
        self._allowed.clear()
        self.drop()

    def resume(self) -> None:
        self._allowed.set()

    def drop(self) -> None:
        """End the session; a new one begins by itself."""
        self._client = None
        self._over.set()

    def publish(self, number: int, topic: str, payload: bytes, qos: int) -> None:
        client = self._client
        if client is not None:
            sent = client.publish(topic, payload, qos=qos)
            if qos:
                self._numbers[sent.mid] = number

    def subscribe(self, topic_filter: str, qos: int) -> None:
        client = self._client
        if client is not None:
            # Like the nuclei, not waiting for the broker's answer: a filter it does not like is not reported.
            with contextlib.suppress(ValueError):
                client.subscribe(topic_filter, qos)

    def unsubscribe(self, topic_filter: str) -> None:
        client = self._client
        if client is not None:
            with contextlib.suppress(ValueError):
                client.unsubscribe(topic_filter)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._allowed.wait()
            if self._stopping.is_set():
                return
            self._over.clear()
            self._session()
            self._stopping.wait(_RETRY_SECONDS)

    def _session(self) -> None:
        client = self._new_client()
        try:
            client.connect(*self._address, keepalive=_KEEP_ALIVE_SECONDS)
        except (OSError, ValueError):
            return  # nobody there: the nucleus is offline until somebody is
        client.loop_start()
        self._over.wait()
        client.disconnect()
        client.loop_stop()
        self._call(self._ended, client)

    def _new_client(self) -> Any:
        client = self._mqtt.Client(
            self._mqtt.CallbackAPIVersion.VERSION2, client_id=f"nucleus-{uuid.uuid4().hex}", clean_session=True
        )
        client.max_inflight_messages_set(0)  # the nucleus keeps its own window

        def connected(client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
            if reason.is_failure:
                self._over.set()
            else:
                self._call(self._began, client)

        def received(_client: Any, _data: Any, message: Any) -> None:
            self._call(self._on_message, message.topic, bytes(message.payload))

        def published(client: Any, _data: Any, mid: int, _reason: Any, _properties: Any) -> None:
            self._call(self._published, client, mid)

        client.on_connect = connected
        client.on_message = received
        client.on_publish = published
        client.on_disconnect = lambda *_: self._over.set()
        return client

    # The functions below run on the event loop.

    def _began(self, client: Any) -> None:
        if self._over.is_set() or not self._allowed.is_set():
            return
        self._client = client
        self._numbers.clear()
        self._on_connected()

    def _ended(self, client: Any) -> None:
        if self._client is client:
            self._client = None
        self._on_lost()

    def _published(self, client: Any, mid: int) -> None:
        number = self._numbers.pop(mid, None) if self._client is client else None
        if number is not None:
            self._on_acknowledged(number)
