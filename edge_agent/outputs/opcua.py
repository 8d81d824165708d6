"""Nodes of an OPC UA server that are written: what was decided, and the output's state."""

from __future__ import annotations

import logging
import struct
from typing import Any, Dict, List, Literal, Optional, Tuple

import msgspec

from edge_agent.config import Settings
from edge_agent.errors import MissingExtraError, OutputError, OutputNotConnectedError, OutputTimeoutError
from edge_agent.outputs.base import Action, Output, OutputContext, SafeReason
from edge_agent.outputs.decision import SAFE, classes, decision
from edge_agent.outputs.document import to_json
from edge_agent.outputs.event_loop import EventLoop
from edge_agent.outputs.password import read_password

# What is text; the others are numbers.
_TEXTS = ("state", "classes", "document")


class OpcUaNodes(Settings, frozen=True):
    """Nodes, such as `ns=2;s=Line.Verdict` or `ns=3;i=1004`. Empty: not written; at least one is needed.

    Attributes:
        state: text: `safe`, `working` or `stopped`.
        count: number: of actions, from 1 on.
        verdict: number: 0 safe state, 1 normal, 2 anomalous, 3 undecided.
        confidence: number: in 1/1000.
        area: number: of all classes together, in 1/10000 of the image.
        sequence: number: of the frame.
        classes: text: the names of the classes that were found, with commas.
        document: text: the part as a message of `mqtt`.
    """

    state: str = ""
    count: str = ""
    verdict: str = ""
    confidence: str = ""
    area: str = ""
    sequence: str = ""
    classes: str = ""
    document: str = ""


class OpcUaOutputSettings(Settings, frozen=True, tag_field="type", tag="opcua"):
    """An OPC UA server whose nodes are written, all of a part in one request.

    Attributes:
        url: of its endpoint, `opc.tcp://…`, without a password.
        nodes: what is written where.
        security: `none`, `sign`, or `sign_and_encrypt`, with the policy Basic256Sha256.
        cert_file: our certificate, PEM or DER; needed with security.
        key_file: its private key, PEM.
        server_cert_file: the server's certificate, PEM or DER; no other one is talked to.
        application_uri: ours, as our certificate has it.
        username: empty: anonymous. Needs security.
        password_file: a file that holds the password.
        timeout_s: seconds that the server may take to connect, and to confirm, 0.1 to 60.
        check_s: seconds between looks whether an idle server is there, 0.1 to 3600; 0: none.
    """

    url: str
    nodes: OpcUaNodes
    security: Literal["none", "sign", "sign_and_encrypt"] = "none"
    cert_file: str = ""
    key_file: str = ""
    server_cert_file: str = ""
    application_uri: str = "urn:edge-agent"
    username: str = ""
    password_file: str = ""
    timeout_s: float = 2.0
    check_s: float = 1.0

    def __post_init__(self) -> None:
        if not self.url.startswith("opc.tcp://") or "@" in self.url:
            raise ValueError("`url` must be opc.tcp://HOST:PORT…, without user and password")
        if not any(msgspec.structs.astuple(self.nodes)):
            raise ValueError("`nodes` must say what is written")
        files = (self.cert_file, self.key_file, self.server_cert_file)
        if all(files) != (self.security != "none") or (any(files) and not all(files)):
            raise ValueError("`cert_file`, `key_file` and `server_cert_file` go together, and with `security`")
        if self.username and self.security == "none":
            raise ValueError("`username` needs `security`: the password would be sent in the open")
        if bool(self.username) != bool(self.password_file):
            raise ValueError("`username` and `password_file` go together")
        if not 0.1 <= self.timeout_s <= 60:
            raise ValueError("`timeout_s` must be 0.1 to 60")
        if self.check_s != 0 and not 0.1 <= self.check_s <= 3600:
            raise ValueError("`check_s` must be 0.1 to 3600, or 0 for none")


