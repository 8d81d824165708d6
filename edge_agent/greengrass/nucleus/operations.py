"""The operations: each takes a request's JSON and gives the reply's, or raises the error that is answered."""

from __future__ import annotations

import base64
import binascii
import time
from typing import Any, Callable, Dict, List, Mapping, Optional, Protocol, Tuple

from edge_agent.greengrass.bounded_json import MAX_DEPTH
from edge_agent.greengrass.nucleus.authorization import MQTT_PROXY, PUBSUB
from edge_agent.greengrass.nucleus.core import ConfigurationWatch, Core, encode_bytes
from edge_agent.greengrass.nucleus.pubsub import LocalSubscription, receives_from_others_only
from edge_agent.greengrass.nucleus.state import (
    FAILED_CONDITION,
    INVALID_ARGUMENTS,
    NOT_FOUND,
    SERVICE_ERROR,
    UNAUTHORIZED,
    OperationError,
)
from edge_agent.greengrass.recipe import ACCESS_CONTROL

NAMESPACE = "aws.greengrass#"

#: ReportedLifecycleState of the IPC model.
STATES = frozenset({"RUNNING", "ERRORED", "NEW", "FINISHED", "INSTALLED", "BROKEN", "STARTING", "STOPPING"})

# Of the stand-in, to keep recursion bounded.
_MAX_KEY_PATH = MAX_DEPTH

Request = Dict[str, Any]


class EventStream(Protocol):
    """The client's side of a subscription."""

    def send_event(self, model: str, payload: Dict[str, Any]) -> None:
        """Send one event, after the reply."""

    def on_close(self, function: Callable[[], None]) -> None:
        """Run when either side ends the stream."""


Handler = Callable[[Core, Request, EventStream], Dict[str, Any]]


def dispatch(core: Core, operation: str, request: Any, stream: EventStream) -> Tuple[Dict[str, Any], bool]:
    """Run one operation; gives the reply and whether the stream stays open for events.

    Raises:
        OperationError: what the client is answered instead.
    """
    name = operation[len(NAMESPACE) :] if operation.startswith(NAMESPACE) else "unknown"
    core.counters.operations[name] += 1
    try:
        core.faults.check(name)
        handler, streaming = _find(core, name)
        reply = handler(core, _checked(core, request), stream)
    except OperationError as error:
        if name == "PublishToIoTCore":
            core.counters.publishes_refused[error.cause] += 1
        raise
    return reply, streaming


def _find(core: Core, name: str) -> Tuple[Handler, bool]:
    if core.limits.lite:
        if name in _ANSWERS_OF_LITE:
            raise OperationError(_ANSWERS_OF_LITE[name], "IPC Operation not authorized.")
        if name in _CLASSIC_ONLY or name not in _OPERATIONS:
            raise OperationError(SERVICE_ERROR, "Unhandled operation requested.")
    if name not in _OPERATIONS:
        raise OperationError(None, "Operation not supported")
    return _OPERATIONS[name]


def _checked(core: Core, request: Any) -> Request:
    if not isinstance(request, dict):
        raise OperationError(SERVICE_ERROR if core.limits.lite else None, "The request is not a JSON object")
    values, depth = _extent(request)
    most, deepest = core.limits.request_values, core.limits.request_depth
    if (most is not None and values > most) or (deepest is not None and depth > deepest):
        raise OperationError(SERVICE_ERROR, "Failed to decode the message", "too_large")
    return request


def _extent(value: Any) -> Tuple[int, int]:
    """Number of map entries and list elements in a JSON value, and how deep they are nested."""
    if not isinstance(value, (dict, list)):
        return 0, 0
    children = [_extent(child) for child in (value.values() if isinstance(value, dict) else value)]
    return len(children) + sum(count for count, _ in children), 1 + max((depth for _, depth in children), default=0)


def _text(core: Core, request: Mapping[str, Any], name: str) -> str:
    value = request.get(name)
    if not isinstance(value, str):
        text = "Received invalid parameters." if core.limits.lite else f"{name} is required"
        raise OperationError(SERVICE_ERROR if core.limits.lite else INVALID_ARGUMENTS, text)
    return value


def _authorize(core: Core, service: str, operation: str, topic: str) -> None:
    if not core.authorization.allows(service, NAMESPACE + operation, topic):
        text = "IPC Operation not authorized." if core.limits.lite else "Not Authorized"
        raise OperationError(UNAUTHORIZED, text, "unauthorized")


def _qos(core: Core, request: Request) -> int:
    value = request.get("qos")
    if core.limits.lite:
        if value is None:
            return 0
        if str(value) not in ("0", "1"):
            raise OperationError(SERVICE_ERROR, "'qos' not a valid value.")
    elif value is None:
        raise OperationError(INVALID_ARGUMENTS, "QoS is required")
    elif value not in ("0", "1"):
        raise OperationError(INVALID_ARGUMENTS, f"Invalid QoS value: {value}")
    return int(value)


