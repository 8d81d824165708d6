"""The inspector's side of the handshake with a PLC, without the network: levels in, levels out."""

from __future__ import annotations

from collections import Counter, deque
from typing import Deque, Dict, Literal, Optional

from edge_agent.modbus.handshake_map import BUFFERED_RESULTS, Commands, Result, Status

#: What became of the trigger that is up: `low` where none is.
_Trigger = Literal["low", "acknowledged", "missed"]


class Handshake:
    """Used by one thread at a time.

        triggers = acknowledged + missed
        results  = read + waiting + overrun

    Args:
        session: the number of this start of the inspector.
    """

    def __init__(self, session: int) -> None:
        self._session = session
        self._trigger: _Trigger = "low"
        self._part = 0
        self._was_away = True
        self._results: Deque[Result] = deque()
        self._shown = False
        self._overrun = False
        self._clearing = False
        self._counts: Counter[str] = Counter()

    def away(self) -> None:
        """The PLC was out of reach: of a trigger that is up when it is back nobody knows how old it is."""
        self._was_away = True

    def look(self, commands: Commands) -> Optional[int]:
        """Take in what the PLC says.

        Returns:
            The part's number where it wants an image now: then `answer` has to follow.
        """
        self._look_at_results(commands)
        was_away, self._was_away = self._was_away, False
        if not commands.trigger:
            self._trigger = "low"
        elif self._trigger == "low" and not was_away:
            self._part = commands.part
            return commands.part
        elif was_away and (self._trigger == "low" or commands.part != self._part):
            self._part = commands.part
            self.answer(accepted=False)
        return None

    def answer(self, *, accepted: bool) -> None:
        """Whether the trigger was taken."""
        self._trigger = "acknowledged" if accepted else "missed"
        self._counts[self._trigger] += 1

    def give(self, result: Result) -> None:
        """One more result; lost, and counted, where as many as fit wait already."""
        if len(self._results) < BUFFERED_RESULTS:
            self._results.append(result)
        else:
            self._counts["overrun"] += 1
            self._overrun = True

    def status(self, *, ready: bool, inspecting: bool, safe: bool, heartbeat: int) -> Status:
        """What the PLC is to see, while the inspector runs.

        Args:
            ready: the lane would take a trigger.
            inspecting: the lane has a part without a verdict.
            safe: the output is in its safe state.
            heartbeat: the count of beats.
        """
        return Status(
            online=True,
            # Not before it has heard that no trigger is up: one that rises now would be taken for an old one.
            trigger_ready=ready and self._trigger == "low" and not self._was_away,
            trigger_acknowledged=self._trigger == "acknowledged",
            missed_acquisition=self._trigger == "missed",
            inspecting=inspecting,
            buffer_overrun=self._overrun,
            safe=safe,
            heartbeat=heartbeat,
            session=self._session,
            waiting=len(self._results),
            lost=self._counts["overrun"],
            result=self._results[0] if self._shown else None,
        )

    def counts(self) -> Dict[str, Dict[str, int]]:
        """The two equations' terms. Called from any thread."""
        counts = self._counts
        return {
            "triggers": {name: counts[name] for name in ("acknowledged", "missed")},
            "results": {"read": counts["read"], "waiting": len(self._results), "overrun": counts["overrun"]},
        }

    def _look_at_results(self, commands: Commands) -> None:
        if self._shown and commands.results_acknowledged:
            self._results.popleft()
            self._shown = False
            self._counts["read"] += 1
        elif not commands.results_acknowledged:
            self._shown = bool(self._results)
        if commands.clear_overrun and not self._clearing:
            self._overrun = False
        self._clearing = commands.clear_overrun
