"""Where commands come in: each is answered once, done once, and never more wait than there is room for."""

from __future__ import annotations

import logging
import queue
import threading
from collections import Counter, OrderedDict
from typing import Any, Callable, Dict, Optional, Tuple, Type

from edge_agent.agent.talk.commands import (
    AnyCommand,
    CommandError,
    ErrorCode,
    SnapshotCommand,
    StartModelCommand,
    StopModelCommand,
    SwitchModelCommand,
    command_name,
    parse,
    reply,
    request_id,
)
from edge_agent.clock import Clock
from edge_agent.errors import ConfigError, DetectorTimeoutError, EdgeAgentError, ModelNotFoundError, TriggerError

_log = logging.getLogger(__name__)

#: Commands that may wait, of each kind.
CAPACITY = 16

# A repeated id is answered from memory for so long.
_REMEMBER = 256
_REMEMBER_S = 600.0

# These take seconds; a trigger must not wait for them.
_SLOW = (SnapshotCommand, StartModelCommand, StopModelCommand, SwitchModelCommand)

_FAILED: ErrorCode = "failed"
_CODES: Dict[Type[EdgeAgentError], ErrorCode] = {
    ConfigError: "refused",
    TriggerError: "refused",
    ModelNotFoundError: "not_found",
    DetectorTimeoutError: "timeout",
}

#: Performs a command that came at a time (monotonic, nanoseconds); raises CommandError or EdgeAgentError.
Perform = Callable[[AnyCommand, int], Dict[str, Any]]
#: Sends a reply back to where the command came from; false when there is no room for it.
Reply = Callable[[str, bytes], bool]

_Work = Optional[Tuple[AnyCommand, str, int]]


class CommandDesk:
    """Quick commands are done one after the other on one thread, slow ones on another.

    Args:
        thing: the thing's name, for the replies.
        perform: does a command.
        reply: sends the answer.
        clock: time.
    """

    def __init__(self, thing: str, perform: Perform, reply: Reply, clock: Clock) -> None:
        self._thing = thing
        self._perform = perform
        self._reply = reply
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        # By id: when it came, and its reply once there is one.
        self._known: OrderedDict[str, Tuple[int, Optional[bytes]]] = OrderedDict()
        self._quick: queue.Queue[_Work] = queue.Queue(CAPACITY)
        self._slow: queue.Queue[_Work] = queue.Queue(CAPACITY)
        self._closed = False
        self._threads = [
            threading.Thread(target=self._serve, args=(work,), name=name, daemon=True)
            for name, work in (("commands", self._quick), ("commands-slow", self._slow))
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def receive(self, source: str, payload: bytes) -> None:
        """A message on the commands' topic; returns at once."""
        received_ns = self._clock.monotonic_ns()
        self._count("received")
        try:
            command = parse(payload)
        except CommandError as error:
            self._count("malformed")
            self._answer(source, reply(self._thing, request_id(payload), None, error=error))
            return
        first, answer = self._remember(command.id, received_ns)
        if not first:
            self._count("repeated")
            if answer is not None:
                self._answer(source, answer)
            return
        try:
            (self._slow if isinstance(command, _SLOW) else self._quick).put_nowait((command, source, received_ns))
        except queue.Full:
            self._count("busy")
            with self._lock:
                del self._known[command.id]  # the same request may come again later, and be done
            busy = CommandError("busy", f"{CAPACITY} commands wait already")
            self._answer(source, reply(self._thing, command.id, command_name(command), error=busy))

    def counts(self) -> Dict[str, int]:
        """Messages: received = done + failed + malformed + busy + repeated + those that wait; `unanswered` had no room."""
        with self._lock:
            return dict(self._counts)

    def close(self) -> None:
        """Begin no other command."""
        self._closed = True
        for work in (self._quick, self._slow):
            try:
                work.put_nowait(None)
            except queue.Full:
                continue  # then its thread sees that it is closed

    def _serve(self, work: queue.Queue[_Work]) -> None:
        while True:
            item = work.get()
            if item is None or self._closed:
                return
            command, source, received_ns = item
            result, error = attempt(self._perform, command, received_ns, source)
            answer = reply(self._thing, command.id, command_name(command), result=result, error=error)
            self._count("done" if error is None else "failed")
            with self._lock:
                if command.id in self._known:
                    self._known[command.id] = (received_ns, answer)
            self._answer(source, answer)

    def _remember(self, request: str, now_ns: int) -> Tuple[bool, Optional[bytes]]:
        """Whether the id is new, and else its reply, if it has one yet."""
        with self._lock:
            while self._known:
                oldest, (came_ns, _answer) = next(iter(self._known.items()))
                if len(self._known) < _REMEMBER and now_ns - came_ns < _REMEMBER_S * 1e9:
                    break
                del self._known[oldest]
            if request in self._known:
                return False, self._known[request][1]
            self._known[request] = (now_ns, None)
            return True, None

    def _answer(self, source: str, answer: bytes) -> None:
        if not self._reply(source, answer):
            self._count("unanswered")

    def _count(self, what: str) -> None:
        with self._lock:
            self._counts[what] += 1


def attempt(
    perform: Perform, command: AnyCommand, received_ns: int, source: str
) -> Tuple[Optional[Dict[str, Any]], Optional[CommandError]]:
    """Do a command and write a line about it in the log; its result, or why it was not done."""
    result, error = _attempt(perform, command, received_ns)
    name = command_name(command)
    _log.info(
        "command %s (%s) from %s: %s",
        name,
        command.id,
        source,
        "done" if error is None else f"{error.code}: {error.message}",
        extra={"command": name, "request": command.id, "source": source},
    )
    return result, error


def _attempt(
    perform: Perform, command: AnyCommand, received_ns: int
) -> Tuple[Optional[Dict[str, Any]], Optional[CommandError]]:
    try:
        return perform(command, received_ns), None
    except CommandError as error:
        return None, error
    except EdgeAgentError as error:
        code = next((code for kind, code in _CODES.items() if isinstance(error, kind)), _FAILED)
        return None, CommandError(code, str(error))
    except Exception:  # noqa: BLE001 - one command that fails for a fault of ours must not end all others
        _log.exception("command %s: an internal error", command_name(command))
        return None, CommandError("internal", "an internal error; the log has the traceback")
