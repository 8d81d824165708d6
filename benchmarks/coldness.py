"""How much more processor time the same work takes after a pause than without: what a machine's idle cores forget.

The work is a little of each of many modules of Python's library, as a call through a large library is; no other process
and no system call has a part in it. On some virtual machines it takes several times as long after a few milliseconds of
sleep. A call that waits for an engine pays that factor on everything that it does before and after.
"""

from __future__ import annotations

import datetime as dt
import decimal
import email.message
import json
import re
import textwrap
import time
from typing import List

from benchmarks.workload import WARM_UP, percentile

_DOCUMENTS = [{"number": number, "texts": [str(number)] * 5, "share": 1.5 * number} for number in range(12)]
_ROUNDS = 200


def cold_over_warm(pause_s: float) -> float:
    """Medians of the processor time, after so many seconds of sleep over without."""
    warm = percentile(_times(0.0), 50)
    return percentile(_times(pause_s), 50) / warm


def _times(pause_s: float) -> List[float]:
    times = []
    for _ in range(_ROUNDS + WARM_UP):
        if pause_s:
            time.sleep(pause_s)
        started = time.thread_time()
        _work()
        times.append(time.thread_time() - started)
    return times[WARM_UP:]


def _work() -> None:
    json.loads(json.dumps(_DOCUMENTS))
    re.sub(r"(\d+)-(\w+)", r"\2", "12-ab 33-cd")
    message = email.message.Message()
    message["a"] = "b"
    message.as_string()
    decimal.Decimal("1.1") + decimal.Decimal(2)
    dt.datetime.now(dt.timezone.utc).isoformat()
    textwrap.fill("a b c d " * 10, 20)
