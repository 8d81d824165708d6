"""The program of a simulated PLC: one scan takes what the inspector says, and gives what the PLC says."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Callable, Deque, Literal, Optional, Tuple

from edge_agent.modbus.handshake_map import MAX_PART, Commands, Result, Status
from edge_agent.plc_simulator.books import LineBooks
from edge_agent.plc_simulator.settings import PlcSettings

_UNDECIDED = 3

#: Where the trigger is. low: none is up. raised: up, without an answer. falling: it was answered, and comes down.
_Trigger = Literal["low", "raised", "falling"]


class Program:
    """One thread at a time; times are nanoseconds of a monotonic clock.

    Args:
        settings: of the PLC.
        judged: called with each result of a part.

    Attributes:
        acknowledges: whether it reads results; one that does not lets them pile up.
    """

    def __init__(self, settings: PlcSettings, judged: Callable[[Result], None]) -> None:
        self._settings = settings
        self._judged = judged
        self.books = LineBooks()
        # Parts that are or will be in front of the camera: number, and since when.
        self._parts: Deque[Tuple[int, int]] = deque()
        self._trigger: _Trigger = "low"
        self._raised_ns = 0
        # Parts that a result is expected for: number, and since when.
        self._awaited: OrderedDict[int, int] = OrderedDict()
        self._commands = Commands()
        self._beat: Optional[int] = None
        self._beat_ns = 0
        self._session = 0
        self.acknowledges = True

    def part(self, number: int, now_ns: int) -> None:
        """A part comes; 1 to 2^32 - 1, another number each."""
        if not 1 <= number <= MAX_PART:
            raise ValueError(f"no part's number: {number}")
        self.books.parts += 1
        self.books.at_camera += 1
        self._parts.append((number, now_ns))

    def online(self, now_ns: int) -> bool:
        """Whether an inspector is there: its heart beats."""
        return self._beat is not None and now_ns - self._beat_ns <= self._settings.silent_s * 1e9

    def scan(self, status: Status, now_ns: int) -> Commands:
        """One run."""
        self._listen(status, now_ns)
        online = status.online and self.online(now_ns)
        # First the trigger: a result may come with its acknowledgement.
        trigger = self._look_at_trigger(status, now_ns) if online else self._let_go()
        self._look_at_results(status if online else Status(), now_ns)
        self._let_pass(now_ns)
        part = self._parts[0][0] if trigger == "raised" else self._commands.part
        # An overrun that was seen is cleared; the level comes down when the inspector has done it.
        if status.buffer_overrun and not self._commands.clear_overrun:
            self.books.overruns += 1
        self._commands = Commands(
            trigger=trigger == "raised",
            # Once up it stays until the inspector has seen it and the result is gone.
            results_acknowledged=online
            and status.result is not None
            and (self.acknowledges or self._commands.results_acknowledged),
            clear_overrun=status.buffer_overrun,
            heartbeat=self._commands.heartbeat + 1,
            part=part,
        )
        return self._commands

    def _listen(self, status: Status, now_ns: int) -> None:
        if status.heartbeat != self._beat:
            self._beat, self._beat_ns = status.heartbeat, now_ns
        if status.online and status.session != self._session:
            # What another start of the inspector had taken gets no result.
            self._session = status.session
            self.books.awaited -= len(self._awaited)
            self.books.without_result += len(self._awaited)
            self._awaited.clear()

    def _look_at_trigger(self, status: Status, now_ns: int) -> _Trigger:
        books = self.books
        if self._trigger == "low" and self._parts and status.trigger_ready:
            self._trigger, self._raised_ns = "raised", now_ns
        elif self._trigger == "raised" and (status.trigger_acknowledged or status.missed_acquisition):
            number, _since = self._parts.popleft()
            books.at_camera -= 1
            self._trigger = "falling"
            if status.trigger_acknowledged:
                books.acknowledged += 1
                books.awaited += 1
                self._awaited[number] = now_ns
            else:
                books.missed += 1
        elif self._trigger == "falling" and not (status.trigger_acknowledged or status.missed_acquisition):
            self._trigger = "low"
        return self._trigger

    def _let_go(self) -> _Trigger:
        """Without an inspector no trigger is up; the part that it was for is missed."""
        if self._trigger == "raised":
            self._parts.popleft()
            self.books.at_camera -= 1
            self.books.missed += 1
        self._trigger = "low"
        return self._trigger

    def _let_pass(self, now_ns: int) -> None:
        """A part that no trigger is up for does not stay for ever."""
        patience_ns = self._settings.patience_s * 1e9
        while self._trigger != "raised" and self._parts and now_ns - self._parts[0][1] > patience_ns:
            self._parts.popleft()
            self.books.at_camera -= 1
            self.books.passed += 1

    def _look_at_results(self, status: Status, now_ns: int) -> None:
        # With its acknowledgement up, the result was read in an earlier scan.
        if status.result is not None and not self._commands.results_acknowledged and self.acknowledges:
            self._count(status.result)
        within_ns = self._settings.result_within_s * 1e9
        while self._awaited and now_ns - next(iter(self._awaited.values())) > within_ns:
            self._awaited.popitem(last=False)
            self.books.awaited -= 1
            self.books.without_result += 1

    def _count(self, result: Result) -> None:
        if self._awaited.pop(result.part, None) is None:
            self.books.strays += 1
            return
        self.books.awaited -= 1
        if result.verdict == _UNDECIDED:
            self.books.undecided += 1
        elif result.rule:
            self.books.rejected += 1
        else:
            self.books.good += 1
        self._judged(result)
