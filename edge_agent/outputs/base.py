"""What an output is: a dumb plugin that a runner opens, drives and closes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Dict, Literal, Optional, Protocol, Tuple

from edge_agent.clock import Clock
from edge_agent.inspection import Inspection
from edge_agent.triggers import Trigger

#: Why an output is in its safe state.
#:   start     it was opened, and no part has been judged since
#:   fault     the output failed, or its lane did
#:   silence   no part came for too long
#:   stop      the inspector ends, or the output is taken out of the configuration
#:   part      a part got no verdict in time, and the output's `undecided` is `safe`
SafeReason = Literal["start", "fault", "silence", "stop", "part"]

#: Why a part has no verdict.
#:   late             not decided by the lane's `decide_by_ms`, or by the time at which the output has to act
#:   lost             the frame was dropped, or got no verdict
#:   missed_trigger   no image was taken of it
Cause = Literal["late", "lost", "missed_trigger"]


@dataclass(frozen=True)
class Part:
    """Which part it is about.

    Attributes:
        lane: its camera.
        captured_ns: monotonic clock of capture, nanoseconds; of the trigger where no image was taken.
        captured_at_ns: the same on the wall clock, nanoseconds since 1970-01-01 UTC; data only.
        sequence: of its frame; None where there is none.
        trigger_id: the trigger that asked for it, if one did.
    """

    lane: str
    captured_ns: int
    captured_at_ns: int
    sequence: Optional[int] = None
    trigger_id: Optional[str] = None


@dataclass(frozen=True)
class Action:
    """What an output is told of one part.

    Attributes:
        part: the part.
        on: whether the output's rule is met; never False but for outputs that follow the rule.
        due_ns: monotonic clock, nanoseconds: when it is to be done.
        inspection: the verdict; None where there is none in time.
        cause: why there is none; None with an inspection.
        detail: more of the cause, such as the lane's name for it.
    """

    part: Part
    on: bool
    due_ns: int
    inspection: Optional[Inspection] = None
    cause: Optional[Cause] = None
    detail: str = ""


class Stations(Protocol):
    """The lanes, for an output that triggers them: by name, from any thread, at once. One that is not there is not ready."""

    def ready(self, lane: str) -> bool:
        """Whether the lane would take a trigger of a PLC now."""

    def inspecting(self, lane: str) -> bool:
        """Whether a part of the lane is between its trigger and its verdict."""

    def fire(self, lane: str, trigger: Trigger) -> bool:
        """Ask for an image; false when the trigger is missed."""


@dataclass(frozen=True)
class OutputContext:
    """What an output is made with, beside its settings.

    Attributes:
        name: the output's, as the configuration has it.
        thing: the thing's name.
        clock: time.
        directory: for what it keeps on disk; made where it is needed.
        lanes: those that it hears; empty: all.
        stations: all lanes.
    """

    name: str
    thing: str
    clock: Clock
    directory: Path
    lanes: Tuple[str, ...]
    stations: Stations


class Output:
    """One output. Its runner calls it from one thread at a time, and owns retry, queue, breaker and the safe state.

    Each call is bounded in time by the output's own settings. Whatever goes wrong is an OutputError:
    OutputNotConnectedError (nobody there), OutputTimeoutError (no answer in time), OutputError itself (refused);
    MissingExtraError for a library that is not installed. After an error the runner closes the output, opens it again
    and makes it safe.

    Attributes:
        drives: it moves something at a time: an action that comes too late would hit another part.
        awaits: a part that is not decided by its lane's `decide_by_ms` is undecided, as it is where the output drives.
        follows: it hears of every part that is judged, with `on` telling whether the rule is met.
    """

    drives: ClassVar[bool] = False
    awaits: ClassVar[bool] = False
    follows: bool = False

    def open(self) -> None:
        """Connect, also again after `close`."""
        raise NotImplementedError

    def apply(self, action: Action) -> None:
        """Do it; returns when the other side has it."""
        raise NotImplementedError

    def safe(self, reason: SafeReason) -> None:
        """Go to the safe state and stay there until `ready`. Called after each `open`, and before `close` at the end."""
        raise NotImplementedError

    def ready(self) -> None:
        """Parts are judged: leave the safe state. Called before the first action after `safe` that has a verdict."""

    def due_ns(self) -> Optional[int]:
        """When `tick` is to be called, on the monotonic clock; None: not at all. Asked again after each call."""
        return None

    def tick(self) -> None:
        """Do what is due: the end of a pulse, a look whether the other side is there."""

    def close(self) -> None:
        """Let go of everything; any number of times; raises nothing."""
        raise NotImplementedError

    def status(self) -> Dict[str, Any]:
        """Figures of its own for the report, of JSON's types. Called from any thread."""
        return {}
