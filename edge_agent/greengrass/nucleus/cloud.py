"""The IoT Core side: publishes, subscriptions, being offline, and what waits for an acknowledgement."""

from __future__ import annotations

import asyncio
import itertools
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Protocol

from edge_agent.greengrass.nucleus.limits import Limits
from edge_agent.greengrass.nucleus.record import Record
from edge_agent.greengrass.nucleus.state import SERVICE_ERROR, Counters, Faults, OperationError
from edge_agent.greengrass.topics import (
    filter_matches,
    has_wildcard,
    publish_topic_problem,
    topic_is_malformed,
    topic_problem,
)

#: The classic nucleus's spool in memory, in bytes.
SPOOL_BYTES = 2_621_440
#: How long the stand-in stays offline after nucleus lite's broker has thrown the connection out, in seconds.
RECONNECT_SECONDS = 1.0

Deliver = Callable[[str, bytes], None]


class Broker(Protocol):
    """What a bridge to a real broker offers; its callbacks arrive on the event loop."""

    @property
    def connected(self) -> bool: ...
    def publish(self, number: int, topic: str, payload: bytes, qos: int) -> None: ...
    def subscribe(self, topic_filter: str, qos: int) -> None: ...
    def unsubscribe(self, topic_filter: str) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def drop(self) -> None: ...


@dataclass(frozen=True)
class _Message:
    topic: str
    payload: bytes
    qos: int

    @property
    def packet_bytes(self) -> int:
        # MQTT: fixed header with a two-byte length, topic length, packet id, property length.
        return 8 + len(self.topic.encode("utf-8", "surrogatepass")) + len(self.payload)


class Subscription:
    """One open SubscribeToIoTCore."""

    def __init__(self, topic_filter: str, qos: int, deliver: Deliver) -> None:
        self.filter = topic_filter
        self.qos = qos
        self.deliver = deliver