def _payload(core: Core, value: Any) -> bytes:
    if value is None:
        if core.limits.lite:
            return b""
        raise OperationError(INVALID_ARGUMENTS, "Payload is required")
    try:
        return base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise OperationError(SERVICE_ERROR if core.limits.lite else None, "'payload' is not base64.") from error


def _publish_to_iot_core(core: Core, request: Request, _stream: EventStream) -> Dict[str, Any]:
    topic = _text(core, request, "topicName")
    if core.limits.lite:
        payload, qos = _payload(core, request.get("payload")), _qos(core, request)
        _authorize(core, MQTT_PROXY, "PublishToIoTCore", topic)
    else:
        _authorize(core, MQTT_PROXY, "PublishToIoTCore", topic)
        payload, qos = _payload(core, request.get("payload")), _qos(core, request)
    core.cloud.publish(topic, payload, qos)
    return {}


def _subscribe_to_iot_core(core: Core, request: Request, stream: EventStream) -> Dict[str, Any]:
    topic = _text(core, request, "topicName")
    if core.limits.lite:
        qos = _qos(core, request)
        _authorize(core, MQTT_PROXY, "SubscribeToIoTCore", topic)
    else:
        _authorize(core, MQTT_PROXY, "SubscribeToIoTCore", topic)
        qos = _qos(core, request)
    _count_subscription(core, stream)

    def deliver(name: str, payload: bytes) -> None:
        stream.send_event("IoTCoreMessage", {"message": {"topicName": name, "payload": encode_bytes(payload)}})

    subscription = core.cloud.subscribe(topic, qos, deliver)
    stream.on_close(lambda: core.cloud.unsubscribe(subscription))
    return {}


def _publish_to_topic(core: Core, request: Request, _stream: EventStream) -> Dict[str, Any]:
    topic = _text(core, request, "topic")
    _authorize(core, PUBSUB, "PublishToTopic", topic)
    if not core.limits.lite and any(wildcard in topic for wildcard in "+#*"):
        raise OperationError(INVALID_ARGUMENTS, "Publish topic must not contain a wildcard.")
    kind, message = _local_message(core, request.get("publishMessage"))
    core.local_topics.publish(topic, kind, message, core.component)
    return {}


def _local_message(core: Core, publish: Any) -> Tuple[str, Any]:
    found: List[Tuple[str, Any]] = []
    for kind in ("jsonMessage", "binaryMessage"):
        body = publish.get(kind) if isinstance(publish, dict) else None
        if isinstance(body, dict) and "message" in body:
            found.append((kind, body["message"]))
    if len(found) != 1:
        raise OperationError(SERVICE_ERROR if core.limits.lite else INVALID_ARGUMENTS, "Received invalid parameters.")
    kind, message = found[0]
    if kind == "binaryMessage":
        _payload(core, message)
    return kind, message


def _subscribe_to_topic(core: Core, request: Request, stream: EventStream) -> Dict[str, Any]:
    topic = _text(core, request, "topic")
    _authorize(core, PUBSUB, "SubscribeToTopic", topic)
    if not topic and not core.limits.lite:
        raise OperationError(INVALID_ARGUMENTS, "Subscribe topic must not be empty")
    _count_subscription(core, stream)
    others = not core.limits.lite and receives_from_others_only(topic, request.get("receiveMode"))

    def deliver(message: Dict[str, Any]) -> None:
        stream.send_event("SubscriptionResponseMessage", message)

    subscription = LocalSubscription(topic, core.component, deliver, others=others)
    core.local_topics.subscribe(subscription)
    stream.on_close(lambda: core.local_topics.unsubscribe(subscription))
    return {} if core.limits.lite else {"topicName": topic}


def _get_configuration(core: Core, request: Request, _stream: EventStream) -> Dict[str, Any]:
    configuration = core.own_configuration(request.get("componentName"))
    return {"componentName": core.component, "value": configuration.get(_key_path(request))}


def _subscribe_to_configuration_update(core: Core, request: Request, stream: EventStream) -> Dict[str, Any]:
    configuration = core.own_configuration(request.get("componentName"))
    path = _key_path(request)
    if not configuration.contains(path):
        raise OperationError(NOT_FOUND, "Key not found")
    _count_subscription(core, stream)

    def deliver(changed: List[str]) -> None:
        event = {"componentName": core.component, "keyPath": changed}
        stream.send_event("ConfigurationUpdateEvents", {"configurationUpdateEvent": event})

    watch = ConfigurationWatch(path, deliver)
    core.watch(watch)
    stream.on_close(lambda: core.unwatch(watch))
    return {}


