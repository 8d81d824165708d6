"""The registers by which a PLC and an inspector shake hands; docs/plc.md has them as a table for people.

The PLC writes the commands, the inspector writes the status. Each block is read and written as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Optional, Sequence

from edge_agent.modbus.protocol import WORD, join, split

#: How many registers each block has.
COMMAND_REGISTERS = 4
STATUS_REGISTERS = 15

#: Results that the inspector keeps for the PLC, the one that is shown included.
BUFFERED_RESULTS = 8

#: `class_number` of a class that the configuration does not number.
UNNUMBERED = WORD

#: The largest part number.
MAX_PART = 0xFFFF_FFFF

_TRIGGER, _RESULTS_ACKNOWLEDGED, _CLEAR_OVERRUN = 1, 2, 4
_RESULT_AT = 5


def blocks_problem(commands: int, status: int) -> Optional[str]:
    """What is wrong with where the two blocks begin; None: nothing."""
    for name, address, count in (("commands", commands, COMMAND_REGISTERS), ("status", status, STATUS_REGISTERS)):
        if not 0 <= address <= WORD + 1 - count:
            return f"`{name}` must be 0 to {WORD + 1 - count}"
    if commands < status + STATUS_REGISTERS and status < commands + COMMAND_REGISTERS:
        return (
            f"`commands` ({COMMAND_REGISTERS} registers) and `status` ({STATUS_REGISTERS} registers) must not overlap"
        )
    return None


@dataclass(frozen=True)
class Commands:
    """What the PLC says.

    Attributes:
        trigger: a part is there; up until it is acknowledged or missed.
        results_acknowledged: the result that is shown was read; up until it is not shown any more.
        clear_overrun: the overrun was seen; its rising counts.
        heartbeat: another number each time.
        part: the part's number, 0 to 2^32 - 1; comes back with the result.
    """

    trigger: bool = False
    results_acknowledged: bool = False
    clear_overrun: bool = False
    heartbeat: int = 0
    part: int = 0

    def encode(self) -> List[int]:
        bits = (
            (_TRIGGER if self.trigger else 0)
            | (_RESULTS_ACKNOWLEDGED if self.results_acknowledged else 0)
            | (_CLEAR_OVERRUN if self.clear_overrun else 0)
        )
        return [bits, self.heartbeat & WORD, *split(self.part)]

    @classmethod
    def decode(cls, words: Sequence[int]) -> Commands:
        bits, heartbeat, high, low = words
        return cls(
            bool(bits & _TRIGGER),
            bool(bits & _RESULTS_ACKNOWLEDGED),
            bool(bits & _CLEAR_OVERRUN),
            heartbeat,
            join(high, low),
        )


@dataclass(frozen=True)
class Result:
    """What was decided about a part.

    Attributes:
        verdict: 1 normal (pass), 2 anomalous (fail), 3 undecided.
        confidence: in 1/1000.
        area: of all classes together, in 1/10000 of the image.
        sequence: of the frame, as published; 0 where there is none.
        class_number: of the class with the largest area: its place, from 1, among the configured ones; 0: no class;
            UNNUMBERED: another one.
        rule: whether the output's rule is met.
        cause: of no verdict: 1 late, 2 lost, 3 missed trigger; else 0.
        part: the number that came with the trigger; 0 where there was none.
    """

    verdict: int
    confidence: int = 0
    area: int = 0
    sequence: int = 0
    class_number: int = 0
    rule: bool = False
    cause: int = 0
    part: int = 0

    def encode(self) -> List[int]:
        words = [self.verdict, self.confidence, self.area, *split(self.sequence)]
        return [*words, self.class_number, int(self.rule), self.cause, *split(self.part)]

    @classmethod
    def decode(cls, words: Sequence[int]) -> Result:
        verdict, confidence, area, high, low, class_number, rule, cause, part_high, part_low = words
        sequence, part = join(high, low), join(part_high, part_low)
        return cls(verdict, confidence, area, sequence, class_number, bool(rule), cause, part)


_NO_RESULT = [0] * len(Result(0).encode())


@dataclass(frozen=True)
class Status:
    """What the inspector says.

    Attributes:
        online: it runs; false after an orderly end. After any other the heartbeat stands still.
        trigger_ready: a trigger would be taken now.
        trigger_acknowledged: the trigger that is up was taken: a result will come.
        missed_acquisition: the trigger that is up was not taken: none will.
        inspecting: a part is between its trigger and its verdict.
        buffer_overrun: a result was lost because as many as fit were waiting; up until the PLC clears it.
        safe: the safe state: no part was judged since the start, or since a fault.
        heartbeat: another number each time.
        session: another number for each start of the inspector; what an earlier one took gets no result.
        waiting: results in the buffer, the one that is shown included.
        lost: results lost to overruns, counted to 65535 and again from 0.
        result: the one that is shown; `results valid` is that there is one.
    """

    online: bool = False
    trigger_ready: bool = False
    trigger_acknowledged: bool = False
    missed_acquisition: bool = False
    inspecting: bool = False
    buffer_overrun: bool = False
    safe: bool = False
    heartbeat: int = 0
    session: int = 0
    waiting: int = 0
    lost: int = 0
    result: Optional[Result] = None

    def encode(self) -> List[int]:
        flags = (
            self.online,
            self.trigger_ready,
            self.trigger_acknowledged,
            self.missed_acquisition,
            self.inspecting,
            self.result is not None,
            self.buffer_overrun,
            self.safe,
        )
        bits = sum(flag << bit for bit, flag in enumerate(flags))
        words = [bits, self.heartbeat & WORD, self.session, self.waiting, self.lost & WORD]
        shown = _NO_RESULT if self.result is None else self.result.encode()
        return [*words, *shown]

    @classmethod
    def decode(cls, words: Sequence[int]) -> Status:
        online, ready, acknowledged, missed, inspecting, valid, overrun, safe = (
            bool(words[0] & 1 << bit) for bit in range(8)
        )
        heartbeat, session, waiting, lost = words[1:_RESULT_AT]
        shown = Result.decode(words[_RESULT_AT : _RESULT_AT + len(_NO_RESULT)]) if valid else None
        return cls(
            online,
            ready,
            acknowledged,
            missed,
            inspecting,
            overrun,
            safe,
            heartbeat,
            session,
            waiting,
            lost,
            shown,
        )
