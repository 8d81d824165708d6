"""The inspector's client of the Greengrass IPC: bounded waits, our errors, and no memory kept per call.

AWS's SDK keeps about 6 kB for every unary operation that nobody closes on nucleus lite, so each one is closed here.
Callbacks run one after the other on a thread of their own, where they may call the client.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
import os
import queue
import threading
from typing import Any, Callable, Dict, List, Optional, Protocol, Sequence, Tuple

from awscrt.exceptions import AwsCrtError
from awscrt.io import ClientBootstrap, DefaultHostResolver, EventLoopGroup, SocketDomain, SocketOptions
from awsiot import eventstreamrpc
from awsiot.greengrasscoreipc import client as ipc_client
from awsiot.greengrasscoreipc import model

from edge_agent.errors import (
    IpcError,
    IpcInvalidError,
    IpcRefusedError,
    IpcTimeoutError,
    IpcUnauthorizedError,
    IpcUnavailableError,
)
from edge_agent.greengrass.topics import publish_topic_problem

TOKEN_VARIABLE = "SVCUID"  # noqa: S105 - the variable's name
SOCKET_VARIABLE = "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT"

_log = logging.getLogger(__name__)

_CLOSE_SECONDS = 5.0
_QOS = {0: model.QOS.AT_MOST_ONCE, 1: model.QOS.AT_LEAST_ONCE}

# Error shapes by what a caller can do about them; every other shape is a refusal.
_SHAPES: Dict[str, type] = {
    "UnauthorizedError": IpcUnauthorizedError,
    "InvalidArgumentsError": IpcInvalidError,
    "ResourceNotFoundError": IpcInvalidError,
}


class Closable(Protocol):
    def close(self) -> None: ...


class IpcClient:
    """One connection to the nucleus. It does not come back by itself: after IpcUnavailableError, connect again."""

    def __init__(self, connection: eventstreamrpc.Connection, events: _Events) -> None:
        self._connection = connection
        self._client = ipc_client.GreengrassCoreIPCClient(connection)
        self._events = events
        self._subscriptions: List[_Subscription] = []

    @classmethod
    def connect(cls, *, timeout: float = 10.0, on_disconnect: Optional[Callable[[], None]] = None) -> IpcClient:
        """Connect to the nucleus that the environment names.

        Args:
            timeout: seconds for the socket and the handshake together.
            on_disconnect: called once when the connection is lost, not when `close` ends it.

        Raises:
            IpcUnavailableError: a variable is missing, nobody listens, or the token is refused.
            IpcTimeoutError: no answer in time.
        """
        path, token = _variable(SOCKET_VARIABLE), _variable(TOKEN_VARIABLE)
        events = _Events()
        connection = _connection(path, token)
        try:
            connection.connect(_Lifecycle(events, on_disconnect)).result(timeout)
        except BaseException as error:
            events.stop()
            connection.close()
            if isinstance(error, Exception):
                raise _mapped(error, f"connection to {path}") from error
            raise
        return cls(connection, events)

    def publish_to_iot_core(self, topic: str, payload: bytes, *, qos: int = 1, timeout: float = 10.0) -> None:
        """Hand one message to the nucleus. Its success is not an arrival at IoT Core.

        Raises:
            IpcInvalidError: the topic has a wildcard, more than seven slashes or more than 256 bytes; it is refused
                here, because nucleus lite would lose the broker connection of every component over a wildcard.
            IpcError: as the tree in errors.py says.
        """
        subject = f"PublishToIoTCore {topic}"
        problem = publish_topic_problem(topic)
        if problem is not None:
            raise IpcInvalidError(subject, problem)
        if qos not in _QOS:
            raise IpcInvalidError(subject, f"QoS {qos} is not 0 or 1")
        request = model.PublishToIoTCoreRequest(topic_name=topic, qos=_QOS[qos], payload=payload)
        self._call(subject, self._client.new_publish_to_iot_core, request, timeout)

    def get_configuration(self, key_path: Sequence[str] = (), *, timeout: float = 10.0) -> Dict[str, Any]:
        """The component's configuration at a key path: a map's content, or a leaf wrapped in its own key.

        The whole configuration holds `accessControl`, too. Nucleus lite may hold every scalar as text.

        Raises:
            IpcInvalidError: there is no such key.
        """
        subject = f"GetConfiguration {'/'.join(key_path)}".rstrip()
        request = model.GetConfigurationRequest(key_path=list(key_path))
        response = self._call(subject, self._client.new_get_configuration, request, timeout)
        return dict(response.value or {})

    def subscribe_to_configuration_update(
        self, callback: Callable[[Sequence[str]], None], *, key_path: Sequence[str] = (), timeout: float = 10.0
    ) -> Closable:
        """Call `callback` with the key path of every leaf that changes, one call per leaf, until it is closed.

        Raises:
            IpcInvalidError: there is no such key.
        """

        def deliver(event: Any) -> None:
            update = event.configuration_update_event
            if update is not None:
                callback(list(update.key_path or []))

        request = model.SubscribeToConfigurationUpdateRequest(key_path=list(key_path))
        subscription = _Subscription(self._events, deliver)
        subject = f"SubscribeToConfigurationUpdate {'/'.join(key_path)}".rstrip()
        subscription.operation, _ = _start(
            subject,
            lambda: self._client.new_subscribe_to_configuration_update(_ConfigurationHandler(subscription)),
            request,
            timeout,
        )
        self._subscriptions.append(subscription)
        return subscription

    def update_state(self, state: str, *, timeout: float = 10.0) -> None:
        """Report the component's state: a ReportedLifecycleState, such as RUNNING or ERRORED."""
        request = model.UpdateStateRequest(state=state)
        self._call(f"UpdateState {state}", self._client.new_update_state, request, timeout)

    def close(self) -> None:
        """End the subscriptions and the connection; harmless when it is closed already. Bounded to a few seconds."""
        self._events.stop()
        for subscription in self._subscriptions:
            subscription.close()
        self._subscriptions.clear()
        with contextlib.suppress(Exception):  # whatever the connection ended with, it has ended
            self._connection.close().result(_CLOSE_SECONDS)

    @staticmethod
    def _call(subject: str, new_operation: Callable[[], Any], request: Any, timeout: float) -> Any:
        operation, response = _start(subject, new_operation, request, timeout)
        operation.close()
        return response


