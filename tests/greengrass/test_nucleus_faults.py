"""Misbehaviour on demand: offline, slow, full, refusing, restarting."""

from __future__ import annotations

import concurrent.futures

import pytest
from awscrt.exceptions import AwsCrtError
from awsiot.eventstreamrpc import AccessDeniedError, LifecycleHandler
from awsiot.greengrasscoreipc import connect, model
from greengrass_tools import Events, lines
from support.waiting import until

from edge_agent.errors import NucleusError
from edge_agent.greengrass.nucleus import LocalNucleus, send_command


def _publish(client, topic="t", payload=b"x", qos="1"):
    client.publish_to_iot_core(topic_name=topic, qos=qos, payload=payload)


def test_offline(start, client, mode, tmp_path):
    record = tmp_path / "record.jsonl"
    nucleus = start(mode, record=record)
    connected = client(nucleus)
    events = Events()
    connected.subscribe_to_iot_core(topic_name="t", qos="1", on_stream_event=events.put)
    nucleus.offline()
    with pytest.raises(model.ServiceError):
        _publish(connected, qos="0")
    with pytest.raises(model.ServiceError):
        connected.subscribe_to_iot_core(topic_name="other", qos="1", on_stream_event=print)
    if mode == "classic":
        _publish(connected, payload=b"1")
        _publish(connected, payload=b"2")
        assert nucleus.counters()["iot_core"]["waiting"] == 2
        assert events.empty()
    else:
        with pytest.raises(model.ServiceError):
            _publish(connected, payload=b"1")
    assert connected.get_configuration() is not None
    nucleus.online()
    _publish(connected, payload=b"3")
    expected = [b"1", b"2", b"3"] if mode == "classic" else [b"3"]
    assert [event.message.payload for event in events.take(len(expected))] == expected
    assert [line["payload"] for line in lines(record)] == [int(payload) for payload in expected]
    assert nucleus.counters()["iot_core"]["waiting"] == 0


def test_spool_of_classic_fills_up(start, client):
    nucleus = start("classic", spool_bytes=1000)
    connected = client(nucleus)
    nucleus.offline()
    for _ in range(10):
        _publish(connected, payload=bytes(100))
    with pytest.raises(model.ServiceError) as caught:
        _publish(connected)
    assert "spool is full" in caught.value.message
    nucleus.online()
    _publish(connected)
    assert nucleus.counters()["publishes"]["refused"] == {"full": 1}


def test_in_flight_window_of_lite(start, client):
    nucleus = start("lite")
    connected = client(nucleus)
    nucleus.slow_acknowledgements(None)
    for _ in range(10):
        _publish(connected)
    with pytest.raises(model.ServiceError):
        _publish(connected)
    _publish(connected, qos="0")
    nucleus.slow_acknowledgements(0)
    for _ in range(11):
        _publish(connected)


def test_a_store_full_of_bytes_leaks_a_slot_on_lite(start, client):
    nucleus = start("lite")
    connected = client(nucleus)
    nucleus.slow_acknowledgements(None)
    for _ in range(2):
        _publish(connected, payload=bytes(7000))
    for _ in range(8):
        with pytest.raises(model.ServiceError):
            _publish(connected, payload=bytes(7000))
    nucleus.slow_acknowledgements(0)
    nucleus.slow_acknowledgements(None)
    assert nucleus.counters()["iot_core"]["leaked_slots"] == 8
    _publish(connected)
    _publish(connected)
    with pytest.raises(model.ServiceError):
        _publish(connected)
    nucleus.offline()
    nucleus.online()
    _publish(connected)
    counts = nucleus.counters()
    assert counts["iot_core"]["leaked_slots"] == 0
    assert counts["publishes"]["lost"] == 2  # answered with success, in flight when the connection went


def test_slow_acknowledgements_come(start, client, mode):
    nucleus = start(mode)
    connected = client(nucleus)
    nucleus.slow_acknowledgements(0.2)
    _publish(connected)
    assert nucleus.counters()["iot_core"]["waiting"] == 1
    until(lambda: nucleus.counters()["iot_core"]["waiting"] == 0)


def test_full(start, client, mode):
    nucleus = start(mode)
    connected = client(nucleus)
    nucleus.full()
    with pytest.raises(model.ServiceError):
        _publish(connected)
    nucleus.reset()
    _publish(connected)


