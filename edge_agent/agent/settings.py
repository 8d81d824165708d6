"""The inspector's whole configuration, composed of the settings of its parts. docs/configuration.md explains it."""

from __future__ import annotations

import re
from typing import Any, Dict, Literal, Mapping

import msgspec

from edge_agent.config import Settings, convert, join
from edge_agent.contract import AWS_SOCKET, OWN_SOCKET
from edge_agent.errors import ConfigError
from edge_agent.greengrass.publisher import PublishSettings
from edge_agent.greengrass.topics import publish_topic_problem
from edge_agent.lane import LaneSettings
from edge_agent.spool import SpoolSettings

_SOCKETS = {"open": OWN_SOCKET, "aws": AWS_SOCKET}

_LANE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class InspectorSettings(Settings, frozen=True):
    """The inspector.

    Attributes:
        edge_agent: whose Edge Agent answers: `open` (ours) or `aws` (aws.iot.lookoutvision.EdgeAgent).
        socket: its Unix socket; empty: the default of the choice.
        publish: where inspections go.
        spool: where they wait for that.
        log_format: of the log: `text` for people, or `json`, one object a line. A command-line option goes before it.
        lanes: by name, which is the camera's id in every inspection.
    """

    lanes: Dict[str, LaneSettings]
    edge_agent: Literal["open", "aws"] = "open"
    socket: str = ""
    publish: PublishSettings = PublishSettings()
    spool: SpoolSettings = SpoolSettings()
    log_format: Literal["text", "json"] = "text"

    @property
    def edge_agent_socket(self) -> str:
        return self.socket or _SOCKETS[self.edge_agent]


def read_settings(data: Mapping[str, Any], subject: str, *, thing: str) -> InspectorSettings:
    """Settings out of a file or a component configuration.

    Args:
        data: the mapping that was read. `accessControl`, which the nucleus adds, is left out.
        subject: the file's or component's name, for errors.
        thing: the thing's name, put into the topic.

    Raises:
        ConfigError: with the exact path of what is wrong.
    """
    values = {key: value for key, value in data.items() if key != "accessControl"}
    lanes = values.get("lanes")
    if not isinstance(lanes, dict) or not lanes:
        raise ConfigError(f"{subject}: lanes", "must map at least one lane name to its settings", "Add a lane.")
    # One by one: the path in a msgspec error does not name the key of a mapping.
    values["lanes"] = {
        name: convert(settings, LaneSettings, subject, join("lanes", name)) for name, settings in lanes.items()
    }
    for name in lanes:
        if not isinstance(name, str) or not _LANE_NAME.fullmatch(name):
            raise ConfigError(
                f"{subject}: lanes.{name}",
                "is no lane name",
                "Use 1 to 64 letters, digits, dots, hyphens, underscores.",
            )
    publish = convert(values.get("publish", {}), PublishSettings, subject, "publish")
    values["publish"] = _publish(publish, subject, thing)
    return convert(values, InspectorSettings, subject)


def _publish(settings: PublishSettings, subject: str, thing: str) -> PublishSettings:
    topic = settings.topic.replace("{thing}", thing)
    problem = publish_topic_problem(topic)
    if problem:
        raise ConfigError(f"{subject}: publish.topic", problem, "Give one plain topic name.")
    return msgspec.structs.replace(settings, topic=topic)
