"""The server's side of the child process: start it, wait for its answers, and say how it ended."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Dict, List, Mapping, NoReturn, Optional

import msgspec

from edge_agent.errors import EngineError
from edge_agent.model.neo.protocol import DONE, HEADER, MAX_TEXT_BYTES, RUN, Job, Loaded, decode_error

_END_TIMEOUT_S = 5.0
_RESTART = "Start the model again; if it happens again, compile the model anew."

# What tells Greengrass and AWS who we are; it is no business of foreign code.
_SECRETS = ("AWS_", "SVCUID")

# The child finds the package where this process found it, whatever directory it starts in.
_SEPARATOR = "\x1f"
_BOOT = "import sys; sys.path[:] = sys.argv.pop(1).split('\\x1f'); from edge_agent.model.neo.child import main; main()"


class ChildProcess:
    """One process with one loaded model; `wait_loaded` comes first. Not thread-safe, but for `failure`.

    Args:
        job: what it loads.
        environment: what is added to ours for it.
        memory: descriptor of the shared memory; the process has one of its own afterwards.

    Raises:
        EngineError: no process can be started.
    """

    def __init__(self, job: Job, environment: Mapping[str, str], memory: int) -> None:
        self._subject = job.subject
        self._failure: Optional[str] = None
        self._pipes: List[int] = []
        theirs: List[int] = []
        try:
            commands, self._commands = os.pipe()
            theirs.append(commands)
            self._pipes.append(self._commands)
            self._replies, replies = os.pipe()
            theirs.append(replies)
            self._pipes.append(self._replies)
            self._process = _start(job, environment, [commands, replies, memory])
        except OSError as error:
            _close(self._pipes)
            raise EngineError(job.subject, f"its process cannot be started ({error.strerror})") from error
        finally:
            _close(theirs)

    @property
    def process_id(self) -> int:
        return self._process.pid

    @property
    def failure(self) -> Optional[str]:
        """How it ended, or None while it lives."""
        if self._failure is None and self._process.poll() is not None:
            self._failure = self._how_it_ended()
        return self._failure

    def wait_loaded(self, timeout: float) -> Loaded:
        """Wait until the model has loaded; what the child says of it.

        Raises:
            PackageError, EngineError: what the child says, or that it died or took more than `timeout` seconds.
        """
        try:
            return msgspec.json.decode(self._receive(timeout, "load"), type=Loaded)
        except msgspec.DecodeError:
            self._end("its process answered nonsense")

    def run(self, timeout: float) -> None:
        """One inference on the shared memory.

        Raises:
            EngineError: an operator failed; or, then with `failure` set, the process died or hung.
        """
        if self._failure is not None:
            raise EngineError(self._subject, self._failure, _RESTART)
        try:
            os.write(self._commands, RUN)
        except OSError:
            self._died()
        self._receive(timeout, "answer")

    def close(self) -> None:
        """End the process, which has nothing to lose."""
        self._failure = self._failure or "is closed"
        self._process.kill()
        self._process.wait()
        _close(self._pipes)
        self._pipes = []

    def _receive(self, timeout: float, what: str) -> bytes:
        """Wait for a reply: what comes with a success, or raise the error that it is."""
        deadline = time.monotonic() + timeout
        kind, length = HEADER.unpack(self._read(HEADER.size, deadline, what))
        if length > MAX_TEXT_BYTES:
            self._end("its process answered nonsense")
        text = self._read(length, deadline, what)
        if kind == DONE:
            return text
        raise decode_error(kind, text)

    def _read(self, count: int, deadline: float, what: str) -> bytes:
        data = b""
        poll = select.poll()
        poll.register(self._replies, select.POLLIN)
        while len(data) < count:
            left = deadline - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                self._end(f"did not {what} in time and was ended")
            chunk = os.read(self._replies, count - len(data))
            if not chunk:
                self._died()
            data += chunk
        return data

    def _died(self) -> NoReturn:
        """The pipe is closed: say how the process ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_TIMEOUT_S)
        if self._process.poll() is None:
            self._end("its process closed its pipes")
        self._failure = self._how_it_ended()
        raise EngineError(self._subject, self._failure, _RESTART)

    def _end(self, reason: str) -> NoReturn:
        self._failure = reason
        self._process.kill()
        self._process.wait()
        raise EngineError(self._subject, reason, _RESTART)

    def _how_it_ended(self) -> str:
        status = self._process.returncode
        if status >= 0:
            return f"its process ended with status {status}; the log says more"
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = f"signal {-status}"  # a real-time signal
        return f"its process was ended by {name} ({(signal.strsignal(-status) or 'unknown').lower()})"


def _start(job: Job, environment: Mapping[str, str], descriptors: List[int]) -> "subprocess.Popen[bytes]":
    path = _SEPARATOR.join(entry or str(Path.cwd()) for entry in sys.path)
    # json, since msgspec takes no file names that are not UTF-8.
    arguments = [json.dumps(msgspec.to_builtins(job)), *(str(descriptor) for descriptor in descriptors)]
    ours: Dict[str, str] = {name: value for name, value in os.environ.items() if not name.startswith(_SECRETS)}
    return subprocess.Popen(
        [sys.executable, "-c", _BOOT, path, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=2,  # what foreign code prints belongs into the log
        pass_fds=descriptors,
        env={**ours, "OPENBLAS_NUM_THREADS": "1", **environment},  # NumPy computes nothing there
    )


def _close(descriptors: List[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