def test_slow_answers_come_after_the_effect(start, client, mode, tmp_path):
    record = tmp_path / "record.jsonl"
    nucleus = start(mode, record=record)
    connected = client(nucleus)
    nucleus.slow(0.5)
    future = connected.publish_to_iot_core_async(topic_name="t", qos="1", payload=b"x")
    until(lambda: lines(record))
    assert not future.done()
    future.result(20.0)
    nucleus.slow(0)
    _publish(connected)


def test_events_wait_for_a_slow_reply(start, client, mode):
    nucleus = start(mode)
    connected = client(nucleus)
    nucleus.slow(0.3)
    events = Events()
    future, _operation = connected.subscribe_to_iot_core_async(topic_name="t", qos="1", on_stream_event=events.put)
    until(lambda: nucleus.counters()["iot_core"]["subscriptions"] == 1)
    assert nucleus.publish("t", b"early") == 1
    future.result(20.0)
    assert events.take()[0].message.payload == b"early"


@pytest.mark.parametrize("error", ["ServiceError", "UnauthorizedError", "InvalidArgumentsError", "ConflictError"])
def test_refuse(start, client, mode, error):
    nucleus = start(mode)
    connected = client(nucleus)
    nucleus.refuse(error, "PublishToIoTCore")
    with pytest.raises(getattr(model, error)):
        _publish(connected)
    connected.get_configuration()
    nucleus.refuse(error)
    with pytest.raises(getattr(model, error)):
        connected.get_configuration()
    nucleus.reset()
    _publish(connected)


def test_delayed_accept(start, client, mode):
    nucleus = start(mode)
    nucleus.delay_accepting(30.0)
    with pytest.raises(concurrent.futures.TimeoutError):
        connect(ipc_socket=str(nucleus.socket_path), authtoken=nucleus.token, timeout=0.3)
    nucleus.delay_accepting(0)
    _publish(client(nucleus))


class _Handler(LifecycleHandler):
    def __init__(self):
        super().__init__()
        self.reasons = Events()

    def on_disconnect(self, reason):
        self.reasons.put(reason)


def test_restart_closes_everything(start, client, mode):
    nucleus = start(mode)
    handler = _Handler()
    connected = client(nucleus, lifecycle_handler=handler)
    closed = Events()
    connected.subscribe_to_iot_core(
        topic_name="t", qos="1", on_stream_event=print, on_stream_closed=lambda: closed.put("closed")
    )
    nucleus.restart(0.1)
    assert closed.take() == ["closed"]
    assert isinstance(handler.reasons.take()[0], AwsCrtError)
    with pytest.raises(RuntimeError):  # ConnectionClosedError, or the SDK's own error while it notices
        _publish(connected)
    _publish(client(nucleus))
    assert nucleus.counters()["iot_core"]["subscriptions"] == 0


def test_restart_with_a_new_token(start, client, mode):
    nucleus = start(mode)
    old = nucleus.token
    nucleus.restart(0.0, change_token=True)
    assert nucleus.token != old
    assert nucleus.environment()["SVCUID"] == nucleus.token
    with pytest.raises(AccessDeniedError if mode == "classic" else AwsCrtError):
        client(nucleus, token=old)
    _publish(client(nucleus))


def test_nobody_listens_during_a_restart(start, client, mode):
    nucleus = start(mode)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        restarting = pool.submit(nucleus.restart, 1.0)
        until(lambda: not nucleus.socket_path.exists())
        with pytest.raises(RuntimeError, match=r"AWS_ERROR_FILE_INVALID_PATH|CONNECTION_REFUSED"):
            client(nucleus)
        restarting.result(20.0)
    _publish(client(nucleus))


def test_restart_keeps_the_configuration_and_loses_the_spool(start, client):
    nucleus = start("classic", {"a": 1})
    nucleus.configure({"a": 2})
    nucleus.offline()
    _publish(client(nucleus))
    nucleus.restart(0.0)
    assert client(nucleus).get_configuration(key_path=["a"]).value == {"a": 2}
    counts = nucleus.counters()
    assert (counts["publishes"]["lost"], counts["iot_core"]["waiting"]) == (1, 0)