def _update_configuration(core: Core, request: Request, _stream: EventStream) -> Dict[str, Any]:
    path = _key_path(request)
    timestamp: Any = request.get("timestamp")
    value = request.get("valueToMerge")
    if not _is_timestamp(timestamp) or "valueToMerge" not in request:
        raise OperationError(INVALID_ARGUMENTS, "Timestamp and ValueToMerge are required")
    if ACCESS_CONTROL in path or _holds_key(value, ACCESS_CONTROL):
        raise OperationError(INVALID_ARGUMENTS, f"Config update is not allowed for following field [{ACCESS_CONTROL}]")
    if not core.limits.lite:
        if not isinstance(value, dict):
            raise OperationError(INVALID_ARGUMENTS, "ValueToMerge must be a map")
        if path and not core.configuration.contains(path):
            timestamp = time.time()  # the classic nucleus dates a new node itself
    merge = core.merge(path, value, int(timestamp * 1000))
    if merge.stale and not core.limits.lite:
        text = "Proposed timestamp is older than the config's latest modified timestamp"
        raise OperationError(FAILED_CONDITION, text)
    return {}


def _is_timestamp(value: Any) -> bool:
    # Seconds; the bound keeps infinities and numbers without a float away.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e12


def _key_path(request: Request) -> List[str]:
    path = request.get("keyPath")
    if path is None:
        return []
    if not isinstance(path, list) or not all(isinstance(key, str) for key in path) or len(path) > _MAX_KEY_PATH:
        raise OperationError(INVALID_ARGUMENTS, "Received invalid parameters.")
    return path


def _holds_key(value: Any, name: str) -> bool:
    if isinstance(value, dict):
        return name in value or any(_holds_key(child, name) for child in value.values())
    return isinstance(value, list) and any(_holds_key(child, name) for child in value)


def _update_state(core: Core, request: Request, _stream: EventStream) -> Dict[str, Any]:
    state = request.get("state")
    if not isinstance(state, str) or state not in STATES:
        raise OperationError(SERVICE_ERROR, f"No such state: {state}")
    core.component_state = state
    return {}


def _subscribe_to_component_updates(core: Core, _request: Request, stream: EventStream) -> Dict[str, Any]:
    core.update_listeners.append(stream.send_event)
    stream.on_close(lambda: _forget_listener(core, stream.send_event))
    return {}


def _forget_listener(core: Core, listener: Callable[[str, Dict[str, Any]], None]) -> None:
    if listener in core.update_listeners:
        core.update_listeners.remove(listener)


def _defer_component_update(core: Core, request: Request, _stream: EventStream) -> Dict[str, Any]:
    core.defer(request)
    return {}


def _subscribe_to_validate_configuration_updates(core: Core, _request: Request, stream: EventStream) -> Dict[str, Any]:
    core.checks.subscribe(stream.send_event)
    stream.on_close(lambda: core.checks.unsubscribe(stream.send_event))
    return {}


def _send_configuration_validity_report(core: Core, request: Request, _stream: EventStream) -> Dict[str, Any]:
    report = request.get("configurationValidityReport")
    if not isinstance(report, dict) or report.get("status") not in ("ACCEPTED", "REJECTED"):
        raise OperationError(INVALID_ARGUMENTS, "Configuration validity report is required with its status")
    core.checks.report(report)
    return {}


def _count_subscription(core: Core, stream: EventStream) -> None:
    most: Optional[int] = core.limits.subscriptions
    if most is not None and core.open_subscriptions >= most:
        raise OperationError(SERVICE_ERROR, "Failed to bind the subscription.")
    core.open_subscriptions += 1

    def closed() -> None:
        core.open_subscriptions -= 1

    stream.on_close(closed)


# operation: its handler, and whether the stream stays open for events
_OPERATIONS: Dict[str, Tuple[Handler, bool]] = {
    "GetConfiguration": (_get_configuration, False),
    "UpdateConfiguration": (_update_configuration, False),
    "SubscribeToConfigurationUpdate": (_subscribe_to_configuration_update, True),
    "PublishToIoTCore": (_publish_to_iot_core, False),
    "SubscribeToIoTCore": (_subscribe_to_iot_core, True),
    "PublishToTopic": (_publish_to_topic, False),
    "SubscribeToTopic": (_subscribe_to_topic, True),
    "UpdateState": (_update_state, False),
    "SubscribeToComponentUpdates": (_subscribe_to_component_updates, True),
    "DeferComponentUpdate": (_defer_component_update, False),
    "SubscribeToValidateConfigurationUpdates": (_subscribe_to_validate_configuration_updates, True),
    "SendConfigurationValidityReport": (_send_configuration_validity_report, False),
}

_CLASSIC_ONLY = frozenset(
    {
        "SubscribeToComponentUpdates",
        "DeferComponentUpdate",
        "SubscribeToValidateConfigurationUpdates",
        "SendConfigurationValidityReport",
    }
)

# What nucleus lite answers a component without the policies for these.
_ANSWERS_OF_LITE = {
    "RestartComponent": UNAUTHORIZED,
    "ValidateAuthorizationToken": UNAUTHORIZED,
    "CreateLocalDeployment": SERVICE_ERROR,
}
