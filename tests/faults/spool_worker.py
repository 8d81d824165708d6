"""A process that works a spool, and says each step in a file beside it: `python -m faults.spool_worker DIR SETTINGS`.

SETTINGS is JSON: `spool` (of SpoolSettings), `seed`, `steps`, `pause_s`. Lines in DIR/said are JSON, too: {"given":
[lane, sequence]}, {"put": n}, {"accepted": n} (every inspection up to number n), {"delivered": [n, ...]}.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any, Dict

import msgspec

from edge_agent.clock import SystemClock
from edge_agent.spool import Entry, Spool, SpoolSettings

LANES = ("line-1", "line-2", "line-3")


def main() -> None:
    directory, options = Path(sys.argv[1]), json.loads(sys.argv[2])
    settings = msgspec.convert(options["spool"], SpoolSettings)
    said = os.open(str(directory / "said"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def say(what: Dict[str, Any]) -> None:
        os.write(said, json.dumps(what).encode() + b"\n")

    choices = random.Random(options["seed"])
    spool = Spool(directory / "spool", settings, SystemClock())
    spool.start()
    number = 0
    for _ in range(options["steps"]):
        for _ in range(choices.choice((1, 1, 2, 5))):
            number += 1
            _put(spool, number, choices, say)
        if choices.random() < 0.7 and spool.flush(10.0):
            say({"accepted": number})
        if choices.random() < 0.5:
            receipt = spool.take(7_000, choices.randint(1, 8), 0.0)
            if receipt is not None:
                numbers = [json.loads(body)["number"] for body in receipt.bodies]
                if choices.random() < 0.8:
                    say({"delivered": numbers})
                    receipt.delivered()
                else:
                    receipt.keep()
        time.sleep(options["pause_s"])
    spool.close(10.0)
    say({"accepted": number})
    sys.stdout.write(json.dumps({lane: books.snapshot().as_dict() for lane, books in spool.accountings().items()}))


def _put(spool: Spool, number: int, choices: random.Random, say: Any) -> None:
    lane = choices.choice(LANES)
    accounting = spool.accounting(lane)
    accounting.capture()
    accounting.inspect()
    sequence = spool.next_sequence(lane)
    say({"given": [lane, sequence]})
    size = choices.choice((20, 300, 600, 600, 3_000))
    body = {"lane": lane, "sequence": sequence, "number": number, "filling": "x" * size}
    say({"put": number})
    spool.put(Entry(lane, sequence, choices.random() < 0.2, json.dumps(body).encode()))


if __name__ == "__main__":
    main()
