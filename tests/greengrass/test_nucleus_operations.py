"""Every operation, through AWS's own client."""

from __future__ import annotations

import threading
import time
from datetime import datetime, timezone

import pytest
from awsiot.eventstreamrpc import StreamClosedError
from awsiot.greengrasscoreipc import model
from greengrass_tools import COMPONENT, MQTT, PUBSUB, Events, lines

CONFIGURATION = {"topic": "probe/out", "nested": {"a": 1, "b": [1, 2], "c": {"d": None}}, "flag": True}


def _now(offset=0.0):
    return datetime.fromtimestamp(time.time() + offset, timezone.utc)


def _publish(client, topic, payload=b"x", qos="1"):
    client.publish_to_iot_core(topic_name=topic, qos=qos, payload=payload)


def test_get_configuration(start, client, mode):
    connected = client(start(mode, CONFIGURATION))
    whole = connected.get_configuration()
    assert whole.component_name == COMPONENT
    assert set(whole.value) == {"topic", "nested", "flag", "accessControl"}
    assert connected.get_configuration(key_path=[]).value == whole.value
    assert connected.get_configuration(key_path=["topic"]).value == {"topic": "probe/out"}
    assert connected.get_configuration(key_path=["nested"]).value == CONFIGURATION["nested"]
    assert connected.get_configuration(key_path=["nested", "b"]).value == {"b": [1, 2]}
    assert connected.get_configuration(component_name=COMPONENT, key_path=["flag"]).value == {"flag": True}


@pytest.mark.parametrize("path", [["missing"], ["topic", "below"], ["nested", "missing"]])
def test_get_configuration_of_a_missing_key(start, client, mode, path):
    with pytest.raises(model.ResourceNotFoundError):
        client(start(mode, CONFIGURATION)).get_configuration(key_path=path)


def test_get_configuration_of_another_component(start, client, mode):
    with pytest.raises(model.ResourceNotFoundError):
        client(start(mode, CONFIGURATION)).get_configuration(component_name="com.example.Other")


def test_keys_are_found_in_any_case_on_classic_only(start, client, mode):
    connected = client(start(mode, CONFIGURATION))
    if mode == "classic":
        assert connected.get_configuration(key_path=["TOPIC"]).value == {"topic": "probe/out"}
    else:
        with pytest.raises(model.ResourceNotFoundError):
            connected.get_configuration(key_path=["TOPIC"])


def test_error_texts(start, client, mode):
    with pytest.raises(model.ResourceNotFoundError) as caught:
        client(start(mode)).get_configuration(key_path=["missing"])
    assert caught.value.message == (None if mode == "lite" else "Key not found")


def test_without_a_recipe_everything_is_allowed_and_empty(start, client, mode):
    connected = client(start(mode, recipe=None))
    assert connected.get_configuration().value == {}
    _publish(connected, "any/topic")
    connected.publish_to_topic(topic="any/topic", publish_message=_binary(b"x"))


def test_update_configuration(start, client, mode):
    connected = client(start(mode, CONFIGURATION))
    connected.update_configuration(key_path=["nested"], timestamp=_now(), value_to_merge={"a": 2, "new": {"x": 1}})
    assert connected.get_configuration(key_path=["nested"]).value == {
        "a": 2,
        "b": [1, 2],
        "c": {"d": None},
        "new": {"x": 1},
    }
    connected.update_configuration(timestamp=_now(), value_to_merge={"topic": "other"})
    assert connected.get_configuration(key_path=["topic"]).value == {"topic": "other"}
    connected.update_configuration(key_path=["made", "here"], timestamp=_now(), value_to_merge={"x": 1})
    assert connected.get_configuration(key_path=["made", "here"]).value == {"x": 1}


@pytest.mark.parametrize(
    ("path", "value"),
    [([], {"accessControl": {}}), (["accessControl"], {"x": 1}), (["nested"], {"deep": {"accessControl": {}}})],
)
def test_access_control_cannot_be_updated(start, client, mode, path, value):
    connected = client(start(mode, CONFIGURATION))
    with pytest.raises(model.InvalidArgumentsError):
        connected.update_configuration(key_path=path, timestamp=_now(), value_to_merge=value)


