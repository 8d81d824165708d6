"""The wire: handshake, broken rules, and what each nucleus does about them, over a bare socket."""

from __future__ import annotations

import json
import random
import stat

import pytest
from awscrt.exceptions import AwsCrtError
from awsiot.eventstreamrpc import AccessDeniedError
from support.waiting import until

from edge_agent.greengrass.eventstream import Header, Message, MessageType, encode, rpc_message

GET = "GetConfiguration"


def _body(message):
    return json.loads(message.payload)


def test_socket_permissions(start, mode):
    nucleus = start(mode)
    assert stat.S_IMODE(nucleus.socket_path.stat().st_mode) == 0o660
    control = nucleus.socket_path.with_name(nucleus.socket_path.name + ".control")
    assert stat.S_IMODE(control.stat().st_mode) == 0o600


def test_handshake(start, raw, mode):
    answer = raw(start(mode)).handshake()
    assert answer.routing() == (MessageType.CONNECT_ACK, 1, 0)
    assert answer.payload == b""


@pytest.mark.parametrize("token", ["wrong", "", "\u00e4"])
def test_wrong_token_on_the_wire(start, raw, mode, token):
    nucleus = start(mode)
    connection = raw(nucleus)
    answer = connection.handshake(token)
    if mode == "classic":
        assert answer.routing() == (MessageType.CONNECT_ACK, 0, 0)
        assert connection.receive() is None
    else:
        assert answer is None
    assert nucleus.counters()["clients"]["refused"] == 1


def test_wrong_token_with_the_sdk(start, client, mode):
    with pytest.raises(AccessDeniedError if mode == "classic" else AwsCrtError):
        client(start(mode), token="AAAAAAAAAAAAAAAA")  # noqa: S106 - not a secret


@pytest.mark.parametrize("version", ["0.2.0", None])
def test_version(start, raw, mode, version):
    answer = raw(start(mode)).handshake(version=version)
    if mode == "classic":
        assert answer.routing() == (MessageType.CONNECT_ACK, 0, 0)
    elif version is None:
        assert answer.routing() == (MessageType.CONNECT_ACK, 1, 0)
    else:
        assert answer is None


def _is_goodbye(connection, mode):
    """The classic nucleus says PROTOCOL_ERROR and closes; nucleus lite closes."""
    answer = connection.receive()
    if mode == "classic":
        assert answer.routing() == (MessageType.PROTOCOL_ERROR, 0, 0)
        assert _body(answer)["message"]
        answer = connection.receive()
    return answer is None


def test_message_before_connect(start, raw, mode):
    nucleus = start(mode)
    connection = raw(nucleus)
    connection.request(GET, {})
    assert _is_goodbye(connection, mode)
    assert nucleus.counters()["operations"] == {}


def test_second_connect(start, raw, mode):
    connection = raw(start(mode))
    connection.handshake()
    connection.send(rpc_message(MessageType.CONNECT, 0, 0, (Header.text(":version", "0.1.0"),), b"{}"))
    assert _is_goodbye(connection, mode)


@pytest.mark.parametrize("position", [9, 40, -1])
def test_bad_checksum(start, raw, mode, position):
    nucleus = start(mode)
    connection = raw(nucleus)
    connection.handshake()
    frame = bytearray(rpc_message(MessageType.PING, 0, 0, (), b"x" * 100))
    frame[position] ^= 0xFF
    connection.send(bytes(frame))
    assert _is_goodbye(connection, mode)
    assert nucleus.counters()["clients"]["frames_refused"] == 1
    assert raw(nucleus).handshake() is not None


def test_bytes_that_are_no_frames(start, raw, mode):
    connection = raw(start(mode))
    connection.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert _is_goodbye(connection, mode)


def test_frame_without_routing_headers(start, raw, mode):
    connection = raw(start(mode))
    connection.send(encode(Message(())))
    assert _is_goodbye(connection, mode)


