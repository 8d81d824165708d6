"""`edge-agent cameras`: what is attached, a look through one camera, a picture from it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Tuple, TypeVar

import click
from PIL import Image
from rich.console import Console
from rich.table import Table

from edge_agent.agent import read_settings
from edge_agent.cameras import make_camera
from edge_agent.cameras.attached import attached, kinds
from edge_agent.cameras.kinds import CameraSettings
from edge_agent.cameras.look import Look, look
from edge_agent.cameras.redact import redacted
from edge_agent.cameras.statistics import frame_statistics
from edge_agent.cameras.targets import FORMS, settings_for
from edge_agent.cli.configuration import thing_name
from edge_agent.clock import SystemClock
from edge_agent.config import read_file
from edge_agent.errors import ConfigError, EdgeAgentError

# Enough for a rate, and short enough to wait for.
_PROBE_FRAMES, _PROBE_S = 50, 2.0

Command = TypeVar("Command", bound=Callable[..., None])


@click.group()
def cameras() -> None:
    """See which cameras there are, and what they show."""


@cameras.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of tables.")
def list_cameras(as_json: bool) -> None:
    """What is attached, and which kinds of camera this installation can open."""
    found, known = attached(), kinds()
    if as_json:
        missing = [{"kind": kind, "missing": str(error) if error else None} for kind, error in known.items()]
        click.echo(json.dumps({"attached": [camera.as_dict() for camera in found], "kinds": missing}, indent=1))
        return
    console = Console()
    table = Table(box=None, pad_edge=False)
    for title in ("camera", "kind", "name", "address"):
        table.add_column(title, overflow="fold")
    for camera in found:
        table.add_row(camera.target, camera.kind, camera.name, camera.address)
    if found:
        console.print(table)
    else:
        console.print("no camera answers on the networks and the USB of this machine, and there is no /dev/video*")
    for kind, error in known.items():
        console.print(f"{kind}: {error or 'can be opened'}", soft_wrap=True, highlight=False)


def _one_camera(command: Command) -> Command:
    """The arguments of commands that look through one camera."""
    for decorate in (
        click.option("--timeout", default=10.0, show_default=True, help="Seconds that the first frame may take."),
        click.option("--lane", help="The lane of the file whose camera it is; not needed where there is one."),
        click.option("--config", type=click.Path(path_type=Path), help="Take the camera from an inspector's file."),
        click.argument("target", required=False),
    ):
        command = decorate(command)
    return command


@cameras.command(epilog=f"TARGET is {FORMS}.")
@_one_camera
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of lines.")
def probe(target: Optional[str], config: Optional[Path], lane: Optional[str], timeout: float, as_json: bool) -> None:
    """Look through a camera for two seconds: what it is, size and rate of its frames, light and focus of one.

    An inspector that has the camera open must be stopped before.
    """
    settings, subject = _camera(target, config, lane)
    camera = make_camera(settings, SystemClock())
    seen = look(camera, subject, SystemClock(), frames=_PROBE_FRAMES, within_s=_PROBE_S, first_s=timeout)
    report = _report(seen)
    if as_json:
        click.echo(json.dumps(report, indent=1))
        return
    for name, value in report.items():
        if isinstance(value, dict):
            click.echo(f"{name}:")
            for inner, text in value.items():
                click.echo(f"  {inner}: {_text(text)}")
        else:
            click.echo(f"{name}: {_text(value)}")


@cameras.command(epilog=f"TARGET is {FORMS}.")
@_one_camera
@click.option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The PNG to write.")
@click.option("--skip", type=click.IntRange(0), default=0, help="Frames to pass over first, such as dark ones.")
def snapshot(
    target: Optional[str], config: Optional[Path], lane: Optional[str], timeout: float, out: Path, skip: int
) -> None:
    """Write one frame as a PNG, as a model would get it."""
    if out.suffix.lower() != ".png":
        raise click.BadParameter("must end in .png", param_hint="--out")
    settings, subject = _camera(target, config, lane)
    camera = make_camera(settings, SystemClock())
    seen = look(camera, subject, SystemClock(), frames=skip + 1, within_s=timeout, first_s=timeout)
    _write(out, seen)
    click.echo(f"{out}: {seen.last.pixels.shape[1]} x {seen.last.pixels.shape[0]}, {seen.last.source}")


def _camera(target: Optional[str], config: Optional[Path], lane: Optional[str]) -> Tuple[CameraSettings, str]:
    """The settings of the camera that the arguments name, and what errors call it."""
    if (target is None) == (config is None):
        raise click.UsageError("Give either a camera or --config.")
    if target is not None:
        if lane is not None:
            raise click.UsageError("--lane goes with --config.")
        return settings_for(target), f"camera {redacted(target)}"
    assert config is not None  # noqa: S101 - one of the two is given
    lanes = read_settings(read_file(config), str(config), thing=thing_name()).lanes
    if lane is None and len(lanes) == 1:
        lane = next(iter(lanes))
    if lane not in lanes:
        names = ", ".join(lanes)
        raise ConfigError(f"{config}: lanes.{lane or ''}", "is not there", f"Name one by --lane: {names}.")
    return lanes[lane].camera, f"{config}: lanes.{lane}"


def _report(seen: Look) -> Dict[str, Any]:
    height, width = seen.last.pixels.shape[:2]
    return {
        "source": seen.last.source,
        "width": width,
        "height": height,
        "frames": seen.frames,
        "failed": seen.failed,
        "frames_per_s": None if seen.rate is None else round(seen.rate, 2),
        "statistics": frame_statistics(seen.last.pixels).as_dict(),
        "camera": dict(seen.details),
    }


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(str(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{name} {item}" for name, item in value.items())
    return "unknown" if value is None else str(value)


def _write(out: Path, seen: Look) -> None:
    """The whole file or none: another program may watch for it."""
    draft = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        Image.fromarray(seen.last.pixels).save(draft, format="PNG")
        draft.replace(out)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise EdgeAgentError(str(out), f"cannot be written ({error.strerror})", "Name another file.") from error
