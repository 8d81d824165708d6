"""The inspector's whole configuration, composed of the settings of its parts. docs/configuration.md explains it."""

from __future__ import annotations

import re
from typing import Any, Dict, Iterable, Literal, Mapping, Type

import msgspec

from edge_agent.agent.talk_settings import (
    CloudwatchSettings,
    CommandSettings,
    ConfirmSettings,
    HealthSettings,
    HttpSettings,
    UpdateSettings,
)
from edge_agent.agent.topics import fill_topics
from edge_agent.config import Settings, convert, join
from edge_agent.contract import AWS_SOCKET, OWN_SOCKET
from edge_agent.errors import ConfigError
from edge_agent.greengrass.publisher import PublishSettings
from edge_agent.lane import LaneSettings
from edge_agent.outputs import OutputSettings
from edge_agent.outputs.plc import PlcOutputSettings
from edge_agent.recorder import RecorderSettings, UploadSettings
from edge_agent.rule import RuleSettings
from edge_agent.spool import SpoolSettings
from edge_agent.triggers import MessageSettings, PlcTriggerSettings

_SOCKETS = {"open": OWN_SOCKET, "aws": AWS_SOCKET}

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")

_BLOCKS: Dict[str, Type[Settings]] = {
    "publish": PublishSettings,
    "confirm": ConfirmSettings,
    "commands": CommandSettings,
    "health": HealthSettings,
    "updates": UpdateSettings,
    "http": HttpSettings,
    "cloudwatch": CloudwatchSettings,
}


class InspectorSettings(Settings, frozen=True):
    """The inspector.

    Attributes:
        edge_agent: whose Edge Agent answers: `open` (ours) or `aws` (aws.iot.lookoutvision.EdgeAgent).
        socket: its Unix socket; empty: the default of the choice.
        publish: where inspections go.
        spool: where they wait for that.
        log_format: of the log: `text` for people, or `json`, one object a line. A command-line option goes before it.
        confirm: whether they arrive.
        commands: what may be asked of the inspector from outside.
        health: what it tells of itself.
        updates: of this component, and when they may come.
        http: what is served over HTTP.
        cloudwatch: its figures for Amazon CloudWatch.
        lanes: by name, which is the camera's id in every inspection.
        outputs: by name: what happens on the line when a part was judged.
        recorder: which images are kept.
    """

    lanes: Dict[str, LaneSettings]
    edge_agent: Literal["open", "aws"] = "open"
    socket: str = ""
    publish: PublishSettings = PublishSettings()
    spool: SpoolSettings = SpoolSettings()
    log_format: Literal["text", "json"] = "text"
    confirm: ConfirmSettings = ConfirmSettings()
    commands: CommandSettings = CommandSettings()
    health: HealthSettings = HealthSettings()
    updates: UpdateSettings = UpdateSettings()
    http: HttpSettings = HttpSettings()
    cloudwatch: CloudwatchSettings = CloudwatchSettings()
    outputs: Dict[str, OutputSettings] = msgspec.field(default_factory=dict)
    recorder: RecorderSettings = msgspec.field(default_factory=RecorderSettings)

    @property
    def edge_agent_socket(self) -> str:
        return self.socket or _SOCKETS[self.edge_agent]


def read_settings(data: Mapping[str, Any], subject: str, *, thing: str) -> InspectorSettings:
    """Settings out of a file or a component configuration.

    Args:
        data: the mapping that was read. `accessControl`, which the nucleus adds, is left out.
        subject: the file's or component's name, for errors.
        thing: the thing's name, put into the topics.

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
    _check_names(lanes, f"{subject}: lanes", "lane")
    values["outputs"] = _read_outputs(values.get("outputs", {}), lanes, subject)
    values["recorder"] = _read_recorder(values.get("recorder", {}), lanes, subject, thing)
    # One by one, too, so that an error names the block it is in.
    for key, kind in _BLOCKS.items():
        values[key] = convert(values.get(key, {}), kind, subject, key)
    settings = convert(values, InspectorSettings, subject)
    for name, lane in settings.lanes.items():
        if isinstance(lane.trigger, MessageSettings) and lane.trigger.source == "http" and not settings.http.address:
            raise ConfigError(
                f"{subject}: lanes.{name}.trigger",
                "waits for calls over HTTP, and nothing is served",
                "Set `http.address` and `http.token_file`.",
            )
    _check_plcs(settings, subject)
    return fill_topics(settings, subject, thing)


def _read_outputs(outputs: Any, lanes: Mapping[str, Any], subject: str) -> Dict[str, OutputSettings]:
    if not isinstance(outputs, dict):
        raise ConfigError(f"{subject}: outputs", "must map names to settings", "Correct the value.")
    _check_names(outputs, f"{subject}: outputs", "output")
    read: Dict[str, OutputSettings] = {}
    for name, settings in outputs.items():
        path = join("outputs", name)
        read[name] = convert(settings, OutputSettings, subject, path)
        _check_lanes(read[name].lanes, lanes, f"{subject}: {path}.lanes")
    return read


def _check_plcs(settings: InspectorSettings, subject: str) -> None:
    """A lane that a PLC triggers has one."""
    handled = [output.lanes[0] for output in settings.outputs.values() if isinstance(output.to, PlcOutputSettings)]
    for name, lane in settings.lanes.items():
        if isinstance(lane.trigger, PlcTriggerSettings) and handled.count(name) != 1:
            raise ConfigError(
                f"{subject}: lanes.{name}.trigger",
                f"is a PLC's, and {handled.count(name)} outputs of type plc have this lane",
                "Have one output of type plc with this lane.",
            )


def _read_recorder(recorder: Any, lanes: Mapping[str, Any], subject: str, thing: str) -> RecorderSettings:
    if isinstance(recorder, dict):
        upload = _with_rules(recorder.get("upload", {}), subject, "recorder.upload")
        recorder = _with_rules({**recorder, "upload": upload}, subject, "recorder")
    settings = convert(recorder, RecorderSettings, subject, "recorder")
    _check_lanes(settings.lanes, lanes, f"{subject}: recorder.lanes")
    if not settings.upload.bucket:
        return settings
    prefix = settings.upload.prefix.replace("{thing}", thing)
    try:
        # Made anew, since on Python 3.8 `replace` checks nothing.
        upload = UploadSettings(**{**msgspec.structs.asdict(settings.upload), "prefix": prefix})
    except ValueError as error:
        path = f"{subject}: recorder.upload.prefix"
        raise ConfigError(path, f"is {prefix} with the thing's name: {error}", "Give another one.") from error
    return msgspec.structs.replace(settings, upload=upload)


def _with_rules(values: Any, subject: str, path: str) -> Any:
    """The rules among them read one by one."""
    rules = values.get("rules") if isinstance(values, dict) else None
    if not isinstance(rules, dict):
        return values
    path = join(path, "rules")
    _check_names(rules, f"{subject}: {path}", "rule")
    read = {name: convert(rule, RuleSettings, subject, join(path, name)) for name, rule in rules.items()}
    return {**values, "rules": read}


def _check_lanes(names: Iterable[str], lanes: Mapping[str, Any], subject: str) -> None:
    for name in names:
        if name not in lanes:
            raise ConfigError(subject, f"there is no lane {name}", "Name lanes of `lanes`.")


def _check_names(names: Mapping[Any, Any], subject: str, noun: str) -> None:
    for name in names:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ConfigError(
                f"{subject}.{name}",
                f"is no {noun} name",
                "Use 1 to 64 letters, digits, dots, hyphens, underscores.",
            )
