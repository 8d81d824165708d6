"""Sizes and counts: what fits each nucleus, and what happens to the rest."""

from __future__ import annotations

import time
from datetime import datetime, timezone

import pytest
from awscrt.exceptions import AwsCrtError
from awsiot.eventstreamrpc import StreamClosedError
from awsiot.greengrasscoreipc import model
from greengrass_tools import Events, lines
from support.waiting import until


def _now():
    return datetime.fromtimestamp(time.time(), timezone.utc)


def _publish(client, topic, payload=b"x", qos="1"):
    client.publish_to_iot_core(topic_name=topic, qos=qos, payload=payload)


# As measured on nucleus lite: the largest payload for a topic of that many characters.
@pytest.mark.parametrize(("characters", "largest"), [(9, 7311), (100, 7245)])
def test_largest_publish_on_lite(start, client, characters, largest):
    nucleus = start("lite")
    connected = client(nucleus)
    topic = "t" * characters
    _publish(connected, topic, bytes(largest), qos="0")
    with pytest.raises(StreamClosedError):
        _publish(connected, topic, bytes(largest + 1), qos="0")
    with pytest.raises(RuntimeError):  # ConnectionClosedError, or the SDK's own error while it notices
        _publish(connected, topic)
    assert nucleus.counters()["publishes"]["accepted"] == 1
    _publish(client(nucleus), topic)


def test_oversize_on_lite_takes_every_stream_of_the_client(start, client):
    nucleus = start("lite")
    connected = client(nucleus)
    closed = Events()
    connected.subscribe_to_iot_core(
        topic_name="t", qos="1", on_stream_event=print, on_stream_closed=lambda: closed.put("closed")
    )
    with pytest.raises((StreamClosedError, AwsCrtError)):  # which one depends on how much was written before
        _publish(connected, "t", bytes(128_000))
    assert closed.take() == ["closed"]


def test_largest_publish_on_classic(start, client):
    nucleus = start("classic")
    connected = client(nucleus)
    _publish(connected, "t", bytes(131_072))
    with pytest.raises(model.ServiceError) as caught:
        _publish(connected, "t", bytes(131_073))
    assert "size 131073 bytes exceeds the configured limit of 131072 bytes" in caught.value.message
    _publish(connected, "t")
    assert nucleus.counters()["publishes"]["refused"] == {"too_large": 1}


@pytest.mark.parametrize("topic", ["a/#", "+/a", "a/b/c/d/e/f/g/h/i", "x" * 257, ""])
def test_topics_that_classic_refuses(start, client, topic):
    nucleus = start("classic")
    connected = client(nucleus)
    with pytest.raises(model.ServiceError) as caught:
        _publish(connected, topic)
    assert caught.value.message.startswith(f"Publish to topic {topic} failed")
    assert nucleus.counters()["publishes"]["refused"] == {"invalid_topic": 1}
    _publish(connected, "a/b/c/d/e/f/g/h")
    _publish(connected, "x" * 256)


def test_filters_that_classic_refuses(start, client):
    connected = client(start("classic"))
    for topic in ("a/b/c/d/e/f/g/h/i", "x" * 257):
        with pytest.raises(model.ServiceError):
            connected.subscribe_to_iot_core(topic_name=topic, qos="1", on_stream_event=print)


@pytest.mark.parametrize("topic", ["a/#", "+/a", ""])
def test_wildcard_on_lite_breaks_the_connection_of_everybody(start, client, tmp_path, topic):
    record = tmp_path / "record.jsonl"
    nucleus = start("lite", record=record)
    guilty, innocent = client(nucleus), client(nucleus)
    _publish(guilty, topic)
    with pytest.raises(model.ServiceError):
        _publish(innocent, "fine")
    assert nucleus.counters()["publishes"]["wildcard_disconnects"] == 1
    until(lambda: nucleus.counters()["iot_core"]["online"])
    _publish(innocent, "fine")
    assert [line["topic"] for line in lines(record)] == ["fine"]


def test_long_topics_are_no_matter_to_lite(start, client):
    connected = client(start("lite"))
    _publish(connected, "a/b/c/d/e/f/g/h/i/j")
    _publish(connected, "x" * 300)


