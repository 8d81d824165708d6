"""The inspector's client of the Greengrass IPC: bounded waits, our errors, and no memory kept per call.

AWS's SDK keeps about 6 kB for every unary operation that nobody closes on nucleus lite, so each one is closed here.
Callbacks run one after the other on a thread of their own, where they may call the client.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import logging
import os
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
    IpcTokenRefusedError,
    IpcUnauthorizedError,
    IpcUnavailableError,
)
from edge_agent.greengrass.ipc_events import Events, Subscription, handler_for
from edge_agent.greengrass.topics import publish_topic_problem

TOKEN_VARIABLE = "SVCUID"  # noqa: S105 - the variable's name
SOCKET_VARIABLE = "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT"

_log = logging.getLogger(__name__)

_CLOSE_SECONDS = 5.0
_CLOSED = "AWS_IO_SOCKET_CLOSED"
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

    def __init__(self, connection: eventstreamrpc.Connection, events: Events) -> None:
        self._connection = connection
        self._client = ipc_client.GreengrassCoreIPCClient(connection)
        self._events = events
        self._subscriptions: List[Subscription] = []

    @classmethod
    def connect(cls, *, timeout: float = 10.0, on_disconnect: Optional[Callable[[], None]] = None) -> IpcClient:
        """Connect to the nucleus that the environment names.

        Args:
            timeout: seconds for the socket and the handshake together.
            on_disconnect: called once when the connection is lost, not when `close` ends it.

        Raises:
            IpcUnavailableError: a variable is missing or nobody listens.
            IpcTokenRefusedError: somebody listens, and refuses.
            IpcTimeoutError: no answer in time.
        """
        path, token = _variable(SOCKET_VARIABLE), _variable(TOKEN_VARIABLE)
        events = Events()
        connection = _connection(path, token)
        try:
            connection.connect(_Lifecycle(events, on_disconnect)).result(timeout)
        except BaseException as error:
            events.stop()
            connection.close()
            subject = f"connection to {path}"
            if isinstance(error, AwsCrtError) and error.name == _CLOSED:
                reason = f"was closed at once, as nucleus lite does when the token in {TOKEN_VARIABLE} is not valid"
                raise IpcTokenRefusedError(subject, reason, "Restart") from error
            if isinstance(error, Exception):
                raise _mapped(error, subject) from error
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

    def publish_to_topic(self, topic: str, payload: bytes, *, timeout: float = 10.0) -> None:
        """Send bytes to a local topic, which other components of this device may subscribe to."""
        message = model.PublishMessage(binary_message=model.BinaryMessage(message=payload))
        request = model.PublishToTopicRequest(topic=topic, publish_message=message)
        self._call(f"PublishToTopic {topic}", self._client.new_publish_to_topic, request, timeout)

    def subscribe_to_iot_core(
        self, topic: str, callback: Callable[[str, bytes], None], *, qos: int = 1, timeout: float = 10.0
    ) -> Closable:
        """Call `callback` with topic and payload of each message from AWS IoT Core, until it is closed."""

        def deliver(event: Any) -> None:
            if event.message is not None:
                callback(event.message.topic_name or "", bytes(event.message.payload or b""))

        return self._subscribe(
            f"SubscribeToIoTCore {topic}",
            self._client.new_subscribe_to_iot_core,
            ipc_client.SubscribeToIoTCoreStreamHandler,
            model.SubscribeToIoTCoreRequest(topic_name=topic, qos=_QOS[qos]),
            deliver,
            timeout,
        )

    def subscribe_to_topic(
        self, topic: str, callback: Callable[[str, bytes], None], *, timeout: float = 10.0
    ) -> Closable:
        """Call `callback` with topic and payload of each message on a local topic; a JSON message as its text."""

        def deliver(event: Any) -> None:
            if event.binary_message is not None:
                message, payload = event.binary_message, bytes(event.binary_message.message or b"")
            elif event.json_message is not None:
                message, payload = event.json_message, json.dumps(event.json_message.message).encode()
            else:
                return
            callback(message.context.topic if message.context is not None else topic, payload)

        return self._subscribe(
            f"SubscribeToTopic {topic}",
            self._client.new_subscribe_to_topic,
            ipc_client.SubscribeToTopicStreamHandler,
            model.SubscribeToTopicRequest(topic=topic),
            deliver,
            timeout,
        )

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

        return self._subscribe(
            f"SubscribeToConfigurationUpdate {'/'.join(key_path)}".rstrip(),
            self._client.new_subscribe_to_configuration_update,
            ipc_client.SubscribeToConfigurationUpdateStreamHandler,
            model.SubscribeToConfigurationUpdateRequest(key_path=list(key_path)),
            deliver,
            timeout,
        )

    def subscribe_to_configuration_checks(
        self, callback: Callable[[str, Dict[str, Any]], None], *, timeout: float = 10.0
    ) -> Closable:
        """Call `callback` with deployment and proposed configuration before a deployment lands (classic nucleus).

        Each call wants a `report_configuration` in time. A deployment that says so waits for it; see the
        `configurationValidationPolicy` of CreateDeployment.

        Raises:
            IpcRefusedError: nucleus lite does not know this.
        """

        def deliver(event: Any) -> None:
            proposal = event.validate_configuration_update_event
            if proposal is not None:
                callback(proposal.deployment_id or "", dict(proposal.configuration or {}))

        return self._subscribe(
            "SubscribeToValidateConfigurationUpdates",
            self._client.new_subscribe_to_validate_configuration_updates,
            ipc_client.SubscribeToValidateConfigurationUpdatesStreamHandler,
            model.SubscribeToValidateConfigurationUpdatesRequest(),
            deliver,
            timeout,
        )

    def report_configuration(self, deployment: str, problem: Optional[str], *, timeout: float = 10.0) -> None:
        """Accept the proposed configuration of a deployment, or reject it for the problem that is named."""
        status = model.ConfigurationValidityStatus
        report = model.ConfigurationValidityReport(
            status=status.ACCEPTED if problem is None else status.REJECTED, deployment_id=deployment, message=problem
        )
        request = model.SendConfigurationValidityReportRequest(configuration_validity_report=report)
        operation = self._client.new_send_configuration_validity_report
        self._call("SendConfigurationValidityReport", operation, request, timeout)

    def subscribe_to_component_updates(self, callback: Callable[[str], None], *, timeout: float = 10.0) -> Closable:
        """Call `callback` with the deployment that is about to restart this component (classic nucleus).

        It may be put off within the nucleus's time by `defer_component_update`.

        Raises:
            IpcRefusedError: nucleus lite does not know this.
        """

        def deliver(event: Any) -> None:
            if event.pre_update_event is not None:
                callback(event.pre_update_event.deployment_id or "")

        return self._subscribe(
            "SubscribeToComponentUpdates",
            self._client.new_subscribe_to_component_updates,
            ipc_client.SubscribeToComponentUpdatesStreamHandler,
            model.SubscribeToComponentUpdatesRequest(),
            deliver,
            timeout,
        )

    def defer_component_update(self, deployment: str, *, recheck_ms: int, reason: str, timeout: float = 10.0) -> None:
        """Put an announced update off; 0 milliseconds let it come now."""
        request = model.DeferComponentUpdateRequest(
            deployment_id=deployment, recheck_after_ms=recheck_ms, message=reason
        )
        self._call("DeferComponentUpdate", self._client.new_defer_component_update, request, timeout)

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

    def _subscribe(
        self,
        subject: str,
        new_operation: Callable[[Any], Any],
        handler: Any,
        request: Any,
        deliver: Callable[[Any], None],
        timeout: float,
    ) -> Subscription:
        subscription = Subscription(self._events, deliver)
        subscription.operation, _ = _start(
            subject, lambda: new_operation(handler_for(handler, subscription)), request, timeout
        )
        self._subscriptions.append(subscription)
        return subscription

    @staticmethod
    def _call(subject: str, new_operation: Callable[[], Any], request: Any, timeout: float) -> Any:
        operation, response = _start(subject, new_operation, request, timeout)
        operation.close()
        return response


class _Lifecycle(eventstreamrpc.LifecycleHandler):  # type: ignore[misc]  # the SDK is untyped here
    def __init__(self, events: Events, on_disconnect: Optional[Callable[[], None]]) -> None:
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


def check_environment() -> None:
    """Whether the environment names a nucleus.

    Raises:
        IpcUnavailableError: it does not; no waiting helps.
    """
    _variable(SOCKET_VARIABLE)
    _variable(TOKEN_VARIABLE)


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
        return IpcTokenRefusedError(subject, f"was refused: the token in {TOKEN_VARIABLE} is not valid", "Restart")
    if isinstance(error, eventstreamrpc.EventStreamOperationError):
        kind = _SHAPES.get(type(error).__name__, IpcRefusedError)
        mapped: IpcError = kind(subject, f"the nucleus answers {text}")
        return mapped
    if isinstance(error, (eventstreamrpc.StreamClosedError, eventstreamrpc.ConnectionClosedError)):
        return IpcUnavailableError(subject, f"the connection is closed ({text})", "Connect again")
    if isinstance(error, (AwsCrtError, RuntimeError, OSError)):
        return IpcUnavailableError(subject, f"cannot reach the nucleus ({text})", "Is the nucleus running?")
    return IpcInvalidError(subject, f"the request or its answer cannot be understood ({text})")