def test_frame_in_single_bytes(start, raw, mode):
    nucleus = start(mode)
    connection = raw(nucleus)
    headers = (Header.text(":version", "0.1.0"),)
    payload = json.dumps({"authToken": nucleus.token}).encode()
    for byte in rpc_message(MessageType.CONNECT, 0, 0, headers, payload):
        connection.send(bytes([byte]))
    assert connection.receive().routing() == (MessageType.CONNECT_ACK, 1, 0)


def test_half_a_frame_and_gone(start, raw, mode):
    nucleus = start(mode)
    connection = raw(nucleus)
    connection.handshake()
    connection.send(rpc_message(MessageType.PING, 0, 0, (), b"x" * 100)[:50])
    connection.close()
    until(lambda: nucleus.counters()["clients"]["connected"] == 0)


def test_lite_gives_up_on_half_a_frame_after_five_seconds(start, raw):
    connection = raw(start("lite"))
    connection.handshake()
    connection.send(rpc_message(MessageType.PING, 0, 0, (), b"x" * 100)[:50])
    assert connection.receive() is None


def test_ping(start, raw, mode):
    connection = raw(start(mode))
    connection.handshake()
    headers = (Header.text("kept", "yes"), Header.text(":dropped", "yes"))
    connection.send(rpc_message(MessageType.PING, 0, 0, headers, b"payload"))
    answer = connection.receive()
    if mode == "lite":
        assert answer is None
        return
    assert answer.routing() == (MessageType.PING_RESPONSE, 0, 0)
    assert answer.payload == b"payload"
    assert answer.text("kept") == "yes"
    assert answer.text(":dropped") is None


def test_reply_of_a_one_shot_operation(start, raw, mode):
    connection = raw(start(mode, {"key": 1}))
    connection.handshake()
    connection.request(GET, {"keyPath": ["key"]})
    answer = connection.receive()
    assert answer.routing() == (MessageType.APPLICATION_MESSAGE, 2 if mode == "classic" else 0, 1)
    assert answer.text(":content-type") == "application/json"
    assert answer.text("service-model-type") == "aws.greengrass#GetConfigurationResponse"
    assert _body(answer) == {"componentName": "com.example.Probe", "value": {"key": 1}}


def test_stream_ids_count_up_on_classic(start, raw, mode):
    connection = raw(start(mode))
    connection.handshake()
    connection.request(GET, {}, stream=1)
    assert connection.receive() is not None
    connection.request(GET, {}, stream=5)
    if mode == "classic":
        assert _is_goodbye(connection, mode)
    else:
        assert connection.receive().routing()[2] == 5


def test_terminate_of_an_unknown_stream_is_ignored(start, raw, mode):
    connection = raw(start(mode))
    connection.handshake()
    connection.send(rpc_message(MessageType.APPLICATION_MESSAGE, 2, 77))
    connection.request(GET, {}, stream=1)
    assert connection.receive().routing()[2] == 1


@pytest.mark.parametrize(
    "payload",
    [b"", b"not json", b"[]", b'{"keyPath": NaN}', b"[" * 50_000, b"\xff\xfe", b'{"a":' * 200 + b"1" + b"}" * 200],
    ids=["empty", "text", "list", "nan", "deep-list", "binary", "deep-map"],
)
def test_payloads_that_are_no_requests(start, raw, mode, payload):
    if mode == "lite":
        payload = payload[:9_000]
    connection = raw(start(mode))
    connection.handshake()
    connection.request(GET, payload)
    answer = connection.receive()
    assert answer.routing() == (MessageType.APPLICATION_ERROR, 2, 1)
    model = answer.text("service-model-type")
    assert model == (None if mode == "classic" else "aws.greengrass#ServiceError")
    connection.request(GET, {}, stream=2)
    assert connection.receive().routing()[0] == MessageType.APPLICATION_MESSAGE