def test_older_timestamps(start, client, mode):
    connected = client(start(mode, CONFIGURATION))
    connected.update_configuration(key_path=["nested"], timestamp=_now(), value_to_merge={"a": 2})

    def older():
        connected.update_configuration(key_path=["nested"], timestamp=_now(-60), value_to_merge={"a": 3})

    if mode == "classic":
        with pytest.raises(model.FailedUpdateConditionCheckError):
            older()
    else:
        older()
    assert connected.get_configuration(key_path=["nested", "a"]).value == {"a": 2}


def test_update_without_a_timestamp(start, client, mode):
    with pytest.raises(model.InvalidArgumentsError):
        client(start(mode)).update_configuration(key_path=[], value_to_merge={"a": 1})


def test_map_over_value_and_back(start, client, mode):
    connected = client(start(mode, CONFIGURATION))

    def replace():
        connected.update_configuration(timestamp=_now(), value_to_merge={"topic": {"a": 1}, "nested": 5})

    if mode == "classic":
        replace()
        assert connected.get_configuration(key_path=["nested"]).value == {"nested": 5}
        assert connected.get_configuration(key_path=["topic"]).value == {"a": 1}
    else:
        with pytest.raises(model.ServiceError):
            replace()
        assert connected.get_configuration(key_path=["topic"]).value == {"topic": "probe/out"}


def test_configuration_events_are_one_per_changed_leaf(start, client, mode):
    nucleus = start(mode, CONFIGURATION)
    connected = client(nucleus)
    whole, below = Events(), Events()
    connected.subscribe_to_configuration_update(on_stream_event=whole.put)
    connected.subscribe_to_configuration_update(key_path=["nested"], on_stream_event=below.put)
    changed = nucleus.configure({"topic": "x", "nested": {"a": 1, "b": [3], "c": {"d": 4}}, "added": {"e": 5}})
    assert changed == [["topic"], ["nested", "b"], ["nested", "c", "d"], ["added", "e"]]
    events = [event.configuration_update_event for event in whole.take(4)]
    assert [event.key_path for event in events] == changed
    assert {event.component_name for event in events} == {COMPONENT}
    assert [event.configuration_update_event.key_path for event in below.take(2)] == changed[1:3]
    # Nothing came that was not due: the next event belongs to the next change.
    connected.update_configuration(key_path=["nested"], timestamp=_now(), value_to_merge={"a": 1})
    connected.update_configuration(key_path=["nested"], timestamp=_now(), value_to_merge={"a": 1.5})
    assert [event.configuration_update_event.key_path for event in below.take(1)] == [["nested", "a"]]
    assert below.empty()


def test_subscribe_to_a_missing_key(start, client, mode):
    with pytest.raises(model.ResourceNotFoundError):
        client(start(mode)).subscribe_to_configuration_update(key_path=["missing"], on_stream_event=print)


def test_closed_subscription_hears_nothing(start, client, mode):
    nucleus = start(mode, CONFIGURATION)
    connected = client(nucleus)
    first, second = Events(), Events()
    _, operation = connected.subscribe_to_configuration_update(on_stream_event=first.put)
    connected.subscribe_to_configuration_update(on_stream_event=second.put)
    operation.close().result(20.0)
    nucleus.configure({"topic": "x"})
    second.take(1)
    assert first.empty()


def test_publish_and_record(start, client, mode, tmp_path):
    record = tmp_path / "record.jsonl"
    nucleus = start(mode, record=record)
    connected = client(nucleus)
    payloads = [b'{"a": [1, 2.5, null]}', b"\x00\xff", b"", b"text", b"NaN", b'"\\ud800"', b"1e999", b"[" * 5000]
    for number, payload in enumerate(payloads):
        connected.publish_to_iot_core(topic_name=f"t/{number}", qos=str(number % 2), payload=payload)
        assert len(lines(record)) == number + 1  # on disk before the publish is answered
    written = lines(record)
    assert [line["topic"] for line in written] == [f"t/{number}" for number in range(len(payloads))]
    assert [line["qos"] for line in written[:2]] == [0, 1]
    assert written[0]["payload"] == {"a": [1, 2.5, None]}
    assert written[1]["payload_base64"] == "AP8="
    assert written[2]["payload_base64"] == ""
    assert all("payload_base64" in line for line in (written[3], written[4], written[6], written[7]))
    assert written[5]["payload"] == "\ud800"
    assert written[0]["received_at"].endswith("Z")
    datetime.strptime(written[0]["received_at"], "%Y-%m-%dT%H:%M:%S.%fZ")  # noqa: DTZ007 - Z is checked
    counts = nucleus.counters()["publishes"]
    assert (counts["accepted"], counts["bytes"]) == (len(payloads), sum(map(len, payloads)))


