"""The bridge to a real mosquitto."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
from awsiot.greengrasscoreipc import model
from greengrass_tools import Events, lines
from support.waiting import until

MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"

pytestmark = pytest.mark.skipif(
    not Path(MOSQUITTO).exists(), reason="mosquitto is not installed (Debian package: mosquitto)"
)


class Broker:
    """One mosquitto on loopback, with a log of what it did."""

    def __init__(self, folder):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.log = folder / "mosquitto.log"
        self._configuration = folder / "mosquitto.conf"
        self._configuration.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence false\n"
            f"log_dest file {self.log}\nlog_type all\n"
            # mosquitto drops its rights when it is started by root, and must still write the log
            "user root\n"
        )
        self._process = None

    @property
    def address(self):
        return ("127.0.0.1", self.port)

    def start(self):
        self._process = subprocess.Popen([MOSQUITTO, "-c", str(self._configuration)])
        until(self._answers)

    def _answers(self):
        assert self._process.poll() is None, "mosquitto ended at once"
        with contextlib.suppress(OSError), socket.create_connection(self.address, timeout=1.0):
            return True
        return False

    def stop(self):
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture
def broker(tmp_path):
    running = Broker(tmp_path)
    running.start()
    yield running
    running.stop()


class Cloud:
    """A client on the cloud's side of the broker."""

    def __init__(self, broker):
        from paho.mqtt import client as mqtt

        self.messages = Events()
        ready = Events()
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        self._client.on_message = lambda _client, _data, message: self.messages.put(
            (message.topic, bytes(message.payload), message.qos)
        )
        self._client.on_subscribe = lambda *_: ready.put("ready")
        self._client.connect(*broker.address)
        self._client.loop_start()
        self._client.subscribe("#", 1)
        ready.take()

    def publish(self, topic, payload):
        self._client.publish(topic, payload, qos=1).wait_for_publish(20.0)

    def close(self):
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def cloud(broker):
    with contextlib.closing(Cloud(broker)) as connected:
        yield connected


def _online(nucleus):
    return nucleus.counters()["iot_core"]["online"]


def _publish(client, topic, payload=b"x", qos="1"):
    client.publish_to_iot_core(topic_name=topic, qos=qos, payload=payload)


def test_publishes_go_to_the_broker(start, client, mode, broker, cloud):
    nucleus = start(mode, broker=broker.address)
    until(lambda: _online(nucleus))
    connected = client(nucleus)
    _publish(connected, "t/1", b"one")
    _publish(connected, "t/2", b"two", qos="0")
    assert cloud.messages.take(2) == [("t/1", b"one", 1), ("t/2", b"two", 0)]
    until(lambda: nucleus.counters()["iot_core"]["waiting"] == 0)


def test_subscriptions_come_from_the_broker(start, client, mode, broker, cloud):
    nucleus = start(mode, broker=broker.address)
    until(lambda: _online(nucleus))
    connected = client(nucleus)
    events = Events()
    _, operation = connected.subscribe_to_iot_core(topic_name="in/+", qos="1", on_stream_event=events.put)
    until(lambda: "in/+ (QoS 1)" in broker.log.read_text())
    cloud.publish("in/a", b"\x00cloud")
    _publish(connected, "in/b", b"own")
    found = [(event.message.topic_name, event.message.payload) for event in events.take(2)]
    assert found == [("in/a", b"\x00cloud"), ("in/b", b"own")]
    nucleus.publish("in/c", b"outside")
    assert events.take()[0].message.payload == b"outside"
    operation.close().result(20.0)
    until(lambda: "UNSUBSCRIBE" in broker.log.read_text())


def test_broker_down_and_up(start, client, mode, broker, tmp_path):
    record = tmp_path / "record.jsonl"
    nucleus = start(mode, broker=broker.address, record=record)
    until(lambda: _online(nucleus))
    connected = client(nucleus)
    events = Events()
    connected.subscribe_to_iot_core(topic_name="t", qos="1", on_stream_event=events.put)
    broker.stop()
    until(lambda: not _online(nucleus))
    with pytest.raises(model.ServiceError):
        _publish(connected, "t", qos="0")
    if mode == "classic":
        _publish(connected, "t", b"1")
        _publish(connected, "t", b"2")
    else:
        with pytest.raises(model.ServiceError):
            _publish(connected, "t", b"1")
    broker.start()
    until(lambda: _online(nucleus))
    # The subscription is restored before anything is sent.
    _publish(connected, "t", b"3")
    expected = [b"1", b"2", b"3"] if mode == "classic" else [b"3"]
    assert [event.message.payload for event in events.take(len(expected))] == expected
    assert len(lines(record)) == len(expected)


def test_no_broker_at_the_start(start, client, mode, tmp_path):
    broker = Broker(tmp_path)
    nucleus = start(mode, broker=broker.address)
    connected = client(nucleus)
    with pytest.raises(model.ServiceError):
        _publish(connected, "t", qos="0")
    broker.start()
    try:
        until(lambda: _online(nucleus))
        _publish(connected, "t", qos="0")
    finally:
        broker.stop()


def test_offline_with_a_broker(start, client, mode, broker, cloud):
    nucleus = start(mode, broker=broker.address)
    until(lambda: _online(nucleus))
    connected = client(nucleus)
    nucleus.offline()
    assert not _online(nucleus)
    with pytest.raises(model.ServiceError):
        _publish(connected, "t", qos="0")
    nucleus.online()
    until(lambda: _online(nucleus))
    _publish(connected, "t", b"back")
    assert cloud.messages.take() == [("t", b"back", 1)]


def test_wildcard_on_lite_drops_the_session(start, client, broker, cloud):
    nucleus = start("lite", broker=broker.address)
    until(lambda: _online(nucleus))
    connected = client(nucleus)
    _publish(connected, "a/#")
    with pytest.raises(model.ServiceError):
        _publish(connected, "t")
    until(lambda: _online(nucleus))
    _publish(connected, "t", b"back")
    assert cloud.messages.take() == [("t", b"back", 1)]


def test_many_messages_in_order(start, client, broker, cloud):
    nucleus = start("classic", broker=broker.address)
    until(lambda: _online(nucleus))
    connected = client(nucleus)
    futures = [
        connected.publish_to_iot_core_async(topic_name="t", qos="1", payload=str(index).encode())
        for index in range(300)
    ]
    for future in futures:
        future.result(20.0)
    assert [int(payload) for _, payload, _ in cloud.messages.take(300)] == list(range(300))


def test_a_burst_on_lite_meets_the_window(start, client, broker, cloud):
    """A loop without a pause: what is accepted arrives, the rest is refused at once, and nothing is in between."""
    nucleus = start("lite", broker=broker.address)
    until(lambda: _online(nucleus))
    connected = client(nucleus)
    futures = [
        connected.publish_to_iot_core_async(topic_name="t", qos="1", payload=str(index).encode())
        for index in range(200)
    ]
    accepted = []
    for index, future in enumerate(futures):
        with contextlib.suppress(model.ServiceError):
            future.result(20.0)
            accepted.append(index)
    assert 10 <= len(accepted) < 200
    assert [int(payload) for _, payload, _ in cloud.messages.take(len(accepted))] == accepted
    time.sleep(0.1)
    assert cloud.messages.empty()
