"""Helpers of the Greengrass tests: recipes, waiting, raw sockets."""

from __future__ import annotations

import json
import queue
import socket

from edge_agent.greengrass.eventstream import Decoder, Header, MessageType, rpc_message

COMPONENT = "com.example.Probe"
MQTT = "aws.greengrass.ipc.mqttproxy"
PUBSUB = "aws.greengrass.ipc.pubsub"
EVERYTHING = {service: {f"{service}:1": {"operations": ["*"], "resources": ["*"]}} for service in (MQTT, PUBSUB)}


def recipe_document(configuration=None, access_control=None):
    """A recipe with this default configuration; without `access_control` the probe may do everything."""
    defaults = {**(configuration or {}), "accessControl": EVERYTHING if access_control is None else access_control}
    return {
        "RecipeFormatVersion": "2020-01-25",
        "ComponentName": COMPONENT,
        "ComponentVersion": "1.0.0",
        "ComponentConfiguration": {"DefaultConfiguration": defaults},
    }


def write_recipe(path, configuration=None, access_control=None):
    path.write_text(json.dumps(recipe_document(configuration, access_control)))
    return path


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


class Events(queue.Queue):
    """Collects what a subscription delivers."""

    def take(self, count=1, seconds=20.0):
        return [self.get(timeout=seconds) for _ in range(count)]


class RawClient:
    """Speaks frames over a socket, without the SDK's good manners."""

    def __init__(self, nucleus):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(20.0)
        self.socket.connect(str(nucleus.socket_path))
        self._token = nucleus.token
        self._decoder = Decoder()
        self._messages = []

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def handshake(self, token=None, version="0.1.0", flags=0):
        headers = () if version is None else (Header.text(":version", version),)
        payload = json.dumps({"authToken": self._token if token is None else token}).encode()
        self.send(rpc_message(MessageType.CONNECT, flags, 0, headers, payload))
        return self.receive()

    def request(self, operation, payload, stream=1, flags=0):
        headers = (
            Header.text("operation", f"aws.greengrass#{operation}"),
            Header.text(":content-type", "application/json"),
            Header.text("service-model-type", f"aws.greengrass#{operation}Request"),
        )
        data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        self.send(rpc_message(MessageType.APPLICATION_MESSAGE, flags, stream, headers, data))

    def receive(self):
        """The next message; None when the nucleus has closed the connection."""
        while not self._messages:
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                return None
            if not data:
                return None
            self._messages.extend(self._decoder.feed(data))
        return self._messages.pop(0)