class _Events:
    """Runs callbacks one after the other on one thread, which a blocked callback cannot keep alive at exit."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Optional[Tuple[Callable[..., None], Tuple[Any, ...]]]] = queue.SimpleQueue()
        self.stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ipc-events", daemon=True)
        self._thread.start()

    def submit(self, function: Callable[..., None], *arguments: Any) -> None:
        if not self.stopped.is_set():
            self._queue.put((function, arguments))

    def stop(self) -> None:
        self.stopped.set()
        self._queue.put(None)

    def _run(self) -> None:
        while True:
            item = self._queue.get()
            if item is None:
                return
            function, arguments = item
            try:
                function(*arguments)
            except Exception:  # noqa: BLE001 - whatever a callback raises, the next one still runs
                _log.exception("A callback of the Greengrass IPC client failed")


class _Lifecycle(eventstreamrpc.LifecycleHandler):  # type: ignore[misc]  # the SDK is untyped here
    def __init__(self, events: _Events, on_disconnect: Optional[Callable[[], None]]) -> None:
        self._events = events
        self._on_disconnect = on_disconnect

    def on_disconnect(self, reason: Optional[Exception]) -> None:
        if self._events.stopped.is_set():
            return
        _log.info("The Greengrass IPC connection was lost: %r", reason)
        if self._on_disconnect is not None:
            self._events.submit(self._on_disconnect)

    def on_error(self, error: Exception) -> bool:
        _log.warning("The Greengrass IPC connection reports an error: %r", error)
        return True  # close


class _Subscription:
    def __init__(self, events: _Events, deliver: Callable[[Any], None]) -> None:
        self._events = events
        self._deliver = deliver
        self._closed = False
        self.operation: Any = None

    def receive(self, event: Any) -> None:
        self._events.submit(self._hand_over, event)

    def _hand_over(self, event: Any) -> None:
        if not self._closed:
            self._deliver(event)

    def close(self) -> None:
        """No callback begins after this; one that runs may still be running."""
        self._closed = True
        if self.operation is not None:
            self.operation.close()


class _ConfigurationHandler(ipc_client.SubscribeToConfigurationUpdateStreamHandler):  # type: ignore[misc]  # as above
    def __init__(self, subscription: _Subscription) -> None:
        super().__init__()
        self._subscription = subscription

    def on_stream_event(self, event: Any) -> None:
        self._subscription.receive(event)


def _variable(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        remedy = "Run as a Greengrass component, or start `edge-agent nucleus` and export what it prints"
        raise IpcUnavailableError(f"environment variable {name}", "is not set", remedy)
    return value


def _connection(path: str, token: str) -> eventstreamrpc.Connection:
    # As awsiot.greengrasscoreipc.connect does, which keeps the connection to itself when it times out.
    group = EventLoopGroup(num_threads=1)
    options = SocketOptions()
    options.domain = SocketDomain.Local
    return eventstreamrpc.Connection(
        host_name=path,
        port=0,
        bootstrap=ClientBootstrap(group, DefaultHostResolver(group)),
        socket_options=options,
        connect_message_amender=eventstreamrpc.MessageAmendment.create_static_authtoken_amender(token),
    )


def _start(subject: str, new_operation: Callable[[], Any], request: Any, timeout: float) -> Tuple[Any, Any]:
    """Send a request and wait for its reply; gives the operation, still open, and the response."""
    operation = None
    try:
        operation = new_operation()
        operation.activate(request)
        return operation, operation.get_response().result(timeout)
    except BaseException as error:
        if operation is not None:
            operation.close()
        if isinstance(error, Exception):
            raise _mapped(error, subject) from error
        raise


def _mapped(error: Exception, subject: str) -> IpcError:
    # The SDK puts the nucleus's text in `message`, not in str(), and nucleus lite sends none: then the type is all.
    detail = getattr(error, "message", None) or str(error)
    text = f"{type(error).__name__}: {detail}" if detail else type(error).__name__
    if isinstance(error, (concurrent.futures.TimeoutError, TimeoutError)):
        return IpcTimeoutError(subject, "got no answer in time")
    if isinstance(error, eventstreamrpc.AccessDeniedError):
        return IpcUnavailableError(subject, f"was refused: the token in {TOKEN_VARIABLE} is not valid", "Restart")
    if isinstance(error, eventstreamrpc.EventStreamOperationError):
        kind = _SHAPES.get(type(error).__name__, IpcRefusedError)
        mapped: IpcError = kind(subject, f"the nucleus answers {text}")
        return mapped
    if isinstance(error, (eventstreamrpc.StreamClosedError, eventstreamrpc.ConnectionClosedError)):
        return IpcUnavailableError(subject, f"the connection is closed ({text})", "Connect again")
    if isinstance(error, (AwsCrtError, RuntimeError, OSError)):
        return IpcUnavailableError(subject, f"cannot reach the nucleus ({text})", "Is the nucleus running?")
    return IpcInvalidError(subject, f"the request or its answer cannot be understood ({text})")
