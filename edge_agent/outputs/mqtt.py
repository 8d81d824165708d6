"""An MQTT broker of the line: each part as a message that the broker confirms, and a retained state with a last will."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
import uuid
from typing import Any, Optional

from edge_agent.clock import Clock
from edge_agent.config import Settings
from edge_agent.errors import MissingExtraError, OutputError, OutputNotConnectedError, OutputTimeoutError
from edge_agent.outputs.base import Action, Output, OutputContext, SafeReason
from edge_agent.outputs.document import to_json
from edge_agent.outputs.password import read_password

_QOS = 1
_CHECK_S = 0.2


class MqttOutputSettings(Settings, frozen=True, tag_field="type", tag="mqtt"):
    """A broker.

    Attributes:
        host: name or address of the broker.
        port: its TCP port; 0: 8883 with TLS, else 1883.
        topic: of the parts; `{thing}` stands for the thing's name.
        retain: the broker keeps the newest part for whoever subscribes later.
        state_topic: of the retained state, which is `working`, `safe`, `stopped`, or, as the last will, `gone`; empty:
            none.
        tls: whether to speak TLS. The broker's certificate is always checked.
        ca_file: certificates that the broker's is checked against; empty: those of the system.
        cert_file: our certificate, PEM; empty: none.
        key_file: its private key, PEM.
        username: empty: none.
        password_file: a file that holds the password.
        keepalive_s: seconds, 1 to 3600: a broker that says nothing for one and a half times as long is gone.
        timeout_s: seconds that the broker may take to connect, and to confirm, 0.1 to 60.
    """

    host: str
    port: int = 0
    topic: str = "edge-agent/{thing}/inspections"
    retain: bool = False
    state_topic: str = "edge-agent/{thing}/state"
    tls: bool = False
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    username: str = ""
    password_file: str = ""
    keepalive_s: int = 10
    timeout_s: float = 2.0

    def __post_init__(self) -> None:
        if not self.host:
            raise ValueError("`host` must name the broker")
        if not 0 <= self.port <= 65535:
            raise ValueError("`port` must be 0 to 65535")
        if not self.tls and (self.ca_file or self.cert_file or self.key_file):
            raise ValueError("`ca_file`, `cert_file` and `key_file` need `tls`")
        if bool(self.cert_file) != bool(self.key_file):
            raise ValueError("`cert_file` and `key_file` go together")
        if self.password_file and not self.username:
            raise ValueError("`password_file` needs `username`")
        if not 1 <= self.keepalive_s <= 3600:
            raise ValueError("`keepalive_s` must be 1 to 3600")
        if not 0.1 <= self.timeout_s <= 60:
            raise ValueError("`timeout_s` must be 0.1 to 60")


class MqttOutput(Output):
    def __init__(self, settings: MqttOutputSettings, context: OutputContext) -> None:
        self._settings = settings
        self._thing = context.thing
        self._clock: Clock = context.clock
        self._subject = f"mqtt {settings.host}:{settings.port or (8883 if settings.tls else 1883)}"
        self._client: Optional[Any] = None
        self._welcome = threading.Event()
        self._gone = threading.Event()
        self._refusal = ""
        self._check_ns: Optional[int] = None

    def open(self) -> None:
        self.close()
        try:
            from paho.mqtt import client as mqtt
        except ImportError as error:
            raise MissingExtraError("paho-mqtt", "mqtt") from error
        settings = self._settings
        client = self._new_client(mqtt)
        self._welcome.clear()
        self._gone.clear()
        self._refusal = ""
        try:
            client.connect(settings.host, settings.port or (8883 if settings.tls else 1883), settings.keepalive_s)
        except (OSError, ValueError) as error:
            raise OutputNotConnectedError(self._subject, f"cannot be reached ({error})") from error
        client.loop_start()
        self._client = client
        if not self._welcome.wait(settings.timeout_s):
            raise OutputTimeoutError(self._subject, f"no welcome within {settings.timeout_s:g} s")
        if self._refusal:
            raise OutputError(self._subject, f"refuses the connection ({self._refusal})", "Check user and rights.")
        self._check_ns = self._clock.monotonic_ns()

    def apply(self, action: Action) -> None:
        self._publish(self._settings.topic, to_json(action, self._thing), retain=self._settings.retain)

    def safe(self, reason: SafeReason) -> None:
        self._tell("stopped" if reason == "stop" else "safe", reason)

    def ready(self) -> None:
        self._tell("working", "")

    def due_ns(self) -> Optional[int]:
        return self._check_ns

    def tick(self) -> None:
        """The network's own thread notices that the broker is gone; this tells the runner."""
        self._check_ns = self._clock.monotonic_ns() + round(_CHECK_S * 1e9)
        if self._gone.is_set():
            raise OutputNotConnectedError(self._subject, "the broker is gone")

    def close(self) -> None:
        client, self._client, self._check_ns = self._client, None, None
        if client is not None:
            # In this order the broker hears a goodbye, and keeps the last will to itself, only where it still listens.
            client.disconnect()
            client.loop_stop()

    def _new_client(self, mqtt: Any) -> Any:
        settings = self._settings
        client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=f"edge-agent-{uuid.uuid4().hex}",
            reconnect_on_failure=False,
        )
        client.connect_timeout = settings.timeout_s
        client.on_connect = self._connected
        client.on_disconnect = lambda *_: self._gone.set()
        if settings.state_topic:
            client.will_set(settings.state_topic, _state("gone", ""), qos=_QOS, retain=True)
        if settings.username:
            password = read_password(settings.password_file) if settings.password_file else None
            client.username_pw_set(settings.username, password)
        if settings.tls:
            client.tls_set_context(self._tls())
        return client

    def _connected(self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._refusal = str(reason)
        self._welcome.set()

    def _tls(self) -> ssl.SSLContext:
        settings = self._settings
        try:
            context = ssl.create_default_context(cafile=settings.ca_file or None)
            if settings.cert_file:
                context.load_cert_chain(settings.cert_file, settings.key_file)
        except OSError as error:  # ssl.SSLError is one
            raise OutputError(self._subject, f"its TLS files cannot be used ({error})", "Check the paths.") from error
        return context

    def _tell(self, state: str, reason: str) -> None:
        if self._settings.state_topic:
            self._publish(self._settings.state_topic, _state(state, reason), retain=True)

    def _publish(self, topic: str, payload: bytes, *, retain: bool) -> None:
        client = self._client
        if client is None or self._gone.is_set():
            raise OutputNotConnectedError(self._subject, "the broker is gone")
        sent = client.publish(topic, payload, qos=_QOS, retain=retain)
        with contextlib.suppress(ValueError, RuntimeError):  # not sent: `is_published` below says so, too
            sent.wait_for_publish(self._settings.timeout_s)
        if sent.rc != 0 or self._gone.is_set():
            raise OutputNotConnectedError(self._subject, "the broker is gone")
        if not sent.is_published():
            raise OutputTimeoutError(self._subject, f"no confirmation within {self._settings.timeout_s:g} s")


def _state(state: str, reason: str) -> bytes:
    return json.dumps({"state": state, **({"reason": reason} if reason else {})}).encode("ascii")