def test_forgotten_subscriptions_are_silent(start, client, mode):
    nucleus = start(mode)
    connected = client(nucleus)
    events = Events()
    connected.subscribe_to_iot_core(topic_name="t", qos="1", on_stream_event=events.put)
    nucleus.forget_subscriptions()
    assert nucleus.publish("t", b"x") == 0
    connected.subscribe_to_iot_core(topic_name="t", qos="1", on_stream_event=events.put)
    assert nucleus.publish("t", b"y") == 1
    assert events.take()[0].message.payload == b"y"


def test_commands_from_outside(start, client, mode):
    nucleus = start(mode, {"a": 1})
    path = nucleus.socket_path
    send_command(path, "offline")
    assert send_command(path, "counters")["iot_core"]["online"] is False
    with pytest.raises(NucleusError, match="the nucleus is offline"):
        send_command(path, "publish", topic="t", payload=b"x")
    send_command(path, "online")
    events = Events()
    client(nucleus).subscribe_to_iot_core(topic_name="t", qos="1", on_stream_event=events.put)
    assert send_command(path, "publish", topic="t", payload=b"\x00\xff") == {"delivered": 1}
    assert events.take()[0].message.payload == b"\x00\xff"
    assert send_command(path, "configure", values={"a": 2}) == {"changed": [["a"]]}
    assert send_command(path, "environment")["environment"]["SVCUID"] == nucleus.token


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("dance", {}),
        ("slow", {}),
        ("slow", {"seconds": -1}),
        ("slow", {"seconds": "1"}),
        ("slow", {"seconds": 1, "extra": 2}),
        ("refuse", {"error": "NoError"}),
        ("configure", {"values": [1]}),
        ("publish", {"topic": "", "payload": b""}),
        ("publish", {"topic": "t", "payload": {"base64": "!"}}),
    ],
)
def test_wrong_commands(start, command, arguments):
    nucleus = start("classic")
    with pytest.raises(NucleusError, match=command):
        send_command(nucleus.socket_path, command, **arguments)
    with pytest.raises(NucleusError, match=command):
        nucleus.command(command, **arguments)
    assert nucleus.counters()["clients"]["connected"] == 0


def test_command_to_nobody(tmp_path):
    with pytest.raises(NucleusError, match="does not answer"):
        send_command(tmp_path / "nobody", "counters")


def test_command_after_stop(start):
    nucleus = start("classic")
    nucleus.stop()
    with pytest.raises(NucleusError, match="is not running"):
        nucleus.offline()
    nucleus.stop()


def test_live_socket_is_not_stolen(start, client, tmp_path):
    nucleus = start("classic")
    with pytest.raises(NucleusError, match="socket of a running process"):
        LocalNucleus(nucleus.socket_path).start()
    _publish(client(nucleus))


def test_stale_socket_is_replaced(start, client, mode, tmp_path):
    import socket

    for name in ("ipc.socket", "ipc.socket.control"):
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(tmp_path / name))
    _publish(client(start(mode)))


def test_foreign_file_is_left_alone(tmp_path):
    path = tmp_path / "ipc.socket"
    path.write_text("precious")
    with pytest.raises(NucleusError, match="exists and is no socket"):
        LocalNucleus(path).start()
    assert path.read_text() == "precious"


@pytest.mark.parametrize(
    ("path", "reason"), [("x" * 120, "longer than 107 bytes"), ("absent/ipc.socket", "cannot be made a socket")]
)
def test_unusable_paths(tmp_path, path, reason):
    with pytest.raises(NucleusError, match=reason):
        LocalNucleus(tmp_path / path).start()


def test_unusable_record(tmp_path):
    with pytest.raises(NucleusError, match="cannot be opened for the record"):
        LocalNucleus(tmp_path / "ipc.socket", record=tmp_path / "absent" / "record").start()
    assert not (tmp_path / "ipc.socket").exists()


def test_stop_removes_the_sockets(start):
    nucleus = start("lite")
    nucleus.stop()
    assert list(nucleus.socket_path.parent.glob("ipc.socket*")) == []


def test_unknown_mode(tmp_path):
    with pytest.raises(NucleusError, match="mode heavy: is unknown"):
        LocalNucleus(tmp_path / "ipc.socket", mode="heavy")
