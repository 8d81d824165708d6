"""A real OPC UA server in a process of its own."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path
from typing import Any, Dict

from support.outputs.peer import ProcessPeer


class OpcUaPeer(ProcessPeer):
    """asyncua as a server, a process of its own. With `secured` it has the certificates that lie in its directory."""

    name = "opcua"
    nodes = ("state", "count", "verdict", "confidence", "area", "sequence", "classes", "document")

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.secured = False

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
        secured = [str(self.directory)] if self.secured else []
        self.launch("support.opcua_device", *secured, seconds=60)

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
