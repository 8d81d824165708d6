"""A real OPC UA server in a process of its own."""

from __future__ import annotations

import asyncio
import importlib.util
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, Optional

from support.outputs.parts import answers, free_port, until
from support.outputs.peer import Peer

TESTS = Path(__file__).parents[2]


class OpcUaPeer(Peer):
    """asyncua as a server, a process of its own. With `secured` it has the certificates that lie in its directory."""

    name = "opcua"
    can_hang = True
    nodes = ("state", "count", "verdict", "confidence", "area", "sequence", "classes", "document")

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.port = free_port()
        self.secured = False
        self._process: Optional[subprocess.Popen[bytes]] = None

    @classmethod
    def missing(cls) -> str:
        return "" if importlib.util.find_spec("asyncua") else "asyncua"

    def settings(self) -> Dict[str, Any]:
        return {
            "type": "opcua",
            "url": f"opc.tcp://127.0.0.1:{self.port}/line",
            "nodes": {name: f"ns=2;s=Line.{name}" for name in self.nodes},
            "timeout_s": 2,
            "check_s": 0.1,
        }

    def start(self) -> None:
        command = [sys.executable, "-m", "support.opcua_device", str(self.port)]
        command += [str(self.directory)] if self.secured else []
        self._process = subprocess.Popen(command, cwd=TESTS, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: answers(self.port), 60)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def hang(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def read(self, name: str) -> Any:
        from asyncua import Client

        async def ask() -> Any:
            async with Client(self.settings()["url"], timeout=20) as client:
                return await client.get_node(f"ns=2;s=Line.{name}").read_value()

        return asyncio.run(ask())

    def applied(self) -> int:
        return int(self.read("count"))

    def is_safe(self) -> bool:
        return self.read("state") in ("safe", "stopped") and self.read("verdict") == 0