def test_messages_from_the_cloud_on_lite(start, client):
    nucleus = start("lite")
    connected = client(nucleus)
    events = Events()
    connected.subscribe_to_iot_core(topic_name="probe/in", qos="1", on_stream_event=events.put)
    assert nucleus.publish("probe/in", bytes(4990)) == 0
    assert nucleus.publish("probe/in", bytes(4960)) == 1
    assert len(events.take()[0].message.payload) == 4960
    assert events.empty()
    assert nucleus.counters()["events"]["dropped"] == 1


def test_local_messages_on_lite(start, client):
    connected = client(start("lite"))
    events = Events()
    connected.subscribe_to_topic(topic="local/a", on_stream_event=events.put)
    message = model.PublishMessage(binary_message=model.BinaryMessage(message=bytes(7000)))
    connected.publish_to_topic(topic="local/a", publish_message=message)
    assert len(events.take()[0].binary_message.message) == 7000


def test_configuration_leaves_on_lite(start, client):
    connected = client(start("lite"))

    def update(value):
        connected.update_configuration(timestamp=_now(), value_to_merge=value)

    update({"text": "x" * 1022})
    update({"list": list(range(188))})
    for value in ({"text": "x" * 1023}, {"list": list(range(189))}):
        with pytest.raises(model.ServiceError):
            update(value)
    assert len(connected.get_configuration(key_path=["text"]).value["text"]) == 1022


def test_configuration_leaves_on_classic(start, client):
    connected = client(start("classic"))
    connected.update_configuration(timestamp=_now(), value_to_merge={"text": "x" * 50_000})
    assert len(connected.get_configuration(key_path=["text"]).value["text"]) == 50_000


def test_maps_with_many_keys(start, client, mode):
    nucleus = start(mode, {"map": {f"k{index}": index for index in range(99)}})
    connected = client(nucleus)
    assert len(connected.get_configuration(key_path=["map"]).value) == 99
    nucleus.configure({"map": {"one more": 1}})
    if mode == "lite":
        with pytest.raises(model.ServiceError):
            connected.get_configuration(key_path=["map"])
    else:
        assert len(connected.get_configuration(key_path=["map"]).value) == 100


def test_replies_over_the_limit_of_lite(start, client, mode):
    nucleus = start(mode)
    nucleus.configure({f"k{index}": "x" * 1000 for index in range(12)})
    connected = client(nucleus)
    if mode == "lite":
        with pytest.raises(model.ServiceError):
            connected.get_configuration()
    else:
        assert len(connected.get_configuration().value) == 13
    assert connected.get_configuration(key_path=["k1"]).value == {"k1": "x" * 1000}


@pytest.mark.parametrize(
    ("message", "fits"),
    [
        ({f"k{index}": 1 for index in range(252)}, True),
        ({f"k{index}": 1 for index in range(253)}, False),
        ([[[[[[[[[[1]]]]]]]]]], True),
        ([[[[[[[[[[[[[[1]]]]]]]]]]]]]], False),
    ],
    ids=["255 values", "256 values", "shallow", "deep"],
)
def test_extent_of_requests_on_lite(start, client, message, fits):
    connected = client(start("lite"))
    # The request itself, publishMessage, jsonMessage and message: three entries and three levels around the value.
    value = message if isinstance(message, dict) else {"k": message}
    publish = model.PublishMessage(json_message=model.JsonMessage(message=value))
    if isinstance(message, dict) and fits:
        value.pop("k0")  # topic is an entry, too
    if fits:
        connected.publish_to_topic(topic="a", publish_message=publish)
    else:
        with pytest.raises(model.ServiceError):
            connected.publish_to_topic(topic="a", publish_message=publish)


def test_hundred_subscriptions_on_lite(start, client, mode):
    nucleus = start(mode)
    connected = client(nucleus)
    operations = [connected.subscribe_to_topic(topic=f"t/{index}", on_stream_event=print)[1] for index in range(100)]
    if mode == "classic":
        connected.subscribe_to_topic(topic="t", on_stream_event=print)
        return
    with pytest.raises(model.ServiceError):
        connected.subscribe_to_topic(topic="t", on_stream_event=print)
    operations[0].close().result(20.0)
    connected.subscribe_to_topic(topic="t", on_stream_event=print)
