"""Runs one output: its thread, its queue, its breaker, its safe state. Nothing here ever holds a lane up."""

from __future__ import annotations

import logging
import threading
from functools import partial
from typing import Any, Callable, Dict, List, Literal, Optional

from edge_agent.backoff import Backoff
from edge_agent.clock import Clock
from edge_agent.errors import MissingExtraError, OutputError, OutputNotConnectedError, OutputTimeoutError
from edge_agent.inspection import Inspection
from edge_agent.outage import Outage
from edge_agent.outputs.base import Action, Cause, Output, Part, SafeReason
from edge_agent.outputs.books import OutputBooks
from edge_agent.outputs.breaker import Breaker
from edge_agent.outputs.schedule import Schedule
from edge_agent.outputs.settings import OutputSettings
from edge_agent.outputs.times import Times

_log = logging.getLogger(__name__)

#: opening   not connected yet
#: safe      in the safe state: no part was judged since it was opened, or since what put it there
#: working   parts are judged, and acted on
#: broken    the breaker is open: what is offered is dropped until the next try
#: stopped   closed
#: faulty    stopped by a fault of ours
State = Literal["opening", "safe", "working", "broken", "stopped", "faulty"]

# A PLC that is back is to be in its safe state soon.
_RETRY_CAP_S = 5.0


