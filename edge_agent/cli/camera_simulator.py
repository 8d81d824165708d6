"""`edge-agent camera-simulator`: a GigE Vision camera in software."""

from __future__ import annotations

import json
import signal
import threading
from pathlib import Path
from typing import List, Optional, Tuple

import click
import numpy as np

from edge_agent.cameras.decode import SUFFIXES, decode_image
from edge_agent.cli.signals import on_signals
from edge_agent.clock import SystemClock
from edge_agent.config import convert
from edge_agent.errors import ConfigError
from edge_agent.frame import Pixels
from edge_agent.gige_simulator import SimulatedCamera, SimulatorSettings
from edge_agent.sample import part_stream

_PARTS = 16


@click.command("camera-simulator")
@click.option("--address", default="127.0.0.1", show_default=True, help="IPv4 of this machine, one for each camera.")
@click.option("--serial", default="SIM1", show_default=True, help="Its serial number.")
@click.option("--size", default=(640, 480), type=(int, int), show_default=True, help="Of its sensor, in pixels.")
@click.option("--rate", default=25.0, show_default=True, help="Images a second in free run, until another is set.")
@click.option("--loss", default=0.0, show_default=True, help="Share of the packets that are lost, 0 to 1.")
@click.option("--resend/--no-resend", default=True, show_default=True, help="Send packets again that are asked for.")
@click.option("--mtu", default=9000, show_default=True, help="Largest packet that comes through, in bytes.")
@click.option("--line-hz", default=0.0, show_default=True, help="Pulses a second on its input line, Line1.")
@click.option(
    "--pictures",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Directory of images to show, in the order of their names.  [default: rendered parts]",
)
def camera_simulator(
    address: str,
    serial: str,
    size: Tuple[int, int],
    rate: float,
    loss: float,
    resend: bool,
    mtu: int,
    line_hz: float,
    pictures: Optional[Path],
) -> None:
    """Be a GigE Vision camera with real packets, until SIGTERM or SIGINT.

    Any GigE Vision software on this machine can open it. At its end it prints what it sent.
    """
    stop = threading.Event()
    on_signals({signal.SIGTERM: stop.set, signal.SIGINT: stop.set})
    settings = convert(
        {
            "address": address,
            "serial": serial,
            "width": size[0],
            "height": size[1],
            "rate": rate,
            "loss": loss,
            "resend": resend,
            "mtu": mtu,
        },
        SimulatorSettings,
        "camera-simulator",
    )
    camera = SimulatedCamera(settings, _pictures(pictures), SystemClock())
    camera.start()
    click.echo(f"simulated camera {serial} at {address}: {size[0]} x {size[1]} pixels")
    if line_hz > 0:
        level = False
        while not stop.wait(0.5 / line_hz):
            level = not level
            camera.set_line(level)
    stop.wait()
    camera.stop()
    click.echo(json.dumps(camera.counters()))


def _pictures(directory: Optional[Path]) -> List[Pixels]:
    if directory is None:
        parts = part_stream(0)
        return [next(parts).image for _ in range(_PARTS)]
    paths = sorted(path for path in directory.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise ConfigError(str(directory), "has no images in it", f"Put some there: {' '.join(SUFFIXES)}.")
    return [decode_image(path, lambda height, width: np.empty((height, width, 3), np.uint8)) for path in paths]
