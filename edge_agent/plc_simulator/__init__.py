"""A PLC in software: its registers over Modbus TCP, and a program that plays a line with an inspector."""

from __future__ import annotations

from edge_agent.plc_simulator.plc import SimulatedPlc
from edge_agent.plc_simulator.settings import PlcSettings

__all__ = ["PlcSettings", "SimulatedPlc"]
