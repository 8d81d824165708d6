"""The process that runs one compiled model. edge_agent.model.engine_neo starts it; it ends when that one does."""

from __future__ import annotations

import mmap
import os
import select
import signal
import sys
import threading
from pathlib import Path

from edge_agent.errors import EngineError, ModelError
from edge_agent.model.neo.artifacts import Artifacts
from edge_agent.model.neo.executor import Executor
from edge_agent.model.neo.protocol import DONE, HEADER, encode_error


def main() -> None:
    """Arguments: library, graph, weights, threads, and the descriptors of commands, replies and shared memory."""
    # A signal to the whole group is for the server, which stops in order and takes this process with it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    library, graph, params = (Path(argument) for argument in sys.argv[1:4])
    threads, commands, replies, memory = (int(argument) for argument in sys.argv[4:8])
    threading.Thread(target=_end_with_server, args=(commands,), name="server watch", daemon=True).start()
    try:
        shared = mmap.mmap(memory, os.fstat(memory).st_size)
        executor = Executor(Artifacts(library, graph, params), shared, threads)
        # On zeros: what an operator lacks shows here, and not in the first inspection.
        executor.run()
    except ModelError as error:
        _send(replies, encode_error(error))
        return
    except MemoryError:
        _send(replies, encode_error(EngineError(str(library), "there is not enough memory to load the model")))
        return
    _send(replies, HEADER.pack(DONE, 0))
    while os.read(commands, 1):
        _send(replies, _run(executor))


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
