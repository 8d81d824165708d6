"""Our client of the Greengrass IPC, against the local nucleus."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading

import psutil
import pytest
from greengrass_tools import Events, lines
from support.waiting import until

from edge_agent.errors import (
    IpcError,
    IpcInvalidError,
    IpcRefusedError,
    IpcTimeoutError,
    IpcUnauthorizedError,
    IpcUnavailableError,
    NucleusError,
)
from edge_agent.greengrass.ipc import SOCKET_VARIABLE, TOKEN_VARIABLE, IpcClient


@pytest.fixture
def connect(component):
    """Connect our client to a nucleus; all are closed at the end."""
    clients = []

    def connect_one(nucleus, **options):
        component(nucleus)
        clients.append(IpcClient.connect(**options))
        return clients[-1]

    yield connect_one
    for client in clients:
        client.close()


def test_publish(start, connect, mode, tmp_path):
    record = tmp_path / "record.jsonl"
    connected = connect(start(mode, record=record))
    connected.publish_to_iot_core("a/b", b'{"x": 1}')
    connected.publish_to_iot_core("a/c", b"", qos=0)
    assert [(line["topic"], line["qos"]) for line in lines(record)] == [("a/b", 1), ("a/c", 0)]
    assert lines(record)[0]["payload"] == {"x": 1}


def test_get_configuration(start, connect, mode):
    connected = connect(start(mode, {"a": {"b": [1, "x", None]}, "c": 0.5}))
    assert set(connected.get_configuration()) == {"a", "c", "accessControl"}
    assert connected.get_configuration(["a"]) == {"b": [1, "x", None]}
    assert connected.get_configuration(("a", "b")) == {"b": [1, "x", None]}
    with pytest.raises(IpcInvalidError, match=r"GetConfiguration missing/key: .*ResourceNotFoundError"):
        connected.get_configuration(["missing", "key"])


def test_configuration_updates(start, connect, mode):
    nucleus = start(mode, {"a": {"b": 1}, "c": 1})
    connected = connect(nucleus)
    paths, below, values = Events(), Events(), Events()

    def changed(path):
        paths.put(path)
        values.put(connected.get_configuration(path))  # a callback may call the client

    subscription = connected.subscribe_to_configuration_update(changed)
    connected.subscribe_to_configuration_update(below.put, key_path=["a"])
    nucleus.configure({"a": {"b": 2}, "c": 2})
    assert paths.take(2) == [["a", "b"], ["c"]]
    assert values.take(2) == [{"b": 2}, {"c": 2}]
    subscription.close()
    subscription.close()
    nucleus.configure({"a": {"b": 3}})
    assert below.take(2) == [["a", "b"], ["a", "b"]]
    assert paths.empty()
    with pytest.raises(IpcInvalidError):
        connected.subscribe_to_configuration_update(print, key_path=["missing"])


def test_a_failing_callback_stops_nothing(start, connect, mode, caplog):
    nucleus = start(mode, {"a": 1})
    connected = connect(nucleus)
    paths = Events()

    def fail(path):
        paths.put(path)
        raise ValueError("callback")

    connected.subscribe_to_configuration_update(fail)
    nucleus.configure({"a": 2})
    nucleus.configure({"a": 3})
    assert paths.take(2) == [["a"], ["a"]]
    until(lambda: caplog.text.count("A callback of the Greengrass IPC client failed") == 2)


def test_update_state(start, connect, mode):
    nucleus = start(mode)
    connected = connect(nucleus)
    connected.update_state("RUNNING")
    assert nucleus.counters()["component_state"] == "RUNNING"
    with pytest.raises(IpcRefusedError):
        connected.update_state("DANCING")


@pytest.mark.parametrize("missing", [SOCKET_VARIABLE, TOKEN_VARIABLE])
def test_missing_environment(start, component, monkeypatch, missing):
    component(start("classic"))
    monkeypatch.delenv(missing)
    with pytest.raises(IpcUnavailableError, match=f"{missing}: is not set"):
        IpcClient.connect()


def test_nobody_listens(monkeypatch, tmp_path):
    monkeypatch.setenv(TOKEN_VARIABLE, "token")
    for path in (tmp_path / "absent", tmp_path / ("x" * 200)):
        monkeypatch.setenv(SOCKET_VARIABLE, str(path))
        with pytest.raises(IpcUnavailableError, match="cannot reach the nucleus"):
            IpcClient.connect()


def test_dead_token(start, component, monkeypatch, mode):
    component(start(mode))
    monkeypatch.setenv(TOKEN_VARIABLE, "AAAAAAAAAAAAAAAA")
    with pytest.raises(IpcUnavailableError):
        IpcClient.connect()


def test_slow_handshake(start, component, mode):
    nucleus = start(mode)
    component(nucleus)
    nucleus.delay_accepting(30.0)
    with pytest.raises(IpcTimeoutError):
        IpcClient.connect(timeout=0.2)
    until(lambda: nucleus.counters()["clients"]["connected"] == 1)


def test_slow_answer(start, connect, mode, tmp_path):
    record = tmp_path / "record.jsonl"
    nucleus = start(mode, record=record)
    connected = connect(nucleus)
    nucleus.slow(1.0)
    with pytest.raises(IpcTimeoutError, match="PublishToIoTCore t: got no answer in time"):
        connected.publish_to_iot_core("t", b"1", timeout=0.2)
    # The late answer of the first call reaches nobody, and the connection lives.
    connected.publish_to_iot_core("t", b"2", timeout=20.0)
    assert [line["payload"] for line in lines(record)] == [1, 2]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ("ServiceError", IpcRefusedError),
        ("UnauthorizedError", IpcUnauthorizedError),
        ("InvalidArgumentsError", IpcInvalidError),
        ("ResourceNotFoundError", IpcInvalidError),
        ("ConflictError", IpcRefusedError),
    ],
)
def test_errors_are_mapped(start, connect, mode, answer, error):
    nucleus = start(mode)
    connected = connect(nucleus)
    nucleus.refuse(answer)
    with pytest.raises(error, match=f"PublishToIoTCore t: the nucleus answers {answer}") as caught:
        connected.publish_to_iot_core("t", b"x")
    assert type(caught.value) is error
    assert type(caught.value.__cause__).__name__ == answer
    assert ("is refused for now" in str(caught.value)) is (mode == "classic")


def test_unauthorized_topic(start, connect, mode):
    connected = connect(start(mode, access_control={}))
    with pytest.raises(IpcUnauthorizedError, match="PublishToIoTCore secret/topic"):
        connected.publish_to_iot_core("secret/topic", b"x")


@pytest.mark.parametrize("topic", ["a/#", "+", "a/b/c/d/e/f/g/h/i", "x" * 257, "", "a\0b", "\ud800"])
def test_topics_refused_before_they_hurt(start, connect, mode, topic):
    nucleus = start(mode)
    connected = connect(nucleus)
    with pytest.raises(IpcInvalidError):
        connected.publish_to_iot_core(topic, b"x")
    with pytest.raises(IpcInvalidError):
        connected.publish_to_iot_core("t", b"x", qos=2)
    assert nucleus.counters()["operations"] == {}


def test_oversize_on_lite(start, connect):
    nucleus = start("lite")
    lost = Events()
    connected = connect(nucleus, on_disconnect=lambda: lost.put("lost"))
    with pytest.raises(IpcUnavailableError):
        connected.publish_to_iot_core("t", bytes(8000))
    assert lost.take() == ["lost"]
    with pytest.raises(IpcUnavailableError):
        connected.publish_to_iot_core("t", b"x")


def test_disconnect_and_connect_again(start, connect, mode, tmp_path):
    record = tmp_path / "record.jsonl"
    nucleus = start(mode, {"a": 1}, record=record)
    lost = Events()
    for number in range(3):
        connected = connect(nucleus, on_disconnect=lambda: lost.put("lost"))
        connected.subscribe_to_configuration_update(print)
        connected.publish_to_iot_core("t", str(number).encode())
        nucleus.restart(0.0)
        assert lost.take() == ["lost"]
        for call in (
            lambda client=connected: client.publish_to_iot_core("t", b"lost"),
            lambda client=connected: client.get_configuration(),
            lambda client=connected: client.update_state("RUNNING"),
            lambda client=connected: client.subscribe_to_configuration_update(print),
        ):
            with pytest.raises(IpcUnavailableError):
                call()
        connected.close()
    assert [line["payload"] for line in lines(record)] == [0, 1, 2]
    assert lost.empty()


def test_close_is_no_disconnect(start, connect, mode):
    nucleus = start(mode, {"a": 1})
    lost = Events()
    connected = connect(nucleus, on_disconnect=lambda: lost.put("lost"))
    connected.subscribe_to_configuration_update(print)
    connected.close()
    connected.close()
    until(lambda: nucleus.counters()["clients"]["connected"] == 0)
    assert lost.empty()
    with pytest.raises(IpcUnavailableError):
        connected.publish_to_iot_core("t", b"x")


def test_close_from_its_own_callback(start, connect, mode):
    nucleus = start(mode, {"a": 1})
    done = threading.Event()
    connected = connect(nucleus)

    def close(_path):
        connected.close()
        done.set()

    connected.subscribe_to_configuration_update(close)
    nucleus.configure({"a": 2})
    assert done.wait(20.0)


def test_stop_while_calls_wait(start, connect, mode):
    nucleus = start(mode)
    connected = connect(nucleus)
    nucleus.slow(60.0)
    errors = Events()

    def call():
        try:
            connected.publish_to_iot_core("t", b"x", timeout=60.0)
        except IpcError as error:
            errors.put(error)

    waiting = threading.Thread(target=call)
    waiting.start()
    until(lambda: nucleus.counters()["publishes"]["accepted"] == 1)
    nucleus.stop()
    assert isinstance(errors.take()[0], IpcUnavailableError)
    waiting.join()


@pytest.mark.parametrize("count", [2000])
def test_publishes_keep_no_memory(start, connect, mode, count):
    """Unclosed, each call would keep about 6 kB on nucleus lite: 12 MB here."""
    connected = connect(start(mode))
    process = psutil.Process()
    for _ in range(300):
        connected.publish_to_iot_core("t", b"x" * 100)
    gc.collect()
    before = process.memory_info().rss
    for _ in range(count):
        connected.publish_to_iot_core("t", b"x" * 100)
    gc.collect()
    assert process.memory_info().rss - before < 4_000_000


def test_nothing_but_the_client_loads_the_sdk():
    modules = "edge_agent.greengrass.nucleus, edge_agent.greengrass.recipe, edge_agent.cli.nucleus_control"
    code = f"import sys, {modules}; sys.exit('awscrt' in sys.modules or 'paho' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_messages_from_the_cloud_and_from_the_device(start, connect, mode):
    nucleus = start(mode)
    connected = connect(nucleus)
    cloud, local = Events(), Events()
    subscription = connected.subscribe_to_iot_core("a/#", lambda topic, payload: cloud.put((topic, payload)))
    connected.subscribe_to_topic("b", lambda topic, payload: local.put((topic, payload)))
    nucleus.publish("a/1", b"\x00x")
    nucleus.publish_local("b", b"no json")
    nucleus.publish_local("b", b'{"x": 1}')
    connected.publish_to_topic("b", b"mine")
    assert cloud.take(1) == [("a/1", b"\x00x")]
    assert local.take(3) == [("b", b"no json"), ("b", b'{"x": 1}'), ("b", b"mine")]
    subscription.close()
    nucleus.publish("a/2", b"later")
    connected.get_configuration()
    assert cloud.empty()


def test_topics_need_their_policies(start, connect, mode):
    connected = connect(start(mode, access_control={}))
    with pytest.raises(IpcUnauthorizedError):
        connected.subscribe_to_iot_core("a", print)
    with pytest.raises(IpcUnauthorizedError):
        connected.subscribe_to_topic("a", print)


def test_a_deployment_asks_before_it_lands(start, connect):
    nucleus = start("classic", {"a": 1, "b": {"c": 2}})
    connected = connect(nucleus)
    asked = Events()

    def check(deployment, configuration):
        asked.put(configuration)
        connected.report_configuration(deployment, "a: is odd" if configuration["a"] % 2 else None)

    connected.subscribe_to_configuration_checks(check)
    nucleus.configure({"a": 2})
    with pytest.raises(NucleusError, match="rejects the configuration: a: is odd"):
        nucleus.configure({"a": 3})
    assert connected.get_configuration(["a"]) == {"a": 2}
    assert [(values["a"], values["b"]) for values in asked.take(2)] == [(2, {"c": 2}), (3, {"c": 2})]
    with pytest.raises(IpcInvalidError, match="never made"):
        connected.report_configuration("another", None)


def test_an_update_is_put_off(start, connect):
    nucleus = start("classic")
    connected = connect(nucleus)
    announced = Events()

    def announce(deployment):
        connected.defer_component_update(deployment, recheck_ms=5000, reason="a part is being inspected")
        announced.put(deployment)

    connected.subscribe_to_component_updates(announce)
    nucleus.command("component-update", deployment="d-1")
    assert announced.take(1) == ["d-1"]
    (deferral,) = nucleus.counters()["deferrals"]
    assert (deferral["deploymentId"], deferral["recheckAfterMs"]) == ("d-1", 5000)


def test_lite_knows_no_checks_and_no_updates(start, connect):
    connected = connect(start("lite"))
    for subscribe in (connected.subscribe_to_configuration_checks, connected.subscribe_to_component_updates):
        with pytest.raises(IpcRefusedError):
            subscribe(print)
