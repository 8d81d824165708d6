"""An asyncio loop on a thread of its own, for a library that knows no other way."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from typing import Any, Coroutine, List, Optional

# What a cancelled task gets to end, beyond its time.
_GRACE_S = 1.0


class _Loop(asyncio.SelectorEventLoop):
    """Knows its connections: a library that is cancelled in its farewell leaves them open."""

    def __init__(self) -> None:
        super().__init__()
        self.connections: List[asyncio.Transport] = []

    async def create_connection(self, *arguments: Any, **options: Any) -> Any:
        made = await super().create_connection(*arguments, **options)
        self.connections.append(made[0])
        return made


class EventLoop:
    """Runs from its making until `close`.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._loop = _Loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Any], seconds: float) -> None:
        """Wait until it is done. Raises what it raises, and TimeoutError after so many seconds."""
        future = asyncio.run_coroutine_threadsafe(asyncio.wait_for(coroutine, seconds), self._loop)
        try:
            future.result(seconds + _GRACE_S)
        except (asyncio.TimeoutError, concurrent.futures.TimeoutError) as error:  # three of them before Python 3.11
            future.cancel()
            raise TimeoutError from error
        except concurrent.futures.CancelledError as error:
            raise ConnectionError("the connection broke") from error

    def close(self, farewell: Optional[Coroutine[Any, Any, Any]], seconds: float) -> None:
        """Do the farewell, for so many seconds at most, cancel what is left, and end."""
        if farewell is not None:
            with contextlib.suppress(Exception):  # whoever it is said to may be gone
                self.run(farewell, seconds)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(2 * _GRACE_S)

    def _run(self) -> None:
        loop = self._loop
        loop.run_forever()
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        with contextlib.suppress(asyncio.TimeoutError):
            loop.run_until_complete(asyncio.wait_for(_all(left), _GRACE_S))
        for connection in loop.connections:
            connection.abort()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


async def _all(tasks: Any) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)
