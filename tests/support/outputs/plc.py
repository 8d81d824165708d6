"""A real Modbus device in a process of its own, plain or with the handshake."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Optional

from support.outputs.peer import ProcessPeer


class PlcPeer(ProcessPeer):
    """pymodbus as a device, a process of its own."""

    name = "modbus"
    coil, registers = 7, 20

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._looker: Optional[Any] = None

    @classmethod
    def missing(cls) -> str:
        try:
            import pymodbus  # noqa: F401
        except ImportError:
            return "pymodbus"
        return ""

    def settings(self) -> Dict[str, Any]:
        return {
            "type": "modbus",
            "host": "127.0.0.1",
            "port": self.port,
            "coil": self.coil,
            "registers": self.registers,
            "pulse_ms": 20,
            "timeout_s": 0.25,
            "check_s": 0.1,
        }

    def start(self) -> None:
        self.launch("support.modbus_device")

    def stop(self) -> None:
        if self._looker is not None:
            self._looker.close()
            self._looker = None
        super().stop()

    def read_registers(self, count: int = 6) -> List[int]:
        return list(self._look().read_holding_registers(self.registers, count=count).registers)

    def read_coil(self) -> bool:
        return bool(self._look().read_coils(self.coil, count=1).bits[0])

    def applied(self) -> int:
        """Its own count starts with the output's, so that it is a difference that a test looks at."""
        return self.read_registers()[0]

    def is_safe(self) -> bool:
        return self.read_registers()[1] == 0 and not self.read_coil()

    def _look(self) -> Any:
        from pymodbus.client import ModbusTcpClient

        if self._looker is None:
            self._looker = ModbusTcpClient("127.0.0.1", port=self.port)
            assert self._looker.connect()
        return self._looker


class HandshakePeer(PlcPeer):
    """pymodbus again, as a PLC that asks for nothing and acknowledges nothing."""

    name = "plc"
    registers = 20

    def settings(self) -> Dict[str, Any]:
        return {
            "type": "plc",
            "host": "127.0.0.1",
            "port": self.port,
            "status": self.registers,
            "plc_silent_s": 0,
            "timeout_s": 0.25,
        }

    def applied(self) -> int:
        """Results that wait, and those that were lost because eight did."""
        words = self.read_registers(5)
        return words[3] + words[4]

    def is_safe(self) -> bool:
        return bool(self.read_registers(1)[0] & 0x80)
