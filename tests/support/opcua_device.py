"""An OPC UA server with a few nodes, by asyncua: `python -m support.opcua_device PORT [DIRECTORY]`.

With a directory it takes encrypted connections alone, of user `press-7` with the password `secret`; there lie `server.der`
and `server.pem`.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from asyncua import Server, ua
from asyncua.server.user_managers import User, UserRole

NODES = {
    "state": ua.Variant("", ua.VariantType.String),
    "count": ua.Variant(0, ua.VariantType.UInt32),
    "verdict": ua.Variant(0, ua.VariantType.Int16),
    "confidence": ua.Variant(0.0, ua.VariantType.Float),
    "area": ua.Variant(0, ua.VariantType.UInt16),
    "sequence": ua.Variant(0, ua.VariantType.UInt64),
    "classes": ua.Variant("", ua.VariantType.String),
    "document": ua.Variant("", ua.VariantType.String),
    "small": ua.Variant(0, ua.VariantType.Byte),
}


class _Users:
    def get_user(self, iserver: Any, username: Any = None, password: Any = None, certificate: Any = None) -> Any:
        right = (username, password) == ("press-7", "secret")
        # In the versions for Python 3.8, other roles of a secured server only read.
        return User(role=UserRole.Admin, name="press-7") if right else None


async def _serve(port: int, directory: str) -> None:
    server = Server(user_manager=_Users()) if directory else Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/line")
    if directory:
        server.set_security_policy([ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt])
        await server.load_certificate(str(Path(directory) / "server.der"))
        await server.load_private_key(str(Path(directory) / "server.pem"))
    space = await server.register_namespace("urn:line")
    for name, value in NODES.items():
        node = await server.nodes.objects.add_variable(ua.NodeId(f"Line.{name}", space), name, value)
        await node.set_writable()
    async with server:
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else ""))
