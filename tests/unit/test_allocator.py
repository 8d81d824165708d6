"""Memory of images is reused: no fresh pages for each frame."""

from __future__ import annotations

import subprocess
import sys

import pytest

_SCRIPT = """
import resource, sys, threading
from edge_agent.allocator import keep_freed_memory
if {keep} and not keep_freed_memory():
    sys.exit(3)
def frames():
    for _ in range(3):
        bytes(bytearray(40 << 20))
worker = threading.Thread(target=frames); worker.start(); worker.join()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
worker = threading.Thread(target=frames); worker.start(); worker.join()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _faults(*, keep: bool) -> int:
    script = _SCRIPT.format(keep=keep)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    if done.returncode == 3:
        pytest.skip("the C library is not glibc")
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_images_in_threads_touch_no_fresh_pages() -> None:
    assert _faults(keep=True) < 2000 < _faults(keep=False)
