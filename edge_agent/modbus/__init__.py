"""Modbus TCP: a client, a device in software, and the registers by which a PLC and an inspector shake hands.

Why not a library: pymodbus renames the arguments of its calls between the versions that Python 3.8 and 3.13 have, logs
every failure as an error, and measures its time-outs on the wall clock, which may step.
"""

from __future__ import annotations

from edge_agent.modbus.client import ModbusClient
from edge_agent.modbus.device import ModbusDevice

__all__ = ["ModbusClient", "ModbusDevice"]
