"""A simulated PLC: a Modbus device, and a thread that runs its program again and again."""

from __future__ import annotations

import threading
from typing import Any, Callable, Dict

from edge_agent.clock import Clock
from edge_agent.modbus import ModbusDevice
from edge_agent.modbus.handshake_map import COMMAND_REGISTERS, STATUS_REGISTERS, Result, Status
from edge_agent.plc_simulator.program import Program
from edge_agent.plc_simulator.settings import PlcSettings


class SimulatedPlc:
    """Safe to use from any thread.

    Args:
        settings: of the PLC.
        clock: time.
        judged: called with the result of each part, by the thread of its program: it returns at once.
    """

    def __init__(
        self, settings: PlcSettings, clock: Clock, judged: Callable[[Result], None] = lambda _result: None
    ) -> None:
        self._settings = settings
        self._clock = clock
        size = max(settings.commands + COMMAND_REGISTERS, settings.status + STATUS_REGISTERS)
        self._device = ModbusDevice(settings.host, settings.port, registers=size)
        self._lock = threading.Lock()
        self._program = Program(settings, judged)
        self._end = threading.Event()
        self._running = threading.Event()
        self._thread = threading.Thread(target=self._run, name="plc", daemon=True)

    @property
    def port(self) -> int:
        """The TCP port that it listens on, once it has started."""
        return self._device.port

    def start(self) -> None:
        """Listen, and run the program. Raises ConfigError where its address cannot be had."""
        self._device.open()
        self._running.set()
        self._thread.start()

    def stop(self) -> None:
        """For good."""
        self._end.set()
        self._running.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._device.close()

    def part(self, number: int) -> None:
        """A part comes in front of the camera; 1 to 2^32 - 1, another number each."""
        with self._lock:
            self._program.part(number, self._clock.monotonic_ns())

    def unplug(self) -> None:
        """Its network is gone, until `plug`; the program runs on."""
        self._device.close()

    def plug(self) -> None:
        """Its network is back."""
        self._device.open()

    def halt(self) -> None:
        """Its program stands still, until `resume`; the network answers for it."""
        self._running.clear()

    def resume(self) -> None:
        """Its program runs again."""
        self._running.set()

    def acknowledge(self, *, results: bool) -> None:
        """Whether it reads results; one that does not lets them pile up."""
        with self._lock:
            self._program.acknowledges = results

    def online(self) -> bool:
        """Whether an inspector is there."""
        with self._lock:
            return self._program.online(self._clock.monotonic_ns())

    def status(self) -> Status:
        """What the inspector says now."""
        return Status.decode(self._device.read(self._settings.status, STATUS_REGISTERS))

    def books(self) -> Dict[str, Any]:
        """What became of the parts: see LineBooks."""
        with self._lock:
            return self._program.books.as_dict()

    def _run(self) -> None:
        while not self._clock.wait(self._end, self._settings.scan_ms / 1e3):
            self._running.wait()
            with self._lock:
                commands = self._program.scan(self.status(), self._clock.monotonic_ns())
            self._device.write(self._settings.commands, commands.encode())
