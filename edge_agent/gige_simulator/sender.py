"""The stream side of the simulated camera: packets on their way, lost ones, and ones that are asked for again."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections import Counter, OrderedDict
from typing import Dict, Optional, Tuple

from edge_agent.gige_simulator import gvsp
from edge_agent.gige_simulator.gvcp import Resend
from edge_agent.gige_simulator.gvsp import Block, Packet

Destination = Tuple[str, int]

# Images that can be asked for again.
_REMEMBERED = 16

# A request can name 16 million packets; no image has more than this many in packets of the smallest size.
_MOST_PACKETS = 100_000


class Sender:
    """Sends blocks. `send` belongs to one thread, the rest to any.

    Args:
        stream: the socket to send from; it is closed by whoever made it.
        loss: share of the packets that are lost, 0..1.
        resend: whether packets are sent again.
        mtu: larger packets do not come through.
        seed: of the losses.
    """

    def __init__(self, stream: socket.socket, *, loss: float, resend: bool, mtu: int, seed: int) -> None:
        self.loss = loss
        self._stream = stream
        self._resend = resend
        self._mtu = mtu
        self._random = random.Random(seed)  # noqa: S311 - a simulated network, no secret
        self._lock = threading.Lock()
        self._counted: Counter[str] = Counter()
        self._remembered: "OrderedDict[int, Block]" = OrderedDict()

    def send(self, block: Block, destination: Destination, delay_s: float) -> None:
        """All packets of a block, `delay_s` seconds apart."""
        with self._lock:
            self._counted["images"] += 1
            self._remembered[block.number] = block
            if len(self._remembered) > _REMEMBERED:
                self._remembered.popitem(last=False)
        for number in range(block.packets):
            self._put(block.packet(number), destination, "packets")
            if delay_s:
                time.sleep(delay_s)

    def resend(self, asked: Resend, destination: Destination) -> None:
        """The packets that are asked for; for those that are gone, word of it."""
        if not self._resend:
            return
        with self._lock:
            block: Optional[Block] = self._remembered.get(asked.block)
        last = min(asked.last, block.packets - 1) if block else min(asked.last, asked.first + _MOST_PACKETS)
        for number in range(asked.first, last + 1):
            packet = block.packet(number) if block else (gvsp.unavailable(asked.block, number), memoryview(b""))
            self._put(packet, destination, "packets_resent")

    def trial(self, size: int, destination: Destination) -> None:
        """A packet whose coming tells that its size can be used."""
        if size <= self._mtu:
            self._transmit((gvsp.probe_packet(size), memoryview(b"")), destination)

    def counters(self) -> Dict[str, int]:
        """images, packets (lost ones with them), packets_resent, packets_lost."""
        with self._lock:
            return {name: self._counted[name] for name in ("images", "packets", "packets_resent", "packets_lost")}

    def _put(self, packet: Packet, destination: Destination, counter: str) -> None:
        with self._lock:
            self._counted[counter] += 1
            size = len(packet[0]) + len(packet[1]) + gvsp.UDP_OVERHEAD
            lost = size > self._mtu or (self.loss > 0 and self._random.random() < self.loss)
            self._counted["packets_lost"] += lost
        if not lost:
            self._transmit(packet, destination)

    def _transmit(self, packet: Packet, destination: Destination) -> None:
        # A network does not say either that nobody is at the other end.
        with contextlib.suppress(OSError):
            self._stream.sendmsg(packet, [], 0, destination)