def test_record_is_appended_to(start, client, mode, tmp_path):
    record = tmp_path / "record.jsonl"
    record.write_text('{"topic": "old"}\n')
    _publish(client(start(mode, record=record)), "new")
    assert [line["topic"] for line in lines(record)] == ["old", "new"]


def test_disk_full_is_not_acknowledged(start, client, mode):
    nucleus = start(mode, record="/dev/full")
    with pytest.raises(model.ServiceError):
        _publish(client(nucleus), "t")
    assert nucleus.counters()["publishes"]["accepted"] == 0
    assert nucleus.counters()["publishes"]["refused"] == {"record": 1}


def test_retain_and_properties_are_accepted_and_dropped(start, client, mode):
    connected = client(start(mode))
    events = Events()
    connected.subscribe_to_iot_core(topic_name="t", qos="1", on_stream_event=events.put)
    connected.publish_to_iot_core(
        topic_name="t",
        qos="1",
        payload=b"x",
        retain=True,
        user_properties=[model.UserProperty(key="k", value="v")],
        content_type="text/plain",
        message_expiry_interval_seconds=5,
    )
    message = events.take()[0].message
    assert (message.topic_name, message.payload) == ("t", b"x")
    assert message.user_properties is None


def test_missing_payload_and_qos(start, client, mode, tmp_path):
    record = tmp_path / "record.jsonl"
    connected = client(start(mode, record=record))
    calls = ({"qos": "1"}, {"payload": b"x"})
    if mode == "classic":
        for arguments in calls:
            with pytest.raises(model.InvalidArgumentsError):
                connected.publish_to_iot_core(topic_name="t", **arguments)
    else:
        for arguments in calls:
            connected.publish_to_iot_core(topic_name="t", **arguments)
        assert [(line["qos"], line["payload_base64"]) for line in lines(record)] == [(1, ""), (0, "eA==")]


def test_wrong_qos(start, client, mode):
    expected = model.InvalidArgumentsError if mode == "classic" else model.ServiceError
    connected = client(start(mode))
    for qos in ("3", "-1", "x"):
        with pytest.raises(expected):
            connected.publish_to_iot_core(topic_name="t", qos=qos, payload=b"x")
        with pytest.raises(expected):
            connected.subscribe_to_iot_core(topic_name="t", qos=qos, on_stream_event=print)


def test_missing_topic(start, client, mode):
    with pytest.raises(model.InvalidArgumentsError if mode == "classic" else model.ServiceError):
        client(start(mode)).publish_to_iot_core(qos="1", payload=b"x")


def test_subscriptions_to_iot_core(start, client, mode):
    nucleus = start(mode)
    connected = client(nucleus)
    wide, narrow, other = Events(), Events(), Events()
    connected.subscribe_to_iot_core(topic_name="a/#", qos="1", on_stream_event=wide.put)
    connected.subscribe_to_iot_core(topic_name="a/+/c", qos="0", on_stream_event=narrow.put)
    connected.subscribe_to_iot_core(topic_name="b", qos="1", on_stream_event=other.put)
    _publish(connected, "a/b/c", b"\x00one")
    assert nucleus.publish("a/x", b"two") == 1
    assert nucleus.publish("nobody", b"three") == 0
    assert nucleus.publish("b", b"four") == 1
    found = [(event.message.topic_name, event.message.payload) for event in wide.take(2)]
    assert found == [("a/b/c", b"\x00one"), ("a/x", b"two")]
    assert narrow.take()[0].message.payload == b"\x00one"
    assert other.take()[0].message.payload == b"four"
    assert narrow.empty()


