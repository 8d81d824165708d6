"""Commands as they travel: JSON in, one JSON reply. docs/command.schema.json and docs/reply.schema.json show both."""

from __future__ import annotations

import json
import re
from typing import Any, Dict, Literal, Optional, Tuple, Type, Union

import msgspec

#: Of both forms.
VERSION = 1

#: Bytes of a command; every command is far smaller.
MAX_COMMAND_BYTES = 4096

#: Of a request, and of a trigger.
ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")

_MAX_NAME = 128
_MAX_WAIT_S = 30.0
_MAX_HOLD_S = 86400.0
_MAX_FRAMES = 1000


class Command(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="command", tag=True):
    """What every command has.

    Attributes:
        id: of the request, made by who asks: 1 to 64 letters, digits and `_ . : -`. A repeated one is not done again.
        version: of this form.
    """

    id: str
    version: Literal[1] = 1

    def __post_init__(self) -> None:
        if not ID.fullmatch(self.id):
            raise ValueError("`id` must be 1 to 64 letters, digits and _ . : -")
        self.check()

    def check(self) -> None:
        """Raises ValueError for what the types do not say."""


class TriggerCommand(Command, frozen=True, tag="trigger", kw_only=True):
    """A part is in front of the camera of a lane that is triggered.

    Attributes:
        lane: its name.
        trigger_id: of the trigger and its inspection; the request's where it is not given.
    """

    lane: str
    trigger_id: Optional[str] = None

    def check(self) -> None:
        if self.trigger_id is not None and not ID.fullmatch(self.trigger_id):
            raise ValueError("`trigger_id` must be 1 to 64 letters, digits and _ . : -")


class PauseCommand(Command, frozen=True, tag="pause", kw_only=True):
    """Take no frames, until `resume`.

    Attributes:
        lane: its name; all lanes where it is not given.
    """

    lane: Optional[str] = None


class ResumeCommand(Command, frozen=True, tag="resume", kw_only=True):
    """Take frames again.

    Attributes:
        lane: its name; all lanes where it is not given.
    """

    lane: Optional[str] = None


class StatusCommand(Command, frozen=True, tag="status", kw_only=True):
    """The health message, as the reply.

    Attributes:
        lane: of this lane alone.
    """

    lane: Optional[str] = None


class SnapshotCommand(Command, frozen=True, tag="snapshot", kw_only=True):
    """The next frame of a lane as a small JPEG, and its verdict.

    Attributes:
        lane: its name.
        within_s: seconds to wait for the frame, at most 30.
    """

    lane: str
    within_s: float = 5.0

    def check(self) -> None:
        if not 0 < self.within_s <= _MAX_WAIT_S:
            raise ValueError(f"`within_s` must be above 0 and at most {_MAX_WAIT_S:g}")


class RecordCommand(Command, frozen=True, tag="record", kw_only=True):
    """Have the recorder keep the next frames of a lane, whatever the verdict.

    Attributes:
        lane: its name.
        frames: how many, at most 1000.
        label: what they show, as a person says: `normal` or `anomaly`; null: what the model says.
    """

    lane: str
    frames: int = 1
    label: Optional[Literal["normal", "anomaly"]] = None

    def check(self) -> None:
        if not 1 <= self.frames <= _MAX_FRAMES:
            raise ValueError(f"`frames` must be 1 to {_MAX_FRAMES}")


class StartModelCommand(Command, frozen=True, tag="start_model", kw_only=True):
    """Start a model of the Edge Agent, and wait at most 30 s until it runs.

    Attributes:
        model: its component's name.
    """

    model: str

    def check(self) -> None:
        _check_model(self.model)


class StopModelCommand(Command, frozen=True, tag="stop_model", kw_only=True):
    """Stop a model of the Edge Agent. Lanes that use it are paused first: they would start it again.

    Attributes:
        model: its component's name.
    """

    model: str

    def check(self) -> None:
        _check_model(self.model)


class SwitchModelCommand(Command, frozen=True, tag="switch_model", kw_only=True):
    """Have a lane inspect with another model, until the configuration changes or the inspector starts anew.

    Attributes:
        lane: its name.
        model: its component's name.
    """

    lane: str
    model: str

    def check(self) -> None:
        _check_model(self.model)


