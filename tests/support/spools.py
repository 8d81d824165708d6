"""Inspections for spools: small bodies that say who they are, and a spool in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional

import msgspec

from edge_agent.clock import SystemClock
from edge_agent.frame import do_nothing
from edge_agent.spool import Entry, Spool, SpoolSettings


def open_spool(directory: Path, *, memory_bytes: Optional[int] = None, **settings: Any) -> Spool:
    extra = {} if memory_bytes is None else {"memory_bytes": memory_bytes}
    spool = Spool(directory, msgspec.convert(settings, SpoolSettings), SystemClock(), **extra)
    spool.start()
    return spool


def put(
    spool: Spool,
    number: int,
    *,
    lane: str = "line-1",
    anomalous: bool = False,
    size: int = 500,
    safe: Callable[[], None] = do_nothing,
) -> int:
    """Hand over one inspection as a lane does; its sequence number."""
    accounting = spool.accounting(lane)
    accounting.capture()
    accounting.inspect()
    sequence = spool.next_sequence(lane)
    body = {"number": number, "lane": lane, "sequence": sequence, "filling": "x" * size}
    spool.put(Entry(lane, sequence, anomalous, json.dumps(body).encode(), safe))
    return sequence


def deliver(spool: Spool, *, most: int = 1_000_000, at_once: int = 10) -> List[int]:
    """Take out and settle what there is; the numbers."""
    numbers: List[int] = []
    while len(numbers) < most:
        receipt = spool.take(100_000, min(at_once, most - len(numbers)), 0.0)
        if receipt is None:
            break
        numbers += numbers_of(receipt.bodies)
        receipt.delivered()
    return numbers


def numbers_of(bodies: List[bytes]) -> List[int]:
    return [json.loads(body)["number"] for body in bodies]


class ChildSpool:
    """The same calls, in a process with an environment of its own."""

    def __init__(self, directory: Path, environment: Mapping[str, str], **settings: Any) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.spools", str(directory), json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), **environment},
        )

    def ask(self, what: str, **arguments: Any) -> Any:
        """`put` number (anomalous, size), `flush`, `deliver`, `books`, `status` or `trouble`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"what": what, **arguments}) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> int:
        assert self._process.stdin is not None
        self._process.stdin.close()
        code = self._process.wait(30)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return code

    def kill(self) -> None:
        self._process.kill()
        self.close()


def _serve() -> None:
    spool = open_spool(Path(sys.argv[1]), **json.loads(sys.argv[2]))
    for line in sys.stdin:
        request: Dict[str, Any] = json.loads(line)
        what = request.pop("what")
        answer: Any = None
        if what == "put":
            answer = put(spool, **request)
        elif what == "flush":
            answer = spool.flush(request.get("timeout", 10.0))
        elif what == "deliver":
            answer = deliver(spool, **request)
        elif what == "books":
            answer = {lane: books.snapshot().as_dict() for lane, books in spool.accountings().items()}
        elif what == "status":
            answer = spool.status()
        elif what == "trouble":
            answer = str(spool.trouble() or "")
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    spool.close(5.0)


if __name__ == "__main__":
    _serve()
