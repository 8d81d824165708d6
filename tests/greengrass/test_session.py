"""The connection that comes back by itself, against the local nucleus in both modes."""

from __future__ import annotations

import threading

import pytest
from greengrass_tools import Events
from support.waiting import until

from edge_agent.clock import SystemClock
from edge_agent.errors import IpcTokenRefusedError, IpcUnavailableError
from edge_agent.greengrass.ipc import IpcClient
from edge_agent.greengrass.session import NucleusSession


@pytest.fixture
def session(component):
    """A started session on a nucleus; all are closed at the end."""
    sessions = []

    def start_one(nucleus, **options):
        component(nucleus)
        sessions.append(NucleusSession(SystemClock(), **options))
        sessions[-1].start()
        return sessions[-1]

    yield start_one
    for one in sessions:
        one.close(10.0)


def _hear(events, topic="a"):
    return lambda client: client.subscribe_to_iot_core(topic, lambda _topic, payload: events.put(payload))


def test_subscriptions_come_back_after_a_restart(start, session, mode, caplog):
    nucleus = start(mode)
    link, heard, connections = session(nucleus), Events(), Events()
    link.on_connect(lambda: connections.put(1))
    link.subscribe("commands", _hear(heard))
    until(lambda: nucleus.publish("a", b"1") == 1)
    assert heard.take(1) == [b"1"]
    for life in (b"2", b"3"):
        nucleus.restart(0.2)
        until(lambda: nucleus.publish("a", life) == 1)  # noqa: B023 - called at once
        assert heard.take(1) == [life]
    assert connections.take(3) == [1, 1, 1]
    assert link.call(lambda client: client.get_configuration()) is not None
    assert caplog.text.count("connection to the nucleus: works again") <= 2


def test_a_deaf_subscription_is_renewed(start, session, mode):
    nucleus = start(mode)
    link, heard = session(nucleus), Events()
    link.subscribe("echo", _hear(heard))
    until(lambda: nucleus.publish("a", b"1") == 1)
    # What is on its way when a subscription ends may be lost.
    assert heard.take(1) == [b"1"]
    nucleus.forget_subscriptions()
    assert nucleus.publish("a", b"lost") == 0
    link.renew("echo")
    until(lambda: nucleus.publish("a", b"2") == 1)
    assert heard.take(1) == [b"2"]
    link.unsubscribe("echo")
    until(lambda: nucleus.publish("a", b"3") == 0)


def test_a_refused_subscription_is_tried_again(start, session, mode, caplog):
    nucleus = start(mode)
    nucleus.refuse("ServiceError", operation="SubscribeToIoTCore")
    link, heard = session(nucleus), Events()
    link.subscribe("commands", _hear(heard))
    until(lambda: "commands: waiting" in caplog.text)
    nucleus.reset()
    until(lambda: nucleus.publish("a", b"1") == 1)
    assert caplog.text.count("commands: waiting") == 1


def test_what_lite_does_not_know_is_left_out(start, session, caplog):
    caplog.set_level("INFO")
    nucleus = start("lite")
    link = session(nucleus)
    link.subscribe("updates", lambda client: client.subscribe_to_component_updates(print), optional=True)
    until(lambda: "updates: not with this nucleus" in caplog.text)
    asked = nucleus.counters()["operations"]["SubscribeToComponentUpdates"]
    heard = Events()
    link.subscribe("commands", _hear(heard))
    until(lambda: nucleus.publish("a", b"1") == 1)
    assert nucleus.counters()["operations"]["SubscribeToComponentUpdates"] == asked == 1
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_a_slow_nucleus_is_waited_for(start, session, mode):
    nucleus = start(mode)
    nucleus.delay_accepting(2.0)
    link = session(nucleus)
    with pytest.raises(IpcUnavailableError, match="no connection now"):
        link.call(lambda client: client.get_configuration())
    until(link.connected)


class _Refused:
    """Connects once, then the token is refused."""

    def __init__(self):
        self.times = 0
        self.clients = []

    def __call__(self, **options):
        self.times += 1
        if self.times == 1:
            self.clients.append(IpcClient.connect(**options))
            return self.clients[0]
        raise IpcTokenRefusedError("connection", "was refused")


class _FastClock(SystemClock):
    """A second of waiting takes a hundredth."""

    def __init__(self):
        self._skipped_ns = 0

    def monotonic_ns(self):
        return super().monotonic_ns() + self._skipped_ns

    def wait(self, event: threading.Event, seconds: float) -> bool:
        woken = event.wait(seconds / 100)
        self._skipped_ns += 0 if woken else round(seconds * 0.99e9)
        return woken


def test_a_token_that_died_is_noticed_once_it_worked(start, component):
    nucleus = start("classic")
    component(nucleus)
    link = NucleusSession(_FastClock(), connect=_Refused())
    link.start()
    until(link.connected)
    nucleus.restart(0.1)
    until(link.token_is_dead)
    link.close(10.0)


def test_a_token_that_never_worked_ends_nothing():
    def refused(**_options):
        tries.put(1)
        raise IpcTokenRefusedError("connection", "was refused")

    tries = Events()
    link = NucleusSession(_FastClock(), connect=refused)
    link.start()
    tries.take(20)  # minutes, with back-off
    assert not link.token_is_dead()
    link.close(10.0)


@pytest.mark.parametrize("kind", ["classic", "lite"])
def test_a_wrong_token_says_so(start, component, monkeypatch, kind):
    component(start(kind))
    monkeypatch.setenv("SVCUID", "wrong")
    with pytest.raises(IpcTokenRefusedError, match="SVCUID is not valid"):
        IpcClient.connect()