class OpcUaOutput(Output):
    def __init__(self, settings: OpcUaOutputSettings, context: OutputContext) -> None:
        self._settings = settings
        self._thing = context.thing
        self._clock = context.clock
        self._subject = f"opcua {settings.url}"
        self._nodes = {name: node for name, node in msgspec.structs.asdict(settings.nodes).items() if node}
        # By name: the node, and the type of its value.
        self._found: Dict[str, Tuple[Any, Any]] = {}
        self._loop: Optional[EventLoop] = None
        self._client: Optional[Any] = None
        self._check_ns: Optional[int] = None
        self._count = 0

    def open(self) -> None:
        self.close()
        try:
            import asyncua
        except ImportError as error:
            raise MissingExtraError("asyncua", "opcua") from error
        # What it has to say is in our errors, once.
        logging.getLogger("asyncua").setLevel(logging.CRITICAL + 1)
        password = read_password(self._settings.password_file) if self._settings.username else ""
        self._loop = EventLoop("opcua")
        self._call(self._connect(asyncua, password))
        self._heard()

    def apply(self, action: Action) -> None:
        self._count += 1
        verdict, confidence, area = decision(action)
        self._write(
            state="working",
            count=self._count,
            verdict=verdict,
            confidence=confidence,
            area=area,
            sequence=action.part.sequence or 0,
            classes=",".join(name for name, _area in classes(action)),
            document=to_json(action, self._thing).decode("ascii"),
        )

    def safe(self, reason: SafeReason) -> None:
        state = "stopped" if reason == "stop" else "safe"
        self._write(state=state, verdict=SAFE, confidence=0, area=0, sequence=0, classes="", document="")

    def ready(self) -> None:
        self._write(state="working")

    def due_ns(self) -> Optional[int]:
        return self._check_ns

    def tick(self) -> None:
        if self._check_ns is not None and self._clock.monotonic_ns() >= self._check_ns:
            node, _kind = next(iter(self._found.values()))
            self._call(node.read_value())
            self._heard()

    def close(self) -> None:
        loop, self._loop, client, self._client = self._loop, None, self._client, None
        self._check_ns, self._found = None, {}
        if loop is not None:
            loop.close(None if client is None else client.disconnect(), self._settings.timeout_s)

    async def _connect(self, asyncua: Any, password: str) -> None:
        settings = self._settings
        client = asyncua.Client(settings.url, timeout=settings.timeout_s)
        client.application_uri = settings.application_uri
        if settings.security != "none":
            from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256

            modes = asyncua.ua.MessageSecurityMode
            await client.set_security(
                SecurityPolicyBasic256Sha256,
                certificate=settings.cert_file,
                private_key=settings.key_file,
                server_certificate=settings.server_cert_file,
                mode=modes.Sign if settings.security == "sign" else modes.SignAndEncrypt,
            )
        if settings.username:
            client.set_user(settings.username)
            client.set_password(password)
        self._client = client
        await client.connect()
        for name, address in self._nodes.items():
            node = client.get_node(address)
            kind = await node.read_data_type_as_variant_type()
            if name in _TEXTS and kind is not asyncua.ua.VariantType.String:
                raise OutputError(self._subject, f"its node {address} holds no text", f"Check `nodes.{name}`.")
            self._found[name] = (node, kind)

    def _write(self, **values: Any) -> None:
        if self._client is None:
            raise OutputNotConnectedError(self._subject, "is not connected")
        from asyncua import ua

        nodes: List[Any] = []
        written: List[Any] = []
        for name, (node, kind) in self._found.items():
            if name in values:
                nodes.append(node)
                # Without a time of its own: many PLCs refuse to have one written.
                written.append(ua.DataValue(ua.Variant(_as_kind(values[name], kind, ua.VariantType), kind)))
        if nodes:
            self._call(self._client.write_values(nodes, written))
        self._heard()

    def _call(self, coroutine: Any) -> None:
        from asyncua import ua

        if self._loop is None:
            coroutine.close()
            raise OutputNotConnectedError(self._subject, "is not connected")
        timeout_s = self._settings.timeout_s
        try:
            self._loop.run(coroutine, timeout_s)
        except TimeoutError as error:
            raise OutputTimeoutError(self._subject, f"no answer within {timeout_s:g} s") from error
        except (OSError, ua.uaerrors.BadConnectionClosed) as error:
            raise OutputNotConnectedError(self._subject, f"cannot be reached ({error})") from error
        except (ua.UaError, struct.error, ValueError, TypeError) as error:
            raise OutputError(self._subject, f"refuses ({error})", "Check nodes, types and rights.") from error

    def _heard(self) -> None:
        """It has answered: the next look is due so much later."""
        if self._settings.check_s:
            self._check_ns = self._clock.monotonic_ns() + round(self._settings.check_s * 1e9)


def _as_kind(value: Any, kind: Any, kinds: Any) -> Any:
    if kind is kinds.String:
        return str(value)
    if kind is kinds.Boolean:
        return bool(value)
    return float(value) if kind in (kinds.Float, kinds.Double) else value