class Cloud:
    """Everything runs on the event loop.

    Args:
        limits: of the nucleus that is imitated.
        faults: misbehaviour asked for.
        counters: counted here: publishes and what became of them.
        record: where accepted publishes are written; None for nowhere.
        spool_bytes: the classic nucleus's spool.
    """

    def __init__(
        self, limits: Limits, faults: Faults, counters: Counters, record: Optional[Record], spool_bytes: int
    ) -> None:
        self._limits = limits
        self._faults = faults
        self._counters = counters
        self._record = record
        self._spool_bytes = spool_bytes
        self._loop = asyncio.get_event_loop()
        self._numbers = itertools.count(1)
        # QoS 1 messages without an acknowledgement: the classic nucleus's spool, nucleus lite's in-flight window.
        self._waiting: OrderedDict[int, _Message] = OrderedDict()
        self._leaked_slots = 0
        self._subscriptions: List[Subscription] = []
        self._offline_asked = False
        self._thrown_out = False
        self.broker: Optional[Broker] = None

    @property
    def online(self) -> bool:
        broker_there = self.broker is None or self.broker.connected
        return broker_there and not self._offline_asked and not self._thrown_out

    def state(self) -> Dict[str, Any]:
        return {
            "online": self.online,
            "waiting": len(self._waiting),
            "waiting_bytes": self._waiting_bytes(),
            "leaked_slots": self._leaked_slots,
            "subscriptions": len(self._subscriptions),
        }

    def publish(self, topic: str, payload: bytes, qos: int) -> None:
        """Accept one message, or raise the OperationError that the nucleus answers with."""
        message = _Message(topic, payload, qos)
        if self._limits.lite:
            self._admit_lite(message)
            if _breaks_mqtt(topic):
                self._throw_out()
                return
        else:
            self._admit_classic(message)
        self._write_record(message)
        self._counters.publishes_accepted += 1
        self._counters.published_bytes += len(payload)
        number = next(self._numbers)
        if qos:
            self._waiting[number] = message
        if self.online:
            self._send(number, message)

    def _admit_classic(self, message: _Message) -> None:
        topic, size = message.topic, len(message.payload)
        most = self._limits.publish_bytes
        problem = publish_topic_problem(topic)
        if most is not None and size > most:
            text = f"The publishing message size {size} bytes exceeds the configured limit of {most} bytes"
            raise _publish_failed(topic, text, "too_large")
        if problem:
            raise _publish_failed(topic, problem, "invalid_topic")
        if not self.online and message.qos == 0:
            raise _publish_failed(topic, "Device is offline. Dropping QoS 0 message.", "offline")
        if self._faults.full or (message.qos and self._waiting_bytes() + size > self._spool_bytes):
            raise _publish_failed(topic, "Message spool is full. Message could not be added.", "full")

    def _admit_lite(self, message: _Message) -> None:
        refused = f"Failed to publish to topic {message.topic}"
        if not self.online:
            raise OperationError(SERVICE_ERROR, refused, "offline")
        if message.qos == 0:
            return
        most, most_bytes = self._limits.in_flight_messages, self._limits.in_flight_bytes
        slots = len(self._waiting) + self._leaked_slots
        if self._faults.full or (most is not None and slots >= most):
            raise OperationError(SERVICE_ERROR, refused, "full")
        if most_bytes is not None and self._waiting_bytes() + message.packet_bytes > most_bytes:
            self._leaked_slots += 1  # nucleus lite takes the slot before it finds no room for the bytes, and keeps it
            raise OperationError(SERVICE_ERROR, refused, "full")

    def _write_record(self, message: _Message) -> None:
        if self._record is None:
            return
        try:
            self._record.write(message.topic, message.payload, message.qos)
        except OSError as error:
            text = f"the record {self._record.path} cannot be written: {error.strerror}"
            raise OperationError(SERVICE_ERROR, text, "record") from error

    def _waiting_bytes(self) -> int:
        if self._limits.lite:
            return sum(message.packet_bytes for message in self._waiting.values())
        return sum(len(message.payload) for message in self._waiting.values())

    def _send(self, number: int, message: _Message) -> None:
        if self.broker is not None:
            self.broker.publish(number, message.topic, message.payload, message.qos)
            return
        self.receive(message.topic, message.payload)
        delay = self._faults.acknowledge_delay
        if delay == 0.0:
            self.acknowledged(number)
        elif delay is not None:
            self._loop.call_later(delay, self.acknowledged, number)

    def acknowledged(self, number: int) -> None:
        self._waiting.pop(number, None)

    def acknowledge_all(self) -> None:
        """End of slow acknowledgements: everything sent and waiting is acknowledged now."""
        if self.broker is None and self.online:
            self._waiting.clear()

    def receive(self, topic: str, payload: bytes) -> int:
        """A message from IoT Core; gives the number of subscriptions it went to."""
        most = self._limits.cloud_packet_bytes
        if most is not None and _Message(topic, payload, 1).packet_bytes > most:
            self._counters.events_dropped += 1
            return 0
        matching = [each for each in self._subscriptions if filter_matches(each.filter, topic)]
        for subscription in matching:
            subscription.deliver(topic, payload)
        return len(matching)

    def subscribe(self, topic_filter: str, qos: int, deliver: Deliver) -> Subscription:
        problem = None if self._limits.lite else topic_problem(topic_filter)
        if problem or not self.online:
            text = f"Subscribe to topic {topic_filter} failed with error {problem or 'Device is offline'}"
            raise OperationError(SERVICE_ERROR, text, "subscribe")
        subscription = Subscription(topic_filter, qos, deliver)
        self._subscriptions.append(subscription)
        if self.broker is not None:
            self.broker.subscribe(topic_filter, qos)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        if subscription not in self._subscriptions:
            return
        self._subscriptions.remove(subscription)
        if self.broker is not None and all(each.filter != subscription.filter for each in self._subscriptions):
            self.broker.unsubscribe(subscription.filter)

    def forget_subscriptions(self) -> None:
        """As after a restart of nucleus lite's iotcored: subscriptions are silently dead."""
        for subscription in list(self._subscriptions):
            self.unsubscribe(subscription)

    def set_offline(self) -> None:
        self._offline_asked = True
        if self.broker is not None:
            self.broker.pause()
        self.connection_lost()

    def set_online(self) -> None:
        self._offline_asked = False
        if self.broker is not None:
            self.broker.resume()
        self.connection_made()

    def connection_lost(self) -> None:
        """Nucleus lite has no spool: what was in flight is lost, although its publish was answered with success."""
        if self._limits.lite:
            self.lose_waiting()

    def lose_waiting(self) -> None:
        self._counters.publishes_lost += len(self._waiting)
        self._waiting.clear()
        self._leaked_slots = 0

    def connection_made(self) -> None:
        """Subscribe again, and send what waits, oldest first."""
        if not self.online:
            return
        if self.broker is not None:
            for topic_filter, qos in {each.filter: each.qos for each in self._subscriptions}.items():
                self.broker.subscribe(topic_filter, qos)
        for number, message in list(self._waiting.items()):
            self._send(number, message)

    def _throw_out(self) -> None:
        """A publish to no valid topic breaks MQTT: the broker closes the connection that all components share."""
        self._counters.wildcard_disconnects += 1
        if self.broker is not None:
            self.broker.drop()
        else:
            self._thrown_out = True
            self._loop.call_later(RECONNECT_SECONDS, self._let_in)
        self.connection_lost()

    def _let_in(self) -> None:
        self._thrown_out = False
        self.connection_made()


def _breaks_mqtt(topic: str) -> bool:
    return has_wildcard(topic) or topic_is_malformed(topic)


def _publish_failed(topic: str, reason: str, cause: str) -> OperationError:
    return OperationError(SERVICE_ERROR, f"Publish to topic {topic} failed: {reason}", cause)
