"""A device that speaks Modbus TCP, by pymodbus: `python -m support.modbus_device PORT`. Coils and registers 0 to 99."""

from __future__ import annotations

import sys
from typing import Any

from pymodbus.server import StartTcpServer


def device() -> Any:
    try:
        from pymodbus.simulator import DataType, SimData, SimDevice
    except ImportError:  # the versions for Python 3.8
        from pymodbus.datastore import ModbusSequentialDataBlock, ModbusServerContext, ModbusSlaveContext

        blocks = {kind: ModbusSequentialDataBlock(1, [0] * 100) for kind in ("di", "co", "hr", "ir")}
        return ModbusServerContext(slaves=ModbusSlaveContext(**blocks), single=True)
    bits = [SimData(0, count=100, values=False, datatype=DataType.BITS)]
    words = [SimData(0, count=100, values=0, datatype=DataType.REGISTERS)]
    return SimDevice(id=0, simdata=(bits, bits, words, words))


if __name__ == "__main__":
    StartTcpServer(context=device(), address=("127.0.0.1", int(sys.argv[1])))