class SetThresholdCommand(Command, frozen=True, tag="set_threshold", kw_only=True):
    """Have a lane judge by another threshold, until the configuration changes or the inspector starts anew.

    Attributes:
        lane: its name.
        threshold: 0 to 1; null: the model's own.
    """

    lane: str
    threshold: Optional[float]

    def check(self) -> None:
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ValueError("`threshold` must be 0 to 1, or null")


class SetLogLevelCommand(Command, frozen=True, tag="set_log_level", kw_only=True):
    """Log more or less, until the inspector starts anew.

    Attributes:
        level: the lowest that is logged.
    """

    level: Literal["debug", "info", "warning", "error"]


class HoldUpdatesCommand(Command, frozen=True, tag="hold_updates", kw_only=True):
    """Put off updates of this component that deployments announce (classic nucleus): the line must not stop now.

    Attributes:
        for_s: seconds, at most 86400; `updates.defer_at_most_s` bounds each deployment all the same.
    """

    for_s: float

    def check(self) -> None:
        if not 0 < self.for_s <= _MAX_HOLD_S:
            raise ValueError(f"`for_s` must be above 0 and at most {_MAX_HOLD_S:g}")


class ReleaseUpdatesCommand(Command, frozen=True, tag="release_updates", kw_only=True):
    """Updates may come again."""


AnyCommand = Union[
    TriggerCommand,
    PauseCommand,
    ResumeCommand,
    StatusCommand,
    SnapshotCommand,
    RecordCommand,
    StartModelCommand,
    StopModelCommand,
    SwitchModelCommand,
    SetThresholdCommand,
    SetLogLevelCommand,
    HoldUpdatesCommand,
    ReleaseUpdatesCommand,
]

COMMANDS: Tuple[Type[Command], ...] = AnyCommand.__args__  # type: ignore[attr-defined] # typing has no other way in 3.8

ErrorCode = Literal["too_large", "malformed", "busy", "not_found", "refused", "missed", "timeout", "failed", "internal"]


class CommandError(Exception):
    """A command that was not done.

    Args:
        code: for programs.
        message: for people.
    """

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


_DECODER = msgspec.json.Decoder(AnyCommand)


def parse(payload: bytes) -> AnyCommand:
    """The command in a message.

    Raises:
        CommandError: too large, no JSON, unknown, or with a wrong key or value, which the message names.
    """
    if len(payload) > MAX_COMMAND_BYTES:
        raise CommandError("too_large", f"a command has at most {MAX_COMMAND_BYTES} bytes, not {len(payload)}")
    try:
        command: AnyCommand = _DECODER.decode(payload)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        text = str(error) or type(error).__name__
        raise CommandError("malformed", text[:1].lower() + text[1:]) from error
    return command


def request_id(payload: bytes) -> Optional[str]:
    """The id in a message that is no command, where it can be found."""
    if len(payload) > MAX_COMMAND_BYTES:
        return None
    try:
        document = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    found = document.get("id") if isinstance(document, dict) else None
    return found if isinstance(found, str) and ID.fullmatch(found) else None


def reply(
    thing: str,
    request: Optional[str],
    command: Optional[str],
    *,
    result: Optional[Dict[str, Any]] = None,
    error: Optional[CommandError] = None,
) -> bytes:
    """One reply, ASCII JSON."""
    document: Dict[str, Any] = {
        "version": VERSION,
        "id": request,
        "thing": thing,
        "command": command,
        "ok": error is None,
    }
    if error is None:
        document["result"] = result or {}
    else:
        document["error"] = {"code": error.code, "message": error.message[:500]}
    return json.dumps(document, ensure_ascii=True, separators=(",", ":")).encode("ascii")


def command_name(command: Command) -> str:
    return str(command.__struct_config__.tag)


def _check_model(model: str) -> None:
    if not 1 <= len(model) <= _MAX_NAME:
        raise ValueError(f"`model` must be a component's name of 1 to {_MAX_NAME} characters")
