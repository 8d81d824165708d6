"""Waiting for what other threads and processes do."""

from __future__ import annotations

import time
from typing import Any, Callable


def until(condition: Callable[[], Any], seconds: float = 40.0, what: str = "it") -> Any:
    """Poll until the condition holds, and give what it gave."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:g} s"
        time.sleep(0.005)
