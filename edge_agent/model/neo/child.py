"""The process that runs one compiled model. edge_agent.model.neo.process starts it; it ends when that one does."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import threading
from typing import Protocol

import msgspec

from edge_agent.errors import EngineError, ModelError
from edge_agent.model.neo.no_network import forbid_network
from edge_agent.model.neo.protocol import DONE, HEADER, GraphJob, Job, Loaded, Tensors, encode_error, encode_loaded


class Executor(Protocol):
    """A model in memory, run once already, so that what it lacks has shown."""

    @property
    def tensors(self) -> Tensors: ...

    def run(self) -> None:
        """One inference, on the shared memory.

        Raises:
            EngineError: it failed.
        """


def main() -> None:
    """Arguments: the job, and the descriptors of commands, replies and shared memory."""
    # A signal to the whole group is for the server, which stops in order and takes this process with it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    job = msgspec.convert(json.loads(sys.argv[1]), Job)
    commands, replies, memory = (int(argument) for argument in sys.argv[2:5])
    unshielded = forbid_network(job.sockets)
    threading.Thread(target=_end_with_server, args=(commands,), name="server watch", daemon=True).start()
    try:
        executor = _open(job, memory)
    except ModelError as error:
        _send(replies, encode_error(error))
        return
    except MemoryError:
        _send(replies, encode_error(EngineError(job.subject, "there is not enough memory to load the model")))
        return
    _send(replies, encode_loaded(Loaded(executor.tensors, unshielded)))
    while os.read(commands, 1):
        _send(replies, _run(executor))


def _open(job: Job, memory: int) -> Executor:
    if isinstance(job, GraphJob):
        from edge_agent.model.neo.executor import GraphExecutor

        return GraphExecutor(job, memory)
    from edge_agent.model.neo.dlr import RuntimeExecutor

    return RuntimeExecutor(job, memory)


def _run(executor: Executor) -> bytes:
    try:
        executor.run()
    except EngineError as error:
        return encode_error(error)
    return HEADER.pack(DONE, 0)


def _send(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _end_with_server(commands: int) -> None:
    """Wait until the server's end of the pipe closes, even while an operator never returns."""
    poll = select.poll()
    poll.register(commands, 0)  # a hang-up is always reported
    poll.poll()
    os._exit(0)
