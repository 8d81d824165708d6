"""What people and the recorder cost a line: the same line with and without them, by turns in one run.

viewers    ten at the live page, each of whom listens to the changes and fetches every new picture, as a browser does; they
           run at the lowest priority, since on a line they have machines of their own
recorder   every part is kept as a JPEG: 1,200 images a minute, 1920 x 1080
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, ContextManager, Dict, Iterator, List, Tuple

from benchmarks.line_site import Load, Share, Site, Window, quantiles, site
from benchmarks.workload import percentile
from edge_agent.recorder import RecorderSettings

_CROWD = Path(__file__).parents[1] / "tests" / "faults" / "viewer_crowd.py"
_VIEWERS = 10
# Pictures are made for ten seconds after somebody looked.
_GONE_S = 11.0

#: What goes on during one turn in two; called with the line and an empty directory.
Burden = Callable[[Site, Path], ContextManager[None]]


def viewers(turns: int, seconds: float, share: Share) -> Dict[str, Any]:
    figures, _report = _by_turns(Load(cameras=1, rate=20), _watched, turns, seconds, share, gone_s=_GONE_S)
    return figures


def recorder(turns: int, seconds: float, share: Share) -> Dict[str, Any]:
    figures, report = _by_turns(Load(cameras=1, rate=20, size="1080p"), _recorded, turns, seconds, share)
    books = report["recorder"]["lanes"]["line-0"]
    return {**figures, "images": {"recorded": books["recorded"], "dropped": books["dropped"]}}


def _by_turns(
    load: Load, burden: Burden, turns: int, seconds: float, share: Share, *, gone_s: float = 0.0
) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    alone: List[Window] = []
    burdened: List[Window] = []
    with tempfile.TemporaryDirectory(prefix="edge-agent-") as directory:
        scratch, beside = Path(directory) / "site", Path(directory) / "beside"
        scratch.mkdir()
        beside.mkdir()
        with site(scratch, load, share) as line:
            for turn in range(turns):
                if turn:
                    time.sleep(gone_s)
                alone.append(line.run(seconds))
                with burden(line, beside):
                    burdened.append(line.run(seconds))
            line.settle()
            report = line.inspector.report()
        quiet, busy = line.to_output_ms(*alone), line.to_output_ms(*burdened)
        pairs = [(_p99(line, one), _p99(line, other)) for one, other in zip(alone, burdened)]
    figures = {
        "parts": {"without": len(quiet), "with": len(busy)},
        "to_output_ms": {"without": quantiles(quiet), "with": quantiles(busy)},
        "p99_ratio": round(percentile(busy, 99) / percentile(quiet, 99), 3),
        "p99_ratio_of_turns": round(statistics.median(other / one for one, other in pairs), 3),
    }
    return figures, report


def _p99(line: Site, window: Window) -> float:
    return percentile(line.to_output_ms(window), 99)


@contextmanager
def _watched(line: Site, _directory: Path) -> Iterator[None]:
    arguments = [line.operation.http_address, str(line.token_file), str(_VIEWERS), "0"]
    command = ["nice", "-n", "19", sys.executable, str(_CROWD), *arguments]
    crowd = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert crowd.stdout is not None
    crowd.stdout.readline()  # each of them has seen a picture
    try:
        yield
    finally:
        crowd.communicate(timeout=60)


@contextmanager
def _recorded(line: Site, directory: Path) -> Iterator[None]:
    line.change(recorder=RecorderSettings(path=str(directory), every=1))
    try:
        yield
    finally:
        line.change(recorder=RecorderSettings())
