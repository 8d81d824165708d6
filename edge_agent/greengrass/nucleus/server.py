"""Both listeners of the local nucleus, and every connection. Everything here runs on the event loop."""

from __future__ import annotations

import asyncio
import json
import secrets
from pathlib import Path
from typing import Any, Awaitable, Callable, Dict, Optional, Protocol, Set

from edge_agent.errors import NucleusError
from edge_agent.greengrass.bounded_json import loads
from edge_agent.greengrass.nucleus.connection import Connection
from edge_agent.greengrass.nucleus.control import control_path, execute
from edge_agent.greengrass.nucleus.core import Core
from edge_agent.greengrass.nucleus.sockets import claim, release

_SOCKET_MODE = 0o660
_CONTROL_MODE = 0o600


def new_token() -> str:
    """A random SVCUID: sixteen characters, like the nuclei's."""
    return secrets.token_urlsafe(12)


class Identity(Protocol):
    """What clients must know to connect; it outlives a restart."""

    socket_path: Path
    token: str

    def environment(self) -> Dict[str, str]: ...
    def token_changed(self, token: str) -> None: ...


class Server:
    def __init__(self, nucleus: Identity, core: Core) -> None:
        self.nucleus = nucleus
        self.core = core
        self._ipc: Optional[_Listener] = None
        self._control = _Listener(control_path(nucleus.socket_path), _CONTROL_MODE, self._serve_control)
        self._connections: Set[Connection] = set()
        self._tasks: Set[asyncio.Task[Any]] = set()
        self._restarting = asyncio.Lock()

    @property
    def clients(self) -> int:
        return len(self._connections)

    async def open(self) -> None:
        await self._control.open()
        await self._listen()

    async def close(self) -> None:
        self._hang_up()
        self._control.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def restart(self, down_for: float, *, change_token: bool) -> None:
        async with self._restarting:
            self._hang_up()
            self.core.cloud.lose_waiting()
            if change_token:
                self.nucleus.token_changed(new_token())
            await asyncio.sleep(down_for)
            await self._listen()

    async def _listen(self) -> None:
        listener = _Listener(self.nucleus.socket_path, _SOCKET_MODE, self._serve_client)
        await listener.open()
        self._ipc = listener

    def _hang_up(self) -> None:
        if self._ipc is not None:
            self._ipc.close()
            self._ipc = None
        for connection in list(self._connections):
            connection.abort()

    async def _serve_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        most = self.core.limits.clients
        if most is not None and len(self._connections) >= most:
            self.core.counters.connections_refused += 1
            writer.close()
            return
        connection = Connection(self.core, lambda: self.nucleus.token, reader, writer)
        self._connections.add(connection)
        try:
            await self._tracked(connection.serve())
        finally:
            self._connections.discard(connection)

    async def _serve_control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._tracked(self._answer_control(reader, writer))

    async def _answer_control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = loads(await reader.readline())
            reply = await execute(self, request["command"], request["arguments"])
        except NucleusError as error:
            reply = {"error": str(error)}
        except (ValueError, KeyError, TypeError) as error:
            reply = {"error": f"not a command: {error!r}"}
        try:
            writer.write(json.dumps(reply).encode() + b"\n")
            await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def _tracked(self, work: Awaitable[None]) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in a task
        self._tasks.add(task)
        try:
            await work
        except asyncio.CancelledError:
            pass  # the nucleus stops; the task has nothing more to say
        finally:
            self._tasks.discard(task)


class _Listener:
    """One listening Unix socket and its file."""

    def __init__(self, path: Path, mode: int, serve: Callable[..., Any]) -> None:
        self._path = path
        self._mode = mode
        self._serve = serve
        self._inode = 0
        self._server: Optional[asyncio.AbstractServer] = None

    async def open(self) -> None:
        listener = claim(self._path, self._mode)
        self._inode = self._path.stat().st_ino
        self._server = await asyncio.start_unix_server(self._serve, sock=listener)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
            release(self._path, self._inode)
            self._server = None
