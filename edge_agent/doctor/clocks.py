"""The wall clock: certificates and times in inspections depend on it."""

from __future__ import annotations

import ctypes
import datetime as dt
from typing import Callable, Iterator, Optional

from edge_agent.clock import Clock
from edge_agent.doctor.finding import BROKEN, OK, SKIPPED, WARNING, Finding

# Older than this code: such a clock refuses certificates of today.
_EARLIEST = dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)

# adjtimex(2): struct timex is 208 bytes on 64-bit Linux, and all zero asks without changing; TIME_ERROR.
_TIMEX_BYTES = 256
_NOT_SYNCHRONISED = 5

_REMEDY = "sudo timedatectl set-ntp true, or install chrony; on a closed network name its time server."


def kernel_state() -> Optional[int]:
    """What adjtimex says of the clock; None where it cannot be asked."""
    try:
        state = int(ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES)))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state


def check_clock(clock: Clock, state: Callable[[], Optional[int]] = kernel_state) -> Iterator[Finding]:
    now = dt.datetime.fromtimestamp(clock.wall_ns() / 1e9, tz=dt.timezone.utc)
    text = f"{now:%Y-%m-%dT%H:%M:%SZ}"
    known = state()
    if now < _EARLIEST:
        yield Finding(BROKEN, f"the clock says {text}: connections to AWS will fail", _REMEDY)
    elif known is None:
        yield Finding(SKIPPED, f"{text}; the kernel does not tell whether it is synchronised")
    elif known == _NOT_SYNCHRONISED:
        yield Finding(WARNING, f"{text}, not synchronised: it may be wrong, and drifts", _REMEDY)
    else:
        yield Finding(OK, f"{text}, synchronised")