def test_unknown_operation(start, raw, mode):
    connection = raw(start(mode))
    connection.handshake()
    connection.request("NoSuchThing", {})
    answer = connection.receive()
    assert answer.routing() == (MessageType.APPLICATION_ERROR, 2, 1)
    assert answer.text("service-model-type") == (None if mode == "classic" else "aws.greengrass#ServiceError")


def test_error_shape(start, raw, mode):
    connection = raw(start(mode))
    connection.handshake()
    connection.request(GET, {"keyPath": ["missing"]})
    answer = connection.receive()
    assert answer.routing() == (MessageType.APPLICATION_ERROR, 2, 1)
    assert answer.text("service-model-type") == "aws.greengrass#ResourceNotFoundError"
    body = _body(answer)
    assert body["_errorCode"] == "ResourceNotFoundError"
    if mode == "lite":
        assert set(body) == {"_message", "_errorCode"}
    else:
        assert set(body) == {"message", "_message", "_errorCode", "_service"}
        assert body["_service"] == "aws.greengrass#GreengrassCoreIPC"


def test_frames_over_the_limit_of_lite_close_the_socket(start, raw):
    connection = raw(start("lite"))
    connection.handshake()
    connection.request(GET, b"x" * 10_000)
    assert connection.receive() is None


@pytest.mark.parametrize("kind", [MessageType.PING, MessageType.CONNECT, MessageType.PROTOCOL_ERROR, 99, -1])
def test_connection_messages_on_a_stream(start, raw, mode, kind):
    connection = raw(start(mode))
    connection.handshake()
    headers = (Header.int32(":message-type", int(kind)), Header.int32(":message-flags", 0))
    connection.send(encode(Message((*headers, Header.int32(":stream-id", 1)))))
    assert _is_goodbye(connection, mode)


def test_fifty_clients_on_lite(start, raw):
    nucleus = start("lite")
    connections = [raw(nucleus) for _ in range(50)]
    assert all(connection.handshake() for connection in connections)
    assert raw(nucleus).receive() is None
    connections[0].close()
    until(lambda: nucleus.counters()["clients"]["connected"] == 49)
    assert raw(nucleus).handshake() is not None


OPERATIONS = (
    "GetConfiguration",
    "UpdateConfiguration",
    "SubscribeToConfigurationUpdate",
    "PublishToIoTCore",
    "SubscribeToIoTCore",
    "PublishToTopic",
    "SubscribeToTopic",
    "UpdateState",
    "SubscribeToComponentUpdates",
    "DeferComponentUpdate",
)
MEMBERS = (
    "componentName",
    "keyPath",
    "timestamp",
    "valueToMerge",
    "topicName",
    "qos",
    "payload",
    "topic",
    "publishMessage",
    "receiveMode",
    "state",
    "deploymentId",
)
VALUES = (None, True, 0, -1, 1e300, 10**400, "", "a/b", "#", "1", "\ud800", "a\0", [], ["a"], [1], [["a"]], {}, {"": 1})
VALUES += ({"jsonMessage": {"message": {"a": 1}}}, {"binaryMessage": {"message": "!"}}, {"binaryMessage": 1}, "AAAA")


def test_requests_with_random_members(start, raw, mode):
    """Whatever a client sends, it is answered, and the nucleus goes on."""
    random_values = random.Random(20240501)
    nucleus = start(mode, {"a": {"b": 1}})
    connection = raw(nucleus)
    connection.handshake()
    for stream in range(1, 1001):
        names = random_values.sample(MEMBERS, random_values.randint(0, len(MEMBERS)))
        request = {name: random_values.choice(VALUES) for name in names}
        operation = random_values.choice(OPERATIONS)
        connection.request(operation, request, stream)
        while True:
            answer = connection.receive()
            assert answer is not None, (operation, request)
            if answer.routing()[2] == stream:
                break
    assert sum(nucleus.counters()["operations"].values()) == 1000
