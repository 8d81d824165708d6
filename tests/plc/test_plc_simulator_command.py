"""`edge-agent plc-simulator` as a user types it; this test is the inspector."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Iterator, List

import pytest
from support.waiting import until

from edge_agent.clock import SystemClock
from edge_agent.modbus import ModbusClient, ModbusDevice
from edge_agent.modbus.handshake_map import COMMAND_REGISTERS, Commands, Result, Status

COMMANDS, STATUS = 100, 200


def _command(*arguments: str) -> List[str]:
    return [sys.executable, "-m", "edge_agent", "plc-simulator", "--port", *arguments]


@pytest.fixture
def plc() -> Iterator["subprocess.Popen[str]"]:
    places = ["--commands", str(COMMANDS), "--status", str(STATUS)]
    made = subprocess.Popen(_command("0", *places, "--rate", "50"), stdout=subprocess.PIPE, text=True)
    yield made
    made.kill()
    made.wait()
    assert made.stdout is not None
    made.stdout.close()


def test_it_plays_a_line_and_says_what_became_of_its_parts(plc: "subprocess.Popen[str]") -> None:
    assert plc.stdout is not None
    said = plc.stdout.readline()
    assert said.startswith("simulated PLC at 127.0.0.1:")
    client = ModbusClient("127.0.0.1", int(said.rsplit(":", 1)[1]), 1, 5.0, SystemClock())
    client.connect()
    beats = iter(range(1, 1_000_000))

    def say(**status: object) -> None:
        found = Status(online=True, session=7, heartbeat=next(beats) & 0xFFFF, **status)  # type: ignore[arg-type]
        client.write_registers(STATUS, found.encode())

    def heard(**status: object) -> Commands:
        say(**status)
        return Commands.decode(client.read_registers(COMMANDS, COMMAND_REGISTERS))

    until(lambda: heard(trigger_ready=True).trigger)
    part = heard(trigger_ready=True).part
    assert part >= 1
    until(lambda: not heard(trigger_acknowledged=True).trigger)
    until(lambda: heard(result=Result(2, rule=True, part=part)).results_acknowledged)
    until(lambda: not heard().results_acknowledged)
    client.close()
    plc.terminate()
    books = json.loads(plc.stdout.read())
    assert plc.wait(20) == 0
    assert (books["acknowledged"], books["rejected"], books["missed"]) == (1, 1, 0)
    assert books["balanced"]


def test_a_port_that_is_taken_is_named() -> None:
    device = ModbusDevice("127.0.0.1", 0)
    device.open()
    try:
        done = subprocess.run(_command(str(device.port)), capture_output=True, text=True, timeout=60, check=False)
    finally:
        device.close()
    assert done.returncode == 2
    assert f"modbus 127.0.0.1:{device.port}: cannot be listened on" in done.stderr
    assert "Traceback" not in done.stderr
