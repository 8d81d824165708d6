"""What an output talks to, for tests and experiments: real peers that are put up, taken away, and made to hang."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, Iterator

from support.outputs.broker import MOSQUITTO, BrokerPeer
from support.outputs.chip import ChipPeer
from support.outputs.files import FilePeer
from support.outputs.hook import HookPeer
from support.outputs.nucleus import NucleusPeer
from support.outputs.opc_ua import OpcUaPeer
from support.outputs.parts import THING, NoStations, answers, free_port, inspection, part
from support.outputs.peer import Peer
from support.outputs.plc import HandshakePeer, PlcPeer

__all__ = [
    "MOSQUITTO",
    "PEERS",
    "THING",
    "BrokerPeer",
    "ChipPeer",
    "FilePeer",
    "HandshakePeer",
    "HookPeer",
    "NoStations",
    "NucleusPeer",
    "OpcUaPeer",
    "Peer",
    "PlcPeer",
    "answers",
    "free_port",
    "inspection",
    "part",
    "put_up",
]


PEERS = (ChipPeer, PlcPeer, HandshakePeer, OpcUaPeer, BrokerPeer, HookPeer, NucleusPeer, FilePeer)


@contextlib.contextmanager
def put_up(kind: Any, directory: Path) -> Iterator[Any]:
    made = kind(directory)
    made.start()
    try:
        yield made
    finally:
        made.close()
