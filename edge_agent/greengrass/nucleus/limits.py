"""What each nucleus allows: the classic one (Java) and nucleus lite (C)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Optional

from edge_agent.greengrass import eventstream


@dataclass(frozen=True)
class Limits:
    """Sizes in bytes, durations in seconds; None where the nucleus has no such limit.

    Attributes:
        lite: nucleus lite's behaviour where the two differ in more than a number.
        frame_bytes: a longer frame closes the connection, with everything on it.
        reply_bytes: a longer reply becomes a ServiceError, a longer event is dropped.
        publish_bytes: payload of one IoT Core publish; above it is a ServiceError.
        cloud_packet_bytes: MQTT packet from the cloud; a larger one is dropped by the broker.
        frame_seconds: how long a frame may stay half sent.
        clients: connections at a time.
        subscriptions: open subscriptions of all clients.
        in_flight_messages: QoS 1 messages without an acknowledgement.
        in_flight_bytes: their size together.
        request_values: list elements and map entries in one request.
        request_depth: nesting of one request.
        map_keys: keys in one map of a configuration that is read.
    """

    lite: bool
    frame_bytes: int = eventstream.MAX_FRAME_BYTES
    reply_bytes: int = eventstream.MAX_FRAME_BYTES
    publish_bytes: Optional[int] = None
    cloud_packet_bytes: Optional[int] = None
    frame_seconds: Optional[float] = None
    clients: Optional[int] = None
    subscriptions: Optional[int] = None
    in_flight_messages: Optional[int] = None
    in_flight_bytes: Optional[int] = None
    request_values: Optional[int] = None
    request_depth: Optional[int] = None
    map_keys: Optional[int] = None


CLASSIC = Limits(lite=False, publish_bytes=128 * 1024)

LITE = Limits(
    lite=True,
    # The buffer of 10,000 bytes takes a frame without its twelve bytes of prelude.
    frame_bytes=10_000 + eventstream.PRELUDE_BYTES,
    reply_bytes=10_000,
    cloud_packet_bytes=5_000,
    frame_seconds=5.0,
    clients=50,
    subscriptions=100,
    in_flight_messages=10,
    in_flight_bytes=15_000,
    request_values=255,
    request_depth=15,
    map_keys=99,
)

MODES: Dict[str, Limits] = {"classic": CLASSIC, "lite": LITE}