def test_order_is_kept(start, client, mode, tmp_path):
    record = tmp_path / "record.jsonl"
    connected = client(start(mode, record=record))
    events = Events()
    connected.subscribe_to_iot_core(topic_name="t/#", qos="1", on_stream_event=events.put)
    futures = [
        connected.publish_to_iot_core_async(topic_name=f"t/{index % 3}", qos="1", payload=str(index).encode())
        for index in range(200)
    ]
    for future in futures:
        future.result(20.0)
    assert [line["payload"] for line in lines(record)] == list(range(200))
    assert [int(event.message.payload) for event in events.take(200)] == list(range(200))


def _binary(data):
    return model.PublishMessage(binary_message=model.BinaryMessage(message=data))


def _json(value):
    return model.PublishMessage(json_message=model.JsonMessage(message=value))


def test_local_topics(start, client, mode):
    nucleus = start(mode)
    connected = client(nucleus)
    events = Events()
    connected.subscribe_to_topic(topic="local/a", on_stream_event=events.put)
    connected.publish_to_topic(topic="local/a", publish_message=_json({"x": [1]}))
    connected.publish_to_topic(topic="local/a", publish_message=_binary(b"\x00\x01"))
    assert nucleus.publish_local("local/a", b'{"y": 2}') == 1
    assert nucleus.publish_local("local/a", b"raw") == 1
    first, second, third, fourth = events.take(4)
    assert first.json_message.message == {"x": [1]}
    assert first.json_message.context.topic == "local/a"
    assert second.binary_message.message == b"\x00\x01"
    assert second.binary_message.context.topic == "local/a"
    assert third.json_message.message == {"y": 2}
    assert fourth.binary_message.message == b"raw"


def test_own_messages_on_a_wildcard_subscription(start, client, mode):
    nucleus = start(mode)
    connected = client(nucleus)
    plain, asked = Events(), Events()
    connected.subscribe_to_topic(topic="local/#", on_stream_event=plain.put)
    connected.subscribe_to_topic(
        topic="local/+", receive_mode=model.ReceiveMode.RECEIVE_ALL_MESSAGES, on_stream_event=asked.put
    )
    connected.publish_to_topic(topic="local/a", publish_message=_binary(b"own"))
    nucleus.publish_local("local/a", b"foreign")
    assert [event.binary_message.message for event in asked.take(2)] == [b"own", b"foreign"]
    first = plain.take()[0].binary_message.message
    assert first == (b"foreign" if mode == "classic" else b"own")


def test_local_publish_with_a_wildcard(start, client, mode):
    connected = client(start(mode))
    for topic in ("a/+", "a/#", "a/*"):
        if mode == "classic":
            with pytest.raises(model.InvalidArgumentsError):
                connected.publish_to_topic(topic=topic, publish_message=_binary(b"x"))
        else:
            connected.publish_to_topic(topic=topic, publish_message=_binary(b"x"))


def test_local_publish_without_a_message(start, client, mode):
    with pytest.raises(model.InvalidArgumentsError if mode == "classic" else model.ServiceError):
        client(start(mode)).publish_to_topic(topic="a", publish_message=model.PublishMessage())


def test_update_state(start, client, mode):
    nucleus = start(mode)
    connected = client(nucleus)
    for state in ("RUNNING", "ERRORED", "STOPPING"):
        connected.update_state(state=state)
        assert nucleus.counters()["component_state"] == state
    with pytest.raises(model.ServiceError):
        connected.update_state(state="DANCING")


