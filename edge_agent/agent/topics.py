"""The topics of a configuration: the thing's name put in, each fit for its use, and none in another's way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict

import msgspec

from edge_agent.errors import ConfigError
from edge_agent.greengrass.topics import has_wildcard, publish_topic_problem, topic_is_malformed
from edge_agent.lane import LaneSettings
from edge_agent.outputs import OutputSettings
from edge_agent.outputs.mqtt import MqttOutputSettings
from edge_agent.outputs.pubsub import PubsubOutputSettings
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

    def output(name: str, output: OutputSettings) -> OutputSettings:
        to, path = output.to, f"outputs.{name}.to"
        if isinstance(to, PubsubOutputSettings):
            return replace(output, to=replace(to, topic=fill(f"{path}.topic", to.topic)))
        if isinstance(to, MqttOutputSettings):
            state = fill_mqtt(f"{path}.state_topic", to.state_topic) if to.state_topic else ""
            return replace(output, to=replace(to, topic=fill_mqtt(f"{path}.topic", to.topic), state_topic=state))
        return output

    def fill_mqtt(path: str, topic: str) -> str:
        """As `fill`; a broker of the line has none of the limits of AWS IoT Core."""
        filled = topic.replace("{thing}", thing)
        if topic_is_malformed(filled) or has_wildcard(filled):
            raise ConfigError(
                f"{subject}: {path}", "is no topic that can be published to", "Give one plain topic name."
            )
        return filled

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
        cloudwatch=replace(settings.cloudwatch, topic=fill("cloudwatch.topic", settings.cloudwatch.topic)),
        lanes={name: lane(name, one) for name, one in settings.lanes.items()},
        outputs={name: output(name, one) for name, one in settings.outputs.items()},
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
        "cloudwatch.topic": settings.cloudwatch.topic,
    }
    for name, output in settings.outputs.items():
        if isinstance(output.to, PubsubOutputSettings):
            said[f"outputs.{name}.to.topic"] = output.to.topic
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
