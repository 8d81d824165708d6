"""The local nucleus as Python sees it: a thread of its own, and one method for each way to misbehave."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Sequence, Tuple, Union

from edge_agent.errors import NucleusError
from edge_agent.greengrass.nucleus.broker import BrokerBridge
from edge_agent.greengrass.nucleus.cloud import SPOOL_BYTES
from edge_agent.greengrass.nucleus.control import execute
from edge_agent.greengrass.nucleus.core import Core, Settings
from edge_agent.greengrass.nucleus.limits import MODES
from edge_agent.greengrass.nucleus.record import Record
from edge_agent.greengrass.nucleus.server import Server, new_token
from edge_agent.greengrass.recipe import Recipe, read_recipe

SOCKET_VARIABLE = "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT"

_START_SECONDS = 30.0
_COMMAND_SECONDS = 30.0


class LocalNucleus:
    """A stand-in for the Greengrass nucleus's IPC server. Use it as a context manager, or call `start` and `stop`.

    Args:
        socket_path: the IPC socket (mode 0660). The control socket is beside it, with `.control` at the end (0600).
        recipe: the component's recipe, or its file; None gives an empty configuration and allows every call.
        mode: "classic" or "lite".
        thing: AWS_IOT_THING_NAME, and `{iot:thingName}` in the recipe.
        region: AWS_REGION.
        token: the SVCUID; None makes a random one.
        record: file to which every accepted IoT Core publish is appended.
        broker: host and port of an MQTT broker that IoT Core topics are bridged to.
        spool_bytes: size of the classic nucleus's spool.
        on_new_token: called with the new SVCUID after a restart that changed it, on the nucleus's thread.

    Raises:
        NucleusError: unknown mode; from `start`: a socket or the record cannot be used.
        RecipeError: the recipe cannot be used in this mode.
        MissingExtraError: from `start`: a broker without paho-mqtt.
    """

    def __init__(
        self,
        socket_path: Union[str, Path],
        *,
        recipe: Union[Recipe, str, Path, None] = None,
        mode: str = "classic",
        thing: str = "LocalThing",
        region: str = "us-east-1",
        token: Optional[str] = None,
        record: Union[str, Path, None] = None,
        broker: Optional[Tuple[str, int]] = None,
        spool_bytes: int = SPOOL_BYTES,
        on_new_token: Optional[Callable[[str], None]] = None,
    ) -> None:
        if mode not in MODES:
            raise NucleusError(f"mode {mode}", "is unknown", f"Use one of: {', '.join(MODES)}")
        self.mode = mode
        self.socket_path = Path(socket_path).absolute()
        self.token = token or new_token()
        if recipe is not None and not isinstance(recipe, Recipe):
            recipe = read_recipe(recipe, lite=MODES[mode].lite)
        record_path = None if record is None else Path(record)
        self._settings = Settings(MODES[mode], recipe, thing, region, record_path, spool_bytes)
        self._broker_address = broker
        self._on_new_token = on_new_token
        self._thread: Optional[threading.Thread] = None
        self._ready = threading.Event()
        self._failure: Optional[BaseException] = None
        self._loop: Optional[asyncio.AbstractEventLoop] = None

    def __enter__(self) -> LocalNucleus:  # noqa: PYI034 - typing.Self is newer than Python 3.8
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        return self._thread is not None and self._thread.is_alive() and self._failure is None

    def start(self) -> None:
        """Listen on both sockets; returns when clients can connect."""
        if self._thread is not None:
            raise NucleusError(str(self.socket_path), "was started already")
        self._thread = threading.Thread(target=self._run, name="nucleus", daemon=True)
        self._thread.start()
        if not self._ready.wait(_START_SECONDS):
            raise NucleusError(str(self.socket_path), "did not start in time")
        if self._failure is not None:
            self._thread.join()
            raise self._failure

    def stop(self) -> None:
        """Cut every connection, remove the socket files, close the record. Harmless when it is stopped already."""
        if self._thread is None:
            return
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended already
                loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()

    def environment(self) -> Dict[str, str]:
        """The environment variables that a component needs to find this nucleus."""
        return {
            "SVCUID": self.token,
            SOCKET_VARIABLE: str(self.socket_path),
            "AWS_IOT_THING_NAME": self._settings.thing,
            "AWS_REGION": self._settings.region,
        }

    def command(self, name: str, **arguments: Any) -> Dict[str, Any]:
        """Run one command of the control socket (see `edge-agent nucleus-control --help`) and give its result.

        Raises:
            NucleusError: no such command, wrong arguments, or the nucleus is not running.
        """
        loop = self._loop
        if loop is None or not self.running:
            raise NucleusError(str(self.socket_path), "is not running")
        future = asyncio.run_coroutine_threadsafe(execute(self._server, name, arguments), loop)
        down_for = arguments.get("down_for", 0.0)
        try:
            return future.result(_COMMAND_SECONDS + (down_for if isinstance(down_for, (int, float)) else 0.0))
        except (concurrent.futures.TimeoutError, concurrent.futures.CancelledError) as error:
            raise NucleusError(f"command {name}", "was not done: the nucleus stopped or hangs") from error

    def offline(self) -> None:
        """No connection to IoT Core until `online`."""
        self.command("offline")

    def online(self) -> None:
        self.command("online")

    def slow(self, seconds: float) -> None:
        """Answer this much later than the operation takes effect; 0 ends it."""
        self.command("slow", seconds=seconds)

    def slow_acknowledgements(self, seconds: Optional[float]) -> None:
        """IoT Core acknowledges QoS 1 messages this much later; None for never, 0 ends it."""
        self.command("slow-acks", seconds=seconds)

    def full(self) -> None:
        """Refuse publishes as a full spool (classic) or a full in-flight window (lite, QoS 1) does, until `reset`."""
        self.command("full")

    def refuse(self, error: str = "ServiceError", operation: Optional[str] = None) -> None:
        """Answer operations (all, or the one named) with this error, until `reset`."""
        self.command("refuse", error=error, operation=operation)

    def delay_accepting(self, seconds: float) -> None:
        """Leave new connections alone for this long before the handshake; 0 ends it."""
        self.command("delay-accept", seconds=seconds)

    def restart(self, down_for: float = 0.5, *, change_token: bool = False) -> None:
        """Cut every connection, be gone for `down_for` seconds, listen again; returns when clients can connect.

        With `change_token` the old SVCUID is refused afterwards, as on nucleus lite.
        """
        self.command("restart", down_for=down_for, change_token=change_token)

    def forget_subscriptions(self) -> None:
        """Kill IoT Core subscriptions without telling anybody, as a restart of lite's iotcored does."""
        self.command("forget-subscriptions")

    def reset(self) -> None:
        """End every fault."""
        self.command("reset")

    def publish(self, topic: str, payload: bytes, *, qos: int = 1) -> int:
        """A message from IoT Core; gives the number of subscriptions it went to (0 with a broker: it comes back)."""
        return int(self.command("publish", topic=topic, payload=payload, qos=qos)["delivered"])

    def publish_local(self, topic: str, payload: bytes) -> int:
        """A message from another component; gives the number of subscriptions it went to."""
        return int(self.command("publish-local", topic=topic, payload=payload)["delivered"])

    def configure(self, values: Dict[str, Any]) -> Sequence[Sequence[str]]:
        """Merge a configuration as a deployment does; gives the key paths that changed."""
        changed: Sequence[Sequence[str]] = self.command("configure", values=values)["changed"]
        return changed

    def counters(self) -> Dict[str, Any]:
        return self.command("counters")

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:  # noqa: BLE001 - handed to whoever called start, or seen as not running
            self._failure = error
        finally:
            self._ready.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_event_loop()
        self._stopped = asyncio.Event()
        record = None if self._settings.record is None else Record(self._settings.record)
        try:
            self._server = Server(self, Core(self._settings, record))
            bridge = self._bridge(self._server.core)
            try:
                await self._server.open()
                self._ready.set()
                await self._stopped.wait()
            finally:
                await self._server.close()
                if bridge is not None:
                    await asyncio.get_event_loop().run_in_executor(None, bridge.stop)
        finally:
            if record is not None:
                record.close()

    def _bridge(self, core: Core) -> Optional[BrokerBridge]:
        if self._broker_address is None:
            return None
        cloud = core.cloud
        host, port = self._broker_address
        bridge = BrokerBridge(
            host,
            port,
            call=self._call_on_loop,
            on_message=cloud.receive,
            on_acknowledged=cloud.acknowledged,
            on_connected=cloud.connection_made,
            on_lost=cloud.connection_lost,
        )
        cloud.broker = bridge
        bridge.start()
        return bridge

    def _call_on_loop(self, function: Callable[..., Any], *arguments: Any) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody is interested any more
                self._loop.call_soon_threadsafe(function, *arguments)

    def token_changed(self, token: str) -> None:
        """The server's word that clients need another SVCUID now."""
        self.token = token
        if self._on_new_token is not None:
            self._on_new_token(token)