def test_component_updates_on_classic(start, client):
    nucleus = start("classic")
    connected = client(nucleus)
    with pytest.raises(model.InvalidArgumentsError):
        connected.defer_component_update(deployment_id="d1", recheck_after_ms=5)
    events = Events()
    connected.subscribe_to_component_updates(on_stream_event=events.put)
    with pytest.raises(model.ServiceError):
        connected.defer_component_update(deployment_id="d1", recheck_after_ms=5)
    assert nucleus.command("component-update", deployment="d1", restarting=True) == {"told": 1}
    before = events.take()[0].pre_update_event
    assert (before.deployment_id, before.is_ggc_restarting) == ("d1", True)
    connected.defer_component_update(deployment_id="d1", message="busy", recheck_after_ms=5)
    assert nucleus.counters()["deferrals"] == [{"deploymentId": "d1", "message": "busy", "recheckAfterMs": 5}]
    nucleus.command("component-update-done", deployment="d1")
    assert events.take()[0].post_update_event.deployment_id == "d1"


def test_what_lite_lacks(start, client):
    connected = client(start("lite"))
    with pytest.raises(model.ServiceError):
        connected.subscribe_to_component_updates(on_stream_event=print)
    for call in (
        lambda: connected.defer_component_update(deployment_id="d1"),
        lambda: connected.get_thing_shadow(thing_name="t", shadow_name="s"),
        lambda: connected.get_secret_value(secret_id="s"),  # noqa: S106 - not a secret
        connected.list_components,
        connected.create_local_deployment,
    ):
        with pytest.raises(model.ServiceError):
            call()
    for call in (
        lambda: connected.restart_component(component_name=COMPONENT),
        lambda: connected.validate_authorization_token(token="x"),  # noqa: S106 - not a secret
    ):
        with pytest.raises(model.UnauthorizedError):
            call()


def test_what_the_classic_stand_in_lacks(start, client):
    connected = client(start("classic"))
    with pytest.raises(StreamClosedError):
        connected.get_thing_shadow(thing_name="t", shadow_name="s")
    assert connected.get_configuration() is not None


ACCESS = {
    MQTT: {
        "p1": {"operations": ["aws.greengrass#PublishToIoTCore"], "resources": ["out/*", "own/{iot:thingName}/+"]},
        "p2": {"operations": ["aws.greengrass#SubscribeToIoTCore"], "resources": ["in/#"]},
    },
    PUBSUB: {
        "p3": {"operations": ["aws.greengrass#PublishToTopic"], "resources": ["local/*"]},
        "p4": {"operations": ["aws.greengrass#SubscribeToTopic"], "resources": ["other/*"]},
    },
}


def test_authorization_of_every_operation(start, client, mode):
    nucleus = start(mode, access_control=ACCESS, thing="Line7")
    connected = client(nucleus)
    _publish(connected, "out/a/b")
    _publish(connected, "own/Line7/x")
    connected.subscribe_to_iot_core(topic_name="in/a/b", qos="1", on_stream_event=print)
    connected.publish_to_topic(topic="local/a", publish_message=_binary(b"x"))
    connected.subscribe_to_topic(topic="other/a", on_stream_event=print)
    refused = [
        lambda: _publish(connected, "in/a"),
        lambda: _publish(connected, "own/Line8/x"),
        lambda: _publish(connected, "own/Line7/x/y"),
        lambda: connected.subscribe_to_iot_core(topic_name="out/a", qos="1", on_stream_event=print),
        lambda: connected.publish_to_topic(topic="other/a", publish_message=_binary(b"x")),
        lambda: connected.subscribe_to_topic(topic="local/a", on_stream_event=print),
    ]
    for call in refused:
        with pytest.raises(model.UnauthorizedError):
            call()
    assert nucleus.counters()["publishes"]["refused"] == {"unauthorized": 3}


def test_a_deployment_changes_what_is_allowed(start, client, mode):
    nucleus = start(mode, access_control={})
    connected = client(nucleus)
    with pytest.raises(model.UnauthorizedError):
        _publish(connected, "out/a")
    nucleus.configure({"accessControl": ACCESS})
    _publish(connected, "out/a")


def test_concurrent_clients(start, client, mode, tmp_path):
    record = tmp_path / "record.jsonl"
    nucleus = start(mode, record=record)
    clients = [client(nucleus) for _ in range(4)]

    def work(index):
        for number in range(50):
            _publish(clients[index], f"t/{index}", str(number).encode())

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index in range(4):
        own = [line["payload"] for line in lines(record) if line["topic"] == f"t/{index}"]
        assert own == list(range(50))
