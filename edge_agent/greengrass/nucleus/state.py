"""What the parts of the stand-in share: how an operation fails, the faults asked for, the counters."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Dict, Optional

SERVICE_ERROR = "ServiceError"
UNAUTHORIZED = "UnauthorizedError"
INVALID_ARGUMENTS = "InvalidArgumentsError"
NOT_FOUND = "ResourceNotFoundError"
FAILED_CONDITION = "FailedUpdateConditionCheckError"


class OperationError(Exception):
    """An operation's answer that is an error on the wire.

    Args:
        code: the error shape's name; None for the classic nucleus's answer without a shape.
        message: text for the client.
        cause: the counter it goes under.
    """

    def __init__(self, code: Optional[str], message: str, cause: str = "invalid") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.cause = cause


@dataclass
class Faults:
    """Misbehaviour asked for.

    Attributes:
        reply_delay: seconds between an operation's effect and its answer.
        accept_delay: seconds before a new connection is listened to.
        acknowledge_delay: seconds until IoT Core acknowledges a QoS 1 message; None for never. Not with a broker.
        full: every publish is refused as by a full spool or a full in-flight window.
        refusal: error shape that operations are answered with; None for none.
        refused_operation: the one operation that is refused; None for all.
    """

    reply_delay: float = 0.0
    accept_delay: float = 0.0
    acknowledge_delay: Optional[float] = 0.0
    full: bool = False
    refusal: Optional[str] = None
    refused_operation: Optional[str] = None

    def check(self, operation: str) -> None:
        if self.refusal and self.refused_operation in (None, operation):
            raise OperationError(self.refusal, f"{operation} is refused for now", "fault")


@dataclass
class Counters:
    """Counts since the start. Publishes are those to IoT Core."""

    connections_accepted: int = 0
    connections_refused: int = 0
    frames_refused: int = 0
    operations: Counter[str] = field(default_factory=Counter)
    publishes_accepted: int = 0
    published_bytes: int = 0
    publishes_refused: Counter[str] = field(default_factory=Counter)
    publishes_lost: int = 0
    events_sent: int = 0
    events_dropped: int = 0
    wildcard_disconnects: int = 0

    def snapshot(self, clients: int) -> Dict[str, Any]:
        """Counters as JSON. `clients` are the connections open now."""
        return {
            "clients": {
                "connected": clients,
                "accepted": self.connections_accepted,
                "refused": self.connections_refused,
                "frames_refused": self.frames_refused,
            },
            "operations": dict(self.operations),
            "publishes": {
                "accepted": self.publishes_accepted,
                "bytes": self.published_bytes,
                "refused": dict(self.publishes_refused),
                "lost": self.publishes_lost,
                "wildcard_disconnects": self.wildcard_disconnects,
            },
            "events": {"sent": self.events_sent, "dropped": self.events_dropped},
        }