class Runner:
    """`expect`, `offer`, `give_up` and `trouble` return at once, in whichever thread.

    Args:
        name: the output's, as the configuration has it.
        settings: of the output.
        output: not opened yet.
        books: the output's accounting.
        clock: time.
    """

    def __init__(self, name: str, settings: OutputSettings, output: Output, books: OutputBooks, clock: Clock) -> None:
        self.name = name
        self.settings = settings
        self._output = output
        self._books = books
        self._clock = clock
        # An action at the wrong time is wrong: the part has to be decided before it, or is acted on as undecided.
        self._timed = output.drives or output.awaits or settings.act_after_ms > 0
        self._late_ns = settings.late_ns(drives=output.drives)
        self._changed = threading.Condition()
        self._schedule = Schedule(settings.queue)
        self._breaker = Breaker(settings.failures, Backoff(cap=_RETRY_CAP_S))
        self._state: State = "opening"
        self._is_open = False
        self._judged = False
        self._refused_action = False
        self._make_safe: Optional[SafeReason] = None
        self._heard_ns = 0
        self._close_by_ns: Optional[int] = None
        self._times = Times()
        self._outage = Outage(_log, f"output {name}", output=name)
        self._thread = threading.Thread(target=self._run, name=f"output-{name}", daemon=True)

    # What the lanes call.

    def start(self) -> None:
        self._heard_ns = self._clock.monotonic_ns()
        self._thread.start()

    def serves(self, lane: str) -> bool:
        return not self.settings.lanes or lane in self.settings.lanes

    def expect(self, part: Part, decide_by_ms: float) -> None:
        """The part was captured; without a verdict by the time that the lane or the output needs one, it is undecided."""
        waits = [wait for wait in (decide_by_ms, self.settings.act_after_ms) if wait > 0]
        if not waits or not self._timed or self.settings.undecided == "skip":
            return
        by_ns = part.captured_ns + round(min(waits) * 1e6)
        with self._changed:
            if self._close_by_ns is None and not self._schedule.expect(part, by_ns):
                self._books.offer()
                self._books.drop("full")
            if self._schedule.next_ns() == by_ns:
                self._changed.notify_all()

    def offer(self, part: Part, inspection: Inspection) -> bool:
        """The part has its verdict. One that comes too late for a timed output was acted on, and counted, before.

        Returns:
            Whether there is something to do at once.
        """
        with self._changed:
            self._heard_ns = self._clock.monotonic_ns()
            if not self._schedule.settle(part):
                return False
            self._books.offer()
            met = self.settings.when.is_met_by(inspection)
            if self._state == "safe" and not self._judged:
                self._judged = True
                self._changed.notify_all()
            if met or self._output.follows:
                self._add(Action(part, on=met, due_ns=self._due_ns(part), inspection=inspection))
                return not self.settings.act_after_ms
            self._books.skip()
            return False

    def give_up(self, part: Part, cause: Cause, detail: str) -> None:
        """The part will get no verdict."""
        with self._changed:
            if self._schedule.settle(part):
                self._add_undecided(part, cause, detail)

    def trouble(self) -> None:
        """What the output depends on has failed: make it safe."""
        with self._changed:
            self._note_fault()
            self._changed.notify_all()

    def finish(self, seconds: float) -> None:
        """Nothing more is offered: do what waits for at most so long, then make the output safe and close it."""
        with self._changed:
            self._close_by_ns = self._clock.monotonic_ns() + round(seconds * 1e9)
            self._changed.notify_all()

    def close(self, timeout: float) -> None:
        """Wait for the end that `finish` began."""
        self.finish(0.0)
        if self._thread.ident is not None:
            self._thread.join(timeout)
        if self._thread.is_alive():
            _log.warning("output %s: does not answer; left alone", self.name, extra={"output": self.name})

    def waiting(self) -> int:
        """Actions that wait while the output is there."""
        with self._changed:
            return 0 if self._breaker.is_open else len(self._schedule)

    def state(self) -> State:
        with self._changed:
            return self._state

    def faulty(self) -> bool:
        """Whether a fault of ours stopped it; the log has the traceback."""
        return self.state() == "faulty"

    def status(self) -> Dict[str, Any]:
        """State, books and times for the report."""
        with self._changed:
            status: Dict[str, Any] = {"state": self._state, "breaker_opened": self._breaker.opened_times}
            status.update(self._times.as_dict())
        return {**status, "counts": self._books.snapshot().as_dict(), **self._output.status()}

    # The lanes' side, with the lock held.

    def _due_ns(self, part: Part) -> int:
        after_ms = self.settings.act_after_ms
        return part.captured_ns + round(after_ms * 1e6) if after_ms else self._clock.monotonic_ns()

    def _add_undecided(self, part: Part, cause: Cause, detail: str) -> None:
        self._books.offer()
        self._books.note_undecided(cause)
        undecided, follows = self.settings.undecided, self._output.follows
        on = self.settings.when.is_met_without_verdict()
        if undecided == "skip" or (undecided == "as_anomalous" and not on and not follows):
            self._books.skip()
        else:
            self._add(Action(part, on=on, due_ns=self._due_ns(part), cause=cause, detail=detail))

    def _add(self, action: Action) -> None:
        if self._close_by_ns is not None or self._state in ("stopped", "faulty"):
            self._books.drop("stopped")
        elif self._breaker.is_open:
            self._books.drop("broken")
        elif self._schedule.full():
            self._books.drop("full")
            self._note_fault()
            self._changed.notify_all()
        else:
            self._schedule.put(action)
            if self._schedule.next_ns() == action.due_ns:
                self._changed.notify_all()

    # The thread.

    def _run(self) -> None:
        try:
            step = self._next_step()
            while step is not None:
                step()
                step = self._next_step()
            end: State = "stopped"
        except Exception:  # noqa: BLE001 - whatever it is, the other outputs and the lanes go on
            _log.exception("output %s: stopped by an internal error", self.name, extra={"output": self.name})
            end = "faulty"
        if self._is_open:
            self._call(partial(self._output.safe, "stop"))
        self._output.close()
        with self._changed:
            self._state = end
            self._drop_waiting("stopped")

    def _next_step(self) -> Optional[Callable[[], None]]:
        """Wait for the next thing to do; None: it is over."""
        with self._changed:
            while True:
                now_ns = self._clock.monotonic_ns()
                if self._close_by_ns is not None and (not len(self._schedule) or now_ns >= self._close_by_ns):
                    return None
                self._give_up_overdue(now_ns)
                step = self._due_step(now_ns)
                if step is not None:
                    return step
                wake_ns = self._wake_ns()
                self._changed.wait(None if wake_ns is None else max(0.0, (wake_ns - self._clock.monotonic_ns()) / 1e9))

    def _due_step(self, now_ns: int) -> Optional[Callable[[], None]]:
        """What is to be done now; None: nothing."""
        if not self._is_open:
            return self._connect if now_ns >= self._breaker.until_ns else None
        if self._make_safe is not None:
            return partial(self._go_safe, self._make_safe)
        tick_ns = self._output.due_ns()
        action = self._schedule.first(now_ns if tick_ns is None else min(now_ns, tick_ns))
        if action is None:
            return self._step_between(now_ns, tick_ns)
        if self._state == "safe" and (self._judged or action.inspection is not None):
            return self._get_ready
        self._schedule.remove_first()
        return partial(self._do, action)

    def _step_between(self, now_ns: int, tick_ns: Optional[int]) -> Optional[Callable[[], None]]:
        """What is to be done now beside actions."""
        if tick_ns is not None and tick_ns <= now_ns:
            return self._tick
        if self._state == "safe" and self._judged:
            return self._get_ready
        return partial(self._go_safe, "silence") if self._silence_ns() <= now_ns else None

    def _wake_ns(self) -> Optional[int]:
        wakes: List[int] = []
        next_ns = self._schedule.next_ns()
        if next_ns is not None:
            wakes.append(next_ns)
        if self._close_by_ns is not None:
            wakes.append(self._close_by_ns)
        if self._is_open:
            due_ns = self._output.due_ns()
            wakes += [due_ns] if due_ns is not None else []
            wakes += [int(self._silence_ns())] if self._silence_ns() < float("inf") else []
        else:
            wakes.append(self._breaker.until_ns)
        return min(wakes) if wakes else None

    def _silence_ns(self) -> float:
        """When the safe state is due for want of parts."""
        if not self.settings.silent_after_s or self._state != "working":
            return float("inf")
        return self._heard_ns + self.settings.silent_after_s * 1e9

    def _give_up_overdue(self, now_ns: int) -> None:
        part = self._schedule.overdue(now_ns)
        while part is not None:
            self._add_undecided(part, "late", "")
            part = self._schedule.overdue(now_ns)

    def _connect(self) -> None:
        if self._call(self._output.open) is None:
            with self._changed:
                self._is_open = True
            self._go_safe("fault" if self._times.is_faulty() else "start")

    def _go_safe(self, reason: SafeReason) -> None:
        with self._changed:
            self._make_safe, self._judged = None, False
        if self._call(partial(self._output.safe, reason)) is not None:
            return
        if not self._refused_action:
            self._outage.over()  # else it is over with the next action that succeeds
        with self._changed:
            self._state = "safe"
            self._breaker.connected()
            self._times.safe(self._clock.monotonic_ns())

    def _get_ready(self) -> None:
        if self._call(self._output.ready) is None:
            with self._changed:
                self._state, self._judged = "working", False

    def _tick(self) -> None:
        self._call(self._output.tick)

    def _do(self, action: Action) -> None:
        lag_ns = self._clock.monotonic_ns() - action.due_ns
        if self._late_ns and lag_ns > self._late_ns:
            self._books.drop("late")
            self.trouble()
            return
        if action.cause is not None and self.settings.undecided == "safe":
            failure = self._call(partial(self._output.safe, "part"))
        else:
            failure = self._call(partial(self._output.apply, action))
        self._refused_action = failure is not None
        if failure is not None:
            self._books.fail(failure)
            return
        self._books.apply()
        self._outage.over()
        with self._changed:
            if action.cause is not None and self.settings.undecided == "safe":
                self._state, self._judged = "safe", False
            self._breaker.worked()
            self._times.done(action.due_ns, self._clock.monotonic_ns())

    def _call(self, call: Callable[[], None]) -> Optional[str]:
        """Call the output; the cause where that failed, after everything was done about it."""
        try:
            call()
        except (OutputError, MissingExtraError) as error:
            self._failed(error)
            return _cause(error)
        except Exception as error:  # noqa: BLE001 - a fault of ours in one output; see `_run`
            _log.exception("output %s: internal error", self.name, extra={"output": self.name})
            self._failed(error)
            return "internal"
        return None

    def _failed(self, error: Exception) -> None:
        """Let go of the output; the next step opens it again, where the breaker allows, and makes it safe."""
        seen_ns = self._clock.monotonic_ns()
        self._outage.report(error)
        self._output.close()
        with self._changed:
            self._times.fault(seen_ns)
            self._is_open = False
            self._breaker.failed(self._clock.monotonic_ns())
            self._state = "opening"
            if self._breaker.is_open:
                self._state = "broken"
                self._drop_waiting("broken")

    def _note_fault(self) -> None:
        self._make_safe = "fault"
        self._times.fault(self._clock.monotonic_ns())

    def _drop_waiting(self, cause: str) -> None:
        for _ in range(self._schedule.clear()):
            self._books.drop(cause)


def _cause(error: Exception) -> str:
    if isinstance(error, OutputTimeoutError):
        return "timeout"
    if isinstance(error, (OutputNotConnectedError, MissingExtraError)):
        return "not_connected"
    return "refused"
