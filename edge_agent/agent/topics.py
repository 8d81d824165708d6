"""The topics of a configuration: the thing's name put in, each fit for its use, and none in another's way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict

import msgspec

from edge_agent.errors import ConfigError
from edge_agent.greengrass.topics import publish_topic_problem
from edge_agent.lane import LaneSettings
from edge_agent.triggers import MessageSettings

if TYPE_CHECKING:
    from edge_agent.agent.settings import InspectorSettings


def fill_topics(settings: InspectorSettings, subject: str, thing: str) -> InspectorSettings:
    """The same settings with the thing's name in every topic.

    Raises:
        ConfigError: a topic with a wildcard, or one that AWS IoT Core does not take; a topic that the inspector would
            hear itself on.
    """

    def fill(path: str, topic: str) -> str:
        filled = topic.replace("{thing}", thing)
        problem = publish_topic_problem(filled)
        if problem:
            raise ConfigError(f"{subject}: {path}", problem, "Give one plain topic name.")
        return filled

    def lane(name: str, lane: LaneSettings) -> LaneSettings:
        if not isinstance(lane.trigger, MessageSettings) or not lane.trigger.topic:
            return lane
        trigger = msgspec.structs.replace(lane.trigger, topic=fill(f"lanes.{name}.trigger.topic", lane.trigger.topic))
        return msgspec.structs.replace(lane, trigger=trigger)

    replace = msgspec.structs.replace
    commands = settings.commands
    filled = replace(
        settings,
        publish=replace(settings.publish, topic=fill("publish.topic", settings.publish.topic)),
        confirm=replace(settings.confirm, topic=fill("confirm.topic", settings.confirm.topic)),
        commands=replace(
            commands,
            topic=fill("commands.topic", commands.topic),
            replies=fill("commands.replies", commands.replies),
        ),
        health=replace(settings.health, topic=fill("health.topic", settings.health.topic)),
        lanes={name: lane(name, one) for name, one in settings.lanes.items()},
    )
    _check_apart(filled, subject)
    return filled


def _check_apart(settings: InspectorSettings, subject: str) -> None:
    """What the inspector says must not come back to it as a command or a trigger, round and round."""
    said = {
        "publish.topic": settings.publish.topic,
        "confirm.topic": settings.confirm.topic,
        "commands.replies": settings.commands.replies,
        "health.topic": settings.health.topic,
    }
    heard: Dict[str, str] = {"commands.topic": settings.commands.topic}
    for name, lane in settings.lanes.items():
        if isinstance(lane.trigger, MessageSettings) and lane.trigger.topic:
            heard[f"lanes.{name}.trigger.topic"] = lane.trigger.topic
    for path, topic in heard.items():
        for other, its in said.items():
            if topic == its:
                raise ConfigError(f"{subject}: {path}", f"is the topic of {other}, too", "Use another one.")
    if settings.confirm.topic in (settings.publish.topic, settings.health.topic, settings.commands.replies):
        raise ConfigError(f"{subject}: confirm.topic", "is used for something else, too", "Use another one.")
