"""The publisher: order, batches, pace, refusals; against a scripted peer with a clock that does not wait."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any, Callable, Iterator, List, Optional, Tuple

import jsonschema
import pytest
from support.messages import published
from support.spools import open_spool, put

from edge_agent.clock import SystemClock
from edge_agent.errors import IpcError, IpcInvalidError, IpcRefusedError, IpcTimeoutError, IpcUnavailableError
from edge_agent.greengrass.ipc import IpcClient
from edge_agent.greengrass.nucleus import LocalNucleus
from edge_agent.greengrass.publisher import Publisher, PublishSettings
from edge_agent.inspection import inspections_in
from edge_agent.spool import Spool

TOPIC = "edge-agent/press-7/inspections"


class _QuickClock(SystemClock):
    """Waiting takes no time, and is counted."""

    def __init__(self) -> None:
        self._waited_ns = 0

    def monotonic_ns(self) -> int:
        return super().monotonic_ns() + self._waited_ns

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self._waited_ns += int(seconds * 1e9)
        return event.is_set()


class _Peer:
    """Takes messages, or does to each what a script says: an error to raise, or None."""

    def __init__(
        self, clock: SystemClock, script: Callable[[bytes], Optional[IpcError]] = lambda _message: None
    ) -> None:
        self._clock = clock
        self._script = script
        self.taken: List[Tuple[float, bytes]] = []
        self.tried: List[Tuple[float, bytes]] = []
        self.connections = 0

    def connect(self) -> _Peer:
        self.connections += 1
        return self

    def publish_to_iot_core(self, topic: str, payload: bytes, *, qos: int) -> None:
        assert (topic, qos) == (TOPIC, 1)
        self.tried.append((self._clock.monotonic_ns() / 1e9, payload))
        error = self._script(payload)
        if error is not None:
            raise error
        self.taken.append(self.tried[-1])

    def close(self) -> None:
        pass

    def numbers(self) -> List[int]:
        return [one["number"] for _, message in self.taken for one in inspections_in(json.loads(message))]


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    made = open_spool(tmp_path / "spool")
    yield made
    made.close(5.0)


def _publish(spool: Spool, peer: _Peer, clock: SystemClock, **settings: Any) -> None:
    """Until the spool is empty."""
    spool.flush(30.0)
    publisher = Publisher(spool, peer.connect, PublishSettings(topic=TOPIC, **settings), clock)
    publisher.start()
    deadline = time.monotonic() + 60
    while spool.accounting("line-1").snapshot().spooled and not publisher.faulty():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    publisher.close(10.0)
    assert not publisher.faulty()
    assert spool.accounting("line-1").snapshot().balanced()


def test_what_has_gathered_goes_in_batches_below_the_limit_and_one_alone_as_itself(spool: Spool) -> None:
    clock = _QuickClock()
    peer = _Peer(clock)
    for number in range(100):
        put(spool, number)
    _publish(spool, peer, clock)
    sizes = [len(message) for _, message in peer.taken]
    assert peer.numbers() == list(range(100))
    assert max(sizes) <= 7_000
    assert min(sizes[:-1]) > 6_000
    put(spool, 100)
    _publish(spool, peer, clock)
    assert json.loads(peer.taken[-1][1])["number"] == 100


def test_a_batch_is_as_large_as_the_settings_say(spool: Spool) -> None:
    clock = _QuickClock()
    large, single = _Peer(clock), _Peer(clock)
    for number in range(600):
        put(spool, number)
    _publish(spool, large, clock, message_bytes=131_072, batch=500)
    assert 100_000 < max(len(message) for _, message in large.taken) <= 131_072
    for number in range(20):
        put(spool, number)
    _publish(spool, single, clock, batch=1)
    assert len(single.taken) == 20


def test_a_batch_is_valid_and_holds_todays_form(inspection_schema: Any, batch_schema: Any) -> None:
    from edge_agent.inspection import BATCH_BYTES, to_message

    page = (Path(__file__).parents[2] / "docs" / "inspection.md").read_text()
    body = json.dumps(json.loads(page.split("```json\n")[1].split("```")[0]), separators=(",", ":")).encode()
    message = to_message([body, body, body])
    assert len(message) == BATCH_BYTES + 3 * len(body) + 2
    batch_schema.validate(json.loads(message))
    for inspection in inspections_in(json.loads(message)):
        jsonschema.validate(inspection, inspection_schema)
    with pytest.raises(jsonschema.ValidationError):
        batch_schema.validate({"version": 1, "inspections": [{"version": 1}]})


@pytest.mark.parametrize(
    "settings", [{}, {"messages_per_s": 100, "bytes_per_s": 512_000}, {"batch": 1, "messages_per_s": 100}]
)
def test_the_pace_stays_below_its_limits_in_every_second(spool: Spool, settings: Any) -> None:
    clock = _QuickClock()
    peer = _Peer(clock)
    for number in range(1_500):
        put(spool, number)
    _publish(spool, peer, clock, **settings)
    limits = PublishSettings(**settings)
    for index, (start, _) in enumerate(peer.taken):
        second = [message for at, message in peer.taken[index:] if at < start + 1.0]
        assert len(second) <= limits.messages_per_s + 1
        assert sum(map(len, second)) <= limits.bytes_per_s + limits.message_bytes


def test_a_refusal_slows_down_and_loses_nothing(spool: Spool) -> None:
    clock = _QuickClock()
    refusals = iter([True] * 6)
    peer = _Peer(clock, lambda _m: IpcRefusedError("publish", "full") if next(refusals, False) else None)
    for number in range(300):
        put(spool, number)
    _publish(spool, peer, clock)
    assert peer.numbers() == list(range(300))
    tries = [at for at, _ in peer.tried]
    waits = [later - earlier for earlier, later in zip(tries, tries[1:])]
    # Back-off doubles; and when it works again, it begins slowly.
    assert waits[5] > 4 * waits[0]
    assert waits[7] > 5 * waits[-2]
    assert peer.connections == 1


@pytest.mark.parametrize("error", [IpcUnavailableError, IpcTimeoutError, IpcInvalidError])
def test_every_other_failure_is_tried_again_and_said_once(
    spool: Spool, caplog: pytest.LogCaptureFixture, error: Any
) -> None:
    clock = _QuickClock()
    failures = iter([True] * 20)
    peer = _Peer(clock, lambda _m: error("publish", "does not work") if next(failures, False) else None)
    for number in range(30):
        put(spool, number)
    _publish(spool, peer, clock)
    assert peer.numbers() == list(range(30))
    assert spool.accounting("line-1").snapshot().expired == {}
    assert peer.connections == (21 if error is IpcUnavailableError else 1)
    assert caplog.text.count("does not work") == 1
    assert caplog.text.count("works again") == 1


def test_messages_too_large_for_the_nucleus_are_given_up_and_an_outage_is_not_taken_for_it(
    spool: Spool, caplog: pytest.LogCaptureFixture
) -> None:
    clock = _QuickClock()
    outage = iter([True] * 9)

    def classic(_message: bytes) -> Optional[IpcError]:
        return IpcUnavailableError("publish", "gone") if next(outage, False) else None

    def lite(message: bytes) -> Optional[IpcError]:
        return IpcUnavailableError("publish", "closed") if len(message) > 7_300 else None

    for number in range(300):
        put(spool, number)
    peer = _Peer(clock, classic)
    _publish(spool, peer, clock, message_bytes=50_000)
    assert len(peer.taken[-2][1]) > 40_000
    assert "message_bytes" not in caplog.text
    for number in range(300):
        put(spool, number)
    peer = _Peer(clock, lite)
    _publish(spool, peer, clock, message_bytes=50_000)
    assert peer.numbers() == list(range(300))
    assert sum(len(message) > 7_300 for _, message in peer.tried) == 3
    assert caplog.text.count("message_bytes") == 1


def test_a_stop_in_the_middle_of_an_outage_leaves_everything_in_the_spool(spool: Spool) -> None:
    clock = SystemClock()
    peer = _Peer(clock, lambda _message: IpcRefusedError("publish", "full"))
    for number in range(30):
        put(spool, number)
    spool.flush(30.0)
    publisher = Publisher(spool, peer.connect, PublishSettings(topic=TOPIC), clock)
    publisher.start()
    while not peer.tried:
        time.sleep(0.01)
    publisher.close(10.0)
    assert spool.accounting("line-1").snapshot().spooled == 30
    receipt = spool.take(1_000, 1, 0.0)
    assert receipt is not None
    receipt.keep()


@pytest.mark.parametrize("mode", ["classic", "lite"])
def test_neither_nucleus_has_a_reason_to_refuse(
    spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    record = tmp_path / "record.jsonl"
    with LocalNucleus(tmp_path / "gg.sock", mode=mode, record=record, thing="press-7") as nucleus:
        for name, value in nucleus.environment().items():
            monkeypatch.setenv(name, value)
        # A slow way to the cloud: every message is under way so long.
        nucleus.slow_acknowledgements(0.05)
        for number in range(150):
            put(spool, number)
        spool.flush(30.0)
        publisher = Publisher(spool, IpcClient.connect, PublishSettings(topic=TOPIC), SystemClock())
        publisher.start()
        deadline = time.monotonic() + 60
        while spool.accounting("line-1").snapshot().spooled:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        publisher.close(10.0)
        counters = nucleus.counters()
    assert counters["publishes"]["refused"] == {}
    assert [one["number"] for one in published(record)] == list(range(150))
