"""Logging of the command line: one line an event, on stderr, for people or as JSON."""

from __future__ import annotations

import json
import logging
import sys
import threading
from datetime import datetime, timezone
from typing import Any, Callable, Dict, Optional, TypeVar

import click

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

# What every record has of itself; anything else came with `extra` and is a field of ours.
_OWN = {*logging.makeLogRecord({}).__dict__, "message", "asctime", "taskName"}

# journald, which keeps the output of components on nucleus lite, cuts lines of more than 48 KiB in two. Escaped text
# has up to six bytes a character.
_MAX_TEXT = 3500

Command = TypeVar("Command", bound=Callable[..., Any])


def log_options(command: Command) -> Command:
    """The options `--log-level` and `--log-format`, for `set_up_logging`."""
    level = click.option(
        "--log-level",
        type=click.Choice(["debug", "info", "warning", "error"]),
        default="info",
        show_default=True,
        envvar="EDGE_AGENT_LOG_LEVEL",
        show_envvar=True,
        help="What is logged, on stderr.",
    )
    form = click.option(
        "--log-format",
        type=click.Choice(["text", "json"]),
        envvar="EDGE_AGENT_LOG_FORMAT",
        show_envvar=True,
        help="Lines for people, or one JSON object a line.  [default: text]",
    )
    return level(form(command))


def set_up_logging(level: str, form: Optional[str]) -> None:
    """Log to stderr; a second call replaces the first.

    Args:
        level: the lowest that is logged, such as `info`.
        form: `json`, or `text` or None for lines for people.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if form == "json" else logging.Formatter(_TEXT, "%Y-%m-%dT%H:%M:%S%z"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    if form == "json":
        # What Python itself would print in lines of its own.
        logging.captureWarnings(True)  # noqa: FBT003 - logging's signature
        sys.excepthook = lambda kind, error, trace: _log_uncaught((kind, error, trace))
        threading.excepthook = lambda args: _log_uncaught((args.exc_type, args.exc_value, args.exc_traceback))


def report_error(text: str) -> None:
    """The last word of a command that failed: on stderr, and in the form of the log where there is one."""
    if any(isinstance(handler.formatter, JsonLines) for handler in logging.getLogger().handlers):
        logging.getLogger("edge_agent").error(text)
    else:
        click.echo(f"error: {text}", err=True)


class JsonLines(logging.Formatter):
    """One JSON object a line: time (RFC 3339, UTC), level, logger, message, exception, and the fields of `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")
        document: Dict[str, Any] = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": _cut(record.getMessage()),
        }
        if record.exc_info:
            document["exception"] = _cut(self.formatException(record.exc_info))
        for key, value in record.__dict__.items():
            if key not in _OWN:
                document.setdefault(key, _cut(value) if isinstance(value, str) else value)
        return json.dumps(document, default=str)


def _cut(text: str) -> str:
    half = _MAX_TEXT // 2
    return text if len(text) <= _MAX_TEXT else f"{text[:half]} ... {text[-half:]}"


def _log_uncaught(error: Any) -> None:
    if isinstance(error[1], (KeyboardInterrupt, SystemExit)):
        return
    logging.getLogger("edge_agent").critical("a thread ended with an internal error", exc_info=error)
