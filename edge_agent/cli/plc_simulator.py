"""`edge-agent plc-simulator`: a PLC in software that plays a line."""

from __future__ import annotations

import json
import signal
import threading

import click

from edge_agent.cli.signals import on_signals
from edge_agent.clock import SystemClock
from edge_agent.config import convert
from edge_agent.plc_simulator import PlcSettings, SimulatedPlc


@click.command("plc-simulator")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address of this machine that it listens on.")
@click.option("--port", default=5020, show_default=True, help="Its TCP port; 0 takes a free one.")
@click.option("--commands", default=0, show_default=True, help="First register that it writes.")
@click.option("--status", default=16, show_default=True, help="First register that the inspector writes.")
@click.option("--rate", type=click.FloatRange(0), default=2.0, show_default=True, help="Parts a second; 0: none.")
@click.option(
    "--scan-ms", default=10.0, show_default=True, help="Milliseconds from one run of its program to the next."
)
@click.option("--patience-s", default=5.0, show_default=True, help="Seconds that a part waits for the inspector.")
def plc_simulator(
    host: str, port: int, commands: int, status: int, rate: float, scan_ms: float, patience_s: float
) -> None:
    """Be a PLC with a handshake over Modbus TCP, and play a line, until SIGTERM or SIGINT.

    Parts come as soon as an inspector is there. At its end it prints what became of them.
    """
    stop = threading.Event()
    on_signals({signal.SIGTERM: stop.set, signal.SIGINT: stop.set})
    settings = convert(
        {
            "host": host,
            "port": port,
            "commands": commands,
            "status": status,
            "scan_ms": scan_ms,
            "patience_s": patience_s,
        },
        PlcSettings,
        "plc-simulator",
    )
    plc = SimulatedPlc(settings, SystemClock())
    plc.start()
    click.echo(f"simulated PLC at {host}:{plc.port}")
    number = 0
    while not stop.wait(1 / rate if rate else None):
        if plc.online():
            number += 1
            plc.part(number)
    plc.stop()
    click.echo(json.dumps(plc.books()))
