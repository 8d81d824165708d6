"""A topic of Greengrass's local publish/subscribe, for other components of the device."""

from __future__ import annotations

from typing import Optional

from edge_agent.config import Settings
from edge_agent.errors import (
    IpcError,
    IpcTimeoutError,
    IpcUnavailableError,
    OutputError,
    OutputNotConnectedError,
    OutputTimeoutError,
)
from edge_agent.greengrass.ipc import IpcClient
from edge_agent.outputs.base import Action, Output, OutputContext, SafeReason
from edge_agent.outputs.document import to_json


class PubsubOutputSettings(Settings, frozen=True, tag_field="type", tag="pubsub"):
    """A local topic of Greengrass. The component's recipe has to allow it.

    Attributes:
        topic: its name; `{thing}` stands for the thing's name.
        timeout_s: seconds that the nucleus may take, 0.1 to 60.
    """

    topic: str = "edge-agent/{thing}/outputs/inspections"
    timeout_s: float = 5.0

    def __post_init__(self) -> None:
        if not 0.1 <= self.timeout_s <= 60:
            raise ValueError("`timeout_s` must be 0.1 to 60")


class PubsubOutput(Output):
    """A connection of its own: what the inspector publishes to AWS IoT Core never waits for it."""

    def __init__(self, settings: PubsubOutputSettings, context: OutputContext) -> None:
        self._settings = settings
        self._thing = context.thing
        self._client: Optional[IpcClient] = None

    def open(self) -> None:
        self.close()
        try:
            self._client = IpcClient.connect(timeout=self._settings.timeout_s)
        except IpcError as error:
            raise _as_output_error(error) from error

    def apply(self, action: Action) -> None:
        if self._client is None:
            raise OutputNotConnectedError("nucleus", "is not connected")
        message, timeout = to_json(action, self._thing), self._settings.timeout_s
        try:
            self._client.publish_to_topic(self._settings.topic, message, timeout=timeout)
        except IpcError as error:
            raise _as_output_error(error) from error

    def safe(self, reason: SafeReason) -> None:
        """A topic keeps nothing: there is no state to be in."""

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()


def _as_output_error(error: IpcError) -> OutputError:
    kind = OutputError
    if isinstance(error, IpcUnavailableError):
        kind = OutputNotConnectedError
    elif isinstance(error, IpcTimeoutError):
        kind = OutputTimeoutError
    return kind(error.subject, error.reason, error.remedy)
